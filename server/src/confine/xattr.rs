//! Which extended attributes a client sees, and under which names they are kept.
//!
//! | in force | kept as | seen as |
//! |---|---|---|
//! | native, privileged | `user.*`, `trusted.*`, `security.*` | the same |
//! | native, unprivileged | `user.*` | the same; others are not seen |
//! | stored | `user.NAME` | the same |
//! | stored | `user.rsync.NAME` | `NAME` (`trusted.*`, `security.*`) |
//!
//! `user.coffre.*` is the server's own and nobody else's; `system.*` is ACLs, which have their
//! own interface; `user.rsync.%*` is how [`super::fake_super`] stores what it stores.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::inode::{Inode, XattrNames, XattrSource};
use super::metadata::{Metadata, sees_all_xattrs};

/// Extended attributes by full name (`user.note`), without NUL.
pub type XattrSet = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) const SERVER_PREFIX: &[u8] = b"user.coffre.";
const USER_PREFIX: &[u8] = b"user.";
pub(super) const STORED_PREFIX: &[u8] = b"user.rsync.";
/// XFS lists its ACLs once more, in its own form, to the privileged. Removing one removes the ACL.
/// A client on XFS may still set one, as with stock rsync.
const XFS_ACL_PREFIX: &[u8] = b"trusted.SGI_ACL_";
const STORED_SPECIAL_PREFIX: &[u8] = b"user.rsync.%";

/// What of a file's extended attributes a session deals with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum XattrView {
    All,
    UserOnly,
    Stored,
}

impl XattrView {
    pub(super) fn new(metadata: Metadata) -> Self {
        match metadata {
            Metadata::Xattr => XattrView::Stored,
            Metadata::Native if sees_all_xattrs() => XattrView::All,
            Metadata::Native => XattrView::UserOnly,
        }
    }

    /// What is left of it for a session that asks to be treated as one without privilege.
    pub(super) fn without_privilege(self) -> Self {
        match self {
            XattrView::All | XattrView::UserOnly => XattrView::UserOnly,
            XattrView::Stored => XattrView::Stored,
        }
    }

    /// The name a client knows an attribute by; `None`: it does not see it.
    fn shown(self, kept: &[u8]) -> Option<&[u8]> {
        let acl = kept.starts_with(b"system.") || kept.starts_with(XFS_ACL_PREFIX);
        if acl || kept.starts_with(SERVER_PREFIX) {
            return None;
        }
        match self {
            XattrView::All => Some(kept),
            XattrView::UserOnly => kept.starts_with(USER_PREFIX).then_some(kept),
            XattrView::Stored if kept.starts_with(STORED_SPECIAL_PREFIX) => None,
            XattrView::Stored => match kept.strip_prefix(STORED_PREFIX) {
                Some(stored) => (!stored.is_empty()).then_some(stored),
                None => kept.starts_with(USER_PREFIX).then_some(kept),
            },
        }
    }

    /// The name an attribute of a client is kept under.
    /// Errors: EPERM for names that belong to the server, EOPNOTSUPP for those that are not
    /// attributes of this kind, or not without privilege.
    fn kept(self, shown: &[u8]) -> Result<Vec<u8>, Errno> {
        if shown.starts_with(b"system.") {
            return Err(Errno::OPNOTSUPP);
        }
        let kept = match self {
            XattrView::All => shown.to_vec(),
            XattrView::UserOnly if shown.starts_with(USER_PREFIX) => shown.to_vec(),
            XattrView::UserOnly => return Err(Errno::OPNOTSUPP),
            // A name that looks stored already is stored once more, so that it reads back whole.
            XattrView::Stored
                if shown.starts_with(USER_PREFIX) && !shown.starts_with(STORED_PREFIX) =>
            {
                shown.to_vec()
            }
            XattrView::Stored => [STORED_PREFIX, shown].concat(),
        };
        let special = self == XattrView::Stored
            && (kept.starts_with(STORED_SPECIAL_PREFIX)
                || shown.starts_with(STORED_SPECIAL_PREFIX));
        if special || kept.starts_with(SERVER_PREFIX) {
            return Err(Errno::PERM);
        }
        Ok(kept)
    }

    /// Whether an attribute of a client can be kept at all.
    pub(super) fn keeps(self, shown: &[u8]) -> bool {
        self.kept(shown).is_ok()
    }

    /// All attributes that a client sees.
    pub(super) fn read(self, source: &impl XattrSource) -> io::Result<XattrSet> {
        self.read_named(source, &source.xattr_names()?)
    }

    /// The same, where all names are known already.
    pub(super) fn read_named(
        self,
        source: &impl XattrSource,
        names: &XattrNames,
    ) -> io::Result<XattrSet> {
        let mut set = XattrSet::new();
        for kept in names.iter() {
            if let Some(shown) = self.shown(kept)
                && let Some(value) = source.xattr(kept)?
            {
                set.insert(shown.to_vec(), value);
            }
        }
        Ok(set)
    }

    /// What has to be done to make the attributes that a client sees the wanted ones.
    pub(super) fn plan<'w>(
        self,
        source: &impl XattrSource,
        wanted: &'w XattrSet,
        owner_changes: bool,
    ) -> io::Result<Vec<XattrStep<'w>>> {
        let mut steps = Vec::new();
        for kept in source.xattr_names()?.iter() {
            if let Some(shown) = self.shown(kept)
                && !wanted.contains_key(shown)
            {
                steps.push(XattrStep {
                    shown: shown.to_vec(),
                    kept: Ok(kept.to_vec()),
                    value: None,
                });
            }
        }
        for (shown, value) in wanted {
            let kept = self.kept(shown);
            let is = match &kept {
                // The kernel takes it away with the old owner.
                Ok(kept) if owner_changes && kept == CAPABILITY => None,
                Ok(kept) => source.xattr(kept)?,
                Err(_) => None,
            };
            if is.as_ref() != Some(value) {
                steps.push(XattrStep {
                    shown: shown.clone(),
                    kept,
                    value: Some(value),
                });
            }
        }
        Ok(steps)
    }
}

/// What a program may do that its user may not (`capabilities(7)`).
const CAPABILITY: &[u8] = b"security.capability";

/// One attribute to set, or to remove.
pub(super) struct XattrStep<'w> {
    pub(super) shown: Vec<u8>,
    kept: Result<Vec<u8>, Errno>,
    value: Option<&'w [u8]>,
}

impl XattrStep<'_> {
    pub(super) fn carry_out(&self, inode: &Inode<'_>) -> io::Result<()> {
        let kept = self.kept.as_deref().map_err(|&errno| errno)?;
        match self.value {
            Some(value) => inode.set_xattr(kept, value),
            None => inode.remove_xattr(kept),
        }
    }
}

/// Gives `to` every extended attribute of `from`, whoever they belong to, ACLs and what is
/// stored included. Labels that a security module gives every new file are left alone when they
/// cannot be set.
pub(super) fn copy_all(from: &Inode<'_>, to: &Inode<'_>) -> io::Result<()> {
    let names = from.xattr_names()?;
    // What the directory made the new inode inherit is not what the old one had.
    for name in to.xattr_names()?.iter() {
        if !names.contains(name) && !is_label(name) {
            to.remove_xattr(name)?;
        }
    }
    for name in names.iter() {
        if let Some(value) = from.xattr(name)? {
            match to.set_xattr(name, &value) {
                Err(_) if is_label(name) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn is_label(name: &[u8]) -> bool {
    matches!(
        name,
        b"security.selinux" | b"security.SMACK64" | b"security.ima" | b"security.evm"
    )
}

/// Reads an attribute of the server's own, by its name below `user.coffre.`.
pub fn server_xattr(file: &File, name: &str) -> io::Result<Option<Vec<u8>>> {
    Inode::open(file.as_fd()).xattr(&[SERVER_PREFIX, name.as_bytes()].concat())
}

/// Sets an attribute of the server's own, by its name below `user.coffre.`. For files that are
/// not published yet ([`super::Staged::file`]) or private ([`super::Dir::unshare_for_write`]).
pub fn set_server_xattr(file: &File, name: &str, value: &[u8]) -> io::Result<()> {
    Inode::open(file.as_fd()).set_xattr(&[SERVER_PREFIX, name.as_bytes()].concat(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_and_shown_as_the_table_says() {
        use XattrView::{All, Stored, UserOnly};
        for (view, shown, kept) in [
            (All, "user.a", "user.a"),
            (All, "trusted.a", "trusted.a"),
            (All, "security.capability", "security.capability"),
            (All, "user.rsync.%stat", "user.rsync.%stat"),
            (UserOnly, "user.a", "user.a"),
            (Stored, "user.a", "user.a"),
            (Stored, "trusted.a", "user.rsync.trusted.a"),
            (Stored, "security.a", "user.rsync.security.a"),
            (Stored, "user.rsync.a", "user.rsync.user.rsync.a"),
        ] {
            assert_eq!(view.kept(shown.as_bytes()).unwrap(), kept.as_bytes());
            assert_eq!(view.shown(kept.as_bytes()).unwrap(), shown.as_bytes());
        }
        for (view, refused) in [
            (All, "system.posix_acl_access"),
            (All, "user.coffre.sum"),
            (UserOnly, "trusted.a"),
            (Stored, "user.coffre.sum"),
            (Stored, "user.rsync.%stat"),
            (Stored, "%stat"),
            (Stored, "%aacl"),
            (Stored, "system.posix_acl_default"),
        ] {
            assert!(view.kept(refused.as_bytes()).is_err(), "{refused}");
        }
        for (view, hidden) in [
            (All, "system.posix_acl_access"),
            (All, "trusted.SGI_ACL_FILE"),
            (All, "user.coffre.sum"),
            (UserOnly, "security.selinux"),
            (Stored, "security.selinux"),
            (Stored, "user.rsync.%stat"),
            (Stored, "user.rsync.%dacl"),
        ] {
            assert_eq!(view.shown(hidden.as_bytes()), None, "{hidden}");
        }
    }
}
