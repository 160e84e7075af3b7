//! Writing file lists, the counterpart of [`super::FlistDecoder`].
//!
//! Call order: [`FlistEncoder::begin`] for each list, [`FlistEncoder::entry`] for each of its
//! entries, [`FlistEncoder::end`], and without incremental recursion [`FlistEncoder::ids`] (then,
//! before protocol 30, the I/O error word as an `int`).
//!
//! The encoder never relies on a value it has not sent: after a hard link whose values the other
//! end copies from another entry, everything is written out again.
//! Source: rsync `flist.c:send_file_entry`, as observed.

use std::collections::{BTreeSet, HashMap};

use super::acl::{Acl, AclKind, encode_literal};
use super::entry::{is_directory, is_regular, is_special, is_symlink};
use super::flags;
use super::ids::{IdKind, IdNames, encode_list, encode_name, put_id};
use super::xattr::{XattrSet, encode_items};
use super::{EntryFields, FlistFormat, ListHead};
use crate::wire::Write;

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
    /// By their bytes on the wire.
    xattrs: HashMap<Box<[u8]>, u32>,
}

/// What the other end takes for "same as previous"; `None` where that is not certain.
#[derive(Debug)]
struct Previous {
    name: Vec<u8>,
    mode: Option<u32>,
    mtime: Option<i64>,
    atime: Option<i64>,
    uid: Option<u32>,
    gid: Option<u32>,
    rdev_major: Option<u32>,
    rdev_27: Option<u32>,
    dev: Option<u64>,
}

impl FlistEncoder {
    /// `names`: what users and groups are called here; an id without one is sent without.
    pub fn new(format: FlistFormat, names: IdNames) -> Self {
        Self {
            format,
            names,
            previous: Previous {
                name: Vec::new(),
                mode: Some(0),
                mtime: Some(0),
                atime: Some(0),
                // The first entry says its owners in full, as clients since 3.0 do: with
                // incremental recursion their names go with them.
                uid: None,
                gid: None,
                rdev_major: Some(0),
                rdev_27: Some(0),
                dev: None,
            },
            start: 0,
            sent: 0,
            groups: HashMap::new(),
            users: BTreeSet::new(),
            user_groups: BTreeSet::new(),
            access_acls: HashMap::new(),
            default_acls: HashMap::new(),
            xattrs: HashMap::new(),
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

    /// Writes one entry. Its values must be such as [`super::ListBuilder::push`] accepts.
    pub fn entry(&mut self, entry: &Outgoing<'_>, out: &mut impl Write) {
        let fields = &entry.fields;
        let mode = fields.mode;
        let is_dir = is_directory(mode);
        let mut word = self.name_flags(fields.name);
        let link = self.link(entry);
        let mtime = self.sendable_mtime(fields.mtime);
        let mut set = |flag: u32, on: bool| {
            if on {
                word |= flag;
            }
        };
        set(flags::TOP_DIR, is_dir && fields.top_dir);
        set(flags::SAME_MODE, self.previous.mode == Some(mode));
        set(flags::SAME_TIME, self.previous.mtime == Some(mtime));
        let same_uid = self.format.owner && self.previous.uid == Some(fields.uid);
        let same_gid = self.format.group && self.previous.gid == Some(fields.gid);
        set(flags::SAME_UID, same_uid);
        set(flags::SAME_GID, same_gid);
        let same_atime = self.previous.atime == Some(fields.atime);
        set(
            flags::SAME_ATIME,
            self.format.atimes && !is_dir && same_atime && self.format.at_least(28),
        );
        let mut user_name = None;
        let mut group_name = None;
        if self.format.at_least(30) {
            set(flags::NO_CONTENT_DIR, is_dir && !fields.content);
            set(
                flags::MOD_NSEC,
                self.format.at_least(31) && fields.mtime_nsec.is_some(),
            );
            set(
                flags::CRTIME_EQ_MTIME,
                self.format.crtimes && self.format.varint_flags && fields.crtime == mtime,
            );
            if !matches!(link, Link::Copy(_)) {
                if self.format.owner && !same_uid {
                    user_name = self.inline_name(IdKind::User, fields.uid);
                }
                if self.format.group && !same_gid {
                    group_name = self.inline_name(IdKind::Group, fields.gid);
                }
            }
            set(flags::USER_NAME_FOLLOWS, user_name.is_some());
            set(flags::GROUP_NAME_FOLLOWS, group_name.is_some());
        }
        let (rdev, rdev_flags) = self.rdev(mode, fields.rdev);
        set(rdev_flags, true);
        set(link.flags(&self.previous), true);
        let word = flags::make_sendable(word, is_dir, &self.format);

        flags::encode(word, &self.format, out);
        self.put_name(fields.name, word, out);
        match link {
            Link::Group(number) | Link::Copy(number) => out.put_varint(number as i32),
            _ => {}
        }
        if matches!(link, Link::Copy(_)) {
            self.forget_previous();
        } else {
            self.put_fields(
                fields,
                word,
                mtime,
                (user_name, group_name),
                rdev,
                link,
                out,
            );
        }
        self.put_shared(entry, out);
        self.note_ids(fields);
        self.sent += 1;
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

    /// Before protocol 30 times are unsigned 32-bit seconds; what does not fit becomes the nearest
    /// that does.
    fn sendable_mtime(&self, mtime: i64) -> i64 {
        if self.format.at_least(30) {
            mtime
        } else {
            mtime.clamp(0, i64::from(u32::MAX))
        }
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

    /// The device number to write, if any, and its flags.
    fn rdev(&mut self, mode: u32, rdev: (u32, u32)) -> (Option<Rdev>, u32) {
        let format = &self.format;
        if !format.at_least(28) {
            if !format.has_rdev(mode) {
                self.previous.rdev_27 = Some(0);
                return (None, 0);
            }
            if is_special(mode) {
                return (None, flags::SAME_RDEV_27);
            }
            let packed = pack_rdev(rdev);
            if self.previous.rdev_27 == Some(packed) {
                return (None, flags::SAME_RDEV_27);
            }
            self.previous.rdev_27 = Some(packed);
            return (Some(Rdev::Packed(packed)), 0);
        }
        if !format.has_rdev(mode) {
            return (None, 0);
        }
        let (major, minor) = if is_special(mode) { (0, 0) } else { rdev };
        let mut word = 0;
        let mut with_major = None;
        if is_special(mode) || self.previous.rdev_major == Some(major) {
            word |= flags::SAME_RDEV_MAJOR;
        } else {
            with_major = Some(major);
            self.previous.rdev_major = with_major;
        }
        if !format.at_least(30) && minor <= 0xff {
            word |= flags::RDEV_MINOR_8;
        }
        (Some(Rdev::Split(with_major, minor)), word)
    }

    #[expect(clippy::too_many_arguments, reason = "what the flags were made from")]
    fn put_fields(
        &mut self,
        fields: &EntryFields<'_>,
        word: u32,
        mtime: i64,
        names: (Option<Box<[u8]>>, Option<Box<[u8]>>),
        rdev: Option<Rdev>,
        link: Link,
        out: &mut impl Write,
    ) {
        let has = |flag: u32| word & flag != 0;
        let format = &self.format;
        let modern = format.at_least(30);
        let mode = fields.mode;
        if modern {
            out.put_varlong(fields.len as i64, 3);
        } else {
            out.put_longint(fields.len as i64);
        }
        if !has(flags::SAME_TIME) {
            if modern {
                out.put_varlong(mtime, 4);
            } else {
                out.put_i32(mtime as u32 as i32);
            }
        }
        if has(flags::MOD_NSEC) && format.at_least(31) {
            out.put_varint(fields.mtime_nsec.unwrap_or(0) as i32);
        }
        if format.crtimes && !has(flags::CRTIME_EQ_MTIME) {
            out.put_varlong(fields.crtime, 4);
        }
        if !has(flags::SAME_MODE) {
            out.put_i32(mode as i32);
        }
        if format.atimes && !is_directory(mode) && !has(flags::SAME_ATIME) {
            out.put_varlong(fields.atime, 4);
        }
        if format.owner && !has(flags::SAME_UID) {
            put_id(fields.uid, format, out);
            if let Some(name) = &names.0 {
                encode_name(name, out);
            }
        }
        if format.group && !has(flags::SAME_GID) {
            put_id(fields.gid, format, out);
            if let Some(name) = &names.1 {
                encode_name(name, out);
            }
        }
        match rdev {
            None => {}
            Some(Rdev::Packed(packed)) => out.put_i32(packed as i32),
            Some(Rdev::Split(major, minor)) => {
                if let Some(major) = major {
                    put_id(major, format, out);
                }
                if has(flags::RDEV_MINOR_8) && !modern {
                    out.put_u8(minor as u8);
                } else {
                    put_id(minor, format, out);
                }
            }
        }
        if format.links && is_symlink(mode) {
            put_id(fields.link_target.len() as u32, format, out);
            out.put(fields.link_target);
        }
        if let Link::Inode(dev, inode) = link {
            if !has(flags::SAME_DEV) || !format.at_least(28) {
                out.put_longint(dev as i64);
            }
            out.put_longint(inode as i64);
            self.previous.dev = Some(dev);
        }
        if let Some(len) = format.checksum_len
            && (is_regular(mode) || !format.at_least(28))
        {
            // Of the length that was agreed on, whatever is at hand; zeros for a file that could
            // not be read.
            for at in 0..len {
                let byte = fields.digest.get(at).copied().filter(|_| is_regular(mode));
                out.put_u8(byte.unwrap_or(0));
            }
        }
        self.previous.mode = Some(mode);
        self.previous.mtime = Some(mtime);
        self.previous.uid = Some(fields.uid);
        self.previous.gid = Some(fields.gid);
        if !is_directory(mode) {
            self.previous.atime = Some(fields.atime);
        }
    }

    /// The other end now remembers values of an entry that this one does not look up again.
    fn forget_previous(&mut self) {
        let name = std::mem::take(&mut self.previous.name);
        self.previous = Previous {
            name,
            mode: None,
            mtime: None,
            atime: None,
            uid: None,
            gid: None,
            rdev_major: None,
            rdev_27: None,
            dev: self.previous.dev,
        };
    }

    /// ACLs and xattrs, each set of them only the first time.
    fn put_shared(&mut self, entry: &Outgoing<'_>, out: &mut impl Write) {
        let mode = entry.fields.mode;
        if self.format.has_acls() && !is_symlink(mode) {
            self.put_acl(AclKind::Access, entry.acl, out);
            if is_directory(mode) {
                self.put_acl(AclKind::Default, entry.default_acl, out);
            }
        }
        if self.format.has_xattrs() {
            let mut literal = Vec::new();
            let empty = XattrSet::default();
            encode_items(entry.xattrs.unwrap_or(&empty), &mut literal);
            let next = self.xattrs.len() as u32;
            match self.xattrs.get(&literal[..]) {
                Some(index) => out.put_varint(*index as i32 + 1),
                None => {
                    out.put_varint(0);
                    out.put(&literal);
                    self.xattrs.insert(literal.into(), next);
                }
            }
        }
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

/// The inverse of how protocol 27 is read: what Linux packs into 32 bits.
fn pack_rdev((major, minor): (u32, u32)) -> u32 {
    (major & 0xfff) << 8 | minor & 0xff | (minor & 0xf_ff00) << 12
}

#[derive(Debug, Clone, Copy)]
enum Rdev {
    /// Protocol 27.
    Packed(u32),
    /// Major number unless it is that of the previous device; minor number.
    Split(Option<u32>, u32),
}

#[derive(Debug, Clone, Copy)]
enum Link {
    No,
    First,
    Group(u32),
    Copy(u32),
    Inode(u64, u64),
}

impl Link {
    fn flags(self, previous: &Previous) -> u32 {
        match self {
            Link::No => 0,
            Link::First => flags::HLINKED | flags::HLINK_FIRST,
            Link::Group(_) | Link::Copy(_) => flags::HLINKED,
            Link::Inode(dev, _) if previous.dev == Some(dev) => flags::HLINKED | flags::SAME_DEV,
            Link::Inode(..) => flags::HLINKED,
        }
    }
}
