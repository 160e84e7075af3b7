//! Runs one scenario against two servers and tells what differs.

mod compared;
mod side;

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use self::compared::{compare_seen, misses};
use self::side::Side;
use crate::clients::{Clients, Program};
use crate::run::Outcome;
use crate::sandbox::{Keys, ServerKind};
use crate::scenario::{Place, Scenario, Step};
use crate::shell::{Shell, ShellKind};

/// What is compared with what, and with which client.
#[derive(Debug, Clone)]
pub struct Lab {
    pub client: Program,
    pub shell: Shell,
    /// What the stock server runs.
    pub server_rsync: Program,
    pub sides: [ServerKind; 2],
    /// The client is told to speak this version.
    pub protocol: Option<u32>,
    /// Added to every client's command line.
    pub client_args: Vec<OsString>,
    /// Take a snapshot after every run on the coffre side, and prove at the end that none of them
    /// has changed.
    pub history: bool,
    /// Keep the directories.
    pub keep: bool,
    /// Where sandboxes are made; by default the directory for temporary files.
    pub within: Option<PathBuf>,
    /// What to spoil on the second side after every run, to show that it is noticed.
    pub damage: Option<fn(&Place, &mut Outcome) -> Result<()>>,
}

impl Lab {
    /// Stock against coffre with the system's client.
    pub fn new(clients: &Clients) -> Result<Self> {
        Ok(Self {
            client: clients.rsync(None)?.clone(),
            shell: Shell::find(clients, ShellKind::default(), None)?,
            server_rsync: clients.rsync(None)?.clone(),
            sides: [ServerKind::Stock, ServerKind::Coffre],
            protocol: None,
            client_args: Vec::new(),
            history: false,
            keep: false,
            within: None,
            damage: None,
        })
    }

    /// Whether this client can run the scenario at all.
    pub fn can_run(&self, scenario: &Scenario) -> Result<(), String> {
        let version = &self.client.version;
        let has_ssh_of_its_own = scenario
            .steps
            .iter()
            .any(|step| matches!(step, Step::Client(run) if run.is_ssh));
        if let Some(protocol) = self.protocol {
            scenario.can_speak(protocol)?;
        }
        if has_ssh_of_its_own && self.shell.kind != ShellKind::Openssh {
            return Err("runs ssh itself, with options of OpenSSH".to_owned());
        }
        if let Some(since) = scenario.since
            && !version.at_least(since)
        {
            return Err(format!(
                "needs a client of {since} or later, this is {version}"
            ));
        }
        if let Some(until) = scenario.until
            && version.at_least(until)
        {
            return Err(format!("needs a client before {until}, this is {version}"));
        }
        Ok(())
    }
}

/// What came of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each with the step it belongs to. Empty: equal.
    pub differences: Vec<Difference>,
    /// Where the directories are, if they were kept.
    pub kept: Option<PathBuf>,
    /// The log of the second server, when something differs.
    pub log: String,
    pub wall: Duration,
    /// Bytes in holes on either side, for information.
    pub hole_bytes: [u64; 2],
}

/// One line that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The command after which it was seen.
    pub after: String,
    pub line: String,
}

/// Runs it. An error means that the harness could not, not that something differs.
pub fn run(scenario: &Scenario, lab: &Lab) -> Result<Report> {
    let started = std::time::Instant::now();
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("coffre-compat-")
        .permissions(Permissions::from_mode(0o755));
    let dir = match &lab.within {
        Some(within) => builder.tempdir_in(within)?,
        None => builder.tempdir()?,
    };
    let keys = Keys::make(&dir.path().join("keys"))?;
    let mut sides = Vec::new();
    for (index, kind) in lab.sides.into_iter().enumerate() {
        // Equal kinds still need names that tell them apart.
        let name = match (index, lab.sides[0] == lab.sides[1]) {
            (_, false) => kind.name(),
            (0, true) => "left",
            (_, true) => "right",
        };
        sides.push(Side::start(
            name,
            kind,
            &dir.path().join(name),
            &keys,
            lab,
            &scenario.tenant,
            index == 1,
        )?);
    }
    let [left, right] = &mut sides[..] else {
        unreachable!("a lab has two sides");
    };
    let names = (left.name, right.name);

    let seen = thread::scope(|scope| {
        let right = scope.spawn(|| right.go_through(scenario, lab));
        let left = left.go_through(scenario, lab);
        (left, right.join())
    });
    let left_seen = seen.0.with_context(|| format!("on side {}", names.0))?;
    let right_seen = seen
        .1
        .map_err(|_| anyhow!("side {} panicked", names.1))?
        .with_context(|| format!("on side {}", names.1))?;

    let mut report = Report::default();
    let runs = scenario.steps.iter().filter_map(|step| match step {
        Step::Client(run) => Some(run),
        Step::Change { .. } => None,
    });
    for ((run, left), right) in runs.zip(&left_seen).zip(&right_seen) {
        let expected = run.expected_exit(lab.protocol);
        let mut lines = compare_seen(run, expected, left, right, names);
        lines.extend(misses(run, expected, left, right, names));
        report
            .differences
            .extend(lines.into_iter().map(|line| Difference {
                after: run.show(),
                line,
            }));
    }
    for side in &sides {
        report
            .differences
            .extend(side.stopped.iter().map(|reason| Difference {
                after: "that".to_owned(),
                line: format!("{}: the next step was not possible: {reason}", side.name),
            }));
        report.differences.extend(side.changed_history()?);
    }
    for (index, seen) in [&left_seen, &right_seen].into_iter().enumerate() {
        let trees = seen.last().map(|seen| &seen.trees[..]).unwrap_or_default();
        report.hole_bytes[index] = trees.iter().map(|(_, tree)| tree.hole_bytes()).sum();
    }
    if !report.differences.is_empty() && lab.sides[1] == ServerKind::Coffre {
        report.log = sides[1].server.log();
    }
    drop(sides);
    if lab.keep {
        report.kept = Some(dir.keep());
    }
    report.wall = started.elapsed();
    Ok(report)
}
