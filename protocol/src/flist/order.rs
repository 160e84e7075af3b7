//! The order that gives entries their indexes, and what is dropped for standing in it twice.
//!
//! Both ends sort a list on their own, so the order is part of the protocol. Seen as a tree, both
//! rules are: the children of a directory by a key, and the content of a directory where its own
//! block stands among the keys.
//!
//! | rule | entry | key | block of what is below a directory |
//! |---|---|---|---|
//! | [`SortRule::Tree`] (29 and later) | `.`, non-directory | class 0, name (`.`: empty) | |
//! | | directory | class 1, name and `/` | directly behind its directory |
//! | [`SortRule::Bytes`] (27, 28) | any | name | at name and `/` |
//!
//! So the children of all directories are sorted in one go, by (number of the directory, class,
//! key), and the tree is walked from the top. Keys are sorted eight bytes at a time: those that are
//! equal so far get their next eight, so that no comparison has to look up a name. Equal keys stay
//! in order of arrival; they are the duplicates. Entries without a name come last.
//! Source: rsync `flist.c:f_name_cmp`, `flist.c:flist_sort_and_clean`, as observed.

use std::ops::Range;

use super::dirs::TOP;
use super::store::{Store, flag};
use crate::ProtocolVersion;

/// How entries are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortRule {
    /// Protocols 27 and 28: by the bytes of the whole path.
    Bytes,
    /// Protocol 29 and later: in every directory first the files, then the directories.
    Tree,
}

impl SortRule {
    pub fn of(version: ProtocolVersion) -> Self {
        if version.at_least(29) {
            SortRule::Tree
        } else {
            SortRule::Bytes
        }
    }
}

/// One child of a directory: an entry, or the block of what is below a directory.
struct Child {
    /// Number of the parent directory × 2 + class.
    group: u32,
    /// Position of the entry, or number of the directory with [`BLOCK`].
    id: u32,
    /// Eight bytes of the key, big-endian, padded with zeros (names have no NUL).
    piece: u64,
}

const BLOCK: u32 = 1 << 31;

/// Sorts the entries, drops duplicates, and returns the positions in the order of indexes.
pub(super) fn arrange(store: &mut Store) -> Vec<u32> {
    let mut children = children(store);
    let same = sort(store, &mut children);
    let clashes = clashes(store, &children);
    let mut order = walk(store, &children);
    order.extend((0..store.len()).filter(|position| store.is_nameless(*position)));
    for position in clashes {
        store.drop_entry(position);
    }
    for range in same {
        let entries = children[range].iter().map(|child| child.id);
        merge(store, entries.filter(|id| id & BLOCK == 0));
    }
    order
}

fn children(store: &Store) -> Vec<Child> {
    let blocks = store.dirs.count() - 1;
    let mut children = Vec::with_capacity((store.len() + blocks) as usize);
    for position in (0..store.len()).filter(|position| !store.is_nameless(*position)) {
        children.push(Child {
            group: store.record(position).dir << 1 | class_of_entry(store, position),
            id: position,
            piece: piece(entry_key(store, position), 0),
        });
    }
    let class = u32::from(store.rule == SortRule::Tree);
    for dir in TOP + 1..store.dirs.count() {
        children.push(Child {
            group: store.dirs.parent(dir) << 1 | class,
            id: dir | BLOCK,
            piece: piece((store.dirs.base(dir), true), 0),
        });
    }
    children
}

/// Sorts by group and key; returns where keys are equal.
fn sort(store: &Store, children: &mut [Child]) -> Vec<Range<usize>> {
    children.sort_unstable_by_key(|child| (child.group, child.piece));
    let mut same = Vec::new();
    // Ranges that are equal up to and with the piece that begins at this byte.
    let mut tied = Vec::new();
    push_ties(children, 0..children.len(), 0, &mut tied);
    while let Some((range, at)) = tied.pop() {
        let equal = &mut children[range.clone()];
        if equal[0].piece & 0xff == 0 {
            // The keys end within this piece.
            equal.sort_unstable_by_key(|child| child.id);
            same.push(range);
            continue;
        }
        for child in &mut *equal {
            child.piece = piece(key(store, child), at + 8);
        }
        equal.sort_unstable_by_key(|child| child.piece);
        push_ties(children, range, at + 8, &mut tied);
    }
    same
}

/// Adds the runs of equal group and piece within `range`.
fn push_ties(
    children: &[Child],
    range: Range<usize>,
    at: usize,
    tied: &mut Vec<(Range<usize>, usize)>,
) {
    let mut from = range.start;
    for run in children[range].chunk_by(|a, b| (a.group, a.piece) == (b.group, b.piece)) {
        if run.len() > 1 {
            tied.push((from..from + run.len(), at));
        }
        from += run.len();
    }
}

fn class_of_entry(store: &Store, position: u32) -> u32 {
    let is_path =
        store.rule == SortRule::Tree && store.is_directory(position) && !is_dot(store, position);
    u32::from(is_path)
}

/// The entry `.` or `path/.`.
fn is_dot(store: &Store, position: u32) -> bool {
    store.record(position).flags & flag::DOT != 0 || store.stored_base(position) == b"."
}

/// A key: a name, and whether a slash follows it.
fn entry_key(store: &Store, position: u32) -> (&[u8], bool) {
    let base = store.stored_base(position);
    match store.rule {
        SortRule::Tree if is_dot(store, position) => (b"", false),
        SortRule::Tree => (base, store.is_directory(position)),
        SortRule::Bytes if is_dot(store, position) => (b".", false),
        SortRule::Bytes => (base, false),
    }
}

fn key<'a>(store: &'a Store, child: &Child) -> (&'a [u8], bool) {
    if child.id & BLOCK != 0 {
        (store.dirs.base(child.id & !BLOCK), true)
    } else {
        entry_key(store, child.id)
    }
}

/// The eight bytes of a key that begin at byte `at`.
fn piece((name, slash): (&[u8], bool), at: usize) -> u64 {
    let rest = &name[name.len().min(at)..];
    let mut bytes = [0; 8];
    let len = rest.len().min(8);
    bytes[..len].copy_from_slice(&rest[..len]);
    if slash && (at..at + 8).contains(&name.len()) {
        bytes[len] = b'/';
    }
    u64::from_be_bytes(bytes)
}

/// The tree from the top: entries as they come, blocks by descending into them.
fn walk(store: &Store, children: &[Child]) -> Vec<u32> {
    // Where the children of each directory begin.
    let mut begins = vec![0u32; store.dirs.count() as usize + 1];
    for child in children {
        begins[(child.group >> 1) as usize + 1] += 1;
    }
    for dir in 1..begins.len() {
        begins[dir] += begins[dir - 1];
    }
    let range = |dir: u32| begins[dir as usize] as usize..begins[dir as usize + 1] as usize;
    let mut order = Vec::with_capacity(store.len() as usize);
    let mut open = vec![range(TOP)];
    while let Some(rest) = open.last_mut() {
        match rest.next() {
            None => {
                open.pop();
            }
            Some(at) if children[at].id & BLOCK != 0 => open.push(range(children[at].id & !BLOCK)),
            Some(at) => order.push(children[at].id),
        }
    }
    order
}

/// Files that stand where a directory of the same name stands too; the directory wins, since it
/// may have content. Only with [`SortRule::Tree`], where the two sort apart.
fn clashes(store: &Store, children: &[Child]) -> Vec<u32> {
    let mut found = Vec::new();
    if store.rule != SortRule::Tree {
        return found;
    }
    for same_dir in children.chunk_by(|a, b| a.group >> 1 == b.group >> 1) {
        let (files, dirs) = same_dir.split_at(same_dir.partition_point(|c| c.group & 1 == 0));
        if files.is_empty() {
            continue;
        }
        for dir in dirs.iter().filter(|dir| dir.id & BLOCK == 0) {
            let name = store.stored_base(dir.id);
            let from = files.partition_point(|file| key(store, file).0 < name);
            found.extend(
                files[from..]
                    .iter()
                    .take_while(|file| key(store, file).0 == name)
                    .map(|file| file.id),
            );
        }
    }
    found
}

/// Among entries of equal name the first directory stays, or else the first of them. They come in
/// order of arrival.
fn merge(store: &mut Store, same: impl Iterator<Item = u32> + Clone) {
    let first_dir = same.clone().find(|position| store.is_directory(*position));
    let Some(kept) = first_dir.or_else(|| same.clone().next()) else {
        return;
    };
    let mut flags = store.record(kept).flags;
    for position in same {
        if position == kept {
            continue;
        }
        if store.is_directory(position) {
            let other = store.record(position).flags;
            flags |= other & (flag::TOP_DIR | flag::CONTENT);
            flags &= other | !flag::IMPLIED;
        }
        store.drop_entry(position);
    }
    store.record_mut(kept).flags = flags;
}
