//! The `client-compat` tool. `client-compat help` tells what it does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use coffre_client_compat::bench::{self, BenchOptions};
use coffre_client_compat::clients::Clients;
use coffre_client_compat::differ::{self, Lab, Report};
use coffre_client_compat::gaps::{self, Gap, Verdict};
use coffre_client_compat::guard::{self, GuardOptions};
use coffre_client_compat::install;
use coffre_client_compat::loopfs::{FileSystem, LoopFs};
use coffre_client_compat::sandbox::{self, ServerKind};
use coffre_client_compat::scenario::Scenario;
use coffre_client_compat::shell::{Shell, ShellKind};
use coffre_client_compat::{filters, matrix, scenarios, self_check};

/// Drives stock rsync clients against stock sshd + rsync and against coffre, and compares.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the scenarios, or with --clients the stock programs that were found
    List {
        #[arg(long)]
        clients: bool,
    },
    /// Run scenarios and report what differs
    Run(RunArgs),
    /// Fetch other releases of rsync and ssh into a cache, without installing them
    Install {
        /// Suites of the configured Debian mirror
        #[arg(default_values_t = install::SUITES.iter().map(|suite| (*suite).to_owned()))]
        suites: Vec<String>,
        /// Also those that are in the cache already
        #[arg(long)]
        again: bool,
    },
    /// Push random trees with random filter rules
    Filters {
        /// Pushes
        #[arg(long, default_value_t = 200)]
        rounds: u64,
        /// The first of them
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Compare stock with stock
        #[arg(long)]
        stock: bool,
        /// Keep the directories
        #[arg(long)]
        keep: bool,
    },
    /// Write the tables of docs/compatibility.md
    Matrix,
    /// Show that the harness is able to fail
    SelfCheck,
    /// Compare the speed of coffre with that of stock sshd + rsync
    Bench(BenchOptions),
    /// Count the server's system calls for three small pushes and a restore, and compare with the record
    Calls(GuardOptions),
}

#[derive(Args)]
struct RunArgs {
    /// Names, or beginnings of names followed by `*`; all if there are none
    names: Vec<String>,
    /// Not these; may be given several times
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,
    /// Version of the client, such as 3.2.3
    #[arg(long, value_name = "VERSION")]
    rsync: Option<String>,
    /// Remote shell under the client: ssh, dbclient or plink
    #[arg(long, value_name = "PROGRAM", default_value = "ssh")]
    shell: ShellKind,
    /// Version of the remote shell
    #[arg(long, value_name = "VERSION")]
    ssh: Option<String>,
    /// Version of the protocol that the client is told to speak
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(27..=32))]
    protocol: Option<u32>,
    /// Version that the stock server runs
    #[arg(long, value_name = "VERSION")]
    server_rsync: Option<String>,
    /// Keep the directories of all scenarios that ran
    #[arg(long)]
    keep: bool,
    /// Take a snapshot after every run and prove that none of them changes
    #[arg(long)]
    history: bool,
    /// Compare stock with stock
    #[arg(long)]
    stock: bool,
    /// File system below the servers, made for the run: ext4, xfs or btrfs
    #[arg(long)]
    fs: Option<FileSystem>,
    /// Where to work; by default the directory for temporary files
    #[arg(long, value_name = "DIR", conflicts_with = "fs")]
    within: Option<PathBuf>,
    /// Scenarios at a time
    #[arg(long)]
    jobs: Option<usize>,
    /// Added to every client's command line
    #[arg(last = true)]
    client_args: Vec<String>,
}

fn main() -> ExitCode {
    let ended = match Cli::parse().action {
        Action::List { clients } => list(clients),
        Action::Run(args) => run(&args),
        Action::Install { suites, again } => install::install(&suites, again).map(|found| {
            print_clients(&found);
            true
        }),
        Action::Filters {
            rounds,
            seed,
            stock,
            keep,
        } => filter(rounds, seed, stock, keep),
        Action::Matrix => matrix::write().map(|()| true),
        Action::SelfCheck => check_self(),
        Action::Bench(options) => bench::bench(&options).map(|()| true),
        Action::Calls(options) => guard::guard(&options),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("client-compat: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn print_clients(clients: &Clients) {
    for program in clients
        .rsync
        .iter()
        .chain(&clients.ssh)
        .chain(&clients.dbclient)
        .chain(&clients.plink)
        .chain(&clients.sshd)
    {
        println!("{program}");
    }
}

fn list(clients: bool) -> Result<bool> {
    if clients {
        print_clients(&Clients::find()?);
        return Ok(true);
    }
    for scenario in scenarios::all() {
        println!("{:30} {}", scenario.name, scenario.about);
    }
    Ok(true)
}

fn selected(names: &[String]) -> Result<Vec<Scenario>> {
    let all = scenarios::all();
    let fits = |pattern: &String, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    for pattern in names {
        if !all.iter().any(|scenario| fits(pattern, &scenario.name)) {
            bail!("no scenario {pattern:?}; `client-compat list` names them");
        }
    }
    Ok(all
        .into_iter()
        .filter(|scenario| {
            names.is_empty() || names.iter().any(|pattern| fits(pattern, &scenario.name))
        })
        .collect())
}

fn run(args: &RunArgs) -> Result<bool> {
    let mut scenarios = selected(&args.names)?;
    if !args.except.is_empty() {
        let except: Vec<String> = selected(&args.except)?
            .into_iter()
            .map(|s| s.name)
            .collect();
        scenarios.retain(|scenario| !except.contains(&scenario.name));
    }
    let names = scenarios::names();
    let gaps = gaps::known(&names)?;
    if !sandbox::is_root() {
        println!("skipped: a stock server for all owners needs root");
        return Ok(true);
    }
    let clients = Clients::find()?;
    let mut lab = Lab::new(&clients)?;
    lab.client = clients.rsync(args.rsync.as_deref())?.clone();
    lab.shell = Shell::find(&clients, args.shell, args.ssh.as_deref())?;
    lab.server_rsync = clients.rsync(args.server_rsync.as_deref())?.clone();
    lab.keep = args.keep;
    lab.history = args.history;
    lab.protocol = args.protocol;
    lab.client_args = args.client_args.iter().map(Into::into).collect();
    if args.stock {
        lab.sides = [ServerKind::Stock, ServerKind::Stock];
    } else {
        // Say so once instead of in each scenario.
        println!("coffre: {}", sandbox::coffre_binary()?.display());
    }
    println!("client: {}", lab.client);
    println!("        {}", lab.shell.program);
    println!("stock server: {}", clients.sshd()?);
    println!("              {}", lab.server_rsync);
    let made = args.fs.map(|fs| LoopFs::make(fs, 4 << 30)).transpose()?;
    lab.within = match &made {
        Some(made) => Some(made.path().to_path_buf()),
        None => args.within.clone(),
    };

    let jobs = args
        .jobs
        // They wait for each other's processes more than they compute; and a snapshot waits until
        // the second in which the last push ended is over.
        .or_else(|| {
            let at_a_time = if lab.history { 4 } else { 2 };
            Some(at_a_time * thread::available_parallelism().ok()?.get())
        })
        .unwrap_or(4);
    let summary = run_all(&scenarios, &lab, &gaps, jobs);
    summary.print();
    Ok(summary.failed() == 0)
}

/// How many ended how.
#[derive(Default)]
struct Summary {
    count: BTreeMap<&'static str, Vec<String>>,
    wall: std::time::Duration,
}

impl Summary {
    fn failed(&self) -> usize {
        ["DIFFERS", "CLOSED GAP", "ERROR"]
            .iter()
            .filter_map(|verdict| self.count.get(verdict))
            .map(Vec::len)
            .sum()
    }

    fn print(&self) {
        println!();
        for (verdict, names) in &self.count {
            let list = match *verdict {
                "equal" => String::new(),
                _ => format!(": {}", names.join(" ")),
            };
            println!("{verdict}: {}{list}", names.len());
        }
        println!("in {:.1} s", self.wall.as_secs_f64());
    }
}

fn run_all(scenarios: &[Scenario], lab: &Lab, gaps: &[Gap], jobs: usize) -> Summary {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (verdict, text) = run_one(scenario, lab, gaps);
                    // Printing under the lock keeps the lines of a scenario together.
                    if let Ok(mut summary) = summary.lock() {
                        print!("{text}");
                        let names = summary.count.entry(verdict).or_default();
                        names.push(scenario.name.clone());
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_default();
    summary.wall = began.elapsed();
    summary
}

fn run_one(scenario: &Scenario, lab: &Lab, gaps: &[Gap]) -> (&'static str, String) {
    if let Err(reason) = lab.can_run(scenario) {
        return (
            "skipped",
            format!("skipped    {}: {reason}\n", scenario.name),
        );
    }
    let report = match differ::run(scenario, lab) {
        Ok(report) => report,
        Err(error) => {
            return (
                "ERROR",
                format!("ERROR      {}: {error:#}\n", scenario.name),
            );
        }
    };
    let verdict = gaps::judge(
        &scenario.name,
        &lab.client.version,
        lab.protocol,
        &report,
        gaps,
    );
    let (word, more) = match &verdict {
        Verdict::Equal => ("equal", String::new()),
        Verdict::KnownGap(reasons) => (
            "known gap",
            reasons
                .iter()
                .map(|reason| format!("    {reason}\n"))
                .collect(),
        ),
        Verdict::ClosedGap(closed) => (
            "CLOSED GAP",
            closed
                .iter()
                .map(|gap| {
                    let lines = gap.explains.iter().chain(&gap.refuses);
                    lines.fold(
                        format!("    delete from gaps.toml ({}):\n", gap.reason),
                        |text, line| text + "        " + line + "\n",
                    )
                })
                .collect(),
        ),
        Verdict::Differs(lines) => ("DIFFERS", differing(scenario, &report, lines)),
    };
    let kept = match &report.kept {
        Some(dir) => format!("    kept in {}\n", dir.display()),
        None => String::new(),
    };
    let line = format!(
        "{word:10} {} ({:.1} s)\n{more}{kept}",
        scenario.name,
        report.wall.as_secs_f64()
    );
    (word, line)
}

fn differing(scenario: &Scenario, report: &Report, lines: &[differ::Difference]) -> String {
    let mut text = format!("    asks: {}\n", scenario.about);
    let mut after = "";
    for difference in lines {
        if difference.after != after {
            after = &difference.after;
            text.push_str(&format!("    after {after}\n"));
        }
        text.push_str(&format!("        {}\n", difference.line));
    }
    let log: Vec<&str> = report.log.lines().collect();
    for line in &log[log.len().saturating_sub(10)..] {
        text.push_str(&format!("        log: {line}\n"));
    }
    text
}

fn filter(rounds: u64, seed: u64, stock: bool, keep: bool) -> Result<bool> {
    if !sandbox::is_root() {
        println!("skipped: a stock server for all owners needs root");
        return Ok(true);
    }
    let mut lab = Lab::new(&Clients::find()?)?;
    lab.keep = keep;
    if stock {
        lab.sides = [ServerKind::Stock, ServerKind::Stock];
    }
    println!("client and stock server: {}", lab.client);
    let began = Instant::now();
    let tally = filters::run(&lab, seed, rounds, |tally| {
        if tally.rounds % 500 == 0 {
            println!(
                "{} of {rounds}, {} differ",
                tally.rounds,
                tally.different.len()
            );
        }
    })?;
    for (command, lines) in &tally.different {
        println!("DIFFERS    {command}");
        for line in lines.iter().take(12) {
            println!("        {line}");
        }
    }
    println!(
        "{} pushes with seeds from {seed} on, {} differ, in {:.1} s",
        tally.rounds,
        tally.different.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(tally.different.is_empty())
}

fn check_self() -> Result<bool> {
    if !sandbox::is_root() {
        println!("skipped: a stock server for all owners needs root");
        return Ok(true);
    }
    let lab = self_check::stock_lab(&Clients::find()?)?;
    println!("client and server: {}", lab.client);
    let mut failed = 0;
    let mut note = |what: String, result: Result<()>| match result {
        Ok(()) => println!("ok      {what}"),
        Err(error) => {
            failed += 1;
            println!("FAILED  {what}: {error:#}");
        }
    };
    for name in self_check::SAMPLE {
        note(
            format!("stock equals stock: {name}"),
            self_check::must_be_equal(name, &lab),
        );
    }
    for damage in self_check::damages() {
        note(
            format!("noticed: {damage}"),
            self_check::must_be_noticed(damage, &lab),
        );
    }
    Ok(failed == 0)
}
