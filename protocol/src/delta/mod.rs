//! Deltas: the tokens a file is rebuilt from.
//!
//! After echoing a request the sender describes its file as a row of tokens: literal bytes, and
//! references to blocks of the basis that both ends know. The whole-file sum follows (see
//! [`FileSummer`](crate::checksum::FileSummer)).
//!
//! * The sender runs [`BlockSearch`] over its file and writes what it finds with a
//!   [`TokenEncoder`].
//! * The receiver takes tokens from a [`TokenDecoder`] and copies what they name; the bytes a block
//!   reference covers are [`SumHead::span`](crate::sum::SumHead::span).
//!
//! # What lives how long
//!
//! One encoder or decoder serves a whole session and is told where each file begins. Deflate
//! streams start afresh with each file; with zstd all files of a session are **one** frame, so no
//! literal may be skipped, not even of a file that is thrown away. LZ4 chunks are independent.
//! Under [`Compression::Zlib`], the oldest method, matched blocks are part of the history that
//! later literals refer to: both ends have to see their bytes.
//! Source: rsync `token.c`, `match.c` as observed on the wire with protocols 27 to 32.

mod encode;
mod history;
mod pack;
mod search;
mod token;
mod unpack;

pub use encode::TokenEncoder;
pub use search::{BlockSearch, Found};
pub use token::{Token, TokenDecoder};

#[cfg(test)]
mod tests;

/// How literals are compressed; fixed for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    /// Deflate, with matched blocks in the history. What `-z` means without negotiation.
    Zlib,
    /// Deflate of literals alone.
    Zlibx,
    Zstd,
    Lz4,
}

impl Compression {
    /// The name in negotiation strings and in `--compress-choice`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zlib => "zlib",
            Compression::Zlibx => "zlibx",
            Compression::Zstd => "zstd",
            Compression::Lz4 => "lz4",
        }
    }

    /// The method of a name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Compression::None,
            Compression::Zlib,
            Compression::Zlibx,
            Compression::Zstd,
            Compression::Lz4,
        ]
        .into_iter()
        .find(|method| method.name().eq_ignore_ascii_case(name))
    }
}

/// The first byte of a compressed token, or its lowest value where other bits carry a number.
mod flag {
    pub(super) const END: u8 = 0x00;
    /// Followed by a block number (`int`).
    pub(super) const BLOCK: u8 = 0x20;
    /// Followed by a block number (`int`) and how many more blocks (16 bits).
    pub(super) const RUN: u8 = 0x21;
    /// The low six bits and the next byte are the length of a chunk of compressed bytes.
    pub(super) const CHUNK: u8 = 0x40;
    /// The low six bits tell how far beyond the last block.
    pub(super) const NEAR_BLOCK: u8 = 0x80;
    /// The same, followed by how many more blocks (16 bits).
    pub(super) const NEAR_RUN: u8 = 0xc0;
    /// What six bits can tell.
    pub(super) const LOW_BITS: u8 = 0x3f;
}

/// The longest chunk of compressed bytes: what 14 bits can tell.
const MAX_CHUNK: usize = (1 << 14) - 1;

/// Bytes of literals at most in one token as stock senders write them, and in one piece as the
/// decoder hands out.
const LITERAL_PIECE: usize = 32 * 1024;

/// What a sync flush ends with. Senders drop it from the wire, receivers put it back.
const SYNC_MARK: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
