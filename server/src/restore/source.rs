//! What an entry of the store is and has, in whichever form it is stored.
//!
//! A tenant's store has one form, but a client may have asked for the other (`-M--fake-super`), and
//! a server may have lost or gained root. So each entry is looked at: one with attributes named
//! `user.rsync.*` is stored, whatever the rest is.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use crate::confine::{
    AclKind, Dir, Kind, Metadata, Notes, PosixAcl, Stat, TenantPath, TenantRoot, XattrSet,
};
use crate::sum::ContentSum;

/// The tree that is read, seen in both forms.
pub(crate) struct Source {
    native: TenantRoot,
    stored: TenantRoot,
    /// The form of entries that do not tell.
    form: Metadata,
}

/// Everything but content.
#[derive(Debug)]
pub(crate) struct Has {
    pub(crate) stat: Stat,
    pub(crate) xattrs: XattrSet,
    pub(crate) access_acl: Option<PosixAcl>,
    pub(crate) default_acl: Option<PosixAcl>,
}

/// A directory of the source, seen in both forms.
pub(crate) struct Views {
    native: Dir,
    stored: Dir,
    form: Metadata,
}

impl Source {
    /// `notes`: where what is noted of files is, if not in the files.
    pub(crate) fn open(
        tree: &Path,
        form: Metadata,
        notes: Option<Arc<dyn Notes>>,
    ) -> io::Result<Self> {
        Ok(Self {
            native: TenantRoot::open_read_only(tree, Metadata::Native)?.with_notes(notes)?,
            stored: TenantRoot::open_read_only(tree, Metadata::Xattr)?,
            form,
        })
    }

    /// Opens a directory of the tree. No part of the path may be a symbolic link.
    pub(crate) fn directory(&self, path: &TenantPath) -> io::Result<Views> {
        Ok(Views {
            native: self.native.dir(path)?,
            stored: self.stored.dir(path)?,
            form: self.form,
        })
    }

    /// Looks at an open directory of the tree.
    pub(crate) fn views(&self, directory: BorrowedFd<'_>) -> io::Result<Views> {
        Ok(Views {
            native: self.native.adopt(directory.try_clone_to_owned()?),
            stored: self.stored.adopt(directory.try_clone_to_owned()?),
            form: self.form,
        })
    }
}

impl Views {
    fn view(&self, says_so: bool) -> &Dir {
        match says_so || self.form == Metadata::Xattr {
            true => &self.stored,
            false => &self.native,
        }
    }

    /// The view that an entry is to be seen in.
    pub(crate) fn of(&self, name: &[u8]) -> io::Result<&Dir> {
        Ok(self.view(self.stored.is_stored(name)?))
    }

    /// What an entry is; `None`: there is none of that name.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self.of(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            dir => dir?.stat(name),
        }
    }

    /// What was noted of the content of a file.
    pub(crate) fn content_sum(&self, name: &[u8]) -> io::Result<Option<ContentSum>> {
        self.native.content_sum(name)
    }

    pub(crate) fn entry(&self, name: &[u8]) -> io::Result<Has> {
        let dir = self.of(name)?;
        let stat = dir.stat(name)?.ok_or(io::ErrorKind::NotFound)?;
        let is_symlink = stat.kind == Kind::Symlink;
        Ok(Has {
            xattrs: dir.xattrs(name)?,
            access_acl: match is_symlink {
                true => None,
                false => dir.acl(name, &stat, AclKind::Access)?,
            },
            default_acl: None,
            stat,
        })
    }

    /// The same of the directory itself.
    pub(crate) fn itself(&self) -> io::Result<Has> {
        let dir = self.view(self.stored.self_is_stored()?);
        let stat = dir.self_stat()?;
        Ok(Has {
            xattrs: dir.self_xattrs()?,
            access_acl: dir.self_acl(&stat, AclKind::Access)?,
            default_acl: dir.self_acl(&stat, AclKind::Default)?,
            stat,
        })
    }
}

/// Who made the store: a server without root stores what it may not set.
pub(crate) fn form_of(home: &Path) -> Metadata {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(home.join("snapshots")) {
        Ok(found) if found.uid() != 0 => Metadata::Xattr,
        _ => Metadata::Native,
    }
}
