//! Writes the content of one file, in order, into an unnamed file.
//!
//! Small pieces are gathered so that a file costs few system calls; large ones go straight
//! through. With `--sparse`, runs of zeros become holes.

use std::io;
use std::os::unix::fs::FileExt;

use crate::confine::Staged;

/// Pieces are gathered up to this size.
const GATHER: usize = 64 << 10;
/// A run of zeros is looked for in aligned pieces of this size.
const SPARSE_UNIT: usize = 4096;

pub(super) struct FileWriter {
    staged: Staged,
    gathered: Vec<u8>,
    /// Where the next byte goes, gathered ones included.
    at: u64,
    sparse: bool,
    /// Room was allocated ahead: the end must be cut.
    preallocated: bool,
    /// The last thing was a hole: the size must be set.
    ends_in_hole: bool,
}

impl FileWriter {
    pub(super) fn new(staged: Staged, sparse: bool) -> Self {
        Self {
            staged,
            gathered: Vec::new(),
            at: 0,
            sparse,
            preallocated: false,
            ends_in_hole: false,
        }
    }

    /// Allocates room for `len` bytes. Where the file system cannot, nothing happens, as with
    /// stock rsync.
    pub(super) fn preallocate(&mut self, len: u64) {
        if len > 0 && self.staged.preallocate(len).is_ok() {
            self.preallocated = true;
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.gathered.is_empty() && bytes.len() >= GATHER / 4 {
            self.at += bytes.len() as u64;
            return self.put(bytes, self.at - bytes.len() as u64);
        }
        self.gathered.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.gathered.len() >= GATHER {
            self.write_gathered()?;
        }
        Ok(())
    }

    fn write_gathered(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.gathered);
        self.put(&bytes, self.at - bytes.len() as u64)?;
        self.gathered = bytes;
        self.gathered.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if !self.sparse || self.preallocated {
            self.staged.make_room(bytes.len() as u64)?;
            return self.staged.file().write_all_at(bytes, at);
        }
        let mut done = 0;
        while done < bytes.len() {
            let zeros = run(&bytes[done..], true);
            if zeros > 0 {
                self.ends_in_hole = true;
                done += zeros;
                continue;
            }
            let data = run(&bytes[done..], false);
            self.staged.make_room(data as u64)?;
            self.staged
                .file()
                .write_all_at(&bytes[done..done + data], at + done as u64)?;
            self.ends_in_hole = false;
            done += data;
        }
        Ok(())
    }

    /// Writes what is left and gives the file back, `size` bytes long.
    pub(super) fn finish(mut self) -> io::Result<Staged> {
        if !self.gathered.is_empty() {
            self.write_gathered()?;
        }
        if self.preallocated || self.ends_in_hole {
            self.staged.file().set_len(self.at)?;
        }
        Ok(self.staged)
    }
}

/// Length of the leading run of units that are all zero (or that are not).
fn run(bytes: &[u8], zero: bool) -> usize {
    bytes
        .chunks(SPARSE_UNIT)
        .take_while(|unit| unit.iter().all(|b| *b == 0) == zero)
        .map(<[u8]>::len)
        .sum()
}
