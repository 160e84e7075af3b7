//! Reads a tree into memory, names and attributes as bytes, contents as digests.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// Attributes that belong to the server under test; no client can see them.
const OURS: &[u8] = b"user.coffre.";

/// Everything below one directory, and the directory itself as `.`, by relative path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    pub entries: BTreeMap<PathBuf, Entry>,
}

/// One name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The twelve permission bits; of a symlink, which has none, 0o777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Of anything but a directory, whose size is the file system's affair.
    pub size_bytes: u64,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first name, in order, of the same inode. `None`: no other name in this tree.
    pub same_as: Option<PathBuf>,
    /// Bytes that take no room on disk.
    pub hole_bytes: u64,
}

/// What it is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File { content: blake3::Hash },
    Directory,
    Symlink { target: PathBuf },
    Fifo,
    Socket,
    CharDevice { number: (u32, u32) },
    BlockDevice { number: (u32, u32) },
}

/// A modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Time {
    /// Seconds since 1970, and nanoseconds.
    At(i64, u32),
    /// After the scenario began: the time of the transfer, which is different for each server.
    Now,
}

/// Reads `root`. Times from `began` on become [`Time::Now`].
pub fn describe(root: &Path, began: Option<SystemTime>) -> Result<Described> {
    let began = began.map(|began| {
        // The kernel stamps files with a clock that lags a few milliseconds behind.
        let began = began - Duration::from_millis(20);
        let age = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        (
            i64::try_from(age.as_secs()).unwrap_or(i64::MAX),
            age.subsec_nanos(),
        )
    });
    let mut found = Described::default();
    let mut names_of: HashMap<(u64, u64), Vec<PathBuf>> = HashMap::new();
    let mut waiting = vec![PathBuf::from(".")];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // A tree that nobody made yet is empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound && found.entries.is_empty() => {
                return Ok(found);
            }
            Err(error) => return Err(error).with_context(|| format!("stat {}", path.display())),
        };
        if metadata.is_dir() {
            let names = fs::read_dir(&path).with_context(|| format!("list {}", path.display()))?;
            for name in names {
                let name = name?.file_name();
                waiting.push(match relative.as_os_str() == "." {
                    true => PathBuf::from(name),
                    false => relative.join(name),
                });
            }
        } else if metadata.nlink() > 1 {
            names_of
                .entry((metadata.dev(), metadata.ino()))
                .or_default()
                .push(relative.clone());
        }
        let entry =
            entry(&path, &metadata, began).with_context(|| format!("read {}", path.display()))?;
        found.entries.insert(relative, entry);
    }
    for mut names in names_of.into_values().filter(|names| names.len() > 1) {
        names.sort();
        for name in &names {
            if let Some(entry) = found.entries.get_mut(name) {
                entry.same_as = Some(names[0].clone());
            }
        }
    }
    Ok(found)
}

fn entry(path: &Path, metadata: &Metadata, began: Option<(i64, u32)>) -> Result<Entry> {
    let file_type = metadata.file_type();
    let number = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    let kind = if file_type.is_file() {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut open_to_look(path)?, &mut hasher)?;
        Kind::File {
            content: hasher.finalize(),
        }
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink {
            target: fs::read_link(path)?,
        }
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_socket() {
        Kind::Socket
    } else if file_type.is_char_device() {
        Kind::CharDevice { number }
    } else {
        Kind::BlockDevice { number }
    };
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    let mtime = (metadata.mtime(), nanoseconds);
    // Far dates are planted, not "now".
    // A clock that tells whole seconds is behind by up to one (the client's, with --copy-devices).
    let is_now = began.is_some_and(|began| {
        let since = if mtime.1 == 0 { (began.0, 0) } else { began };
        mtime >= since && mtime.0 < began.0 + 24 * 3600
    });
    Ok(Entry {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: match is_now {
            true => Time::Now,
            false => Time::At(mtime.0, mtime.1),
        },
        size_bytes: match kind {
            Kind::Directory => 0,
            _ => metadata.size(),
        },
        hole_bytes: match kind {
            Kind::File { .. } => metadata.size().saturating_sub(metadata.blocks() * 512),
            _ => 0,
        },
        kind,
        xattrs: xattrs(path)?,
        same_as: None,
    })
}

/// Opens a file without changing its access time: what looks must not be seen.
fn open_to_look(path: &Path) -> io::Result<File> {
    let flag = rustix::fs::OFlags::NOATIME.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flag).open(path);
    match opened {
        // Somebody else's file, without privilege.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        other => other,
    }
}

fn xattrs(path: &Path) -> Result<BTreeMap<OsString, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let length = match rustix::fs::llistxattr_query(path) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    let mut list = vec![0u8; length];
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    for name in list[..length].split(|&byte| byte == 0) {
        if name.is_empty() || name.starts_with(OURS) {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let length = rustix::fs::lgetxattr_query(path, name)?;
        let mut value = vec![0u8; length];
        // With no room at all the kernel tells the length instead of the value.
        if length > 0 {
            rustix::fs::lgetxattr(path, name, &mut value[..])?;
        }
        found.insert(name.to_os_string(), value);
    }
    Ok(found)
}

/// Bytes as text for people: what is not printable ASCII as `\xNN`, a long middle left out.
pub fn escape(bytes: &[u8]) -> String {
    const EDGE: usize = 60;
    let escaped = |bytes: &[u8]| -> String {
        let shown = |&byte: &u8| match byte {
            // Messages quote names; a quote that is escaped is hard to read.
            b'\'' | b'"' => char::from(byte).to_string(),
            _ => byte.escape_ascii().to_string(),
        };
        bytes.iter().map(shown).collect()
    };
    if bytes.len() <= 3 * EDGE {
        return escaped(bytes);
    }
    let (head, tail) = (&bytes[..EDGE], &bytes[bytes.len() - EDGE..]);
    format!(
        "{}…({} bytes)…{}",
        escaped(head),
        bytes.len(),
        escaped(tail)
    )
}

impl Described {
    /// Sum of what files say they are minus what they take.
    pub fn hole_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.hole_bytes).sum()
    }

    /// The name as it would be looked up; for tests.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        let name = OsString::from_vec(name.as_bytes().to_vec());
        self.entries.get(Path::new(&name))
    }
}
