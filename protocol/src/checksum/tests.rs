//! Values computed by stock rsync, for every algorithm and rule of the seed.

use proptest::prelude::*;

use super::StrongKind::{Md4, Md5, Sha1, Xxh3, Xxh64, Xxh128};
use super::{BlockSummer, FileSummer, RollingSum, StrongKind};

/// What was summed.
#[derive(Debug, Clone, Copy)]
enum Data {
    Text(&'static str),
    /// So many letters x.
    Xs(usize),
    /// So many bytes (7·i + 3) mod 256.
    Pattern(usize),
}

use Data::{Pattern, Text, Xs};

impl Data {
    fn bytes(self) -> Vec<u8> {
        match self {
            Text(text) => text.as_bytes().to_vec(),
            Xs(len) => vec![b'x'; len],
            Pattern(len) => (0..len).map(|i| (7 * i + 3) as u8).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Data, value, bytes on the wire.
const ROLLING: &[(Data, u32, &str)] = &[
    (Text(""), 0x00000000, "00000000"),
    (Text("a"), 0x00610061, "61006100"),
    (Text("abc"), 0x024a0126, "26014a02"),
    (Xs(64), 0xcf001e00, "001e00cf"),
    (Pattern(700), 0x760cfeda, "dafe0c76"),
    (Pattern(1000), 0xf758ffec, "ecff58f7"),
];

/// Seed, data, algorithm, whether the seed fix is agreed on, digest.
const BLOCKS: &[(i32, Data, StrongKind, bool, &str)] = &[
    (
        5,
        Text("abc"),
        Md4,
        false,
        "63046b63d9e3ed8c8cde051a0918a330",
    ),
    (
        5,
        Text("abc"),
        Md5,
        true,
        "fa8d6e2566cfbaf520856e36bb839caf",
    ),
    (
        5,
        Text("abc"),
        Md5,
        false,
        "f243ce935911c0e8ff11b4cbed703ad2",
    ),
    (
        5,
        Text("abc"),
        Sha1,
        true,
        "03e6455e4a5102445637eea2bf96487ecb63f6b2",
    ),
    (5, Text("abc"), Xxh64, true, "348f12748b65abe7"),
    (5, Text("abc"), Xxh3, true, "0b1456989c169955"),
    (
        5,
        Text("abc"),
        Xxh128,
        true,
        "0b1456989c169955b7cff2991d41bdc8",
    ),
    (
        5,
        Pattern(700),
        Md4,
        false,
        "2526d23e1a48897c25ec6d36a3171e56",
    ),
    (
        5,
        Pattern(700),
        Md5,
        true,
        "07def9674f22c33b43af5e3d3da35790",
    ),
    (
        5,
        Pattern(700),
        Md5,
        false,
        "a88bf06cc7ed98be9fe7c5a9bde32913",
    ),
    (
        5,
        Pattern(700),
        Sha1,
        true,
        "40b321dc4656dc07d5db586fa70002c94773661d",
    ),
    (5, Pattern(700), Xxh64, true, "789c39abf3b203ef"),
    (5, Pattern(700), Xxh3, true, "171121d6769f7d2f"),
    (
        5,
        Pattern(700),
        Xxh128,
        true,
        "171121d6769f7d2f912c5ea347a9780b",
    ),
    (
        0x1234_5678,
        Text("abc"),
        Md4,
        false,
        "dfc21629291028d56ee023a48767e5c9",
    ),
    (
        0x1234_5678,
        Text("abc"),
        Md5,
        true,
        "5a035b41f39449760a0c6a01e4060c62",
    ),
    (
        0x1234_5678,
        Text("abc"),
        Md5,
        false,
        "a7e33be7c2164ebddcb3da6720a2d7d4",
    ),
    (
        0x1234_5678,
        Text("abc"),
        Sha1,
        true,
        "d3e61ddc0c84883a9f1e2e76eba65782e2cd74ee",
    ),
    (0x1234_5678, Text("abc"), Xxh64, true, "2bf41a5f65d17f0f"),
    (0x1234_5678, Text("abc"), Xxh3, true, "2791f6cd464913ce"),
    (
        0x1234_5678,
        Text("abc"),
        Xxh128,
        true,
        "2791f6cd464913ceddc49a22946c9bd8",
    ),
    (
        0x1234_5678,
        Pattern(1000),
        Md4,
        false,
        "887b66d8e4f9a7c703ad3f2b3ff15d9e",
    ),
    (
        0x1234_5678,
        Pattern(1000),
        Md5,
        true,
        "8085dfb0b2f9a6c2600e5a033b9086bc",
    ),
    (
        0x1234_5678,
        Pattern(1000),
        Md5,
        false,
        "d4a14b1887dac4370747ec26958d9d68",
    ),
    (
        0x1234_5678,
        Pattern(1000),
        Sha1,
        true,
        "c6f345f8379346251a23d79652fc1583abaf4c7d",
    ),
    (0x1234_5678, Pattern(1000), Xxh64, true, "76cc1762992e6602"),
    (0x1234_5678, Pattern(1000), Xxh3, true, "7ff2a6b26f2f6e60"),
    (
        0x1234_5678,
        Pattern(1000),
        Xxh128,
        true,
        "7ff2a6b26f2f6e60fc6f012254834058",
    ),
    (
        -5,
        Text("abc"),
        Md4,
        false,
        "f4d9ac5a4da959b682149ab5431d4d01",
    ),
    (
        -5,
        Text("abc"),
        Md5,
        true,
        "2355fd536118dc4d39a6dddcc85ef2ba",
    ),
    (
        -5,
        Text("abc"),
        Sha1,
        true,
        "1cb55d7f12c9deb80fcdd416dc9e13f7c43b9f42",
    ),
    (-5, Text("abc"), Xxh64, true, "b7266f1b12d5c4d7"),
    (-5, Text("abc"), Xxh3, true, "13f6986bc96570aa"),
    (
        -5,
        Text("abc"),
        Xxh128,
        true,
        "13f6986bc96570aae90cbb1bc59be02d",
    ),
    (-5, Pattern(700), Xxh64, true, "5ba12671abd96f9d"),
    (
        -5,
        Pattern(700),
        Xxh128,
        true,
        "27ced6073cc9cbaeca4fc1e7fdfd0d92",
    ),
];

/// Data, algorithm, digest of the data alone.
const FILES: &[(Data, StrongKind, &str)] = &[
    (Text(""), Md5, "d41d8cd98f00b204e9800998ecf8427e"),
    (Text(""), Md4, "31d6cfe0d16ae931b73c59d7e0c089c0"),
    (Text(""), Sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    (Text("abc"), Md5, "900150983cd24fb0d6963f7d28e17f72"),
    (Text("abc"), Md4, "a448017aaf21d8525fc10ae87aa6729d"),
    (
        Text("abc"),
        Sha1,
        "a9993e364706816aba3e25717850c26c9cd0d89d",
    ),
    (Xs(64), Md5, "c1bb4f81d892b2d57947682aeb252456"),
    (Xs(64), Md4, "b1abf956a5ae6f3221e5fe85e300fbb0"),
    (Xs(64), Sha1, "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163"),
    (Pattern(700), Md5, "4b19ae3591d328678ed117338d756808"),
    (Pattern(700), Md4, "3a6227193324fa371e97025f31156016"),
    (
        Pattern(700),
        Sha1,
        "0faf07b67a77a6f81103e2aad981562c42a6bf4c",
    ),
    (Pattern(1000), Md5, "10046f077f2082ac19676b8079f1cb1a"),
    (Pattern(1000), Md4, "9a27d966bf4984d8597862b1c33bfbba"),
    (
        Pattern(1000),
        Sha1,
        "4231a8a50a10fa9758db8ec71fdef855b751048a",
    ),
    (Text(""), Xxh64, "99e9d85137db46ef"),
    (Text(""), Xxh3, "c294d3380580062d"),
    (Text(""), Xxh128, "7f498d4624c30160d8984701d306aa99"),
    (Text("abc"), Xxh64, "990977adf52cbc44"),
    (Text("abc"), Xxh3, "50392f89945faf78"),
    (Text("abc"), Xxh128, "50392f89945faf7885613a73b65ab006"),
    (Xs(64), Xxh64, "6e512f40d56171a9"),
    (Xs(64), Xxh3, "4412f8acf6b99c26"),
    (Xs(64), Xxh128, "2894ae790b737dac86e92098afab5c44"),
    (Pattern(700), Xxh64, "fc58ff909a0d9fb7"),
    (Pattern(700), Xxh3, "05f481ef8b71fcd4"),
    (Pattern(700), Xxh128, "05f481ef8b71fcd4fd97c4a497d2be1c"),
    (Pattern(1000), Xxh64, "fba3f133a05f235f"),
    (Pattern(1000), Xxh3, "829ebd97bd144f6c"),
    (Pattern(1000), Xxh128, "829ebd97bd144f6cc244da62ff7ecc6b"),
];

/// Data, seed, digest under [`StrongKind::SeededMd4`].
const SEEDED_FILES: &[(Data, i32, &str)] = &[
    (Text(""), 5, "6a46562a674ffee4e08b41d9bbeed391"),
    (Text(""), 0x1234_5678, "248ec46d262b3997690a4946f7ce0fe4"),
    (Text("abc"), 5, "4994e8d39ff36dba6d8b2d45316b7e9d"),
    (Text("abc"), 0x1234_5678, "4d713279fde8d43637584c88006e02f8"),
    (Xs(64), 5, "0ecee29a1185f5f1942ea0bb6d02091c"),
    (Xs(64), 0x1234_5678, "1167bb9ad5f24ba1ba6abfe6ad93719b"),
    (Pattern(1000), 5, "dbd20b19d2ffa27c0c5e38e5c0f32963"),
    (
        Pattern(1000),
        0x1234_5678,
        "7d6c6ae1ce1d9c329ab4a1bbea7e78b0",
    ),
];

const KINDS: [StrongKind; 8] = [
    Xxh128,
    Xxh3,
    Xxh64,
    Md5,
    Md4,
    StrongKind::SeededMd4,
    Sha1,
    StrongKind::None,
];

#[test]
fn rolling_sums_are_those_of_stock_rsync() {
    for (data, value, wire) in ROLLING {
        let sum = RollingSum::of(&data.bytes());
        assert_eq!(sum.value(), *value, "{data:?}");
        assert_eq!(hex(&sum.value().to_le_bytes()), *wire, "{data:?}");
    }
}

#[test]
fn block_sums_are_those_of_stock_rsync() {
    for (seed, data, kind, seed_fix, digest) in BLOCKS {
        let sum = BlockSummer::new(*kind, *seed, *seed_fix).sum(&data.bytes());
        assert_eq!(hex(sum.as_bytes()), *digest, "{kind:?} {data:?} {seed}");
    }
}

/// Lengths around the places where the padding needs a chunk more, and long ones.
#[test]
fn sums_of_many_blocks_are_those_of_each() {
    let lengths = (1..140).chain([700, 4096, 10_007]);
    let data: Vec<u8> = (0u32..40 * 10_007)
        .map(|i| (i.wrapping_mul(i) / 7) as u8)
        .collect();
    for len in lengths {
        for kind in KINDS {
            for (seed, seed_fix) in [(0, true), (0x0102_0304, true), (-5, false)] {
                let summer = BlockSummer::new(kind, seed, seed_fix);
                let blocks = &data[..37 * len + len / 2];
                let mut expected = blocks.chunks_exact(len);
                summer.sum_each(blocks, len, |block, sum| {
                    let next = expected.next();
                    assert_eq!(Some(block), next);
                    assert_eq!(sum, summer.sum(block), "{kind:?}, {len} bytes, {seed}");
                });
                assert_eq!(expected.next(), None);
            }
        }
    }
}

#[test]
fn only_the_named_md5_cares_for_the_seed_fix_and_both_kinds_of_md4_sum_blocks_alike() {
    for kind in KINDS {
        let sum = |seed_fix| BlockSummer::new(kind, 5, seed_fix).sum(b"abc");
        assert_eq!(sum(true) != sum(false), kind == Md5, "{kind:?}");
    }
    let sum = |kind| BlockSummer::new(kind, 5, true).sum(b"abc");
    assert_eq!(sum(Md4), sum(StrongKind::SeededMd4));
}

#[test]
fn a_seed_of_zero_leaves_block_sums_plain() {
    for (data, kind, digest) in FILES {
        for seed_fix in [false, true] {
            let sum = BlockSummer::new(*kind, 0, seed_fix).sum(&data.bytes());
            assert_eq!(hex(sum.as_bytes()), *digest, "{kind:?} {data:?}");
        }
    }
}

#[test]
fn file_sums_are_those_of_stock_rsync_and_have_no_seed() {
    for (data, kind, digest) in FILES {
        for mut summer in [FileSummer::new(*kind, 5), FileSummer::for_list(*kind)] {
            summer.update(&data.bytes());
            assert_eq!(
                hex(summer.finish().as_bytes()),
                *digest,
                "{kind:?} {data:?}"
            );
        }
    }
}

#[test]
fn file_sums_before_protocol_30_begin_with_the_seed_but_list_sums_do_not() {
    for (data, seed, digest) in SEEDED_FILES {
        let mut summer = FileSummer::new(StrongKind::SeededMd4, *seed);
        summer.update(&data.bytes());
        assert_eq!(hex(summer.finish().as_bytes()), *digest, "{data:?} {seed}");
    }
    let mut with_zero = FileSummer::new(StrongKind::SeededMd4, 0);
    with_zero.update(b"abc");
    let mut plain = FileSummer::for_list(Md4);
    plain.update(b"\0\0\0\0abc");
    assert_eq!(with_zero.finish(), plain.finish());
    let list = FileSummer::for_list(StrongKind::SeededMd4).finish();
    assert_eq!(list, FileSummer::for_list(Md4).finish());
}

#[test]
fn file_sums_captured_on_the_wire() {
    // Protocol 31: a file of one line, and an empty one.
    let mut summer = FileSummer::new(Xxh128, 5);
    summer.update(b"bbbb\n");
    assert_eq!(
        hex(summer.finish().as_bytes()),
        "e407472b082b4c0e28c7f40b940f4e28"
    );
    let empty = FileSummer::new(Xxh128, 5).finish();
    assert_eq!(hex(empty.as_bytes()), "7f498d4624c30160d8984701d306aa99");
    // Protocol 27, seed 5.
    let mut summer = FileSummer::new(StrongKind::SeededMd4, 5);
    summer.update(b"hello world\n");
    assert_eq!(
        hex(summer.finish().as_bytes()),
        "1bdd470c9645e85dabfd9080c8a1cfb1"
    );
}

#[test]
fn without_an_algorithm_one_zero_byte_stands_for_every_sum() {
    assert_eq!(
        BlockSummer::new(StrongKind::None, 5, true)
            .sum(b"abc")
            .as_bytes(),
        [0]
    );
    let mut summer = FileSummer::new(StrongKind::None, 5);
    summer.update(b"abc");
    assert_eq!(summer.finish().as_bytes(), [0]);
}

#[test]
fn names_are_found_in_any_case_and_lead_back() {
    for kind in KINDS {
        let found = StrongKind::from_name(&kind.name().to_ascii_uppercase());
        let expected = if kind == StrongKind::SeededMd4 {
            Md4
        } else {
            kind
        };
        assert_eq!(found, Some(expected));
        let digest = BlockSummer::new(kind, 1, true).sum(b"");
        assert_eq!(digest.as_bytes().len(), kind.digest_len());
        assert_eq!(
            FileSummer::new(kind, 1).finish().as_bytes().len(),
            kind.digest_len()
        );
    }
    assert_eq!(StrongKind::from_name("xxHash"), Some(Xxh64));
    assert_eq!(StrongKind::from_name("sha256"), None);
    assert_eq!(StrongKind::from_name(""), None);
}

#[test]
fn a_sum_is_compared_as_far_as_both_it_and_the_prefix_go() {
    let sum = BlockSummer::new(Xxh64, 5, true).sum(b"abc");
    assert!(sum.starts_with(&sum.as_bytes()[..2]));
    assert!(sum.starts_with(&[]));
    let mut longer = sum.as_bytes().to_vec();
    longer.extend([1; 8]);
    assert!(
        sum.starts_with(&longer),
        "what is beyond the digest says nothing"
    );
    longer[7] ^= 1;
    assert!(!sum.starts_with(&longer));
    assert_eq!(sum.prefix(16)[8..], [0; 8]);
}

/// The definition, one byte at a time.
fn plain_rolling(window: &[u8]) -> u32 {
    let (mut a, mut b) = (0i64, 0i64);
    for (i, byte) in window.iter().enumerate() {
        let signed = i64::from(*byte as i8);
        a += signed;
        b += (window.len() - i) as i64 * signed;
    }
    (a as u32 & 0xffff) | (b as u32) << 16
}

proptest! {
    #[test]
    fn a_rolling_sum_follows_its_definition_however_it_was_reached(
        bytes in proptest::collection::vec(any::<u8>(), 1..2000),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        window in any::<prop::sample::Index>(),
    ) {
        let mut pieces = RollingSum::new();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut at = 0;
        for end in ends {
            pieces.append(&bytes[at..end]);
            at = end;
        }
        prop_assert_eq!(pieces.value(), plain_rolling(&bytes));

        let len = window.index(bytes.len()) + 1;
        let mut sliding = RollingSum::of(&bytes[..len]);
        for at in 0..bytes.len() - len {
            sliding.roll(bytes[at], bytes[at + len]);
            prop_assert_eq!(sliding.value(), plain_rolling(&bytes[at + 1..][..len]));
        }
        for at in bytes.len() - len..bytes.len() {
            sliding.drop_first(bytes[at]);
            prop_assert_eq!(sliding.value(), plain_rolling(&bytes[at + 1..]));
        }
        prop_assert!(sliding.is_empty());
    }

    #[test]
    fn a_file_sum_does_not_depend_on_the_cuts(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000), cut in any::<prop::sample::Index>(),
    ) {
        for kind in KINDS {
            let cut = cut.index(bytes.len() + 1);
            let mut pieces = FileSummer::new(kind, 7);
            pieces.update(&bytes[..cut]);
            pieces.update(&bytes[cut..]);
            let mut whole = FileSummer::new(kind, 7);
            whole.update(&bytes);
            prop_assert_eq!(pieces.finish(), whole.finish());
        }
    }
}
