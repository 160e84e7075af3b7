//! Room for what is new: the tenant's quota, and the floor under the free space of the store.
//!
//! Everything that makes an inode or writes content asks here first; everything that gives an
//! inode its first name in the tree, or takes its last one away, tells it to the tenant's account.
//! The names are looked at only where somebody counts.
//!
//! Where live is a btrfs subvolume, its snapshots have what it had without a link that could be
//! seen. What has not changed since the newest of them is not gone when live has it no more; and
//! when it changes, there are two of it. A name more or less changes a file, too, and every entry
//! its directory, so what is added up is an estimate there: the first change of a session asks for
//! the tenant's trees to be counted anew.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, StatxFlags, fstat, fstatvfs, makedev, statat, statx};

use super::root::Shared;
use super::stat::FileTime;
use crate::account::{Account, Hold, charge};

/// How much is written between two looks at the free space.
const LOOK_EVERY: u64 = 4 << 20;

/// What making an inode counts for in that.
const INODE: u64 = 64 << 10;

/// Up to when the files of live are in a snapshot that shares no inode with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frozen {
    /// When the newest snapshot that is a subvolume was made.
    pub(super) at: FileTime,
    /// Of live: what lies beside it is in no snapshot.
    pub(super) device: u64,
}

/// See the module's story.
pub(super) struct Room {
    account: Arc<Account>,
    frozen: Option<Frozen>,
    since_look: AtomicU64,
}

impl Room {
    pub(super) fn new(account: Arc<Account>, frozen: Option<Frozen>) -> Self {
        Self {
            account,
            frozen,
            // The first one looks.
            since_look: AtomicU64::new(LOOK_EVERY),
        }
    }
}

impl Shared {
    /// Before an inode is made. Errors: EDQUOT, ENOSPC.
    pub(super) fn room_for_inode(&self) -> io::Result<()> {
        self.room.account.check(0, 1)?;
        self.look_at_floor(INODE)
    }

    /// Before content is written that will have a name soon. Errors: EDQUOT, ENOSPC.
    pub(super) fn room_for(&self, bytes: u64, hold: &mut Hold) -> io::Result<()> {
        self.room.account.hold(bytes, hold)?;
        self.look_at_floor(bytes)
    }

    /// The same for what is made at once.
    pub(super) fn room_for_copy(&self, bytes: u64) -> io::Result<()> {
        self.room.account.check(bytes, 0)?;
        self.look_at_floor(bytes)
    }

    fn look_at_floor(&self, bytes: u64) -> io::Result<()> {
        let since = &self.room.since_look;
        if since
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes)
            < LOOK_EVERY
        {
            return Ok(());
        }
        since.store(0, Ordering::Relaxed);
        let looked = self.room.account.check_floor(&fstatvfs(self.live_fd())?);
        if looked.is_err() {
            since.store(LOOK_EVERY, Ordering::Relaxed);
        }
        looked
    }

    /// What is freed when this entry, which is no directory, loses this name. `None`: nothing, or
    /// nobody counts.
    pub(super) fn freed_with(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
        if !self.room.account.counts() {
            return None;
        }
        self.names_change();
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if self.is_frozen(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            return None;
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        (kind != FileType::Directory && stat.st_nlink <= 1).then(|| charge_of(&stat))
    }

    /// It has lost it.
    pub(super) fn has_gone(&self, freed: Option<u64>) {
        if let Some(bytes) = freed {
            self.room.account.add(-signed(bytes), -1);
        }
    }

    /// What an empty directory takes, before it is removed.
    pub(super) fn freed_with_directory(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
        if !self.room.account.counts() {
            return None;
        }
        self.names_change();
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_frozen = self.is_frozen(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        (!is_frozen).then(|| charge_of(&stat))
    }

    /// Whether a snapshot has it without sharing its inode.
    fn is_frozen(&self, dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> bool {
        let Some(frozen) = self.room.frozen else {
            return false;
        };
        statx(dir, name, flags, StatxFlags::CTIME).is_ok_and(|stat| {
            let changed = FileTime {
                secs: stat.stx_ctime.tv_sec,
                nanos: stat.stx_ctime.tv_nsec,
            };
            changed <= frozen.at && makedev(stat.stx_dev_major, stat.stx_dev_minor) == frozen.device
        })
    }

    /// A file is about to be changed in place; it is open or held by this descriptor.
    pub(super) fn will_change(&self, inode: BorrowedFd<'_>) {
        if self.room.account.counts() && self.is_frozen(inode, b"", AtFlags::EMPTY_PATH) {
            self.has_come(inode);
        }
    }

    /// Names come or go: what is added up is an estimate where snapshots share no inodes.
    pub(super) fn names_change(&self) {
        if self.room.frozen.is_some() && self.room.account.counts() {
            self.room.account.distrust();
        }
    }

    /// A new inode has a name; it is open or held by this descriptor.
    pub(super) fn has_come(&self, inode: BorrowedFd<'_>) {
        if self.room.account.counts()
            && let Ok(stat) = fstat(inode)
        {
            self.names_change();
            self.room.account.add(signed(charge_of(&stat)), 1);
        }
    }

    /// An inode takes so many bytes more.
    pub(super) fn has_grown(&self, bytes: i64) {
        if self.room.account.counts() && bytes != 0 {
            self.room.account.add(bytes, 0);
        }
    }

    /// A new directory.
    pub(super) fn directory_has_come(&self, dir: BorrowedFd<'_>, name: &[u8]) {
        if self.room.account.counts()
            && let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        {
            self.names_change();
            self.room.account.add(signed(charge_of(&stat)), 1);
        }
    }
}

/// What a new inode takes.
pub(super) fn size_of_new(inode: impl AsFd) -> io::Result<i64> {
    Ok(signed(charge_of(&fstat(inode)?)))
}

fn charge_of(stat: &rustix::fs::Stat) -> u64 {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    charge(is_file, unsigned(stat.st_size), unsigned(stat.st_blocks))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
