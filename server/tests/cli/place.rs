//! A configuration, a store and a server of a test's own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Of a client that never comes.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb1B4RQ70eDNXR6BmEra1/LK5uQss+8YaV27VTN04eC";

/// Longer than anything here takes, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration and a store of its own.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

pub(crate) struct Output {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// `tenants`: what follows `[server]`.
    pub(crate) fn new(tenants: &str) -> Self {
        let place = Self {
            // Extended attributes are needed, which a tmpfs may not have.
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        std::fs::create_dir(place.storage()).unwrap();
        place.configure(tenants);
        place
    }

    pub(crate) fn configure(&self, tenants: &str) {
        let text = format!(
            "[server]\nstorage = \"{}\"\nlisten = \"127.0.0.1\"\ntime_zone = \"UTC\"\n{tenants}",
            self.storage().display()
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("tenants.toml")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        run(&all)
    }

    /// A server that is ready.
    pub(crate) fn serve(&self) -> Server {
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

pub(crate) fn run(arguments: &[&str]) -> Output {
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

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) log: std::sync::mpsc::Receiver<String>,
}

impl Server {
    /// The lines up to the one that ends with `end`.
    pub(crate) fn wait_for(&mut self, end: &str) -> Vec<String> {
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

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
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

pub(crate) fn tenant(name: &str, port: u16) -> String {
    format!(
        "[tenants.{name}]\nport = {port}\nkeys = [{{ key = \"{KEY}\", from = \"127.0.0.1\" }}]\n"
    )
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
