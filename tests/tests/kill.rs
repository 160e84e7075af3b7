//! The server is killed at random moments of pushes and snapshots, and started again.
//!
//! `COFFRE_ROUNDS` and `COFFRE_SEED` as in `history`. What must hold after each: no file is torn,
//! no half-built snapshot stands under a final name, none that was committed is lost or changed,
//! leftovers are swept, the next push succeeds.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use coffre_client_compat::tree::{Described, describe, noise};
use coffre_tests::{Bed, Known, number_from_env, said, snapshots};
use rustix::process::{Pid, Signal, kill_process};

const PUSH: &str = "-aH --delete src/ server:/mnt/compat/dst/";
const FILES: u64 = 60;

fn mutate(bed: &Bed, round: u64) {
    let source = bed.source().unwrap();
    for number in 0..FILES {
        // Some stay, some change their size, some are not there in every round.
        let name = format!("d{}/f{number}", number % 7);
        match (round * 31 + number * 17) % 5 {
            0 if round > 0 => {}
            1 if source.exists(&name) => drop(source.remove(&name).unwrap()),
            _ => {
                let len = usize::try_from((number * number * 131 + round * 77) % 300_000).unwrap();
                source
                    .file(&name, &noise(round * 1000 + number, len))
                    .unwrap();
            }
        }
    }
}

#[test]
fn a_kill_at_any_moment_tears_and_loses_nothing() {
    let Some(mut bed) = Bed::new().unwrap() else {
        return;
    };
    let rounds = number_from_env("COFFRE_ROUNDS", 8);
    let seed = number_from_env("COFFRE_SEED", 1);
    fs::create_dir_all(bed.destination()).unwrap();
    let mut known = Known::default();
    known.note(&describe(&bed.destination(), None).unwrap());
    let mut history: BTreeMap<PathBuf, Described> = BTreeMap::new();
    let (mut ended_well, mut taken) = (0, 0);
    // How long an undisturbed round takes, so that kills fall into it.
    let mut whole = Duration::from_millis(600);
    for round in 0..rounds {
        mutate(&bed, round);
        let wanted = describe(&bed.source().unwrap().path(""), None).unwrap();
        known.note(&wanted);
        let client = bed.rsync("client", bed.coffre.port(), PUSH).unwrap();
        let parts = (seed * 7919 + round * 104_729) % 97;
        let wait = whole.mul_f64(parts as f64 / 80.0);
        let pid = Pid::from_raw(i32::try_from(bed.coffre.pid()).unwrap()).unwrap();
        let began = std::time::Instant::now();
        let (outcome, snapshot) = std::thread::scope(|scope| {
            let coffre = &bed.coffre;
            let work = scope.spawn(move || {
                let outcome = client.run().unwrap();
                // Fails when the server is gone by then.
                (outcome, coffre.snapshot().ok())
            });
            std::thread::sleep(wait);
            kill_process(pid, Signal::KILL).unwrap();
            work.join().unwrap()
        });
        if snapshot.is_some() {
            whole = whole.min(began.elapsed()).max(Duration::from_millis(100));
        }
        let here = format!("seed {seed}, round {round}, killed after {wait:?}");
        bed.coffre.restart().unwrap();

        assert_eq!(bed.left_in_staging(), Vec::<PathBuf>::new(), "{here}");
        let live = describe(&bed.destination(), None).unwrap();
        known.check(&live, &format!("{here}: live"));
        if outcome.exit == 0 {
            ended_well += 1;
            let differ = bed.differences(&bed.source().unwrap().path(""), &bed.destination());
            assert_eq!(
                differ.unwrap(),
                "",
                "{here}: exit 0, and not what was pushed"
            );
        }
        let there = snapshots(&bed.coffre.home()).unwrap();
        for path in &there {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!name.starts_with('.'), "{here}: {name} was not swept");
        }
        if let Some(snapshot) = &snapshot {
            taken += 1;
            assert!(
                there.contains(snapshot),
                "{here}: a snapshot that was told is lost"
            );
        }
        for old in history.keys() {
            assert!(there.contains(old), "{here}: {} is lost", old.display());
        }
        for path in there {
            let tree = describe(&path, None).unwrap();
            if let Some(before) = history.get(&path) {
                assert!(tree == *before, "{here}: {} has changed", path.display());
                continue;
            }
            let content = describe(&bed.destination_in(&path), None).unwrap();
            known.check(&content, &format!("{here}: {}", path.display()));
            if !path.to_string_lossy().ends_with(".incomplete") {
                // A complete one is what some push brought as a whole; the last one that ended.
                assert_eq!(
                    content.entries.len(),
                    live.entries.len(),
                    "{here}: not whole"
                );
            }
            history.insert(path, tree);
        }

        let again = bed.push(PUSH).unwrap();
        assert_eq!(again.exit, 0, "{here}: the next push: {}", said(&again));
        let differ = bed.differences(&bed.source().unwrap().path(""), &bed.destination());
        assert_eq!(differ.unwrap(), "", "{here}: after the next push");
        if round % 3 == 2 {
            let path = bed.coffre.snapshot().unwrap();
            history.insert(path.clone(), describe(&path, None).unwrap());
        }
    }
    println!("{rounds} kills: {ended_well} pushes and {taken} snapshots had ended, seed {seed}");
}
