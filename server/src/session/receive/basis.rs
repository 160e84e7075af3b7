//! The basis of a request: the file here that block sums are made of and blocks are copied from.
//!
//! It is opened twice: when its sums are sent, and when the reply comes. Between the two there
//! can be thousands of requests, so what waits is where it is ([`Basis`]), not a descriptor.

use std::fs::File;
use std::io;

use coffre_protocol::flist::EntryRef;
use coffre_protocol::item::{BasisType, ItemFlags, ItemHead};

use super::{Receiver, path_of};
use crate::confine::{TenantPath, XattrSet};

/// Which file is the basis, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    /// As the wire tells it.
    pub(super) kind: BasisType,
    /// The name that is told with it, where the kind has one (fuzzy).
    pub(super) xname: Option<Vec<u8>>,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// What has the entry's own name.
    Destination,
    /// What a broken push left of it, beside the tree.
    Kept,
    /// A file of the tenant's tree.
    Tree(TenantPath),
}

impl Basis {
    /// The file that the reply will replace.
    pub(super) fn destination() -> Self {
        Self {
            kind: BasisType::Destination,
            xname: None,
            place: Place::Destination,
        }
    }

    /// What is kept of a file, told as `kind`.
    pub(super) fn kept(kind: BasisType) -> Self {
        Self {
            kind,
            xname: None,
            place: Place::Kept,
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.place == Place::Kept
    }

    /// Whether it is, or is a copy of, what has the entry's name.
    pub(super) fn has_content_of_destination(&self) -> bool {
        self.place == Place::Destination || self.kind == BasisType::Backup
    }

    /// Another file of the tree, by its path from the tenant's root.
    pub(super) fn in_tree(kind: BasisType, path: TenantPath, xname: Option<Vec<u8>>) -> Self {
        Self {
            kind,
            xname,
            place: Place::Tree(path),
        }
    }

    /// Adds to an item what it says about its basis.
    pub(super) fn tell_in(&self, item: &mut ItemHead) {
        if self.kind != BasisType::Destination {
            item.flags |= ItemFlags::BASIS_TYPE_FOLLOWS;
            item.basis_type = Some(self.kind.code());
        }
        if let Some(xname) = &self.xname {
            item.flags |= ItemFlags::XNAME_FOLLOWS;
            item.xname = Some(xname.clone());
        }
    }
}

/// A basis that has been opened to make its sums.
pub(super) struct OpenBasis {
    pub(super) basis: Basis,
    pub(super) file: File,
    /// Bytes.
    pub(super) len: u64,
}

impl Receiver {
    /// Opens a basis. Errors: EINVAL where it is not a regular file.
    pub(super) fn open_basis(
        &mut self,
        entry: &EntryRef<'_>,
        basis: Basis,
    ) -> io::Result<OpenBasis> {
        let file = self.open_place(entry, &basis)?;
        let len = file.metadata()?.len();
        Ok(OpenBasis { basis, file, len })
    }

    fn open_place(&mut self, entry: &EntryRef<'_>, basis: &Basis) -> io::Result<File> {
        match &basis.place {
            Place::Destination => {
                let name = self.target_name(entry);
                let dir = self.dir_of(entry)?.ok_or(io::ErrorKind::NotFound)?;
                dir.open_file(&name)
            }
            Place::Kept => {
                let path = self.tree_path(entry)?;
                let kept = match &self.kept {
                    Some(kept) => kept.find(&path)?,
                    None => None,
                };
                Ok(kept.ok_or(io::ErrorKind::NotFound)?.file)
            }
            Place::Tree(path) => {
                let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
                self.root.cached_dir(&parent)?.open_file(name)
            }
        }
    }

    /// The extended attributes of a basis in the tree, if the client keeps such.
    pub(super) fn basis_xattrs(&self, basis: Option<&Basis>) -> XattrSet {
        let read = || {
            let Place::Tree(path) = &basis?.place else {
                return None;
            };
            let dir = self.root.cached_dir(&path.parent()?).ok()?;
            self.local_xattrs_if_kept(&dir, path.file_name()?).ok()
        };
        read().unwrap_or_default()
    }

    /// Opens the basis of a request once more, for its reply. `None`: it cannot be had any more,
    /// which was told to the client.
    pub(super) fn open_basis_again(&mut self, entry: &EntryRef<'_>, basis: &Basis) -> Option<File> {
        match self.open_place(entry, basis) {
            Ok(file) => Some(file),
            Err(error) => {
                self.file_error("failed to open", &path_of(entry), &error);
                None
            }
        }
    }
}
