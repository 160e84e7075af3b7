//! What an entry is to have besides its content, what of it differs, and xattr values that do not
//! travel in the file list.
//!
//! A value of more than 32 bytes is in the list as a digest only. When no local value has that
//! digest it is asked for together with the item, and comes back with its echo; until then the
//! entry's attributes are not set.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use coffre_protocol::flist::{
    AclKind as WireAclKind, EntryRef, FileKind, FileList, IdKind, Limits, ReplyStep, Xattr,
    XattrReplyDecoder, XattrValue,
};
use coffre_protocol::item::ItemHead;
use coffre_protocol::wire::Reader;
use md5::{Digest, Md5};

use super::decide::{self, Extra};
use super::dirlinks::ITSELF;
use super::generator::Target;
use super::policy::{Policy, QuickCheck};
use super::protection::Protection;
use super::stream::UnitError;
use super::{Fatal, Receiver, path_of};
use crate::confine::{
    AclChange, AclKind, Attributes, Dir, Extended, FileTime, PosixAcl, Stat, TenantPath, XattrSet,
};

/// Values kept in memory for later entries with the same set, in all; what is beyond is read from
/// the first entry that has it.
const KEPT_VALUES: usize = 16 << 20;

/// The values that are on their way or have come.
pub(super) struct XattrExchange {
    limits: Limits,
    reply: Option<Reply>,
    /// Values by digest.
    kept: HashMap<[u8; 16], Vec<u8>>,
    kept_bytes: usize,
    /// Sets whose values were asked for, and for which entry: a client gives them once.
    /// By its path, and whether it is a directory.
    asked: HashMap<u32, (Vec<u8>, bool)>,
}

struct Reply {
    decoder: XattrReplyDecoder,
    values: HashMap<u32, Vec<u8>>,
    current: u32,
}

/// What an entry is to have, in the form [`Attributes`] borrows from.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    uid: Option<u32>,
    gid: Option<u32>,
    pub(super) mode: Option<u32>,
    mtime: Option<FileTime>,
    atime: Option<FileTime>,
    xattrs: Option<XattrSet>,
    /// A value of an extended attribute has not come and is nowhere else.
    lost_values: bool,
    access_acl: Option<Option<PosixAcl>>,
    default_acl: Option<Option<PosixAcl>>,
}

impl Wanted {
    /// For a new inode: the entry's time, whatever stands there now has.
    pub(super) fn set_time(&mut self, policy: &Policy, entry: &EntryRef<'_>) {
        let (secs, nanos) = entry.mtime();
        self.mtime = decide::keeps_time(policy, entry.kind()).then_some(FileTime { secs, nanos });
    }

    /// For an inode that stays: what of `local` is excluded stays with it.
    pub(super) fn keep_excluded(&mut self, protection: &Protection, local: &XattrSet) {
        if let Some(set) = &mut self.xattrs {
            let excluded = local
                .iter()
                .filter(|(name, _)| protection.excludes_xattr(name));
            set.extend(excluded.map(|(name, value)| (name.clone(), value.clone())));
        }
    }

    /// For an entry whose values have not all come.
    pub(super) fn without_xattrs(&mut self) {
        self.xattrs = None;
    }

    /// Takes out what a kept link is to have itself (see [`super::dirlinks`]).
    pub(super) fn split_for_link(&mut self) -> Wanted {
        Wanted {
            uid: self.uid.take(),
            gid: self.gid.take(),
            mtime: self.mtime.take(),
            ..Wanted::default()
        }
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        fn change(acl: &Option<PosixAcl>) -> AclChange<'_> {
            acl.as_ref().map_or(AclChange::Remove, AclChange::Set)
        }
        Attributes {
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            mtime: self.mtime,
            atime: self.atime,
            xattrs: self.xattrs.as_ref(),
            access_acl: self.access_acl.as_ref().map(change),
            default_acl: self.default_acl.as_ref().map(change),
        }
    }
}

fn md5_of(value: &[u8]) -> [u8; 16] {
    Md5::digest(value).into()
}

/// Names that a client may neither set nor see: the server's own.
fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b"user.coffre.") || name.starts_with(b"user.rsync.%")
}

impl XattrExchange {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            reply: None,
            kept: HashMap::new(),
            kept_bytes: 0,
            asked: HashMap::new(),
        }
    }

    fn keep(&mut self, value: &[u8]) {
        if self.kept_bytes + value.len() <= KEPT_VALUES {
            self.kept_bytes += value.len();
            self.kept.insert(md5_of(value), value.to_vec());
        }
    }
}

impl Receiver {
    /// What of ACL and xattrs differs from what stands at the target.
    pub(super) fn extra(&self, entry: &EntryRef<'_>, target: &Target) -> io::Result<Extra> {
        let mut extra = Extra::default();
        let acls = self.policy.acls && entry.kind() != FileKind::Symlink;
        let found = target.dir.as_ref().zip(target.stat.as_ref());
        if let Some(have) = &target.stat {
            extra.owner = self.uid_for(entry).is_some_and(|uid| uid != have.uid);
            extra.group = self.gid_for(entry).is_some_and(|gid| gid != have.gid);
        }
        let local = match found {
            Some((dir, have)) if acls || self.policy.xattrs => {
                if target.name == b"." {
                    dir.self_extended(have, self.policy.xattrs)?
                } else {
                    dir.extended(&target.name, have, self.policy.xattrs)?
                }
            }
            _ => Extended::default(),
        };
        if acls && found.is_some() {
            extra.acl = self.acl_differs(entry, &local);
        }
        if self.policy.xattrs {
            let mut local = local.xattrs;
            local.retain(|name, _| !self.protection.excludes_xattr(name));
            extra.missing = self.missing_values(entry, &local);
            extra.waits = !extra.missing.is_empty();
            if entry
                .xattrs()
                .is_some_and(|set| self.exchange.asked.contains_key(&set))
            {
                extra.missing.clear();
            }
            extra.xattrs = extra.waits
                || self.wire_set(entry).len() != local.len()
                || self.wire_set(entry).iter().any(|item| match &item.value {
                    XattrValue::Full(value) => {
                        local.get(&item.name[..]).map(Vec::as_slice) != Some(value)
                    }
                    XattrValue::Abbreviated { md5, .. } => local
                        .get(&item.name[..])
                        .is_none_or(|value| md5_of(value) != *md5),
                });
        }
        Ok(extra)
    }

    fn local_xattrs(&self, dir: &Dir, name: &[u8]) -> io::Result<XattrSet> {
        if name == b"." {
            dir.self_xattrs()
        } else {
            dir.xattrs(name)
        }
    }

    /// The attributes that the entry carries, without those nobody may set.
    fn wire_set(&self, entry: &EntryRef<'_>) -> Vec<&Xattr> {
        let set = entry
            .xattrs()
            .and_then(|index| self.decoder.xattr_cache().set(index));
        set.map_or_else(Vec::new, |set| {
            set.items
                .iter()
                .filter(|item| self.root.keeps_xattr(&item.name) && !is_reserved(&item.name))
                .filter(|item| self.policy.is_super || item.name.starts_with(b"user."))
                .filter(|item| !self.protection.excludes_xattr(&item.name))
                .collect()
        })
    }

    fn missing_values(&self, entry: &EntryRef<'_>, local: &XattrSet) -> Vec<u32> {
        let missing = |item: &&Xattr| match &item.value {
            XattrValue::Full(_) => false,
            XattrValue::Abbreviated { md5, .. } => {
                !self.exchange.kept.contains_key(md5)
                    && local
                        .get(&item.name[..])
                        .is_none_or(|value| md5_of(value) != *md5)
            }
        };
        self.wire_set(entry)
            .into_iter()
            .filter(missing)
            .map(|item| item.num)
            .collect()
    }

    /// The whole set, from the list, from what is here, and from what has been fetched.
    fn whole_set(
        &self,
        entry: &EntryRef<'_>,
        local: &XattrSet,
        fetched: &HashMap<u32, Vec<u8>>,
    ) -> Option<XattrSet> {
        let first = || {
            let (path, is_dir) = self.exchange.asked.get(&entry.xattrs()?)?;
            let (dir, name) = self.place_of(path, *is_dir)?;
            self.local_xattrs(&dir, &name).ok()
        };
        let first = std::cell::LazyCell::new(first);
        let value = |item: &Xattr| match &item.value {
            XattrValue::Full(value) => Some(value.to_vec()),
            XattrValue::Abbreviated { md5, .. } => {
                let fits = |value: &&Vec<u8>| md5_of(value) == *md5;
                fetched
                    .get(&item.num)
                    .or_else(|| self.exchange.kept.get(md5))
                    .or_else(|| local.get(&item.name[..]).filter(fits))
                    .or_else(|| first.as_ref()?.get(&item.name[..]).filter(fits))
                    .cloned()
            }
        };
        self.wire_set(entry)
            .into_iter()
            .map(|item| Some((item.name.to_vec(), value(item)?)))
            .collect()
    }

    fn acl_of(&self, entry: &EntryRef<'_>, kind: AclKind) -> Option<PosixAcl> {
        let cache = self.decoder.acl_cache();
        let (acl, wire_kind) = match kind {
            AclKind::Access => (cache.access_acl(entry.acl()?)?, WireAclKind::Access),
            AclKind::Default => (
                cache.default_acl(entry.default_acl()?)?,
                WireAclKind::Default,
            ),
        };
        let acl = acl.complete(wire_kind, entry.mode())?;
        let names = self.decoder.id_names();
        let named = |kind: IdKind| {
            let mut named: Vec<_> = acl
                .named
                .iter()
                .filter(|named| named.kind == kind)
                .map(|named| {
                    let id = self.owners.in_acl(kind, named.id, names);
                    (id, named.permissions)
                })
                .collect();
            named.sort_unstable();
            named
        };
        let acl = PosixAcl {
            user_obj: acl.user_obj,
            group_obj: acl.group_obj,
            mask: acl.mask_obj,
            other: acl.other_obj,
            users: named(IdKind::User),
            groups: named(IdKind::Group),
        };
        Some(acl).filter(|acl| kind == AclKind::Default || !acl.is_minimal())
    }

    fn acl_differs(&self, entry: &EntryRef<'_>, local: &Extended) -> bool {
        local.access_acl != self.acl_of(entry, AclKind::Access)
            || (entry.kind() == FileKind::Directory
                && local.default_acl != self.acl_of(entry, AclKind::Default))
    }

    /// All that the entry is to have. `have`: what stands there already; `local` and `fetched`:
    /// where xattr values are taken from that the list does not carry.
    pub(super) fn wanted(
        &self,
        entry: &EntryRef<'_>,
        have: Option<&Stat>,
        local: &XattrSet,
        fetched: &HashMap<u32, Vec<u8>>,
    ) -> Wanted {
        let policy = &self.policy;
        let kind = entry.kind();
        let mtime = entry.mtime();
        let keeps_time = decide::keeps_time(policy, kind)
            && have.is_none_or(|have| {
                let own = (have.mtime.secs, have.mtime.nanos);
                decide::times_differ(policy.modify_window, own, mtime)
            });
        let is_symlink = kind == FileKind::Symlink;
        let acls = policy.acls && !is_symlink;
        let xattrs = policy.xattrs.then(|| self.whole_set(entry, local, fetched));
        Wanted {
            lost_values: matches!(xattrs, Some(None)),
            uid: self.uid_for(entry),
            gid: self.gid_for(entry),
            mode: (!is_symlink).then(|| decide::wanted_mode(policy, entry, have, self.umask)),
            mtime: keeps_time.then_some(FileTime {
                secs: mtime.0,
                nanos: mtime.1,
            }),
            atime: entry
                .atime()
                .filter(|_| policy.atimes && kind != FileKind::Directory)
                .map(|secs| FileTime { secs, nanos: 0 }),
            xattrs: xattrs.flatten(),
            access_acl: acls.then(|| self.acl_of(entry, AclKind::Access)),
            default_acl: (acls && kind == FileKind::Directory)
                .then(|| self.acl_of(entry, AclKind::Default)),
        }
    }

    /// Sets what differs on something that is there.
    pub(super) fn set_attributes(
        &mut self,
        entry: &EntryRef<'_>,
        dir: &Arc<Dir>,
        name: &[u8],
        have: &Stat,
        fetched: &HashMap<u32, Vec<u8>>,
    ) -> Result<(), Fatal> {
        let mut lost = None;
        let mut of_link = None;
        let result = self.local_xattrs_if_kept(dir, name).and_then(|local| {
            let mut wanted = self.wanted(entry, Some(have), &local, fetched);
            wanted.keep_excluded(&self.protection, &local);
            if self.policy.quick_check == QuickCheck::Checksum && entry.kind() == FileKind::Regular
            {
                // Stock compares no times then, and writes the list's to the nanosecond.
                wanted.set_time(&self.policy, entry);
            }
            if name == ITSELF && !entry.is_root() {
                of_link = Some(wanted.split_for_link());
            }
            let result = update(dir, name, have, &wanted);
            lost = Some(wanted);
            result
        });
        if let Some(wanted) = &lost {
            self.tell_lost_values(entry, wanted);
        }
        self.report_attributes(entry, result)?;
        match of_link {
            Some(own) => self.set_on_link(entry, &own),
            None => Ok(()),
        }
    }

    /// Says that extended attributes were left as they are.
    pub(super) fn tell_lost_values(&mut self, entry: &EntryRef<'_>, wanted: &Wanted) {
        if wanted.lost_values {
            let lost = std::io::Error::other("the client did not send a value");
            self.file_error(
                "failed to set extended attributes on",
                &path_of(entry),
                &lost,
            );
        }
    }

    pub(super) fn local_xattrs_if_kept(&self, dir: &Dir, name: &[u8]) -> io::Result<XattrSet> {
        if self.policy.xattrs {
            self.local_xattrs(dir, name)
        } else {
            Ok(XattrSet::new())
        }
    }

    /// Whether xattr values travel with this item, in both directions.
    pub(super) fn exchanges_xattrs(&self, item: &ItemHead) -> bool {
        let transfers = !self.policy.dry_run || self.policy.batch_only;
        self.policy.xattrs && transfers && self.negotiated.exchanges_xattrs(item.flags)
    }

    /// The values of an entry's set are asked for: nobody else may.
    pub(super) fn asked_for(&mut self, entry: &EntryRef<'_>, missing: &[u32]) {
        if let Some(set) = entry.xattrs()
            && !missing.is_empty()
        {
            let is_dir = entry.kind() == FileKind::Directory;
            self.exchange.asked.insert(set, (path_of(entry), is_dir));
        }
    }

    fn place_of(&self, path: &[u8], is_dir: bool) -> Option<(Arc<Dir>, Vec<u8>)> {
        let destination = self.destination.as_ref()?;
        let path = TenantPath::parse(path).ok()?;
        if self.policy.keep_dirlinks && is_dir {
            let place = destination.place(&self.root, path.as_bytes()).ok()?;
            let dir = self.root.cached_dir(&place).ok()?;
            return Some((dir, ITSELF.to_vec()));
        }
        let parent = destination
            .place(&self.root, path.parent()?.as_bytes())
            .ok()?;
        let dir = self.root.cached_dir(&parent).ok()?;
        Some((dir, path.file_name()?.to_vec()))
    }

    /// Numbers of the values of an entry's set that do not travel in the list. A client may send
    /// any of them: what it was asked for with an entry that then vanished comes with the next.
    pub(super) fn abbreviated(&self, list: &FileList, ndx: u32) -> Vec<u32> {
        let owner = (ndx < list.start())
            .then(|| self.flists.owner_of(list))
            .flatten();
        let entry = match &owner {
            Some((home, slot)) => home.slot(*slot),
            None => list.entry(ndx),
        };
        let set = entry
            .and_then(|entry| entry.xattrs())
            .and_then(|index| self.decoder.xattr_cache().set(index));
        set.map_or_else(Vec::new, |set| {
            let abbreviated = |item: &&Xattr| matches!(item.value, XattrValue::Abbreviated { .. });
            set.items
                .iter()
                .filter(abbreviated)
                .map(|item| item.num)
                .collect()
        })
    }

    pub(super) fn begin_xattr_reply(&mut self, wanted: &[u32], allowed: &[u32]) {
        self.exchange.reply = Some(Reply {
            decoder: XattrReplyDecoder::new(wanted, allowed, &self.exchange.limits),
            values: HashMap::new(),
            current: 0,
        });
    }

    pub(super) fn take_xattr_reply(&mut self, reader: &mut Reader<'_>) -> Result<(), UnitError> {
        let Some(reply) = &mut self.exchange.reply else {
            return Err(Fatal::internal("an xattr reply that was not begun").into());
        };
        match reply.decoder.decode(reader)? {
            ReplyStep::Value { num, .. } => {
                reply.current = num;
                reply.values.insert(num, Vec::new());
            }
            ReplyStep::Data(data) => {
                if let Some(value) = reply.values.get_mut(&reply.current) {
                    value.extend_from_slice(data);
                }
            }
            ReplyStep::End => {
                let values = self
                    .exchange
                    .reply
                    .take()
                    .map(|reply| reply.values)
                    .unwrap_or_default();
                for value in values.values() {
                    self.exchange.keep(value);
                }
                self.after_xattrs(values)?;
            }
        }
        Ok(())
    }
}

/// Sets what differs, on an entry of a directory or on the directory itself.
pub(super) fn update(
    dir: &Dir,
    name: &[u8],
    have: &Stat,
    wanted: &Wanted,
) -> io::Result<Vec<crate::confine::AttributeError>> {
    let updated = if name == b"." {
        dir.update_self(&wanted.attributes())?
    } else {
        dir.update(name, have, &wanted.attributes())?
    };
    Ok(updated.errors)
}
