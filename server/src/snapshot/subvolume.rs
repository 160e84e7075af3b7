//! Snapshots of a live tree that is a btrfs subvolume.
//!
//! One call makes the snapshot, whatever there is, and nobody can write to it afterwards: the
//! kernel sees to that. What takes time is the manifest, for which the directories of the new
//! snapshot are listed; no file is looked at. The stages and their names are those of all
//! snapshots, and so are the renames:
//!
//! ```text
//! live ──snapshot──▶ .building-… ──mark, manifest, read-only, rename──▶ 2026-11-20T093000Z
//! 2026-11-20T093000Z ──rename──▶ .removing-… ──destroy
//! ```
//!
//! Old snapshots may be hard links all the same, from before live became a subvolume. Each tree
//! says itself what it is, by [`super::numbers::Numbers`]. Hard links are never made across the
//! border of a subvolume, so nothing that is done to live reaches them.
//!
//! Without privilege a subvolume can be destroyed only where the file system is mounted with
//! `user_subvol_rm_allowed`; else its files are unlinked one by one.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use coffre_protocol::error::escape;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::attributes;
use super::build::{Border, Made, make_writable};
use super::error::SnapshotError;
use super::home::Home;
use super::manifest;
use super::marker;
use super::name::SnapshotName;
use super::numbers::{Numbers, identity};
use super::progress::Progress;
use super::tree::{Node, Place};
use super::walk::{self, Scratch, each_entry, open_directory};
use crate::confine::{FileTime, INNER_STAGING, Stat};
use crate::syscalls::btrfs;

/// Whether snapshots of live are subvolumes.
pub(super) fn is_used_for(home: &Home, live: &OwnedFd) -> Result<bool, Errno> {
    Ok(Numbers::of_tree(live, &home.snapshots)? == Numbers::Own
        && attributes::no_mount_between(
            &attributes::stat(live)?,
            &attributes::stat(&home.snapshots)?,
        ))
}

/// Whether a directory in `snapshots/` is a subvolume, and nothing that is mounted there.
pub(super) fn is_one(home: &Home, directory: &OwnedFd) -> Result<bool, Errno> {
    is_used_for(home, directory)
}

/// When the newest snapshot of live was made that is a subvolume. What was born before has not gone
/// when it is gone from live.
pub(crate) fn newest(home: &Path) -> Result<Option<FileTime>, SnapshotError> {
    let Some(home) = Home::open(home)? else {
        return Ok(None);
    };
    let mut newest = None;
    for name in home.directories()? {
        let c_name = CString::new(name.as_str()).unwrap_or_default();
        let look = || {
            let top = open_directory(&home.snapshots, &c_name)?;
            let is_one = is_one(&home, &top)?;
            // The mark was set right after.
            Ok::<_, Errno>(is_one.then_some(rustix::fs::fstat(&top)?))
        };
        match look() {
            Ok(stat) => newest = newest.max(stat.map(|stat| Stat::from(stat).ctime)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(home.fail("look at", &name, error)),
        }
    }
    Ok(newest)
}

/// Makes a snapshot under a name of the building stage, with everything that belongs to one.
pub(super) fn take(
    home: &Home,
    live: &OwnedFd,
    name: SnapshotName,
    building: &CStr,
    progress: &dyn Progress,
) -> Result<Made, SnapshotError> {
    let shown = building.to_string_lossy();
    let fail = |doing| move |error: Errno| (doing, error);
    let failed = |(doing, error): (&'static str, Errno)| home.fail(doing, &shown, error);
    btrfs::snapshot(live, &home.snapshots, building)
        .map_err(fail("create"))
        .map_err(failed)?;
    let copy = open_directory(&home.snapshots, building);
    let copy = copy.map_err(fail("open")).map_err(failed)?;
    let was = attributes::stat(live).map_err(|e| SnapshotError::io("look at", b"live", e))?;

    let itself = attributes::stat(&copy).map_err(fail("look at"));
    make_writable(&copy, &itself.map_err(failed)?)
        .map_err(fail("open"))
        .map_err(failed)?;
    clear_staging(&copy)
        .map_err(fail("clear"))
        .map_err(failed)?;
    marker::set(home, &copy, name)
        .map_err(fail("mark"))
        .map_err(failed)?;
    let number = identity(&copy).map_err(fail("look at")).map_err(failed)?;
    let listing = Listing {
        progress,
        files: AtomicU64::new(0),
        directories: AtomicU64::new(0),
        borders: Mutex::default(),
        manifest: Mutex::new(manifest::Writer::create(home, name, number)?),
        name,
    };
    let top = Place {
        parent: Node::root(
            c"live",
            copy.try_clone()
                .map_err(|e| SnapshotError::io("open", b"live", e))?,
        ),
        name: c".".to_owned(),
    };
    // Looking gains from a second thread on every file system.
    walk::run(2, vec![top], |place, found, scratch| {
        listing.directory(place, found, scratch)
    })?;
    let manifest = listing.manifest.into_inner();
    manifest
        .unwrap_or_else(PoisonError::into_inner)
        .finish(name)?;

    // The mark, and what stood in staging, have changed these.
    let mode = Mode::from_raw_mode(was.stx_mode.into());
    rustix::fs::fchmod(&copy, mode)
        .and_then(|()| rustix::fs::futimens(&copy, &attributes::times(&was)))
        .and_then(|()| btrfs::set_read_only(&copy, true))
        .map_err(fail("finish"))
        .map_err(failed)?;
    Ok(Made {
        files: listing.files.into_inner(),
        directories: listing.directories.into_inner(),
        new_inodes: 0,
        borders: listing
            .borders
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    })
}

/// The server's own directory in live, with what a session that was cut off has left there, is no
/// part of the tree.
fn clear_staging(copy: &OwnedFd) -> Result<(), Errno> {
    let staging = rustix::fs::statat(copy, INNER_STAGING, AtFlags::SYMLINK_NOFOLLOW);
    match staging {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    let path = format!("/proc/self/fd/{}/{INNER_STAGING}", copy.as_raw_fd());
    std::fs::remove_dir_all(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Lists the new snapshot, for its manifest.
struct Listing<'a> {
    progress: &'a dyn Progress,
    files: AtomicU64,
    directories: AtomicU64,
    borders: Mutex<Vec<Border>>,
    manifest: Mutex<manifest::Writer>,
    name: SnapshotName,
}

impl Listing<'_> {
    fn directory(
        &self,
        place: Place<OwnedFd>,
        found: &mut Vec<Place<OwnedFd>>,
        scratch: &mut Scratch,
    ) -> Result<(), SnapshotError> {
        if self.progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        let fail = |error: Errno| SnapshotError::io("open", &place.path(), error);
        let directory = place.open().map_err(fail)?;
        let stat = rustix::fs::fstat(&directory).map_err(fail)?;
        if stat.st_ino == btrfs::WAS_SUBVOLUME {
            let border = Border::Directory(escape(&place.path()));
            let mut borders = self.borders.lock().unwrap_or_else(PoisonError::into_inner);
            borders.push(border);
            return Ok(());
        }
        let Scratch { entries, draft, .. } = scratch;
        draft.begin(stat.st_ino);
        let mut files = 0_u64;
        let mut subdirectories = Vec::new();
        let each = |name: &CStr, kind, inode| {
            match kind {
                FileType::Directory => subdirectories.push(name.to_owned()),
                _ => files += 1,
            }
            draft.add(name, kind, inode);
            if files.is_multiple_of(walk::CHECK_EVERY) && self.progress.cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            Ok(())
        };
        each_entry(&directory, entries, || place.path(), each)?;
        {
            let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
            let put = manifest.put(draft);
            put.map_err(|error| manifest::failed(self.name, error))?;
        }
        let directories = subdirectories.len() as u64;
        self.files.fetch_add(files, Ordering::Relaxed);
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.progress.advance(files, directories);
        if !subdirectories.is_empty() {
            let parent = place.into_node(directory);
            found.extend(subdirectories.into_iter().map(|name| Place {
                parent: std::sync::Arc::clone(&parent),
                name,
            }));
        }
        Ok(())
    }
}

/// Destroys a snapshot that is a subvolume and has been set aside, in one step. `false`: that takes
/// privilege; its files can be unlinked now.
pub(super) fn destroy(home: &Home, file_name: &CStr, top: &OwnedFd) -> Result<bool, Errno> {
    let not_allowed = |error| matches!(error, Errno::PERM | Errno::ACCESS | Errno::ROFS);
    match btrfs::destroy(&home.snapshots, file_name) {
        Ok(()) => return Ok(true),
        Err(error) if not_allowed(error) => {}
        Err(error) => return Err(error),
    }
    // Whose own it is may do so where the mount says so, and only when it can be written to.
    btrfs::set_read_only(top, false)?;
    match btrfs::destroy(&home.snapshots, file_name) {
        Ok(()) => Ok(true),
        Err(error) if not_allowed(error) => Ok(false),
        Err(error) => Err(error),
    }
}
