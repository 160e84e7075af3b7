//! `--keep-dirlinks` over links that lead outside: planted before, planted in the same session, and
//! turned while the push runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use coffre_tests::{number_from_env, said};

use crate::replies::FIRST_REQUEST;
use crate::wire::Wire;
use crate::yard::Yard;

/// What lies outside the tree, seen from `/dst/ln`: beside it, its history, the server's own.
fn ways_outside(yard: &Yard) -> Vec<String> {
    let home = yard.bed.coffre.home().display().to_string();
    let mut ways: Vec<String> = [
        "../../outside",
        "../../snapshots",
        "../../live/../outside",
        "../../.staging",
        "../../.partial",
        "../../../../../../../../../../etc",
        "/../../outside",
        "/../snapshots",
        "/proc/self/root",
        "/proc/self/cwd",
        "/proc/self/fd/3",
        "hop/outside",
        "d/../hop/../outside",
    ]
    .map(str::to_owned)
    .into();
    ways.push(format!("{home}/outside"));
    ways.push(format!("{home}/snapshots"));
    ways.push(yard.history().join("dst/d").display().to_string());
    let name = yard.history().file_name().unwrap().to_owned();
    ways.push(format!("../../snapshots/{}/dst/d", name.display()));
    ways
}

const OPTIONS: &[&str] = &[
    "-aK",
    "-aK --delete",
    "-aK --delete-after --force",
    "-aK --no-inc-recursive --inplace",
    "-aKb",
    "-aKb --backup-dir=ln/backup",
    "-aHK --delay-updates",
    "-aK --partial-dir=.part --temp-dir=ln",
    "-aKF --delete-delay",
    "-aKAX --fake-super",
    "-aK --protocol=29 --delete",
];

/// Puts the link back where the last push replaced it.
fn plant(live: &Path, target: &str) {
    for (name, target) in [("ln", target), ("hop", "../..")] {
        let link = live.join(name);
        if fs::remove_file(&link).is_err() {
            let _ = fs::remove_dir_all(&link);
        }
        symlink(target, link).unwrap();
    }
}

#[test]
fn links_of_an_earlier_session_are_not_followed_outside() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let live = yard.bed.coffre.home().join("live/dst");
    let source = yard.bed.source().unwrap();
    source.file("ln/evil", b"evil").unwrap();
    source.file("ln/keep", b"evil").unwrap();
    source.file("ln/deep/evil", b"evil").unwrap();
    source.hard_link("ln/evil", "ln/deep/twin").unwrap();
    source.file("ln/.rsync-filter", b"- secret\n").unwrap();
    yard.during(|| {
        for (at, target) in ways_outside(&yard).iter().enumerate() {
            // Each way with a few of the options, each option with some of the ways.
            for turn in 0..3 {
                let options = OPTIONS[(at + turn * 4) % OPTIONS.len()];
                plant(&live, target);
                let command = format!("{options} --exclude=/hop src/ server:/dst/");
                let outcome = yard.bed.push(&command).unwrap();
                let what = format!("{target} with {options}: {}", said(&outcome));
                assert!(!outcome.timed_out, "{what}");
                if options.contains("=ln") && outcome.exit != 0 {
                    // An option leads there, too: out of the tree, or to nothing in it.
                    let words = ["leads out of the tenant's tree", "temp-dir does not exist"];
                    let told = said(&outcome);
                    assert!(words.iter().any(|words| told.contains(words)), "{what}");
                    continue;
                }
                assert_eq!(outcome.exit, 0, "{what}");
                // It led to nothing that the tenant has, and made way.
                assert!(!live.join("ln").is_symlink(), "{what}");
                assert_eq!(fs::read(live.join("ln/evil")).unwrap(), b"evil", "{what}");
            }
            plant(&live, target);
            for options in ["-aRK", "-aRK --no-implied-dirs"] {
                let command = format!("{options} src/./ln/deep/evil server:/dst/");
                let outcome = yard.bed.push(&command).unwrap();
                assert!(!outcome.timed_out, "{target}: {}", said(&outcome));
            }
        }
        assert!(!Path::new("/etc/evil").exists() && !Path::new("/evil").exists());
    });
    source.remove("ln").unwrap();
}

/// A list that names a link, and things behind it.
#[test]
fn links_of_the_same_session_are_not_followed_outside() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let asked = ["-rlK", "-rlKR", "-rlKt --delete-before"];
        for (at, target) in ways_outside(&yard).into_iter().enumerate() {
            let options = asked[at % asked.len()];
            let exec = format!("rsync --server {options} . /dst");
            let mut peer = yard.peer(&exec);
            // A server that deletes wants to hear of rules: there are none.
            let begin = match options.contains("--delete") {
                true => Wire::old().int(0),
                false => Wire::old(),
            };
            let list = begin
                .dir(b".")
                .link(b"ln", target.as_bytes())
                .dir(b"ln/dir")
                .file(b"ln/dir/evil", 4)
                .file(b"ln/evil", 4);
            peer.say(list.end());
            let heard = peer.hear(9);
            assert!(heard >= 9 || peer.has_ended(), "{options}: {heard} bytes");
            for ndx in 0..5 {
                peer.say(Wire::default().reply(ndx).int(4).bytes(b"evil").int(0));
                peer.hear(0);
                if peer.has_ended() {
                    break;
                }
            }
            assert!(!peer.end().timed_out, "{target}");
        }
        assert!(!Path::new("/etc/evil").exists() && !Path::new("/evil").exists());
    });
}

/// Such a list does something: where an earlier session left a link that stays inside, the file
/// comes behind it.
#[test]
fn a_list_reaches_what_is_behind_a_link_that_stays_inside() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let live = yard.bed.coffre.home().join("live/dst");
    fs::create_dir_all(live.join("inside")).unwrap();
    symlink("inside", live.join("ln")).unwrap();
    yard.during(|| {
        let mut peer = yard.peer("rsync --server -rlK . /dst");
        let list = Wire::old().dir(b".").dir(b"ln").file(b"ln/evil", 4);
        peer.say(list.end());
        assert!(peer.hear(FIRST_REQUEST) >= FIRST_REQUEST);
        let seed = peer.seed();
        peer.say(Wire::default().whole_reply(2, b"evil", seed));
        peer.say((0..3).fold(Wire::default(), |wire, _| wire.done()));
        peer.hear(0);
        assert!(!peer.end().timed_out);
        assert_eq!(fs::read(live.join("inside/evil")).unwrap(), b"evil");
        assert!(live.join("ln").is_symlink());
        fs::remove_dir_all(live.join("inside")).unwrap();
    });
}

#[test]
fn links_that_are_turned_while_the_push_runs_lead_nowhere() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let rounds = number_from_env("COFFRE_ROUNDS", 6);
    let home = yard.bed.coffre.home();
    let live = home.join("live/dst");
    let source = yard.bed.source().unwrap();
    for number in 0..60_u32 {
        for at in ["ln", "ln/d", "ln/d/e"] {
            source
                .file(format!("{at}/f{number}"), &number.to_le_bytes())
                .unwrap();
        }
    }
    fs::create_dir_all(live.join("inside/d")).unwrap();
    let outside = ["../../outside", "../../snapshots", "nowhere"];
    let ways: Vec<PathBuf> = outside
        .iter()
        .flat_map(|way| ["inside", way].map(PathBuf::from))
        .collect();
    let turns = AtomicU32::new(0);
    let came = || fs::read_dir(live.join("inside")).unwrap().count() > 1;
    let (mut pushes, mut well) = (0, 0);
    yard.during(|| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (over, turns, ways, live) = (&over, &turns, &ways, &live);
            scope.spawn(move || {
                let spare = home.join("spare");
                while !over.load(Ordering::SeqCst) {
                    let turn = turns.fetch_add(1, Ordering::SeqCst);
                    let way = &ways[turn as usize % ways.len()];
                    let _ = fs::remove_file(&spare);
                    symlink(way, &spare).unwrap();
                    if fs::rename(&spare, live.join("ln")).is_err() {
                        let _ = fs::remove_dir_all(live.join("ln"));
                    }
                    // Slow enough for some pushes to find it as it was a moment ago.
                    std::thread::sleep(std::time::Duration::from_millis(3));
                }
                let _ = fs::remove_file(&spare);
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                // And until one has found the link to lead inside.
                while pushes < rounds || (!came() && pushes < 60) {
                    let options = OPTIONS[pushes as usize % OPTIONS.len()];
                    pushes += 1;
                    let command = format!("{options} -I --exclude=/inside src/ server:/dst/");
                    let outcome = yard.bed.push(&command).unwrap();
                    // Told what went wrong, or nothing did; 1 and 4: an option led to
                    // nothing, or outside.
                    let known = [0, 1, 4, 11, 23, 24].contains(&outcome.exit);
                    assert!(known && !outcome.timed_out, "{options}: {}", said(&outcome));
                    well += u32::from(outcome.exit == 0);
                }
            }));
            over.store(true, Ordering::SeqCst);
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
        // What came while the link stayed inside is there, and with the link at rest all of it.
        assert!(came(), "nothing got through");
        plant(&live, "inside");
        let command = "-aK --exclude=/inside --exclude=/hop src/ server:/dst/";
        yard.bed.push_well(command).unwrap();
        for number in 0..60 {
            assert!(live.join(format!("inside/d/e/f{number}")).is_file());
        }
        fs::remove_dir_all(live.join("inside")).unwrap();
    });
    let turns = turns.into_inner();
    println!("{turns} turns in {pushes} pushes, {well} ended well");
    assert!(u64::from(turns) > 5 * pushes, "{turns}");
}
