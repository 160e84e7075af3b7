//! The mark by which coffre knows its own snapshots: an extended attribute on the snapshot's
//! directory.
//!
//! The catalogue knows them too, but it can be lost, and a directory can be moved or copied. Only
//! a directory whose mark fits its name and its tenant is a snapshot of ours; nothing else is ever
//! pruned, whatever it is called. `docs/format.md` has the attribute's form.

use std::ffi::CStr;
use std::fmt;

use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::name::{SnapshotName, State};

/// Name of the attribute.
pub(super) const XATTR: &CStr = c"user.coffre.snapshot";

const VERSION: &str = "1";

/// Marks an open directory.
pub(super) fn set(directory: &OwnedFd, name: SnapshotName, tenant: &[u8]) -> Result<(), Errno> {
    let mut value = format!(
        "version={VERSION}\ntime={}\nstate={}\ntenant=",
        name.time(),
        name.state()
    )
    .into_bytes();
    value.extend_from_slice(tenant);
    value.push(b'\n');
    rustix::fs::fsetxattr(directory, XATTR, &value, XattrFlags::empty())
}

/// Why a directory is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    NoMark,
    Unreadable,
    OtherVersion(String),
    OtherTenant,
    OtherName,
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
        }
    }
}

/// Whether an open directory of this name is marked as ours.
pub(super) fn check(directory: &OwnedFd, name: SnapshotName, tenant: &[u8]) -> Result<(), Unfit> {
    let mut value = [0; 1024];
    let value = match rustix::fs::fgetxattr(directory, XATTR, &mut value) {
        Ok(length) => &value[..length],
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Err(Unfit::NoMark),
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
    if field(b"tenant").as_deref() != Some(tenant) {
        return Err(Unfit::OtherTenant);
    }
    Ok(())
}
