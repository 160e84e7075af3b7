use proptest::prelude::*;

use super::{BlockSumDecoder, BlockSumEncoder, SumHead};
use crate::checksum::{BlockSummer, RollingSum, StrongKind};
use crate::wire::{DecodeError, Reader};
use crate::{ExitCode, ProtocolVersion};

fn version(number: u8) -> ProtocolVersion {
    ProtocolVersion::new(number).unwrap()
}

fn head(count: u32, block_len: u32, strong_len: u32, remainder: u32) -> SumHead {
    SumHead {
        count,
        block_len,
        strong_len,
        remainder,
    }
}

fn bytes_of(fields: [i32; 4]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

/// Basis length, protocol version, and the head that stock generators send for it.
const CHOSEN: &[(u64, u8, [u32; 4])] = &[
    (1, 31, [1, 700, 2, 1]),
    (700, 31, [1, 700, 2, 0]),
    (701, 31, [2, 700, 2, 1]),
    (490_000, 31, [700, 700, 2, 0]),
    (490_001, 31, [701, 700, 2, 1]),
    (500_000, 31, [711, 704, 2, 160]),
    (600_000, 31, [782, 768, 2, 192]),
    (1_000_000, 31, [1000, 1000, 2, 0]),
    (10_000_000, 31, [3165, 3160, 2, 1760]),
    (100_000_000, 31, [10_000, 10_000, 3, 0]),
    (1 << 30, 31, [32_768, 32_768, 3, 0]),
    (1 << 32, 31, [65_536, 65_536, 4, 0]),
    (1 << 34, 31, [131_072, 131_072, 4, 0]),
    (1 << 35, 30, [262_144, 131_072, 4, 0]),
    (1 << 35, 29, [185_368, 185_360, 4, 111_248]),
    (1 << 40, 32, [8_388_608, 131_072, 6, 0]),
    (1 << 40, 29, [1_048_576, 1_048_576, 5, 0]),
];

#[test]
fn heads_are_those_that_stock_generators_choose() {
    for (len, number, [count, block_len, strong_len, remainder]) in CHOSEN {
        let chosen = SumHead::for_basis(*len, version(*number), 16, None, false);
        let expected = head(*count, *block_len, *strong_len, *remainder);
        assert_eq!(chosen, expected, "{len} bytes, protocol {number}");
        assert_eq!(chosen.basis_len(), *len);
        if *len <= 1 << 30 {
            let old = SumHead::for_basis(*len, version(29), 16, None, false);
            assert_eq!(old, expected, "{len} bytes, protocol 29");
        }
    }
}

#[test]
fn the_redo_phase_sends_all_of_the_digest_up_to_sixteen_bytes() {
    for (digest_len, expected) in [(1, 1), (8, 8), (16, 16), (20, 16)] {
        let head = SumHead::for_basis(12, version(31), digest_len, None, true);
        assert_eq!(head, self::head(1, 700, expected, 12));
    }
    let short = SumHead::for_basis(1 << 40, version(27), 1, None, false);
    assert_eq!(short.strong_len, 1, "never more than the digest has");
}

#[test]
fn a_forced_block_length_is_taken_up_to_the_limit_of_the_version() {
    let forced = |len, number, block_len| {
        SumHead::for_basis(len, version(number), 16, Some(block_len), false)
    };
    assert_eq!(forced(2800, 31, 1000), head(3, 1000, 2, 800));
    assert_eq!(forced(2800, 31, 0), head(4, 700, 2, 0));
    assert_eq!(forced(1 << 20, 31, 1 << 20).block_len, 1 << 17);
    assert_eq!(forced(1 << 20, 29, 1 << 20), head(1, 1 << 20, 2, 0));
    assert_eq!(forced(10, 31, 3), head(4, 3, 2, 1));
}

#[test]
fn an_empty_basis_and_one_of_too_many_blocks_are_none() {
    for number in 27..=32 {
        let empty = SumHead::for_basis(0, version(number), 16, None, false);
        assert_eq!(empty, SumHead::NONE);
        assert!(empty.is_empty());
        assert_eq!(empty.basis_len(), 0);
    }
    let most = i32::MAX as u64;
    let forced = |len| SumHead::for_basis(len, version(31), 16, Some(1), false);
    assert_eq!(forced(most).count, i32::MAX as u32);
    assert_eq!(forced(most + 1), SumHead::NONE);
    assert_eq!(
        SumHead::for_basis(1 << 60, version(31), 16, None, false),
        SumHead::NONE
    );
}

#[test]
fn a_head_as_captured_is_read_and_written_back() {
    let wire = [4, 0, 0, 0, 0xbc, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let mut reader = Reader::new(&wire);
    let decoded = SumHead::decode(&mut reader, version(31), 16).unwrap();
    assert_eq!(decoded, head(4, 700, 2, 0));
    assert!(reader.is_empty());
    let mut out = Vec::new();
    decoded.encode(&mut out);
    assert_eq!(out, wire);
    for cut in 0..wire.len() {
        let mut reader = Reader::new(&wire[..cut]);
        let cut = SumHead::decode(&mut reader, version(31), 16);
        assert_eq!(cut, Err(DecodeError::Incomplete));
        assert_eq!(reader.consumed(), 0);
    }
}

#[test]
fn numbers_at_their_limits_are_accepted_and_those_beyond_are_violations() {
    let max = i32::MAX;
    let accepted = [
        (31, 16, [0, 0, 0, 0]),
        (31, 16, [0, 700, 2, 0]),
        (31, 16, [max, 1 << 17, 16, 1 << 17]),
        (31, 8, [1, 700, 16, 0]),
        (31, 20, [1, 700, 20, 700]),
        (30, 16, [1, 1 << 17, 0, 0]),
        (29, 16, [1, 1 << 29, 2, 0]),
        (27, 16, [1, 700, 2, 0]),
    ];
    for (number, digest_len, fields) in accepted {
        let wire = bytes_of(fields);
        let decoded = SumHead::decode(&mut Reader::new(&wire), version(number), digest_len);
        let mut out = Vec::new();
        decoded.unwrap().encode(&mut out);
        assert_eq!(out, wire);
    }
    let refused = [
        (31, 16, [-1, 700, 2, 0]),
        (31, 16, [1, -700, 2, 0]),
        (31, 16, [1, 700, -2, 0]),
        (31, 16, [1, 700, 2, -1]),
        (31, 16, [i32::MIN, i32::MIN, i32::MIN, i32::MIN]),
        (31, 16, [1, 0, 2, 0]),
        (31, 16, [1, (1 << 17) + 1, 2, 0]),
        (29, 16, [1, (1 << 29) + 1, 2, 0]),
        (31, 16, [1, 700, 17, 0]),
        (31, 8, [1, 700, 17, 0]),
        (31, 20, [1, 700, 21, 0]),
        (31, 16, [1, 700, 2, 701]),
        (31, 16, [0, 0, 0, 1]),
    ];
    for (number, digest_len, fields) in refused {
        let wire = bytes_of(fields);
        match SumHead::decode(&mut Reader::new(&wire), version(number), digest_len) {
            Err(DecodeError::Malformed(error)) => {
                assert_eq!(error.exit, ExitCode::Protocol, "{fields:?}: {error}");
            }
            other => panic!("{fields:?} gave {other:?}"),
        }
    }
}

#[test]
fn spans_follow_the_geometry_and_refuse_blocks_that_do_not_exist() {
    let head = head(4, 700, 2, 1);
    assert_eq!(head.basis_len(), 2101);
    assert_eq!(head.len(0), 700);
    assert_eq!(head.len(3), 1);
    assert_eq!(head.offset(3), 2100);
    assert_eq!(head.span(0, 1), Ok(0..700));
    assert_eq!(head.span(1, 2), Ok(700..2100));
    assert_eq!(head.span(3, 1), Ok(2100..2101));
    assert_eq!(head.span(0, 4), Ok(0..2101));
    for (first, count) in [(4, 1), (3, 2), (0, 5), (u32::MAX, 1), (1, u32::MAX)] {
        let error = head.span(first, count).unwrap_err();
        assert_eq!(error.exit, ExitCode::Protocol);
    }
    assert!(SumHead::NONE.span(0, 1).is_err());
    let long = self::head(i32::MAX as u32, 1 << 29, 2, 5);
    assert_eq!(long.basis_len(), (i32::MAX as u64 - 1) * (1 << 29) + 5);
}

/// What a stock generator sent for a basis of 2800 bytes, and one byte of what came next.
#[test]
fn block_sums_as_captured_are_read_from_every_cut() {
    let wire = [
        0x2e, 0xfc, 0xa6, 0x50, 0xf6, 0xfa, 0x40, 0xf3, 0x7d, 0x03, 0x5d, 0xe2, 0x85, 0xfd, 0x8f,
        0xfe, 0xfc, 0x8f, 0x32, 0x02, 0x9c, 0x89, 0xe1, 0x3d, 0x00,
    ];
    for step in 1..=wire.len() {
        let mut decoder = BlockSumDecoder::new(head(4, 700, 2, 0), u32::MAX);
        let mut done = false;
        for piece in wire.chunks(step) {
            let mut piece = piece;
            if !done {
                done = decoder.read(&mut piece);
            }
            assert!(piece.is_empty() || done);
        }
        assert!(done);
        let sums = decoder.finish();
        assert_eq!(sums.known(), 4);
        assert_eq!(
            sums.rolling(),
            [0x50a6_fc2e, 0x037d_f340, 0xfe8f_fd85, 0x899c_0232]
        );
        assert_eq!(sums.strong(0), [0xf6, 0xfa]);
        assert_eq!(sums.strong(3), [0xe1, 0x3d]);
    }
}

#[test]
fn a_decoder_keeps_no_more_blocks_than_it_may_but_reads_them_all() {
    let mut decoder = BlockSumDecoder::new(head(5, 700, 1, 0), 2);
    let wire = [7u8; 26];
    let mut input = &wire[..];
    assert!(decoder.read(&mut input));
    assert_eq!(input.len(), 1);
    let sums = decoder.finish();
    assert_eq!(sums.known(), 2);
    assert_eq!(sums.head().count, 5);
}

#[test]
fn a_head_without_blocks_has_no_sums() {
    let mut input = &b"next"[..];
    assert!(BlockSumDecoder::new(SumHead::NONE, 1).read(&mut input));
    assert_eq!(input, b"next");
    let summer = BlockSummer::new(StrongKind::Xxh128, 5, true);
    let mut encoder = BlockSumEncoder::new(SumHead::NONE, summer);
    let mut out = Vec::new();
    encoder.sum_blocks(b"basis", &mut out);
    assert!(encoder.is_done());
    encoder.finish(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_piece_is_whole_groups_of_blocks_as_long_as_they_are_small() {
    let piece = |kind, block_len| {
        let summer = BlockSummer::new(kind, 5, true);
        let head = SumHead::for_basis(1 << 40, version(29), 16, Some(block_len), false);
        BlockSumEncoder::new(head, summer).piece_len(256 << 10)
    };
    for block_len in [700, 8_192, 65_528, 131_072, 1 << 29] {
        let len = block_len as usize;
        let one_by_one = piece(StrongKind::Xxh128, block_len);
        assert!(one_by_one.is_multiple_of(len) || len > 4 << 20);
        assert!((192 << 10..=256 << 10).contains(&one_by_one));
        let together = piece(StrongKind::Md5, block_len);
        assert!(together.is_multiple_of(16 * len) || 16 * len > 4 << 20);
        assert!((192 << 10..=4 << 20).contains(&together));
    }
}

#[test]
fn a_basis_that_shrank_gets_zeros_and_one_that_grew_is_cut() {
    let summer = BlockSummer::new(StrongKind::Md5, 5, true);
    let head = SumHead::for_basis(2101, version(31), 16, None, false);
    let basis = [9u8; 3000];
    let mut exact = Vec::new();
    BlockSumEncoder::new(head, summer).sum_blocks(&basis[..2101], &mut exact);
    let mut grown = Vec::new();
    let mut encoder = BlockSumEncoder::new(head, summer);
    encoder.sum_blocks(&basis, &mut grown);
    encoder.sum_blocks(&basis, &mut grown);
    assert!(encoder.is_done());
    assert_eq!(grown, exact);
    let mut shrunk = Vec::new();
    let mut encoder = BlockSumEncoder::new(head, summer);
    encoder.sum_blocks(&basis[..1500], &mut shrunk);
    assert_eq!(encoder.done_blocks(), 2);
    encoder.finish(&mut shrunk);
    assert_eq!(shrunk.len(), exact.len());
    assert_eq!(shrunk[..12], exact[..12]);
    assert_eq!(shrunk[12..], [0; 12]);
}

/// An independent implementation: with seed 0 its strong sums are plain MD4 of each block.
#[test]
fn strong_sums_agree_with_those_of_fast_rsync() {
    const HEADER: usize = 12;
    let basis: Vec<u8> = (0..40_000u32)
        .map(|i| (i.wrapping_mul(i) >> 5) as u8)
        .collect();
    for block_len in [64u32, 700, 1000, 40_000, 50_000] {
        let options = fast_rsync::SignatureOptions {
            block_size: block_len,
            crypto_hash_size: 16,
        };
        let signature = fast_rsync::Signature::calculate(&basis, options).into_serialized();
        let theirs: Vec<&[u8]> = signature[HEADER..]
            .chunks(20)
            .map(|sum| &sum[4..])
            .collect();
        for kind in [StrongKind::Md4, StrongKind::SeededMd4] {
            let head = SumHead::for_basis(40_000, version(29), 16, Some(block_len), true);
            let mut out = Vec::new();
            let summer = BlockSummer::new(kind, 0, false);
            BlockSumEncoder::new(head, summer).sum_blocks(&basis, &mut out);
            let ours: Vec<&[u8]> = out.chunks(20).map(|sum| &sum[4..]).collect();
            assert_eq!(ours, theirs);
        }
    }
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_the_cuts_and_are_read_back(
        basis in proptest::collection::vec(any::<u8>(), 1..5000),
        block_len in 1u32..1500,
        digest in prop::sample::select(vec![
            StrongKind::Xxh128, StrongKind::Xxh64, StrongKind::Md5, StrongKind::Md4,
            StrongKind::Sha1, StrongKind::None,
        ]),
        is_redo: bool,
        step in 1usize..3000,
    ) {
        let head = SumHead::for_basis(
            basis.len() as u64, version(31), digest.digest_len(), Some(block_len), is_redo,
        );
        let summer = BlockSummer::new(digest, -5, true);
        let mut expected = Vec::new();
        for block in basis.chunks(block_len as usize) {
            expected.extend(RollingSum::of(block).value().to_le_bytes());
            expected.extend(&summer.sum(block).as_bytes()[..head.strong_len as usize]);
        }
        let mut out = Vec::new();
        let mut encoder = BlockSumEncoder::new(head, summer);
        let mut fed = 0;
        for piece in basis.chunks(step) {
            encoder.sum_blocks(piece, &mut out);
            fed += piece.len();
            let whole = if fed == basis.len() { head.count } else { fed as u32 / block_len };
            prop_assert_eq!(encoder.done_blocks(), whole);
        }
        prop_assert_eq!(&out, &expected);

        let mut decoder = BlockSumDecoder::new(head, u32::MAX);
        let mut done = false;
        for mut piece in out.chunks(step) {
            prop_assert!(!done);
            done = decoder.read(&mut piece);
            prop_assert!(piece.is_empty());
        }
        prop_assert!(done);
        let sums = decoder.finish();
        prop_assert_eq!(sums.known(), head.count);
        for (index, block) in basis.chunks(block_len as usize).enumerate() {
            prop_assert_eq!(head.len(index as u32) as usize, block.len());
            prop_assert_eq!(head.offset(index as u32), index as u64 * u64::from(block_len));
            prop_assert_eq!(sums.rolling()[index], RollingSum::of(block).value());
            prop_assert!(summer.sum(block).starts_with(sums.strong(index as u32)));
        }
    }
}
