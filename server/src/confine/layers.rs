//! A switch for one test: whether directories are reached by descriptor and without following.
//!
//! As [`coffre_protocol::layers`] for names: a release build has none, and elsewhere only a test's
//! program calls `follow_everything`. What it leaves is a server that hands paths to the kernel as
//! they are, which is what the other layers are tried against.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(debug_assertions)]
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Whether the kernel is told to stay beneath the tenant's root and to follow no link.
#[cfg(debug_assertions)]
pub(super) fn descriptors_hold() -> bool {
    !FOLLOWS.load(Ordering::Relaxed)
}

/// Whether the kernel is told to stay beneath the tenant's root and to follow no link.
#[cfg(not(debug_assertions))]
pub(super) const fn descriptors_hold() -> bool {
    true
}

/// From here on links and `..` on the way to an entry are followed, in the whole process.
#[cfg(debug_assertions)]
pub fn follow_everything() {
    FOLLOWS.store(true, Ordering::Relaxed);
}
