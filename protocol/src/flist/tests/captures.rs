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
