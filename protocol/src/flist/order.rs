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
//! key), and the tree is walked from the top. Each key is compared by its first eight bytes, which
//! are kept with it, before the names are looked at. Equal keys stay in order of arrival.
//! Source: rsync `flist.c:f_name_cmp`, `flist.c:flist_sort_and_clean`, as observed.

use std::cmp::Ordering;

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
    /// The first eight bytes of the key, big-endian, padded with zeros (names have no NUL).
    prefix: u64,
}

const BLOCK: u32 = 1 << 31;

/// Sorts the entries, drops duplicates, and returns the positions in the order of indexes.
pub(super) fn arrange(store: &mut Store) -> Vec<u32> {
    let children = sorted_children(store);
    let clashes = clashes(store, &children);
    let order = walk(store, &children);
    drop(children);
    for position in clashes {
        store.drop_entry(position);
    }
    drop_duplicates(store, &order);
    order
}

fn sorted_children(store: &Store) -> Vec<Child> {
    let rule = store.rule;
    let blocks = store.dirs.count() - 1;
    let mut children = Vec::with_capacity((store.len() + blocks) as usize);
    for position in 0..store.len() {
        let record = store.record(position);
        let class = class_of_entry(store, position);
        let (name, slash) = entry_key(store, position);
        children.push(Child {
            group: record.dir << 1 | class,
            id: position,
            prefix: prefix(name, slash),
        });
    }
    for dir in TOP + 1..store.dirs.count() {
        let class = u32::from(rule == SortRule::Tree);
        children.push(Child {
            group: store.dirs.parent(dir) << 1 | class,
            id: dir | BLOCK,
            prefix: prefix(store.dirs.base(dir), true),
        });
    }
    children.sort_unstable_by(|a, b| {
        (a.group, a.prefix)
            .cmp(&(b.group, b.prefix))
            .then_with(|| compare_keys(key(store, a), key(store, b)))
            .then_with(|| a.id.cmp(&b.id))
    });
    children
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

fn prefix(name: &[u8], slash: bool) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(8);
    bytes[..len].copy_from_slice(&name[..len]);
    if slash && len < 8 {
        bytes[len] = b'/';
    }
    u64::from_be_bytes(bytes)
}

fn compare_keys(a: (&[u8], bool), b: (&[u8], bool)) -> Ordering {
    let shared = a.0.len().min(b.0.len());
    a.0[..shared].cmp(&b.0[..shared]).then_with(|| {
        let next = |(name, slash): (&[u8], bool)| match name.get(shared) {
            Some(byte) => Some(*byte),
            None => slash.then_some(b'/'),
        };
        // No name has a slash in it, so one byte behind the shared part decides: two keys that
        // go on with a slash are the same.
        next(a).cmp(&next(b))
    })
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

/// Among entries of equal name the first directory stays, or else the first of them.
fn drop_duplicates(store: &mut Store, order: &[u32]) {
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        while to < order.len() && is_same_name(store, order[from], order[to]) {
            to += 1;
        }
        if to - from > 1 {
            merge(store, &order[from..to]);
        }
        from = to;
    }
}

fn is_same_name(store: &Store, a: u32, b: u32) -> bool {
    store.record(a).dir == store.record(b).dir
        && class_of_entry(store, a) == class_of_entry(store, b)
        && entry_key(store, a).0 == entry_key(store, b).0
}

fn merge(store: &mut Store, same: &[u32]) {
    let kept = same
        .iter()
        .copied()
        .find(|position| store.is_directory(*position))
        .unwrap_or(same[0]);
    let mut flags = store.record(kept).flags;
    for &position in same {
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
