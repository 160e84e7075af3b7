use super::{DecodeError, Reader, Write};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|b| u8::from_str_radix(b, 16).unwrap())
        .collect()
}

/// Values and bytes observed on the wire.
const VARINT: &[(i32, &str)] = &[
    (0, "00"),
    (127, "7f"),
    (128, "80 80"),
    (255, "80 ff"),
    (256, "81 00"),
    (300, "81 2c"),
    (511, "81 ff"),
    (16383, "bf ff"),
    (16384, "c0 00 40"),
    (54321, "c0 31 d4"),
    (2_097_151, "df ff ff"),
    (2_097_152, "e0 00 00 20"),
    (268_435_455, "ef ff ff ff"),
    (268_435_456, "f0 00 00 00 10"),
    (i32::MAX, "f0 ff ff ff 7f"),
    (-1, "f0 ff ff ff ff"),
];

const VARLONG: &[(i64, &str, &str)] = &[
    (0, "00 00 00", "00 00 00 00"),
    (1, "00 01 00", "00 01 00 00"),
    (4096, "00 00 10", "00 00 10 00"),
    (8_388_607, "7f ff ff", "00 ff ff 7f"),
    (8_388_608, "80 00 00 80", "00 00 00 80"),
    (16_777_216, "81 00 00 00", "01 00 00 00"),
    (1_577_934_245, "c0 a5 5d 0d 5e", "5e a5 5d 0d"),
    (4_294_967_295, "c0 ff ff ff ff", "80 ff ff ff ff"),
    (4_294_967_296, "c1 00 00 00 00", "81 00 00 00 00"),
    (1 << 40, "e1 00 00 00 00 00", "c1 00 00 00 00 00"),
    (
        i64::MAX,
        "fc ff ff ff ff ff ff ff 7f",
        "f8 ff ff ff ff ff ff ff 7f",
    ),
    (
        -1,
        "fc ff ff ff ff ff ff ff ff",
        "f8 ff ff ff ff ff ff ff ff",
    ),
];

#[test]
fn varint_table_both_ways() {
    for (value, text) in VARINT {
        let mut out = Vec::new();
        out.put_varint(*value);
        assert_eq!(out, hex(text), "write {value}");
        assert_eq!(Reader::new(&out).varint(), Ok(*value), "read {text}");
    }
}

#[test]
fn varlong_table_both_ways() {
    for (value, three, four) in VARLONG {
        for (min, text) in [(3, three), (4, four)] {
            let mut out = Vec::new();
            out.put_varlong(*value, min);
            assert_eq!(out, hex(text), "write {value} min {min}");
            assert_eq!(Reader::new(&out).varlong(min), Ok(*value), "read {text}");
        }
    }
}

#[test]
fn too_long_numbers_are_refused() {
    for first in [0xf8u8, 0xff] {
        let bytes = [first; 10];
        assert!(matches!(
            Reader::new(&bytes).varint(),
            Err(DecodeError::Malformed(_))
        ));
    }
    assert!(matches!(
        Reader::new(&[0xff; 12]).varlong(4),
        Err(DecodeError::Malformed(_))
    ));
}

#[test]
fn strings_longer_than_the_limit_are_refused_before_they_arrive() {
    assert!(matches!(
        Reader::new(&[0x81, 0x00]).vstring(255),
        Err(DecodeError::Malformed(_))
    ));
    assert_eq!(
        Reader::new(&[0x02, b'a']).vstring(255),
        Err(DecodeError::Incomplete)
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_no_prefix_is_enough(
        int in any::<i32>(), long in any::<i64>(), min in 3usize..=4,
        text in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut out = Vec::new();
        out.put_varint(int);
        let a = out.len();
        out.put_varlong(long, min);
        let b = out.len();
        out.put_longint(long);
        let c = out.len();
        out.put_vstring(&text);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.varint(), Ok(int));
        prop_assert_eq!(reader.varlong(min), Ok(long));
        prop_assert_eq!(reader.longint(), Ok(long));
        prop_assert_eq!(reader.vstring(400), Ok(&text[..]));
        prop_assert!(reader.is_empty());
        for cut in 0..a {
            prop_assert_eq!(Reader::new(&out[..cut]).varint(), Err(DecodeError::Incomplete));
        }
        for cut in a..b {
            prop_assert_eq!(Reader::new(&out[a..cut]).varlong(min), Err(DecodeError::Incomplete));
        }
        for cut in b..c {
            prop_assert_eq!(Reader::new(&out[b..cut]).longint(), Err(DecodeError::Incomplete));
        }
        for cut in c..out.len() {
            prop_assert_eq!(Reader::new(&out[c..cut]).vstring(400), Err(DecodeError::Incomplete));
        }
    }
}
