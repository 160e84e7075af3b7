//! What a pulling client sees as `/`, and how a path in it is found.
//!
//! ```text
//! a push login      /  = live
//! a restore login   /  = latest -> NAME, live, and every snapshot by NAME
//! ```
//!
//! The top of the restore view is in no file system: it is made of the names that were there when
//! the session began. A [`Place`] is a tree and a path in it, so that nothing below the top can
//! lead from one tree into another. A tree is opened when it is first needed; a snapshot that is
//! open cannot be pruned until the session ends ([`Reading`]).
//!
//! Symbolic links are followed here, step by step, where a client asks for what lies behind them:
//! an absolute one starts at the top of the tree it is in, and `..` stops there. What comes out is
//! opened by the kernel without following anything.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use rustix::io::Errno;

use crate::confine::{
    Dir, DirEntry, Extended, FileTime, Kind, Metadata, Stat, TenantPath, TenantRoot,
};
use crate::snapshot::SnapshotName;
use crate::tenant::{Reading, TenantHandle};
use coffre_protocol::layers::names_are_checked;

/// Symbolic links followed in one path.
const MAX_LINKS: usize = 40;

const LIVE: &[u8] = b"live";
const LATEST: &[u8] = b"latest";

/// A path in one of the trees, or the top of the restore view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::session) struct Place {
    /// `None`: the top of the restore view.
    tree: Option<usize>,
    path: TenantPath,
}

/// See the module's story.
pub(in crate::session) struct View {
    trees: Vec<Tree>,
    /// The trees stand side by side below the top; else there is one, and it is the top.
    has_top: bool,
    metadata: Metadata,
    tenant: Arc<TenantHandle>,
    time_zone: TimeZone,
    /// When the session began: the date of the top.
    began: FileTime,
}

struct Tree {
    name: Vec<u8>,
    directory: PathBuf,
    /// `None`: live.
    snapshot: Option<SnapshotName>,
    open: OnceLock<(TenantRoot, Option<Reading>)>,
}

/// An open directory of the view.
#[derive(Clone)]
pub(super) enum Folder {
    Top(Arc<View>),
    Real(Arc<Dir>),
}

fn time_of(name: SnapshotName) -> FileTime {
    FileTime {
        secs: name.time().as_second(),
        nanos: 0,
    }
}

impl View {
    /// What a push login reads: the live tree.
    pub(in crate::session) fn live(
        tenant: Arc<TenantHandle>,
        metadata: Metadata,
    ) -> io::Result<Self> {
        let view = Self::new(tenant, metadata, TimeZone::UTC, &[], false);
        view.tree(0)?;
        Ok(view)
    }

    /// What a restore login reads: live and `snapshots`, oldest first. Days are those of
    /// `time_zone`.
    pub(in crate::session) fn history(
        tenant: Arc<TenantHandle>,
        metadata: Metadata,
        time_zone: TimeZone,
        snapshots: &[SnapshotName],
    ) -> Self {
        Self::new(tenant, metadata, time_zone, snapshots, true)
    }

    fn new(
        tenant: Arc<TenantHandle>,
        metadata: Metadata,
        time_zone: TimeZone,
        snapshots: &[SnapshotName],
        has_top: bool,
    ) -> Self {
        let live = Tree {
            name: LIVE.to_vec(),
            directory: tenant.live(),
            snapshot: None,
            open: OnceLock::new(),
        };
        let history = snapshots.iter().map(|name| Tree {
            name: name.to_string().into_bytes(),
            directory: tenant.snapshots().join(name.to_string()),
            snapshot: Some(*name),
            open: OnceLock::new(),
        });
        let now = jiff::Timestamp::now();
        Self {
            trees: std::iter::once(live).chain(history).collect(),
            has_top,
            metadata,
            tenant,
            time_zone,
            began: FileTime {
                secs: now.as_second(),
                nanos: 0,
            },
        }
    }

    pub(super) fn top(&self) -> Place {
        Place {
            tree: (!self.has_top).then_some(0),
            path: TenantPath::root(),
        }
    }

    fn tree(&self, index: usize) -> io::Result<&TenantRoot> {
        let tree = self.trees.get(index).ok_or(Errno::NOENT)?;
        if let Some((root, _)) = tree.open.get() {
            return Ok(root);
        }
        let reading = match tree.snapshot {
            // One that is being pruned is gone already.
            Some(name) => Some(self.tenant.read_snapshot(name).ok_or(Errno::NOENT)?),
            None => None,
        };
        let root = TenantRoot::open_read_only(&tree.directory, self.metadata)?
            .with_notes(self.tenant.notes())?;
        let root = match tree.snapshot {
            Some(_) => root.unchanging(),
            None => root,
        };
        Ok(&tree.open.get_or_init(|| (root, reading)).0)
    }

    /// The newest snapshot.
    fn latest(&self) -> Option<usize> {
        (self.trees.len() > 1).then_some(self.trees.len() - 1)
    }

    /// The tree that a name at the top stands for: its own, `latest`, or a day.
    fn named(&self, name: &[u8]) -> Option<usize> {
        if name == LATEST {
            return self.latest();
        }
        let own = self.trees.iter().position(|tree| tree.name == name);
        own.or_else(|| {
            let day: jiff::civil::Date = std::str::from_utf8(name).ok()?.parse().ok()?;
            // `Date` reads other forms, too.
            (day.to_string().as_bytes() == name).then_some(())?;
            self.trees.iter().rposition(|tree| {
                tree.snapshot.is_some_and(|snapshot| {
                    snapshot.time().to_zoned(self.time_zone.clone()).date() == day
                })
            })
        })
    }

    /// The place of an entry of a directory.
    pub(super) fn child(&self, place: &Place, name: &[u8]) -> io::Result<Place> {
        match place.tree {
            Some(_) => Ok(Place {
                tree: place.tree,
                path: place.path.child(name)?,
            }),
            None => Ok(Place {
                tree: Some(self.named(name).ok_or(Errno::NOENT)?),
                path: TenantPath::root(),
            }),
        }
    }

    /// The directory that an entry is in; the top is in none.
    fn parent(&self, place: &Place) -> Option<Place> {
        match place.path.parent() {
            Some(path) => Some(Place {
                tree: place.tree,
                path,
            }),
            None => (self.has_top && place.tree.is_some()).then(|| self.top()),
        }
    }

    /// The place at `path`, names joined by slashes, below a directory. Nothing is looked at.
    pub(super) fn below(&self, place: &Place, path: &[u8]) -> io::Result<Place> {
        let mut reached = place.clone();
        for name in path.split(|b| *b == b'/') {
            if !name.is_empty() && name != b"." {
                reached = self.child(&reached, name)?;
            }
        }
        Ok(reached)
    }

    /// The place that a path leads to, seen from a directory, over symbolic links; the last name
    /// is followed if `follow_last`. Nothing lies above the top.
    /// Errors: ENOENT, ENOTDIR, ELOOP as the kernel's own.
    pub(super) fn resolve(
        &self,
        from: &Place,
        path: &[u8],
        follow_last: bool,
    ) -> io::Result<Place> {
        let mut links = 0;
        let mut reached = if path.starts_with(b"/") {
            self.top()
        } else {
            from.clone()
        };
        // Names still to be walked, and whether a link told them.
        let steps = |path: &[u8], of_link: bool| {
            path.rsplit(|b| *b == b'/')
                .map(|name| (name.to_vec(), of_link))
                .collect::<Vec<_>>()
        };
        let mut ahead = steps(path, false);
        while let Some((name, of_link)) = ahead.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." if names_are_checked() => {
                    let stays = of_link && reached.path.is_root();
                    if let (false, Some(parent)) = (stays, self.parent(&reached)) {
                        reached = parent;
                    }
                    continue;
                }
                _ => {}
            }
            let is_last = ahead
                .iter()
                .all(|(name, _)| name.is_empty() || name == b".");
            let has_slash = !ahead.is_empty();
            let next = self.child(&reached, &name)?;
            if (!is_last || follow_last || has_slash)
                && reached.tree.is_some()
                && let Folder::Real(dir) = self.open_at(&reached)?
                && let Some(stat) = dir.stat(&name)?
                && stat.kind == Kind::Symlink
            {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = dir.read_link(&name)?;
                if target.starts_with(b"/") {
                    reached.path = TenantPath::root();
                }
                ahead.extend(steps(&target, true));
                continue;
            }
            reached = next;
        }
        Ok(reached)
    }

    /// The directory and the name in it that a place is; `None` for the top, and for the root of
    /// a tree that is the top.
    pub(super) fn split(&self, place: &Place) -> Option<(Place, Vec<u8>)> {
        let parent = self.parent(place)?;
        let name = match place.path.file_name() {
            Some(name) => name.to_vec(),
            None => self.trees.get(place.tree?)?.name.clone(),
        };
        Some((parent, name))
    }

    /// What stands at a place; `None`: nothing.
    pub(super) fn stat(self: &Arc<Self>, place: &Place) -> io::Result<Option<Stat>> {
        if place.path.is_root() {
            return match self.open(place) {
                Ok(folder) => folder.self_stat().map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        let (Some(parent), Some(name)) = (self.parent(place), place.path.file_name()) else {
            return Ok(None);
        };
        match self.open(&parent) {
            Ok(folder) => folder.stat(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a directory; no component may be a symbolic link.
    pub(super) fn open(self: &Arc<Self>, place: &Place) -> io::Result<Folder> {
        match place.tree {
            None => Ok(Folder::Top(Arc::clone(self))),
            Some(_) => self.open_at(place),
        }
    }

    /// Changes when a directory of the same tree may have got another place.
    pub(super) fn epoch(&self, place: &Place) -> Option<u64> {
        Some(self.tree(place.tree?).ok()?.epoch())
    }

    fn open_at(&self, place: &Place) -> io::Result<Folder> {
        let tree = self.tree(place.tree.ok_or(Errno::INVAL)?)?;
        tree.cached_dir(&place.path).map(Folder::Real)
    }

    /// A place as the client knows it.
    pub(super) fn shown(&self, place: &Place) -> Vec<u8> {
        let mut shown = Vec::new();
        if let (true, Some(tree)) = (self.has_top, place.tree) {
            shown.push(b'/');
            shown.extend_from_slice(&self.trees[tree].name);
        }
        if !place.path.is_root() || shown.is_empty() {
            shown.push(b'/');
            shown.extend_from_slice(place.path.as_bytes());
        }
        shown
    }

    /// An entry of the top, as it is listed.
    fn top_stat(&self, name: &[u8]) -> Option<Stat> {
        if name == LATEST {
            let target = &self.trees[self.latest()?];
            let size = target.name.len() as u64;
            return Some(Stat::made_up(
                Kind::Symlink,
                0o777,
                size,
                time_of(target.snapshot?),
            ));
        }
        let tree = self.trees.iter().find(|tree| tree.name == name)?;
        let date = match tree.snapshot {
            Some(name) => time_of(name),
            None => self.began,
        };
        Some(Stat::made_up(Kind::Dir, 0o755, 4096, date))
    }
}

impl Folder {
    /// All names but `.` and `..`.
    pub(super) fn entries(&self) -> io::Result<Vec<DirEntry>> {
        match self {
            Folder::Real(dir) => dir.entries(),
            Folder::Top(view) => {
                let latest = view.latest().map(|_| (LATEST.to_vec(), Kind::Symlink));
                let trees = view.trees.iter().map(|tree| (tree.name.clone(), Kind::Dir));
                Ok(latest
                    .into_iter()
                    .chain(trees)
                    .map(|(name, kind)| DirEntry {
                        name,
                        kind: Some(kind),
                        ino: 0,
                    })
                    .collect())
            }
        }
    }

    pub(super) fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self {
            Folder::Real(dir) => dir.stat(name),
            Folder::Top(view) => Ok(view.top_stat(name)),
        }
    }

    pub(super) fn self_stat(&self) -> io::Result<Stat> {
        match self {
            Folder::Real(dir) => dir.self_stat(),
            Folder::Top(view) => Ok(Stat::made_up(Kind::Dir, 0o755, 4096, view.began)),
        }
    }

    pub(super) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Folder::Real(dir) => dir.read_link(name),
            Folder::Top(view) => match view.latest() {
                Some(latest) if name == LATEST => Ok(view.trees[latest].name.clone()),
                _ => Err(Errno::INVAL.into()),
            },
        }
    }

    /// ACLs and extended attributes; `name` of `None`: of the directory itself.
    pub(super) fn extended(
        &self,
        name: Option<&[u8]>,
        stat: &Stat,
        with_xattrs: bool,
    ) -> io::Result<Extended> {
        match (self, name) {
            (Folder::Real(dir), Some(name)) => dir.extended(name, stat, with_xattrs),
            (Folder::Real(dir), None) => dir.self_extended(stat, with_xattrs),
            (Folder::Top(_), _) => Ok(Extended::default()),
        }
    }

    pub(super) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        self.open_sized(name).map(|(file, _)| file)
    }

    /// With the bytes that it has.
    pub(super) fn open_sized(&self, name: &[u8]) -> io::Result<(File, u64)> {
        match self {
            Folder::Real(dir) => dir.open_sized(name),
            Folder::Top(_) => Err(Errno::INVAL.into()),
        }
    }

    /// The same of what was seen to be a regular file.
    pub(super) fn open_seen(&self, name: &[u8]) -> io::Result<(File, u64)> {
        match self {
            Folder::Real(dir) => dir.open_seen(name),
            Folder::Top(_) => Err(Errno::INVAL.into()),
        }
    }
}
