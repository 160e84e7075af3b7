//! A tenant's root, opened once per session.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, mkdirat, openat, openat2, statat,
    statfs, syncfs, unlinkat,
};
use rustix::io::Errno;

use super::attributes::Keeping;
use super::beside::{Notes, Place, lacks_attributes};
use super::cache::DirCache;
use super::dir::Dir;
use super::escape::{Escape, from_resolution};
use super::layers::descriptors_hold;
use super::links::LiveState;
use super::list::list_directory;
use super::metadata::Metadata;
use super::path::TenantPath;
use super::room::{Frozen, Room};
use super::stat::{Kind, Stat};
use crate::account::Account;
use crate::snapshot::newest_subvolume;

const LIVE: &str = "live";
const STAGING: &str = ".staging";
const PARTIAL: &str = ".partial";
/// Stands in for [`STAGING`], at the top of the tree, where that is on another file system: a
/// btrfs subvolume can be snapshot but not linked into from outside.
pub(crate) const INNER_STAGING: &str = ".coffre-staging";

/// Longest path given to the kernel at once, in bytes, without the NUL (PATH_MAX).
const PIECE: usize = 4095;

/// A tree that a session works in; see the module's story. Cheap to clone.
#[derive(Clone)]
pub struct TenantRoot {
    shared: Arc<Shared>,
}

/// What a root and the directories opened from it have in common.
pub(super) struct Shared {
    live: OwnedFd,
    /// `None`: nothing may be changed.
    work: Option<Work>,
    /// [`INNER_STAGING`] in it is the server's own.
    has_inner_staging: bool,
    /// See [`TenantRoot::unchanging`].
    pub(super) is_unchanging: bool,
    pub(super) keeping: Keeping,
    /// Where what is noted of files is kept.
    pub(super) notes: Place,
    pub(super) live_state: Arc<LiveState>,
    cache: Mutex<DirCache>,
    pub(super) support: Support,
    pub(super) room: Room,
    busy: Mutex<Option<Busy>>,
}

/// Called again and again while something takes long.
type Busy = Box<dyn FnMut() + Send>;

/// Where things are made that have no name in live yet.
struct Work {
    staging: OwnedFd,
    /// [`INNER_STAGING`], where live needs it.
    inner_staging: Option<OwnedFd>,
    partial: OwnedFd,
    /// Makes names of different sessions differ.
    prefix: u64,
    serial: AtomicU64,
}

/// Where a directory is: in the tree, or beside it ([`TenantRoot::partial`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Live,
    Beside,
}

/// What the file system and the process turned out not to be able to do.
#[derive(Default)]
pub(super) struct Support {
    pub(super) no_tmpfile: AtomicBool,
    pub(super) no_link_by_descriptor: AtomicBool,
    pub(super) no_reflink: AtomicBool,
}

/// Reads a flag of [`Support`].
pub(super) fn lacks(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

/// Sets a flag of [`Support`].
pub(super) fn note_lack(flag: &AtomicBool) {
    flag.store(true, Ordering::Relaxed);
}

impl TenantRoot {
    /// Opens `home/live` for reading and writing. Makes it, `home/.staging` and `home/.partial`
    /// where they are missing; `home` must exist.
    ///
    /// What comes and goes is told to `account`, which may refuse it.
    ///
    /// To be called before the thread is confined: [`TenantRoot::sync`] reports write errors
    /// since now.
    pub fn open(home: &Path, metadata: Metadata, account: Arc<Account>) -> io::Result<TenantRoot> {
        let path = home;
        let home = openat(
            CWD,
            home,
            directory_flags() - OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        let open_or_make = |parent, name, mode| open_or_make(parent, name, mode, &account);
        let live = open_or_make(home.as_fd(), LIVE, 0o755)?;
        let partial = open_or_make(home.as_fd(), PARTIAL, 0o700)?;
        let staging = open_or_make(home.as_fd(), STAGING, 0o700)?;
        let (inner_staging, frozen) = if device(&staging)? == device(&live)? {
            (None, None)
        } else {
            let inner = open_or_make(live.as_fd(), INNER_STAGING, 0o700)?;
            (Some(inner), frozen(path, &live, &account)?)
        };
        let work = Work {
            staging,
            inner_staging,
            partial,
            prefix: getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?,
            serial: AtomicU64::new(0),
        };
        let has_inner_staging = work.inner_staging.is_some();
        Self::new(
            live,
            Some(work),
            has_inner_staging,
            metadata,
            Room::new(account, frozen),
        )
    }

    /// Opens any directory of the store for reading: a snapshot, or `live` for a restore.
    /// Everything that changes something fails with EROFS.
    pub fn open_read_only(directory: &Path, metadata: Metadata) -> io::Result<TenantRoot> {
        let flags = directory_flags() - OFlags::NOFOLLOW;
        let directory = openat(CWD, directory, flags, Mode::empty())?;
        let has_inner_staging = has_inner_staging(&directory)?;
        let room = Room::new(Arc::default(), None);
        Self::new(directory, None, has_inner_staging, metadata, room)
    }

    fn new(
        live: OwnedFd,
        work: Option<Work>,
        has_inner_staging: bool,
        metadata: Metadata,
        room: Room,
    ) -> io::Result<TenantRoot> {
        let proc = statfs("/proc/self/fd")?;
        if proc.f_type != PROC_SUPER_MAGIC {
            return Err(io::Error::other("/proc is not mounted"));
        }
        let stat = Stat::from(rustix::fs::fstat(&live)?);
        Ok(TenantRoot {
            shared: Arc::new(Shared {
                live,
                work,
                has_inner_staging,
                is_unchanging: false,
                keeping: Keeping::new(metadata),
                notes: Place::InFiles,
                live_state: LiveState::of_tree(stat.dev, stat.ino),
                cache: Mutex::default(),
                support: Support::default(),
                room,
                busy: Mutex::default(),
            }),
        })
    }

    /// Nobody changes the tree while it is open: it is a snapshot that is being read. To be called
    /// before anything else; it does nothing while directories are open.
    pub fn unchanging(mut self) -> TenantRoot {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.is_unchanging = true;
        }
        self
    }

    /// Settles how attributes are kept, once it is known what the client asks for. Without
    /// privilege (`is_super` false) only attributes of the `user` namespace are seen and kept.
    /// To be called before anything else; it does nothing while directories are open.
    pub fn keep_attributes(&mut self, metadata: Metadata, is_super: bool) {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.keeping = Keeping::new(metadata);
            if !is_super {
                shared.keeping.view = shared.keeping.view.without_privilege();
            }
        }
    }

    /// Where what is noted of files goes if the tree's file system keeps no attributes. To be
    /// called before anything else; it does nothing while directories are open.
    pub fn with_notes(mut self, notes: Option<Arc<dyn Notes>>) -> io::Result<TenantRoot> {
        if let Some(notes) = notes
            && let Some(shared) = Arc::get_mut(&mut self.shared)
            && lacks_attributes(&shared.live)
        {
            shared.notes = Place::Beside(notes, device(&shared.live)?);
        }
        Ok(self)
    }

    /// Whether an extended attribute of this name, as the client knows it, can be kept here. What
    /// cannot is left out of a transfer silently, as stock rsync does without privilege.
    pub fn keeps_xattr(&self, name: &[u8]) -> bool {
        self.shared.keeping.view.keeps(name)
    }

    /// How attributes are kept here.
    pub fn metadata(&self) -> Metadata {
        self.shared.keeping.metadata
    }

    /// Looks at a directory that was opened otherwise, which is not in the tree as far as this is
    /// concerned. For reading with the server's own rights, not a client's.
    pub fn adopt(&self, directory: OwnedFd) -> Dir {
        Dir::new(Arc::clone(&self.shared), directory, None)
    }

    /// Opens a directory. No component may be a symbolic link.
    /// Errors: of `openat2`; [`Escape`] where the path leads outside or over a link.
    pub fn dir(&self, path: &TenantPath) -> io::Result<Dir> {
        let fd = self.shared.open_directory(path)?;
        Ok(Dir::new(Arc::clone(&self.shared), fd, Some(path.clone())))
    }

    /// Opens a directory, or gives one that is open still. For visiting entries directory by
    /// directory: the 64 used last are kept, and renewed when a session removes or renames one.
    pub fn cached_dir(&self, path: &TenantPath) -> io::Result<Arc<Dir>> {
        let epoch = self.shared.live_state.epoch();
        let parent = {
            let mut cache = self.shared.cache();
            if let Some(dir) = cache.find(path, epoch) {
                return Ok(dir);
            }
            path.parent().and_then(|parent| cache.find(&parent, epoch))
        };
        let dir = match (parent, path.file_name()) {
            (Some(parent), Some(name)) => parent.open_dir(name)?,
            _ => self.dir(path)?,
        };
        let dir = Arc::new(dir);
        self.shared.cache().keep(path.clone(), &dir, epoch);
        Ok(dir)
    }

    /// A number that changes when a session removes or renames a directory: until then a directory
    /// that is held stands where it was found.
    pub fn epoch(&self) -> u64 {
        self.shared.live_state.epoch()
    }

    /// The directory beside the tree that keeps what broken pushes left: flat, named by the
    /// caller, never part of a snapshot. Files move between it and the tree by [`Dir::rename`]
    /// and [`Staged::publish`](super::Staged::publish), as between any two directories.
    pub fn partial(&self) -> io::Result<Dir> {
        let partial = self.shared.work()?.partial.try_clone()?;
        Ok(Dir::new(Arc::clone(&self.shared), partial, None))
    }

    /// Has `busy` called again and again while a large file is copied, so that whoever waits for
    /// it can be told that work goes on.
    pub fn while_busy(&self, busy: impl FnMut() + Send + 'static) {
        *self.shared.busy() = Some(Box::new(busy));
    }

    /// Waits until everything written to the store's file system is on disk, and reports errors
    /// in writing since the root was opened. Source: syncfs(2), since Linux 5.8.
    pub fn sync(&self) -> io::Result<()> {
        syncfs(&self.shared.live)?;
        self.shared.notes.flush();
        Ok(())
    }

    /// Removes what a crash left in staging, and says how many things that were; what broken
    /// pushes left goes when it is too old. For the start of the daemon, when no session runs.
    pub fn sweep(home: &Path) -> io::Result<u64> {
        let mut swept = 0;
        match openat(CWD, home.join(PARTIAL), directory_flags(), Mode::empty()) {
            Ok(partial) => super::kept::sweep(partial)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        for staging in [home.join(STAGING), home.join(LIVE).join(INNER_STAGING)] {
            match openat(CWD, &staging, directory_flags(), Mode::empty()) {
                Ok(dir) if staging.ends_with(INNER_STAGING) && !is_ours(&dir)? => {}
                Ok(dir) => swept += empty(dir.as_fd())?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(swept)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.notes.flush();
    }
}

impl Shared {
    pub(super) fn live_fd(&self) -> BorrowedFd<'_> {
        self.live.as_fd()
    }

    fn work(&self) -> io::Result<&Work> {
        self.work.as_ref().ok_or_else(|| Errno::ROFS.into())
    }

    /// Errors: EROFS where nothing may be changed.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        self.work().map(drop)
    }

    /// Staging on the file system of live, or of what is beside it.
    pub(super) fn staging(&self, side: Side) -> io::Result<BorrowedFd<'_>> {
        let work = self.work()?;
        Ok(match (side, &work.inner_staging) {
            (Side::Live, Some(inner)) => inner.as_fd(),
            _ => work.staging.as_fd(),
        })
    }

    /// A name for staging that nobody else uses.
    pub(super) fn new_name(&self) -> io::Result<String> {
        let work = self.work()?;
        let serial = work.serial.fetch_add(1, Ordering::Relaxed);
        Ok(format!("{:016x}-{serial}", work.prefix))
    }

    /// Whether `name` in `dir` is the server's own.
    pub(super) fn is_reserved(&self, dir: &TenantPath, name: &[u8]) -> bool {
        self.has_inner_staging && dir.is_root() && name == INNER_STAGING.as_bytes()
    }

    fn busy(&self) -> MutexGuard<'_, Option<Busy>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work that takes long has gone on a little.
    pub(super) fn is_busy(&self) {
        if let Some(busy) = &mut *self.busy() {
            busy();
        }
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, DirCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory was removed, or renamed from or to this path.
    pub(super) fn directory_changed(&self, path: &TenantPath) {
        let before = self.live_state.directory_changed();
        self.cache().forget(path, before);
    }

    /// Opens a directory below live for reading.
    pub(super) fn open_directory(&self, path: &TenantPath) -> io::Result<OwnedFd> {
        if let Some(first) = path.components().next()
            && self.is_reserved(&TenantPath::root(), first)
        {
            return Err(Escape::Reserved.into());
        }
        let mut bytes = path.as_bytes();
        let mut at: Option<OwnedFd> = None;
        while bytes.len() > PIECE {
            // A component is 255 bytes at most, so there is a slash in every piece.
            let cut = bytes[..=PIECE]
                .iter()
                .rposition(|&byte| byte == b'/')
                .ok_or(Errno::NAMETOOLONG)?;
            let from = at.as_ref().map_or(self.live.as_fd(), AsFd::as_fd);
            at = Some(open_beneath(from, &bytes[..cut])?);
            bytes = &bytes[cut + 1..];
        }
        let from = at.as_ref().map_or(self.live.as_fd(), AsFd::as_fd);
        open_beneath(from, if bytes.is_empty() { b"." } else { bytes })
    }
}

/// Opens a directory at or below `from`, over real directories only.
pub(super) fn open_beneath(from: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    // Without O_NOFOLLOW, so that a link at the end is told as one (ELOOP), too.
    let flags = directory_flags() - OFlags::NOFOLLOW;
    if !descriptors_hold() {
        return Ok(match openat(from, path, flags, Mode::empty()) {
            // Landlock has no say about this one.
            Err(Errno::ACCESS) => openat(from, path, flags | OFlags::PATH, Mode::empty())?,
            other => other?,
        });
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(from, path, flags, Mode::empty(), resolve) {
            Ok(fd) => return Ok(fd),
            // A rename elsewhere made the kernel unsure; it asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Before Linux 5.6, or filtered: the same by hand, component by component.
            Err(Errno::NOSYS | Errno::PERM) => return open_by_component(from, path),
            Err(errno) => return Err(from_resolution(errno)),
        }
    }
}

fn open_by_component(from: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    for component in path.split(|&byte| byte == b'/') {
        if component == b".." {
            return Err(Escape::Leaves.into());
        }
        let from = at.as_ref().map_or(from, AsFd::as_fd);
        let opened = openat(from, component, directory_flags(), Mode::empty());
        if matches!(opened, Err(Errno::NOTDIR))
            && let Ok(stat) = statat(from, component, AtFlags::SYMLINK_NOFOLLOW)
            && Stat::from(stat).kind == Kind::Symlink
        {
            return Err(Escape::SymbolicLink.into());
        }
        at = Some(opened?);
    }
    at.ok_or_else(|| Escape::NotAName.into())
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn open_or_make(
    parent: BorrowedFd<'_>,
    name: &str,
    mode: u32,
    account: &Account,
) -> io::Result<OwnedFd> {
    let made = match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let directory = openat(parent, name, directory_flags(), Mode::empty())?;
    if made {
        account.add(super::room::size_of_new(&directory)?, 1);
    }
    Ok(directory)
}

/// Which files of live a snapshot has without sharing them, where somebody counts.
fn frozen(home: &Path, live: &OwnedFd, account: &Account) -> io::Result<Option<Frozen>> {
    if !account.counts() {
        return Ok(None);
    }
    let device = device(live)?;
    match newest_subvolume(home) {
        Ok(newest) => Ok(newest.map(|at| Frozen { at, device })),
        Err(error) => {
            // A push need not fail for a snapshot that cannot be looked at.
            tracing::warn!(%error, "what a quota counts is an estimate until it can");
            account.distrust();
            Ok(None)
        }
    }
}

fn device(fd: &OwnedFd) -> io::Result<u64> {
    Ok(Stat::from(rustix::fs::fstat(fd)?).dev)
}

/// Whether a directory at the top of a tree is our staging, and not a client's own of that name:
/// nobody but us makes one that `live` cannot share with `home`.
fn is_ours(inner: &OwnedFd) -> io::Result<bool> {
    let live = openat(inner, "..", directory_flags(), Mode::empty())?;
    let home = openat(&live, "..", directory_flags(), Mode::empty())?;
    Ok(device(&live)? != device(&home)?)
}

/// The same, told from the top of a tree, which need not be live: a snapshot of a subvolume holds
/// what stood in it. Nothing is opened, since the thread may be confined to the tree.
fn has_inner_staging(top: &OwnedFd) -> io::Result<bool> {
    let look = |name: &str| rustix::fs::statat(top, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    match look(INNER_STAGING) {
        Ok(inner) if Stat::from(inner).kind == Kind::Dir => {
            Ok(Stat::from(look("..")?).dev != device(top)?)
        }
        Ok(_) | Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes everything in a directory; gives the number of things removed.
fn empty(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let mut entries = Vec::new();
    list_directory(dir, |name, kind, _| {
        entries.push((name.to_vec(), kind));
        Ok(())
    })?;
    let mut removed = 0;
    for (name, kind) in entries {
        if kind == Kind::Dir {
            let below = openat(dir, name.as_slice(), directory_flags(), Mode::empty())?;
            removed += empty(below.as_fd())?;
            unlinkat(dir, name.as_slice(), AtFlags::REMOVEDIR)?;
        } else {
            unlinkat(dir, name.as_slice(), AtFlags::empty())?;
        }
        removed += 1;
    }
    Ok(removed)
}
