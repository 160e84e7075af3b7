//! The part of an rsync session that runs confined: remaining arguments, handshake, transfer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coffre_protocol::command::Word;
use coffre_protocol::flist::Limits;
use coffre_protocol::handshake::{Handshake, Negotiated};
use coffre_protocol::mux::{MessageKind, put_message};
use coffre_protocol::options::{
    RemoveSource, Role, SecludedArgs, ServerOptions, render_usage_error,
};
use coffre_protocol::wire::{DecodeError, Reader};
use coffre_protocol::{ExitCode, ProtocolError, ProtocolVersion};

use super::accounts::Accounts;
use super::outcome::Outcome;
use super::pipe::{Event, Output};
use super::receive::{Names, Receiver};
use super::send::{Sender, View};
use super::{Admitted, Pipe};
use crate::config::{LandlockPolicy, SeccompPolicy, SessionLimits};
use crate::confine::{Kind, Metadata, TenantRoot, landlock};
use crate::fence::seccomp;

/// How long a client may take for its part of the handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(60);

/// How long our version waits for the client's, so that a refusal can go before it. Every known
/// client sends its version without waiting for ours.
const VERSION_TIME: Duration = Duration::from_secs(1);

/// How far ahead of our version a refusal goes: a client that finds the version wrong itself ends
/// its ssh at once, and that loses what it has not printed yet.
const WORDS_TIME: Duration = Duration::from_millis(100);

/// Which end of the transfer the server is, and what it works with.
pub(super) enum End {
    Receive(TenantRoot),
    Send(View),
}

impl End {
    fn role(&self) -> Role {
        match self {
            End::Receive(_) => Role::Receiver,
            End::Send(_) => Role::Sender,
        }
    }
}

pub(super) struct Push {
    pub(super) pipe: Arc<Pipe>,
    pub(super) end: End,
    pub(super) home: PathBuf,
    pub(super) landlock: LandlockPolicy,
    pub(super) seccomp: SeccompPolicy,
    pub(super) limits: SessionLimits,
    pub(super) admitted: Admitted,
    pub(super) accounts: Arc<Accounts>,
    /// Names of owners count; see [`crate::config::Tenant::owner_names`].
    pub(super) owner_names: bool,
    pub(super) options: ServerOptions,
    /// The words that `options` was made of.
    pub(super) words: Vec<Word>,
}

/// What the client sends before the transfer.
struct Opening<'a> {
    pipe: &'a Pipe,
    bytes: Vec<u8>,
    deadline: Instant,
}

enum Refused {
    /// Before the protocol began: told on stderr.
    Usage(ProtocolError),
    /// In the handshake: told on stderr, before what is left to send on stdout.
    Protocol {
        error: ProtocolError,
        unsent: Bytes,
    },
    Gone,
}

impl Refused {
    fn protocol(error: ProtocolError) -> Self {
        Self::Protocol {
            error,
            unsent: Bytes::new(),
        }
    }
}

impl<'a> Opening<'a> {
    fn new(pipe: &'a Pipe) -> Self {
        Self {
            pipe,
            bytes: Vec::new(),
            deadline: Instant::now() + HANDSHAKE_TIME,
        }
    }

    fn more(&mut self) -> Result<(), Refused> {
        match self.pipe.wait(None, Some(self.deadline)) {
            Event::Input(bytes) => {
                self.bytes.extend_from_slice(&bytes);
                Ok(())
            }
            Event::TimedOut => Err(Refused::protocol(ProtocolError {
                exit: ExitCode::Timeout,
                message: "the client did not finish the handshake in time".to_owned(),
            })),
            Event::OutputRoom => Ok(()),
            Event::InputEnd | Event::Disconnected => Err(Refused::Gone),
        }
    }

    /// The words that follow on stdin with `--secluded-args`.
    fn secluded_words(&mut self) -> Result<Vec<Word>, Refused> {
        let mut decoder = SecludedArgs::new();
        let mut words = Vec::new();
        loop {
            let mut reader = Reader::new(&self.bytes);
            let step = decoder.decode_word(&mut reader);
            let used = reader.consumed();
            match step {
                Ok(word) => {
                    self.bytes.drain(..used);
                    match word {
                        Some(word) => words.push(word),
                        None => return Ok(words),
                    }
                }
                Err(DecodeError::Incomplete) => self.more()?,
                Err(DecodeError::Malformed(error)) => return Err(Refused::Usage(error)),
            }
        }
    }

    fn handshake(&mut self, options: &ServerOptions) -> Result<Negotiated, Refused> {
        let mut handshake =
            Handshake::new(options, ProtocolVersion::OWN, seed()).map_err(Refused::protocol)?;
        if options.remove_source != RemoveSource::No {
            // The client is told which files are safe once all are on disk; with incremental
            // recursion it would have forgotten them by then.
            handshake = handshake.without_incremental_recursion();
        }
        if self.bytes.is_empty() {
            let patience = Instant::now() + VERSION_TIME;
            if let Event::Input(bytes) = self.pipe.wait(None, Some(patience)) {
                self.bytes.extend_from_slice(&bytes);
            }
        }
        loop {
            let mut reader = Reader::new(&self.bytes);
            let result = handshake.decode(&mut reader);
            let used = reader.consumed();
            let output = Bytes::from(handshake.take_output());
            if let Err(DecodeError::Malformed(error)) = result {
                let unsent = output;
                return Err(Refused::Protocol { error, unsent });
            }
            if !output.is_empty() {
                self.pipe.send(Output::Stdout(output));
            }
            match result {
                Ok(negotiated) => {
                    self.bytes.drain(..used);
                    return Ok(negotiated);
                }
                Err(_) => self.more()?,
            }
        }
    }
}

/// Unpredictable, so that nobody can prepare blocks whose sums collide.
fn seed() -> i32 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        // Not 0, which stands for none.
        Ok(()) => (i32::from_le_bytes(bytes) & i32::MAX).max(1),
        Err(_) => std::process::id() as i32,
    }
}

/// As [`render_usage_error`]; the mismatch of versions in the very words of stock, which people
/// look up: it is what noise of a login shell leads to.
fn render_handshake_error(error: &ProtocolError) -> String {
    let text = render_usage_error(error).replace("[server=", "[Receiver=");
    // Said in the handshake, and nobody's failure.
    if error.message.contains(" requires protocol ") {
        let text = text.strip_prefix("rsync: ").unwrap_or(&text);
        return text.replacen('\n', ".\n", 1);
    }
    if !error.message.starts_with("protocol version mismatch") {
        return text;
    }
    let manual = "(see the rsync manpage for an explanation)\n";
    let text = text.strip_prefix("rsync: ").unwrap_or(&text);
    match text.split_once('\n') {
        Some((first, rest)) => format!("{first}\n{manual}{rest}"),
        None => text.to_owned(),
    }
}

/// Sends what a client reads after what its user reads.
fn send_behind_words(pipe: &Pipe, unsent: Bytes) {
    if unsent.is_empty() {
        return;
    }
    let deadline = Instant::now() + WORDS_TIME;
    while matches!(pipe.wait(None, Some(deadline)), Event::Input(_)) {}
    pipe.send(Output::Stdout(unsent));
}

impl Push {
    pub(super) fn run(self) -> Outcome {
        let confined = match &self.end {
            End::Receive(_) => {
                landlock::confine_thread(self.landlock, &landlock::receiving(&self.home))
            }
            End::Send(_) => landlock::confine_thread(self.landlock, &landlock::sending(&self.home)),
        };
        if let Err(error) = confined {
            tracing::error!(%error, "cannot confine a session");
            let refusal = ProtocolError {
                exit: ExitCode::Unsupported,
                message: "the server cannot confine this session and refuses it; ask its admin"
                    .to_owned(),
            };
            refuse(&self.pipe, self.options, &refusal);
            return Outcome::failed(ExitCode::Unsupported, error.to_string());
        }
        if let Err(error) = seccomp::for_session(self.seccomp) {
            tracing::error!(%error, "cannot confine a session");
            let refusal = ProtocolError {
                exit: ExitCode::Unsupported,
                message: "the server cannot confine this session and refuses it; ask its admin"
                    .to_owned(),
            };
            refuse(&self.pipe, self.options, &refusal);
            return Outcome::failed(ExitCode::Unsupported, error.to_string());
        }
        match self.converse() {
            Ok(outcome) => outcome,
            Err((_, Refused::Gone)) => Outcome::failed(
                ExitCode::StreamIo,
                "the connection was lost in the handshake",
            ),
            Err((pipe, Refused::Usage(error))) => {
                pipe.send(Output::Stderr(render_usage_error(&error).into()));
                Outcome::failed(error.exit, error.message)
            }
            Err((pipe, Refused::Protocol { error, unsent })) => {
                pipe.send(Output::Stderr(render_handshake_error(&error).into()));
                send_behind_words(&pipe, unsent);
                Outcome::failed(error.exit, error.message)
            }
        }
    }

    fn converse(self) -> Result<Outcome, (Arc<Pipe>, Refused)> {
        let pipe = Arc::clone(&self.pipe);
        let mut opening = Opening::new(&pipe);
        let mut options = self.options;
        if options.secluded {
            let words = opening
                .secluded_words()
                .map_err(|refused| (Arc::clone(&pipe), refused))?;
            options = ServerOptions::parse_secluded(&self.words, &words)
                .map_err(|error| (Arc::clone(&pipe), Refused::Usage(error)))?;
            // What was let in by the words of the command is not to be another thing by these.
            let other_end = (options.role != self.end.role())
                .then(|| ProtocolError::usage("--sender belongs into the command, not behind it"));
            if let Some(refusal) = other_end.or_else(|| self.admitted.refusal(&options)) {
                say_refusal(&mut opening, &options, &refusal);
                return Ok(Outcome::failed(refusal.exit, refusal.message));
            }
        }
        let mut end = self.end;
        let mut names = None;
        if let End::Receive(root) = &mut end {
            check_munging(root, &options)
                .map_err(|error| (Arc::clone(&pipe), Refused::Usage(error)))?;
            let metadata = match options.fake_super {
                true => Metadata::Xattr,
                false => root.metadata(),
            };
            root.keep_attributes(metadata, options.super_user != Some(false));
            names = Names::open(root, &options)
                .map_err(|error| (Arc::clone(&pipe), Refused::Usage(error)))?;
        }
        let negotiated = opening
            .handshake(&options)
            .map_err(|refused| (Arc::clone(&pipe), refused))?;
        let limits = of_lists(&self.limits);
        let owners = (self.accounts, self.owner_names);
        Ok(match end {
            End::Receive(root) => Receiver::new(
                pipe.clone(),
                root,
                &options,
                negotiated,
                limits,
                names,
                owners,
            )
            .run(&opening.bytes),
            End::Send(view) => {
                Sender::new(pipe.clone(), Arc::new(view), options, negotiated, limits)
                    .run(&opening.bytes)
            }
        })
    }
}

/// A directory where munged links lead to would make them work.
fn check_munging(root: &TenantRoot, options: &ServerOptions) -> Result<(), ProtocolError> {
    let munged = root.resolve(b"/rsyncd-munged");
    let exists = options.munge_links
        && munged.is_ok_and(|path| matches!(root.kind_at(&path), Ok(Some(Kind::Dir))));
    match exists {
        true => Err(ProtocolError::unsupported(
            "Symlink munging is unsafe when a /rsyncd-munged directory exists.",
        )),
        false => Ok(()),
    }
}

/// A session's memory, shared out: a list that arrives may take as much as those that are held
/// already, and ACLs and extended attributes the last quarter.
pub(super) fn of_lists(limits: &SessionLimits) -> Limits {
    let memory = usize::try_from(limits.memory).unwrap_or(usize::MAX);
    Limits {
        entries: limits.files,
        list_bytes: memory / 8 * 3,
        cache_bytes: memory / 4,
        id_names: usize::try_from(limits.files)
            .unwrap_or(usize::MAX)
            .min(1 << 20),
        name: limits.path,
        link_target: limits.path,
        xattr_value: u32::try_from(limits.xattrs).unwrap_or(u32::MAX),
        xattr_set: limits.xattrs,
        ..Limits::default()
    }
}

/// Refuses a session after the handshake, where a client can read why and takes over the exit
/// code; the caller ends the pipe.
pub(super) fn refuse(pipe: &Pipe, options: ServerOptions, refusal: &ProtocolError) {
    let mut opening = Opening::new(pipe);
    let mut options = options;
    if options.secluded {
        // The words are of no interest any more, but stand before the handshake.
        if opening.secluded_words().is_err() {
            return;
        }
        options.secluded = false;
    }
    say_refusal(&mut opening, &options, refusal);
}

fn say_refusal(opening: &mut Opening<'_>, options: &ServerOptions, refusal: &ProtocolError) {
    let text = render_usage_error(refusal);
    let negotiated = match opening.handshake(options) {
        Ok(negotiated) => negotiated,
        Err(refused) => {
            opening.pipe.send(Output::Stderr(text.into()));
            if let Refused::Protocol { unsent, .. } = refused {
                send_behind_words(opening.pipe, unsent);
            }
            return;
        }
    };
    let mut wire = Vec::new();
    let kind = if negotiated.version.at_least(30) {
        MessageKind::Error
    } else {
        MessageKind::ErrorXfer
    };
    for line in text.split_inclusive('\n') {
        put_message(&mut wire, kind, line.as_bytes());
    }
    if negotiated.version.at_least(31) {
        let code = i32::from(refusal.exit.code());
        put_message(&mut wire, MessageKind::ErrorExit, &code.to_le_bytes());
    }
    opening.pipe.send(Output::Stdout(Bytes::from(wire)));
    // A client in the middle of writing its list gets to read why. Before protocol 31 it would
    // wait for the end of the connection instead of ending itself.
    let patience = if negotiated.version.at_least(31) {
        10
    } else {
        1
    };
    let deadline = Instant::now() + Duration::from_secs(patience);
    while matches!(
        opening.pipe.wait(None, Some(deadline)),
        Event::Input(_) | Event::OutputRoom
    ) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn seeds_are_positive_and_differ() {
        let seeds: HashSet<i32> = (0..100).map(|_| super::seed()).collect();
        assert!(seeds.iter().all(|seed| *seed > 0));
        assert!(seeds.len() > 95, "{seeds:?}");
    }
}
