//! What is known of an entry.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

impl Kind {
    pub(super) fn from_file_type(file_type: FileType) -> Option<Kind> {
        Some(match file_type {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Unknown => return None,
        })
    }

    /// As the kernel names it.
    pub fn file_type(self) -> FileType {
        match self {
            Kind::File => FileType::RegularFile,
            Kind::Dir => FileType::Directory,
            Kind::Symlink => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
        }
    }

    pub fn is_device(self) -> bool {
        matches!(self, Kind::CharDevice | Kind::BlockDevice)
    }
}

/// A point in time; `secs` counts from 1970 and is negative before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    pub secs: i64,
    /// Below 1,000,000,000.
    pub nanos: u32,
}

impl FileTime {
    /// No time that a file has.
    pub(super) const NEVER: Self = Self {
        secs: i64::MIN,
        nanos: u32::MAX,
    };

    pub fn now() -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            secs: i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX),
            nanos: since_1970.subsec_nanos(),
        }
    }
}

/// What an entry is and has. With [`super::Metadata::Xattr`], `kind`, `mode`, `uid`, `gid` and
/// `rdev` are the stored ones where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub kind: Kind,
    /// The 12 permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Major and minor number of a device; else zero.
    pub rdev: (u32, u32),
    /// Bytes; for a symbolic link, of its target.
    pub size: u64,
    /// Bytes that its blocks take on disk.
    pub allocated: u64,
    pub mtime: FileTime,
    pub atime: FileTime,
    pub ctime: FileTime,
    /// What the inode itself says, whatever is stored beside it.
    pub(super) inode: InodeStat,
}

/// The part of a [`Stat`] that stored attributes can hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InodeStat {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Stat {
    /// Of something that a client is shown and that no file system holds: no owner, no links.
    pub fn made_up(kind: Kind, mode: u32, size: u64, mtime: FileTime) -> Self {
        Self {
            dev: 0,
            ino: 0,
            nlink: 1,
            kind,
            mode,
            uid: 0,
            gid: 0,
            rdev: (0, 0),
            size,
            allocated: 0,
            mtime,
            atime: mtime,
            ctime: mtime,
            inode: InodeStat {
                kind,
                mode,
                uid: 0,
                gid: 0,
            },
        }
    }

    /// Permission bits and the bits of the type, as in `st_mode`.
    pub fn whole_mode(&self) -> u32 {
        self.kind.file_type().as_raw_mode() | self.mode
    }

    /// Whether both are the same inode.
    pub fn same_inode(&self, other: &Stat) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

// The types of `struct stat` differ by architecture.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
impl From<rustix::fs::Stat> for Stat {
    fn from(raw: rustix::fs::Stat) -> Self {
        let mode = raw.st_mode as u32;
        // Every inode of Linux is one of the seven kinds.
        let kind = Kind::from_file_type(FileType::from_raw_mode(mode)).unwrap_or(Kind::File);
        let inode = InodeStat {
            kind,
            mode: mode & 0o7777,
            uid: raw.st_uid,
            gid: raw.st_gid,
        };
        let rdev = if kind.is_device() {
            let rdev = raw.st_rdev as u64;
            (rustix::fs::major(rdev), rustix::fs::minor(rdev))
        } else {
            (0, 0)
        };
        Self {
            dev: raw.st_dev as u64,
            ino: raw.st_ino as u64,
            nlink: raw.st_nlink as u64,
            kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            rdev,
            size: raw.st_size as u64,
            allocated: raw.st_blocks as u64 * 512,
            mtime: FileTime {
                secs: raw.st_mtime as i64,
                nanos: raw.st_mtime_nsec as u32,
            },
            atime: FileTime {
                secs: raw.st_atime as i64,
                nanos: raw.st_atime_nsec as u32,
            },
            ctime: FileTime {
                secs: raw.st_ctime as i64,
                nanos: raw.st_ctime_nsec as u32,
            },
            inode,
        }
    }
}
