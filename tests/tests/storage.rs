//! What the store stands on fails: a file system that turns read-only, errors in writing, no power.
//!
//! `COFFRE_ROUNDS` makes the power cuts more; see `history`.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use coffre_client_compat::loopfs::{FileSystem, LoopFs};
use coffre_client_compat::run::When;
use coffre_client_compat::sandbox::{HOST, Lines};
use coffre_client_compat::tree::{describe, noise};
use coffre_tests::{Bed, Known, may_run, number_from_env, said, snapshots};
use rustix::process::{Pid, Signal, kill_process};

const PUSH: &str = "-aH --delete src/ server:/mnt/compat/dst/";

fn files(bed: &Bed, count: u64, seed: u64, len: usize) {
    let source = bed.source().unwrap();
    for number in 0..count {
        let name = format!("d{}/f{number}", number % 5);
        source
            .file(&name, &noise(seed * 10_000 + number, len))
            .unwrap();
        let time = 1_400_000_000 + i64::try_from(seed).unwrap();
        source.time(&name, time, 5).unwrap();
    }
}

/// To the last byte: without a floor under the free space.
fn bed_on(disk: &LoopFs) -> Bed {
    let lines = Lines {
        server: "min_free = \"0B\"\n".to_owned(),
        ..Lines::default()
    };
    let bed = Bed::configured_with_store(&disk.path().join("store"), &lines).unwrap();
    fs::create_dir_all(bed.destination()).unwrap();
    bed
}

fn is_pushed(bed: &Bed) {
    bed.push_well(PUSH).unwrap();
    let differ = bed.differences(&bed.source().unwrap().path(""), &bed.destination());
    assert_eq!(differ.unwrap(), "");
}

#[test]
fn a_file_system_that_turns_read_only_is_told_and_got_over() {
    if !may_run() {
        return;
    }
    let disk = LoopFs::make(FileSystem::Ext4, 64 << 20).unwrap();
    let mut bed = bed_on(&disk);
    files(&bed, 20, 1, 10_000);
    is_pushed(&bed);
    let snapshot = bed.coffre.snapshot().unwrap();
    let history = describe(&snapshot, None).unwrap();

    // As ext4 does by itself when it finds an error; a polite remount is refused while files are
    // open for writing.
    disk.remount("abort").unwrap();
    files(&bed, 20, 2, 10_000);
    let outcome = bed.push(PUSH).unwrap();
    assert_ne!(outcome.exit, 0, "{}", said(&outcome));
    assert!(!outcome.timed_out);
    assert!(bed.coffre.snapshot().is_err());

    bed.coffre.kill().unwrap();
    disk.mend().unwrap();
    bed.coffre.restart().unwrap();
    is_pushed(&bed);
    assert_eq!(describe(&snapshot, None).unwrap(), history);
}

/// The device is a sparse file on a small file system of its own; when that is full, what is
/// written to a part that has no room yet fails.
#[test]
fn an_error_in_writing_is_told_and_loses_no_history() {
    if !may_run() {
        return;
    }
    let place = small_place();
    let disk = LoopFs::make_in(FileSystem::Ext4, 128 << 20, place.path()).unwrap();
    let mut bed = bed_on(&disk);
    files(&bed, 20, 1, 100_000);
    is_pushed(&bed);
    let snapshot = bed.coffre.snapshot().unwrap();
    let history = describe(&snapshot, None).unwrap();

    let filler = fill(place.path());
    files(&bed, 60, 2, 500_000);
    let outcome = bed.push(PUSH).unwrap();
    assert_ne!(outcome.exit, 0, "told success: {}", said(&outcome));
    assert!(!outcome.timed_out);

    // Somebody mends the disk: room, and a look by the file system.
    fs::remove_file(filler).unwrap();
    bed.coffre.kill().unwrap();
    disk.mend().unwrap();
    bed.coffre.restart().unwrap();
    assert_eq!(describe(&snapshot, None).unwrap(), history);
    is_pushed(&bed);
}

/// Everything goes well until the sync at the end: what was written is in memory only, and the
/// disk takes none of it. The tenant has that disk for itself, so that the record of its sessions
/// is safe.
#[test]
fn a_sync_that_fails_at_the_end_of_a_push_is_told_and_recorded() {
    if !may_run() {
        return;
    }
    let place = small_place();
    let disk = LoopFs::make_in(FileSystem::Ext4, 128 << 20, place.path()).unwrap();
    let store = tempfile::tempdir().unwrap();
    let home = store.path().join("store/compat");
    fs::create_dir_all(&home).unwrap();
    let _bound = Mounted::new(&["--bind", &disk.path().display().to_string()], &home);
    let lines = Lines {
        server: "min_free = \"0B\"\n".to_owned(),
        ..Lines::default()
    };
    let bed = Bed::configured_with_store(&store.path().join("store"), &lines).unwrap();
    files(&bed, 20, 1, 100_000);
    is_pushed(&bed);
    disk.sync().unwrap();

    fill(place.path());
    files(&bed, 20, 2, 100_000);
    let outcome = bed.push(PUSH).unwrap();
    let text = said(&outcome);
    assert_eq!(outcome.exit, 11, "{text}");
    assert!(outcome.wall < Duration::from_secs(20), "{:?}", outcome.wall);
    let reason = "the data could not be written to disk: ";
    assert!(text.contains(reason), "{text}");
    let status = bed.coffre.command(&["status", "--json"]).unwrap();
    assert!(status.contains(r#""state": "broke_off""#), "{status}");
    let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
    let end = log.lines().rfind(|line| line.contains("session ended"));
    assert!(end.unwrap().contains("exit=11"), "{end:?}");
    assert!(end.unwrap().contains(reason), "{end:?}");
}

/// A small file system in memory, in which a device can be that is larger.
fn small_place() -> Mounted {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().to_owned();
    let mut mounted = Mounted::new(&["-t", "tmpfs", "-o", "size=64m", "none"], &at);
    mounted.dir = Some(place);
    mounted
}

/// Until there is no room left.
fn fill(place: &Path) -> PathBuf {
    let filler = place.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    assert!(std::io::copy(&mut std::io::repeat(7), &mut file).is_err());
    filler
}

/// A mount that goes with the value.
struct Mounted {
    at: PathBuf,
    dir: Option<tempfile::TempDir>,
}

impl Mounted {
    fn new(what: &[&str], at: &Path) -> Self {
        let status = Command::new("mount").args(what).arg(at).status();
        assert!(status.unwrap().success(), "mount {what:?}");
        let at = at.to_owned();
        Self { at, dir: None }
    }

    fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn power_cuts(kind: FileSystem, size: u64) {
    if !may_run() {
        return;
    }
    let disk = LoopFs::make(kind, size).unwrap();
    let mut bed = bed_on(&disk);
    let mut known = Known::default();
    known.note(&describe(&bed.destination(), None).unwrap());
    let rounds = number_from_env("COFFRE_ROUNDS", 2);
    let mut lost = 0;
    for round in 0..rounds {
        files(&bed, 40, 2 * round, 60_000);
        known.note(&describe(&bed.source().unwrap().path(""), None).unwrap());
        is_pushed(&bed);
        // The clients of this one and of its snapshot have been told success.
        let pushed = describe(&bed.destination(), None).unwrap();
        let snapshot = bed.coffre.snapshot().unwrap();
        let history = describe(&snapshot, None).unwrap();

        files(&bed, 40, 2 * round + 1, 60_000);
        known.note(&describe(&bed.source().unwrap().path(""), None).unwrap());
        let client = bed.rsync("client", bed.coffre.port(), PUSH).unwrap();
        let pid = Pid::from_raw(i32::try_from(bed.coffre.pid()).unwrap()).unwrap();
        let outcome = std::thread::scope(|scope| {
            let coffre = &bed.coffre;
            let work = scope.spawn(move || {
                let outcome = client.run().unwrap();
                let _ = coffre.snapshot();
                outcome
            });
            std::thread::sleep(Duration::from_millis(30 + (round * 137) % 500));
            kill_process(pid, Signal::STOP).unwrap();
            disk.copy_device().unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            work.join().unwrap()
        });
        bed.coffre.kill().unwrap();
        disk.go_on_with_copy().unwrap();
        bed.coffre.restart().unwrap();

        let here = format!("round {round}, client exit {}", outcome.exit);
        assert_eq!(bed.left_in_staging(), Vec::<PathBuf>::new(), "{here}");
        let live = describe(&bed.destination(), None).unwrap();
        known.check(&live, &here);
        lost += u64::from(live == pushed);
        assert_eq!(describe(&snapshot, None).unwrap(), history, "{here}");
        for path in snapshots(&bed.coffre.home()).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!name.starts_with('.'), "{here}: {name} was not swept");
            let tree = describe(&bed.destination_in(&path), None).unwrap();
            known.check(&tree, &format!("{here}: {name}"));
        }
        is_pushed(&bed);
    }
    println!("{rounds} power cuts; {lost} of them before anything of the push was on disk");
}

#[test]
fn a_power_cut_on_ext4_loses_only_what_nobody_was_told_is_safe() {
    power_cuts(FileSystem::Ext4, 128 << 20);
}

#[test]
fn a_power_cut_on_xfs_loses_only_what_nobody_was_told_is_safe() {
    power_cuts(FileSystem::Xfs, 320 << 20);
}

#[test]
fn a_power_cut_on_btrfs_loses_only_what_nobody_was_told_is_safe() {
    power_cuts(FileSystem::Btrfs, 256 << 20);
}

/// A file system that keeps no extended attributes, mounted for as long as the value lives.
struct Bare(tempfile::TempDir);

impl Bare {
    fn mount() -> Self {
        let bare = Self(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount")
            .args(["-t", "ramfs", "-o", "mode=700", "ramfs"])
            .arg(bare.0.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        bare
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_store_without_attributes_says_so_and_works() {
    if !may_run() {
        return;
    }
    let bare = Bare::mount();
    let store = bare.0.path().join("store");
    let bed = Bed::with_store(&store).unwrap();
    files(&bed, 20, 1, 3000);
    let source = bed.source().unwrap();
    source.owner("d1/f1", 1001, 1002).unwrap();
    source.hard_link("d1/f1", "d2/same").unwrap();
    bed.push_well(PUSH).unwrap();
    let first = bed.coffre.snapshot().unwrap();
    let was = describe(&bed.destination_in(&first), None).unwrap();
    files(&bed, 20, 2, 4000);
    bed.push_well(PUSH).unwrap();
    let second = bed.coffre.snapshot().unwrap();
    assert_eq!(describe(&bed.destination_in(&first), None).unwrap(), was);
    let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
    let words = "keeps no extended attributes: sums of contents are kept in the catalogue instead";
    assert!(log.contains(words), "{log}");

    bed.push_well(&format!("-c {PUSH}")).unwrap();
    let differences = bed.differences(&source.path(""), &bed.destination());
    assert_eq!(differences.unwrap(), "");
    let to = bed.local().join("restored");
    let words = format!("restore compat latest mnt/compat/dst {}", to.display());
    let restored = bed.coffre.verb(&words).unwrap();
    assert_eq!(restored.exit, 0, "{}", said(&restored));
    assert_eq!(bed.differences(&source.path(""), &to).unwrap(), "");
    let verified = bed.coffre.verb("verify").unwrap();
    assert_eq!(verified.exit, 0, "{}", said(&verified));

    // Marks are believed for the directory that they were made for, and go with it.
    let mark = |snapshot: &Path| {
        let name = snapshot.file_name().unwrap().to_str().unwrap();
        bed.coffre.home().join(format!(".manifests/{name}.mark"))
    };
    let ours = || coffre::snapshot::list(&bed.coffre.home()).unwrap();
    assert!(ours().iter().all(|snapshot| snapshot.is_ours()));
    let aside = first.with_file_name("aside");
    fs::rename(&first, &aside).unwrap();
    fs::create_dir(&first).unwrap();
    assert!(!ours()[0].is_ours());
    fs::remove_dir(&first).unwrap();
    fs::rename(&aside, &first).unwrap();
    assert!(ours()[0].is_ours());
    let name = second.file_name().unwrap().to_str().unwrap();
    let removed = coffre::snapshot::remove(&bed.coffre.home(), name.parse().unwrap(), None, &());
    removed.unwrap();
    assert!(!mark(&second).exists() && mark(&first).exists());

    // Without root there would be no place for owners.
    let config = fs::read_to_string(bed.coffre.config()).unwrap();
    let config = config.replace("[server]", "[server]\nmetadata = \"xattr\"");
    fs::write(bed.coffre.config(), config).unwrap();
    let mut bed = bed;
    bed.coffre.kill().unwrap();
    let refused = bed.coffre.verb("serve").unwrap();
    assert_ne!(refused.exit, 0);
    assert!(
        said(&refused).contains("use another file system"),
        "{}",
        said(&refused)
    );
}

#[test]
fn sums_are_in_the_catalogue_where_files_take_no_attributes() {
    if !may_run() {
        return;
    }
    const SIZE: u64 = 16 << 20;
    let bare = Bare::mount();
    let mut bed = Bed::with_store(&bare.0.path().join("store")).unwrap();
    let source = bed.source().unwrap();
    source.file("large", &noise(1, SIZE as usize)).unwrap();
    source.file("small", &noise(2, 5_000)).unwrap();
    source.file("docs/gone", &noise(3, 5_000)).unwrap();
    for name in ["large", "small", "docs/gone"] {
        source.time(name, 1_500_000_000, 7).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    let first = bed.coffre.snapshot().unwrap();
    let read_by = |bed: &Bed, command: &str| {
        let before = bed.bytes_read().unwrap();
        bed.push_well(command).unwrap();
        bed.bytes_read().unwrap() - before
    };
    let verify = |bed: &Bed| {
        let outcome = bed.coffre.verb("verify").unwrap();
        (outcome.exit, said(&outcome))
    };

    // Neither a push nor a restore with --checksum reads what is known, nor after a restart, nor
    // when only the time has changed.
    let restore = format!("-ac restore@{HOST}:/latest/mnt/compat/dst/ src/");
    for round in 0..2 {
        for command in [&format!("-c {PUSH}"), &restore] {
            let read = read_by(&bed, command);
            assert!(read < SIZE / 50, "{round}: {command}: {read}");
        }
        let (exit, text) = verify(&bed);
        assert_eq!(exit, 0, "{text}");
        assert!(
            text.contains("3 files") && !text.contains("no sum"),
            "{text}"
        );
        bed.coffre.kill().unwrap();
        bed.coffre.restart().unwrap();
    }
    source.time("large", 1_600_000_000, 8).unwrap();
    source.owner("large", 1001, 1002).unwrap();
    bed.push_well(&format!("-c {PUSH}")).unwrap();
    assert!(read_by(&bed, &format!("-c {PUSH}")) < SIZE / 50);
    let (exit, text) = verify(&bed);
    assert_eq!(exit, 0, "{text}");
    // The copy that live has of it, and the one of the snapshot: both have their sums.
    assert!(
        text.contains("4 files") && !text.contains("no sum"),
        "{text}"
    );

    // A flipped bit and a cut file, shared with a snapshot, are found and named.
    let stored = bed.destination();
    let flip = |path: &Path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        let mut content = fs::read(path).unwrap();
        content[4_000] ^= 1;
        fs::write(path, content).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    };
    flip(&stored.join("small"));
    let cut = fs::File::options()
        .write(true)
        .open(stored.join("docs/gone"));
    cut.unwrap().set_len(4_999).unwrap();
    let (exit, text) = verify(&bed);
    assert_eq!(exit, 1, "{text}");
    let name = first.file_name().unwrap().to_str().unwrap();
    for words in [
        "dst/small: the content is not the one that was received\n",
        "dst/docs/gone: it has 4999 bytes, and 5000 were received\n",
        &format!("    in {name}, live\n"),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Written anew in place, the content is another, and so is its sum.
    bed.push_well(&format!("-c --inplace --checksum-choice=md5 {PUSH}"))
        .unwrap();
    let (exit, text) = verify(&bed);
    assert_eq!(exit, 1, "{text}");
    assert!(!text.contains(", live\n"), "{text}");

    // What has taken the place of a file is not taken for it, though size and time are the same.
    let foreign = stored.join("large");
    let modified = fs::metadata(&foreign).unwrap().modified().unwrap();
    fs::remove_file(&foreign).unwrap();
    fs::write(&foreign, noise(9, SIZE as usize)).unwrap();
    let file = fs::File::options().write(true).open(&foreign).unwrap();
    file.set_modified(modified).unwrap();
    let (_, text) = verify(&bed);
    assert!(text.contains("1 file has no sum"), "{text}");
    assert!(!text.contains("dst/large"), "{text}");
    assert!(read_by(&bed, &format!("-c {PUSH}")) >= SIZE);
    let differences = bed.differences(&source.path(""), &stored);
    assert_eq!(differences.unwrap(), "");
}

#[test]
fn what_a_broken_push_left_is_gone_on_with_where_files_take_no_attributes() {
    if !may_run() {
        return;
    }
    let bare = Bare::mount();
    let bed = Bed::with_store(&bare.0.path().join("store")).unwrap();
    bed.source()
        .unwrap()
        .file("large", &noise(1, 16 << 20))
        .unwrap();
    let command = format!("--partial --bwlimit=1000 {PUSH}");
    let mut client = bed.rsync("client", bed.coffre.port(), &command).unwrap();
    client.interrupt = Some((When::HasRead(6 << 20), Signal::INT));
    assert_ne!(client.run().unwrap().exit, 0);
    let kept = || {
        fs::read_dir(bed.coffre.home().join(".partial"))
            .unwrap()
            .count()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while kept() == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    let outcome = bed.push_well(&format!("--partial --stats {PUSH}")).unwrap();
    let text = said(&outcome);
    let matched = text.lines().find(|line| line.starts_with("Matched data:"));
    assert!(!matched.unwrap().contains(" 0 bytes"), "{text}");
    assert_eq!(kept(), 0);
}
