//! One tree as release 3.5.0 sends it at several versions and with many options.
//!
//! The tree: `a`, `z` and `d/a2` are one file with an ACL and two xattrs; `n0` and `n3` are one
//! character device 5:2; `n1` to `n4` are devices with major 5 and 300; `p` is a fifo with
//! nanoseconds; `l` points to `d/a2`; `d` belongs to uid 2147483655 and has a default ACL; `d/e/big`
//! belongs to 1:2 and has an xattr that `a` has too.

use super::*;
use crate::ndx::{Ndx, NdxCoder};

fn all(number: u8) -> FlistFormat {
    FlistFormat {
        owner: true,
        group: true,
        links: true,
        hard_links: true,
        devices: true,
        specials: true,
        recurse: true,
        ..FlistFormat::new(version(number))
    }
}

fn with_acls(number: u8) -> FlistFormat {
    FlistFormat {
        acls: true,
        xattrs: true,
        safe_flist: true,
        ..all(number)
    }
}

fn with_everything() -> FlistFormat {
    FlistFormat {
        varint_flags: true,
        id0_names: true,
        atimes: true,
        checksum_len: Some(16),
        ..with_acls(32)
    }
}

const FLAT32: &str = "
        01 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 00 00 00 00 00 00 00 18 02 6e 34 00 00 00 5e ac 5d
        0d a4 21 00 00 5e 09 5e 0d 81 2c 03 01 01 c0 b8 41 01 01 32 00 00 00 80 61 00 00 c1 70 11 01 01
        a0 18 01 70 00 00 00 5e a5 5d 0d e7 15 cd 5b 80 11 00 00 5e a5 5d 0d 01 01 80 98 01 6c 00 04 00
        ff a1 00 00 6b 63 3f 00 04 64 2f 61 32 01 c0 98 52 01 7a 00 06 00 b4 81 00 00 b1 94 6a c9 24 92
        d2 34 7c 62 35 b4 d2 61 11 84 00 12 04 02 01 1a c0 31 d4 10 00 02 09 28 75 73 65 72 2e 62 69 67
        00 8a 40 90 36 6a 60 70 7e 11 cc 0f 2d a8 0c 73 88 07 03 75 73 65 72 2e 73 00 61 62 63 18 02 6e
        31 00 00 00 5e ac 5d 0d a4 21 00 00 5e 09 5e 0d 05 01 01 01 c0 ba 53 01 01 33 00 00 00 02 01 01
        82 18 01 61 05 02 02 83 18 02 6e 30 07 01 01 10 01 64 00 00 10 5e a5 5d 0d ed 41 00 00 f0 07 00
        00 80 01 00 1f 07 05 07 05 01 01 1e 01 80 b2 01 02 2f 65 00 00 10 00 01 01 01 82 b8 02 02 61 32
        05 02 02 c0 a0 40 02 05 65 2f 62 69 67 00 2c 01 a4 81 00 00 01 02 8a 48 76 ea 55 d9 98 a5 d9 1e
        d5 9d b7 96 af 28 01 00 01 07 03 75 73 65 72 2e 73 00 61 62 63 00 00 01 06 64 61 65 6d 6f 6e 00
        04 72 6f 6f 74 02 03 62 69 6e 00 04 72 6f 6f 74
";

const FULL32: &str = "
        8c 01 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 04 72 6f 6f 74 00 04 72 6f 6f 74 00 00 00 00 00
        00 18 02 6e 34 00 00 00 5e ac 5d 0d a4 21 00 00 5e 09 5e 0d 81 2c 03 01 01 c0 b8 41 01 01 32 00
        00 00 80 61 00 00 c1 70 11 01 01 a0 18 01 70 00 00 00 5e a5 5d 0d e7 15 cd 5b 80 11 00 00 5e a5
        5d 0d 01 01 80 98 01 6c 00 04 00 ff a1 00 00 6b 63 3f 00 04 64 2f 61 32 01 92 98 01 7a 00 06 00
        b4 81 00 00 5e 09 5e 0d b1 94 6a c9 24 92 d2 34 7c 62 35 b4 d2 61 11 84 00 12 04 02 01 1b 06 64
        61 65 6d 6f 6e c0 31 d4 10 00 02 09 28 75 73 65 72 2e 62 69 67 00 8a 40 90 36 6a 60 70 7e 11 cc
        0f 2d a8 0c 73 88 07 03 75 73 65 72 2e 73 00 61 62 63 c0 18 40 02 6e 31 00 00 00 5e ac 5d 0d a4
        21 00 00 05 01 01 01 c0 ba 53 01 01 33 00 00 00 02 01 01 82 18 01 61 06 02 02 83 18 02 6e 30 08
        01 01 10 01 64 00 00 10 5e a5 5d 0d ed 41 00 00 f0 07 00 00 80 01 00 1f 07 05 07 05 01 01 1e 01
        00 00 ff 65 80 b2 01 02 2f 65 00 00 10 00 01 01 01 82 b8 02 02 61 32 06 00 06 00 b4 81 00 00 6b
        63 3f 00 b1 94 6a c9 24 92 d2 34 7c 62 35 b4 d2 61 11 84 02 02 00 00 ff 01 88 a0 02 05 65 2f 62
        69 67 00 2c 01 a4 81 00 00 5e 09 5e 0d 01 02 03 62 69 6e 8a 48 76 ea 55 d9 98 a5 d9 1e d5 9d b7
        96 af 28 01 00 01 07 03 75 73 65 72 2e 73 00 61 62 63 00 00 ff fe 80 02 00 00
";

const FLAT31: &str = "
        01 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 00 00 00 00 00 00 00 18 02 6e 34 00 00 00 5e ac 5d
        0d a4 21 00 00 81 2c 03 01 01 bc 01 01 01 32 00 00 00 80 61 00 00 c1 70 11 01 01 1c 20 01 70 00
        00 00 5e a5 5d 0d e7 15 cd 5b 80 11 00 00 01 01 98 01 6c 00 04 00 ff a1 00 00 04 64 2f 61 32 01
        9c 12 01 7a 00 06 00 b4 81 00 00 00 12 04 02 01 1a c0 31 d4 10 00 02 09 28 75 73 65 72 2e 62 69
        67 00 8a 40 90 36 6a 60 70 7e 11 cc 0f 2d a8 0c 73 88 07 03 75 73 65 72 2e 73 00 61 62 63 18 02
        6e 31 00 00 00 5e ac 5d 0d a4 21 00 00 05 01 01 01 be 13 01 01 33 00 00 00 02 01 01 1c 02 01 61
        05 02 02 1c 03 02 6e 30 07 01 01 10 01 64 00 00 10 5e a5 5d 0d ed 41 00 00 f0 07 00 00 80 01 00
        1f 07 05 07 05 01 01 1e 01 b2 01 02 2f 65 00 00 10 00 01 01 01 bc 02 02 02 61 32 05 02 02 a0 02
        05 65 2f 62 69 67 00 2c 01 a4 81 00 00 01 02 01 00 01 07 03 75 73 65 72 2e 73 00 61 62 63 00 01
        06 64 61 65 6d 6f 6e 00 02 03 62 69 6e 00
";

const FULL30: &str = "
        05 0c 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 04 72 6f 6f 74 00 04 72 6f 6f 74 00 00 00 00 00
        00 18 02 6e 34 00 00 00 5e ac 5d 0d a4 21 00 00 81 2c 03 01 01 bc 01 01 01 32 00 00 00 80 61 00
        00 c1 70 11 01 01 1c 01 01 70 00 00 00 5e a5 5d 0d 80 11 00 00 00 01 01 98 01 6c 00 04 00 ff a1
        00 00 04 64 2f 61 32 01 9c 12 01 7a 00 06 00 b4 81 00 00 00 12 04 02 01 1b 06 64 61 65 6d 6f 6e
        c0 31 d4 10 00 02 09 28 75 73 65 72 2e 62 69 67 00 8a 40 90 36 6a 60 70 7e 11 cc 0f 2d a8 0c 73
        88 07 03 75 73 65 72 2e 73 00 61 62 63 18 02 6e 31 00 00 00 5e ac 5d 0d a4 21 00 00 05 01 01 01
        be 13 01 01 33 00 00 00 02 01 01 1c 02 01 61 06 02 02 1c 03 02 6e 30 08 01 01 10 01 64 00 00 10
        5e a5 5d 0d ed 41 00 00 f0 07 00 00 80 01 00 1f 07 05 07 05 01 01 1e 01 00 ff 65 b2 01 02 2f 65
        00 00 10 00 01 01 01 bc 02 02 02 61 32 06 00 06 00 b4 81 00 00 02 02 00 ff 01 a4 08 02 05 65 2f
        62 69 67 00 2c 01 a4 81 00 00 01 02 03 62 69 6e 01 00 01 07 03 75 73 65 72 2e 73 00 61 62 63 00
        ff fe 80 02 00 00
";

const V29: &str = "
        01 01 2e 00 10 00 00 a5 5d 0d 5e ed 41 00 00 00 00 00 00 00 00 00 00 1c 08 02 6e 34 00 00 00 00
        ac 5d 0d 5e a4 21 00 00 2c 01 00 00 03 bc 01 01 01 32 00 00 00 00 80 61 00 00 70 11 01 00 1c 09
        01 70 00 00 00 00 a5 5d 0d 5e 80 11 00 00 00 98 01 6c 04 00 00 00 ff a1 00 00 04 00 00 00 64 2f
        61 32 9c 02 01 7a 06 00 00 00 b4 81 00 00 01 fe 00 00 1f 21 9a 00 63 48 1c 78 ae 04 c2 01 fa 01
        ea 9d 2b 1d b5 6d 1c 08 02 6e 31 00 00 00 00 ac 5d 0d 5e a4 21 00 00 05 00 00 00 01 be 0f 01 01
        33 00 00 00 00 02 22 21 9a 00 1c 06 01 61 06 00 00 00 a5 5d 0d 5e b4 81 00 00 1f 21 9a 00 63 48
        1c 78 ae 04 c2 01 fa 01 ea 9d 2b 1d b5 6d 1c 0f 02 6e 30 00 00 00 00 ac 5d 0d 5e a4 21 00 00 02
        22 21 9a 00 10 01 64 00 10 00 00 a5 5d 0d 5e ed 41 00 00 07 00 00 80 b2 01 02 2f 65 00 10 00 00
        00 00 00 00 bc 06 02 02 61 32 06 00 00 00 b4 81 00 00 1f 21 9a 00 63 48 1c 78 ae 04 c2 01 fa 01
        ea 9d 2b 1d b5 6d a0 02 05 65 2f 62 69 67 2c 01 00 00 a4 81 00 00 01 00 00 00 02 00 00 00 8e 91
        c3 77 e7 0a a4 6b f6 65 b8 35 a3 ee dd 57 00 01 00 00 00 06 64 61 65 6d 6f 6e 00 00 00 00 02 00
        00 00 03 62 69 6e 00 00 00 00 00 00 00 00
";

const V27: &str = "
        01 01 2e 00 10 00 00 a5 5d 0d 5e ed 41 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 18 02 6e 34 00 00 00 00 ac 5d 0d 5e a4 21 00 00 03 2c 01 00 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 00 00 b8 01 01 32 00 00 00 00 80 61 00 00 70 2c 11 11 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 00 00 1c 01 70 00 00 00 00 a5 5d 0d 5e 80 11 00 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 00 98 01 6c 04 00 00 00 ff a1 00 00 04 00 00 00 64 2f 61 32 00 00 00
        00 00 00 00 00 00 00 00 00 00 00 00 00 98 01 7a 06 00 00 00 b4 81 00 00 01 fe 00 00 1f 21 9a 00
        63 48 1c 78 ae 04 c2 01 fa 01 ea 9d 2b 1d b5 6d 18 02 6e 31 00 00 00 00 ac 5d 0d 5e a4 21 00 00
        01 05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ba 01 01 33 00 00 00 00 02 05 00 00
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 18 01 61 06 00 00 00 a5 5d 0d 5e b4 81 00 00 01
        fe 00 00 1f 21 9a 00 63 48 1c 78 ae 04 c2 01 fa 01 ea 9d 2b 1d b5 6d 18 02 6e 30 00 00 00 00 ac
        5d 0d 5e a4 21 00 00 02 05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 10 01 64 00 10
        00 00 a5 5d 0d 5e ed 41 00 00 07 00 00 80 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 b2 01
        02 2f 65 00 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 b8 02 02 61 32
        06 00 00 00 b4 81 00 00 01 fe 00 00 1f 21 9a 00 63 48 1c 78 ae 04 c2 01 fa 01 ea 9d 2b 1d b5 6d
        a0 02 05 65 2f 62 69 67 2c 01 00 00 a4 81 00 00 01 00 00 00 02 00 00 00 01 fe 00 00 26 21 9a 00
        8e 91 c3 77 e7 0a a4 6b f6 65 b8 35 a3 ee dd 57 00 01 00 00 00 06 64 61 65 6d 6f 6e 00 00 00 00
        02 00 00 00 03 62 69 6e 00 00 00 00 00 00 00 00
";

/// Everything at once: flags as varints, digests, access times, ACLs, xattrs.
#[test]
fn protocol_32_with_every_field() {
    let (list, decoder) = decode(&with_everything(), &dump(FLAT32)).unwrap();
    let sum = "sum b1 94 6a c9 24 92 d2 34 7c 62 35 b4 d2 61 11 84";
    let linked = format!("100664 6 1577934245 {sum} atime 1795178339 group 5 acl 1 xattrs 1");
    assert_eq!(
        describe(&list),
        [
            "0 . 40755 4096 1577934245 acl 0 default 0 xattrs 0 top content".to_owned(),
            format!("1 a {linked}"),
            "2 l 120777 4 1577934245 -> d/a2 atime 1795178339 xattrs 0".to_owned(),
            "3 n0 20644 0 1577934252 rdev 5:2 atime 1577934345 group 7 acl 0 xattrs 0".to_owned(),
            "4 n1 20644 0 1577934252 rdev 5:1 atime 1577934345 acl 0 xattrs 0".to_owned(),
            "5 n2 60600 0 1577934252 rdev 300:70000 atime 1577934345 acl 0 xattrs 0".to_owned(),
            "6 n3 20644 0 1577934252 rdev 5:2 atime 1577934345 group 7 acl 0 xattrs 0".to_owned(),
            "7 n4 20644 0 1577934252 rdev 300:3 atime 1577934345 acl 0 xattrs 0".to_owned(),
            "8 p 10600 0 1577934245.123456789 atime 1577934245 acl 0 xattrs 0".to_owned(),
            format!("9 z {linked}"),
            "10 d 40755 4096 1577934245 2147483655:0 acl 0 default 1 xattrs 0 content".to_owned(),
            format!("11 d/a2 {linked}"),
            "12 d/e 40755 4096 1577934245 acl 0 default 0 xattrs 0 content".to_owned(),
            "13 d/e/big 100644 300 1577934245 1:2 \
             sum 8a 48 76 ea 55 d9 98 a5 d9 1e d5 9d b7 96 af 28 \
             atime 1795178339 acl 0 xattrs 2"
                .to_owned(),
        ]
    );
    let acls = decoder.acl_cache();
    assert!(acls.access_acl(0).unwrap().is_empty());
    let named = |kind, id, permissions| NamedEntry {
        kind,
        id,
        permissions,
    };
    assert_eq!(
        acls.access_acl(1),
        Some(&Acl {
            group_obj: Some(4),
            named: vec![named(IdKind::User, 1, 6), named(IdKind::Group, 54321, 4)],
            ..Acl::default()
        })
    );
    assert_eq!(acls.access_acl(2), None);
    assert!(acls.default_acl(0).unwrap().is_empty());
    assert_eq!(
        acls.default_acl(1),
        Some(&Acl {
            user_obj: Some(7),
            group_obj: Some(5),
            mask_obj: Some(7),
            other_obj: Some(5),
            named: vec![named(IdKind::User, 1, 7)],
        })
    );
    let sets = decoder.xattr_cache();
    assert!(sets.set(0).unwrap().items.is_empty());
    let big = &sets.set(1).unwrap().items[0];
    assert_eq!((big.num, &big.name[..]), (1, &b"user.big"[..]));
    use md5::Digest;
    assert_eq!(
        big.value,
        XattrValue::Abbreviated {
            len: 40,
            md5: md5::Md5::digest([b'v'; 40]).into()
        }
    );
    let small = sets.set(1).unwrap().by_num(2).unwrap();
    assert_eq!(&small.name[..], b"user.s");
    assert_eq!(small.value, XattrValue::Full(b"abc"[..].into()));
    assert_eq!(sets.set(2).unwrap().items.len(), 1);
    assert_eq!(decoder.id_names().user(1), Some(&b"daemon"[..]));
    assert_eq!(decoder.id_names().group(54321), None);
}

/// The lines of a flat list without what the format does not carry.
const PLAIN: [&str; 14] = [
    ". 40755 4096 1577934245 acl 0 default 0 xattrs 0 top content",
    "a 100664 6 1577934245 group 5 acl 1 xattrs 1",
    "l 120777 4 1577934245 -> d/a2 xattrs 0",
    "n0 20644 0 1577934252 rdev 5:2 group 7 acl 0 xattrs 0",
    "n1 20644 0 1577934252 rdev 5:1 acl 0 xattrs 0",
    "n2 60600 0 1577934252 rdev 300:70000 acl 0 xattrs 0",
    "n3 20644 0 1577934252 rdev 5:2 group 7 acl 0 xattrs 0",
    "n4 20644 0 1577934252 rdev 300:3 acl 0 xattrs 0",
    "p 10600 0 1577934245 acl 0 xattrs 0",
    "z 100664 6 1577934245 group 5 acl 1 xattrs 1",
    "d 40755 4096 1577934245 2147483655:0 acl 0 default 1 xattrs 0 content",
    "d/a2 100664 6 1577934245 group 5 acl 1 xattrs 1",
    "d/e 40755 4096 1577934245 acl 0 default 0 xattrs 0 content",
    "d/e/big 100644 300 1577934245 1:2 acl 0 xattrs 2",
];

#[test]
fn protocol_31_with_flags_in_one_or_two_bytes() {
    let (list, _) = decode(&with_acls(31), &dump(FLAT31)).unwrap();
    let mut expected: Vec<String> = (0..)
        .zip(PLAIN)
        .map(|(i, line)| format!("{i} {line}"))
        .collect();
    expected[8] = "8 p 10600 0 1577934245.123456789 acl 0 xattrs 0".to_owned();
    assert_eq!(describe(&list), expected);
}

/// Lists for `.`, `d` and `d/e`; the number of a hard link counts from the start of the session.
#[test]
fn protocols_30_and_32_with_incremental_recursion() {
    let numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 16];
    for (format, bytes) in [(with_everything(), FULL32), (with_acls(30), FULL30)] {
        let format = FlistFormat {
            inc_recurse: true,
            ..format
        };
        let bytes = dump(bytes);
        let lines = incremental(&format, &bytes, 1);
        assert_eq!(lines, incremental(&format, &bytes, bytes.len()));
        if format.version == version(30) {
            let expected: Vec<String> = numbers
                .iter()
                .zip(PLAIN)
                .map(|(i, line)| {
                    format!("{i} {line}")
                        .replace("group 7", "group 8")
                        .replace("group 5", "group 6")
                })
                .collect();
            assert_eq!(lines, expected);
        } else {
            assert_eq!(
                lines[11],
                "13 d/a2 100664 6 1577934245 \
                 sum b1 94 6a c9 24 92 d2 34 7c 62 35 b4 d2 61 11 84 \
                 atime 1795178339 group 6 acl 1 xattrs 1"
            );
        }
    }
}

/// Before protocol 30 hard links are device and inode; at 27 only regular files have them, and
/// the order is that of the bytes.
#[test]
fn protocols_27_to_29() {
    let sum = "sum 63 48 1c 78 ae 04 c2 01 fa 01 ea 9d 2b 1d b5 6d";
    let lines: Vec<String> = PLAIN
        .iter()
        .map(|line| {
            let mut line = (*line).to_owned();
            for shared in [" acl 0", " acl 1", " default 0", " default 1"] {
                line = line.replace(shared, "");
            }
            for set in 0..3 {
                line = line.replace(&format!(" xattrs {set}"), "");
            }
            if line.starts_with("d/e/big") {
                line += " sum 8e 91 c3 77 e7 0a a4 6b f6 65 b8 35 a3 ee dd 57";
            }
            line.replace("group 5", &format!("{sum} group 5"))
        })
        .collect();
    let numbered = |order: [usize; 14]| -> Vec<String> {
        (0..)
            .zip(order)
            .map(|(i, line): (u32, usize)| format!("{i} {}", lines[line]))
            .collect()
    };
    // The I/O error word behind the id lists is not part of them.
    let without_word = |text: &str| {
        let mut bytes = dump(text);
        bytes.truncate(bytes.len() - 4);
        bytes
    };
    let decode = |number: u8, text: &str| {
        let format = FlistFormat {
            checksum_len: Some(16),
            ..all(number)
        };
        describe(&decode(&format, &without_word(text)).unwrap().0)
    };
    let files_first = numbered([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    let bytes = [0, 1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9];
    assert_eq!(decode(29, V29), files_first);
    // Protocol 28 has the same bytes in another order.
    assert_eq!(decode(28, V29), numbered(bytes));
    let at_27: Vec<String> = numbered(bytes)
        .iter()
        .map(|line| line.replace(" group 7", ""))
        .collect();
    assert_eq!(decode(27, V27), at_27);
}

fn incremental(format: &FlistFormat, bytes: &[u8], step: usize) -> Vec<String> {
    let mut decoder = FlistDecoder::new(format.clone());
    let mut flists = Flists::new(format);
    let mut feed = Feed::new(bytes, step);
    let mut ndx = NdxCoder::new(format.version);
    let mut lines = Vec::new();
    let mut head = ListHead::first(format);
    loop {
        let (list, io_error) = feed.list(&mut decoder, head).unwrap();
        assert_eq!(io_error, 0);
        lines.extend(describe(&list));
        flists.push(list).unwrap();
        head = match feed.unit(|reader| {
            let mut ahead = reader.clone();
            let value = ndx.decode(&mut ahead)?;
            *reader = ahead;
            Ok(value)
        }) {
            Ok(Ndx::Flist(dir)) => flists.announce(dir).unwrap(),
            Ok(Ndx::FlistEof) => break,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(feed.at, bytes.len());
    lines
}
