//! Takes the content of one file, in order: sums it and writes it.
//!
//! It comes in pieces, from the wire and out of the basis. They are gathered in one buffer up to
//! the next multiple of [`GATHER`] in the file, so that a file costs few system calls, each of
//! whole pages, and sums get pieces that are worth their while. With `--sparse`, runs of zeros
//! become holes.
//!
//! | the file | at first it holds |
//! |---|---|
//! | an unnamed one | nothing |
//! | an unnamed clone of the basis | the basis; blocks that stay where they were are not written |
//! | the one in the tree, in place | the same |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use coffre_protocol::checksum::StrongSum;
use rustix::fs::{FallocateFlags, fallocate};

use crate::confine::{InPlace, Staged};
use crate::sum::{ArrivalSummer, Content};

/// How much is gathered before it is summed and written. Writes of 64 KiB took 1.17 of the time of
/// these, and those of 1 MiB 0.87.
const GATHER: usize = 256 << 10;
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
    /// Of everything before `at`; none once the sums were asked for.
    summer: Option<ArrivalSummer>,
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that are neither summed nor written yet.
    gathered: usize,
    /// Where the first of them goes.
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
    /// `len`: how long the file is going to be, as far as is known.
    pub(super) fn new(
        sink: Sink,
        held: Held,
        sparse: bool,
        summer: ArrivalSummer,
        len: u64,
    ) -> Self {
        Self {
            sink,
            summer: Some(summer),
            buffer: vec![0; len.min(GATHER as u64) as usize],
            gathered: 0,
            at: 0,
            held,
            allocated: held.len,
            sparse,
            preallocated: false,
            ends_in_hole: false,
        }
    }

    /// Goes on behind the next bytes, which are there already and stay. `covered`: by the client's
    /// sum, too.
    pub(super) fn pass_over(&mut self, there: &[u8], covered: bool) {
        self.at += there.len() as u64;
        match (&mut self.summer, covered) {
            (Some(summer), true) => summer.update(there),
            (Some(summer), false) => summer.update_uncovered(there),
            (None, _) => {}
        }
    }

    /// … of which nothing is known.
    pub(super) fn pass_over_unseen(&mut self, len: u64) {
        self.at += len;
        if let Some(summer) = &mut self.summer {
            summer.skip();
        }
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

    /// Bytes that fit in before what was gathered is written.
    fn room(&self) -> usize {
        GATHER - self.at as usize % GATHER - self.gathered
    }

    /// Where the next `len` bytes are gathered.
    fn place(&mut self, len: usize) -> &mut [u8] {
        let end = self.gathered + len;
        // The file is longer than was said.
        if self.buffer.len() < end {
            self.buffer.resize(end.max(GATHER / 4), 0);
        }
        &mut self.buffer[self.gathered..end]
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(self.room()));
            self.place(piece.len()).copy_from_slice(piece);
            self.gathered += piece.len();
            bytes = rest;
            if self.room() == 0 {
                self.pass_on(Written::No)?;
            }
        }
        Ok(())
    }

    /// Takes the next bytes, not more than [`Self::step`], out of the basis: they stand there at
    /// `from`. Bytes that are at their place already are not written. What cannot be read is taken
    /// for zeros: then the file does not verify, and is asked for once more.
    ///
    /// Gives the bytes to `see`.
    pub(super) fn copy(
        &mut self,
        basis: &File,
        from: u64,
        len: usize,
        see: impl FnOnce(&[u8]),
    ) -> io::Result<()> {
        let to = self.at + self.gathered as u64;
        let is_there = from == to && self.held.is_basis && to + len as u64 <= self.held.len;
        if is_there {
            self.pass_on(Written::No)?;
        }
        let place = self.place(len);
        if let Err(error) = basis.read_exact_at(place, from) {
            place.fill(0);
            tracing::warn!(%error, "cannot read a basis file");
        }
        see(place);
        self.gathered += len;
        if is_there {
            self.pass_on(Written::Already)
        } else if self.room() == 0 {
            self.pass_on(Written::No)
        } else {
            Ok(())
        }
    }

    /// How much of `left` bytes [`Self::copy`] takes at a time.
    pub(super) fn step(&self, left: u64) -> usize {
        left.min(self.room() as u64) as usize
    }

    /// Sums and writes what was gathered.
    fn pass_on(&mut self, written: Written) -> io::Result<()> {
        let len = std::mem::take(&mut self.gathered);
        if len == 0 {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let bytes = &buffer[..len];
        if let Some(summer) = &mut self.summer {
            summer.update(bytes);
        }
        let done = match written {
            Written::No => self.put(bytes, self.at),
            Written::Already => self.make_holes(bytes, self.at),
        };
        // After a write that failed, what is behind this place is not taken for content.
        if done.is_ok() {
            self.at += len as u64;
        }
        self.buffer = buffer;
        done
    }

    /// With `--sparse`, zeros that the basis has blocks for become holes, too.
    fn make_holes(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.ends_in_hole = false;
        let mut done = 0;
        while self.sparse && done < bytes.len() {
            let zeros = run(&bytes[done..], true);
            if zeros > 0 {
                self.make_hole(&bytes[done..done + zeros], at + done as u64)?;
                done += zeros;
            } else {
                self.ends_in_hole = false;
                done += run(&bytes[done..], false);
            }
        }
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

    /// All has come: the sum to compare with the client's, and what is to be kept of it.
    pub(super) fn sums(&mut self) -> io::Result<Option<(StrongSum, Option<Content>)>> {
        self.pass_on(Written::No)?;
        Ok(self.summer.take().map(ArrivalSummer::finish))
    }

    /// Writes what is left and gives the file back, as long as what was written.
    pub(super) fn finish(mut self) -> io::Result<Sink> {
        self.pass_on(Written::No)?;
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
                self.pass_on(Written::No)?;
                Ok(self.sink)
            }
        }
    }
}

/// Whether gathered bytes stand in the file.
#[derive(Clone, Copy)]
enum Written {
    No,
    /// They are the basis's own, at their place in its clone or in the file itself.
    Already,
}

/// Length of the leading run of units that are all zero (or that are not).
fn run(bytes: &[u8], zero: bool) -> usize {
    bytes
        .chunks(SPARSE_UNIT)
        .take_while(|unit| unit.iter().all(|b| *b == 0) == zero)
        .map(<[u8]>::len)
        .sum()
}

#[cfg(test)]
mod tests;
