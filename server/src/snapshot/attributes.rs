//! Copies a directory's attributes: owner, mode, times to the nanosecond, extended attributes
//! (which hold `user.rsync.%stat` and ACLs).

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::marker;
use super::walk::Scratch;

/// Status of an open file.
pub(super) fn stat(fd: impl AsFd) -> Result<Statx, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted)
}

/// Whether files of one can be linked into the other: same file system, and same mount of it.
pub(super) fn same_mount(a: &Statx, b: &Statx) -> bool {
    let device = |s: &Statx| (s.stx_dev_major, s.stx_dev_minor);
    device(a) == device(b) && no_mount_between(a, b)
}

/// Whether both are of one mount. A btrfs subvolume shows another device, and is.
pub(super) fn no_mount_between(a: &Statx, b: &Statx) -> bool {
    // Before Linux 5.8 the mount is not told; a bind mount then shows at the first `linkat`.
    let told = |s: &Statx| StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::MNT_ID);
    !told(a) || !told(b) || a.stx_mnt_id == b.stx_mnt_id
}

pub(super) fn times(stat: &Statx) -> Timestamps {
    let time = |t: StatxTimestamp| Timespec {
        tv_sec: t.tv_sec,
        tv_nsec: t.tv_nsec.into(),
    };
    Timestamps {
        last_access: time(stat.stx_atime),
        last_modification: time(stat.stx_mtime),
    }
}

/// Gives `to`, an open directory or regular file, all attributes of `from`, whose status is
/// `stat`. What is equal already is not written. Times come last, because everything else changes
/// them.
pub(super) fn copy(
    from: &OwnedFd,
    stat: &Statx,
    to: &OwnedFd,
    scratch: &mut Scratch,
) -> Result<(), Errno> {
    let now = self::stat(to)?;
    let mut written = false;
    if (now.stx_uid, now.stx_gid) != (stat.stx_uid, stat.stx_gid) {
        let owner = Uid::from_raw(stat.stx_uid);
        let group = Gid::from_raw(stat.stx_gid);
        rustix::fs::fchown(to, Some(owner), Some(group))?;
        written = true;
    }
    written |= copy_xattrs(from, to, scratch)?;
    // After the owner, because a change of owner clears set-id bits; after the ACL, whose mask
    // the group bits are.
    if written || now.stx_mode != stat.stx_mode {
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.stx_mode.into()))?;
    }
    // None of the above has changed them.
    let seen = |s: &Statx| {
        let at = |t: StatxTimestamp| (t.tv_sec, t.tv_nsec);
        (at(s.stx_atime), at(s.stx_mtime))
    };
    if seen(&now) != seen(stat) {
        rustix::fs::futimens(to, &times(stat))?;
    }
    Ok(())
}

/// `true`: something was written.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd, scratch: &mut Scratch) -> Result<bool, Errno> {
    let wanted = list(
        |names| rustix::fs::flistxattr(from, names),
        &mut scratch.names,
    )?;
    let wanted = wanted.to_vec();
    let given = list(
        |names| rustix::fs::flistxattr(to, names),
        &mut scratch.names,
    )?;
    let mut written = false;
    for name in names(&wanted) {
        let length = rustix::fs::fgetxattr(from, name, &mut *scratch.value)?;
        let value = &scratch.value[..length];
        if names(given).any(|given| given == name) {
            let length = rustix::fs::fgetxattr(to, name, &mut *scratch.other_value)?;
            if scratch.other_value[..length] == *value {
                continue;
            }
        }
        rustix::fs::fsetxattr(to, name, value, XattrFlags::empty())?;
        written = true;
    }
    // What is left of an earlier time; and ACLs that a default ACL of the directory above gave to
    // a new one.
    for name in names(given) {
        if !names(&wanted).any(|wanted| wanted == name) {
            rustix::fs::fremovexattr(to, name)?;
            written = true;
        }
    }
    Ok(written)
}

/// The names of extended attributes, each ended by a NUL. A file system without any has none.
pub(super) fn list(
    list: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    names: &mut [u8],
) -> Result<&[u8], Errno> {
    match list(names) {
        Ok(length) => Ok(&names[..length]),
        Err(Errno::OPNOTSUPP) => Ok(&[]),
        Err(error) => Err(error),
    }
}

/// The attributes that belong to the file: not the labels that the kernel's own policy gives, and
/// not the mark of a snapshot.
pub(super) fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    const NOT_COPIED: [&[u8]; 4] = [
        b"security.selinux",
        b"security.ima",
        b"security.evm",
        marker::XATTR.to_bytes(),
    ];
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !NOT_COPIED.contains(name))
}
