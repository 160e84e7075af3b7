//! By which number a file is known in all trees of a tenant.
//!
//! Hard-link snapshots share inodes with live, so a file's inode number tells it: what has the same
//! one is the same file in the same state. A btrfs subvolume has inode numbers of its own, and a
//! snapshot of it begins with the same ones; there, a file that has changed since has the same
//! number and is another. Its times of birth and of change, to the nanosecond, tell them apart, so
//! in such trees a file is known by a digest of these, which can be no inode number: its highest
//! bit is set. The price is a look at each file.
//!
//! A change that changes only the number of links, or a name, makes another version there. Who
//! wants to know what has moved compares the likeness.

use std::ffi::CStr;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use super::attributes;
use crate::confine::INNER_STAGING;
use crate::syscalls::btrfs;

/// What inode numbers mean in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// The same in all trees of the tenant that say so.
    Shared,
    /// The tree is a subvolume.
    Own,
}

/// How a file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Equal: the same file in the same state.
    pub(crate) version: u64,
    /// Equal: the same file, with the same size, time, owner and mode.
    pub(crate) likeness: u64,
}

/// Not the number of any inode.
pub(super) const DIGEST: u64 = 1 << 63;

impl Numbers {
    /// Of the tree with this top, in or beside `snapshots`.
    pub(super) fn of_tree(top: &OwnedFd, snapshots: &OwnedFd) -> Result<Self, Errno> {
        let device = |fd| Ok::<_, Errno>(rustix::fs::fstat(fd)?.st_dev);
        let is_own = device(top)? != device(snapshots)? && btrfs::is_subvolume(top)?;
        Ok(match is_own {
            true => Self::Own,
            false => Self::Shared,
        })
    }

    /// `inode`: what the directory's listing says. One that cannot be looked at is known by that.
    pub(crate) fn know(self, directory: &OwnedFd, name: &CStr, inode: u64) -> Known {
        let same = |number| Known {
            version: number,
            likeness: number,
        };
        if self == Self::Shared {
            return same(inode);
        }
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) => known(&stat),
            Err(_) => same(inode | DIGEST),
        }
    }

    /// See [`Known::version`].
    pub(crate) fn version(self, directory: &OwnedFd, name: &CStr, inode: u64) -> u64 {
        self.know(directory, name, inode).version
    }

    /// Whether an entry at the top of the tree is the server's own, and not the tenant's.
    pub(crate) fn hides(self, name: &CStr) -> bool {
        self == Self::Own && name.to_bytes() == INNER_STAGING.as_bytes()
    }
}

fn digest(numbers: &[i64]) -> u64 {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let hash = blake3::hash(&bytes);
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) | DIGEST
}

fn time(t: StatxTimestamp) -> (i64, i64) {
    (t.tv_sec, t.tv_nsec.into())
}

/// Of a directory in a subvolume: the same for as long as there is one of it, whatever happens in it.
pub(super) fn of_directory(stat: &Statx) -> u64 {
    let born = time(stat.stx_btime);
    digest(&[stat.stx_ino.cast_signed(), born.0, born.1])
}

/// Of a file in a subvolume.
pub(super) fn known(stat: &Statx) -> Known {
    let (born, changed, modified) = (
        time(stat.stx_btime),
        time(stat.stx_ctime),
        time(stat.stx_mtime),
    );
    let (inode, size) = (stat.stx_ino.cast_signed(), stat.stx_size.cast_signed());
    let version = [
        inode, born.0, born.1, changed.0, changed.1, size, modified.0, modified.1,
    ];
    let likeness = [
        inode,
        born.0,
        born.1,
        size,
        modified.0,
        modified.1,
        stat.stx_mode.into(),
        stat.stx_uid.into(),
        stat.stx_gid.into(),
    ];
    Known {
        version: digest(&version),
        likeness: digest(&likeness),
    }
}

/// What tells a tree from a copy of it, in which no inode number is what it was.
pub(super) fn identity(top: &OwnedFd) -> Result<u64, Errno> {
    match btrfs::is_subvolume(top)? {
        true => {
            let [a, b, c, d, e, f, g, h, ..] = btrfs::uuid(top)?;
            Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
        }
        false => Ok(attributes::stat(top)?.stx_ino),
    }
}
