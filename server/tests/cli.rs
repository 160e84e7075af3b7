//! The command line as scripts and people meet it: what it prints, where, and how it exits.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose surroundings fail has failed"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb1B4RQ70eDNXR6BmEra1/LK5uQss+8YaV27VTN04eC";

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration and a store of its own.
struct Place {
    dir: TempDir,
}

struct Output {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    /// `tenants`: what follows `[server]`.
    fn new(tenants: &str) -> Self {
        let place = Self {
            // Extended attributes are needed, which a tmpfs may not have.
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        std::fs::create_dir(place.storage()).unwrap();
        place.configure(tenants);
        place
    }

    fn configure(&self, tenants: &str) {
        let text = format!(
            "[server]\nstorage = \"{}\"\nlisten = \"127.0.0.1\"\ntime_zone = \"UTC\"\n{tenants}",
            self.storage().display()
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn storage(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("tenants.toml")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        run(&all)
    }

    /// A server that is ready.
    fn serve(&self) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_coffre"))
            .args(["serve", "--config"])
            .arg(self.config())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Server { child, log };
        server.wait_for(" ready");
        server
    }
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_coffre"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    Output {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

struct Server {
    child: Child,
    log: std::sync::mpsc::Receiver<String>,
}

impl Server {
    /// The lines up to the one that ends with `end`.
    fn wait_for(&mut self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no line ends with {end:?} in {lines:#?}"));
            let found = line.ends_with(end);
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tenant(name: &str, port: u16) -> String {
    format!(
        "[tenants.{name}]\nport = {port}\nkeys = [{{ key = \"{KEY}\", from = \"127.0.0.1\" }}]\n"
    )
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_good_configuration_is_called_good() {
    let place = Place::new(&tenant("web01", 2222));
    let output = place.run(&["check-config"]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let expected = format!("{}: good, 1 tenant\n", place.config().display());
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "");
}

#[test]
fn every_bad_configuration_is_explained_on_stderr_with_exit_78() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config/bad");
    for name in ["unknown_keys_everywhere", "syntax", "authorized_keys"] {
        let output = Command::new(env!("CARGO_BIN_EXE_coffre"))
            .args(["check-config", "--config", &format!("{name}.toml")])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert!(output.stdout.is_empty());
        let expected = std::fs::read_to_string(folder.join(format!("{name}.stderr"))).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let (problems, count) = stderr.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(format!("{problems}\n"), expected);
        assert!(count.ends_with(" errors"), "{count}");
    }
}

#[test]
fn a_configuration_with_errors_is_not_served() {
    let place = Place::new("[tenants.web01]\nport = 2222\n");
    let output = place.run(&["serve"]);
    assert_eq!(output.status, Some(78));
    assert!(output.stderr.contains("has no keys"), "{}", output.stderr);
    assert!(!place.storage().join(".coffre").exists());
}

#[test]
fn json_holds_the_problems_too() {
    let place = Place::new(&tenant("web01", 2222).replace("port = 2222", "port = \"x\""));
    let output = place.run(&["check-config", "--json"]);
    assert_eq!(output.status, Some(78));
    let facts: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(facts["ok"], false);
    assert_eq!(facts["problems"][0]["line"], 6);
    assert_eq!(facts["problems"][0]["column"], 8);
    assert_eq!(facts["problems"][0]["severity"], "error");
}

#[test]
fn a_command_line_without_sense_exits_with_2() {
    for arguments in [
        &["snapshot"][..],
        &["frobnicate"],
        &["prune", "a", "b"],
        &[],
    ] {
        assert_eq!(run(arguments).status, Some(2), "{arguments:?}");
    }
}

#[test]
fn verbs_of_later_versions_are_not_on_offer() {
    let output = run(&["--help"]);
    assert_eq!(output.status, Some(0));
    let offered: Vec<&str> = output
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "serve",
        "check-config",
        "reload",
        "status",
        "tenants",
        "snapshot",
        "snapshots",
        "prune",
        "restore",
        "find",
        "diff",
        "verify",
        "help",
    ];
    assert_eq!(offered, expected);
}

#[test]
fn without_a_daemon_the_message_says_how_to_start_one() {
    let place = Place::new(&tenant("web01", 2222));
    let storage = place.storage();
    let expected = format!(
        "coffre: no daemon is running for {} ({}/.coffre/control.sock: No such file or \
         directory); start it with `coffre serve --config {}`\n",
        storage.display(),
        storage.display(),
        place.config().display()
    );
    for arguments in [
        &["status"][..],
        &["reload"],
        &["snapshot", "web01"],
        &["prune"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status, Some(1), "{arguments:?}");
        assert_eq!(output.stderr, expected, "{arguments:?}");
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
}

#[test]
fn tenants_snapshots_and_dry_runs_need_no_daemon() {
    let place = Place::new(&tenant("web01", 2222));
    let tenants = place.run(&["tenants"]);
    assert_eq!(tenants.status, Some(0), "{}", tenants.stderr);
    assert!(
        tenants
            .stdout
            .contains("web01   2222  root   restore     1"),
        "{}",
        tenants.stdout
    );
    let snapshots = place.run(&["snapshots", "web01"]);
    assert_eq!(snapshots.status, Some(0), "{}", snapshots.stderr);
    assert_eq!(snapshots.stderr, "no snapshots yet\n");
    assert_eq!(place.run(&["prune", "--dry-run"]).status, Some(0));
}

#[test]
fn a_tenant_that_is_not_configured_is_named() {
    let place = Place::new(&tenant("web01", 2222));
    for verb in ["snapshot", "snapshots", "prune"] {
        let output = place.run(&[verb, "web02"]);
        assert_eq!(output.status, Some(1));
        assert!(
            output
                .stderr
                .starts_with("coffre: there is no tenant \"web02\" in "),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn a_storage_that_is_not_there_is_not_made() {
    let place = Place::new(&tenant("web01", 2222));
    std::fs::remove_dir(place.storage()).unwrap();
    let output = place.run(&["serve"]);
    assert_eq!(output.status, Some(1));
    assert!(
        output
            .stderr
            .contains("does not exist; is its disk mounted?"),
        "{}",
        output.stderr
    );
    assert!(!place.storage().exists());
}

#[test]
fn a_server_starts_tells_what_it_is_and_stops_at_a_signal() {
    let place = Place::new(&tenant("web01", 0));
    let mut child = Command::new(env!("CARGO_BIN_EXE_coffre"))
        .args(["serve", "--config"])
        .arg(place.config())
        .stderr(Stdio::piped())
        .env_remove("RUST_LOG")
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.ends_with(" ready\n") {
        assert!(stderr.read_line(&mut log).unwrap() > 0, "{log}");
    }
    for fact in [
        "coffre 0.1.0 serves",
        "metadata: ",
        "landlock: ",
        "address=127.0.0.1:",
        "SHA256:",
    ] {
        assert!(log.contains(fact), "{fact} is missing in {log}");
    }
    assert!(place.dir.path().join("host_ed25519").exists());
    let status = place.run(&["status", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(facts["pid"], child.id());
    let address = facts["tenants"][0]["addresses"][0].as_str().unwrap();
    TcpStream::connect(address).unwrap();

    Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!place.storage().join(".coffre/control.sock").exists());
    TcpStream::connect(address).unwrap_err();
}

#[test]
fn a_second_server_for_the_store_is_refused() {
    let place = Place::new(&tenant("web01", 0));
    let server = place.serve();
    let output = place.run(&["serve"]);
    assert_eq!(output.status, Some(1));
    let expected = format!(
        "coffre: another coffre serves {} already (process {})\n",
        place.storage().display(),
        server.child.id()
    );
    assert!(output.stderr.ends_with(&expected), "{}", output.stderr);
    assert_eq!(
        place.run(&["status"]).status,
        Some(0),
        "the first one goes on"
    );
}

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

#[test]
fn a_reload_starts_new_tenants_and_stops_removed_ones() {
    let (one, two) = (free_port(), free_port());
    let place = Place::new(&tenant("one", one));
    let _server = place.serve();
    TcpStream::connect(("127.0.0.1", one)).unwrap();

    place.configure(&tenant("two", two));
    let output = place.run(&["reload"]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "reloaded: 1 tenant, new: two, removed: one\n"
    );
    TcpStream::connect(("127.0.0.1", two)).unwrap();
    TcpStream::connect(("127.0.0.1", one)).unwrap_err();
    assert!(place.storage().join("two/live").is_dir());
    assert!(
        place.storage().join("one/live").is_dir(),
        "what was pushed stays"
    );
}

#[test]
fn a_reload_of_a_file_with_errors_changes_nothing() {
    let port = free_port();
    let place = Place::new(&tenant("one", port));
    let mut server = place.serve();
    std::fs::write(place.config(), "[server]\nstorage = 1\n").unwrap();
    assert_eq!(place.run(&["reload"]).status, Some(78));
    server.signal("HUP");
    server.wait_for("nothing was changed; the server goes on as before");
    TcpStream::connect(("127.0.0.1", port)).unwrap();

    // The command line reads the file itself; a daemon that is asked says the same.
    place.configure(&tenant("two", port).replace("port =", "max_sessions = 0\nport ="));
    assert_eq!(place.run(&["reload"]).status, Some(78));

    // A port that is taken is no fault of the file.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    place.configure(&tenant("two", address.port()));
    let output = place.run(&["reload"]);
    assert_eq!(output.status, Some(1));
    assert!(
        output.stderr.contains(&format!(
            "tenant \"two\": cannot listen on {address}: another program listens there already\n\
             nothing was changed"
        )),
        "{}",
        output.stderr
    );
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn the_storage_cannot_change_while_the_server_runs() {
    let place = Place::new(&tenant("one", 0));
    let mut server = place.serve();
    let elsewhere = place.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let text = std::fs::read_to_string(place.config()).unwrap();
    let here = place.storage().display().to_string();
    std::fs::write(
        place.config(),
        text.replace(&here, elsewhere.to_str().unwrap()),
    )
    .unwrap();
    server.signal("HUP");
    let log = server.wait_for("nothing was changed; the server goes on as before");
    let log = log.join("\n");
    assert!(log.contains("while the server runs; restart it"), "{log}");
    assert!(!elsewhere.join(".coffre").exists());
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}
