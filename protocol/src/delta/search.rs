//! What the sender does to find the blocks of the basis in its file.
//!
//! A window of one block slides over the file byte by byte. Where its rolling sum is one of the
//! basis, its strong sum is compared too; where both agree, the block is referred to and the
//! window jumps over it. All between matches is literal. Any answer is right as long as it names
//! the bytes of the file, so whatever would take too long is left unfound.

use super::LITERAL_PIECE;
use crate::checksum::{BlockSummer, RollingSum};
use crate::sum::BlockSums;

/// The next bytes of the file, at the front of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// So many bytes are literal.
    Literal(usize),
    /// So many bytes are those of a block of the basis.
    Block { index: u32, len: usize },
    /// Only known with more of the file: append to the window and ask again.
    More,
    /// The file is complete.
    End,
}

/// Searches one file.
///
/// The caller holds a window onto its file: consecutive bytes, of which the first have not been
/// settled yet. After [`Found::Literal`] and [`Found::Block`] it drops the bytes named from the
/// front; after [`Found::More`] it appends the next ones. A window with room for
/// [`Self::window_len`] is always enough.
pub struct BlockSearch {
    sums: BlockSums,
    summer: BlockSummer,
    index: Index,
    /// The receiver overwrites the basis with the file while it reads it.
    is_updating_basis: bool,
    /// Offset in the file of the front of the window.
    position: u64,
    /// How far into the window no block begins.
    scanned: usize,
    /// The sum of one block from `scanned` on, if it is known; that place is searched then, once
    /// [`Self::next`] has returned.
    rolling: Option<RollingSum>,
    /// A match behind literals that had to be answered first.
    found: Option<u32>,
    /// The block after the last match.
    expected: u32,
    /// Work that may still be done in vain, see [`Self::EFFORT_PER_BYTE`].
    effort: u64,
    hits: u64,
    false_alarms: u64,
}

/// Blocks of equal rolling sum that are compared at one place; stock senders do the same.
const MAX_CANDIDATES: usize = 1024;

impl BlockSearch {
    /// For each byte of the file, so many bytes may be summed and blocks be compared in vain; a few
    /// blocks and [`Self::FREE_EFFORT`] are given in advance. An honest basis needs a fraction of
    /// this. Without it, sums made up to agree with the rolling sum at every byte would cost a
    /// whole block each time.
    const EFFORT_PER_BYTE: u64 = 8;
    const FREE_EFFORT: u64 = 16 << 20;

    /// `is_updating_basis`: the receiver writes into the basis itself, so only blocks that it
    /// has not overwritten yet may be referred to.
    pub fn new(sums: BlockSums, summer: BlockSummer, is_updating_basis: bool) -> Self {
        let block_len = u64::from(sums.head().block_len);
        let effort = Self::FREE_EFFORT + Self::EFFORT_PER_BYTE * block_len;
        Self {
            index: Index::new(&sums, is_updating_basis),
            sums,
            summer,
            is_updating_basis,
            position: 0,
            scanned: 0,
            rolling: None,
            found: None,
            expected: 0,
            effort,
            hits: 0,
            false_alarms: 0,
        }
    }

    /// Places whose rolling sum was one of the basis, and those of them that were no block of it.
    pub fn hits(&self) -> (u64, u64) {
        (self.hits, self.false_alarms)
    }

    /// The most bytes that an answer can need.
    pub fn window_len(&self) -> usize {
        self.sums.head().block_len as usize + LITERAL_PIECE + 1
    }

    /// What the front of `window` is. `is_end`: the file ends where the window does.
    pub fn next(&mut self, window: &[u8], is_end: bool) -> Found {
        if let Some(index) = self.found.take() {
            return self.settle_block(index);
        }
        if self.sums.known() == 0 {
            return match window.len() {
                0 if is_end => Found::End,
                len if is_end || len >= LITERAL_PIECE => {
                    self.settle_literal(len.min(LITERAL_PIECE))
                }
                _ => Found::More,
            };
        }
        let block_len = self.sums.head().block_len as usize;
        loop {
            if self.rolling.is_some() {
                if !self.slide(window, block_len) {
                    if self.scanned >= LITERAL_PIECE {
                        return self.settle_literal(self.scanned);
                    }
                    if !is_end {
                        return Found::More;
                    }
                    self.rolling = None;
                    self.scanned += 1;
                    return self.settle_tail(window);
                }
            } else if let Some(block) = window.get(self.scanned..self.scanned + block_len) {
                self.rolling = Some(RollingSum::of(block));
            } else if is_end {
                return self.settle_tail(window);
            } else {
                return Found::More;
            }
            let block = &window[self.scanned..][..block_len];
            let rolling = self.rolling.unwrap_or_default().value();
            if let Some(index) = self.match_of(rolling, block) {
                return self.settle_match(index);
            }
        }
    }

    /// From a place that is searched already, goes to the next whose rolling sum may be in the
    /// basis. False if the end of the window or of a literal piece came first.
    fn slide(&mut self, window: &[u8], block_len: usize) -> bool {
        let Some(mut rolling) = self.rolling else {
            return false;
        };
        let firsts = &window[self.scanned..];
        let nexts = &firsts[block_len..];
        let mut slid = 0;
        let mut may_match = false;
        for (first, next) in firsts
            .iter()
            .zip(nexts)
            .take(LITERAL_PIECE.saturating_sub(self.scanned))
        {
            rolling.roll(*first, *next);
            slid += 1;
            if self.index.may_hold(rolling.value()) {
                may_match = true;
                break;
            }
        }
        self.rolling = Some(rolling);
        self.scanned += slid;
        self.effort = self
            .effort
            .saturating_add(Self::EFFORT_PER_BYTE * slid as u64);
        may_match
    }

    /// Fewer bytes than a whole block are left: only a short last block can match, at the end.
    fn settle_tail(&mut self, window: &[u8]) -> Found {
        let head = self.sums.head();
        let last = head.count - 1;
        let short_len = head.len(last) as usize;
        if short_len < head.block_len as usize
            && last < self.sums.known()
            && let Some(at) = window.len().checked_sub(short_len)
            && at >= self.scanned
            && self.may_refer(last, at)
        {
            let block = &window[at..];
            if self.sums.rolling()[last as usize] == RollingSum::of(block).value()
                && self.summer.sum(block).starts_with(self.sums.strong(last))
            {
                self.scanned = at;
                return self.settle_match(last);
            }
        }
        match window.len() {
            0 => Found::End,
            len => self.settle_literal(len),
        }
    }

    /// The block of the basis that equals `block`, which is `scanned` bytes into the window.
    fn match_of(&mut self, rolling: u32, block: &[u8]) -> Option<u32> {
        if self.effort < block.len() as u64 {
            return None;
        }
        let mut strong = None;
        let mut compared = 0;
        let likely = [self.same_place(block.len()), Some(self.expected)];
        for index in likely
            .into_iter()
            .flatten()
            .chain(self.index.bucket(rolling).take(MAX_CANDIDATES))
        {
            compared += 1;
            if self.sums.rolling().get(index as usize) == Some(&rolling)
                && self.sums.head().len(index) as usize == block.len()
                && self.may_refer(index, self.scanned)
                && strong
                    .get_or_insert_with(|| self.summer.sum(block))
                    .starts_with(self.sums.strong(index))
            {
                self.hits += 1;
                return Some(index);
            }
        }
        if strong.is_some() {
            self.hits += 1;
            self.false_alarms += 1;
        }
        let summed = strong.map_or(0, |_| block.len() as u64);
        self.effort = self.effort.saturating_sub(compared + summed);
        None
    }

    /// The block of the basis at the same offset as the place searched. When the basis is being
    /// updated, it is the one that need not be written at all.
    fn same_place(&self, block_len: usize) -> Option<u32> {
        let offset = self.position + self.scanned as u64;
        (self.is_updating_basis && offset.is_multiple_of(block_len as u64))
            .then(|| u32::try_from(offset / block_len as u64).ok())
            .flatten()
    }

    /// Whether the receiver still has block `index` when its output is `ahead` bytes beyond the
    /// front of the window.
    fn may_refer(&self, index: u32, ahead: usize) -> bool {
        !self.is_updating_basis || self.sums.head().offset(index) >= self.position + ahead as u64
    }

    /// A match `scanned` bytes into the window.
    fn settle_match(&mut self, index: u32) -> Found {
        if self.scanned == 0 {
            return self.settle_block(index);
        }
        self.found = Some(index);
        self.settle_literal(self.scanned)
    }

    fn settle_block(&mut self, index: u32) -> Found {
        let len = self.sums.head().len(index) as usize;
        self.rolling = None;
        self.scanned = 0;
        self.expected = index + 1;
        self.position += len as u64;
        self.effort += Self::EFFORT_PER_BYTE * len as u64;
        Found::Block { index, len }
    }

    fn settle_literal(&mut self, len: usize) -> Found {
        self.scanned = self.scanned.saturating_sub(len);
        self.position += len as u64;
        Found::Literal(len)
    }
}

/// The blocks of the basis by rolling sum.
struct Index {
    /// One bit per rolling sum, by more bits of its hash than a bucket has: most places of a file
    /// that match nothing are told by it alone.
    filter: Vec<u64>,
    filter_shift: u32,
    /// The first block of each bucket, and for each block the next one in its bucket.
    first: Vec<u32>,
    next: Vec<u32>,
    shift: u32,
}

/// The end of a bucket: no block has this number, counts end at `i32::MAX`.
const NO_BLOCK: u32 = u32::MAX;

impl Index {
    /// Of equal blocks only one is indexed: the first, or the last if the basis is overwritten from
    /// its start. So a basis of a million blocks of zeros is no long row to walk.
    fn new(sums: &BlockSums, prefers_last: bool) -> Self {
        const FILTER_BITS_PER_BUCKET: u32 = 3;
        let known = sums.known();
        let bits = (u64::from(known) * 2).next_power_of_two().ilog2().max(8);
        let filter_bits = (bits + FILTER_BITS_PER_BUCKET).min(32);
        let mut index = Self {
            filter: vec![0; 1 << (filter_bits - 6)],
            filter_shift: 32 - filter_bits,
            first: vec![NO_BLOCK; 1 << bits],
            next: vec![NO_BLOCK; known as usize],
            shift: 32 - bits,
        };
        for turn in 0..known {
            let block = if prefers_last { known - 1 - turn } else { turn };
            index.enter(block, sums);
        }
        index
    }

    fn enter(&mut self, block: u32, sums: &BlockSums) {
        let rolling = sums.rolling()[block as usize];
        let bit = hash(rolling) >> self.filter_shift;
        self.filter[(bit >> 6) as usize] |= 1 << (bit & 63);
        let mut length = 0;
        let mut tail = None;
        for other in self.bucket(rolling) {
            let is_equal = sums.rolling()[other as usize] == rolling
                && sums.strong(other) == sums.strong(block)
                && sums.head().len(other) == sums.head().len(block);
            length += 1;
            if is_equal || length == MAX_CANDIDATES {
                return;
            }
            tail = Some(other);
        }
        match tail {
            Some(tail) => self.next[tail as usize] = block,
            None => {
                let slot = self.slot(rolling);
                self.first[slot] = block;
            }
        }
    }

    /// Whether a block may have this rolling sum. No: certainly none has.
    #[inline]
    fn may_hold(&self, rolling: u32) -> bool {
        let bit = hash(rolling) >> self.filter_shift;
        self.filter[(bit >> 6) as usize] >> (bit & 63) & 1 == 1
    }

    /// The blocks whose rolling sum may be `rolling`, in the order they were entered.
    fn bucket(&self, rolling: u32) -> impl Iterator<Item = u32> + '_ {
        let exists = |block: &u32| *block != NO_BLOCK;
        let first = self.first[self.slot(rolling)];
        std::iter::successors(Some(first).filter(exists), move |block| {
            Some(self.next[*block as usize]).filter(exists)
        })
    }

    fn slot(&self, rolling: u32) -> usize {
        (hash(rolling) >> self.shift) as usize
    }
}

/// The halves of a rolling sum are far from random; a multiplication spreads them, best into the
/// high bits.
#[inline]
fn hash(rolling: u32) -> u32 {
    rolling.wrapping_mul(0x9e37_79b1)
}
