//! How fast is coffre beside stock sshd + rsync? The same client pushes the same tree to both,
//! alternately, onto a fresh file system each time.
//!
//! What makes such figures lie, and what is done about it:
//!
//! * An old or odd file system: every sample has its own loop-mounted ext4, made by a plain mkfs.
//!   (Without a journal, creating files soon after deleting many takes ten times as long.)
//! * Other load: stock and coffre take turns within a pair, the order changes from pair to pair,
//!   and the figure is the median of the ratios of pairs.
//! * A cold source: it is read once before.
//! * What is not on disk yet: coffre syncs before it says success, stock does not. So the time of a
//!   `sync` after the client's end is measured too, and both ratios are told.

mod measure;
mod report;
mod workload;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::clients::Clients;
use crate::loopfs::{FileSystem, LoopFs};
use crate::run::Invocation;
use crate::sandbox::{BASE, Coffre, HOST, Keys, ServerKind, Stock, is_root};

use measure::{Group, Watch};
use workload::{Step, WORKLOADS, Workload};

/// Options of `client-compat bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// Only this workload: first-push, no-change or big-file
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How often each server does each workload
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Print the samples as JSON
    #[arg(long)]
    json: bool,
    /// Write the result as a page of documentation
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/performance.md")]
    write: Option<PathBuf>,
    /// Number of files of the small-file workloads
    #[arg(long, default_value_t = 100_000)]
    files: usize,
    /// Bytes of the big file
    #[arg(long, default_value_t = 1 << 30)]
    big_bytes: u64,
    /// File system below the servers: ext4, xfs or btrfs
    #[arg(long, default_value = "ext4")]
    fs: FileSystem,
    /// Compare stock with stock, to see what the method's own noise is
    #[arg(long)]
    stock: bool,
}

/// One server doing one workload once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// From the client's start to its end.
    pub(crate) wall_secs: f64,
    /// How long a `sync` of the destination's file system took afterwards.
    pub(crate) sync_secs: f64,
    /// Of all processes of the server.
    pub(crate) server_cpu_secs: f64,
    /// coffre: most resident at any time. Stock: largest sampled sum of private memory.
    pub(crate) peak_memory_bytes: u64,
}

/// A stock sample and a coffre sample taken one after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pair {
    pub(crate) stock: Sample,
    pub(crate) coffre: Sample,
}

/// All pairs of one workload.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) workload: &'static str,
    pub(crate) about: String,
    pub(crate) pairs: Vec<Pair>,
}

/// Measures, prints, and writes what was asked for.
pub fn bench(options: &BenchOptions) -> Result<()> {
    if !is_root() {
        println!("skipped: loop mounts and a stock server for all owners need root");
        return Ok(());
    }
    let chosen: Vec<&Workload> = WORKLOADS
        .iter()
        .filter(|workload| {
            options
                .only
                .as_ref()
                .is_none_or(|only| only == workload.name)
        })
        .collect();
    if chosen.is_empty() {
        bail!("no workload of that name; there is first-push, no-change and big-file");
    }
    let clients = Clients::find()?;
    let bench = Bench {
        source: workload::Source::make(options.files, options.big_bytes, &chosen)?,
        clients,
        coffre: match options.stock {
            true => None,
            false => Some(release_binary()?),
        },
        fs: options.fs,
    };
    let mut measured: Vec<Measured> = chosen
        .iter()
        .map(|workload| Measured {
            workload: workload.name,
            about: workload.about(options.files, options.big_bytes),
            pairs: Vec::new(),
        })
        .collect();
    for number in 0..options.pairs {
        // Who comes first changes from pair to pair.
        let order = match number % 2 == 0 {
            true => [ServerKind::Stock, ServerKind::Coffre],
            false => [ServerKind::Coffre, ServerKind::Stock],
        };
        let mut samples = Vec::new();
        for kind in order {
            samples.push((kind, bench.all_of(kind, &chosen)?));
        }
        samples.sort_by_key(|(kind, _)| *kind == ServerKind::Coffre);
        let (stock, coffre) = (&samples[0].1, &samples[1].1);
        for ((measured, &stock), &coffre) in measured.iter_mut().zip(stock).zip(coffre) {
            measured.pairs.push(Pair { stock, coffre });
        }
        eprintln!("pair {} of {}", number + 1, options.pairs);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    } else {
        print!("{}", report::text(&measured));
    }
    if let Some(path) = &options.write {
        let page = report::page(&measured, &bench.clients, options.fs)?;
        std::fs::write(path, page).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

struct Bench {
    source: workload::Source,
    clients: Clients,
    /// `None`: stock stands in for it.
    coffre: Option<PathBuf>,
    fs: FileSystem,
}

impl Bench {
    /// One server, one pass over the workloads. Those that build on each other share a server and
    /// a file system.
    fn all_of(&self, kind: ServerKind, chosen: &[&Workload]) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut running: Option<Running> = None;
        for workload in chosen {
            // `take` ends the last server before its file system goes.
            let builds_on_last = workload.builds_on_last && running.is_some();
            let current = match running.take().filter(|_| builds_on_last) {
                Some(running) => running,
                None => self.start(kind)?,
            };
            if workload.builds_on_last && !builds_on_last {
                current.push(self, Step::Small)?;
            }
            samples.push(current.push(self, workload.step)?);
            running = Some(current);
        }
        Ok(samples)
    }

    fn start(&self, kind: ServerKind) -> Result<Running> {
        let fs = LoopFs::make(self.fs, 8 << 30)?;
        let dir = tempfile::tempdir()?;
        let keys = Keys::make(&dir.path().join("keys"))?;
        let place = fs.path().join("server");
        let rsync = &self.clients.rsync(None)?.path;
        let server = match (&self.coffre, kind) {
            (Some(binary), ServerKind::Coffre) => Process::Coffre(Coffre::start_with(
                &place,
                &keys,
                &place.join("store"),
                binary,
            )?),
            _ => Process::Stock(Stock::start(&place, &keys, rsync)?),
        };
        keys.client_config(&dir.path().join("ssh_config"), server.port(), "client")?;
        let group = Group::of(server.pid());
        Ok(Running {
            server,
            group,
            fs,
            dir,
        })
    }
}

enum Process {
    Stock(Stock),
    Coffre(Coffre),
}

impl Process {
    fn pid(&self) -> u32 {
        match self {
            Self::Stock(server) => server.pid(),
            Self::Coffre(server) => server.pid(),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Stock(server) => server.port(),
            Self::Coffre(server) => server.port(),
        }
    }
}

/// Fields are dropped in this order: the server before its file system.
struct Running {
    server: Process,
    group: Option<Group>,
    fs: LoopFs,
    dir: tempfile::TempDir,
}

impl Running {
    fn push(&self, bench: &Bench, step: Step) -> Result<Sample> {
        let is_one_process = matches!(self.server, Process::Coffre(_));
        self.fs.sync()?;
        let ssh = &bench.clients.ssh(None)?.path;
        let mut client = Invocation::new(&bench.clients.rsync(None)?.path, Path::new("/"));
        client.args = ["-aHAX", "--numeric-ids", "--delete"]
            .map(OsString::from)
            .to_vec();
        client.args.push(bench.source.of(step));
        client
            .args
            .push(format!("{HOST}:{BASE}/{}/", step.name()).into());
        client.timeout = Duration::from_secs(3_600);
        let config = self.dir.path().join("ssh_config");
        let shell = format!("{} -F {}", ssh.display(), config.display());
        client.env = vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("RSYNC_RSH".into(), shell.into()),
        ];
        let watch = Watch::start(self.server.pid(), self.group.as_ref(), is_one_process)?;
        let outcome = client.run()?;
        let used = watch.finish()?;
        if outcome.exit != 0 {
            bail!(
                "the client ended with {}: {}",
                outcome.exit,
                String::from_utf8_lossy(&outcome.stderr)
            );
        }
        let synced = Instant::now();
        self.fs.sync()?;
        Ok(Sample {
            wall_secs: outcome.wall.as_secs_f64(),
            sync_secs: synced.elapsed().as_secs_f64(),
            server_cpu_secs: used.cpu_secs,
            peak_memory_bytes: used.peak_memory_bytes,
        })
    }
}

/// `COFFRE_BIN`, else the release build of the target directory this was built into.
fn release_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("COFFRE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let running = std::env::current_exe()?;
    running
        .ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join("release/coffre"))
        .chain([running.with_file_name("coffre")])
        .find(|path| path.is_file() && path.parent().is_some_and(|dir| dir.ends_with("release")))
        .context("no release build of coffre; `cargo build --release` first, or set COFFRE_BIN")
}
