//! Block sums, read into the table that the sender searches.

use super::SumHead;

/// The block sums of one basis file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSums {
    head: SumHead,
    rolling: Vec<u32>,
    strong: Vec<u8>,
}

impl BlockSums {
    pub fn head(&self) -> SumHead {
        self.head
    }

    /// Blocks whose sums are known, which may be fewer than the basis has: see
    /// [`BlockSumDecoder::new`].
    pub fn known(&self) -> u32 {
        self.rolling.len() as u32
    }

    /// The rolling sums of the known blocks, in their order.
    pub fn rolling(&self) -> &[u32] {
        &self.rolling
    }

    /// The start of the strong sum of a known block, [`SumHead::strong_len`] bytes.
    pub fn strong(&self, index: u32) -> &[u8] {
        let len = self.head.strong_len as usize;
        &self.strong[index as usize * len..][..len]
    }
}

/// Reads the block sums that follow a head, from pieces of any length.
pub struct BlockSumDecoder {
    sums: BlockSums,
    /// Blocks whose sums have been read, whether kept or not.
    read_blocks: u32,
    max_blocks: u32,
    /// The start of a sum that a piece cut.
    partial: [u8; 4 + Self::MAX_STRONG_LEN],
    partial_len: usize,
}

impl BlockSumDecoder {
    /// No digest, so no strong sum that [`SumHead::decode`] lets through, is longer.
    const MAX_STRONG_LEN: usize = 20;

    /// Memory grows with the sums that arrive, up to those of `max_blocks` blocks. Of a longer
    /// basis the sums beyond are read and forgotten: its tail is then sent as literals, which is
    /// always right.
    /// Panics if the head announces a strong sum longer than every digest.
    pub fn new(head: SumHead, max_blocks: u32) -> Self {
        assert!(head.strong_len as usize <= Self::MAX_STRONG_LEN);
        Self {
            sums: BlockSums {
                head,
                rolling: Vec::new(),
                strong: Vec::new(),
            },
            read_blocks: 0,
            max_blocks,
            partial: [0; 4 + Self::MAX_STRONG_LEN],
            partial_len: 0,
        }
    }

    /// Takes block sums from the front of `input`; whether all of them have been read. What
    /// follows the last one stays in `input`.
    pub fn read(&mut self, input: &mut &[u8]) -> bool {
        let sum_len = self.sums.head.sum_len();
        if self.partial_len > 0 {
            let taken = (sum_len - self.partial_len).min(input.len());
            self.partial[self.partial_len..][..taken].copy_from_slice(&input[..taken]);
            *input = &input[taken..];
            self.partial_len += taken;
            if self.partial_len < sum_len {
                return false;
            }
            let sum = self.partial;
            self.keep(&sum[..sum_len]);
            self.partial_len = 0;
        }
        let missing = (self.sums.head.count - self.read_blocks) as usize;
        let whole = missing.min(input.len() / sum_len);
        let (sums, rest) = input.split_at(whole * sum_len);
        for sum in sums.chunks_exact(sum_len) {
            self.keep(sum);
        }
        *input = rest;
        if whole == missing {
            return true;
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_len = rest.len();
        *input = &[];
        false
    }

    /// The table, once [`Self::read`] has answered that it is complete (before that, the blocks
    /// read so far).
    pub fn finish(self) -> BlockSums {
        self.sums
    }

    fn keep(&mut self, sum: &[u8]) {
        self.read_blocks += 1;
        if self.sums.known() < self.max_blocks
            && let Some((rolling, strong)) = sum.split_first_chunk()
        {
            self.sums.rolling.push(u32::from_le_bytes(*rolling));
            self.sums.strong.extend_from_slice(strong);
        }
    }
}
