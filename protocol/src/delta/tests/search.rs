use proptest::prelude::*;

use super::*;

const SUMMER_SEED: i32 = 77;

fn summer() -> BlockSummer {
    BlockSummer::new(StrongKind::Xxh128, SUMMER_SEED, true)
}

fn head_for(basis: &[u8], block_len: u32) -> SumHead {
    SumHead::for_basis(basis.len() as u64, version(31), 16, Some(block_len), true)
}

fn find(basis: &[u8], source: &[u8], block_len: u32, is_updating: bool) -> Vec<Found> {
    let head = head_for(basis, block_len);
    let search = BlockSearch::new(sums_of(head, summer(), basis), summer(), is_updating);
    let answers = search_all(search, source, 1000);
    let search = BlockSearch::new(sums_of(head, summer(), basis), summer(), is_updating);
    let whole = search_all(search, source, source.len().max(1));
    assert_eq!(
        answers, whole,
        "how the window is filled makes no difference"
    );
    answers
}

fn block(index: u32, len: usize) -> Found {
    Found::Block { index, len }
}

#[test]
fn an_unchanged_file_is_its_blocks_in_order_and_the_short_last_one() {
    let basis = noise(2101, 1);
    let answers = find(&basis, &basis, 700, false);
    assert_eq!(
        answers,
        [block(0, 700), block(1, 700), block(2, 700), block(3, 1)]
    );
}

#[test]
fn a_short_last_block_is_found_at_the_end_only() {
    let basis = noise(1000, 1);
    let tail = &basis[700..];
    let source = [b"changed", tail].concat();
    assert_eq!(
        find(&basis, &source, 700, false),
        [Found::Literal(7), block(1, 300)]
    );
    let source = [tail, b"changed"].concat();
    assert_eq!(find(&basis, &source, 700, false), [Found::Literal(307)]);
}

#[test]
fn moved_blocks_are_found_at_any_offset() {
    let basis = noise(2100, 2);
    let source = [&basis[1400..], b"x", &basis[..700], &basis[690..1400]].concat();
    let answers = find(&basis, &source, 700, false);
    assert_eq!(
        answers,
        [
            block(2, 700),
            Found::Literal(1),
            block(0, 700),
            Found::Literal(10),
            block(1, 700)
        ]
    );
}

#[test]
fn among_equal_blocks_the_one_after_the_last_match_is_preferred() {
    let mut basis = vec![0; 2800];
    basis.extend(noise(700, 3));
    let answers = find(&basis, &basis, 700, false);
    assert_eq!(
        answers,
        (0..5).map(|index| block(index, 700)).collect::<Vec<_>>()
    );
}

#[test]
fn no_basis_means_literals() {
    let source = noise(100_000, 4);
    let answers = find(&[], &source, 700, false);
    let total: usize = answers
        .iter()
        .map(|found| match found {
            Found::Literal(len) => *len,
            other => panic!("{other:?} without a basis"),
        })
        .sum();
    assert_eq!(total, source.len());
    assert_eq!(find(&[], &[], 700, false), []);
    assert_eq!(find(&source, &[], 700, false), []);
}

#[test]
fn only_known_blocks_are_found() {
    let basis = noise(2101, 5);
    let head = head_for(&basis, 700);
    let mut wire = Vec::new();
    BlockSumEncoder::new(head, summer()).sum_blocks(&basis, &mut wire);
    let mut decoder = BlockSumDecoder::new(head, 2);
    assert!(decoder.read(&mut &wire[..]));
    let search = BlockSearch::new(decoder.finish(), summer(), false);
    let answers = search_all(search, &basis, 500);
    assert_eq!(answers, [block(0, 700), block(1, 700), Found::Literal(701)]);
}

#[test]
fn while_the_basis_is_overwritten_only_blocks_ahead_are_found() {
    let basis = noise(2100, 6);
    // Block 0 moved to the end has been overwritten by then; block 2 in front has not.
    let source = [&basis[1400..], &basis[700..1400], &basis[..700]].concat();
    let answers = find(&basis, &source, 700, true);
    assert_eq!(answers, [block(2, 700), block(1, 700), Found::Literal(700)]);
    // Equal blocks: the one in its own place need not be written.
    let zeros = vec![0; 3500];
    let answers = find(&zeros, &zeros, 700, true);
    assert_eq!(
        answers,
        (0..5).map(|index| block(index, 700)).collect::<Vec<_>>()
    );
}

/// Sums that agree with the rolling sum at every byte, and nowhere with the strong one. Without
/// a bound the strong sums alone would take hours.
#[test]
fn sums_made_to_keep_a_sender_busy_cost_no_more_than_a_few_passes() {
    let head = SumHead {
        count: 50_000,
        block_len: 1 << 17,
        strong_len: 16,
        remainder: 0,
    };
    let source = vec![0; 4 << 20];
    // All equal, all different, and all different in one bucket.
    let strong: [fn(u32) -> u32; 2] = [|_| 1, |index| index + 1];
    for strong in strong {
        let mut wire = Vec::new();
        for index in 0..head.count {
            wire.extend([0; 4]);
            wire.extend(strong(index).to_le_bytes());
            wire.extend([0xee; 12]);
        }
        let mut decoder = BlockSumDecoder::new(head, u32::MAX);
        assert!(decoder.read(&mut &wire[..]));
        let search = BlockSearch::new(decoder.finish(), summer(), false);
        let answers = search_all(search, &source, 65_536);
        assert!(
            answers
                .iter()
                .all(|found| matches!(found, Found::Literal(_)))
        );
    }
}

#[test]
fn honest_blocks_are_still_found_after_many_equal_rolling_sums() {
    // Swapping two bytes at equal distances keeps the rolling sum: a thousand candidates.
    let mut basis = Vec::new();
    for i in 0..1000u32 {
        let mut block = vec![100u8; 64];
        for bit in 0..10 {
            if i >> bit & 1 == 1 {
                block[bit * 4..][..4].copy_from_slice(&[101, 99, 99, 101]);
            }
        }
        basis.extend(block);
    }
    let answers = find(&basis, &basis[64 * 999..], 64, false);
    assert_eq!(answers, [block(999, 64)]);
}

proptest! {
    #[test]
    fn a_file_rebuilt_in_its_own_basis_comes_out_right(
        len in 0usize..6000,
        seed: u64,
        moves in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0usize..3000, 0usize..50), 0..6,
        ),
        block_len in 8u32..900,
    ) {
        let basis = noise(len, seed);
        let mut source = Vec::new();
        for (from, len, inserted) in moves {
            if !basis.is_empty() {
                let from = from.index(basis.len());
                source.extend(&basis[from..basis.len().min(from + len)]);
            }
            source.extend(noise(inserted, seed ^ 1));
        }
        let head = head_for(&basis, block_len);
        let mut file = basis.clone();
        let mut at = 0;
        for found in find(&basis, &source, block_len, true) {
            let now = match found {
                Found::Literal(len) => source[at..at + len].to_vec(),
                Found::Block { index, len } => {
                    let from = head.offset(index) as usize;
                    file[from..from + len].to_vec()
                }
                other => panic!("{other:?} is no part of a file"),
            };
            file.resize(file.len().max(at + now.len()), 0);
            file[at..at + now.len()].copy_from_slice(&now);
            at += now.len();
        }
        file.truncate(at);
        prop_assert!(file == source);
    }
}
