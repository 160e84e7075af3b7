//! The command line as scripts and people meet it: what it prints, where, and how it exits.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose surroundings fail has failed"
)]

mod arguments;
mod place;
mod pushes;
mod reload;
mod serving;
mod snapshots;
