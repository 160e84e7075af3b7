//! An open directory, and what can be learnt about its entries.
//!
//! Every call takes the name of *one entry*: a name that is empty, `.` or `..`, or has a slash or
//! a NUL in it is refused, and an entry that is a symbolic link is never followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::acl::{AclKind, PosixAcl};
use super::attributes::{Extended, is_errno};
use super::content;
use super::escape::{Escape, check_name};
use super::inode::{Inode, Named, XattrSource};
use super::layers::descriptors_hold;
use super::list::{DirEntry, list_directory};
use super::metadata::Metadata;
use super::path::TenantPath;
use super::root::{Shared, Side, open_beneath};
use super::stat::{Kind, Stat};
use super::xattr::{STORED_PREFIX, XattrSet};
use crate::sum::ContentSum;

/// Longest target of a symbolic link, in bytes (PATH_MAX without the NUL).
const TARGET_LIMIT: usize = 4095;

/// An open directory of a tenant. What is done through it is done in this very directory,
/// wherever it has been renamed to.
pub struct Dir {
    pub(super) shared: Arc<Shared>,
    pub(super) fd: OwnedFd,
    /// Where in live it was when it was opened; `None`: not in live.
    pub(super) path: Option<TenantPath>,
}

impl Dir {
    pub(super) fn new(shared: Arc<Shared>, fd: OwnedFd, path: Option<TenantPath>) -> Self {
        Self { shared, fd, path }
    }

    /// Where in the tree it was when it was opened; `None` for [`super::TenantRoot::partial`].
    pub fn path(&self) -> Option<&TenantPath> {
        self.path.as_ref()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn side(&self) -> Side {
        match self.path {
            Some(_) => Side::Live,
            None => Side::Beside,
        }
    }

    pub(super) fn check(&self, name: &[u8]) -> io::Result<()> {
        if descriptors_hold() {
            check_name(name)?;
        }
        match &self.path {
            Some(path) if self.shared.is_reserved(path, name) => Err(Escape::Reserved.into()),
            _ => Ok(()),
        }
    }

    /// Opens a directory in this one.
    /// Errors: [`Escape::SymbolicLink`] where a link has its name.
    pub fn open_dir(&self, name: &[u8]) -> io::Result<Dir> {
        self.check(name)?;
        let fd = open_beneath(self.fd(), name)?;
        let path = match &self.path {
            Some(path) => Some(path.child(name)?),
            None => None,
        };
        Ok(Dir::new(Arc::clone(&self.shared), fd, path))
    }

    /// What an entry is and has; `None`: there is none of that name.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        self.check(name)?;
        let mut stat = match statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(raw) => Stat::from(raw),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if self.shared.keeping.metadata == Metadata::Xattr {
            let named = Named::new(self.fd(), name);
            match self.shared.keeping.complete(&mut stat, &named) {
                Err(error) if is_errno(&error, Errno::NOENT) => return Ok(None),
                other => other?,
            }
        }
        Ok(Some(stat))
    }

    /// The same of the directory itself.
    pub fn self_stat(&self) -> io::Result<Stat> {
        let mut stat = Stat::from(fstat(&self.fd)?);
        let inode = Inode::open(self.fd());
        self.shared.keeping.complete(&mut stat, &inode)?;
        Ok(stat)
    }

    /// All names but `.` and `..`, in the order of the directory.
    pub fn entries(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        self.visit_entries(|name, kind, ino| {
            let name = name.to_vec();
            entries.push(DirEntry { name, kind, ino });
            Ok(())
        })?;
        Ok(entries)
    }

    /// The same, entry by entry, for directories of any size: name, kind and inode number as in a
    /// [`DirEntry`].
    pub fn visit_entries(
        &self,
        mut visit: impl FnMut(&[u8], Option<Kind>, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        // A descriptor of its own has a position of its own.
        let fd = open_beneath(self.fd(), b".")?;
        let stored = self.shared.keeping.metadata == Metadata::Xattr;
        list_directory(&fd, |name, kind, ino| {
            let reserved = match &self.path {
                Some(path) => self.shared.is_reserved(path, name),
                None => false,
            };
            if reserved {
                return Ok(());
            }
            let kind = Some(kind).filter(|&kind| !(stored && kind == Kind::File));
            visit(name, kind, ino)
        })
    }

    /// Opens a regular file for reading, without leaving a mark in its atime where that may be.
    /// Anything else is not opened at all, since opening a device acts on it.
    /// Errors: EINVAL where it is not a regular file.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        self.open_sized(name).map(|(file, _)| file)
    }

    /// The same, with the bytes that it has.
    pub fn open_sized(&self, name: &[u8]) -> io::Result<(File, u64)> {
        self.check(name)?;
        let inode = Inode::hold(self.fd(), name)?;
        let size = self.size_of_regular(&inode)?;
        Ok((open_for_reading(&inode)?, size))
    }

    /// The same for an entry that has been seen to be a regular file: in a tree that nobody changes
    /// it still is one, and is opened at once.
    pub fn open_seen(&self, name: &[u8]) -> io::Result<(File, u64)> {
        if !self.shared.is_unchanging {
            return self.open_sized(name);
        }
        self.check(name)?;
        let open = |more| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            openat(self.fd(), name, flags | more, Mode::empty())
        };
        let fd = match open(OFlags::NOATIME) {
            Err(Errno::PERM) => open(OFlags::empty()),
            other => other,
        };
        let fd = fd.map_err(|error| match error {
            Errno::LOOP => Errno::INVAL,
            other => other,
        })?;
        let size = self.size_of_regular(&Inode::open(fd.as_fd()))?;
        Ok((File::from(fd), size))
    }

    /// Errors: EINVAL where it is not a regular file, to the kernel or to clients.
    fn size_of_regular(&self, inode: &Inode<'_>) -> io::Result<u64> {
        let mut stat = inode.stat()?;
        self.shared.keeping.complete(&mut stat, inode)?;
        match (stat.kind, stat.inode.kind) {
            (Kind::File, Kind::File) => Ok(stat.size),
            _ => Err(Errno::INVAL.into()),
        }
    }

    /// Whether an entry's attributes are stored beside what its inode says.
    pub fn is_stored(&self, name: &[u8]) -> io::Result<bool> {
        self.check(name)?;
        is_stored(&Named::new(self.fd(), name))
    }

    /// The same of the directory itself.
    pub fn self_is_stored(&self) -> io::Result<bool> {
        is_stored(&Inode::open(self.fd()))
    }

    /// What was noted of the content of a file; `None`: nothing that can be read.
    pub fn content_sum(&self, name: &[u8]) -> io::Result<Option<ContentSum>> {
        self.check(name)?;
        content::read(&Named::new(self.fd(), name), &self.shared.notes)
    }

    /// The target of a symbolic link, as it was given.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        self.check(name)?;
        let target = match readlinkat(self.fd(), name, Vec::new()) {
            Ok(target) => return Ok(target.into_bytes()),
            Err(Errno::INVAL) if self.shared.keeping.metadata == Metadata::Xattr => {
                let inode = Inode::hold(self.fd(), name)?;
                let mut stat = inode.stat()?;
                self.shared.keeping.complete(&mut stat, &inode)?;
                if stat.kind != Kind::Symlink {
                    return Err(Errno::INVAL.into());
                }
                let mut target = Vec::new();
                let file = open_for_reading(&inode)?;
                file.take(TARGET_LIMIT as u64 + 1)
                    .read_to_end(&mut target)?;
                target
            }
            Err(error) => return Err(error.into()),
        };
        if target.len() > TARGET_LIMIT {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok(target)
    }

    /// The extended attributes that a client sees.
    pub fn xattrs(&self, name: &[u8]) -> io::Result<XattrSet> {
        self.check(name)?;
        self.shared.keeping.view.read(&Named::new(self.fd(), name))
    }

    /// The same of the directory itself.
    pub fn self_xattrs(&self) -> io::Result<XattrSet> {
        self.shared.keeping.view.read(&Inode::open(self.fd()))
    }

    /// An ACL of an entry with this stat. `None`: the mode says it all, or there is no default
    /// ACL.
    pub fn acl(&self, name: &[u8], stat: &Stat, kind: AclKind) -> io::Result<Option<PosixAcl>> {
        self.check(name)?;
        self.shared
            .keeping
            .acl(&Named::new(self.fd(), name), kind, stat)
    }

    /// The same of the directory itself.
    pub fn self_acl(&self, stat: &Stat, kind: AclKind) -> io::Result<Option<PosixAcl>> {
        self.shared.keeping.acl(&Inode::open(self.fd()), kind, stat)
    }

    /// ACLs, and extended attributes where they are wanted, in as few system calls as can be.
    pub fn extended(&self, name: &[u8], stat: &Stat, with_xattrs: bool) -> io::Result<Extended> {
        self.check(name)?;
        let named = Named::new(self.fd(), name);
        self.shared.keeping.extended(&named, stat, with_xattrs)
    }

    /// The same of the directory itself.
    pub fn self_extended(&self, stat: &Stat, with_xattrs: bool) -> io::Result<Extended> {
        let inode = Inode::open(self.fd());
        self.shared.keeping.extended(&inode, stat, with_xattrs)
    }

    /// Writes what was changed in this directory, its names included, to disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }
}

/// Owner and mode are not stored where the inode tells them, but what else is shows.
fn is_stored(source: &impl XattrSource) -> io::Result<bool> {
    let names = source.xattr_names()?;
    Ok(names.iter().any(|name| name.starts_with(STORED_PREFIX)))
}

/// Opens a regular file that is held; only its owner and the privileged can spare its atime.
pub(super) fn open_for_reading(inode: &Inode<'_>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let fd = match inode.reopen(flags | OFlags::NOATIME) {
        Err(error) if is_errno(&error, Errno::PERM) => inode.reopen(flags)?,
        other => other?,
    };
    Ok(File::from(fd))
}
