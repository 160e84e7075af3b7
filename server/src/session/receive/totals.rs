//! What a session counts.

use crate::confine::Kind;

/// Deleted things by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deleted {
    files: u64,
    directories: u64,
    symlinks: u64,
    devices: u64,
    specials: u64,
}

impl Deleted {
    pub(super) fn count(&mut self, kind: Kind) {
        match kind {
            Kind::File => self.files += 1,
            Kind::Dir => self.directories += 1,
            Kind::Symlink => self.symlinks += 1,
            Kind::CharDevice | Kind::BlockDevice => self.devices += 1,
            Kind::Fifo | Kind::Socket => self.specials += 1,
        }
    }

    /// In the order of the wire: files, directories, symlinks, devices, specials.
    pub(super) fn counts(&self) -> [u64; 5] {
        [
            self.files,
            self.directories,
            self.symlinks,
            self.devices,
            self.specials,
        ]
    }

    pub(super) fn total(&self) -> u64 {
        self.counts().iter().sum()
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// Entries in all file lists.
    pub(super) entries: u64,
    /// Bytes in all regular files of the lists.
    pub(super) size: u64,
    pub(super) transferred: u64,
    /// Bytes in files transferred.
    pub(super) transferred_size: u64,
    /// Bytes that came as they are, and bytes that were found here.
    pub(super) literal: u64,
    pub(super) matched: u64,
    pub(super) up_to_date: u64,
    /// Symlinks, devices, specials, hard links and directories that were made.
    pub(super) created: u64,
    /// Files asked for a second time.
    pub(super) redone: u64,
    pub(super) deleted: Deleted,
    pub(super) deletions_skipped: u64,
    /// Something failed that ends the run with 23.
    pub(super) had_errors: bool,
}
