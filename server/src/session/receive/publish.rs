//! What becomes of a file whose content is whole, or is not what the client has.
//!
//! A whole one gets its attributes, then its name, in the place of what had it before, which goes
//! to the backups if there are any. With `--delay-updates` it is kept aside until all have come.
//! One whose sum is another is asked for once more, and the second time given up.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use coffre_protocol::ExitCode;
use coffre_protocol::flist::EntryRef;
use coffre_protocol::mux::MessageKind;

use super::basis::Basis;
use super::generator::Job;
use super::writer::{FileWriter, Sink};
use super::{Fatal, Receiver, path_of};
use crate::confine::{Dir, Kind, Replace, Stat, XattrSet};
use crate::sum::Content;

/// What became of a file that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    Now,
    /// It waits for the end of the run.
    Later,
    /// The client was told.
    Failed,
}

impl Receiver {
    /// Gives a whole file its attributes and its name.
    pub(super) fn publish(
        &mut self,
        entry: &EntryRef<'_>,
        writer: FileWriter,
        content: Option<Content>,
        basis: Option<&Basis>,
        values: &HashMap<u32, Vec<u8>>,
    ) -> Result<Published, Fatal> {
        let path = path_of(entry);
        let sink = match writer.finish() {
            Ok(sink) => sink,
            Err(error) => return Err(self.store_failure("write failed on", &path, &error)),
        };
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => {
                self.entry_failed("failed to stat", entry, &error)?;
                return Ok(Published::Failed);
            }
        };
        let Some(dir) = &target.dir else {
            self.file_error("rename", &path, &std::io::ErrorKind::NotFound.into());
            return Ok(Published::Failed);
        };
        let have = target.stat.filter(|have| have.kind == Kind::File);
        let local = match have.map(|_| self.local_xattrs_if_kept(dir, &target.name)) {
            Some(Ok(local)) => local,
            // Its like elsewhere has what was not asked for.
            None => self.basis_xattrs(basis),
            Some(Err(error)) => {
                self.entry_failed("failed to read attributes of", entry, &error)?;
                XattrSet::new()
            }
        };
        let mut wanted = self.wanted(entry, have.as_ref(), &local, values);
        // A new inode has none of the old one's times, and one that was written to neither.
        wanted.set_time(&self.policy, entry);
        self.tell_lost_values(entry, &wanted);
        let mut staged = match (sink, have) {
            (Sink::Staged(staged), _) => staged,
            (Sink::InPlace(file), Some(have)) => {
                wanted.keep_excluded(&self.protection, &local);
                let result = super::attributes::update(dir, &target.name, &have, &wanted);
                self.report_attributes(entry, result)?;
                if let Some(content) = &content {
                    note_in_place(dir, file.file(), content);
                }
                if self.policy.fsync
                    && let Err(error) = file.file().sync_all()
                {
                    return Err(self.store_failure("fsync failed on", &path, &error));
                }
                return Ok(Published::Now);
            }
            (Sink::InPlace(_), None) => {
                self.file_error("stat", &path, &io::ErrorKind::NotFound.into());
                return Ok(Published::Failed);
            }
        };
        if let Some(content) = content {
            staged.note_content(content);
        }
        let result = staged.apply(&wanted.attributes());
        self.report_attributes(entry, result)?;
        if self.policy.fsync
            && let Err(error) = staged.file().sync_all()
        {
            return Err(self.store_failure("fsync failed on", &path, &error));
        }
        if !self.policy.inplace {
            self.comes_from_temp_dir();
        }
        if self.policy.delay_updates {
            let tree_path = self.tree_path(entry);
            let Some(kept) = &mut self.kept else {
                return Err(Fatal::internal("delayed updates without a place for them"));
            };
            let held = tree_path.and_then(|path| kept.keep_whole(staged, &path));
            return match held {
                Ok(()) => Ok(Published::Later),
                Err(error) => {
                    self.entry_failed("rename", entry, &error)?;
                    Ok(Published::Failed)
                }
            };
        }
        if !self.back_up_replaced(entry, &target)? {
            return Err(self.cannot_back_up(&path));
        }
        let replace = if target.stat.is_some() {
            Replace::Yes
        } else {
            Replace::No
        };
        self.touched(entry.dir());
        match staged.publish(dir, &target.name, replace) {
            Ok(()) => {
                self.forget_kept(entry);
                Ok(Published::Now)
            }
            Err(error) => {
                self.entry_failed("rename", entry, &error)?;
                Ok(Published::Failed)
            }
        }
    }

    /// What cannot be kept must not be replaced: stock ends here, and so do we.
    fn cannot_back_up(&self, path: &[u8]) -> Fatal {
        let shown = String::from_utf8_lossy(&self.shown(path)).into_owned();
        Fatal::exit(
            ExitCode::FileIo,
            format!("rsync: [receiver] no backup of \"{shown}\" could be made"),
        )
    }

    /// `--delay-updates`: puts in place what has come.
    pub(super) fn put_delayed_in_place(&mut self) -> Result<(), Fatal> {
        for ndx in std::mem::take(&mut self.delayed) {
            let place = self.list_of(ndx)?;
            let list = Arc::clone(&self.lists[place].list);
            let Some(entry) = list.entry(ndx) else {
                continue;
            };
            match self.put_one_in_place(&entry)? {
                Ok(true) => {
                    self.forget_kept(&entry);
                    if self.policy.reports_success {
                        self.successes.push(ndx);
                    }
                    self.leader_done(ndx, &entry)?;
                }
                Ok(false) => self.leader_failed(ndx)?,
                Err(error) => {
                    self.entry_failed("rename", &entry, &error)?;
                    self.leader_failed(ndx)?;
                }
            }
            self.stay_alive();
        }
        Ok(())
    }

    /// `Ok(false)`: it stays where it is, and the client was told.
    fn put_one_in_place(&mut self, entry: &EntryRef<'_>) -> Result<io::Result<bool>, Fatal> {
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => return Ok(Err(error)),
        };
        if !self.back_up_replaced(entry, &target)? {
            return Ok(Ok(false));
        }
        self.touched(entry.dir());
        let path = self.tree_path(entry);
        let (Some(dir), Some(kept)) = (&target.dir, &mut self.kept) else {
            return Ok(Err(io::ErrorKind::NotFound.into()));
        };
        let placed = path.and_then(|path| kept.put_in_place(&path, dir, &target.name));
        Ok(placed.map(|()| true))
    }

    /// Asks for a file once more: at once with incremental recursion, else in its own phase.
    pub(super) fn redo_later(&mut self, ndx: u32) {
        if self.negotiated.is_incremental() {
            self.jobs.push_back(Job::Redo(ndx));
        } else {
            self.redo.push(ndx);
        }
    }

    /// The first phase is over: what did not verify in it is asked for again.
    pub(super) fn redo_now(&mut self) {
        let again = std::mem::take(&mut self.redo);
        self.jobs.extend(again.into_iter().map(Job::Redo));
    }

    pub(super) fn verification_text(&mut self, kind: MessageKind, entry: &EntryRef<'_>) {
        let (word, next): (&[u8], &[u8]) = match kind {
            MessageKind::Warning => (b"WARNING: ", b" (will try again)."),
            _ => (b"ERROR: ", b"."),
        };
        let kept: &[u8] = if self.policy.partial_dir.is_some() {
            b"put into partial-dir"
        } else if self.policy.keeps_broken {
            b"retained"
        } else {
            b"discarded"
        };
        let path = path_of(entry);
        let line = [word, &path, b" failed verification -- update ", kept, next];
        self.out.raw_text(kind, line.concat());
    }
}

/// Keeps what is known of a content that was written in place, with the time it has now. One that
/// cannot be kept is found out by reading when it is wanted.
fn note_in_place(dir: &Dir, file: &File, content: &Content) {
    let kept = rustix::fs::fstat(file)
        .map_err(io::Error::from)
        .and_then(|stat| dir.keep_content_sum(file, content, Stat::from(stat).mtime));
    if let Err(error) = kept {
        tracing::debug!(%error, "the sum of a content could not be kept");
    }
}
