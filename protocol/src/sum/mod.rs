//! The sums of a basis file: what the generator sends so that the sender can find blocks again.
//!
//! A [`SumHead`] tells how the basis is cut, then for every block there are four bytes of rolling
//! sum and the first bytes of the strong sum. The generator makes them with a [`BlockSumEncoder`],
//! the sender reads them with a [`BlockSumDecoder`] into a [`BlockSums`] table. The sender echoes
//! the head before its tokens, and the receiver takes the geometry of the basis from the echo.
//! In append mode the head describes the length of the basis and no block sums follow.
//! Source: rsync `io.c`, `generator.c` as observed on the wire with protocols 27 to 32.

mod decode;
mod encode;

use std::ops::Range;

use crate::wire::{Decode, Reader, Write};
use crate::{ProtocolError, ProtocolVersion};

pub use decode::{BlockSumDecoder, BlockSums};
pub use encode::BlockSumEncoder;

#[cfg(test)]
mod tests;

/// How a basis file is cut into blocks.
///
/// Wire: four `int`: block count, block length (bytes), strong-sum length (bytes), remainder
/// (bytes of the last block if that is short, else 0). All zero: there is no basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SumHead {
    /// Blocks, at most `i32::MAX`.
    pub count: u32,
    /// Bytes of every block but a short last one.
    pub block_len: u32,
    /// Bytes of strong sum sent per block.
    pub strong_len: u32,
    /// Bytes of the last block, or 0 if it is a whole one.
    pub remainder: u32,
}

impl SumHead {
    /// Bytes on the wire.
    pub const WIRE_LEN: usize = 16;

    /// "There is no basis, send everything".
    pub const NONE: SumHead = SumHead {
        count: 0,
        block_len: 0,
        strong_len: 0,
        remainder: 0,
    };

    /// The block length that small files get, and the least that any file gets by default.
    const DEFAULT_BLOCK_LEN: u32 = 700;

    /// Bytes of strong sum that are always accepted: some releases announce 16 in the redo phase
    /// although the digest has 8.
    const ANY_STRONG_LEN: u32 = 16;

    /// The longest block of a protocol version: 128 KiB from 30 on, 512 MiB before.
    pub fn max_block_len(version: ProtocolVersion) -> u32 {
        if version.at_least(30) {
            1 << 17
        } else {
            1 << 29
        }
    }

    /// Reads a head. `digest_len`: bytes of a whole digest of the transfer checksum.
    ///
    /// Errors: a violation (exit 2) if a number is negative, the block length is beyond
    /// [`Self::max_block_len`], or zero with blocks announced, the strong sum is longer than both
    /// 16 and the digest, or the remainder is longer than a block. The count has no other limit:
    /// it must not size anything before the sums have arrived.
    pub fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        digest_len: usize,
    ) -> Decode<Self> {
        let mut fields = Reader::new(reader.bytes(Self::WIRE_LEN)?);
        let (count, block_len) = (fields.i32()?, fields.i32()?);
        let (strong_len, remainder) = (fields.i32()?, fields.i32()?);
        let head = Self {
            count: non_negative("block count", count)?,
            block_len: non_negative("block length", block_len)?,
            strong_len: non_negative("strong sum length", strong_len)?,
            remainder: non_negative("remainder", remainder)?,
        };
        let max_block_len = Self::max_block_len(version);
        let max_strong_len = Self::ANY_STRONG_LEN.max(digest_len as u32);
        let wrong = if head.block_len > max_block_len {
            format!("a block length of {block_len} exceeds the limit of {max_block_len}")
        } else if head.count > 0 && head.block_len == 0 {
            format!("{count} blocks of no length were announced")
        } else if head.strong_len > max_strong_len {
            format!("a strong sum length of {strong_len} exceeds the limit of {max_strong_len}")
        } else if head.remainder > head.block_len {
            format!("a remainder of {remainder} is longer than a block of {block_len}")
        } else {
            return Ok(head);
        };
        Err(ProtocolError::violation(wrong).into())
    }

    pub fn encode(&self, out: &mut impl Write) {
        for field in [self.count, self.block_len, self.strong_len, self.remainder] {
            out.put(&field.to_le_bytes());
        }
    }

    /// The head for a basis of `len` bytes, as stock generators choose it.
    ///
    /// * `digest_len`: bytes of a whole digest of the transfer checksum.
    /// * `forced_block_len`: what `--block-size` asks for, if not zero; cut to
    ///   [`Self::max_block_len`].
    /// * `is_redo`: the second phase, where a false match has to be all but impossible, sends all
    ///   the strong sum there is room for.
    ///
    /// [`Self::NONE`] for an empty basis, and for one of more than `i32::MAX` blocks.
    pub fn for_basis(
        len: u64,
        version: ProtocolVersion,
        digest_len: usize,
        forced_block_len: Option<u32>,
        is_redo: bool,
    ) -> Self {
        let max = Self::max_block_len(version);
        let block_len = match forced_block_len {
            Some(forced) if forced > 0 => forced.min(max),
            _ => default_block_len(len, max),
        };
        let count = len.div_ceil(u64::from(block_len));
        if len == 0 || count > i32::MAX as u64 {
            return Self::NONE;
        }
        let most = digest_len.min(16) as u32;
        Self {
            count: count as u32,
            block_len,
            strong_len: if is_redo {
                most
            } else {
                default_strong_len(len, block_len).min(most)
            },
            remainder: (len % u64::from(block_len)) as u32,
        }
    }

    /// Whether there is nothing to refer to.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the basis.
    pub fn basis_len(&self) -> u64 {
        self.offset(self.count)
    }

    /// Where block `index` begins in the basis; for `count` itself, where the basis ends.
    pub fn offset(&self, index: u32) -> u64 {
        let whole = u64::from(index) * u64::from(self.block_len);
        if index == self.count && index > 0 && self.remainder > 0 {
            whole - u64::from(self.block_len) + u64::from(self.remainder)
        } else {
            whole
        }
    }

    /// Bytes of block `index`.
    pub fn len(&self, index: u32) -> u32 {
        if self.remainder > 0 && index + 1 == self.count {
            self.remainder
        } else {
            self.block_len
        }
    }

    /// The bytes of the basis that `count` blocks from `first` on cover.
    /// Errors: a violation (exit 2) if one of them does not exist.
    pub fn span(&self, first: u32, count: u32) -> Result<Range<u64>, ProtocolError> {
        match first.checked_add(count) {
            Some(end) if end <= self.count => Ok(self.offset(first)..self.offset(end)),
            _ => Err(ProtocolError::violation(format!(
                "blocks {first} to {} were referred to, but the basis has {}",
                u64::from(first) + u64::from(count).saturating_sub(1),
                self.count
            ))),
        }
    }

    /// Bytes of one block sum on the wire.
    pub fn sum_len(&self) -> usize {
        4 + self.strong_len as usize
    }
}

fn non_negative(what: &str, value: i32) -> Result<u32, ProtocolError> {
    u32::try_from(value)
        .map_err(|_| ProtocolError::violation(format!("the {what} {value} is negative")))
}

/// The square root of the length, rounded down to a multiple of 8, within 700 and `max`.
fn default_block_len(len: u64, max: u32) -> u32 {
    const SMALL: u64 = SumHead::DEFAULT_BLOCK_LEN as u64;
    if len <= SMALL * SMALL {
        return SumHead::DEFAULT_BLOCK_LEN;
    }
    match u32::try_from(len.isqrt()) {
        Ok(root) if root < max => (root & !7).max(SumHead::DEFAULT_BLOCK_LEN),
        _ => max,
    }
}

/// Enough strong-sum bytes that a false match in a file of `len` bytes stays improbable.
fn default_strong_len(len: u64, block_len: u32) -> u32 {
    const ROLLING_BITS: u32 = 32;
    const SPARE_BITS: u32 = 10;
    const AT_LEAST: u32 = 2;
    let bits = (SPARE_BITS + 2 * len.ilog2()).saturating_sub(block_len.ilog2());
    ((bits + 8).saturating_sub(ROLLING_BITS) / 8).max(AT_LEAST)
}
