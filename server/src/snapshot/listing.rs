//! What a directory holds, remembered so that another one can be compared with it.

use std::ffi::CStr;

use rustix::fd::OwnedFd;
use rustix::fs::FileType;

use super::error::SnapshotError;
use super::walk::each_entry;

/// A directory's entries, in the order in which they were listed. Used again for one directory
/// after another.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// The first entry that the comparison has not come to, as long as it goes in step.
    next: usize,
    /// Indexes of `entries`, sorted by name. Empty until something is out of step.
    by_name: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// In `names`, with the NUL.
    start: usize,
    end: usize,
    kind: FileType,
    inode: u64,
    met: bool,
}

/// What goes by the name that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Nothing,
    /// Of both, a directory; or the same inode.
    Same,
    Other(FileType),
}

impl Listing {
    pub(super) fn read(
        &mut self,
        directory: &OwnedFd,
        buffer: &mut Vec<u8>,
        path: impl Fn() -> Vec<u8>,
    ) -> Result<(), SnapshotError> {
        self.clear();
        each_entry(directory, buffer, path, |name, kind, inode| {
            self.add(name, kind, inode);
            Ok(())
        })
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
        self.by_name.clear();
        self.next = 0;
    }

    fn add(&mut self, name: &CStr, kind: FileType, inode: u64) {
        let start = self.names.len();
        self.names.extend_from_slice(name.to_bytes_with_nul());
        self.entries.push(Entry {
            start,
            end: self.names.len(),
            kind,
            inode,
            met: false,
        });
    }

    /// Asks for a name; each at most once. Two directories of one file system that hold the same
    /// are mostly listed in the same order, so the next entry is looked at first.
    pub(super) fn meet(&mut self, name: &CStr, kind: FileType, inode: u64) -> Met {
        let name = name.to_bytes_with_nul();
        let in_step = self
            .entries
            .get(self.next)
            .is_some_and(|entry| self.names[entry.start..entry.end] == *name);
        let index = match in_step {
            true => self.next,
            false => match self.find(name) {
                Some(index) => index,
                None => return Met::Nothing,
            },
        };
        self.next = index + 1;
        let entry = &mut self.entries[index];
        entry.met = true;
        let is_directory = |kind| kind == FileType::Directory;
        match entry.kind {
            other if is_directory(other) != is_directory(kind) => Met::Other(other),
            other if is_directory(other) || entry.inode == inode => Met::Same,
            other => Met::Other(other),
        }
    }

    fn find(&mut self, name: &[u8]) -> Option<usize> {
        let Self {
            names,
            entries,
            by_name,
            ..
        } = self;
        let name_of = |index: &usize| &names[entries[*index].start..entries[*index].end];
        if by_name.is_empty() {
            by_name.extend(0..entries.len());
            by_name.sort_unstable_by(|a, b| name_of(a).cmp(name_of(b)));
        }
        let place = by_name.binary_search_by(|index| name_of(index).cmp(name));
        place.ok().map(|place| by_name[place])
    }

    /// The entries that nobody asked for.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&CStr, FileType)> {
        let named = |entry: &Entry| {
            let name = CStr::from_bytes_with_nul(&self.names[entry.start..entry.end]);
            Some((name.ok()?, entry.kind))
        };
        let unmet = self.entries.iter().filter(|entry| !entry.met);
        unmet.filter_map(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileType = FileType::RegularFile;

    fn listing(entries: &[(&CStr, FileType, u64)]) -> Listing {
        let mut listing = Listing::default();
        for (name, kind, inode) in entries {
            listing.add(name, *kind, *inode);
        }
        listing
    }

    #[test]
    fn in_step_or_not_every_name_is_met_once() {
        let names = [c"d", c"a", c"c", c"b", c"e"];
        let entries: Vec<_> = names.iter().map(|name| (*name, FILE, 7)).collect();
        let orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]];
        for order in orders {
            let mut old = listing(&entries);
            for index in order {
                assert_eq!(old.meet(names[index], FILE, 7), Met::Same, "{order:?}");
            }
            assert_eq!(old.rest().count(), 0);
        }
    }

    #[test]
    fn new_names_gone_names_and_other_inodes_are_told_apart() {
        let mut old = listing(&[
            (c"same", FILE, 1),
            (c"gone", FILE, 2),
            (c"replaced", FILE, 3),
            (c"directory", FileType::Directory, 4),
            (c"was a directory", FileType::Directory, 5),
            (c"was a file", FILE, 6),
        ]);
        assert_eq!(old.meet(c"same", FILE, 1), Met::Same);
        assert_eq!(old.meet(c"new", FILE, 9), Met::Nothing);
        assert_eq!(old.meet(c"replaced", FILE, 9), Met::Other(FILE));
        // Directories are not shared: each has its own inode.
        let directory = FileType::Directory;
        assert_eq!(old.meet(c"directory", directory, 9), Met::Same);
        let met = old.meet(c"was a directory", FILE, 9);
        assert_eq!(met, Met::Other(directory));
        assert_eq!(old.meet(c"was a file", directory, 9), Met::Other(FILE));
        assert_eq!(old.rest().collect::<Vec<_>>(), [(c"gone", FILE)]);
    }
}
