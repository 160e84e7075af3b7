//! POSIX ACLs as values, and their two forms on disk.
//!
//! Native: the value of `system.posix_acl_access` and `system.posix_acl_default`, version 2, all
//! little-endian: `u32` version, then per entry `u16` tag, `u16` permissions, `u32` id.
//! Source: `include/uapi/linux/posix_acl_xattr.h`.
//!
//! Stored ([`super::Metadata::Xattr`]): the value of `user.rsync.%aacl` and `user.rsync.%dacl`,
//! all `u32` little-endian: permissions of owner, group, mask and others (`0x80`: absent), then
//! per named entry id and permissions, with bit 31 of the permissions set for users. An access ACL
//! leaves out what the mode tells.

/// Which of the two ACLs of a directory; other entries have only `Access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AclKind {
    Access,
    /// What new entries of the directory start with.
    Default,
}

/// A POSIX ACL. Permissions are 0 to 7 (read 4, write 2, execute 1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PosixAcl {
    pub user_obj: u8,
    pub group_obj: u8,
    /// What named entries and the group can have at most; the kernel wants it when `users` or
    /// `groups` is not empty.
    pub mask: Option<u8>,
    pub other: u8,
    /// Named users: id, permissions.
    pub users: Vec<(u32, u8)>,
    /// Named groups: id, permissions.
    pub groups: Vec<(u32, u8)>,
}

const VERSION: u32 = 2;
const TAG_USER_OBJ: u16 = 0x01;
const TAG_USER: u16 = 0x02;
const TAG_GROUP_OBJ: u16 = 0x04;
const TAG_GROUP: u16 = 0x08;
const TAG_MASK: u16 = 0x10;
const TAG_OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

const STORED_ABSENT: u32 = 0x80;
const STORED_USER: u32 = 1 << 31;

impl PosixAcl {
    /// The ACL that says no more than these permission bits.
    pub fn from_mode(mode: u32) -> Self {
        Self {
            user_obj: (mode >> 6 & 7) as u8,
            group_obj: (mode >> 3 & 7) as u8,
            other: (mode & 7) as u8,
            ..Self::default()
        }
    }

    /// Whether permission bits alone say the same, so that no ACL need be kept.
    pub fn is_minimal(&self) -> bool {
        self.mask.is_none() && self.users.is_empty() && self.groups.is_empty()
    }

    /// The permission bits of an entry that has this access ACL. The group bits are the mask
    /// where there is one.
    pub fn mode_bits(&self) -> u32 {
        u32::from(self.user_obj) << 6
            | u32::from(self.mask.unwrap_or(self.group_obj)) << 3
            | u32::from(self.other)
    }

    /// What chmod does to an entry that has this access ACL.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.user_obj = (mode >> 6 & 7) as u8;
        self.other = (mode & 7) as u8;
        let group = (mode >> 3 & 7) as u8;
        match &mut self.mask {
            Some(mask) => *mask = group,
            None => self.group_obj = group,
        }
        self
    }

    /// The access ACL and permission bits of an entry created with `mode` in a directory that
    /// has this default ACL. Source: acl(5), "object creation and default ACLs".
    pub fn inherited(&self, mode: u32) -> (Self, u32) {
        let granted = self.mode_bits() & mode;
        let acl = self.clone().with_mode(granted);
        (acl, mode & 0o7000 | granted)
    }

    /// The native form.
    pub fn encode(&self) -> Vec<u8> {
        let entries = 4 + self.users.len() + self.groups.len();
        let mut out = Vec::with_capacity(4 + entries * 8);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let mut push = |tag: u16, permissions: u8, id: u32| {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&u16::from(permissions).to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        };
        push(TAG_USER_OBJ, self.user_obj, NO_ID);
        for (id, permissions) in sorted(&self.users) {
            push(TAG_USER, permissions, id);
        }
        push(TAG_GROUP_OBJ, self.group_obj, NO_ID);
        for (id, permissions) in sorted(&self.groups) {
            push(TAG_GROUP, permissions, id);
        }
        if let Some(mask) = self.mask {
            push(TAG_MASK, mask, NO_ID);
        }
        push(TAG_OTHER, self.other, NO_ID);
        out
    }

    /// Reads the native form; `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return None;
        }
        let mut acl = Self::default();
        for &[tag0, tag1, perm0, perm1, id0, id1, id2, id3] in entries {
            let permissions = u8::try_from(u16::from_le_bytes([perm0, perm1])).ok()?;
            if permissions > 7 {
                return None;
            }
            let id = u32::from_le_bytes([id0, id1, id2, id3]);
            match u16::from_le_bytes([tag0, tag1]) {
                TAG_USER_OBJ => acl.user_obj = permissions,
                TAG_USER => acl.users.push((id, permissions)),
                TAG_GROUP_OBJ => acl.group_obj = permissions,
                TAG_GROUP => acl.groups.push((id, permissions)),
                TAG_MASK => acl.mask = Some(permissions),
                TAG_OTHER => acl.other = permissions,
                _ => return None,
            }
        }
        Some(acl)
    }

    /// The form that `rsync --fake-super` stores.
    pub fn encode_stored(&self, kind: AclKind) -> Vec<u8> {
        let absent_or = |permissions: Option<u8>| permissions.map_or(STORED_ABSENT, u32::from);
        // The mode tells owner and others, and the group unless a mask stands in its place.
        let whole = kind == AclKind::Default;
        let head = [
            absent_or(whole.then_some(self.user_obj)),
            absent_or((whole || self.mask.is_some()).then_some(self.group_obj)),
            absent_or(self.mask),
            absent_or(whole.then_some(self.other)),
        ];
        let users = sorted(&self.users)
            .into_iter()
            .map(|(id, permissions)| (id, u32::from(permissions) | STORED_USER));
        let groups = sorted(&self.groups)
            .into_iter()
            .map(|(id, permissions)| (id, u32::from(permissions)));
        head.into_iter()
            .chain(users.chain(groups).flat_map(|(id, access)| [id, access]))
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    /// Reads the stored form; what it leaves out comes from `mode`, or, for a mask, from the
    /// named entries of a default ACL. `None` if it is malformed.
    pub fn decode_stored(bytes: &[u8], kind: AclKind, mode: u32) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || words.len() < 4 || words.len() % 2 != 0 {
            return None;
        }
        let word = |index: usize| u32::from_le_bytes(words[index]);
        let permissions = |word: u32| u8::try_from(word).ok().filter(|&bits| bits <= 7);
        let head = |index: usize| match word(index) {
            STORED_ABSENT => Some(None),
            present => permissions(present).map(Some),
        };
        let of_mode = Self::from_mode(mode);
        let mut acl = Self {
            user_obj: head(0)?.unwrap_or(of_mode.user_obj),
            group_obj: head(1)?.unwrap_or(of_mode.group_obj),
            mask: head(2)?,
            other: head(3)?.unwrap_or(of_mode.other),
            users: Vec::new(),
            groups: Vec::new(),
        };
        for index in (4..words.len()).step_by(2) {
            let (id, access) = (word(index), word(index + 1));
            if access & STORED_USER != 0 {
                acl.users.push((id, permissions(access & !STORED_USER)?));
            } else {
                acl.groups.push((id, permissions(access)?));
            }
        }
        if acl.mask.is_none() && !(acl.users.is_empty() && acl.groups.is_empty()) {
            acl.mask = Some(match kind {
                AclKind::Access => of_mode.group_obj,
                AclKind::Default => acl
                    .users
                    .iter()
                    .chain(&acl.groups)
                    .fold(acl.group_obj, |all, (_, permissions)| all | permissions),
            });
        }
        Some(acl)
    }

    /// The same ACL with its named entries in the order that is written, for comparisons.
    pub(super) fn normalized(&self) -> Self {
        Self {
            users: sorted(&self.users),
            groups: sorted(&self.groups),
            ..*self
        }
    }
}

fn sorted(named: &[(u32, u8)]) -> Vec<(u32, u8)> {
    let mut named = named.to_vec();
    named.sort_unstable();
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn sample() -> PosixAcl {
        PosixAcl {
            user_obj: 7,
            group_obj: 5,
            mask: Some(7),
            other: 5,
            users: vec![(1, 6)],
            groups: vec![(54321, 4)],
        }
    }

    #[test]
    fn the_native_form_is_what_the_kernel_reads_and_writes() {
        // getfattr of a file after `setfacl -m u:1:rw,g:54321:r` on mode 0775.
        let bytes = hex(concat!(
            "02000000",
            "01000700ffffffff",
            "0200060001000000",
            "04000500ffffffff",
            "0800040031d40000",
            "10000700ffffffff",
            "20000500ffffffff",
        ));
        assert_eq!(sample().encode(), bytes);
        assert_eq!(PosixAcl::decode(&bytes), Some(sample()));
        assert_eq!(PosixAcl::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(PosixAcl::decode(&[]), None);
    }

    #[test]
    fn the_stored_form_is_what_rsync_fake_super_writes() {
        // What rsync 3.5.0 stored for the file above, and for a directory after
        // `setfacl -d -m u:2:rwx`.
        let access = hex("80000000050000000700000080000000010000000600008031d4000004000000");
        assert_eq!(sample().encode_stored(AclKind::Access), access);
        assert_eq!(
            PosixAcl::decode_stored(&access, AclKind::Access, 0o775),
            Some(sample())
        );
        let default = hex("070000000500000007000000050000000200000007000080");
        let acl = PosixAcl::decode_stored(&default, AclKind::Default, 0o755).unwrap();
        assert_eq!(acl.users, [(2, 7)]);
        assert_eq!(acl.encode_stored(AclKind::Default), default);
        let trivial = hex("80000000800000008000000080000000");
        assert_eq!(
            PosixAcl::decode_stored(&trivial, AclKind::Access, 0o640),
            Some(PosixAcl::from_mode(0o640))
        );
    }

    #[test]
    fn a_mode_and_an_acl_meet_as_in_chmod_and_in_creation() {
        let acl = sample().with_mode(0o640);
        assert_eq!((acl.mask, acl.group_obj, acl.other), (Some(4), 5, 0));
        assert_eq!(acl.mode_bits(), 0o640);
        let (inherited, mode) = sample().inherited(0o4666);
        assert_eq!(mode, 0o4664);
        assert_eq!(inherited.mask, Some(6));
        assert!(PosixAcl::from_mode(0o751).is_minimal());
        assert_eq!(PosixAcl::from_mode(0o751).mode_bits(), 0o751);
    }
}
