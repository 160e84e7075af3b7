//! The handle by which a file server would know a file: inode number and generation, in the words
//! of each file system. It is compared here, and never used to open anything.
//!
//! `rustix` does not offer the call.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The kernel's `struct file_handle`, with room for the longest. Source: name_to_handle_at(2).
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; ROOM],
}

/// MAX_HANDLE_SZ.
const ROOM: usize = 128;

/// Only to be compared, so also of file systems that cannot open by it. Since Linux 6.5.
const FID: libc::c_int = 0x200;

/// The handle of an open file, or, with a name, of an entry of an open directory, which is not
/// followed.
/// Errors: EOPNOTSUPP where the file system has none.
pub(crate) fn of(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut path = [0; 256];
    let whole = path.get_mut(..=name.len()).ok_or(Errno::NAMETOOLONG)?;
    whole[..name.len()].copy_from_slice(name);
    let path = CStr::from_bytes_with_nul(whole).map_err(|_| Errno::INVAL)?;
    let flags = match name.is_empty() {
        true => libc::AT_EMPTY_PATH,
        false => 0,
    };
    match get(fd, path, flags) {
        Err(Errno::OPNOTSUPP) => get(fd, path, flags | FID),
        other => other,
    }
}

#[allow(unsafe_code)]
fn get(fd: BorrowedFd<'_>, path: &CStr, flags: libc::c_int) -> Result<Vec<u8>, Errno> {
    let mut handle = Handle {
        bytes: ROOM as u32,
        kind: 0,
        data: [0; ROOM],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: `path` ends with a NUL; `handle` has the form the call expects and says how many
    // bytes may be written behind its head; the call writes one integer to `mount`. No pointer is
    // kept.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_raw_fd(),
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            flags,
        )
    };
    if answer != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    let data = handle.data.get(..handle.bytes as usize).ok_or(Errno::IO)?;
    Ok([&handle.kind.to_le_bytes()[..], data].concat())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_handle_is_the_same_by_name_and_descriptor_and_differs_by_file() {
        let home = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|name| File::create(home.path().join(name)).unwrap());
        let dir = File::open(home.path()).unwrap();
        let own = match of(files[0].as_fd(), b"") {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                println!("skipped: no handles here");
                return;
            }
            other => other.unwrap(),
        };
        assert!(own.len() > 4, "{own:?}");
        assert_eq!(of(dir.as_fd(), b"a").unwrap(), own);
        assert_ne!(of(dir.as_fd(), b"b").unwrap(), own);
        assert_eq!(of(dir.as_fd(), b"none"), Err(Errno::NOENT));
        assert_eq!(of(dir.as_fd(), &[b'n'; 256]), Err(Errno::NAMETOOLONG));
    }
}
