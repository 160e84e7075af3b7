//! Snapshots that are asked for, and those that come by themselves.

use std::time::{Duration, Instant};

use crate::place::{PATIENCE, Place, tenant};

#[test]
fn a_snapshot_prints_its_name_and_nothing_else_on_stdout() {
    let place = Place::new(&format!("{}keep = {{ last = 1 }}\n", tenant("web01", 0)));
    let _server = place.serve();
    let live = place.storage().join("web01/live");
    std::fs::write(live.join("file"), "content").unwrap();

    let output = place.run(&["snapshot", "web01"]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let first = output.stdout.trim_end().to_owned();
    let home = place.storage().join("web01/snapshots");
    assert_eq!(
        std::fs::read(home.join(&first).join("file")).unwrap(),
        b"content"
    );
    assert!(
        output.stderr.contains("1 file in 0 directories"),
        "{}",
        output.stderr
    );

    let second = place
        .run(&["snapshot", "web01"])
        .stdout
        .trim_end()
        .to_owned();
    assert_ne!(first, second);
    // The rules keep one; it may take a moment after the snapshot.
    let deadline = Instant::now() + PATIENCE;
    while home.join(&first).exists() {
        assert!(Instant::now() < deadline, "{first} is not pruned");
        std::thread::sleep(Duration::from_millis(20));
    }
    let listed = place.run(&["snapshots", "web01", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(facts.as_array().unwrap().len(), 1);
    assert_eq!(facts[0]["name"], second.as_str());
    assert_eq!(facts[0]["files"], 1);
}

#[test]
fn a_snapshot_that_is_due_to_go_becomes_the_next_one() {
    let place = Place::new(&format!("{}keep = {{ last = 2 }}\n", tenant("web01", 0)));
    let _server = place.serve();
    let live = place.storage().join("web01/live");
    let home = place.storage().join("web01/snapshots");
    std::fs::write(live.join("file"), "1").unwrap();
    let take = || {
        let output = place.run(&["snapshot", "web01"]);
        assert_eq!(output.status, Some(0), "{}", output.stderr);
        (output.stdout.trim_end().to_owned(), output.stderr)
    };
    let (first, _) = take();
    let (second, _) = take();
    let inode = |name: &str| {
        let meta = std::fs::metadata(home.join(name)).unwrap();
        std::os::unix::fs::MetadataExt::ino(&meta)
    };
    let root = inode(&first);
    std::fs::write(live.join("new"), "2").unwrap();
    std::fs::rename(live.join("new"), live.join("file")).unwrap();
    let (third, told) = take();
    let note = format!("{first} was due to go, and has become this one");
    assert!(told.contains(&note), "{told}");
    assert_eq!(inode(&third), root);
    assert!(!home.join(&first).exists());
    let read = |name: &str| std::fs::read(home.join(name).join("file")).unwrap();
    assert_eq!(
        (read(&second), read(&third)),
        (b"1".to_vec(), b"2".to_vec())
    );
    let listed = place.run(&["snapshots", "web01", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let names: Vec<_> = facts
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, [second.as_str(), third.as_str()]);
}

#[test]
fn a_dry_run_gives_reasons_and_removes_nothing() {
    let place = Place::new(&tenant("web01", 0));
    let _server = place.serve();
    let first = place
        .run(&["snapshot", "web01"])
        .stdout
        .trim_end()
        .to_owned();
    let second = place
        .run(&["snapshot", "web01"])
        .stdout
        .trim_end()
        .to_owned();
    // Rules that the server does not know yet can be tried.
    place.configure(&format!("{}keep = {{ last = 1 }}\n", tenant("web01", 0)));
    let output = place.run(&["prune", "web01", "--dry-run"]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(
        lines[0].starts_with(&format!("web01  {second}")),
        "{}",
        output.stdout
    );
    assert!(
        lines[0].contains("  keep   last 1 of 1, newest"),
        "{}",
        output.stdout
    );
    assert!(
        lines[1].starts_with(&format!("web01  {first}")),
        "{}",
        output.stdout
    );
    assert!(
        lines[1].contains("  prune  no rule keeps it"),
        "{}",
        output.stdout
    );
    assert!(place.storage().join("web01/snapshots").join(first).exists());
}

#[test]
fn a_due_snapshot_is_taken_by_itself() {
    // Every second of the next minutes would be fine; cron has minutes, times of day seconds.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let at = soon.strftime("%H:%M:%S");
    let place = Place::new(&format!(
        "{}snapshots = {{ at = \"{at}\" }}\n",
        tenant("web01", 0)
    ));
    let server = place.serve();
    std::fs::write(place.storage().join("web01/live/file"), "content").unwrap();
    let log = loop {
        let line = server.log.recv_timeout(PATIENCE).unwrap();
        if line.contains("snapshot taken") {
            break line;
        }
    };
    assert!(log.contains("reason=schedule"), "{log}");
    let taken = std::fs::read_dir(place.storage().join("web01/snapshots"));
    assert_eq!(taken.unwrap().count(), 1);
}
