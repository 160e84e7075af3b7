//! Tokens of every compression.

use coffre_protocol::delta::{Compression, Token, TokenDecoder};
use coffre_protocol::sum::SumHead;
use coffre_protocol::{ProtocolError, ProtocolVersion};

use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

/// Bytes that choose compression, version and basis.
pub(crate) const HEADER: usize = 4;

/// Content beyond this is not made: a bomb ends here.
const MOST: u64 = 4 << 20;

/// Content that is compared.
const KEPT: usize = 128 << 10;

const METHODS: [Compression; 5] = [
    Compression::None,
    Compression::Zlib,
    Compression::Zlibx,
    Compression::Zstd,
    Compression::Lz4,
];

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal { len: u64, start: Vec<u8> },
    Blocks(u32, u32),
    End,
}

#[derive(Debug)]
enum Ending {
    Input,
    Error(ProtocolError),
    Bomb,
}

fn head([_, count, block_len, remainder]: [u8; HEADER]) -> SumHead {
    match (u32::from(count), u32::from(block_len) * 8) {
        (0, _) | (_, 0) => SumHead::NONE,
        (count, block_len) => SumHead {
            count,
            block_len,
            strong_len: 2,
            remainder: u32::from(remainder) % block_len,
        },
    }
}

fn basis_bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|at| ((at * at) >> 5) as u8).collect()
}

/// Files one after the other, each with a byte after it that stands for its sum: even, and the
/// next file is given up.
fn decode(header: [u8; HEADER], stream: &[u8], step: usize) -> (Vec<Piece>, Ending) {
    let method = METHODS[usize::from(header[0]) % METHODS.len()];
    let version = ProtocolVersion::new(27 + header[0] / 5 % 6).unwrap_or(ProtocolVersion::OWN);
    let head = head(header);
    let mut decoder = TokenDecoder::new(method, version);
    decoder.begin_file(&head);
    let mut pieces = Vec::new();
    let mut total = 0;
    let mut is_between = false;
    for chunk in stream.chunks(step) {
        let mut input = chunk;
        loop {
            if is_between {
                let Some((sum, rest)) = input.split_first() else {
                    break;
                };
                input = rest;
                is_between = false;
                decoder.begin_file(&head);
                if sum % 2 == 0 {
                    decoder.discard();
                }
            }
            match decoder.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Token::Literal(bytes))) => {
                    assert!(!bytes.is_empty());
                    total += bytes.len() as u64;
                    match pieces.last_mut() {
                        Some(Piece::Literal { len, start }) => {
                            let room = KEPT.saturating_sub(start.len()).min(bytes.len());
                            start.extend_from_slice(&bytes[..room]);
                            *len += bytes.len() as u64;
                        }
                        _ => pieces.push(Piece::Literal {
                            len: bytes.len() as u64,
                            start: bytes[..bytes.len().min(KEPT)].to_vec(),
                        }),
                    }
                }
                Ok(Some(Token::Blocks { first, count })) => {
                    let Ok(span) = head.span(first, count) else {
                        panic!("blocks that the basis does not have: {first}+{count}");
                    };
                    total += span.end - span.start;
                    if decoder.wants_matched_data() {
                        decoder.matched(&basis_bytes(span.start, span.end));
                    }
                    match pieces.last_mut() {
                        Some(Piece::Blocks(start, so_far)) if *start + *so_far == first => {
                            *so_far += count;
                        }
                        _ => pieces.push(Piece::Blocks(first, count)),
                    }
                }
                Ok(Some(Token::End)) => {
                    pieces.push(Piece::End);
                    is_between = true;
                }
                Err(error) => return (pieces, Ending::Error(error)),
            }
            if total > MOST {
                return (pieces, Ending::Bomb);
            }
        }
        assert!(input.is_empty());
    }
    (pieces, Ending::Input)
}

/// The same, but for the last literal, of which more may have come before the end was noticed.
fn assert_same(some: &(Vec<Piece>, Ending), whole: &(Vec<Piece>, Ending), step: usize) {
    match (&some.1, &whole.1) {
        (Ending::Input, Ending::Input) => {
            assert_eq!(some.0, whole.0, "in pieces of {step}");
            return;
        }
        (Ending::Error(some), Ending::Error(whole)) => assert_eq!(some, whole),
        // Beyond the limit there may be an error, which one of both got to see.
        (Ending::Bomb, _) | (_, Ending::Bomb) => {}
        (some, whole) => panic!("{some:?} in pieces of {step}, {whole:?} as a whole"),
    }
    let (short, long) = match some.0.len() <= whole.0.len() {
        true => (&some.0, &whole.0),
        false => (&whole.0, &some.0),
    };
    for (index, (one, other)) in short.iter().zip(long).enumerate() {
        if index + 1 < short.len() {
            assert_eq!(one, other, "in pieces of {step}");
        } else if let (Piece::Literal { start: one, .. }, Piece::Literal { start: other, .. }) =
            (one, other)
        {
            let len = one.len().min(other.len());
            assert_eq!(one[..len], other[..len], "in pieces of {step}");
        }
    }
}

pub(crate) fn tokens(data: &[u8]) {
    let Some((header, stream)) = data.split_first_chunk::<HEADER>() else {
        return;
    };
    if stream.is_empty() || stream.len() > MAX_LEN {
        return;
    }
    // What is kept for the comparison is not the decoder's.
    let most = allowance(stream.len()) + MOST as usize;
    let whole = bounded(most, || decode(*header, stream, stream.len()));
    for step in [1, 9, 300] {
        assert_same(&decode(*header, stream, step), &whole, step);
    }
}
