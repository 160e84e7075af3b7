//! How the command line talks to the daemon: one request and its answer as lines of JSON over
//! `<storage>/.coffre/control.sock`.
//!
//! ```text
//! coffre snapshot web01 ──{"verb":"snapshot","tenant":"web01"}──▶ daemon
//!                       ◀──{"progress":{"what":"linked","files":120000,"directories":4031}}
//!                       ◀──{"done":{"snapshot":{"name":"2026-11-20T093000Z",…}}}
//! ```
//!
//! The socket has mode 0600 in a directory of mode 0700: who may open it may read every backup
//! anyway, so there is no further permission. The facts in an answer are what `--json` prints.
//! Both ends are of one build; a line that one cannot read is an error, never guessed at.

pub mod client;
pub mod facts;
pub mod listener;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use facts::{PruneFacts, ReloadFacts, StatusFacts, TakenFacts};

/// The socket's name in `<storage>/.coffre/`.
pub const SOCKET: &str = "control.sock";

/// What the command line asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    Reload,
    /// Take a snapshot now.
    Snapshot {
        tenant: String,
    },
    /// `None`: all tenants.
    Prune {
        tenant: Option<String>,
    },
}

/// A line from the daemon. [`Reply::Done`] or [`Reply::Failed`] is the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Progress(Progress),
    Done(Answer),
    Failed(Failure),
}

/// How far long work has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Something that is waited for, or a step that begins.
    Note(String),
    /// `linked 120000 files in 4031 directories`.
    Count {
        what: String,
        files: u64,
        directories: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Status(StatusFacts),
    Reloaded(ReloadFacts),
    Snapshot(TakenFacts),
    Pruned(Vec<PruneFacts>),
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people; it may have several lines.
    pub message: String,
    /// The configuration is at fault (exit 78).
    pub config: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            config: false,
        }
    }
}

/// `<storage>/.coffre/control.sock`.
pub fn socket_path(storage: &Path) -> PathBuf {
    storage.join(crate::daemon::INNER_DIRECTORY).join(SOCKET)
}

/// A socket's address has room for 107 bytes. A longer path is reached through its directory,
/// opened: the descriptor must live as long as the path is used.
fn reachable(socket: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    const ROOM: usize = 107;
    if socket.as_os_str().len() <= ROOM {
        return Ok((socket.to_owned(), None));
    }
    let directory = socket.parent().unwrap_or(Path::new("/"));
    let directory = OwnedFd::from(std::fs::File::open(directory)?);
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(SOCKET);
    Ok((short, Some(directory)))
}
