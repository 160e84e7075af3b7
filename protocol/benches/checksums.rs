//! How fast one core sums blocks and files, and decodes tokens.
//!
//! Blocks of 700 bytes are those of small files, 32 KiB those of a file of one gigabyte.

use coffre_protocol::ProtocolVersion;
use coffre_protocol::checksum::{BlockSummer, FileSummer, RollingSum, StrongKind};
use coffre_protocol::delta::{BlockSearch, Compression, Found, Token, TokenDecoder, TokenEncoder};
use coffre_protocol::sum::{BlockSumDecoder, BlockSumEncoder, SumHead};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const BLOCK_LENS: [usize; 2] = [700, 32 * 1024];

/// What a decoder gets at once: the longest frame that stock clients send.
const PIECE: usize = 65_532;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Lines of a log with some variety: compresses to about a quarter.
fn text(len: usize) -> Vec<u8> {
    noise(len / 24 + 1)
        .chunks(2)
        .flat_map(|pair| {
            let number = pair
                .iter()
                .fold(0u32, |sum, byte| sum * 251 + u32::from(*byte));
            format!("GET /item/{number:05} HTTP/1.1 200 {}\n", number % 977).into_bytes()
        })
        .cycle()
        .take(len)
        .collect()
}

fn version() -> ProtocolVersion {
    ProtocolVersion::OWN
}

#[divan::bench(args = BLOCK_LENS)]
fn rolling(bencher: Bencher<'_, '_>, block_len: usize) {
    let block = noise(block_len);
    bencher
        .counter(BytesCount::new(block_len))
        .bench(|| RollingSum::of(black_box(&block)).value());
}

#[divan::bench(args = BLOCK_LENS)]
fn rolling_byte_by_byte(bencher: Bencher<'_, '_>, block_len: usize) {
    let bytes = noise(block_len * 2);
    let start = RollingSum::of(&bytes[..block_len]);
    bencher.counter(BytesCount::new(block_len)).bench(|| {
        let mut sum = start;
        for (first, next) in bytes.iter().zip(&bytes[block_len..]) {
            sum.roll(*first, *next);
        }
        sum.value()
    });
}

fn strong(bencher: Bencher<'_, '_>, kind: StrongKind, block_len: usize) {
    let block = noise(block_len);
    let summer = BlockSummer::new(kind, 5, true);
    bencher
        .counter(BytesCount::new(block_len))
        .bench(|| summer.sum(black_box(&block)));
}

#[divan::bench(args = BLOCK_LENS)]
fn strong_xxh128(bencher: Bencher<'_, '_>, block_len: usize) {
    strong(bencher, StrongKind::Xxh128, block_len);
}

#[divan::bench(args = BLOCK_LENS)]
fn strong_xxh3(bencher: Bencher<'_, '_>, block_len: usize) {
    strong(bencher, StrongKind::Xxh3, block_len);
}

#[divan::bench(args = BLOCK_LENS)]
fn strong_xxh64(bencher: Bencher<'_, '_>, block_len: usize) {
    strong(bencher, StrongKind::Xxh64, block_len);
}

#[divan::bench(args = BLOCK_LENS)]
fn strong_md5(bencher: Bencher<'_, '_>, block_len: usize) {
    strong(bencher, StrongKind::Md5, block_len);
}

#[divan::bench(args = BLOCK_LENS)]
fn strong_md4(bencher: Bencher<'_, '_>, block_len: usize) {
    strong(bencher, StrongKind::Md4, block_len);
}

#[divan::bench(args = BLOCK_LENS)]
fn strong_sha1(bencher: Bencher<'_, '_>, block_len: usize) {
    strong(bencher, StrongKind::Sha1, block_len);
}

/// Both sums of every block, as the generator makes them.
#[divan::bench(args = BLOCK_LENS)]
fn block_sums_xxh128(bencher: Bencher<'_, '_>, block_len: usize) {
    let basis = noise(4 << 20);
    let summer = BlockSummer::new(StrongKind::Xxh128, 5, true);
    let len = basis.len() as u64;
    let head = SumHead::for_basis(len, version(), 16, Some(block_len as u32), false);
    bencher.counter(BytesCount::new(basis.len())).bench(|| {
        let mut out = Vec::new();
        let mut encoder = BlockSumEncoder::new(head, summer);
        for piece in basis.chunks(256 * 1024) {
            encoder.sum_blocks(piece, &mut out);
        }
        out
    });
}

#[divan::bench]
fn file_sum_xxh128(bencher: Bencher<'_, '_>) {
    let file = noise(4 << 20);
    bencher.counter(BytesCount::new(file.len())).bench(|| {
        let mut summer = FileSummer::new(StrongKind::Xxh128, 5);
        for piece in file.chunks(32 * 1024) {
            summer.update(piece);
        }
        summer.finish()
    });
}

/// The sender's search: a file that shares nothing with its basis, and one that is its basis.
#[divan::bench(args = [false, true])]
fn search(bencher: Bencher<'_, '_>, is_unchanged: bool) {
    let basis = noise(4 << 20);
    let source = if is_unchanged {
        basis.clone()
    } else {
        text(basis.len())
    };
    let summer = BlockSummer::new(StrongKind::Xxh128, 5, true);
    let head = SumHead::for_basis(basis.len() as u64, version(), 16, None, false);
    let mut wire = Vec::new();
    BlockSumEncoder::new(head, summer).sum_blocks(&basis, &mut wire);
    bencher.counter(BytesCount::new(source.len())).bench(|| {
        let mut decoder = BlockSumDecoder::new(head, u32::MAX);
        decoder.read(&mut &wire[..]);
        let mut search = BlockSearch::new(decoder.finish(), summer, false);
        let mut at = 0;
        while let Found::Literal(len) | Found::Block { len, .. } = search.next(&source[at..], true)
        {
            at += len;
        }
        at
    });
}

/// Literals alone, counted by the bytes they expand to.
fn decode(bencher: Bencher<'_, '_>, compression: Compression, file: &[u8]) {
    let mut wire = Vec::new();
    let mut encoder = TokenEncoder::new(compression, None, version());
    encoder.begin_file(&SumHead::NONE);
    encoder.literal(file, &mut wire);
    encoder.finish_file(&mut wire);
    bencher.counter(BytesCount::new(file.len())).bench(|| {
        let mut decoder = TokenDecoder::new(compression, version());
        decoder.begin_file(&SumHead::NONE);
        let mut total = 0;
        for mut piece in wire.chunks(PIECE) {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(Token::Literal(bytes))) => total += black_box(bytes).len(),
                    Ok(Some(Token::Blocks { .. })) => {}
                    Ok(Some(Token::End) | None) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!(total, file.len());
    });
}

#[divan::bench(args = [Compression::None, Compression::Zlib, Compression::Zstd, Compression::Lz4])]
fn decode_text(bencher: Bencher<'_, '_>, compression: Compression) {
    decode(bencher, compression, &text(4 << 20));
}

#[divan::bench(args = [Compression::None, Compression::Zlib, Compression::Zstd, Compression::Lz4])]
fn decode_noise(bencher: Bencher<'_, '_>, compression: Compression) {
    decode(bencher, compression, &noise(4 << 20));
}

/// A file that is all blocks, in the short tokens of an uncompressed stream.
#[divan::bench]
fn decode_blocks(bencher: Bencher<'_, '_>) {
    let head = SumHead {
        count: 100_000,
        block_len: 700,
        strong_len: 2,
        remainder: 0,
    };
    let mut wire = Vec::new();
    let mut encoder = TokenEncoder::new(Compression::None, None, version());
    encoder.begin_file(&head);
    encoder.blocks(0, head.count, &mut wire);
    encoder.finish_file(&mut wire);
    bencher.counter(BytesCount::new(wire.len())).bench(|| {
        let mut decoder = TokenDecoder::new(Compression::None, version());
        decoder.begin_file(&head);
        let mut input = &wire[..];
        let mut blocks = 0;
        while let Ok(Some(Token::Blocks { count, .. })) = decoder.next(&mut input) {
            blocks += count;
        }
        assert_eq!(blocks, head.count);
    });
}
