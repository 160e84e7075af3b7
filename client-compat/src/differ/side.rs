//! One of the two servers, and a client that goes through a scenario with it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::{Difference, Lab};
use crate::normalise;
use crate::run::{Invocation, Outcome};
use crate::sandbox::{Keys, NOBODY, Server, ServerKind};
use crate::scenario::{Accounts, ClientRun, Place, SHELL, Scenario, Step, compared};
use crate::tree::{Builder, Described, compare, describe, share_nothing, share_nothing_of};

/// What scenarios call the client's log, in its directory.
const LOG_FILE: &str = "client.log";

// The keys that clients have, see `Keys::make`.
const CLIENT: &str = "client";
const CLIENT_OF_NOBODY: &str = "client-of-nobody";
const STRANGER: &str = "stranger";

/// What one side saw after one step.
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) stdout: Vec<String>,
    pub(super) stderr: Vec<String>,
    pub(super) log: Vec<String>,
    pub(super) trees: Vec<(&'static str, Described)>,
    pub(super) failed_checks: Vec<String>,
}

/// One server with its client's directories.
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) server: Server,
    pub(super) dir: PathBuf,
    /// What starts the remote shell with each key.
    pub(super) shells: HashMap<&'static str, Vec<String>>,
    pub(super) began: SystemTime,
    /// Snapshots taken so far, as they were when they were taken.
    pub(super) history: Vec<(PathBuf, Described)>,
    pub(super) second: bool,
    /// Why the remaining steps could not be taken.
    pub(super) stopped: Option<String>,
}

/// A device number of 32 bits is too large for a stock server of protocol 27, and not for coffre: the
/// scenario `large-device-protocol-27` has the difference, and all others go without.
fn without_large_device(place: &Place) -> Result<()> {
    let src = place.local.join("src");
    for tree in [src.join("home"), src, place.base.join("dst")] {
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
    pub(super) fn start(
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

    pub(super) fn go_through(&mut self, scenario: &Scenario, lab: &Lab) -> Result<Vec<Seen>> {
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
        let meanwhile =
            (run.meanwhile.as_ref()).map(|(when, action)| (*when, || action(&self.place)));
        let mut outcome = invocation.run_while(meanwhile)?;
        lab.shell.kind.forget_cautions(&mut outcome.stderr);
        Ok(outcome)
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
    pub(super) fn changed_history(&self) -> Result<Vec<Difference>> {
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
