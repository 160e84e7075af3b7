//! Makes a second inode with the content and all the attributes of a file of any kind.

use std::ffi::{CStr, CString};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Statx, Uid, XattrFlags};
use rustix::io::Errno;

use super::attributes;
use super::walk::Scratch;

/// Creates `to` in `to_directory` as the equal of `from` in `from_directory`, whose status is
/// `stat`. A regular file shares its blocks with the original where the file system can do that
/// (reflink), and has the same holes where not; it is on disk when this returns.
pub(super) fn duplicate(
    from_directory: &OwnedFd,
    from: &CStr,
    stat: &Statx,
    to_directory: &OwnedFd,
    to: &CStr,
    scratch: &mut Scratch,
) -> Result<(), Errno> {
    let mode = u32::from(stat.stx_mode);
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let read = flags | OFlags::RDONLY;
            let quiet = read | OFlags::NOATIME;
            let source = match rustix::fs::openat(from_directory, from, quiet, Mode::empty()) {
                Err(Errno::PERM) => rustix::fs::openat(from_directory, from, read, Mode::empty())?,
                other => other?,
            };
            let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let target = rustix::fs::openat(to_directory, to, create, Mode::RUSR | Mode::WUSR)?;
            copy_content(&source, stat.stx_size, &target)?;
            attributes::copy(&source, stat, &target, scratch)?;
            rustix::fs::fsync(&target)
        }
        FileType::Symlink => {
            let points_to = rustix::fs::readlinkat(from_directory, from, Vec::new())?;
            rustix::fs::symlinkat(&points_to, to_directory, to)?;
            copy_attributes_by_name(from_directory, from, stat, to_directory, to, scratch)
        }
        kind => {
            let device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
            rustix::fs::mknodat(to_directory, to, kind, Mode::RUSR | Mode::WUSR, device)?;
            copy_attributes_by_name(from_directory, from, stat, to_directory, to, scratch)
        }
    }
}

fn copy_content(source: &OwnedFd, size: u64, target: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::ioctl_ficlone(target, source) {
        // What file systems without it say, between them.
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV) => {}
        other => return other,
    }
    rustix::fs::ftruncate(target, size)?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(data))?;
        copy_range(source, target, data, end)?;
        at = end;
    }
    Ok(())
}

fn copy_range(source: &OwnedFd, target: &OwnedFd, from: u64, end: u64) -> Result<(), Errno> {
    let (mut read_at, mut write_at) = (from, from);
    while read_at < end {
        let wanted = usize::try_from(end - read_at)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        let copied = rustix::fs::copy_file_range(
            source,
            Some(&mut read_at),
            target,
            Some(&mut write_at),
            wanted,
        )?;
        if copied == 0 {
            // The file has become shorter, though nobody else may be at work on it.
            return Err(Errno::IO);
        }
    }
    Ok(())
}

/// For what cannot be opened without an effect: symbolic links, devices, pipes, sockets.
fn copy_attributes_by_name(
    from_directory: &OwnedFd,
    from: &CStr,
    stat: &Statx,
    to_directory: &OwnedFd,
    to: &CStr,
    scratch: &mut Scratch,
) -> Result<(), Errno> {
    let owner = Uid::from_raw(stat.stx_uid);
    let group = Gid::from_raw(stat.stx_gid);
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(to_directory, to, Some(owner), Some(group), no_follow)?;

    // Extended attributes have no call that takes a directory and a name.
    let from_path = path_through_proc(from_directory, from);
    let to_path = path_through_proc(to_directory, to);
    let wanted = attributes::list(
        |names| rustix::fs::llistxattr(&from_path, names),
        &mut scratch.names,
    )?;
    for name in attributes::names(wanted) {
        let length = rustix::fs::lgetxattr(&from_path, name, &mut *scratch.value)?;
        let value = &scratch.value[..length];
        rustix::fs::lsetxattr(&to_path, name, value, XattrFlags::empty())?;
    }

    let mode = u32::from(stat.stx_mode);
    if FileType::from_raw_mode(mode) != FileType::Symlink {
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(to_directory, to, mode, AtFlags::empty())?;
    }
    rustix::fs::utimensat(to_directory, to, &attributes::times(stat), no_follow)
}

fn path_through_proc(directory: &OwnedFd, name: &CStr) -> CString {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).expect("a directory entry has no NUL")
}
