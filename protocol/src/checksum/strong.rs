//! The names of the strong algorithms, and a digest as a small value.

use std::fmt;

/// What the two ends agreed to sum with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StrongKind {
    Xxh128,
    Xxh3,
    Xxh64,
    Md5,
    /// MD4 chosen by name.
    Md4,
    /// The MD4 of protocols 27 to 29, which nobody negotiates: its whole-file sum is seeded.
    SeededMd4,
    Sha1,
    /// Nothing is summed; one zero byte stands for every digest.
    None,
}

impl StrongKind {
    /// The name in negotiation strings and in `--checksum-choice`.
    pub fn name(self) -> &'static str {
        match self {
            StrongKind::Xxh128 => "xxh128",
            StrongKind::Xxh3 => "xxh3",
            StrongKind::Xxh64 => "xxh64",
            StrongKind::Md5 => "md5",
            StrongKind::Md4 | StrongKind::SeededMd4 => "md4",
            StrongKind::Sha1 => "sha1",
            StrongKind::None => "none",
        }
    }

    /// The algorithm of a name, in upper or lower case; `xxhash` is another word for `xxh64`.
    /// Never [`StrongKind::SeededMd4`], which has no name of its own.
    pub fn from_name(name: &str) -> Option<Self> {
        const NAMED: [StrongKind; 7] = [
            StrongKind::Xxh128,
            StrongKind::Xxh3,
            StrongKind::Xxh64,
            StrongKind::Md5,
            StrongKind::Md4,
            StrongKind::Sha1,
            StrongKind::None,
        ];
        if name.eq_ignore_ascii_case("xxhash") {
            return Some(StrongKind::Xxh64);
        }
        NAMED
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of a whole digest on the wire.
    pub fn digest_len(self) -> usize {
        match self {
            StrongKind::Xxh128 | StrongKind::Md5 | StrongKind::Md4 | StrongKind::SeededMd4 => 16,
            StrongKind::Xxh3 | StrongKind::Xxh64 => 8,
            StrongKind::Sha1 => 20,
            StrongKind::None => 1,
        }
    }
}

/// A whole digest, in wire order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StrongSum {
    // Zero beyond `len`, so that the derived comparison is the one of the digests.
    bytes: [u8; StrongSum::MAX_LEN],
    len: u8,
}

impl StrongSum {
    /// Bytes of the longest digest.
    pub const MAX_LEN: usize = 20;

    pub(super) fn new<const N: usize>(digest: [u8; N]) -> Self {
        const { assert!(N <= Self::MAX_LEN) };
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..N].copy_from_slice(&digest);
        Self {
            bytes,
            len: N as u8,
        }
    }

    /// What stands for a digest under [`StrongKind::None`].
    pub(super) fn none() -> Self {
        Self::new([0])
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The first `len` bytes as block sums carry them; beyond the digest there are zeros.
    /// Panics if `len` is more than [`Self::MAX_LEN`].
    pub fn prefix(&self, len: usize) -> &[u8] {
        &self.bytes[..len]
    }

    /// Whether `prefix`, which may also be longer than the digest, agrees with it as far as both
    /// go. An empty prefix agrees with everything.
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        let common = prefix.len().min(usize::from(self.len));
        self.bytes[..common] == prefix[..common]
    }
}

impl AsRef<[u8]> for StrongSum {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for StrongSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
