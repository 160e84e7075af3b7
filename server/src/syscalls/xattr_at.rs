//! Extended attributes of an entry by its name in an open directory.
//!
//! Linux 6.13 and later have calls for it that neither the system library nor `rustix` offers yet.
//! Before that, and where a filter of a container does not know them, the way is through
//! `/proc/self/fd/N/NAME`, which costs two and a half times as much. Both look up one name in the
//! very directory that is open, and do not follow it.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

/// The kernel has no such calls. It is one for the whole process.
static LACKING: AtomicBool = AtomicBool::new(false);

/// Bytes of a name's longest form with its NUL: a longer one is the name of no entry.
const NAME_ROOM: usize = 256;

/// Bytes of the longest name of an attribute with its NUL (XATTR_NAME_MAX).
const ATTRIBUTE_ROOM: usize = 256;

/// Reads the names of the attributes of `name` in `dir`, which is not followed; as `llistxattr`.
pub(crate) fn list(dir: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    if !LACKING.load(Ordering::Relaxed) {
        let mut room = [0; NAME_ROOM];
        match list_at(dir, with_nul(name, &mut room)?, buffer) {
            Err(Errno::NOSYS) => LACKING.store(true, Ordering::Relaxed),
            // Of a filter, which says it of one call as of all; the old way has the last word.
            Err(Errno::PERM) => {}
            other => return other,
        }
    }
    llistxattr(through_proc(dir, name), buffer)
}

/// Reads an attribute of `name` in `dir`, which is not followed; as `lgetxattr`.
pub(crate) fn get(
    dir: BorrowedFd<'_>,
    name: &[u8],
    attribute: &[u8],
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    if !LACKING.load(Ordering::Relaxed) {
        let (mut room, mut attribute_room) = ([0; NAME_ROOM], [0; ATTRIBUTE_ROOM]);
        let name = with_nul(name, &mut room)?;
        // What the kernel says of an attribute's name that is too long.
        let attribute = with_nul(attribute, &mut attribute_room).map_err(|_| Errno::RANGE)?;
        match get_at(dir, name, attribute, buffer) {
            Err(Errno::NOSYS) => LACKING.store(true, Ordering::Relaxed),
            Err(Errno::PERM) => {}
            other => return other,
        }
    }
    lgetxattr(through_proc(dir, name), attribute, buffer)
}

fn through_proc(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Errors: ENAMETOOLONG for more than there is room for, EINVAL for a NUL inside.
fn with_nul<'a, const N: usize>(name: &[u8], room: &'a mut [u8; N]) -> Result<&'a CStr, Errno> {
    let whole = room.get_mut(..=name.len()).ok_or(Errno::NAMETOOLONG)?;
    whole[..name.len()].copy_from_slice(name);
    CStr::from_bytes_with_nul(whole).map_err(|_| Errno::INVAL)
}

/// Numbers that are the same on all processors. Source: include/uapi/asm-generic/unistd.h.
const GETXATTRAT: libc::c_long = 464;
const LISTXATTRAT: libc::c_long = 465;

/// The `struct xattr_args` of the kernel. Source: include/uapi/linux/xattr.h.
#[repr(C, align(8))]
struct Args {
    value: u64,
    size: u32,
    flags: u32,
}

#[allow(unsafe_code)]
fn list_at(dir: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: `name` ends with a NUL, and the kernel writes at most `buffer.len()` bytes to
    // `buffer`; it keeps neither pointer.
    let answer = unsafe {
        libc::syscall(
            LISTXATTRAT,
            dir.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    length_of(answer)
}

#[allow(unsafe_code)]
fn get_at(
    dir: BorrowedFd<'_>,
    name: &CStr,
    attribute: &CStr,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    let mut args = Args {
        value: buffer.as_mut_ptr() as u64,
        size: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: both names end with a NUL; `args` is what the call expects, of the length that is
    // told, and says that `buffer.len()` bytes may be written to `buffer`. No pointer is kept.
    let answer = unsafe {
        libc::syscall(
            GETXATTRAT,
            dir.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            attribute.as_ptr(),
            &raw mut args,
            size_of::<Args>(),
        )
    };
    length_of(answer)
}

fn length_of(answer: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(answer)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    /// Both ways give the same, errors too.
    #[test]
    fn by_the_call_and_through_proc_are_the_same() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, b"x").unwrap();
        setxattr(&file, "user.one", b"value", XattrFlags::empty()).unwrap();
        setxattr(&file, "user.empty", b"", XattrFlags::empty()).unwrap();
        std::os::unix::fs::symlink("file", home.path().join("link")).unwrap();
        let dir = File::open(home.path()).unwrap();
        let long = [b'n'; 255];
        let too_long = [b'n'; 256];
        for name in [&b"file"[..], b"link", b"absent", &long, &too_long] {
            for size in [4, 1024] {
                let (mut one, mut other) = (vec![0; size], vec![0; size]);
                assert_eq!(
                    list(dir.as_fd(), name, &mut one),
                    llistxattr(through_proc(dir.as_fd(), name), &mut other),
                    "{size} bytes for the names of {name:?}"
                );
                assert_eq!(one, other);
                for attribute in [&b"user.one"[..], b"user.empty", b"user.none", b"bad", &long] {
                    assert_eq!(
                        get(dir.as_fd(), name, attribute, &mut one),
                        lgetxattr(through_proc(dir.as_fd(), name), attribute, &mut other),
                        "{size} bytes for {attribute:?} of {name:?}"
                    );
                    assert_eq!(one, other);
                }
            }
        }
        assert_eq!(list(dir.as_fd(), b"fi\0le", &mut [0; 8]), Err(Errno::INVAL));
    }
}
