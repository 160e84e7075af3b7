//! The mark by which coffre knows its own snapshots: an extended attribute on the snapshot's
//! directory.
//!
//! The catalogue knows them too, but it can be lost, and a directory can be moved or copied. Only
//! a directory whose mark fits its name and its tenant is a snapshot of ours; nothing else is ever
//! pruned, whatever it is called. `docs/format.md` has the attribute's form.
//!
//! Where the file system keeps no such attributes, the mark is a file beside the manifest,
//! `<home>/.manifests/<snapshot>.mark`, with the same lines and the inode of the directory: another
//! directory of that name is still none of ours.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};

use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::home::Home;
use super::manifest;
use super::name::{SnapshotName, State};

/// Name of the attribute.
pub(super) const XATTR: &CStr = c"user.coffre.snapshot";

const VERSION: &str = "1";

/// Longer ones are not ours.
const LONGEST: usize = 1024;

/// Marks an open directory.
pub(super) fn set(home: &Home, directory: &OwnedFd, name: SnapshotName) -> Result<(), Errno> {
    let mut value = format!(
        "version={VERSION}\ntime={}\nstate={}\ntenant=",
        name.time(),
        name.state()
    )
    .into_bytes();
    value.extend_from_slice(&home.tenant);
    value.push(b'\n');
    match rustix::fs::fsetxattr(directory, XATTR, &value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => set_beside(home, directory, name, value),
        other => other,
    }
}

/// The name of the file that is the mark where there are no attributes.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

pub(super) const SUFFIX: &str = ".mark";

fn set_beside(
    home: &Home,
    directory: &OwnedFd,
    name: SnapshotName,
    mut value: Vec<u8>,
) -> Result<(), Errno> {
    let inode = rustix::fs::fstat(directory)?.st_ino;
    value.extend_from_slice(format!("inode={inode}\n").as_bytes());
    home.make_inside(manifest::DIRECTORY)?;
    let beside = home.open_inside(manifest::DIRECTORY)?;
    let building = format!(".building-{}", file_name(&name.to_string()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(&beside, &building, flags | OFlags::NOFOLLOW, mode)?;
    let mut file = File::from(file);
    let written = file.write_all(&value).and_then(|()| file.sync_all());
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::fs::renameat(&beside, &building, &beside, file_name(&name.to_string()))?;
    rustix::fs::fsync(beside)
}

/// `None`: there is no mark of that name.
fn read_beside(home: &Home, name: SnapshotName) -> Result<Option<Vec<u8>>, Errno> {
    let opened = home.open_inside(manifest::DIRECTORY).and_then(|beside| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&beside, file_name(&name.to_string()), flags, Mode::empty())
    });
    let file = match opened {
        Err(Errno::NOENT) => return Ok(None),
        file => File::from(file?),
    };
    let mut value = Vec::new();
    let read = file.take(LONGEST as u64).read_to_end(&mut value);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(Some(value))
}

/// Why a directory is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    NoMark,
    Unreadable,
    OtherVersion(String),
    OtherTenant,
    OtherName,
    OtherDirectory,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMark => f.write_str("it has no user.coffre.snapshot attribute"),
            Self::Unreadable => f.write_str("its user.coffre.snapshot attribute cannot be read"),
            Self::OtherVersion(version) => {
                write!(
                    f,
                    "its mark is of version {version:?}, which this coffre does not know"
                )
            }
            Self::OtherTenant => f.write_str("its mark is of another tenant"),
            Self::OtherName => f.write_str("its mark is of another time or state than its name"),
            Self::OtherDirectory => f.write_str("its mark is of another directory"),
        }
    }
}

/// Whether an open directory of this name is marked as ours.
pub(super) fn check(home: &Home, directory: &OwnedFd, name: SnapshotName) -> Result<(), Unfit> {
    let mut value = [0; LONGEST];
    let (value, is_beside) = match rustix::fs::fgetxattr(directory, XATTR, &mut value) {
        Ok(length) => (value[..length].to_vec(), false),
        Err(Errno::NODATA) => return Err(Unfit::NoMark),
        Err(Errno::OPNOTSUPP) => match read_beside(home, name) {
            Ok(Some(value)) => (value, true),
            Ok(None) => return Err(Unfit::NoMark),
            Err(_) => return Err(Unfit::Unreadable),
        },
        Err(_) => return Err(Unfit::Unreadable),
    };
    let field = |key: &[u8]| {
        let of_key = |line: &'_ [u8]| {
            line.strip_prefix(key)?
                .strip_prefix(b"=")
                .map(<[u8]>::to_vec)
        };
        value.split(|byte| *byte == b'\n').find_map(of_key)
    };
    let text = |key: &[u8]| String::from_utf8(field(key)?).ok();
    match text(b"version") {
        Some(version) if version == VERSION => {}
        Some(version) => return Err(Unfit::OtherVersion(version)),
        None => return Err(Unfit::Unreadable),
    }
    let time: Option<Timestamp> = text(b"time").and_then(|time| time.parse().ok());
    let state = match text(b"state").as_deref() {
        Some("complete") => Some(State::Complete),
        Some("incomplete") => Some(State::Incomplete),
        _ => None,
    };
    if (time, state) != (Some(name.time()), Some(name.state())) {
        return Err(Unfit::OtherName);
    }
    if field(b"tenant").as_deref() != Some(&home.tenant) {
        return Err(Unfit::OtherTenant);
    }
    let is_of = |inode: u64| rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_ino == inode);
    if is_beside
        && !text(b"inode")
            .and_then(|text| text.parse().ok())
            .is_some_and(is_of)
    {
        return Err(Unfit::OtherDirectory);
    }
    Ok(())
}
