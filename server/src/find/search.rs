//! Looks through the trees of a tenant.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::history::{Found, History, Is, Match};
use super::pattern::{Pattern, Places};
use crate::config::reason;
use crate::confine::{Metadata, TenantPath};
use crate::restore::source::{Source, Views, form_of};
use crate::snapshot::manifest::{EntryKind, Pass, Visit};
use crate::snapshot::tree::{Node, Place};
use crate::snapshot::walk::each_entry;
use crate::snapshot::{self, OpenTree, SnapshotError, SnapshotName, open_tree};

/// Trees at a time. More would want more memory for what they find, and no faster disk.
const MOST_THREADS: usize = 4;

/// What is to be looked for, and where.
#[derive(Debug)]
pub struct Task<'a> {
    /// The tenant's directory in the store.
    pub home: &'a Path,
    pub pattern: &'a Pattern,
    /// How the store keeps attributes; `None`: as whoever made it could.
    pub form: Option<Metadata>,
}

/// Somebody who watches.
pub trait Watch: Sync {
    /// So many more names have been looked at.
    fn advance(&self, names: u64);
    /// One more of so many trees is through.
    fn tree_done(&self, done: usize, of: usize);
    /// Something was not looked at, or not as it should be. A sentence.
    fn note(&self, sentence: &str);
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    #[error("cannot look into {tree}: {}", reason(.source))]
    Tree { tree: String, source: io::Error },
}

/// Finds all versions of what a pattern matches.
pub fn find(task: &Task<'_>, watch: &dyn Watch) -> Result<Vec<Found>, FindError> {
    let snapshots = snapshot::list(task.home)?;
    let names = snapshots.into_iter().map(|found| Some(found.name));
    let trees: Vec<Option<SnapshotName>> = names.chain([None]).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let form = task.form.unwrap_or_else(|| form_of(task.home));
    let mut history = History::default();
    let mut done = 0;
    for some in trees.chunks(threads.min(MOST_THREADS)) {
        let failed = AtomicBool::new(false);
        let searched: Vec<_> = std::thread::scope(|scope| {
            let search = |name: Option<SnapshotName>| {
                let failed = &failed;
                scope.spawn(move || {
                    let searched = search(task, name, watch, failed);
                    if searched.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    searched
                })
            };
            let started: Vec<_> = some.iter().map(|name| search(*name)).collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined
                .map(|searched| searched.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for (name, searched) in some.iter().zip(searched) {
            done += 1;
            let label = label(*name);
            // It was pruned meanwhile.
            let Some((tree, mut found)) = searched? else {
                continue;
            };
            found.sort_unstable();
            let mut looking = Looking::begin(&tree, form).map_err(|source| FindError::Tree {
                tree: label.clone(),
                source,
            })?;
            history.add(label, tree.numbers(), found, |path| looking.look(path));
            watch.tree_done(done, trees.len());
        }
    }
    Ok(history.finish())
}

fn label(name: Option<SnapshotName>) -> String {
    name.map_or("live".to_owned(), |name| name.to_string())
}

/// `None`: the tree is no more.
fn search(
    task: &Task<'_>,
    name: Option<SnapshotName>,
    watch: &dyn Watch,
    failed: &AtomicBool,
) -> Result<Option<(OpenTree, Vec<Match>)>, SnapshotError> {
    let Some(tree) = open_tree(task.home, name)? else {
        return Ok(None);
    };
    if let (true, Some(name)) = (task.pattern.is_deep(), name) {
        match by_manifest(task, name, &tree, watch, failed) {
            Ok(Some(found)) => return Ok(Some((tree, found))),
            Ok(None) => {}
            Err(error) => watch.note(&format!(
                "{name}: its manifest cannot be used, so its directories are gone through: {}",
                reason(&error)
            )),
        }
    }
    let found = by_directories(task, name, &tree, watch, failed)?;
    Ok(Some((tree, found)))
}

/// `None`: the snapshot has no manifest that says something about it where it is now.
fn by_manifest(
    task: &Task<'_>,
    name: SnapshotName,
    tree: &OpenTree,
    watch: &dyn Watch,
    failed: &AtomicBool,
) -> io::Result<Option<Vec<Match>>> {
    let Some(pass) = Pass::open(task.home, name)? else {
        return Ok(None);
    };
    if tree.identity()? != pass.root() {
        return Ok(None);
    }
    let mut listed = Listed {
        pattern: task.pattern,
        watch,
        pending: None,
        now: None,
        names: 0,
        found: Vec::new(),
    };
    let stop = || failed.load(Ordering::Relaxed);
    let Some(replaced) = pass.run(&mut listed, stop)? else {
        return Ok(Some(Vec::new()));
    };
    watch.advance(listed.names);
    if !replaced.is_empty() {
        for found in listed.found.iter_mut().filter(|found| !found.is_directory) {
            found.inode = *replaced.get(&found.inode).unwrap_or(&found.inode);
        }
    }
    Ok(Some(listed.found))
}

/// A manifest as it goes by.
struct Listed<'a> {
    pattern: &'a Pattern,
    watch: &'a dyn Watch,
    /// Directories in which something can match and whose record has not come: path, and what
    /// their entries can match. `None`: not even that of the tree itself has come.
    pending: Option<HashMap<u64, (Vec<u8>, Places)>>,
    /// The one whose record goes by.
    now: Option<(Vec<u8>, Places)>,
    names: u64,
    found: Vec<Match>,
}

impl Visit for Listed<'_> {
    fn directory(&mut self, inode: u64) -> bool {
        // Not at each name, which others count at the same time.
        self.watch.advance(std::mem::take(&mut self.names));
        self.now = match &mut self.pending {
            Some(pending) => pending.remove(&inode),
            None => {
                self.pending = Some(HashMap::new());
                Some((Vec::new(), self.pattern.start()))
            }
        };
        self.now.is_some()
    }

    fn entry(&mut self, name: &[u8], kind: EntryKind, inode: u64) {
        let Some((directory, places)) = &self.now else {
            return;
        };
        self.names += 1;
        let is_directory = kind == EntryKind::Directory;
        if self.pattern.matches(places, name, is_directory) {
            self.found.push(Match {
                path: joined(directory, name),
                is_directory,
                inode,
            });
        }
        if let (true, Some(pending)) = (is_directory, &mut self.pending) {
            let below = self.pattern.below(places, name);
            if !below.is_empty() {
                pending.insert(inode, (joined(directory, name), below));
            }
        }
    }
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

/// Goes through the directories in which something can match. What is mounted there is not
/// looked into.
fn by_directories(
    task: &Task<'_>,
    name: Option<SnapshotName>,
    tree: &OpenTree,
    watch: &dyn Watch,
    failed: &AtomicBool,
) -> Result<Vec<Match>, SnapshotError> {
    let fail = |error: Errno| SnapshotError::io("look at", label(name).as_bytes(), error);
    let device = rustix::fs::fstat(tree.root()).map_err(fail)?.st_dev;
    let root = tree.root().try_clone();
    let root = root.map_err(|error| SnapshotError::io("open", label(name).as_bytes(), error))?;
    let top = Place {
        parent: Node::root(c".", root),
        name: c".".to_owned(),
    };
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut stack = vec![(top, task.pattern.start())];
    while let Some((place, places)) = stack.pop() {
        if failed.load(Ordering::Relaxed) {
            break;
        }
        let opened = place.open().and_then(|directory| {
            let stat = rustix::fs::fstat(&directory)?;
            Ok((directory, stat.st_dev))
        });
        let directory = match opened {
            Ok((directory, found)) if found == device => directory,
            Ok(_) => continue,
            // Live changes, and a component of the pattern may be no directory.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(error) => {
                watch.note(&unseen(name, &place.path(), error));
                continue;
            }
        };
        let path = place.path();
        let mut below = Vec::new();
        let mut names = 0;
        let mut meet = |entry: &CStr, kind: FileType, inode: u64| {
            if path.is_empty() && tree.numbers().hides(entry) {
                return;
            }
            names += 1;
            let (bytes, is_directory) = (entry.to_bytes(), kind == FileType::Directory);
            if task.pattern.matches(&places, bytes, is_directory) {
                found.push(Match {
                    path: joined(&path, bytes),
                    is_directory,
                    inode,
                });
            }
            if is_directory {
                let there = task.pattern.below(&places, bytes);
                if !there.is_empty() {
                    below.push((entry.to_owned(), there));
                }
            }
        };
        match task.pattern.only_names(&places) {
            Some(only) => {
                for bytes in only {
                    let Ok(entry) = CString::new(bytes) else {
                        continue;
                    };
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    if let Ok(stat) = rustix::fs::statat(&directory, &entry, flags) {
                        meet(&entry, FileType::from_raw_mode(stat.st_mode), stat.st_ino);
                    }
                }
            }
            None => {
                let each = |entry: &CStr, kind, inode| {
                    meet(entry, kind, inode);
                    Ok(())
                };
                if let Err(error) = each_entry(&directory, &mut buffer, || path.clone(), each) {
                    watch.note(&format!("{}: {error}", label(name)));
                }
            }
        }
        watch.advance(names);
        if !below.is_empty() {
            let parent = place.into_node(directory);
            stack.extend(below.into_iter().map(|(name, there)| {
                let parent = Arc::clone(&parent);
                (Place { parent, name }, there)
            }));
        }
    }
    Ok(found)
}

fn unseen(name: Option<SnapshotName>, path: &[u8], error: Errno) -> String {
    format!(
        "{}: cannot look into /{}: {}",
        label(name),
        coffre_protocol::error::escape(path),
        reason(&error.into())
    )
}

/// Looks at what was found in a tree, whose paths come sorted.
struct Looking {
    source: Source,
    /// The directory that was looked into last.
    last: Option<(Vec<u8>, Option<Views>)>,
}

impl Looking {
    fn begin(tree: &OpenTree, form: Metadata) -> io::Result<Self> {
        Ok(Self {
            source: Source::open(&tree.path(), form, None)?,
            last: None,
        })
    }

    fn look(&mut self, path: &[u8]) -> Option<Is> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            let views = TenantPath::parse(parent).ok();
            let views = views.and_then(|parent| self.source.directory(&parent).ok());
            self.last = Some((parent.to_vec(), views));
        }
        let (_, views) = self.last.as_ref()?;
        views.as_ref()?.stat(name).ok().flatten().map(Is::from)
    }
}
