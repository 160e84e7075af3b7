//! `coffre restore`: what comes out is what went in.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::os::unix::fs::MetadataExt;

use coffre_client_compat::tree::{nasty, noise};
use coffre_tests::{Bed, said};

fn restore(bed: &Bed, words: &str) -> (i32, String) {
    let outcome = bed.coffre.verb(&format!("restore {words}")).unwrap();
    (outcome.exit, said(&outcome))
}

#[test]
fn a_restored_tree_is_the_one_that_was_pushed() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    nasty(&bed.source().unwrap()).unwrap();
    // Stored natively, and as an unprivileged server would.
    for (options, name) in [("", "native"), ("-M--fake-super ", "stored")] {
        let push = format!("-aHAXS --numeric-ids {options}src/ server:/mnt/compat/{name}/");
        bed.push_well(&push).unwrap();
        bed.coffre.snapshot().unwrap();
        let to = bed.local().join(name);
        let (exit, text) = restore(
            &bed,
            &format!("compat latest /mnt/compat/{name} {}", to.display()),
        );
        assert_eq!(exit, 0, "{text}");
        let source = bed.source().unwrap().path("");
        assert_eq!(bed.differences(&source, &to).unwrap(), "", "{name}");
        // Again over it, which changes nothing.
        let again = format!("compat latest mnt/compat/{name} {}", to.display());
        let (exit, text) = restore(&bed, &again);
        assert_eq!(exit, 1);
        assert!(text.contains("is not empty; --overwrite"), "{text}");
        let (exit, text) = restore(&bed, &format!("--overwrite {again}"));
        assert_eq!(exit, 0, "{text}");
        assert_eq!(bed.differences(&source, &to).unwrap(), "", "{name}");
        let left = fs::read_dir(&to).unwrap().flatten();
        let is_ours =
            |name: std::ffi::OsString| name.to_string_lossy().starts_with(".coffre-restore");
        assert_eq!(left.filter(|e| is_ours(e.file_name())).count(), 0);
    }
}

#[test]
fn one_file_goes_where_it_is_said_and_replaces_nothing_unasked() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("etc/passwd", b"first").unwrap();
    source.time("etc/passwd", 1_500_000_000, 7).unwrap();
    source.symlink("etc/link", "/etc/passwd").unwrap();
    source.symlink("way", "etc").unwrap();
    source
        .sparse("hole", 50 << 20, &[(10 << 20, b"x")])
        .unwrap();
    bed.push_well("-aS src/ server:/").unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let name = snapshot.file_name().unwrap().to_str().unwrap();
    source.file("etc/passwd", b"second").unwrap();
    bed.push_well("-aS src/ server:/").unwrap();

    let to = bed.local().join("to");
    fs::create_dir(&to).unwrap();
    let into = to.display();
    let well = |words: &str| {
        let (exit, text) = restore(&bed, words);
        assert_eq!(exit, 0, "{words}: {text}");
    };
    well(&format!("compat {name} /etc/passwd {into}"));
    assert_eq!(fs::read(to.join("passwd")).unwrap(), b"first");
    assert_eq!(
        fs::metadata(to.join("passwd")).unwrap().mtime(),
        1_500_000_000
    );
    well(&format!("compat live etc/passwd {into}/other"));
    assert_eq!(fs::read(to.join("other")).unwrap(), b"second");
    well(&format!("compat latest etc/link {into}"));
    assert_eq!(
        fs::read_link(to.join("link")).unwrap().to_str(),
        Some("/etc/passwd")
    );
    well(&format!("compat latest hole {into}"));
    let hole = fs::metadata(to.join("hole")).unwrap();
    assert_eq!(hole.len(), 50 << 20);
    assert!(hole.blocks() < 1000, "{}", hole.blocks());
    // Over the link itself, not over what it leads to.
    well(&format!("--overwrite compat latest etc/passwd {into}/link"));
    assert_eq!(fs::read(to.join("link")).unwrap(), b"first");

    for (words, expected) in [
        (
            format!("compat latest etc/passwd {into}"),
            "passwd is there already; --overwrite",
        ),
        (
            format!("compat latest etc/no {into}"),
            "there is no /etc/no in it",
        ),
        (
            format!("compat latest way/passwd {into}"),
            "way is a symbolic link in it",
        ),
        (format!("compat latest ../x {into}"), "\"..\" in the path"),
        (
            format!("compat latest etc {into}/no/where"),
            "to/no does not exist",
        ),
        (
            format!("compat latest etc {into}/other"),
            "other is not a directory",
        ),
        (format!("compat yesterday etc {into}"), "names no snapshot"),
        (
            format!("web99 latest etc {into}"),
            "there is no tenant \"web99\"",
        ),
        (
            format!("compat latest etc {}/x", bed.coffre.home().display()),
            "is in the store itself",
        ),
    ] {
        let (exit, text) = restore(&bed, &words);
        assert_eq!(exit, 1, "{words}: {text}");
        assert!(text.contains(expected), "{words}: {text}");
    }
    // A whole snapshot, which has more in it than the directory that is there.
    let whole = bed.local().join("whole");
    source.file("etc/large", &noise(1, 3_000_000)).unwrap();
    well(&format!("compat {name} / {}", whole.display()));
    assert_eq!(fs::read(whole.join("etc/passwd")).unwrap(), b"first");
}
