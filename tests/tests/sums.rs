//! What the server notes of every content, and what `--checksum` makes of it.

// Helpers of tests, too.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use coffre::confine::content_sum;
use coffre::sum::{ContentSum, HASH_LEN};
use coffre_client_compat::sandbox::HOST;
use coffre_client_compat::tree::noise;
use coffre_tests::{Bed, number_from_env, said};
use rustix::fs::{XattrFlags, lgetxattr, lremovexattr, lsetxattr};

const DST: &str = "src/ server:/mnt/compat/dst/";
const SUM: &str = "user.coffre.sum";

/// The sum of a stored file, which must be there.
fn sum_of(path: &Path) -> ContentSum {
    let sum = content_sum(&File::open(path).unwrap()).unwrap();
    sum.unwrap_or_else(|| panic!("{} has no sum", path.display()))
}

/// All regular files below a directory have a sum that is true, holds, and costs no block.
fn check_tree(directory: &Path) -> usize {
    let mut checked = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            checked += check_tree(&path);
        } else if metadata.is_file() {
            let content = fs::read(&path).unwrap();
            let sum = sum_of(&path);
            let hash = blake3::hash(&content);
            let shown = path.display();
            assert_eq!(sum.content.hash, hash.as_bytes()[..HASH_LEN], "{shown}");
            assert_eq!(sum.content.size, content.len() as u64, "{shown}");
            let time = (sum.mtime.secs, i64::from(sum.mtime.nanos));
            assert_eq!(time, (metadata.mtime(), metadata.mtime_nsec()), "{shown}");
            checked += 1;
        }
    }
    checked
}

#[test]
fn every_content_has_its_sum_however_it_came() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("empty", b"").unwrap();
    source.file("small", b"1").unwrap();
    source.file("page", &noise(1, 4096)).unwrap();
    source.file("docs/large", &noise(2, 3_000_001)).unwrap();
    source.file("zeros", &[0; 300_000]).unwrap();
    for name in ["empty", "small", "page", "docs/large", "zeros"] {
        source.time(name, 1_500_000_000, 123_456_789).unwrap();
    }
    source.hard_link("page", "page2").unwrap();
    bed.push_well(&format!("-aHS {DST}")).unwrap();
    assert_eq!(check_tree(&bed.destination()), 6);

    // Delta, old protocols, compression, no times, another digest for the list.
    for (number, options) in [
        "-a",
        "-a --protocol=29",
        "-a --protocol=30",
        "-az",
        "-rlpgo --no-whole-file",
        "-a --checksum-choice=md5",
        "-a --checksum-choice=xxh3,sha1",
        "-a --append",
        "-a --append-verify",
        "-a --inplace --no-whole-file",
        "-a --backup --suffix=.old",
        "-a --fsync",
        "-a --delay-updates",
    ]
    .into_iter()
    .enumerate()
    {
        source.patch("docs/large", 1_000_000, b"changed").unwrap();
        source.append("docs/large", &noise(3, 5_000)).unwrap();
        source.file("small", &noise(4, 1000 + number)).unwrap();
        let outcome = bed.push(&format!("{options} {DST}")).unwrap();
        assert_eq!(outcome.exit, 0, "{options}: {}", said(&outcome));
        assert!(check_tree(&bed.destination()) >= 6, "{options}");
        let differences = bed.differences(&source.path(""), &bed.destination());
        if !options.contains("--backup") && options.starts_with("-a") && !options.contains("30") {
            // Nothing but what the server adds differs.
            assert!(!differences.unwrap().contains(">fc"), "{options}");
        }
    }
}

#[test]
fn a_copy_of_a_file_elsewhere_has_its_sum() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("same", &noise(1, 300_000)).unwrap();
    source.file("mode", &noise(2, 5_000)).unwrap();
    bed.push_well("-a src/ server:/old/").unwrap();
    source.mode("mode", 0o600).unwrap();
    bed.push_well(&format!("-a --copy-dest=../old {DST}"))
        .unwrap();
    assert_eq!(check_tree(&bed.destination()), 2);
}

#[test]
fn a_touched_file_keeps_its_sum_and_so_does_its_history() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("shared", &noise(1, 10_000)).unwrap();
    source.file("private", &noise(2, 10_000)).unwrap();
    source.time("shared", 1_500_000_000, 5).unwrap();
    bed.push_well(&format!("-a --exclude=private {DST}"))
        .unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    bed.push_well(&format!("-a {DST}")).unwrap();

    for name in ["shared", "private"] {
        source.time(name, 1_600_000_000, 7).unwrap();
        source.mode(name, 0o600).unwrap();
        source.owner(name, 1001, 1002).unwrap();
    }
    // The content is compared by its digest, so nothing is sent and the times are set alone.
    bed.push_well(&format!("-ac {DST}")).unwrap();
    assert_eq!(check_tree(&bed.destination()), 2);
    assert_eq!(
        sum_of(&bed.destination().join("shared")).mtime.secs,
        1_600_000_000
    );
    assert_eq!(check_tree(&snapshot.join("mnt/compat/dst")), 1);
    let before = bed.bytes_read().unwrap();
    bed.push_well(&format!("-ac {DST}")).unwrap();
    assert!(bed.bytes_read().unwrap() - before < 10_000);
}

#[test]
fn a_push_with_checksum_that_changes_nothing_reads_nothing() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let size = number_from_env("COFFRE_CHECKSUM_MIB", 256) << 20;
    let source = bed.source().unwrap();
    source.file("large", &noise(1, size as usize)).unwrap();
    bed.push_well(&format!("-a {DST}")).unwrap();
    let stored = bed.destination().join("large");
    let push = |options: &str| {
        let before = bed.bytes_read().unwrap();
        bed.push_well(&format!("{options} {DST}")).unwrap();
        bed.bytes_read().unwrap() - before
    };
    for options in ["-ac", "-acn"] {
        let read = push(options);
        println!("{options}: read {read} of {size} bytes");
        assert!(read < size / 100, "{options}: {read}");
    }

    // Without a sum, or with one that does not hold, it reads, and notes what it has found. A dry
    // run notes nothing.
    lremovexattr(&stored, SUM).unwrap();
    assert!(push("-acn") >= size);
    assert!(lgetxattr(&stored, SUM, &mut [0; 256][..]).is_err());
    assert!(push("-ac") >= size);
    assert!(push("-ac") < size / 100);
    check_tree(&bed.destination());

    // A client of another age asks for another digest. Both stay.
    assert!(push("-ac --checksum-choice=md5") >= size);
    assert!(push("-ac --checksum-choice=md5") < size / 100);
    assert!(push("-ac") < size / 100);
}

#[test]
fn a_pull_with_checksum_of_what_is_there_reads_nothing() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    const SIZE: u64 = 64 << 20;
    let source = bed.source().unwrap();
    source.file("large", &noise(1, SIZE as usize)).unwrap();
    bed.push_well(&format!("-a {DST}")).unwrap();
    bed.coffre.snapshot().unwrap();
    let pull = |options: &str| {
        let before = bed.bytes_read().unwrap();
        bed.push_well(&format!("{options} server:/mnt/compat/dst/ src/"))
            .unwrap();
        bed.bytes_read().unwrap() - before
    };
    for options in ["-ac", "-acn", "-ac --no-inc-recursive"] {
        let read = pull(options);
        assert!(read < SIZE / 100, "{options}: {read}");
    }
    // The one from history has the sum of the one in live.
    let before = bed.bytes_read().unwrap();
    let command = format!("-ac restore@{HOST}:/latest/mnt/compat/dst/ src/");
    bed.push_well(&command).unwrap();
    assert!(bed.bytes_read().unwrap() - before < SIZE / 100);

    // A sum that does not hold is not believed, and a restore notes nothing.
    let stored = bed.destination().join("large");
    let other = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::options()
        .write(true)
        .open(&stored)
        .unwrap()
        .set_times(other)
        .unwrap();
    assert!(pull("-ac") >= SIZE);
    assert!(pull("-ac") >= SIZE);
    // Neither is one that is missing, or of another digest.
    lremovexattr(&stored, SUM).unwrap();
    assert!(pull("-ac --checksum-choice=md5") >= SIZE);
}

#[test]
fn a_content_that_rotted_is_fetched_again() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("file", &noise(1, 10_000)).unwrap();
    bed.push_well(&format!("-a {DST}")).unwrap();
    let stored = bed.destination().join("file");
    let metadata = fs::metadata(&stored).unwrap();
    let mut content = fs::read(&stored).unwrap();
    content[5_000] ^= 1;
    fs::write(&stored, content).unwrap();
    let times = fs::FileTimes::new().set_modified(metadata.modified().unwrap());
    File::options()
        .write(true)
        .open(&stored)
        .unwrap()
        .set_times(times)
        .unwrap();
    // With another digest than the one that was noted, so that it is read.
    bed.push_well(&format!("-ac --checksum-choice=md5 {DST}"))
        .unwrap();
    assert_eq!(
        fs::read(&stored).unwrap(),
        fs::read(source.path("file")).unwrap()
    );
    let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
    assert!(log.contains("not the one that was received"), "{log}");
}

#[test]
fn a_client_neither_sets_nor_removes_what_is_the_servers() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("file", b"content").unwrap();
    source.xattr("file", "user.note", b"mine").unwrap();
    source.xattr("file", SUM, b"forged").unwrap();
    source
        .xattr("file", "user.coffre.other", b"forged")
        .unwrap();
    source.directory("dir").unwrap();
    source
        .xattr("dir", "user.coffre.snapshot", b"forged")
        .unwrap();
    bed.push_well(&format!("-aX {DST}")).unwrap();
    let names = |path: PathBuf| {
        let mut names = vec![0; 1024];
        let len = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
        String::from_utf8_lossy(&names[..len]).replace('\0', " ")
    };
    let file = bed.destination().join("file");
    check_tree(&bed.destination());
    assert!(!names(file.clone()).contains("other"));
    assert_eq!(names(bed.destination().join("dir")), "");

    // A client without any of them says to remove what it does not have.
    source.remove_xattr("file", SUM).unwrap();
    source.remove_xattr("file", "user.note").unwrap();
    bed.push_well(&format!("-aX {DST}")).unwrap();
    assert_eq!(names(file), format!("{SUM} "));
    check_tree(&bed.destination());
}

#[test]
fn a_sum_takes_no_block_of_its_own() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("page", &noise(1, 4096)).unwrap();
    bed.push_well(&format!("-a {DST}")).unwrap();
    let stored = bed.destination().join("page");
    let with = fs::metadata(&stored).unwrap().blocks();
    lremovexattr(&stored, SUM).unwrap();
    assert_eq!(fs::metadata(&stored).unwrap().blocks(), with);
    // What is longer does, on ext4: the comparison can fail.
    let long = [0; 512];
    lsetxattr(&stored, "user.long", &long, XattrFlags::empty()).unwrap();
    println!(
        "with 512 bytes: {with} and {}",
        fs::metadata(&stored).unwrap().blocks()
    );
}
