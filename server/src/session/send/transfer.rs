//! One file on its way: searched for blocks of the basis, told in tokens, summed.
//!
//! The file is read in large pieces into one buffer, whose front is what has not been told yet.
//! A step tells one piece, so that the session never loses sight of its input.

use std::fs::File;
use std::io::{self, Read};

use coffre_protocol::checksum::FileSummer;
use coffre_protocol::delta::{BlockSearch, Compression, Found};
use coffre_protocol::options::Append;
use coffre_protocol::sum::{BlockSums, SumHead};
use coffre_protocol::wire::Write;

use super::messages::reason;
use super::{Fatal, Sender};
use crate::session::agreed::Agreed;

/// Read at a time.
const PIECE: usize = 256 << 10;
/// Literals without compression travel in pieces of this size, as stock sends them.
const LITERAL: usize = 32 << 10;

pub(super) struct Transfer {
    file: File,
    /// Of the file when it was opened, and of that what has not been read.
    unread: u64,
    ndx: u32,
    search: Option<BlockSearch>,
    summer: FileSummer,
    /// Bytes at the start that the receiver has, still to be summed or skipped.
    has: u64,
    append: Append,
    failed: Option<io::Error>,
    /// Read and not told: `window[front..]`.
    window: Vec<u8>,
    front: usize,
    tokens: Vec<u8>,
}

impl Transfer {
    pub(super) fn new(
        agreed: &Agreed,
        file: File,
        len: u64,
        ndx: u32,
        (head, sums): (SumHead, Option<BlockSums>),
        updates_basis: bool,
        append: Append,
    ) -> Self {
        let search = sums
            .filter(|sums| sums.known() > 0)
            .map(|sums| BlockSearch::new(sums, agreed.block_summer(), updates_basis));
        let has = match append {
            Append::No => 0,
            Append::Unverified | Append::Verified => head.basis_len(),
        };
        Self {
            file,
            unread: len,
            ndx,
            search,
            summer: agreed.file_summer(),
            has,
            append,
            failed: None,
            window: Vec::new(),
            front: 0,
            tokens: Vec::new(),
        }
    }

    /// Reads on behind what is in the window, up to a piece.
    fn refill(&mut self) {
        if self.front > 0 {
            self.window.drain(..self.front);
            self.front = 0;
        }
        let wanted = self.unread.min(PIECE as u64);
        let old = self.window.len();
        self.window.reserve(wanted as usize);
        loop {
            let mut piece = (&self.file).take(wanted);
            match piece.read_to_end(&mut self.window) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = Some(error);
                    self.unread = 0;
                    return;
                }
                Ok(_) => break,
            }
        }
        let read = (self.window.len() - old) as u64;
        self.unread -= read;
        if read < wanted {
            // It has become shorter.
            self.failed = Some(rustix::io::Errno::NODATA.into());
            self.unread = 0;
        }
    }

    fn is_read(&self) -> bool {
        self.unread == 0
    }
}

impl Sender {
    /// The next piece of the file at hand.
    pub(super) fn send_piece(&mut self) -> Result<(), Fatal> {
        let Some(mut transfer) = self.transfer.take() else {
            return Ok(());
        };
        if transfer.window.capacity() == 0 {
            transfer.window = std::mem::take(&mut self.buffer);
            transfer.window.clear();
        }
        let goes_on = if transfer.has > 0 {
            self.pass_over(&mut transfer);
            true
        } else if transfer.search.is_some() {
            self.send_searched(&mut transfer)
        } else {
            self.send_literal(&mut transfer)
        };
        if goes_on {
            self.transfer = Some(transfer);
            return Ok(());
        }
        self.finish_file(transfer);
        Ok(())
    }

    /// What the receiver has already, with `--append`.
    fn pass_over(&mut self, transfer: &mut Transfer) {
        transfer.refill();
        let len = (transfer.window.len() as u64).min(transfer.has) as usize;
        if transfer.append == Append::Verified {
            transfer.summer.update(&transfer.window[..len]);
        }
        transfer.front = len;
        transfer.has -= len as u64;
        if len == 0 {
            transfer.has = 0;
        }
    }

    /// A file without a basis. `false`: it is told.
    fn send_literal(&mut self, transfer: &mut Transfer) -> bool {
        if transfer.window.len() == transfer.front {
            transfer.refill();
        }
        let piece = &transfer.window[transfer.front..];
        if piece.is_empty() {
            return false;
        }
        transfer.summer.update(piece);
        self.totals.literal += piece.len() as u64;
        if self.agreed.compression == Compression::None {
            for piece in piece.chunks(LITERAL) {
                self.out.put_i32(piece.len() as i32);
                self.out.put(piece);
            }
        } else {
            self.tokens.literal(piece, &mut transfer.tokens);
            self.out.put(&transfer.tokens);
            transfer.tokens.clear();
        }
        transfer.front = transfer.window.len();
        !transfer.is_read()
    }

    /// A file with a basis. `false`: it is told.
    fn send_searched(&mut self, transfer: &mut Transfer) -> bool {
        let Some(mut search) = transfer.search.take() else {
            return false;
        };
        let mut told = 0;
        let goes_on = loop {
            let is_end = transfer.is_read();
            let window = &transfer.window[transfer.front..];
            match search.next(window, is_end) {
                Found::Literal(len) => {
                    let bytes = &window[..len];
                    transfer.summer.update(bytes);
                    self.tokens.literal(bytes, &mut transfer.tokens);
                    self.totals.literal += len as u64;
                    transfer.front += len;
                    told += len;
                }
                Found::Block { index, len } => {
                    let bytes = &window[..len];
                    transfer.summer.update(bytes);
                    self.tokens.blocks(index, 1, &mut transfer.tokens);
                    if self.tokens.wants_matched_data() {
                        self.tokens.matched(bytes);
                    }
                    self.totals.matched += len as u64;
                    self.totals.matches += 1;
                    transfer.front += len;
                    told += len;
                }
                Found::More => transfer.refill(),
                Found::End => break false,
            }
            if told >= PIECE {
                break true;
            }
        };
        transfer.search = Some(search);
        self.out.put(&transfer.tokens);
        transfer.tokens.clear();
        goes_on
    }

    fn finish_file(&mut self, mut transfer: Transfer) {
        if let Some(search) = &transfer.search {
            let (hits, false_alarms) = search.hits();
            self.totals.hits += hits;
            self.totals.false_alarms += false_alarms;
        }
        self.tokens.finish_file(&mut transfer.tokens);
        self.out.put(&transfer.tokens);
        let sum = transfer.summer.finish();
        match &transfer.failed {
            None => self.out.put(sum.as_bytes()),
            Some(error) => {
                // A sum that cannot be right, so that the receiver does not take it for the file.
                let wrong: Vec<u8> = sum.as_bytes().iter().map(|byte| !byte).collect();
                self.out.put(&wrong);
                self.io_error |= 1;
                self.totals.had_errors = true;
                let line = [
                    b"rsync: [sender] read errors mapping \"",
                    &self.shown_file(transfer.ndx)[..],
                    format!("\": {}", reason(error)).as_bytes(),
                ]
                .concat();
                self.out
                    .raw_text(coffre_protocol::mux::MessageKind::ErrorXfer, line);
            }
        }
        self.buffer = transfer.window;
    }
}
