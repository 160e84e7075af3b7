//! Rules of per-directory merge files, as a walk through the tree meets them.
//!
//! The walker calls [`DirFilter::enter`] for each directory, parents first; then, as long as
//! [`DirFilter::next_file`] names one, reads that file as it is at this moment and hands it to
//! [`DirFilter::supply`]. From then on [`DirFilter::check`] is about names in that directory.
//!
//! Rules of a file come before those inherited from the directory above. A file that such a file
//! merges in (`. NAME`) is read in its place, but as if it were the client's own list: a leading
//! `/` means the root of the transfer, a bare NAME is a file there, and rules count whatever side
//! they name. That is what stock programs do.
//!
//! The names of files come from peers, and so does their content: the walker opens them beneath
//! the client's root and follows no symlink; what is held at one time is limited.

use super::pattern::Base;
use super::rule::{self, Merge, Parsed, Place, Template};
use super::{Decision, FilterList, Rule, Sink, Subject, Verdict, last_component};
use crate::ProtocolError;
use crate::error::{ExitCode, escape};
use crate::options::Role;
use std::collections::VecDeque;
use std::sync::Arc;

/// A file for the walker to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeFile {
    /// In the directory just entered.
    Here(Vec<u8>),
    /// Anywhere: an absolute path in the client's view.
    At(Vec<u8>),
}

/// The rules in force at a place of the tree.
#[derive(Debug, Clone)]
pub struct DirFilter {
    list: Arc<FilterList>,
    /// Merge rules in force: those of the list, then those that files of entered directories add.
    merges: Vec<Merge>,
    levels: Vec<Level>,
    /// Files still to be read in the directory just entered.
    jobs: VecDeque<Job>,
    reading: Option<Reading>,
}

#[derive(Debug, Clone)]
struct Level {
    /// Relative to the root of the transfer; empty: the root.
    dir: Vec<u8>,
    /// One list for each merge rule in force, by its index.
    merged: Vec<Option<Arc<Merged>>>,
    /// Number of merge rules in force before the directory was entered.
    merges_before: usize,
    /// Bytes and number of the files read for it.
    bytes: usize,
    files: usize,
}

/// Rules of one merge rule: those of the nearest file, then those it inherits.
#[derive(Debug)]
struct Merged {
    own: Vec<Rule>,
    inherited: Option<Arc<Merged>>,
}

/// One file of one merge rule.
#[derive(Debug, Clone)]
struct Job {
    merge: usize,
    /// Absolute path of its directory in the client's view, without trailing slash.
    dir: Vec<u8>,
}

/// A job under way, with the files that its file merges in.
#[derive(Debug, Clone)]
struct Reading {
    job: Job,
    /// What a leading `/` means.
    anchor: Base,
    rules: Vec<Rule>,
    cleared: bool,
    open: Vec<Open>,
    /// The file that [`DirFilter::next_file`] names.
    wanted: Option<Wanted>,
}

#[derive(Debug, Clone)]
struct Wanted {
    path: Vec<u8>,
    /// How to read it.
    template: Template,
    /// Where in another file it is named.
    named_at: Option<String>,
}

/// A file that is being read.
#[derive(Debug, Clone)]
struct Open {
    /// What it is called in messages.
    called: String,
    text: Vec<u8>,
    at: usize,
    /// Of the rule read last, from 1 on; `None`: its rules are words, or its name is not told.
    line: Option<usize>,
    template: Template,
}

impl DirFilter {
    /// Largest merge file, and all that are in force at one time, in bytes, of which each rule takes
    /// [`FilterList::EACH`] beside its text. The walker need not
    /// read more than one byte beyond it.
    pub const MAX_BYTES: usize = 4 << 20;
    /// Most files read for one directory.
    pub const MAX_FILES: usize = 1000;
    /// Deepest nesting of files that merge each other, and most merge rules in force.
    pub const MAX_NESTING: usize = 32;

    /// Nothing is entered yet: only the rules of `list` itself are in force.
    pub fn new(list: Arc<FilterList>) -> Self {
        Self {
            merges: list.merges.clone(),
            list,
            levels: Vec::new(),
            jobs: VecDeque::new(),
            reading: None,
        }
    }

    /// The rules that hold everywhere.
    pub fn list(&self) -> &FilterList {
        &self.list
    }

    /// Enters `dir`, relative to the root of the transfer (empty: the root), and leaves those
    /// that it is not in. Its parents have to have been entered before.
    pub fn enter(&mut self, dir: &[u8]) {
        while let Some(top) = self.levels.last()
            && (dir == top.dir || !is_in(dir, &top.dir))
        {
            self.leave();
        }
        self.jobs.clear();
        self.reading = None;
        let above = self.levels.last();
        let merged = self.merges.iter().enumerate().map(|(index, merge)| {
            above
                .and_then(|level| level.merged[index].clone())
                .filter(|_| merge.inherit)
        });
        let level = Level {
            dir: dir.to_vec(),
            merged: merged.collect(),
            merges_before: self.merges.len(),
            bytes: 0,
            files: 0,
        };
        self.levels.push(level);
        for merge in 0..self.merges.len() {
            self.queue(merge, self.levels.len() == 1);
        }
    }

    /// Leaves the directory entered last: what its files said is forgotten.
    pub fn leave(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.merges.truncate(level.merges_before);
        }
        self.jobs.clear();
        self.reading = None;
    }

    /// The next file to read, the same one until it is supplied. `None`: all are read.
    pub fn next_file(&mut self) -> Option<MergeFile> {
        if self.reading.is_none() {
            let job = self.jobs.pop_front()?;
            let merge = &self.merges[job.merge];
            let wanted = Some(Wanted {
                path: join(&job.dir, last_component(&merge.name)),
                template: merge.template,
                named_at: merge
                    .named_at
                    .as_ref()
                    .map(|_| "a file read earlier".to_owned()),
            });
            self.reading = Some(Reading {
                anchor: self.list.anchor(&job.dir),
                job,
                rules: Vec::new(),
                cleared: false,
                open: Vec::new(),
                wanted,
            });
        }
        let Wanted { path, .. } = self.reading.as_ref()?.wanted.as_ref()?;
        let here = self.here();
        Some(match split_parent(path) {
            (dir, name) if dir == here => MergeFile::Here(name.to_vec()),
            _ => MergeFile::At(path.clone()),
        })
    }

    /// The content of the file that [`DirFilter::next_file`] named; `None`: there is no such file.
    /// Errors: exit 1 for a text that is no rule (its place is told, never the text) and beyond
    /// the limits; exit 11 where a file that another one merges in does not exist.
    pub fn supply(&mut self, content: Option<&[u8]>) -> Result<(), ProtocolError> {
        let Some(mut reading) = self.reading.take() else {
            return Ok(());
        };
        let Some(wanted) = reading.wanted.take() else {
            return Ok(());
        };
        match content {
            None if reading.open.is_empty() => return Ok(()),
            None => {
                let at = reading.open.last().map(Open::place).unwrap_or_default();
                let message = format!("failed to open exclude file <rule from {at}>");
                return Err(ProtocolError {
                    exit: ExitCode::FileIo,
                    message,
                });
            }
            Some(content) => {
                let words = content.split(u8::is_ascii_whitespace);
                let rules = words.filter(|word| !word.is_empty()).count();
                self.account(content.len() + FilterList::EACH * rules)?;
                reading.open.push(Open::new(wanted, content));
            }
        }
        self.read(&mut reading)?;
        match reading.wanted {
            Some(_) => self.reading = Some(reading),
            None => self.settle(reading),
        }
        Ok(())
    }

    /// What the rules say about `name`, relative to the root of the transfer, which lies in the
    /// directory entered last. `deleting`: that directory is being deleted, and perishable rules
    /// do not count.
    pub fn check(&self, name: &[u8], is_dir: bool, deleting: bool) -> Verdict {
        self.verdict(Subject::File {
            name,
            is_dir,
            deleting,
        })
    }

    /// What the rules for extended attributes (modifier `x`) say about an attribute's name.
    pub fn check_xattr(&self, name: &[u8]) -> Verdict {
        self.verdict(Subject::Xattr(name))
    }

    /// Why [`Self::check`] says what it says, as stock programs tell it with `-vv`; `None`: no rule
    /// matches. A pattern that stands in a file of the tree is not shown.
    pub fn trace(&self, name: &[u8], is_dir: bool, deleting: bool) -> Option<Vec<u8>> {
        self.traced(Subject::File {
            name,
            is_dir,
            deleting,
        })
    }

    /// The same for [`Self::check_xattr`].
    pub fn trace_xattr(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.traced(Subject::Xattr(name))
    }

    fn traced(&self, subject: Subject<'_>) -> Option<Vec<u8>> {
        let decision = self.decide(&self.list.rules, None, subject)?;
        Some(decision.trace(self.list.role, subject))
    }

    fn verdict(&self, subject: Subject<'_>) -> Verdict {
        self.decide(&self.list.rules, None, subject)
            .map_or(Verdict::NoMatch, |decision| decision.rule.verdict())
    }

    /// `merge`: whose files hold these rules.
    fn decide<'a>(
        &'a self,
        rules: &'a [Rule],
        merge: Option<&'a Merge>,
        subject: Subject<'_>,
    ) -> Option<Decision<'a>> {
        rules.iter().find_map(|rule| match rule {
            Rule::Matching(rule) => rule.decides(subject).then_some(Decision { rule, merge }),
            Rule::Merge(index) => self.decide_merged(*index, subject),
        })
    }

    fn decide_merged(&self, index: usize, subject: Subject<'_>) -> Option<Decision<'_>> {
        let level = self.levels.last();
        let mut merged = level.and_then(|level| level.merged.get(index)?.as_ref());
        while let Some(rules) = merged {
            let decision = self.decide(&rules.own, self.merges.get(index), subject);
            if decision.is_some() {
                return decision;
            }
            merged = rules.inherited.as_ref();
        }
        None
    }

    /// The directory entered last, as an absolute path in the client's view.
    fn here(&self) -> Vec<u8> {
        match self.levels.last() {
            Some(level) if !level.dir.is_empty() => join(&self.list.root, &level.dir),
            _ => self.list.root.clone(),
        }
    }

    /// Queues the file of a merge rule in the directory entered last. When the rule is new and
    /// names a directory above, those between come first.
    fn queue(&mut self, merge: usize, is_new: bool) {
        let here = self.here();
        let rule = &self.merges[merge];
        let (path, _) = split_parent(&rule.name);
        if is_new && rule.inherit && rule.name.contains(&b'/') {
            let top = resolve(&here, path, &rule.name);
            let mut dir = &here[..];
            let mut above = Vec::new();
            while is_in(dir, &top) && dir != top {
                dir = split_parent(dir).0;
                above.push(dir.to_vec());
            }
            let above = above.into_iter().rev();
            self.jobs.extend(above.map(|dir| Job { merge, dir }));
        }
        self.jobs.push_back(Job { merge, dir: here });
    }

    fn account(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        if let Some(level) = self.levels.last_mut() {
            level.bytes += bytes;
            level.files += 1;
        }
        let bytes: usize = self.levels.iter().map(|level| level.bytes).sum();
        let files = self.levels.last().map_or(0, |level| level.files);
        if bytes > Self::MAX_BYTES {
            return Err(ProtocolError::usage(format!(
                "the per-directory filter files exceed {} bytes",
                Self::MAX_BYTES
            )));
        }
        match files > Self::MAX_FILES {
            true => Err(ProtocolError::usage(format!(
                "a directory has more than {} filter files",
                Self::MAX_FILES
            ))),
            false => Ok(()),
        }
    }

    /// Reads rules until the files are used up or one merges in another.
    fn read(&mut self, reading: &mut Reading) -> Result<(), ProtocolError> {
        loop {
            let is_merged_in = reading.open.len() > 1;
            let Some(open) = reading.open.last_mut() else {
                return Ok(());
            };
            let place = Place {
                root: &self.list.root,
                anchor: match is_merged_in {
                    true => &Base::Name,
                    false => &reading.anchor,
                },
                in_file: true,
            };
            let parsed = open
                .next_rule(&place)
                .map_err(|flaw| ProtocolError::usage(flaw.of_place(&open.place())))?;
            let at = open.place();
            match parsed {
                None => {
                    reading.open.pop();
                }
                Some(Parsed::Merge(merge)) => {
                    let from = match merge.name.contains(&b'/') {
                        true => &reading.job.dir,
                        false => &self.list.root,
                    };
                    let path = resolve(from, &merge.name, &merge.name);
                    if reading.open.len() >= Self::MAX_NESTING {
                        return Err(self.too_deep(&at));
                    }
                    reading.wanted = Some(Wanted {
                        path,
                        template: merge.template,
                        named_at: Some(format!("a file named at {at}")),
                    });
                    return Ok(());
                }
                Some(Parsed::DirMerge(mut merge)) => {
                    merge.named_at = Some(at);
                    self.add(reading, Parsed::DirMerge(merge))?;
                }
                Some(parsed) => self.add(reading, parsed)?,
            }
        }
    }

    fn add(&mut self, reading: &mut Reading, parsed: Parsed) -> Result<(), ProtocolError> {
        reading.cleared |= parsed == Parsed::Clear;
        let before = self.merges.len();
        let mut counting = self.list.counting();
        counting.sides = reading.open.len() <= 1;
        let mut sink = Sink {
            counting,
            rules: &mut reading.rules,
            merges: &mut self.merges,
        };
        sink.add(parsed);
        let after = self.merges.len();
        if after > self.list.merges.len() + Self::MAX_NESTING {
            return Err(ProtocolError::usage(format!(
                "filter files name more than {} further per-directory files",
                Self::MAX_NESTING
            )));
        }
        for merge in before..after {
            if let Some(level) = self.levels.last_mut() {
                level.merged.push(None);
            }
            self.queue(merge, true);
        }
        Ok(())
    }

    fn too_deep(&self, at: &str) -> ProtocolError {
        let who = match self.list.role {
            Role::Sender => "sender",
            Role::Receiver => "generator",
        };
        ProtocolError {
            exit: ExitCode::FileIo,
            message: format!(
                "[{who}] merge-file include depth limit ({}) exceeded at <rule from {at}>",
                Self::MAX_NESTING
            ),
        }
    }

    /// Puts the rules of a finished job in force.
    fn settle(&mut self, reading: Reading) {
        let inherit = self.merges[reading.job.merge].inherit && !reading.cleared;
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        let slot = &mut level.merged[reading.job.merge];
        let inherited = slot.take().filter(|_| inherit);
        *slot = match reading.rules.is_empty() {
            true => inherited,
            false => Some(Arc::new(Merged {
                own: reading.rules,
                inherited,
            })),
        };
    }
}

impl FilterList {
    /// What a leading `/` means in files read for the directory with this absolute path.
    fn anchor(&self, dir: &[u8]) -> Base {
        match relative(dir, &self.root) {
            Some(below) => Base::Below(below.to_vec()),
            None => Base::Prefixed(relative(&self.root, dir).unwrap_or_default().to_vec()),
        }
    }
}

impl Open {
    fn new(wanted: Wanted, content: &[u8]) -> Self {
        let is_named = wanted.named_at.is_none();
        Self {
            called: wanted.named_at.unwrap_or_else(|| escape(&wanted.path)),
            text: content.to_vec(),
            at: 0,
            line: (is_named && !wanted.template.words).then_some(0),
            template: wanted.template,
        }
    }

    /// Where the rule read last stands, in the words of stock programs.
    fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{} line {line}", self.called),
            None => self.called.clone(),
        }
    }

    /// The next rule; `None` at the end of the file.
    fn next_rule(&mut self, place: &Place<'_>) -> Result<Option<Parsed>, rule::Flaw> {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let words = self.template.words;
            let ends = |byte: &u8| is_line_end(*byte) || words && is_space(*byte);
            let len = rest.iter().position(ends).unwrap_or(rest.len());
            let mut piece = &rest[..len];
            let end = match &rest[len..] {
                [] => 0,
                [b'\r', b'\n', ..] => 2,
                _ => 1,
            };
            self.at += len + end;
            self.line = self.line.map(|line| line + 1);
            let is_comment = !words && matches!(piece, [b'#' | b';', ..]);
            if !piece.is_empty() && !is_comment {
                return rule::parse(&mut piece, &self.template, place);
            }
        }
        Ok(None)
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// As in the C locale.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Whether `path` is `dir` or lies in it; an empty `dir` is the top of everything.
fn is_in(path: &[u8], dir: &[u8]) -> bool {
    relative(path, dir).is_some()
}

/// `path` without `dir` in front, and without the slash between.
fn relative<'a>(path: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    match path.strip_prefix(dir)? {
        [] => Some(&[]),
        rest if dir.is_empty() => Some(rest.strip_prefix(b"/").unwrap_or(rest)),
        rest => rest.strip_prefix(b"/"),
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

/// Directory and last component; the directory of a name without slash is empty.
fn split_parent(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// `path` seen from `dir`, without `.` and `..`. It is absolute if `name`, which it was taken
/// from, begins with a slash. Nothing lies above the top of the view.
fn resolve(dir: &[u8], path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    let start: &[u8] = if name.starts_with(b"/") { b"" } else { dir };
    for component in start
        .split(|b| *b == b'/')
        .chain(path.split(|b| *b == b'/'))
    {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            component => components.push(component),
        }
    }
    components.iter().fold(Vec::new(), |path, c| join(&path, c))
}
