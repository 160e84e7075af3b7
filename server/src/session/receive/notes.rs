//! What is noted on the way, and how much memory it takes.
//!
//! Directories that were made, failed or changed, deletions that are put off, groups of hard
//! links: all of it grows with the tree, and with what a client likes to send. It is counted
//! together with the file lists that are held, against the same limit.

use std::collections::HashSet;

use coffre_protocol::ProtocolError;

use super::{Fatal, Receiver};

/// What a vector of bytes takes in a collection besides its bytes: itself, what the allocator
/// adds, and room that tables leave empty.
const EACH: usize = 64;

/// Bytes of memory for a path or a name that is noted.
pub(super) fn cost(path: &[u8]) -> usize {
    path.len() + EACH
}

/// Paths, and the bytes that they take.
#[derive(Debug, Default)]
pub(super) struct Paths {
    paths: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Paths {
    pub(super) fn insert(&mut self, path: Vec<u8>) {
        let cost = cost(&path);
        if self.paths.insert(path) {
            self.bytes += cost;
        }
    }

    pub(super) fn remove(&mut self, path: &[u8]) -> bool {
        let was_there = self.paths.remove(path);
        if was_there {
            self.bytes -= cost(path);
        }
        was_there
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.paths.contains(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

impl Receiver {
    /// Bytes that are noted, without the file lists.
    fn noted(&self) -> usize {
        let paths = self.failed_dirs.bytes + self.made_dirs.bytes + self.touched_dirs.bytes;
        let numbers = self.successes.len()
            + self.redo.len()
            + self.delayed.len()
            + 4 * self.emptied.len()
            + 4 * self.jobs.len();
        paths
            + size_of::<u32>() * numbers
            + self.late_repairs_bytes
            + self.delayed_deletion_bytes
            + self.deletion_bytes()
            + self.links.bytes()
            + self.outstanding.bytes()
    }

    /// Errors: lists and notes take more than the session may have.
    pub(super) fn check_notes(&self) -> Result<(), Fatal> {
        match self.flists.held_bytes().saturating_add(self.noted()) <= self.limit_bytes {
            true => Ok(()),
            false => Err(self.too_much_noted()),
        }
    }

    pub(super) fn too_much_noted(&self) -> Fatal {
        let limit = self.limit_bytes;
        ProtocolError::violation(format!(
            "file lists, and what is noted of directories, deletions and hard links, take more \
             than {limit} bytes of memory at a time"
        ))
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_counted_once_and_no_more_when_they_are_gone() {
        let mut paths = Paths::default();
        for _ in 0..2 {
            paths.insert(b"a/b".to_vec());
            paths.insert(b"c".to_vec());
        }
        assert_eq!(paths.bytes, 4 + 2 * EACH);
        assert!(paths.contains(b"c") && !paths.is_empty());
        assert!(paths.remove(b"a/b") && !paths.remove(b"a/b"));
        assert!(paths.remove(b"c"));
        assert_eq!((paths.bytes, paths.is_empty()), (0, true));
    }
}
