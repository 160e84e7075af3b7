//! System calls that no library in use offers, two settings of libc's allocator, and the only unsafe
//! code.
//!
//! Each is wrapped in a function that takes descriptors, slices or nothing, so that nothing outside can
//! hand the kernel a pointer or a length that is wrong. Everything else goes through `rustix` and
//! the standard library. The pages of the kernel's interface that layouts and numbers come from
//! are named where they stand.

pub(crate) mod btrfs;
pub(crate) mod handle;
pub(crate) mod heap;
pub(crate) mod ioprio;
pub(crate) mod xattr_at;
