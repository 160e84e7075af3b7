//! Removes snapshots: first the name, by one rename, then the tree.
//!
//! From the rename on it is no snapshot any more, so the tree may go in pieces: what a deadline, a
//! cancellation or a crash leaves is finished by the next [`sweep`].
//!
//! A directory goes after its content. Whoever finishes a directory's last child finds out by
//! being the last to hold it, and removes it, and so on upwards.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::attributes;
use super::error::SnapshotError;
use super::home::{Home, Stage};
use super::list::{Origin, origin};
use super::manifest;
use super::name::SnapshotName;
use super::progress::Progress;
use super::subvolume;
use super::usage::charge_of;
use super::walk::{self, Scratch, each_entry, open_directory};

/// What came of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// `false`: the deadline or a cancellation came first, or another thread or process is at it;
    /// what is left of it [`sweep`] goes on with.
    pub finished: bool,
    pub files: u64,
    pub directories: u64,
}

/// What came of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// `false`: something is left, for the same reasons as in [`Removed`].
    pub finished: bool,
    /// Names of the leftovers that are gone now, as they were set aside.
    pub gone: Vec<String>,
    pub files: u64,
    pub directories: u64,
}

/// Removes a committed snapshot of ours; refuses any other. When `deadline` passes it stops and
/// says so.
pub fn remove(
    home: &Path,
    name: SnapshotName,
    deadline: Option<Instant>,
    progress: &dyn Progress,
) -> Result<Removed, SnapshotError> {
    let home = Home::open(home)?.ok_or(SnapshotError::Missing(name))?;
    match origin(&home, name)? {
        None => return Err(SnapshotError::Missing(name)),
        Some(Origin::Foreign(why)) => {
            return Err(SnapshotError::NotOurs {
                name: name.to_string(),
                why,
            });
        }
        Some(Origin::Ours) => {}
    }
    let file_name = CString::new(name.to_string()).expect("a name has no NUL");
    let aside = home.set_aside(&file_name, name)?;
    manifest::remove(&home, name);
    remove_tree(&home, &aside, deadline, progress)
}

/// Clears what unfinished work has left: snapshots that were being built, and removals that were
/// not finished. To be called before anything else is done for the tenant; if another process is
/// building, that one's work is left alone.
pub fn sweep(
    home: &Path,
    deadline: Option<Instant>,
    progress: &dyn Progress,
) -> Result<Swept, SnapshotError> {
    sweep_stages(home, true, deadline, progress)
}

/// Finishes removals only; at any time.
pub fn sweep_removals(
    home: &Path,
    deadline: Option<Instant>,
    progress: &dyn Progress,
) -> Result<Swept, SnapshotError> {
    sweep_stages(home, false, deadline, progress)
}

fn sweep_stages(
    home: &Path,
    building_too: bool,
    deadline: Option<Instant>,
    progress: &dyn Progress,
) -> Result<Swept, SnapshotError> {
    let mut swept = Swept {
        finished: true,
        ..Swept::default()
    };
    let Some(home) = Home::open(home)? else {
        return Ok(swept);
    };
    let c_string = |name: &str| CString::new(name).expect("a directory entry has no NUL");
    if building_too && home.try_lock()? {
        for (file_name, stage, name) in home.unfinished()? {
            if stage == Stage::Building {
                home.set_aside(&c_string(&file_name), name)?;
            }
        }
        manifest::sweep(&home)?;
        // Whoever wants to build now need not wait for the removals.
        home.unlock()?;
    }
    for (file_name, stage, _) in home.unfinished()? {
        if stage == Stage::Building {
            continue;
        }
        let c_name = c_string(&file_name);
        let removed = remove_tree(&home, &c_name, deadline, progress)?;
        swept.files += removed.files;
        swept.directories += removed.directories;
        match removed.finished {
            true => swept.gone.push(file_name),
            // The others' turn may come yet, unless it is time to stop for them, too.
            false => swept.finished = false,
        }
    }
    Ok(swept)
}

/// A directory whose content is being removed. Its holders are the jobs of its children.
struct Emptying {
    above: Option<Arc<Emptying>>,
    name: CString,
    depth: u32,
    directory: OwnedFd,
}

/// A directory to empty and remove.
struct Doomed {
    parent: Arc<Emptying>,
    name: CString,
}

/// So deep a tree is emptied as it is; what is deeper is moved to the top first. That keeps the
/// number of open directories small, and works for any depth.
const DEEPEST: u32 = 48;

struct Removal<'a> {
    progress: &'a dyn Progress,
    deadline: Option<Instant>,
    counts_space: bool,
    root: Statx,
    stop: AtomicBool,
    files: AtomicU64,
    directories: AtomicU64,
    /// Names for directories moved to the top.
    moved: AtomicU64,
}

/// Removes a directory in `snapshots/` with all that is in it, unless another thread or process
/// is at it.
pub(super) fn remove_tree(
    home: &Home,
    file_name: &CStr,
    deadline: Option<Instant>,
    progress: &dyn Progress,
) -> Result<Removed, SnapshotError> {
    let shown = file_name.to_string_lossy();
    let fail = |error: Errno| home.fail("remove", &shown, error);
    let is_subvolume = match open_directory(&home.snapshots, file_name) {
        Ok(top) if subvolume::is_one(home, &top).map_err(fail)? => {
            match rustix::fs::flock(&top, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(Removed::default()),
                other => other.map_err(fail)?,
            }
            if subvolume::destroy(home, file_name, &top).map_err(fail)? {
                // What shared versions of files with it, and what it had alone, nobody has looked
                // at.
                progress.uncounted();
                progress.advance(0, 1);
                return Ok(Removed {
                    finished: true,
                    files: 0,
                    directories: 1,
                });
            }
            true
        }
        _ => false,
    };
    let top = match open_writable(&home.snapshots, file_name) {
        Ok(top) => top,
        Err(Errno::NOENT) => {
            return Ok(Removed {
                finished: true,
                ..Removed::default()
            });
        }
        Err(error) => return Err(fail(error)),
    };
    // Held until this returns, or the process dies.
    match rustix::fs::flock(&top, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(Removed::default()),
        other => other.map_err(fail)?,
    }
    let around = home
        .snapshots
        .try_clone()
        .map_err(|error| home.fail("remove", &shown, error))?;
    let root = match is_subvolume {
        true => &top,
        false => &around,
    };
    let removal = Removal {
        progress,
        deadline,
        counts_space: progress.counts_space() && !is_subvolume,
        root: attributes::stat(root).map_err(fail)?,
        stop: AtomicBool::new(false),
        files: AtomicU64::new(0),
        directories: AtomicU64::new(0),
        moved: AtomicU64::new(0),
    };
    let threads = walk::threads_for(&around);
    let snapshots = Arc::new(Emptying {
        above: None,
        name: c"snapshots".to_owned(),
        depth: 0,
        directory: around,
    });
    let first = Doomed {
        parent: Arc::clone(&snapshots),
        name: file_name.to_owned(),
    };
    let emptied = walk::run(threads, vec![first], |doomed, found, scratch| {
        removal.empty(doomed, found, scratch)
    });
    if is_subvolume {
        progress.uncounted();
    }
    emptied?;
    Ok(Removed {
        finished: !removal.stop.into_inner(),
        files: removal.files.into_inner(),
        directories: removal.directories.into_inner(),
    })
}

impl Removal<'_> {
    fn must_stop(&self) -> bool {
        let late = || {
            self.deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
        };
        if !self.stop.load(Ordering::Relaxed) && (self.progress.cancelled() || late()) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    /// Removes all files of a directory; and itself, if there is nothing else in it.
    fn empty(
        &self,
        doomed: Doomed,
        found: &mut Vec<Doomed>,
        scratch: &mut Scratch,
    ) -> Result<(), SnapshotError> {
        if self.must_stop() {
            return Ok(());
        }
        let directory = match open_writable(&doomed.parent.directory, &doomed.name) {
            // An admin was faster; but this job may be the last to hold the parent.
            Err(Errno::NOENT) => return self.finish(doomed.parent),
            other => other.map_err(|error| doomed.fail("open", error))?,
        };
        let stat = attributes::stat(&directory).map_err(|e| doomed.fail("look at", e))?;
        if !attributes::same_mount(&stat, &self.root) {
            let path = coffre_protocol::error::escape(&doomed.path());
            return Err(SnapshotError::MountInside { path });
        }
        let this = Arc::new(Emptying {
            depth: doomed.parent.depth + 1,
            above: Some(doomed.parent),
            name: doomed.name,
            directory,
        });
        let mut files = 0;
        let mut subdirectories = Vec::new();
        let mut freed = (0, 0);
        let unlink = |name: &CStr, kind, _| {
            if kind == FileType::Directory {
                subdirectories.push(name.to_owned());
                return Ok(());
            }
            if self.counts_space
                && let Some(bytes) = last_link(&this.directory, name)
            {
                freed.0 += bytes;
                freed.1 += 1;
            }
            match rustix::fs::unlinkat(&this.directory, name, AtFlags::empty()) {
                Ok(()) => files += 1,
                Err(Errno::NOENT) => {}
                Err(error) => {
                    return Err(SnapshotError::io("remove", &this.path_of(name), error));
                }
            }
            if files % walk::CHECK_EVERY == 0 && self.must_stop() {
                return Err(SnapshotError::Cancelled);
            }
            Ok(())
        };
        let path = || this.path_of(c".");
        let listed = each_entry(&this.directory, &mut scratch.entries, path, unlink);
        self.files.fetch_add(files, Ordering::Relaxed);
        self.progress.advance(files, 0);
        self.progress.space(-freed.0, -freed.1);
        match listed {
            Err(SnapshotError::Cancelled) => return Ok(()),
            other => other?,
        }
        for name in subdirectories {
            found.push(self.child(&this, name)?);
        }
        self.finish(this)
    }

    /// A subdirectory as a job: where it is, or moved to the top if that is too deep.
    fn child(&self, parent: &Arc<Emptying>, name: CString) -> Result<Doomed, SnapshotError> {
        let stay = |name| Doomed {
            parent: Arc::clone(parent),
            name,
        };
        if parent.depth < DEEPEST {
            return Ok(stay(name));
        }
        let mut top = parent;
        while let Some(above) = top.above.as_ref().filter(|_| top.depth > 1) {
            top = above;
        }
        loop {
            let n = self.moved.fetch_add(1, Ordering::Relaxed);
            let new_name = CString::new(format!(".deep-{n}")).expect("a number has no NUL");
            let moved = rustix::fs::renameat_with(
                &parent.directory,
                &name,
                &top.directory,
                &new_name,
                RenameFlags::NOREPLACE,
            );
            match moved {
                Ok(()) => {
                    return Ok(Doomed {
                        parent: Arc::clone(top),
                        name: new_name,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
                    open_writable(&parent.directory, &name)
                        .map_err(|e| SnapshotError::io("move", &parent.path_of(&name), e))?;
                }
                // A mount point does not move; opening it tells what is the matter.
                Err(Errno::NOENT | Errno::BUSY | Errno::XDEV) => return Ok(stay(name)),
                Err(error) => {
                    return Err(SnapshotError::io("move", &parent.path_of(&name), error));
                }
            }
        }
    }

    /// Lets go of a directory; removes it if nobody else holds it, and so on upwards.
    fn finish(&self, this: Arc<Emptying>) -> Result<(), SnapshotError> {
        let mut next = Some(this);
        while let Some(empty) = next.and_then(Arc::into_inner) {
            let Emptying {
                above,
                name,
                directory,
                ..
            } = empty;
            let Some(parent) = above else { return Ok(()) };
            let bytes = match self.counts_space {
                true => attributes::stat(&directory).map_or(0, |stat| charge_of(&stat)),
                false => 0,
            };
            match rustix::fs::unlinkat(&parent.directory, &name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.directories.fetch_add(1, Ordering::Relaxed);
                    self.progress.advance(0, 1);
                    if self.counts_space {
                        self.progress.space(-bytes, -1);
                    }
                }
                Err(Errno::NOENT) => {}
                // Jobs that were told to stop have left something in it.
                Err(Errno::NOTEMPTY) if self.stop.load(Ordering::Relaxed) => return Ok(()),
                Err(error) => {
                    return Err(SnapshotError::io("remove", &parent.path_of(&name), error));
                }
            }
            next = Some(parent);
        }
        Ok(())
    }
}

/// What the inode of this name takes, if it has no other.
pub(super) fn last_link(directory: &OwnedFd, name: &CStr) -> Option<i64> {
    let wanted = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::SIZE | StatxFlags::BLOCKS;
    let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    (stat.stx_nlink <= 1).then(|| charge_of(&stat))
}

impl Emptying {
    fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut names = vec![name, self.name.as_c_str()];
        let mut at = self;
        while let Some(above) = &at.above {
            names.push(above.name.as_c_str());
            at = above;
        }
        let named = names
            .iter()
            .rev()
            .map(|name| name.to_bytes())
            .filter(|name| *name != b".");
        named.collect::<Vec<_>>().join(&b'/')
    }
}

impl Doomed {
    fn path(&self) -> Vec<u8> {
        self.parent.path_of(&self.name)
    }

    fn fail(&self, doing: &'static str, error: Errno) -> SnapshotError {
        SnapshotError::io(doing, &self.path(), error)
    }
}

/// Opens a directory of which entries are to be removed. Without privilege, that takes a mode
/// that allows it: directories are never shared, so changing this one changes nothing else.
pub(super) fn open_writable(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    if rustix::process::geteuid().is_root() {
        return open_directory(parent, name);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(attributes::stat(&handle)?.stx_mode.into());
    if !mode.contains(Mode::RWXU) {
        rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
    }
    open_directory(&handle, c".")
}
