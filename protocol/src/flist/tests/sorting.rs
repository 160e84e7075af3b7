//! The order of entries, duplicates, pruning.

use proptest::prelude::*;

use super::*;

const DIR: u32 = 0o40755;
const FILE: u32 = 0o100644;

fn format(number: u8) -> FlistFormat {
    FlistFormat {
        relative: true,
        ..FlistFormat::new(version(number))
    }
}

/// A list of names; those that end in a slash are directories.
fn list_of(format: &FlistFormat, names: &[&str]) -> FileList {
    let mut builder = ListBuilder::new(format, ListHead::first(format));
    for name in names {
        let mode = if name.ends_with('/') { DIR } else { FILE };
        let trimmed = name.strip_suffix('/').filter(|name| !name.is_empty());
        builder
            .push(&EntryFields {
                name: trimmed.unwrap_or(name).as_bytes(),
                mode,
                content: true,
                ..EntryFields::default()
            })
            .unwrap();
    }
    builder.finish()
}

const TREE: &str =
    "./ .h A a-b ab foo.c z é a.d/ a/ a/Z a/x a/zz a/sub/ a/sub/q b/ b/1 foo-bar/ foo/ foo/y";
const BYTES: &str =
    "./ .h A a/ a-b a.d/ a/Z a/sub/ a/sub/q a/x a/zz ab b/ b/1 foo/ foo-bar/ foo.c foo/y z é";

#[test]
fn the_order_observed_of_stock_clients() {
    let mut names: Vec<&str> = TREE.split(' ').collect();
    for _ in 0..names.len() {
        names.rotate_left(7);
        names.swap(0, 3);
        assert_eq!(paths(&list_of(&format(31), &names)).join(" "), TREE);
        assert_eq!(paths(&list_of(&format(29), &names)).join(" "), TREE);
        assert_eq!(paths(&list_of(&format(28), &names)).join(" "), BYTES);
    }
}

/// Seen in a push of `/tmp/… ./foo/…` with `-R`: directory 1 is `/tmp`, directory 2 `foo`.
#[test]
fn absolute_names_sort_by_their_slash_and_lose_it() {
    let list = list_of(
        &format(32),
        &["foo/", "/tmp/", "./", "zero", "/tmp/x", "/a"],
    );
    assert_eq!(paths(&list), ["./", "zero", "a", "tmp/", "tmp/x", "foo/"]);
    let list = list_of(&format(28), &["foo/", "/tmp/", "./", "+", "/tmp/x", "/a"]);
    assert_eq!(paths(&list), ["+", "./", "a", "tmp/", "tmp/x", "foo/"]);
}

#[test]
fn a_directory_named_with_a_dot_is_that_directory() {
    let list = list_of(&format(31), &["a/b", "a/./", "a/", "a/+"]);
    assert_eq!(paths(&list), ["a/", "a/", "a/+", "a/b"]);
}

#[test]
fn indexes_count_dropped_entries() {
    let list = list_of(&format(31), &["b", "a", "b", "a/", "c/", "a/x", "c/"]);
    assert_eq!((list.start(), list.len()), (0, 7));
    let shown: Vec<_> = list
        .iter()
        .map(|(ndx, entry)| (ndx, entry.base()))
        .collect();
    // The file `a` gives way to the directory, which sorts elsewhere.
    assert_eq!(
        shown,
        [
            (1, &b"b"[..]),
            (3, &b"a"[..]),
            (4, &b"x"[..]),
            (5, &b"c"[..])
        ]
    );
    assert!(list.entry(0).is_none() && list.entry(2).is_none() && list.entry(7).is_none());
    assert_eq!(list.arrivals().count(), 7);
    let list = list_of(&format(28), &["b", "a", "b", "a/"]);
    assert_eq!(paths(&list), ["a/", "b"]);
}

#[test]
fn of_two_files_the_first_stays_and_of_two_directories_the_flags_are_joined() {
    let format = format(31);
    let mut builder = ListBuilder::new(&format, ListHead::first(&format));
    for (name, mode, mtime, top_dir, content) in [
        (&b"f"[..], FILE, 1, false, false),
        (b"f", FILE, 2, false, false),
        (b"implied", DIR, 3, true, false),
        (b"implied", DIR, 4, true, false),
        (b"both", DIR, 5, true, false),
        (b"both", DIR, 6, false, true),
    ] {
        builder
            .push(&EntryFields {
                name,
                mode,
                mtime,
                top_dir,
                content,
                ..EntryFields::default()
            })
            .unwrap();
    }
    let list = builder.finish();
    assert_eq!(
        describe(&list),
        [
            "0 f 100644 0 1",
            "2 both 40755 0 5 top content",
            "4 implied 40755 0 3 top implied"
        ]
    );
}

#[test]
fn empty_directories_are_pruned_unless_wanted() {
    let names = [
        "./",
        "a/",
        "a/b/",
        "a/b/c/",
        "d/",
        "d/e/",
        "d/e/f",
        "g/",
        "g/keep/",
        "g/keep/h/",
        "ab/",
    ];
    for number in [28, 31] {
        let mut list = list_of(&format(number), &names);
        list.prune_empty_dirs(|path, is_dir| {
            assert!(is_dir);
            path == b"g/keep"
        });
        let mut left = paths(&list);
        left.sort();
        assert_eq!(left, ["./", "d/", "d/e/", "d/e/f", "g/", "g/keep/"]);
        assert_eq!(list.len(), 11);
    }
}

#[test]
fn a_dropped_file_does_not_keep_its_directory() {
    let mut list = list_of(&format(31), &["a/", "a/x", "a/x/", "b/"]);
    list.prune_empty_dirs(|_, _| false);
    assert!(paths(&list).is_empty());
}

/// The sort key as the specification words it: per component a class and the bytes.
fn tree_key(name: &str) -> Vec<(u8, Vec<u8>)> {
    let (path, is_dir) = match name.strip_suffix('/') {
        Some(path) => (path, true),
        None => (name, false),
    };
    let mut components: Vec<&str> = path.split('/').collect();
    let last = components.pop().unwrap();
    let mut key: Vec<_> = components
        .iter()
        .map(|component| (1, format!("{component}/").into_bytes()))
        .collect();
    key.push(match (is_dir, last) {
        (true, ".") => (0, Vec::new()),
        (true, last) => (1, format!("{last}/").into_bytes()),
        (false, last) => (0, last.into()),
    });
    key
}

fn any_name() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        "[a-c]",
        "[ab+./-]{1,3}",
        "(long-name-|longname)[0-9]{0,2}",
        "\u{e9}|\u{ff}|~",
    ]
    .prop_map(|text: String| text.replace('/', "-"))
    .prop_filter("special", |text| text != "." && text != "..");
    (
        any::<bool>(),
        proptest::collection::vec(component, 1..4),
        any::<bool>(),
    )
        .prop_map(|(is_absolute, components, is_dir)| {
            let slash = if is_absolute { "/" } else { "" };
            let end = if is_dir { "/" } else { "" };
            format!("{slash}{}{end}", components.join("/"))
        })
}

proptest! {
    #[test]
    fn entries_are_ordered_by_the_key_of_the_specification(
        names in proptest::collection::vec(prop_oneof![9 => any_name(), 1 => Just("./".to_owned())], 0..60),
    ) {
        let refs: Vec<&str> = names.iter().map(String::as_str).collect();
        // Slots keep dropped entries, so the order is looked at before any is hidden.
        let arrivals = |list: &FileList| -> Vec<String> {
            let names: Vec<_> = refs.iter().map(|name| name.to_string()).collect();
            (0..list.len()).filter_map(|slot| list.position(list.ndx_of(slot))).map(|position| names[position as usize].clone()).collect()
        };
        let mut by_key = names.clone();
        by_key.sort_by_key(|name| tree_key(name));
        prop_assert_eq!(arrivals(&list_of(&format(31), &refs)), by_key);
        let mut by_bytes = names.clone();
        by_bytes.sort_by_key(|name| match name.strip_suffix('/') {
            Some(path) => path.to_owned(),
            None => name.clone(),
        });
        let sorted: Vec<String> = arrivals(&list_of(&format(28), &refs));
        prop_assert_eq!(sorted, by_bytes);
    }
}

/// Deletion spares what is listed: an entry `a/.` stands beside `a`, not among what is inside.
#[test]
fn names_of_a_directory_are_found_whatever_else_names_it() {
    let list = list_of(
        &format(31),
        &["./", "a/./", "a/x", "a/b/", "/a/y", "c", "a/b/z", "a/b/z"],
    );
    let by_dir = NamesByDir::new(&list);
    let names = |dir: &str| {
        let mut names: Vec<String> = by_dir
            .names(&list, dir.as_bytes())
            .map(|name| String::from_utf8(name.to_vec()).unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(""), [".", "a", "c"]);
    assert_eq!(names("a"), ["b", "x", "y"]);
    assert_eq!(names("a/b"), ["z"]);
    assert!(names("b").is_empty());
}
