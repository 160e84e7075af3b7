//! Symlinks, devices, fifos and sockets; and making way for an entry of another kind.

use std::collections::HashMap;

use coffre_protocol::flist::{EntryRef, FileKind};
use coffre_protocol::item::ItemFlags;
use coffre_protocol::mux::MessageKind;

use super::alternates::Other;
use super::decide;
use super::delete::Way;
use super::generator::Target;
use super::{Fatal, Receiver, path_of};
use crate::confine::{Kind, Replace, XattrSet};

impl Receiver {
    pub(super) fn visit_symlink(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: Target,
    ) -> Result<(), Fatal> {
        let link = entry.link_target().unwrap_or_default().to_vec();
        if self.policy.safe_links && decide::is_unsafe_link(&link, &path_of(entry)) {
            if self.policy.info.symsafe {
                let line = [
                    b"ignoring unsafe symlink \"",
                    &path_of(entry)[..],
                    b"\" -> \"",
                    &link,
                    b"\"",
                ];
                self.out.raw_text(MessageKind::Info, line.concat());
            }
            return Ok(());
        }
        let is_same = match (&target.dir, &target.stat) {
            (Some(dir), Some(have)) if have.kind == Kind::Symlink => {
                dir.read_link(&target.name).is_ok_and(|own| own == link)
            }
            _ => false,
        };
        self.visit_made(ndx, entry, target, is_same, "symlink")
    }

    pub(super) fn visit_node(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: Target,
    ) -> Result<(), Fatal> {
        let is_device = matches!(entry.kind(), FileKind::CharDevice | FileKind::BlockDevice);
        let is_same = target.stat.is_some_and(|have| {
            kind_of(entry.kind()) == Some(have.kind) && (!is_device || have.rdev == entry.rdev())
        });
        let what = if is_device {
            "device file"
        } else {
            "special file"
        };
        self.visit_made(ndx, entry, target, is_same, what)
    }

    /// An entry that is made here, without a transfer. `is_same`: it is there as it should be,
    /// but for its attributes.
    fn visit_made(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        mut target: Target,
        is_same: bool,
        what: &str,
    ) -> Result<(), Fatal> {
        if is_same {
            let flags = self.settle_attributes(ndx, entry, &target, ItemFlags::default())?;
            self.say_up_to_date(entry, flags);
            if self.policy.reports_up_to_date {
                self.successes.push(ndx);
            }
            return self.leader_settled(entry, flags);
        }
        let found = match target.stat {
            Some(_) => Other::Nothing,
            None => self.take_other_from_alternates(ndx, entry, &target)?,
        };
        let (found, is_told) = match found {
            Other::Done => return Ok(()),
            Other::Told(found) => (Some(found), true),
            Other::Differs(found) => (Some(found), false),
            Other::Nothing => (None, false),
        };
        let changes = target
            .stat
            .is_some_and(|have| Some(family(have.kind)) == kind_of(entry.kind()).map(family));
        if !changes
            && target.stat.is_some()
            && self.make_way(ndx, entry, &mut target, what)? != Way::Clear
        {
            return Ok(());
        }
        let compared = found.as_ref().map_or(&target, |found| &found.place);
        let extra = match self.extra(entry, compared) {
            Ok(extra) => extra,
            Err(error) => return self.entry_failed("failed to read attributes of", entry, &error),
        };
        let base = ItemFlags::LOCAL_CHANGE | ItemFlags::REPORT_CHANGE;
        let flags = decide::report(&self.policy, entry, compared.stat.as_ref(), &extra, base);
        let values = (!extra.waits).then(|| self.found_xattrs(found.as_ref()));
        if !self.back_up_replaced(entry, &target)?
            || (!self.policy.dry_run && !self.make(entry, &target, values.as_ref())?)
        {
            return self.leader_failed(ndx);
        }
        self.totals.created += 1;
        if self.policy.reports_success {
            self.successes.push(ndx);
        }
        if !is_told {
            self.note(ndx, entry, flags, None, &extra.missing)?;
        }
        self.leader_done(ndx, entry)
    }

    /// Makes the entry beside its name and puts it in place. `values`: attributes of something
    /// like it; `None`: some are still to come. `false`: reported and skipped.
    fn make(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
        values: Option<&XattrSet>,
    ) -> Result<bool, Fatal> {
        let none = XattrSet::new();
        let mut wanted = self.wanted(entry, None, values.unwrap_or(&none), &HashMap::new());
        if values.is_none() {
            wanted.without_xattrs();
        }
        let attributes = wanted.attributes();
        let replace = if target.stat.is_some() {
            Replace::Yes
        } else {
            Replace::No
        };
        if target.stat.is_some() {
            self.comes_from_temp_dir();
        }
        let (action, made) = match &target.dir {
            None => ("create", Err(std::io::ErrorKind::NotFound.into())),
            Some(dir) if entry.kind() == FileKind::Symlink => (
                "symlink",
                dir.make_symlink(
                    &target.name,
                    entry.link_target().unwrap_or_default(),
                    &attributes,
                    replace,
                ),
            ),
            Some(dir) => (
                "mknod",
                match kind_of(entry.kind()) {
                    Some(kind) => {
                        dir.make_node(&target.name, kind, entry.rdev(), &attributes, replace)
                    }
                    None => Err(std::io::ErrorKind::InvalidInput.into()),
                },
            ),
        };
        self.touched(entry.dir());
        match made {
            Ok(errors) => {
                self.report_attributes(entry, Ok(errors))?;
                Ok(true)
            }
            Err(error) if super::messages::is_store_failure(&error) => {
                Err(self.store_failure(action, &path_of(entry), &error))
            }
            Err(error) => {
                self.file_error(action, &path_of(entry), &error);
                Ok(false)
            }
        }
    }

    /// Removes what stands in the way of an entry of another kind. A directory is removed with
    /// its contents only where the client may delete.
    pub(super) fn make_way(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &mut Target,
        what: &str,
    ) -> Result<Way, Fatal> {
        let (Some(dir), Some(have)) = (target.dir.clone(), target.stat) else {
            return Ok(Way::Clear);
        };
        let path = path_of(entry);
        let way = if have.kind == Kind::Dir {
            self.clear_directory(ndx, &dir, &target.name, &path)?
        } else {
            match self.remove_or_back_up(&dir, &target.name, &path)? {
                Ok(true) => Way::Clear,
                Ok(false) => Way::Blocked,
                Err(error) => {
                    self.file_error("delete_file: unlink", &path, &error);
                    Way::Blocked
                }
            }
        };
        self.touched(entry.dir());
        match way {
            Way::Clear => target.stat = None,
            Way::Later => {}
            Way::Blocked => {
                let mut line = format!("could not make way for new {what}: ").into_bytes();
                line.extend_from_slice(&path);
                self.out.raw_text(MessageKind::ErrorXfer, line);
                self.totals.had_errors = true;
            }
        }
        Ok(way)
    }
}

/// Kinds that replace each other as a change; any other pair is a deletion and a new entry.
pub(super) fn family(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Dir => 1,
        Kind::Symlink => 2,
        Kind::CharDevice | Kind::BlockDevice => 3,
        Kind::Fifo | Kind::Socket => 4,
    }
}

/// What an entry of this kind is on disk.
pub(super) fn kind_of(kind: FileKind) -> Option<Kind> {
    Some(match kind {
        FileKind::Regular => Kind::File,
        FileKind::Directory => Kind::Dir,
        FileKind::Symlink => Kind::Symlink,
        FileKind::CharDevice => Kind::CharDevice,
        FileKind::BlockDevice => Kind::BlockDevice,
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
        FileKind::Missing => return None,
    })
}
