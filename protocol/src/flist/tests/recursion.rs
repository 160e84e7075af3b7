//! Many lists: directory numbers, markers, what stays when a list is released.

use super::*;

fn format() -> FlistFormat {
    FlistFormat {
        inc_recurse: true,
        recurse: true,
        ..FlistFormat::new(version(32))
    }
}

/// A list with these names; those that end in a slash are directories.
fn list_of(head: ListHead, names: &[&str]) -> FileList {
    let mut builder = ListBuilder::new(&format(), head);
    for name in names {
        let is_dir = name.ends_with('/');
        builder
            .push(&EntryFields {
                name: name.strip_suffix('/').unwrap_or(name).as_bytes(),
                mode: if is_dir { 0o40755 } else { 0o100644 },
                mtime: name.len() as i64,
                ..EntryFields::default()
            })
            .unwrap();
    }
    builder.finish()
}

fn add(flists: &mut Flists, dir: u32, names: &[&str]) {
    let list = list_of(flists.announce(dir).unwrap(), names);
    flists.push(list).unwrap();
}

fn first(names: &[&str]) -> Flists {
    let mut flists = Flists::new(&format());
    flists
        .push(list_of(ListHead::first(&format()), names))
        .unwrap();
    flists
}

fn path(entry: Option<EntryRef<'_>>) -> Option<String> {
    entry.map(|entry| String::from_utf8(entry.path(&mut Vec::new()).to_vec()).unwrap())
}

/// The push of a directory `src` that the specification describes.
fn example() -> Flists {
    let mut flists = first(&["src/"]);
    add(
        &mut flists,
        0,
        &[
            "src/ab.txt",
            "src/z_hl",
            "src/ln",
            "src/e/",
            "src/a.txt",
            "src/d/",
        ],
    );
    add(&mut flists, 1, &["src/d/f"]);
    add(&mut flists, 2, &["src/e/g/"]);
    add(&mut flists, 3, &["src/e/g/h"]);
    flists.finish().unwrap();
    flists
}

#[test]
fn lists_are_numbered_with_a_gap_for_their_directory() {
    let flists = example();
    let starts: Vec<_> = flists
        .iter()
        .map(|list| (list.start(), list.len()))
        .collect();
    assert_eq!(starts, [(1, 1), (3, 6), (10, 1), (12, 1), (14, 1)]);
    assert_eq!(flists.next_start(), 16);
    let names: Vec<_> = (0..17).map(|ndx| path(flists.entry(ndx))).collect();
    let expected = [
        None,
        Some("src"),
        Some("src"),
        Some("src/a.txt"),
        Some("src/ab.txt"),
        Some("src/ln"),
        Some("src/z_hl"),
        Some("src/d"),
        Some("src/e"),
        Some("src/d"),
        Some("src/d/f"),
        Some("src/e"),
        Some("src/e/g"),
        Some("src/e/g"),
        Some("src/e/g/h"),
        None,
        None,
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|name| name.map(str::to_owned))
        .collect();
    assert_eq!(names, expected);
    assert_eq!(flists.list_of(9).map(FileList::start), Some(10));
    assert_eq!(flists.list_of(8).map(FileList::start), Some(3));
    assert!(flists.is_complete());
    assert_eq!((flists.count(), flists.awaited().count()), (5, 0));
}

#[test]
fn directories_outlive_their_list_until_their_own_is_released() {
    let mut flists = first(&["./", "a/", "b/", "f"]);
    assert_eq!(flists.release_oldest(), Some(1));
    assert!(flists.entry(1).is_none() && flists.list_of(4).is_none());
    assert_eq!(path(flists.directory(1)).as_deref(), Some("a"));
    // Nothing is open any more, so nothing can be announced.
    assert!(flists.announce(1).is_err());

    let mut flists = first(&["./", "a/", "b/", "f"]);
    add(&mut flists, 1, &["a/x", "a/c/"]);
    assert_eq!(flists.release_oldest(), Some(1));
    assert_eq!(path(flists.entry(5)).as_deref(), Some("a"));
    assert_eq!(flists.entry(5).unwrap().mtime(), (2, 0));
    add(&mut flists, 3, &["a/c/y"]);
    assert_eq!(flists.release_oldest(), Some(6));
    assert!(
        flists.directory(1).is_some(),
        "it is kept together with its sibling"
    );
    assert_eq!(path(flists.entry(8)).as_deref(), Some("a/c"));
    add(&mut flists, 2, &[]);
    assert_eq!(flists.release_oldest(), Some(9));
    assert!(flists.directory(3).is_none());
    assert_eq!(path(flists.entry(10)).as_deref(), Some("b"));
    flists.finish().unwrap();
    assert_eq!(flists.release_oldest(), Some(11));
    assert!(flists.directory(2).is_none());
    assert_eq!(flists.release_oldest(), None);
    assert_eq!(flists.count(), 4);
}

#[test]
fn released_lists_give_their_memory_back() {
    let mut flists = first(&["d/"]);
    let mut path = "d".to_owned();
    let mut most = 0;
    for number in 0..1000 {
        path = if number % 100 == 99 {
            "d".to_owned()
        } else {
            format!("{path}/d")
        };
        let parent = path
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent)
            .to_owned();
        let files: Vec<String> = (0..100).map(|i| format!("{parent}/file{i}")).collect();
        let mut names: Vec<&str> = files.iter().map(String::as_str).collect();
        let dir = format!("{path}/");
        if number % 100 != 99 {
            names.push(&dir);
        } else {
            break;
        }
        add(&mut flists, number, &names);
        flists.release_oldest();
        most = most.max(flists.bytes());
    }
    assert!(most < 40_000, "{most} bytes");
}

fn refused(result: Result<ListHead, crate::ProtocolError>) -> String {
    result.unwrap_err().message
}

#[test]
fn markers_out_of_turn_are_refused() {
    let mut flists = first(&["./", "a/", "a/", "b/", "b"]);
    let numbers: Vec<_> = flists.awaited().map(|(number, _)| number).collect();
    // 0 is `.`, 2 the second `a`.
    assert_eq!(numbers, [1, 3]);
    let of =
        |number: u32, why: &str| format!("a file list was announced for directory {number}, {why}");
    assert_eq!(refused(flists.announce(4)), of(4, "which is not known"));
    assert_eq!(
        refused(flists.announce(u32::MAX)),
        of(u32::MAX, "which is not known")
    );
    assert_eq!(
        refused(flists.announce(0)),
        of(0, "which has no list of its own")
    );
    assert_eq!(
        refused(flists.announce(2)),
        of(2, "which has no list of its own")
    );
    add(&mut flists, 1, &["a/x"]);
    assert_eq!(refused(flists.announce(1)), of(1, "which has had its list"));
    flists.release_oldest();
    flists.release_oldest();
    assert_eq!(refused(flists.announce(1)), of(1, "but no list is open"));
    let mut flists = first(&["a/"]);
    flists.finish().unwrap();
    assert_eq!(
        refused(flists.announce(0)),
        of(0, "but no more lists were to come")
    );
    assert!(flists.finish().is_err());

    let flat = FlistFormat::new(version(32));
    let mut flists = Flists::new(&flat);
    assert_eq!(
        refused(flists.announce(0)),
        of(0, "but incremental recursion was not agreed on")
    );
    assert!(flists.finish().is_err());
    flists
        .push(ListBuilder::new(&flat, ListHead::first(&flat)).finish())
        .unwrap();
    assert!(flists.is_complete());
    assert!(
        flists
            .push(ListBuilder::new(&flat, ListHead::first(&flat)).finish())
            .is_err()
    );
}

#[test]
fn indexes_and_held_entries_have_an_end() {
    let mut flists = first(&["a/", "b/"]);
    let head = flists.announce(0).unwrap();
    let wrong = ListHead {
        start: head.start + 1,
        ..head
    };
    assert!(flists.push(list_of(wrong, &[])).is_err());

    let few = FlistFormat {
        limits: Limits {
            entries: 3,
            ..Limits::default()
        },
        ..format()
    };
    let mut flists = Flists::new(&few);
    flists
        .push(list_of(ListHead::first(&few), &["a/", "b"]))
        .unwrap();
    let list = list_of(flists.announce(0).unwrap(), &["a/1", "a/2"]);
    assert_eq!(
        flists.push(list).unwrap_err().message,
        "file lists have more than 3 entries at a time"
    );

    let first_list = list_of(ListHead::first(&few), &["a/", "b"]);
    let small = FlistFormat {
        limits: Limits {
            list_bytes: first_list.bytes() + 10,
            ..Limits::default()
        },
        ..format()
    };
    let mut flists = Flists::new(&small);
    flists.push(first_list).unwrap();
    let list = list_of(flists.announce(0).unwrap(), &["a/1", "a/2"]);
    let told = flists.push(list).unwrap_err().message;
    assert!(told.starts_with("file lists take more than "), "{told}");
}
