//! Which names a client asked for, as a tree of them: what the walk begins with.
//!
//! | asked for | base | names in the tree |
//! |---|---|---|
//! | `a/b` | `a` | `b` |
//! | `a/b/`, `a/b/.` | `a/b` | the base itself |
//! | `-R a/b` | the top | `a`, and `b` in it |
//! | `-R x/./a/b` | `x` | `a`, and `b` in it |
//!
//! Several arguments with one base share its tree, so that a directory that leads to many of them
//! is listed once.

use std::collections::{BTreeMap, HashMap};

use super::view::Place;

/// Where names start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) base: Place,
    /// `-R` with an absolute source: names begin with a slash.
    pub(super) is_absolute: bool,
}

/// A name that was asked for, or that leads to one.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) children: BTreeMap<Box<[u8]>, u32>,
    pub(super) asked: Option<Asked>,
}

/// How a name was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// A directory goes with what is in it.
    pub(super) content: bool,
    /// It does not exist, and the receiver is to delete it.
    pub(super) missing: bool,
    /// Only the entry `.` of a source that begins with `./`.
    pub(super) implied: bool,
}

/// All that was asked for.
#[derive(Debug, Default)]
pub(super) struct Plan {
    origins: Vec<(Origin, u32)>,
    by_origin: HashMap<Origin, u32>,
    nodes: Vec<Node>,
}

impl Plan {
    /// The number of an origin.
    pub(super) fn origin(&mut self, origin: Origin) -> u32 {
        if let Some(number) = self.by_origin.get(&origin) {
            return *number;
        }
        let number = self.origins.len() as u32;
        self.nodes.push(Node::default());
        self.origins
            .push((origin.clone(), self.nodes.len() as u32 - 1));
        self.by_origin.insert(origin, number);
        number
    }

    /// Adds a name below an origin; no components: the origin's base itself.
    pub(super) fn add<'a>(
        &mut self,
        origin: u32,
        components: impl IntoIterator<Item = &'a [u8]>,
        asked: Asked,
    ) {
        let mut at = self.origins[origin as usize].1;
        for name in components {
            let next = self.nodes.len() as u32;
            let child = *self.nodes[at as usize]
                .children
                .entry(name.into())
                .or_insert(next);
            if child == next {
                self.nodes.push(Node::default());
            }
            at = child;
        }
        let slot = &mut self.nodes[at as usize].asked;
        *slot = Some(match *slot {
            Some(other) => Asked {
                content: other.content || asked.content,
                missing: other.missing && asked.missing,
                implied: other.implied && asked.implied,
            },
            None => asked,
        });
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = (u32, &Origin, u32)> {
        (0u32..)
            .zip(&self.origins)
            .map(|(number, (origin, node))| (number, origin, *node))
    }

    pub(super) fn origin_at(&self, number: u32) -> &Origin {
        &self.origins[number as usize].0
    }

    pub(super) fn has_one_origin(&self) -> bool {
        self.origins.len() <= 1
    }

    pub(super) fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }

    /// Names in it.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}
