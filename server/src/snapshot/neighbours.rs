//! What a snapshot that is a subvolume holds alone.
//!
//! Nothing in it tells that: what it shares with others are blocks, not inodes with links. But a
//! file has one state after another, and none comes back, so what neither the snapshot before nor
//! the one after it has (or live, for the newest), no other has.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::SnapshotError;
use super::home::Home;
use super::name::SnapshotName;
use super::numbers::Numbers;
use super::progress::Progress;
use super::recycle::open_held;
use super::tree::{Node, Place};
use super::walk::{self, each_entry};

/// Takes out of `versions` (see [`Numbers`]), which snapshot `name` has, those that its neighbours
/// have too.
pub(super) fn leave_own(
    home: &Home,
    name: SnapshotName,
    versions: HashSet<u64>,
    progress: &dyn Progress,
) -> Result<HashSet<u64>, SnapshotError> {
    let names = home.directories()?.into_iter();
    let mut before = None;
    let mut after = None;
    for other in names.filter_map(|other| other.parse::<SnapshotName>().ok()) {
        let top = match open_held(home, other) {
            Err(SnapshotError::Missing(_)) => continue,
            top => top?,
        };
        if !is_own(home, &top)? {
            continue;
        }
        match other.cmp(&name) {
            std::cmp::Ordering::Less => before = before.max(Some(other)),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => after = Some(after.map_or(other, |a| other.min(a))),
        }
    }
    let versions = Mutex::new(versions);
    for neighbour in [before, after].into_iter().flatten() {
        match open_held(home, neighbour) {
            Err(SnapshotError::Missing(_)) => {}
            top => take_out(top?, &versions, progress)?,
        }
    }
    if after.is_none() {
        let live = home.live()?;
        if is_own(home, &live)? {
            take_out(live, &versions, progress)?;
        }
    }
    Ok(versions
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner))
}

fn is_own(home: &Home, top: &OwnedFd) -> Result<bool, SnapshotError> {
    let numbers = Numbers::of_tree(top, &home.snapshots);
    let numbers = numbers.map_err(|error| home.fail("look at", "", error))?;
    Ok(numbers == Numbers::Own)
}

/// Takes out what is in a tree, which may be live, and change meanwhile.
fn take_out(
    top: OwnedFd,
    versions: &Mutex<HashSet<u64>>,
    progress: &dyn Progress,
) -> Result<(), SnapshotError> {
    let first = Place {
        parent: Node::root(c".", top),
        name: c".".to_owned(),
    };
    walk::run(2, vec![first], |place, found, scratch| {
        if progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        let directory = match place.open() {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(|e| SnapshotError::io("open", &place.path(), e))?,
        };
        let mut met = Vec::new();
        let mut subdirectories: Vec<CString> = Vec::new();
        let each = |name: &CStr, kind, inode| {
            match kind {
                FileType::Directory => subdirectories.push(name.to_owned()),
                _ => met.push(Numbers::Own.version(&directory, name, inode)),
            }
            Ok(())
        };
        each_entry(&directory, &mut scratch.entries, || place.path(), each)?;
        {
            let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
            for version in &met {
                versions.remove(version);
            }
        }
        let parent = place.into_node(directory);
        found.extend(subdirectories.into_iter().map(|name| Place {
            parent: Arc::clone(&parent),
            name,
        }));
        Ok(())
    })
}
