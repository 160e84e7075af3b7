//! The one place that says that a path does not stay inside, and how the kernel told us.

use std::{fmt, io};

use rustix::io::Errno;

/// A path or a name that cannot be followed inside the tenant's root.
///
/// Travels inside an [`io::Error`] of kind `PermissionDenied`; [`Escape::of`] finds it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// `openat2` found that the path ends outside.
    Leaves,
    /// A component of the path is a symbolic link.
    SymbolicLink,
    /// Empty, `.`, `..`, or with a slash or a NUL in it.
    NotAName,
    /// The server keeps its own work under this name.
    Reserved,
}

impl Escape {
    /// The escape attempt inside an error of this module, if it is one.
    pub fn of(error: &io::Error) -> Option<Escape> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Escape::Leaves => "the path leaves the tenant's root",
            Escape::SymbolicLink => "a symbolic link is in the way",
            Escape::NotAName => "not a name that a directory entry can have",
            Escape::Reserved => "the name is reserved for the server's own work",
        })
    }
}

impl std::error::Error for Escape {}

impl From<Escape> for io::Error {
    fn from(escape: Escape) -> Self {
        io::Error::new(io::ErrorKind::PermissionDenied, escape)
    }
}

/// Gives the errors with which `openat2` reports an escape their own kind.
/// Source: openat2(2), RESOLVE_BENEATH (EXDEV) and RESOLVE_NO_SYMLINKS (ELOOP).
pub(super) fn from_resolution(errno: Errno) -> io::Error {
    match errno {
        Errno::XDEV => Escape::Leaves.into(),
        Errno::LOOP => Escape::SymbolicLink.into(),
        other => other.into(),
    }
}

/// Refuses what would make a `*at` call look at anything but an entry of its directory.
pub(super) fn check_name(name: &[u8]) -> io::Result<()> {
    let bad = name.is_empty()
        || name == b"."
        || name == b".."
        || name.iter().any(|&byte| byte == b'/' || byte == 0);
    if bad {
        Err(Escape::NotAName.into())
    } else {
        Ok(())
    }
}
