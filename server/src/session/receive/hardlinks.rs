//! Groups of hard links: one member is transferred or found in place, the others are linked to it.
//!
//! ```text
//! Unstarted ──▶ InProgress (a member was requested) ──▶ Done (its path is known)
//!     ▲                 │ failed
//!     └─────────────────┘
//! ```
//!
//! As with stock rsync, a missing member waits while a later one of the same list may exist
//! already; when none does, the last of the list becomes the leader. Members that wait are linked
//! last to first once the leader is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coffre_protocol::flist::{EntryRef, FileList};
use coffre_protocol::item::ItemFlags;

use super::decide;
use super::delete::Way;
use super::generator::{Job, Target};
use super::notes::cost;
use super::phases::Stage;
use super::{Fatal, Receiver, path_of};
use crate::confine::{Kind, Replace, Stat};

/// A group. With `-H` every file may be in one whose other members are not of the transfer, so it
/// takes little once it is done.
#[derive(Debug)]
enum Group {
    Open(Box<Open>),
    /// Its path is known.
    Done(Leader),
}

#[derive(Debug, Default)]
struct Open {
    /// The last member in the newest list that has one.
    last: u32,
    /// A member was requested.
    in_progress: bool,
    /// Members that wait for the leader, in the order they were visited.
    waiting: Vec<u32>,
}

impl Default for Group {
    fn default() -> Self {
        Self::Open(Box::default())
    }
}

impl Group {
    /// `None`: its leader is known.
    fn open(&mut self) -> Option<&mut Open> {
        match self {
            Self::Open(open) => Some(open),
            Self::Done(_) => None,
        }
    }
}

/// What the members of a group are linked to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leader {
    /// Relative to the destination.
    path: Box<[u8]>,
    /// In a dry run, the inode that it would be a link of.
    like: Option<Box<Stat>>,
}

/// All groups of the session.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: HashMap<u32, Group>,
    /// Those whose leader was there with other extended attributes than it should have.
    changed: HashSet<u32>,
    /// Of paths and of members that wait.
    bytes: usize,
}

impl Links {
    /// Of memory. The table of groups is taken as half full, and each as open, which takes more
    /// than a path.
    pub(super) fn bytes(&self) -> usize {
        self.groups.len() * (2 * size_of::<(u32, Group)>() + size_of::<Open>())
            + self.changed.len() * 2 * size_of::<(u32, u8)>()
            + self.bytes
    }

    pub(super) fn list_arrived(&mut self, list: &FileList) {
        for (ndx, entry) in list.iter() {
            if let Some(group) = entry.hard_link_group()
                && let Some(open) = self.groups.entry(group).or_default().open()
            {
                open.last = ndx;
            }
        }
    }

    /// The group of an entry, while its leader is not known.
    fn open(&mut self, entry: &EntryRef<'_>) -> Option<&mut Open> {
        self.groups.get_mut(&entry.hard_link_group()?)?.open()
    }

    /// Whether a member that does not exist should wait for a later one; then it waits.
    pub(super) fn waits_for_later_member(&mut self, ndx: u32, entry: &EntryRef<'_>) -> bool {
        match self.open(entry) {
            Some(group) if !group.in_progress && group.last != ndx => {
                group.waiting.push(ndx);
                self.bytes += size_of::<u32>();
                true
            }
            _ => false,
        }
    }

    /// Whether members wait for this one, which has been visited and leads nobody.
    pub(super) fn is_stranded(&mut self, ndx: u32, entry: &EntryRef<'_>) -> bool {
        self.open(entry).is_some_and(|group| {
            !group.in_progress && group.last == ndx && !group.waiting.is_empty()
        })
    }

    /// A member was requested: it is the leader.
    pub(super) fn requested(&mut self, _ndx: u32, entry: &EntryRef<'_>) {
        if let Some(group) = self.open(entry) {
            group.in_progress = true;
        }
    }
}

impl Receiver {
    /// Handles a member whose leader is known. `false`: it must be looked at like any file.
    pub(super) fn link_follower(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
    ) -> Result<bool, Fatal> {
        let Some(id) = entry.hard_link_group() else {
            return Ok(false);
        };
        let Some(group) = self.links.groups.get_mut(&id) else {
            return Ok(false);
        };
        match group {
            Group::Open(group) if !group.in_progress => Ok(false),
            Group::Open(group) => {
                group.waiting.push(ndx);
                self.links.bytes += size_of::<u32>();
                self.opened(ndx)?;
                Ok(true)
            }
            Group::Done(leader) => {
                let leader = leader.clone();
                self.link_to(ndx, entry, target, &leader, false)?;
                Ok(true)
            }
        }
    }

    /// The entry is in place: if it leads a group, the members that wait are linked to it.
    pub(super) fn leader_done(&mut self, _ndx: u32, entry: &EntryRef<'_>) -> Result<(), Fatal> {
        self.lead(entry, None)
    }

    /// The same of one that was in place already; `flags` are what was told about it.
    pub(super) fn leader_settled(
        &mut self,
        entry: &EntryRef<'_>,
        flags: ItemFlags,
    ) -> Result<(), Fatal> {
        if flags.contains(ItemFlags::REPORT_XATTR)
            && let Some(id) = entry.hard_link_group()
        {
            self.links.changed.insert(id);
        }
        self.lead(entry, None)
    }

    /// The same of one that is a link of something else, or would be.
    pub(super) fn leader_is_like(
        &mut self,
        _ndx: u32,
        entry: &EntryRef<'_>,
        like: &Target,
    ) -> Result<(), Fatal> {
        self.lead(entry, like.stat.filter(|_| self.policy.dry_run))
    }

    fn lead(&mut self, entry: &EntryRef<'_>, like: Option<Stat>) -> Result<(), Fatal> {
        let Some(id) = entry.hard_link_group() else {
            return Ok(());
        };
        let Some(group) = self.links.groups.get_mut(&id) else {
            return Ok(());
        };
        let Group::Open(open) = group else {
            return Ok(());
        };
        let waiting = std::mem::take(&mut open.waiting);
        let leader = Leader {
            path: path_of(entry).into(),
            like: like.map(Box::new),
        };
        self.links.bytes += cost(&leader.path);
        self.links.bytes -= size_of::<u32>() * waiting.len();
        if waiting.is_empty() {
            *group = Group::Done(leader);
            return Ok(());
        }
        *group = Group::Done(leader.clone());
        for member in waiting.into_iter().rev() {
            let place = self.list_of(member)?;
            let list = Arc::clone(&self.lists[place].list);
            if let Some(entry) = list.entry(member) {
                match self.target(&entry) {
                    Ok(target) => self.link_to(member, &entry, &target, &leader, true)?,
                    Err(error) => self.entry_failed("failed to stat", &entry, &error)?,
                }
            }
            self.closed(member)?;
        }
        Ok(())
    }

    /// What was to lead could not be had: the next member takes its place.
    pub(super) fn leader_failed(&mut self, ndx: u32) -> Result<(), Fatal> {
        let place = self.list_of(ndx)?;
        let list = Arc::clone(&self.lists[place].list);
        let Some(id) = list.entry(ndx).and_then(|entry| entry.hard_link_group()) else {
            return Ok(());
        };
        if let Some(Group::Open(group)) = self.links.groups.get_mut(&id) {
            group.in_progress = false;
            let waiting = std::mem::take(&mut group.waiting);
            self.links.bytes -= size_of::<u32>() * waiting.len();
            if let Some(last) = waiting.last() {
                group.last = *last;
            }
            if self.stage < Stage::Settling {
                self.jobs.extend(waiting.into_iter().map(Job::Revisit));
                return Ok(());
            }
            // Too late to ask for anything.
            for member in waiting {
                let place = self.list_of(member)?;
                let list = Arc::clone(&self.lists[place].list);
                if let Some(entry) = list.entry(member) {
                    let gone = std::io::ErrorKind::NotFound.into();
                    self.file_error("link", &path_of(&entry), &gone);
                }
                self.closed(member)?;
            }
        }
        Ok(())
    }

    /// `waited`: for the leader, so that nothing else was looked at.
    fn link_to(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        leader: &Leader,
        waited: bool,
    ) -> Result<(), Fatal> {
        let base = ItemFlags::LOCAL_CHANGE | ItemFlags::XNAME_FOLLOWS;
        let Leader { path: leader, like } = leader;
        let (leader_dir, leader_name) = match leader.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&leader[..slash], &leader[slash + 1..]),
            None => (&b""[..], &leader[..]),
        };
        let leader_name = self.renamed(leader_name);
        let from = match self.dir_at(leader_dir) {
            Ok(from) => from,
            Err(error) => return self.entry_failed("failed to open", entry, &error),
        };
        let leader_stat = match (&from, like) {
            (_, Some(like)) => Some(**like),
            (Some(from), None) => from.stat(&leader_name).ok().flatten(),
            (None, None) => None,
        };
        if let (Some(have), Some(leader_stat)) = (&target.stat, &leader_stat)
            && have.same_inode(leader_stat)
        {
            // The leader's attributes may still wait for xattr values; then they differ here too.
            let extra = match self.extra(entry, target) {
                Ok(extra) => extra,
                Err(error) => {
                    return self.entry_failed("failed to read attributes of", entry, &error);
                }
            };
            let mut flags = decide::report(&self.policy, entry, Some(have), &extra, base);
            // Stock sets extended attributes only when the client has answered, and sees the old
            // ones under every name of the group.
            if entry
                .hard_link_group()
                .is_some_and(|id| self.links.changed.contains(&id))
            {
                flags |= ItemFlags::REPORT_XATTR;
            }
            self.note(ndx, entry, flags, Some(b""), &extra.missing)?;
            if self.policy.reports_up_to_date {
                self.successes.push(ndx);
            }
            self.say_up_to_date(entry, flags);
            return Ok(());
        }
        // What is told is the difference to what stood there, even a directory.
        let replaced = target;
        let mut target = Target {
            dir: target.dir.clone(),
            name: target.name.clone(),
            stat: target.stat,
        };
        if target.stat.is_some_and(|have| have.kind == Kind::Dir)
            && self.make_way(ndx, entry, &mut target, "hard link")? != Way::Clear
        {
            return Ok(());
        }
        let elsewhere = match target.stat {
            None if !waited => self.find_linked_alternate(entry, leader_stat.as_ref()),
            _ => None,
        };
        let gone = Target {
            dir: None,
            name: Vec::new(),
            stat: replaced.stat,
        };
        let compared = match &elsewhere {
            Some(found) => found,
            None if replaced.stat.is_some() && target.stat.is_none() => &gone,
            None => &target,
        };
        let extra = match self.extra(entry, compared) {
            Ok(extra) => extra,
            Err(error) => return self.entry_failed("failed to read attributes of", entry, &error),
        };
        let change = ItemFlags::LOCAL_CHANGE;
        let flags = decide::report(&self.policy, entry, compared.stat.as_ref(), &extra, change)
            | ItemFlags::XNAME_FOLLOWS;
        if !self.back_up_replaced(entry, &target)? {
            return Ok(());
        }
        if !self.policy.dry_run {
            let replace = if target.stat.is_some() {
                Replace::Yes
            } else {
                Replace::No
            };
            if target.stat.is_some() {
                self.comes_from_temp_dir();
            }
            let linked = match (&target.dir, &from) {
                (Some(dir), Some(from)) => dir.link(&target.name, from, &leader_name, replace),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            };
            self.touched(entry.dir());
            if let Err(error) = linked {
                if super::messages::is_store_failure(&error) {
                    return Err(self.store_failure("link", &path_of(entry), &error));
                }
                self.file_error("link", &path_of(entry), &error);
                return Ok(());
            }
        }
        self.totals.created += 1;
        if self.policy.reports_success {
            self.successes.push(ndx);
        }
        if elsewhere.is_some() && self.links_alternates() && !self.tells_matches() {
            self.say_up_to_date(entry, ItemFlags::default());
            return Ok(());
        }
        self.note(ndx, entry, flags, Some(leader), &extra.missing)
    }
}
