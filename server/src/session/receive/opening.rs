//! Where the content of a file goes: into a new file, over the old one, or behind what is there.
//!
//! A new file is the rule; it has no name until it is whole. `--inplace` and `--append` write into
//! the file at the destination, which no snapshot shares by then, and what an earlier session
//! could not finish goes on in the file that was kept of it. A new file starts as a clone of its
//! basis where the file system can do that.

use std::io;
use std::os::unix::fs::FileExt;

use coffre_protocol::flist::EntryRef;

use super::awaited::AwaitedKind;
use super::basis::Basis;
use super::incoming::Incoming;
use super::policy::Append;
use super::writer::{FileWriter, Held, Sink};
use super::{Fatal, Receiver, path_of};
use crate::confine::Kind;

impl Receiver {
    /// Makes or opens the file that the content goes into. No writer: it could not be had, which
    /// was told to the client; the content is thrown away. Errors: the store is full or broken.
    pub(super) fn begin_content(
        &mut self,
        incoming: &mut Incoming,
        entry: &EntryRef<'_>,
        basis: Option<&Basis>,
    ) -> Result<(), Fatal> {
        let AwaitedKind::File { is_redo, .. } = incoming.awaited.kind else {
            return Ok(());
        };
        let appends = self.policy.append != Append::No && !is_redo && !incoming.head.is_empty();
        let (sink, held) = match self.open_sink(incoming, entry, basis, appends) {
            Ok(opened) => opened,
            Err((action, error)) if super::messages::is_store_failure(&error) => {
                return Err(self.store_failure(action, &path_of(entry), &error));
            }
            Err((action, error)) => {
                self.file_error(action, &path_of(entry), &error);
                return Ok(());
            }
        };
        let summer = self.negotiated.arrival_summer();
        let mut writer = FileWriter::new(sink, held, self.policy.sparse, summer, entry.len());
        if self.policy.preallocate {
            writer.preallocate(entry.len());
        }
        incoming.writer = Some(writer);
        if appends {
            self.pass_over_what_is_there(incoming)?;
        }
        Ok(())
    }

    /// The file to write into, and what it holds.
    fn open_sink(
        &mut self,
        incoming: &mut Incoming,
        entry: &EntryRef<'_>,
        basis: Option<&Basis>,
        appends: bool,
    ) -> Result<(Sink, Held), (&'static str, io::Error)> {
        let in_place = self.policy.inplace;
        if basis.is_some_and(Basis::is_kept) {
            let path = self.tree_path(entry).map_err(|error| ("open", error))?;
            let found = match &self.kept {
                Some(kept) => kept.find(&path).map_err(|error| ("open", error))?,
                None => None,
            };
            let note = found.and_then(|found| found.note);
            incoming.literal = note.map_or(0, |note| note.literal);
            // Appending needs what is there in the new file; and a client that keeps the rules
            // for files in place sends blocks only from behind the end of what was written.
            let (true, Some(kept)) = (in_place, &mut self.kept) else {
                return self.stage(incoming, entry);
            };
            let taken = kept.take(&path).map_err(|error| ("open", error))?;
            return match taken {
                Some(staged) => {
                    let len = incoming.head.basis_len();
                    let is_basis = true;
                    Ok((Sink::Staged(staged), Held { len, is_basis }))
                }
                None => Err(("open", io::ErrorKind::NotFound.into())),
            };
        }
        if !in_place {
            return self.stage(incoming, entry);
        }
        let target = self.target(entry).map_err(|error| ("open", error))?;
        let (Some(dir), Some(have)) = (&target.dir, &target.stat) else {
            if appends {
                return Err(("open", io::ErrorKind::NotFound.into()));
            }
            return self.stage(incoming, entry);
        };
        if have.kind != Kind::File {
            return self.stage(incoming, entry);
        }
        let file = dir
            .open_in_place(&target.name, have)
            .map_err(|error| ("open", error))?;
        let mut held = Held {
            len: file
                .file()
                .metadata()
                .map_err(|error| ("open", error))?
                .len(),
            is_basis: basis.is_some_and(Basis::has_content_of_destination),
        };
        if self.policy.sparse && self.policy.whole_file {
            // Holes come cheapest in a file that is empty at first.
            file.file()
                .set_len(0)
                .map_err(|error| ("ftruncate", error))?;
            held = Held::default();
        }
        Ok((Sink::InPlace(file), held))
    }

    /// A new file, as a clone of the basis where the file system can.
    fn stage(
        &mut self,
        incoming: &Incoming,
        entry: &EntryRef<'_>,
    ) -> Result<(Sink, Held), (&'static str, io::Error)> {
        let mut make = || {
            let dir = self.dir_of(entry)?.ok_or(io::ErrorKind::NotFound)?;
            let staged = dir.stage(self.policy.staging_mode(entry))?;
            let mut held = Held::default();
            if let Some(basis) = &incoming.basis
                && incoming.head.basis_len() >= WORTH_CLONING
                && staged.clone_content(basis)?
            {
                held.len = staged.file().metadata()?.len();
                held.is_basis = true;
            }
            Ok((Sink::Staged(staged), held))
        };
        make().map_err(|error| ("mkstemp", error))
    }

    /// Appending: what is there stays, and with `--append-verify` takes part in the sum.
    fn pass_over_what_is_there(&mut self, incoming: &mut Incoming) -> Result<(), Fatal> {
        let (Some(writer), Some(basis)) = (&mut incoming.writer, &incoming.basis) else {
            return Ok(());
        };
        let len = incoming.head.basis_len();
        let is_covered = self.policy.append == Append::Verified;
        let mut at = 0;
        self.buffer.resize(READ_STEP, 0);
        while at < len {
            let step = (len - at).min(READ_STEP as u64) as usize;
            let piece = &mut self.buffer[..step];
            if let Err(error) = basis.read_exact_at(piece, at) {
                piece.fill(0);
                if !is_covered {
                    // Nobody verifies it, so a sum of it would vouch for bytes that are not there.
                    writer.pass_over_unseen(len - at);
                    return Ok(());
                }
                tracing::warn!(%error, "cannot read a file that is appended to");
            }
            writer.pass_over(piece, is_covered);
            at += step as u64;
            self.stay_alive();
        }
        Ok(())
    }
}

/// How much is read at a time of a file that is appended to.
const READ_STEP: usize = 256 << 10;
/// The least basis, in bytes, that a new file starts as a clone of.
const WORTH_CLONING: u64 = 64 << 10;
