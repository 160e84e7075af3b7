//! Snapshots of a tenant's live tree, made of hard links.
//!
//! A snapshot's life has three stages, and its directory's name in `<home>/snapshots/` says which:
//!
//! ```text
//! .building-2026-11-20T093000Z ──rename──▶ 2026-11-20T093000Z ──rename──▶ .removing-2026-11-20T093000Z
//!      [take] links the tree              committed, never touched              [remove] unlinks it
//! ```
//!
//! Both renames are single steps on disk, so a snapshot under its final name is whole, whatever
//! was killed when; [`sweep`] clears what a crash left of the outer two stages.
//!
//! The caller holds the live tree alone while [`take`] runs (`tenant::Gate`); it may call
//! everything else at any time. What is taken, kept and pruned is decided elsewhere (`schedule`,
//! `retention`), and recorded elsewhere (`catalogue`); here are only the trees.
//!
//! Files are linked and never opened. Of a file only what the directory listing tells is looked
//! at (`d_type`, `d_ino`); directories are made anew with all their attributes. On ext4 and XFS
//! two threads do it in little more than half of the time of `cp -al`. Where an old snapshot is due
//! to go, it is made into the new one instead, at the price of what differs: see [`recycle`].
//!
//! ```text
//! 2026-10-01T093000Z ──rename──▶ .building-2026-11-20T093000Z ──rename──▶ 2026-11-20T093000Z
//!                   [take_recycling] links and unlinks what differs
//! ```
//!
//! Where live is a btrfs subvolume, a snapshot of it is one, too, and one call makes it: see
//! [`subvolume`]. Trees of both kinds may stand side by side: see [`numbers`].
//!
//! Traps:
//! * `linkat` follows neither symbolic links nor mount points: a link to a symbolic link is the
//!   link itself, and a file on another mount answers `EXDEV`.
//! * A directory's time changes with each entry put into it, so it is set after the last one; its
//!   subdirectories are created in the same pass, and what happens inside them does not count.
//! * ext4 has room for 65,000 links to an inode. See [`relink`].
//! * Trees may be deeper than `PATH_MAX` and than the limit on open files. See [`tree`].

mod attributes;
mod build;
mod error;
mod home;
mod inode;
mod list;
mod listing;
pub(crate) mod manifest;
mod marker;
mod measure;
mod name;
mod neighbours;
mod numbers;
mod open;
mod progress;
mod recycle;
mod relink;
mod remove;
mod subvolume;
pub(crate) mod tree;
mod usage;
pub(crate) mod walk;

pub use build::{Border, Taken, take, take_recycling};
pub use error::SnapshotError;
pub use home::{live_is_subvolume, open_live};
pub use list::{Origin, Snapshot, list};
pub use measure::{Size, measure};
pub use name::{NotAName, SnapshotName, State};
pub(crate) use numbers::Numbers;
pub(crate) use open::{OpenTree, open_tree};
pub use progress::{Counter, Progress};
pub use recycle::{Held, hold, hold_any};
pub use remove::{Removed, Swept, remove, sweep, sweep_removals};
pub(crate) use subvolume::newest as newest_subvolume;
pub use usage::usage;

#[cfg(test)]
mod tests;
