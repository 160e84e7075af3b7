//! What can go wrong with a peer, and rsync's exit codes by name.

use std::fmt;

/// Exit codes of rsync; clients and their scripts know these numbers.
/// Source: rsync `errcode.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    Ok = 0,
    Syntax = 1,
    Protocol = 2,
    FileSelect = 3,
    Unsupported = 4,
    StartClient = 5,
    SocketIo = 10,
    FileIo = 11,
    StreamIo = 12,
    Signal = 20,
    Partial = 23,
    Vanished = 24,
    DeleteLimit = 25,
    Timeout = 30,
}

impl ExitCode {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The words that follow `rsync error: ` in the last line a client prints.
    pub fn text(self) -> &'static str {
        match self {
            ExitCode::Ok => "success",
            ExitCode::Syntax => "syntax or usage error",
            ExitCode::Protocol => "protocol incompatibility",
            ExitCode::FileSelect => "errors selecting input/output files, dirs",
            ExitCode::Unsupported => "requested action not supported",
            ExitCode::StartClient => "error starting client-server protocol",
            ExitCode::SocketIo => "error in socket IO",
            ExitCode::FileIo => "error in file IO",
            ExitCode::StreamIo => "error in rsync protocol data stream",
            ExitCode::Signal => "received SIGINT, SIGTERM, or SIGHUP",
            ExitCode::Partial => "some files/attrs were not transferred (see previous errors)",
            ExitCode::Vanished => "some files vanished before they could be transferred",
            ExitCode::DeleteLimit => "the --max-delete limit stopped deletions",
            ExitCode::Timeout => "timeout in data send/receive",
        }
    }
}

/// The peer broke a rule, or asked for something that is not done here.
///
/// The message is one sentence without full stop, fit to be shown to the client: it never names a
/// path of the server, and bytes of the peer in it are escaped (see [`escape`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError {
    pub exit: ExitCode,
    pub message: String,
}

impl ProtocolError {
    /// The bytes make no sense as rsync's stream: exit 12.
    pub fn stream(message: impl Into<String>) -> Self {
        Self {
            exit: ExitCode::StreamIo,
            message: message.into(),
        }
    }

    /// A value is out of its range or out of turn: exit 2.
    pub fn violation(message: impl Into<String>) -> Self {
        Self {
            exit: ExitCode::Protocol,
            message: message.into(),
        }
    }

    /// The client asked for something this server refuses or does not know: exit 4.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self {
            exit: ExitCode::Unsupported,
            message: message.into(),
        }
    }

    /// The command line makes no sense: exit 1.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: ExitCode::Syntax,
            message: message.into(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProtocolError {}

/// Renders bytes from a peer for a message or a log: control characters and invalid UTF-8 appear
/// as `\#ooo` (octal, as rsync prints them), and what is longer than 256 bytes is cut with `…`.
pub fn escape(bytes: &[u8]) -> String {
    const SHOWN: usize = 256;
    let mut out = String::with_capacity(bytes.len().min(SHOWN) + 8);
    let shown = &bytes[..bytes.len().min(SHOWN)];
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut buf = [0; 4];
                for b in c.encode_utf8(&mut buf).bytes() {
                    push_octal(&mut out, b);
                }
            } else {
                out.push(c);
            }
        }
        for &b in chunk.invalid() {
            push_octal(&mut out, b);
        }
    }
    if bytes.len() > SHOWN {
        out.push('…');
    }
    out
}

fn push_octal(out: &mut String, byte: u8) {
    out.push_str(&format!("\\#{byte:03o}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_broken_utf8_are_escaped_and_long_text_is_cut() {
        assert_eq!(escape(b"a\nb\x1b[31m"), "a\\#012b\\#033[31m");
        assert_eq!(escape(b"caf\xc3\xa9 \xff"), "café \\#377");
        let long = escape(&[b'x'; 300]);
        assert_eq!(long.chars().filter(|c| *c == 'x').count(), 256);
        assert!(long.ends_with('…'));
    }
}
