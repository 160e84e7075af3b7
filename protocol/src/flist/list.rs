//! One whole file list: its entries by index.

use std::collections::HashSet;

use super::dirs::TOP;
use super::entry::{EntryFields, EntryRef};
use super::name::clean;
use super::store::Store;
use super::{FlistFormat, Limits, ListHead, entry, order};
use crate::ProtocolError;
use crate::error::escape;

/// A list that has arrived whole. Entries have consecutive indexes in sorted order; what was
/// dropped (a duplicate, a pruned directory) keeps its index but is not shown.
#[derive(Debug)]
pub struct FileList {
    store: Store,
    /// Position in the store by slot, the place in sorted order.
    order: Vec<u32>,
    /// Indexes count positions instead of slots: names were converted.
    by_arrival: bool,
    start: u32,
    owner: Option<u32>,
}

/// What of a format decides about indexes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbering {
    inc_recurse: bool,
    by_arrival: bool,
}

impl Numbering {
    pub(super) fn of(format: &FlistFormat) -> Self {
        Self {
            inc_recurse: format.inc_recurse,
            by_arrival: format.charset.is_some(),
        }
    }
}

impl FileList {
    /// Sorts and numbers what has arrived.
    pub(super) fn arrange(mut store: Store, head: &ListHead, numbering: Numbering) -> Self {
        let order = order::arrange(&mut store);
        store.freeze();
        let mut list = Self {
            store,
            order,
            by_arrival: numbering.by_arrival,
            start: head.start,
            owner: head.owner_number(),
        };
        if !numbering.inc_recurse {
            list.dissolve_single_links();
        }
        list
    }

    /// The index of the first slot.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Slots, with those that are not shown.
    pub fn len(&self) -> u32 {
        self.order.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// With incremental recursion: the number of the directory whose content this is; `None` for
    /// the first list.
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// The entry with this index. `None` when the index is not of this list or was dropped.
    pub fn entry(&self, ndx: u32) -> Option<EntryRef<'_>> {
        self.shown(self.position(ndx)?)
    }

    /// The place in order of arrival of the entry with this index.
    pub fn position(&self, ndx: u32) -> Option<u32> {
        let place = ndx.checked_sub(self.start)?;
        match self.by_arrival {
            true => Some(place).filter(|place| *place < self.len()),
            false => self.order.get(place as usize).copied(),
        }
    }

    /// The entry at this place of sorted order, counted from 0.
    pub fn slot(&self, slot: u32) -> Option<EntryRef<'_>> {
        self.shown(*self.order.get(slot as usize)?)
    }

    /// The index of the entry in this slot. Panics: there is no such slot.
    pub fn ndx_of(&self, slot: u32) -> u32 {
        let place = match self.by_arrival {
            true => self.order[slot as usize],
            false => slot,
        };
        self.start + place
    }

    fn shown(&self, position: u32) -> Option<EntryRef<'_>> {
        (!self.store.is_dropped(position)).then_some(EntryRef {
            store: &self.store,
            position,
        })
    }

    /// Number of the parent directory within this list.
    pub(super) fn dir_number(&self, slot: u32) -> u32 {
        self.store.parent(self.order[slot as usize])
    }

    /// Path of the parent directory.
    pub(super) fn dir_of_slot(&self, slot: u32) -> &[u8] {
        self.store.dir(self.order[slot as usize])
    }

    /// Entries with their indexes, in sorted order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, EntryRef<'_>)> {
        (0..self.len()).filter_map(|slot| Some((self.ndx_of(slot), self.slot(slot)?)))
    }

    /// Entries as they came, dropped ones too: what a sender sends and numbers hard links by.
    pub fn arrivals(&self) -> impl Iterator<Item = EntryRef<'_>> {
        (0..self.store.len()).map(|position| EntryRef {
            store: &self.store,
            position,
        })
    }

    /// Slots of all directories, dropped or not, in the order of indexes.
    pub(super) fn directory_slots(&self) -> Vec<u32> {
        let is_dir = |slot: &u32| self.store.is_directory(self.order[*slot as usize]);
        let mut slots: Vec<u32> = (0..self.len()).filter(is_dir).collect();
        if self.by_arrival {
            slots.sort_by_key(|slot| self.order[*slot as usize]);
        }
        slots
    }

    /// Whether the entry in this slot has lost its name.
    pub(super) fn is_nameless(&self, slot: u32) -> bool {
        self.store.is_nameless(self.order[slot as usize])
    }

    /// Only these slots, as a list from index 0.
    pub(super) fn select(&self, slots: &[u32]) -> FileList {
        let positions: Vec<u32> = slots
            .iter()
            .map(|slot| self.order[*slot as usize])
            .collect();
        FileList {
            store: self.store.select(&positions),
            order: (0..positions.len() as u32).collect(),
            by_arrival: false,
            start: 0,
            owner: self.owner,
        }
    }

    /// `-m`: drops every directory below which nothing but directories is left. A directory that
    /// `keep` wants (path, is a directory: always true) stays with its parents, and so does `.`.
    pub fn prune_empty_dirs(&mut self, keep: impl Fn(&[u8], bool) -> bool) {
        self.store.dirs.index();
        let dirs = &self.store.dirs;
        let mut needed = vec![false; dirs.count() as usize];
        let mut need = |mut dir: u32| {
            while !std::mem::replace(&mut needed[dir as usize], true) && dir != TOP {
                dir = dirs.parent(dir);
            }
        };
        let mut path = Vec::new();
        let mut kept = HashSet::new();
        for &position in &self.order {
            let entry = EntryRef {
                store: &self.store,
                position,
            };
            if self.store.is_dropped(position) {
                continue;
            }
            if !entry.is_dir() {
                need(self.store.record(position).dir);
            } else if entry.is_root() || keep(entry.path(&mut path), true) {
                kept.insert(position);
                need(self.store.record(position).dir);
            }
        }
        let mut pruned = Vec::new();
        for &position in &self.order {
            if !self.store.is_directory(position) || kept.contains(&position) {
                continue;
            }
            let is_needed = self
                .store
                .own_dir(position)
                .is_some_and(|dir| needed[dir as usize]);
            if !is_needed {
                pruned.push(position);
            }
        }
        for position in pruned {
            self.store.drop_entry(position);
        }
        self.store.dirs.freeze();
    }

    /// A group of one is no hard link. Only to be asked when all members have arrived.
    fn dissolve_single_links(&mut self) {
        let shown = |list: &Self, position: &u32| !list.store.is_dropped(*position);
        let mut groups: Vec<u32> = self
            .order
            .iter()
            .filter(|position| shown(self, position))
            .filter_map(|position| self.store.link_group(*position))
            .collect();
        groups.sort_unstable();
        let is_single = |group: &u32| {
            let from = groups.partition_point(|other| other < group);
            groups.get(from + 1) != Some(group)
        };
        for position in 0..self.store.len() {
            if self
                .store
                .link_group(position)
                .is_some_and(|group| is_single(&group))
            {
                self.store.set_link_group(position, None);
            }
        }
    }

    /// Bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.store.bytes() + self.order.capacity() * size_of::<u32>()
    }
}

/// Makes a list from entries that are at hand, as a sender does: it sends them in this order and
/// then needs the same indexes as the receiver.
#[derive(Debug)]
pub struct ListBuilder {
    store: Store,
    head: ListHead,
    numbering: Numbering,
    relative: bool,
    delete_missing_args: bool,
    limits: Limits,
    path: Vec<u8>,
}

impl ListBuilder {
    pub fn new(format: &FlistFormat, head: ListHead) -> Self {
        Self {
            store: Store::new(format),
            head,
            numbering: Numbering::of(format),
            relative: format.relative,
            delete_missing_args: format.delete_missing_args,
            limits: format.limits.clone().storable(),
            path: Vec::new(),
        }
    }

    /// Adds the next entry in order of transmission.
    /// Errors: a name or a mode that may not be sent, a limit that is exceeded.
    pub fn push(&mut self, fields: &EntryFields<'_>) -> Result<(), ProtocolError> {
        self.push_with(fields, None)
    }

    /// The same with the number of the entry's xattr set ([`super::FlistEncoder::entry`]).
    pub fn push_with(
        &mut self,
        fields: &EntryFields<'_>,
        xattrs: Option<u32>,
    ) -> Result<(), ProtocolError> {
        entry::check_mode(fields.mode, self.delete_missing_args)?;
        if fields.name.len() > self.limits.name
            || fields.link_target.len() > self.limits.link_target
        {
            return Err(ProtocolError::violation(format!(
                "\"{}\" or what it links to is too long to be sent",
                escape(fields.name)
            )));
        }
        let shape = clean(fields.name, self.relative, &mut self.path)?;
        let position = self.store.push(shape.name(&self.path), fields)?;
        if let Some(xattrs) = xattrs {
            self.store.set_xattrs(position, xattrs);
        }
        Ok(())
    }

    /// Whether an entry with these values may be sent; what [`Self::push`] fails with.
    pub fn accepts(&mut self, name: &[u8], link_target: &[u8]) -> Result<(), ProtocolError> {
        if name.len() > self.limits.name || link_target.len() > self.limits.link_target {
            return Err(ProtocolError::violation("the path is too long to be sent"));
        }
        clean(name, self.relative, &mut self.path).map(drop)
    }

    /// Entries so far.
    pub fn len(&self) -> u32 {
        self.store.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn finish(self) -> FileList {
        FileList::arrange(self.store, &self.head, self.numbering)
    }
}
