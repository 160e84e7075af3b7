//! The calls of btrfs for subvolumes, which no library in use has.
//!
//! Numbers and layouts are those of the kernel's interface (include/uapi/linux/btrfs.h). Making a
//! snapshot and setting its flag takes the owner of the subvolume's top; destroying one takes
//! `CAP_SYS_ADMIN`, or a file system that is mounted with `user_subvol_rm_allowed`.

use std::ffi::CStr;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// `f_type` of the file system.
pub(crate) const MAGIC: u64 = 0x9123_683e;

/// Inode number of the top of each subvolume.
pub(crate) const TOP: u64 = 256;

/// Inode number of the empty directory that stands in a snapshot where the original had a
/// subvolume inside.
pub(crate) const WAS_SUBVOLUME: u64 = 2;

const GROUP: u8 = 0x94;
const DESTROY: Opcode = opcode::write::<Named>(GROUP, 15);
const SNAPSHOT: Opcode = opcode::write::<NamedV2>(GROUP, 23);
const GET_FLAGS: Opcode = opcode::read::<u64>(GROUP, 25);
const SET_FLAGS: Opcode = opcode::write::<u64>(GROUP, 26);
const INFO: Opcode = opcode::read::<Info>(GROUP, 60);

const READ_ONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Named {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct NamedV2 {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_get_subvol_info_args`, of which only the UUID is wanted.
#[repr(C, align(8))]
struct Info {
    before: [u8; 296],
    uuid: [u8; 16],
    after: [u8; 192],
}

/// Whether an open directory is the top of a subvolume.
pub(crate) fn is_subvolume(directory: impl AsFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(&directory)?;
    Ok(stat.st_ino == TOP && rustix::fs::fstatfs(&directory)?.f_type as u64 == MAGIC)
}

/// Makes `name` in `into` a writable snapshot of the subvolume whose top is `of`.
#[allow(unsafe_code)]
pub(crate) fn snapshot(of: impl AsFd, into: impl AsFd, name: &CStr) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let argument = NamedV2 {
        fd: of.as_fd().as_raw_fd().into(),
        transaction: 0,
        flags: 0,
        unused: [0; 4],
        name: padded(name)?,
    };
    // SAFETY: the kernel reads a structure of this layout, with a name that ends with a NUL, and
    // keeps no pointer; the descriptor in it is open until the call returns.
    unsafe { ioctl(into, Setter::<SNAPSHOT, _>::new(argument)) }
}

/// Takes the subvolume `name` out of `parent`. What is in it is freed by and by.
#[allow(unsafe_code)]
pub(crate) fn destroy(parent: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let argument = Named {
        fd: 0,
        name: padded(name)?,
    };
    // SAFETY: the kernel reads a structure of this layout, with a name that ends with a NUL, and
    // keeps no pointer.
    unsafe { ioctl(parent, Setter::<DESTROY, _>::new(argument)) }
}

/// Lets nobody write to the subvolume with this top any more; or everybody again.
#[allow(unsafe_code)]
pub(crate) fn set_read_only(top: impl AsFd, read_only: bool) -> Result<(), Errno> {
    // SAFETY: the kernel writes and reads eight bytes, as the type says, and keeps no pointer.
    let flags: u64 = unsafe { ioctl(&top, Getter::<GET_FLAGS, u64>::new()) }?;
    let wanted = match read_only {
        true => flags | READ_ONLY,
        false => flags & !READ_ONLY,
    };
    // SAFETY: as above.
    unsafe { ioctl(&top, Setter::<SET_FLAGS, u64>::new(wanted)) }
}

/// What no other subvolume has, here or anywhere.
#[allow(unsafe_code)]
pub(crate) fn uuid(top: impl AsFd) -> Result<[u8; 16], Errno> {
    // SAFETY: the kernel writes a structure of this layout, for which all bytes are good.
    let info: Info = unsafe { ioctl(top, Getter::<INFO, Info>::new()) }?;
    Ok(info.uuid)
}

/// Errors: ENAMETOOLONG.
fn padded<const N: usize>(name: &CStr) -> Result<[u8; N], Errno> {
    let bytes = name.to_bytes_with_nul();
    let mut room = [0; N];
    let start = room.get_mut(..bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    start.copy_from_slice(bytes);
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        // As include/uapi/linux/btrfs.h gives them.
        assert_eq!(size_of::<Named>(), 4096);
        assert_eq!(size_of::<NamedV2>(), 4096);
        assert_eq!(size_of::<Info>(), 504);
        assert_eq!(std::mem::offset_of!(Info, uuid), 296);
        assert_eq!(SNAPSHOT, 0x5000_9417);
        assert_eq!(DESTROY, 0x5000_940f);
        assert_eq!(INFO, 0x81f8_943c);
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        let long = std::ffi::CString::new(vec![b'x'; 5000]).unwrap();
        assert_eq!(padded::<4040>(&long), Err(Errno::NAMETOOLONG));
    }
}
