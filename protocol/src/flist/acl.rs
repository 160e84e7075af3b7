//! POSIX ACLs as they travel: without what the mode tells anyway, and each only once.
//!
//! Wire, for every entry but symlinks, for a directory twice (access, then default):
//!
//! ```text
//! acl := varint k        0: a literal follows and is appended to the cache of its type
//!                        k: the item k-1 of that cache
//! literal := byte flags  1 user_obj, 2 group_obj, 4 mask_obj, 8 other_obj, 0x10 named list
//!            varint      permissions, for each of the first four flags that is set
//!            [varint count, count × (varint id, varint a, [byte n, n bytes])]
//! ```
//!
//! `a` is permissions << 2 | 2 for a user | 1 when the name of the id follows.
//! Source: rsync `acls.c`, as observed.

use super::ids::{IdKind, decode_name};
use super::{IdNames, Limits};
use crate::ProtocolError;
use crate::wire::{Decode, Reader, Write};

/// A named user or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamedEntry {
    pub kind: IdKind,
    /// As sent.
    pub id: u32,
    /// r = 4, w = 2, x = 1.
    pub permissions: u8,
}

/// An ACL as it stands on the wire: `None` for what the mode tells. See [`Acl::complete`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Acl {
    pub user_obj: Option<u8>,
    pub group_obj: Option<u8>,
    pub mask_obj: Option<u8>,
    pub other_obj: Option<u8>,
    pub named: Vec<NamedEntry>,
}

/// An ACL with nothing left to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteAcl {
    pub user_obj: u8,
    pub group_obj: u8,
    /// `None` only without named entries.
    pub mask_obj: Option<u8>,
    pub other_obj: u8,
    pub named: Vec<NamedEntry>,
}

/// Which of the two ACLs an entry can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclKind {
    Access,
    Default,
}

impl Acl {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fills in what was left out, from the mode of the entry. `None`: an empty default ACL, which
    /// means that the directory has none.
    pub fn complete(&self, kind: AclKind, mode: u32) -> Option<CompleteAcl> {
        if kind == AclKind::Default && self.is_empty() {
            return None;
        }
        let of_mode = |shift: u32| (mode >> shift & 7) as u8;
        let group_obj = self.group_obj.unwrap_or(of_mode(3));
        let mask_obj = self.mask_obj.or_else(|| {
            let union = || {
                self.named
                    .iter()
                    .fold(group_obj, |all, named| all | named.permissions)
            };
            (!self.named.is_empty()).then(|| match kind {
                AclKind::Access => of_mode(3),
                AclKind::Default => union(),
            })
        });
        Some(CompleteAcl {
            user_obj: self.user_obj.unwrap_or(of_mode(6)),
            group_obj,
            mask_obj,
            other_obj: self.other_obj.unwrap_or(of_mode(0)),
            named: self.named.clone(),
        })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Acl>() + self.named.capacity() * size_of::<NamedEntry>()
    }
}

impl CompleteAcl {
    /// What is sent of an access ACL: without what [`Acl::complete`] finds in the mode.
    pub fn strip_access(&self, mode: u32) -> Acl {
        let of_mode = (mode >> 3 & 7) as u8;
        Acl {
            user_obj: None,
            group_obj: Some(self.group_obj)
                .filter(|group| self.mask_obj.is_some() && *group != of_mode),
            mask_obj: self
                .mask_obj
                .filter(|mask| self.named.is_empty() || *mask != of_mode),
            other_obj: None,
            named: self.named.clone(),
        }
    }

    /// What is sent of a default ACL: all of it.
    pub fn whole(&self) -> Acl {
        Acl {
            user_obj: Some(self.user_obj),
            group_obj: Some(self.group_obj),
            mask_obj: self.mask_obj,
            other_obj: Some(self.other_obj),
            named: self.named.clone(),
        }
    }
}

/// The ACLs of a session, by type and index. Every later entry may refer back to any of them.
#[derive(Debug, Default)]
pub struct AclCache {
    access: Vec<Acl>,
    default: Vec<Acl>,
    pub(super) bytes: usize,
}

impl AclCache {
    /// By [`EntryRef::acl`](super::EntryRef::acl).
    pub fn access_acl(&self, index: u32) -> Option<&Acl> {
        self.access.get(index as usize)
    }

    /// By [`EntryRef::default_acl`](super::EntryRef::default_acl).
    pub fn default_acl(&self, index: u32) -> Option<&Acl> {
        self.default.get(index as usize)
    }

    pub(super) fn len(&self, kind: AclKind) -> u32 {
        match kind {
            AclKind::Access => self.access.len() as u32,
            AclKind::Default => self.default.len() as u32,
        }
    }

    pub(super) fn push(&mut self, kind: AclKind, mut acl: Acl) -> u32 {
        acl.named.shrink_to_fit();
        self.bytes += acl.bytes();
        let index = self.len(kind);
        match kind {
            AclKind::Access => self.access.push(acl),
            AclKind::Default => self.default.push(acl),
        }
        index
    }
}

const USER_OBJ: u8 = 1;
const GROUP_OBJ: u8 = 2;
const MASK_OBJ: u8 = 4;
const OTHER_OBJ: u8 = 8;
const NAMED: u8 = 0x10;

/// The beginning of an ACL block.
pub(super) enum AclHead {
    Cached(u32),
    Literal(PartialAcl),
}

/// A literal of which named entries are still to come.
#[derive(Debug)]
pub(super) struct PartialAcl {
    pub(super) acl: Acl,
    left: u32,
}

/// Decodes a block up to its named entries.
/// Errors: an index beyond the cache, unknown flags, permissions above 7, too many entries.
pub(super) fn decode_head(
    reader: &mut Reader<'_>,
    cached: u32,
    limits: &Limits,
) -> Decode<AclHead> {
    let k = reader.varint()?;
    if k != 0 {
        return match u32::try_from(k) {
            Ok(k) if k <= cached => Ok(AclHead::Cached(k - 1)),
            _ => Err(
                ProtocolError::violation(format!("an entry refers to ACL {k} of {cached}")).into(),
            ),
        };
    }
    let flags = reader.u8()?;
    if flags & !(USER_OBJ | GROUP_OBJ | MASK_OBJ | OTHER_OBJ | NAMED) != 0 {
        return Err(ProtocolError::violation(format!("an ACL has the flags {flags:#x}")).into());
    }
    let mut part = |flag: u8| {
        (flags & flag != 0)
            .then(|| permissions(reader.varint()?))
            .transpose()
    };
    let acl = Acl {
        user_obj: part(USER_OBJ)?,
        group_obj: part(GROUP_OBJ)?,
        mask_obj: part(MASK_OBJ)?,
        other_obj: part(OTHER_OBJ)?,
        named: Vec::new(),
    };
    let mut left = 0;
    if flags & NAMED != 0 {
        let count = reader.varint()?;
        left = u32::try_from(count)
            .ok()
            .filter(|count| *count <= limits.acl_entries)
            .ok_or_else(|| ProtocolError::violation(format!("an ACL has {count} named entries")))?;
    }
    Ok(AclHead::Literal(PartialAcl { acl, left }))
}

fn permissions(value: i32) -> Decode<u8> {
    match value {
        0..=7 => Ok(value as u8),
        _ => Err(
            ProtocolError::violation(format!("an ACL grants the permissions {value:#o}")).into(),
        ),
    }
}

impl PartialAcl {
    pub(super) fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Memory that it takes so far.
    pub(super) fn bytes(&self) -> usize {
        self.acl.bytes()
    }

    /// Decodes one named entry.
    pub(super) fn decode_entry(
        &mut self,
        reader: &mut Reader<'_>,
        names: &mut IdNames,
        limits: &Limits,
    ) -> Decode<()> {
        let id = reader.varint()? as u32;
        let access = reader.varint()? as u32;
        let kind = if access & 2 != 0 {
            IdKind::User
        } else {
            IdKind::Group
        };
        let permissions = permissions((access >> 2) as i32)?;
        if access & 1 != 0 {
            names.learn(kind, id, decode_name(reader)?, limits.id_names)?;
        }
        self.acl.named.push(NamedEntry {
            kind,
            id,
            permissions,
        });
        self.left -= 1;
        Ok(())
    }
}

/// Writes a literal. `name` gives the name that is to follow an id, if one is.
pub(super) fn encode_literal<'n>(
    acl: &Acl,
    out: &mut impl Write,
    mut name: impl FnMut(IdKind, u32) -> Option<&'n [u8]>,
) {
    let parts = [acl.user_obj, acl.group_obj, acl.mask_obj, acl.other_obj];
    let mut flags = if acl.named.is_empty() { 0 } else { NAMED };
    for (bit, part) in parts.iter().enumerate() {
        flags |= u8::from(part.is_some()) << bit;
    }
    out.put_varint(0);
    out.put_u8(flags);
    for part in parts.into_iter().flatten() {
        out.put_varint(i32::from(part));
    }
    if !acl.named.is_empty() {
        out.put_varint(acl.named.len() as i32);
    }
    for named in &acl.named {
        let name = name(named.kind, named.id);
        out.put_varint(named.id as i32);
        let access = i32::from(named.permissions) << 2
            | i32::from(named.kind == IdKind::User) << 1
            | i32::from(name.is_some());
        out.put_varint(access);
        if let Some(name) = name {
            super::ids::encode_name(name, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32, permissions: u8) -> NamedEntry {
        NamedEntry {
            kind: IdKind::User,
            id,
            permissions,
        }
    }

    #[test]
    fn what_the_mode_tells_is_filled_in() {
        let plain = Acl::default().complete(AclKind::Access, 0o750).unwrap();
        assert_eq!(
            (
                plain.user_obj,
                plain.group_obj,
                plain.mask_obj,
                plain.other_obj
            ),
            (7, 5, None, 0)
        );
        let named = Acl {
            group_obj: Some(4),
            named: vec![user(1, 3)],
            ..Acl::default()
        };
        let access = named.complete(AclKind::Access, 0o664).unwrap();
        assert_eq!((access.group_obj, access.mask_obj), (4, Some(6)));
        let default = named.complete(AclKind::Default, 0o664).unwrap();
        assert_eq!(default.mask_obj, Some(7));
    }

    #[test]
    fn an_empty_default_acl_is_none() {
        assert_eq!(Acl::default().complete(AclKind::Default, 0o777), None);
    }

    #[test]
    fn what_is_stripped_comes_back() {
        for mode in [0o640, 0o664, 0o777, 0o000] {
            let of_mode = (mode >> 3 & 7) as u8;
            for (group_obj, mask_obj, named) in [
                (of_mode, None, vec![]),
                (of_mode, Some(of_mode), vec![user(1, 7)]),
                (5, Some(of_mode), vec![user(1, 7)]),
                (1, Some(2), vec![user(1, 7), user(2, 0)]),
                (1, Some(of_mode), vec![]),
            ] {
                let whole = CompleteAcl {
                    user_obj: (mode >> 6 & 7) as u8,
                    group_obj,
                    mask_obj,
                    other_obj: (mode & 7) as u8,
                    named,
                };
                let sent = whole.strip_access(mode);
                assert_eq!(sent.complete(AclKind::Access, mode), Some(whole));
            }
        }
    }
}
