//! What is kept of files that broke off (`--partial`, `--partial-dir`), and used the next time.
//!
//! Stock rsync puts a truncated file under its final name, or into a directory of the tree. Here
//! it is kept beside the tree ([`Kept`](crate::confine::Kept)), where no snapshot finds it, and
//! every later push of the same path may take blocks from it, whatever its options.

use coffre_protocol::flist::EntryRef;
use coffre_protocol::item::BasisType;

use super::Receiver;
use super::basis::{Basis, OpenBasis};
use super::generator::Target;
use super::incoming::{Broken, Incoming};
use super::policy::Append;
use super::writer::{FileWriter, Sink};
use crate::confine::{KeptFile, KeptNote, Kind, TenantPath};

impl Receiver {
    /// Looks at what is kept for the tenant, once the destination is known.
    pub(super) fn open_kept(&mut self) {
        match self.root.kept() {
            Ok(kept) => self.kept = Some(kept),
            Err(error) => tracing::warn!(%error, "cannot use what broken pushes left"),
        }
    }

    /// Where an entry stands in the tenant's tree.
    pub(super) fn tree_path(&self, entry: &EntryRef<'_>) -> std::io::Result<TenantPath> {
        let no_path = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let destination = self.destination.as_ref().ok_or_else(no_path)?;
        let name = match &destination.single_name {
            Some(single) if entry.dir().is_empty() => single,
            _ => entry.base(),
        };
        destination.place(&self.root, entry.dir())?.child(name)
    }

    /// What is kept of an entry.
    pub(super) fn kept_of(&mut self, entry: &EntryRef<'_>) -> Option<KeptFile> {
        let kept = self.kept.as_ref().filter(|kept| !kept.is_empty())?;
        let path = self.tree_path(entry).ok()?;
        match kept.find(&path) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot use what a broken push left");
                None
            }
        }
    }

    /// What is kept of an entry as its basis, if that saves more than what stands there.
    ///
    /// With a partial directory it is told as a file in that directory; else as the file itself,
    /// where stock would have left it.
    pub(super) fn kept_basis(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
        is_redo: bool,
    ) -> Option<OpenBasis> {
        let kept = self.kept_of(entry)?;
        let appends = self.policy.append != Append::No && !is_redo;
        if let Some(have) = target.stat {
            let spared = match &kept.note {
                None => entry.len(),
                Some(note) => note.literal,
            };
            let is_better = if appends {
                kept.len > have.size
            } else {
                // What it has of the file would else be sent again; what it lacks might be found
                // in the old file.
                spared >= entry.len().saturating_sub(kept.len)
            };
            if !is_better {
                return None;
            }
        }
        // A part as long as the file can have nothing appended, and must not pass for the file.
        if appends && (kept.note.is_none() || kept.len >= entry.len()) {
            return None;
        }
        let kind = if self.policy.partial_dir.is_some() {
            BasisType::PartialDir
        } else {
            BasisType::Destination
        };
        Some(OpenBasis {
            basis: Basis::kept(kind),
            file: kept.file,
            len: kept.len,
        })
    }

    /// A file that stands in the partial directory itself, as a stock server leaves it.
    pub(super) fn partial_in_tree(&mut self, entry: &EntryRef<'_>) -> Option<TenantPath> {
        let partial = self.policy.partial_dir.as_ref()?;
        let path = self.tree_path(entry).ok()?;
        let below = TenantPath::parse(partial).ok()?;
        let directory = match partial.starts_with(b"/") {
            true => below,
            false => path.parent()?.join(&below),
        };
        let name = path.file_name()?;
        let dir = self.root.cached_dir(&directory).ok()?;
        let stat = dir.stat(name).ok()??;
        let found = directory.child(name).ok()?;
        (stat.kind == Kind::File).then_some(found)
    }

    /// The file is complete: what stood in the partial directory goes, and that with it if it
    /// belongs to this directory alone and is empty.
    pub(super) fn drop_partial_in_tree(&mut self, place: &TenantPath) {
        let (Some(directory), Some(name)) = (place.parent(), place.file_name()) else {
            return;
        };
        if let Ok(dir) = self.root.cached_dir(&directory) {
            let _ = dir.remove_file(name);
        }
        let is_relative = self
            .policy
            .partial_dir
            .as_ref()
            .is_some_and(|dir| !dir.starts_with(b"/"));
        if let (true, Some(above), Some(name)) =
            (is_relative, directory.parent(), directory.file_name())
            && let Ok(dir) = self.root.cached_dir(&above)
        {
            self.last_dir = None;
            let _ = dir.remove_dir(name);
        }
    }

    /// The file is complete: nothing need be kept of it.
    pub(super) fn forget_kept(&mut self, entry: &EntryRef<'_>) {
        if !self.policy.dry_run
            && let Some(place) = self.partial_in_tree(entry)
        {
            self.touched(entry.dir());
            self.drop_partial_in_tree(&place);
        }
        if self.kept.as_ref().is_some_and(|kept| !kept.is_empty())
            && !self.policy.dry_run
            && let Ok(path) = self.tree_path(entry)
            && let Some(kept) = &mut self.kept
        {
            kept.forget(&path);
        }
    }

    /// The run broke off while a file arrived: what there is of it is kept, if the client wants
    /// that and some of it came over the wire.
    pub(super) fn keep_broken(&mut self, incoming: Incoming) {
        let Some(Broken {
            list,
            ndx,
            writer,
            literal,
        }) = incoming.break_off()
        else {
            return;
        };
        if let Some(entry) = list.entry(ndx) {
            self.keep_unverified(&entry, Some(writer), literal);
        }
    }

    /// What there is of a file that did not come whole, or not as it should: what was written in
    /// place stays there, and the rest is kept if the client wants that.
    pub(super) fn keep_unverified(
        &mut self,
        entry: &EntryRef<'_>,
        writer: Option<FileWriter>,
        literal: u64,
    ) {
        let sink = match writer.map(FileWriter::break_off) {
            Some(Ok(sink)) => sink,
            Some(Err(error)) => {
                return tracing::debug!(%error, "cannot write the rest of a broken file");
            }
            None => return,
        };
        let Sink::Staged(staged) = sink else { return };
        if !self.policy.keeps_broken || literal == 0 {
            return;
        }
        let Ok(path) = self.tree_path(entry) else {
            return;
        };
        let note = KeptNote {
            path: Some(path.clone()),
            len: entry.len(),
            literal,
        };
        if let Some(kept) = &mut self.kept
            && let Err(error) = kept.keep(staged, &path, &note)
        {
            tracing::warn!(%error, "cannot keep what a broken push left");
        }
    }

    /// At the end of a good run: what is kept of files whose directory is gone is of no use, and
    /// after a deletion neither is that of files that are not there.
    pub(super) fn forget_orphans(&mut self) {
        let (Some(kept), Some(destination)) = (&mut self.kept, &self.destination) else {
            return;
        };
        if kept.is_empty() || self.policy.dry_run {
            return;
        }
        let deletes = self.policy.may_delete();
        let (root, below) = (&self.root, &destination.dir);
        kept.forget_where(|path| {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return true;
            };
            match root.cached_dir(&parent) {
                Ok(dir) => deletes && path.starts_with(below) && matches!(dir.stat(name), Ok(None)),
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            }
        });
    }
}
