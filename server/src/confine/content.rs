//! Keeps what is known of a file's content beside it; see [`crate::sum`].
//!
//! Whoever changes a content forgets its sum first ([`super::Dir::unshare_for_write`]). A change
//! of the time alone, which is how a client without new content says that a file was touched,
//! takes the sum along ([`restamp`]). A sum that cannot be kept (a full disk) is no reason to
//! fail: the file is then read when its sum is wanted.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::beside::Place;
use super::dir::Dir;
use super::inode::{Inode, XattrSource};
use super::stat::{FileTime, Kind, Stat};
use crate::sum::{Content, ContentSum};

/// What it is noted under, below `user.coffre.`.
pub(super) const SUM: &str = "sum";

/// What is known of the content of an open file, by its attribute alone. `None`: nothing, or
/// nothing that can be read.
pub fn content_sum(file: &File) -> io::Result<Option<ContentSum>> {
    read(&Inode::open(file.as_fd()), &Place::InFiles)
}

impl Dir {
    /// What is known of the content of a file of this tree that is open.
    pub fn content_sum_of(&self, file: &File) -> io::Result<Option<ContentSum>> {
        read(&Inode::open(file.as_fd()), &self.shared.notes)
    }

    /// Keeps what is known of the content of a file of this tree that is open, and whose time is
    /// `mtime`.
    ///
    /// Also where a snapshot shares the file: the note is the server's, and says what was so
    /// before.
    pub fn keep_content_sum(
        &self,
        file: &File,
        content: &Content,
        mtime: FileTime,
    ) -> io::Result<()> {
        let inode = Inode::open(file.as_fd());
        keep(&inode, &self.shared.notes, content, mtime)
    }
}

pub(super) fn read(source: &impl XattrSource, notes: &Place) -> io::Result<Option<ContentSum>> {
    let value = notes.read(source, SUM)?;
    Ok(value.as_deref().and_then(ContentSum::decode))
}

pub(super) fn keep(
    inode: &Inode<'_>,
    notes: &Place,
    content: &Content,
    mtime: FileTime,
) -> io::Result<()> {
    let sum = ContentSum {
        content: content.clone(),
        mtime,
    };
    notes.keep(inode, SUM, &sum.encode())
}

/// The time of an inode has just been set to `mtime`, and it was `was` before: what is known of
/// its content holds on, if it held.
pub(super) fn restamp(inode: &Inode<'_>, notes: &Place, was: &Stat, mtime: FileTime) {
    if was.inode.kind != Kind::File || was.mtime == FileTime::NEVER {
        return;
    }
    let Ok(Some(sum)) = read(inode, notes) else {
        return;
    };
    if sum.holds_for(was.size, was.mtime)
        && let Err(error) = keep(inode, notes, &sum.content, mtime)
    {
        tracing::debug!(%error, "the sum of a content could not be kept");
    }
}
