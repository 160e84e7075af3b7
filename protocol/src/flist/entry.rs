//! One entry of a file list, as it is read ([`EntryRef`]) and as it is made ([`EntryFields`]).

use std::fmt;

use super::store::{Record, Store, flag};
use crate::ProtocolError;

/// Type bits of a Unix mode.
const TYPE: u32 = 0o170_000;

/// What an entry is, by the type bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    /// Mode 0: the name of something to delete (`--delete-missing-args`).
    Missing,
}

impl FileKind {
    /// `None` when the type bits mean nothing.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & TYPE {
            0o140_000 => FileKind::Socket,
            0o120_000 => FileKind::Symlink,
            0o100_000 => FileKind::Regular,
            0o060_000 => FileKind::BlockDevice,
            0o040_000 => FileKind::Directory,
            0o020_000 => FileKind::CharDevice,
            0o010_000 => FileKind::Fifo,
            0 if mode == 0 => FileKind::Missing,
            _ => return None,
        })
    }
}

pub(super) fn is_directory(mode: u32) -> bool {
    mode & TYPE == 0o040_000
}

pub(super) fn is_regular(mode: u32) -> bool {
    mode & TYPE == 0o100_000
}

pub(super) fn is_symlink(mode: u32) -> bool {
    mode & TYPE == 0o120_000
}

pub(super) fn is_device(mode: u32) -> bool {
    matches!(mode & TYPE, 0o020_000 | 0o060_000)
}

pub(super) fn is_special(mode: u32) -> bool {
    matches!(mode & TYPE, 0o010_000 | 0o140_000)
}

/// A mode that an entry may have.
pub(super) fn check_mode(mode: u32, delete_missing_args: bool) -> Result<FileKind, ProtocolError> {
    // Nothing above the type bits has a meaning anywhere.
    let kind = FileKind::from_mode(mode).filter(|_| mode <= 0o177_777);
    match kind {
        Some(FileKind::Missing) if !delete_missing_args => Err(ProtocolError::violation(
            "a file list entry has mode 0 without --delete-missing-args",
        )),
        Some(kind) => Ok(kind),
        None => Err(ProtocolError::violation(format!(
            "a file list entry has the mode {mode:o}, which is of no known type"
        ))),
    }
}

/// The values an entry is made of. What its kind or the format does not carry is left out when it
/// is stored or sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFields<'a> {
    /// Path from the transfer root, as on the wire.
    pub name: &'a [u8],
    pub mode: u32,
    /// Bytes; for a symlink the length of its target.
    pub len: u64,
    /// Seconds.
    pub mtime: i64,
    /// `None`: the sender gives no nanoseconds.
    pub mtime_nsec: Option<u32>,
    /// Seconds.
    pub atime: i64,
    /// Seconds.
    pub crtime: i64,
    pub uid: u32,
    pub gid: u32,
    /// Major and minor number.
    pub rdev: (u32, u32),
    pub link_target: &'a [u8],
    /// Digest of the whole content, of the length that the format says.
    pub digest: &'a [u8],
    /// A directory that was a command-line argument.
    pub top_dir: bool,
    /// A directory whose content is part of the transfer.
    pub content: bool,
    /// Number of the hard-link group.
    pub link_group: Option<u32>,
}

/// One entry of a list. Cheap to copy.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    pub(super) store: &'a Store,
    pub(super) position: u32,
}

impl<'a> EntryRef<'a> {
    fn record(&self) -> &'a Record {
        self.store.record(self.position)
    }

    /// Path of the parent directory, empty at the top.
    pub fn dir(&self) -> &'a [u8] {
        self.store.dir(self.position)
    }

    /// Last component of the path; `.` for the top of the transfer.
    pub fn base(&self) -> &'a [u8] {
        self.store.base(self.position)
    }

    /// The whole path, put into `buffer` (which is emptied first).
    pub fn path<'b>(&self, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        buffer.clear();
        let dir = self.dir();
        if !dir.is_empty() {
            buffer.extend_from_slice(dir);
            buffer.push(b'/');
        }
        buffer.extend_from_slice(self.base());
        buffer
    }

    /// The entry `.`: the top of the transfer itself.
    pub fn is_root(&self) -> bool {
        self.base() == b"."
    }

    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode()).unwrap_or(FileKind::Missing)
    }

    pub fn is_dir(&self) -> bool {
        is_directory(self.mode())
    }

    /// Type and permission bits.
    pub fn mode(&self) -> u32 {
        u32::from(self.record().mode)
    }

    /// Bytes. Of a directory: whatever the sender's file system says.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the size of a file, not of a collection"
    )]
    pub fn len(&self) -> u64 {
        self.record().len
    }

    /// Seconds and nanoseconds (0 where the sender gave none).
    pub fn mtime(&self) -> (i64, u32) {
        (self.record().mtime, self.record().mtime_nsec)
    }

    /// The sender gave nanoseconds.
    pub fn has_nsec(&self) -> bool {
        self.is(flag::NSEC)
    }

    /// Seconds; `None` for directories and without `-U`.
    pub fn atime(&self) -> Option<i64> {
        self.store.atime(self.position)
    }

    /// Seconds; `None` without `-N`.
    pub fn crtime(&self) -> Option<i64> {
        self.store.crtime(self.position)
    }

    /// As sent; 0 without `-o`.
    pub fn uid(&self) -> u32 {
        self.record().uid
    }

    /// As sent; 0 without `-g`.
    pub fn gid(&self) -> u32 {
        self.record().gid
    }

    /// Major and minor number; zeros for anything but a device.
    pub fn rdev(&self) -> (u32, u32) {
        self.store.rdev(self.position)
    }

    /// `None` for anything but a symlink, and without `-l`. Data of the peer, never to be followed.
    pub fn link_target(&self) -> Option<&'a [u8]> {
        self.store.link_target(self.position)
    }

    /// Digest of the whole content, unseeded; `None` for anything but a regular file, and without
    /// `-c`. All zeros when the sender could not read the file.
    pub fn digest(&self) -> Option<&'a [u8]> {
        self.store.digest(self.position)
    }

    /// The same number for all names of one inode. From protocol 30 on it is the number the first
    /// of them had in order of arrival, counted from the start of the session; it is not an index.
    pub fn hard_link_group(&self) -> Option<u32> {
        self.store.link_group(self.position)
    }

    /// Where the access ACL stands in the cache of the session.
    pub fn acl(&self) -> Option<u32> {
        self.store.acl(self.position)
    }

    /// Where the default ACL of a directory stands in its own cache.
    pub fn default_acl(&self) -> Option<u32> {
        self.store.default_acl(self.position)
    }

    /// Where the xattr set stands in the cache of the session.
    pub fn xattrs(&self) -> Option<u32> {
        self.store.xattrs(self.position)
    }

    /// A directory that was a command-line argument or leads to one.
    pub fn is_top_dir(&self) -> bool {
        self.is(flag::TOP_DIR)
    }

    /// A directory whose content is part of the transfer: what is not listed may be deleted.
    pub fn has_content(&self) -> bool {
        self.is(flag::CONTENT)
    }

    /// A directory that is listed only because it leads to an argument (`-R`, protocol 30 and
    /// later).
    pub fn is_implied(&self) -> bool {
        self.is(flag::IMPLIED)
    }

    fn is(&self, flag: u16) -> bool {
        self.record().flags & flag != 0
    }
}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRef")
            .field("path", &crate::error::escape(self.path(&mut Vec::new())))
            .field("mode", &format_args!("{:o}", self.mode()))
            .field("len", &self.len())
            .field("mtime", &self.mtime())
            .field("uid", &self.uid())
            .field("gid", &self.gid())
            .finish_non_exhaustive()
    }
}
