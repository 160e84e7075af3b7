//! Tokens, read.
//!
//! Without compression a token is an `int`: positive, that many literal bytes follow; negative,
//! block −t−1; zero, the end. With compression it begins with a flag byte (see [`flag`]), and
//! literals are chunks of at most 16383 compressed bytes.

use super::history::MatchedHistory;
use super::unpack::Unpacker;
use super::{Compression, flag};
use crate::sum::SumHead;
use crate::{ProtocolError, ProtocolVersion};

/// One step of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// The next bytes of the file. How they are cut means nothing.
    Literal(&'a [u8]),
    /// The next bytes are those of `count` (at least one) blocks of the basis, all of which exist.
    Blocks { first: u32, count: u32 },
    /// The file is complete; its sum follows.
    End,
}

/// Reads the tokens of all files of a session.
///
/// Per file: [`Self::begin_file`], then [`Self::next`] until it answers [`Token::End`]. Where
/// [`Self::wants_matched_data`], the bytes of each [`Token::Blocks`] go to [`Self::matched`] before
/// the next token is asked for. If they cannot be had, or the file is to be thrown away,
/// [`Self::discard`].
///
/// Memory is bounded whatever the peer sends: literals are handed out in pieces, uncompressed ones
/// straight from the input.
pub struct TokenDecoder {
    unpacker: Option<Unpacker>,
    history: MatchedHistory,
    state: State,
    /// A token header of which only a part has come.
    header: [u8; MAX_HEADER],
    header_len: usize,
    head: SumHead,
    /// The last block of the previous block token of this file.
    last_block: u32,
    is_discarding: bool,
}

/// Bytes of the longest token header: flag, block number, run length.
const MAX_HEADER: usize = 7;

#[derive(Clone, Copy)]
enum State {
    /// Between tokens.
    Header,
    /// Inside an uncompressed literal of which `left` bytes are to come.
    Literal { left: usize },
    /// Inside a chunk of which `left` bytes are to come. Unless `is_drained`, there is output
    /// that needs none of them.
    Chunk { left: usize, is_drained: bool },
    /// After the end of a file, and before the first one.
    Ended,
}

impl TokenDecoder {
    pub fn new(compression: Compression, version: ProtocolVersion) -> Self {
        Self {
            unpacker: Unpacker::new(compression),
            history: MatchedHistory::new(compression, version),
            state: State::Ended,
            header: [0; MAX_HEADER],
            header_len: 0,
            head: SumHead::NONE,
            last_block: 0,
            is_discarding: false,
        }
    }

    /// The tokens of a file come next; `head` describes its basis as the peer echoed it.
    pub fn begin_file(&mut self, head: &SumHead) {
        self.head = *head;
        self.state = State::Header;
        self.header_len = 0;
        self.last_block = 0;
        self.is_discarding = false;
        self.history.begin_file(*head);
        if let Some(unpacker) = &mut self.unpacker {
            unpacker.begin_file();
        }
    }

    /// Whether the literals that follow depend on the bytes of matched blocks.
    pub fn wants_matched_data(&self) -> bool {
        self.history.is_wanted() && !self.is_discarding
    }

    /// Takes the bytes of the blocks last answered, in order, in pieces of any length.
    pub fn matched(&mut self, bytes: &[u8]) {
        if self.wants_matched_data() {
            self.history.matched(bytes);
        }
    }

    /// From here to the end of this file no literals are handed out, and matched data is not
    /// wanted. Block references are still checked and answered.
    pub fn discard(&mut self) {
        self.is_discarding = true;
    }

    /// Takes the next token from the front of `input`. `None`: all of `input` has been taken, and
    /// it did not complete a token. After [`Token::End`] it takes nothing, and answers the same
    /// until the next file begins.
    ///
    /// Errors: a violation (exit 2) for a block that the basis does not have and for an empty
    /// run; a stream error (exit 12) for an unknown flag and for a chunk that does not decompress.
    /// The decoder is of no use after an error.
    pub fn next<'t, 'i: 't>(
        &'t mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Token<'t>>, ProtocolError> {
        loop {
            match self.state {
                State::Ended => return Ok(Some(Token::End)),
                State::Header => {
                    let Some(header) = self.take_header(input)? else {
                        return Ok(None);
                    };
                    let blocks = if self.unpacker.is_some() {
                        self.begin_compressed(header)?
                    } else {
                        self.begin_plain(header, input)?
                    };
                    if let Some((first, count)) = blocks {
                        return Ok(Some(Token::Blocks { first, count }));
                    }
                }
                State::Literal { left } => {
                    let (piece, rest) = input.split_at(left.min(input.len()));
                    *input = rest;
                    let left = left - piece.len();
                    self.state = if left == 0 {
                        State::Header
                    } else {
                        State::Literal { left }
                    };
                    if !piece.is_empty() && !self.is_discarding {
                        return Ok(Some(Token::Literal(piece)));
                    } else if left > 0 {
                        return Ok(None);
                    }
                }
                State::Chunk { left, is_drained } => {
                    if left == 0 && is_drained {
                        self.state = State::Header;
                        continue;
                    }
                    if input.is_empty() && is_drained {
                        return Ok(None);
                    }
                    let made = self.step_chunk(input, left)?;
                    if made > 0 && !self.is_discarding {
                        return Ok(Some(Token::Literal(self.made(made))));
                    }
                }
            }
        }
    }

    /// Completes the header of a token; `None` if its bytes have not all come.
    fn take_header(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<[u8; MAX_HEADER]>, ProtocolError> {
        loop {
            let needed = if self.unpacker.is_none() {
                4
            } else if self.header_len == 0 {
                1
            } else {
                compressed_header_len(self.header[0])?
            };
            let (now, rest) = input.split_at((needed - self.header_len).min(input.len()));
            self.header[self.header_len..][..now.len()].copy_from_slice(now);
            self.header_len += now.len();
            *input = rest;
            if self.header_len < needed {
                return Ok(None);
            }
            if self.unpacker.is_none() || needed == compressed_header_len(self.header[0])? {
                self.header_len = 0;
                return Ok(Some(self.header));
            }
        }
    }

    /// Begins an uncompressed token. Answers the block it refers to, together with those that
    /// the tokens at hand add to a run.
    fn begin_plain(
        &mut self,
        header: [u8; MAX_HEADER],
        input: &mut &[u8],
    ) -> Result<Option<(u32, u32)>, ProtocolError> {
        let token = i32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        match token {
            0 => self.state = State::Ended,
            1.. => {
                self.state = State::Literal {
                    left: token as usize,
                };
            }
            ..=-1 => {
                let (first, mut count) = (!token as u32, 1);
                self.check_blocks(first, count)?;
                while let Some((next, rest)) = input.split_first_chunk()
                    && first + count < self.head.count
                    && i32::from_le_bytes(*next) == !((first + count) as i32)
                {
                    count += 1;
                    *input = rest;
                }
                return Ok(Some((first, count)));
            }
        }
        Ok(None)
    }

    /// Begins a compressed token. Answers the blocks it refers to.
    fn begin_compressed(
        &mut self,
        header: [u8; MAX_HEADER],
    ) -> Result<Option<(u32, u32)>, ProtocolError> {
        let first_byte = header[0];
        let low = u32::from(first_byte & flag::LOW_BITS);
        if first_byte & !flag::LOW_BITS == flag::CHUNK {
            let left = (low << 8 | u32::from(header[1])) as usize;
            if left > 0 {
                self.begin_chunk()?;
                self.state = State::Chunk {
                    left,
                    is_drained: true,
                };
            }
            return Ok(None);
        }
        if !self.is_discarding
            && let Some(unpacker) = &mut self.unpacker
        {
            unpacker.end_chunks()?;
        }
        let number = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
        let more = |low, high| match u16::from_le_bytes([low, high]) {
            0 => Err(ProtocolError::violation("a run of blocks is empty")),
            more => Ok(u32::from(more)),
        };
        let (first, more) = match first_byte {
            flag::END => {
                self.state = State::Ended;
                return Ok(None);
            }
            flag::BLOCK => (number, 0),
            flag::RUN => (number, more(header[5], header[6])?),
            flag::NEAR_BLOCK..flag::NEAR_RUN => (self.last_block + low, 0),
            _ => (self.last_block + low, more(header[1], header[2])?),
        };
        self.check_blocks(first, more + 1)?;
        self.last_block = first + more;
        self.history.begin_blocks(first);
        Ok(Some((first, more + 1)))
    }

    fn check_blocks(&self, first: u32, count: u32) -> Result<(), ProtocolError> {
        self.head.span(first, count).map(drop)
    }

    /// Whether the bytes of a chunk can be passed over.
    fn skips_chunks(&self) -> bool {
        self.is_discarding && !self.unpacker.as_ref().is_some_and(Unpacker::outlives_files)
    }

    fn begin_chunk(&mut self) -> Result<(), ProtocolError> {
        match &mut self.unpacker {
            Some(unpacker) if !self.is_discarding => unpacker.begin_chunk(&mut self.history),
            _ => Ok(()),
        }
    }

    /// Works on a chunk: bytes of output made, none if it needs input or is complete.
    fn step_chunk(&mut self, input: &mut &[u8], left: usize) -> Result<usize, ProtocolError> {
        let skips = self.skips_chunks();
        let (taken, made, is_drained) = match &mut self.unpacker {
            Some(unpacker) if !skips => {
                let step = unpacker.step(input, left)?;
                (step.taken, step.made, step.is_drained)
            }
            _ => (left.min(input.len()), 0, true),
        };
        *input = &input[taken..];
        self.state = State::Chunk {
            left: left - taken,
            is_drained,
        };
        Ok(made)
    }

    /// The output of the last step.
    fn made(&self, len: usize) -> &[u8] {
        self.unpacker
            .as_ref()
            .map_or(&[], |unpacker| unpacker.made(len))
    }
}

/// Bytes of a compressed token before the bytes of a chunk, by its flag.
fn compressed_header_len(first_byte: u8) -> Result<usize, ProtocolError> {
    match first_byte {
        flag::END | flag::NEAR_BLOCK..flag::NEAR_RUN => Ok(1),
        flag::BLOCK => Ok(5),
        flag::RUN => Ok(7),
        flag::CHUNK..flag::NEAR_BLOCK => Ok(2),
        flag::NEAR_RUN.. => Ok(3),
        _ => Err(ProtocolError::stream(format!(
            "a token begins with the unknown flag 0x{first_byte:02x}"
        ))),
    }
}
