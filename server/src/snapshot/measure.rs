//! What snapshots hold, and what each of them holds alone.
//!
//! Taking a snapshot looks at no file, so it cannot know sizes; this does, at the price of a
//! `statx` per file (about a third of what linking it cost). It is run when somebody asks.
//!
//! A snapshot's own size is what removing it would free: its directories, and the inodes all of
//! whose links are inside it. One walk tells, without a look at any other snapshot: an inode is
//! its own when as many of its names were met in it as the inode has links. Of a subvolume only its
//! neighbours tell: see [`super::neighbours`].

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;

use super::attributes;
use super::error::SnapshotError;
use super::home::Home;
use super::name::SnapshotName;
use super::neighbours::leave_own;
use super::numbers::{Numbers, known};
use super::progress::Progress;
use super::recycle::open_held;
use super::tree::{Node, Place};
use super::walk::{self, Scratch, each_entry};

/// Size of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub name: SnapshotName,
    /// Files of all kinds but directories, by name.
    pub files: u64,
    /// Directories below the root.
    pub directories: u64,
    /// Length of the content, each inode once.
    pub bytes: u64,
    /// Disk space that no other snapshot and not live has a part in.
    pub own_bytes: u64,
}

/// Unit of `stx_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Measures the named snapshots, one after the other, in the order given. Needs 32 bytes of memory
/// for each file of a snapshot that has more than one link.
pub fn measure(
    home: &Path,
    names: &[SnapshotName],
    progress: &dyn Progress,
) -> Result<Vec<Size>, SnapshotError> {
    let home = Home::open(home)?;
    let measure = |&name: &SnapshotName| match &home {
        None => Err(SnapshotError::Missing(name)),
        Some(home) => measure_one(home, name, progress),
    };
    names.iter().map(measure).collect()
}

/// A name of an inode that has others, or may be in others' trees.
struct Linked {
    /// As [`Numbers`] know it.
    inode: u64,
    links: u32,
    bytes: u64,
    blocks: u64,
}

struct Measuring<'a> {
    progress: &'a dyn Progress,
    numbers: Numbers,
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    own_blocks: AtomicU64,
    linked: Mutex<Vec<Linked>>,
}

fn measure_one(
    home: &Home,
    name: SnapshotName,
    progress: &dyn Progress,
) -> Result<Size, SnapshotError> {
    let file_name = CString::new(name.to_string()).expect("a name has no NUL");
    let root = open_held(home, name)?;
    let numbers = Numbers::of_tree(&root, &home.snapshots)
        .map_err(|error| home.fail("look at", &name.to_string(), error))?;
    let measuring = Measuring {
        progress,
        numbers,
        files: AtomicU64::new(0),
        directories: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        own_blocks: AtomicU64::new(0),
        linked: Mutex::default(),
    };
    let first = Place {
        parent: Node::root(&file_name, root),
        name: c".".to_owned(),
    };
    // Looking gains from a second thread on every file system.
    walk::run(2, vec![first], |place, found, scratch| {
        measuring.directory(place, found, scratch)
    })?;

    let mut linked = measuring
        .linked
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    linked.sort_unstable_by_key(|name| name.inode);
    let mut bytes = measuring.bytes.into_inner();
    let mut own_blocks = measuring.own_blocks.into_inner();
    let own = match numbers {
        Numbers::Shared => HashSet::new(),
        Numbers::Own => {
            let versions = linked.iter().map(|name| name.inode).collect();
            leave_own(home, name, versions, progress)?
        }
    };
    for names in linked.chunk_by(|a, b| a.inode == b.inode) {
        bytes += names[0].bytes;
        let is_own = match numbers {
            Numbers::Shared => names.len() as u64 == u64::from(names[0].links),
            Numbers::Own => own.contains(&names[0].inode),
        };
        if is_own {
            own_blocks += names[0].blocks;
        }
    }
    Ok(Size {
        name,
        files: measuring.files.into_inner(),
        directories: measuring.directories.into_inner(),
        bytes,
        own_bytes: own_blocks * BLOCK_BYTES,
    })
}

impl Measuring<'_> {
    fn directory(
        &self,
        place: Place<OwnedFd>,
        found: &mut Vec<Place<OwnedFd>>,
        scratch: &mut Scratch,
    ) -> Result<(), SnapshotError> {
        if self.progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        let fail = |error: Errno| SnapshotError::io("open", &place.path(), error);
        let directory = place.open().map_err(fail)?;
        let stat = attributes::stat(&directory).map_err(fail)?;
        let mut linked = Vec::new();
        let mut subdirectories = Vec::new();
        let (mut files, mut bytes, mut blocks) = (0, 0, stat.stx_blocks);
        let path = || place.path();
        let look = |name: &CStr, kind, _| {
            if kind == FileType::Directory {
                subdirectories.push(name.to_owned());
                return Ok(());
            }
            let wanted = match self.numbers {
                Numbers::Shared => {
                    StatxFlags::NLINK | StatxFlags::INO | StatxFlags::SIZE | StatxFlags::BLOCKS
                }
                Numbers::Own => StatxFlags::BASIC_STATS | StatxFlags::BTIME,
            };
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statx(&directory, name, flags, wanted).map_err(|error| {
                let path = [&place.path(), &b"/"[..], name.to_bytes()].concat();
                SnapshotError::io("look at", &path, error)
            })?;
            files += 1;
            if stat.stx_nlink > 1 || self.numbers == Numbers::Own {
                linked.push(Linked {
                    inode: match self.numbers {
                        Numbers::Shared => stat.stx_ino,
                        Numbers::Own => known(&stat).version,
                    },
                    links: stat.stx_nlink,
                    bytes: stat.stx_size,
                    blocks: stat.stx_blocks,
                });
            } else {
                bytes += stat.stx_size;
                blocks += stat.stx_blocks;
            }
            if files % walk::CHECK_EVERY == 0 && self.progress.cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            Ok(())
        };
        each_entry(&directory, &mut scratch.entries, path, look)?;

        let directories = subdirectories.len() as u64;
        self.files.fetch_add(files, Ordering::Relaxed);
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.own_blocks.fetch_add(blocks, Ordering::Relaxed);
        self.linked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut linked);
        self.progress.advance(files, directories);
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
