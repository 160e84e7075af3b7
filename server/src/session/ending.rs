//! The end of a run that cannot go on: the client is told why, and given the time to read it.

use std::time::{Duration, Instant};

use coffre_protocol::ExitCode;
use coffre_protocol::mux::MessageKind;

use super::outcome::Fatal;
use super::output::Outgoing;
use super::pipe::Event;

impl Outgoing {
    /// Says why the run ends, if somebody is there to hear it. Gives the exit status and the
    /// reason, for the record.
    ///
    /// `who`: the process that stock rsync would name.
    pub(in crate::session) fn end(&mut self, fatal: Fatal, who: &str) -> (u32, String) {
        match fatal {
            Fatal::Exit { exit, message } => {
                // In the protocol, where it cannot be overtaken by the end of the connection.
                let kind = match self.version().at_least(30) {
                    true => MessageKind::Error,
                    false => MessageKind::ErrorXfer,
                };
                self.text(kind, &message);
                self.text(
                    kind,
                    &format!(
                        "rsync error: {} (code {}) at coffre [{who}={}]",
                        exit.text(),
                        exit.code(),
                        env!("CARGO_PKG_VERSION")
                    ),
                );
                self.error_exit(exit);
                self.flush();
                self.read_on();
                (exit.code().into(), message)
            }
            Fatal::PeerExit(code) => {
                // A client that gives up before the goodbye has not succeeded, whatever it says.
                let code = match u32::try_from(code) {
                    Ok(code) if code > 0 => code,
                    _ => ExitCode::StreamIo.code().into(),
                };
                self.acknowledge_exit();
                self.flush();
                (code, format!("the client ended with code {code}"))
            }
            Fatal::Disconnected => {
                let lost = "the connection was lost".to_owned();
                (ExitCode::StreamIo.code().into(), lost)
            }
        }
    }

    /// Takes no notice of what comes for a while, so that a client in the middle of writing gets
    /// to read why.
    fn read_on(&self) {
        // Before protocol 31 nothing tells the client to end but the end of the connection.
        let patience = if self.version().at_least(31) { 30 } else { 1 };
        let deadline = Instant::now() + Duration::from_secs(patience);
        while matches!(
            self.pipe().wait(None, Some(deadline)),
            Event::Input(_) | Event::OutputRoom
        ) {}
    }
}
