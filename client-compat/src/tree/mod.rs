//! Trees on disk: [`Builder`] makes them, [`describe`] reads them, [`compare`] tells two apart.
//!
//! A description holds what a backup must bring back: kind, content, mode, owner, group, time to
//! the nanosecond, size, link target, device number, extended attributes with ACLs among them, and
//! which names are one file. Holes are counted but not compared: whether zeros become a hole is
//! the file system's business as much as the server's.

mod build;
mod compare;
mod describe;
mod nasty;
mod part;

pub use build::{Builder, acl, noise};
pub use compare::{Differences, compare};
pub use describe::{Described, Kind, Time, describe, escape};
pub use nasty::{deep_name, nasty, ordinary};
pub use part::{share_nothing, share_nothing_of};
