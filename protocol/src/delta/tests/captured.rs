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
