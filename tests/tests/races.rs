//! Two sessions of one tenant at once: one flips directories to links that lead outside and back,
//! the other writes and deletes below them.
//!
//! `COFFRE_ROUNDS` makes it longer.

use std::fs;

use coffre_client_compat::tree::{Builder, describe, noise};
use coffre_tests::{Bed, number_from_env, said};

#[test]
fn sessions_that_race_change_nothing_outside_and_no_history() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let rounds = number_from_env("COFFRE_ROUNDS", 6);
    let outside = bed.coffre.home().with_file_name("outside");
    let planted = Builder::at(&outside).unwrap();
    for name in ["f0", "f1", "d/f0", "d/e/f1", "keep"] {
        planted.file(name, b"outside").unwrap();
    }
    let before = describe(&outside, None).unwrap();

    // What the two push in turns: `flip` as a directory, and as a link to the directory outside.
    let local = |name: &str| Builder::at(&bed.local().join(name)).unwrap();
    let (tree, link, below) = (local("tree"), local("link"), local("below"));
    for number in 0..40_u64 {
        for at in ["flip", "flip/d", "flip/d/e", "other"] {
            let name = format!("{at}/f{number}");
            tree.file(&name, &noise(number, 3000)).unwrap();
            if at == "other" {
                link.file(&name, &noise(number, 3000)).unwrap();
            }
        }
        for at in ["d", "d/e", "."] {
            let name = format!("{at}/f{number}");
            below.file(&name, &noise(1000 + number, 9000)).unwrap();
        }
    }
    link.symlink("flip", &outside).unwrap();

    fs::create_dir_all(bed.destination()).unwrap();
    bed.push_well("-a --delete tree/ server:/mnt/compat/dst/")
        .unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let history = describe(&snapshot, None).unwrap();

    let client = |command: &str| bed.rsync("client", bed.coffre.port(), command).unwrap();
    let (mut well, mut ended) = (0, 0);
    for round in 0..rounds {
        let flips = [
            client("-a --delete --force link/ server:/mnt/compat/dst/"),
            client("-a --delete tree/ server:/mnt/compat/dst/"),
            client("-a --delete --force link/ server:/mnt/compat/dst/"),
        ];
        let options = ["", "--delete", "--inplace", "--no-whole-file --checksum"];
        let options = options[usize::try_from(round).unwrap() % options.len()];
        let writes =
            [(); 3].map(|()| client(&format!("-a {options} below/ server:/mnt/compat/dst/flip/")));
        let outcomes = std::thread::scope(|scope| {
            let run = |clients: [coffre_client_compat::run::Invocation; 3]| {
                scope.spawn(move || clients.map(|client| client.run().unwrap()))
            };
            let (flips, writes) = (run(flips), run(writes));
            [flips.join().unwrap(), writes.join().unwrap()]
        });
        for outcome in outcomes.iter().flatten() {
            // Told what went wrong, or nothing did; 11: the destination is a link to nowhere.
            let known = [0, 3, 4, 11, 23, 24].contains(&outcome.exit);
            assert!(
                known && !outcome.timed_out,
                "round {round}: {}",
                said(outcome)
            );
            well += u32::from(outcome.exit == 0);
            ended += 1;
        }
        assert_eq!(
            describe(&outside, None).unwrap(),
            before,
            "round {round}: outside"
        );
        assert_eq!(
            describe(&snapshot, None).unwrap(),
            history,
            "round {round}: history"
        );
        let staging = bed.left_in_staging();
        assert!(staging.is_empty(), "round {round}: {staging:?}");
        bed.push("-a --delete --force tree/ server:/mnt/compat/dst/")
            .unwrap();
    }
    println!("{ended} racing sessions, {well} ended well");
    assert!(well > 0);
    bed.push_well("-a --delete tree/ server:/mnt/compat/dst/")
        .unwrap();
    assert_eq!(
        bed.differences(&tree.path(""), &bed.destination()).unwrap(),
        ""
    );
}
