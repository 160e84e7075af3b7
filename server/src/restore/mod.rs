//! Copies out of a snapshot (or of live) to anywhere on this machine, with all that is stored.
//!
//! | stored | restored |
//! |---|---|
//! | natively, or as `rsync --fake-super` does it | natively: owner, mode, times, ACLs, attributes, devices |
//! | names of one inode, within what is restored | names of one inode |
//! | holes | holes; where both are of one file system that can, blocks are shared (reflink) |
//!
//! No link is followed, on either side. Every file is made under a name of its own and renamed
//! when it is whole, so nothing half-done stands under its name. Directories get their attributes
//! after what is in them. What cannot be restored is told, and the rest goes on.

mod content;
mod entry;
pub(crate) mod source;
mod walk;

pub use walk::{Outcome, RestoreError, Task, Watch, restore};
