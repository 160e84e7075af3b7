//! A switch for one test: whether names are checked.
//!
//! Several layers keep a client inside its tree, and each is to hold without the others. That can
//! be shown only where the others are off, so a test starts a server without them. Names are
//! checked for ever in a release build; elsewhere they are until somebody calls
//! `stop_checking_names`, which no part of the product does.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(debug_assertions)]
static NAMES_PASS: AtomicBool = AtomicBool::new(false);

/// Whether a name with `..` in it is refused.
#[cfg(debug_assertions)]
pub fn names_are_checked() -> bool {
    !NAMES_PASS.load(Ordering::Relaxed)
}

/// Whether a name with `..` in it is refused.
#[cfg(not(debug_assertions))]
pub const fn names_are_checked() -> bool {
    true
}

/// From here on names with `..` pass, in the whole process.
#[cfg(debug_assertions)]
pub fn stop_checking_names() {
    NAMES_PASS.store(true, Ordering::Relaxed);
}
