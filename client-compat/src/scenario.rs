//! The vocabulary of scenarios: what is there at first, what the client runs, what happens in
//! between, and what must be equal.
//!
//! A command line is written as a user would type it. Words are split at spaces; `:dst/` stands
//! for `server:/mnt/compat/dst/`. It runs in a directory that holds the source tree `src`.
//!
//! Both sides get the same steps in the same order. A scenario also says what the stock server
//! must answer (exit code 0 unless told), so that one that has become meaningless fails instead of
//! comparing two equal refusals.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::run::Outcome;
use crate::sandbox::{BASE, HOST};
use crate::tree::Builder;

type Action = Box<dyn Fn(&Place) -> Result<()> + Send + Sync>;
type Check = Box<dyn Fn(&Outcome, &Place) -> Result<(), String> + Send + Sync>;

/// One question a user may ask.
pub struct Scenario {
    pub name: String,
    /// What it asks, in a few words.
    pub about: String,
    pub prepare: Vec<Action>,
    pub steps: Vec<Step>,
    /// Lines of coffre's configuration about the tenant.
    pub tenant: String,
    /// Oldest client that knows the options it uses.
    pub since: Option<&'static str>,
    /// Newest client that still does.
    pub until: Option<&'static str>,
}

/// The directories of one side.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where the client runs: `src` and whatever it pulls or logs.
    pub local: PathBuf,
    /// What [`BASE`] is on this side's server.
    pub base: PathBuf,
}

impl Place {
    pub fn src(&self) -> Result<Builder> {
        Builder::at(&self.local.join("src"))
    }

    pub fn local(&self) -> Result<Builder> {
        Builder::at(&self.local)
    }

    /// The usual destination, `:dst/`.
    pub fn dst(&self) -> Result<Builder> {
        Builder::at(&self.base.join("dst"))
    }

    pub fn base(&self) -> Result<Builder> {
        Builder::at(&self.base)
    }
}

pub enum Step {
    /// The client runs.
    Client(ClientRun),
    /// Somebody changes the source or the destination.
    Change {
        about: &'static str,
        action: Action,
        /// Perhaps the server's tree too.
        at_server: bool,
    },
}

/// One run of the client.
pub struct ClientRun {
    /// `ssh` itself instead of `rsync`.
    pub is_ssh: bool,
    pub args: Vec<OsString>,
    pub stdin: Vec<u8>,
    /// As a user without privilege instead of root.
    pub as_nobody: bool,
    /// With a key that the server does not know.
    pub as_stranger: bool,
    pub interrupt: Option<(Duration, Signal)>,
    /// Users and groups that the client knows, in place of this machine's.
    pub accounts: Option<Accounts>,
    /// What somebody does while it runs, and when.
    pub meanwhile: Option<(Duration, Action)>,
    /// What the stock server must answer.
    pub exit: i32,
    /// It may answer anything.
    pub any_exit: bool,
    /// Last words of a server that the client may end its ssh before it prints: stock loses them
    /// now and then, coffre must not.
    pub last_words: &'static [&'static str],
    /// What must hold on both sides.
    pub checks: Vec<(&'static str, Check)>,
    pub compare: Compare,
}

/// Names and numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    pub users: Vec<(&'static str, u32)>,
    pub groups: Vec<(&'static str, u32)>,
}

/// What is compared after a run.
#[derive(Debug, Clone, Copy)]
pub struct Compare {
    pub exit: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tree: bool,
    /// Lines in their order. Otherwise only which lines there are: three processes of stock rsync
    /// print, and which comes first is chance.
    pub order: bool,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            exit: true,
            stdout: true,
            stderr: true,
            tree: true,
            order: false,
        }
    }
}

impl Scenario {
    pub fn new(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            prepare: Vec::new(),
            steps: Vec::new(),
            tenant: String::new(),
            since: None,
            until: None,
        }
    }

    pub fn since(mut self, version: &'static str) -> Self {
        self.since = Some(version);
        self
    }

    /// A line of coffre's configuration about the tenant.
    pub fn tenant(mut self, line: &str) -> Self {
        self.tenant.push_str(line);
        self.tenant.push('\n');
        self
    }

    /// What the source tree holds.
    pub fn source(self, build: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static) -> Self {
        self.prepare(move |place| build(&place.src()?))
    }

    /// What the destination holds before the first run. Without it there is no destination.
    pub fn destination(
        self,
        build: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.prepare(move |place| build(&place.dst()?))
    }

    pub fn prepare(
        mut self,
        action: impl Fn(&Place) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.prepare.push(Box::new(action));
        self
    }

    /// The client runs `rsync` with these arguments.
    pub fn run(self, command: &str) -> Self {
        self.run_with(command.split_whitespace().map(OsStr::new))
    }

    /// … with arguments that hold spaces or odd bytes.
    pub fn run_with<'a>(mut self, args: impl IntoIterator<Item = &'a OsStr>) -> Self {
        self.steps.push(Step::Client(ClientRun {
            is_ssh: false,
            args: args.into_iter().map(expand).collect(),
            stdin: Vec::new(),
            as_nobody: false,
            as_stranger: false,
            interrupt: None,
            accounts: None,
            meanwhile: None,
            exit: 0,
            any_exit: false,
            last_words: &[],
            checks: Vec::new(),
            compare: Compare::default(),
        }));
        self
    }

    /// The client runs `ssh` with these arguments, `server` among them.
    pub fn ssh<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.run_with([]).last(|run| {
            run.is_ssh = true;
            run.args = args.into_iter().map(OsString::from).collect();
        })
    }

    pub fn change_source(
        self,
        about: &'static str,
        change: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.changes(about, false, move |place| change(&place.src()?))
    }

    pub fn change_destination(
        self,
        about: &'static str,
        change: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.change(about, move |place| change(&place.dst()?))
    }

    pub fn change(
        self,
        about: &'static str,
        change: impl Fn(&Place) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.changes(about, true, change)
    }

    fn changes(
        mut self,
        about: &'static str,
        at_server: bool,
        change: impl Fn(&Place) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.steps.push(Step::Change {
            about,
            action: Box::new(change),
            at_server,
        });
        self
    }

    // The following say more about the last run.

    fn last(mut self, change: impl FnOnce(&mut ClientRun)) -> Self {
        match self.steps.last_mut() {
            Some(Step::Client(run)) => change(run),
            _ => unreachable!("scenario {}: no run to say more about", self.name),
        }
        self
    }

    /// The stock server's exit code.
    pub fn exits(self, code: i32) -> Self {
        self.last(|run| run.exit = code)
    }

    /// … may be anything, as long as it is the same.
    pub fn exits_somehow(self) -> Self {
        self.last(|run| run.any_exit = true)
    }

    pub fn stdin(self, bytes: &[u8]) -> Self {
        self.last(|run| run.stdin = bytes.to_vec())
    }

    pub fn as_nobody(self) -> Self {
        self.last(|run| run.as_nobody = true)
    }

    /// The server does not know this client's key.
    pub fn as_stranger(self) -> Self {
        self.last(|run| run.as_stranger = true)
    }

    /// What the server says while the client ends its ssh, as it is compared.
    pub fn last_words(self, lines: &'static [&'static str]) -> Self {
        self.last(|run| run.last_words = lines)
    }

    /// The user presses ^C after that time.
    pub fn interrupted_after(self, time: Duration) -> Self {
        self.last(|run| run.interrupt = Some((time, Signal::INT)))
    }

    /// The client's machine has these users and groups, and root.
    pub fn with_accounts(
        self,
        users: &[(&'static str, u32)],
        groups: &[(&'static str, u32)],
    ) -> Self {
        let with_root = |list: &[(&'static str, u32)]| {
            let root = std::iter::once(("root", 0));
            root.chain(list.iter().copied()).collect()
        };
        self.last(|run| {
            run.accounts = Some(Accounts {
                users: with_root(users),
                groups: with_root(groups),
            });
        })
    }

    /// Somebody does this to the source while the client runs.
    pub fn meanwhile(
        self,
        after: Duration,
        change: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.last(|run| {
            run.meanwhile = Some((after, Box::new(move |place| change(&place.src()?))));
        })
    }

    pub fn compares(self, compare: Compare) -> Self {
        self.last(|run| run.compare = compare)
    }

    pub fn in_order(self) -> Self {
        self.last(|run| run.compare.order = true)
    }

    pub fn check(
        self,
        about: &'static str,
        check: impl Fn(&Outcome, &Place) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.last(|run| run.checks.push((about, Box::new(check))))
    }

    /// Neither output holds anything: with `-i`, nothing was different.
    pub fn prints_nothing(self) -> Self {
        self.check("prints nothing", |outcome, _| {
            let said = [&outcome.stdout[..], &outcome.stderr].concat();
            match said.is_empty() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&said).into_owned()),
            }
        })
    }

    /// Some line of either output has this in it.
    pub fn prints(self, words: &'static str) -> Self {
        self.check("prints what it is about", move |outcome, _| {
            let said = [&outcome.stdout[..], &outcome.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            match said.contains(words) {
                true => Ok(()),
                false => Err(format!("{words:?} is not in: {said}")),
            }
        })
    }

    /// This exists in the destination afterwards (or, with `!` before it, does not).
    pub fn leaves(self, name: &'static str) -> Self {
        self.check("leaves what it is about", move |_, place| {
            let (wanted, name) = match name.strip_prefix('!') {
                Some(name) => (false, name),
                None => (true, name),
            };
            let there = std::fs::symlink_metadata(place.base.join("dst").join(name)).is_ok();
            match there == wanted {
                true => Ok(()),
                false => Err(format!(
                    "dst/{name} is {}there",
                    if there { "" } else { "not " }
                )),
            }
        })
    }
}

impl Scenario {
    /// Whether the client can do all of it with that version of the protocol.
    pub fn can_speak(&self, protocol: u32) -> Result<(), String> {
        for step in &self.steps {
            let Step::Client(run) = step else { continue };
            for arg in run.args.iter().map(|arg| arg.to_string_lossy()) {
                let is_cluster = arg.starts_with('-') && !arg.starts_with("--");
                let needs = if arg.starts_with("--protocol=") {
                    return Err("names a protocol itself".to_owned());
                } else if is_cluster && arg.contains(['A', 'X', 'U', 'N'])
                    || arg == "--delete-delay"
                    || arg.starts_with("--iconv")
                    || arg.starts_with("--filter=-p")
                {
                    30
                } else if arg.starts_with("--checksum-choice") || arg.starts_with("--zc") {
                    31
                } else {
                    27
                };
                if protocol < needs {
                    return Err(format!("{arg} needs protocol {needs}"));
                }
            }
        }
        Ok(())
    }
}

/// `:path` at the start of a word, and after the `=` of an option never: a remote path.
fn expand(word: &OsStr) -> OsString {
    match word.as_bytes().strip_prefix(b":") {
        Some(path) => {
            let mut full = format!("{HOST}:{BASE}/").into_bytes();
            full.extend(path);
            OsString::from_vec(full)
        }
        None => word.to_os_string(),
    }
}

impl ClientRun {
    /// The command as a user would see it.
    pub fn show(&self) -> String {
        let args: Vec<String> = self
            .args
            .iter()
            .map(|arg| crate::tree::escape(arg.as_bytes()))
            .collect();
        let user = match (self.as_nobody, self.as_stranger) {
            (true, _) => "(as nobody) ",
            (_, true) => "(with an unknown key) ",
            _ => "",
        };
        let program = if self.is_ssh { "ssh" } else { "rsync" };
        format!("{user}{program} {}", args.join(" "))
    }
}

impl Step {
    pub fn show(&self) -> String {
        match self {
            Self::Client(run) => run.show(),
            Self::Change { about, .. } => format!("({about})"),
        }
    }
}

/// Directories that are compared after each run: the server's and the client's.
pub fn compared(place: &Place) -> [(&'static str, &Path); 2] {
    [("remote", &place.base), ("local", &place.local)]
}
