//! Which snapshots hold which versions of a path.
//!
//! ```text
//! pattern ─▶ per tree (oldest first, live last), on some threads:
//!              a manifest, where the pattern can match at any depth     names and inode numbers,
//!              the directories, step by step, where it cannot, and live      no file is opened
//!         ─▶ history: consecutive trees that have the same inode at a path are one version
//!         ─▶ one look at each version, for size, time and kind
//! ```
//!
//! A file that two snapshots share is one inode, and one that a snapshot shares is never changed
//! in place: so equal inodes are equal versions, whatever is in them. Directories are made anew in
//! every snapshot, and are one version as long as mode, owner and time are the same.
//!
//! A manifest counts as far as its snapshot is where it was built: in a store that has been copied,
//! and where a manifest is damaged, the directories themselves are gone through.

mod history;
mod pattern;
mod search;

pub use history::{Found, Version};
pub use pattern::{BadPattern, Pattern};
pub use search::{FindError, Task, Watch, find};
