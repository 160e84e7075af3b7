//! Copies a content: by sharing its blocks, else its data without the holes.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;

/// Between two looks at whether to stop.
const STEP: u64 = 16 << 20;

/// `advance`: told how many bytes are done; `Err` from it ends the copy.
pub(super) fn copy(
    from: &File,
    to: &File,
    advance: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let size = from.metadata()?.len();
    match ioctl_ficlone(to, from) {
        Ok(()) => return advance(size),
        Err(
            Errno::OPNOTSUPP
            | Errno::NOTTY
            | Errno::NOSYS
            | Errno::XDEV
            | Errno::INVAL
            | Errno::PERM
            | Errno::TXTBSY,
        ) => {}
        Err(error) => return Err(error.into()),
    }
    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => size,
            // A file system that does not tell holes.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        advance(data - at)?;
        if data == size {
            break;
        }
        let hole = match seek(from, SeekFrom::Hole(data)) {
            Ok(hole) => hole,
            Err(Errno::INVAL) => size,
            Err(error) => return Err(error.into()),
        };
        copy_range(from, to, data, hole, advance)?;
        at = hole;
    }
    Ok(())
}

fn copy_range(
    from: &File,
    to: &File,
    start: u64,
    end: u64,
    advance: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let step = (end - read_at).min(STEP);
        let wanted = usize::try_from(step).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), wanted) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => advance(copied as u64)?,
            // Not between these two.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                seek(from, SeekFrom::Start(read_at))?;
                seek(to, SeekFrom::Start(write_at))?;
                return copy_by_hand(from, to, end - read_at, advance);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(
    from: &File,
    mut to: &File,
    len: u64,
    advance: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = len;
    let mut from = from.take(len);
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        match from.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                to.write_all(&buffer[..read])?;
                left -= read as u64;
                advance(read as u64)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
