//! What can be wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::units::count;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum What {
    /// The content is not the one that was summed.
    Content {
        /// Its time has changed since then, too.
        touched: bool,
    },
    /// It has another length than the one that was summed.
    Size { was: u64, is: u64 },
    /// It cannot be read.
    Unreadable { error: String },
    /// What the server noted of its content makes no sense.
    Sum,
    /// The snapshot was built with it.
    Missing { directory: bool },
    /// The snapshot was built without it.
    Extra { directory: bool },
    /// The snapshot was built with another inode, or another kind of file, of this name.
    Replaced,
    /// The snapshot's manifest.
    Manifest { error: String },
}

impl What {
    /// Whether there are files below that nobody has come to, where this is said of a directory.
    pub(super) fn hides_files(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. } | Self::Manifest { .. } | Self::Extra { directory: true }
        )
    }

    /// A word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Content { .. } => "content",
            Self::Size { .. } => "size",
            Self::Unreadable { .. } => "unreadable",
            Self::Sum => "sum",
            Self::Missing { .. } => "missing",
            Self::Extra { .. } => "extra",
            Self::Replaced => "replaced",
            Self::Manifest { .. } => "manifest",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |directory: bool| if directory { "directory" } else { "file" };
        match self {
            Self::Content { touched: false } => {
                f.write_str("the content is not the one that was received")
            }
            Self::Content { touched: true } => f.write_str(
                "the content is not the one that was received, nor is its time: something else \
                 than coffre has written to it",
            ),
            Self::Size { was, is } => {
                write!(f, "it has {}, and {was} were received", count(*is, "byte"))
            }
            Self::Unreadable { error } => write!(f, "it cannot be read: {error}"),
            Self::Sum => f.write_str("its user.coffre.sum cannot be understood"),
            Self::Missing { directory } => {
                write!(f, "the {} is missing", kind(*directory))
            }
            Self::Extra { directory } => {
                write!(
                    f,
                    "the {} was not there when the snapshot was taken",
                    kind(*directory)
                )
            }
            Self::Replaced => {
                f.write_str("it is not the file that was there when the snapshot was taken")
            }
            Self::Manifest { error } => write!(f, "the manifest cannot be used: {error}"),
        }
    }
}

/// Something that is wrong, where it was met first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of a snapshot, or `live`.
    pub tree: String,
    /// Relative to the tree, as bytes. Empty: the tree itself.
    pub path: Vec<u8>,
    /// Where the inode is what is wrong: all its names have it. What it is known by, see
    /// [`crate::snapshot::Numbers`].
    pub inode: Option<u64>,
    pub what: What,
}
