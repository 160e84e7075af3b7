//! Deletion: what stands in a directory of the transfer and is not in the list.
//!
//! Names that a filter rule excludes are protected, and so is everything below them. A directory
//! that goes is emptied first, each thing in it reported, from last to first as stock rsync does.
//!
//! A tree that goes can be as large as the whole backup, so it goes one thing at a time: what is
//! found to be deleted waits as a [`Deletion`], and the generator takes a step of the oldest one
//! before it does anything else. Between steps input is read, and while much output is queued
//! there are none. An entry whose place is taken by a directory that must be emptied is visited
//! again afterwards.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use coffre_protocol::flist::{EntryRef, FileList, NamesByDir};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::options::LogFormat;

use super::generator::{Job, Target};
use super::notes::cost;
use super::{Fatal, Receiver, path_of};
use crate::confine::{Dir, Escape, Kind};

/// Something that stands in a directory.
#[derive(Debug, Clone)]
struct Found {
    name: Vec<u8>,
    kind: Kind,
}

impl Found {
    /// As in a file list of protocols before 29: by name, whatever it is.
    fn old_order(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }

    /// As in a file list: what is no directory first, and directories as if their names ended in
    /// a slash.
    fn list_order(&self, other: &Self) -> Ordering {
        let is_dir = self.kind == Kind::Dir;
        let by_kind = is_dir.cmp(&(other.kind == Kind::Dir));
        if by_kind != Ordering::Equal || !is_dir {
            return by_kind.then_with(|| self.name.cmp(&other.name));
        }
        let common = self.name.len().min(other.name.len());
        let next = |name: &[u8]| name.get(common).copied().unwrap_or(b'/');
        self.name[..common]
            .cmp(&other.name[..common])
            .then_with(|| next(&self.name).cmp(&next(&other.name)))
    }
}

/// Things that go, and the directories among them that are being emptied.
pub(super) struct Deletion {
    /// Outermost first. Directories are found again by their paths, so that a deep tree does not
    /// hold as many descriptors.
    levels: Vec<Level>,
    /// The entry that is to stand where the directory of the outermost level stands.
    makes_way_for: Option<u32>,
}

/// A directory, by its path relative to the destination, in which things go.
struct Level {
    path: Vec<u8>,
    /// What still has to go, the next one last.
    rest: Vec<Found>,
    /// Bytes that `rest` took at first.
    bytes: usize,
    /// Nothing stays in it, as far as is known.
    is_empty: bool,
}

impl Deletion {
    /// `found` in `path`, last to first; the directory itself stays.
    fn within(path: &[u8], found: Vec<Found>) -> Self {
        Self {
            levels: vec![Level {
                path: path.to_vec(),
                bytes: bytes_of(&found),
                rest: found,
                is_empty: true,
            }],
            makes_way_for: None,
        }
    }
}

/// Whether an entry can take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Clear,
    /// Something stays there, and the client was told.
    Blocked,
    /// A directory is being emptied; the entry is visited again when that is over.
    Later,
}

impl Receiver {
    /// Deletes (or, with delayed deletion, notes down) what is in `directory` and not in `list`.
    pub(super) fn delete_in(
        &mut self,
        list: &Arc<FileList>,
        directory: &[u8],
    ) -> Result<(), Fatal> {
        if self.stops_deleting() {
            return Ok(());
        }
        let dir = match self.dir_at(directory) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Ok(()),
            // Something else stands there, and makes way later.
            Err(error) if is_no_directory(&error) => return Ok(()),
            Err(error) => {
                self.file_error("delete_in_dir: open", directory, &error);
                return Ok(());
            }
        };
        if !self.enter_filters(directory)? || self.stops_deleting() {
            return Ok(());
        }
        self.delete_extraneous(list, directory, &dir)
    }

    fn delete_extraneous(
        &mut self,
        list: &Arc<FileList>,
        directory: &[u8],
        dir: &Arc<Dir>,
    ) -> Result<(), Fatal> {
        let index = self.names_of(list);
        // Names of a list are in order but for those of its directories, so this is soon done.
        let mut wanted: Vec<&[u8]> = index.names(list, directory).collect();
        wanted.sort_unstable();
        let is_extraneous = |name: &[u8]| wanted.binary_search(&name).is_err();
        let found = match self.scan(dir, directory, false, is_extraneous) {
            Ok((found, _)) => found,
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                return Err(self.too_much_noted());
            }
            Err(error) => {
                self.file_error("readdir", directory, &error);
                return Ok(());
            }
        };
        if self.policy.deletes_delayed() {
            for item in found.into_iter().rev() {
                let path = join(directory, &item.name);
                self.delayed_deletion_bytes += cost(&path);
                self.delayed_deletions
                    .push_back((path, item.kind == Kind::Dir));
            }
        } else if !found.is_empty() {
            self.deletions.push_back(Deletion::within(directory, found));
        }
        Ok(())
    }

    /// The names of a list by directory; made once for each list.
    fn names_of(&mut self, list: &Arc<FileList>) -> Arc<NamesByDir> {
        match &self.names {
            Some((start, names)) if *start == list.start() => Arc::clone(names),
            _ => {
                let names = Arc::new(NamesByDir::new(list));
                self.names = Some((list.start(), Arc::clone(&names)));
                names
            }
        }
    }

    /// One of the deletions that were put off. `false`: there is none left.
    pub(super) fn delete_delayed_step(&mut self) -> Result<bool, Fatal> {
        let Some((path, is_dir)) = self.delayed_deletions.pop_front() else {
            return Ok(false);
        };
        self.delayed_deletion_bytes -= cost(&path);
        let (parent, name) = split(&path);
        if let Ok(Some(dir)) = self.dir_at(parent)
            && let Ok(Some(stat)) = dir.stat(name)
            && (stat.kind == Kind::Dir) == is_dir
        {
            let item = Found {
                name: name.to_vec(),
                kind: stat.kind,
            };
            self.deletions
                .push_back(Deletion::within(parent, vec![item]));
        }
        Ok(true)
    }

    fn stops_deleting(&mut self) -> bool {
        if self.io_error & 1 == 0 || self.policy.ignore_errors {
            return false;
        }
        if !self.told_io_error {
            self.told_io_error = true;
            self.out.text(
                MessageKind::Info,
                "IO error encountered -- skipping file deletion",
            );
        }
        true
    }

    /// What stands in a directory and is at risk, in list order; and whether that is everything
    /// of it that `concerns` the caller.
    /// Errors: OutOfMemory for more names than the session may have memory for.
    fn scan(
        &mut self,
        dir: &Arc<Dir>,
        directory: &[u8],
        in_deleted: bool,
        concerns: impl Fn(&[u8]) -> bool,
    ) -> io::Result<(Vec<Found>, bool)> {
        let mut found = Vec::new();
        let mut is_all = true;
        let (mut bytes, limit) = (0, self.limit_bytes);
        let protection = &self.protection;
        let out = &mut self.out;
        dir.visit_entries(|name, kind, _| {
            let concerns = concerns(name);
            if !concerns && !protection.traces {
                return Ok(());
            }
            let kind = match kind {
                Some(kind) => kind,
                None => match dir.stat(name)? {
                    Some(stat) => stat.kind,
                    None => return Ok(()),
                },
            };
            let path = join(directory, name);
            let is_dir = kind == Kind::Dir;
            if protection.traces
                && let Some(line) = protection.trace(&path, is_dir, in_deleted)
            {
                out.raw_text(MessageKind::Info, line);
            }
            if !concerns {
                return Ok(());
            }
            if protection.protects(&path, is_dir, in_deleted) {
                is_all = false;
            } else {
                let name = name.to_vec();
                bytes += cost(&name);
                if bytes > limit {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                found.push(Found { name, kind });
            }
            Ok(())
        })?;
        found.sort_by(match self.negotiated.version.at_least(29) {
            true => Found::list_order,
            false => Found::old_order,
        });
        Ok((found, is_all))
    }

    /// Bytes of names that wait to go.
    pub(super) fn deletion_bytes(&self) -> usize {
        let levels = self.deletions.iter().flat_map(|one| &one.levels);
        levels.map(|level| level.bytes + cost(&level.path)).sum()
    }

    /// Takes a step of the oldest deletion: one thing goes, or a directory is looked into.
    pub(super) fn delete_step(&mut self) -> Result<(), Fatal> {
        let Some(mut deletion) = self.deletions.pop_front() else {
            return Ok(());
        };
        if self.delete_next(&mut deletion)? {
            self.deletions.push_front(deletion);
        }
        Ok(())
    }

    /// `false`: the deletion is over.
    fn delete_next(&mut self, deletion: &mut Deletion) -> Result<bool, Fatal> {
        // What makes way for an entry counts as a thing that goes, and its contents as below it.
        let depth = deletion.levels.len() - usize::from(deletion.makes_way_for.is_none());
        let Some(level) = deletion.levels.last_mut() else {
            return Ok(false);
        };
        if let Some(item) = level.rest.last() {
            if item.kind == Kind::Dir {
                let path = join(&level.path, &item.name);
                let below = self.look_into(path)?;
                deletion.levels.push(below);
            } else if let Some(item) = level.rest.pop() {
                level.is_empty &= self.delete_item(&level.path, &item, true, depth)?;
            }
            return Ok(true);
        }
        let Some(done) = deletion.levels.pop() else {
            return Ok(false);
        };
        let Some(above) = deletion.levels.last_mut() else {
            if let Some(ndx) = deletion.makes_way_for {
                if !done.is_empty {
                    self.say_not_empty(&done.path);
                }
                self.emptied.insert(ndx, done.is_empty);
                self.jobs.push_back(Job::Revisit(ndx));
            }
            return Ok(false);
        };
        if !done.is_empty {
            self.say_not_empty(&done.path);
        }
        if let Some(item) = above.rest.pop() {
            above.is_empty &= self.delete_item(&above.path, &item, done.is_empty, depth - 1)?;
        }
        Ok(true)
    }

    /// Deletes one thing, a directory only when it `is_empty`. `false`: it stays.
    fn delete_item(
        &mut self,
        parent: &[u8],
        item: &Found,
        is_empty: bool,
        depth: usize,
    ) -> Result<bool, Fatal> {
        // Below the first level stock goes on and tries, which shows in what it prints.
        if !is_empty && depth == 0 {
            return Ok(false);
        }
        if self
            .policy
            .max_delete
            .is_some_and(|max| self.totals.deleted.total() >= max)
        {
            self.totals.deletions_skipped += 1;
            return Ok(false);
        }
        let path = join(parent, &item.name);
        // In a dry run nothing is there to say that it is not.
        if !is_empty && !self.policy.dry_run {
            self.say_not_empty(&path);
            return Ok(false);
        }
        if !self.policy.dry_run || self.policy.info.backup {
            // A link may be what the last directory was reached by.
            if item.kind == Kind::Dir || item.kind == Kind::Symlink && self.policy.keep_dirlinks {
                self.forget_dir(&path);
            }
            let removed = match self.dir_at(parent) {
                Ok(_) if self.policy.dry_run && item.kind == Kind::Dir => Ok(true),
                Ok(Some(dir)) if item.kind == Kind::Dir => {
                    dir.remove_dir(&item.name).map(|()| true)
                }
                Ok(Some(dir)) => self.remove_or_back_up(&dir, &item.name, &path)?,
                Ok(None) => Err(io::ErrorKind::NotFound.into()),
                Err(error) => Err(error),
            };
            if let Ok(false) = removed {
                return Ok(false);
            }
            if let Err(error) = removed {
                if error.kind() == io::ErrorKind::NotFound {
                    return Ok(true);
                }
                // The backups of what was in it.
                if error.kind() == io::ErrorKind::DirectoryNotEmpty {
                    self.say_not_empty(&path);
                    return Ok(false);
                }
                self.file_error("delete_file: unlink", &path, &error);
                return Ok(false);
            }
            self.touched(parent);
        }
        if self.pipe.is_disconnected() {
            return Err(Fatal::Disconnected);
        }
        self.totals.deleted.count(item.kind);
        self.say_deleted(&path, item.kind == Kind::Dir);
        self.stay_alive();
        Ok(is_empty)
    }

    pub(super) fn say_deleted(&mut self, path: &[u8], is_dir: bool) {
        let format = self.policy.log_format;
        if self.negotiated.version.at_least(29) {
            self.out.deleted(path, is_dir);
        } else if self.policy.info.del || format != LogFormat::None {
            let slash: &[u8] = if is_dir { b"/" } else { b"" };
            // Stock fills in what the client has sent of its format, which is not all of it.
            let line = match format {
                LogFormat::Itemize => b"*deleting  ".to_vec(),
                LogFormat::ItemizeUnchanged => b"*deleting  %I".to_vec(),
                LogFormat::Operation => b"del.".to_vec(),
                LogFormat::None | LogFormat::Other => [b"deleting ", path, slash].concat(),
            };
            self.out.raw_text(MessageKind::Info, line);
        }
        if self.out.pending() > 64 << 10 {
            self.out.flush();
        }
    }

    /// What is to go in a directory that is to go itself.
    fn look_into(&mut self, path: Vec<u8>) -> Result<Level, Fatal> {
        let mut level = Level {
            path,
            rest: Vec::new(),
            bytes: 0,
            is_empty: false,
        };
        let dir = match self.dir_at(&level.path) {
            Ok(Some(dir)) => dir,
            // Somebody else was faster.
            Ok(None) => {
                level.is_empty = true;
                return Ok(level);
            }
            Err(error) => {
                self.file_error("delete: opendir", &level.path, &error);
                return Ok(level);
            }
        };
        if !self.enter_filters(&level.path)? {
            return Ok(level);
        }
        match self.scan(&dir, &level.path, true, |_| true) {
            Ok((found, is_all)) => {
                // What a rule protects keeps the directory.
                level.is_empty = is_all;
                level.bytes = bytes_of(&found);
                level.rest = found;
            }
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                return Err(self.too_much_noted());
            }
            Err(error) => self.file_error("readdir", &level.path, &error),
        }
        Ok(level)
    }

    /// A pass of deletions has come to a source; said by nobody to whom there is no destination.
    pub(super) fn say_deleting_in(&mut self, path: &[u8]) {
        if !self.policy.dry_run || matches!(self.dir_at(b""), Ok(Some(_))) {
            let line = [b"deleting in ", path].concat();
            self.out.raw_text(MessageKind::Info, line);
        }
    }

    fn say_not_empty(&mut self, path: &[u8]) {
        let line = [b"cannot delete non-empty directory: ", path].concat();
        self.out.raw_text(MessageKind::Info, line);
    }

    /// `--delete-missing-args`: the source is gone, and so shall this be.
    pub(super) fn delete_missing(
        &mut self,
        entry: &EntryRef<'_>,
        target: Target,
    ) -> Result<(), Fatal> {
        let (Some(dir), Some(have)) = (target.dir, target.stat) else {
            return Ok(());
        };
        let path = path_of(entry);
        let item = Found {
            name: target.name,
            kind: have.kind,
        };
        if have.kind != Kind::Dir || self.policy.may_delete() {
            self.deletions
                .push_back(Deletion::within(split(&path).0, vec![item]));
        } else if self.remove_obstructing_directory(&dir, &item.name, &path)? {
            self.totals.deleted.count(Kind::Dir);
            self.say_deleted(&path, true);
        }
        Ok(())
    }

    /// A directory stands where the entry `ndx` of another kind is to be. It goes with its
    /// contents only if the client may delete, and is not counted itself.
    pub(super) fn clear_directory(
        &mut self,
        ndx: u32,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Way, Fatal> {
        if self.policy.may_delete() {
            match self.emptied.remove(&ndx) {
                Some(true) => {}
                Some(false) => return Ok(Way::Blocked),
                None => {
                    let level = self.look_into(path.to_vec())?;
                    self.deletions.push_back(Deletion {
                        levels: vec![level],
                        makes_way_for: Some(ndx),
                    });
                    self.opened(ndx)?;
                    return Ok(Way::Later);
                }
            }
        }
        Ok(match self.remove_obstructing_directory(dir, name, path)? {
            true => Way::Clear,
            false => Way::Blocked,
        })
    }

    /// The entry's place is being cleared; it will be visited again.
    pub(super) fn is_put_off(&self, ndx: u32) -> bool {
        self.deletions
            .iter()
            .any(|deletion| deletion.makes_way_for == Some(ndx))
    }

    /// Removes a directory that stands in the way and is empty. `false`: it stays.
    fn remove_obstructing_directory(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Fatal> {
        if self.policy.dry_run {
            let entries = dir.open_dir(name).and_then(|dir| dir.entries());
            return Ok(self.policy.may_delete() || entries.is_ok_and(|all| all.is_empty()));
        }
        self.forget_dir(path);
        match dir.remove_dir(name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                self.say_not_empty(path);
                Ok(false)
            }
            Err(error) => {
                self.file_error("delete_file: rmdir", path, &error);
                Ok(false)
            }
        }
    }

    /// Said once, after all deletions.
    pub(super) fn end_of_deletion_notice(&mut self) {
        if self.totals.deletions_skipped > 0 {
            self.io_error |= 4;
            self.out.text(
                MessageKind::Warning,
                &format!(
                    "Deletions stopped due to --max-delete limit ({} skipped)",
                    self.totals.deletions_skipped
                ),
            );
        }
    }

    /// Whether all rules for a directory are known; if not, nothing in it may be deleted.
    fn enter_filters(&mut self, path: &[u8]) -> Result<bool, Fatal> {
        let Some(destination) = &self.destination else {
            return Ok(true);
        };
        match self.protection.enter(path, &self.root, destination) {
            Ok(entered) => {
                // Stock names the process, and deletions are the generator's.
                self.role_in_errors = "generator";
                entered.map_err(Fatal::from)?;
                self.role_in_errors = "receiver";
                Ok(true)
            }
            Err(error) => {
                // What cannot be read may have protected something: nothing is deleted then.
                self.file_error("failed to open exclude file in", path, &error);
                self.io_error |= 1;
                Ok(false)
            }
        }
    }
}

fn bytes_of(found: &[Found]) -> usize {
    found.iter().map(|item| cost(&item.name)).sum()
}

fn is_no_directory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
        || matches!(Escape::of(error), Some(Escape::SymbolicLink))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
