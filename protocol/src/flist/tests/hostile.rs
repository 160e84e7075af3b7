//! Each rule about received lists, broken once.

use proptest::prelude::*;

use super::*;
use crate::wire::Write;

fn plain() -> FlistFormat {
    FlistFormat {
        varint_flags: true,
        ..FlistFormat::new(version(32))
    }
}

/// One entry with the fields that every entry has.
pub(super) fn entry(flags: i32, name: &[u8], mode: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_varint(flags | 0x40);
    bytes.put_varint(name.len() as i32);
    bytes.put(name);
    bytes.put_varlong(0, 3);
    bytes.put_varlong(1, 4);
    bytes.put_i32(mode);
    bytes
}

pub(super) fn file(name: &[u8]) -> Vec<u8> {
    entry(0, name, 0o100644)
}

pub(super) fn ended(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn of_one_entry(format: &FlistFormat, bytes: &[u8]) -> String {
    refusal(format, &ended(&[bytes]))
}

#[test]
fn names_that_leave_the_root_or_are_none() {
    for (name, message) in [
        (&b"../a"[..], "file name \"../a\" leaves the transfer root"),
        (b"a/..", "file name \"a/..\" leaves the transfer root"),
        (b"/etc", "file name \"/etc\" is absolute"),
        (b"a\0b", "file name \"a\\#000b\" contains a NUL byte"),
        (b"", "a file name is empty"),
    ] {
        assert_eq!(of_one_entry(&plain(), &file(name)), message);
    }
    let relative = FlistFormat {
        relative: true,
        ..plain()
    };
    let (list, _) = decode(&relative, &ended(&[&file(b"//etc/./passwd")])).unwrap();
    assert_eq!(paths(&list), ["etc/passwd"]);
    assert!(of_one_entry(&relative, &file(b"/../etc")).contains("leaves"));
}

#[test]
fn names_that_are_too_long() {
    decode(&plain(), &ended(&[&file(&[b'a'; 4095])])).unwrap();
    let message = "a file name is longer than 4095 bytes";
    assert_eq!(of_one_entry(&plain(), &file(&[b'a'; 4096])), message);
    // Together with what it shares with the previous one; refused before it has come.
    let mut bytes = file(&[b'a'; 300]);
    bytes.extend_from_slice(&[0xe0 & 0x7f, 255]);
    bytes.put_varint(3841);
    assert_eq!(refusal(&plain(), &bytes), message);
    let mut bytes = vec![0x40];
    bytes.put_varint(-1);
    assert_eq!(refusal(&plain(), &bytes), "a file name is -1 bytes long");
    let mut bytes = vec![0x40];
    bytes.put_varint(i32::MAX);
    assert_eq!(refusal(&plain(), &bytes), message);
}

#[test]
fn a_name_that_shares_more_than_there_is() {
    let bytes = [&file(b"ab")[..], &[0x20, 3, 1, b'x']].concat();
    assert_eq!(
        refusal(&plain(), &bytes),
        "a file name shares 3 bytes with the previous one, which has 2"
    );
}

#[test]
fn the_top_of_the_transfer_as_a_file() {
    for (name, mode) in [(&b"."[..], 0o100644), (b"./", 0o120777), (b"a/.", 0o100644)] {
        let message = of_one_entry(&plain(), &entry(0, name, mode));
        assert!(message.ends_with("is listed as something else than a directory"));
    }
    let relative = FlistFormat {
        relative: true,
        ..plain()
    };
    let message = of_one_entry(&relative, &file(b"/."));
    assert_eq!(
        message,
        "\"/.\" is listed as something else than a directory"
    );
}

#[test]
fn modes_of_no_known_type() {
    for mode in [0o644, 0o30644, 0o110644, 0o170000, 0o200000 | 0o100644, -1] {
        assert!(of_one_entry(&plain(), &entry(0, b"a", mode)).contains("no known type"));
    }
    assert_eq!(
        of_one_entry(&plain(), &entry(0, b"a", 0)),
        "a file list entry has mode 0 without --delete-missing-args"
    );
    let deleting = FlistFormat {
        delete_missing_args: true,
        ..plain()
    };
    let (list, _) = decode(&deleting, &ended(&[&entry(0, b"a", 0)])).unwrap();
    assert_eq!(list.entry(0).unwrap().kind(), FileKind::Missing);
    // As a stock client sends it: the same mode as before, which is 0 in the beginning.
    let (list, _) = decode(
        &deleting,
        &dump(
            "82 04 \"nope\" 00 00 00 00 00 00 00 00 00"
                .replace("82 04", "02 04")
                .as_str(),
        ),
    )
    .unwrap();
    assert_eq!(list.entry(0).unwrap().kind(), FileKind::Missing);
}

/// What was not asked for comes without its data, and is shown as what it is.
#[test]
fn kinds_that_were_not_asked_for() {
    let bytes = ended(&[&entry(0, b"l", 0o120777), &entry(0, b"n", 0o20644)]);
    let (list, _) = decode(&plain(), &bytes).unwrap();
    assert_eq!(list.entry(0).unwrap().kind(), FileKind::Symlink);
    assert_eq!(list.entry(0).unwrap().link_target(), None);
    assert_eq!(list.entry(1).unwrap().kind(), FileKind::CharDevice);
    assert_eq!(list.entry(1).unwrap().rdev(), (0, 0));
}

/// Field 4 alone: the rest of the entry is that of the one it links to.
fn copied_link(name: &[u8], number: i32) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x00, name.len() as u8];
    bytes.put(name);
    bytes.put_varint(number);
    bytes
}

#[test]
fn hard_links_to_nothing() {
    let format = FlistFormat {
        hard_links: true,
        ..plain()
    };
    let first = entry(0x1200, b"a", 0o100644);
    let (list, _) = decode(&format, &ended(&[&first, &copied_link(b"b", 0)])).unwrap();
    let groups: Vec<_> = list
        .iter()
        .map(|(_, entry)| entry.hard_link_group())
        .collect();
    assert_eq!(groups, [Some(0), Some(0)]);
    for number in [1, 2, -1, i32::MAX, i32::MIN] {
        assert_eq!(
            refusal(&format, &ended(&[&first, &copied_link(b"b", number)])),
            format!("a file list entry is a hard link to entry {number}, which has not come")
        );
    }
    for other in [file(b"a"), entry(0x1200, b"a", 0o40755)] {
        assert_eq!(
            refusal(&format, &ended(&[&other, &copied_link(b"b", 0)])),
            "\"b\" is a hard link to entry 0, which is not the first name of a file"
        );
    }
}

#[test]
fn hard_links_without_the_option() {
    let first = entry(0x1200, b"a", 0o100644);
    let (list, _) = decode(&plain(), &ended(&[&first, &copied_link(b"b", 0)])).unwrap();
    assert_eq!(paths(&list), ["a", "b"]);
    assert!(
        list.iter()
            .all(|(_, entry)| entry.hard_link_group().is_none())
    );
    assert!(refusal(&plain(), &ended(&[&first, &copied_link(b"b", 7)])).contains("has not come"));
    let old = FlistFormat::new(version(29));
    // Flags 0x0200 and no device or inode.
    let bytes = dump("04 02 01 \"a\" 00 00 00 00 01 00 00 00 a4 81 00 00 00");
    let (list, _) = decode(&old, &bytes).unwrap();
    assert_eq!(list.entry(0).unwrap().hard_link_group(), None);
}

#[test]
fn lengths_and_times_out_of_range() {
    let mut bytes = vec![0x04, 1, b'a'];
    bytes.put_varlong(-5, 3);
    assert_eq!(
        of_one_entry(&plain(), &[&bytes[..], &[0; 8]].concat()),
        "a file list entry has the length -5"
    );
    let mut bytes = vec![0x01, 1, b'a'];
    bytes.put_longint(-5);
    assert_eq!(
        refusal(&FlistFormat::new(version(29)), &bytes),
        "a file list entry has the length -5"
    );
    for nsec in [1_000_000_000, -1] {
        let mut bytes = Vec::new();
        bytes.put_varint(0x2000);
        bytes.put(&[1, b'a', 0, 0, 0, 0, 0, 0, 0]);
        bytes.put_varint(nsec);
        assert_eq!(
            refusal(&plain(), &bytes),
            format!("a file list entry has a time with {nsec} nanoseconds")
        );
    }
}

#[test]
fn targets_of_symlinks_out_of_range() {
    let format = FlistFormat {
        links: true,
        ..plain()
    };
    let link = |len: i32, target: &[u8]| {
        let mut bytes = entry(0, b"l", 0o120777);
        bytes.put_varint(len);
        bytes.put(target);
        bytes
    };
    decode(&format, &ended(&[&link(4095, &[b't'; 4095])])).unwrap();
    for len in [0, -1, 4096, i32::MAX] {
        assert_eq!(
            refusal(&format, &link(len, b"")),
            format!("the target of a symlink is {len} bytes long")
        );
    }
    assert_eq!(
        of_one_entry(&format, &link(3, b"a\0b")),
        "the target of a symlink contains a NUL byte: \"a\\#000b\""
    );
}

#[test]
fn error_markers_that_were_not_agreed_on() {
    for number in [28, 29, 30] {
        assert_eq!(
            refusal(&FlistFormat::new(version(number)), &[0x04, 0x10, 1]),
            "the file list ends with an error marker that was not agreed on"
        );
    }
}

#[test]
fn acls_out_of_range() {
    let format = FlistFormat {
        acls: true,
        numeric_ids: true,
        ..plain()
    };
    let with = |tail: &[u8]| [&file(b"a")[..], tail].concat();
    decode(&format, &ended(&[&with(&[0, 0x1f, 7, 7, 7, 7, 0])])).unwrap();
    assert_eq!(
        refusal(&format, &with(&[1])),
        "an entry refers to ACL 1 of 0"
    );
    let minus_one = [0xf0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        refusal(&format, &with(&minus_one)),
        "an entry refers to ACL -1 of 0"
    );
    assert_eq!(
        refusal(&format, &with(&[0, 0x20])),
        "an ACL has the flags 0x20"
    );
    assert_eq!(
        refusal(&format, &with(&[0, 1, 8])),
        "an ACL grants the permissions 0o10"
    );
    assert_eq!(
        refusal(&format, &with(&[0, 0x10, 1, 5, 8 << 2])),
        "an ACL grants the permissions 0o10"
    );
    for count in [65_537, -1] {
        let mut bytes = with(&[0, 0x10]);
        bytes.put_varint(count);
        assert_eq!(
            refusal(&format, &bytes),
            format!("an ACL has {count} named entries")
        );
    }
}

#[test]
fn xattrs_out_of_range() {
    let format = FlistFormat {
        xattrs: true,
        ..plain()
    };
    let with = |numbers: &[i32], tail: &[u8]| {
        let mut bytes = file(b"a");
        for number in numbers {
            bytes.put_varint(*number);
        }
        bytes.put(tail);
        bytes
    };
    for (numbers, tail, message) in [
        (&[1][..], &b""[..], "an entry refers to xattr set 1 of 0"),
        (&[-1], b"", "an entry refers to xattr set -1 of 0"),
        (&[0, 65_537], b"", "an entry has 65537 xattrs"),
        (&[0, -1], b"", "an entry has -1 xattrs"),
        (&[0, 1, 4097], b"", "the name of an xattr has 4097 bytes"),
        (&[0, 1, -1], b"", "the name of an xattr has -1 bytes"),
        (
            &[0, 1, 5, (128 << 20) + 1],
            b"",
            "an xattr has 134217729 bytes",
        ),
        (&[0, 1, 5, -1], b"", "an xattr has -1 bytes"),
        (
            &[0, 1, 0, 1],
            b"v",
            "the name of an xattr is malformed: \"\"",
        ),
        (
            &[0, 1, 1, 1],
            b"\0v",
            "the name of an xattr is malformed: \"\\#000\"",
        ),
        (
            &[0, 1, 2, 1],
            b"nov",
            "the name of an xattr is malformed: \"no\"",
        ),
        (
            &[0, 1, 4, 1],
            b"n\0o\0v",
            "the name of an xattr is malformed: \"n\\#000o\\#000\"",
        ),
    ] {
        assert_eq!(refusal(&format, &with(numbers, tail)), message);
    }
    // Five times 128 MiB, all abbreviated.
    let mut bytes = with(&[0, 5], b"");
    for _ in 0..5 {
        bytes.put_varint(2);
        bytes.put_varint(128 << 20);
        bytes.put(b"n\0");
        bytes.put(&[0; 16]);
    }
    assert_eq!(
        refusal(&format, &bytes),
        "the xattrs of an entry have 671088640 bytes"
    );
}

/// Cut into small pieces it takes no longer than its bytes do.
#[test]
fn the_largest_xattr_set_is_read_piece_by_piece() {
    let format = FlistFormat {
        xattrs: true,
        ..plain()
    };
    let mut bytes = file(b"a");
    bytes.put_varint(0);
    bytes.put_varint(65_536);
    for i in 0..65_536 {
        let name = format!("user.{i:08}\0");
        bytes.put_varint(name.len() as i32);
        bytes.put_varint(1);
        bytes.put(name.as_bytes());
        bytes.put_u8(b'v');
    }
    let bytes = ended(&[&bytes]);
    let (list, decoder) = decode_in_steps(&format, &bytes, 7).unwrap();
    assert_eq!(list.entry(0).unwrap().xattrs(), Some(0));
    assert_eq!(decoder.xattr_cache().set(0).unwrap().items.len(), 65_536);
}

fn incremental() -> FlistFormat {
    FlistFormat {
        inc_recurse: true,
        ..plain()
    }
}

#[test]
fn entries_of_another_directory_than_the_announced_one() {
    let mut decoder = FlistDecoder::new(incremental());
    let mut flists = Flists::new(&incremental());
    let first = ended(&[&entry(0, b"d", 0o40755), &entry(0, b"e", 0o40755)]);
    let (list, _) = Feed::new(&first, 1)
        .list(&mut decoder, ListHead::first(&incremental()))
        .unwrap();
    flists.push(list).unwrap();
    for (name, mode) in [
        (&b"x"[..], 0o100644),
        (b"e/x", 0o100644),
        (b"d/x/y", 0o100644),
        (b"dd/x", 0o100644),
        (b"d", 0o40755),
        (b"d/.", 0o40755),
        (b".", 0o40755),
    ] {
        let bytes = ended(&[&entry(0, name, mode)]);
        let error = Feed::new(&bytes, 1000)
            .list(&mut decoder, flists.announce(0).unwrap())
            .unwrap_err();
        assert_eq!(
            error.message,
            format!(
                "\"{}\" is listed as content of \"d\"",
                crate::error::escape(name)
            )
        );
    }
    let bytes = ended(&[&file(b"d/x"), &file(b"d/./y")]);
    Feed::new(&bytes, 1000)
        .list(&mut decoder, flists.announce(0).unwrap())
        .unwrap();
}

#[test]
fn entries_before_their_directory() {
    assert_eq!(
        of_one_entry(&incremental(), &file(b"d/x")),
        "\"d/x\" is listed before its directory"
    );
    let relative = FlistFormat {
        relative: true,
        ..incremental()
    };
    decode(&relative, &ended(&[&entry(0, b"/etc", 0o40755)])).unwrap();
    assert!(of_one_entry(&relative, &file(b"/etc/x")).contains("before its directory"));
}

#[test]
fn indexes_beyond_31_bits() {
    let mut decoder = FlistDecoder::new(incremental());
    let head = ListHead {
        start: i32::MAX as u32 - 1,
        owner: None,
    };
    let bytes = ended(&[&file(b"a"), &file(b"b")]);
    let error = Feed::new(&bytes, 1000)
        .list(&mut decoder, head)
        .unwrap_err();
    assert_eq!(error.message, "file indexes exceed their range");
}

#[test]
fn more_than_the_configured_bounds() {
    let bounded = |limits: Limits| FlistFormat {
        owner: true,
        acls: true,
        xattrs: true,
        limits,
        ..plain()
    };
    // With an owner, an ACL and an xattr set of its own.
    let entry = |i: u32| {
        let mut bytes = Vec::new();
        bytes.put_varint(0x400);
        bytes.put_u8(3);
        bytes.put(format!("{i:03}").as_bytes());
        bytes.put_varlong(0, 3);
        bytes.put_varlong(1, 4);
        bytes.put_i32(0o100644);
        bytes.put_varint(i as i32 + 1);
        bytes.put(&[1, b'n']);
        bytes.put(&[0, 0]);
        bytes.put(&[0, 1, 2, 1, b'x', 0, i as u8]);
        bytes
    };
    let many: Vec<Vec<u8>> = (0..200).map(entry).collect();
    let bytes: Vec<u8> = many.concat();
    for (limits, message) in [
        (
            Limits {
                entries: 100,
                ..Limits::default()
            },
            "a file list has more than 100 entries",
        ),
        (
            Limits {
                list_bytes: 5000,
                ..Limits::default()
            },
            "a file list takes more than 5000 bytes of memory",
        ),
        (
            Limits {
                cache_bytes: 5000,
                ..Limits::default()
            },
            "ACLs and xattrs take more than 5000 bytes of memory",
        ),
        (
            Limits {
                id_names: 100,
                ..Limits::default()
            },
            "more than 100 user names",
        ),
    ] {
        assert_eq!(refusal(&bounded(limits), &bytes), message);
    }
    let format = bounded(Limits::default());
    decode(&format, &[&bytes[..], &[0, 0, 0, 0]].concat()).unwrap();
}

/// Before protocol 30 nothing says which directories have content; it follows from the order.
#[test]
fn content_of_directories_before_protocol_30() {
    let content = |relative: bool, recurse: bool, names: &[(&str, bool)]| -> Vec<bool> {
        let format = FlistFormat {
            relative,
            recurse,
            ..FlistFormat::new(version(29))
        };
        let mut encoder = FlistEncoder::new(format.clone(), IdNames::new());
        let mut bytes = Vec::new();
        for (name, top_dir) in names {
            let fields = EntryFields {
                name: name.as_bytes(),
                mode: 0o40755,
                top_dir: *top_dir,
                ..EntryFields::default()
            };
            let entry = Outgoing {
                fields,
                ..Outgoing::default()
            };
            encoder.entry(&entry, &mut bytes);
        }
        bytes.put_u8(0);
        let (list, _) = decode(&format, &bytes).unwrap();
        list.arrivals().map(|entry| entry.has_content()).collect()
    };
    let tree = [
        ("x", false),
        ("x/y", true),
        ("x/y/z", false),
        ("x/yy", false),
        ("x/y/k", false),
    ];
    assert_eq!(
        content(true, true, &tree),
        [false, true, true, false, false]
    );
    assert_eq!(
        content(true, false, &tree),
        [false, true, false, false, false]
    );
    assert_eq!(content(false, true, &tree), [false, true, true, true, true]);
    let all = [(".", true), ("a", false), ("a/b", false)];
    assert_eq!(content(true, true, &all), [true, true, true]);
}

/// What comes of bytes that end anywhere: the steps that were made, and the error if one was met.
fn run(format: &FlistFormat, bytes: &[u8], step: usize) -> (Vec<String>, Option<String>) {
    let mut decoder = FlistDecoder::new(format.clone());
    decoder.begin(ListHead::first(format));
    let (mut at, mut shown) = (0, 0);
    let mut steps = Vec::new();
    loop {
        let mut reader = Reader::new(&bytes[at..shown]);
        match decoder.decode(&mut reader) {
            Ok(Step::End { io_error }) => {
                steps.push(format!("end {io_error}"));
                steps.extend(describe(&decoder.take_list()));
                return (steps, None);
            }
            Ok(step) => steps.push(format!("{step:?}")),
            Err(DecodeError::Incomplete) if shown == bytes.len() => return (steps, None),
            Err(DecodeError::Incomplete) => {
                assert_eq!(reader.consumed(), 0);
                shown = (shown + step).min(bytes.len());
            }
            Err(DecodeError::Malformed(error)) => return (steps, Some(error.message)),
        }
        at += reader.consumed();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused_alike_however_they_are_cut(
        number in 27u8..=32,
        on in any::<[bool; 13]>(),
        entries in proptest::collection::vec(
            (proptest::sample::select(vec![0, 0x1200, 0x200, 0x2000, 2, 0x20000]), "[a-c./]{1,4}",
             proptest::sample::select(vec![0o100644, 0o40755, 0o120777, 0o20644])), 0..4),
        noise in proptest::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..60),
        step in 1usize..9,
    ) {
        let format = FlistFormat {
            varint_flags: on[0],
            inc_recurse: on[1] && number >= 30,
            owner: on[2],
            group: on[3],
            links: on[4],
            devices: on[5],
            specials: on[6],
            hard_links: on[7],
            atimes: on[8],
            acls: on[9],
            xattrs: on[10],
            relative: on[11],
            delete_missing_args: on[12],
            checksum_len: on[0].then_some(2),
            ..FlistFormat::new(version(number))
        };
        let mut bytes = Vec::new();
        for (flags, name, mode) in entries {
            bytes.extend(entry(flags, name.as_bytes(), mode));
        }
        bytes.extend(noise);
        prop_assert_eq!(run(&format, &bytes, step), run(&format, &bytes, bytes.len().max(1)));
    }
}
