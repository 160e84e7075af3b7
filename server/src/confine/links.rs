//! Which names in the live tree are links of the same inode, and so, whether an inode is shared
//! with a snapshot.
//!
//! A file with three links may have all of them in live, or one, and the other two in snapshots;
//! only the names tell. [`LinkIndex`] knows the names of every inode that has more than one in
//! live. It is built when first asked, by walking the tree with `getdents` alone. The first walk
//! finds candidates with a bitmap of fixed size, the second notes names of candidates only, so
//! memory goes with the number of hard-linked names, not with the size of the tree.
//!
//! An index entry is a hint: whoever uses a name makes sure by a stat that it still is that inode.
//! A name that is missing from it makes an inode look shared, which costs a copy and nothing else.
//!
//! # Races
//!
//! "Is this shared?" and the change that follows must not be torn apart: between them another
//! session of the tenant could remove the live name that made the count come out, and the change
//! would hit an inode that only a snapshot has left. So sessions of a tenant share one
//! [`LiveState`]; who takes names away or adds links holds its lock for reading or writing
//! ([`LiveState::names_change`], [`LiveState::links_change`]), who decides and changes holds it for
//! writing. Removing snapshots needs no lock: it only makes inodes less shared.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use super::list::list_directory;
use super::path::TenantPath;
use super::root::Shared;
use super::stat::Kind;

/// What the sessions in one live tree share.
#[derive(Default)]
pub(super) struct LiveState {
    links: RwLock<Option<LinkIndex>>,
    directories: AtomicU64,
}

/// Live trees in use by this process.
static IN_USE: Mutex<Vec<InUse>> = Mutex::new(Vec::new());

struct InUse {
    /// Device and inode number of its root.
    root: (u64, u64),
    state: Weak<LiveState>,
}

impl LiveState {
    /// The state of this tree: that of a session that is in it already, or a new one.
    pub(super) fn of_tree(dev: u64, ino: u64) -> Arc<LiveState> {
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|tree| tree.state.strong_count() > 0);
        let found = in_use.iter().find(|tree| tree.root == (dev, ino));
        if let Some(state) = found.and_then(|tree| tree.state.upgrade()) {
            return state;
        }
        let state = Arc::new(LiveState::default());
        in_use.push(InUse {
            root: (dev, ino),
            state: Arc::downgrade(&state),
        });
        state
    }

    /// Held while a name is taken away from an inode.
    pub(super) fn names_change(&self) -> RwLockReadGuard<'_, Option<LinkIndex>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while an inode gets a name more, and while a decision about sharing holds.
    pub(super) fn links_change(&self) -> RwLockWriteGuard<'_, Option<LinkIndex>> {
        self.links.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts directories that were removed or renamed.
    pub(super) fn epoch(&self) -> u64 {
        self.directories.load(Ordering::Acquire)
    }

    /// A directory was removed or renamed. Gives the epoch before.
    pub(super) fn directory_changed(&self) -> u64 {
        self.directories.fetch_add(1, Ordering::AcqRel)
    }
}

/// A name in the live tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LiveName {
    pub(super) dir: Arc<TenantPath>,
    pub(super) name: Vec<u8>,
}

/// See the module's story.
#[derive(Default)]
pub(super) struct LinkIndex {
    names: HashMap<u64, HashSet<LiveName>>,
}

impl LinkIndex {
    /// Walks the live tree.
    pub(super) fn build(shared: &Shared) -> io::Result<LinkIndex> {
        let mut seen = Seen::new();
        let mut candidates = Vec::new();
        walk(shared, |_, _, ino| {
            if !seen.insert(ino) {
                candidates.push(ino);
            }
        })?;
        candidates.sort_unstable();
        candidates.dedup();
        let mut names: HashMap<u64, HashSet<LiveName>> = HashMap::new();
        if !candidates.is_empty() {
            walk(shared, |dir, name, ino| {
                if candidates.binary_search(&ino).is_ok() {
                    names.entry(ino).or_default().insert(LiveName {
                        dir: Arc::clone(dir),
                        name: name.to_vec(),
                    });
                }
            })?;
        }
        names.retain(|_, names| names.len() > 1);
        Ok(LinkIndex { names })
    }

    /// Names that may be links of the inode; none where it has at most one.
    pub(super) fn names(&self, ino: u64) -> impl Iterator<Item = &LiveName> {
        self.names.get(&ino).into_iter().flatten()
    }

    /// These are names of the inode, too.
    pub(super) fn add(&mut self, ino: u64, names: impl IntoIterator<Item = LiveName>) {
        self.names.entry(ino).or_default().extend(names);
    }

    /// The inode has none of its names any more.
    pub(super) fn forget(&mut self, ino: u64) {
        self.names.remove(&ino);
    }
}

/// Calls `visit` for everything in live but directories.
fn walk(shared: &Shared, mut visit: impl FnMut(&Arc<TenantPath>, &[u8], u64)) -> io::Result<()> {
    // Paths, not descriptors: a deep tree must not use them up.
    let mut pending = vec![TenantPath::root()];
    while let Some(path) = pending.pop() {
        let dir = match shared.open_directory(&path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_root() => continue,
            Err(error) => return Err(error),
        };
        let path = Arc::new(path);
        list_directory(&dir, |name, kind, ino| {
            if kind == Kind::Dir {
                if !shared.is_reserved(&path, name) {
                    pending.push(path.child(name)?);
                }
            } else {
                visit(&path, name, ino);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Inode numbers seen so far, roughly: what it says is new is new; what it says was seen may not
/// have been. 8 MiB, whatever the tree; a tenth is taken wrongly at seven million files.
struct Seen {
    bits: Vec<u64>,
}

impl Seen {
    const WORDS: usize = 1 << 20;

    fn new() -> Self {
        Self {
            bits: vec![0; Self::WORDS],
        }
    }

    /// Whether it is new.
    fn insert(&mut self, ino: u64) -> bool {
        // Multiplying by an odd number spreads the neighbours that inode numbers are.
        let hash = ino.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (hash >> 38) as usize % Self::WORDS;
        let bit = 1 << (hash >> 58);
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        new
    }
}
