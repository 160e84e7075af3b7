//! Writing file lists, the counterpart of [`super::FlistDecoder`].
//!
//! Call order: [`FlistEncoder::begin`] for each list, [`FlistEncoder::entry`] for each of its
//! entries, [`FlistEncoder::end`], and without incremental recursion [`FlistEncoder::ids`] (then,
//! before protocol 30, the I/O error word as an `int`).
//!
//! The encoder never relies on a value it has not sent: after a hard link whose values the other
//! end copies from another entry, everything is written out again.
//! Source: rsync `flist.c:send_file_entry`, as observed.

mod fields;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::acl::{Acl, AclKind, encode_literal};
use super::entry::{is_directory, is_regular, is_symlink};
use super::flags;
use super::ids::{IdKind, IdNames, encode_list};
use super::xattr::{XattrSet, encode_items};
use super::{EntryFields, FlistFormat, ListHead};
use crate::wire::Write;
use fields::{Link, Plan, Previous};

/// An entry as a sender has it.
#[derive(Debug, Clone, Default)]
pub struct Outgoing<'a> {
    /// `link_group` is ignored: the encoder numbers the groups.
    pub fields: EntryFields<'a>,
    /// Device and inode number, where the inode has more than one name (at protocol 27: for every
    /// regular file). `None`: not a hard link.
    pub inode: Option<(u64, u64)>,
    /// As sent ([`super::CompleteAcl::strip_access`]); `None` is the one that says nothing.
    pub acl: Option<&'a Acl>,
    /// Of a directory; `None`: it has none.
    pub default_acl: Option<&'a Acl>,
    pub xattrs: Option<&'a XattrSet>,
}

/// Writes the file lists of a session, one after the other.
#[derive(Debug)]
pub struct FlistEncoder {
    format: FlistFormat,
    names: IdNames,
    previous: Previous,
    start: u32,
    sent: u32,
    /// From protocol 30 on: group numbers by inode.
    groups: HashMap<(u64, u64), u32>,
    users: BTreeSet<u32>,
    user_groups: BTreeSet<u32>,
    access_acls: HashMap<Acl, u32>,
    default_acls: HashMap<Acl, u32>,
    /// Long values abbreviated, as they were sent.
    xattrs: Vec<Arc<XattrSet>>,
    xattrs_by_set: HashMap<Arc<XattrSet>, u32>,
    shared_bytes: usize,
}

impl FlistEncoder {
    /// `names`: what users and groups are called here; an id without one is sent without.
    pub fn new(format: FlistFormat, names: IdNames) -> Self {
        Self {
            format,
            names,
            previous: Previous::initial(),
            start: 0,
            sent: 0,
            groups: HashMap::new(),
            users: BTreeSet::new(),
            user_groups: BTreeSet::new(),
            access_acls: HashMap::new(),
            default_acls: HashMap::new(),
            xattrs: Vec::new(),
            xattrs_by_set: HashMap::new(),
            shared_bytes: 0,
        }
    }

    pub fn format(&self) -> &FlistFormat {
        &self.format
    }

    /// A list begins (the marker before it, with incremental recursion, is the caller's).
    pub fn begin(&mut self, head: &ListHead) {
        self.start = head.start;
        self.sent = 0;
    }

    /// The xattr set with this number, as it was sent.
    pub fn xattr_set(&self, index: u32) -> Option<&XattrSet> {
        self.xattrs.get(index as usize).map(|set| &**set)
    }

    /// Bytes of memory that ACLs, xattr sets and hard-link groups take. They stay, since any later
    /// entry may refer back to them.
    pub fn shared_bytes(&self) -> usize {
        self.shared_bytes + self.groups.capacity() * size_of::<((u64, u64), u32)>()
    }

    /// Writes one entry. Its values must be such as [`super::ListBuilder::push`] accepts. Returns
    /// the number of its xattr set, where the format has them.
    pub fn entry(&mut self, entry: &Outgoing<'_>, out: &mut impl Write) -> Option<u32> {
        let plan = self.plan(entry);
        flags::encode(plan.word, &self.format, out);
        self.put_name(entry.fields.name, plan.word, out);
        match plan.link {
            Link::Group(number) | Link::Copy(number) => out.put_varint(number as i32),
            Link::No | Link::First | Link::Inode(..) => {}
        }
        if matches!(plan.link, Link::Copy(_)) {
            self.previous.forget_values();
        } else {
            self.put_fields(&entry.fields, &plan, out);
            self.previous.follow(&entry.fields, &plan);
        }
        let xattrs = self.put_shared(entry, out);
        self.note_ids(&entry.fields);
        self.sent += 1;
        xattrs
    }

    /// Decides what is sent of an entry, and how.
    fn plan(&mut self, entry: &Outgoing<'_>) -> Plan {
        let fields = &entry.fields;
        let mode = fields.mode;
        let is_dir = is_directory(mode);
        let link = self.link(entry);
        let (rdev, rdev_flags) = self.rdev(mode, fields.rdev);
        let (format, previous) = (&self.format, &self.previous);
        let modern = format.at_least(30);
        let mtime = if modern {
            fields.mtime
        } else {
            // 32 bits of seconds. An old client takes them for signed, so that times before 1970
            // are right there; a newer one takes them for unsigned, as with stock.
            i64::from(fields.mtime as u32)
        };
        let is_same_uid = format.owner && previous.uid == Some(fields.uid);
        let is_same_gid = format.group && previous.gid == Some(fields.gid);
        let is_same_atime = format.atimes && !is_dir && previous.atime == Some(fields.atime);
        let is_same_crtime = format.crtimes && format.varint_flags && fields.crtime == mtime;
        let mut word = rdev_flags | link.flags(previous) | self.name_flags(fields.name);
        for (flag, is_set) in [
            (flags::TOP_DIR, is_dir && fields.top_dir),
            (flags::SAME_MODE, previous.mode == Some(mode)),
            (flags::SAME_TIME, previous.mtime == Some(mtime)),
            (flags::SAME_UID, is_same_uid),
            (flags::SAME_GID, is_same_gid),
            (flags::SAME_ATIME, is_same_atime && format.at_least(28)),
            (flags::NO_CONTENT_DIR, modern && is_dir && !fields.content),
            (
                flags::MOD_NSEC,
                format.at_least(31) && fields.mtime_nsec.is_some(),
            ),
            (flags::CRTIME_EQ_MTIME, modern && is_same_crtime),
        ] {
            if is_set {
                word |= flag;
            }
        }
        let (mut user_name, mut group_name) = (None, None);
        if modern && !matches!(link, Link::Copy(_)) {
            if self.format.owner && !is_same_uid {
                user_name = self.inline_name(IdKind::User, fields.uid);
            }
            if self.format.group && !is_same_gid {
                group_name = self.inline_name(IdKind::Group, fields.gid);
            }
        }
        if user_name.is_some() {
            word |= flags::USER_NAME_FOLLOWS;
        }
        if group_name.is_some() {
            word |= flags::GROUP_NAME_FOLLOWS;
        }
        Plan {
            word: flags::make_sendable(word, is_dir, &self.format),
            link,
            mtime,
            rdev,
            user_name,
            group_name,
        }
    }

    /// Ends the list. Returns whether the I/O error word went with it; if not it has to be told in
    /// another way: before protocol 30 as an `int` after the id lists, at 30 as a message.
    #[must_use]
    pub fn end(&mut self, io_error: u32, out: &mut impl Write) -> bool {
        flags::encode_end(io_error, &self.format, out)
    }

    /// Writes the id lists that the format has, none with incremental recursion.
    pub fn ids(&self, out: &mut impl Write) {
        if self.format.has_user_list() {
            let users = self.users.iter().copied();
            encode_list(IdKind::User, users, &self.names, &self.format, out);
        }
        if self.format.has_group_list() {
            let groups = self.user_groups.iter().copied();
            encode_list(IdKind::Group, groups, &self.names, &self.format, out);
        }
    }

    /// Bytes that a name shares with the previous one, as far as one byte can tell.
    fn shared(&self, name: &[u8]) -> usize {
        let pairs = name.iter().zip(&self.previous.name);
        pairs.take(255).take_while(|(a, b)| a == b).count()
    }

    fn name_flags(&self, name: &[u8]) -> u32 {
        let shared = self.shared(name);
        let mut word = 0;
        if shared > 0 {
            word |= flags::SAME_NAME;
        }
        if name.len() - shared > 255 {
            word |= flags::LONG_NAME;
        }
        word
    }

    fn put_name(&mut self, name: &[u8], word: u32, out: &mut impl Write) {
        let shared = self.shared(name);
        let suffix = &name[shared..];
        if word & flags::SAME_NAME != 0 {
            out.put_u8(shared as u8);
        }
        if word & flags::LONG_NAME == 0 {
            out.put_u8(suffix.len() as u8);
        } else if self.format.at_least(30) {
            out.put_varint(suffix.len() as i32);
        } else {
            out.put_i32(suffix.len() as i32);
        }
        out.put(suffix);
        self.previous.name.clear();
        self.previous.name.extend_from_slice(name);
    }

    fn link(&mut self, entry: &Outgoing<'_>) -> Link {
        let mode = entry.fields.mode;
        if !self.format.hard_links || is_directory(mode) {
            return Link::No;
        }
        let number = self.start + self.sent;
        if !self.format.at_least(28) {
            return match entry.inode {
                _ if !is_regular(mode) => Link::No,
                Some((dev, inode)) => Link::Inode(dev.wrapping_add(1), inode),
                // A device number of its own keeps it apart from all others.
                None => Link::Inode(0, u64::from(number) + 1),
            };
        }
        let Some((dev, inode)) = entry.inode else {
            return Link::No;
        };
        if !self.format.at_least(30) {
            return Link::Inode(dev.wrapping_add(1), inode);
        }
        let first = *self.groups.entry((dev, inode)).or_insert(number);
        if first == number {
            Link::First
        } else if first < self.start {
            Link::Group(first)
        } else {
            Link::Copy(first)
        }
    }

    /// The name to send with an id, the first time it occurs.
    fn inline_name(&mut self, kind: IdKind, id: u32) -> Option<Box<[u8]>> {
        inline_name(
            &self.format,
            &self.names,
            match kind {
                IdKind::User => &mut self.users,
                IdKind::Group => &mut self.user_groups,
            },
            kind,
            id,
        )
        .map(Into::into)
    }

    /// ACLs and xattrs, each set of them only the first time. Returns the number of the set.
    fn put_shared(&mut self, entry: &Outgoing<'_>, out: &mut impl Write) -> Option<u32> {
        let mode = entry.fields.mode;
        if self.format.has_acls() && !is_symlink(mode) {
            self.put_acl(AclKind::Access, entry.acl, out);
            if is_directory(mode) {
                self.put_acl(AclKind::Default, entry.default_acl, out);
            }
        }
        if !self.format.has_xattrs() {
            return None;
        }
        let set = entry.xattrs.map(XattrSet::abbreviated).unwrap_or_default();
        if let Some(&index) = self.xattrs_by_set.get(&set) {
            out.put_varint(index as i32 + 1);
            return Some(index);
        }
        out.put_varint(0);
        encode_items(&set, out);
        let index = self.xattrs.len() as u32;
        self.shared_bytes += set.bytes();
        let set = Arc::new(set);
        self.xattrs.push(Arc::clone(&set));
        self.xattrs_by_set.insert(set, index);
        Some(index)
    }

    fn put_acl(&mut self, kind: AclKind, acl: Option<&Acl>, out: &mut impl Write) {
        let empty = Acl::default();
        let acl = acl.unwrap_or(&empty);
        let cache = match kind {
            AclKind::Access => &mut self.access_acls,
            AclKind::Default => &mut self.default_acls,
        };
        if let Some(index) = cache.get(acl) {
            out.put_varint(*index as i32 + 1);
            return;
        }
        self.shared_bytes += acl.bytes();
        cache.insert(acl.clone(), cache.len() as u32);
        let (format, names) = (&self.format, &self.names);
        let (users, groups) = (&mut self.users, &mut self.user_groups);
        encode_literal(acl, out, |kind, id| {
            let seen = match kind {
                IdKind::User => &mut *users,
                IdKind::Group => &mut *groups,
            };
            inline_name(format, names, seen, kind, id)
        });
    }

    fn note_ids(&mut self, fields: &EntryFields<'_>) {
        if !self.format.inc_recurse {
            if self.format.owner {
                self.users.insert(fields.uid);
            }
            if self.format.group {
                self.user_groups.insert(fields.gid);
            }
        }
    }
}

/// Marks an id as seen; with incremental recursion its name goes with it the first time.
fn inline_name<'n>(
    format: &FlistFormat,
    names: &'n IdNames,
    seen: &mut BTreeSet<u32>,
    kind: IdKind,
    id: u32,
) -> Option<&'n [u8]> {
    let is_new = seen.insert(id);
    if !is_new || !format.inc_recurse || format.numeric_ids {
        return None;
    }
    names.name(kind, id).filter(|name| name.len() <= 255)
}
