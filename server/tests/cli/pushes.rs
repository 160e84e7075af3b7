//! What pushes of a stock client lead to.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::place::{KEY, Output, PATIENCE, Place, Server, tenant};

/// A stock client with a key of its own.
struct Client {
    place: Place,
    server: Server,
    port: String,
}

impl Client {
    fn new(more: &str) -> Self {
        let place = Place::new("");
        let key = place.dir.path().join("id");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        place.configure(
            &tenant("web01", 0)
                .replace(KEY, public.trim())
                .replace("port = 0\n", &format!("port = 0\n{more}\n")),
        );
        let server = place.serve();
        let status = place.run(&["status", "--json"]);
        let facts: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        let address = facts["tenants"][0]["addresses"][0].as_str().unwrap();
        let port = address.rsplit(':').next().unwrap().to_owned();
        std::fs::create_dir(place.dir.path().join("source")).unwrap();
        Self {
            place,
            server,
            port,
        }
    }

    fn source(&self) -> PathBuf {
        self.place.dir.path().join("source")
    }

    fn ssh(&self) -> String {
        format!(
            "ssh -F none -p {} -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            self.place.dir.path().join("id").display()
        )
    }

    fn push(&self, options: &[&str]) -> Command {
        let mut rsync = Command::new("rsync");
        rsync
            .args(["-a", "-e", &self.ssh()])
            .args(options)
            .arg(format!("{}/", self.source().display()))
            .arg("root@127.0.0.1:/");
        rsync
    }

    fn run(&self, command: &str) -> Output {
        let ssh = format!("{} root@127.0.0.1 {command}", self.ssh());
        let output = Command::new("sh").args(["-c", &ssh]).output().unwrap();
        Output {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn names_ahead_of_the_clock_ask_for_no_more_snapshots() {
    let client = Client::new("");
    let change = |content: &str| {
        std::fs::write(client.source().join("file"), content).unwrap();
        assert!(client.push(&[]).status().unwrap().success());
    };
    change("content");
    while !client
        .server
        .log
        .recv_timeout(PATIENCE)
        .unwrap()
        .contains("reason=after session")
    {}
    // Each has a second of its own, and they are taken faster than that.
    for _ in 0..5 {
        let taken = client.place.run(&["snapshot", "web01"]);
        assert_eq!(taken.status, Some(0), "{}", taken.stderr);
    }
    change("and another one");
    // The next is due in an hour. What was due all the time would be taken many times by now.
    std::thread::sleep(Duration::from_secs(1));
    let log: Vec<String> = client.server.log.try_iter().collect();
    let manual = log.iter().filter(|line| line.contains("reason=manual"));
    assert_eq!(manual.count(), 5, "{log:#?}");
    let by_itself = |line: &&String| line.contains("reason=after session");
    assert_eq!(log.iter().find(by_itself), None);
    // A client that asks gets what it pushed, though the latest name is of a later second.
    let asked = client.run("snapshot");
    let name = asked.stdout.trim();
    let snapshot = client.place.storage().join("web01/snapshots").join(name);
    let content = std::fs::read(snapshot.join("file"));
    assert_eq!(content.unwrap(), b"and another one", "{}", asked.stdout);
}

#[test]
fn a_push_that_ends_well_is_in_a_snapshot_by_itself() {
    let client = Client::new("");
    std::fs::write(client.source().join("file"), "content").unwrap();
    assert!(client.push(&[]).status().unwrap().success());
    let log = loop {
        let line = client.server.log.recv_timeout(PATIENCE).unwrap();
        if line.contains("snapshot taken") {
            break line;
        }
    };
    assert!(log.contains("reason=after session"), "{log}");

    let listed = client.run("snapshots");
    assert_eq!(listed.status, Some(0), "{}", listed.stderr);
    let name = listed.stdout.split_whitespace().next().unwrap();
    let snapshot = client.place.storage().join("web01/snapshots").join(name);
    assert_eq!(std::fs::read(snapshot.join("file")).unwrap(), b"content");
    // Another one would hold the same.
    let again = client.run("snapshot");
    assert_eq!(again.stdout, format!("{name} (nothing was pushed since)\n"));
    let status = client.run("status");
    assert!(status.stdout.contains("ended well"), "{}", status.stdout);
    let storage = client.place.storage().display().to_string();
    for text in [&status.stdout, &listed.stdout, &client.run("").stdout] {
        assert!(
            !text.contains(&storage),
            "a client sees a path of the server: {text}"
        );
    }
}

#[test]
fn after_a_push_that_broke_off_snapshots_are_incomplete_until_one_ends_well() {
    let client = Client::new("snapshots = { at = \"00:00\" }");
    std::fs::write(client.source().join("file"), vec![7; 4 << 20]).unwrap();
    let mut broken = client.push(&["--bwlimit=64"]).spawn().unwrap();
    // Its session has begun when the server says so.
    let mut lines = Vec::new();
    while !lines
        .iter()
        .any(|line: &String| line.contains("push begins"))
    {
        lines.push(client.server.log.recv_timeout(PATIENCE).unwrap());
    }
    std::thread::sleep(Duration::from_millis(300));
    broken.kill().unwrap();
    broken.wait().unwrap();

    // The snapshot waits until the session has noticed.
    let taken = client.place.run(&["snapshot", "web01"]);
    assert_eq!(taken.status, Some(0), "{}", taken.stderr);
    assert!(taken.stdout.ends_with(".incomplete\n"), "{}", taken.stdout);
    assert!(
        taken
            .stderr
            .contains("incomplete: the last push did not end well"),
        "{}",
        taken.stderr
    );
    let held = client
        .place
        .storage()
        .join("web01/snapshots")
        .join(taken.stdout.trim());
    assert!(!held.join("file").exists(), "half a file has no name");

    assert!(client.push(&[]).status().unwrap().success());
    let taken = client.run("snapshot");
    assert_eq!(taken.status, Some(0), "{}", taken.stderr);
    assert!(!taken.stdout.contains("incomplete"), "{}", taken.stdout);
}
