//! Why a snapshot could not be taken, read or removed.

use std::io;

use coffre_protocol::error::escape;

use super::name::SnapshotName;

/// Paths in the messages are relative to the tenant's directory, and escaped.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot {doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("cancelled before it was complete")]
    Cancelled,
    #[error("another snapshot of this tenant is being built")]
    Busy,
    #[error("there is no live tree: nothing has been pushed yet")]
    NoLive,
    #[error(
        "live and snapshots are not in one file system (or not in one btrfs subvolume, where live is \
         none itself), so files cannot be shared between them"
    )]
    Apart,
    #[error("{name} is not a snapshot that coffre made for this tenant: {why}")]
    NotOurs { name: String, why: String },
    #[error("there is no snapshot {0}")]
    Missing(SnapshotName),
    #[error("{path} is a mount point; nothing in it was touched; unmount it first")]
    MountInside { path: String },
    #[error("no snapshot can be named after the year of {0}")]
    TimeOutOfRange(jiff::Timestamp),
}

impl SnapshotError {
    /// `path`: as bytes, relative to the tenant's directory.
    pub(crate) fn io(doing: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: escape(path),
            source: source.into(),
        }
    }

    /// The store has run out of room (or of quota, or of inodes).
    pub fn is_out_of_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
