//! Makes one entry, with its attributes, beside where it goes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, lsetxattr, makedev, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::source::Has;
use crate::confine::{FileTime, Kind};

/// Whether owners can be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Powers {
    pub(super) root: bool,
}

/// An attribute that could not be set: its name, and why.
pub(super) type Lacks = Vec<(String, io::Error)>;

/// A regular file that has a temporary name. Removed with the value, unless it was kept.
pub(super) struct Temporary<'a> {
    directory: BorrowedFd<'a>,
    name: Option<CString>,
}

impl<'a> Temporary<'a> {
    pub(super) fn new(directory: BorrowedFd<'a>, serial: u64) -> Self {
        let name = format!(".coffre-restore-{}-{serial}", std::process::id());
        Self {
            directory,
            name: CString::new(name).ok(),
        }
    }

    fn name(&self) -> &CStr {
        self.name.as_deref().unwrap_or(c".")
    }

    pub(super) fn file(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let made = openat(self.directory, self.name(), flags | OFlags::NOFOLLOW, mode)?;
        Ok(File::from(made))
    }

    pub(super) fn symlink(&self, target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, self.directory, self.name())?)
    }

    pub(super) fn node(&self, kind: Kind, rdev: (u32, u32)) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        let device = makedev(rdev.0, rdev.1);
        Ok(mknodat(
            self.directory,
            self.name(),
            kind.file_type(),
            mode,
            device,
        )?)
    }

    pub(super) fn link(&self, from: &OwnedFd, name: &CStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            from,
            name,
            self.directory,
            self.name(),
            AtFlags::empty(),
        )?)
    }

    /// Gives something that is no regular file its attributes.
    pub(super) fn attributes(&self, has: &Has, powers: Powers) -> Lacks {
        let mut lacks = Lacks::new();
        if powers.root {
            let (uid, gid) = (Uid::from_raw(has.stat.uid), Gid::from_raw(has.stat.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let set = chownat(self.directory, self.name(), Some(uid), Some(gid), flags);
            note(&mut lacks, "owner", set);
        }
        let mut path = format!("/proc/self/fd/{}/", self.directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name().to_bytes());
        for (name, value) in &has.xattrs {
            let set = lsetxattr(path.as_slice(), name.as_slice(), value, XattrFlags::empty());
            note_xattr(&mut lacks, name, set);
        }
        if has.stat.kind != Kind::Symlink {
            if let Some(acl) = &has.access_acl {
                let set = lsetxattr(
                    path.as_slice(),
                    "system.posix_acl_access",
                    &acl.encode(),
                    XattrFlags::empty(),
                );
                note(&mut lacks, "ACL", set);
            }
            let mode = Mode::from_raw_mode(has.stat.mode);
            let set = rustix::fs::chmodat(self.directory, self.name(), mode, AtFlags::empty());
            note(&mut lacks, "permissions", set);
        }
        let set = utimensat(
            self.directory,
            self.name(),
            &times(has),
            AtFlags::SYMLINK_NOFOLLOW,
        );
        note(&mut lacks, "times", set);
        lacks
    }

    /// Gives it its own name. Errors: EEXIST where something has that, unless it may be replaced.
    pub(super) fn place(mut self, name: &CStr, replace: bool) -> io::Result<()> {
        let flags = match replace {
            true => rustix::fs::RenameFlags::empty(),
            false => rustix::fs::RenameFlags::NOREPLACE,
        };
        let (directory, from) = (self.directory, self.name());
        match rustix::fs::renameat_with(directory, from, directory, name, flags) {
            Ok(()) => {}
            // A file system that cannot promise it: a link never replaces anything.
            Err(Errno::INVAL) if !replace => {
                rustix::fs::linkat(directory, from, directory, name, AtFlags::empty())?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        // Renaming a link over another of its inode leaves both.
        let _ = unlinkat(directory, from, AtFlags::empty());
        self.name = None;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = unlinkat(self.directory, name, AtFlags::empty());
        }
    }
}

/// Gives an open file or directory its attributes. The mode after the ACL, whose mask the group
/// bits are, and after the owner, whose change takes set-id bits away; the times last.
pub(super) fn set_attributes(fd: impl AsFd, has: &Has, powers: Powers) -> Lacks {
    let fd = fd.as_fd();
    let mut lacks = Lacks::new();
    if powers.root {
        let (uid, gid) = (Uid::from_raw(has.stat.uid), Gid::from_raw(has.stat.gid));
        note(&mut lacks, "owner", fchown(fd, Some(uid), Some(gid)));
    }
    for (name, value) in &has.xattrs {
        let set = fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
        note_xattr(&mut lacks, name, set);
    }
    let acls = [
        ("system.posix_acl_access", "ACL", &has.access_acl),
        ("system.posix_acl_default", "default ACL", &has.default_acl),
    ];
    for (name, shown, acl) in acls {
        if let Some(acl) = acl {
            let set = fsetxattr(fd, name, &acl.encode(), XattrFlags::empty());
            note(&mut lacks, shown, set);
        }
    }
    let mode = Mode::from_raw_mode(has.stat.mode);
    note(&mut lacks, "permissions", fchmod(fd, mode));
    note(&mut lacks, "times", futimens(fd, &times(has)));
    lacks
}

fn times(has: &Has) -> Timestamps {
    let time = |time: FileTime| Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: time(has.stat.atime),
        last_modification: time(has.stat.mtime),
    }
}

fn note(lacks: &mut Lacks, what: &str, set: Result<(), Errno>) {
    if let Err(error) = set {
        lacks.push((what.to_owned(), error.into()));
    }
}

fn note_xattr(lacks: &mut Lacks, name: &[u8], set: Result<(), Errno>) {
    let shown = coffre_protocol::error::escape(name);
    note(lacks, &format!("extended attribute {shown}"), set);
}
