//! An inode that is held by a descriptor, and what can be set on it through that.
//!
//! A file that we write is held open. Everything else is held by `O_PATH`: that neither opens a
//! device nor waits for a fifo's other end nor needs permissions of the entry, and what is done
//! through it is done to this very inode, whatever its name stands for by then. `fchmod` and the
//! `f*xattr` calls refuse such a descriptor; they go through `/proc/self/fd/N`, whose last step
//! jumps to the inode (also to a symbolic link) without looking any name up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, PROC_SUPER_MAGIC, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr,
    fstat, fstatfs, futimens, getxattr, listxattr, openat, removexattr, setxattr, utimensat,
};
use rustix::path::DecInt;

use super::beside::{self, Identity};
use super::stat::{FileTime, Stat};
use crate::syscalls::xattr_at;

/// See the module's story.
pub(super) struct Inode<'a> {
    fd: Holder<'a>,
}

enum Holder<'a> {
    /// Open for reading or writing.
    Open(BorrowedFd<'a>),
    /// `O_PATH`.
    PathOnly(OwnedFd),
}

/// `/proc/self/fd`, opened once: what is found in it needs no look at the steps before. `None`:
/// it cannot be opened.
static DESCRIPTORS: OnceLock<Option<OwnedFd>> = OnceLock::new();

fn descriptors() -> Option<BorrowedFd<'static>> {
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, "/proc/self/fd", flags, Mode::empty()).ok()?;
        let is_proc = fstatfs(&fd).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC);
        is_proc.then_some(fd)
    };
    DESCRIPTORS.get_or_init(open).as_ref().map(AsFd::as_fd)
}

/// The name of a descriptor, which leads to the inode itself.
fn through(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

impl<'a> Inode<'a> {
    pub(super) fn open(fd: BorrowedFd<'a>) -> Self {
        Self {
            fd: Holder::Open(fd),
        }
    }

    /// Holds the entry `name` of `dir`, not following it. `name` has been checked.
    pub(super) fn hold(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Inode<'static>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty())?;
        Ok(Inode {
            fd: Holder::PathOnly(fd),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Holder::Open(fd) => *fd,
            Holder::PathOnly(fd) => fd.as_fd(),
        }
    }

    /// Opens the inode itself; for regular files only, since opening a device acts on it.
    pub(super) fn reopen(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(match descriptors() {
            Some(all) => openat(all, DecInt::from_fd(self.fd()), flags, Mode::empty())?,
            None => openat(CWD, through(self.fd()), flags, Mode::empty())?,
        })
    }

    /// What the inode itself says.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::from(fstat(self.fd())?))
    }

    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let uid = uid.map(Uid::from_raw);
        let gid = gid.map(Gid::from_raw);
        match &self.fd {
            Holder::Open(fd) => fchown(fd, uid, gid)?,
            Holder::PathOnly(fd) => chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)?,
        }
        Ok(())
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match &self.fd {
            Holder::Open(fd) => fchmod(fd, mode)?,
            Holder::PathOnly(fd) => chmodat(CWD, through(fd), mode, AtFlags::empty())?,
        }
        Ok(())
    }

    /// Sets the times that are given. A time that the file system cut to what it can hold is an
    /// error: the kernel says nothing then. Looked for outside 1970 to 2038, which all hold.
    pub(super) fn set_times(
        &self,
        mtime: Option<FileTime>,
        atime: Option<FileTime>,
    ) -> io::Result<()> {
        let times = Timestamps {
            last_access: timespec(atime),
            last_modification: timespec(mtime),
        };
        match &self.fd {
            Holder::Open(fd) => futimens(fd, &times)?,
            Holder::PathOnly(fd) => utimensat(fd, "", &times, AtFlags::EMPTY_PATH)?,
        }
        let unusual = |time: Option<FileTime>| {
            time.is_some_and(|time| !(0..=i64::from(i32::MAX)).contains(&time.secs))
        };
        if unusual(mtime) || unusual(atime) {
            let now = self.stat()?;
            let held = |wanted: Option<FileTime>, is: FileTime| {
                wanted.is_none_or(|wanted| wanted.secs == is.secs)
            };
            if !held(mtime, now.mtime) || !held(atime, now.atime) {
                return Err(io::Error::other("the file system cannot hold this time"));
            }
        }
        Ok(())
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        match &self.fd {
            Holder::Open(fd) => fsetxattr(fd, name, value, flags)?,
            Holder::PathOnly(fd) => setxattr(through(fd), name, value, flags)?,
        }
        Ok(())
    }

    /// Removes an attribute; none of that name is no error.
    pub(super) fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        let removed = match &self.fd {
            Holder::Open(fd) => fremovexattr(fd, name),
            Holder::PathOnly(fd) => removexattr(through(fd), name),
        };
        match removed {
            Err(rustix::io::Errno::NODATA) => Ok(()),
            other => Ok(other?),
        }
    }
}

fn timespec(time: Option<FileTime>) -> Timespec {
    match time {
        Some(time) => Timespec {
            tv_sec: time.secs,
            tv_nsec: time.nanos.into(),
        },
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
    }
}

/// Names of extended attributes, as the kernel lists them: each with a NUL behind it.
#[derive(Debug, Clone, Default)]
pub(super) struct XattrNames(Vec<u8>);

impl XattrNames {
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.iter().any(|listed| listed == name)
    }
}

/// Where extended attributes are read from.
pub(super) trait XattrSource {
    /// Into `buffer`; the length, or ERANGE.
    fn list_into(&self, buffer: &mut [u8]) -> rustix::io::Result<usize>;
    fn value_into(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize>;
    /// Which file it is; `None`: that cannot be told for good.
    fn identity(&self) -> io::Result<Option<Identity>>;

    /// All names, whoever they belong to. None where the file system has no such attributes.
    fn xattr_names(&self) -> io::Result<XattrNames> {
        match read_growing(|buffer| self.list_into(buffer)) {
            Err(error) if is_unsupported(&error) => Ok(XattrNames::default()),
            other => Ok(XattrNames(other?)),
        }
    }

    /// `None`: no attribute of that name, or none at all on this file system.
    fn xattr(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match read_growing(|buffer| self.value_into(name, buffer)) {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NODATA.raw_os_error()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl XattrSource for Inode<'_> {
    fn list_into(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.fd {
            Holder::Open(fd) => flistxattr(fd, buffer),
            Holder::PathOnly(fd) => listxattr(through(fd), buffer),
        }
    }

    fn value_into(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.fd {
            Holder::Open(fd) => fgetxattr(fd, name, buffer),
            Holder::PathOnly(fd) => getxattr(through(fd), name, buffer),
        }
    }

    fn identity(&self) -> io::Result<Option<Identity>> {
        beside::identity(self.fd(), b"")
    }
}

/// An inode whose names were listed a moment ago, and whom nobody else can reach: for a new one,
/// which mostly has none, no further call is needed to know that it lacks this and that.
pub(super) struct Listed<'a, 'fd> {
    inode: &'a Inode<'fd>,
    names: XattrNames,
}

impl<'a, 'fd> Listed<'a, 'fd> {
    pub(super) fn new(inode: &'a Inode<'fd>) -> io::Result<Self> {
        Ok(Self {
            inode,
            names: inode.xattr_names()?,
        })
    }
}

impl XattrSource for Listed<'_, '_> {
    fn list_into(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        self.inode.list_into(buffer)
    }

    fn value_into(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self.names.contains(name) {
            true => self.inode.value_into(name, buffer),
            false => Err(rustix::io::Errno::NODATA),
        }
    }

    fn identity(&self) -> io::Result<Option<Identity>> {
        self.inode.identity()
    }

    fn xattr_names(&self) -> io::Result<XattrNames> {
        Ok(self.names.clone())
    }
}

/// An entry by its name in an open directory: for reading in one system call.
pub(super) struct Named<'a> {
    dir: BorrowedFd<'a>,
    name: &'a [u8],
}

impl<'a> Named<'a> {
    /// `name` has been checked.
    pub(super) fn new(dir: BorrowedFd<'a>, name: &'a [u8]) -> Self {
        Self { dir, name }
    }
}

impl XattrSource for Named<'_> {
    fn list_into(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        xattr_at::list(self.dir, self.name, buffer)
    }

    fn value_into(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        xattr_at::get(self.dir, self.name, name, buffer)
    }

    fn identity(&self) -> io::Result<Option<Identity>> {
        beside::identity(self.dir, self.name)
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
}

/// The kernel has no longer list of names and no longer value, in bytes (XATTR_LIST_MAX,
/// XATTR_SIZE_MAX).
const XATTR_LIMIT: usize = 64 << 10;

/// Reads what fits a small buffer in one call, and what does not into the largest there can be.
fn read_growing(
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut small = [0; 1024];
    match read(&mut small) {
        Ok(len) => Ok(small[..len].to_vec()),
        Err(rustix::io::Errno::RANGE) => {
            let mut large = vec![0; XATTR_LIMIT];
            let len = read(&mut large)?;
            large.truncate(len);
            large.shrink_to_fit();
            Ok(large)
        }
        Err(error) => Err(error.into()),
    }
}
