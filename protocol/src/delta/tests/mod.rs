//! A whole session in memory: what a sender finds and writes, a receiver reads and applies.

mod captured;
mod history;
mod hostile;
mod round_trip;
mod search;

use super::{BlockSearch, Compression, Found, Token, TokenDecoder, TokenEncoder};
use crate::checksum::{BlockSummer, FileSummer, StrongKind};
use crate::sum::{BlockSumDecoder, BlockSumEncoder, BlockSums, SumHead};
use crate::{ProtocolError, ProtocolVersion};

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Zlib,
    Compression::Zlibx,
    Compression::Zstd,
    Compression::Lz4,
];

fn version(number: u8) -> ProtocolVersion {
    ProtocolVersion::new(number).unwrap()
}

fn head(count: u32, block_len: u32) -> SumHead {
    SumHead {
        count,
        block_len,
        strong_len: 2,
        remainder: 0,
    }
}

/// A token that owns its bytes; neighbouring literals are one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Literal(Vec<u8>),
    Blocks(u32, u32),
    End,
}

/// Reads the tokens of one file from the front of `wire`, which is fed in pieces of `piece` bytes.
/// With a basis, matched data is told as an applier would.
fn decode_file(
    decoder: &mut TokenDecoder,
    head: &SumHead,
    basis: &[u8],
    wire: &mut &[u8],
    piece: usize,
) -> Result<Vec<Step>, ProtocolError> {
    decoder.begin_file(head);
    let mut steps = Vec::new();
    loop {
        assert!(
            !wire.is_empty(),
            "the wire ends inside a file after {steps:?}"
        );
        let len = piece.min(wire.len());
        let mut input = &wire[..len];
        loop {
            match decoder.next(&mut input)? {
                None => break,
                Some(Token::Literal(bytes)) => {
                    assert!(!bytes.is_empty());
                    match steps.last_mut() {
                        Some(Step::Literal(before)) => before.extend(bytes),
                        _ => steps.push(Step::Literal(bytes.to_vec())),
                    }
                }
                Some(Token::Blocks { first, count }) => {
                    let span = head.span(first, count)?;
                    if decoder.wants_matched_data() && !basis.is_empty() {
                        let bytes = &basis[span.start as usize..span.end as usize];
                        for bytes in bytes.chunks(piece.max(100)) {
                            decoder.matched(bytes);
                        }
                    }
                    match steps.last_mut() {
                        Some(Step::Blocks(before, length)) if *before + *length == first => {
                            *length += count;
                        }
                        _ => steps.push(Step::Blocks(first, count)),
                    }
                }
                Some(Token::End) => {
                    steps.push(Step::End);
                    *wire = &wire[len - input.len()..];
                    return Ok(steps);
                }
            }
        }
        assert!(input.is_empty(), "no token, but input is left");
        *wire = &wire[len..];
    }
}

/// What a receiver makes of the steps.
fn apply(steps: &[Step], head: &SumHead, basis: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for step in steps {
        match step {
            Step::Literal(bytes) => file.extend(bytes),
            Step::Blocks(first, count) => {
                let span = head.span(*first, *count).unwrap();
                file.extend(&basis[span.start as usize..span.end as usize]);
            }
            Step::End => {}
        }
    }
    file
}

/// The block sums that a sender gets for `basis`.
fn sums_of(head: SumHead, summer: BlockSummer, basis: &[u8]) -> BlockSums {
    let mut wire = Vec::new();
    let mut encoder = BlockSumEncoder::new(head, summer);
    encoder.sum_blocks(basis, &mut wire);
    assert!(encoder.is_done());
    let mut decoder = BlockSumDecoder::new(head, u32::MAX);
    assert!(decoder.read(&mut &wire[..]));
    decoder.finish()
}

/// Searches a whole source that the window gets in pieces of `piece` bytes.
fn search_all(mut search: BlockSearch, source: &[u8], piece: usize) -> Vec<Found> {
    let mut answers = Vec::new();
    let (mut from, mut to) = (0, 0);
    loop {
        let window = &source[from..to];
        match search.next(window, to == source.len()) {
            Found::More => {
                assert!(
                    window.len() < search.window_len(),
                    "a full window is enough"
                );
                assert!(to < source.len());
                to = (to + piece)
                    .min(source.len())
                    .min(from + search.window_len());
            }
            Found::End => {
                assert_eq!(from, source.len());
                return answers;
            }
            found => {
                let (Found::Literal(len) | Found::Block { len, .. }) = found else {
                    continue;
                };
                assert!(len > 0 && len <= window.len());
                from += len;
                answers.push(found);
            }
        }
    }
}

/// Writes what was found as the tokens of one file.
fn encode_file(
    encoder: &mut TokenEncoder,
    head: &SumHead,
    source: &[u8],
    answers: &[Found],
    out: &mut Vec<u8>,
) {
    encoder.begin_file(head);
    let mut at = 0;
    for found in answers {
        match *found {
            Found::Literal(len) => {
                encoder.literal(&source[at..at + len], out);
                at += len;
            }
            Found::Block { index, len } => {
                encoder.blocks(index, 1, out);
                if encoder.wants_matched_data() {
                    encoder.matched(&source[at..at + len]);
                }
                at += len;
            }
            Found::More | Found::End => {}
        }
    }
    encoder.finish_file(out);
}

/// Bytes that neither repeat nor compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Lines that compress well, and better with what was matched before in the history.
fn lines(len: usize, seed: u64) -> Vec<u8> {
    noise(len / 16 + 1, seed)
        .into_iter()
        .flat_map(|byte| format!("line {:010}\n", u64::from(byte) * 7919).into_bytes())
        .take(len)
        .collect()
}

fn file_sum(kind: StrongKind, bytes: &[u8]) -> Vec<u8> {
    let mut summer = FileSummer::new(kind, 5);
    summer.update(bytes);
    summer.finish().as_bytes().to_vec()
}

#[test]
fn encoders_and_decoders_can_move_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<TokenDecoder>();
    assert_send::<TokenEncoder>();
    assert_send::<BlockSearch>();
    assert_send::<FileSummer>();
    assert_send::<BlockSumEncoder>();
}
