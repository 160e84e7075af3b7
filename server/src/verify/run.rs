//! One run: hands chunks to readers, counts, and remembers how far it has come.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::DirEntryExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::findings::{Finding, What};
use super::pace::Pace;
use super::reader::{Behind, Chunk, Done, Reader};
use super::seen::Inodes;
use super::tour::{File, LIVE, Tour, Tree};
use crate::catalogue::{Catalogue, CatalogueError, Verification};
use crate::confine::Notes;
use crate::snapshot::{self, SnapshotError, SnapshotName};

/// More would only move the disk's heads about; fewer would leave it idle while hashing.
const READERS: usize = 2;

/// Files per chunk: small enough that both readers end at about the same time.
const CHUNK: usize = 64;

/// How often it is written down how far it has come.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// A run that was left longer ago than this is begun anew: it says too little about today.
const STALE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is to be verified.
#[derive(Debug)]
pub struct Task<'a> {
    pub tenant: &'a str,
    pub home: &'a Path,
    /// `None`: all snapshots and live.
    pub only: Option<SnapshotName>,
    /// `None`: as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// Begin anew, although an earlier run was left.
    pub restart: bool,
    /// Where it is written down how far it has come. `None`: nowhere.
    pub catalogue: Option<&'a Catalogue>,
    /// Where what is noted of files is, if not in the files.
    pub notes: Option<Arc<dyn Notes>>,
}

/// Somebody who watches.
pub trait Watch: Sync {
    /// So many more files, and bytes, have been read.
    fn advance(&self, files: u64, bytes: u64);
    /// Something is wrong. Told once, where it was met.
    fn found(&self, finding: &Finding);
    /// A line about the run.
    fn note(&self, line: &str);
    /// To be left now, in the middle of a file.
    fn cancelled(&self) -> bool;
    /// To be left at the next directory: the rest is for another time.
    fn has_enough(&self) -> bool {
        false
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Inodes read, in all runs that this one goes on from.
    pub files: u64,
    pub bytes: u64,
    /// Files that nothing was noted of; they could be read.
    pub without_sum: u64,
    /// Trees that were gone through.
    pub snapshots: u64,
    pub live: bool,
    /// Snapshots of which it is not known what they should hold.
    pub without_manifest: Vec<String>,
    pub findings: Vec<Finding>,
    /// It goes on from where an earlier one was left.
    pub resumed: bool,
    /// `false`: told to stop before it was through.
    pub complete: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("it is being verified already")]
    Busy,
    #[error("cannot lock it: {0}")]
    Lock(std::io::Error),
}

/// Verifies a tenant's trees, or one of them.
pub fn verify(task: &Task<'_>, watch: &dyn Watch) -> Result<Outcome, VerifyError> {
    let _lock = lock(task.home)?;
    let trees = trees(task)?;
    let scope = task.only.map(|name| name.to_string()).unwrap_or_default();
    let mut state = Run::begin(task, &scope, watch)?;
    state.outcome.snapshots = trees.iter().filter(|t| t.snapshot.is_some()).count() as u64;
    state.outcome.live = trees.iter().any(|t| t.snapshot.is_none());

    let pace = Pace::new(task.bytes_per_second);
    let failed = AtomicBool::new(false);
    let stop = || watch.cancelled() || failed.load(Ordering::Relaxed);
    let live_tree = trees
        .iter()
        .position(|t| t.name == LIVE)
        .unwrap_or(trees.len());
    let (jobs, waiting) = mpsc::sync_channel::<Chunk>(READERS * 2);
    let waiting = Mutex::new(waiting);
    let (results, finished) = mpsc::channel::<Done>();
    let result = std::thread::scope(|scope| {
        for _ in 0..READERS {
            let results = results.clone();
            let (pace, stop, waiting) = (&pace, &stop, &waiting);
            scope.spawn(move || {
                super::go_idle();
                let mut reader = Reader {
                    pace,
                    stop,
                    live_tree,
                    notes: task.notes.as_deref(),
                    read: &|files, bytes| watch.advance(files, bytes),
                    buffer: Vec::new(),
                    behind: Behind::default(),
                };
                loop {
                    let chunk = {
                        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        waiting.recv()
                    };
                    let Ok(chunk) = chunk else { return };
                    if results.send(reader.read_chunk(&chunk)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let result = state.go(&trees, jobs, &finished);
        if result.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        result
    });
    result?;
    state.sweep_notes(&trees)?;
    state.end()
}

/// One verification of a tenant at a time, in all processes.
fn lock(home: &Path) -> Result<std::fs::File, VerifyError> {
    let snapshots = home.join(".manifests");
    let made = match std::fs::create_dir(&snapshots) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let opened = made.and_then(|()| std::fs::File::open(&snapshots));
    let opened = opened.map_err(VerifyError::Lock)?;
    match rustix::fs::flock(
        &opened,
        rustix::fs::FlockOperation::NonBlockingLockExclusive,
    ) {
        Ok(()) => Ok(opened),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(VerifyError::Busy),
        Err(error) => Err(VerifyError::Lock(error.into())),
    }
}

/// Oldest first, live last.
fn trees(task: &Task<'_>) -> Result<Vec<Tree>, VerifyError> {
    let tree = |name: SnapshotName| Tree {
        name: name.to_string(),
        snapshot: Some(name),
    };
    let found = snapshot::list(task.home)?
        .into_iter()
        .map(|found| found.name);
    Ok(match task.only {
        None => found.map(tree).chain([Tree::live()]).collect(),
        Some(only) => match found.into_iter().find(|name| *name == only) {
            Some(name) => vec![tree(name)],
            None => return Err(SnapshotError::Missing(only).into()),
        },
    })
}

/// A place in the order of trees and their directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Cursor {
    tree: String,
    /// Directories of it that are dealt with.
    directories: u64,
}

struct Run<'a> {
    task: &'a Task<'a>,
    scope: &'a str,
    watch: &'a dyn Watch,
    started: Timestamp,
    outcome: Outcome,
    seen: Inodes,
    /// Everything before it was dealt with by an earlier run.
    resume_at: Option<Cursor>,
    /// Where each chunk under way stands.
    underway: BTreeMap<u64, Cursor>,
    next_chunk: u64,
    at: Cursor,
    saved: Instant,
    /// A directory or a manifest could not be read: there are files that were not seen.
    has_unseen: bool,
    /// Findings by tree that turned out not to be there any more are not told.
    unsaved: Vec<Finding>,
    stopped: bool,
}

impl<'a> Run<'a> {
    fn begin(
        task: &'a Task<'a>,
        scope: &'a str,
        watch: &'a dyn Watch,
    ) -> Result<Self, VerifyError> {
        let mut run = Self {
            task,
            scope,
            watch,
            started: Timestamp::now(),
            outcome: Outcome::default(),
            seen: Inodes::default(),
            resume_at: None,
            underway: BTreeMap::new(),
            next_chunk: 0,
            at: Cursor::default(),
            saved: Instant::now(),
            has_unseen: false,
            unsaved: Vec::new(),
            stopped: false,
        };
        let Some(catalogue) = task.catalogue else {
            return Ok(run);
        };
        let left = catalogue.verification(task.tenant, scope)?;
        let left = left.filter(|left| {
            let age = run.started.duration_since(left.updated);
            left.ended.is_none() && !task.restart && age.unsigned_abs() < STALE
        });
        match left {
            Some(left) => {
                watch.note(&format!(
                    "goes on where the run of {} was left, in {}",
                    left.started, left.tree
                ));
                run.started = left.started;
                run.outcome.resumed = true;
                run.outcome.files = left.files;
                run.outcome.bytes = left.bytes;
                run.outcome.without_sum = left.without_sum;
                run.outcome.findings = catalogue.damage(task.tenant, scope)?;
                run.resume_at = Some(Cursor {
                    tree: left.tree,
                    directories: left.directories,
                });
            }
            None => catalogue.begin_verification(task.tenant, scope, run.started)?,
        }
        Ok(run)
    }

    fn go(
        &mut self,
        trees: &[Tree],
        jobs: mpsc::SyncSender<Chunk>,
        finished: &mpsc::Receiver<Done>,
    ) -> Result<(), VerifyError> {
        for (index, tree) in trees.iter().enumerate() {
            self.at = Cursor {
                tree: tree.name.clone(),
                directories: 0,
            };
            let Some(mut tour) = Tour::begin(self.task.home, tree)? else {
                continue;
            };
            if !tour.has_manifest() {
                self.outcome.without_manifest.push(tree.name.clone());
            }
            let mut in_tree = Vec::new();
            while let Some(listed) = tour.next() {
                // What an earlier run has dealt with costs no reading.
                if self.watch.cancelled() || self.watch.has_enough() && !self.is_before() {
                    self.stopped = true;
                    break;
                }
                let is_before = self.is_before();
                for (path, what) in listed.wrong {
                    self.has_unseen |= what.hides_files();
                    if !is_before {
                        in_tree.push(Finding {
                            tree: tree.name.clone(),
                            path,
                            inode: None,
                            what,
                        });
                    }
                }
                let new = |file: &File| self.seen.insert(file.number);
                let files: Vec<_> = listed.files.into_iter().filter(new).collect();
                if let (Some(directory), false) = (listed.directory, is_before) {
                    for files in files.chunks(CHUNK) {
                        let number = self.next_chunk;
                        self.next_chunk += 1;
                        self.underway.insert(number, self.at.clone());
                        let chunk = Chunk {
                            number,
                            tree: index,
                            directory: Arc::clone(&directory),
                            files: files.to_vec(),
                        };
                        if jobs.send(chunk).is_err() {
                            self.stopped = true;
                        }
                        self.take(trees, finished.try_iter());
                    }
                }
                self.at.directories += 1;
                self.save_now_and_then()?;
            }
            // A snapshot that was pruned meanwhile lacks files, as it should.
            let still_there = match tree.snapshot {
                None => true,
                Some(name) => self
                    .task
                    .home
                    .join("snapshots")
                    .join(name.to_string())
                    .is_dir(),
            };
            if still_there {
                for finding in in_tree {
                    self.tell(finding);
                }
            }
            if self.stopped {
                break;
            }
        }
        drop(jobs);
        self.take(trees, finished.iter());
        Ok(())
    }

    /// Whether an earlier run has dealt with the directory at hand.
    fn is_before(&self) -> bool {
        let Some(resume) = &self.resume_at else {
            return false;
        };
        // Live changes, so a number of its directories says nothing; most of it has been read as
        // part of a snapshot.
        match (self.at.tree == LIVE, resume.tree == LIVE) {
            (true, _) => false,
            (false, true) => true,
            _ => {
                self.at.tree < resume.tree
                    || self.at.tree == resume.tree && self.at.directories < resume.directories
            }
        }
    }

    fn take(&mut self, trees: &[Tree], done: impl Iterator<Item = Done>) {
        for done in done {
            if done.stopped {
                // Its place stays the one to go on from.
                self.stopped = true;
                continue;
            }
            self.underway.remove(&done.number);
            self.outcome.files += done.files;
            self.outcome.bytes += done.bytes;
            self.outcome.without_sum += done.without_sum;
            for (tree, path, inode, what) in done.wrong {
                self.tell(Finding {
                    tree: trees[tree].name.clone(),
                    path,
                    inode: Some(inode),
                    what,
                });
            }
        }
    }

    fn tell(&mut self, finding: Finding) {
        // What was found just before an earlier run was cut off is found once more.
        if self.outcome.findings.contains(&finding) {
            return;
        }
        self.watch.found(&finding);
        self.unsaved.push(finding.clone());
        self.outcome.findings.push(finding);
    }

    fn save_now_and_then(&mut self) -> Result<(), VerifyError> {
        match self.saved.elapsed() >= SAVE_EVERY {
            true => self.save(),
            false => Ok(()),
        }
    }

    fn save(&mut self) -> Result<(), VerifyError> {
        self.saved = Instant::now();
        // Before the resumed place is reached, that place is still the one to go on from.
        if self.is_before() {
            return Ok(());
        }
        if let Some(catalogue) = self.task.catalogue {
            let at = self.underway.values().next().unwrap_or(&self.at);
            let state = Verification {
                started: self.started,
                updated: Timestamp::now(),
                ended: None,
                tree: at.tree.clone(),
                directories: at.directories,
                files: self.outcome.files,
                bytes: self.outcome.bytes,
                without_sum: self.outcome.without_sum,
                damaged: self.outcome.findings.len() as u64,
            };
            let new = std::mem::take(&mut self.unsaved);
            catalogue.save_verification(self.task.tenant, self.scope, &state, &new)?;
        }
        Ok(())
    }

    /// All that is there has been seen: notes of other files are of no use.
    fn sweep_notes(&mut self, trees: &[Tree]) -> Result<(), VerifyError> {
        let (Some(notes), None) = (&self.task.notes, self.task.only) else {
            return Ok(());
        };
        if self.stopped || self.watch.cancelled() || self.has_unseen {
            return Ok(());
        }
        // A snapshot that has been taken meanwhile holds files that may have left live since.
        let known: HashSet<&str> = trees.iter().map(|tree| tree.name.as_str()).collect();
        let now = self::trees(self.task)?;
        if !now.iter().all(|tree| known.contains(tree.name.as_str())) {
            return Ok(());
        }
        let kept = std::fs::read_dir(self.task.home.join(".partial"));
        for entry in kept.into_iter().flatten().flatten() {
            self.seen.insert(entry.ino());
        }
        notes.forget_others(&|inode| self.seen.contains(inode), self.started);
        Ok(())
    }

    fn end(mut self) -> Result<Outcome, VerifyError> {
        self.outcome.complete = !self.stopped && !self.watch.cancelled();
        // A finding about a tree that has gone since.
        let home = self.task.home;
        let gone: HashSet<String> = self
            .outcome
            .findings
            .iter()
            .filter(|f| f.inode.is_none() && f.tree != LIVE)
            .map(|f| f.tree.clone())
            .filter(|tree| !home.join("snapshots").join(tree).is_dir())
            .collect();
        let stays = |f: &Finding| f.inode.is_some() || !gone.contains(&f.tree);
        self.outcome.findings.retain(stays);
        self.save()?;
        if let (true, Some(catalogue)) = (self.outcome.complete, self.task.catalogue) {
            catalogue.end_verification(
                self.task.tenant,
                self.scope,
                Timestamp::now(),
                self.outcome.findings.len() as u64,
            )?;
        }
        Ok(self.outcome)
    }
}

impl Finding {
    /// For a log: the words of [`What`].
    pub fn words(&self) -> String {
        let path = coffre_protocol::error::escape(&self.path);
        match (&self.what, path.is_empty()) {
            (What::Manifest { .. }, _) | (_, true) => format!("{}: {}", self.tree, self.what),
            _ => format!("{}: {path}: {}", self.tree, self.what),
        }
    }
}
