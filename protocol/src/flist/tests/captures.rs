//! Streams that stock clients sent, as the specification of the wire annotates them.

use super::*;

/// A client of release 2.6.3: `-lHogDtpr --numeric-ids`.
#[test]
fn protocol_28_with_hard_links() {
    let bytes = dump(
        r#"
        01 01 "." 00 10 00 00 a5 5d 0d 5e ed 41 00 00 00 00 00 00 00 00 00 00
        98 06 "ab.txt" 07 00 00 00 a4 81 00 00
        9e 02 04 "z_hl" 06 00 00 00 01 fe 00 00 41 49 99 00
        98 02 "ln" 05 00 00 00 ff a1 00 00 05 00 00 00 "a.txt"
        9c 06 05 "a.txt" 06 00 00 00 a4 81 00 00 41 49 99 00
        98 01 "d" 00 10 00 00 ed 41 00 00
        b8 01 02 "/f" 01 00 00 00 a4 81 00 00
        00
        "#,
    );
    let format = FlistFormat {
        owner: true,
        group: true,
        links: true,
        hard_links: true,
        devices: true,
        specials: true,
        recurse: true,
        numeric_ids: true,
        ..FlistFormat::new(version(28))
    };
    let (list, _) = decode(&format, &bytes).unwrap();
    assert_eq!(
        describe(&list),
        [
            "0 . 40755 4096 1577934245 top content",
            "1 a.txt 100644 6 1577934245 group 2",
            "2 ab.txt 100644 7 1577934245",
            "3 d 40755 4096 1577934245 content",
            "4 d/f 100644 1 1577934245",
            "5 ln 120777 5 1577934245 -> a.txt",
            "6 z_hl 100644 6 1577934245 group 2",
        ]
    );
}

fn small_tree() -> FlistFormat {
    FlistFormat {
        owner: true,
        group: true,
        recurse: true,
        safe_flist: true,
        ..FlistFormat::new(version(31))
    }
}

/// A client of release 3.1.3: `-ogr`.
#[test]
fn protocol_31_with_flags_in_one_or_two_bytes_and_id_lists() {
    let bytes = dump(
        r#"
        01 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 00
        80 01 "b" 00 01 00 a4 81 00 00 b0 39 c0 31 d4
        82 05 "a.txt" 00 06 00 01 02
        00
        01 06 "daemon" 00 02 03 "bin" 00
        "#,
    );
    let (list, decoder) = decode(&small_tree(), &bytes).unwrap();
    assert_eq!(
        describe(&list),
        [
            "0 . 40755 4096 1577934245 top content",
            "1 a.txt 100644 6 1577934245 1:2",
            "2 b 100644 1 1577934245 12345:54321",
        ]
    );
    let names = decoder.id_names();
    assert_eq!(names.user(1), Some(&b"daemon"[..]));
    assert_eq!(names.group(2), Some(&b"bin"[..]));
    assert_eq!(names.user(0), None);
}

#[test]
fn names_of_owners_come_inline_with_incremental_recursion() {
    let bytes = dump(
        r#"
        01 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 00
        80 01 "b" 00 01 00 a4 81 00 00 b0 39 c0 31 d4
        86 0c 05 "a.txt" 00 06 00 01 06 "daemon" 02 03 "bin"
        00
        "#,
    );
    let format = FlistFormat {
        inc_recurse: true,
        ..small_tree()
    };
    let (list, decoder) = decode(&format, &bytes).unwrap();
    assert_eq!(describe(&list)[1], "2 a.txt 100644 6 1577934245 1:2");
    assert_eq!(decoder.id_names().user(1), Some(&b"daemon"[..]));
    assert_eq!(decoder.id_names().group(2), Some(&b"bin"[..]));
}

/// A client of release 3.5.0 with every compatibility bit.
#[test]
fn protocol_32_with_incremental_recursion() {
    let first = dump(
        r#"
        01 01 2e 00 00 10 5e a5 5d 0d ed 41 00 00 00 00
        80 98 06 "ab.txt" 00 07 00 a4 81 00 00
        92 9a 04 "z_hl" 00 06 00
        80 98 02 "ln" 00 05 00 ff a1 00 00 05 "a.txt"
        82 98 05 "a.txt" 03
        80 98 01 "d" 00 00 10 ed 41 00 00
        00 00
        "#,
    );
    let second = dump(
        r#"
        a0 b8 01 02 "/f" 00 01 00 e7 15 cd 5b a4 81 00 00
        00 00
        "#,
    );
    let format = FlistFormat {
        owner: true,
        group: true,
        links: true,
        hard_links: true,
        devices: true,
        specials: true,
        recurse: true,
        numeric_ids: true,
        varint_flags: true,
        safe_flist: true,
        id0_names: true,
        inc_recurse: true,
        ..FlistFormat::new(version(32))
    };
    for step in [1, 1000] {
        let mut decoder = FlistDecoder::new(format.clone());
        let mut flists = Flists::new(&format);
        let mut feed = Feed::new(&first, step);
        let (list, _) = feed.list(&mut decoder, ListHead::first(&format)).unwrap();
        assert_eq!(
            describe(&list),
            [
                "1 . 40755 4096 1577934245 top content",
                "2 a.txt 100644 6 1577934245 group 3",
                "3 ab.txt 100644 7 1577934245",
                "4 ln 120777 5 1577934245 -> a.txt",
                "5 z_hl 100644 6 1577934245 group 3",
                "6 d 40755 4096 1577934245 content",
            ]
        );
        flists.push(std::sync::Arc::new(list)).unwrap();
        let mut feed = Feed::new(&second, step);
        let head = flists.announce(1).unwrap();
        assert_eq!(
            (head.start, head.owner.as_ref().unwrap().path.as_ref()),
            (8, &b"d"[..])
        );
        let (list, _) = feed.list(&mut decoder, head).unwrap();
        assert_eq!(describe(&list), ["8 d/f 100644 1 1577934245.123456789"]);
        flists.push(std::sync::Arc::new(list)).unwrap();
        flists.finish().unwrap();
        assert_eq!(flists.entry(7).unwrap().base(), b"d");
        assert_eq!(flists.entry(0).unwrap().base(), b".");
        assert!(flists.is_complete());
    }
}

/// The file list of a tiny push of release 3.5.0 that the specification shows whole.
#[test]
fn a_tiny_push() {
    let bytes = dump(
        r#"
        01 01 "." 00 00 10 59 02 2f 68 ed 41 00 00 00 00
        18 01 "a" 00 06 00 59 00 2f 68 80 81 00 00
        a0 18 01 "d" 00 00 10 59 01 2f 68 e7 15 cd 5b ed 41 00 00
        20 01 02 "/b" 00 07 00 59 00 2f 68 a4 81 00 00 01 02
        00 00
        01 06 "daemon" 00 04 "root"
        02 03 "bin" 00 04 "root"
        "#,
    );
    let format = FlistFormat {
        owner: true,
        group: true,
        links: true,
        devices: true,
        specials: true,
        recurse: true,
        varint_flags: true,
        safe_flist: true,
        id0_names: true,
        ..FlistFormat::new(version(32))
    };
    let (list, decoder) = decode(&format, &bytes).unwrap();
    assert_eq!(
        describe(&list),
        [
            "0 . 40755 4096 1500000002 top content",
            "1 a 100600 6 1500000000",
            "2 d 40755 4096 1500000001.123456789 content",
            "3 d/b 100644 7 1500000000 1:2",
        ]
    );
    assert_eq!(decoder.id_names().user(0), Some(&b"root"[..]));
    assert_eq!(decoder.id_names().group(0), Some(&b"root"[..]));
    assert_eq!(decoder.id_names().user(1), Some(&b"daemon"[..]));
    assert_eq!(decoder.id_names().group(2), Some(&b"bin"[..]));
}

/// Field 13 in its forms, at the end of an entry.
#[test]
fn device_numbers() {
    let format = |number: u8| FlistFormat {
        devices: true,
        specials: true,
        ..FlistFormat::new(version(number))
    };
    let old = "01 01 \"x\" 00 00 00 00 a5 5d 0d 5e";
    let new = "01 01 \"x\" 00 00 00 5e a5 5d 0d";
    for (number, bytes, rdevs) in [
        (
            28,
            format!("{old} b0 61 00 00 2c 01 00 00 70 11 01 00 00"),
            vec![(300, 70000)],
        ),
        (
            30,
            format!("{new} b0 61 00 00 81 2c c1 70 11 00"),
            vec![(300, 70000)],
        ),
        (
            31,
            format!("{new} a4 21 00 00 05 01  86 01 01 \"y\" 00 00 00 02 00"),
            vec![(5, 1), (5, 2)],
        ),
        // Fifos have no number of their own; at 30 a byte is there all the same.
        (
            30,
            "05 01 01 \"x\" 00 00 00 5e a5 5d 0d 80 11 00 00 00 00".to_owned(),
            vec![(0, 0)],
        ),
        (31, format!("{new} 80 11 00 00 00"), vec![(0, 0)]),
        // 27 sends what the sender's system has.
        (
            27,
            format!("{old} b0 61 00 00 70 2c 11 11 00"),
            vec![(300, 70000)],
        ),
    ] {
        let (list, _) = decode(&format(number), &dump(&bytes)).unwrap();
        let found: Vec<_> = list.arrivals().map(|entry| entry.rdev()).collect();
        assert_eq!(found, rdevs, "protocol {number}: {bytes}");
    }
}

/// An entry as protocol 32 with varint flags has it: mode 0644, length 0, time 1.
const PLAIN: &str = "18 01 \"a\" 00 00 00 00 01 00 00 a4 81 00 00";

#[test]
fn ends_of_a_list_with_an_error() {
    let io_error = |format: &FlistFormat, bytes: &str| {
        let bytes = dump(bytes);
        let mut decoder = FlistDecoder::new(format.clone());
        let mut feed = Feed::new(&bytes, 1);
        let (list, io_error) = feed.list(&mut decoder, ListHead::first(format)).unwrap();
        assert_eq!((list.len(), feed.at), (0, bytes.len()));
        io_error
    };
    let varint = FlistFormat {
        varint_flags: true,
        ..FlistFormat::new(version(32))
    };
    assert_eq!(io_error(&varint, "00 01"), 1);
    assert_eq!(io_error(&varint, "00 00"), 0);
    // Only three bits are known.
    assert_eq!(io_error(&varint, "00 f0 ff ff ff ff"), 7);
    assert_eq!(io_error(&FlistFormat::new(version(31)), "04 10 02"), 2);
    assert_eq!(io_error(&FlistFormat::new(version(31)), "00"), 0);
    let safe_30 = FlistFormat {
        safe_flist: true,
        ..FlistFormat::new(version(30))
    };
    assert_eq!(io_error(&safe_30, "04 10 04"), 4);
    assert_eq!(io_error(&FlistFormat::new(version(29)), "00"), 0);
}

#[test]
fn id_lists_of_three_generations() {
    for (number, id0_names, zero, bytes) in [
        (
            29,
            false,
            None,
            r#"01 00 00 00 06 "daemon" 00 00 00 00 02 00 00 00 03 "bin" 00 00 00 00"#,
        ),
        (31, false, None, r#"01 06 "daemon" 00 02 03 "bin" 00"#),
        (
            32,
            true,
            Some(&b"root"[..]),
            r#"01 06 "daemon" 00 04 "root" 02 03 "bin" 00 04 "root""#,
        ),
        (32, true, None, r#"01 06 "daemon" 00 00 02 03 "bin" 00 00"#),
    ] {
        let format = FlistFormat {
            owner: true,
            group: true,
            id0_names,
            ..FlistFormat::new(version(number))
        };
        let bytes = [&[0][..], &dump(bytes)].concat();
        let (_, decoder) = decode(&format, &bytes).unwrap();
        let names = decoder.id_names();
        assert_eq!(names.user(1), Some(&b"daemon"[..]));
        assert_eq!(names.group(2), Some(&b"bin"[..]));
        assert_eq!((names.user(0), names.group(0)), (zero, zero));
        assert_eq!(
            names.iter(IdKind::User).count(),
            1 + usize::from(zero.is_some())
        );
    }
}

#[test]
fn id_lists_are_there_for_acls_and_not_for_numeric_ids() {
    let format = FlistFormat {
        acls: true,
        ..FlistFormat::new(version(31))
    };
    decode(&format, &dump("00 00 00")).unwrap();
    let none = FlistFormat {
        numeric_ids: true,
        ..format.clone()
    };
    decode(&none, &dump("00")).unwrap();
    let group = FlistFormat {
        acls: false,
        group: true,
        ..format
    };
    let (_, decoder) = decode(&group, &dump(r#"00 05 01 "g" 00"#)).unwrap();
    assert_eq!(decoder.id_names().group(5), Some(&b"g"[..]));
    assert_eq!(decoder.id_names().user(5), None);
}

/// A later name of a file whose first one is in an earlier list comes with all its fields.
#[test]
fn a_hard_link_across_lists() {
    let format = FlistFormat {
        inc_recurse: true,
        varint_flags: true,
        hard_links: true,
        ..FlistFormat::new(version(32))
    };
    let first = dump(
        r#"
        01 01 "." 00 00 10 5e a5 5d 0d ed 41 00 00
        92 80 01 "a" 00 06 00 a4 81 00 00
        80 80 01 "d" 00 00 10 ed 41 00 00
        00 00
        "#,
    );
    let second = dump(r#"82 38 01 04 "/hl2" 02 00 06 00 5e a5 5d 0d a4 81 00 00 00 00"#);
    let mut decoder = FlistDecoder::new(format.clone());
    let mut flists = Flists::new(&format);
    let (list, _) = Feed::new(&first, 1)
        .list(&mut decoder, ListHead::first(&format))
        .unwrap();
    assert_eq!(list.entry(2).unwrap().hard_link_group(), Some(2));
    flists.push(list).unwrap();
    let (list, _) = Feed::new(&second, 1)
        .list(&mut decoder, flists.announce(1).unwrap())
        .unwrap();
    assert_eq!(describe(&list), ["5 d/hl2 100644 6 1577934245 group 2"]);
}

#[test]
fn an_acl_and_an_xattr_set() {
    let format = FlistFormat {
        acls: true,
        varint_flags: true,
        numeric_ids: true,
        ..FlistFormat::new(version(32))
    };
    let bytes = dump(&format!(
        "{PLAIN} 00 12 04 02 01 1a c0 31 d4 10
         80 98 01 \"d\" 00 00 00 ed 41 00 00  01 00 1f 07 05 07 05 01 01 1e
         00 00"
    ));
    let (list, decoder) = decode(&format, &bytes).unwrap();
    let (file, dir) = (list.entry(0).unwrap(), list.entry(1).unwrap());
    assert_eq!((file.acl(), file.default_acl()), (Some(0), None));
    assert_eq!((dir.acl(), dir.default_acl()), (Some(0), Some(0)));
    let acl = decoder.acl_cache().access_acl(0).unwrap();
    let complete = acl.complete(AclKind::Access, 0o100664).unwrap();
    let named = |kind, id, permissions| NamedEntry {
        kind,
        id,
        permissions,
    };
    let expected = CompleteAcl {
        user_obj: 6,
        group_obj: 4,
        mask_obj: Some(6),
        other_obj: 4,
        named: vec![named(IdKind::User, 1, 6), named(IdKind::Group, 54321, 4)],
    };
    assert_eq!(complete, expected);
    assert_eq!(&expected.strip_access(0o100664), acl);
    let default = decoder.acl_cache().default_acl(0).unwrap();
    assert_eq!(default.named, [named(IdKind::User, 1, 7)]);
    assert_eq!(
        &default.complete(AclKind::Default, 0o40755).unwrap().whole(),
        default
    );

    let incremental = FlistFormat {
        inc_recurse: true,
        numeric_ids: false,
        ..format.clone()
    };
    let bytes = dump(&format!(
        "{PLAIN} 00 12 04 02 01 1b 06 \"daemon\" c0 31 d4 10 00 00"
    ));
    let (_, decoder) = decode(&incremental, &bytes).unwrap();
    assert_eq!(decoder.acl_cache().access_acl(0), Some(acl));
    assert_eq!(decoder.id_names().user(1), Some(&b"daemon"[..]));

    let format = FlistFormat {
        acls: false,
        xattrs: true,
        ..format
    };
    let digest = "8a 40 90 36 6a 60 70 7e 11 cc 0f 2d a8 0c 73 88";
    let bytes = dump(&format!(
        "{PLAIN} 00 02 09 28 \"user.big\\0\" {digest} 07 03 \"user.s\\0\" \"abc\"
         80 9a 01 \"b\" 00 00 00 01
         00 00"
    ));
    let (list, decoder) = decode(&format, &bytes).unwrap();
    assert_eq!(list.entry(0).unwrap().xattrs(), Some(0));
    assert_eq!(list.entry(1).unwrap().xattrs(), Some(0));
    let set = decoder.xattr_cache().set(0).unwrap();
    assert_eq!(set.items[0].value.len(), 40);
    assert_eq!(set.items[1].value, XattrValue::Full(b"abc"[..].into()));
}
