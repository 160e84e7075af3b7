//! Opens a tree to be read: a snapshot, which stays as it is meanwhile, or live, which does not.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use super::home::open_live;
use super::name::SnapshotName;
use super::recycle::{Held, hold_any};

/// See the module's story.
pub(crate) struct OpenTree {
    root: OwnedFd,
    /// Nobody recycles the snapshot as long as this lives.
    _held: Option<Held>,
}

/// Opens a snapshot, whoever made it, or live (no name). `None`: the tree is no more.
pub(crate) fn open_tree(
    home: &Path,
    name: Option<SnapshotName>,
) -> Result<Option<OpenTree>, SnapshotError> {
    let Some(name) = name else {
        return match open_live(home) {
            Err(SnapshotError::NoLive) => Ok(None),
            root => Ok(Some(OpenTree {
                root: root?,
                _held: None,
            })),
        };
    };
    let held = match hold_any(home, name) {
        Err(SnapshotError::Missing(_)) => return Ok(None),
        held => held?,
    };
    let fail = |error| SnapshotError::io("open", name.to_string().as_bytes(), error);
    Ok(Some(OpenTree {
        root: held.root().try_clone().map_err(fail)?,
        _held: Some(held),
    }))
}

impl OpenTree {
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A path that leads to it as long as it is open, whatever becomes of its name.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }
}
