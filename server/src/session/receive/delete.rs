//! Deletion: what stands in a directory of the transfer and is not in the list.
//!
//! Names that a filter rule excludes are protected, and so is everything below them. A directory
//! that goes is emptied first, each thing in it reported, from last to first as stock rsync does.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use coffre_protocol::ExitCode;
use coffre_protocol::flist::{EntryRef, FileList, NamesByDir};
use coffre_protocol::mux::MessageKind;

use super::generator::Target;
use super::{Fatal, Receiver, path_of};
use crate::confine::{Dir, Kind};

/// How deep directories are emptied; deeper than any real tree, and no stack overflow.
const MAX_DEPTH: usize = 4096;

/// Something that stands in a directory.
#[derive(Debug, Clone)]
struct Found {
    name: Vec<u8>,
    kind: Kind,
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
        let wanted: HashSet<&[u8]> = index.names(list, directory).collect();
        let found = match self.scan(dir, directory, false, |name| !wanted.contains(name)) {
            Ok(found) => found,
            Err(error) => {
                self.file_error("readdir", directory, &error);
                return Ok(());
            }
        };
        for item in found.into_iter().rev() {
            let path = join(directory, &item.name);
            if self.policy.deletes_delayed() && !self.deletes_now {
                self.delayed_deletions
                    .push_back((path, item.kind == Kind::Dir));
            } else {
                self.delete_item(dir, &item, &path, 0)?;
            }
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
        let (parent, name) = split(&path);
        if let Ok(Some(dir)) = self.dir_at(parent)
            && let Ok(Some(stat)) = dir.stat(name)
            && (stat.kind == Kind::Dir) == is_dir
        {
            let item = Found {
                name: name.to_vec(),
                kind: stat.kind,
            };
            self.deletes_now = true;
            self.delete_item(&dir, &item, &path, 0)?;
            self.deletes_now = false;
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

    /// What stands in a directory and is at risk, in list order.
    fn scan(
        &mut self,
        dir: &Arc<Dir>,
        directory: &[u8],
        in_deleted: bool,
        concerns: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in dir.entries()? {
            if !concerns(&entry.name) {
                continue;
            }
            let kind = match entry.kind {
                Some(kind) => kind,
                None => match dir.stat(&entry.name)? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
            };
            let path = join(directory, &entry.name);
            if !self
                .protection
                .protects(&path, kind == Kind::Dir, in_deleted)
            {
                found.push(Found {
                    name: entry.name,
                    kind,
                });
            }
        }
        found.sort_by(|a, b| {
            let dirs = (a.kind == Kind::Dir).cmp(&(b.kind == Kind::Dir));
            dirs.then_with(|| {
                let slash: &[u8] = if a.kind == Kind::Dir { b"/" } else { b"" };
                a.name.iter().chain(slash).cmp(b.name.iter().chain(slash))
            })
        });
        Ok(found)
    }

    /// Deletes one thing; a directory after its contents. `false`: it stays.
    fn delete_item(
        &mut self,
        dir: &Arc<Dir>,
        item: &Found,
        path: &[u8],
        depth: usize,
    ) -> Result<bool, Fatal> {
        let is_empty =
            item.kind != Kind::Dir || self.empty_directory(dir, &item.name, path, depth)?;
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
        if !is_empty {
            self.say_not_empty(path);
            return Ok(false);
        }
        if !self.policy.dry_run {
            let removed = if item.kind == Kind::Dir {
                self.forget_dir(path);
                dir.remove_dir(&item.name)
            } else {
                dir.remove_file(&item.name)
            };
            if let Err(error) = removed {
                if error.kind() == io::ErrorKind::NotFound {
                    return Ok(true);
                }
                self.file_error("delete_file: unlink", path, &error);
                return Ok(false);
            }
            self.touched(split(path).0);
        }
        if self.pipe.is_disconnected() {
            return Err(Fatal::Disconnected);
        }
        self.totals.deleted.count(item.kind);
        self.say_deleted(path, item.kind == Kind::Dir);
        self.stay_alive();
        Ok(true)
    }

    fn say_deleted(&mut self, path: &[u8], is_dir: bool) {
        if self.negotiated.version.at_least(29) {
            self.out.deleted(path, is_dir);
        } else if self.policy.info.del || self.policy.itemizes {
            let slash: &[u8] = if is_dir { b"/" } else { b"" };
            let line: Vec<u8> = if self.policy.itemizes {
                b"*deleting  ".to_vec()
            } else {
                [b"deleting ", path, slash].concat()
            };
            self.out.raw_text(MessageKind::Info, line);
        }
        if self.out.pending() > 64 << 10 {
            self.out.flush();
        }
    }

    /// Deletes the contents of a directory. `false`: something stays, so it stays too.
    fn empty_directory(
        &mut self,
        parent: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
        depth: usize,
    ) -> Result<bool, Fatal> {
        if depth > MAX_DEPTH {
            return Err(Fatal::exit(
                ExitCode::FileIo,
                "directories are nested too deeply to delete",
            ));
        }
        let dir = match parent.open_dir(name) {
            Ok(dir) => Arc::new(dir),
            Err(error) => {
                self.file_error("delete: opendir", path, &error);
                return Ok(false);
            }
        };
        if !self.enter_filters(path)? {
            return Ok(false);
        }
        let scanned = self.scan(&dir, path, true, |_| true);
        let mut is_empty = true;
        let result: Result<(), Fatal> = match scanned {
            Err(error) => {
                self.file_error("readdir", path, &error);
                is_empty = false;
                Ok(())
            }
            Ok(found) => {
                // What a rule protects keeps the directory.
                is_empty &= match dir.entries() {
                    Ok(all) => all.len() == found.len(),
                    Err(_) => false,
                };
                found.into_iter().rev().try_for_each(|item| {
                    let below = join(path, &item.name);
                    is_empty &= self.delete_item(&dir, &item, &below, depth + 1)?;
                    Ok(())
                })
            }
        };
        result?;
        if !is_empty {
            self.say_not_empty(path);
        }
        Ok(is_empty)
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
            self.delete_item(&dir, &item, &path, 0)?;
        } else if self.remove_obstructing_directory(&dir, &item.name, &path)? {
            self.totals.deleted.count(Kind::Dir);
            self.say_deleted(&path, true);
        }
        Ok(())
    }

    /// A directory stands where something else is to be. It goes with its contents only if the
    /// client may delete; it is not counted itself. `false`: it stays.
    pub(super) fn remove_obstructing_directory(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Fatal> {
        if self.policy.may_delete() && !self.empty_directory(dir, name, path, 0)? {
            return Ok(false);
        }
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
        match self.protection.enter(path, &self.root, &destination.dir) {
            Ok(entered) => entered.map(|()| true).map_err(Fatal::from),
            Err(error) => {
                // What cannot be read may have protected something: nothing is deleted then.
                self.file_error("failed to open exclude file in", path, &error);
                self.io_error |= 1;
                Ok(false)
            }
        }
    }
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
