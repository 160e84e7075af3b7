//! The store's directories, and the lock that makes one daemon of them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::INNER_DIRECTORY;
use crate::config::reason;
use crate::snapshot;

/// Held as long as the daemon serves the store. Another process finds out who holds it by what is
/// written in the file; the lock itself goes with the process, however it ends.
#[derive(Debug)]
pub(super) struct StoreLock {
    file: File,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the storage {} does not exist; is its disk mounted? if this is to be a new store, make \
         the directory first", .0.display()
    )]
    Missing(PathBuf),
    #[error("the storage {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("another coffre serves {} already{}", .storage.display(), process(.pid))]
    Busy { storage: PathBuf, pid: String },
    #[error("cannot {doing} {}: {}", .path.display(), reason(.source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

fn process(pid: &str) -> String {
    match pid.trim().parse::<u32>() {
        Ok(pid) => format!(" (process {pid})"),
        Err(_) => String::new(),
    }
}

/// Takes the store for this process. The storage itself is never made: where a disk is not
/// mounted, a new store in its mount point would look like a success for days.
pub(super) fn lock(storage: &Path) -> Result<StoreLock, StoreError> {
    match fs::metadata(storage) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(StoreError::NotADirectory(storage.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing(storage.to_owned()));
        }
        Err(e) => return Err(io_error("open", storage)(e)),
    }
    let inner = storage.join(INNER_DIRECTORY);
    make_private(&inner)?;

    let path = inner.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Without it the message is a little shorter.
            let _ = file.read_to_string(&mut pid);
            return Err(StoreError::Busy {
                storage: storage.to_owned(),
                pid,
            });
        }
        Err(e) => return Err(io_error("lock", &path)(e.into())),
    }
    let pid = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(pid.as_bytes()))
        .map_err(io_error("write", &path))?;
    Ok(StoreLock { file })
}

impl StoreLock {
    /// Whether the store's file system keeps extended attributes of users.
    pub(super) fn keeps_attributes(&self) -> bool {
        const PROBE: &str = "user.coffre.probe";
        let set = rustix::fs::fsetxattr(&self.file, PROBE, b"", rustix::fs::XattrFlags::empty());
        let _ = rustix::fs::fremovexattr(&self.file, PROBE);
        set != Err(rustix::io::Errno::OPNOTSUPP)
    }

    /// Whether it tells a file from a later one of the same inode number.
    pub(super) fn tells_files_apart(&self) -> bool {
        matches!(crate::confine::identity_of(&self.file), Ok(Some(_)))
    }
}

/// Makes what is missing of `<home>/live` and `<home>/snapshots`. The home is private; within it,
/// `live` belongs to the client, which sets its attributes with the first push.
pub(super) fn make_home(home: &Path) -> Result<(), StoreError> {
    make_private(home)?;
    make_private(&home.join("snapshots"))?;
    make(&home.join("live"), 0o755)?;
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev());
    let live = home.join("live");
    let apart = device(&live).map_err(io_error("look at", &live))?
        != device(&home.join("snapshots")).map_err(io_error("look at", home))?;
    // Snapshots of a subvolume share files with it all the same.
    if apart && !snapshot::live_is_subvolume(home).unwrap_or(false) {
        return Err(StoreError::Io {
            doing: "use",
            path: home.to_owned(),
            source: io::Error::other(
                "live and snapshots are on different file systems, so they cannot share files",
            ),
        });
    }
    Ok(())
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    make(path, 0o700)
}

fn make(path: &Path, mode: u32) -> Result<(), StoreError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(io_error("make", path)),
    }
}

fn io_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// A thousand tenants on two addresses need more descriptors than the usual 1024. Raises the limit
/// as far as it may be raised; returns what it is now.
pub(super) fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_daemon_and_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let refused = lock(dir.path()).unwrap_err().to_string();
        let expected = format!(
            "another coffre serves {} already (process {})",
            dir.path().display(),
            std::process::id()
        );
        assert_eq!(refused, expected);
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_storage_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("disk");
        assert!(matches!(lock(&missing), Err(StoreError::Missing(_))));
        assert!(!missing.exists());
    }

    #[test]
    fn a_home_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("web01");
        make_home(&home).unwrap();
        make_home(&home).unwrap();
        assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
        assert!(home.join("live").is_dir());
        assert!(home.join("snapshots").is_dir());
    }
}
