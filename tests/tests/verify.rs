//! What `coffre verify` finds.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coffre::catalogue::Catalogue;
use coffre::control::facts::StatusFacts;
use coffre::verify::{Finding, Task, Watch};
use coffre_client_compat::run::When;
use coffre_client_compat::tree::noise;
use coffre_tests::{Bed, number_from_env, said};

const PUSH: &str = "-aH src/ server:/mnt/compat/dst/";

/// Changes a byte as a disk would: nobody notices.
fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(modified))
        .unwrap();
}

fn verify(bed: &Bed, words: &str) -> (i32, String) {
    let outcome = bed.coffre.verb(&format!("verify {words}")).unwrap();
    (outcome.exit, said(&outcome))
}

#[test]
fn what_is_damaged_is_found_once_and_named_everywhere() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    for name in ["kept", "flipped", "cut", "gone", "docs/inner", "private"] {
        source
            .file(name, &noise(name.len() as u64, 10_000))
            .unwrap();
    }
    source.file("empty", b"").unwrap();
    source.hard_link("flipped", "docs/flipped too").unwrap();
    source.symlink("link", "kept").unwrap();
    bed.push_well(PUSH).unwrap();
    let first = bed.coffre.snapshot().unwrap();
    source.file("private", &noise(77, 5_000)).unwrap();
    bed.push_well(PUSH).unwrap();
    let second = bed.coffre.snapshot().unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (one, two) = (name(&first), name(&second));

    let (exit, text) = verify(&bed, "");
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("nothing is damaged"), "{text}");
    // Seven inodes, and one that was replaced: each once.
    assert!(text.contains("8 files"), "{text}");
    assert!(!text.contains("no sum"), "{text}");

    let dst = |tree: &Path| tree.join("mnt/compat/dst");
    flip(&dst(&first).join("flipped"), 5_000);
    let cut = File::options()
        .write(true)
        .open(dst(&first).join("cut"))
        .unwrap();
    cut.set_len(9_999).unwrap();
    fs::remove_file(dst(&second).join("gone")).unwrap();
    fs::write(dst(&second).join("docs/extra"), "?").unwrap();
    fs::create_dir(dst(&first).join("extra directory")).unwrap();
    fs::remove_file(dst(&first).join("link")).unwrap();
    symlink("elsewhere", dst(&first).join("link")).unwrap();
    fs::remove_dir_all(dst(&first).join("docs")).unwrap();

    let outcome = bed.coffre.verb("verify --json").unwrap();
    assert_eq!(outcome.exit, 1, "{}", said(&outcome));
    let text = String::from_utf8(outcome.stdout).unwrap();
    let facts: Vec<coffre::control::facts::VerifyFacts> = serde_json::from_str(&text).unwrap();
    let found: Vec<_> = facts[0]
        .damaged
        .iter()
        .map(|d| {
            let path = d.path.strip_prefix("mnt/compat/dst/").unwrap();
            let places: Vec<&str> = d.snapshots.iter().map(String::as_str).collect();
            (path, d.kind.as_str(), places)
        })
        .collect();
    let (both, all) = (vec![two.as_str(), "live"], vec![&*one, &*two, "live"]);
    assert_eq!(
        found,
        [
            ("cut", "size", all.clone()),
            ("docs", "missing", vec![&*one]),
            ("docs/extra", "extra", vec![&*two]),
            ("docs/flipped too", "content", both),
            ("extra directory", "extra", vec![&*one]),
            ("flipped", "content", all),
            ("gone", "missing", vec![&*two]),
            ("link", "replaced", vec![&*one]),
        ],
        "{text}"
    );
    let (exit, text) = verify(&bed, "compat");
    assert_eq!(exit, 1);
    let words = "compat: mnt/compat/dst/cut: it has 9999 bytes, and 10000 were received\n";
    assert!(text.contains(words), "{text}");

    // One snapshot alone, by its name and as the last one.
    for snapshot in [two.as_str(), "latest"] {
        let (exit, text) = verify(&bed, &format!("compat {snapshot}"));
        assert_eq!(exit, 1);
        assert!(text.contains("dst/gone: the file is missing"), "{text}");
        assert!(!text.contains("extra directory"), "{text}");
    }
    let (exit, text) = verify(&bed, "compat 2001-01-01");
    assert_eq!(exit, 1);
    assert!(
        text.contains("no snapshot was taken on 2001-01-01"),
        "{text}"
    );
}

#[test]
fn what_is_not_known_is_said_and_a_damaged_manifest_is_noticed() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("a", &noise(1, 10_000)).unwrap();
    source.file("b", &noise(2, 10_000)).unwrap();
    bed.push_well(PUSH).unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let stored = bed.destination().join("a");
    rustix::fs::lremovexattr(&stored, "user.coffre.sum").unwrap();
    let name = snapshot.file_name().unwrap();
    let manifest = bed.coffre.home().join(".manifests").join(name);

    let length = fs::metadata(&manifest).unwrap().size();
    flip(&manifest, length / 2);
    let (exit, text) = verify(&bed, "");
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("the manifest cannot be used"), "{text}");
    assert!(text.contains("1 file has no sum"), "{text}");

    fs::remove_file(&manifest).unwrap();
    let (exit, text) = verify(&bed, "");
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("no manifest, so what is missing"), "{text}");

    // Something else than coffre at work in live.
    fs::write(bed.destination().join("b"), noise(3, 10_000)).unwrap();
    let (exit, text) = verify(&bed, "");
    assert_eq!(exit, 1, "{text}");
    assert!(
        text.contains("something else than coffre has written"),
        "{text}"
    );
}

/// A snapshot of 40 directories with a file of 1 MiB each.
fn push_40_directories(bed: &Bed) {
    let source = bed.source().unwrap();
    for number in 0..40 {
        let name = format!("d{number:02}/file");
        source.file(&name, &noise(number, 1 << 20)).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    bed.coffre.snapshot().unwrap();
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    push_40_directories(&bed);
    flip(&bed.destination().join("d00/file"), 5);
    // As slow as to be killed on the way, and long enough for what it has done to be noted.
    let mut slow = bed.coffre.invocation("verify --limit 2MiB");
    slow.interrupt = Some((
        When::After(std::time::Duration::from_secs(9)),
        rustix::process::Signal::KILL,
    ));
    let cut = slow.run().unwrap();
    assert_ne!(cut.exit, 0);
    let (exit, text) = verify(&bed, "--json");
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("goes on where the run"), "{text}");
    assert!(text.contains("d00/file"), "{text}");
    assert!(text.contains("\"resumed\": true"), "{text}");
    let (_, text) = verify(&bed, "--json");
    assert!(text.contains("\"resumed\": false"), "{text}");
}

/// Reads so much at a time.
struct Share {
    most: u64,
    read: AtomicU64,
}

impl Watch for Share {
    fn advance(&self, _files: u64, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn found(&self, finding: &Finding) {
        panic!("{}", finding.words());
    }

    fn note(&self, _line: &str) {}

    fn cancelled(&self) -> bool {
        false
    }

    fn has_enough(&self) -> bool {
        self.read.load(Ordering::Relaxed) >= self.most
    }
}

#[test]
fn a_store_that_is_read_in_parts_is_read_once() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    push_40_directories(&bed);
    bed.coffre.snapshot().unwrap();
    let home = bed.coffre.home();
    let catalogue = Catalogue::open_beside(home.parent().unwrap());
    let catalogue = catalogue.unwrap().unwrap();
    let task = Task {
        tenant: "compat",
        home: &home,
        only: None,
        bytes_per_second: None,
        restart: false,
        catalogue: Some(&catalogue),
        notes: None,
    };
    let (mut total, mut parts) = (0, 0);
    loop {
        let share = Share {
            most: 10 << 20,
            read: AtomicU64::new(0),
        };
        let outcome = coffre::verify::verify(&task, &share).unwrap();
        let read = share.read.into_inner();
        // What the readers had in hand is read to its end.
        assert!(read < 20 << 20, "{read}");
        total += read;
        parts += 1;
        if outcome.complete {
            assert_eq!((outcome.files, outcome.bytes), (40, total));
            break;
        }
        assert!(outcome.resumed == (parts > 1) && parts < 10, "{outcome:?}");
    }
    assert_eq!(total, 40 << 20);
    assert!(parts > 1);
}

#[test]
fn the_server_finds_a_flipped_bit_by_itself_and_says_so_loudly() {
    let Some(mut bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("good", &noise(1, 10_000)).unwrap();
    source.file("etc/shadow", &noise(2, 10_000)).unwrap();
    bed.push_well(PUSH).unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let name = snapshot.file_name().unwrap().to_str().unwrap().to_owned();
    flip(&snapshot.join("mnt/compat/dst/etc/shadow"), 4_321);
    let status = |bed: &Bed| bed.coffre.command(&["status"]).unwrap();
    assert!(!status(&bed).contains("VERIFIED"));

    let config = fs::read_to_string(bed.coffre.config()).unwrap();
    let line = "snapshots = false\nverify = { every = \"30d\", limit = \"50MiB/s\" }\n";
    let config = config.replace("snapshots = false\n", line);
    fs::write(bed.coffre.config(), config).unwrap();
    bed.coffre.command(&["reload"]).unwrap();
    let log = |bed: &Bed| fs::read_to_string(bed.coffre.log_file()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !log(&bed).contains("verified the store") {
        assert!(Instant::now() < deadline, "{}", log(&bed));
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = log(&bed);
    let line = text
        .lines()
        .find(|line| line.contains("DAMAGED: the content"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    for part in ["ERROR", "mnt/compat/dst/etc/shadow", &name, "compat"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!text.contains("dst/good"), "{text}");

    // The status tells it until a later run finds it no more, also after a restart.
    let told = format!("DAMAGED  compat: {name}: mnt/compat/dst/etc/shadow: the content is not");
    for restart in [false, true] {
        if restart {
            bed.coffre.restart().unwrap();
        }
        let text = status(&bed);
        assert!(text.contains(&told), "{text}");
        assert!(text.contains("ago, 1 DAMAGED"), "{text}");
        let json = bed.coffre.command(&["status", "--json"]).unwrap();
        let facts: StatusFacts = serde_json::from_str(&json).unwrap();
        let verify = facts.tenants[0].verify.as_ref().unwrap();
        assert_eq!((verify.damaged, verify.every_seconds), (1, Some(2_592_000)));
        assert!(verify.last_ended.is_some() && verify.next.is_some());
    }
    assert_eq!(log(&bed).matches("verified the store").count(), 1);
    // Mended, and read by hand, which counts.
    flip(&snapshot.join("mnt/compat/dst/etc/shadow"), 4_321);
    let (exit, text) = verify(&bed, "");
    assert_eq!(exit, 0, "{text}");
    assert!(!status(&bed).contains("DAMAGED"), "{}", status(&bed));
}

/// `COFFRE_FILES` makes them more.
#[test]
fn an_intact_store_of_many_files_verifies_clean() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let files = number_from_env("COFFRE_FILES", 3_000);
    let source = bed.source().unwrap();
    for number in 0..files {
        let name = format!("d{:03}/f{number}", number / 250);
        source.file(&name, &noise(number, 4096)).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    bed.coffre.snapshot().unwrap();
    bed.coffre.snapshot().unwrap();
    let (exit, text) = verify(&bed, "");
    println!("{text}");
    assert_eq!(exit, 0, "{text}");
    let words = format!("{} (", coffre::config::units::count(files, "file"));
    assert!(text.contains(&words), "{text}");
    assert!(text.contains("in 2 snapshots and live"), "{text}");
    assert!(text.contains(": nothing is damaged"), "{text}");
    assert!(!text.contains("no sum"), "{text}");

    // One bit in one of them.
    let file = bed
        .destination()
        .join(format!("d{:03}/f{}", (files - 1) / 250, files - 1));
    flip(&file, 4_000);
    let (exit, text) = verify(&bed, "");
    assert_eq!(exit, 1, "{text}");
    let words = format!(
        "/f{}: the content is not the one that was received",
        files - 1
    );
    assert!(text.contains(&words), "{text}");
    assert!(text.contains(": 1 name damaged"), "{text}");
}
