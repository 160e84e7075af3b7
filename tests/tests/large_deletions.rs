//! Deleting very many things, and very deep ones.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre_tests::{Bed, Proxy, said};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat};

const PUSH: &str = "-a --delete src/ server:/mnt/compat/dst/";

/// So many names of 200 bytes, of few inodes.
fn crowd(directory: &Path, names: usize) {
    fs::create_dir_all(directory).unwrap();
    let mut first = PathBuf::new();
    for number in 0..names {
        let path = directory.join(format!("{number:0>200}"));
        // ext4 has room for 65,000 names of an inode.
        if number % 60_000 == 0 {
            fs::write(&path, b"").unwrap();
            first = path;
        } else {
            linkat(CWD, &first, CWD, &path, AtFlags::empty()).unwrap();
        }
    }
}

/// Most memory that was ever resident since the last call, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    kib << 10
}

#[test]
fn what_is_told_of_deletions_to_a_client_that_does_not_read_takes_no_memory() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    bed.source().unwrap().file("kept", b"kept").unwrap();
    bed.push_well(PUSH).unwrap();
    // Notices of 40 MB; buffers between take a few.
    crowd(&bed.destination().join("gone"), 200_000);

    let proxy = Proxy::before(bed.coffre.port()).unwrap();
    proxy.stall_after(30_000, Duration::from_secs(3));
    let before = peak_memory(bed.coffre.pid());
    let outcome = bed
        .rsync("client", proxy.port(), PUSH)
        .unwrap()
        .run()
        .unwrap();
    let peak = peak_memory(bed.coffre.pid());
    assert_eq!(outcome.exit, 0, "{}", said(&outcome));
    assert_eq!(proxy.stalls(), 1, "there was nothing to stall");
    // The names of the one directory are in memory, and little else.
    let grown = peak.saturating_sub(before);
    assert!(grown < 75 << 20, "grew by {} KiB", grown >> 10);
    assert!(!bed.destination().join("gone").exists());
}

#[test]
fn a_tree_as_deep_as_a_path_can_be_is_deleted() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    bed.source().unwrap().file("kept", b"kept").unwrap();
    bed.push_well(PUSH).unwrap();
    let mut at = openat(
        CWD,
        bed.destination(),
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )
    .unwrap();
    for _ in 0..2_000 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    drop(at);
    bed.push_well(PUSH).unwrap();
    assert!(!bed.destination().join("d").exists());
}
