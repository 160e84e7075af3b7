//! The sum of a whole file, fed piece by piece.

use std::hash::Hasher;

use md4::Md4;
use md5::{Digest, Md5};
use sha1::Sha1;
use twox_hash::{XxHash64, xxhash3_64, xxhash3_128};

use super::{StrongKind, StrongSum};

/// Sums one file in the order of its bytes.
pub struct FileSummer {
    state: State,
}

enum State {
    Xxh128(xxhash3_128::Hasher),
    Xxh3(xxhash3_64::Hasher),
    Xxh64(XxHash64),
    Md5(Md5),
    Md4(Md4),
    Sha1(Sha1),
    None,
}

impl FileSummer {
    /// For the sum that follows the tokens of a file. The seed counts for
    /// [`StrongKind::SeededMd4`] only: its four bytes come before the data, even when it is zero.
    pub fn new(kind: StrongKind, seed: i32) -> Self {
        let mut summer = Self::for_list(kind);
        if kind == StrongKind::SeededMd4 {
            summer.update(&seed.to_le_bytes());
        }
        summer
    }

    /// For the sum that `--checksum` puts into the file list: no algorithm mixes a seed in.
    pub fn for_list(kind: StrongKind) -> Self {
        let state = match kind {
            StrongKind::Xxh128 => State::Xxh128(xxhash3_128::Hasher::new()),
            StrongKind::Xxh3 => State::Xxh3(xxhash3_64::Hasher::new()),
            StrongKind::Xxh64 => State::Xxh64(XxHash64::with_seed(0)),
            StrongKind::Md5 => State::Md5(Md5::new()),
            StrongKind::Md4 | StrongKind::SeededMd4 => State::Md4(Md4::new()),
            StrongKind::Sha1 => State::Sha1(Sha1::new()),
            StrongKind::None => State::None,
        };
        Self { state }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Xxh128(hasher) => hasher.write(bytes),
            State::Xxh3(hasher) => hasher.write(bytes),
            State::Xxh64(hasher) => hasher.write(bytes),
            State::Md5(hasher) => hasher.update(bytes),
            State::Md4(hasher) => hasher.update(bytes),
            State::Sha1(hasher) => hasher.update(bytes),
            State::None => {}
        }
    }

    pub fn finish(self) -> StrongSum {
        match self.state {
            State::Xxh128(hasher) => StrongSum::new(hasher.finish_128().to_le_bytes()),
            State::Xxh3(hasher) => StrongSum::new(hasher.finish().to_le_bytes()),
            State::Xxh64(hasher) => StrongSum::new(hasher.finish().to_le_bytes()),
            State::Md5(hasher) => StrongSum::new::<16>(hasher.finalize().into()),
            State::Md4(hasher) => StrongSum::new::<16>(hasher.finalize().into()),
            State::Sha1(hasher) => StrongSum::new::<20>(hasher.finalize().into()),
            State::None => StrongSum::none(),
        }
    }
}
