//! Goes through the directories of a tree in an order that stays the same as long as the tree
//! does: that of its manifest, else by name, depth first.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::findings::What;
use crate::snapshot::manifest::{Entry, EntryKind, Manifest};
use crate::snapshot::tree::{Node, Place};
use crate::snapshot::walk::each_entry;
use crate::snapshot::{Numbers, OpenTree, SnapshotError, SnapshotName, open_tree};

/// A tree that is to be verified.
pub(super) struct Tree {
    /// The name of a snapshot, or `live`.
    pub(super) name: String,
    /// `None`: live.
    pub(super) snapshot: Option<SnapshotName>,
}

impl Tree {
    pub(super) fn live() -> Self {
        Self {
            name: LIVE.to_owned(),
            snapshot: None,
        }
    }
}

pub(super) const LIVE: &str = "live";

/// A regular file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) name: CString,
    pub(super) inode: u64,
    /// What it is known by in all trees.
    pub(super) number: u64,
}

/// A directory, and what is wrong with its entries.
pub(super) struct Listed {
    pub(super) directory: Option<Arc<Node<OwnedFd>>>,
    pub(super) files: Vec<File>,
    pub(super) wrong: Vec<(Vec<u8>, What)>,
}

/// See the module's story.
pub(super) struct Tour {
    way: Way,
    /// Mount points are not gone into.
    device: u64,
    is_live: bool,
    numbers: Numbers,
    /// Why the manifest cannot be used, until that has been told.
    trouble: Option<What>,
    has_manifest: bool,
    buffer: Vec<u8>,
    /// Nobody recycles the snapshot as long as this lives.
    opened: OpenTree,
}

enum Way {
    Manifest {
        manifest: Box<Manifest>,
        /// Directories whose record has not come, by the inode that stands for them.
        pending: HashMap<u64, Place<OwnedFd>>,
        /// The store is where it was built, so inode numbers mean something.
        compares_inodes: bool,
    },
    Plain(Vec<Place<OwnedFd>>),
}

impl Tour {
    /// `None`: the tree is no more.
    pub(super) fn begin(home: &Path, tree: &Tree) -> Result<Option<Self>, SnapshotError> {
        let Some(opened) = open_tree(home, tree.snapshot)? else {
            return Ok(None);
        };
        let root = opened.root().try_clone();
        let root = root.map_err(|error| SnapshotError::io("open", tree.name.as_bytes(), error))?;
        let stat = rustix::fs::fstat(&root)
            .map_err(|error| SnapshotError::io("look at", tree.name.as_bytes(), error))?;
        // Paths are told relative to the tree.
        let top = Place {
            parent: Node::root(c".", root),
            name: c".".to_owned(),
        };
        let mut tour = Self {
            way: Way::Plain(Vec::new()),
            device: stat.st_dev,
            is_live: tree.snapshot.is_none(),
            numbers: opened.numbers(),
            trouble: None,
            has_manifest: false,
            buffer: Vec::with_capacity(64 << 10),
            opened,
        };
        let manifest = match tree.snapshot {
            None => Ok(None),
            Some(name) => Manifest::open(home, name),
        };
        let manifest = manifest.unwrap_or_else(|error| {
            let error = crate::config::reason(&error);
            tour.trouble = Some(What::Manifest { error });
            None
        });
        tour.way = match manifest {
            None => Way::Plain(vec![top]),
            Some(manifest) => {
                tour.has_manifest = true;
                Way::Manifest {
                    compares_inodes: tour
                        .opened
                        .identity()
                        .is_ok_and(|identity| manifest.root() == identity),
                    pending: HashMap::from([(manifest.first(), top)]),
                    manifest: Box::new(manifest),
                }
            }
        };
        Ok(Some(tour))
    }

    /// Whether it is known what the tree should hold.
    pub(super) fn has_manifest(&self) -> bool {
        self.has_manifest || self.is_live || self.trouble.is_some()
    }

    /// The next directory; `None`: that was all.
    pub(super) fn next(&mut self) -> Option<Listed> {
        if let Some(what) = self.trouble.take() {
            return Some(Listed {
                directory: None,
                files: Vec::new(),
                wrong: vec![(Vec::new(), what)],
            });
        }
        let (place, record, compares_inodes) = match &mut self.way {
            Way::Plain(stack) => (stack.pop()?, None, false),
            Way::Manifest {
                manifest,
                pending,
                compares_inodes,
            } => loop {
                match manifest.next_record() {
                    // A directory that is missing is known to be, with all in it.
                    Ok(Some(record)) => {
                        if let Some(place) = pending.remove(&record.inode) {
                            break (place, Some(record.entries), *compares_inodes);
                        }
                    }
                    // It has been read to its end before, so this is the disk's doing.
                    Err(error) => {
                        let error = crate::config::reason(&error);
                        self.way = Way::Plain(Vec::new());
                        return Some(Listed {
                            directory: None,
                            files: Vec::new(),
                            wrong: vec![(Vec::new(), What::Manifest { error })],
                        });
                    }
                    // What has no record was a mount point, so nothing should be in it.
                    Ok(None) => {
                        let inode = *pending.keys().min()?;
                        break (pending.remove(&inode)?, Some(Vec::new()), false);
                    }
                }
            },
        };
        Some(self.list(place, record, compares_inodes))
    }

    fn list(
        &mut self,
        place: Place<OwnedFd>,
        record: Option<Vec<Entry>>,
        compares_inodes: bool,
    ) -> Listed {
        let mut listed = Listed {
            directory: None,
            files: Vec::new(),
            wrong: Vec::new(),
        };
        let path = place.path();
        let opened = place.open().and_then(|directory| {
            let stat = rustix::fs::fstat(&directory)?;
            Ok((directory, stat.st_dev))
        });
        let directory = match opened {
            Ok((_, device)) if device != self.device => return listed,
            Ok((directory, _)) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if self.is_live => return listed,
            Err(error) => {
                listed.wrong.push((path, unreadable(&error.into())));
                return listed;
            }
        };
        let mut found = Vec::new();
        let read = each_entry(
            &directory,
            &mut self.buffer,
            || path.clone(),
            |name, kind, inode| {
                if path.is_empty() && self.numbers.hides(name) {
                    return Ok(());
                }
                found.push(Entry {
                    name: name.to_owned(),
                    kind: EntryKind::of(kind),
                    inode,
                });
                Ok(())
            },
        );
        if let Err(error) = read {
            let error = match error {
                SnapshotError::Io { source, .. } => source,
                other => io::Error::other(other.to_string()),
            };
            if !self.is_live || error.kind() != io::ErrorKind::NotFound {
                listed.wrong.push((path.clone(), unreadable(&error)));
            }
        }
        found.sort();
        let node = place.into_node(directory);
        let child = |name: &CString| Place {
            parent: Arc::clone(&node),
            name: name.clone(),
        };
        match record {
            None => {
                let Way::Plain(stack) = &mut self.way else {
                    return listed;
                };
                let directories = found.iter().filter(|e| e.kind == EntryKind::Directory);
                stack.extend(directories.rev().map(|entry| child(&entry.name)));
            }
            Some(mut expected) => {
                expected.sort();
                let wrong = |name: &CString, what| (node.path_of(name), what);
                let mut is = found.iter().peekable();
                let mut there = Vec::with_capacity(found.len());
                for entry in &expected {
                    let is_directory = entry.kind == EntryKind::Directory;
                    while let Some(extra) = is.next_if(|is| is.name < entry.name) {
                        let directory = extra.kind == EntryKind::Directory;
                        listed
                            .wrong
                            .push(wrong(&extra.name, What::Extra { directory }));
                    }
                    let Some(is) = is.next_if(|is| is.name == entry.name) else {
                        let directory = is_directory;
                        listed
                            .wrong
                            .push(wrong(&entry.name, What::Missing { directory }));
                        continue;
                    };
                    let other_inode = compares_inodes && !is_directory && is.inode != entry.inode;
                    if is.kind != entry.kind || other_inode {
                        listed.wrong.push(wrong(&entry.name, What::Replaced));
                    }
                    if is_directory && is.kind == EntryKind::Directory {
                        if let Way::Manifest { pending, .. } = &mut self.way {
                            pending.insert(entry.inode, child(&entry.name));
                        }
                    } else {
                        there.push(is.clone());
                    }
                }
                for extra in is {
                    let directory = extra.kind == EntryKind::Directory;
                    listed
                        .wrong
                        .push(wrong(&extra.name, What::Extra { directory }));
                }
                found = there;
            }
        }
        let files = found.into_iter().filter(|e| e.kind == EntryKind::File);
        let known = node.with(|directory| {
            let known = |Entry { name, inode, .. }: Entry| File {
                number: self.numbers.version(directory, &name, inode),
                name,
                inode,
            };
            files.map(known).collect()
        });
        match known {
            Ok(files) => listed.files = files,
            Err(error) if !self.is_live => {
                listed.wrong.push((path, unreadable(&error.into())));
            }
            Err(_) => {}
        }
        listed.directory = Some(node);
        listed
    }
}

fn unreadable(error: &io::Error) -> What {
    What::Unreadable {
        error: crate::config::reason(error),
    }
}

/// Calls `each` with path, kind and number (see [`Numbers`]) of everything in a tree, in no particular order of
/// directories. What cannot be read is left out.
pub(super) fn each_name(
    home: &Path,
    tree: &Tree,
    mut each: impl FnMut(&dyn Fn() -> Vec<u8>, FileType, u64),
) -> Result<(), SnapshotError> {
    let Some(opened) = open_tree(home, tree.snapshot)? else {
        return Ok(());
    };
    let numbers = opened.numbers();
    let root = opened.root().try_clone();
    let root = root.map_err(|error| SnapshotError::io("open", tree.name.as_bytes(), error))?;
    let device = rustix::fs::fstat(&root)
        .map_err(|error| SnapshotError::io("look at", tree.name.as_bytes(), error))?
        .st_dev;
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut stack = vec![Place {
        parent: Node::root(c".", root),
        name: c".".to_owned(),
    }];
    while let Some(place) = stack.pop() {
        let Ok(directory) = place.open() else {
            continue;
        };
        if !rustix::fs::fstat(&directory).is_ok_and(|stat| stat.st_dev == device) {
            continue;
        }
        let mut below = Vec::new();
        let _ = each_entry(
            &directory,
            &mut buffer,
            || place.path(),
            |name, kind, inode| {
                if numbers.hides(name) && place.path().is_empty() {
                    return Ok(());
                }
                let path = || match place.path() {
                    path if path.is_empty() => name.to_bytes().to_vec(),
                    mut path => {
                        path.push(b'/');
                        path.extend_from_slice(name.to_bytes());
                        path
                    }
                };
                each(&path, kind, numbers.version(&directory, name, inode));
                if kind == FileType::Directory {
                    below.push(name.to_owned());
                }
                Ok(())
            },
        );
        let node = place.into_node(directory);
        stack.extend(below.into_iter().map(|name| Place {
            parent: Arc::clone(&node),
            name,
        }));
    }
    Ok(())
}
