//! What a tenant has in the store, and whether it may have more.
//!
//! Counting a tree takes minutes, so it is done once, and from then on what comes and goes is
//! added up: by sessions (`confine`), by snapshots and by prunes. What is counted is space on disk
//! and inodes, of live, history and leftovers, each inode once. Nothing is counted for a tenant
//! without a quota.
//!
//! ```text
//! catalogue ──▶ Account ◀── confine: a new inode has a name, the last name of one has gone
//!     ▲             ▲  ▲─── snapshot: new directories; a prune: what was freed
//!     └── at the end of each of them   └── a count of the whole tree
//! ```

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::StatVfs;
use rustix::io::Errno;

use crate::config::{MinFree, Quota};

/// Space and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes of all kinds.
    pub files: u64,
}

/// See the module's story.
#[derive(Debug)]
pub struct Account {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    quota: Quota,
    min_free: MinFree,
    /// `None`: nobody has counted yet.
    used: Option<Used>,
    /// Written, and without a name yet.
    held: u64,
    /// What is known is not quite true.
    needs_count: bool,
    /// Changes so far: tells whether some came while the tree was counted.
    changes: u64,
}

impl Default for Account {
    /// Without any limit.
    fn default() -> Self {
        Self::new(Quota::default(), MinFree::Bytes(0))
    }
}

/// Bytes that an inode takes: of a regular file, what it has on disk but not what the file system
/// has set aside behind its end. Unit of `blocks`: 512 bytes.
pub fn charge(is_file: bool, size: u64, blocks: u64) -> u64 {
    let on_disk = blocks.saturating_mul(512);
    if is_file {
        on_disk.min(size.saturating_add(4095) / 4096 * 4096)
    } else {
        on_disk
    }
}

impl Account {
    pub fn new(quota: Quota, min_free: MinFree) -> Self {
        Self {
            state: Mutex::new(State {
                quota,
                min_free,
                used: None,
                held: 0,
                needs_count: true,
                changes: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reload.
    pub fn configure(&self, quota: Quota, min_free: MinFree) {
        let mut state = self.lock();
        if state.quota.is_none() && !quota.is_none() {
            // Nobody has added up until now.
            state.needs_count = true;
        }
        state.quota = quota;
        state.min_free = min_free;
    }

    pub fn quota(&self) -> Quota {
        self.lock().quota
    }

    /// Whether anybody wants to know what comes and goes.
    pub fn counts(&self) -> bool {
        !self.lock().quota.is_none()
    }

    /// `None`: not known yet.
    pub fn used(&self) -> Option<Used> {
        self.lock().used
    }

    /// What an earlier process has written down. `exact`: it had come to its end.
    pub fn recall(&self, used: Used, exact: bool) {
        let mut state = self.lock();
        state.used = Some(used);
        state.needs_count = !exact;
    }

    /// The sum is not to be trusted: somebody should count.
    pub fn distrust(&self) {
        let mut state = self.lock();
        state.needs_count = true;
        // A count that is under way may have missed it.
        state.changes += 1;
    }

    pub fn needs_count(&self) -> bool {
        let state = self.lock();
        state.needs_count && !state.quota.is_none()
    }

    /// A mark to give back to [`Self::counted`].
    pub fn count_begins(&self) -> u64 {
        self.lock().changes
    }

    /// The tree has been counted. `false`: something changed meanwhile, so it is nearly right only.
    pub fn counted(&self, used: Used, began: u64) -> bool {
        let mut state = self.lock();
        state.used = Some(used);
        state.needs_count = state.changes != began;
        !state.needs_count
    }

    /// Whether so much more may come. Errors: EDQUOT.
    pub fn check(&self, bytes: u64, files: u64) -> io::Result<()> {
        let state = self.lock();
        state.check(bytes, files)
    }

    /// Sets aside room for bytes that are written to a file without a name.
    pub fn hold(self: &Arc<Self>, bytes: u64, hold: &mut Hold) -> io::Result<()> {
        let mut state = self.lock();
        if state.quota.is_none() {
            return Ok(());
        }
        state.check(bytes, 0)?;
        state.held += bytes;
        drop(state);
        hold.bytes += bytes;
        hold.account.get_or_insert_with(|| Arc::clone(self));
        Ok(())
    }

    /// Inodes have come, or gone.
    pub fn add(&self, bytes: i64, files: i64) {
        let mut state = self.lock();
        state.changes += 1;
        if let Some(used) = &mut state.used {
            used.bytes = used.bytes.saturating_add_signed(bytes);
            used.files = used.files.saturating_add_signed(files);
        }
    }

    /// Whether the file system has room above the floor. Errors: ENOSPC.
    pub fn check_floor(&self, disk: &StatVfs) -> io::Result<()> {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let is_low = match self.lock().min_free {
            MinFree::Bytes(least) => free < least,
            MinFree::Percent(percent) => {
                let below = |free: u64, all: u64| (free as f64) < all as f64 * percent / 100.0;
                let size = disk.f_blocks.saturating_mul(disk.f_frsize);
                below(free, size) || (disk.f_files > 0 && below(disk.f_favail, disk.f_files))
            }
        };
        match is_low {
            true => Err(Errno::NOSPC.into()),
            false => Ok(()),
        }
    }
}

impl State {
    fn check(&self, bytes: u64, files: u64) -> io::Result<()> {
        let Some(used) = self.used else {
            return Ok(());
        };
        let over = |limit: Option<u64>, sum: u64| limit.is_some_and(|limit| sum > limit);
        let bytes = used.bytes.saturating_add(self.held).saturating_add(bytes);
        if over(self.quota.size, bytes) || over(self.quota.files, used.files.saturating_add(files))
        {
            return Err(Errno::DQUOT.into());
        }
        Ok(())
    }
}

/// Room that is set aside; given back when this goes.
#[derive(Debug, Default)]
pub struct Hold {
    account: Option<Arc<Account>>,
    bytes: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.lock().held -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn account(size: u64, files: u64) -> Arc<Account> {
        let quota = Quota {
            size: Some(size),
            files: Some(files),
        };
        let account = Account::new(quota, MinFree::Bytes(0));
        account.recall(Used::default(), true);
        Arc::new(account)
    }

    #[test]
    fn what_is_written_counts_before_it_has_a_name_and_once_after() {
        let account = account(10 * MIB, 100);
        let mut hold = Hold::default();
        account.hold(6 * MIB, &mut hold).unwrap();
        let mut other = Hold::default();
        let refused = account.hold(5 * MIB, &mut other).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::DQUOT.raw_os_error()));
        account.add(6 << 20, 1);
        drop(hold);
        account.hold(4 * MIB, &mut other).unwrap();
        assert!(account.check(1, 0).is_err());
        drop(other);
        account.check(4 * MIB, 0).unwrap();
        assert_eq!(
            account.used(),
            Some(Used {
                bytes: 6 * MIB,
                files: 1
            })
        );
    }

    #[test]
    fn inodes_have_a_limit_of_their_own() {
        let account = account(10 * MIB, 2);
        account.add(0, 2);
        assert!(account.check(0, 1).is_err());
        account.add(-4096, -1);
        account.check(0, 1).unwrap();
        assert_eq!(account.used(), Some(Used { bytes: 0, files: 1 }));
    }

    #[test]
    fn a_count_is_trusted_only_when_nothing_changed_meanwhile() {
        let account = account(10 * MIB, 100);
        account.distrust();
        let began = account.count_begins();
        account.add(5, 1);
        assert!(!account.counted(Used { bytes: 1, files: 1 }, began));
        assert!(account.needs_count());
        let began = account.count_begins();
        assert!(account.counted(Used { bytes: 6, files: 2 }, began));
        assert!(!account.needs_count());
    }

    #[test]
    fn a_quota_that_comes_by_a_reload_has_the_tree_counted() {
        let account = Account::default();
        assert!(!account.needs_count(), "nobody wants to know");
        let quota = Quota {
            size: Some(MIB),
            files: None,
        };
        account.configure(quota, MinFree::Bytes(0));
        assert!(account.needs_count());
        account.check(u64::MAX, 1).unwrap();
        account.recall(
            Used {
                bytes: MIB,
                files: 1,
            },
            true,
        );
        assert!(account.check(1, 0).is_err());
        account.configure(Quota::default(), MinFree::Bytes(0));
        account.check(u64::MAX, 1).unwrap();
    }

    #[test]
    fn a_file_is_charged_for_what_it_has_and_not_for_what_is_set_aside() {
        assert_eq!(charge(true, 1, 8), 4096);
        assert_eq!(charge(true, 1 << 30, 8), 4096, "sparse");
        assert_eq!(charge(true, 5000, 1024), 8192, "set aside behind its end");
        assert_eq!(charge(true, 10, 0), 0, "in its inode");
        assert_eq!(charge(false, 0, 8), 4096);
    }
}
