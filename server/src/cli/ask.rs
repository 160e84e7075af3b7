//! Asks the daemon, and shows how far it has come.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::{Context, Exit, fail};
use crate::config::units::count;
use crate::config::{Config, reason};
use crate::control::client::{self, Error};
use crate::control::{Answer, Progress, Request, socket_path};

/// Between two plain lines about the same work.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Asks the daemon of the configured store. What goes wrong has been printed.
pub(super) fn ask(context: &Context, config: &Config, request: &Request) -> Result<Answer, Exit> {
    let storage = &config.server.storage;
    let mut shown = Shown::default();
    let answer = client::ask(storage, request, |step| shown.step(&step));
    shown.end();
    answer.map_err(|error| match error {
        Error::NoDaemon(e) => fail(format_args!(
            "no daemon is running for {} ({}: {}); start it with `coffre serve --config {}`",
            storage.display(),
            socket_path(storage).display(),
            reason(&e),
            context.config.display()
        )),
        Error::Broken(why) => fail(why),
        Error::Refused(failure) if failure.config => {
            eprintln!("{}", failure.message);
            Exit::Config
        }
        Error::Refused(failure) => fail(failure.message),
    })
}

/// An answer of another kind than was asked for.
pub(super) fn misunderstood() -> Exit {
    fail("the daemon answered something else, is it of another version?")
}

/// Progress on stderr: one line that changes on a terminal, a plain line now and then elsewhere.
#[derive(Default)]
struct Shown {
    live_line: bool,
    last_plain: Option<Instant>,
}

impl Shown {
    fn step(&mut self, step: &Progress) {
        let mut out = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to stop.
        let _ = match step {
            Progress::Note(text) => {
                let clear = if self.live_line { "\r\x1b[K" } else { "" };
                self.live_line = false;
                writeln!(out, "{clear}{text}")
            }
            Progress::Count {
                what,
                files,
                directories,
            } => {
                let text = format!(
                    "{what} {} in {}",
                    count(*files, "file"),
                    count(*directories, "directory")
                );
                if out.is_terminal() {
                    self.live_line = true;
                    write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
                } else if self
                    .last_plain
                    .is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL)
                {
                    self.last_plain = Some(Instant::now());
                    writeln!(out, "{text}")
                } else {
                    Ok(())
                }
            }
        };
    }

    fn end(&mut self) {
        if self.live_line {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            self.live_line = false;
        }
    }
}
