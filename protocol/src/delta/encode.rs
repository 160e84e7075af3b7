//! Tokens, written.

use super::history::MatchedHistory;
use super::pack::Packer;
use super::{Compression, LITERAL_PIECE, flag};
use crate::ProtocolVersion;
use crate::sum::SumHead;
use crate::wire::Write;

/// Writes the tokens of all files of a session.
///
/// Per file: [`Self::begin_file`], then [`Self::literal`] and [`Self::blocks`] in the order of the
/// file, then [`Self::finish_file`]. Where [`Self::wants_matched_data`], the bytes of the blocks go
/// to [`Self::matched`] before anything else. Literals and runs are held back until they are
/// worth sending, so `out` is complete only after the end of a file.
pub struct TokenEncoder {
    packer: Option<Packer>,
    history: MatchedHistory,
    /// Blocks one after the other that are not written yet; none if the count is 0.
    run: (u32, u32),
    /// The last block of the previous block token of this file.
    last_block: u32,
}

/// The most blocks that one compressed token can name.
const MAX_RUN: u32 = 1 << 16;

impl TokenEncoder {
    /// `level`: of the compression method, or its default. Levels beyond its range are cut to it.
    pub fn new(compression: Compression, level: Option<i32>, version: ProtocolVersion) -> Self {
        Self {
            packer: Packer::new(compression, level),
            history: MatchedHistory::new(compression, version),
            run: (0, 0),
            last_block: 0,
        }
    }

    /// The tokens of a file come next; `head` describes its basis.
    pub fn begin_file(&mut self, head: &SumHead) {
        self.run = (0, 0);
        self.last_block = 0;
        self.history.begin_file(*head);
        if let Some(packer) = &mut self.packer {
            packer.begin_file();
        }
    }

    /// The next bytes of the file are these.
    pub fn literal(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.put_run(out);
        match &mut self.packer {
            Some(packer) => packer.literal(bytes, &mut self.history, out),
            None => {
                for piece in bytes.chunks(LITERAL_PIECE) {
                    out.put_i32(piece.len() as i32);
                    out.put(piece);
                }
            }
        }
    }

    /// The next bytes of the file are those of `count` blocks of the basis.
    pub fn blocks(&mut self, first: u32, count: u32, out: &mut Vec<u8>) {
        if count == 0 {
            return;
        }
        if self.run.1 == 0 || self.run.0 + self.run.1 != first {
            self.put_run(out);
            self.run = (first, 0);
            if let Some(packer) = &mut self.packer {
                packer.flush(out);
            }
        }
        self.run.1 += count;
        self.history.begin_blocks(first);
    }

    /// Whether the literals that follow depend on the bytes of matched blocks.
    pub fn wants_matched_data(&self) -> bool {
        self.history.is_wanted()
    }

    /// Takes the bytes of the blocks last told, in order, in pieces of any length.
    pub fn matched(&mut self, bytes: &[u8]) {
        self.history.matched(bytes);
    }

    /// The file is complete. The caller appends its sum.
    pub fn finish_file(&mut self, out: &mut Vec<u8>) {
        self.put_run(out);
        match &mut self.packer {
            Some(packer) => {
                packer.flush(out);
                out.put_u8(flag::END);
            }
            None => out.put_i32(0),
        }
    }

    fn put_run(&mut self, out: &mut Vec<u8>) {
        let (mut first, mut count) = std::mem::take(&mut self.run);
        if self.packer.is_none() {
            for block in first..first + count {
                out.put_i32(!(block as i32));
            }
            return;
        }
        while count > 0 {
            let now = count.min(MAX_RUN);
            self.put_compressed_run(first, now, out);
            first += now;
            count -= now;
        }
    }

    fn put_compressed_run(&mut self, first: u32, count: u32, out: &mut Vec<u8>) {
        let near = first
            .checked_sub(self.last_block)
            .filter(|distance| *distance <= u32::from(flag::LOW_BITS));
        match (near, count) {
            (Some(distance), 1) => out.put_u8(flag::NEAR_BLOCK | distance as u8),
            (Some(distance), _) => out.put_u8(flag::NEAR_RUN | distance as u8),
            (None, 1) => out.put_u8(flag::BLOCK),
            (None, _) => out.put_u8(flag::RUN),
        }
        if near.is_none() {
            out.put_i32(first as i32);
        }
        if count > 1 {
            out.put_u16((count - 1) as u16);
        }
        self.last_block = first + count - 1;
    }
}
