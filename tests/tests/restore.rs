//! Restores with stock rsync from history: what the restore login shows, and to whom.

use std::fs;

use coffre_client_compat::run::Outcome;
use coffre_client_compat::sandbox::HOST;
use coffre_client_compat::tree::nasty;
use coffre_tests::{Bed, said};

/// The same client under the restore login.
fn restore(bed: &Bed, command: &str) -> anyhow::Result<Outcome> {
    let command = command.replace("restore:", &format!("restore@{HOST}:"));
    bed.rsync("client", bed.coffre.port(), &command)?.run()
}

#[test]
fn what_was_pushed_comes_back_from_a_snapshot_in_every_attribute() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    nasty(&bed.source().unwrap()).unwrap();
    bed.push_well("-aHAX --numeric-ids src/ server:/mnt/compat/dst/")
        .unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let name = snapshot.file_name().unwrap().to_str().unwrap().to_owned();
    let local = bed.local();
    for (number, from) in ["latest", &name, "live", &name[..10]].iter().enumerate() {
        for options in ["", "--no-inc-recursive", "-c", "-z"] {
            let out = format!("out{number}{options}");
            let outcome = restore(
                &bed,
                &format!("-aHAX --numeric-ids {options} restore:/{from}/mnt/compat/dst/ {out}/"),
            )
            .unwrap();
            assert_eq!(outcome.exit, 0, "{from} {options}: {}", said(&outcome));
            let found = bed
                .differences(&local.join("src"), &local.join(&out))
                .unwrap();
            assert_eq!(found, "", "{from} {options}");
            fs::remove_dir_all(local.join(&out)).unwrap();
        }
    }
}

#[test]
fn the_top_of_the_restore_view_lists_history_and_nothing_can_be_written_there() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    bed.source().unwrap().file("note", b"one").unwrap();
    bed.push_well("-a src/ server:/").unwrap();
    let first = bed.coffre.snapshot().unwrap();
    let name = first.file_name().unwrap().to_str().unwrap().to_owned();
    bed.source().unwrap().file("note", b"two, longer").unwrap();
    bed.push_well("-a src/ server:/").unwrap();

    let listed = restore(&bed, "restore:/").unwrap();
    assert_eq!(listed.exit, 0, "{}", said(&listed));
    let text = String::from_utf8(listed.stdout).unwrap();
    let date = format!(
        "{}/{}/{} {}:{}:{} {name}",
        &name[..4],
        &name[5..7],
        &name[8..10],
        &name[11..13],
        &name[13..15],
        &name[15..17]
    );
    assert!(text.contains(&date), "{text}");
    assert!(
        text.contains(" live\n") && text.contains(" latest"),
        "{text}"
    );

    let old = restore(&bed, &format!("-a restore:/{name}/note old")).unwrap();
    assert_eq!(old.exit, 0, "{}", said(&old));
    assert_eq!(fs::read(bed.local().join("old")).unwrap(), b"one");
    let new = restore(&bed, "-a restore:/live/note new").unwrap();
    assert_eq!(new.exit, 0, "{}", said(&new));
    assert_eq!(fs::read(bed.local().join("new")).unwrap(), b"two, longer");
    // A name of a link in history leads to a directory.
    let whole = restore(&bed, "-a restore:/latest whole/").unwrap();
    assert_eq!(whole.exit, 0, "{}", said(&whole));
    assert_eq!(
        fs::read(bed.local().join("whole/latest/note")).unwrap(),
        b"one"
    );

    for command in [
        "-a src/ restore:/live/".to_owned(),
        "-a src/ restore:/latest/".to_owned(),
        format!("-a --delete src/ restore:/{name}/"),
        "-a --remove-source-files restore:/live/ taken/".to_owned(),
        "-a -M--write-devices restore:/live/ taken/".to_owned(),
    ] {
        let outcome = restore(&bed, &command).unwrap();
        assert_ne!(outcome.exit, 0, "{command}");
    }
    assert_eq!(fs::read(first.join("note")).unwrap(), b"one");
    for outside in [
        "/nothing/",
        "/../../etc/passwd",
        "/.building-x/",
        "/latest/../../x",
    ] {
        let outcome = restore(&bed, &format!("-a restore:{outside} taken/")).unwrap();
        assert_ne!(outcome.exit, 0, "{outside}");
    }
}
