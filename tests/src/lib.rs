//! What the end-to-end tests in `tests/` share: a coffre that runs with its own store and keys, a
//! stock client for it, and a proxy that cuts connections.
//!
//! The binary under test is the one that `cargo build` made, see
//! [`coffre_client_compat::sandbox::coffre_binary`]. Everything needs root, as a real server for
//! all owners does; without it tests say that they were skipped, and pass.

mod known;
mod proxy;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coffre_client_compat::clients::Clients;
use coffre_client_compat::loopfs::LoopFs;
use coffre_client_compat::run::{Invocation, Outcome, tool};
use coffre_client_compat::sandbox::{Coffre, Keys, Lines, coffre_binary, is_root};
use coffre_client_compat::tree::Builder;
use tempfile::TempDir;

pub use known::{Known, snapshots};
pub use proxy::Proxy;

/// A running coffre and a client with a source tree.
///
/// Fields are dropped in this order: the server before its files.
pub struct Bed {
    pub coffre: Coffre,
    pub keys: Keys,
    clients: Clients,
    dir: TempDir,
}

impl Bed {
    /// With the store in a directory for temporary files. `None`: not root, and said so.
    pub fn new() -> Result<Option<Self>> {
        if !may_run() {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("coffre-tests-").tempdir()?;
        let store = dir.path().join("server/store");
        Self::start(dir, &store, &Lines::default()).map(Some)
    }

    /// With more in the configuration. `None`: not root, and said so.
    pub fn configured(lines: &Lines) -> Result<Option<Self>> {
        if !may_run() {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("coffre-tests-").tempdir()?;
        let store = dir.path().join("server/store");
        Self::start(dir, &store, lines).map(Some)
    }

    /// With the store in a place that outlives the value.
    pub fn with_store(store: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("coffre-tests-").tempdir()?;
        Self::start(dir, store, &Lines::default())
    }

    /// … and with more in the configuration.
    pub fn configured_with_store(store: &Path, lines: &Lines) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("coffre-tests-").tempdir()?;
        Self::start(dir, store, lines)
    }

    /// With another program in the place of coffre.
    pub fn with_program(program: &Path, lines: &Lines) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("coffre-tests-").tempdir()?;
        let store = dir.path().join("server/store");
        Self::start_program(dir, &store, program, lines)
    }

    fn start(dir: TempDir, store: &Path, lines: &Lines) -> Result<Self> {
        Self::start_program(dir, store, &coffre_binary()?, lines)
    }

    fn start_program(dir: TempDir, store: &Path, program: &Path, lines: &Lines) -> Result<Self> {
        let keys = Keys::make(&dir.path().join("keys"))?;
        let server = dir.path().join("server");
        let coffre = Coffre::start_configured(&server, &keys, store, program, lines)?;
        let bed = Self {
            coffre,
            keys,
            clients: Clients::find()?,
            dir,
        };
        bed.source()?;
        bed.ssh_config("client", bed.coffre.port())?;
        Ok(bed)
    }

    /// The client's own directory; its `src` is pushed.
    pub fn local(&self) -> PathBuf {
        self.dir.path().join("local")
    }

    pub fn source(&self) -> Result<Builder> {
        Builder::at(&self.local().join("src"))
    }

    /// Where `server:/mnt/compat/dst/` is.
    pub fn destination(&self) -> PathBuf {
        self.coffre.base().join("dst")
    }

    /// What clients see as `/`.
    pub fn live(&self) -> PathBuf {
        self.coffre.home().join("live")
    }

    /// The same in a snapshot.
    pub fn destination_in(&self, snapshot: &Path) -> PathBuf {
        let live = self.coffre.home().join("live");
        let destination = self.destination();
        snapshot.join(destination.strip_prefix(live).unwrap_or(&destination))
    }

    /// What sessions leave behind when they break off: must be nothing.
    pub fn left_in_staging(&self) -> Vec<PathBuf> {
        let staging = self.coffre.home().join(".staging");
        let names = fs::read_dir(staging).into_iter().flatten().flatten();
        names.map(|entry| entry.path()).collect()
    }

    /// An ssh configuration with one of the keys, for the server or for a proxy before it.
    pub fn ssh_config(&self, key: &str, port: u16) -> Result<PathBuf> {
        let file = self.dir.path().join(format!("ssh_config_{key}_{port}"));
        self.keys.client_config(&file, port, key)?;
        Ok(file)
    }

    /// The stock client, not started yet. Words are split at spaces.
    pub fn rsync(&self, key: &str, port: u16, command: &str) -> Result<Invocation> {
        let ssh = self.clients.ssh(None)?.path.display().to_string();
        let config = self.ssh_config(key, port)?;
        let mut client = Invocation::new(&self.clients.rsync(None)?.path, &self.local());
        client.timeout = patience();
        client.args = command.split_whitespace().map(Into::into).collect();
        client.env = vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("TZ".into(), "UTC".into()),
            (
                "RSYNC_RSH".into(),
                format!("{ssh} -F {}", config.display()).into(),
            ),
        ];
        Ok(client)
    }

    /// Runs `rsync` as the tenant's client.
    pub fn push(&self, command: &str) -> Result<Outcome> {
        self.rsync("client", self.coffre.port(), command)?.run()
    }

    /// … and it must end well.
    pub fn push_well(&self, command: &str) -> Result<Outcome> {
        let outcome = self.push(command)?;
        if outcome.exit != 0 {
            bail!("rsync {command}: {}", said(&outcome));
        }
        Ok(outcome)
    }

    /// The client's ssh, with a command for the server and what goes to its standard input.
    pub fn ssh(&self, key: &str, command: &str, stdin: Vec<u8>) -> Result<Outcome> {
        let config = self.ssh_config(key, self.coffre.port())?;
        let mut client = Invocation::new(&self.clients.ssh(None)?.path, &self.local());
        client.args = vec!["-F".into(), config.into(), "server".into(), command.into()];
        client.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        client.stdin = stdin;
        client.run()
    }

    /// Bytes that the server has read with `read` calls so far.
    pub fn bytes_read(&self) -> Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.coffre.pid()))?;
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        Ok(read.context("the kernel does not count")?.parse()?)
    }

    /// What stock rsync finds different between two directories here, content included. The
    /// server's own attributes do not count.
    pub fn differences(&self, left: &Path, right: &Path) -> Result<String> {
        let mut compare = Invocation::new(&self.clients.rsync(None)?.path, Path::new("/"));
        compare.timeout = patience();
        compare.args = [
            "-aHAXnci",
            "--numeric-ids",
            "--delete",
            "--filter=-x user.coffre.*",
        ]
        .map(Into::into)
        .to_vec();
        compare.args.push(format!("{}/", left.display()).into());
        compare.args.push(format!("{}/", right.display()).into());
        compare.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        let outcome = compare.run()?;
        if outcome.exit != 0 {
            bail!("rsync cannot compare: {}", said(&outcome));
        }
        Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
    }

    /// The same, a line each, but for what a protocol cannot carry: those before 30 have no ACLs
    /// and no extended attributes.
    pub fn differences_at(&self, protocol: u32, left: &Path, right: &Path) -> Result<Vec<String>> {
        let found = self.differences(left, right)?;
        // `.f.......ax name`: but for these two all is equal.
        let is_carried = |line: &&str| {
            protocol >= 30 || !line.starts_with('.') || line.get(2..9) != Some(".......")
        };
        Ok(found
            .lines()
            .filter(is_carried)
            .map(str::to_owned)
            .collect())
    }
}

/// A store on btrfs, in which the tenant's live tree is a subvolume.
pub fn store_with_subvolume(disk: &LoopFs) -> Result<PathBuf> {
    let store = disk.path().join("store");
    let home = store.join("compat");
    fs::create_dir_all(&home)?;
    let live = home.join("live");
    tool(
        "btrfs",
        &[
            "-q".as_ref(),
            "subvolume".as_ref(),
            "create".as_ref(),
            live.as_ref(),
        ],
    )?;
    Ok(store)
}

/// How long a client may take. `COFFRE_PATIENCE` (seconds) is for trees larger than usual.
fn patience() -> Duration {
    Duration::from_secs(number_from_env("COFFRE_PATIENCE", 60))
}

/// Exit code and both outputs, for a message.
pub fn said(outcome: &Outcome) -> String {
    format!(
        "exit {}\n{}{}",
        outcome.exit,
        String::from_utf8_lossy(&outcome.stdout),
        String::from_utf8_lossy(&outcome.stderr)
    )
}

/// A number from the environment, for tests that can be longer or other than usual.
pub fn number_from_env(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(usual)
}

/// Whether the tests can run here; says so if not.
pub fn may_run() -> bool {
    if !is_root() {
        println!("skipped: a server for all owners needs root");
    }
    is_root()
}
