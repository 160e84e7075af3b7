//! History is immutable, shown through the stock client: random trees, random edits, random
//! options, a snapshot after each push, and every earlier snapshot the same to the byte and the
//! attribute.
//!
//! `COFFRE_ROUNDS` and `COFFRE_SEED` make it longer and other; a failure names its seed.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};

use coffre_client_compat::loopfs::{FileSystem, LoopFs};
use coffre_client_compat::tree::{Builder, Described, describe, noise};
use coffre_tests::{Bed, may_run, number_from_env, said, store_with_subvolume};

/// Numbers that look random, the same for a seed on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap() % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

const NAMES: [&str; 14] = [
    "a", "b", "d1/a", "d1/b", "d1/c", "d1/e/a", "d1/e/b", "d2/a", "d2/b", "d2/f/a", "d3/a", "d3/b",
    "d3/g/h/a", "x",
];

/// Where a link leads that --copy-links must not meet: the store would be sent to itself.
const ABOVE: &str = "../..";

/// One change of the source.
fn edit(source: &Builder, dice: &mut Dice) {
    let name = dice.pick(&NAMES);
    let path = source.path(name);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|stat| stat.is_file());
    let clear = || {
        // What stands on the way and is no directory goes, too.
        let mut above = PathBuf::from(name);
        while above.pop() && !above.as_os_str().is_empty() {
            let path = source.path(&above);
            if fs::symlink_metadata(&path).is_ok_and(|stat| !stat.is_dir()) {
                fs::remove_file(path).unwrap();
            }
        }
        if fs::symlink_metadata(&path).is_ok() {
            source.remove(name).unwrap();
        }
    };
    let seed = dice.roll(1 << 30) as u64;
    let len = [0, 1, 100, 5_000, 70_000, 700_000][dice.roll(6)];
    match dice.roll(16) {
        0..=3 => {
            clear();
            source.file(name, &noise(seed, len)).unwrap();
        }
        4 if is_file => drop(source.append(name, &noise(seed, len)).unwrap()),
        5 if is_file => {
            let size = fs::metadata(&path).unwrap().len();
            source.truncate(name, size / 2).unwrap();
        }
        6 if is_file => drop(source.patch(name, seed % 3000, &noise(seed, 50)).unwrap()),
        7 if is_file => {
            let mode = [0o644, 0o600, 0o4755, 0o000, 0o2640, 0o1777][dice.roll(6)];
            source.mode(name, mode).unwrap();
        }
        8 if is_file => drop(
            source
                .owner(name, dice.roll(5) as u32, dice.roll(5) as u32)
                .unwrap(),
        ),
        9 if is_file => {
            let time = 1_300_000_000 + dice.roll(1000) as i64;
            source.time(name, time, 5).unwrap();
        }
        10 if is_file => {
            let value = noise(seed, [1, 20, 300][dice.roll(3)]);
            source.xattr(name, "user.note", &value).unwrap();
        }
        11 if is_file => {
            let to = dice.pick(&NAMES);
            let free = fs::symlink_metadata(source.path(to)).is_err();
            let reachable = source
                .path(to)
                .ancestors()
                .skip(1)
                .all(|above| fs::symlink_metadata(above).map_or(true, |stat| stat.is_dir()));
            if free && reachable {
                source.hard_link(name, to).unwrap();
            }
        }
        12 => {
            clear();
            source
                .symlink(name, ["a", "/etc/passwd", ABOVE][dice.roll(3)])
                .unwrap();
        }
        13 => {
            clear();
            source.fifo(name).unwrap();
        }
        14 => {
            clear();
            source.directory(name).unwrap();
        }
        _ => clear(),
    }
}

/// Options that change how a file comes to its place; each may be there or not.
const OPTIONS: [&str; 35] = [
    "--delete",
    "--delete",
    "--delete-before",
    "--delete-after",
    "--delete-delay",
    "--inplace",
    "--append",
    "--append-verify",
    "--checksum",
    "--whole-file",
    "--no-whole-file",
    "--sparse",
    "--numeric-ids",
    "--update",
    "--size-only",
    "--ignore-times",
    "--partial",
    "--partial-dir=.part",
    "--backup",
    "--backup-dir=../kept",
    "--fuzzy",
    "--delay-updates",
    "--compress",
    "--no-perms",
    "--chmod=Du+w,Fg-w",
    "--omit-dir-times",
    "--existing",
    "--ignore-existing",
    "--no-inc-recursive",
    "--no-times",
    "--no-owner",
    "--preallocate",
    "--copy-links",
    "--keep-dirlinks",
    "--no-hard-links",
];

#[test]
fn no_push_of_any_kind_changes_any_snapshot() {
    if let Some(bed) = Bed::new().unwrap() {
        history_stays(&bed);
    }
}

/// The same where snapshots are subvolumes, which share no inode with live.
#[test]
fn no_push_changes_any_snapshot_of_a_subvolume() {
    if !may_run() {
        return;
    }
    let disk = LoopFs::make(FileSystem::Btrfs, 1 << 30).unwrap();
    let store = store_with_subvolume(&disk).unwrap();
    let bed = Bed::with_store(&store).unwrap();
    history_stays(&bed);
    // All of it is shown to who restores, and goes by prune.
    let verified = bed.coffre.verb("verify").unwrap();
    assert_eq!(verified.exit, 0, "{}", said(&verified));
    let snapshots = coffre::snapshot::list(&bed.coffre.home()).unwrap();
    for snapshot in &snapshots {
        let name = snapshot.name.to_string();
        let error = fs::create_dir(bed.coffre.home().join("snapshots").join(&name).join("new"));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        let to = bed.local().join("restored").join(&name);
        fs::create_dir_all(&to).unwrap();
        let words = format!("restore compat {name} mnt/compat/dst {}", to.display());
        let restored = bed.coffre.verb(&words).unwrap();
        assert_eq!(restored.exit, 0, "{}", said(&restored));
    }
}

fn history_stays(bed: &Bed) {
    let rounds = number_from_env("COFFRE_ROUNDS", 12);
    let seed = number_from_env("COFFRE_SEED", 1);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let source = bed.source().unwrap();
    for name in NAMES {
        source.file(name, &noise(seed, 10_000)).unwrap();
    }
    let mut history: Vec<(PathBuf, Described)> = Vec::new();
    let (mut went_well, mut refused) = (0, 0);
    for round in 0..rounds {
        for _ in 0..dice.roll(8) {
            edit(&source, &mut dice);
        }
        let mut command = "-aHAX".to_owned();
        for _ in 0..dice.roll(4) {
            command.push(' ');
            command.push_str(dice.pick(&OPTIONS));
        }
        if command.contains("--copy-links") {
            for name in NAMES {
                if fs::read_link(source.path(name)).is_ok_and(|target| target == Path::new(ABOVE)) {
                    source.remove(name).unwrap();
                }
            }
        }
        command.push_str(" src/ server:/mnt/compat/dst/");
        let outcome = bed.push(&command).unwrap();
        let here = || {
            format!(
                "seed {seed}, round {round}: rsync {command}: {}",
                said(&outcome)
            )
        };
        match outcome.exit {
            0 | 23..=25 => went_well += 1,
            // Options that do not go together, or are refused.
            1 | 4 => refused += 1,
            _ => panic!("{}", here()),
        }
        let snapshot = bed.coffre.snapshot().unwrap();
        history.push((snapshot.clone(), describe(&snapshot, None).unwrap()));
        // All of them at the end, the last few at once, so that it is known which push it was.
        let is_last = round + 1 == rounds;
        let skip = if is_last {
            0
        } else {
            history.len().saturating_sub(4)
        };
        for (snapshot, before) in &history[skip..] {
            let now = describe(snapshot, None).unwrap();
            assert!(
                now == *before,
                "{} has changed; {}",
                snapshot.display(),
                here()
            );
        }
    }
    println!("{rounds} pushes, {went_well} well, {refused} refused, seed {seed}");
    assert!(went_well * 3 > rounds, "too few pushes went well");
}
