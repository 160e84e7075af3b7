//! Names that are converted as they arrive.

use super::hostile::{ended, entry, file};
use super::*;
use crate::charset::{Charset, Unfit};

fn in_charset(name: &str, inc_recurse: bool) -> FlistFormat {
    FlistFormat {
        varint_flags: true,
        inc_recurse,
        links: true,
        charset: Some(Charset::find(name.as_bytes()).unwrap()),
        converts_links: true,
        ..FlistFormat::new(version(32))
    }
}

fn link(name: &[u8], target: &[u8]) -> Vec<u8> {
    let mut bytes = entry(0, name, 0o120777);
    bytes.push(target.len() as u8);
    bytes.extend_from_slice(target);
    bytes
}

fn shown(list: &FileList) -> Vec<(u32, Vec<u8>)> {
    list.iter()
        .map(|(ndx, entry)| (ndx, entry.path(&mut Vec::new()).to_vec()))
        .collect()
}

#[test]
fn indexes_follow_the_order_of_arrival_and_the_walk_that_of_the_names_here() {
    let format = in_charset("latin1", false);
    let bytes = ended(&[
        &file("é".as_bytes()),
        &entry(0, b"d", 0o40755),
        &file("¡".as_bytes()),
        &file(b"z"),
        &file("d/ü".as_bytes()),
    ]);
    let (list, _) = decode(&format, &bytes).unwrap();
    let expected: [(u32, &[u8]); 5] = [
        (3, b"z"),
        (2, b"\xa1"),
        (0, b"\xe9"),
        (1, b"d"),
        (4, b"d/\xfc"),
    ];
    assert_eq!(
        shown(&list),
        expected.map(|(ndx, name)| (ndx, name.to_vec()))
    );
    for (ndx, name) in expected {
        assert_eq!(list.entry(ndx).unwrap().path(&mut Vec::new()), name);
        assert_eq!(list.position(ndx), Some(ndx));
    }
    assert!(list.entry(5).is_none() && list.position(5).is_none());
}

#[test]
fn what_cannot_be_converted_keeps_its_index_and_is_not_shown() {
    let format = in_charset("latin1", false);
    let bytes = ended(&[
        &file("€".as_bytes()),
        &file(b"a"),
        &link(b"l", "日".as_bytes()),
        &link(b"m", "é".as_bytes()),
        &file(b"cut\xc3"),
        &entry(0, "€".as_bytes(), 0o40755),
        &entry(0, b".", 0o40755),
    ]);
    let mut decoder = FlistDecoder::new(format.clone());
    decoder.begin(ListHead::first(&format));
    let mut reader = Reader::new(&bytes);
    let mut told = Vec::new();
    while !matches!(decoder.decode(&mut reader).unwrap(), Step::End { .. }) {
        told.extend(decoder.take_unconverted());
    }
    let list = decoder.take_list();
    let expected = [(6, b"."), (1, b"a"), (3, b"m")];
    assert_eq!(
        shown(&list),
        expected.map(|(ndx, name)| (ndx, name.to_vec()))
    );
    assert_eq!(list.len(), 7);
    assert_eq!(list.entry(3).unwrap().link_target(), Some(&b"\xe9"[..]));
    let name = |wire: &[u8], why| Unconverted::Name {
        wire: wire.to_vec(),
        why,
    };
    assert_eq!(
        told,
        [
            name("€".as_bytes(), Unfit::Character),
            Unconverted::Target {
                path: b"l".to_vec(),
                why: Unfit::Character
            },
            name(b"cut\xc3", Unfit::CutOff),
            name("€".as_bytes(), Unfit::Character),
        ]
    );
}

#[test]
fn a_directory_without_a_name_here_has_its_list_all_the_same() {
    let format = in_charset("latin1", true);
    let mut decoder = FlistDecoder::new(format.clone());
    let mut flists = Flists::new(&format);
    let first = ended(&[
        &entry(0, b"z", 0o40755),
        &entry(0, "€".as_bytes(), 0o40755),
        &entry(0, b"a", 0o40755),
    ]);
    let (list, _) = Feed::new(&first, 1)
        .list(&mut decoder, ListHead::first(&format))
        .unwrap();
    flists.push(list).unwrap();
    // Numbers follow arrival: 0 is `z`, 1 has no name, 2 is `a`.
    assert_eq!(flists.directory(2).unwrap().base(), b"a");
    for hidden in [b"x".as_slice(), b"a/x", b".", b"z/../x"] {
        Feed::new(&ended(&[&file(hidden)]), 1)
            .list(&mut decoder, flists.announce(1).unwrap())
            .unwrap_err();
    }
    let bytes = ended(&[
        &file("€/x".as_bytes()),
        &entry(0, "€/d".as_bytes(), 0o40755),
    ]);
    let (list, _) = Feed::new(&bytes, 1)
        .list(&mut decoder, flists.announce(1).unwrap())
        .unwrap();
    assert_eq!((list.len(), list.iter().count()), (2, 0));
    assert!(flists.owner(&list).is_none());
    flists.push(list).unwrap();
    for number in [3, 0, 2] {
        let (list, _) = Feed::new(&ended(&[]), 1)
            .list(&mut decoder, flists.announce(number).unwrap())
            .unwrap();
        flists.push(list).unwrap();
    }
    flists.finish().unwrap();
    while flists.release_oldest().is_some() {}
    assert_eq!(flists.awaited().count(), 0);
}

#[test]
fn a_conversion_makes_no_name_that_leaves_the_root() {
    for name in [
        "latin1", "ascii", "utf8", "sjis", "gbk", "big5", "gb18030", "cp437",
    ] {
        let format = in_charset(name, false);
        for wire in [
            &b"../a"[..],
            b"a/..",
            b"/etc",
            b"a\0b",
            "/é".as_bytes(),
            "é/..".as_bytes(),
        ] {
            let refused = decode(&format, &ended(&[&file(wire)])).err();
            // Where the name has no form at all, it is not shown.
            let hidden = decode(&format, &ended(&[&file(wire)]))
                .is_ok_and(|(list, _)| list.iter().count() == 0);
            assert!(refused.is_some() || hidden, "{name}: {wire:?}");
        }
        // Overlong forms and wide characters that look like them.
        for wire in [
            &b"\xc0\xae\xc0\xae/a"[..],
            b"a\xc0\xaf..",
            "\u{ff0e}\u{ff0e}/a".as_bytes(),
            "a\u{ff0f}b".as_bytes(),
            "\u{2024}\u{2024}\u{2215}a".as_bytes(),
            "a\u{2044}..".as_bytes(),
        ] {
            let (list, _) = decode(&format, &ended(&[&file(wire)])).unwrap();
            for (_, path) in shown(&list) {
                let slashes = wire.iter().filter(|byte| **byte == b'/').count();
                assert_eq!(path.iter().filter(|byte| **byte == b'/').count(), slashes);
                assert!(path.split(|byte| *byte == b'/').all(|part| part != b".."));
            }
        }
    }
}

#[test]
fn a_name_that_grows_beyond_a_path_is_left_out() {
    // Two bytes in UTF-8, four in GB18030.
    let format = in_charset("gb18030", false);
    let wire = "\u{f8}".repeat(1500);
    let bytes = ended(&[&file(wire.as_bytes())]);
    let mut decoder = FlistDecoder::new(format.clone());
    decoder.begin(ListHead::first(&format));
    let step = decoder.decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(step, Step::Entry);
    assert!(matches!(
        decoder.take_unconverted()[..],
        [Unconverted::Name {
            why: Unfit::TooLong,
            ..
        }]
    ));
}
