//! How far long work has come, and the way to end it early.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Told about work as it is done, from several threads. Asked often whether to stop.
pub trait Progress: Sync {
    /// So many more files and directories are done: linked, removed or measured.
    fn advance(&self, files: u64, directories: u64);

    /// Whether to stop as soon as possible.
    fn cancelled(&self) -> bool {
        false
    }

    /// Whether to look at the sizes of what comes and goes.
    fn counts_space(&self) -> bool {
        false
    }

    /// So much has come, or gone: bytes on disk, and inodes.
    fn space(&self, _bytes: i64, _files: i64) {}

    /// Something has gone, and nobody has looked at how much that was.
    fn uncounted(&self) {}
}

/// Nobody watches.
impl Progress for () {
    fn advance(&self, _files: u64, _directories: u64) {}
}

/// Counts, for another thread to show; and carries its wish to stop.
#[derive(Debug, Default)]
pub struct Counter {
    files: AtomicU64,
    directories: AtomicU64,
    cancelled: AtomicBool,
}

impl Counter {
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    pub fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Progress for Counter {
    fn advance(&self, files: u64, directories: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.directories.fetch_add(directories, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
