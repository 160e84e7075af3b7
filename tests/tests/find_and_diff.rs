//! `coffre find` and `coffre diff`: what they say of a history that is known.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::Path;

use coffre::control::facts::{DiffFacts, FoundFacts};
use coffre_client_compat::tree::noise;
use coffre_tests::{Bed, said};

const PUSH: &str = "-aHAX --numeric-ids --delete src/ server:/";

fn verb(bed: &Bed, words: &str) -> (i32, String) {
    let outcome = bed.coffre.verb(words).unwrap();
    (outcome.exit, said(&outcome))
}

fn json<T: serde::de::DeserializeOwned>(bed: &Bed, words: &str) -> T {
    let outcome = bed.coffre.verb(&format!("{words} --json")).unwrap();
    assert!(outcome.exit < 2, "{words}: {}", said(&outcome));
    serde_json::from_slice(&outcome.stdout).unwrap()
}

fn name_of(snapshot: &Path) -> String {
    snapshot.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Pushes the source, and takes a snapshot.
fn keep(bed: &Bed) -> String {
    bed.push_well(PUSH).unwrap();
    name_of(&bed.coffre.snapshot().unwrap())
}

#[test]
fn versions_of_a_path_are_found_in_all_snapshots_and_in_live() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("etc/passwd", b"one").unwrap();
    source.time("etc/passwd", 1_500_000_000, 0).unwrap();
    source.file("home/a/.ssh/key", b"k").unwrap();
    source.file("odd\x1b[31mname", b"").unwrap();
    source.time("etc", 1_500_000_000, 0).unwrap();
    let first = keep(&bed);
    let second = keep(&bed);
    source.file("etc/passwd", b"two!").unwrap();
    source.time("etc/passwd", 1_600_000_000, 0).unwrap();
    source.file("home/b/passwd", b"x").unwrap();
    let third = keep(&bed);
    source.remove("etc/passwd").unwrap();
    bed.push_well(PUSH).unwrap();

    let versions = |words: &str| -> Vec<(String, String, String, u64, Option<u64>)> {
        let found: Vec<FoundFacts> = json(&bed, words);
        let told = |f: FoundFacts| {
            let path = f.path;
            f.versions
                .into_iter()
                .map(move |v| (path.clone(), v.first, v.last, v.snapshots, v.size_bytes))
        };
        found.into_iter().flat_map(told).collect()
    };
    let passwd = [
        ("/etc/passwd", first.as_str(), second.as_str(), 2, Some(3)),
        ("/etc/passwd", &third, &third, 1, Some(4)),
    ];
    let owned = |list: &[(&str, &str, &str, u64, Option<u64>)]| -> Vec<_> {
        let owned = |(p, f, l, n, s): &(&str, &str, &str, u64, Option<u64>)| {
            ((*p).to_owned(), (*f).to_owned(), (*l).to_owned(), *n, *s)
        };
        list.iter().map(owned).collect()
    };
    let mut everywhere = passwd.to_vec();
    everywhere.push(("/home/b/passwd", &third, "live", 2, Some(1)));
    // By its directories and by manifests, which must say the same.
    assert_eq!(versions("find compat /etc/passwd"), owned(&passwd));
    assert_eq!(versions("find compat /*/passwd"), owned(&passwd));
    assert_eq!(versions("find compat **/etc/passwd"), owned(&passwd));
    assert_eq!(versions("find compat passwd"), owned(&everywhere));
    let ssh = [("/home/a/.ssh", first.as_str(), "live", 4, None)];
    assert_eq!(versions("find compat /home/**/.ssh/"), owned(&ssh));
    let etc = versions("find compat /etc");
    assert_eq!(etc[0], owned(&[("/etc", &first, &third, 3, None)])[0]);
    // Without manifests, and with damaged ones.
    let manifests = bed.coffre.home().join(".manifests");
    fs::remove_file(manifests.join(&first)).unwrap();
    let damaged = manifests.join(&second);
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    assert_eq!(versions("find compat passwd"), owned(&everywhere));
    let (_, text) = verb(&bed, "find compat passwd");
    assert!(text.contains("its manifest cannot be used"), "{text}");

    let (exit, text) = verb(&bed, "find compat etc/passwd");
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("FIRST"), "{text}");
    let line = text.lines().find(|line| line.contains(&third)).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        words,
        [
            &*third,
            &*third,
            "1",
            "4",
            "B",
            "2020-09-13",
            "12:26:40",
            "file",
            "/etc/passwd"
        ],
        "{text}"
    );
    let (exit, text) = verb(&bed, "find compat odd*");
    assert_eq!(exit, 0);
    assert!(text.contains(r"/odd\#033[31mname"), "{text}");
    let (exit, text) = verb(&bed, "find compat nothing");
    assert_eq!(exit, 1);
    assert!(text.contains("nothing matches"), "{text}");
    for (words, expected) in [
        ("find web99 x", "there is no tenant"),
        ("find compat a/../b", "\"..\" in the pattern"),
    ] {
        let (exit, text) = verb(&bed, words);
        assert_eq!(exit, 2, "{words}: {text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_changed_between_two_trees_is_itemized() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    for name in [
        "kept",
        "grown",
        "rewritten",
        "touched",
        "mode",
        "owner",
        "xattr",
        "gone",
    ] {
        source.file(name, &noise(1, 1000)).unwrap();
        source.time(name, 1_500_000_000, 0).unwrap();
    }
    source.file("old/inner", b"1").unwrap();
    source.file("before", &noise(2, 100)).unwrap();
    source.file("linked 1", &noise(3, 100)).unwrap();
    source.hard_link("linked 1", "linked 2").unwrap();
    source.symlink("link", "kept").unwrap();
    source.file("becomes a directory", b"").unwrap();
    source.time("", 1_500_000_000, 0).unwrap();
    let first = keep(&bed);
    let (exit, text) = verb(&bed, &format!("diff compat {first} live"));
    assert_eq!(exit, 0, "{text}");
    assert!(
        text.contains(&format!("{first} and live are the same")),
        "{text}"
    );

    source.append("grown", b"more").unwrap();
    // Content alone: what no time tells.
    source.file("rewritten", &noise(9, 1000)).unwrap();
    source.time("rewritten", 1_500_000_000, 0).unwrap();
    source.time("touched", 1_600_000_000, 0).unwrap();
    source.mode("mode", 0o600).unwrap();
    source.owner("owner", 1234, 1234).unwrap();
    source.xattr("xattr", "user.note", b"x").unwrap();
    source.remove("gone").unwrap();
    fs::remove_dir_all(source.path("old")).unwrap();
    source.file("new/inner", &noise(4, 500)).unwrap();
    fs::hard_link(source.path("kept"), source.path("kept too")).unwrap();
    source.remove("link").unwrap();
    source.symlink("link", "elsewhere").unwrap();
    source.remove("becomes a directory").unwrap();
    source.file("becomes a directory/x", b"").unwrap();
    source.time("", 1_500_000_000, 0).unwrap();
    bed.push_well(&PUSH.replace("-aHAX", "-aHAXc")).unwrap();
    // What a client does not do: a rename, and a name that becomes a file of its own.
    let live = bed.live();
    fs::rename(live.join("before"), live.join("after")).unwrap();
    let linked = live.join("linked 2");
    let modified = fs::metadata(&linked).unwrap().modified().unwrap();
    fs::remove_file(&linked).unwrap();
    fs::write(&linked, noise(3, 100)).unwrap();
    let parted = fs::File::options().write(true).open(&linked).unwrap();
    let times = fs::FileTimes::new().set_modified(modified);
    parted.set_times(times).unwrap();
    let top = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000));
    fs::File::open(&live).unwrap().set_times(top).unwrap();
    let second = name_of(&bed.coffre.snapshot().unwrap());

    let facts: DiffFacts = json(&bed, &format!("diff compat {first} latest"));
    assert_eq!((&facts.first, &facts.second), (&first, &second));
    let told: Vec<String> = facts
        .differences
        .iter()
        .map(|d| {
            let what = match (&d.from, d.hard_link) {
                (Some(from), _) => format!("from {from}"),
                (None, true) => "hard link".to_owned(),
                (None, false) => d.what.join(","),
            };
            format!("{} {} {} {what}", d.change, d.path, d.kind)
                .trim()
                .to_owned()
        })
        .collect();
    assert_eq!(
        told,
        [
            "moved /after file from /before",
            "changed /becomes a directory/ directory type,mtime,mode",
            "added /becomes a directory/x file",
            "removed /gone file",
            "changed /grown file content,size,mtime",
            "added /kept too file hard link",
            "changed /link symlink content,mtime",
            "changed /linked 2 file content?,links",
            "changed /mode file mode",
            "added /new/ directory",
            "added /new/inner file",
            "removed /old/ directory",
            "removed /old/inner file",
            "changed /owner file owner",
            "changed /rewritten file content",
            "changed /touched file mtime",
            "changed /xattr file xattr",
        ]
    );
    assert_eq!(
        (facts.added, facts.removed, facts.changed, facts.moved),
        (4, 3, 9, 1)
    );
    let day = &second[..10];
    for words in [
        format!("diff compat {first} {day}"),
        format!("diff compat {first} live"),
    ] {
        let (exit, text) = verb(&bed, &words);
        assert_eq!(exit, 1, "{text}");
        let line = "changed  content,size,mtime   /grown\n";
        assert!(text.contains(line), "{text}");
        let summary = ": 4 added, 3 removed, 9 changed, 1 moved; ";
        assert!(text.contains(summary), "{text}");
    }
    // The other way round.
    let back: DiffFacts = json(&bed, &format!("diff compat latest {first}"));
    assert_eq!((back.added, back.removed), (3, 4));
    for (words, expected) in [
        ("diff compat 2001-01-01 live", "no snapshot was taken on"),
        ("diff web99 latest live", "there is no tenant"),
    ] {
        let (exit, text) = verb(&bed, words);
        assert_eq!(exit, 2, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}
