//! Takes a snapshot: links the live tree into a new one, and commits that by one rename. Or makes an
//! expiring one equal to live (see [`super::recycle`]), by the same walk.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coffre_protocol::error::escape;
use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Statx};
use rustix::io::Errno;

use super::attributes::{self, same_mount};
use super::error::SnapshotError;
use super::home::{Home, Stage};
use super::listing::Met;
use super::manifest;
use super::marker;
use super::name::{SnapshotName, State};
use super::progress::Progress;
use super::recycle::{self, Gone};
use super::relink;
use super::remove::{last_link, remove_tree};
use super::subvolume;
use super::tree::{Level, Node, Place};
use super::usage::charge_of;
use super::walk::{self, Scratch, each_entry, open_directory};

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub name: SnapshotName,
    /// The name it would have had if that second were free.
    pub instead_of: Option<SnapshotName>,
    /// Files of all kinds but directories, below the root.
    pub files: u64,
    /// Directories below the root.
    pub directories: u64,
    /// The snapshot that became this one, and is no more.
    pub recycled: Option<SnapshotName>,
    /// Why the one that was offered did not, or not usefully.
    pub not_recycled: Option<String>,
    /// Inodes that had no room for more links, and were made anew.
    pub new_inodes: u64,
    /// What was left out because it is of another file system.
    pub borders: Vec<Border>,
    pub took: Duration,
}

/// A mount point in the live tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Border {
    /// It is an empty directory in the snapshot.
    Directory(String),
    /// It is not in the snapshot.
    File(String),
}

/// Takes a snapshot of `<home>/live`, which the caller holds alone, named after `when` (or after
/// the next second that no snapshot has). It is on disk when this returns.
///
/// On an error there is no new snapshot, and live is as it was. What was built of it is removed
/// again; after a cancellation, which is to be quick, that is left to [`super::sweep`].
pub fn take(
    home: &Path,
    when: Timestamp,
    state: State,
    progress: &dyn Progress,
) -> Result<Taken, SnapshotError> {
    take_recycling(home, when, state, None, progress)
}

/// The same; and if `expiring` is given, that snapshot is made into the new one, so that only what
/// differs costs anything. It is gone afterwards, also where the snapshot could not be taken. If
/// it cannot be used, the new one is made of links, and [`Taken::not_recycled`] says why. Where live
/// is a btrfs subvolume, the expiring one is left alone.
///
/// Directories that the new one has not are left for [`super::sweep_removals`].
pub fn take_recycling(
    home: &Path,
    when: Timestamp,
    state: State,
    expiring: Option<SnapshotName>,
    progress: &dyn Progress,
) -> Result<Taken, SnapshotError> {
    let started = Instant::now();
    let asked = SnapshotName::new(when, state).ok_or(SnapshotError::TimeOutOfRange(when))?;
    let home = Home::open_or_create(home)?;
    let live = home.live()?;
    let is_subvolume = subvolume::is_used_for(&home, &live)
        .map_err(|error| SnapshotError::io("look at", b"live", error))?;
    if !home.try_lock()? {
        return Err(SnapshotError::Busy);
    }
    set_unfinished_aside(&home)?;

    let name = home.free_name(asked)?;
    let building = Stage::Building.name_of(name, 0);
    let (mut recycled, mut not_recycled) = (None, None);
    let mut made = None;
    if is_subvolume {
        let taken = subvolume::take(&home, &live, name, &building, progress);
        made = Some(taken.and_then(|taken| give_name(&home, name, &building).map(|()| taken)));
    } else if let Some(old) = expiring {
        match recycle::claim(&home, &live, old, &building) {
            Ok(Ok(root)) => {
                recycled = Some(old);
                match renew(&home, &live, root, old, name, &building, progress) {
                    Ok(done) => made = Some(Ok(done.made())),
                    Err(error @ SnapshotError::Cancelled) => made = Some(Err(error)),
                    // Whatever is wrong with the old tree, live may still be linked.
                    Err(error) => {
                        not_recycled = Some(error.to_string());
                        set_unfinished_aside(&home)?;
                    }
                }
            }
            Ok(Err(why)) => not_recycled = Some(why),
            Err(error) => not_recycled = Some(error.to_string()),
        }
    }
    let made = made.unwrap_or_else(|| {
        let built = build(&home, &live, name, &building, progress);
        built
            .and_then(|mut built| commit(&home, name, &building, &mut built).map(|()| built.made()))
    });
    match made {
        Ok(made) => Ok(Taken {
            name,
            instead_of: (name != asked).then_some(asked),
            files: made.files,
            directories: made.directories,
            recycled,
            not_recycled,
            new_inodes: made.new_inodes,
            borders: made.borders,
            took: started.elapsed(),
        }),
        Err(error) => {
            // The error tells more than whatever goes wrong in clearing up, and what is left is
            // swept at the next start.
            if let (Ok(aside), false) = (home.set_aside(&building, name), progress.cancelled()) {
                let _ = remove_tree(&home, &aside, None, &());
            }
            Err(error)
        }
    }
}

/// Gives what earlier work has left in the building stage a name by which it is removed.
fn set_unfinished_aside(home: &Home) -> Result<(), SnapshotError> {
    for (file_name, stage, name) in home.unfinished()? {
        if stage == Stage::Building {
            home.set_aside(&c_string(&file_name), name)?;
        }
    }
    Ok(())
}

/// Makes a snapshot of a new directory.
fn build<'a>(
    home: &Home,
    live: &OwnedFd,
    name: SnapshotName,
    building: &CStr,
    progress: &'a dyn Progress,
) -> Result<Build<'a>, SnapshotError> {
    let create = |error| home.fail("create", &building.to_string_lossy(), error);
    let root = live_root(home, live)?;
    rustix::fs::mkdirat(&home.snapshots, building, Mode::RWXU).map_err(create)?;
    let copy = open_directory(&home.snapshots, building).map_err(create)?;
    if progress.counts_space() {
        let stat = attributes::stat(&copy).map_err(create)?;
        progress.space(charge_of(&stat), 1);
    }
    fill(home, live, root, copy, name, None, progress)
}

/// Makes a snapshot of the old one `root`, and commits it.
fn renew<'a>(
    home: &Home,
    live: &OwnedFd,
    root: OwnedFd,
    old: SnapshotName,
    name: SnapshotName,
    building: &CStr,
    progress: &'a dyn Progress,
) -> Result<Build<'a>, SnapshotError> {
    let gone = Gone::make(home, name)?;
    let live_root = live_root(home, live)?;
    let mut built = fill(home, live, live_root, root, name, Some(gone), progress)?;
    commit(home, name, building, &mut built)?;
    if let Some(gone) = built.gone.take() {
        if let (true, Some(bytes)) = (progress.counts_space(), gone.stays()) {
            progress.space(bytes, 1);
        }
        manifest::remove(home, old);
        // The new snapshot stands; if this fails, the next sweep will do it.
        let _ = gone.leave(home, old);
    }
    Ok(built)
}

/// Gives the built tree its name, once all of it is on disk.
fn commit(
    home: &Home,
    name: SnapshotName,
    building: &CStr,
    built: &mut Build<'_>,
) -> Result<(), SnapshotError> {
    if let Some(manifest) = built.manifest.take() {
        let manifest = manifest.into_inner();
        let manifest = manifest.unwrap_or_else(PoisonError::into_inner);
        manifest.finish(name)?;
    }
    give_name(home, name, building)
}

/// Renames the built tree once all of it is on disk.
fn give_name(home: &Home, name: SnapshotName, building: &CStr) -> Result<(), SnapshotError> {
    let shown = building.to_string_lossy();
    rustix::fs::syncfs(&home.snapshots).map_err(|error| home.fail("sync", &shown, error))?;
    rustix::fs::renameat_with(
        &home.snapshots,
        building,
        &home.snapshots,
        name.to_string(),
        RenameFlags::NOREPLACE,
    )
    .map_err(|error| home.fail("commit", &name.to_string(), error))?;
    rustix::fs::fsync(&home.snapshots).map_err(|error| home.fail("sync", &name.to_string(), error))
}

/// What there is to tell of a snapshot, however it was made.
pub(super) struct Made {
    pub files: u64,
    pub directories: u64,
    pub new_inodes: u64,
    pub borders: Vec<Border>,
}

/// A directory of the live tree and its counterpart in the snapshot.
pub(super) struct Pair {
    pub live: OwnedFd,
    pub copy: OwnedFd,
}

impl Level for Pair {
    fn below(&self, name: &CStr) -> Result<Self, Errno> {
        Ok(Self {
            live: open_directory(&self.live, name)?,
            copy: open_directory(&self.copy, name)?,
        })
    }
}

/// A snapshot that is being built.
struct Build<'a> {
    progress: &'a dyn Progress,
    root: Statx,
    files: AtomicU64,
    directories: AtomicU64,
    borders: Mutex<Vec<Border>>,
    /// Inodes of live that take no more links.
    exhausted: Mutex<HashSet<u64>>,
    new_inodes: u64,
    /// The snapshot has been another one before.
    gone: Option<Gone>,
    /// Until the snapshot is committed.
    manifest: Option<Mutex<manifest::Writer>>,
    name: SnapshotName,
}

/// The root of live, if files of it can be linked into snapshots.
fn live_root(home: &Home, live: &OwnedFd) -> Result<Statx, SnapshotError> {
    let root = attributes::stat(live).map_err(|e| SnapshotError::io("look at", b"live", e))?;
    let around = attributes::stat(&home.snapshots).map_err(|e| home.fail("look at", "", e))?;
    match same_mount(&root, &around) {
        true => Ok(root),
        false => Err(SnapshotError::Apart),
    }
}

/// Makes `copy` hold what live holds. `gone`: it has held an older snapshot.
fn fill<'a>(
    home: &Home,
    live: &OwnedFd,
    root: Statx,
    copy: OwnedFd,
    name: SnapshotName,
    gone: Option<Gone>,
    progress: &'a dyn Progress,
) -> Result<Build<'a>, SnapshotError> {
    // First of all, because the root may get a mode that allows no writing.
    let marked = marker::set(home, &copy, name);
    marked.map_err(|error| home.fail("mark", &name.to_string(), error))?;

    let itself = attributes::stat(&copy);
    let itself = itself.map_err(|error| home.fail("look at", &name.to_string(), error))?;
    let manifest = manifest::Writer::create(home, name, itself.stx_ino)?;

    let threads = walk::threads_for(live);
    let pair = || -> std::io::Result<Pair> {
        Ok(Pair {
            live: live.try_clone()?,
            copy: copy.try_clone()?,
        })
    };
    let fail = |error| SnapshotError::io("open", b"live", error);
    let mut build = Build {
        progress,
        root,
        files: AtomicU64::new(0),
        directories: AtomicU64::new(0),
        borders: Mutex::new(Vec::new()),
        exhausted: Mutex::new(HashSet::new()),
        new_inodes: 0,
        gone,
        manifest: Some(Mutex::new(manifest)),
        name,
    };
    let first = Place {
        parent: Node::root(c"live", pair().map_err(fail)?),
        name: c".".to_owned(),
    };
    walk::run(threads, vec![first], |place, found, scratch| {
        build.directory(place, found, scratch)
    })?;

    let exhausted = std::mem::take(&mut build.exhausted);
    let exhausted = exhausted
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if !exhausted.is_empty() {
        let aside = Stage::Building.name_of(name, 1);
        let top = pair().map_err(fail)?;
        let replaced = relink::relink(home, top, &aside, &exhausted, progress)?;
        build.new_inodes = replaced.len() as u64;
        if let Some(manifest) = &mut build.manifest {
            let manifest = manifest.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (old, new) in replaced {
                let put = manifest.replaced(old, new);
                put.map_err(|error| manifest::failed(name, error))?;
            }
        }
    }
    Ok(build)
}

impl Build<'_> {
    fn made(self) -> Made {
        let borders = self.borders.into_inner();
        Made {
            files: self.files.into_inner(),
            directories: self.directories.into_inner(),
            new_inodes: self.new_inodes,
            borders: borders.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Links all files of one directory, creates its subdirectories, and gives it its attributes;
    /// all that only where it is not so already.
    fn directory(
        &self,
        place: Place<Pair>,
        found: &mut Vec<Place<Pair>>,
        scratch: &mut Scratch,
    ) -> Result<(), SnapshotError> {
        if self.progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        let fail = |doing| {
            let place = &place;
            move |error: Errno| SnapshotError::io(doing, &place.path(), error)
        };
        let pair = place.open().map_err(fail("open"))?;
        let stat = attributes::stat(&pair.live).map_err(fail("look at"))?;
        let size_before = match self.progress.counts_space() {
            true => charge_of(&attributes::stat(&pair.copy).map_err(fail("look at"))?),
            false => 0,
        };
        let mut files = 0_u64;
        let mut subdirectories: Vec<CString> = Vec::new();
        let Scratch {
            entries,
            listing,
            draft,
            ..
        } = &mut *scratch;
        listing.clear();
        draft.begin(stat.stx_ino);
        if self.gone.is_some() {
            let there = attributes::stat(&pair.copy).map_err(fail("look at"))?;
            if !same_mount(&there, &self.root) {
                let path = escape(&place.path());
                return Err(SnapshotError::MountInside { path });
            }
            make_writable(&pair.copy, &there).map_err(fail("open"))?;
            listing.read(&pair.copy, entries, || place.path())?;
        }
        if same_mount(&stat, &self.root) {
            let link = |name: &CStr, kind, inode| {
                let is_directory = kind == FileType::Directory;
                let met = listing.meet(name, kind, inode);
                if let Met::Other(kind) = met {
                    self.clear(&place, &pair, name, kind)?;
                }
                if is_directory {
                    if met != Met::Same {
                        rustix::fs::mkdirat(&pair.copy, name, Mode::RWXU).map_err(|error| {
                            let path = below(&place, name);
                            SnapshotError::io("create the copy of", &path, error)
                        })?;
                        self.has_made(&pair.copy, name);
                    }
                    subdirectories.push(name.to_owned());
                    draft.add(name, kind, inode);
                    return Ok(());
                }
                if met == Met::Same || self.link(&place, &pair, name, inode)? {
                    draft.add(name, kind, inode);
                    files += 1;
                }
                if files.is_multiple_of(walk::CHECK_EVERY) && self.progress.cancelled() {
                    return Err(SnapshotError::Cancelled);
                }
                Ok(())
            };
            each_entry(&pair.live, entries, || place.path(), link)?;
            if let Some(manifest) = &self.manifest {
                let mut manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner);
                let put = manifest.put(draft);
                put.map_err(|error| manifest::failed(self.name, error))?;
            }
        } else {
            self.add_border(Border::Directory(escape(&place.path())));
        }
        for (name, kind) in listing.rest() {
            self.clear(&place, &pair, name, kind)?;
        }
        attributes::copy(&pair.live, &stat, &pair.copy, scratch)
            .map_err(fail("copy the attributes of"))?;
        if self.progress.counts_space() {
            let now = attributes::stat(&pair.copy).map_err(fail("look at"))?;
            self.progress.space(charge_of(&now) - size_before, 0);
        }

        let directories = subdirectories.len() as u64;
        self.files.fetch_add(files, Ordering::Relaxed);
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.progress.advance(files, directories);
        if !subdirectories.is_empty() {
            let parent = place.into_node(pair);
            let child = |name| Place {
                parent: std::sync::Arc::clone(&parent),
                name,
            };
            found.extend(subdirectories.into_iter().map(child));
        }
        Ok(())
    }

    /// A new directory counts as it is: empty. What it grows by is seen when it is filled.
    fn has_made(&self, parent: &OwnedFd, name: &CStr) {
        if self.progress.counts_space()
            && let Ok(directory) = open_directory(parent, name)
            && let Ok(stat) = attributes::stat(&directory)
        {
            self.progress.space(charge_of(&stat), 1);
        }
    }

    /// Takes a name out of the snapshot that this one has been.
    fn clear(
        &self,
        place: &Place<Pair>,
        pair: &Pair,
        name: &CStr,
        kind: FileType,
    ) -> Result<(), SnapshotError> {
        let cleared = match (kind, &self.gone) {
            (FileType::Directory, Some(gone)) => gone.move_out(&pair.copy, name),
            _ => {
                let freed = match self.progress.counts_space() {
                    true => last_link(&pair.copy, name),
                    false => None,
                };
                let removed = rustix::fs::unlinkat(&pair.copy, name, AtFlags::empty());
                if let (Ok(()), Some(bytes)) = (removed, freed) {
                    self.progress.space(-bytes, -1);
                }
                removed
            }
        };
        match cleared {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(SnapshotError::io("remove", &below(place, name), error)),
        }
    }

    /// Links one file. `false`: it is not in the snapshot.
    fn link(
        &self,
        place: &Place<Pair>,
        pair: &Pair,
        name: &CStr,
        inode: u64,
    ) -> Result<bool, SnapshotError> {
        match rustix::fs::linkat(&pair.live, name, &pair.copy, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::MLINK) => {
                let exhausted = self.exhausted.lock();
                exhausted
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(inode);
                Ok(true)
            }
            Err(Errno::XDEV) => {
                self.add_border(Border::File(escape(&below(place, name))));
                Ok(false)
            }
            Err(error) => Err(SnapshotError::io("link", &below(place, name), error)),
        }
    }

    fn add_border(&self, border: Border) {
        let borders = self.borders.lock();
        borders.unwrap_or_else(PoisonError::into_inner).push(border);
    }
}

/// Without privilege, entries can be changed only where the mode allows it; the right one is set
/// again at the end.
pub(super) fn make_writable(directory: &OwnedFd, stat: &Statx) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(stat.stx_mode.into());
    if mode.contains(Mode::RWXU) || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    rustix::fs::fchmod(directory, mode | Mode::RWXU)
}

fn below(place: &Place<Pair>, name: &CStr) -> Vec<u8> {
    [&place.path(), &b"/"[..], name.to_bytes()].concat()
}

fn c_string(name: &str) -> CString {
    CString::new(name).expect("a directory entry has no NUL")
}
