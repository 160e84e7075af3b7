//! Alternate destinations: directories of the tenant's tree whose entries can stand for those of
//! the transfer (`--compare-dest`, `--copy-dest`, `--link-dest`).
//!
//! An entry that is missing at the destination is looked for under the same path in each of them,
//! in their order. The first with the best match counts:
//!
//! | match | regular files | others |
//! |---|---|---|
//! | [`Match::Whole`]: nothing differs | left out, copied or linked | the same; directories are made |
//! | [`Match::Content`]: only attributes differ | copied here, with the entry's attributes | made anew, told as a change |
//! | [`Match::Name`] | the basis of a transfer | made anew, told as a change |
//!
//! A file that is there already makes way for nothing but a whole match, and with `--copy-dest`
//! not even for that.
//!
//! A linked file shares its inode with the other directory and, perhaps, with snapshots. Nothing
//! is different from any other file of the tree: whoever changes it finds out who shares it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use coffre_protocol::flist::{EntryRef, FileKind};
use coffre_protocol::item::{BasisType, ItemFlags};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::options::AlternateKind;

use super::basis::{Basis, OpenBasis};
use super::decide::{self, Extra};
use super::destination::client_path;
use super::generator::Target;
use super::messages::{is_store_failure, reason};
use super::policy::QuickCheck;
use super::special::{family, kind_of};
use super::{Fatal, Receiver, path_of};
use crate::confine::{AttributeError, Dir, Escape, Kind, Replace, Stat, TenantPath, XattrSet};

/// The directories, all of one kind. The index of one is what the wire tells a basis by.
#[derive(Debug, Clone)]
pub(super) struct Alternates {
    pub(super) kind: AlternateKind,
    dirs: Vec<TenantPath>,
}

impl Alternates {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.dirs.len()
    }
}

/// How much of an entry is found elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    Name,
    Content,
    Whole,
}

/// What was found.
pub(super) struct Found {
    pub(super) level: Match,
    pub(super) place: Target,
    pub(super) extra: Extra,
    index: u8,
}

/// What came of looking for a regular file.
pub(super) enum Regular {
    /// The entry is as it should be, and the client was told.
    Done,
    /// The file there is the basis; what differs is told against it.
    Basis(Box<Target>, OpenBasis),
    Nothing,
}

/// What came of looking for anything else.
pub(super) enum Other {
    /// Nothing is left to be done.
    Done,
    /// It is made here; the client has been told.
    Told(Found),
    /// It is made here, and told as a change of what was found.
    Differs(Found),
    Nothing,
}

impl Receiver {
    /// Finds the directories, once the destination is known. One that is missing is said and
    /// stays in the list: the indexes are the client's, and it may come to be.
    /// Errors: one that leads out of the tree.
    pub(super) fn settle_alternates(&mut self) -> Result<(), Fatal> {
        let Some(asked) = self.policy.alternates.clone() else {
            return Ok(());
        };
        let option = asked.kind.option();
        let mut dirs = Vec::with_capacity(asked.dirs.len());
        for argument in &asked.dirs {
            let dir = self.beside_destination(option, argument)?;
            let lack: &[u8] = match self.root.kind_at(&dir) {
                Ok(Some(Kind::Dir)) => b"",
                Ok(Some(_)) => b" arg is not a dir: ",
                Ok(None) | Err(_) => b" arg does not exist: ",
            };
            if !lack.is_empty() {
                let shown = self.shown_argument(argument);
                let line = [option.as_bytes(), lack, &shown].concat();
                self.out.raw_text(MessageKind::Warning, line);
            }
            dirs.push(dir);
        }
        let kind = asked.kind;
        self.alternates = Some(Alternates { kind, dirs });
        Ok(())
    }

    /// An alternate directory as stock names it: put behind the destination.
    fn shown_argument(&self, argument: &[u8]) -> Vec<u8> {
        let bare = match argument {
            [_, .., b'/'] => &argument[..argument.len() - 1],
            _ => argument,
        };
        let Some(destination) = &self.destination else {
            return bare.to_vec();
        };
        if bare.starts_with(b"/") {
            return bare.to_vec();
        }
        let mut dir = destination.dir.clone();
        let mut rest = bare;
        // A dry run stops above a destination that is not there.
        if let Some(after) = bare.strip_prefix(b"../")
            && matches!(self.root.kind_at(&dir), Ok(None))
            && let Some(above) = dir.parent()
        {
            (dir, rest) = (above, after);
        }
        let mut shown = client_path(&dir);
        if shown != b"/" {
            shown.push(b'/');
        }
        shown.extend_from_slice(rest);
        shown
    }

    /// What stands in the place of an entry in alternate directory `index`. `None`: nothing.
    fn alternate_place(&self, index: usize, entry: &EntryRef<'_>) -> Option<Target> {
        let dir = self.alternate_dir(index, entry.dir())?;
        if entry.is_root() {
            let stat = dir.self_stat().ok()?;
            return Some(Target {
                dir: Some(dir),
                name: b".".to_vec(),
                stat: Some(stat),
            });
        }
        let name = self.target_name(entry);
        let stat = dir.stat(&name).ok()??;
        Some(Target {
            dir: Some(dir),
            name,
            stat: Some(stat),
        })
    }

    /// A directory of the list in alternate directory `index`. Links on the way are followed as
    /// far as they stay in the tenant's tree.
    pub(super) fn alternate_dir(&self, index: usize, path: &[u8]) -> Option<Arc<Dir>> {
        let alternate = self.alternates.as_ref()?.dirs.get(index)?;
        let below = self.destination.as_ref()?.below(path).ok()?;
        let path = alternate.join(&below);
        match self.root.cached_dir(&path) {
            Ok(dir) => Some(dir),
            Err(error)
                if Escape::of(&error).is_some() || error.kind() == io::ErrorKind::NotADirectory =>
            {
                let path = self.root.resolve(path.as_bytes()).ok()?;
                self.root.cached_dir(&path).ok()
            }
            Err(_) => None,
        }
    }

    /// Looks for an entry in the alternate directories. `None`: nothing of its kind is there.
    pub(super) fn find_alternate(&mut self, entry: &EntryRef<'_>) -> Option<Found> {
        let count = self.alternates.as_ref()?.len();
        let mut best: Option<Found> = None;
        for index in 0..count {
            let Some(place) = self.alternate_place(index, entry) else {
                continue;
            };
            let Some(have) = place.stat else { continue };
            let kind = kind_of(entry.kind());
            if kind.map(family) != Some(family(have.kind)) {
                continue;
            }
            let extra = self.extra(entry, &place);
            let level = match &extra {
                _ if !self.has_same_content(entry, &place, &have) => Match::Name,
                Ok(extra) if decide::has_attributes(&self.policy, entry, &have, extra) => {
                    Match::Whole
                }
                _ => Match::Content,
            };
            if best.as_ref().is_none_or(|best| best.level < level) {
                best = Some(Found {
                    level,
                    place,
                    // What cannot be read differs.
                    extra: extra.unwrap_or_default(),
                    index: index as u8,
                });
            }
            if level == Match::Whole {
                break;
            }
        }
        best
    }

    /// Whether it would do in the entry's place, but for attributes.
    fn has_same_content(&mut self, entry: &EntryRef<'_>, place: &Target, have: &Stat) -> bool {
        match entry.kind() {
            FileKind::Regular => {
                let (Some(dir), Some(digest)) = (&place.dir, entry.digest()) else {
                    return decide::quick_check(&self.policy, entry, have);
                };
                if self.policy.quick_check != QuickCheck::Checksum {
                    return decide::quick_check(&self.policy, entry, have);
                }
                have.size == entry.len()
                    && self
                        .has_content(entry, dir, &place.name, have, digest)
                        .unwrap_or(false)
            }
            FileKind::Symlink => place.dir.as_ref().is_some_and(|dir| {
                let target = dir.read_link(&place.name);
                target.is_ok_and(|target| Some(&target[..]) == entry.link_target())
            }),
            kind => {
                kind_of(kind) == Some(have.kind)
                    && (!have.kind.is_device() || have.rdev == entry.rdev())
            }
        }
    }

    /// Looks for a regular file that is missing or, unless copies are asked for, differs.
    pub(super) fn take_regular_from_alternates(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
    ) -> Result<Regular, Fatal> {
        let Some(kind) = self.alternates.as_ref().map(|alternates| alternates.kind) else {
            return Ok(Regular::Nothing);
        };
        let exists = target.stat.is_some();
        if exists && kind == AlternateKind::Copy {
            return Ok(Regular::Nothing);
        }
        let Some(found) = self.find_alternate(entry) else {
            return Ok(Regular::Nothing);
        };
        if found.level == Match::Whole && kind != AlternateKind::Copy {
            if let (Some(own), Some(other)) = (&target.stat, &found.place.stat)
                && kind == AlternateKind::Link
                && own.same_inode(other)
            {
                return Ok(Regular::Nothing);
            }
            if kind == AlternateKind::Compare {
                return self.leave_out(ndx, entry, target, &found);
            }
            if self.link_to_alternate(entry, target, &found)? {
                self.linked_to_alternate(ndx, entry, target, &found)?;
                return Ok(Regular::Done);
            }
        } else if exists {
            return Ok(Regular::Nothing);
        }
        if found.level >= Match::Content {
            return self.copy_alternate(ndx, entry, target, found);
        }
        Ok(match self.open_alternate(entry, &found) {
            Some(basis) => Regular::Basis(Box::new(found.place), basis),
            None => Regular::Nothing,
        })
    }

    /// `--compare-dest`: an equal file elsewhere needs none here.
    fn leave_out(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        found: &Found,
    ) -> Result<Regular, Fatal> {
        if let (Some(dir), Some(_)) = (&target.dir, &target.stat)
            && !self.policy.dry_run
        {
            self.touched(entry.dir());
            match dir.remove_file(&target.name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Ok(Regular::Nothing);
                }
                _ => {}
            }
        }
        let flags = self.report_against(entry, found, ItemFlags::default());
        self.note(ndx, entry, flags, None, &[])?;
        self.stands_already(ndx, entry);
        Ok(Regular::Done)
    }

    /// `--link-dest`. `false`: it cannot be linked.
    pub(super) fn link_to_alternate(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
        found: &Found,
    ) -> Result<bool, Fatal> {
        if self.policy.dry_run {
            return Ok(true);
        }
        let (Some(dir), Some(from)) = (&target.dir, &found.place.dir) else {
            return Ok(false);
        };
        let replace = match target.stat {
            Some(_) => Replace::Yes,
            None => Replace::No,
        };
        self.touched(entry.dir());
        if target.stat.is_some() {
            self.comes_from_temp_dir();
        }
        match dir.link(&target.name, from, &found.place.name, replace) {
            Ok(()) => {
                self.totals.created += 1;
                Ok(true)
            }
            Err(error) if is_store_failure(&error) => {
                Err(self.store_failure("link", &path_of(entry), &error))
            }
            Err(error) => {
                if self.policy.info.name && entry.kind() == FileKind::Regular {
                    let why = format!(" failed: {}", reason(&error));
                    let line = [
                        b"rsync: [generator] link \"",
                        &self.shown(&path_of(entry))[..],
                        b"\" => ",
                        &self.shown_place(&found.place),
                        why.as_bytes(),
                    ];
                    self.out.raw_text(MessageKind::Info, line.concat());
                }
                Ok(false)
            }
        }
    }

    fn shown_place(&self, place: &Target) -> Vec<u8> {
        let dir = place.dir.as_ref().and_then(|dir| dir.path());
        let mut shown = dir.map_or_else(Vec::new, client_path);
        if !shown.ends_with(b"/") {
            shown.push(b'/');
        }
        shown.extend_from_slice(&place.name);
        shown
    }

    fn linked_to_alternate(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        found: &Found,
    ) -> Result<(), Fatal> {
        if self.policy.atimes
            && !self.policy.dry_run
            && let (Some(dir), Some(have)) = (&target.dir, &found.place.stat)
        {
            self.set_attributes(entry, dir, &target.name, have, &HashMap::new())?;
        }
        self.leader_is_like(ndx, entry, &found.place)?;
        if self.tells_matches() {
            let base = ItemFlags::LOCAL_CHANGE | ItemFlags::XNAME_FOLLOWS;
            let flags = self.report_against(entry, found, base);
            self.note(ndx, entry, flags, Some(b""), &[])?;
        }
        self.stands_already(ndx, entry);
        Ok(())
    }

    /// Whether equal files elsewhere are linked here.
    pub(super) fn links_alternates(&self) -> bool {
        let kind = self.alternates.as_ref().map(|alternates| alternates.kind);
        kind == Some(AlternateKind::Link)
    }

    /// Whether items tell of entries that were found elsewhere as they should be.
    pub(super) fn tells_matches(&self) -> bool {
        self.policy.itemizes && self.policy.itemizes_unchanged
    }

    /// What stands elsewhere for a member of a group of hard links whose leader is in place: with
    /// `--link-dest` the leader's own inode, else a file of the same content.
    pub(super) fn find_linked_alternate(
        &mut self,
        entry: &EntryRef<'_>,
        leader: Option<&Stat>,
    ) -> Option<Target> {
        let count = self.alternates.as_ref()?.len();
        let mut found = None;
        for index in 0..count {
            let Some(place) = self.alternate_place(index, entry) else {
                continue;
            };
            let Some(have) = place.stat else { continue };
            if self.links_alternates() {
                if leader.is_some_and(|leader| leader.same_inode(&have)) {
                    return Some(place);
                }
                continue;
            }
            if entry.kind() != FileKind::Regular
                || have.kind != Kind::File
                || !self.has_same_content(entry, &place, &have)
            {
                continue;
            }
            let extra = self.extra(entry, &place);
            let is_whole =
                extra.is_ok_and(|extra| decide::has_attributes(&self.policy, entry, &have, &extra));
            found = Some(place);
            if is_whole {
                break;
            }
        }
        found
    }

    /// Looks for an entry other than a regular file that is missing here. What is equal
    /// and needs nothing here is done with.
    pub(super) fn take_other_from_alternates(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
    ) -> Result<Other, Fatal> {
        let Some(kind) = self.alternates.as_ref().map(|alternates| alternates.kind) else {
            return Ok(Other::Nothing);
        };
        let Some(found) = self.find_alternate(entry) else {
            return Ok(Other::Nothing);
        };
        if found.level < Match::Whole {
            return Ok(Other::Differs(found));
        }
        let is_dir = entry.kind() == FileKind::Directory;
        let is_linked = kind == AlternateKind::Link
            && !is_dir
            && self.link_to_alternate(entry, target, &found)?;
        if is_linked {
            self.leader_done(ndx, entry)?;
        }
        if self.tells_matches() {
            let (base, xname): (ItemFlags, Option<&[u8]>) = match kind {
                AlternateKind::Compare if !is_dir => (ItemFlags::default(), None),
                _ if is_linked => (
                    ItemFlags::LOCAL_CHANGE | ItemFlags::XNAME_FOLLOWS,
                    Some(b""),
                ),
                _ => (ItemFlags::LOCAL_CHANGE, None),
            };
            let mut flags = self.report_against(entry, &found, base);
            if !decide::keeps_time(&self.policy, entry.kind()) {
                flags = flags.without(ItemFlags::REPORT_TIME);
            }
            self.note(ndx, entry, flags, xname, &[])?;
        }
        if is_dir {
            self.say_directory_up_to_date(entry);
        } else {
            self.say_up_to_date(entry, ItemFlags::default());
        }
        if is_linked || (kind == AlternateKind::Compare && !is_dir) {
            return Ok(Other::Done);
        }
        Ok(Other::Told(found))
    }

    fn say_directory_up_to_date(&mut self, entry: &EntryRef<'_>) {
        if self.policy.info.name_unchanged {
            let line = [&path_of(entry)[..], b"/ is uptodate"].concat();
            self.out.raw_text(MessageKind::Info, line);
        }
    }

    /// The extended attributes of what was found, if the client keeps such.
    pub(super) fn found_xattrs(&self, found: Option<&Found>) -> XattrSet {
        let read = || {
            let place = &found?.place;
            let dir = place.dir.as_ref()?;
            self.local_xattrs_if_kept(dir, &place.name).ok()
        };
        read().unwrap_or_default()
    }

    /// What an item says that compares the entry with what was found.
    pub(super) fn report_against(
        &self,
        entry: &EntryRef<'_>,
        found: &Found,
        base: ItemFlags,
    ) -> ItemFlags {
        let have = found.place.stat.as_ref();
        decide::report(&self.policy, entry, have, &found.extra, base)
    }

    /// An entry has come to be without a change that is worth a line.
    fn stands_already(&mut self, ndx: u32, entry: &EntryRef<'_>) {
        self.say_up_to_date(entry, ItemFlags::default());
        if self.policy.reports_up_to_date {
            self.successes.push(ndx);
        }
    }

    /// A file here with the content of what was found and the attributes of the entry.
    fn copy_alternate(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        found: Found,
    ) -> Result<Regular, Fatal> {
        if !self.policy.dry_run {
            match self.copy_here(entry, target, &found) {
                Ok(result) => self.report_attributes(entry, Ok(result))?,
                Err(error) if is_store_failure(&error) => {
                    return Err(self.store_failure("copy", &path_of(entry), &error));
                }
                // It is asked for, as if nothing had been found.
                Err(error) => {
                    tracing::debug!(%error, "an alternate file could not be copied");
                    return Ok(Regular::Nothing);
                }
            }
            self.totals.created += 1;
        }
        let flags = self.report_against(entry, &found, ItemFlags::LOCAL_CHANGE);
        let is_whole = found.level == Match::Whole;
        if !is_whole || self.negotiated.version.at_least(29) {
            self.note(ndx, entry, flags, None, &found.extra.missing)?;
        }
        if is_whole {
            self.say_up_to_date(entry, ItemFlags::default());
        }
        if self.policy.reports_up_to_date {
            self.successes.push(ndx);
        }
        self.leader_done(ndx, entry)?;
        Ok(Regular::Done)
    }

    fn copy_here(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
        found: &Found,
    ) -> io::Result<Vec<AttributeError>> {
        let (Some(dir), Some(from)) = (&target.dir, &found.place.dir) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let name = &found.place.name;
        let mut staged = from.stage_content(name, dir, self.policy.staging_mode(entry))?;
        let local = self.local_xattrs_if_kept(from, name)?;
        let mut wanted = self.wanted(entry, None, &local, &HashMap::new());
        if found.extra.waits {
            wanted.without_xattrs();
        }
        let errors = staged.apply(&wanted.attributes())?;
        if self.policy.fsync {
            staged.file().sync_all()?;
        }
        let replace = match target.stat {
            Some(_) => Replace::Yes,
            None => Replace::No,
        };
        self.touched(entry.dir());
        self.comes_from_temp_dir();
        staged.publish(dir, &target.name, replace)?;
        self.forget_kept(entry);
        Ok(errors)
    }

    /// Opens what was found as the basis of a transfer.
    fn open_alternate(&mut self, entry: &EntryRef<'_>, found: &Found) -> Option<OpenBasis> {
        let path = found.place.dir.as_ref()?.path()?;
        let path = path.child(&found.place.name).ok()?;
        let basis = Basis::in_tree(BasisType::AltDest(found.index), path.clone(), None);
        match self.open_basis(entry, basis) {
            Ok(basis) => Some(basis),
            Err(error) => {
                self.cannot_open_basis(&client_path(&path), &error);
                None
            }
        }
    }

    /// A basis for a file that is asked for once more.
    pub(super) fn alternate_basis(&mut self, entry: &EntryRef<'_>) -> Option<(Target, OpenBasis)> {
        let found = self.find_alternate(entry)?;
        let basis = self.open_alternate(entry, &found)?;
        Some((found.place, basis))
    }
}
