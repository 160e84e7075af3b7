//! Workloads of the server alone: snapshots against `cp -al` and `rm -rf`, and a thousand tenants.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::limit::{self, Limit};
use super::measure::{Group, Memory, Watch, memory_of};
use super::source::{Tree, fill, name_of};
use super::workload::{Kind, Size};
use super::{Came, Machine, Sample, in_turns};
use crate::loopfs::{FileSystem, LoopFs};
use crate::run::ProcessGroup;
use crate::sandbox::{Coffre, Keys, Port, ServerKind, TENANT};
use crate::tree::{Builder, noise};

/// Snapshots and prunes.
pub(super) fn snapshots(
    machine: &Machine,
    kind: Kind,
    size: Size,
    fs: FileSystem,
    limit: Limit,
) -> Result<Came> {
    let coffre = machine.coffre.as_deref();
    let coffre = coffre.context("this workload has no use for stock alone")?;
    let stand = Stand::make(coffre, size, fs, machine.room_bytes)?;
    let pairs = match kind {
        Kind::Snapshot => in_turns(machine.pairs, |turn, who| match who {
            ServerKind::Coffre => stand.coffre(&["snapshot", TENANT]),
            ServerKind::Stock => stand.copy(turn),
        }),
        Kind::Prune => in_turns(machine.pairs, |turn, who| match who {
            ServerKind::Coffre => {
                stand.keep(None)?;
                // One stays of each turn, and one is to go, as for the other.
                while stand.snapshots()? < 2 {
                    stand.server.command(&["snapshot", TENANT])?;
                }
                stand.keep(Some(1))?;
                stand.coffre(&["prune", TENANT])
            }
            ServerKind::Stock => {
                stand.copy(turn)?;
                stand.remove(turn)
            }
        }),
        _ => {
            // So that there is one to go from the first time on.
            stand.keep(Some(2))?;
            for _ in 0..2 {
                stand.server.command(&["snapshot", TENANT])?;
            }
            stand.copy(0)?;
            in_turns(machine.pairs, |turn, who| {
                stand.replace_a_hundredth(turn)?;
                match who {
                    ServerKind::Coffre => stand.coffre(&["snapshot", TENANT]),
                    ServerKind::Stock => stand.copy(turn + 1)?.and(stand.remove(turn)?),
                }
            })
        }
    };
    Ok(Came {
        pairs: pairs?,
        limit: stand.limit(limit)?,
    })
}

/// A live tree, a server that is asked for snapshots of it, and a place for copies.
struct Stand {
    server: Coffre,
    group: Option<Group>,
    size: Size,
    _dir: tempfile::TempDir,
    fs: LoopFs,
}

impl Stand {
    fn make(binary: &Path, size: Size, fs: FileSystem, room_bytes: u64) -> Result<Self> {
        let fs = LoopFs::make(fs, room_bytes)?;
        let dir = tempfile::tempdir()?;
        let keys = Keys::make(&dir.path().join("keys"))?;
        let place = fs.path().join("server");
        let store = place.join("store");
        let server = Coffre::start_with(&place, &keys, &store, binary)?;
        fill(&server.home().join("live/tree"), Tree::Even, size)?;
        Ok(Self {
            group: Group::of(server.pid()),
            server,
            size,
            _dir: dir,
            fs,
        })
    }

    /// Measures the daemon while it does what it is asked.
    fn coffre(&self, args: &[&str]) -> Result<Sample> {
        self.fs.sync()?;
        let watch = Watch::start(self.server.pid(), self.group.as_ref())?;
        let started = Instant::now();
        self.server.command(args)?;
        let wall_secs = started.elapsed().as_secs_f64();
        let used = watch.finish()?;
        let synced = Instant::now();
        self.fs.sync()?;
        Ok(Sample {
            sync_secs: synced.elapsed().as_secs_f64(),
            server_cpu_secs: Some(used.cpu_secs),
            ..Sample::lasting(wall_secs)
        })
    }

    fn copy_of(&self, turn: usize) -> PathBuf {
        self.fs.path().join(format!("copy-{turn}"))
    }

    fn live(&self) -> PathBuf {
        self.server.home().join("live")
    }

    fn copy(&self, turn: usize) -> Result<Sample> {
        self.copy_to(&self.copy_of(turn))
    }

    fn copy_to(&self, place: &Path) -> Result<Sample> {
        let mut command = Command::new("cp");
        command.arg("-al").arg(self.live()).arg(place);
        limit::at_once(&self.fs, vec![command])
    }

    fn remove(&self, turn: usize) -> Result<Sample> {
        let mut command = Command::new("rm");
        command.arg("-rf").arg(self.copy_of(turn));
        limit::at_once(&self.fs, vec![command])
    }

    /// What two processes of plain tools need for the least of it.
    fn limit(&self, limit: Limit) -> Result<Sample> {
        let place = self.fs.path().join("limit");
        let commands = match limit {
            Limit::Links => {
                fs::create_dir(&place)?;
                let args = ["-al".as_ref(), "-t".as_ref(), place.as_os_str()];
                limit::by_two("cp", &args, &self.live().join("tree"))?
            }
            Limit::Removals => {
                self.copy_to(&place)?;
                limit::by_two("rm", &["-rf".as_ref()], &place.join("tree"))?
            }
            Limit::Listings => {
                self.copy_to(&place)?;
                let find = |tree: &Path| {
                    let mut command = Command::new("find");
                    command.arg(tree).arg("-false");
                    command
                };
                vec![find(&self.live()), find(&place)]
            }
            other => bail!("internal: {other} is no limit of this workload"),
        };
        limit::at_once(&self.fs, commands)
    }

    /// Gives the tenant that rule, or none.
    fn keep(&self, last: Option<u32>) -> Result<()> {
        let config = self.server.config();
        let text = fs::read_to_string(&config)?;
        let mut lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("keep"))
            .collect();
        let rule = last.map(|last| format!("keep = {{ last = {last} }}"));
        lines.extend(rule.as_deref());
        fs::write(&config, lines.join("\n") + "\n")?;
        self.server.command(&["reload"])?;
        Ok(())
    }

    fn snapshots(&self) -> Result<usize> {
        match fs::read_dir(self.server.home().join("snapshots")) {
            Ok(names) => Ok(names.count()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn replace_a_hundredth(&self, turn: usize) -> Result<()> {
        let tree = Builder::at(&self.server.home().join("live/tree"))?;
        for number in (turn as u64..self.size.files).step_by(100) {
            let name = name_of(number);
            tree.file("new", &noise(number, usize::try_from(self.size.bytes)?))?;
            fs::rename(tree.path("new"), tree.path(name))?;
        }
        Ok(())
    }
}

/// One process with so many tenants against so many sshd.
pub(super) fn tenants(machine: &Machine, size: Size, fs: FileSystem) -> Result<Came> {
    let coffre = machine.coffre.as_deref();
    let coffre = coffre.context("this workload has no use for stock alone")?;
    let dir = tempfile::tempdir()?;
    let keys = Keys::make(&dir.path().join("keys"))?;
    let ports = (0..size.files)
        .map(|_| Port::reserve())
        .collect::<Result<Vec<_>>>()?;
    let pairs = in_turns(machine.pairs, |_, who| {
        let mounted = LoopFs::make(fs, machine.room_bytes)?;
        let place = mounted.path().join("server");
        fs::create_dir(&place)?;
        match who {
            ServerKind::Coffre => one_process(coffre, &place, &keys, &ports),
            ServerKind::Stock => {
                let sshd = &machine.clients.sshd()?.path;
                many_sshd(sshd, &place, &keys, &ports)
            }
        }
    })?;
    let limit = limit::sockets(size.files)?;
    Ok(Came { pairs, limit })
}

fn one_process(binary: &Path, place: &Path, keys: &Keys, ports: &[Port]) -> Result<Sample> {
    fs::create_dir(place.join("store"))?;
    let mut config = format!(
        "[server]\nstorage = {:?}\nlisten = [\"127.0.0.1\"]\nhost_key = {:?}\n",
        place.join("store").display().to_string(),
        keys.host_key().display().to_string()
    );
    for (number, port) in ports.iter().enumerate() {
        writeln!(
            config,
            "[tenants.t{number}]\nport = {}\nkeys = [{{ key = \"{}\", from = [\"127.0.0.1\"] }}]",
            port.number(),
            keys.public("client")?
        )?;
    }
    let path = place.join("tenants.toml");
    fs::write(&path, config)?;
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(&path);
    started(place, vec![command], ports)
}

fn many_sshd(sshd: &Path, place: &Path, keys: &Keys, ports: &[Port]) -> Result<Sample> {
    fs::write(place.join("authorized_keys"), keys.public("client")? + "\n")?;
    // sshd wants it, and does not start without.
    fs::create_dir_all("/run/sshd")?;
    let mut commands = Vec::new();
    for port in ports {
        let config = place.join(format!("sshd-{}", port.number()));
        fs::write(
            &config,
            format!(
                "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile \
                 none\nUsePAM no\n",
                port.number(),
                keys.host_key().display(),
                place.join("authorized_keys").display()
            ),
        )?;
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(&config);
        commands.push(command);
    }
    started(place, commands, ports)
}

/// Servers that end with this value.
struct Servers(Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            ProcessGroup::of(child).kill();
            let _ = child.wait();
        }
    }
}

/// Starts them, waits until all ports answer, and looks at their memory a little later.
fn started(place: &Path, commands: Vec<Command>, ports: &[Port]) -> Result<Sample> {
    let log = fs::File::create(place.join("log"))?;
    let start = Instant::now();
    let mut servers = Servers(Vec::new());
    for mut command in commands {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.try_clone()?)
            .process_group(0);
        servers.0.push(command.spawn()?);
    }
    for port in ports {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > Duration::from_secs(300) {
                bail!("port {} does not answer", port.number());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let wall_secs = start.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    // All of them share their code; what is left is their own.
    let memory: Memory = servers.0.iter().map(|child| memory_of(child.id())).sum();
    Ok(Sample {
        peak_memory_bytes: Some(memory.private_bytes),
        peak_own_bytes: Some(memory.own_bytes),
        ..Sample::lasting(wall_secs)
    })
}
