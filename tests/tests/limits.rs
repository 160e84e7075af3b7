//! What one tenant may take of the server: sessions, memory, bandwidth, quota, the last free space.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use coffre_client_compat::loopfs::{FileSystem, LoopFs};
use coffre_client_compat::sandbox::Lines;
use coffre_client_compat::tree::{describe, noise};
use coffre_tests::{Bed, may_run, said, store_with_subvolume};

const PUSH: &str = "-aH --delete src/ server:/mnt/compat/dst/";
const MB: usize = 1_000_000;

fn tenant(lines: &str) -> Lines {
    Lines {
        tenant: lines.to_owned(),
        ..Lines::default()
    }
}

/// What the server says the tenant has: bytes and inodes. Waits for the first count.
fn used(bed: &Bed) -> (u64, u64) {
    loop {
        let status = bed.coffre.command(&["status", "--json"]).unwrap();
        let number = |key: &str| {
            let (_, rest) = status.split_once(&format!("\"{key}\":")).unwrap();
            let digits: String = rest
                .trim_start()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse::<u64>().ok()
        };
        if let (Some(bytes), Some(files)) = (number("used_bytes"), number("used_files")) {
            return (bytes, files);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The same, counted from outside: each directory once, and each state of any other inode. Snapshots
/// that are subvolumes have the numbers of live, and other times of change where they differ from it.
fn counted(home: &Path) -> (u64, u64) {
    fn walk(path: &Path, around: u64, seen: &mut HashSet<[i64; 4]>, sum: &mut (u64, u64)) {
        let stat = fs::symlink_metadata(path).unwrap();
        let (inode, is_around) = (stat.ino().cast_signed(), stat.dev() == around);
        let (secs, nanos) = match stat.is_dir() {
            true => (0, 0),
            false => (stat.ctime(), stat.ctime_nsec()),
        };
        if seen.insert([is_around.into(), inode, secs, nanos]) {
            let on_disk = stat.blocks() * 512;
            sum.0 += match stat.is_file() {
                true => on_disk.min(stat.size().div_ceil(4096) * 4096),
                false => on_disk,
            };
            sum.1 += 1;
        }
        if stat.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let below = entry.unwrap().path();
                // The server's own notes are nobody's.
                if !below.ends_with(".manifests") {
                    walk(&below, around, seen, sum);
                }
            }
        }
    }
    let mut sum = (0, 0);
    let around = fs::symlink_metadata(home).unwrap().dev();
    walk(home, around, &mut HashSet::new(), &mut sum);
    sum
}

fn assert_counts(bed: &Bed, when: &str) {
    let (said, is) = (used(bed), counted(&bed.coffre.home()));
    assert_eq!(said.1, is.1, "inodes, {when}");
    // Directories that grow or shrink are looked at when they come and go only.
    let differ = said.0.abs_diff(is.0);
    assert!(differ <= 64 << 10, "{said:?} and not {is:?}, {when}");
}

fn files(bed: &Bed, numbers: std::ops::Range<u64>, seed: u64, len: usize) {
    let source = bed.source().unwrap();
    for number in numbers {
        let name = format!("d{}/f{number}", number % 4);
        source
            .file(&name, &noise(seed * 1000 + number, len))
            .unwrap();
        source.time(&name, 1_400_000_000 + seed as i64, 5).unwrap();
    }
}

#[test]
fn a_full_quota_refuses_new_data_and_lets_everything_else_work() {
    let lines = tenant("quota = \"30MB\"\nkeep = { last = 1 }\n");
    let Some(bed) = Bed::configured(&lines).unwrap() else {
        return;
    };
    used(&bed);
    files(&bed, 0..20, 1, MB);
    bed.push_well(PUSH).unwrap();
    assert_counts(&bed, "after the first push");
    let first = bed.coffre.snapshot().unwrap();
    let history = describe(&first, None).unwrap();
    assert_counts(&bed, "after a snapshot");

    // All of it anew: the history has the old content, so only half of the new fits.
    files(&bed, 0..20, 2, MB);
    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    let words = "Disk quota exceeded (122)";
    assert!(said(&outcome).contains(words), "{}", said(&outcome));
    assert_counts(&bed, "after a push that did not fit");
    assert!(used(&bed).0 <= 30_000_000, "{:?}", used(&bed));
    assert_eq!(describe(&first, None).unwrap(), history);

    // Deletions need no room, and those that were not in the history give some.
    let source = bed.source().unwrap();
    for number in 0..20 {
        fs::remove_file(source.path(format!("d{}/f{number}", number % 4))).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    assert_counts(&bed, "after a deletion");

    // A snapshot and the prune after it do the rest.
    std::thread::sleep(Duration::from_millis(1100));
    bed.coffre.snapshot().unwrap();
    while first.exists() || used(&bed).0 > MB as u64 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_counts(&bed, "after a prune");
    files(&bed, 0..20, 3, MB);
    bed.push_well(PUSH).unwrap();

    let text = bed.ssh("client", "status", Vec::new()).unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("space           "), "{text}");
    assert!(text.contains(" of 28.6 MiB ("), "{text}");
}

#[test]
fn a_quota_of_files_counts_names_of_one_inode_once() {
    let Some(bed) = Bed::configured(&tenant("quota = { files = 200 }\n")).unwrap() else {
        return;
    };
    used(&bed);
    files(&bed, 0..50, 1, 10);
    let source = bed.source().unwrap();
    for number in 0..300 {
        source
            .hard_link("d0/f0", format!("links/l{number}"))
            .unwrap();
    }
    bed.push_well(PUSH).unwrap();
    assert_counts(&bed, "after a push of links");
    files(&bed, 50..250, 1, 10);
    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    assert!(said(&outcome).contains("Disk quota exceeded"));
    assert_counts(&bed, "when it is full");
    assert!(used(&bed).1 <= 200);
}

/// Every way in which inodes come and go, with the sum compared after each step.
#[test]
fn what_is_added_up_is_what_there_is() {
    let Some(bed) = Bed::configured(&tenant(ADDED_UP)).unwrap() else {
        return;
    };
    adds_up(&bed, &|when| assert_counts(&bed, when));
}

/// The same where snapshots are subvolumes: right by and by, since a change there is counted anew.
#[test]
fn what_is_added_up_of_subvolumes_is_what_there_is() {
    if !may_run() {
        return;
    }
    let disk = LoopFs::make(FileSystem::Btrfs, 1 << 30).unwrap();
    let store = store_with_subvolume(&disk).unwrap();
    let bed = Bed::configured_with_store(&store, &tenant(ADDED_UP)).unwrap();
    adds_up(&bed, &|when| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while used(&bed).1 != counted(&bed.coffre.home()).1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_counts(&bed, when);
    });
}

const ADDED_UP: &str = "quota = \"10GiB\"\nkeep = { last = 2 }\n";

fn adds_up(bed: &Bed, assert_counts: &dyn Fn(&str)) {
    used(bed);
    let source = bed.source().unwrap();
    let path = |name: &str| source.path(name);
    files(bed, 0..40, 1, 20_000);
    source.hard_link("d1/f1", "other/name").unwrap();
    std::os::unix::fs::symlink("elsewhere", path("link")).unwrap();
    bed.push_well(PUSH).unwrap();
    assert_counts("first");
    type Edit<'a> = (&'a str, Box<dyn Fn() + 'a>, &'a str);
    let edits: [Edit<'_>; 9] = [
        ("rewritten", Box::new(|| files(bed, 0..10, 2, 30_000)), PUSH),
        ("nothing", Box::new(|| ()), PUSH),
        (
            "modes of files that history shares",
            Box::new(|| {
                for number in 0..20 {
                    let file = path(&format!("d{}/f{number}", number % 4));
                    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                        .unwrap();
                }
            }),
            PUSH,
        ),
        (
            "a directory becomes a file and a file a directory",
            Box::new(|| {
                fs::remove_dir_all(path("d3")).unwrap();
                fs::write(path("d3"), b"now a file").unwrap();
                fs::remove_file(path("d2/f2")).unwrap();
                fs::create_dir(path("d2/f2")).unwrap();
                fs::write(path("d2/f2/x"), b"below").unwrap();
            }),
            PUSH,
        ),
        (
            "symlink and fifo",
            Box::new(|| {
                fs::remove_file(path("link")).unwrap();
                std::os::unix::fs::symlink("x".repeat(300), path("link")).unwrap();
                fs::remove_file(path("d0/f0")).unwrap();
                std::os::unix::fs::symlink("y", path("d0/f0")).unwrap();
            }),
            PUSH,
        ),
        (
            "delta",
            Box::new(|| {
                let file = path("d1/f5");
                let mut content = fs::read(&file).unwrap();
                content.extend(noise(9, 5_000_000));
                fs::write(file, content).unwrap();
            }),
            "-aH --delete --no-whole-file --inplace src/ server:/mnt/compat/dst/",
        ),
        (
            "sparse",
            Box::new(|| fs::write(path("holes"), vec![0; 3_000_000]).unwrap()),
            "-aHS --delete src/ server:/mnt/compat/dst/",
        ),
        (
            "grown in place",
            Box::new(|| {
                let file = path("d1/f5");
                let mut content = fs::read(&file).unwrap();
                content.extend(noise(10, 3_000_000));
                fs::write(file, content).unwrap();
            }),
            "-aH --delete --append src/ server:/mnt/compat/dst/",
        ),
        (
            "all gone",
            Box::new(|| {
                for entry in fs::read_dir(path("")).unwrap() {
                    let entry = entry.unwrap().path();
                    if entry.is_dir() && !entry.is_symlink() {
                        fs::remove_dir_all(entry).unwrap();
                    } else {
                        fs::remove_file(entry).unwrap();
                    }
                }
            }),
            PUSH,
        ),
    ];
    for (what, edit, command) in &edits {
        edit();
        let outcome = bed.push(command).unwrap();
        if outcome.exit != 0 {
            // An option that this version refuses.
            assert_eq!(outcome.exit, 4, "{what}: {}", said(&outcome));
        }
        assert_counts(what);
        bed.coffre.snapshot().unwrap();
        // The prune after it runs in the background.
        let snapshots = bed.coffre.home().join("snapshots");
        while fs::read_dir(&snapshots).unwrap().count() > 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while used(bed).1 != counted(&bed.coffre.home()).1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_counts(&format!("{what}, and a snapshot"));
    }
}

#[test]
fn a_tenant_keeps_to_its_bandwidth() {
    let Some(bed) = Bed::configured(&tenant("bandwidth = \"2MiB/s\"\n")).unwrap() else {
        return;
    };
    files(&bed, 0..4, 1, 2 * MB);
    let began = Instant::now();
    bed.push_well(PUSH).unwrap();
    // 8 MB at 2 MiB/s, less what may pass at once.
    assert!(began.elapsed() > Duration::from_secs(3));
    let source = bed.source().unwrap();
    let differ = bed.differences(&source.path(""), &bed.destination());
    assert_eq!(differ.unwrap(), "");
}

#[test]
fn sessions_beyond_those_of_the_server_wait_for_their_turn() {
    let lines = Lines {
        server: "max_sessions = 1\n".to_owned(),
        tenant: "bandwidth = \"4MiB/s\"\n".to_owned(),
        ..Lines::default()
    };
    let Some(bed) = Bed::configured(&lines).unwrap() else {
        return;
    };
    files(&bed, 0..4, 1, MB);
    fs::create_dir_all(bed.destination()).unwrap();
    std::thread::scope(|scope| {
        for name in ["one", "two", "three"] {
            let command = format!("-a src/ server:/mnt/compat/dst/{name}/");
            let client = bed.rsync("client", bed.coffre.port(), &command).unwrap();
            scope.spawn(move || {
                let outcome = client.run().unwrap();
                assert_eq!(outcome.exit, 0, "{}", said(&outcome));
            });
            // The file with its ssh configuration is written anew for each.
            std::thread::sleep(Duration::from_millis(300));
        }
    });
}

/// As a machine that loses its power: its connection stays open, and nobody answers.
#[test]
fn a_client_that_vanished_is_taken_over_from_when_it_comes_again() {
    let Some(bed) = Bed::configured(&tenant("max_sessions = 1\n")).unwrap() else {
        return;
    };
    files(&bed, 0..4, 1, 1000);
    let config = bed.ssh_config("client", bed.coffre.port()).unwrap();
    let mut vanished = std::process::Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["server", "rsync --server -logDtpr . /mnt/compat/dst/"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The server's version: the session runs.
    let mut version = [0; 4];
    std::io::Read::read_exact(vanished.stdout.as_mut().unwrap(), &mut version).unwrap();
    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 5, "it lives: {}", said(&outcome));

    let pid = rustix::process::Pid::from_child(&vanished);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    bed.push_well(PUSH).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert!(!vanished.wait().unwrap().success());
}

#[test]
fn a_list_that_is_too_long_ends_the_session_with_a_sentence() {
    let Some(bed) = Bed::configured(&tenant("max_files = 1000\n")).unwrap() else {
        return;
    };
    files(&bed, 0..1100, 1, 5);
    let outcome = bed
        .push("-a --no-inc-recursive src/ server:/mnt/compat/dst/")
        .unwrap();
    assert_eq!(outcome.exit, 2, "{}", said(&outcome));
    let words = "a file list has more than 1000 entries";
    assert!(said(&outcome).contains(words), "{}", said(&outcome));
}

#[test]
fn the_last_of_the_disk_is_not_taken_by_pushes() {
    if !may_run() {
        return;
    }
    let disk = LoopFs::make(FileSystem::Ext4, 64 << 20).unwrap();
    let lines = Lines {
        server: "min_free = \"30MB\"\n".to_owned(),
        ..Lines::default()
    };
    let bed = Bed::configured_with_store(&disk.path().join("store"), &lines).unwrap();
    files(&bed, 0..50, 1, MB);
    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    let words = "No space left on device";
    assert!(said(&outcome).contains(words), "{}", said(&outcome));
    let free = || {
        let stat = rustix::fs::statvfs(disk.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    // Looked at every 4 MiB.
    assert!(free() > 30_000_000 - (5 << 20), "{}", free());

    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    assert!(said(&outcome).contains(words), "{}", said(&outcome));

    // The client makes room: what only deletes is taken.
    let source = bed.source().unwrap();
    for number in 0..50 {
        fs::remove_file(source.path(format!("d{}/f{number}", number % 4))).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    files(&bed, 0..5, 2, MB);
    bed.push_well(PUSH).unwrap();
}
