//! Directories: made when missing, their attributes set, their times repaired at the end.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use coffre_protocol::flist::{EntryRef, FileKind, FileList};
use coffre_protocol::item::ItemFlags;
use coffre_protocol::mux::MessageKind;

use super::alternates::Other;
use super::attributes;
use super::decide;
use super::delete::Way;
use super::generator::Target;
use super::notes;
use super::{Fatal, Receiver, path_of};
use crate::confine::{Attributes, FileTime, Kind, Stat};

impl Receiver {
    /// `own`: its attributes are due now; otherwise it is only made if missing, and the rest is
    /// done when its own list comes.
    pub(super) fn visit_directory(
        &mut self,
        list: &Arc<FileList>,
        ndx: u32,
        entry: &EntryRef<'_>,
        own: bool,
    ) -> Result<(), Fatal> {
        let path = path_of(entry);
        if self.is_below_failed(entry) || self.failed_dirs.contains(&path) {
            self.failed_dirs.insert(path);
            return Ok(());
        }
        let mut target = match self.directory_target(entry) {
            Ok(target) => target,
            Err(error) => {
                self.failed_dirs.insert(path);
                return self.entry_failed("recv_generator: failed to stat", entry, &error);
            }
        };
        let was_made = self.made_dirs.contains(&path);
        let known = target.stat.filter(|_| !was_made);
        if !was_made && !self.passes_existence(entry, known.as_ref()) {
            if own && self.policy.deletes_during() && entry.has_content() {
                self.cannot_delete_in(&path, known.as_ref());
            }
            return Ok(());
        }
        if target.stat.is_some_and(|have| have.kind != Kind::Dir)
            && self.make_way(ndx, entry, &mut target, "directory")? != Way::Clear
        {
            self.skip_contents(entry);
            return Ok(());
        }
        let is_missing = target.stat.is_none();
        if is_missing && !was_made {
            self.made_dirs.insert(path.clone());
            self.totals.created += 1;
            if !self.policy.dry_run && !self.make_directory(entry, &mut target)? {
                return Ok(());
            }
        }
        if !own {
            return Ok(());
        }
        // It does not come again.
        self.made_dirs.remove(&path);
        let is_new = is_missing || was_made;
        let implied = entry.is_implied() && self.policy.no_implied_dirs;
        if !implied {
            self.settle_directory(ndx, entry, &target, is_new)?;
        }
        if self.policy.deletes_during() && entry.has_content() && !is_new {
            self.delete_in(list, &directory_path(entry))?;
        }
        Ok(())
    }

    /// `--ignore-existing` left something else in a directory's place: there is nothing to look
    /// through for what is to go, which to stock is an error that ends all deletions.
    fn cannot_delete_in(&mut self, path: &[u8], have: Option<&Stat>) {
        if have.is_some_and(|have| have.kind != Kind::Dir) {
            let error = io::Error::from(rustix::io::Errno::NOTDIR);
            self.file_error("opendir", path, &error);
            self.io_error |= 1;
        }
    }

    pub(super) fn directory_target(&mut self, entry: &EntryRef<'_>) -> io::Result<Target> {
        if !entry.is_root() {
            let target = self.target(entry)?;
            let behind = self.behind_link(&target)?;
            return Ok(behind.unwrap_or(target));
        }
        let dir = self.dir_at(b"")?;
        let stat = dir.as_ref().map(|dir| dir.self_stat()).transpose()?;
        Ok(Target {
            dir,
            name: b".".to_vec(),
            stat,
        })
    }

    fn skip_contents(&mut self, entry: &EntryRef<'_>) {
        self.failed_dirs.insert(path_of(entry));
        self.out.text(
            MessageKind::Error,
            "*** Skipping any contents from this failed directory ***",
        );
    }

    /// Makes a directory, with what its parents lack. `false`: it failed and was reported.
    fn make_directory(&mut self, entry: &EntryRef<'_>, target: &mut Target) -> Result<bool, Fatal> {
        let path = path_of(entry);
        let made = match &target.dir {
            Some(dir) if entry.is_implied() && self.policy.no_implied_dirs => {
                dir.make_dir(&target.name, 0o777 & !self.policy.umask)
            }
            Some(dir) => dir.make_dir(&target.name, 0o700),
            None if self.policy.relative => self.make_parents(entry.dir()).and_then(|()| {
                target.dir = self.dir_of(entry)?;
                match &target.dir {
                    Some(dir) => dir.make_dir(&target.name, 0o700),
                    None => Err(io::ErrorKind::NotFound.into()),
                }
            }),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        self.touched(entry.dir());
        match made {
            Ok(()) => {
                if let Some(dir) = &target.dir {
                    target.stat = dir.stat(&target.name).ok().flatten();
                }
                Ok(true)
            }
            Err(error) if super::messages::is_store_failure(&error) => {
                Err(self.store_failure("recv_generator: mkdir", &path, &error))
            }
            Err(error) => {
                self.file_error("recv_generator: mkdir", &path, &error);
                self.skip_contents(entry);
                Ok(false)
            }
        }
    }

    /// Directories that lead to `path` and are missing, with default permissions.
    pub(super) fn make_parents(&mut self, path: &[u8]) -> io::Result<()> {
        let mut end = 0;
        while end < path.len() {
            let next = path[end..]
                .iter()
                .position(|b| *b == b'/')
                .map_or(path.len(), |at| end + at);
            let (parent, name) = (&path[..end.saturating_sub(1)], &path[end..next]);
            let dir = self.dir_at(parent)?.ok_or(io::ErrorKind::NotFound)?;
            self.touched(parent);
            match dir.make_dir(name, 0o777 & !self.policy.umask) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            end = next + 1;
        }
        Ok(())
    }

    fn settle_directory(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        is_new: bool,
    ) -> Result<(), Fatal> {
        if !is_new {
            self.settle_attributes(ndx, entry, target, ItemFlags::default())?;
            return Ok(());
        }
        let nothing = Target {
            dir: None,
            name: target.name.clone(),
            stat: None,
        };
        let (found, is_told) = match self.take_other_from_alternates(ndx, entry, &nothing)? {
            Other::Told(found) => (Some(found), true),
            Other::Differs(found) => (Some(found), false),
            Other::Done | Other::Nothing => (None, false),
        };
        let compared = found.as_ref().map_or(&nothing, |found| &found.place);
        let extra = match self.extra(entry, compared) {
            Ok(extra) => extra,
            Err(error) => return self.entry_failed("failed to read attributes of", entry, &error),
        };
        let base = ItemFlags::LOCAL_CHANGE;
        let flags = decide::report(&self.policy, entry, compared.stat.as_ref(), &extra, base);
        if let (Some(dir), Some(have)) = (&target.dir, &target.stat)
            && !self.policy.dry_run
        {
            let local = self.found_xattrs(found.as_ref());
            let mut wanted = self.wanted(entry, None, &local, &HashMap::new());
            if extra.waits {
                wanted.without_xattrs();
            }
            let result = attributes::update(dir, &target.name, have, &wanted);
            self.report_attributes(entry, result)?;
        }
        if is_told {
            return Ok(());
        }
        self.note(ndx, entry, flags, None, &extra.missing)
    }

    /// Remembers that something was made or removed in a directory: its time must be repaired.
    pub(super) fn touched(&mut self, directory: &[u8]) {
        if self.last_touched.as_deref() != Some(directory) {
            self.touched_dirs.insert(directory.to_vec());
            self.last_touched = Some(directory.to_vec());
        }
    }

    /// A list is finished: so is the time of its directory, unless deletions are still to come.
    pub(super) fn repair_owner_of(&mut self, list: &FileList) {
        let Some((home, slot)) = self.flists.owner_of(list) else {
            return;
        };
        let Some(entry) = home.slot(slot) else { return };
        if entry.is_implied() && self.policy.no_implied_dirs {
            return;
        }
        if self.policy.deletes_late() {
            if decide::keeps_time(&self.policy, FileKind::Directory) {
                let path = directory_path(&entry);
                self.late_repairs_bytes += notes::cost(&path);
                self.late_repairs.push((path, entry.mtime()));
            }
        } else {
            self.repair(&entry);
        }
    }

    fn repair(&mut self, entry: &EntryRef<'_>) {
        let path = directory_path(entry);
        if !(entry.is_implied() && self.policy.no_implied_dirs) {
            self.repair_time(&path, entry.mtime());
        }
    }

    fn repair_time(&mut self, path: &[u8], mtime: (i64, u32)) {
        // What was changed by the name of a link has another name too.
        let may_differ = self.touched_dirs.remove(path) || self.policy.keep_dirlinks;
        self.last_touched = None;
        if !may_differ
            || self.policy.dry_run
            || self.failed_dirs.contains(path)
            || !decide::keeps_time(&self.policy, FileKind::Directory)
            || self.is_kept_link(path)
        {
            return;
        }
        let Ok(Some(dir)) = self.dir_at(path) else {
            return;
        };
        let Ok(have) = dir.self_stat() else { return };
        let own = (have.mtime.secs, have.mtime.nanos);
        if decide::times_differ(self.policy.modify_window, own, mtime) {
            let wanted = Attributes {
                mtime: Some(FileTime {
                    secs: mtime.0,
                    nanos: mtime.1,
                }),
                ..Attributes::default()
            };
            if let Err(error) = dir.update_self(&wanted) {
                self.file_error("failed to set times on", path, &error);
            }
        }
        self.stay_alive();
    }

    /// At the end of the run, every directory of the transfer has the time it should have.
    pub(super) fn repair_directories(&mut self) {
        if self.is_single_file() {
            return;
        }
        for (path, mtime) in std::mem::take(&mut self.late_repairs) {
            self.repair_time(&path, mtime);
        }
        self.late_repairs_bytes = 0;
        let lists: Vec<_> = self
            .lists
            .iter()
            .map(|state| Arc::clone(&state.list))
            .collect();
        for list in lists {
            if let Some((home, slot)) = self.flists.owner_of(&list)
                && let Some(entry) = home.slot(slot)
            {
                self.repair(&entry);
            }
            for (_, entry) in list.iter() {
                if entry.kind() == FileKind::Directory {
                    self.repair(&entry);
                }
            }
        }
    }
}

/// The path of a directory entry as the parent of its contents: empty for the top.
pub(super) fn directory_path(entry: &EntryRef<'_>) -> Vec<u8> {
    if entry.is_root() {
        Vec::new()
    } else {
        path_of(entry)
    }
}
