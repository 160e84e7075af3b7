//! A part of this machine, pushed as its backup client would, changed, and pushed again.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use coffre_client_compat::run::tool;
use coffre_client_compat::tree::{describe, noise};
use coffre_tests::Bed;

/// Directories with symlinks, hard links, many small files, and owners that are not root, where
/// the machine has them.
const PARTS: &[&str] = &[
    "/etc",
    "/usr/share/zoneinfo",
    "/usr/share/perl",
    "/usr/lib/git-core",
    "/usr/lib/ssl",
    "/var/lib/dpkg/info",
    "/var/mail",
];

const PUSH: &str = "-aHAX --numeric-ids --delete src/ server:/mnt/compat/dst/";

/// Device, inode and change-proof attributes of each regular file.
fn inodes(root: &Path) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        for entry in fs::read_dir(root.join(&relative)).unwrap() {
            let relative = relative.join(entry.unwrap().file_name());
            let metadata = fs::symlink_metadata(root.join(&relative)).unwrap();
            if metadata.is_dir() {
                waiting.push(relative);
            } else if metadata.is_file() {
                found.insert(relative, (metadata.dev(), metadata.ino()));
            }
        }
    }
    found
}

#[test]
fn a_real_tree_survives_pushes_and_snapshots() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    let to = source.path("");
    let parts = PARTS.iter().filter(|part| Path::new(part).is_dir());
    let mut copy = vec!["-aHAXR".as_ref()];
    copy.extend(parts.map(OsStr::new));
    copy.push(to.as_os_str());
    tool("rsync", &copy).unwrap();
    let src = source.path("");

    bed.push_well(PUSH).unwrap();
    assert_eq!(bed.differences(&src, &bed.destination()).unwrap(), "");
    let first = bed.coffre.snapshot().unwrap();
    let first_described = describe(&first, None).unwrap();
    let first_inodes = inodes(&first);
    assert!(
        first_inodes.len() > 500,
        "the machine has too little: {}",
        first_inodes.len()
    );

    // A second push of the same changes nothing, and so says nothing.
    let again = bed.push_well(&format!("-i {PUSH}")).unwrap();
    assert_eq!(String::from_utf8_lossy(&again.stdout), "");

    let names: Vec<PathBuf> = inodes(&src).into_keys().collect();
    let mut edited = Vec::new();
    for (number, name) in names.iter().enumerate() {
        match number % 50 {
            0 => source.append(name, b"appended\n").unwrap(),
            1 => source.file(name, &noise(number as u64, 10_000)).unwrap(),
            // A mode that no file of a system has.
            2 => source.mode(name, 0o604).unwrap(),
            3 => source.owner(name, 1_234, 5_678).unwrap(),
            4 => source.time(name, 1_000_000_000, 1).unwrap(),
            5 => source.xattr(name, "user.colour", b"blue").unwrap(),
            6 => source.remove(name).unwrap(),
            _ => continue,
        };
        edited.push(name.clone());
    }
    source.file("new/file", b"new").unwrap();
    bed.push_well(PUSH).unwrap();
    assert_eq!(bed.differences(&src, &bed.destination()).unwrap(), "");
    let second = bed.coffre.snapshot().unwrap();

    assert_eq!(
        describe(&first, None).unwrap(),
        first_described,
        "the first snapshot has changed"
    );
    let dst = |snapshot: &Path| snapshot.join("mnt/compat/dst");
    assert_eq!(bed.differences(&src, &dst(&second)).unwrap(), "");

    // Edits reach every name of a hard-link group, so only files with one name are sure.
    let second_inodes = inodes(&dst(&second));
    let mut shared = 0;
    for (name, inode) in inodes(&dst(&first)) {
        let links = fs::symlink_metadata(src.join(&name)).map_or(1, |metadata| metadata.nlink());
        if edited.contains(&name) {
            assert_ne!(
                second_inodes.get(&name),
                Some(&inode),
                "{name:?} was edited in place"
            );
        } else if links == 1 {
            assert_eq!(
                second_inodes.get(&name),
                Some(&inode),
                "{name:?} was copied"
            );
            shared += 1;
        }
    }
    assert!(shared > 400, "only {shared} files share an inode");
    assert_eq!(bed.left_in_staging(), Vec::<PathBuf>::new());
}

#[test]
fn a_snapshot_survives_everything_a_client_does_to_the_live_tree() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    coffre_client_compat::tree::nasty(&source).unwrap();
    bed.push_well(PUSH).unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let before = describe(&snapshot, None).unwrap();

    // Patched and appended, every attribute, and then nothing left at all.
    source.patch("sizes/1048576", 5, b"patched").unwrap();
    source.append("sizes/65536", b"appended").unwrap();
    bed.push_well("-aHAX --no-whole-file src/ server:/mnt/compat/dst/")
        .unwrap();
    source.patch("sizes/1048576", 500_000, b"in place").unwrap();
    source.patch("links/a", 0, b"in place").unwrap();
    bed.push_well("-aHAX --inplace --no-whole-file src/ server:/mnt/compat/dst/")
        .unwrap();
    source.append("sizes/65536", b"appended again").unwrap();
    bed.push_well("-aHAX --append src/ server:/mnt/compat/dst/")
        .unwrap();
    source.append("sizes/700", b"appended, verified").unwrap();
    bed.push_well("-aHAX --append-verify src/ server:/mnt/compat/dst/")
        .unwrap();
    bed.push_well("-a --chmod=u+rwx,g-rwx src/ server:/mnt/compat/dst/")
        .unwrap();
    for name in [
        "sizes/700",
        "links/a",
        "kinds/fifo",
        "kinds/null",
        "acls/file",
        "owners/link",
    ] {
        source.time(name, 5, 5).unwrap();
    }
    bed.push_well("-aHAX src/ server:/mnt/compat/dst/").unwrap();
    bed.push_well("-rI src/ server:/mnt/compat/dst/").unwrap();
    fs::remove_dir_all(source.path("")).unwrap();
    source.directory("").unwrap();
    bed.push_well(PUSH).unwrap();

    assert_eq!(
        describe(&snapshot, None).unwrap(),
        before,
        "history has changed"
    );
}
