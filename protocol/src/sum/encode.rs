//! Block sums, made from a basis file that arrives in pieces.

use super::SumHead;
use crate::checksum::{BlockSummer, RollingSum};
use crate::wire::Write;

/// Turns the bytes of a basis into block sums on the wire: per block four bytes of rolling sum,
/// then [`SumHead::strong_len`] bytes of strong sum.
///
/// The caller writes the head first, then feeds the basis from its start in pieces of any length
/// and sends what has been appended whenever it likes: block sums have no other frame. Pieces that
/// are long beside a block are best; only a block that is cut by the end of a piece is copied.
pub struct BlockSumEncoder {
    head: SumHead,
    summer: BlockSummer,
    done_blocks: u32,
    /// The start of the next block, when a piece ended inside it.
    partial: Vec<u8>,
}

impl BlockSumEncoder {
    pub fn new(head: SumHead, summer: BlockSummer) -> Self {
        Self {
            head,
            summer,
            done_blocks: 0,
            partial: Vec::new(),
        }
    }

    /// Blocks whose sums have been appended.
    pub fn done_blocks(&self) -> u32 {
        self.done_blocks
    }

    /// Whether the sums of all blocks have been appended.
    pub fn is_done(&self) -> bool {
        self.done_blocks == self.head.count
    }

    /// How many bytes of the basis are best taken at once, if it is to be about so many: whole
    /// blocks, and as many as are summed together, unless that is more than 4 MiB.
    pub fn piece_len(&self, about: usize) -> usize {
        const MOST: usize = 4 << 20;
        let block_len = self.head.block_len.max(1) as usize;
        let together = block_len.saturating_mul(self.summer.together());
        match together {
            ..=MOST => together * (about / together).max(1),
            _ => about,
        }
    }

    /// Takes the next bytes of the basis and appends the sums of the blocks they complete.
    /// Bytes beyond the last block, of a basis that has grown meanwhile, are ignored.
    pub fn sum_blocks(&mut self, mut basis: &[u8], out: &mut Vec<u8>) {
        if !self.partial.is_empty() && !self.is_done() {
            let missing = self.head.len(self.done_blocks) as usize - self.partial.len();
            let (taken, rest) = basis.split_at(missing.min(basis.len()));
            self.partial.extend_from_slice(taken);
            basis = rest;
            if taken.len() < missing {
                return;
            }
            let block = std::mem::take(&mut self.partial);
            self.sum_whole(&block, block.len(), out);
            self.partial = block;
            self.partial.clear();
        }
        let block_len = self.head.block_len as usize;
        let short_last = u32::from(self.head.remainder > 0);
        let whole = (self.head.count - self.done_blocks).saturating_sub(short_last) as usize;
        if whole > 0 {
            let at_hand = whole.min(basis.len() / block_len);
            let (blocks, rest) = basis.split_at(at_hand * block_len);
            self.sum_whole(blocks, block_len, out);
            basis = rest;
        }
        if self.is_done() {
            return;
        }
        let next_len = self.head.len(self.done_blocks) as usize;
        if basis.len() >= next_len {
            // Only the short last block can still be whole here.
            self.sum_whole(&basis[..next_len], next_len, out);
        } else {
            self.partial.extend_from_slice(basis);
        }
    }

    /// Appends zeros for all blocks that never came, when the basis turned out shorter than the
    /// head says: the peer still expects their sums, and nothing will match these.
    pub fn finish(self, out: &mut Vec<u8>) {
        let missing = (self.head.count - self.done_blocks) as usize;
        out.resize(out.len() + missing * self.head.sum_len(), 0);
    }

    /// Appends the sums of blocks of `block_len` bytes that stand one after the other.
    fn sum_whole(&mut self, blocks: &[u8], block_len: usize, out: &mut Vec<u8>) {
        let strong_len = self.head.strong_len as usize;
        out.reserve(blocks.len() / block_len * self.head.sum_len());
        let done_blocks = &mut self.done_blocks;
        self.summer.sum_each(blocks, block_len, |block, strong| {
            out.put(&RollingSum::of(block).value().to_le_bytes());
            out.put(strong.prefix(strong_len));
            *done_blocks += 1;
        });
    }
}
