//! Listing a directory with nothing but `getdents`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RawDir, statat};

use super::stat::{Kind, Stat};

/// Bytes asked of the kernel at a time; any one entry fits many times over.
const BUFFER: usize = 32 << 10;

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: Vec<u8>,
    /// What the inode is. `None`: a regular file that may stand for something else
    /// ([`super::Metadata::Xattr`]); only a stat can tell.
    pub kind: Option<Kind>,
    pub ino: u64,
}

/// Calls `visit` with name, kind and inode number of each entry but `.` and `..`, in the order
/// of the directory. `dir` must be open for reading and at its start; it is at its end afterwards.
/// Entries that come and go meanwhile may be seen or not. A file system that does not tell kinds
/// costs a stat per entry.
pub fn list_directory(
    dir: impl AsFd,
    mut visit: impl FnMut(&[u8], Kind, u64) -> io::Result<()>,
) -> io::Result<()> {
    let dir = dir.as_fd();
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match Kind::from_file_type(entry.file_type()) {
            Some(kind) => kind,
            None => match statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Stat::from(stat).kind,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
        };
        visit(name, kind, entry.ino())?;
    }
    Ok(())
}
