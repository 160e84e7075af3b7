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
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::process::Signal;

use crate::run::{Outcome, When};
use crate::sandbox::{BASE, HOST};
use crate::tree::Builder;

/// In an argument: what starts the remote shell.
pub const SHELL: &str = "{remote-shell}";

type Action = Box<dyn Fn(&Place) -> Result<()> + Send + Sync>;
type Verdict = Box<dyn Fn(&Outcome, &Place) -> Result<(), String> + Send + Sync>;

/// Versions of the protocol that clients can be told to speak.
pub const PROTOCOLS: RangeInclusive<u32> = 27..=32;

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
    /// Oldest version of the protocol in which it asks something, and why.
    pub since_protocol: Option<(u32, &'static str)>,
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
    pub interrupt: Option<(When, Signal)>,
    /// Users and groups that the client knows, in place of this machine's.
    pub accounts: Option<Accounts>,
    /// What somebody does while it runs, and when.
    pub meanwhile: Option<(When, Action)>,
    /// What the stock server must answer …
    pub exit: i32,
    /// … and what at versions of the protocol below that one.
    pub older_exit: Option<(u32, i32)>,
    /// It may answer anything.
    pub any_exit: bool,
    /// Last words of a server that the client may end its ssh before it prints: stock loses them
    /// now and then, coffre must not.
    pub last_words: &'static [&'static str],
    /// What must hold on both sides.
    pub checks: Vec<Check>,
    pub compare: Compare,
}

/// Something that must hold after a run.
pub struct Check {
    pub about: &'static str,
    /// The oldest version of the protocol with which it must.
    pub since_protocol: u32,
    pub holds: Verdict,
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
            since_protocol: None,
        }
    }

    pub fn since(mut self, version: &'static str) -> Self {
        self.since = Some(version);
        self
    }

    /// The oldest version of the protocol with which it asks what it says, and what older ones
    /// lack.
    pub fn since_protocol(mut self, version: u32, lack: &'static str) -> Self {
        self.since_protocol = Some((version, lack));
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
            older_exit: None,
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

    /// … of all runs but the first `but`.
    pub fn all_exit(mut self, code: i32, but: usize) -> Self {
        let runs = self.steps.iter_mut().filter_map(|step| match step {
            Step::Client(run) => Some(run),
            Step::Change { .. } => None,
        });
        runs.skip(but).for_each(|run| run.exit = code);
        self
    }

    /// … and the one that it has with older versions of the protocol than that.
    pub fn exits_below(self, version: u32, code: i32) -> Self {
        self.last(|run| run.older_exit = Some((version, code)))
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

    /// The user presses ^C once the client has read so many bytes.
    pub fn interrupted_when_it_has_read(self, bytes: u64) -> Self {
        self.last(|run| run.interrupt = Some((When::HasRead(bytes), Signal::INT)))
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
    pub fn when_it_has_read(
        self,
        bytes: u64,
        change: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.last(|run| {
            run.meanwhile = Some((
                When::HasRead(bytes),
                Box::new(move |place| change(&place.src()?)),
            ));
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
        self.last(|run| {
            run.checks.push(Check {
                about,
                since_protocol: *PROTOCOLS.start(),
                holds: Box::new(check),
            });
        })
    }

    /// What was last asked to hold does so from that version of the protocol on.
    pub fn from_protocol(self, version: u32) -> Self {
        self.last(|run| {
            if let Some(check) = run.checks.last_mut() {
                check.since_protocol = version;
            }
        })
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
        if let Some((since, lack)) = self.since_protocol
            && protocol < since
        {
            return Err(format!("needs protocol {since}: {lack}"));
        }
        for step in &self.steps {
            let Step::Client(run) = step else { continue };
            let args: Vec<_> = run.args.iter().map(|arg| arg.to_string_lossy()).collect();
            if args.iter().any(|arg| arg.starts_with("--protocol=")) {
                return Err("names a protocol itself".to_owned());
            }
            for arg in &args {
                let needs = first_protocol(arg);
                if protocol < needs {
                    return Err(format!("{arg} needs protocol {needs}"));
                }
            }
            let alternates = args.iter().filter(|arg| arg.contains("-dest="));
            let in_place = args.iter().any(|arg| arg == "--inplace");
            if protocol < 29 && alternates.count() > usize::from(!in_place) {
                return Err(
                    "several alternate directories, and one with --inplace, need protocol 29"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// The oldest protocol that can say what a word of a command line asks.
fn first_protocol(arg: &str) -> u32 {
    let is_cluster = arg.starts_with('-') && !arg.starts_with("--") && !arg.starts_with("-M");
    if arg.starts_with("--checksum-choice") || arg.starts_with("--zc") {
        31
    } else if is_cluster && arg.contains(['A', 'X', 'U', 'N'])
        || arg == "--delete-delay"
        || arg.starts_with("--iconv")
        || arg.starts_with("--filter=-p")
    {
        30
    } else if is_cluster && arg.contains(['y', 'm', 'F'])
        || ["--fuzzy", "--prune-empty-dirs"].contains(&arg)
        || arg.starts_with("--filter=:")
    {
        29
    } else {
        *PROTOCOLS.start()
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
    /// The exit code that the stock server must answer to a client that speaks this version;
    /// `None`: the client's own.
    pub fn expected_exit(&self, protocol: Option<u32>) -> i32 {
        match (self.older_exit, protocol) {
            (Some((since, code)), Some(version)) if version < since => code,
            _ => self.exit,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_asked_of_the_protocols_that_can_say_it() {
        for (command, oldest) in [
            ("-aH --delete src/ :dst/", 27),
            ("-aiy src/ :dst/", 29),
            ("-a --link-dest=../a src/ :dst/", 27),
            ("-a --link-dest=../a --link-dest=../b src/ :dst/", 29),
            ("-a --inplace --copy-dest=../a src/ :dst/", 29),
            ("-aX src/ :dst/", 30),
            ("-a -M--munge-links src/ :dst/", 27),
            ("-a --checksum-choice=md5 src/ :dst/", 31),
        ] {
            let scenario = Scenario::new("x", "x").run(command);
            for protocol in PROTOCOLS {
                let can = scenario.can_speak(protocol).is_ok();
                assert_eq!(can, protocol >= oldest, "{command} at {protocol}");
            }
        }
        let named = Scenario::new("x", "x").run("-a --protocol=29 src/ :dst/");
        assert!(
            PROTOCOLS
                .into_iter()
                .all(|protocol| named.can_speak(protocol).is_err())
        );
    }

    #[test]
    fn what_is_expected_may_depend_on_the_protocol() {
        let scenario = Scenario::new("x", "x")
            .run("-a src/ :dst/")
            .exits(3)
            .exits_below(31, 12)
            .prints("x")
            .from_protocol(29);
        let Some(Step::Client(run)) = scenario.steps.last() else {
            unreachable!("it has a run");
        };
        assert_eq!(run.expected_exit(None), 3);
        assert_eq!(run.expected_exit(Some(31)), 3);
        assert_eq!(run.expected_exit(Some(30)), 12);
        assert_eq!(run.checks[0].since_protocol, 29);
    }
}
