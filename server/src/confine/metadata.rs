//! Where owners, modes, devices and other privileged attributes are kept.

use rustix::thread::{CapabilitySet, capabilities};

/// How the attributes of a tenant's files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// Set on the files themselves; needs root or capabilities.
    Native,
    /// What needs privilege is stored in `user.rsync.%stat` and friends, as stock
    /// `rsync --fake-super` does.
    Xattr,
}

impl Metadata {
    /// `Native` when the calling thread may give files away, act on files of others, keep
    /// set-id bits, pass permissions and make devices; else `Xattr`.
    pub fn detect() -> Metadata {
        let needed = CapabilitySet::CHOWN
            | CapabilitySet::FOWNER
            | CapabilitySet::FSETID
            | CapabilitySet::DAC_OVERRIDE
            | CapabilitySet::MKNOD;
        match capabilities(None) {
            Ok(sets) if sets.effective.contains(needed) => Metadata::Native,
            _ => Metadata::Xattr,
        }
    }
}

/// Whether `trusted.*` and `security.*` can be read and written at all.
pub(super) fn sees_all_xattrs() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}
