//! What options mean together, and with a version.

use super::*;

#[test]
fn paths_follow_the_dot_even_if_they_look_like_options() {
    let options = try_parse("-r . -x").unwrap();
    assert_eq!(options.paths[0].bytes(), b"-x");
    assert_eq!(options.one_file_system, OneFileSystem::No);
    for (words, destination) in [
        ("-r .", "."),
        ("-r . ''", "."),
        ("-r . .", "."),
        ("-r . ~/a", "/a"),
        ("-r . a\\ b", "a b"),
    ] {
        assert_eq!(
            try_parse(words).unwrap().destination(),
            destination.as_bytes(),
            "{words}"
        );
    }
}

#[test]
fn deletion_has_its_moment_by_version_and_wants_the_filter_list() {
    for (words, at_29, at_30, list_28, list_29) in [
        ("-r", DeleteTiming::None, DeleteTiming::None, false, false),
        (
            "-r --delete",
            DeleteTiming::Before,
            DeleteTiming::During,
            true,
            true,
        ),
        (
            "-r --delete-excluded",
            DeleteTiming::Before,
            DeleteTiming::During,
            false,
            true,
        ),
        (
            "-r --delete-before",
            DeleteTiming::Before,
            DeleteTiming::Before,
            true,
            true,
        ),
        (
            "-r --delete-during",
            DeleteTiming::During,
            DeleteTiming::During,
            true,
            true,
        ),
        (
            "-r --delete-delay",
            DeleteTiming::Delay,
            DeleteTiming::Delay,
            true,
            true,
        ),
        (
            "-r --delete-after",
            DeleteTiming::After,
            DeleteTiming::After,
            true,
            true,
        ),
        ("-rm", DeleteTiming::None, DeleteTiming::None, true, true),
        (
            "-r --delete-missing-args",
            DeleteTiming::None,
            DeleteTiming::None,
            false,
            false,
        ),
    ] {
        let options = push(words);
        assert_eq!(options.deletion(version(29)), at_29, "{words}");
        assert_eq!(options.deletion(version(30)), at_30, "{words}");
        assert_eq!(
            options.receiver_wants_filter_list(version(28)),
            list_28,
            "{words}"
        );
        assert_eq!(
            options.receiver_wants_filter_list(version(29)),
            list_29,
            "{words}"
        );
        assert_eq!(
            options.receives_filter_list(version(29)),
            list_29,
            "{words}"
        );
    }
    assert!(
        try_parse("--sender -r . x")
            .unwrap()
            .receives_filter_list(version(27))
    );
}

#[test]
fn incremental_recursion_needs_the_letter_and_nothing_that_needs_the_whole_list() {
    for (words, expected) in [
        ("-re.iLsfxCIvu", true),
        ("-re.LsfxCIvu", false),
        ("-r", false),
        ("-de.i", false),
        ("-re.i --delete", true),
        ("-re.i --delete-during", true),
        ("-re.i --delete-delay", true),
        ("-re.i --delete-excluded", true),
        ("-re.i --delete-before", false),
        ("-re.i --delete-after", false),
        ("-re.i --delay-updates", false),
        ("-rme.i", false),
        ("-re.i --qsort", false),
        ("-re.i --no-inc-recursive", false),
    ] {
        assert_eq!(
            push(words).allows_incremental_recursion(),
            expected,
            "{words}"
        );
        // A sender needs no look at what the receiver deletes.
        let pull = try_parse(&format!("--sender {words} . x")).unwrap();
        let qsort = words.contains("qsort") || words.contains("no-inc");
        let expected = words.starts_with('-') && words.contains("e.i") && words.contains('r');
        assert_eq!(
            pull.allows_incremental_recursion(),
            expected && !qsort && !words.starts_with("-de"),
            "{words}"
        );
    }
}

#[test]
fn unchanged_entries_are_itemised_where_the_client_wants_them() {
    for (words, expected) in [
        ("", false),
        ("-v", false),
        ("-vv", true),
        ("--log-format=%i", false),
        ("--log-format=%i%I", true),
        ("--info=NAME2 --log-format=X", true),
        ("-vv --info=NAME1", false),
        ("--itemize-changes --itemize-changes", true),
    ] {
        assert_eq!(push(words).itemizes_unchanged(), expected, "{words}");
    }
}

#[test]
fn options_that_a_version_cannot_carry_are_refused() {
    for (words, first) in [
        ("-A", 30),
        ("-X", 30),
        ("-y", 29),
        ("-m", 29),
        ("--link-dest a --link-dest b", 29),
        ("--link-dest a --inplace", 29),
        ("--link-dest a", 27),
    ] {
        let options = push(words);
        for number in 27..=32 {
            let checked = options.check_version(version(number));
            assert_eq!(checked.is_ok(), number >= first, "{words} at {number}");
            if let Err(error) = checked {
                assert_eq!(error.exit.code(), 2);
            }
        }
    }
    assert_eq!(push("--append").append(version(29)), Append::Verified);
    assert_eq!(push("--append").append(version(30)), Append::Unverified);
}

#[test]
fn implied_meanings_are_asked_for_by_name() {
    assert!(push("--append").writes_in_place() && push("--inplace").writes_in_place());
    assert!(!push("").writes_in_place());
    assert!(push("").changes_disk());
    for words in ["-n", "--only-write-batch=X", "--list-only"] {
        assert!(!push(words).changes_disk(), "{words}");
    }
    assert_eq!(push("--delay-updates").partial_dir(), Some(&b".~tmp~"[..]));
    assert_eq!(
        push("--delay-updates --partial-dir p").partial_dir(),
        Some(&b"p"[..])
    );
    assert_eq!(push("").partial_dir(), None);
}
