//! Which names a list has in each directory: whatever else stands there is not of the transfer.

use std::ops::Range;

use super::FileList;

/// An index over one list, made when deletion needs it. Four bytes per entry and eight per
/// directory.
#[derive(Debug)]
pub struct NamesByDir {
    /// Slots, those of a directory side by side.
    slots: Vec<u32>,
    /// Ranges of `slots`, ordered by the path of the directory.
    groups: Vec<Range<u32>>,
}

impl NamesByDir {
    pub fn new(list: &FileList) -> Self {
        let mut slots: Vec<u32> = (0..list.len())
            .filter(|slot| list.slot(*slot).is_some())
            .collect();
        slots.sort_by_key(|slot| list.dir_number(*slot));
        let mut groups = Vec::new();
        let mut start = 0;
        for group in slots.chunk_by(|a, b| list.dir_number(*a) == list.dir_number(*b)) {
            let end = start + group.len() as u32;
            groups.push(start..end);
            start = end;
        }
        groups.sort_by(|a, b| {
            let path = |group: &Range<u32>| list.dir_of_slot(slots[group.start as usize]);
            path(a).cmp(path(b))
        });
        Self { slots, groups }
    }

    /// The last components of all entries of `list` whose parent is `dir` (empty: the top).
    pub fn names<'a>(
        &'a self,
        list: &'a FileList,
        dir: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        let path = |group: &Range<u32>| list.dir_of_slot(self.slots[group.start as usize]);
        let first = self.groups.partition_point(|group| path(group) < dir);
        self.groups[first..]
            .iter()
            .take_while(move |group| path(group) == dir)
            .flat_map(|group| &self.slots[group.start as usize..group.end as usize])
            .filter_map(|slot| Some(list.slot(*slot)?.base()))
    }
}
