//! A few open directories, since an engine visits the entries of one directory after another.

use std::sync::Arc;

use super::dir::Dir;
use super::path::TenantPath;

/// Descriptors kept at most.
const LIMIT: usize = 64;

/// Open directories by path, the one used last at the end.
///
/// A directory that was removed or renamed must not be found by its old path. The session itself
/// says so ([`DirCache::forget`]); that another session of the tenant did it shows in the epoch,
/// a count of such events, and empties the cache.
#[derive(Default)]
pub(super) struct DirCache {
    entries: Vec<(TenantPath, Arc<Dir>)>,
    epoch: u64,
}

impl DirCache {
    /// The open directory, unless something may have happened to it since.
    pub(super) fn find(&mut self, path: &TenantPath, epoch: u64) -> Option<Arc<Dir>> {
        if self.epoch != epoch {
            self.entries.clear();
            self.epoch = epoch;
        }
        let at = self.entries.iter().rposition(|(held, _)| held == path)?;
        let entry = self.entries.remove(at);
        let dir = Arc::clone(&entry.1);
        self.entries.push(entry);
        Some(dir)
    }

    /// Keeps a directory that was opened when the epoch was `epoch`.
    pub(super) fn keep(&mut self, path: TenantPath, dir: &Arc<Dir>, epoch: u64) {
        if self.epoch != epoch {
            return;
        }
        if self.entries.len() == LIMIT {
            self.entries.remove(0);
        }
        self.entries.push((path, Arc::clone(dir)));
    }

    /// Drops a directory and all below. `epoch_before`: the epoch that this very event ended.
    pub(super) fn forget(&mut self, path: &TenantPath, epoch_before: u64) {
        self.entries.retain(|(held, _)| !held.starts_with(path));
        if self.epoch == epoch_before {
            self.epoch += 1;
        }
    }
}
