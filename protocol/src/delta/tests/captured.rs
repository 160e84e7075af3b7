//! Bytes that stock rsync sent.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// Every way to cut the wire must give the same steps, and leave what follows the file.
fn assert_decodes(compression: Compression, head: &SumHead, wire: &[u8], expected: &[Step]) {
    let mut with_sum = wire.to_vec();
    with_sum.extend(b"sum");
    for piece in 1..=with_sum.len() {
        let mut decoder = TokenDecoder::new(compression, version(31));
        let mut rest = &with_sum[..];
        let steps = decode_file(&mut decoder, head, &[], &mut rest, piece).unwrap();
        assert_eq!(steps, expected, "in pieces of {piece}");
        assert_eq!(rest, b"sum", "in pieces of {piece}");
    }
}

#[test]
fn an_insertion_in_the_middle_of_four_blocks() {
    let wire = hex("ff ff ff ff  fe ff ff ff  06 00 00 00 49 4e 53 45 52 54
         fd ff ff ff  fc ff ff ff  00 00 00 00");
    let expected = [
        Step::Blocks(0, 2),
        Step::Literal(b"INSERT".to_vec()),
        Step::Blocks(2, 2),
        Step::End,
    ];
    assert_decodes(Compression::None, &head(4, 700), &wire, &expected);

    let basis = noise(2800, 3);
    let mut source = basis.clone();
    source.splice(1400..1400, *b"INSERT");
    let summer = BlockSummer::new(StrongKind::Xxh128, 5, true);
    let search = BlockSearch::new(sums_of(head(4, 700), summer, &basis), summer, false);
    let answers = search_all(search, &source, 1000);
    let mut out = Vec::new();
    let mut encoder = TokenEncoder::new(Compression::None, None, version(31));
    encode_file(&mut encoder, &head(4, 700), &source, &answers, &mut out);
    assert_eq!(out, wire, "the sender finds and writes the same");
}

#[test]
fn a_file_of_literals() {
    let mut wire = hex("0c 00 00 00");
    wire.extend(b"hello world\n\0\0\0\0");
    let expected = [Step::Literal(b"hello world\n".to_vec()), Step::End];
    assert_decodes(Compression::None, &SumHead::NONE, &wire, &expected);
}

#[test]
fn long_forms_with_deflated_literals() {
    let wire =
        hex("80  21 64 00 00 00 01 00  40 04 aa aa 02 00  20 05 00 00 00  20 c7 00 00 00  00");
    let expected = [
        Step::Blocks(0, 1),
        Step::Blocks(100, 2),
        Step::Literal(b"zz".to_vec()),
        Step::Blocks(5, 1),
        Step::Blocks(199, 1),
        Step::End,
    ];
    assert_decodes(Compression::Zlibx, &head(200, 700), &wire, &expected);

    let mut out = Vec::new();
    let mut encoder = TokenEncoder::new(Compression::Zlibx, None, version(31));
    encoder.begin_file(&head(200, 700));
    encoder.blocks(0, 1, &mut out);
    encoder.blocks(100, 2, &mut out);
    encoder.literal(b"zz", &mut out);
    encoder.blocks(5, 1, &mut out);
    encoder.blocks(199, 1, &mut out);
    encoder.finish_file(&mut out);
    assert_eq!(out, wire, "the encoder writes the same");
}

#[test]
fn short_forms_around_zstd_literals() {
    // Blocks 0 to 2, literal, block 3, blocks 5 to 9, literal.
    let mut encoder = TokenEncoder::new(Compression::Zstd, None, version(31));
    let mut out = Vec::new();
    encoder.begin_file(&head(10, 700));
    encoder.blocks(0, 3, &mut out);
    encoder.literal(b"16 literal bytes", &mut out);
    encoder.blocks(3, 1, &mut out);
    encoder.blocks(5, 5, &mut out);
    encoder.literal(b"tail\n", &mut out);
    encoder.finish_file(&mut out);
    assert_eq!(out[..9], hex("c0 02 00  40 19 28 b5 2f fd"));
    assert!(out.ends_with(&hex("81  c2 04 00  40 08 28 00 00 74 61 69 6c 0a  00")));
    let expected = [
        Step::Blocks(0, 3),
        Step::Literal(b"16 literal bytes".to_vec()),
        Step::Blocks(3, 1),
        Step::Blocks(5, 5),
        Step::Literal(b"tail\n".to_vec()),
        Step::End,
    ];
    assert_decodes(Compression::Zstd, &head(10, 700), &out, &expected);
}

/// Two files of one session, as rsync 3.5.0 sent them for a basis of `noise(2800, 8)` each: the
/// tokens and the xxh128 sum of both.
const SESSIONS: &[(Compression, &str, &str)] = &[
    (
        Compression::Zlib,
        "c0 01 00 40 0b f2 f4 0b 76 0d 0a 21 b6 64 04 00 c1 01 00 00
         0e b2 8d 8e 53 f0 0f c1 2b 82 c0 98 89 a2 eb 33",
        "40 13 ca cf 4b 55 28 29 cf 57 28 c9 28 4a 4d 55 c8 47 e1 01 00 c1 01 00
         40 0b f2 f4 0b 76 0d 0a 51 80 50 00 00 00
         5c e0 ff 36 b2 f2 81 ea 5c bc 41 44 94 c5 3b a4",
    ),
    (
        Compression::Zlibx,
        "c0 01 00 40 31 f2 f4 0b 76 0d 0a 31 6f 48 60 8b 61 dc 27 3b 43 bb b0 a1 cc e6 b5 47 4e
         4c d7 03 e6 33 09 52 b6 55 55 f6 7f 6f fa 1a 34 c5 c8 45 cf ce 0e 33 07 00 c1 01 00 00
         0e b2 8d 8e 53 f0 0f c1 2b 82 c0 98 89 a2 eb 33",
        "40 13 ca cf 4b 55 28 29 cf 57 28 c9 28 4a 4d 55 c8 47 e1 01 00 c1 01 00
         40 0a f2 f4 0b 76 0d 0a 81 52 00 00 00
         5c e0 ff 36 b2 f2 81 ea 5c bc 41 44 94 c5 3b a4",
    ),
    (
        Compression::Zstd,
        "c0 01 00 40 37 28 b5 2f fd 00 58 70 01 00 49 4e 53 45 52 54 37 80 60 06 5c 01 be 1d 98
         2b 71 80 76 3c eb 48 6c 5c 8a e0 03 cc 60 1a 3d 7a 7a 3f fd d9 4d 30 82 5c 1e 5b 9b 6b
         56 37 c1 01 00 00
         0e b2 8d 8e 53 f0 0f c1 2b 82 c0 98 89 a2 eb 33",
        "40 17 a4 00 00 70 6f 6e 65 20 74 77 6f 20 74 68 72 65 65 20 01 00 21 4f 25 c1 01 00
         40 10 68 00 00 49 4e 53 45 52 54 20 49 4e 53 45 52 54 00
         5c e0 ff 36 b2 f2 81 ea 5c bc 41 44 94 c5 3b a4",
    ),
    (
        Compression::Lz4,
        "c0 01 00 40 30 f0 1f 49 4e 53 45 52 54 37 80 60 06 5c 01 be 1d 98 2b 71 80 76 3c eb 48
         6c 5c 8a e0 03 cc 60 1a 3d 7a 7a 3f fd d9 4d 30 82 5c 1e 5b 9b 6b 56 37 c1 01 00 00
         0e b2 8d 8e 53 f0 0f c1 2b 82 c0 98 89 a2 eb 33",
        "40 17 e5 6f 6e 65 20 74 77 6f 20 74 68 72 65 65 20 0e 00 50 68 72 65 65 20 c1 01 00
         40 0e d0 49 4e 53 45 52 54 20 49 4e 53 45 52 54 00
         5c e0 ff 36 b2 f2 81 ea 5c bc 41 44 94 c5 3b a4",
    ),
];

#[test]
fn sessions_of_stock_senders_are_rebuilt_with_every_method() {
    let basis = noise(2800, 8);
    let sources = [
        [&basis[..1400], b"INSERT", &basis[100..140], &basis[1400..]].concat(),
        [
            b"one two three one two three ",
            &basis[700..2100],
            b"INSERT INSERT",
        ]
        .concat(),
    ];
    let head = head(4, 700);
    for (compression, first, second) in SESSIONS {
        let wire = [hex(first), hex(second)].concat();
        for piece in 1..=wire.len() {
            let mut decoder = TokenDecoder::new(*compression, version(31));
            let mut rest = &wire[..];
            for source in &sources {
                let steps = decode_file(&mut decoder, &head, &basis, &mut rest, piece).unwrap();
                assert!(
                    apply(&steps, &head, &basis) == *source,
                    "{compression:?} {piece}"
                );
                let (sum, after) = rest.split_at(16);
                assert_eq!(sum, file_sum(StrongKind::Xxh128, source));
                rest = after;
            }
            assert!(rest.is_empty());
        }
    }
}

/// A file given up under `zlib` cannot be inflated without its basis; the next one can.
#[test]
fn the_second_file_of_a_session_is_rebuilt_after_the_first_was_given_up() {
    let basis = noise(2800, 8);
    let head = head(4, 700);
    for (compression, first, second) in SESSIONS {
        let wire = [hex(first), hex(second)].concat();
        let mut decoder = TokenDecoder::new(*compression, version(31));
        decoder.begin_file(&head);
        decoder.discard();
        let mut rest = &wire[..];
        let mut blocks = 0;
        loop {
            match decoder.next(&mut rest).unwrap().unwrap() {
                Token::Blocks { count, .. } => blocks += count,
                Token::End => break,
                Token::Literal(_) => panic!("a literal of a discarded file"),
            }
        }
        assert_eq!(blocks, 4);
        rest = &rest[16..];
        let steps = decode_file(&mut decoder, &head, &basis, &mut rest, 5).unwrap();
        let rebuilt = apply(&steps, &head, &basis);
        assert_eq!(rest, file_sum(StrongKind::Xxh128, &rebuilt));
    }
}
