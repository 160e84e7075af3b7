//! A walk over a tree by several threads, one directory at a time.
//!
//! Each job is a directory; working on it finds more. The newest job goes first, so a walk goes
//! deep before it goes wide, and what is open or waiting stays small.

use std::ffi::CStr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::SnapshotError;
use super::listing::Listing;
use super::manifest::Draft;
use crate::syscalls::btrfs;

/// In a large directory, whether to stop is asked after so many files.
pub(crate) const CHECK_EVERY: u64 = 256;

/// Memory that each thread of a walk uses again for each directory.
pub(crate) struct Scratch {
    /// Directory listings.
    pub entries: Vec<u8>,
    /// A list of attribute names, and an attribute's value; the kernel gives no longer ones.
    pub names: Box<[u8]>,
    pub value: Box<[u8]>,
    /// Where a value is compared with another one.
    pub other_value: Box<[u8]>,
    /// What the other one of two directories holds.
    pub(super) listing: Listing,
    /// What of a directory goes into the manifest.
    pub(super) draft: Draft,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        const LARGEST_XATTR: usize = 64 << 10;
        Self {
            entries: Vec::with_capacity(64 << 10),
            names: vec![0; LARGEST_XATTR].into(),
            value: vec![0; LARGEST_XATTR].into(),
            other_value: vec![0; LARGEST_XATTR].into(),
            listing: Listing::default(),
            draft: Draft::default(),
        }
    }
}

/// What the jobs share.
struct Queue<J> {
    state: Mutex<QueueState<J>>,
    changed: Condvar,
}

struct QueueState<J> {
    jobs: Vec<J>,
    /// Threads at work on a job, which may find more.
    working: usize,
    error: Option<SnapshotError>,
}

/// Does `jobs` and all that `work` finds on the way (pushed to its second argument), on so many
/// threads, one of which is this one. The first error ends the walk.
pub(crate) fn run<J: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J, &mut Vec<J>, &mut Scratch) -> Result<(), SnapshotError> + Sync,
) -> Result<(), SnapshotError> {
    let queue = Queue {
        state: Mutex::new(QueueState {
            jobs,
            working: 0,
            error: None,
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| queue.serve(&work));
        }
        queue.serve(&work);
    });
    let state = queue.state.into_inner();
    match state.unwrap_or_else(PoisonError::into_inner).error {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, QueueState<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, work: &impl Fn(J, &mut Vec<J>, &mut Scratch) -> Result<(), SnapshotError>) {
        let mut scratch = Scratch::new();
        let mut found = Vec::new();
        while let Some(job) = self.next() {
            // Also when `work` panics, the other threads must not wait for this one.
            let mut leave = Leave {
                queue: self,
                found: &mut found,
                result: None,
            };
            leave.result = Some(work(job, leave.found, &mut scratch));
        }
    }

    /// The next job; `None` when all is done, or an error has ended it.
    fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.working += 1;
                return Some(job);
            }
            if state.working == 0 {
                return None;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Hands in what came of a job.
struct Leave<'a, J> {
    queue: &'a Queue<J>,
    found: &'a mut Vec<J>,
    result: Option<Result<(), SnapshotError>>,
}

impl<J> Drop for Leave<'_, J> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.working -= 1;
        match self.result.take() {
            Some(Ok(())) => state.jobs.append(self.found),
            Some(Err(error)) => {
                state.error.get_or_insert(error);
            }
            // A panic goes on to whoever waits for the scope; the others need only stop.
            None => {
                state.error.get_or_insert(SnapshotError::Cancelled);
            }
        }
        drop(state);
        self.queue.changed.notify_all();
    }
}

/// As many threads as gain something on the file system that holds `directory`. On btrfs they
/// only wait for each other.
pub(crate) fn threads_for(directory: &OwnedFd) -> usize {
    match rustix::fs::fstatfs(directory) {
        Ok(stat) if stat.f_type as u64 == btrfs::MAGIC => 1,
        _ => 2,
    }
}

/// Opens a directory to be read, without changing its access time where that is allowed.
pub(crate) fn open_directory(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(&parent, name, flags, Mode::empty()),
        other => other,
    }
}

/// Calls `each` with name, type and inode number of each entry but `.` and `..`. The type is
/// asked for where the file system does not list it. `path`: of the directory, for messages.
pub(crate) fn each_entry(
    directory: &OwnedFd,
    entries: &mut Vec<u8>,
    path: impl Fn() -> Vec<u8>,
    mut each: impl FnMut(&CStr, FileType, u64) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let fail = |error| SnapshotError::io("list", &path(), error);
    entries.clear();
    let mut listing = RawDir::new(directory.as_fd(), entries.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                FileType::from_raw_mode(stat.map_err(fail)?.st_mode)
            }
            known => known,
        };
        each(name, kind, entry.ino())?;
    }
    Ok(())
}
