//! Compression of literals into chunks.

use flate2::{Compress, FlushCompress, Status};
use zstd::stream::raw::{Encoder as ZstdEncoder, InBuffer, Operation, OutBuffer};

use super::history::MatchedHistory;
use super::{Compression, LITERAL_PIECE, MAX_CHUNK, SYNC_MARK, flag};
use crate::wire::Write;

/// Compresses the literals of a session.
pub(super) struct Packer {
    method: Method,
    /// Compressed bytes that are not in a chunk yet.
    pending: Vec<u8>,
    scratch: Box<[u8]>,
}

enum Method {
    Deflate {
        deflater: Compress,
        /// The state has seen bytes of this file.
        is_used: bool,
        /// Literals came since the last sync flush.
        is_open: bool,
    },
    Zstd {
        encoder: Box<ZstdEncoder<'static>>,
        /// Literals came since the last flush.
        is_open: bool,
    },
    Lz4,
}

/// Why the compressors cannot fail: they are given room, and what they are asked is in order.
const WITHIN_LIMITS: &str = "compressing into a buffer with room only fails without memory";

impl Packer {
    /// `None` for [`Compression::None`]. A level that the method does not have becomes the
    /// nearest one that it has.
    pub(super) fn new(compression: Compression, level: Option<i32>) -> Option<Self> {
        const DEFLATE_LEVEL: i32 = 6;
        let method = match compression {
            Compression::None => return None,
            Compression::Zlib | Compression::Zlibx => {
                let level = level.unwrap_or(DEFLATE_LEVEL).clamp(0, 9) as u32;
                Method::Deflate {
                    deflater: Compress::new(flate2::Compression::new(level), false),
                    is_used: false,
                    is_open: false,
                }
            }
            Compression::Zstd => {
                let levels = zstd::compression_level_range();
                let level = level
                    .unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)
                    .clamp(*levels.start(), *levels.end());
                Method::Zstd {
                    encoder: Box::new(ZstdEncoder::new(level).expect(WITHIN_LIMITS)),
                    is_open: false,
                }
            }
            Compression::Lz4 => Method::Lz4,
        };
        Some(Self {
            method,
            pending: Vec::new(),
            scratch: vec![0; LITERAL_PIECE].into_boxed_slice(),
        })
    }

    pub(super) fn begin_file(&mut self) {
        if let Method::Deflate {
            deflater,
            is_used,
            is_open,
        } = &mut self.method
        {
            if *is_used {
                deflater.reset();
            }
            (*is_used, *is_open) = (false, false);
        }
        self.pending.clear();
    }

    /// Takes literal bytes, and appends the chunks that are full.
    pub(super) fn literal(
        &mut self,
        bytes: &[u8],
        history: &mut MatchedHistory,
        out: &mut Vec<u8>,
    ) {
        match &mut self.method {
            Method::Deflate {
                deflater,
                is_used,
                is_open,
            } => {
                if !history.tail().is_empty() {
                    // The stream is at a sync point: a block reference came before this literal.
                    deflater
                        .set_dictionary(history.tail())
                        .expect("accepted wherever a raw stream has been flushed");
                    history.clear();
                }
                (*is_used, *is_open) = (true, true);
                self.deflate(bytes, FlushCompress::None);
                self.emit_full_chunks(out);
            }
            Method::Zstd { encoder, is_open } => {
                *is_open = true;
                let mut source = InBuffer::around(bytes);
                while source.pos() < bytes.len() {
                    let mut target = OutBuffer::around(&mut self.scratch[..]);
                    encoder.run(&mut source, &mut target).expect(WITHIN_LIMITS);
                    self.pending.extend_from_slice(target.as_slice());
                }
                self.emit_full_chunks(out);
            }
            Method::Lz4 => {
                for piece in bytes.chunks(LITERAL_PIECE) {
                    self.lz4(piece, out);
                }
            }
        }
    }

    /// A block reference or the end comes next: appends all that is still to be sent.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        match &mut self.method {
            Method::Deflate { is_open, .. } if *is_open => {
                *is_open = false;
                self.deflate(&[], FlushCompress::Sync);
                debug_assert!(self.pending.ends_with(&SYNC_MARK));
                self.pending.truncate(self.pending.len() - SYNC_MARK.len());
            }
            Method::Zstd { encoder, is_open } if *is_open => {
                *is_open = false;
                loop {
                    let mut target = OutBuffer::around(&mut self.scratch[..]);
                    let left = encoder.flush(&mut target).expect(WITHIN_LIMITS);
                    self.pending.extend_from_slice(target.as_slice());
                    if left == 0 {
                        break;
                    }
                }
            }
            _ => {}
        }
        self.emit_full_chunks(out);
        if !self.pending.is_empty() {
            put_chunk(&self.pending, out);
            self.pending.clear();
        }
    }

    fn deflate(&mut self, bytes: &[u8], flush: FlushCompress) {
        let Method::Deflate { deflater, .. } = &mut self.method else {
            return;
        };
        let mut rest = bytes;
        loop {
            let (in_before, out_before) = (deflater.total_in(), deflater.total_out());
            let status = deflater
                .compress(rest, &mut self.scratch, flush)
                .expect(WITHIN_LIMITS);
            debug_assert_ne!(status, Status::StreamEnd);
            rest = &rest[(deflater.total_in() - in_before) as usize..];
            let made = (deflater.total_out() - out_before) as usize;
            self.pending.extend_from_slice(&self.scratch[..made]);
            if rest.is_empty() && made < self.scratch.len() {
                return;
            }
        }
    }

    /// Halves the input until its compressed form fits into a chunk.
    fn lz4(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let room = lz4_flex::block::get_maximum_output_size(piece.len());
        if self.scratch.len() < room {
            self.scratch = vec![0; room].into_boxed_slice();
        }
        let made = lz4_flex::block::compress_into(piece, &mut self.scratch).expect(WITHIN_LIMITS);
        if made <= MAX_CHUNK {
            put_chunk(&self.scratch[..made], out);
        } else {
            let (first, second) = piece.split_at(piece.len() / 2);
            self.lz4(first, out);
            self.lz4(second, out);
        }
    }

    fn emit_full_chunks(&mut self, out: &mut Vec<u8>) {
        let mut sent = 0;
        while self.pending.len() - sent >= MAX_CHUNK {
            put_chunk(&self.pending[sent..][..MAX_CHUNK], out);
            sent += MAX_CHUNK;
        }
        self.pending.drain(..sent);
    }
}

fn put_chunk(chunk: &[u8], out: &mut Vec<u8>) {
    out.put_u8(flag::CHUNK | (chunk.len() >> 8) as u8);
    out.put_u8(chunk.len() as u8);
    out.put(chunk);
}
