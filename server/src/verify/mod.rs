//! Reads the store, and compares it with what was noted when it was written.
//!
//! ```text
//! tour: directories, in an order that does not change ──chunks──▶ readers (2 threads, idle I/O)
//!        what a manifest has and the disk has not, and back          each inode once, against its sum
//!                     └──────────────▶ run: counts, findings, how far it has come ◀──┘
//! ```
//!
//! Trees are gone through oldest first, `live` last. A set of inode numbers makes sure that what
//! they share is read once. How far it has come is kept in the catalogue, as a tree and a number
//! of directories: whoever goes on from there lists what lies before, to know its inodes, and
//! reads none of it.
//!
//! Nothing here changes a file. What is found is told, and stays as it is.

mod findings;
mod names;
mod pace;
mod reader;
mod run;
mod seen;
mod tour;

pub use crate::syscalls::ioprio::go_idle;
pub use findings::{Finding, What};
pub use names::{Damage, gather};
pub use run::{Outcome, Task, VerifyError, Watch, verify};
pub(crate) use seen::Inodes;
