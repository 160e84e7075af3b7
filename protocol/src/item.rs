//! Items: what generator and sender say about one entry.
//!
//! Shape (protocol 29 and later): index, 16-bit item flags, then as the flags say a basis type
//! byte, a name (vstring), an xattr request, and for a transfer the sum head with its block sums.

use crate::wire::{Decode, Reader, Write};

/// The 16-bit item flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ItemFlags(pub u16);

impl ItemFlags {
    pub const REPORT_ATIME: ItemFlags = ItemFlags(0x0001);
    /// Content, link target or device number differs.
    pub const REPORT_CHANGE: ItemFlags = ItemFlags(0x0002);
    /// Size (regular files) differs.
    pub const REPORT_SIZE: ItemFlags = ItemFlags(0x0004);
    pub const REPORT_TIME: ItemFlags = ItemFlags(0x0008);
    pub const REPORT_PERMS: ItemFlags = ItemFlags(0x0010);
    pub const REPORT_OWNER: ItemFlags = ItemFlags(0x0020);
    pub const REPORT_GROUP: ItemFlags = ItemFlags(0x0040);
    pub const REPORT_ACL: ItemFlags = ItemFlags(0x0080);
    pub const REPORT_XATTR: ItemFlags = ItemFlags(0x0100);
    pub const REPORT_CRTIME: ItemFlags = ItemFlags(0x0400);
    pub const BASIS_TYPE_FOLLOWS: ItemFlags = ItemFlags(0x0800);
    pub const XNAME_FOLLOWS: ItemFlags = ItemFlags(0x1000);
    pub const IS_NEW: ItemFlags = ItemFlags(0x2000);
    pub const LOCAL_CHANGE: ItemFlags = ItemFlags(0x4000);
    pub const TRANSFER: ItemFlags = ItemFlags(0x8000);

    pub fn contains(self, other: ItemFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// All bits but these.
    #[must_use]
    pub fn without(self, other: ItemFlags) -> ItemFlags {
        ItemFlags(self.0 & !other.0)
    }

    /// Whether something is to be told: a bit other than the two "follows" and local change.
    pub fn is_significant(self) -> bool {
        self.0 & !(0x0800 | 0x1000 | 0x4000) != 0
    }
}

impl std::ops::BitOr for ItemFlags {
    type Output = ItemFlags;
    fn bitor(self, other: ItemFlags) -> ItemFlags {
        ItemFlags(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for ItemFlags {
    fn bitor_assign(&mut self, other: ItemFlags) {
        self.0 |= other.0;
    }
}

/// Which file the block sums describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasisType {
    /// The n-th alternate destination directory.
    AltDest(u8),
    /// The destination file itself; never sent, it is what absence means.
    Destination,
    PartialDir,
    Backup,
    /// A similarly named file beside it (0) or in alternate directory n - 1.
    Fuzzy(u8),
}

impl BasisType {
    pub fn code(self) -> u8 {
        match self {
            BasisType::AltDest(n) => n & 0x7f,
            BasisType::Destination => 0x80,
            BasisType::PartialDir => 0x81,
            BasisType::Backup => 0x82,
            BasisType::Fuzzy(n) => 0x83u8.saturating_add(n),
        }
    }
}

/// What follows the index of an item, as far as the flags alone decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemHead {
    pub flags: ItemFlags,
    pub basis_type: Option<u8>,
    pub xname: Option<Vec<u8>>,
}

impl ItemHead {
    /// Longest name that may follow.
    const MAX_XNAME: usize = 4095;

    pub fn decode(reader: &mut Reader<'_>) -> Decode<Self> {
        let flags = ItemFlags(reader.u16()?);
        let basis_type = flags
            .contains(ItemFlags::BASIS_TYPE_FOLLOWS)
            .then(|| reader.u8())
            .transpose()?;
        let xname = flags
            .contains(ItemFlags::XNAME_FOLLOWS)
            .then(|| reader.vstring(Self::MAX_XNAME).map(<[u8]>::to_vec))
            .transpose()?;
        Ok(Self {
            flags,
            basis_type,
            xname,
        })
    }

    pub fn encode(&self, out: &mut impl Write) {
        let mut flags = self.flags;
        if self.basis_type.is_some() {
            flags |= ItemFlags::BASIS_TYPE_FOLLOWS;
        }
        if self.xname.is_some() {
            flags |= ItemFlags::XNAME_FOLLOWS;
        }
        out.put_u16(flags.0);
        if let Some(basis_type) = self.basis_type {
            out.put_u8(basis_type);
        }
        if let Some(xname) = &self.xname {
            out.put_vstring(xname);
        }
    }
}
