//! The matched data that belongs to the deflate history under the old `zlib` method.
//!
//! Both ends collect here what block references cover, and give it to their deflate state only
//! when the next literal needs it. Of what was collected, deflate can reach no more than its
//! window, so that is all that is kept.

use super::Compression;
use crate::ProtocolVersion;
use crate::sum::SumHead;

/// What a deflate stream can refer back to.
const WINDOW: usize = 32 * 1024;

/// The longest piece in which stock inserts a block.
const PIECE: usize = 0xffff;

/// Matched data not yet in the deflate state. Empty, at no cost, for all other methods.
pub(super) struct MatchedHistory {
    is_wanted: bool,
    /// Protocols before 31 start each piece of a long block at the beginning of the block.
    repeats_pieces: bool,
    /// The end of what was matched; more than a window only in passing.
    tail: Vec<u8>,
    head: SumHead,
    /// Only while blocks are long and pieces repeat: which block comes next, its first
    /// [`PIECE`] bytes, and how many of its bytes have come.
    block: u32,
    lead: Vec<u8>,
    block_at: usize,
}

impl MatchedHistory {
    pub(super) fn new(compression: Compression, version: ProtocolVersion) -> Self {
        Self {
            is_wanted: compression == Compression::Zlib,
            repeats_pieces: !version.at_least(31),
            tail: Vec::new(),
            head: SumHead::NONE,
            block: 0,
            lead: Vec::new(),
            block_at: 0,
        }
    }

    /// Whether the bytes of matched blocks have to be told.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    pub(super) fn begin_file(&mut self, head: SumHead) {
        self.head = head;
        self.tail.clear();
        self.lead.clear();
        self.block_at = 0;
    }

    /// The blocks from `first` on are what [`Self::matched`] tells next.
    pub(super) fn begin_blocks(&mut self, first: u32) {
        self.block = first;
        self.block_at = 0;
        self.lead.clear();
    }

    /// Takes the next bytes of matched blocks, in pieces of any length.
    pub(super) fn matched(&mut self, mut bytes: &[u8]) {
        if !self.is_wanted {
            return;
        }
        if !self.repeats_pieces || self.head.block_len as usize <= PIECE {
            return self.push(bytes);
        }
        while !bytes.is_empty() {
            let block_len = self.head.len(self.block) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(block_len - self.block_at));
            let lead = now.len().min(PIECE - self.lead.len());
            self.lead.extend_from_slice(&now[..lead]);
            self.block_at += now.len();
            bytes = rest;
            if self.block_at == block_len {
                let lead = std::mem::take(&mut self.lead);
                if block_len > PIECE {
                    // However many whole pieces there are, all are the same, and one fills a window.
                    self.push(&lead);
                    self.push(&lead[..(block_len - 1) % PIECE + 1]);
                } else {
                    self.push(&lead);
                }
                self.begin_blocks(self.block.saturating_add(1));
                self.lead = lead;
                self.lead.clear();
            }
        }
    }

    /// What has to be inserted before the next literal.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(WINDOW)..]
    }

    /// The tail has been inserted.
    pub(super) fn clear(&mut self) {
        self.tail.clear();
    }

    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(WINDOW)..];
        if self.tail.len() + bytes.len() > 2 * WINDOW {
            self.tail.drain(..self.tail.len() - WINDOW);
        }
        self.tail.extend_from_slice(bytes);
    }
}
