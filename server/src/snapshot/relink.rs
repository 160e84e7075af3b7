//! What becomes of inodes that take no more links (ext4: 65,000 each).
//!
//! A file that has not changed for 64,999 snapshots is rare; a live tree with a few hundred names
//! for one file is not, and reaches the limit after as many hundred snapshots. Where `linkat` has
//! answered `EMLINK`, this makes a new inode with the same content and attributes, and gives it
//! to the snapshot *and* to live, so that snapshots from now on share it.
//!
//! All names of the old inode move together, in live and in the snapshot, so that what was one
//! group of hard links stays one. For that, live is listed a second time. Where one inode has not
//! room for both groups, the snapshot gets the new one for itself and live keeps the old.
//!
//! In live each name is replaced by one rename of a link made elsewhere. Killed in between, live
//! has the same content under the same names, some of it in two inodes.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, StatxFlags};
use rustix::io::Errno;

use super::attributes;
use super::build::Pair;
use super::error::SnapshotError;
use super::home::Home;
use super::inode::duplicate;
use super::progress::Progress;
use super::tree::{Node, Place};
use super::walk::{self, Scratch, each_entry, open_directory};

/// A name of an exhausted inode.
struct Name {
    directory: Arc<Node<Pair>>,
    name: CString,
}

/// Replaces the inodes `exhausted` of live, in the snapshot being built and (if they have room)
/// in live. `aside`: a name in `snapshots/` for a directory to work in, which is swept like a
/// building one. Returns the inodes that were replaced, each with the one that was made.
pub(super) fn relink(
    home: &Home,
    top: Pair,
    aside: &CStr,
    exhausted: &HashSet<u64>,
    progress: &dyn Progress,
) -> Result<Vec<(u64, u64)>, SnapshotError> {
    let groups = find_names(top, exhausted, progress)?;
    let fail = |error: Errno| home.fail("create", &aside.to_string_lossy(), error);
    rustix::fs::mkdirat(&home.snapshots, aside, Mode::RWXU).map_err(fail)?;
    let workshop = open_directory(&home.snapshots, aside).map_err(fail)?;
    let mut scratch = Scratch::new();
    let mut replaced = Vec::with_capacity(groups.len());
    for (old, names) in &groups {
        if progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        replaced.push((*old, replace(names, &workshop, &mut scratch)?));
    }
    let removed = rustix::fs::unlinkat(&home.snapshots, aside, AtFlags::REMOVEDIR);
    removed.map_err(|error| home.fail("remove", &aside.to_string_lossy(), error))?;
    Ok(replaced)
}

/// All names that the inodes have in live.
fn find_names(
    top: Pair,
    inodes: &HashSet<u64>,
    progress: &dyn Progress,
) -> Result<BTreeMap<u64, Vec<Name>>, SnapshotError> {
    let threads = walk::threads_for(&top.live);
    let root = attributes::stat(&top.live).map_err(|e| SnapshotError::io("look at", b"live", e))?;
    let first = Place {
        parent: Node::root(c"live", top),
        name: c".".to_owned(),
    };
    let groups: Mutex<BTreeMap<u64, Vec<Name>>> = Mutex::default();
    walk::run(threads, vec![first], |place, found, scratch| {
        if progress.cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        let fail = |error: Errno| SnapshotError::io("open", &place.path(), error);
        let pair = place.open().map_err(fail)?;
        let stat = attributes::stat(&pair.live).map_err(fail)?;
        if !attributes::same_mount(&root, &stat) {
            return Ok(());
        }
        let (mut subdirectories, mut names) = (Vec::new(), Vec::new());
        let path = || place.path();
        each_entry(
            &pair.live,
            &mut scratch.entries,
            path,
            |name, kind, inode| {
                if kind == FileType::Directory {
                    subdirectories.push(name.to_owned());
                } else if inodes.contains(&inode) {
                    names.push((inode, name.to_owned()));
                }
                Ok(())
            },
        )?;
        if subdirectories.is_empty() && names.is_empty() {
            return Ok(());
        }
        let directory = place.into_node(pair);
        found.extend(subdirectories.into_iter().map(|name| Place {
            parent: Arc::clone(&directory),
            name,
        }));
        let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
        for (inode, name) in names {
            groups.entry(inode).or_default().push(Name {
                directory: Arc::clone(&directory),
                name,
            });
        }
        Ok(())
    })?;
    Ok(groups.into_inner().unwrap_or_else(PoisonError::into_inner))
}

const NEW: &CStr = c"new";
const LINK: &CStr = c"link";

/// Makes one new inode and gives it all `names` of an old one.
fn replace(
    names: &[Name],
    workshop: &rustix::fd::OwnedFd,
    scratch: &mut Scratch,
) -> Result<u64, SnapshotError> {
    let Some(first) = names.first() else {
        return Ok(0);
    };
    let (fits_both, new) = first.within("duplicate", |pair| {
        let wanted = StatxFlags::BASIC_STATS;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statx(&pair.live, &first.name, flags, wanted)?;
        duplicate(&pair.live, &first.name, &stat, workshop, NEW, scratch)?;
        // It has just been found full, so this is the limit.
        let limit = u64::from(stat.stx_nlink);
        let new = rustix::fs::statat(workshop, NEW, flags)?.st_ino;
        Ok((2 * names.len() as u64 <= limit, new))
    })?;

    if fits_both {
        for name in names {
            name.within("replace", |pair| {
                let before = attributes::stat(&pair.live)?;
                rustix::fs::linkat(workshop, NEW, workshop, LINK, AtFlags::empty())?;
                rustix::fs::renameat(workshop, LINK, &pair.live, &name.name)?;
                rustix::fs::futimens(&pair.live, &attributes::times(&before))
            })?;
        }
    }
    for (left, name) in names.iter().enumerate().rev() {
        name.within("link", |pair| {
            let before = attributes::stat(&pair.copy)?;
            match rustix::fs::unlinkat(&pair.copy, &name.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            if left == 0 {
                // The last name is the one it was made under, moved: there may be room for no
                // link more.
                rustix::fs::renameat(workshop, NEW, &pair.copy, &name.name)?;
            } else {
                rustix::fs::linkat(workshop, NEW, &pair.copy, &name.name, AtFlags::empty())?;
            }
            rustix::fs::futimens(&pair.copy, &attributes::times(&before))
        })?;
    }
    Ok(new)
}

impl Name {
    fn within<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Pair) -> Result<T, Errno>,
    ) -> Result<T, SnapshotError> {
        let fail = |error| SnapshotError::io(doing, &self.directory.path_of(&self.name), error);
        self.directory.with(work).map_err(fail)?.map_err(fail)
    }
}
