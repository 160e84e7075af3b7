//! Writes the content of one file, in order.
//!
//! Small pieces are gathered so that a file costs few system calls; large ones go straight
//! through. With `--sparse`, runs of zeros become holes.
//!
//! | the file | at first it holds |
//! |---|---|
//! | an unnamed one | nothing |
//! | an unnamed clone of the basis | the basis; blocks that stay where they were are not written |
//! | the one in the tree, in place | the same |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};

use crate::confine::{InPlace, Staged};

/// Pieces are gathered up to this size.
const GATHER: usize = 64 << 10;
/// A run of zeros is looked for in aligned pieces of this size.
const SPARSE_UNIT: usize = 4096;

/// Where the content goes.
pub(super) enum Sink {
    /// A file without a name in the tree.
    Staged(Staged),
    /// A file of the tree that no snapshot shares.
    InPlace(InPlace),
}

impl Sink {
    pub(super) fn file(&self) -> &File {
        match self {
            Sink::Staged(staged) => staged.file(),
            Sink::InPlace(in_place) => in_place.file(),
        }
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Sink::Staged(staged) => staged.make_room(bytes),
            Sink::InPlace(in_place) => in_place.make_room(bytes),
        }
    }
}

/// What a file holds before anything is written to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Bytes.
    pub(super) len: u64,
    /// They are those of the basis at the same place.
    pub(super) is_basis: bool,
}

pub(super) struct FileWriter {
    sink: Sink,
    gathered: Vec<u8>,
    /// Where the next byte goes, gathered ones included.
    at: u64,
    held: Held,
    /// Bytes that have blocks on disk already, so that a hole must be punched.
    allocated: u64,
    sparse: bool,
    /// Room was allocated ahead: the end must be cut.
    preallocated: bool,
    /// The last thing was a hole: the size must be set.
    ends_in_hole: bool,
}

impl FileWriter {
    pub(super) fn new(sink: Sink, held: Held, sparse: bool) -> Self {
        Self {
            sink,
            gathered: Vec::new(),
            at: 0,
            held,
            allocated: held.len,
            sparse,
            preallocated: false,
            ends_in_hole: false,
        }
    }

    /// Goes on behind the first `len` bytes, which stay as they are.
    pub(super) fn append_at(&mut self, len: u64) {
        self.at = len;
    }

    /// Allocates room for `len` bytes. Where the file system cannot, nothing happens, as with
    /// stock rsync.
    pub(super) fn preallocate(&mut self, len: u64) {
        let keep_size = FallocateFlags::KEEP_SIZE;
        if len > self.held.len && fallocate(self.sink.file(), keep_size, 0, len).is_ok() {
            self.preallocated = true;
            self.allocated = len;
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

    /// Writes bytes that stand at `basis_at` in the basis: none, where they are in place.
    pub(super) fn write_matched(&mut self, bytes: &[u8], basis_at: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        let is_there = self.held.is_basis && self.at + len <= self.held.len;
        if basis_at != self.at || !is_there {
            return self.write(bytes);
        }
        self.write_gathered()?;
        self.ends_in_hole = false;
        if self.sparse {
            // Zeros that the basis has blocks for become holes, too.
            let mut done = 0;
            while done < bytes.len() {
                let zeros = run(&bytes[done..], true);
                if zeros > 0 {
                    self.make_hole(&bytes[done..done + zeros], self.at + done as u64)?;
                    done += zeros;
                } else {
                    self.ends_in_hole = false;
                    done += run(&bytes[done..], false);
                }
            }
        }
        self.at += len;
        Ok(())
    }

    fn write_gathered(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.gathered);
        if !bytes.is_empty() {
            self.put(&bytes, self.at - bytes.len() as u64)?;
        }
        self.gathered = bytes;
        self.gathered.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if !self.sparse {
            self.sink.make_room(bytes.len() as u64)?;
            return self.sink.file().write_all_at(bytes, at);
        }
        let mut done = 0;
        while done < bytes.len() {
            let start = at + done as u64;
            let zeros = run(&bytes[done..], true);
            if zeros > 0 {
                self.make_hole(&bytes[done..done + zeros], start)?;
                done += zeros;
                continue;
            }
            let data = run(&bytes[done..], false);
            self.sink.make_room(data as u64)?;
            let piece = &bytes[done..done + data];
            self.sink.file().write_all_at(piece, start)?;
            self.ends_in_hole = false;
            done += data;
        }
        Ok(())
    }

    /// Makes zeros of what is there; writes them where the file system can make no holes.
    fn make_hole(&mut self, zeros: &[u8], at: u64) -> io::Result<()> {
        self.ends_in_hole = true;
        if at >= self.allocated {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(self.sink.file(), flags, at, zeros.len() as u64) {
            Ok(()) => Ok(()),
            Err(_) => self.sink.file().write_all_at(zeros, at),
        }
    }

    /// Writes what is left and gives the file back, as long as what was written.
    pub(super) fn finish(mut self) -> io::Result<Sink> {
        self.write_gathered()?;
        if self.preallocated || self.ends_in_hole || self.held.len > self.at {
            self.sink.file().set_len(self.at)?;
        }
        Ok(self.sink)
    }

    /// The rest will not come: what there is of the file, for the next push. One that is written
    /// in place stays as long as it is.
    pub(super) fn break_off(mut self) -> io::Result<Sink> {
        match self.sink {
            Sink::Staged(_) => self.finish(),
            Sink::InPlace(_) => {
                self.write_gathered()?;
                Ok(self.sink)
            }
        }
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
