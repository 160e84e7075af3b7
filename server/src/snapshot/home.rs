//! A tenant's directory in the store, opened: `<home>/live` and `<home>/snapshots`.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, RenameFlags};
use rustix::io::Errno;

use super::error::SnapshotError;
use super::name::{SnapshotName, State};
use super::walk::{each_entry, open_directory};

/// The directory that holds a tenant's snapshots.
pub(super) struct Home {
    directory: OwnedFd,
    pub snapshots: OwnedFd,
    /// The last part of the path; snapshots are marked with it.
    pub tenant: Vec<u8>,
}

/// An unfinished stage of a snapshot's life, by the name of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Building,
    Removing,
}

impl Stage {
    fn prefix(self) -> &'static str {
        match self {
            Self::Building => ".building-",
            Self::Removing => ".removing-",
        }
    }

    /// The name in this stage. `attempt`: above 0 where earlier ones have left their directory.
    pub(super) fn name_of(self, name: SnapshotName, attempt: u32) -> CString {
        let prefix = self.prefix();
        let text = match attempt {
            0 => format!("{prefix}{name}"),
            n => format!("{prefix}{name}.{n}"),
        };
        CString::new(text).expect("a snapshot's name has no NUL")
    }

    /// The stage that a directory name means. What merely begins like one is an admin's.
    fn of(file_name: &str) -> Option<(Self, SnapshotName)> {
        let stages = [Self::Building, Self::Removing].into_iter();
        stages
            .filter_map(|stage| Some((stage, file_name.strip_prefix(stage.prefix())?)))
            .find_map(|(stage, rest)| {
                let attempt = |(_, n): &(&str, &str)| n.parse::<u32>().is_ok();
                let name = SnapshotName::from_str(rest).ok().or_else(|| {
                    let (name, _) = rest.rsplit_once('.').filter(attempt)?;
                    SnapshotName::from_str(name).ok()
                });
                Some((stage, name?))
            })
    }
}

/// Opens a tenant's live tree to be read.
pub fn open_live(home: &Path) -> Result<OwnedFd, SnapshotError> {
    match Home::open(home)? {
        Some(home) => home.live(),
        None => Err(SnapshotError::NoLive),
    }
}

/// Whether a tenant's live tree is a btrfs subvolume, so that its snapshots will be, too.
pub fn live_is_subvolume(home: &Path) -> Result<bool, SnapshotError> {
    let Some(home) = Home::open(home)? else {
        return Ok(false);
    };
    let live = home.live()?;
    let look = |error| SnapshotError::io("look at", b"live", error);
    super::subvolume::is_used_for(&home, &live).map_err(look)
}

impl Home {
    /// `None`: there is no directory of that name, or no snapshots in it.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, SnapshotError> {
        let fail = |error| SnapshotError::io("open", b"snapshots", error);
        let directory = match Self::open_itself(path) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(fail)?,
        };
        let snapshots = match open_directory(&directory, c"snapshots") {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(fail)?,
        };
        Ok(Some(Self::new(path, directory, snapshots)))
    }

    /// Makes `snapshots/` where it is missing.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, SnapshotError> {
        let fail = |error| SnapshotError::io("open", b"snapshots", error);
        let directory = match Self::open_itself(path) {
            Err(Errno::NOENT) => return Err(SnapshotError::NoLive),
            other => other.map_err(fail)?,
        };
        let snapshots = match open_directory(&directory, c"snapshots") {
            Err(Errno::NOENT) => {
                let create = |error| SnapshotError::io("create", b"snapshots", error);
                let mode = Mode::from_raw_mode(0o700);
                rustix::fs::mkdirat(&directory, c"snapshots", mode).map_err(create)?;
                rustix::fs::fsync(&directory)
                    .map_err(|error| SnapshotError::io("sync", b"snapshots", error))?;
                open_directory(&directory, c"snapshots").map_err(fail)?
            }
            other => other.map_err(fail)?,
        };
        Ok(Self::new(path, directory, snapshots))
    }

    fn open_itself(path: &Path) -> Result<OwnedFd, Errno> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        open_directory(rustix::fs::CWD, &path)
    }

    fn new(path: &Path, directory: OwnedFd, snapshots: OwnedFd) -> Self {
        let tenant = path.file_name().unwrap_or_default().as_bytes().to_vec();
        Self {
            directory,
            snapshots,
            tenant,
        }
    }

    /// Opens a directory beside live and the snapshots.
    pub(super) fn open_inside(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        open_directory(&self.directory, name)
    }

    /// Makes one, for nobody else.
    pub(super) fn make_inside(&self, name: &CStr) -> Result<(), Errno> {
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    pub(super) fn live(&self) -> Result<OwnedFd, SnapshotError> {
        match open_directory(&self.directory, c"live") {
            Err(Errno::NOENT) => Err(SnapshotError::NoLive),
            other => other.map_err(|error| SnapshotError::io("open", b"live", error)),
        }
    }

    /// Makes sure that only one builder is at work, also of another process. Holds until this is
    /// dropped, or the process dies. `false`: another is at work.
    pub(super) fn try_lock(&self) -> Result<bool, SnapshotError> {
        match rustix::fs::flock(&self.snapshots, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(SnapshotError::io("lock", b"snapshots", error)),
        }
    }

    pub(super) fn unlock(&self) -> Result<(), SnapshotError> {
        rustix::fs::flock(&self.snapshots, FlockOperation::Unlock)
            .map_err(|error| SnapshotError::io("unlock", b"snapshots", error))
    }

    /// All directories in `snapshots/`, by name; names that are not UTF-8 are none of ours.
    pub(super) fn directories(&self) -> Result<Vec<String>, SnapshotError> {
        let fail = |error| SnapshotError::io("list", b"snapshots", error);
        // A descriptor of its own: this one's position may be in use by another thread.
        let listing = open_directory(&self.snapshots, c".").map_err(fail)?;
        let mut found = Vec::new();
        let mut entries = Vec::with_capacity(32 << 10);
        let path = || b"snapshots".to_vec();
        each_entry(&listing, &mut entries, path, |name, kind, _| {
            if let (FileType::Directory, Ok(name)) = (kind, name.to_str()) {
                found.push(name.to_owned());
            }
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// What unfinished work has left.
    pub(super) fn unfinished(&self) -> Result<Vec<(String, Stage, SnapshotName)>, SnapshotError> {
        let staged = |file_name: String| {
            let (stage, name) = Stage::of(&file_name)?;
            Some((file_name, stage, name))
        };
        Ok(self.directories()?.into_iter().filter_map(staged).collect())
    }

    pub(super) fn exists(&self, file_name: &str) -> Result<bool, SnapshotError> {
        match rustix::fs::statat(&self.snapshots, file_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.fail("look at", file_name, error)),
        }
    }

    /// The first second from `name` on that no snapshot has, complete or not.
    pub(super) fn free_name(&self, name: SnapshotName) -> Result<SnapshotName, SnapshotError> {
        let mut name = name;
        loop {
            let twins = [State::Complete, State::Incomplete]
                .map(|state| SnapshotName::new(name.time(), state));
            let mut taken = false;
            for twin in twins.into_iter().flatten() {
                taken |= self.exists(&twin.to_string())?;
            }
            if !taken {
                return Ok(name);
            }
            let next = name.next_second();
            name = next.ok_or(SnapshotError::TimeOutOfRange(name.time()))?;
        }
    }

    /// Renames a directory in `snapshots/` to its `.removing-` name, and waits until that is on
    /// disk: from here on nothing of it is under another name.
    pub(super) fn set_aside(
        &self,
        file_name: &CStr,
        name: SnapshotName,
    ) -> Result<CString, SnapshotError> {
        let shown = || file_name.to_string_lossy().into_owned();
        for attempt in 0..u32::MAX {
            let aside = Stage::Removing.name_of(name, attempt);
            let renamed = rustix::fs::renameat_with(
                &self.snapshots,
                file_name,
                &self.snapshots,
                &aside,
                RenameFlags::NOREPLACE,
            );
            match renamed {
                Ok(()) => {
                    rustix::fs::fsync(&self.snapshots)
                        .map_err(|error| SnapshotError::io("sync", b"snapshots", error))?;
                    return Ok(aside);
                }
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Err(SnapshotError::Missing(name)),
                Err(error) => return Err(self.fail("rename", &shown(), error)),
            }
        }
        Err(self.fail("rename", &shown(), Errno::EXIST))
    }

    /// An error about an entry of `snapshots/`.
    pub(super) fn fail(
        &self,
        doing: &'static str,
        file_name: &str,
        error: impl Into<std::io::Error>,
    ) -> SnapshotError {
        SnapshotError::io(doing, format!("snapshots/{file_name}").as_bytes(), error)
    }
}
