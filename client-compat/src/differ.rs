//! Runs one scenario against two servers and tells what differs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};

use crate::clients::{Clients, Program};
use crate::normalise;
use crate::run::{Invocation, Outcome};
use crate::sandbox::{BASE, Keys, NOBODY, Server, ServerKind};
use crate::scenario::{Accounts, ClientRun, Compare, Place, SHELL, Scenario, Step, compared};
use crate::shell::{Shell, ShellKind};
use crate::tree::{Builder, Described, compare, describe, share_nothing, share_nothing_of};

/// What scenarios call the client's log, in its directory.
const LOG_FILE: &str = "client.log";

// The keys that clients have, see `Keys::make`.
const CLIENT: &str = "client";
const CLIENT_OF_NOBODY: &str = "client-of-nobody";
const STRANGER: &str = "stranger";

/// How often lines of one output are shown before the rest is only counted.
const SHOWN: usize = 40;

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

/// What one side saw after one step.
struct Seen {
    outcome: Outcome,
    stdout: Vec<String>,
    stderr: Vec<String>,
    log: Vec<String>,
    trees: Vec<(&'static str, Described)>,
    failed_checks: Vec<String>,
}

/// One server with its client's directories.
struct Side {
    name: &'static str,
    place: Place,
    server: Server,
    dir: PathBuf,
    /// What starts the remote shell with each key.
    shells: HashMap<&'static str, Vec<String>>,
    began: SystemTime,
    /// Snapshots taken so far, as they were when they were taken.
    history: Vec<(PathBuf, Described)>,
    second: bool,
    /// Why the remaining steps could not be taken.
    stopped: Option<String>,
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

/// A device number of 32 bits is too large for a stock server of protocol 27, and not for coffre: the
/// scenario `large-device-protocol-27` has the difference, and all others go without.
fn without_large_device(place: &Place) -> Result<()> {
    for tree in [place.local.join("src"), place.base.join("dst")] {
        let device = tree.join("kinds/large-numbers");
        // Not where the tree is a file.
        if device.exists() {
            fs::remove_file(device)?;
        }
    }
    Ok(())
}

/// Has the client see other users and groups than this machine has, where root may mount.
fn with_accounts(dir: &Path, accounts: &Accounts, command: Vec<OsString>) -> Result<Vec<OsString>> {
    const MOUNT: &str = "mount --bind \"$0\" /etc/passwd && mount --bind \"$1\" /etc/group \
                         && shift && exec \"$@\"";
    let files = [("passwd", &accounts.users), ("group", &accounts.groups)];
    let mut words: Vec<OsString> = ["/usr/bin/unshare", "--mount", "sh", "-c", MOUNT]
        .map(OsString::from)
        .to_vec();
    for (name, list) in files {
        let file = dir.join(name);
        let lines = list.iter().map(|(name, id)| match list == &accounts.users {
            true => format!("{name}:x:{id}:{id}::/:/bin/sh\n"),
            false => format!("{name}:x:{id}:\n"),
        });
        fs::write(&file, lines.collect::<String>())?;
        words.push(file.into());
    }
    words.extend(command);
    Ok(words)
}

impl Side {
    fn start(
        name: &'static str,
        kind: ServerKind,
        dir: &Path,
        keys: &Keys,
        lab: &Lab,
        tenant: &str,
        second: bool,
    ) -> Result<Self> {
        // Before anything of its directories is made: to start the servers may take a while.
        let began = SystemTime::now();
        let local = dir.join("local");
        fs::create_dir_all(&local)?;
        if crate::sandbox::is_root() {
            // A client without privilege writes its log and what it pulls here.
            chown(&local, Some(NOBODY), Some(NOBODY))?;
        }
        let rsync = &lab.server_rsync.path;
        let server = Server::start(kind, &dir.join("server"), keys, rsync, tenant)?;
        let mut shells = HashMap::new();
        for identity in [CLIENT, CLIENT_OF_NOBODY, STRANGER] {
            let words = lab.shell.prepare(dir, keys, server.port(), identity)?;
            shells.insert(identity, words);
        }
        Ok(Self {
            name,
            place: Place {
                local,
                base: server.base().to_path_buf(),
            },
            server,
            dir: dir.to_path_buf(),
            shells,
            began,
            history: Vec::new(),
            second,
            stopped: None,
        })
    }

    fn go_through(&mut self, scenario: &Scenario, lab: &Lab) -> Result<Vec<Seen>> {
        // The same for both sides, so that times made from it are.
        let mut epoch = 0;
        self.settled(epoch, |place| {
            scenario
                .prepare
                .iter()
                .try_for_each(|prepare| prepare(place))?;
            match lab.protocol {
                Some(27) => without_large_device(place),
                _ => Ok(()),
            }
        })?;
        let mut seen = Vec::new();
        for step in &scenario.steps {
            epoch += 1;
            match step {
                Step::Change {
                    about,
                    action,
                    at_server,
                } => {
                    if *at_server && lab.history && !self.history.is_empty() {
                        share_nothing(&self.place.base)?;
                    }
                    let changed = self.settled(epoch, |place| action(place));
                    match changed.with_context(|| format!("({about})")) {
                        Ok(()) => {}
                        // A push that went wrong may have left nothing to change.
                        Err(error) if self.second => {
                            self.stopped = Some(format!("{error:#}"));
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Step::Client(run) => {
                    let mut outcome = self.client(run, lab)?;
                    if let Some(damage) = lab.damage.filter(|_| self.second) {
                        damage(&self.place, &mut outcome)?;
                    }
                    seen.push(self.look(run, outcome, lab.protocol)?);
                    if lab.history {
                        self.take_snapshot()?;
                    }
                }
            }
        }
        Ok(seen)
    }

    /// Lets the harness change trees, and gives what it touched times that both sides share.
    fn settled(&self, epoch: u32, action: impl Fn(&Place) -> Result<()>) -> Result<()> {
        action(&self.place)?;
        for root in [&self.place.local, &self.place.base] {
            let tree = Builder::at(root)?;
            // A second of slack: only whole seconds are compared.
            let stale = tree.written_since(self.began - Duration::from_secs(1))?;
            if !self.history.is_empty() {
                share_nothing_of(root, &stale)?;
            }
            tree.settle(&stale, epoch)?;
        }
        Ok(())
    }

    fn client(&self, run: &ClientRun, lab: &Lab) -> Result<Outcome> {
        let shell = &self.shells[match (run.as_nobody, run.as_stranger) {
            (true, _) => CLIENT_OF_NOBODY,
            (_, true) => STRANGER,
            _ => CLIENT,
        }];
        let mut words: Vec<OsString> = Vec::new();
        if run.as_nobody {
            let id = NOBODY.to_string();
            let switch = ["/usr/bin/setpriv", "--reuid", &id, "--regid", &id];
            words.extend(switch.map(OsString::from));
            words.push("--clear-groups".into());
        }
        if run.is_ssh {
            words.extend(shell.iter().map(OsString::from));
        } else {
            words.push(lab.client.path.clone().into());
            words.extend(
                lab.protocol
                    .map(|version| format!("--protocol={version}").into()),
            );
            words.extend(lab.client_args.iter().cloned());
        }
        words.extend(run.args.iter().map(|arg| match arg.to_str() {
            Some(arg) if arg.contains(SHELL) => arg.replace(SHELL, &shell.join(" ")).into(),
            _ => arg.clone(),
        }));
        if let Some(accounts) = &run.accounts {
            words = with_accounts(&self.dir, accounts, words)?;
        }
        let program = PathBuf::from(words.remove(0));
        let mut invocation = Invocation::new(&program, &self.place.local);
        let shell = shell.join(" ");
        invocation.args = words;
        invocation.stdin = run.stdin.clone();
        invocation.interrupt = run.interrupt;
        invocation.env = [
            ("PATH", "/usr/bin:/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC"),
            ("HOME", "/nonexistent"),
            ("RSYNC_RSH", &shell),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        thread::scope(|scope| {
            let meanwhile = run.meanwhile.as_ref().map(|(after, action)| {
                scope.spawn(|| {
                    thread::sleep(*after);
                    action(&self.place)
                })
            });
            let mut outcome = invocation.run()?;
            lab.shell.kind.forget_cautions(&mut outcome.stderr);
            if let Some(meanwhile) = meanwhile {
                meanwhile.join().map_err(|_| anyhow!("it panicked"))??;
            }
            Ok(outcome)
        })
    }

    fn look(&self, run: &ClientRun, outcome: Outcome, protocol: Option<u32>) -> Result<Seen> {
        let mut trees = Vec::new();
        if run.compare.tree {
            for (name, root) in compared(&self.place) {
                let mut tree = describe(root, Some(self.began))?;
                // It tells when and by whom; its lines are compared as other output is.
                tree.entries.remove(Path::new(LOG_FILE));
                trees.push((name, tree));
            }
        }
        let log = fs::read(self.place.local.join(LOG_FILE)).unwrap_or_default();
        let failed_checks = run
            .checks
            .iter()
            .filter(|check| protocol.is_none_or(|version| version >= check.since_protocol))
            .filter_map(|check| {
                let reason = (check.holds)(&outcome, &self.place).err()?;
                Some(format!(
                    "{}: must hold: {}: {reason}",
                    self.name, check.about
                ))
            })
            .collect();
        let lines = |said: &[u8]| {
            let lines = normalise::lines(said, &self.dir);
            match &self.server {
                Server::Stock(_) => normalise::from_home(lines),
                Server::Coffre(_) => lines,
            }
        };
        Ok(Seen {
            stdout: lines(&outcome.stdout),
            stderr: lines(&outcome.stderr),
            log: normalise::lines(&log, &self.dir),
            outcome,
            trees,
            failed_checks,
        })
    }

    fn take_snapshot(&mut self) -> Result<()> {
        if let Server::Coffre(server) = &self.server {
            let snapshot = server.snapshot()?;
            let described = describe(&snapshot, None)?;
            self.history.push((snapshot, described));
        }
        Ok(())
    }

    /// History never changes.
    fn changed_history(&self) -> Result<Vec<Difference>> {
        let mut changed = Vec::new();
        for (snapshot, before) in &self.history {
            let now = describe(snapshot, None)?;
            let name = snapshot.file_name().unwrap_or_default().display();
            changed.extend(
                compare(before, &now, ("then", "now"))
                    .into_iter()
                    .map(|line| Difference {
                        after: "the last step".to_owned(),
                        line: format!("snapshot {name}: {line}"),
                    }),
            );
        }
        Ok(changed)
    }
}

/// `expected`: the exit code that the scenario says.
fn compare_seen(
    run: &ClientRun,
    expected: i32,
    left: &Seen,
    right: &Seen,
    names: (&str, &str),
) -> Vec<String> {
    let mut lines = Vec::new();
    for (seen, name) in [(left, names.0), (right, names.1)] {
        if seen.outcome.timed_out {
            lines.push(format!("{name}: did not end in time and was killed"));
        }
    }
    if run.any_exit && is_broken_off(left) && is_broken_off(right) {
        lines.extend(compare_reasons(left, right, names));
        return lines;
    }
    if run.compare.exit && left.outcome.exit != right.outcome.exit {
        lines.push(format!(
            "exit: {} ({}), {} ({})",
            left.outcome.exit, names.0, right.outcome.exit, names.1
        ));
    }
    let Compare {
        stdout,
        stderr,
        order,
        ..
    } = run.compare;
    if stdout {
        lines.extend(compare_lines(
            "stdout",
            &left.stdout,
            &right.stdout,
            order,
            names,
        ));
    }
    // A client that was told of a fatal error ends its remote shell, sometimes before that has
    // passed on the server's last words. So silence on one side is no difference then.
    let exit = if run.any_exit {
        left.outcome.exit
    } else {
        expected
    };
    let may_be_lost = !matches!(exit, 0 | 23 | 24 | 25);
    let is_lost = may_be_lost && (left.stderr.is_empty() || right.stderr.is_empty());
    if stderr && !is_lost {
        let mut said = compare_lines("stderr", &left.stderr, &right.stderr, order, names);
        said.retain(|line| !is_lost_by_stock(run, line));
        lines.extend(said);
    }
    lines.extend(compare_lines(
        "log file", &left.log, &right.log, false, names,
    ));
    for ((tree, left), (_, right)) in left.trees.iter().zip(&right.trees) {
        lines.extend(
            compare(left, right, names)
                .into_iter()
                .map(|line| format!("{tree}: {line}")),
        );
    }
    lines
}

/// What a scenario says of a run and does not come to pass.
fn misses(
    run: &ClientRun,
    expected: i32,
    left: &Seen,
    right: &Seen,
    names: (&str, &str),
) -> Vec<String> {
    let mut lines = Vec::new();
    // The first side is the specification: a scenario that it does not fulfil asks nothing.
    if run.compare.exit && !run.any_exit && left.outcome.exit != expected {
        lines.push(format!(
            "{}: exit code {}, but the scenario expects {expected}: {}",
            names.0,
            left.outcome.exit,
            String::from_utf8_lossy(&left.outcome.stderr).trim()
        ));
    }
    lines.extend(left.failed_checks.iter().cloned());
    lines.extend(right.failed_checks.iter().cloned());
    lines
}

/// Whether a run ended in its middle. How far it had come is chance then, and so is which process
/// noticed first that another had ended: the exit code may be 1 or 11 (a rule or a file), 12 (no
/// more data), or 10 (nobody reads).
fn is_broken_off(seen: &Seen) -> bool {
    matches!(seen.outcome.exit, 1 | 10 | 11 | 12)
}

/// Of runs that were broken off: each names a reason, and where both name one of the server it is
/// the same. (On a pull both ends read rules, and either may be the first to find one that is
/// none.)
fn compare_reasons(left: &Seen, right: &Seen, names: (&str, &str)) -> Vec<String> {
    let reasons = |seen: &Seen| -> Vec<String> {
        let lines = seen.stderr.iter();
        lines
            .filter(|line| line.contains("<rule from "))
            .cloned()
            .collect()
    };
    let (left, right) = (reasons(left), reasons(right));
    let missing = [(&left, names.0), (&right, names.1)]
        .into_iter()
        .filter(|(reasons, _)| reasons.is_empty())
        .map(|(_, name)| format!("{name}: broken off without a reason"));
    let mut lines: Vec<String> = missing.collect();
    let of_server = |reasons: Vec<String>| -> Vec<String> {
        let lines = reasons.into_iter();
        lines.filter(|line| line.contains(BASE)).collect()
    };
    let (left, right) = (of_server(left), of_server(right));
    if !left.is_empty() && !right.is_empty() {
        lines.extend(compare_lines("stderr", &left, &right, false, names));
    }
    lines
}

/// Whether the only difference is that stock's client ended its ssh before that had passed on the
/// server's last words.
fn is_lost_by_stock(run: &ClientRun, line: &str) -> bool {
    line.strip_prefix("stderr: only ")
        .and_then(|rest| rest.split_once(": "))
        .is_some_and(|(name, said)| {
            // Said by one side means lost by the other.
            name != ServerKind::Stock.name() && run.last_words.contains(&said)
        })
}

fn compare_lines(
    stream: &str,
    left: &[String],
    right: &[String],
    order: bool,
    names: (&str, &str),
) -> Vec<String> {
    let only = |these: &[String], others: &[String], name: &str| {
        let mut others: Vec<&String> = others.iter().collect();
        let mut lines: Vec<String> = Vec::new();
        for line in these {
            match others.iter().position(|other| *other == line) {
                Some(found) => {
                    others.swap_remove(found);
                }
                None => lines.push(format!("{stream}: only {name}: {line}")),
            }
        }
        let more = lines.len().saturating_sub(SHOWN);
        lines.truncate(SHOWN);
        if more > 0 {
            lines.push(format!("{stream}: only {name}: … and {more} lines more"));
        }
        lines
    };
    let mut lines = only(left, right, names.0);
    lines.extend(only(right, left, names.1));
    if order
        && lines.is_empty()
        && let Some(at) = left
            .iter()
            .zip(right)
            .position(|(left, right)| left != right)
    {
        lines.push(format!(
            "{stream}: the same lines in another order, from line {}: {:?} ({}), {:?} ({})",
            at + 1,
            left[at],
            names.0,
            right[at],
            names.1
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(left: &[&str], right: &[&str], order: bool) -> Vec<String> {
        let [left, right] = [left, right].map(|lines| {
            lines
                .iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        });
        compare_lines("stdout", &left, &right, order, ("stock", "coffre"))
    }

    #[test]
    fn lines_are_compared_as_often_as_they_occur() {
        assert!(lines(&["a", "b"], &["b", "a"], false).is_empty());
        assert_eq!(
            lines(&["a", "a"], &["a", "b"], false),
            ["stdout: only stock: a", "stdout: only coffre: b"]
        );
    }

    #[test]
    fn order_counts_where_a_scenario_says_so() {
        let found = lines(&["a", "b"], &["b", "a"], true);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("another order, from line 1"), "{found:?}");
    }
}
