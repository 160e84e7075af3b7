//! `--link-dest`, `--copy-dest` and `--compare-dest` that lead outside.
//!
//! What lies outside is as like to the client's files as the quick check can see, and has another
//! content. So whoever looked at it would link it, copy it, or leave the file out.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use coffre_client_compat::tree::Builder;
use coffre_tests::{number_from_env, said};

use crate::yard::Yard;

const OPTIONS: &[&str] = &["--link-dest", "--copy-dest", "--compare-dest"];
const WHEN: i64 = 1_500_000_000;

/// Two files at the client, and outside, in two directories, what could be taken for them.
fn bait(yard: &Yard) {
    let spool = Builder::at(&yard.bed.local().join("spool")).unwrap();
    for name in ["keep", "d/keep"] {
        spool
            .file(name, b"mine")
            .unwrap()
            .time(name, WHEN, 0)
            .unwrap();
    }
}

/// What the client has, in `/tree/inside`.
fn stand_in(live: &Path) {
    let inside = Builder::at(&live.join("tree/inside")).unwrap();
    for name in ["keep", "d/keep"] {
        inside
            .file(name, b"mine")
            .unwrap()
            .time(name, WHEN, 0)
            .unwrap();
    }
}

fn is_untouched(yard: &Yard, what: &str) {
    let live = yard.bed.coffre.home().join("live/new");
    for name in ["keep", "d/keep"] {
        let file = live.join(name);
        assert_eq!(fs::read(&file).unwrap(), b"mine", "{what}: {name}");
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 1, "{what}: {name}");
    }
    fs::remove_dir_all(&live).unwrap();
}

#[test]
fn nothing_outside_is_linked_copied_or_taken_for_there() {
    let Some(yard) = Yard::with_outside(|outside| {
        for name in ["keep", "d/keep"] {
            outside.file(name, b"evil").unwrap();
            outside.time(name, WHEN, 0).unwrap();
        }
    }) else {
        return;
    };
    let home = yard.bed.coffre.home();
    let live = home.join("live");
    bait(&yard);
    // Inside stands what the client has, so that there is something to be found.
    stand_in(&live);
    yard.during(|| {
        // What is inside is taken: so the ways below would be, too.
        for option in OPTIONS {
            let command = format!("-a {option}=/tree/inside spool/ server:/new/");
            yard.bed.push_well(&command).unwrap();
            let links = fs::metadata(live.join("new/keep")).map(|file| file.nlink());
            let expected = [Some(2), Some(1), None];
            let at = OPTIONS.iter().position(|other| other == option);
            assert_eq!(links.ok(), expected[at.unwrap()], "{option}");
            let _ = fs::remove_dir_all(live.join("new"));
        }
        // By the argument alone.
        let (outside, history) = (yard.outside.display(), yard.history().display().to_string());
        for option in OPTIONS {
            for way in [
                "../../outside",
                "../../../../../../../../outside",
                "/../outside",
                "/../../../../outside",
                "d/../../../outside",
                &outside.to_string(),
                &format!("{history}/dst"),
                "/proc/self/cwd/../outside",
                "/etc",
            ] {
                let command = format!("-a {option}={way} spool/ server:/new/");
                let outcome = yard.bed.push(&command).unwrap();
                let what = format!("{option}={way}: {}", said(&outcome));
                assert!(!outcome.timed_out, "{what}");
                // Refused, or not there.
                match outcome.exit {
                    0 => is_untouched(&yard, &what),
                    _ => assert!(said(&outcome).contains("(code "), "{what}"),
                }
                let _ = fs::remove_dir_all(live.join("new"));
            }
        }
        // By links in the tree: the directory itself, one above it, one in it, the file.
        let tree = Builder::at(&live.join("tree")).unwrap();
        let far = yard.outside.display().to_string();
        tree.symlink("whole", "../../outside").unwrap();
        tree.symlink("absolute", &far).unwrap();
        tree.symlink("up", "../..").unwrap();
        tree.symlink("in/d", "../../../outside/d").unwrap();
        tree.symlink("in/keep", "../../../outside/keep").unwrap();
        tree.symlink("chain", "whole").unwrap();
        let more = ["", "-H", "-c", "-yy", "-K", "--no-inc-recursive"];
        let ways = [
            "whole",
            "absolute",
            "up/outside",
            "in",
            "chain",
            "in/../whole",
        ];
        for (at, option) in OPTIONS.iter().enumerate() {
            for (by, way) in ways.into_iter().enumerate() {
                for turn in [0, 3] {
                    let more = more[(at + by + turn) % more.len()];
                    let command = format!("-a {more} {option}=/tree/{way} spool/ server:/new/");
                    let outcome = yard.bed.push(&command).unwrap();
                    let what = format!("{more} {option}=/tree/{way}: {}", said(&outcome));
                    assert!(!outcome.timed_out, "{what}");
                    match outcome.exit {
                        0 => is_untouched(&yard, &what),
                        _ => assert!(said(&outcome).contains("(code "), "{what}"),
                    }
                    let _ = fs::remove_dir_all(live.join("new"));
                }
            }
        }
    });
    assert!(!Path::new("/etc/keep").exists());
}

#[test]
fn a_directory_that_is_turned_outside_during_the_push_is_not_followed() {
    let Some(yard) = Yard::with_outside(|outside| {
        for name in ["keep", "d/keep"] {
            outside.file(name, b"evil").unwrap();
            outside.time(name, WHEN, 0).unwrap();
        }
    }) else {
        return;
    };
    let rounds = number_from_env("COFFRE_ROUNDS", 6);
    let home = yard.bed.coffre.home();
    let live = home.join("live");
    bait(&yard);
    stand_in(&live);
    symlink("inside", live.join("tree/other")).unwrap();
    let turns = AtomicU32::new(0);
    let mut well = [0; OPTIONS.len()];
    yard.during(|| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (over, turns, live) = (&over, &turns, &live);
            scope.spawn(move || {
                let spare = home.join("spare");
                while !over.load(Ordering::SeqCst) {
                    let turn = turns.fetch_add(1, Ordering::SeqCst);
                    let target = ["inside", "../../outside"][turn as usize % 2];
                    symlink(target, &spare).unwrap();
                    fs::rename(&spare, live.join("tree/other")).unwrap();
                    // A directory within it, too.
                    let (d, aside) = (live.join("tree/inside/d"), home.join("aside"));
                    if fs::rename(&d, &aside).is_ok() {
                        symlink("../../../outside/d", &d).unwrap();
                        fs::remove_file(&d).unwrap();
                        fs::rename(&aside, &d).unwrap();
                    }
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for round in 0..rounds {
                    for (at, option) in OPTIONS.iter().enumerate() {
                        let dir = ["other", "inside"][round as usize % 2];
                        let command = format!("-a {option}=/tree/{dir} spool/ server:/new/");
                        let outcome = yard.bed.push(&command).unwrap();
                        let what = format!("{command}: {}", said(&outcome));
                        // 4: it led outside when it was looked for.
                        let known = [0, 3, 4, 23, 24].contains(&outcome.exit);
                        assert!(known && !outcome.timed_out, "{what}");
                        well[at] += u32::from(outcome.exit == 0);
                        for name in ["keep", "d/keep"] {
                            if let Ok(content) = fs::read(live.join("new").join(name)) {
                                assert_eq!(content, b"mine", "{what}: {name}");
                            }
                        }
                        let _ = fs::remove_dir_all(live.join("new"));
                    }
                }
            }));
            over.store(true, Ordering::SeqCst);
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
    });
    let turns = turns.into_inner();
    println!(
        "{turns} turns in {} pushes, {well:?} ended well",
        3 * rounds
    );
    assert!(u64::from(turns) > 5 * rounds, "{turns}");
    assert!(!well.contains(&0), "no push got through: {well:?}");
}
