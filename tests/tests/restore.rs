//! Restores with stock rsync from history: what the restore login shows, and to whom.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coffre_client_compat::run::Outcome;
use coffre_client_compat::sandbox::{HOST, Lines, coffre_binary};
use coffre_client_compat::tree::{nasty, noise};
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
fn a_real_tree_makes_the_round_trip_at_every_protocol() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let tree = "/etc";
    bed.push_well("-aHAX --numeric-ids /etc/ server:/tree/")
        .unwrap();
    bed.coffre.snapshot().unwrap();
    for protocol in 27..=32 {
        // ACLs and extended attributes are not in the older protocols.
        let kept = match protocol {
            30.. => "-aHAX",
            _ => "-aH",
        };
        let pull = format!("{kept} --numeric-ids --protocol={protocol} restore:/latest/tree/ out/");
        let outcome = restore(&bed, &pull).unwrap();
        assert_eq!(outcome.exit, 0, "{protocol}: {}", said(&outcome));
        let out = bed.local().join("out");
        let others = bed
            .differences_at(protocol, std::path::Path::new(tree), &out)
            .unwrap();
        assert!(others.is_empty(), "{protocol}: {others:#?}");
        fs::remove_dir_all(out).unwrap();
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

/// A coffre without any privilege, with the keys of a bed. Killed with the value.
struct Unprivileged {
    server: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Unprivileged {
    const NOBODY: u32 = 65_534;

    fn start(bed: &Bed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(at("store")).unwrap();
        fs::copy(coffre_binary().unwrap(), at("coffre")).unwrap();
        fs::copy(bed.keys.host_key(), at("host_key")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = format!(
            "[server]\nstorage = {:?}\nlisten = \"127.0.0.1\"\nhost_key = {:?}\n\
             [tenants.compat]\nport = {port}\nsnapshots = false\n\
             keys = [{{ key = \"{}\", from = [\"127.0.0.1\"] }}]\n",
            at("store"),
            at("host_key"),
            bed.keys.public("client").unwrap(),
        );
        fs::write(at("tenants.toml"), config).unwrap();
        for name in ["store", "host_key"] {
            chown(at(name), Some(Self::NOBODY), Some(Self::NOBODY)).unwrap();
        }
        let server = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(at("coffre"))
            .args(["serve", "--config"])
            .arg(at("tenants.toml"))
            .stderr(Stdio::from(fs::File::create(at("log")).unwrap()))
            .spawn()
            .unwrap();
        let started = Self { server, port, dir };
        let deadline = Instant::now() + Duration::from_secs(30);
        let log = || fs::read_to_string(started.dir.path().join("log")).unwrap();
        while !log().contains(" ready\n") {
            assert!(Instant::now() < deadline, "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        started
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("store/compat")
    }

    fn rsync(&self, bed: &Bed, command: &str) -> Outcome {
        let command = command.replace("restore:", &format!("restore@{HOST}:"));
        let client = bed.rsync("client", self.port, &command).unwrap();
        client.run().unwrap()
    }
}

#[test]
fn a_server_without_privilege_gives_back_to_root_what_root_gave_it() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    nasty(&bed.source().unwrap()).unwrap();
    let server = Unprivileged::start(&bed);
    let run = |command: &str| {
        let outcome = server.rsync(&bed, command);
        assert_eq!(outcome.exit, 0, "{command}: {}", said(&outcome));
    };
    run("-aHAX --numeric-ids src/ server:/");
    let taken = Command::new(server.dir.path().join("coffre"))
        .args(["snapshot", "compat", "--config"])
        .arg(server.dir.path().join("tenants.toml"))
        .output()
        .unwrap();
    assert!(taken.status.success(), "{taken:?}");
    let source = bed.local().join("src");
    for (number, from) in ["restore:/latest/", "restore:/live/", "server:/"]
        .iter()
        .enumerate()
    {
        run(&format!("-aHAX --numeric-ids {from} out{number}/"));
        let out = bed.local().join(format!("out{number}"));
        assert_eq!(bed.differences(&source, &out).unwrap(), "", "{from}");
    }

    // What this server cannot read is named, and the rest comes.
    let stored = server.home().join("live/unreadable");
    fs::write(&stored, "x").unwrap();
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o600)).unwrap();
    let partly = server.rsync(&bed, "-aHAX --numeric-ids server:/ partly/");
    assert_eq!(partly.exit, 23, "{}", said(&partly));
    let text = said(&partly);
    assert!(text.contains("unreadable"), "{text}");
    assert!(text.contains("Permission denied (13)"), "{text}");
    let differences = bed.differences(&source, &bed.local().join("partly"));
    let differences = differences.unwrap();
    let others = differences
        .lines()
        .filter(|line| !line.starts_with(".d..t"));
    assert_eq!(others.count(), 0, "{differences}");
}

#[test]
fn a_file_that_vanishes_during_a_restore_is_said_and_the_rest_comes() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("first", &noise(1, 3 << 20)).unwrap();
    source.file("last", &noise(2, 1000)).unwrap();
    bed.push_well("-a src/ server:/mnt/compat/dst/").unwrap();
    let outcome = std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            let command = "-a --bwlimit=1m --no-inc-recursive server:/mnt/compat/dst/ out/";
            bed.push(command).unwrap()
        });
        std::thread::sleep(Duration::from_millis(1500));
        fs::remove_file(bed.destination().join("last")).unwrap();
        pull.join().unwrap()
    });
    assert_eq!(outcome.exit, 24, "{}", said(&outcome));
    assert!(
        said(&outcome).contains("file has vanished"),
        "{}",
        said(&outcome)
    );
    let first = fs::read(bed.local().join("out/first")).unwrap();
    assert!(first == noise(1, 3 << 20));
}

#[test]
fn a_prune_leaves_alone_what_a_restore_reads() {
    let lines = Lines {
        tenant: "keep = { last = 2 }\n".to_owned(),
        ..Lines::default()
    };
    let Some(bed) = Bed::configured(&lines).unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    for number in 0..2000 {
        let name = format!("d{}/f{number}", number % 20);
        source.file(&name, &noise(number, 2000)).unwrap();
    }
    let keep = |bed: &Bed| {
        bed.push_well("-a --delete src/ server:/").unwrap();
        let snapshot = bed.coffre.snapshot().unwrap();
        snapshot.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let mut names = vec![keep(&bed)];
    fs::rename(bed.local().join("src"), bed.local().join("was")).unwrap();
    let source = bed.source().unwrap();
    source.file("other", b"x").unwrap();
    // All that the first one holds is its own by now, and it goes with the next.
    names.push(keep(&bed));
    let first = names.remove(0);
    let to = bed.local().join("copied");
    let (pulled, copied) = std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            let command = format!("-a --bwlimit=2m restore:/{first}/ out/");
            restore(&bed, &command).unwrap()
        });
        let copy = scope.spawn(|| {
            let words = format!("restore compat {first} / {}", to.display());
            bed.coffre.verb(&words).unwrap()
        });
        let begun = |name: &str| fs::read_dir(bed.local().join(name)).is_ok();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !(begun("out") && begun("copied")) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        // Which would be made of it, if nobody read it, and is followed by a prune.
        keep(&bed);
        let log = || fs::read_to_string(bed.coffre.log_file()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !log().contains("it goes next time") {
            assert!(Instant::now() < deadline, "{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        (pull.join().unwrap(), copy.join().unwrap())
    });
    assert_eq!(pulled.exit, 0, "{}", said(&pulled));
    assert_eq!(copied.exit, 0, "{}", said(&copied));
    for name in ["out", "copied"] {
        let was = bed.local().join("was");
        let differences = bed.differences(&was, &bed.local().join(name));
        assert_eq!(differences.unwrap(), "", "{name}");
    }
    // A reader in another process, like `coffre restore`, loses the name and keeps the tree.
    let home = bed.coffre.home();
    let held = coffre::snapshot::hold_any(&home, first.parse().unwrap()).unwrap();
    let pruned = bed.coffre.verb("prune compat").unwrap();
    assert_eq!(pruned.exit, 0, "{}", said(&pruned));
    assert!(!home.join("snapshots").join(&first).exists());
    let tree = PathBuf::from(format!("/proc/self/fd/{}", held.root().as_raw_fd()));
    assert_eq!(fs::read_dir(tree.join("d7")).unwrap().count(), 100);
    let gone = restore(&bed, &format!("-a restore:/{first}/ again/")).unwrap();
    assert_eq!(gone.exit, 23, "{}", said(&gone));
    drop(held);
    let pruned = bed.coffre.verb("prune compat").unwrap();
    assert_eq!(pruned.exit, 0, "{}", said(&pruned));
    let left = fs::read_dir(home.join("snapshots")).unwrap();
    assert_eq!(left.count(), 2);
}
