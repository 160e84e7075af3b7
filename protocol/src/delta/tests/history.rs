//! The history of the old `zlib` method, against an ordinary inflater and deflater that get
//! matched data as stored blocks.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};

use super::*;

/// The pieces in which stock inserts a block.
fn pieces(block: &[u8], number: u8) -> Vec<&[u8]> {
    const PIECE: usize = 0xffff;
    (0..block.len())
        .step_by(PIECE)
        .map(|at| {
            let len = PIECE.min(block.len() - at);
            let from = if number < 31 { 0 } else { at };
            &block[from..from + len]
        })
        .collect()
}

/// Feeds the inflater and answers all that it makes.
fn inflate(inflater: &mut Decompress, mut input: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut out = vec![0; 100_000];
    loop {
        let (taken, made) = (inflater.total_in(), inflater.total_out());
        inflater
            .decompress(input, &mut out, FlushDecompress::Sync)
            .unwrap();
        input = &input[(inflater.total_in() - taken) as usize..];
        let made = (inflater.total_out() - made) as usize;
        all.extend(&out[..made]);
        if input.is_empty() && made < out.len() {
            return all;
        }
    }
}

fn deflate(deflater: &mut Compress, mut input: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut out = vec![0; 100_000];
    loop {
        let (taken, made) = (deflater.total_in(), deflater.total_out());
        deflater
            .compress(input, &mut out, FlushCompress::Sync)
            .unwrap();
        input = &input[(deflater.total_in() - taken) as usize..];
        let made = (deflater.total_out() - made) as usize;
        all.extend(&out[..made]);
        if input.is_empty() && made < out.len() {
            return all;
        }
    }
}

/// A file that refers to blocks and then repeats parts of them in literals: block numbers, and
/// what comes after them.
fn script(basis: &[u8], block_len: usize) -> Vec<(Vec<u32>, Vec<u8>)> {
    let blocks = (basis.len() / block_len) as u32;
    let part = |block: u32, from: usize, len: usize| {
        let at = block as usize * block_len + from;
        basis[at..basis.len().min(at + len)].to_vec()
    };
    vec![
        (vec![], b"begin ".to_vec()),
        (vec![0], part(0, 0, 300)),
        (vec![1, 2], part(2, block_len.saturating_sub(400), 400)),
        (
            vec![1],
            [part(1, 10, 200), noise(50, 9), part(1, block_len / 2, 300)].concat(),
        ),
        ((0..blocks).collect(), part(blocks - 1, 0, 500)),
        (vec![0], vec![]),
        (vec![blocks - 1], part(0, 0, 2000)),
    ]
}

/// Block lengths around the piece that stock inserts at a time, with and without the repetition
/// of protocols before 31.
const CASES: &[(usize, u8)] = &[
    (700, 31),
    (700, 29),
    (40_000, 29),
    (65_535, 29),
    (65_536, 29),
    (70_000, 29),
    (70_000, 30),
    (70_000, 31),
    (110_000, 27),
    (131_070, 29),
    (131_071, 30),
    (131_072, 31),
    (200_000, 29),
];

#[test]
fn an_ordinary_inflater_reads_what_the_encoder_wrote() {
    for (block_len, number) in CASES {
        let basis = noise(block_len * 4, 4);
        let head = head(4, *block_len as u32);
        let mut encoder = TokenEncoder::new(Compression::Zlib, None, version(*number));
        for _ in 0..2 {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            encoder.begin_file(&head);
            for (blocks, literal) in script(&basis, *block_len) {
                for block in blocks {
                    let bytes = &basis[block as usize * block_len..][..*block_len];
                    encoder.blocks(block, 1, &mut wire);
                    for bytes in bytes.chunks(30_000) {
                        encoder.matched(bytes);
                    }
                    expected.extend(bytes);
                }
                encoder.literal(&literal, &mut wire);
                expected.extend(literal);
            }
            encoder.finish_file(&mut wire);
            let rebuilt = read_by_hand(&wire, &basis, *block_len, *number);
            assert!(rebuilt == expected, "{block_len} {number}");
        }
    }
}

/// Rebuilds a file from its tokens, with matched data as stored blocks in front of an ordinary
/// inflater.
fn read_by_hand(wire: &[u8], basis: &[u8], block_len: usize, number: u8) -> Vec<u8> {
    let mut inflater = Decompress::new(false);
    let mut file = Vec::new();
    let mut compressed = Vec::new();
    let mut last = 0;
    let mut rest = wire;
    loop {
        let flag = rest[0];
        let low = usize::from(flag & 0x3f);
        let int = |at: usize| usize::from(rest[at]) | usize::from(rest[at + 1]) << 8;
        let (first, count, len) = match flag {
            0x40..0x80 => {
                let len = low << 8 | usize::from(rest[1]);
                compressed.extend(&rest[2..2 + len]);
                rest = &rest[2 + len..];
                continue;
            }
            0x00 => (0, 0, 1),
            0x20 => (int(1), 1, 5),
            0x21 => (int(1), int(5) + 1, 7),
            0x80..0xc0 => (last + low, 1, 1),
            0xc0.. => (last + low, int(1) + 1, 3),
            _ => panic!("unknown flag {flag:#x}"),
        };
        rest = &rest[len..];
        if !compressed.is_empty() {
            compressed.extend([0x00, 0x00, 0xff, 0xff]);
            file.extend(inflate(&mut inflater, &compressed));
            compressed.clear();
        }
        if flag == 0x00 {
            assert!(rest.is_empty());
            return file;
        }
        last = first + count - 1;
        for block in first..first + count {
            let bytes = &basis[block * block_len..][..block_len];
            file.extend(bytes);
            for piece in pieces(bytes, number) {
                let len = piece.len() as u16;
                let stored = [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), piece];
                assert_eq!(inflate(&mut inflater, &stored.concat()), piece);
            }
        }
    }
}

#[test]
fn the_decoder_reads_what_an_ordinary_deflater_wrote() {
    for (block_len, number) in CASES {
        let basis = noise(block_len * 4, 5);
        let head = head(4, *block_len as u32);
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        let mut deflater = Compress::new(flate2::Compression::new(6), false);
        for (blocks, literal) in script(&basis, *block_len) {
            for block in blocks {
                wire.push(0x20);
                wire.extend(block.to_le_bytes());
                let bytes = &basis[block as usize * block_len..][..*block_len];
                for piece in pieces(bytes, *number) {
                    deflate(&mut deflater, piece);
                }
                expected.extend(bytes);
            }
            if !literal.is_empty() {
                let compressed = deflate(&mut deflater, &literal);
                let kept = compressed.strip_suffix(&[0x00, 0x00, 0xff, 0xff]).unwrap();
                for chunk in kept.chunks(16_383) {
                    wire.push(0x40 | (chunk.len() >> 8) as u8);
                    wire.push(chunk.len() as u8);
                    wire.extend(chunk);
                }
                expected.extend(literal);
            }
        }
        wire.push(0);
        let mut decoder = TokenDecoder::new(Compression::Zlib, version(*number));
        for piece in [wire.len(), 1000, 1] {
            let mut rest = &wire[..];
            let steps = decode_file(&mut decoder, &head, &basis, &mut rest, piece).unwrap();
            assert!(
                apply(&steps, &head, &basis) == expected,
                "{block_len} {number}"
            );
        }
    }
}
