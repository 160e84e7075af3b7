//! Which names the client's filter rules protect from deletion.
//!
//! The rules come over the wire before the file list. Some of them name files that may lie in any
//! directory of the destination (`: .rsync-filter`); those are read as directories are entered,
//! beneath the tenant's root like everything else.

use std::io::{self, Read};
use std::sync::Arc;

use coffre_protocol::filter::{DirFilter, FilterList, ListState, MergeFile, Verdict};
use coffre_protocol::options::ServerOptions;
use coffre_protocol::wire::{Decode, Reader};
use coffre_protocol::{ProtocolError, ProtocolVersion};

use super::destination::Destination;
use crate::confine::{TenantPath, TenantRoot};

/// The rules of the session, and those of the directories entered.
pub(super) struct Protection {
    options: ServerOptions,
    arriving: FilterList,
    rules: DirFilter,
    /// The directories entered, outermost first, relative to the destination.
    entered: Vec<Vec<u8>>,
    /// The client wants to know which rule decides about which name.
    pub(super) traces: bool,
}

impl Protection {
    pub(super) fn new(options: &ServerOptions, version: ProtocolVersion) -> Self {
        let root = match TenantPath::parse(&options.destination()) {
            Ok(path) => [b"/", path.as_bytes()].concat(),
            Err(_) => b"/".to_vec(),
        };
        let list = FilterList::new(options, version, &root);
        Self {
            options: options.clone(),
            rules: DirFilter::new(Arc::new(list.clone())),
            arriving: list,
            entered: Vec::new(),
            traces: options.traces_filters(),
        }
    }

    /// Takes one rule off the wire. `true`: the list is whole.
    pub(super) fn decode(&mut self, reader: &mut Reader<'_>) -> Decode<bool> {
        if self.arriving.decode_rule(reader)? == ListState::More {
            return Ok(false);
        }
        self.arriving.complete(&self.options);
        self.rules = DirFilter::new(Arc::new(self.arriving.clone()));
        Ok(true)
    }

    /// Whether a rule of the list excludes this name (`--prune-empty-dirs` keeps such).
    pub(super) fn excludes(&self, name: &[u8], is_dir: bool) -> bool {
        self.rules.check(name, is_dir, false) == Verdict::Exclude
    }

    /// Whether a name in the directory entered last must stay. `in_deleted`: that directory is
    /// being deleted itself, and perishable rules no longer count.
    pub(super) fn protects(&self, path: &[u8], is_dir: bool, in_deleted: bool) -> bool {
        self.rules.check(path, is_dir, in_deleted) == Verdict::Exclude
    }

    /// Whether an extended attribute is none of this transfer's: neither set nor removed.
    pub(super) fn excludes_xattr(&self, name: &[u8]) -> bool {
        self.rules.list().has_xattr_rules() && self.rules.check_xattr(name) == Verdict::Exclude
    }

    /// Why [`Self::protects`] says what it says; `None` if no rule matches.
    pub(super) fn trace(&self, path: &[u8], is_dir: bool, in_deleted: bool) -> Option<Vec<u8>> {
        self.rules.trace(path, is_dir, in_deleted)
    }

    /// Enters a directory, relative to the destination, by way of those that it is in.
    /// Errors: a rule in a merge file makes no sense; the outer error is one of reading a file.
    pub(super) fn enter(
        &mut self,
        path: &[u8],
        root: &TenantRoot,
        destination: &Destination,
    ) -> Result<Result<(), ProtocolError>, io::Error> {
        if !self.rules.list().has_merge_files() {
            return Ok(Ok(()));
        }
        self.entered.retain(|entered| is_above(entered, path));
        let mut ends: Vec<usize> = vec![0];
        ends.extend((1..path.len()).filter(|at| path[*at] == b'/'));
        ends.push(path.len());
        ends.dedup();
        for end in ends {
            let directory = &path[..end];
            if self.entered.iter().any(|entered| entered == directory) {
                continue;
            }
            self.rules.enter(directory);
            self.entered.push(directory.to_vec());
            while let Some(file) = self.rules.next_file() {
                let content = read(root, destination, directory, &file)?;
                if let Err(error) = self.rules.supply(content.as_deref()) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Whether `path` lies in `directory`, at any depth.
fn is_above(directory: &[u8], path: &[u8]) -> bool {
    directory.is_empty() && !path.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with(b"/"))
}

/// Reads a merge file. `None`: there is none, or what has its name is not a regular file.
fn read(
    root: &TenantRoot,
    destination: &Destination,
    directory: &[u8],
    file: &MergeFile,
) -> io::Result<Option<Vec<u8>>> {
    let refused = |refusal: crate::confine::PathRefusal| {
        io::Error::new(io::ErrorKind::InvalidInput, refusal.to_string())
    };
    let path = match file {
        MergeFile::Here(name) => destination.place(root, directory)?.child(name)?,
        MergeFile::At(path) => TenantPath::parse(path).map_err(refused)?,
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let opened = root
        .cached_dir(&parent)
        .and_then(|dir| match dir.stat(name)? {
            Some(stat) if stat.kind == crate::confine::Kind::File => dir.open_file(name).map(Some),
            _ => Ok(None),
        });
    let opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => other?,
    };
    let Some(opened) = opened else {
        return Ok(None);
    };
    let mut content = Vec::new();
    opened
        .take(DirFilter::MAX_BYTES as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::is_above;

    #[test]
    fn a_directory_is_above_what_lies_in_it_and_not_above_itself_or_a_longer_name() {
        assert!(is_above(b"", b"a"));
        assert!(is_above(b"a", b"a/b/c"));
        assert!(!is_above(b"a", b"a"));
        assert!(!is_above(b"a", b"ab/c"));
        assert!(!is_above(b"", b""));
    }
}
