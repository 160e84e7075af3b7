//! How fast is coffre beside stock sshd + rsync? The same client does the same to both, in turns.
//!
//! What makes such figures lie, and what is done about it:
//!
//! * An old or odd file system: every server has its own loop-mounted one, made by a plain mkfs.
//!   (Without a journal, creating files soon after deleting many takes ten times as long.)
//! * Other load: stock and coffre take turns within a pair, the order changes from pair to pair,
//!   and the figure is the median of the ratios of pairs.
//! * A cold source: it is made just before, and stays in memory.
//! * Memory that a hypervisor takes back while it is free: to write to it again costs more than the
//!   write. Turn that off (`page_reporting`), use all memory once, and leave no other coffre running,
//!   with which this one would share the pages of its program.
//! * What is not on disk yet: coffre syncs before it says success, stock does not. So the time of a
//!   `sync` after the client's end is measured too, and both ratios are told.

mod history;
mod limit;
mod measure;
mod proxy;
mod report;
mod source;
mod transfer;
mod workload;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::clients::Clients;
use crate::loopfs::FileSystem;
use crate::sandbox::{ServerKind, is_root};

use source::{Change, Source, Tree};
use workload::{Kind, Size, WORKLOADS, Workload};

/// Options of `client-compat bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// Only these workloads; `--list` has their names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the names of the workloads and what they are
    #[arg(long)]
    list: bool,
    /// How often each server does each workload
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// So many times the files, or the bytes of the one file
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Number of files, in place of the workload's own
    #[arg(long)]
    files: Option<u64>,
    /// Bytes of each file, in place of the workload's own
    #[arg(long)]
    bytes: Option<u64>,
    /// Print the samples as JSON
    #[arg(long)]
    json: bool,
    /// Add the samples to FILE.json, in place of older ones of the same workloads, and write the
    /// page FILE.md of all of them
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/performance")]
    write: Option<PathBuf>,
    /// File system below the servers: ext4, xfs or btrfs
    #[arg(long, default_value = "ext4")]
    fs: FileSystem,
    /// Size of the (sparse) file that each file system is made in
    #[arg(long, default_value_t = 64, value_name = "GIBIBYTES")]
    room: u64,
    /// Compare stock with stock, to see what the method's own noise is
    #[arg(long)]
    stock: bool,
}

/// One server doing one workload once. `None`: the workload does not measure it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// From the client's start to its end.
    pub(crate) wall_secs: f64,
    /// How long a `sync` of the destination's file system took afterwards.
    pub(crate) sync_secs: f64,
    /// Of all processes of the server.
    pub(crate) server_cpu_secs: Option<f64>,
    /// Largest sampled sum of private memory of all processes of the server.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The same without pages that the kernel can read from the programs' files again.
    #[serde(default)]
    pub(crate) peak_own_bytes: Option<u64>,
    /// To the disk, with the sync.
    pub(crate) written_bytes: Option<u64>,
}

impl Sample {
    /// Of the time alone.
    fn lasting(wall_secs: f64) -> Self {
        Self {
            wall_secs,
            sync_secs: 0.0,
            server_cpu_secs: None,
            peak_memory_bytes: None,
            peak_own_bytes: None,
            written_bytes: None,
        }
    }

    /// One after the other.
    fn and(self, next: Self) -> Result<Self> {
        let sum = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Ok(Self {
            wall_secs: self.wall_secs + next.wall_secs,
            sync_secs: self.sync_secs + next.sync_secs,
            server_cpu_secs: sum(self.server_cpu_secs, next.server_cpu_secs),
            peak_memory_bytes: self.peak_memory_bytes.max(next.peak_memory_bytes),
            peak_own_bytes: self.peak_own_bytes.max(next.peak_own_bytes),
            written_bytes: None,
        })
    }
}

/// A stock sample and a coffre sample taken one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) stock: Sample,
    pub(crate) coffre: Sample,
}

/// All pairs of one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) workload: String,
    /// With the sizes that it was done with.
    pub(crate) about: String,
    /// Of the size that the numbers were set for.
    pub(crate) scale: f64,
    pub(crate) pairs: Vec<Pair>,
    /// What plain tools took for the least that must be done.
    pub(crate) limit: Option<Sample>,
    /// Why there are no pairs.
    pub(crate) failed: Option<String>,
}

/// What a workload came to.
struct Came {
    pairs: Vec<Pair>,
    limit: Sample,
}

/// What all workloads need.
struct Machine {
    clients: Clients,
    /// `None`: stock stands in for it.
    coffre: Option<PathBuf>,
    pairs: usize,
    room_bytes: u64,
    /// The tree that the last workload pushed: those of one size and change follow each other.
    source: RefCell<Option<(Made, Rc<Source>)>>,
}

/// What a [`Source`] was made of.
type Made = (Tree, Size, Change);

/// Has both servers do it in turns; who comes first changes from pair to pair.
fn in_turns(
    pairs: usize,
    mut once: impl FnMut(usize, ServerKind) -> Result<Sample>,
) -> Result<Vec<Pair>> {
    let mut measured = Vec::new();
    for turn in 0..pairs {
        let pair = match turn.is_multiple_of(2) {
            true => {
                let stock = once(turn, ServerKind::Stock)?;
                let coffre = once(turn, ServerKind::Coffre)?;
                Pair { stock, coffre }
            }
            false => {
                let coffre = once(turn, ServerKind::Coffre)?;
                let stock = once(turn, ServerKind::Stock)?;
                Pair { stock, coffre }
            }
        };
        measured.push(pair);
    }
    Ok(measured)
}

/// Measures, prints, and writes what was asked for.
pub fn bench(options: &BenchOptions) -> Result<()> {
    if options.list {
        for workload in WORKLOADS {
            println!(
                "{:16} {}",
                workload.name,
                workload.tell(workload.scaled(1.0))
            );
        }
        return Ok(());
    }
    if !is_root() {
        println!("skipped: loop mounts and a stock server for all owners need root");
        return Ok(());
    }
    let chosen = chosen(&options.only)?;
    let machine = Machine {
        clients: Clients::find()?,
        coffre: match options.stock {
            true => None,
            false => Some(release_binary()?),
        },
        pairs: options.pairs.max(1),
        room_bytes: options.room << 30,
        source: RefCell::default(),
    };
    let mut all = Vec::new();
    for workload in chosen {
        eprintln!("{} …", workload.name);
        let started = Instant::now();
        let measured = machine.measure(workload, options);
        eprintln!("{}: {}", workload.name, time_of(&measured, started));
        all.push(measured);
    }
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&all)?),
        false => print!("{}", report::text(&all)),
    }
    if let Some(path) = &options.write {
        report::write(path, all, &machine.clients)?;
    }
    Ok(())
}

/// How long a workload took, and how much of it was measured.
fn time_of(measured: &Measured, started: Instant) -> String {
    let whole = started.elapsed().as_secs_f64();
    let samples = measured
        .pairs
        .iter()
        .flat_map(|pair| [pair.stock, pair.coffre]);
    let samples = samples.chain(measured.limit);
    let counted: f64 = samples.map(|one| one.wall_secs + one.sync_secs).sum();
    let rest = whole - counted;
    format!("{whole:.0} s: {counted:.0} s measured, {rest:.0} s before, between and after")
}

fn chosen(only: &[String]) -> Result<Vec<&'static Workload>> {
    if only.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let find = |name: &String| {
        let found = WORKLOADS.iter().find(|workload| workload.name == name);
        found.with_context(|| format!("no workload {name:?}; `client-compat bench --list` has all"))
    };
    only.iter().map(find).collect()
}

impl Machine {
    /// The tree that is pushed, made anew only if the last workload had another one.
    fn source(&self, tree: Tree, size: Size, change: Change) -> Result<Rc<Source>> {
        let wanted = (tree, size, change);
        let mut last = self.source.borrow_mut();
        if let Some((made, source)) = &*last
            && *made == wanted
        {
            return Ok(Rc::clone(source));
        }
        // Before there are two.
        *last = None;
        let source = Rc::new(Source::make(tree, size, change)?);
        *last = Some((wanted, Rc::clone(&source)));
        Ok(source)
    }

    /// A workload that cannot be done is told, and the others go on.
    fn measure(&self, workload: &Workload, options: &BenchOptions) -> Measured {
        let mut size = workload.scaled(options.scale);
        size.files = options.files.unwrap_or(size.files);
        size.bytes = options.bytes.unwrap_or(size.bytes);
        let fs = workload.fs.unwrap_or(options.fs);
        let done = match workload.kind {
            Kind::Snapshot | Kind::Steady | Kind::Prune => {
                history::snapshots(self, workload.kind, size, fs, workload.limit)
            }
            Kind::Tenants => history::tenants(self, size, fs),
            kind => transfer::run(self, kind, size, fs, workload.limit),
        };
        let mut measured = Measured {
            workload: workload.name.to_owned(),
            about: workload.tell(size),
            scale: options.scale,
            pairs: Vec::new(),
            limit: None,
            failed: None,
        };
        match done {
            Ok(came) => (measured.pairs, measured.limit) = (came.pairs, Some(came.limit)),
            Err(error) => {
                eprintln!("{}: {error:#}", workload.name);
                measured.failed = Some(format!("{error:#}"));
            }
        }
        measured
    }
}

/// `COFFRE_BIN`, else the release build of the target directory this was built into.
fn release_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("COFFRE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let running = std::env::current_exe()?;
    let found = running
        .ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join("release/coffre"))
        .chain([running.with_file_name("coffre")])
        .find(|path| path.is_file() && path.parent().is_some_and(|dir| dir.ends_with("release")));
    match found {
        Some(path) => Ok(path),
        None => {
            bail!("no release build of coffre; `cargo build --release` first, or set COFFRE_BIN")
        }
    }
}
