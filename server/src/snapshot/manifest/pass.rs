//! One quick pass over a manifest, for whoever looks for a few names among millions: nothing is
//! allocated, and the bytes are looked at where they were decompressed to.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{EntryKind, LONGEST_NAME, MAGIC, damaged, unzigzag};
use crate::snapshot::SnapshotName;

/// Decompressed at a time.
const BUFFER: usize = 256 << 10;

/// The longest thing that is looked at in one piece: an entry, with its kind and two numbers.
const LONGEST_THING: usize = 1 + 10 + LONGEST_NAME as usize + 10;

/// Somebody who is told what stands in a manifest.
pub(crate) trait Visit {
    /// The record of a directory begins, after that of the one it is in. `false`: its entries
    /// are not wanted.
    fn directory(&mut self, inode: u64) -> bool;
    /// An entry of it. A file's inode may have been replaced: see [`Pass::run`].
    fn entry(&mut self, name: &[u8], kind: EntryKind, inode: u64);
}

/// See the module's story.
pub(crate) struct Pass {
    input: zstd::Decoder<'static, BufReader<File>>,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    is_all: bool,
    root: u64,
}

impl Pass {
    /// `None`: the snapshot has no manifest.
    pub(crate) fn open(home: &Path, name: SnapshotName) -> io::Result<Option<Self>> {
        let path = home.join(super::DIRECTORY_NAME).join(name.to_string());
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut pass = Self {
            input: zstd::Decoder::new(file)?,
            buffer: vec![0; BUFFER],
            at: 0,
            end: 0,
            is_all: false,
            root: 0,
        };
        pass.fill()?;
        if pass.take(MAGIC.len())? != MAGIC {
            return Err(damaged("it is no manifest, or of another version"));
        }
        let root = pass.take(8)?;
        pass.root = u64::from_le_bytes(root.try_into().map_err(|_| damaged("it is cut"))?);
        Ok(Some(pass))
    }

    /// See [`super::Manifest::root`].
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// Tells everything, and returns by which inodes others have been replaced since they were
    /// told. What has been told before an error is not to be believed. `stop`: asked at each
    /// directory; the answer is then `None`.
    pub(crate) fn run(
        mut self,
        visit: &mut impl Visit,
        stop: impl Fn() -> bool,
    ) -> io::Result<Option<HashMap<u64, u64>>> {
        let mut replaced = HashMap::new();
        let mut told = 0;
        loop {
            self.fill()?;
            match self.byte()? {
                b'D' => {
                    if stop() {
                        return Ok(None);
                    }
                    told += self.directory(visit)?;
                }
                b'R' => {
                    let old = self.number()?;
                    replaced.insert(old, self.number()?);
                }
                b'E' => {
                    let entries = self.number()?;
                    // Up to the end, where the checksum is.
                    while !self.is_all {
                        self.fill()?;
                        if self.at < self.end {
                            break;
                        }
                    }
                    return match entries == told && self.at == self.end {
                        true => Ok(Some(replaced)),
                        false => Err(damaged("it does not hold what its end says")),
                    };
                }
                _ => return Err(damaged("it makes no sense")),
            }
        }
    }

    /// The number of its entries.
    fn directory(&mut self, visit: &mut impl Visit) -> io::Result<u64> {
        let inode = self.number()?;
        let wanted = visit.directory(inode);
        let (mut entries, mut last) = (0, 0_u64);
        loop {
            self.fill()?;
            let kind = match self.byte()? {
                0 => return Ok(entries),
                byte => EntryKind::from_byte(byte).ok_or_else(|| damaged("it makes no sense"))?,
            };
            let length = self.number()?;
            if length == 0 || length > LONGEST_NAME {
                return Err(damaged("a name in it is too long"));
            }
            let name = self.at..self.at + length as usize;
            self.take(length as usize)?;
            last = last.wrapping_add(unzigzag(self.number()?) as u64);
            entries += 1;
            if wanted {
                visit.entry(&self.buffer[name], kind, last);
            }
        }
    }

    /// Sees to it that the next thing is in the buffer whole, or else all there is.
    fn fill(&mut self) -> io::Result<()> {
        if self.end - self.at >= LONGEST_THING || self.is_all {
            return Ok(());
        }
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        while self.end < LONGEST_THING {
            match self.input.read(&mut self.buffer[self.end..])? {
                0 => {
                    self.is_all = true;
                    break;
                }
                read => self.end += read,
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let from = self.at;
        if length > self.end - from {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += length;
        Ok(&self.buffer[from..self.at])
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number in it is too long"))
    }
}
