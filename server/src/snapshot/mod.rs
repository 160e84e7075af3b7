//! placeholder
mod name;
pub use name::{NotAName, SnapshotName, State};
