//! The file lists of a session, and the directory table of incremental recursion.
//!
//! Without incremental recursion there is one list and its first index is 0. With it, the first
//! list holds the arguments, and each directory of any list is followed, sooner or later, by a list
//! of its own:
//!
//! * Every directory gets a number when its list has been sorted. The marker −101 − number opens
//!   the list of that directory's content.
//! * Indexes of a list follow those of the one before with a gap of one: `start - 1` is the index
//!   under which the directory that owns the list is spoken of. For the first list that is `.`.
//! * Exactly one list comes per directory, except for `.` and for what was dropped.
//!
//! A list that both ends are done with is released. What stays of it are the directories whose own
//! list is still to come or to be finished: their attributes are applied last.
//! Source: rsync `flist.c:recv_file_list`, `io.c:read_ndx_and_attrs`, as observed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{EntryRef, FileList, FlistFormat};
use crate::ProtocolError;

/// Where a list begins and what it is the content of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListHead {
    /// Index of its first entry.
    pub start: u32,
    /// With incremental recursion, and not for the first list.
    pub owner: Option<ListOwner>,
}

/// The directory whose content a list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOwner {
    /// In the directory table.
    pub number: u32,
    /// Empty: its name could not be converted, and neither can those of its content.
    pub path: Box<[u8]>,
}

impl ListHead {
    /// The first list of a session.
    pub fn first(format: &FlistFormat) -> Self {
        Self {
            start: u32::from(format.inc_recurse),
            owner: None,
        }
    }

    pub(super) fn owner_number(&self) -> Option<u32> {
        self.owner.as_ref().map(|owner| owner.number)
    }
}

/// A directory of the table.
#[derive(Debug, Clone, Copy)]
struct Directory {
    /// Start of the list that the directory is an entry of.
    home: u32,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Its list is still to come.
    Awaited,
    /// The list that starts at this index.
    List(u32),
    /// That list has been released.
    Released,
    /// It never gets one: `.`, or dropped.
    Never,
}

#[derive(Debug)]
struct Held {
    /// Released: only the directories, in their order, indexes from 0.
    list: Arc<FileList>,
    /// Slots of the directories in `list`.
    directories: Vec<u32>,
    /// Number of the first of them in the table.
    first_number: u32,
    /// Directories whose content has not been released yet.
    waiting: u32,
    is_released: bool,
    /// Memory of `list`.
    bytes: usize,
}

/// All lists of a session, by index and by directory number.
#[derive(Debug)]
pub struct Flists {
    inc_recurse: bool,
    held: BTreeMap<u32, Held>,
    table: Vec<Directory>,
    /// Starts of the lists that are not released, oldest first.
    live: std::collections::VecDeque<u32>,
    count: u32,
    next_start: u32,
    is_complete: bool,
    entries: u32,
    limit: u32,
    /// Memory of all lists that are held.
    list_bytes: usize,
    limit_bytes: usize,
}

impl Flists {
    pub fn new(format: &FlistFormat) -> Self {
        Self {
            inc_recurse: format.inc_recurse,
            held: BTreeMap::new(),
            table: Vec::new(),
            live: std::collections::VecDeque::new(),
            count: 0,
            next_start: ListHead::first(format).start,
            is_complete: !format.inc_recurse,
            entries: 0,
            limit: format.limits.entries,
            list_bytes: 0,
            limit_bytes: format.limits.list_bytes,
        }
    }

    /// The head of the list that a marker for the directory `number` opens.
    /// Errors: a marker without incremental recursion, after the end of lists or when all lists
    /// are released; an unknown number; a second list of a directory; a list for `.` or for a
    /// dropped duplicate.
    pub fn announce(&self, number: u32) -> Result<ListHead, ProtocolError> {
        let refuse = |why: &str| {
            ProtocolError::violation(format!(
                "a file list was announced for directory {number}, {why}"
            ))
        };
        if !self.inc_recurse {
            return Err(refuse("but incremental recursion was not agreed on"));
        }
        if self.is_complete {
            return Err(refuse("but no more lists were to come"));
        }
        if self.live.is_empty() {
            return Err(refuse("but no list is open"));
        }
        let directory = self
            .table
            .get(number as usize)
            .ok_or_else(|| refuse("which is not known"))?;
        match directory.content {
            Content::Awaited => {}
            Content::List(_) | Content::Released => return Err(refuse("which has had its list")),
            Content::Never => return Err(refuse("which has no list of its own")),
        }
        let path = match self.directory(number) {
            Some(entry) => entry.path(&mut Vec::new()).into(),
            None if self.is_nameless(number) => Box::default(),
            None => return Err(refuse("which is not known")),
        };
        Ok(ListHead {
            start: self.next_start,
            owner: Some(ListOwner { number, path }),
        })
    }

    /// Adds a list that has arrived whole; it was begun with the head of the first list or with
    /// one from [`Self::announce`].
    /// Errors: indexes or held entries exceed their range; a list out of turn.
    pub fn push(&mut self, list: impl Into<Arc<FileList>>) -> Result<(), ProtocolError> {
        let list = list.into();
        let (start, len) = (list.start(), list.len());
        if start != self.next_start || (self.count > 0) != list.owner().is_some() {
            return Err(ProtocolError::violation("a file list came out of turn"));
        }
        let next_start = start
            .checked_add(len)
            .and_then(|end| end.checked_add(1))
            .filter(|next| *next <= i32::MAX as u32)
            .ok_or_else(|| ProtocolError::violation("file indexes exceed their range"))?;
        let entries = self
            .entries
            .checked_add(len)
            .filter(|entries| *entries <= self.limit)
            .ok_or_else(|| {
                ProtocolError::violation(format!(
                    "file lists have more than {} entries at a time",
                    self.limit
                ))
            })?;
        let bytes = list.bytes();
        let list_bytes = self.list_bytes.saturating_add(bytes);
        if list_bytes > self.limit_bytes {
            return Err(ProtocolError::violation(format!(
                "file lists take more than {} bytes of memory at a time",
                self.limit_bytes
            )));
        }
        if let Some(owner) = list.owner() {
            match self.table.get_mut(owner as usize) {
                Some(directory) if directory.content == Content::Awaited => {
                    directory.content = Content::List(start);
                }
                _ => return Err(ProtocolError::violation("a file list came out of turn")),
            }
        }
        self.entries = entries;
        self.list_bytes = list_bytes;
        self.next_start = next_start;
        self.count += 1;
        self.live.push_back(start);
        let mut held = Held {
            directories: Vec::new(),
            first_number: self.table.len() as u32,
            waiting: 0,
            is_released: false,
            bytes,
            list,
        };
        if self.inc_recurse {
            held.directories = held.list.directory_slots();
            for &slot in &held.directories {
                let entry = held.list.slot(slot);
                let has_list = match entry {
                    Some(entry) => !entry.is_root(),
                    // Its sender does not know.
                    None => held.list.is_nameless(slot),
                };
                let content = match has_list {
                    true => Content::Awaited,
                    false => Content::Never,
                };
                held.waiting += u32::from(has_list);
                self.table.push(Directory {
                    home: start,
                    content,
                });
            }
        }
        self.held.insert(start, held);
        Ok(())
    }

    /// No more lists will come (−2 in the place of an index).
    /// Errors: without incremental recursion, or told before.
    pub fn finish(&mut self) -> Result<(), ProtocolError> {
        if self.is_complete {
            return Err(ProtocolError::violation(
                "the end of file lists was told out of turn",
            ));
        }
        self.is_complete = true;
        Ok(())
    }

    /// All lists have come.
    pub fn is_complete(&self) -> bool {
        self.is_complete && self.count > 0
    }

    /// Lists that have come so far, released or not.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Index of the first entry of the next list.
    pub fn next_start(&self) -> u32 {
        self.next_start
    }

    /// Lists that are not released, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &FileList> {
        self.live.iter().filter_map(|start| self.live_list(*start))
    }

    pub fn oldest(&self) -> Option<&FileList> {
        self.live_list(*self.live.front()?)
    }

    pub fn newest(&self) -> Option<&FileList> {
        self.live_list(*self.live.back()?)
    }

    /// The list that starts at this index.
    pub fn list(&self, start: u32) -> Option<&FileList> {
        self.live_list(start)
    }

    /// For dropping entries of it; `None` while somebody else holds the list.
    pub fn list_mut(&mut self, start: u32) -> Option<&mut FileList> {
        let held = self.held.get_mut(&start).filter(|held| !held.is_released)?;
        Arc::get_mut(&mut held.list)
    }

    fn live_list(&self, start: u32) -> Option<&FileList> {
        let held = self.held.get(&start).filter(|held| !held.is_released)?;
        Some(&held.list)
    }

    /// The list that this index belongs to; `start - 1`, the owner's, does too.
    pub fn list_of(&self, ndx: u32) -> Option<&FileList> {
        let after = ndx.checked_add(1)?;
        let (start, held) = self.held.range(..=after).next_back()?;
        let end = start + held.list.len();
        (!held.is_released && ndx < end).then_some(&held.list)
    }

    /// The entry with this index: of a list that is not released, or for `start - 1` of such a
    /// list the directory that owns it. `None` when there is none or it was dropped.
    pub fn entry(&self, ndx: u32) -> Option<EntryRef<'_>> {
        let list = self.list_of(ndx)?;
        if ndx < list.start() {
            self.owner(list)
        } else {
            list.entry(ndx)
        }
    }

    /// The directory whose content a list is; for the first list the entry `.` if it has one.
    pub fn owner<'a>(&'a self, list: &'a FileList) -> Option<EntryRef<'a>> {
        match list.owner() {
            Some(number) => self.directory(number),
            None => list
                .slot(0)
                .filter(|entry| entry.is_root() && entry.is_dir()),
        }
    }

    /// The same, as a list and a slot in it that stay valid whatever becomes of this value.
    pub fn owner_of(&self, list: &FileList) -> Option<(Arc<FileList>, u32)> {
        let Some(number) = list.owner() else {
            self.owner(list)?;
            let held = self.held.get(&list.start())?;
            return Some((Arc::clone(&held.list), 0));
        };
        let directory = self.table.get(number as usize)?;
        let held = self.held.get(&directory.home)?;
        let slot = *held
            .directories
            .get(number.checked_sub(held.first_number)? as usize)?;
        Some((Arc::clone(&held.list), slot))
    }

    fn is_nameless(&self, number: u32) -> bool {
        let slot = || {
            let home = self.table.get(number as usize)?.home;
            let held = self.held.get(&home)?;
            let place = number.checked_sub(held.first_number)?;
            Some(
                held.list
                    .is_nameless(*held.directories.get(place as usize)?),
            )
        };
        slot().unwrap_or(false)
    }

    /// The directory with this number, as long as its list is awaited or not released.
    pub fn directory(&self, number: u32) -> Option<EntryRef<'_>> {
        let directory = self.table.get(number as usize)?;
        let held = self.held.get(&directory.home)?;
        let slot = *held
            .directories
            .get(number.checked_sub(held.first_number)? as usize)?;
        held.list.slot(slot)
    }

    /// The directories among the entries of the newest list that get a list of their own, by
    /// number and in sorted order.
    pub fn newest_directories(&self) -> impl Iterator<Item = (u32, EntryRef<'_>)> {
        let held = self.live.back().and_then(|start| self.held.get(start));
        held.into_iter()
            .flat_map(|held| {
                let numbered = held.directories.iter().copied().zip(held.first_number..);
                let mut numbered: Vec<(u32, u32)> = numbered.collect();
                numbered.sort_unstable();
                numbered
                    .into_iter()
                    .map(move |(slot, number)| (held, slot, number))
            })
            .filter(|(_, _, number)| self.table[*number as usize].content == Content::Awaited)
            .filter_map(|(held, slot, number)| Some((number, held.list.slot(slot)?)))
    }

    /// Directories whose list has not come, by number. Empty once a stock sender has told the end.
    pub fn awaited(&self) -> impl Iterator<Item = (u32, EntryRef<'_>)> {
        self.table
            .iter()
            .zip(0..)
            .filter(|(directory, _)| directory.content == Content::Awaited)
            .filter_map(|(_, number)| Some((number, self.directory(number)?)))
    }

    /// Forgets the oldest list but for the directories whose content is not released. Its indexes
    /// mean nothing from here on. Returns its start, `None` when no list is left.
    pub fn release_oldest(&mut self) -> Option<u32> {
        let start = self.live.pop_front()?;
        let held = self.held.get_mut(&start)?;
        let owner = held.list.owner();
        self.entries -= held.list.len();
        self.list_bytes -= held.bytes;
        held.is_released = true;
        if held.waiting == 0 {
            self.held.remove(&start);
        } else {
            held.list = Arc::new(held.list.select(&held.directories));
            held.directories = (0..held.list.len()).collect();
            held.bytes = held.list.bytes();
            self.entries += held.list.len();
            self.list_bytes += held.bytes;
        }
        if let Some(owner) = owner {
            self.release_content(owner);
        }
        Some(start)
    }

    fn release_content(&mut self, number: u32) {
        let directory = &mut self.table[number as usize];
        directory.content = Content::Released;
        let home = directory.home;
        if let Some(held) = self.held.get_mut(&home) {
            held.waiting -= 1;
            if held.waiting == 0 && held.is_released {
                self.entries -= held.list.len();
                self.list_bytes -= held.bytes;
                self.held.remove(&home);
            }
        }
    }

    /// Bytes of memory that the lists and the table of directories take, without adding up.
    pub fn held_bytes(&self) -> usize {
        self.list_bytes + self.table.capacity() * size_of::<Directory>()
    }

    /// Bytes of memory that all of it takes.
    pub fn bytes(&self) -> usize {
        let held: usize = self
            .held
            .values()
            .map(|held| {
                size_of::<Held>()
                    + held.list.bytes()
                    + held.directories.capacity() * size_of::<u32>()
            })
            .sum();
        held + self.table.capacity() * size_of::<Directory>()
    }
}
