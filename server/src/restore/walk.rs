//! Goes through what is to be restored, depth first, and makes it.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coffre_protocol::error::escape;
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::content;
use super::entry::{Lacks, Powers, Temporary, set_attributes};
use super::source::{Source, Views, form_of};
use crate::config::reason;
use crate::confine::{Kind, Metadata};
use crate::snapshot::tree::{Level, Node, Place};
use crate::snapshot::walk::{each_entry, open_directory};
use crate::verify::Inodes;

/// What is to be restored, and where to.
#[derive(Debug)]
pub struct Task<'a> {
    /// The tenant's directory in the store.
    pub home: &'a Path,
    /// The directory of a snapshot, or `live`.
    pub tree: &'a Path,
    /// What of it: relative to it, or the same with a leading slash. Empty: all.
    pub path: &'a [u8],
    /// A directory is restored as this one, a file as this file, or into this directory.
    pub to: &'a Path,
    pub overwrite: bool,
    /// How the store keeps attributes; `None`: as whoever made it could.
    pub form: Option<Metadata>,
}

/// Somebody who watches.
pub trait Watch {
    /// So many more entries and bytes are done.
    fn advance(&self, entries: u64, bytes: u64);
    /// Something was not restored as it is stored. A sentence.
    fn problem(&self, sentence: &str);
    fn cancelled(&self) -> bool;
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    pub files: u64,
    pub directories: u64,
    /// Symbolic links, devices, pipes and sockets.
    pub others: u64,
    /// Further names of files.
    pub links: u64,
    pub bytes: u64,
    pub problems: u64,
    /// Owners were left out.
    pub without_owners: bool,
}

/// Why nothing, or not all, was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot {doing} {path}: {}", reason(.source))]
    Io {
        doing: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("there is no /{0} in it")]
    Missing(String),
    #[error("{0} is a symbolic link in it, which is not followed; give the path that it leads to")]
    Symlink(String),
    #[error("\"..\" in the path leads nowhere here; give the path from the top of the snapshot")]
    Dots,
    #[error("{0} is there already; --overwrite replaces what has the same name")]
    Exists(String),
    #[error("{0} is not empty; --overwrite restores into it and replaces what has the same name")]
    NotEmpty(String),
    #[error("{0} is not a directory, and a directory is to be restored there")]
    NotADirectory(String),
    #[error("{0} does not exist; make it, or give another place")]
    NoParent(String),
    #[error("told to stop")]
    Cancelled,
}

/// A directory of the store and the one it is restored as.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
}

impl Level for Pair {
    fn below(&self, name: &CStr) -> Result<Self, Errno> {
        Ok(Self {
            from: open_directory(&self.from, name)?,
            to: open_directory(&self.to, name)?,
        })
    }
}

enum Step {
    Enter(Place<Pair>),
    /// All that is in it is there.
    Leave(Place<Pair>),
}

struct Restoring<'a> {
    task: &'a Task<'a>,
    watch: &'a dyn Watch,
    source: Source,
    powers: Powers,
    outcome: Outcome,
    /// Inodes that have several names in what is restored.
    shared: HashSet<u64>,
    /// Where the first of them is.
    first: HashMap<u64, (Arc<Node<Pair>>, CString)>,
    serial: u64,
}

/// Restores a file, or a directory with all in it.
pub fn restore(task: &Task<'_>, watch: &dyn Watch) -> Result<Outcome, RestoreError> {
    let root = openat(CWD, task.tree, directory_flags(), Mode::empty())
        .map_err(|e| fail("open", task.tree, e))?;
    let names = components(task.path)?;
    let form = task.form.unwrap_or_else(|| form_of(task.home));
    let source = Source::open(task.tree, form, None).map_err(|e| fail("open", task.tree, e))?;
    let powers = Powers {
        root: rustix::process::geteuid().is_root(),
    };
    let restoring = Restoring {
        task,
        watch,
        source,
        powers,
        outcome: Outcome {
            without_owners: !powers.root,
            ..Outcome::default()
        },
        shared: HashSet::new(),
        first: HashMap::new(),
        serial: 0,
    };
    // The directory that holds what is to be restored.
    let mut at = root;
    for (index, name) in names.iter().enumerate() {
        let is_last = index + 1 == names.len();
        let shown = || escape(&names[..=index].join(&b'/'));
        let stored = restoring
            .source
            .views(at.as_fd())
            .and_then(|views| views.entry(name));
        let kind = match stored {
            Ok(has) => has.stat.kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RestoreError::Missing(shown()));
            }
            Err(source) => {
                return Err(RestoreError::Io {
                    doing: "look at",
                    path: shown(),
                    source,
                });
            }
        };
        match kind {
            Kind::Dir => {
                let name = c_string(name);
                let below = open_directory(&at, &name).map_err(|e| RestoreError::Io {
                    doing: "open",
                    path: shown(),
                    source: e.into(),
                })?;
                at = below;
            }
            _ if is_last => return restoring.one(at, name),
            Kind::Symlink => return Err(RestoreError::Symlink(shown())),
            _ => return Err(RestoreError::Missing(escape(&names.join(&b'/')))),
        }
    }
    restoring.tree(at)
}

impl Restoring<'_> {
    /// Restores one entry that is no directory.
    fn one(mut self, from: OwnedFd, name: &[u8]) -> Result<Outcome, RestoreError> {
        let to = self.task.to;
        let into = std::fs::symlink_metadata(to).is_ok_and(|found| found.is_dir())
            || to.as_os_str().as_bytes().ends_with(b"/");
        let (parent, as_name) = match (into, to.file_name()) {
            (false, Some(file_name)) => {
                let parent = to.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                (parent.to_owned(), file_name.as_bytes().to_vec())
            }
            _ => (to.to_owned(), name.to_vec()),
        };
        let opened = openat(CWD, &parent, directory_flags(), Mode::empty());
        let to = opened.map_err(|error| match error {
            Errno::NOENT => RestoreError::NoParent(parent.display().to_string()),
            error => fail("open", &parent, error),
        })?;
        let as_name = c_string(&as_name);
        let there = rustix::fs::statat(&to, &as_name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok() && !self.task.overwrite {
            let place: PathBuf = parent.join(std::ffi::OsStr::from_bytes(as_name.to_bytes()));
            return Err(RestoreError::Exists(place.display().to_string()));
        }
        let node = Node::root(c".", Pair { from, to });
        self.entry(&node, &c_string(name), &as_name)?;
        Ok(self.outcome)
    }

    /// Restores a directory with all in it.
    fn tree(mut self, from: OwnedFd) -> Result<Outcome, RestoreError> {
        let to = self.task.to;
        match mkdirat(CWD, to, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => match std::fs::read_dir(to) {
                Ok(mut found) => {
                    if found.next().is_some() && !self.task.overwrite {
                        return Err(RestoreError::NotEmpty(to.display().to_string()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    return Err(RestoreError::NotADirectory(to.display().to_string()));
                }
                Err(error) => return Err(fail("list", to, error)),
            },
            Err(Errno::NOENT) => {
                let parent = to.parent().unwrap_or(Path::new("/"));
                return Err(RestoreError::NoParent(parent.display().to_string()));
            }
            Err(error) => return Err(fail("make", to, error)),
        }
        // The place itself may be a link of the admin's: it is where they want it.
        let flags = directory_flags();
        let to = openat(CWD, to, flags, Mode::empty()).map_err(|e| fail("open", to, e))?;
        self.find_shared(&from)?;
        let device = device(&from);
        let top = Place {
            parent: Node::root(c".", Pair { from, to }),
            name: c".".to_owned(),
        };
        let mut steps = vec![Step::Enter(top)];
        while let Some(step) = steps.pop() {
            if self.watch.cancelled() {
                return Err(RestoreError::Cancelled);
            }
            match step {
                Step::Enter(place) => self.enter(place, device, &mut steps)?,
                Step::Leave(place) => self.leave(&place)?,
            }
        }
        Ok(self.outcome)
    }

    /// Which inodes have several names below a directory: a look at listings only.
    fn find_shared(&mut self, top: &OwnedFd) -> Result<(), RestoreError> {
        let mut seen = Inodes::default();
        let own = top
            .try_clone()
            .map_err(|e| fail("open", self.task.tree, e))?;
        let mut stack = vec![Place {
            parent: Node::root(c".", own),
            name: c".".to_owned(),
        }];
        let mut buffer = Vec::with_capacity(64 << 10);
        while let Some(place) = stack.pop() {
            // What cannot be read is told when it is to be restored.
            let Ok(directory) = place.open() else {
                continue;
            };
            let mut below = Vec::new();
            let path = || place.path();
            let _ = each_entry(&directory, &mut buffer, path, |name, kind, inode| {
                if kind == FileType::Directory {
                    below.push(name.to_owned());
                } else if !seen.insert(inode) {
                    self.shared.insert(inode);
                }
                Ok(())
            });
            let node = place.into_node(directory);
            stack.extend(below.into_iter().map(|name| Place {
                parent: Arc::clone(&node),
                name,
            }));
        }
        Ok(())
    }

    fn enter(
        &mut self,
        place: Place<Pair>,
        top_device: Option<u64>,
        steps: &mut Vec<Step>,
    ) -> Result<(), RestoreError> {
        let path = place.path();
        let pair = match place.open() {
            Ok(pair) => pair,
            Err(error) => {
                self.problem(&path, "cannot be read", &error.into());
                return Ok(());
            }
        };
        self.outcome.directories += 1;
        self.watch.advance(1, 0);
        let mut names = Vec::new();
        if device(&pair.from) == top_device {
            let mut buffer = Vec::with_capacity(64 << 10);
            let listed = each_entry(
                &pair.from,
                &mut buffer,
                || path.clone(),
                |name, kind, inode| {
                    names.push((name.to_owned(), kind, inode));
                    Ok(())
                },
            );
            if let Err(error) = listed {
                self.outcome.problems += 1;
                self.watch.problem(&error.to_string());
            }
        }
        let leave = Place {
            parent: Arc::clone(&place.parent),
            name: place.name.clone(),
        };
        steps.push(Step::Leave(leave));
        let node = place.into_node(pair);
        for (name, kind, inode) in names {
            if self.watch.cancelled() {
                return Err(RestoreError::Cancelled);
            }
            if kind != FileType::Directory {
                self.linked_entry(&node, &name, inode)?;
                continue;
            }
            let made = node.with(|pair| self.make_directory(&pair.to, &name));
            match made.map_err(io::Error::from).and_then(|made| made) {
                Ok(()) => steps.push(Step::Enter(Place {
                    parent: Arc::clone(&node),
                    name,
                })),
                Err(error) => self.not_made(&node.path_of(&name), &error)?,
            }
        }
        Ok(())
    }

    fn make_directory(&self, parent: &OwnedFd, name: &CStr) -> io::Result<()> {
        match mkdirat(parent, name, Mode::RWXU) {
            Err(Errno::EXIST) if self.task.overwrite => {}
            other => return Ok(other?),
        }
        match open_directory(parent, name) {
            Ok(_) => Ok(()),
            // Something else has the name, a link perhaps.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                rustix::fs::unlinkat(parent, name, rustix::fs::AtFlags::empty())?;
                Ok(mkdirat(parent, name, Mode::RWXU)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn leave(&mut self, place: &Place<Pair>) -> Result<(), RestoreError> {
        let path = place.path();
        let done = place.open().map_err(io::Error::from).and_then(|pair| {
            let has = self.source.views(pair.from.as_fd())?.itself()?;
            Ok(set_attributes(&pair.to, &has, self.powers))
        });
        match done {
            Ok(lacks) => self.tell_lacks(&path, lacks),
            Err(error) => self.problem(&path, "has not all its attributes", &error),
        }
        Ok(())
    }

    /// An entry that may be one more name of what has been restored.
    fn linked_entry(
        &mut self,
        node: &Arc<Node<Pair>>,
        name: &CStr,
        inode: u64,
    ) -> Result<(), RestoreError> {
        if !self.shared.contains(&inode) {
            return self.entry(node, name, name);
        }
        if let Some((first, first_name)) = self.first.get(&inode) {
            self.serial += 1;
            let serial = self.serial;
            let linked = first.with(|first| {
                node.with(|pair| {
                    let temporary = Temporary::new(pair.to.as_fd(), serial);
                    temporary.link(&first.to, first_name)?;
                    temporary.place(name, self.task.overwrite)
                })
            });
            let linked = linked.and_then(|linked| linked).map_err(io::Error::from);
            match linked.and_then(|linked| linked) {
                Ok(()) => {
                    self.outcome.links += 1;
                    self.watch.advance(1, 0);
                }
                Err(error) => self.not_made(&node.path_of(name), &error)?,
            }
            return Ok(());
        }
        let problems = self.outcome.problems;
        let made = self.outcome.files + self.outcome.others;
        self.entry(node, name, name)?;
        if self.outcome.files + self.outcome.others > made || self.outcome.problems == problems {
            self.first
                .insert(inode, (Arc::clone(node), name.to_owned()));
        }
        Ok(())
    }

    /// Anything but a directory.
    fn entry(
        &mut self,
        node: &Arc<Node<Pair>>,
        name: &CStr,
        as_name: &CStr,
    ) -> Result<(), RestoreError> {
        self.serial += 1;
        let serial = self.serial;
        let made = node.with(|pair| self.make(pair, name, as_name, serial));
        let made = made.map_err(io::Error::from).and_then(|made| made);
        match made {
            Ok((kind, bytes, lacks)) => {
                match kind {
                    Kind::File => self.outcome.files += 1,
                    _ => self.outcome.others += 1,
                }
                self.outcome.bytes += bytes;
                self.watch.advance(1, 0);
                self.tell_lacks(&node.path_of(name), lacks);
            }
            Err(error) => self.not_made(&node.path_of(name), &error)?,
        }
        Ok(())
    }

    fn make(
        &self,
        pair: &Pair,
        name: &CStr,
        as_name: &CStr,
        serial: u64,
    ) -> io::Result<(Kind, u64, Lacks)> {
        let views: Views = self.source.views(pair.from.as_fd())?;
        let has = views.entry(name.to_bytes())?;
        let dir = views.of(name.to_bytes())?;
        let temporary = Temporary::new(pair.to.as_fd(), serial);
        let kind = has.stat.kind;
        let mut bytes = 0;
        let lacks = match kind {
            Kind::File => {
                let from = dir.open_file(name.to_bytes())?;
                let to = temporary.file()?;
                content::copy(&from, &to, &mut |more| {
                    bytes += more;
                    self.watch.advance(0, more);
                    match self.watch.cancelled() {
                        true => Err(io::ErrorKind::Interrupted.into()),
                        false => Ok(()),
                    }
                })?;
                set_attributes(&to, &has, self.powers)
            }
            Kind::Symlink => {
                temporary.symlink(&dir.read_link(name.to_bytes())?)?;
                temporary.attributes(&has, self.powers)
            }
            Kind::Dir => return Err(Errno::ISDIR.into()),
            kind => {
                temporary.node(kind, has.stat.rdev)?;
                temporary.attributes(&has, self.powers)
            }
        };
        temporary.place(as_name, self.task.overwrite)?;
        Ok((kind, bytes, lacks))
    }

    fn tell_lacks(&mut self, path: &[u8], lacks: Lacks) {
        for (what, error) in lacks {
            self.problem(path, &format!("is without its {what}"), &error);
        }
    }

    /// Errors: those after which there is no going on.
    fn not_made(&mut self, path: &[u8], error: &io::Error) -> Result<(), RestoreError> {
        use io::ErrorKind::{Interrupted, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            Interrupted if self.watch.cancelled() => Err(RestoreError::Cancelled),
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => Err(RestoreError::Io {
                doing: "write",
                path: escape(path),
                source: io::Error::from(error.kind()),
            }),
            _ => {
                self.problem(path, "was not restored", error);
                Ok(())
            }
        }
    }

    fn problem(&mut self, path: &[u8], what: &str, error: &io::Error) {
        self.outcome.problems += 1;
        let shown = match path.is_empty() {
            true => "the directory itself".to_owned(),
            false => escape(path),
        };
        self.watch
            .problem(&format!("{shown} {what}: {}", reason(error)));
    }
}

fn components(path: &[u8]) -> Result<Vec<&[u8]>, RestoreError> {
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    match names.contains(&&b".."[..]) {
        true => Err(RestoreError::Dots),
        false => Ok(names),
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn device(fd: &OwnedFd) -> Option<u64> {
    rustix::fs::fstat(fd).ok().map(|stat| stat.st_dev)
}

fn c_string(name: &[u8]) -> CString {
    CString::new(name).unwrap_or_default()
}

fn fail(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> RestoreError {
    RestoreError::Io {
        doing,
        path: path.display().to_string(),
        source: source.into(),
    }
}
