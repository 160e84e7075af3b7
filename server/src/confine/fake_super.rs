//! What stock `rsync --fake-super` keeps in `user.rsync.%stat`.
//!
//! ```text
//! "%o %u,%u %u:%u"    mode with type bits, octal; major,minor; uid:gid      104755 0,0 7:8
//! ```
//!
//! The inode itself is a regular file (or a directory) of the process, with the permission bits
//! of the stored mode plus read and write for the owner (and search, for a directory). Without
//! the attribute the inode speaks for itself, so an attribute that says the same is not kept.
//! Observed with rsync 3.5.0; the test of the round trip drives a stock rsync.

use super::stat::{Kind, Stat};
use rustix::fs::FileType;

pub(super) const STAT: &str = "user.rsync.%stat";
pub(super) const ACCESS_ACL: &str = "user.rsync.%aacl";
pub(super) const DEFAULT_ACL: &str = "user.rsync.%dacl";

/// The content of `%stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredStat {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) rdev: (u32, u32),
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl StoredStat {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            kind: stat.kind,
            mode: stat.mode,
            rdev: stat.rdev,
            uid: stat.uid,
            gid: stat.gid,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mode = self.kind.file_type().as_raw_mode() | self.mode;
        let (major, minor) = self.rdev;
        format!("{mode:o} {major},{minor} {}:{}", self.uid, self.gid).into_bytes()
    }

    /// `None` if it is not in the format.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.trim_end_matches(['\0', '\n']);
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        let (major, minor) = words.next()?.split_once(',')?;
        let (uid, gid) = words.next()?.split_once(':')?;
        if words.next().is_some() {
            return None;
        }
        Some(Self {
            kind: Kind::from_file_type(FileType::from_raw_mode(mode))?,
            mode: mode & 0o7777,
            rdev: (major.parse().ok()?, minor.parse().ok()?),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        })
    }

    /// Puts the stored values over those of the inode. A directory stays one and nothing else
    /// becomes one, whatever is stored.
    pub(super) fn override_in(&self, stat: &mut Stat) {
        if (self.kind == Kind::Dir) == (stat.inode.kind == Kind::Dir) {
            stat.kind = self.kind;
            stat.rdev = if self.kind.is_device() {
                self.rdev
            } else {
                (0, 0)
            };
        }
        stat.mode = self.mode;
        stat.uid = self.uid;
        stat.gid = self.gid;
    }

    /// Whether the inode says the same once it has [`inode_mode`] of this.
    pub(super) fn is_told_by_inode(&self, stat: &Stat) -> bool {
        self.kind == stat.inode.kind
            && self.mode == inode_mode(self.kind, self.mode)
            && (self.uid, self.gid) == (stat.inode.uid, stat.inode.gid)
    }
}

/// The permission bits that the inode of an entry with this kind and mode gets.
pub(super) fn inode_mode(kind: Kind, mode: u32) -> u32 {
    mode & 0o777 | if kind == Kind::Dir { 0o700 } else { 0o600 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_reads_and_writes_as_rsync_does_it() {
        for (text, kind, mode, rdev, uid, gid) in [
            ("104755 0,0 7:8", Kind::File, 0o4755, (0, 0), 7, 8),
            ("20644 1,3 0:0", Kind::CharDevice, 0o644, (1, 3), 0, 0),
            (
                "60660 8,70000 0:6",
                Kind::BlockDevice,
                0o660,
                (8, 70000),
                0,
                6,
            ),
            ("120777 0,0 0:0", Kind::Symlink, 0o777, (0, 0), 0, 0),
            ("42500 0,0 0:0", Kind::Dir, 0o2500, (0, 0), 0, 0),
            (
                "10644 0,0 1:4294967294",
                Kind::Fifo,
                0o644,
                (0, 0),
                1,
                u32::MAX - 1,
            ),
            ("140755 0,0 0:0", Kind::Socket, 0o755, (0, 0), 0, 0),
        ] {
            let stored = StoredStat {
                kind,
                mode,
                rdev,
                uid,
                gid,
            };
            assert_eq!(stored.encode(), text.as_bytes());
            assert_eq!(StoredStat::decode(text.as_bytes()), Some(stored));
        }
        for bad in [
            "",
            "x",
            "100644",
            "100644 0,0",
            "100644 0,0 1",
            "100644 0,0 1:2 3",
            "0 0,0 0:0",
        ] {
            assert_eq!(StoredStat::decode(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
