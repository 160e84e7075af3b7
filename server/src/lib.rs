//! coffre: a backup receiver. One process listens on one SSH port per tenant, speaks the rsync
//! server protocol itself into that tenant's root, and turns the tree into dated hard-link
//! snapshots on its own schedule.
//!
//! Dependencies point downwards; nothing points up:
//!
//! ```text
//! cli ─▶ daemon ─▶ ssh ─▶ session ─▶ confine ─▶ syscalls, operating system
//!           │                 └────▶ snapshot ─▶ catalogue
//!           └▶ schedule, retention                (decide; do not touch the disk)
//! ```

pub mod account;
pub mod bandwidth;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod confine;
pub mod control;
pub mod daemon;
pub mod diff;
pub mod fence;
pub mod find;
pub mod places;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod session;
pub mod snapshot;
pub mod ssh;
pub mod sum;
mod syscalls;
pub mod tenant;
pub mod verify;
