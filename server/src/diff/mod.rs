//! What changed between two trees of a tenant: snapshots, or live.
//!
//! Both are gone through together, directory by directory. A name with the same inode in both is
//! the same file, and is not looked at; what has another one is compared by what is known of it:
//! kind, size, time, mode, owner, attributes, ACLs, the target of a link, and the sum that was noted
//! when its content came. No content is read. Where a content has no sum, or one that does not hold
//! any more, and its size has not changed, nobody knows whether it has.
//!
//! Names of one inode are told apart from copies: a file that got another name, lost one, was
//! renamed, or was parted from the names it shared an inode with, is said to be just that. A
//! directory that was renamed has new directories in its snapshot, and so is one removed and one
//! added; the files in it have moved.

mod compare;
mod links;
mod walk;

use crate::confine::Kind;

pub use walk::{DiffError, Side, Task, Watch, diff};

/// Everything that differs, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    pub all: Vec<Difference>,
    /// Length of what only the second tree holds, each inode once.
    pub new_bytes: u64,
}

/// A path that does not stand for the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// From the top of the trees, as bytes. Empty: the tree itself.
    pub path: Vec<u8>,
    pub change: Change,
    /// In the second tree, or the first where it is not in that.
    pub kind: Kind,
    /// Bytes, of the same.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `is_link`: a further name of something that is in both.
    Added {
        is_link: bool,
    },
    /// `is_link`: one of the names of something that is in both.
    Removed {
        is_link: bool,
    },
    /// The same inode had another name.
    Moved {
        from: Vec<u8>,
    },
    Changed(Vec<What>),
}

/// What of an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// File, directory, link …
    Type,
    /// Also the target of a link, or the number of a device.
    Content,
    /// Nothing is known of at least one of the contents, which are of one length.
    PerhapsContent,
    Size,
    Mtime,
    Mode,
    Owner,
    Xattr,
    Acl,
    /// It shares its inode with other names than before.
    Links,
}

impl What {
    /// A word, for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Content => "content",
            Self::PerhapsContent => "content?",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Xattr => "xattr",
            Self::Acl => "acl",
            Self::Links => "links",
        }
    }
}
