//! The strong sum of one block.

use md4::Md4;
use md5::{Digest, Md5};
use sha1::Sha1;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

use super::lanes::{self, Algorithm, LANES};
use super::{StrongKind, StrongSum};

/// Sums blocks with the algorithm and the seed of a session.
///
/// | algorithm | digest of |
/// |---|---|
/// | MD4 | data, seed |
/// | MD5 | seed, data if the peers agreed on the seed fix (`CF_CHKSUM_SEED_FIX`), else data, seed |
/// | SHA-1 | seed, data |
/// | xxHash | data, with the sign-extended seed as its own parameter |
///
/// "Seed" are its four bytes, little-endian; a seed of zero adds none.
#[derive(Debug, Clone, Copy)]
pub struct BlockSummer {
    kind: StrongKind,
    seed: i32,
    /// MD5 takes the seed before the data.
    seed_fix: bool,
}

impl BlockSummer {
    pub fn new(kind: StrongKind, seed: i32, seed_fix: bool) -> Self {
        Self {
            kind,
            seed,
            seed_fix,
        }
    }

    pub fn kind(&self) -> StrongKind {
        self.kind
    }

    /// The number of blocks that [`Self::sum_each`] sums at once, which is faster there.
    pub fn together(&self) -> usize {
        match self.kind {
            StrongKind::Md4 | StrongKind::SeededMd4 | StrongKind::Md5 => LANES,
            _ => 1,
        }
    }

    /// The sum of `block`. Allocates nothing.
    pub fn sum(&self, block: &[u8]) -> StrongSum {
        let seed = self.seed.to_le_bytes();
        let seed: &[u8] = if self.seed == 0 { &[] } else { &seed };
        let wide_seed = i64::from(self.seed) as u64;
        match self.kind {
            StrongKind::Xxh128 => {
                StrongSum::new(XxHash3_128::oneshot_with_seed(wide_seed, block).to_le_bytes())
            }
            StrongKind::Xxh3 => {
                StrongSum::new(XxHash3_64::oneshot_with_seed(wide_seed, block).to_le_bytes())
            }
            StrongKind::Xxh64 => StrongSum::new(XxHash64::oneshot(wide_seed, block).to_le_bytes()),
            StrongKind::Md5 if self.seed_fix => StrongSum::new(digest_of::<Md5, 16>(seed, block)),
            StrongKind::Md5 => StrongSum::new(digest_of::<Md5, 16>(block, seed)),
            StrongKind::Md4 | StrongKind::SeededMd4 => {
                StrongSum::new(digest_of::<Md4, 16>(block, seed))
            }
            StrongKind::Sha1 => StrongSum::new(digest_of::<Sha1, 20>(seed, block)),
            StrongKind::None => StrongSum::none(),
        }
    }

    /// Gives `take` the sums of the blocks of `block_len` bytes that stand one after the other in
    /// `blocks`, in their order; what is left at the end is no block. MD4 and MD5 are much faster
    /// here than one by one, in groups of [`Self::together`].
    pub fn sum_each(
        &self,
        blocks: &[u8],
        block_len: usize,
        mut take: impl FnMut(&[u8], StrongSum),
    ) {
        let seed = self.seed.to_le_bytes();
        let seed: &[u8] = if self.seed == 0 { &[] } else { &seed };
        let (algorithm, before, after) = match self.kind {
            StrongKind::Md5 if self.seed_fix => (Some(Algorithm::Md5), seed, &[][..]),
            StrongKind::Md5 => (Some(Algorithm::Md5), &[][..], seed),
            StrongKind::Md4 | StrongKind::SeededMd4 => (Some(Algorithm::Md4), &[][..], seed),
            _ => (None, &[][..], &[][..]),
        };
        let mut one_by_one = blocks;
        if let Some(algorithm) = algorithm {
            let groups = blocks.chunks_exact(block_len.saturating_mul(LANES));
            one_by_one = groups.remainder();
            for group in groups {
                let lane = |n: usize| &group[n * block_len..(n + 1) * block_len];
                let lanes: [&[u8]; LANES] = std::array::from_fn(lane);
                let digests = lanes::digests(algorithm, before, &lanes, after);
                for (block, digest) in lanes.iter().zip(digests) {
                    take(block, StrongSum::new(digest));
                }
            }
        }
        for block in one_by_one.chunks_exact(block_len) {
            take(block, self.sum(block));
        }
    }
}

fn digest_of<D: Digest, const N: usize>(first: &[u8], second: &[u8]) -> [u8; N]
where
    md5::digest::Output<D>: Into<[u8; N]>,
{
    D::new()
        .chain_update(first)
        .chain_update(second)
        .finalize()
        .into()
}
