//! Decompression in steps of bounded size.
//!
//! Every step writes into the same buffer, so what a chunk expands to never costs memory: however
//! much that is, it is handed out piece by piece before more input is looked at.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::history::MatchedHistory;
use super::{Compression, LITERAL_PIECE, MAX_CHUNK, SYNC_MARK};
use crate::ProtocolError;

/// What one LZ4 chunk may expand to. Stock senders put at most 32 KiB into one.
const MAX_LZ4_PIECE: usize = 64 * 1024;

/// Decompresses the chunks of a session.
pub(super) struct Unpacker {
    method: Method,
    out: Box<[u8]>,
}

enum Method {
    Deflate(Deflate),
    Zstd(Box<ZstdDecoder<'static>>),
    Lz4 { chunk: Vec<u8> },
}

struct Deflate {
    inflater: Decompress,
    /// The state has seen bytes of this file.
    is_used: bool,
    /// A chunk came, and its sync flush has not been completed yet.
    is_open: bool,
}

/// What a step did: `taken` bytes of input are done with, `made` bytes of output can be seen in
/// [`Unpacker::made`]. Unless `is_drained`, another step makes more from the same input.
pub(super) struct Step {
    pub(super) taken: usize,
    pub(super) made: usize,
    pub(super) is_drained: bool,
}

impl Unpacker {
    /// `None` for [`Compression::None`].
    pub(super) fn new(compression: Compression) -> Option<Self> {
        let (method, out_len) = match compression {
            Compression::None => return None,
            Compression::Zlib | Compression::Zlibx => {
                let deflate = Deflate {
                    inflater: Decompress::new(false),
                    is_used: false,
                    is_open: false,
                };
                (Method::Deflate(deflate), LITERAL_PIECE)
            }
            // The default limit of the window, 128 MiB, is what the highest level needs. It is
            // reserved when a frame announces it, and occupied as bytes arrive.
            Compression::Zstd => {
                let decoder = ZstdDecoder::new().expect("only fails when memory is exhausted");
                (Method::Zstd(Box::new(decoder)), LITERAL_PIECE)
            }
            Compression::Lz4 => (Method::Lz4 { chunk: Vec::new() }, MAX_LZ4_PIECE),
        };
        Some(Self {
            method,
            out: vec![0; out_len].into_boxed_slice(),
        })
    }

    /// Whether a chunk that nobody wants must be decompressed nevertheless.
    pub(super) fn outlives_files(&self) -> bool {
        matches!(self.method, Method::Zstd(_))
    }

    pub(super) fn begin_file(&mut self) {
        match &mut self.method {
            Method::Deflate(deflate) => {
                if deflate.is_used {
                    deflate.inflater.reset(false);
                }
                deflate.is_used = false;
                deflate.is_open = false;
            }
            Method::Lz4 { chunk } => chunk.clear(),
            Method::Zstd(_) => {}
        }
    }

    /// A chunk of at least one byte begins.
    pub(super) fn begin_chunk(
        &mut self,
        history: &mut MatchedHistory,
    ) -> Result<(), ProtocolError> {
        if let Method::Deflate(deflate) = &mut self.method {
            if !history.tail().is_empty() {
                deflate
                    .inflater
                    .set_dictionary(history.tail())
                    .map_err(|_| undecodable())?;
                history.clear();
            }
            deflate.is_used = true;
            deflate.is_open = true;
        }
        Ok(())
    }

    /// Decompresses the next bytes of a chunk, of which `left` (including `input`) are to come.
    pub(super) fn step(&mut self, input: &[u8], left: usize) -> Result<Step, ProtocolError> {
        let input = &input[..input.len().min(left)];
        match &mut self.method {
            Method::Deflate(deflate) => deflate.step(input, &mut self.out),
            Method::Zstd(decoder) => {
                let mut source = InBuffer::around(input);
                let mut target = OutBuffer::around(&mut self.out[..]);
                decoder
                    .run(&mut source, &mut target)
                    .map_err(|_| undecodable())?;
                let (taken, made) = (source.pos(), target.pos());
                let is_drained = made < self.out.len();
                if is_drained && taken == 0 && !input.is_empty() && made == 0 {
                    return Err(undecodable());
                }
                Ok(Step {
                    taken,
                    made,
                    is_drained: is_drained && taken == input.len(),
                })
            }
            Method::Lz4 { chunk } => {
                if chunk.is_empty() && input.len() == left {
                    return lz4_chunk(input, left, &mut self.out);
                }
                debug_assert!(chunk.len() + input.len() <= MAX_CHUNK);
                chunk.extend_from_slice(input);
                if input.len() < left {
                    return Ok(Step {
                        taken: input.len(),
                        made: 0,
                        is_drained: true,
                    });
                }
                let step = lz4_chunk(chunk, left, &mut self.out);
                chunk.clear();
                step
            }
        }
    }

    /// The output of the last step.
    pub(super) fn made(&self, len: usize) -> &[u8] {
        &self.out[..len]
    }

    /// A token other than a chunk has come: completes the sync flush that the sender cut short.
    pub(super) fn end_chunks(&mut self) -> Result<(), ProtocolError> {
        if let Method::Deflate(deflate) = &mut self.method
            && deflate.is_open
        {
            deflate.is_open = false;
            let step = deflate.step(&SYNC_MARK, &mut self.out)?;
            // At a sync point nothing is left to come out. Anywhere else the mark is data.
            if step.made > 0 || step.taken < SYNC_MARK.len() {
                return Err(undecodable());
            }
        }
        Ok(())
    }
}

impl Deflate {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, ProtocolError> {
        let (in_before, out_before) = (self.inflater.total_in(), self.inflater.total_out());
        let status = self
            .inflater
            .decompress(input, out, FlushDecompress::Sync)
            .map_err(|_| undecodable())?;
        let taken = (self.inflater.total_in() - in_before) as usize;
        let made = (self.inflater.total_out() - out_before) as usize;
        let is_drained = made < out.len();
        // A final block never stands in this stream.
        let is_stuck = is_drained && taken < input.len();
        if status == Status::StreamEnd || is_stuck {
            return Err(undecodable());
        }
        Ok(Step {
            taken,
            made,
            is_drained,
        })
    }
}

fn lz4_chunk(chunk: &[u8], taken: usize, out: &mut [u8]) -> Result<Step, ProtocolError> {
    match lz4_flex::block::decompress_into(chunk, out) {
        // Stock receivers would take a chunk of nothing for the end of the file.
        Err(_) | Ok(0) => Err(undecodable()),
        Ok(made) => Ok(Step {
            taken,
            made,
            is_drained: true,
        }),
    }
}

fn undecodable() -> ProtocolError {
    ProtocolError::stream("a chunk of compressed data cannot be decompressed")
}
