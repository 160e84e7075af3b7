//! Which names a snapshot holds, and which inode each stands for: written while it is built, so
//! that a file that is missing later, or one too many, can be named.
//!
//! A manifest stands beside the snapshots, in `<home>/.manifests/<snapshot>`, compressed. It costs
//! no look at any file: the directory listing that the snapshot is built from tells it all.
//!
//! ```text
//! "coffre manifest 1\n"
//! 8 bytes                    inode of the snapshot's own directory
//! per directory, a directory after the one it is in:
//!   'D' inode                of the directory in live, which stands for it here
//!   per entry: kind length name inode
//!     kind                   'f' file, 'd' directory, 'l' symbolic link, 'o' any other
//!     inode                  less that of the entry before (zigzag); of a directory, that in live
//!   0
//! 'R' inode inode            the first has been replaced by the second (see `relink`)
//! 'E' entries                the end, with the number of entries in all
//! ```
//!
//! Numbers are LEB128. The whole is one zstd frame with a checksum, so damage to the manifest
//! itself is noticed. A reader needs no more memory than for one directory, and for those whose
//! parent it has seen ([`Record`]); whoever looks for a few names makes a [`Pass`].

mod pass;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::SnapshotError;
use super::home::Home;
use super::marker;
use super::name::SnapshotName;

pub(crate) use pass::{Pass, Visit};

const MAGIC: &[u8] = b"coffre manifest 1\n";

/// The fastest: most of it is names, which it halves several times.
const LEVEL: i32 = 1;

pub(super) const DIRECTORY: &CStr = c".manifests";
const DIRECTORY_NAME: &str = ".manifests";

/// No file system of Linux has longer names.
const LONGEST_NAME: u64 = 255;

/// The entries of one directory, as they are put into a manifest. Used again for each.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    last: u64,
    entries: u64,
}

impl Draft {
    /// `inode`: of the directory in live.
    pub(super) fn begin(&mut self, inode: u64) {
        self.bytes.clear();
        self.bytes.push(b'D');
        put_leb128(&mut self.bytes, inode);
        self.last = 0;
        self.entries = 0;
    }

    pub(super) fn add(&mut self, name: &CStr, kind: FileType, inode: u64) {
        let name = name.to_bytes();
        self.bytes.push(match kind {
            FileType::RegularFile => b'f',
            FileType::Directory => b'd',
            FileType::Symlink => b'l',
            _ => b'o',
        });
        put_leb128(&mut self.bytes, name.len() as u64);
        self.bytes.extend_from_slice(name);
        put_leb128(
            &mut self.bytes,
            zigzag(inode.wrapping_sub(self.last) as i64),
        );
        self.last = inode;
        self.entries += 1;
    }
}

/// A manifest that is being written.
pub(super) struct Writer {
    directory: OwnedFd,
    temporary: CString,
    out: zstd::Encoder<'static, File>,
    entries: u64,
}

impl Writer {
    pub(super) fn create(
        home: &Home,
        name: SnapshotName,
        root: u64,
    ) -> Result<Self, SnapshotError> {
        let fail =
            |error: io::Error| SnapshotError::io("write the manifest of", &shown(name), error);
        let directory = match home.open_inside(DIRECTORY) {
            Err(Errno::NOENT) => {
                home.make_inside(DIRECTORY).map_err(|e| fail(e.into()))?;
                home.open_inside(DIRECTORY)
            }
            other => other,
        };
        let directory = directory.map_err(|e| fail(e.into()))?;
        let temporary = c_string(&format!(".building-{name}"));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&directory, &temporary, flags | OFlags::NOFOLLOW, mode)
            .map_err(|e| fail(e.into()))?;
        let start = || {
            let mut out = zstd::Encoder::new(File::from(file), LEVEL)?;
            out.include_checksum(true)?;
            out.write_all(MAGIC)?;
            out.write_all(&root.to_le_bytes())?;
            Ok(out)
        };
        Ok(Self {
            out: start().map_err(fail)?,
            directory,
            temporary,
            entries: 0,
        })
    }

    pub(super) fn put(&mut self, draft: &mut Draft) -> io::Result<()> {
        draft.bytes.push(0);
        self.entries += draft.entries;
        self.out.write_all(&draft.bytes)
    }

    pub(super) fn replaced(&mut self, old: u64, new: u64) -> io::Result<()> {
        let mut bytes = vec![b'R'];
        put_leb128(&mut bytes, old);
        put_leb128(&mut bytes, new);
        self.out.write_all(&bytes)
    }

    /// Ends it, and gives it its name. The caller sees to it that it is on disk before the
    /// snapshot has its own.
    pub(super) fn finish(mut self, name: SnapshotName) -> Result<(), SnapshotError> {
        let mut end = vec![b'E'];
        put_leb128(&mut end, self.entries);
        let ended = self.out.write_all(&end).and_then(|()| self.out.finish());
        let named = ended.and_then(|_| {
            let directory = &self.directory;
            let to = name.to_string();
            Ok(rustix::fs::renameat(
                directory,
                &self.temporary,
                directory,
                to,
            )?)
        });
        named.map_err(|error| SnapshotError::io("write the manifest of", &shown(name), error))
    }
}

/// A manifest that could not be written.
pub(super) fn failed(name: SnapshotName, error: io::Error) -> SnapshotError {
    SnapshotError::io("write the manifest of", &shown(name), error)
}

/// Removes the manifest of a snapshot that is no more, and the mark that may stand beside it. One that is not there is no error.
pub(super) fn remove(home: &Home, name: SnapshotName) {
    // Whatever is left is swept later.
    if let Ok(directory) = home.open_inside(DIRECTORY) {
        let name = name.to_string();
        for name in [marker::file_name(&name), name] {
            let _ = rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty());
        }
    }
}

/// Removes what belongs to no snapshot, for a caller that knows that none is being built.
pub(super) fn sweep(home: &Home) -> Result<(), SnapshotError> {
    let fail = |error: Errno| SnapshotError::io("list", b".manifests", error);
    let directory = match home.open_inside(DIRECTORY) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(fail)?,
    };
    let mut strays = Vec::new();
    let mut entries = Vec::with_capacity(32 << 10);
    let path = || b".manifests".to_vec();
    super::walk::each_entry(&directory, &mut entries, path, |name, _, _| {
        let text = name.to_str().unwrap_or_default();
        let of = text.strip_suffix(marker::SUFFIX).unwrap_or(text);
        let is_known = match of.parse::<SnapshotName>() {
            Ok(_) => home.exists(of)?,
            // What an admin puts there is none of ours.
            Err(_) => !text.starts_with(".building-"),
        };
        if !is_known {
            strays.push(name.to_owned());
        }
        Ok(())
    })?;
    for stray in strays {
        let _ = rustix::fs::unlinkat(&directory, &stray, rustix::fs::AtFlags::empty());
    }
    Ok(())
}

/// Reads a manifest, directory by directory.
pub(crate) struct Manifest {
    input: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    root: u64,
    first: u64,
    entries: u64,
    /// Inodes that have been replaced, known when the end is reached: by a reading before.
    replaced: std::collections::HashMap<u64, u64>,
}

/// What was said of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Of the directory in live, by which its parent's record has it.
    pub(crate) inode: u64,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    pub(crate) kind: EntryKind,
    pub(crate) inode: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    Other,
}

impl EntryKind {
    pub(crate) fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'f' => Self::File,
            b'd' => Self::Directory,
            b'l' => Self::Symlink,
            b'o' => Self::Other,
            _ => return None,
        })
    }
}

impl Manifest {
    /// Opens the manifest of a snapshot, and reads it to its end once, so that one that is damaged
    /// is noticed before it is believed. `None`: there is none.
    /// Errors: it cannot be read, or is damaged (`InvalidData`, `UnexpectedEof`).
    pub(crate) fn open(home: &std::path::Path, name: SnapshotName) -> io::Result<Option<Self>> {
        let path = home.join(DIRECTORY_NAME).join(name.to_string());
        let mut first = match Self::start(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let top = first.next_record()?.ok_or_else(|| damaged("it is empty"))?;
        while first.next_record()?.is_some() {}
        let mut manifest = Self::start(&path)?;
        manifest.first = top.inode;
        manifest.replaced = first.replaced;
        Ok(Some(manifest))
    }

    fn start(path: &std::path::Path) -> io::Result<Self> {
        let decoder = zstd::Decoder::new(File::open(path)?)?;
        let mut input = BufReader::new(decoder);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("it is no manifest, or of another version"));
        }
        let mut root = [0; 8];
        input.read_exact(&mut root)?;
        Ok(Self {
            input,
            root: u64::from_le_bytes(root),
            first: 0,
            entries: 0,
            replaced: std::collections::HashMap::new(),
        })
    }

    /// The inode of the snapshot's directory when it was built. Another one says that the store
    /// has been copied, so that no inode number is what it was.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// What stands for the tree itself in the first record.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The next directory; `None`: that was all of them.
    pub(crate) fn next_record(&mut self) -> io::Result<Option<Record>> {
        loop {
            match self.byte()? {
                b'D' => break,
                b'R' => {
                    let (old, new) = (self.number()?, self.number()?);
                    self.replaced.insert(old, new);
                }
                b'E' => {
                    let entries = self.number()?;
                    // Reads the checksum.
                    let more = self.input.read(&mut [0])?;
                    return match entries == self.entries && more == 0 {
                        true => Ok(None),
                        false => Err(damaged("it does not hold what its end says")),
                    };
                }
                _ => return Err(damaged("it makes no sense")),
            }
        }
        let inode = self.number()?;
        let mut entries = Vec::new();
        let mut last = 0_u64;
        loop {
            let kind = match self.byte()? {
                0 => break,
                byte => EntryKind::from_byte(byte).ok_or_else(|| damaged("it makes no sense"))?,
            };
            let length = self.number()?;
            if length == 0 || length > LONGEST_NAME {
                return Err(damaged("a name in it is too long"));
            }
            let mut name = vec![0; length as usize];
            self.input.read_exact(&mut name)?;
            last = last.wrapping_add(unzigzag(self.number()?) as u64);
            let inode = *self.replaced.get(&last).unwrap_or(&last);
            entries.push(Entry {
                name: CString::new(name).map_err(|_| damaged("a name in it has a NUL"))?,
                kind,
                inode,
            });
        }
        self.entries += entries.len() as u64;
        Ok(Some(Record { inode, entries }))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut value = 0;
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

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn put_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn shown(name: SnapshotName) -> Vec<u8> {
    format!("snapshots/{name}").into_bytes()
}

fn c_string(name: &str) -> CString {
    CString::new(name).expect("a snapshot's name has no NUL")
}
