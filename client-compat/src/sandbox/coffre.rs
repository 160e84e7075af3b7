//! coffre as an admin would start it: a configuration file and `coffre serve`.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Daemon, Keys, Port, base_below};
use crate::run::{Invocation, Outcome, tool};

/// The one tenant of a throw-away server.
pub const TENANT: &str = "compat";

/// A running coffre.
#[derive(Debug)]
pub struct Coffre {
    daemon: Daemon,
    port: Port,
    dir: PathBuf,
    binary: PathBuf,
    storage: PathBuf,
    base: PathBuf,
    log: PathBuf,
}

impl Coffre {
    /// Starts it with its files in `dir` and its store in `dir/store`.
    pub fn start(dir: &Path, keys: &Keys, tenant: &str) -> Result<Self> {
        let lines = Lines {
            tenant: tenant.to_owned(),
            ..Lines::default()
        };
        Self::start_configured(dir, keys, &dir.join("store"), &coffre_binary()?, &lines)
    }

    /// … with another store or another build.
    pub fn start_with(dir: &Path, keys: &Keys, storage: &Path, binary: &Path) -> Result<Self> {
        Self::start_configured(dir, keys, storage, binary, &Lines::default())
    }

    /// … and with more in its configuration.
    pub fn start_configured(
        dir: &Path,
        keys: &Keys,
        storage: &Path,
        binary: &Path,
        lines: &Lines,
    ) -> Result<Self> {
        let live = storage.join(TENANT).join("live");
        let base = base_below(&live);
        fs::create_dir_all(&base)?;
        fs::create_dir_all(dir)?;
        let log = dir.join("log");
        let port = Port::reserve()?;
        let config = dir.join("tenants.toml");
        fs::write(&config, tenants_toml(storage, keys, port.number, lines)?)?;
        File::create(&log)?;
        let daemon = serve(binary, &config, &log, port.number)?;
        Ok(Self {
            daemon,
            port,
            dir: dir.to_path_buf(),
            binary: binary.to_path_buf(),
            storage: storage.to_path_buf(),
            base,
            log,
        })
    }

    /// Ends it at once, if it still runs.
    pub fn kill(&mut self) -> Result<()> {
        let _ = self.daemon.child.kill();
        self.daemon.child.wait()?;
        Ok(())
    }

    /// Kills it, if it still runs, and starts it again with the same files.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let config = self.dir.join("tenants.toml");
        self.daemon = serve(&self.binary, &config, &self.log, self.port.number)?;
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// What [`super::BASE`] is in the tenant's live tree.
    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn log_file(&self) -> &Path {
        &self.log
    }

    pub fn pid(&self) -> u32 {
        self.daemon.child.id()
    }

    /// `<storage>/<tenant>`.
    pub fn home(&self) -> PathBuf {
        self.storage.join(TENANT)
    }

    /// The file with its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("tenants.toml")
    }

    /// Runs `coffre …` for this server; gives what it prints.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let config = self.config();
        let mut args: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
        args.extend(["--config".as_ref(), config.as_os_str()]);
        let out = tool(&self.binary.display().to_string(), &args)?;
        Ok(String::from_utf8(out)?)
    }

    /// A verb of the command line, as an admin would run it. Words are split at spaces.
    pub fn verb(&self, words: &str) -> Result<Outcome> {
        self.invocation(words).run()
    }

    /// The same, not started yet.
    pub fn invocation(&self, words: &str) -> Invocation {
        let mut invocation = Invocation::new(&self.binary, Path::new("/"));
        invocation.args = words.split_whitespace().map(Into::into).collect();
        invocation.args.push("--config".into());
        invocation.args.push(self.dir.join("tenants.toml").into());
        invocation
    }

    /// Takes a snapshot as an admin would; gives its directory.
    pub fn snapshot(&self) -> Result<PathBuf> {
        let name = self.command(&["snapshot", TENANT])?;
        let snapshot = self.home().join("snapshots").join(name.trim());
        if !snapshot.is_dir() {
            bail!("`coffre snapshot` printed {name:?}, but there is no such snapshot");
        }
        Ok(snapshot)
    }
}

fn serve(binary: &Path, config: &Path, log: &Path, port: u16) -> Result<Daemon> {
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(binary)
        .args(["serve", "--config"])
        .arg(config)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(File::options().append(true).open(log)?)
        .stderr(File::options().append(true).open(log)?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut daemon = Daemon { child };
    daemon.wait_for_port(port, log).context("start coffre")?;
    Ok(daemon)
}

/// Lines for the configuration of a throw-away server, each with its end.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    /// In `[server]`.
    pub server: String,
    /// In the tenant.
    pub tenant: String,
    /// Behind it: more tables.
    pub more: String,
}

fn tenants_toml(storage: &Path, keys: &Keys, port: u16, lines: &Lines) -> Result<String> {
    // Snapshots only when a test asks: on its own schedule they would be taken at any moment.
    Ok(format!(
        "[server]\n\
         storage = {storage:?}\n\
         listen = [\"127.0.0.1\"]\n\
         host_key = {host_key:?}\n\
         {server}\n\
         [tenants.{TENANT}]\n\
         port = {port}\n\
         keys = [\n\
           {{ key = \"{client}\", from = [\"127.0.0.1\"] }},\n\
           {{ key = \"{pusher}\", from = [\"127.0.0.1\"], may = [\"push\"] }},\n\
         ]\n\
         snapshots = false\n\
         {max_sessions}{tenant}\n{more}",
        storage = storage.display().to_string(),
        host_key = keys.host_key().display().to_string(),
        client = keys.public("client")?,
        server = lines.server,
        max_sessions = match lines.tenant.contains("max_sessions") {
            true => "",
            false => "max_sessions = 16\n",
        },
        tenant = lines.tenant,
        more = lines.more,
        pusher = keys.public("pusher")?,
    ))
}

/// `COFFRE_BIN`, else the binary beside the running one: tests and tools are built into the same
/// directory, or one below it.
pub fn coffre_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("COFFRE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let running = std::env::current_exe()?;
    running
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("coffre"))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "no coffre beside {}; build it first with `cargo build`, or set COFFRE_BIN",
                running.display()
            )
        })
}
