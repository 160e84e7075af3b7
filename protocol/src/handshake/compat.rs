//! The compatibility flags, which the server alone decides.

use crate::options::Capabilities;

/// What both ends do differently because both can. Written as a varint; a client without
/// [`CompatFlags::VARINT_FLIST_FLAGS`] reads exactly one byte, so that for it the value stays
/// below 0x80.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompatFlags(pub i32);

impl CompatFlags {
    /// File lists come directory by directory.
    pub const INC_RECURSE: CompatFlags = CompatFlags(0x001);
    /// The receiver sets times of symlinks.
    pub const SYMLINK_TIMES: CompatFlags = CompatFlags(0x002);
    /// With `--iconv`, targets of symlinks are converted too.
    pub const SYMLINK_ICONV: CompatFlags = CompatFlags(0x004);
    /// The end of a file list may carry an I/O error.
    pub const SAFE_FLIST: CompatFlags = CompatFlags(0x008);
    /// Xattr requests are not skipped for hard-linked entries.
    pub const AVOID_XATTR_OPTIM: CompatFlags = CompatFlags(0x010);
    /// The seed is hashed before a block, not after it.
    pub const CHECKSUM_SEED_FIX: CompatFlags = CompatFlags(0x020);
    /// Files in a partial directory may be updated in place.
    pub const INPLACE_PARTIAL_DIR: CompatFlags = CompatFlags(0x040);
    /// Entry flags are varints, and names of checksums and compressions are negotiated.
    pub const VARINT_FLIST_FLAGS: CompatFlags = CompatFlags(0x080);
    /// Id lists end with the name of id 0.
    pub const ID0_NAMES: CompatFlags = CompatFlags(0x100);

    /// Flags that are legal only when the client advertised the letter.
    const BY_LETTER: [(u8, CompatFlags); 6] = [
        (b'f', Self::SAFE_FLIST),
        (b'x', Self::AVOID_XATTR_OPTIM),
        (b'C', Self::CHECKSUM_SEED_FIX),
        (b'I', Self::INPLACE_PARTIAL_DIR),
        (b'v', Self::VARINT_FLIST_FLAGS),
        (b'u', Self::ID0_NAMES),
    ];

    /// Everything this server and a client with these capabilities can do together.
    pub fn for_client(capabilities: Option<&Capabilities>, incremental: bool) -> Self {
        let mut flags = Self::SYMLINK_TIMES | Self::SYMLINK_ICONV;
        if incremental {
            flags |= Self::INC_RECURSE;
        }
        let has = |letter: u8| capabilities.is_some_and(|c| c.has(letter));
        for (letter, flag) in Self::BY_LETTER {
            if has(letter) {
                flags |= flag;
            }
        }
        match flags.contains(Self::VARINT_FLIST_FLAGS) {
            true => flags,
            false => CompatFlags(flags.0 & 0x7f),
        }
    }

    pub fn contains(self, other: CompatFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for CompatFlags {
    type Output = CompatFlags;
    fn bitor(self, other: CompatFlags) -> CompatFlags {
        CompatFlags(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for CompatFlags {
    fn bitor_assign(&mut self, other: CompatFlags) {
        self.0 |= other.0;
    }
}
