//! Names of users and groups.
//!
//! Entries carry numbers. Their names come once per session: without incremental recursion in two
//! lists behind the file list, with it directly behind a number where it first occurs (in an entry
//! or an ACL). They are lookup keys chosen by the peer and nothing else.

use std::collections::BTreeMap;

use crate::ProtocolError;
use crate::wire::{Decode, Reader, Write};

use super::FlistFormat;

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdKind {
    User,
    Group,
}

/// The names a peer gave for its ids, users and groups apart. The first name for an id stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdNames {
    users: BTreeMap<u32, Box<[u8]>>,
    groups: BTreeMap<u32, Box<[u8]>>,
}

impl IdNames {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn user(&self, uid: u32) -> Option<&[u8]> {
        self.of(IdKind::User).get(&uid).map(|name| &name[..])
    }

    pub fn group(&self, gid: u32) -> Option<&[u8]> {
        self.of(IdKind::Group).get(&gid).map(|name| &name[..])
    }

    pub fn name(&self, kind: IdKind, id: u32) -> Option<&[u8]> {
        match kind {
            IdKind::User => self.user(id),
            IdKind::Group => self.group(id),
        }
    }

    /// All of a kind, by number.
    pub fn iter(&self, kind: IdKind) -> impl Iterator<Item = (u32, &[u8])> {
        self.of(kind).iter().map(|(id, name)| (*id, &name[..]))
    }

    /// Remembers a name; an empty one says nothing, and a second one changes nothing.
    pub fn insert(&mut self, kind: IdKind, id: u32, name: &[u8]) {
        if !name.is_empty() {
            let names = match kind {
                IdKind::User => &mut self.users,
                IdKind::Group => &mut self.groups,
            };
            names.entry(id).or_insert_with(|| name.into());
        }
    }

    /// The same for a peer's name, within a bound.
    pub(super) fn learn(
        &mut self,
        kind: IdKind,
        id: u32,
        name: &[u8],
        limit: usize,
    ) -> Result<(), ProtocolError> {
        if self.of(kind).len() >= limit && !self.of(kind).contains_key(&id) {
            let what = match kind {
                IdKind::User => "user",
                IdKind::Group => "group",
            };
            return Err(ProtocolError::violation(format!(
                "more than {limit} {what} names"
            )));
        }
        self.insert(kind, id, name);
        Ok(())
    }

    fn of(&self, kind: IdKind) -> &BTreeMap<u32, Box<[u8]>> {
        match kind {
            IdKind::User => &self.users,
            IdKind::Group => &self.groups,
        }
    }
}

/// One record of an id list.
pub(super) enum IdRecord<'a> {
    Name(u32, &'a [u8]),
    /// The list ends; the name of id 0 where it is told.
    End(Option<&'a [u8]>),
}

/// `id, byte n, n bytes`; id 0 ends the list, and with compatibility bit 8 is followed by its name.
pub(super) fn decode_record<'a>(
    reader: &mut Reader<'a>,
    format: &FlistFormat,
) -> Decode<IdRecord<'a>> {
    // Ids are unsigned although the number is read as a signed one.
    let id = reader.varint30(format.version)? as u32;
    if id != 0 {
        return Ok(IdRecord::Name(id, decode_name(reader)?));
    }
    let zero = if format.id0_names && format.at_least(30) {
        Some(decode_name(reader)?)
    } else {
        None
    };
    Ok(IdRecord::End(zero))
}

/// `byte n, n bytes`.
pub(super) fn decode_name<'a>(reader: &mut Reader<'a>) -> Decode<&'a [u8]> {
    let len = usize::from(reader.u8()?);
    reader.bytes(len)
}

/// Writes `byte n, n bytes`. A name that does not fit is left empty rather than cut to another.
pub(super) fn encode_name(name: &[u8], out: &mut impl Write) {
    let name = if name.len() > 255 { b"" } else { name };
    out.put_u8(name.len() as u8);
    out.put(name);
}

/// Writes the list of one kind: those of `ids` that have a name.
pub(super) fn encode_list(
    kind: IdKind,
    ids: impl Iterator<Item = u32>,
    names: &IdNames,
    format: &FlistFormat,
    out: &mut impl Write,
) {
    for id in ids.filter(|id| *id != 0) {
        if let Some(name) = names.name(kind, id) {
            put_id(id, format, out);
            encode_name(name, out);
        }
    }
    put_id(0, format, out);
    if format.id0_names && format.at_least(30) {
        encode_name(names.name(kind, 0).unwrap_or_default(), out);
    }
}

pub(super) fn put_id(id: u32, format: &FlistFormat, out: &mut impl Write) {
    if format.at_least(30) {
        out.put_varint(id as i32);
    } else {
        out.put_i32(id as i32);
    }
}
