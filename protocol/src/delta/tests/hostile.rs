//! Each rule broken once, and output that grows without end.

use super::*;
use crate::ExitCode;

/// What a decoder answers to `wire`, whole and byte by byte.
fn refusal(compression: Compression, head: SumHead, wire: &[u8]) -> ExitCode {
    let mut exits = [1, wire.len()].map(|piece| {
        let mut decoder = TokenDecoder::new(compression, version(31));
        decode_file(&mut decoder, &head, &[], &mut &wire[..], piece)
            .expect_err("hostile input was accepted")
            .exit
    });
    exits.sort();
    assert_eq!(exits[0], exits[1]);
    exits[0]
}

#[test]
fn blocks_that_the_basis_does_not_have_are_violations() {
    let plain: [&[u8]; 4] = [
        &[0xfb, 0xff, 0xff, 0xff],                         // block 4
        &[0x00, 0x00, 0x00, 0x80],                         // block i32::MAX
        &[0xfc, 0xff, 0xff, 0xff, 0xfb, 0xff, 0xff, 0xff], // 3, then 4
        &[0x01, 0x00, 0x00, 0x80],
    ];
    for wire in plain {
        assert_eq!(
            refusal(Compression::None, head(4, 700), wire),
            ExitCode::Protocol
        );
    }
    let compressed: [&[u8]; 9] = [
        &[0x84],                                     // near, 4
        &[0x83, 0x81],                               // 3, then 4
        &[0xc0, 0x04, 0x00],                         // 0 to 4
        &[0xc3, 0x01, 0x00],                         // 3 and 4
        &[0xc0, 0xff, 0xff],                         // 65536 of them
        &[0x20, 0x04, 0x00, 0x00, 0x00],             // long, 4
        &[0x20, 0xff, 0xff, 0xff, 0xff],             // long, negative
        &[0x21, 0x03, 0x00, 0x00, 0x00, 0x01, 0x00], // long run, 3 and 4
        &[0x21, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff], // run beyond every number
    ];
    for wire in compressed {
        for compression in ALL.into_iter().skip(1) {
            assert_eq!(refusal(compression, head(4, 700), wire), ExitCode::Protocol);
        }
    }
    // Nothing to refer to.
    let wire = [0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        refusal(Compression::None, SumHead::NONE, &wire),
        ExitCode::Protocol
    );
    assert_eq!(
        refusal(Compression::Zstd, SumHead::NONE, &[0x80]),
        ExitCode::Protocol
    );
}

#[test]
fn the_last_number_of_all_is_accepted_where_it_exists() {
    let head = head(i32::MAX as u32, 700);
    let wire = [0x20, 0xfe, 0xff, 0xff, 0x7f, 0x00];
    let mut decoder = TokenDecoder::new(Compression::Zstd, version(31));
    let steps = decode_file(&mut decoder, &head, &[], &mut &wire[..], 1).unwrap();
    assert_eq!(steps, [Step::Blocks(i32::MAX as u32 - 1, 1), Step::End]);
    let beyond = [0x20, 0xfe, 0xff, 0xff, 0x7f, 0x81];
    assert_eq!(
        refusal(Compression::Zstd, head, &beyond),
        ExitCode::Protocol
    );
}

#[test]
fn empty_runs_and_unknown_flags_are_refused() {
    for compression in ALL.into_iter().skip(1) {
        let run = [0xc0, 0x00, 0x00];
        assert_eq!(refusal(compression, head(4, 700), &run), ExitCode::Protocol);
        let run = [0x21, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00];
        assert_eq!(refusal(compression, head(4, 700), &run), ExitCode::Protocol);
        for flag in (0x01..0x20).chain(0x22..0x40) {
            assert_eq!(
                refusal(compression, head(4, 700), &[flag]),
                ExitCode::StreamIo
            );
        }
    }
}

#[test]
fn chunks_that_do_not_decompress_are_stream_errors() {
    for (compression, chunk) in [
        (Compression::Zlib, &[0x07u8, 0x00, 0x00][..]), // reserved block type
        (Compression::Zlibx, &[0x00, 0x01, 0x00, 0x00, 0x00]), // stored length and its complement
        (Compression::Zlibx, &[0x03, 0x00]),            // a final block
        (Compression::Zstd, b"not a frame"),
        (Compression::Lz4, &[0xf0]), // lengths that never end
        (Compression::Lz4, &[0x10, b'a', 0xff, 0xff]), // a distance before the beginning
        (Compression::Lz4, &[0x00]), // expands to nothing
    ] {
        let mut wire = vec![0x40, chunk.len() as u8];
        wire.extend(chunk);
        wire.push(0);
        assert_eq!(
            refusal(compression, SumHead::NONE, &wire),
            ExitCode::StreamIo
        );
    }
    assert_eq!(
        refusal(Compression::Lz4, SumHead::NONE, &[0x40, 0x00, 0x80]),
        ExitCode::Protocol
    );
}

#[test]
fn deflated_literals_must_end_where_a_flush_was_cut() {
    // Without the flush the mark becomes part of the data: a stored block of four bytes.
    let wire = [0x40, 0x05, 0x00, 0x04, 0x00, 0xfb, 0xff, 0x00];
    for compression in [Compression::Zlib, Compression::Zlibx] {
        assert_eq!(
            refusal(compression, SumHead::NONE, &wire),
            ExitCode::StreamIo
        );
    }
}

#[test]
fn chunks_without_bytes_are_passed_over() {
    for compression in [
        Compression::Zlib,
        Compression::Zlibx,
        Compression::Zstd,
        Compression::Lz4,
    ] {
        let mut wire = [0x40, 0x00].repeat(1000);
        let mut encoder = TokenEncoder::new(compression, None, version(31));
        encode_file(
            &mut encoder,
            &SumHead::NONE,
            b"text",
            &[Found::Literal(4)],
            &mut wire,
        );
        let mut decoder = TokenDecoder::new(compression, version(31));
        let steps = decode_file(&mut decoder, &SumHead::NONE, &[], &mut &wire[..], 7).unwrap();
        assert_eq!(steps, [Step::Literal(b"text".to_vec()), Step::End]);
    }
}

#[test]
fn literals_of_any_length_are_handed_out_as_they_arrive() {
    let mut decoder = TokenDecoder::new(Compression::None, version(31));
    decoder.begin_file(&SumHead::NONE);
    let length = i32::MAX.to_le_bytes();
    assert_eq!(decoder.next(&mut &length[..]), Ok(None));
    let piece = [7u8; 65_532];
    for _ in 0..100 {
        let mut input = &piece[..];
        assert_eq!(decoder.next(&mut input), Ok(Some(Token::Literal(&piece))));
        assert_eq!(decoder.next(&mut input), Ok(None));
    }
}

#[test]
fn what_expands_a_thousandfold_comes_out_in_small_pieces() {
    const MEBIBYTES: usize = 256;
    for compression in [Compression::Zlib, Compression::Zlibx, Compression::Zstd] {
        let zeros = vec![0; 1 << 20];
        let mut wire = Vec::new();
        let mut encoder = TokenEncoder::new(compression, None, version(31));
        encoder.begin_file(&SumHead::NONE);
        for _ in 0..MEBIBYTES {
            encoder.literal(&zeros, &mut wire);
        }
        encoder.finish_file(&mut wire);
        assert!(wire.len() < (MEBIBYTES << 20) / 900);
        let mut decoder = TokenDecoder::new(compression, version(31));
        decoder.begin_file(&SumHead::NONE);
        let mut input = &wire[..];
        let mut total = 0;
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Token::Literal(piece))) => {
                    assert!(piece.len() <= 32 * 1024);
                    total += piece.len();
                }
                Ok(Some(Token::End)) => break,
                other => panic!("{other:?} in a sound stream"),
            }
        }
        assert_eq!(total, MEBIBYTES << 20);
    }
    // One chunk of LZ4 that would make four megabytes is refused.
    let mut chunk = vec![0x1f, b'a', 0x01, 0x00];
    chunk.resize(16_000, 0xff);
    chunk.push(0x00);
    let mut wire = vec![0x40 | (chunk.len() >> 8) as u8, chunk.len() as u8];
    wire.extend(&chunk);
    assert_eq!(
        refusal(Compression::Lz4, SumHead::NONE, &wire),
        ExitCode::StreamIo
    );
}

proptest::proptest! {
    #[test]
    fn garbage_neither_panics_nor_depends_on_the_cuts(
        wire in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::prelude::any::<u8>(),
                proptest::sample::select(vec![0x00, 0x20, 0x21, 0x40, 0x80, 0xc0, 0xff]),
            ],
            0..300,
        ),
        compression in proptest::sample::select(ALL.to_vec()),
        piece in 1usize..20,
    ) {
        let run = |piece: usize| {
            let mut decoder = TokenDecoder::new(compression, version(29));
            decoder.begin_file(&head(1000, 700));
            let mut bytes: Vec<u8> = Vec::new();
            let mut blocks = Vec::new();
            for mut input in wire.chunks(piece) {
                loop {
                    match decoder.next(&mut input) {
                        Ok(None) => break,
                        Ok(Some(Token::Literal(literal))) => bytes.extend(literal),
                        Ok(Some(Token::Blocks { first, count })) => {
                            blocks.extend((first..first + count).take(2000));
                        }
                        Ok(Some(Token::End)) => return (bytes, blocks, Ok(true)),
                        Err(error) => return (bytes, blocks, Err(error)),
                    }
                }
            }
            (bytes, blocks, Ok(false))
        };
        let whole = run(wire.len().max(1));
        let cut = run(piece);
        proptest::prop_assert_eq!(&whole.1, &cut.1);
        proptest::prop_assert_eq!(&whole.2, &cut.2);
        if whole.2.is_ok() {
            proptest::prop_assert_eq!(&whole.0, &cut.0);
        }
    }
}

/// A frame of zstd 0.5: libzstd can be built to read such, with another decoder that nobody needs.
#[test]
fn zstd_frames_of_before_1_0_are_not_decompressed() {
    for magic in 0x22..=0x27 {
        let wire = [
            0x40, 0x0c, magic, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x00,
            0x00,
        ];
        assert_eq!(
            refusal(Compression::Zstd, SumHead::NONE, &wire),
            ExitCode::StreamIo
        );
    }
}
