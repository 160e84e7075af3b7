//! The directory names of one list, each stored once.
//!
//! Entries of the same directory share its number. A directory is known together with all its
//! ancestors, whose names are prefixes of its own and take no bytes of their own. Number 0 is the
//! top of the transfer, the empty name. Names that came with a leading slash keep it here, since
//! it takes part in the sort; [`DirNames::path`] is without it.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

/// The top of the transfer.
pub(super) const TOP: u32 = 0;

#[derive(Debug, Clone, Copy)]
struct Dir {
    offset: u32,
    parent: u32,
    len: u16,
}

#[derive(Debug)]
pub(super) struct DirNames {
    bytes: Vec<u8>,
    dirs: Vec<Dir>,
    /// Hash of a name to its number. A name whose place is taken sits at the next free number.
    /// Emptied by [`DirNames::freeze`].
    by_hash: HashMap<u64, u32>,
    hasher: RandomState,
    /// The one asked for last: entries come directory by directory.
    last: u32,
}

impl DirNames {
    pub(super) fn new() -> Self {
        let mut names = Self {
            bytes: Vec::new(),
            dirs: vec![Dir {
                offset: 0,
                parent: TOP,
                len: 0,
            }],
            by_hash: HashMap::new(),
            hasher: RandomState::new(),
            last: TOP,
        };
        names.index();
        names
    }

    /// The number of a directory by its stored name: with a leading slash if it came with one
    /// (then `/` is the absolute top), otherwise the clean path, empty for the top.
    pub(super) fn intern(&mut self, name: &[u8]) -> u32 {
        if self.stored(self.last) == name {
            return self.last;
        }
        let (number, is_new) = self.place(name, None);
        self.last = number;
        if is_new {
            // The ancestors, longest first, until one is known.
            let offset = self.dirs[number as usize].offset;
            let mut child = number;
            let mut rest = name;
            while let Some(parent) = stored_parent(rest) {
                let (number, is_new) = self.place(parent, Some(offset));
                self.dirs[child as usize].parent = number;
                if !is_new {
                    break;
                }
                child = number;
                rest = parent;
            }
        }
        number
    }

    /// Finds `name`, or gives it the next number; its bytes are those at `offset` if it has one.
    fn place(&mut self, name: &[u8], offset: Option<u32>) -> (u32, bool) {
        let mut hash = self.hasher.hash_one(name);
        loop {
            match self.by_hash.entry(hash) {
                Entry::Occupied(slot) => {
                    let number = *slot.get();
                    if self.stored(number) == name {
                        return (number, false);
                    }
                    hash = hash.wrapping_add(1);
                }
                Entry::Vacant(slot) => {
                    let number = self.dirs.len() as u32;
                    slot.insert(number);
                    let offset = offset.unwrap_or_else(|| {
                        let offset = self.bytes.len() as u32;
                        self.bytes.extend_from_slice(name);
                        offset
                    });
                    self.dirs.push(Dir {
                        offset,
                        parent: TOP,
                        len: name.len() as u16,
                    });
                    return (number, true);
                }
            }
        }
    }

    /// The number of a directory if it is known.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        let mut hash = self.hasher.hash_one(name);
        loop {
            let number = *self.by_hash.get(&hash)?;
            if self.stored(number) == name {
                return Some(number);
            }
            hash = hash.wrapping_add(1);
        }
    }

    /// Drops what only [`Self::intern`] and [`Self::find`] need.
    pub(super) fn freeze(&mut self) {
        self.by_hash = HashMap::new();
        self.bytes.shrink_to_fit();
        self.dirs.shrink_to_fit();
    }

    /// Makes [`Self::find`] work again after [`Self::freeze`].
    pub(super) fn index(&mut self) {
        for number in 0..self.dirs.len() as u32 {
            let mut hash = self.hasher.hash_one(self.stored(number));
            while self.by_hash.contains_key(&hash) {
                hash = hash.wrapping_add(1);
            }
            self.by_hash.insert(hash, number);
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.dirs.len() as u32
    }

    pub(super) fn parent(&self, number: u32) -> u32 {
        self.dirs[number as usize].parent
    }

    /// The name with the slash it may have come with.
    pub(super) fn stored(&self, number: u32) -> &[u8] {
        let dir = self.dirs[number as usize];
        &self.bytes[dir.offset as usize..dir.offset as usize + usize::from(dir.len)]
    }

    /// The path, without leading slash, empty for the top.
    pub(super) fn path(&self, number: u32) -> &[u8] {
        let stored = self.stored(number);
        stored.strip_prefix(b"/").unwrap_or(stored)
    }

    /// The last component; empty for both tops.
    pub(super) fn base(&self, number: u32) -> &[u8] {
        super::name::split(self.stored(number)).1
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity()
            + self.dirs.capacity() * size_of::<Dir>()
            + self.by_hash.capacity() * (size_of::<(u64, u32)>() + 1)
    }
}

/// The parent of a stored name; `None` for the top.
fn stored_parent(name: &[u8]) -> Option<&[u8]> {
    match name {
        b"" => None,
        b"/" => Some(b""),
        _ => match name.iter().rposition(|byte| *byte == b'/') {
            Some(0) => Some(&name[..1]),
            Some(slash) => Some(&name[..slash]),
            None => Some(b""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_number_and_knows_its_ancestors() {
        let mut names = DirNames::new();
        let deep = names.intern(b"a/b/c");
        assert_eq!(names.count(), 4);
        assert_eq!(names.intern(b"a/b/c"), deep);
        let b = names.intern(b"a/b");
        assert_eq!(names.parent(deep), b);
        let a = names.parent(b);
        assert_eq!(names.path(a), b"a");
        assert_eq!(names.parent(a), TOP);
        assert_eq!(names.count(), 4);
        assert_eq!(names.bytes.len(), 5);
        let absolute = names.intern(b"/a");
        assert_ne!(absolute, a);
        assert_eq!(names.path(absolute), b"a");
        assert_eq!(names.stored(names.parent(absolute)), b"/");
        assert_eq!(names.parent(names.parent(absolute)), TOP);
        assert_eq!(names.base(deep), b"c");
        names.freeze();
        names.index();
        assert_eq!(names.find(b"a/b"), Some(b));
        assert_eq!(names.find(b"b"), None);
    }
}
