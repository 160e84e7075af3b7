//! Makes an expiring snapshot into the new one, which then costs what has changed since, and not
//! what there is.
//!
//! Linking a million files that are linked in an old snapshot already, to unlink a million links
//! of that one right afterwards, is the work that makes hard-link backups slow. Instead, the old
//! tree goes on as the new one. [`claim`] takes its name away, by one rename to a `.building-` one:
//! from there on it is a snapshot under construction like any other, which the next sweep clears if
//! this process dies. Then the usual walk goes through live and it together, and compares what
//! the directories list.
//!
//! The same name with the same inode number is the same file: as long as the old snapshot holds
//! its link, nobody else can get that number. So files are not looked at, and where a whole
//! directory is equal (its attributes, too), nothing is written.
//!
//! What is to go and is a directory is moved out, to [`Gone`], and removed later: whoever waits
//! for the snapshot need not wait for that.
//!
//! Mount points in live or in the old tree would show inode numbers of what lies beneath them, so
//! where there are any, snapshots are made anew. And while somebody reads an old snapshot, which
//! [`hold`] says, it is left to be pruned.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, RenameFlags};
use rustix::io::Errno;

use super::attributes;
use super::error::SnapshotError;
use super::home::{Home, Stage};
use super::list::{Origin, origin};
use super::marker;
use super::name::SnapshotName;
use super::numbers::Numbers;
use super::remove::open_writable;
use super::usage::charge_of;
use super::walk::open_directory;

/// Keeps a snapshot as it is while it is read: it is not recycled, and a prune takes its name only,
/// and leaves the tree to a later one.
#[derive(Debug)]
pub struct Held {
    root: OwnedFd,
}

impl Held {
    /// The snapshot's directory.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }
}

/// Opens a snapshot of ours to be read. Whoever reads one for longer than a moment holds it, or
/// could find files of another time in it.
pub fn hold(home: &Path, name: SnapshotName) -> Result<Held, SnapshotError> {
    let home = Home::open(home)?.ok_or(SnapshotError::Missing(name))?;
    let root = open_held(&home, name)?;
    // Between the name and the lock it may have become another one, and its mark says so.
    match marker::check(&home, &root, name) {
        Ok(()) => Ok(Held { root }),
        Err(marker::Unfit::OtherName) => Err(SnapshotError::Missing(name)),
        Err(why) => Err(SnapshotError::NotOurs {
            name: name.to_string(),
            why: why.to_string(),
        }),
    }
}

/// The same, whoever made it.
pub fn hold_any(home: &Path, name: SnapshotName) -> Result<Held, SnapshotError> {
    let home = Home::open(home)?.ok_or(SnapshotError::Missing(name))?;
    let root = open_held(&home, name)?;
    Ok(Held { root })
}

/// The same for a directory that need not be ours.
pub(super) fn open_held(home: &Home, name: SnapshotName) -> Result<OwnedFd, SnapshotError> {
    let file_name = name.to_string();
    let root = match open_directory(&home.snapshots, &c_name(name)) {
        Err(Errno::NOENT) => return Err(SnapshotError::Missing(name)),
        other => other.map_err(|error| home.fail("open", &file_name, error))?,
    };
    match rustix::fs::flock(&root, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(root),
        // It is becoming another one at this moment.
        Err(Errno::WOULDBLOCK) => Err(SnapshotError::Missing(name)),
        Err(error) => Err(home.fail("lock", &file_name, error)),
    }
}

fn c_name(name: SnapshotName) -> CString {
    CString::new(name.to_string()).expect("a name has no NUL")
}

/// Takes the name of the expiring snapshot `old` away, and gives it that of a building one.
/// Returns its directory, which stays locked as long as it is open, for the walk.
///
/// The inner error says why it cannot be used, which is no reason not to take a snapshot.
pub(super) fn claim(
    home: &Home,
    live: &OwnedFd,
    old: SnapshotName,
    building: &CStr,
) -> Result<Result<OwnedFd, String>, SnapshotError> {
    match origin(home, old)? {
        Some(Origin::Ours) => {}
        Some(Origin::Foreign(why)) => return Ok(Err(why)),
        None => return Ok(Err("it is gone".to_owned())),
    }
    let is_subvolume = open_directory(&home.snapshots, &c_name(old))
        .and_then(|root| Ok(Numbers::of_tree(&root, &home.snapshots)? == Numbers::Own));
    if is_subvolume == Ok(true) {
        return Ok(Err("it is a btrfs subvolume, and live is none".to_owned()));
    }
    let file_name = old.to_string();
    let fail = |doing| {
        let file_name = &file_name;
        move |error: Errno| home.fail(doing, file_name, error)
    };
    let root = open_writable(&home.snapshots, &c_name(old)).map_err(fail("open"))?;
    match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(Err("it is being read".to_owned())),
        other => other.map_err(fail("lock"))?,
    }
    if let Some(inside) = mount_below(&[live, &root]) {
        return Ok(Err(format!("{inside} is a mount point")));
    }
    match rustix::fs::renameat_with(
        &home.snapshots,
        c_name(old),
        &home.snapshots,
        building,
        RenameFlags::NOREPLACE,
    ) {
        Err(Errno::NOENT) => return Ok(Err("it is gone".to_owned())),
        other => other.map_err(fail("rename"))?,
    }
    // No change of its content may be on disk before this is.
    rustix::fs::fsync(&home.snapshots).map_err(fail("rename"))?;
    Ok(Ok(root))
}

/// A mount point beneath one of the directories, escaped. Where it cannot be known, the directory
/// itself.
fn mount_below(directories: &[&OwnedFd]) -> Option<String> {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    directories.iter().find_map(|directory| {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let mut path = path.ok()?.into_os_string().into_encoded_bytes();
        if mounts.is_empty() {
            return Some(coffre_protocol::error::escape(&path));
        }
        path.push(b'/');
        // The fifth field of each line is the mount point. Source: proc_pid_mountinfo(5).
        mounts
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
            .map(unescape)
            .find(|point| point.starts_with(&path))
            .map(|point| coffre_protocol::error::escape(&point))
    })
}

/// The kernel writes blanks and the like as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (byte, after.get(..3).and_then(octal)) {
            (b'\\', Some(meant)) => {
                plain.push(meant);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// Where directories go that the new snapshot has not.
pub(super) struct Gone {
    directory: OwnedFd,
    /// In `snapshots/`: swept like a building one.
    file_name: CString,
    moved: AtomicU64,
}

impl Gone {
    pub(super) fn make(home: &Home, name: SnapshotName) -> Result<Self, SnapshotError> {
        // 1 is what `relink` works in.
        let file_name = Stage::Building.name_of(name, 2);
        let fail = |error: Errno| home.fail("create", &file_name.to_string_lossy(), error);
        rustix::fs::mkdirat(&home.snapshots, &file_name, Mode::RWXU).map_err(fail)?;
        let directory = open_directory(&home.snapshots, &file_name).map_err(fail)?;
        Ok(Self {
            directory,
            file_name,
            moved: AtomicU64::new(0),
        })
    }

    /// Moves a directory out of the tree.
    pub(super) fn move_out(&self, parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        let n = self.moved.fetch_add(1, Ordering::Relaxed);
        let to = CString::new(n.to_string()).expect("a number has no NUL");
        match rustix::fs::renameat(parent, name, &self.directory, &to) {
            // To get another parent, a directory must be writable itself.
            Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
                open_writable(parent, name)?;
                rustix::fs::renameat(parent, name, &self.directory, &to)
            }
            other => other,
        }
    }

    /// What its own directory takes, if it is left.
    pub(super) fn stays(&self) -> Option<i64> {
        let is_needed = self.moved.load(Ordering::Relaxed) > 0;
        let stat = attributes::stat(&self.directory).ok()?;
        is_needed.then(|| charge_of(&stat))
    }

    /// Leaves what was moved out to be removed with the next prune.
    pub(super) fn leave(self, home: &Home, old: SnapshotName) -> Result<(), SnapshotError> {
        match self.moved.into_inner() {
            0 => rustix::fs::unlinkat(&home.snapshots, &self.file_name, AtFlags::REMOVEDIR)
                .map_err(|error| home.fail("remove", &self.file_name.to_string_lossy(), error)),
            _ => home.set_aside(&self.file_name, old).map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c\0x"), br"/a b\c\0x");
        assert_eq!(unescape(b"/plain"), b"/plain");
    }
}
