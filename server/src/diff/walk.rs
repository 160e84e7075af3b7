//! Goes through two trees together.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::links::{Item, Met};
use super::{Change, Difference, Differences, compare};
use crate::config::reason;
use crate::confine::{Kind, Metadata, Notes, Stat};
use crate::restore::source::{Source, form_of};
use crate::snapshot::tree::{Level, Node, Place};
use crate::snapshot::walk::{each_entry, open_directory};
use crate::snapshot::{Numbers, SnapshotError, SnapshotName, open_tree};

/// What is to be compared.
#[derive(Debug)]
pub struct Task<'a> {
    /// The tenant's directory in the store.
    pub home: &'a Path,
    /// `None`: live.
    pub first: Option<SnapshotName>,
    pub second: Option<SnapshotName>,
    /// How the store keeps attributes; `None`: as whoever made it could.
    pub form: Option<Metadata>,
    /// Where what is noted of files is, if not in the files.
    pub notes: Option<Arc<dyn Notes>>,
}

/// Somebody who watches.
pub trait Watch {
    /// So many more names have been looked at.
    fn advance(&self, names: u64);
}

#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    #[error("{0} is gone")]
    Gone(String),
    #[error("cannot look at /{path} in {tree}: {}", reason(.source))]
    Io {
        tree: String,
        path: String,
        source: io::Error,
    },
}

/// One of the two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

/// A directory in both.
struct Pair {
    first: OwnedFd,
    second: OwnedFd,
}

impl Level for Pair {
    fn below(&self, name: &CStr) -> Result<Self, Errno> {
        Ok(Self {
            first: open_directory(&self.first, name)?,
            second: open_directory(&self.second, name)?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: CString,
    is_directory: bool,
    /// Equal in both trees: nothing differs.
    version: u64,
    /// What it is known by under another name.
    inode: u64,
}

struct Walk<'a> {
    task: &'a Task<'a>,
    watch: &'a dyn Watch,
    first: Source,
    second: Source,
    /// Mount points are not gone into.
    devices: (u64, u64),
    numbers: (Numbers, Numbers),
    buffer: Vec<u8>,
    met: Met,
}

/// Compares two trees of a tenant.
pub fn diff(task: &Task<'_>, watch: &dyn Watch) -> Result<Differences, DiffError> {
    let form = task.form.unwrap_or_else(|| form_of(task.home));
    let open = |name: Option<SnapshotName>| {
        let label = name.map_or("live".to_owned(), |name| name.to_string());
        let tree = open_tree(task.home, name)?.ok_or(DiffError::Gone(label.clone()))?;
        let fail = |source: io::Error| DiffError::Io {
            tree: label.clone(),
            path: String::new(),
            source,
        };
        let source = Source::open(&tree.path(), form, task.notes.clone()).map_err(fail)?;
        let root = tree.root().try_clone().map_err(fail)?;
        let device = rustix::fs::fstat(&root).map_err(|e| fail(e.into()))?.st_dev;
        Ok::<_, DiffError>((tree, source, root, device))
    };
    let (first_tree, first, first_root, first_device) = open(task.first)?;
    let (second_tree, second, second_root, second_device) = open(task.second)?;
    let root = Pair {
        first: first_root,
        second: second_root,
    };
    let mut walk = Walk {
        task,
        watch,
        first,
        second,
        devices: (first_device, second_device),
        numbers: (first_tree.numbers(), second_tree.numbers()),
        buffer: Vec::with_capacity(64 << 10),
        met: Met::default(),
    };
    walk.pairs(Place {
        parent: Node::root(c".", root),
        name: c".".to_owned(),
    })?;
    Ok(walk.met.finish())
}

impl Walk<'_> {
    fn fail(&self, side: Side, path: &[u8], source: impl Into<io::Error>) -> DiffError {
        let name = match side {
            Side::First => self.task.first,
            Side::Second => self.task.second,
        };
        DiffError::Io {
            tree: name.map_or("live".to_owned(), |name| name.to_string()),
            path: coffre_protocol::error::escape(path),
            source: source.into(),
        }
    }

    /// Something of live that went away while it was looked at is no longer there; nothing goes
    /// away in a snapshot.
    fn has_gone(&self, error: &io::Error) -> bool {
        let changes = self.task.first.is_none() || self.task.second.is_none();
        changes && error.kind() == io::ErrorKind::NotFound
    }

    fn pairs(&mut self, top: Place<Pair>) -> Result<(), DiffError> {
        let mut stack = vec![top];
        while let Some(place) = stack.pop() {
            let path = place.path();
            let pair = match place.open() {
                Ok(pair) => pair,
                Err(error) if self.has_gone(&error.into()) => continue,
                Err(error) => return Err(self.fail(Side::First, &path, error)),
            };
            let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_dev);
            if (device(&pair.first), device(&pair.second))
                != (Ok(self.devices.0), Ok(self.devices.1))
            {
                continue;
            }
            self.itself(&pair, &path)?;
            let first = self.list(Side::First, &pair.first, &path)?;
            let second = self.list(Side::Second, &pair.second, &path)?;
            self.watch.advance(second.len().max(first.len()) as u64);
            let both = self.entries(&pair, &path, &first, &second)?;
            if !both.is_empty() {
                let parent = place.into_node(pair);
                stack.extend(both.into_iter().map(|name| Place {
                    parent: Arc::clone(&parent),
                    name,
                }));
            }
        }
        Ok(())
    }

    fn itself(&mut self, pair: &Pair, path: &[u8]) -> Result<(), DiffError> {
        let first = self.first.views(pair.first.as_fd());
        let second = self.second.views(pair.second.as_fd());
        let compared = first.and_then(|first| compare::directories(&first, &second?));
        let (what, stat) = match compared {
            Ok(compared) => compared,
            Err(error) if self.has_gone(&error) => return Ok(()),
            Err(error) => return Err(self.fail(Side::Second, path, error)),
        };
        if !what.is_empty() {
            self.note(path, Change::Changed(what), &stat, (None, None));
        }
        Ok(())
    }

    /// Compares the entries of a directory, and returns the directories that are in both.
    fn entries(
        &mut self,
        pair: &Pair,
        path: &[u8],
        first: &[Entry],
        second: &[Entry],
    ) -> Result<Vec<CString>, DiffError> {
        let mut both = Vec::new();
        let mut others = second.iter().peekable();
        for entry in first {
            while let Some(added) = others.next_if(|other| other.name < entry.name) {
                self.alone(Side::Second, &pair.second, path, added)?;
            }
            let Some(other) = others.next_if(|other| other.name == entry.name) else {
                self.alone(Side::First, &pair.first, path, entry)?;
                continue;
            };
            match (entry.is_directory, other.is_directory) {
                (true, true) => both.push(entry.name.clone()),
                (false, false) if entry.version == other.version => {
                    self.met.shared.insert(entry.inode);
                }
                (false, false) => self.changed(pair, path, entry, other)?,
                (was_directory, _) => {
                    self.changed(pair, path, entry, other)?;
                    let (side, fd) = match was_directory {
                        true => (Side::First, &pair.first),
                        false => (Side::Second, &pair.second),
                    };
                    self.inside(side, fd, path, &entry.name)?;
                }
            }
        }
        for added in others {
            self.alone(Side::Second, &pair.second, path, added)?;
        }
        Ok(both)
    }

    fn changed(
        &mut self,
        pair: &Pair,
        path: &[u8],
        entry: &Entry,
        other: &Entry,
    ) -> Result<(), DiffError> {
        let name = entry.name.to_bytes();
        let path = joined(path, name);
        let first = self.first.views(pair.first.as_fd());
        let second = self.second.views(pair.second.as_fd());
        let compared = first.and_then(|first| compare::entries(&first, &second?, name));
        let (what, stat) = match compared {
            Ok(compared) => compared,
            Err(error) if self.has_gone(&error) => return Ok(()),
            Err(error) => return Err(self.fail(Side::Second, &path, error)),
        };
        let inode = |entry: &Entry| (!entry.is_directory).then_some(entry.inode);
        let inodes = (inode(entry), inode(other));
        self.note(&path, Change::Changed(what), &stat, inodes);
        Ok(())
    }

    /// An entry that the other tree does not have, with all in it.
    fn alone(
        &mut self,
        side: Side,
        directory: &OwnedFd,
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), DiffError> {
        self.one(side, directory, path, entry)?;
        match entry.is_directory {
            true => self.inside(side, directory, path, &entry.name),
            false => Ok(()),
        }
    }

    fn one(
        &mut self,
        side: Side,
        directory: &OwnedFd,
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), DiffError> {
        let name = entry.name.to_bytes();
        let path = joined(path, name);
        let source = match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        };
        let looked = source
            .views(directory.as_fd())
            .and_then(|views| views.stat(name));
        let stat = match looked {
            Ok(Some(stat)) => stat,
            Ok(None) => return Ok(()),
            Err(error) => return Err(self.fail(side, &path, error)),
        };
        let inode = (!entry.is_directory).then_some(entry.inode);
        let (change, inodes) = match side {
            Side::First => (Change::Removed { is_link: false }, (inode, None)),
            Side::Second => (Change::Added { is_link: false }, (None, inode)),
        };
        self.note(&path, change, &stat, inodes);
        Ok(())
    }

    /// All that is in a directory which the other tree does not have.
    fn inside(
        &mut self,
        side: Side,
        directory: &OwnedFd,
        path: &[u8],
        name: &CStr,
    ) -> Result<(), DiffError> {
        let device = match side {
            Side::First => self.devices.0,
            Side::Second => self.devices.1,
        };
        let top = joined(path, name.to_bytes());
        let root = directory.try_clone();
        let root = root.map_err(|error| self.fail(side, path, error))?;
        let mut stack = vec![Place {
            parent: Node::root(c".", root),
            name: name.to_owned(),
        }];
        while let Some(place) = stack.pop() {
            let path = joined(path, &place.path());
            let opened = match place.open() {
                Ok(opened) => opened,
                Err(error) if self.has_gone(&error.into()) => continue,
                Err(error) => return Err(self.fail(side, &path, error)),
            };
            if !rustix::fs::fstat(&opened).is_ok_and(|stat| stat.st_dev == device) {
                continue;
            }
            debug_assert!(path.starts_with(&top));
            let entries = self.list(side, &opened, &path)?;
            self.watch.advance(entries.len() as u64);
            for entry in &entries {
                self.one(side, &opened, &path, entry)?;
            }
            if entries.iter().any(|entry| entry.is_directory) {
                let parent = place.into_node(opened);
                let directories = entries.into_iter().filter(|entry| entry.is_directory);
                stack.extend(directories.map(|entry| Place {
                    parent: Arc::clone(&parent),
                    name: entry.name,
                }));
            }
        }
        Ok(())
    }

    /// By name.
    fn list(&mut self, side: Side, fd: &OwnedFd, path: &[u8]) -> Result<Vec<Entry>, DiffError> {
        let mut entries = Vec::new();
        let numbers = match side {
            Side::First => self.numbers.0,
            Side::Second => self.numbers.1,
        };
        let listed = each_entry(
            fd,
            &mut self.buffer,
            || path.to_vec(),
            |name, kind, inode| {
                if path.is_empty() && numbers.hides(name) {
                    return Ok(());
                }
                let is_directory = kind == FileType::Directory;
                // Directories are compared in any case.
                let (version, inode) = match is_directory {
                    true => (inode, inode),
                    false => {
                        let known = numbers.know(fd, name, inode);
                        (known.version, known.likeness)
                    }
                };
                entries.push(Entry {
                    name: name.to_owned(),
                    is_directory,
                    version,
                    inode,
                });
                Ok(())
            },
        );
        match listed {
            Ok(()) => {}
            Err(SnapshotError::Io { source, .. }) => return Err(self.fail(side, path, source)),
            Err(other) => return Err(other.into()),
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn note(
        &mut self,
        path: &[u8],
        change: Change,
        stat: &Stat,
        inodes: (Option<u64>, Option<u64>),
    ) {
        self.met.items.push(Item {
            difference: Difference {
                path: path.to_vec(),
                change,
                kind: stat.kind,
                size: match stat.kind {
                    Kind::Dir => 0,
                    _ => stat.size,
                },
            },
            inodes,
        });
    }
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}
