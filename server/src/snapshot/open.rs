//! Opens a tree to be read: a snapshot, which stays as it is meanwhile, or live, which does not.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use super::home::Home;
use super::name::SnapshotName;
use super::numbers::{Numbers, identity};
use super::recycle::{Held, hold_any};

/// See the module's story.
pub(crate) struct OpenTree {
    root: OwnedFd,
    numbers: Numbers,
    /// Nobody recycles the snapshot as long as this lives.
    _held: Option<Held>,
}

/// Opens a snapshot, whoever made it, or live (no name). `None`: the tree is no more.
pub(crate) fn open_tree(
    home: &Path,
    name: Option<SnapshotName>,
) -> Result<Option<OpenTree>, SnapshotError> {
    let Some(opened) = Home::open(home)? else {
        return Ok(None);
    };
    let (root, held) = match name {
        None => match opened.live() {
            Err(SnapshotError::NoLive) => return Ok(None),
            root => (root?, None),
        },
        Some(name) => {
            let held = match hold_any(home, name) {
                Err(SnapshotError::Missing(_)) => return Ok(None),
                held => held?,
            };
            let fail = |error| SnapshotError::io("open", name.to_string().as_bytes(), error);
            (held.root().try_clone().map_err(fail)?, Some(held))
        }
    };
    let label = name.map_or("live".to_owned(), |name| name.to_string());
    let numbers = Numbers::of_tree(&root, &opened.snapshots)
        .map_err(|error| SnapshotError::io("look at", label.as_bytes(), error))?;
    Ok(Some(OpenTree {
        root,
        numbers,
        _held: held,
    }))
}

impl OpenTree {
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// What inode numbers mean in it.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// What its manifest knows it by, where it was built.
    pub(crate) fn identity(&self) -> std::io::Result<u64> {
        Ok(identity(&self.root)?)
    }

    /// A path that leads to it as long as it is open, whatever becomes of its name.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }
}
