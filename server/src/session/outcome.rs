//! How a transfer ends.

use coffre_protocol::flist::IdNames;
use coffre_protocol::{ExitCode, ProtocolError};

/// Why a run ends before its goodbye.
#[derive(Debug)]
pub(crate) enum Fatal {
    /// Told to the client, which ends with the same code.
    Exit { exit: ExitCode, message: String },
    /// The client said that it ends with this code.
    PeerExit(i32),
    /// The connection is gone.
    Disconnected,
}

impl Fatal {
    pub(crate) fn exit(exit: ExitCode, message: impl Into<String>) -> Self {
        Fatal::Exit {
            exit,
            message: message.into(),
        }
    }

    pub(crate) fn violation(message: impl Into<String>) -> Self {
        Fatal::exit(ExitCode::Protocol, message)
    }

    /// A mistake of ours.
    pub(crate) fn internal(what: &str) -> Self {
        Fatal::exit(
            ExitCode::Protocol,
            format!("internal error of the server: {what}"),
        )
    }
}

impl From<ProtocolError> for Fatal {
    fn from(error: ProtocolError) -> Self {
        Fatal::Exit {
            exit: error.exit,
            message: error.message,
        }
    }
}

/// How a run ended, for the record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) exit: u32,
    /// The goodbye was said and everything is on disk, without an error that makes the tree less
    /// than what the client wanted.
    pub(crate) ended_well: bool,
    /// The tenant's tree may have been changed.
    pub(crate) touched: bool,
    pub(crate) error: Option<String>,
    pub(crate) files: u64,
    pub(crate) transferred: u64,
    pub(crate) created: u64,
    pub(crate) deleted: u64,
    pub(crate) literal: u64,
    pub(crate) matched: u64,
    pub(crate) total_size: u64,
    /// The names that the client gave for the owners in its lists.
    pub(crate) owner_names: IdNames,
}

impl Outcome {
    /// A session that ended before it began.
    pub(crate) fn failed(exit: ExitCode, error: impl Into<String>) -> Self {
        Self {
            exit: exit.code().into(),
            error: Some(error.into()),
            ..Self::default()
        }
    }
}
