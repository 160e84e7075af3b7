use proptest::prelude::*;

use super::*;

/// How a source comes from its basis.
#[derive(Debug, Clone)]
enum Edit {
    Copy {
        from: prop::sample::Index,
        len: usize,
    },
    Insert(Vec<u8>),
    Lines {
        len: usize,
        seed: u64,
    },
    Zeros(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), 0usize..9000)
            .prop_map(|(from, len)| Edit::Copy { from, len }),
        2 => proptest::collection::vec(any::<u8>(), 0..1200).prop_map(Edit::Insert),
        1 => (0usize..40_000, any::<u64>()).prop_map(|(len, seed)| Edit::Lines { len, seed }),
        1 => (0usize..3000).prop_map(Edit::Zeros),
    ]
}

#[derive(Debug, Clone)]
struct Pair {
    basis: Vec<u8>,
    source: Vec<u8>,
    block_len: u32,
}

fn pair() -> impl Strategy<Value = Pair> {
    (
        prop_oneof![Just(0usize), 1usize..30_000],
        any::<u64>(),
        proptest::collection::vec(edit(), 0..8),
        prop_oneof![3 => 1u32..64, 7 => 64u32..4000],
    )
        .prop_map(|(len, seed, edits, block_len)| {
            let mut basis = lines(len / 2, seed);
            basis.extend(noise(len - len / 2, seed));
            let mut source = Vec::new();
            for edit in edits {
                match edit {
                    Edit::Copy { from, len } if !basis.is_empty() => {
                        let from = from.index(basis.len());
                        source.extend(&basis[from..basis.len().min(from + len)]);
                    }
                    Edit::Copy { .. } => {}
                    Edit::Insert(bytes) => source.extend(bytes),
                    Edit::Lines { len, seed } => source.extend(lines(len, seed)),
                    Edit::Zeros(len) => source.resize(source.len() + len, 0),
                }
            }
            Pair {
                basis,
                source,
                block_len,
            }
        })
}

fn kind() -> impl Strategy<Value = StrongKind> {
    prop::sample::select(vec![
        StrongKind::Xxh128,
        StrongKind::Xxh3,
        StrongKind::Xxh64,
        StrongKind::Md5,
        StrongKind::Md4,
        StrongKind::SeededMd4,
        StrongKind::Sha1,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_sent_is_what_is_rebuilt(
        files in proptest::collection::vec(pair(), 1..4),
        kind in kind(),
        compression in prop::sample::select(ALL.to_vec()),
        number in 27u8..=32,
        level in proptest::option::of(-5i32..10),
        seed: i32,
        seed_fix: bool,
        window_piece in 1usize..50_000,
        wire_piece in prop_oneof![1usize..50, 50usize..70_000],
    ) {
        let summer = BlockSummer::new(kind, seed, seed_fix);
        let mut encoder = TokenEncoder::new(compression, level, version(number));
        let mut wire = Vec::new();
        let mut heads = Vec::new();
        for pair in &files {
            let head = SumHead::for_basis(
                pair.basis.len() as u64, version(number), kind.digest_len(),
                // With a strong sum of two bytes, tiny blocks would match falsely.
                Some(pair.block_len), true,
            );
            let sums = sums_of(head, summer, &pair.basis);
            let answers = search_all(
                BlockSearch::new(sums, summer, false), &pair.source, window_piece,
            );
            encode_file(&mut encoder, &head, &pair.source, &answers, &mut wire);
            wire.extend(file_sum(kind, &pair.source));
            heads.push(head);
        }
        let mut decoder = TokenDecoder::new(compression, version(number));
        let mut rest = &wire[..];
        for (pair, head) in files.iter().zip(&heads) {
            let steps = decode_file(&mut decoder, head, &pair.basis, &mut rest, wire_piece).unwrap();
            let rebuilt = apply(&steps, head, &pair.basis);
            prop_assert!(rebuilt == pair.source, "rebuilt file differs");
            let (sum, after) = rest.split_at(kind.digest_len());
            prop_assert_eq!(sum, file_sum(kind, &rebuilt));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_discarded_file_leaves_the_session_in_step(
        files in proptest::collection::vec(pair(), 2..4),
        compression in prop::sample::select(ALL.to_vec()),
        discard_after in 0usize..6,
        wire_piece in 1usize..5000,
    ) {
        let version = version(31);
        let summer = BlockSummer::new(StrongKind::Xxh128, 1, true);
        let mut encoder = TokenEncoder::new(compression, None, version);
        let mut wire = Vec::new();
        let mut heads = Vec::new();
        for pair in &files {
            let head = SumHead::for_basis(
                pair.basis.len() as u64, version, 16, Some(pair.block_len), true,
            );
            let search = BlockSearch::new(sums_of(head, summer, &pair.basis), summer, false);
            let answers = search_all(search, &pair.source, 10_000);
            encode_file(&mut encoder, &head, &pair.source, &answers, &mut wire);
            heads.push(head);
        }
        let mut decoder = TokenDecoder::new(compression, version);
        let mut rest = &wire[..];
        // All but the last file are given up, at the start or somewhere inside.
        let (last, given_up) = files.split_last().unwrap();
        for (pair, head) in given_up.iter().zip(&heads) {
            decoder.begin_file(head);
            let mut seen = 0;
            let mut is_discarding = false;
            'file: loop {
                if seen == discard_after {
                    decoder.discard();
                    is_discarding = true;
                }
                let len = wire_piece.min(rest.len());
                let mut input = &rest[..len];
                while let Some(token) = decoder.next(&mut input).unwrap() {
                    seen += 1;
                    match token {
                        Token::End => {
                            rest = &rest[len - input.len()..];
                            break 'file;
                        }
                        Token::Literal(_) => prop_assert!(!is_discarding),
                        Token::Blocks { first, count } => {
                            let span = head.span(first, count).unwrap();
                            decoder.matched(&pair.basis[span.start as usize..span.end as usize]);
                        }
                    }
                    if seen == discard_after {
                        decoder.discard();
                        is_discarding = true;
                        prop_assert!(!decoder.wants_matched_data());
                    }
                }
                rest = &rest[len..];
            }
        }
        let head = &heads[given_up.len()];
        let steps = decode_file(&mut decoder, head, &last.basis, &mut rest, wire_piece).unwrap();
        prop_assert!(apply(&steps, head, &last.basis) == last.source);
    }
}

#[test]
fn literals_much_longer_than_a_chunk_survive_every_method_and_level() {
    let mut source = noise(300_000, 1);
    source.extend(lines(700_000, 2));
    source.resize(1_500_000, 0);
    for compression in ALL {
        for level in [None, Some(1), Some(9), Some(i32::MIN), Some(i32::MAX)] {
            if level == Some(i32::MAX) && compression == Compression::Zstd {
                // Its highest level wants 1.5 GB.
                continue;
            }
            let mut encoder = TokenEncoder::new(compression, level, version(31));
            let mut wire = Vec::new();
            let answers = [Found::Literal(source.len())];
            encode_file(&mut encoder, &SumHead::NONE, &source, &answers, &mut wire);
            let mut decoder = TokenDecoder::new(compression, version(31));
            let mut rest = &wire[..];
            let steps = decode_file(&mut decoder, &SumHead::NONE, &[], &mut rest, 65_532).unwrap();
            assert!(
                steps == [Step::Literal(source.clone()), Step::End],
                "{compression:?}"
            );
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn an_empty_file_is_its_end_alone() {
    for compression in ALL {
        let mut out = Vec::new();
        let mut encoder = TokenEncoder::new(compression, None, version(31));
        encode_file(&mut encoder, &SumHead::NONE, &[], &[], &mut out);
        let expected: &[u8] = if compression == Compression::None {
            &[0, 0, 0, 0]
        } else {
            &[0]
        };
        assert_eq!(out, expected);
    }
}
