//! What all of a tenant takes: live, history, and what is left of work that broke off. Manifests
//! are the server's own notes and count for nobody.
//!
//! Every directory is read and every inode is looked at once. An inode that has been met before
//! is known by the number that the directory listing tells, so a snapshot that shares everything
//! costs its listings only. Inodes that were met are remembered as bits, by pages of 512.
//!
//! In live and snapshots that are btrfs subvolumes a number is not enough, and every entry is looked
//! at (see [`super::numbers`]). A file that was changed in place since a snapshot counts once more,
//! though the two may share most of their blocks: as a copy would. A directory that live and snapshots
//! have counts once.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};

use super::attributes::{self, same_mount};
use super::error::SnapshotError;
use super::manifest;
use super::numbers::{DIGEST, Numbers, of_directory};
use super::progress::Progress;
use super::tree::{Node, Place};
use super::walk::{self, Scratch, each_entry, open_directory};
use crate::account::{Used, charge};
use crate::syscalls::btrfs;

/// Counts everything below `<home>`. What is mounted there does not count.
pub fn usage(home: &Path, progress: &dyn Progress) -> Result<Used, SnapshotError> {
    use std::os::unix::ffi::OsStrExt;
    let fail = |error| SnapshotError::io("open", b".", error);
    let path = std::ffi::CString::new(home.as_os_str().as_bytes())
        .map_err(|_| fail(rustix::io::Errno::INVAL))?;
    let root = open_directory(rustix::fs::CWD, &path).map_err(fail)?;
    let top = attributes::stat(&root).map_err(fail)?;
    let mut counting = Counting {
        progress,
        root: top,
        numbers: Numbers::Shared,
        seen: Mutex::default(),
        subvolumes: Mutex::default(),
        bytes: AtomicI64::new(0),
        files: AtomicU64::new(0),
    };
    counting.tree(root)?;
    let subvolumes = std::mem::take(&mut counting.subvolumes);
    let subvolumes = subvolumes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    counting.numbers = Numbers::Own;
    for root in subvolumes {
        counting.root = attributes::stat(&root).map_err(fail)?;
        counting.tree(root)?;
    }
    Ok(Used {
        bytes: counting.bytes.into_inner().unsigned_abs(),
        files: counting.files.into_inner(),
    })
}

/// Bytes that the inode with this status takes.
pub(super) fn charge_of(stat: &Statx) -> i64 {
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    i64::try_from(charge(is_file, stat.stx_size, stat.stx_blocks)).unwrap_or(i64::MAX)
}

/// Whether it is a subvolume and not something that is mounted.
fn is_inside(stat: &Statx, root: &Statx) -> bool {
    stat.stx_ino == btrfs::TOP && attributes::no_mount_between(stat, root)
}

struct Counting<'a> {
    progress: &'a dyn Progress,
    root: Statx,
    numbers: Numbers,
    seen: Mutex<Seen>,
    /// Live and snapshots, where they are subvolumes: their turn comes later.
    subvolumes: Mutex<Vec<OwnedFd>>,
    bytes: AtomicI64,
    files: AtomicU64,
}

impl Counting<'_> {
    fn tree(&self, root: OwnedFd) -> Result<(), SnapshotError> {
        let first = Place {
            parent: Node::root(c".", root),
            name: c".".to_owned(),
        };
        walk::run(2, vec![first], |place, found, scratch| {
            self.directory(place, found, scratch)
        })
    }

    /// Whether it has not been met before.
    fn is_new(&self, number: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(number)
    }

    fn directory(
        &self,
        place: Place<OwnedFd>,
        found: &mut Vec<Place<OwnedFd>>,
        scratch: &mut Scratch,
    ) -> Result<(), SnapshotError> {
        if self.progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        let fail = |doing, error| SnapshotError::io(doing, &place.path(), error);
        let directory = match place.open() {
            // It may go while we look: sessions and prunes go on.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
            other => other.map_err(|e| fail("open", e))?,
        };
        let stat = attributes::stat(&directory).map_err(|e| fail("look at", e))?;
        if !same_mount(&stat, &self.root) {
            let path = place.path();
            let is_tree = path == b"live" || path.starts_with(b"snapshots/");
            if self.numbers == Numbers::Shared && is_tree && is_inside(&stat, &self.root) {
                let mut others = self.subvolumes.lock();
                let others = others.as_mut().unwrap_or_else(|e| e.get_mut());
                others.push(directory);
            }
            return Ok(());
        }
        let is_top = self.numbers == Numbers::Shared && place.path().is_empty();
        let mut subdirectories = Vec::new();
        // Hard-link snapshots have directories of their own.
        let (mut bytes, mut files, mut looked) = match self.numbers {
            Numbers::Own if !self.is_new(of_directory(&stat)) => (0, 0, 0),
            _ => (charge_of(&stat), 1, 0),
        };
        let look = |name: &CStr, kind, inode| {
            looked += 1;
            if looked % walk::CHECK_EVERY == 0 && self.progress.cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            if kind == FileType::Directory {
                if !(is_top && name == manifest::DIRECTORY) {
                    subdirectories.push(name.to_owned());
                }
                return Ok(());
            }
            if !self.is_new(self.numbers.version(&directory, name, inode)) {
                return Ok(());
            }
            let wanted = StatxFlags::TYPE | StatxFlags::SIZE | StatxFlags::BLOCKS;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            // One that is gone by now takes nothing.
            if let Ok(stat) = rustix::fs::statx(&directory, name, flags, wanted) {
                bytes += charge_of(&stat);
                files += 1;
            }
            Ok(())
        };
        each_entry(&directory, &mut scratch.entries, || place.path(), look)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.files.fetch_add(files, Ordering::Relaxed);
        self.progress.advance(looked, 1);
        if !subdirectories.is_empty() {
            let parent = place.into_node(directory);
            found.extend(subdirectories.into_iter().map(|name| Place {
                parent: Arc::clone(&parent),
                name,
            }));
        }
        Ok(())
    }
}

/// A set of inode numbers, which come in runs.
#[derive(Default)]
struct Seen {
    pages: HashMap<u64, Box<[u64; 8]>>,
    /// Those that are no inode numbers, and come in no order.
    digests: HashSet<u64>,
}

impl Seen {
    /// Whether it is new.
    fn insert(&mut self, inode: u64) -> bool {
        if inode & DIGEST != 0 {
            return self.digests.insert(inode);
        }
        let page = self.pages.entry(inode >> 9).or_default();
        let word = &mut page[(inode >> 6 & 7) as usize];
        let bit = 1 << (inode & 63);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
