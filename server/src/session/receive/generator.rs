//! The generator: walks the lists, compares each entry with what is there, and says what it wants.
//!
//! It works in small steps, [`Receiver::generate`], between pieces of input, and only while little
//! output is queued: requests are paused, reading never is. Without incremental recursion there is
//! one list and everything in it is visited in order. With it, a list is visited as it arrives:
//! first the directory that it is the contents of, then its entries; directories among them are
//! only made if missing, their attributes wait for their own list.

use std::collections::HashMap;
use std::sync::Arc;

use coffre_protocol::flist::{EntryRef, FileKind, FileList, encode_request};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::ndx::Ndx;

use super::decide;
use super::directory::directory_path;
use super::phases::Stage;
use super::policy::QuickCheck;
use super::{Fatal, Receiver, path_of};
use crate::confine::{AclKind, Dir, Kind, Stat};

/// Where the walk stands.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The list, by its place among those still held.
    place: usize,
    /// The next slot of the list.
    slot: u32,
    owner_visited: bool,
    /// Lists that have arrived and are not walked to their end.
    unvisited: usize,
    delete_before: Option<Sweep>,
    delete_late: Option<Sweep>,
    late_is_over: bool,
}

/// A deletion pass over the directories of the whole list.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    slot: u32,
}

impl Walk {
    pub(super) fn list_arrived(&mut self) {
        self.unvisited += 1;
    }

    /// The first list has gone, which the walk had left.
    pub(super) fn list_released(&mut self) {
        self.place -= 1;
    }
}

/// Work that is done before the walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// Send this one again: its sum did not match.
    Redo(u32),
    /// Its hard-link group's leader failed, or its place was cleared; look at it anew.
    Revisit(u32),
}

/// What stands at the destination where an entry is to be.
pub(super) struct Target {
    /// The directory; `None` when it does not exist (a dry run, or it could not be made).
    pub(super) dir: Option<Arc<Dir>>,
    pub(super) name: Vec<u8>,
    pub(super) stat: Option<Stat>,
}

impl Receiver {
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty() || self.summing.is_some() || !self.deletions.is_empty()
    }

    /// Whether [`Self::generate`] would do something now.
    pub(super) fn has_work(&self) -> bool {
        if self.names_to_send.is_some() {
            return true;
        }
        if self.destination.is_none() || self.stage == Stage::Over {
            return false;
        }
        self.has_jobs()
            || !self.walk_is_over_for_now()
            || (self.stage == Stage::Deleting
                && self.walk.delete_late.is_some()
                && !self.walk.late_is_over)
    }

    /// Every list that can come has been walked.
    pub(super) fn walk_is_over(&self) -> bool {
        self.lists_complete && self.walk_is_over_for_now()
    }

    /// Whether it has been to a list behind the first: to its directory, and an entry if any.
    pub(super) fn walk_is_within_a_later_list(&self) -> bool {
        let place = self.walk.place;
        place > 0 && (self.walk.slot > 0 || self.lists.get(place).is_none_or(|it| it.visited))
    }

    fn walk_is_over_for_now(&self) -> bool {
        self.walk.delete_before.is_none() && self.walk.unvisited == 0
    }

    pub(super) fn late_deletion_is_over(&mut self) -> bool {
        if self.walk.late_is_over {
            return true;
        }
        if self.walk.delete_late.is_none() {
            self.walk.delete_late = Some(Sweep::default());
        }
        false
    }

    /// Prepares the walk once the destination is known.
    pub(super) fn begin_walk(&mut self) {
        if self.policy.deletes_before() {
            self.walk.delete_before = Some(Sweep::default());
        }
    }

    /// Takes one step.
    pub(super) fn generate(&mut self) -> Result<(), Fatal> {
        if self.names_to_send.is_some() {
            return self.send_names();
        }
        if self.summing.is_some() {
            return self.sum_more();
        }
        if !self.deletions.is_empty() {
            return self.delete_step();
        }
        if let Some(job) = self.jobs.pop_front() {
            return self.run_job(job);
        }
        if let Some(mut sweep) = self.walk.delete_before.take() {
            if self.sweep_step(&mut sweep)? {
                self.walk.delete_before = Some(sweep);
            }
            return Ok(());
        }
        if self.stage == Stage::Deleting {
            if let Some(mut sweep) = self.walk.delete_late.take() {
                let more = self.late_sweep_step(&mut sweep)?;
                self.walk.delete_late = Some(sweep);
                self.walk.late_is_over = !more;
            }
            return Ok(());
        }
        self.visit_next()
    }

    fn run_job(&mut self, job: Job) -> Result<(), Fatal> {
        let (Job::Redo(ndx) | Job::Revisit(ndx)) = job;
        let place = self.list_of(ndx)?;
        let list = Arc::clone(&self.lists[place].list);
        let Some(entry) = list.entry(ndx) else {
            return Ok(());
        };
        match job {
            Job::Redo(_) => self.request_again(ndx, &entry)?,
            Job::Revisit(_) => self.visit(&list, ndx, &entry)?,
        }
        self.closed(ndx)
    }

    /// One directory of a pass over the whole list. `false`: there is none left.
    fn sweep_step(&mut self, sweep: &mut Sweep) -> Result<bool, Fatal> {
        let list = Arc::clone(&self.lists[0].list);
        while sweep.slot < list.len() {
            let slot = sweep.slot;
            sweep.slot += 1;
            if let Some(entry) = list.slot(slot)
                && entry.kind() == FileKind::Directory
                && entry.has_content()
            {
                if self.policy.info.deleting_in && entry.is_top_dir() {
                    self.say_deleting_in(&path_of(&entry));
                }
                self.delete_in(&list, &directory_path(&entry))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn late_sweep_step(&mut self, sweep: &mut Sweep) -> Result<bool, Fatal> {
        if self.policy.deletes_delayed() {
            return self.delete_delayed_step();
        }
        self.sweep_step(sweep)
    }

    fn visit_next(&mut self) -> Result<(), Fatal> {
        while self
            .lists
            .get(self.walk.place)
            .is_some_and(|state| state.visited)
        {
            self.walk.place += 1;
            self.walk.slot = 0;
            self.walk.owner_visited = false;
        }
        let place = self.walk.place;
        let Some(state) = self.lists.get(place) else {
            return Ok(());
        };
        let list = Arc::clone(&state.list);
        if self.negotiated.is_incremental() && !self.walk.owner_visited {
            self.walk.owner_visited = true;
            if let Some((home, slot)) = self.flists.owner_of(&list)
                && let Some(entry) = home.slot(slot)
            {
                return self.visit_directory(&list, list.start() - 1, &entry, true);
            }
        }
        while self.walk.slot < list.len() {
            let slot = self.walk.slot;
            self.walk.slot += 1;
            let Some(entry) = list.slot(slot) else {
                continue;
            };
            let ndx = list.ndx_of(slot);
            // The directory that a first list describes stands in the list itself.
            return self.visit(&list, ndx, &entry);
        }
        self.lists[place].visited = true;
        self.walk.unvisited -= 1;
        // Here an earlier list may go, before anything of the next one is done: what that makes in
        // the directory of the earlier one stays as a stock server leaves it.
        self.advance()
    }

    /// Decides about one entry; whatever was decided, nobody waits in vain for it.
    fn visit(&mut self, list: &Arc<FileList>, ndx: u32, entry: &EntryRef<'_>) -> Result<(), Fatal> {
        self.visit_one(list, ndx, entry)?;
        if !self.is_put_off(ndx) && self.links.is_stranded(ndx, entry) {
            self.leader_failed(ndx)?;
        }
        Ok(())
    }

    fn visit_one(
        &mut self,
        list: &Arc<FileList>,
        ndx: u32,
        entry: &EntryRef<'_>,
    ) -> Result<(), Fatal> {
        let kind = entry.kind();
        if self.is_below_failed(entry) {
            if kind == FileKind::Directory {
                self.failed_dirs.insert(path_of(entry));
            }
            return Ok(());
        }
        if kind == FileKind::Directory {
            // With incremental recursion the first list's `.` owns that list: it was visited as such.
            let own = !self.negotiated.is_incremental();
            if !own && entry.is_root() {
                return Ok(());
            }
            return self.visit_directory(list, ndx, entry, own);
        }
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => {
                return self.entry_failed("recv_generator: failed to stat", entry, &error);
            }
        };
        if kind == FileKind::Missing {
            return self.delete_missing(entry, target);
        }
        if !self.passes_existence(entry, target.stat.as_ref()) {
            return Ok(());
        }
        if self.link_follower(ndx, entry, &target)? {
            return Ok(());
        }
        match kind {
            FileKind::Regular => self.visit_regular(ndx, entry, target),
            FileKind::Symlink if self.policy.links => self.visit_symlink(ndx, entry, target),
            FileKind::CharDevice | FileKind::BlockDevice if self.policy.devices => {
                self.visit_node(ndx, entry, target)
            }
            FileKind::Fifo | FileKind::Socket if self.policy.specials => {
                self.visit_node(ndx, entry, target)
            }
            _ => {
                if self.policy.info.nonreg {
                    let mut line = b"skipping non-regular file \"".to_vec();
                    line.extend_from_slice(&path_of(entry));
                    line.push(b'"');
                    self.out.raw_text(MessageKind::Info, line);
                }
                Ok(())
            }
        }
    }

    /// `--existing` and `--ignore-existing`.
    pub(super) fn passes_existence(&mut self, entry: &EntryRef<'_>, have: Option<&Stat>) -> bool {
        let is_dir = entry.kind() == FileKind::Directory;
        match have {
            None if self.policy.existing_only => {
                if is_dir {
                    self.failed_dirs.insert(path_of(entry));
                }
                if self.policy.info.skip {
                    let what: &[u8] = if is_dir {
                        b"not creating new directory \""
                    } else {
                        b"not creating new file \""
                    };
                    self.out
                        .raw_text(MessageKind::Info, [what, &path_of(entry), b"\""].concat());
                }
                false
            }
            Some(have) if self.policy.ignore_existing && !(is_dir && have.kind == Kind::Dir) => {
                if self.policy.info.skip {
                    self.out.raw_text(
                        MessageKind::Info,
                        [&path_of(entry)[..], b" exists"].concat(),
                    );
                }
                false
            }
            _ => true,
        }
    }

    /// Looks at what stands where an entry is to be.
    pub(super) fn target(&mut self, entry: &EntryRef<'_>) -> std::io::Result<Target> {
        let name = self.target_name(entry);
        let mut dir = self.dir_of(entry)?;
        if dir.is_none() && self.may_lack_parents() && !self.failed_dirs.contains(entry.dir()) {
            self.make_parents(entry.dir())?;
            dir = self.dir_of(entry)?;
        }
        let Some(dir) = dir else {
            return Ok(Target {
                dir: None,
                name,
                stat: None,
            });
        };
        let stat = dir.stat(&name)?;
        if !self.policy.perms && self.umask_of.as_deref() != Some(entry.dir()) {
            self.umask = self.umask_in(&dir)?;
            self.umask_of = Some(entry.dir().to_vec());
        }
        Ok(Target {
            dir: Some(dir),
            name,
            stat,
        })
    }

    /// Whether directories on the way to an entry are perhaps not in the list, and made as they are
    /// needed: with `--no-implied-dirs`, which no client before protocol 30 tells.
    fn may_lack_parents(&self) -> bool {
        let policy = &self.policy;
        let untold = !self.negotiated.version.at_least(30);
        policy.relative && (policy.no_implied_dirs || untold) && !policy.dry_run
    }

    /// A default ACL takes the umask's place.
    fn umask_in(&self, dir: &Dir) -> std::io::Result<u32> {
        let acl = dir.self_acl(&dir.self_stat()?, AclKind::Default)?;
        Ok(acl.map_or(self.policy.umask, |acl| {
            let bits = |bits: u8, shift: u32| u32::from(bits) << shift;
            let group = acl.mask.unwrap_or(acl.group_obj);
            !(bits(acl.user_obj, 6) | bits(group, 3) | bits(acl.other, 0)) & 0o777
        }))
    }

    pub(super) fn is_below_failed(&self, entry: &EntryRef<'_>) -> bool {
        !self.failed_dirs.is_empty() && !entry.is_root() && self.failed_dirs.contains(entry.dir())
    }

    /// Puts an item on the wire: the index, its flags, and what they announce. `wanted` are the
    /// numbers of the xattr values to fetch.
    pub(super) fn put_item(&mut self, ndx: u32, item: &ItemHead, wanted: Option<&[u32]>) {
        self.out.ndx(Ndx::File(ndx));
        if self.negotiated.version.at_least(29) {
            item.encode(&mut self.out);
            if let Some(wanted) = wanted {
                encode_request(wanted, &mut self.out);
            }
        }
    }

    /// Tells the client about a change that needs no transfer; nothing when nothing changed and
    /// the client did not ask for such lines.
    pub(super) fn note(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        flags: ItemFlags,
        xname: Option<&[u8]>,
        missing: &[u32],
    ) -> Result<(), Fatal> {
        if !self.negotiated.version.at_least(29) {
            let is_made = flags.contains(ItemFlags::LOCAL_CHANGE)
                && xname.map_or(flags.is_significant(), |name| !name.is_empty());
            let is_changed_dir = entry.kind() == FileKind::Directory && flags.is_significant();
            if self.policy.info.name && (is_made || is_changed_dir) {
                self.say_changed(entry, xname);
            }
            return Ok(());
        }
        let tells = flags.is_significant()
            || xname.is_some_and(|name| !name.is_empty())
            || self.policy.itemizes_unchanged;
        if !tells {
            return Ok(());
        }
        let item = ItemHead {
            flags,
            basis_type: None,
            xname: xname.map(<[u8]>::to_vec),
        };
        let exchanges = self.exchanges_xattrs(&item);
        self.put_item(ndx, &item, exchanges.then_some(missing));
        if exchanges {
            self.asked_for(entry, missing);
            self.await_note(ndx, item, missing)?;
        }
        Ok(())
    }

    /// Before protocol 29 the client hears of no change but transfers; the server names them.
    fn say_changed(&mut self, entry: &EntryRef<'_>, xname: Option<&[u8]>) {
        let mut line = path_of(entry);
        if entry.kind() == FileKind::Directory {
            line.push(b'/');
        }
        let (arrow, name): (&[u8], _) = match xname.filter(|name| !name.is_empty()) {
            None => (b" -> ", entry.link_target()),
            linked => (b" => ", linked),
        };
        if let Some(name) = name {
            line.extend_from_slice(arrow);
            line.extend_from_slice(name);
        }
        self.out.raw_text(MessageKind::Info, line);
    }

    /// Brings the attributes of something that is already there into line, and says so. Answers
    /// what was said.
    pub(super) fn settle_attributes(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        base: ItemFlags,
    ) -> Result<ItemFlags, Fatal> {
        let (Some(dir), Some(have)) = (&target.dir, &target.stat) else {
            return self.note(ndx, entry, base, None, &[]).map(|()| base);
        };
        let extra = match self.extra(entry, target) {
            Ok(extra) => extra,
            Err(error) => {
                self.entry_failed("failed to read attributes of", entry, &error)?;
                return Ok(base);
            }
        };
        let flags = decide::report(&self.policy, entry, Some(have), &extra, base);
        let told = if self.policy.dry_run {
            flags
        } else {
            decide::told_after_changes(&self.policy, entry, have, flags)
        };
        // Stock compares no times with `--checksum`, and writes them to the nanosecond.
        let times_to_write = self.policy.quick_check == QuickCheck::Checksum
            && (have.mtime.secs, have.mtime.nanos) != entry.mtime();
        let changes = flags.is_significant() || times_to_write;
        if changes && !self.policy.dry_run && !extra.waits {
            self.set_attributes(entry, dir, &target.name, have, &HashMap::new())?;
        }
        self.note(ndx, entry, told, None, &extra.missing)?;
        Ok(told)
    }
}
