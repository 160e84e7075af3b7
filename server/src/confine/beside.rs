//! What the server notes of files where the file system keeps no extended attributes: in a table,
//! beside the store, instead of in the files.
//!
//! A table is not bound to its files as an attribute is: a file can go, and its inode number be
//! given to another. So every note is of an [`Identity`], the number together with what no other
//! file of that number has: the time of its birth, or, where the file system tells none, the
//! handle by which a file server knows it, which has the inode's generation in it. Where there is
//! neither, nothing is noted.
//!
//! Hard links share the inode, so they share its notes, in all snapshots. A change of content
//! forgets first and notes later, as with attributes; see [`super::content`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags, fstatfs, statx};
use rustix::io::Errno;

use super::inode::{Inode, XattrSource};
use super::xattr::SERVER_PREFIX;
use crate::syscalls::handle;

/// A file that a note is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    /// What no other inode of this number has.
    pub birth: Vec<u8>,
}

/// Where notes are kept. `name` is that of the attribute below `user.coffre.`.
pub trait Notes: std::fmt::Debug + Send + Sync {
    /// `None`: nothing was noted of this very file.
    fn note(&self, file: &Identity, name: &str) -> Option<Vec<u8>>;

    /// May be kept for a while before others see it, until [`Notes::flush`].
    fn keep(&self, file: &Identity, name: &str, value: &[u8]);

    /// Everything that was noted of a file, for others too, before this returns. Errors: it could
    /// not be taken back, so what it says must not become wrong.
    fn forget(&self, file: &Identity) -> io::Result<()>;

    /// Others see what was kept.
    fn flush(&self);

    /// Forgets what was noted, before that time, of files that are gone.
    fn forget_others(&self, is_there: &dyn Fn(u64) -> bool, noted_before: jiff::Timestamp);
}

/// Where what is noted of the files of a tree is kept.
#[derive(Clone, Default)]
pub(super) enum Place {
    /// In attributes of the files.
    #[default]
    InFiles,
    /// In a table, for files of this device.
    Beside(Arc<dyn Notes>, u64),
}

impl Place {
    /// The table, and the file it is asked for; `None`: a note of that file is an attribute.
    fn beside(&self, file: &impl XattrSource) -> io::Result<Option<(&dyn Notes, Identity)>> {
        let Self::Beside(notes, device) = self else {
            return Ok(None);
        };
        let found = file.identity()?.filter(|found| found.device == *device);
        Ok(found.map(|found| (&**notes, found)))
    }

    /// `None`: nothing was noted under that name (below `user.coffre.`).
    pub(super) fn read(&self, file: &impl XattrSource, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.beside(file)? {
            Some((notes, file)) => Ok(notes.note(&file, name)),
            None => file.xattr(&attribute(name)),
        }
    }

    pub(super) fn keep(&self, file: &Inode<'_>, name: &str, value: &[u8]) -> io::Result<()> {
        match self.beside(file)? {
            Some((notes, file)) => {
                notes.keep(&file, name, value);
                Ok(())
            }
            None => file.set_xattr(&attribute(name), value),
        }
    }

    /// Forgets all that was noted of a file: it was said of a content that is about to change.
    /// Errors: it could not be, and the content must stay as it is.
    pub(super) fn forget(&self, file: &Inode<'_>) -> io::Result<()> {
        if let Some((notes, file)) = self.beside(file)? {
            return notes.forget(&file);
        }
        for name in file.xattr_names()?.iter() {
            if name.starts_with(SERVER_PREFIX) {
                file.remove_xattr(name)?;
            }
        }
        Ok(())
    }

    /// Notes of a copy what is noted of the original. Where that is in attributes, it has been
    /// copied with them.
    pub(super) fn copy(&self, from: &Inode<'_>, to: &Inode<'_>) -> io::Result<()> {
        let (Some((notes, from)), Some((_, to))) = (self.beside(from)?, self.beside(to)?) else {
            return Ok(());
        };
        for name in COPIED {
            if let Some(value) = notes.note(&from, name) {
                notes.keep(&to, name, &value);
            }
        }
        Ok(())
    }

    /// Others see what was noted.
    pub(super) fn flush(&self) {
        if let Self::Beside(notes, _) = self {
            notes.flush();
        }
    }
}

/// What is noted of files, all of it.
const COPIED: [&str; 2] = [super::content::SUM, super::kept::NOTE];

fn attribute(name: &str) -> Vec<u8> {
    [SERVER_PREFIX, name.as_bytes()].concat()
}

/// Whether a directory is on a file system that keeps no attributes of users.
pub fn lacks_attributes(directory: impl AsFd) -> bool {
    let read = rustix::fs::fgetxattr(directory, "user.coffre.sum", &mut [0; 1][..]);
    read == Err(Errno::OPNOTSUPP)
}

/// What an open file is, or, with a name, an entry of an open directory, which is not followed.
/// `None`: the file system tells nothing that a later file of the same number would not have.
pub(super) fn identity(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Identity>> {
    let flags = match name.is_empty() {
        true => AtFlags::EMPTY_PATH,
        false => AtFlags::SYMLINK_NOFOLLOW,
    };
    let is = statx(fd, name, flags, StatxFlags::INO | StatxFlags::BTIME)?;
    let birth = if is.stx_mask & StatxFlags::BTIME.bits() != 0 {
        let mut birth = vec![b'b'];
        birth.extend_from_slice(&is.stx_btime.tv_sec.to_le_bytes());
        birth.extend_from_slice(&is.stx_btime.tv_nsec.to_le_bytes());
        birth
    } else {
        match fstatfs(fd)?.f_type as u64 {
            // The number of a file, and of its generation, begin anew with each mount.
            FUSE => return Ok(None),
            _ => match handle::of(fd, name) {
                Ok(handle) => [b"h", &handle[..]].concat(),
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
        }
    };
    Ok(Some(Identity {
        device: rustix::fs::makedev(is.stx_dev_major, is.stx_dev_minor),
        inode: is.stx_ino,
        birth,
    }))
}

/// Source: include/uapi/linux/magic.h.
const FUSE: u64 = 0x6573_5546;

/// The identity of an open file.
pub fn identity_of(file: impl AsFd) -> io::Result<Option<Identity>> {
    identity(file.as_fd(), b"")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_is_itself_by_each_of_its_names_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let file = File::create(path("a")).unwrap();
        std::fs::hard_link(path("a"), path("b")).unwrap();
        File::create(path("c")).unwrap();
        let dir = File::open(home.path()).unwrap();
        let named = |name: &[u8]| identity(dir.as_fd(), name).unwrap().unwrap();
        assert_eq!(identity_of(&file).unwrap().unwrap(), named(b"a"));
        assert_eq!(named(b"a"), named(b"b"));
        assert_ne!(named(b"a"), named(b"c"));
        assert!(!lacks_attributes(&dir));
    }
}
