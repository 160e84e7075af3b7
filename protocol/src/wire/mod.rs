//! Integers and strings as they stand on the wire.
//!
//! [`Reader`] walks over the bytes at hand; a decoder that runs out of them answers
//! [`DecodeError::Incomplete`] and is called again from the start of its unit when there are more.
//! [`Write`] appends the same encodings to a `Vec<u8>`.
//! Source: `docs` of rsync's `io.c` as observed on the wire; all integers are little-endian.

mod reader;
mod write;

pub use reader::{Decode, DecodeError, Reader};
pub use write::Write;

#[cfg(test)]
mod tests;
