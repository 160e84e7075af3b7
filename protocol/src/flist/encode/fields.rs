//! The fields of one entry, and what the other end remembers of them.

use super::super::entry::{is_directory, is_regular, is_special, is_symlink};
use super::super::flags;
use super::super::ids::{encode_name, put_id};
use super::super::{EntryFields, FlistFormat};
use super::FlistEncoder;
use crate::wire::Write;

/// What was decided about an entry before a byte of it is written.
#[derive(Debug)]
pub(super) struct Plan {
    /// Flags, in the form that is sent.
    pub(super) word: u32,
    pub(super) link: Link,
    /// Seconds, in the range of the version.
    pub(super) mtime: i64,
    pub(super) rdev: Option<Rdev>,
    pub(super) user_name: Option<Box<[u8]>>,
    pub(super) group_name: Option<Box<[u8]>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Rdev {
    /// Protocol 27: major and minor number packed into 32 bits.
    Packed(u32),
    /// Major number unless it is that of the previous device; minor number.
    Split(Option<u32>, u32),
}

/// How an entry is marked as a hard link.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    No,
    /// Protocol 30 and later: the first name.
    First,
    /// Protocol 30 and later: a later name of the group with this number.
    Group(u32),
    /// The same, the first name being in the same list: its values are not sent again.
    Copy(u32),
    /// Before protocol 30: device and inode number.
    Inode(u64, u64),
}

impl Link {
    pub(super) fn flags(self, previous: &Previous) -> u32 {
        match self {
            Link::No => 0,
            Link::First => flags::HLINKED | flags::HLINK_FIRST,
            Link::Group(_) | Link::Copy(_) => flags::HLINKED,
            Link::Inode(dev, _) if previous.dev == Some(dev) => flags::HLINKED | flags::SAME_DEV,
            Link::Inode(..) => flags::HLINKED,
        }
    }
}

/// What the other end takes for "same as previous"; `None` where that is not certain.
#[derive(Debug)]
pub(super) struct Previous {
    pub(super) name: Vec<u8>,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<i64>,
    pub(super) atime: Option<i64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Protocol 28 and later.
    pub(super) rdev_major: Option<u32>,
    /// Protocol 27.
    pub(super) rdev_27: Option<u32>,
    pub(super) dev: Option<u64>,
}

impl Previous {
    pub(super) fn initial() -> Self {
        Self {
            name: Vec::new(),
            mode: Some(0),
            mtime: Some(0),
            atime: Some(0),
            // The first entry says its owners in full, as clients since 3.0 do: with incremental
            // recursion their names go with them.
            uid: None,
            gid: None,
            rdev_major: Some(0),
            rdev_27: Some(0),
            dev: None,
        }
    }

    pub(super) fn follow(&mut self, fields: &EntryFields<'_>, plan: &Plan) {
        self.mode = Some(fields.mode);
        self.mtime = Some(plan.mtime);
        if !is_directory(fields.mode) {
            self.atime = Some(fields.atime);
        }
        self.uid = Some(fields.uid);
        self.gid = Some(fields.gid);
        if let Link::Inode(dev, _) = plan.link {
            self.dev = Some(dev);
        }
    }

    /// The other end now remembers values of an earlier entry, which is not looked up again here.
    pub(super) fn forget_values(&mut self) {
        *self = Self {
            name: std::mem::take(&mut self.name),
            mode: None,
            mtime: None,
            atime: None,
            uid: None,
            gid: None,
            rdev_major: None,
            rdev_27: None,
            dev: self.dev,
        };
    }
}

impl FlistEncoder {
    /// The device number to write, if any, and its flags.
    pub(super) fn rdev(&mut self, mode: u32, rdev: (u32, u32)) -> (Option<Rdev>, u32) {
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

    /// Fields 5 to 16.
    pub(super) fn put_fields(&self, fields: &EntryFields<'_>, plan: &Plan, out: &mut impl Write) {
        let has = |flag: u32| plan.word & flag != 0;
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
                out.put_varlong(plan.mtime, 4);
            } else {
                out.put_i32(plan.mtime as u32 as i32);
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
            if let Some(name) = &plan.user_name {
                encode_name(name, out);
            }
        }
        if format.group && !has(flags::SAME_GID) {
            put_id(fields.gid, format, out);
            if let Some(name) = &plan.group_name {
                encode_name(name, out);
            }
        }
        if let Some(rdev) = plan.rdev {
            put_rdev(rdev, plan.word, format, out);
        }
        if format.links && is_symlink(mode) {
            put_id(fields.link_target.len() as u32, format, out);
            out.put(fields.link_target);
        }
        if let Link::Inode(dev, inode) = plan.link {
            if !has(flags::SAME_DEV) {
                out.put_longint(dev as i64);
            }
            out.put_longint(inode as i64);
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
    }
}

/// Field 13.
fn put_rdev(rdev: Rdev, word: u32, format: &FlistFormat, out: &mut impl Write) {
    let (major, minor) = match rdev {
        Rdev::Packed(packed) => {
            out.put_i32(packed as i32);
            return;
        }
        Rdev::Split(major, minor) => (major, minor),
    };
    if let Some(major) = major {
        put_id(major, format, out);
    }
    if word & flags::RDEV_MINOR_8 != 0 && !format.at_least(30) {
        out.put_u8(minor as u8);
    } else {
        put_id(minor, format, out);
    }
}

/// The inverse of how protocol 27 is read: what Linux packs into 32 bits.
fn pack_rdev((major, minor): (u32, u32)) -> u32 {
    (major & 0xfff) << 8 | minor & 0xff | (minor & 0xf_ff00) << 12
}
