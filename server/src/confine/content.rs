//! Keeps what is known of a file's content beside it; see [`crate::sum`].
//!
//! Whoever changes a content forgets its sum first ([`super::Dir::unshare_for_write`]). A change
//! of the time alone, which is how a client without new content says that a file was touched,
//! takes the sum along ([`restamp`]). A sum that cannot be kept (a full disk, a file system
//! without such attributes) is no reason to fail: the file is then read when its sum is wanted.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::inode::{Inode, XattrSource};
use super::stat::{FileTime, Kind, Stat};
use crate::sum::{Content, ContentSum};

const SUM: &[u8] = b"user.coffre.sum";

/// What is known of the content of an open file. `None`: nothing, or nothing that can be read.
pub fn content_sum(file: &File) -> io::Result<Option<ContentSum>> {
    read(&Inode::open(file.as_fd()))
}

pub(super) fn read(source: &impl XattrSource) -> io::Result<Option<ContentSum>> {
    let value = source.xattr(SUM)?;
    Ok(value.as_deref().and_then(ContentSum::decode))
}

/// Keeps what is known of the content of an open file, whose time is `mtime`.
///
/// Also where a snapshot shares the file: the note is the server's, and says what was so before.
pub fn keep_content_sum(file: &File, content: &Content, mtime: FileTime) -> io::Result<()> {
    keep(&Inode::open(file.as_fd()), content, mtime)
}

pub(super) fn keep(inode: &Inode<'_>, content: &Content, mtime: FileTime) -> io::Result<()> {
    let sum = ContentSum {
        content: content.clone(),
        mtime,
    };
    inode.set_xattr(SUM, &sum.encode())
}

/// The time of an inode has just been set to `mtime`, and it was `was` before: what is known of
/// its content holds on, if it held.
pub(super) fn restamp(inode: &Inode<'_>, was: &Stat, mtime: FileTime) {
    if was.inode.kind != Kind::File || was.mtime == FileTime::NEVER {
        return;
    }
    let Ok(Some(value)) = inode.xattr(SUM) else {
        return;
    };
    if let Some(sum) = ContentSum::decode(&value)
        && sum.holds_for(was.size, was.mtime)
        && let Err(error) = keep(inode, &sum.content, mtime)
    {
        tracing::debug!(%error, "the sum of a content could not be kept");
    }
}
