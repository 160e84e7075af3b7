//! Deletion: what stands in a directory of the transfer and is not in the list.
//!
//! Names that a filter rule excludes are protected, and so is everything below them. A directory
//! that goes is emptied first, each thing in it reported, from last to first as stock rsync does.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use coffre_protocol::ExitCode;
use coffre_protocol::filter::Verdict;
use coffre_protocol::flist::{FileList, Kind};
use coffre_protocol::mux::MessageKind;

use super::generator::Target;
use super::{Fatal, Receiver};
use crate::confine::Dir;

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
    pub(super) fn delete_in(&mut self, list: &FileList, directory: &[u8]) -> Result<(), Fatal> {
        if self.stops_deleting() {
            return Ok(());
        }
        let directory = if directory == b"." { b"" } else { directory };
        let dir = match self.dir_at(directory) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.file_error("delete_in_dir: open", directory, &error);
                return Ok(());
            }
        };
        self.enter_filters(directory, &dir)?;
        let result = self.delete_extraneous(list, directory, &dir);
        self.leave_filters(directory);
        result
    }

    fn delete_extraneous(
        &mut self,
        list: &FileList,
        directory: &[u8],
        dir: &Arc<Dir>,
    ) -> Result<(), Fatal> {
        let wanted: HashSet<Vec<u8>> = list.names_in(directory).map(<[u8]>::to_vec).collect();
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
                self.delayed_deletions.push_back((path, item.kind == Kind::Directory));
            } else {
                self.delete_item(dir, &item, &path, 0)?;
            }
        }
        Ok(())
    }

    /// One of the deletions that were put off. `false`: there is none left.
    pub(super) fn delete_delayed_step(&mut self) -> Result<bool, Fatal> {
        let Some((path, is_dir)) = self.delayed_deletions.pop_front() else { return Ok(false) };
        let (parent, name) = split(&path);
        if let Ok(Some(dir)) = self.dir_at(parent)
            && let Ok(Some(stat)) = dir.stat(name)
            && stat.is_dir() == is_dir
        {
            let item = Found { name: name.to_vec(), kind: stat.kind };
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
            let entry = entry?;
            if !concerns(&entry.name) {
                continue;
            }
            let kind = match entry.kind {
                Some(kind) if !self.root.overrides_kinds() => kind,
                _ => match dir.stat(&entry.name)? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
            };
            let path = join(directory, &entry.name);
            let verdict = self.filters.check(&path, kind == Kind::Directory, in_deleted);
            if verdict != Verdict::Exclude {
                found.push(Found { name: entry.name, kind });
            }
        }
        found.sort_by(|a, b| {
            let dirs = (a.kind == Kind::Directory).cmp(&(b.kind == Kind::Directory));
            dirs.then_with(|| {
                let slash: &[u8] = if a.kind == Kind::Directory { b"/" } else { b"" };
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
        if item.kind == Kind::Directory
            && !self.empty_directory(dir, &item.name, path, depth)?
        {
            return Ok(false);
        }
        if self.policy.max_delete.is_some_and(|max| self.totals.deleted.total() >= max) {
            self.totals.deletions_skipped += 1;
            return Ok(false);
        }
        if !self.policy.dry_run {
            let removed = if item.kind == Kind::Directory {
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
        self.totals.deleted.count(item.kind);
        self.say_deleted(path, item.kind == Kind::Directory);
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
            return Err(Fatal::exit(ExitCode::FileIo, "directories are nested too deeply to delete"));
        }
        let dir = match parent.open_dir(name) {
            Ok(dir) => Arc::new(dir),
            Err(error) => {
                self.file_error("delete: opendir", path, &error);
                return Ok(false);
            }
        };
        self.enter_filters(path, &dir)?;
        let scanned = self.scan(&dir, path, true, |_| true);
        let mut is_empty = true;
        let result = match scanned {
            Err(error) => {
                self.file_error("readdir", path, &error);
                is_empty = false;
                Ok(())
            }
            Ok(found) => {
                // What a rule protects keeps the directory.
                is_empty &= match dir.count_entries() {
                    Ok(count) => count == found.len(),
                    Err(_) => false,
                };
                found.into_iter().rev().try_for_each(|item| {
                    let below = join(path, &item.name);
                    is_empty &= self.delete_item(&dir, &item, &below, depth + 1)?;
                    Ok(())
                })
            }
        };
        self.leave_filters(path);
        result?;
        if !is_empty {
            self.out.raw_text(
                MessageKind::Info,
                [b"cannot delete non-empty directory: ", path].concat(),
            );
        }
        Ok(is_empty)
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
            let is_empty = dir.open_dir(name).and_then(|dir| dir.count_entries());
            return Ok(self.policy.may_delete() || is_empty.is_ok_and(|count| count == 0));
        }
        self.forget_dir(path);
        match dir.remove_dir(name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                self.out.raw_text(
                    MessageKind::Info,
                    [b"cannot delete non-empty directory: ", path].concat(),
                );
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

    /// Reads the per-directory merge files of a directory that is entered.
    fn enter_filters(&mut self, path: &[u8], dir: &Dir) -> Result<(), Fatal> {
        for name in self.filters.files_to_read() {
            let content = dir.read_small_file(&name, MAX_MERGE_FILE);
            match content {
                Ok(content) => self.filters.offer_file(path, &name, content.as_deref())?,
                Err(error) => self.file_error("failed to open exclude file", &join(path, &name), &error),
            }
        }
        self.filters.enter(path)?;
        Ok(())
    }

    fn leave_filters(&mut self, path: &[u8]) {
        self.filters.leave(path);
    }

    /// Whether anything stands at the target that a deletion would have to take.
    pub(super) fn stands(target: &Target) -> bool {
        target.stat.is_some()
    }
}

/// A merge file larger than this is refused.
const MAX_MERGE_FILE: usize = 1 << 20;

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
