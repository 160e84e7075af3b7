//! Workloads in which clients talk to a server: both servers stand at the same time, each on a file
//! system of its own, and take turns.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::limit::{self, Limit};
use super::measure::{Group, Watch, cpu_secs_of_children};
use super::proxy::Proxy;
use super::source::{Change, Tree, content_of};
use super::workload::{Kind, Size, Transfer};
use super::{Came, Machine, Sample, in_turns};
use crate::loopfs::{FileSystem, LoopFs};
use crate::run::Invocation;
use crate::sandbox::{BASE, Coffre, HOST, Keys, Lines, ServerKind, Stock};

const OPTIONS: [&str; 3] = ["-aHAX", "--numeric-ids", "--delete"];

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Runs so many pairs.
pub(super) fn run(
    machine: &Machine,
    kind: Kind,
    size: Size,
    fs: FileSystem,
    limit: Limit,
) -> Result<Came> {
    let source = |tree, change| machine.source(tree, size, change);
    let start = || -> Result<[Running; 2]> {
        Ok([
            machine.start(ServerKind::Stock, fs)?,
            machine.start(ServerKind::Coffre, fs)?,
        ])
    };
    match kind {
        Kind::FirstPush { tree, with } => {
            let source = source(tree, Change::Nothing)?;
            let servers = start()?;
            let pairs = in_turns(machine.pairs, |turn, kind| {
                let server = &servers[kind as usize];
                server.push(machine, &source.base(), &turn.to_string(), with)
            })?;
            let limit = servers[0].limit(machine, limit, &source.base(), 1)?;
            Ok(Came { pairs, limit })
        }
        Kind::Push { tree, change, with } => {
            let source = source(tree, change)?;
            let servers = start()?;
            for server in &servers {
                server.push(machine, &source.base(), "again", PLAIN)?;
            }
            let pairs = in_turns(machine.pairs, |turn, kind| {
                let server = &servers[kind as usize];
                server.push(machine, &source.at_turn(turn), "again", with)
            })?;
            let limit = servers[0].limit(machine, limit, &source.base(), 1)?;
            Ok(Came { pairs, limit })
        }
        Kind::Pull { tree } => {
            let source = source(tree, Change::Nothing)?;
            let servers = start()?;
            for server in &servers {
                server.push(machine, &source.base(), "there", PLAIN)?;
                if let Process::Coffre(server) = &server.server {
                    server.snapshot()?;
                }
            }
            let to = LoopFs::make(fs, machine.room_bytes)?;
            let pairs = in_turns(machine.pairs, |turn, kind| {
                let place = to.path().join(format!("{}-{turn}", kind.name()));
                servers[kind as usize].pull(machine, "there", &place)
            })?;
            let limit = servers[0].limit(machine, limit, &source.base(), 1)?;
            Ok(Came { pairs, limit })
        }
        Kind::ManyClients { clients } => {
            let source = source(Tree::Even, Change::Nothing)?;
            let servers = start()?;
            let pairs = in_turns(machine.pairs, |turn, kind| {
                let to: Vec<String> = (0..clients).map(|n| format!("{turn}-{n}")).collect();
                servers[kind as usize].push_all(machine, &source.base(), &to)
            })?;
            let limit = servers[0].limit(machine, limit, &source.base(), clients)?;
            Ok(Came { pairs, limit })
        }
        Kind::Logins { logins } => {
            let servers = start()?;
            let pairs = in_turns(machine.pairs, |_, kind| {
                servers[kind as usize].log_in(machine, logins)
            })?;
            let before = cpu_secs_of_children();
            servers[1].log_in(machine, logins)?;
            let limit = Sample::lasting(cpu_secs_of_children() - before);
            Ok(Came { pairs, limit })
        }
        Kind::Snapshot | Kind::Steady | Kind::Prune | Kind::Tenants => {
            bail!("internal: this workload has no clients")
        }
    }
}

const PLAIN: Transfer = Transfer {
    args: &[],
    round_trip_millis: 0,
};

enum Process {
    Stock(Stock),
    Coffre(Coffre),
}

/// A server alone on a file system. Fields are dropped in this order: the server first.
pub(super) struct Running {
    server: Process,
    group: Option<Group>,
    fs: LoopFs,
    dir: tempfile::TempDir,
    keys: Keys,
}

impl Machine {
    fn start(&self, kind: ServerKind, fs: FileSystem) -> Result<Running> {
        let fs = LoopFs::make(fs, self.room_bytes)?;
        let dir = tempfile::tempdir()?;
        let keys = Keys::make(&dir.path().join("keys"))?;
        let place = fs.path().join("server");
        let rsync = &self.clients.rsync(None)?.path;
        let server = match (&self.coffre, kind) {
            (Some(binary), ServerKind::Coffre) => Process::Coffre(Coffre::start_configured(
                &place,
                &keys,
                &place.join("store"),
                binary,
                &Lines {
                    server: "max_unauthenticated_per_address = 100\n".to_owned(),
                    tenant: "max_sessions = 100\n".to_owned(),
                    more: String::new(),
                },
            )?),
            _ => Process::Stock(Stock::start(&place, &keys, rsync)?),
        };
        let mut running = Running {
            server,
            group: None,
            fs,
            dir,
            keys,
        };
        running.write_config(running.port())?;
        running.group = Group::of(running.pid());
        Ok(running)
    }
}

impl Running {
    fn pid(&self) -> u32 {
        match &self.server {
            Process::Stock(server) => server.pid(),
            Process::Coffre(server) => server.pid(),
        }
    }

    fn port(&self) -> u16 {
        match &self.server {
            Process::Stock(server) => server.port(),
            Process::Coffre(server) => server.port(),
        }
    }

    fn ssh_config(&self) -> PathBuf {
        self.dir.path().join("ssh_config")
    }

    /// Clients find the server at that port from now on.
    fn write_config(&self, port: u16) -> Result<()> {
        self.keys.client_config(&self.ssh_config(), port, "client")
    }

    fn client(&self, machine: &Machine) -> Result<Invocation> {
        let mut client = Invocation::new(&machine.clients.rsync(None)?.path, Path::new("/"));
        client.args = OPTIONS.map(OsString::from).to_vec();
        client.timeout = PATIENCE;
        let ssh = &machine.clients.ssh(None)?.path;
        let shell = format!("{} -F {}", ssh.display(), self.ssh_config().display());
        client.env = vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("RSYNC_RSH".into(), shell.into()),
        ];
        Ok(client)
    }

    /// Measures the server during `work`.
    fn watch(&self, work: impl FnOnce() -> Result<Duration>) -> Result<Sample> {
        self.fs.sync()?;
        let written_before = self.fs.written_bytes()?;
        let watch = Watch::start(self.pid(), self.group.as_ref())?;
        let wall = work();
        let used = watch.finish()?;
        let wall = wall?;
        let synced = Instant::now();
        self.fs.sync()?;
        let sync_secs = synced.elapsed().as_secs_f64();
        Ok(Sample {
            wall_secs: wall.as_secs_f64(),
            sync_secs,
            server_cpu_secs: Some(used.cpu_secs),
            peak_memory_bytes: Some(used.peak.private_bytes),
            peak_own_bytes: Some(used.peak.own_bytes),
            written_bytes: Some(self.fs.written_bytes()?.saturating_sub(written_before)),
        })
    }

    fn push(&self, machine: &Machine, from: &Path, to: &str, with: Transfer) -> Result<Sample> {
        let proxy = match with.round_trip_millis {
            0 => None,
            millis => Some(Proxy::before(self.port(), Duration::from_millis(millis))?),
        };
        self.write_config(proxy.as_ref().map_or(self.port(), Proxy::port))?;
        let mut client = self.client(machine)?;
        client.args.extend(with.args.iter().map(OsString::from));
        client.args.push(content_of(from));
        client.args.push(format!("{HOST}:{BASE}/{to}/").into());
        self.watch(|| finished(&client))
    }

    /// From the newest snapshot, where there are any.
    fn pull(&self, machine: &Machine, from: &str, to: &Path) -> Result<Sample> {
        let mut client = self.client(machine)?;
        client.args.push(match self.server {
            Process::Stock(_) => format!("{HOST}:{BASE}/{from}/").into(),
            Process::Coffre(_) => format!("restore@{HOST}:/latest{BASE}/{from}/").into(),
        });
        client.args.push(content_of(to));
        let sample = self.watch(|| finished(&client))?;
        if std::fs::read_dir(to)?.next().is_none() {
            bail!("nothing was pulled");
        }
        Ok(sample)
    }

    fn push_all(&self, machine: &Machine, from: &Path, to: &[String]) -> Result<Sample> {
        let mut clients = Vec::new();
        for to in to {
            let mut client = self.client(machine)?;
            client.args.push(content_of(from));
            client.args.push(format!("{HOST}:{BASE}/{to}/").into());
            clients.push(client);
        }
        self.watch(|| {
            let started = Instant::now();
            std::thread::scope(|scope| {
                let running: Vec<_> = clients
                    .iter()
                    .map(|client| scope.spawn(|| finished(client)))
                    .collect();
                for client in running {
                    let ended = client.join();
                    ended.map_err(|_| anyhow::anyhow!("a client's thread panicked"))??;
                }
                Ok(started.elapsed())
            })
        })
    }

    fn log_in(&self, machine: &Machine, logins: usize) -> Result<Sample> {
        let mut client = Invocation::new(&machine.clients.ssh(None)?.path, Path::new("/"));
        client.args = vec![
            "-F".into(),
            self.ssh_config().into_os_string(),
            HOST.into(),
            "true".into(),
        ];
        client.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        self.watch(|| {
            let started = Instant::now();
            for _ in 0..logins {
                finished(&client)?;
            }
            Ok(started.elapsed())
        })
    }

    /// What plain tools need for the least that any server must do for so many clients.
    fn limit(
        &self,
        machine: &Machine,
        limit: Limit,
        source: &Path,
        clients: usize,
    ) -> Result<Sample> {
        match limit {
            Limit::Copy | Limit::Copies => {
                let copies = (0..clients).map(|number| {
                    let mut command = Command::new("cp");
                    let to = self.fs.path().join(format!("limit-{number}"));
                    command.arg("-a").arg(source).arg(to);
                    command
                });
                limit::at_once(&self.fs, copies.collect())
            }
            Limit::Look => {
                let mut command = Command::new("find");
                command.arg(source).args(["-printf", "%s%T@%m%U%G"]);
                limit::at_once(&self.fs, vec![command])
            }
            Limit::Cipher | Limit::CipherNearby => {
                self.write_config(self.port())?;
                let ssh = &machine.clients.ssh(None)?.path;
                let mut command = Command::new(ssh);
                command.arg("-F").arg(self.ssh_config());
                command.args([HOST, "cat > /dev/null"]);
                let mut files = std::fs::read_dir(source)?;
                let file = files.next().context("an empty source")??.path();
                command.stdin(std::fs::File::open(file)?);
                let watch = Watch::start(self.pid(), self.group.as_ref())?;
                let took = limit::at_once(&self.fs, vec![command]);
                let used = watch.finish()?;
                // Here it is the server's end that counts.
                Ok(Sample {
                    server_cpu_secs: Some(used.cpu_secs),
                    ..took?
                })
            }
            other => bail!("internal: {other} is no limit of this workload"),
        }
    }
}

fn finished(client: &Invocation) -> Result<Duration> {
    let outcome = client.run()?;
    if outcome.exit != 0 {
        let said = String::from_utf8_lossy(&outcome.stderr);
        bail!(
            "a client ended with {}: {}",
            outcome.exit,
            said.lines().next().unwrap_or_default()
        );
    }
    Ok(outcome.wall)
}
