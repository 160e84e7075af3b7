//! Places in a tree of any depth.
//!
//! A walk remembers a directory as its parent and its name, never as a path: a path may be longer
//! than the kernel takes, and could lead elsewhere. A parent is held open while children of it
//! wait, which for a walk that goes deep first is a handful of directories. In a tree so deep that
//! it would be too many, only some levels stay open, and the others are found again from the
//! nearest one above.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::walk::open_directory;

/// Parents held open at a time by one walk, wherever they are …
const MOST_HELD: usize = 64;
/// … and in all, where they are on a level whose number is a multiple of this.
const STEP: u32 = 64;
const MOST_HELD_AT_STEPS: usize = 128;

/// What a walk opens of each directory: the directory itself, or it and its copy.
pub(crate) trait Level: Sized {
    /// The same of a directory in it.
    fn below(&self, name: &CStr) -> Result<Self, Errno>;
}

impl Level for OwnedFd {
    fn below(&self, name: &CStr) -> Result<Self, Errno> {
        open_directory(self, name)
    }
}

/// A directory whose children wait.
pub(crate) struct Node<L> {
    above: Option<Arc<Self>>,
    name: CString,
    /// Below the root.
    depth: u32,
    /// Always there in the root.
    held: Option<Held<L>>,
    count: Arc<AtomicUsize>,
}

struct Held<L> {
    level: L,
    count: Arc<AtomicUsize>,
}

impl<L> Drop for Held<L> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A directory to walk.
pub(crate) struct Place<L> {
    pub parent: Arc<Node<L>>,
    pub name: CString,
}

impl<L: Level> Node<L> {
    /// `name`: what messages call it.
    pub(crate) fn root(name: &CStr, level: L) -> Arc<Self> {
        let count = Arc::new(AtomicUsize::new(1));
        Arc::new(Self {
            above: None,
            name: name.to_owned(),
            depth: 0,
            held: Some(Held {
                level,
                count: Arc::clone(&count),
            }),
            count,
        })
    }

    /// Opens the directory `name` in this one.
    pub(crate) fn open_below(&self, name: &CStr) -> Result<L, Errno> {
        let mut missing = Vec::new();
        let mut node = self;
        let mut level = loop {
            if let Some(held) = &node.held {
                let mut down = missing.iter().rev().copied();
                match down.next() {
                    None => return held.level.below(name),
                    Some(first) => {
                        let mut level = held.level.below(first)?;
                        for name in down {
                            level = L::below(&level, name)?;
                        }
                        break level;
                    }
                }
            }
            missing.push(node.name.as_c_str());
            node = node.above.as_deref().expect("the root is always held open");
        };
        level = level.below(name)?;
        Ok(level)
    }

    /// Runs `work` on this directory, opened again if need be.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&L) -> T) -> Result<T, Errno> {
        match (&self.held, &self.above) {
            (Some(held), _) => Ok(work(&held.level)),
            (None, Some(above)) => Ok(work(&above.open_below(&self.name)?)),
            (None, None) => unreachable!("the root is always held open"),
        }
    }
}

impl<L> Node<L> {
    /// The path of an entry, for messages.
    pub(crate) fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut names = vec![name, self.name.as_c_str()];
        let mut node = self;
        while let Some(above) = &node.above {
            names.push(above.name.as_c_str());
            node = above;
        }
        let named = names
            .iter()
            .rev()
            .map(|name| name.to_bytes())
            .filter(|name| *name != b".");
        named.collect::<Vec<_>>().join(&b'/')
    }
}

impl<L: Level> Place<L> {
    pub(crate) fn open(&self) -> Result<L, Errno> {
        self.parent.open_below(&self.name)
    }

    /// This directory as a parent, after `level` has been opened from it.
    pub(crate) fn into_node(self, level: L) -> Arc<Node<L>> {
        let count = Arc::clone(&self.parent.count);
        let depth = self.parent.depth.saturating_add(1);
        let most = match depth % STEP {
            0 => MOST_HELD_AT_STEPS,
            _ => MOST_HELD,
        };
        let held = if count.fetch_add(1, Ordering::Relaxed) < most {
            Some(Held {
                level,
                count: Arc::clone(&count),
            })
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
            None
        };
        Arc::new(Node {
            above: Some(self.parent),
            name: self.name,
            depth,
            held,
            count,
        })
    }
}

impl<L> Place<L> {
    pub(crate) fn path(&self) -> Vec<u8> {
        self.parent.path_of(&self.name)
    }
}

/// Lets go of ancestors one after another: nested drops would overflow the stack of a thread that
/// leaves a very deep directory.
impl<L> Drop for Node<L> {
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.above.take();
        }
    }
}
