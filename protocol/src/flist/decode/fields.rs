//! The fields of one entry, fields 1 to 16, as one unit of at most a few thousand bytes.
//!
//! Which fields are present depends on the flag word, the format and the mode (read before the
//! fields that ask for it). A field left out as "same as previous" has the value of the entry
//! before, in whatever list that was. Reading changes nothing: [`Previous`] is updated by the
//! decoder once the whole unit is there.

use super::super::entry::{
    check_mode, is_device, is_directory, is_regular, is_special, is_symlink,
};
use super::super::flags::{self, Opening};
use super::super::ids::decode_name;
use super::super::{EntryFields, FlistFormat};
use crate::ProtocolError;
use crate::error::escape;
use crate::wire::{Decode, DecodeError, Reader};

/// The values that "same as previous" stands for. They start at zero and last for the session.
#[derive(Debug, Clone, Default)]
pub(super) struct Previous {
    /// As on the wire.
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) atime: i64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Protocol 28 and later.
    pub(super) rdev_major: u32,
    /// Protocol 27: the sender's device number as it is.
    pub(super) rdev_27: u32,
    /// Device of hard links, before protocol 30.
    pub(super) dev: i64,
}

/// What an entry says about hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    No,
    /// Protocol 30 and later: the first name of a group.
    First,
    /// Protocol 30 and later: a later name of the group with this number, an entry with all its
    /// fields.
    Group(u32),
    /// Protocol 30 and later: a later name of the entry at this position of the same list; all
    /// other fields are those of that entry.
    Copy(u32),
    /// Before protocol 30: device and inode number of the sender.
    Inode(i64, i64),
}

/// The name as two pieces: so many bytes of the previous one, and what follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireName<'a> {
    pub(super) shared: usize,
    pub(super) suffix: &'a [u8],
}

/// One unit, read and checked as far as that is possible without the clean name.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) name: WireName<'a>,
    pub(super) flags: u32,
    pub(super) link: Link,
    /// Everything but the name, the directory flags and the link group.
    pub(super) fields: EntryFields<'a>,
    pub(super) user_name: Option<&'a [u8]>,
    pub(super) group_name: Option<&'a [u8]>,
    /// Protocol 27: what the next entry may call the same device number.
    pub(super) rdev_27: u32,
}

/// Where the list stands that the entry belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Index of the first entry of the list.
    pub(super) start: u32,
    /// Entries that have arrived.
    pub(super) arrived: u32,
}

pub(super) enum Read<'a> {
    Entry(Box<Unit<'a>>),
    End(u32),
}

pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    format: &FlistFormat,
    previous: &Previous,
    place: Place,
) -> Decode<Read<'a>> {
    let flags = match flags::decode(reader, format)? {
        Opening::Entry(flags) => flags,
        Opening::End(io_error) => return Ok(Read::End(io_error)),
    };
    let has = |flag: u32| flags & flag != 0;
    let version = format.version;
    let name = read_name(reader, format, previous, flags)?;
    let mut unit = Unit {
        name,
        flags,
        link: Link::No,
        fields: EntryFields::default(),
        user_name: None,
        group_name: None,
        rdev_27: previous.rdev_27,
    };
    if format.at_least(30) && has(flags::HLINKED) {
        unit.link = read_group(reader, flags, place)?;
        if matches!(unit.link, Link::Copy(_)) {
            return Ok(Read::Entry(Box::new(unit)));
        }
    }
    let fields = &mut unit.fields;
    let len = reader.varlong30(version, 3)?;
    fields.len = u64::try_from(len)
        .map_err(|_| violation(format!("a file list entry has the length {len}")))?;
    fields.mtime = match has(flags::SAME_TIME) {
        true => previous.mtime,
        false if format.at_least(30) => reader.varlong(4)?,
        false => i64::from(reader.u32()?),
    };
    if has(flags::MOD_NSEC) && format.at_least(31) {
        let nsec = reader.varint()?;
        if !(0..1_000_000_000).contains(&nsec) {
            return Err(violation(format!(
                "a file list entry has a time with {nsec} nanoseconds"
            )));
        }
        fields.mtime_nsec = Some(nsec as u32);
    }
    if format.crtimes {
        fields.crtime = if has(flags::CRTIME_EQ_MTIME) {
            fields.mtime
        } else {
            reader.varlong(4)?
        };
    }
    fields.mode = if has(flags::SAME_MODE) {
        previous.mode
    } else {
        reader.i32()? as u32
    };
    let mode = fields.mode;
    check_mode(mode, format.delete_missing_args)?;
    if format.atimes && !is_directory(mode) {
        fields.atime = if has(flags::SAME_ATIME) {
            previous.atime
        } else {
            reader.varlong(4)?
        };
    }
    (fields.uid, fields.gid) = (previous.uid, previous.gid);
    // Ids are unsigned although the number is read as a signed one.
    if format.owner && !has(flags::SAME_UID) {
        fields.uid = reader.varint30(version)? as u32;
        if has(flags::USER_NAME_FOLLOWS) && format.at_least(30) {
            unit.user_name = Some(decode_name(reader)?);
        }
    }
    if format.group && !has(flags::SAME_GID) {
        fields.gid = reader.varint30(version)? as u32;
        if has(flags::GROUP_NAME_FOLLOWS) && format.at_least(30) {
            unit.group_name = Some(decode_name(reader)?);
        }
    }
    if format.has_rdev(mode) {
        (fields.rdev, unit.rdev_27) = read_rdev(reader, format, previous, flags)?;
    } else {
        unit.rdev_27 = 0;
    }
    if format.links && is_symlink(mode) {
        fields.link_target = read_link_target(reader, format)?;
    }
    if !format.at_least(30) && format.hard_links {
        unit.link = read_inode(reader, format, previous, flags, mode)?;
    }
    if let Some(len) = format.checksum_len
        && (is_regular(mode) || !format.at_least(28))
    {
        fields.digest = reader.bytes(len)?;
    }
    Ok(Read::Entry(Box::new(unit)))
}

fn violation(message: String) -> DecodeError {
    ProtocolError::violation(message).into()
}

/// Fields 1 to 3.
fn read_name<'a>(
    reader: &mut Reader<'a>,
    format: &FlistFormat,
    previous: &Previous,
    flags: u32,
) -> Decode<WireName<'a>> {
    let shared = if flags & flags::SAME_NAME != 0 {
        usize::from(reader.u8()?)
    } else {
        0
    };
    if shared > previous.name.len() {
        return Err(violation(format!(
            "a file name shares {shared} bytes with the previous one, which has {}",
            previous.name.len()
        )));
    }
    let suffix = if flags & flags::LONG_NAME != 0 {
        let suffix = reader.varint30(format.version)?;
        usize::try_from(suffix)
            .map_err(|_| violation(format!("a file name is {suffix} bytes long")))?
    } else {
        usize::from(reader.u8()?)
    };
    match shared.checked_add(suffix) {
        Some(0) => Err(violation("a file name is empty".to_owned())),
        Some(len) if len <= format.limits.name => Ok(WireName {
            shared,
            suffix: reader.bytes(suffix)?,
        }),
        _ => Err(violation(format!(
            "a file name is longer than {} bytes",
            format.limits.name
        ))),
    }
}

/// Field 4. A number is read whenever the flags ask for it, even without `-H`.
fn read_group(reader: &mut Reader<'_>, flags: u32, place: Place) -> Decode<Link> {
    if flags & flags::HLINK_FIRST != 0 {
        return Ok(Link::First);
    }
    let number = reader.varint()?;
    let end = u64::from(place.start) + u64::from(place.arrived);
    match u32::try_from(number) {
        Ok(group) if u64::from(group) < end => Ok(match group.checked_sub(place.start) {
            Some(position) => Link::Copy(position),
            None => Link::Group(group),
        }),
        _ => Err(violation(format!(
            "a file list entry is a hard link to entry {number}, which has not come"
        ))),
    }
}

/// Field 13: the number, and what protocol 27 remembers of it.
fn read_rdev(
    reader: &mut Reader<'_>,
    format: &FlistFormat,
    previous: &Previous,
    flags: u32,
) -> Decode<((u32, u32), u32)> {
    if !format.at_least(28) {
        let rdev = if flags & flags::SAME_RDEV_27 != 0 {
            previous.rdev_27
        } else {
            reader.u32()?
        };
        return Ok((split_rdev(rdev), rdev));
    }
    let major = if flags & flags::SAME_RDEV_MAJOR != 0 {
        previous.rdev_major
    } else {
        reader.varint30(format.version)? as u32
    };
    let minor = if format.at_least(30) {
        reader.varint()? as u32
    } else if flags & flags::RDEV_MINOR_8 != 0 {
        u32::from(reader.u8()?)
    } else {
        reader.u32()?
    };
    Ok(((major, minor), 0))
}

/// Protocol 27 sends the number as Linux packs it into 32 bits: minor bits 0–7, 12 bits of major,
/// the other bits of minor.
fn split_rdev(rdev: u32) -> (u32, u32) {
    (rdev >> 8 & 0xfff, rdev & 0xff | rdev >> 12 & 0xf_ff00)
}

/// Field 14.
fn read_link_target<'a>(reader: &mut Reader<'a>, format: &FlistFormat) -> Decode<&'a [u8]> {
    let len = reader.varint30(format.version)?;
    let len = usize::try_from(len)
        .ok()
        .filter(|len| (1..=format.limits.link_target).contains(len))
        .ok_or_else(|| violation(format!("the target of a symlink is {len} bytes long")))?;
    let target = reader.bytes(len)?;
    if target.contains(&0) {
        return Err(violation(format!(
            "the target of a symlink contains a NUL byte: \"{}\"",
            escape(target)
        )));
    }
    Ok(target)
}

/// Field 15.
fn read_inode(
    reader: &mut Reader<'_>,
    format: &FlistFormat,
    previous: &Previous,
    flags: u32,
    mode: u32,
) -> Decode<Link> {
    let (is_linked, is_same_dev) = if format.at_least(28) {
        (flags & flags::HLINKED != 0, flags & flags::SAME_DEV != 0)
    } else {
        (is_regular(mode), false)
    };
    if !is_linked {
        return Ok(Link::No);
    }
    let dev = if is_same_dev {
        previous.dev
    } else {
        reader.longint()?
    };
    Ok(Link::Inode(dev, reader.longint()?))
}

impl Previous {
    /// Takes over what an entry with all its fields says.
    pub(super) fn follow(&mut self, unit: &Unit<'_>, format: &FlistFormat) {
        let fields = &unit.fields;
        self.mode = fields.mode;
        self.mtime = fields.mtime;
        if format.atimes && !is_directory(fields.mode) {
            self.atime = fields.atime;
        }
        self.uid = fields.uid;
        self.gid = fields.gid;
        self.rdev_27 = unit.rdev_27;
        let keeps_major = is_special(fields.mode) && unit.flags & flags::SAME_RDEV_MAJOR != 0;
        if format.has_rdev(fields.mode) && !keeps_major {
            self.rdev_major = fields.rdev.0;
        }
        if let Link::Inode(dev, _) = unit.link {
            self.dev = dev;
        }
    }

    /// The same after a hard link whose values were not sent but copied.
    pub(super) fn follow_copy(&mut self, entry: super::super::EntryRef<'_>, format: &FlistFormat) {
        let mode = entry.mode();
        self.mode = mode;
        self.mtime = entry.mtime().0;
        if let Some(atime) = entry.atime() {
            self.atime = atime;
        }
        self.uid = entry.uid();
        self.gid = entry.gid();
        if format.devices && is_device(mode) {
            self.rdev_major = entry.rdev().0;
        }
    }
}
