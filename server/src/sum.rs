//! What is known of a file's content: its BLAKE3 hash, and the digests that clients ask for with
//! `--checksum`, with the size and the time for which they hold.
//!
//! It is computed while the content streams in, and kept in one extended attribute of the file,
//! `user.coffre.sum`, so every hard link of an inode shares it and no database of files is
//! needed (where the file system keeps none, see [`crate::confine::Notes`]). In binary, because an ext4 inode of the usual 256 bytes has room for 60 bytes of it:
//! anything longer would cost a block of its own per file.
//!
//! ```text
//! 1 byte            version, 1
//! 24 bytes          the first 24 of BLAKE3 (`b3sum --length 24`)
//! 1 to 10 bytes     size, LEB128
//! 1 to 10 bytes     seconds of the modification time, zigzag LEB128
//! 4 bytes           its nanoseconds, little-endian
//! then any number of
//!   1 byte          kind: 1 xxh128, 2 xxh3, 3 xxh64, 4 md5, 5 md4, 6 sha1
//!   8 to 20 bytes   that digest, as it is on rsync's wire
//! ```
//!
//! Size and time say whether the content may have been changed by somebody else since: then the
//! digests are not believed, and the file is read instead. `verify` compares the hash whatever
//! they say.

use coffre_protocol::checksum::{FileSummer, StrongKind, StrongSum};

use crate::confine::FileTime;

/// Bytes of BLAKE3 that are kept: a collision takes 2^96 tries, and damage is not even trying.
pub const HASH_LEN: usize = 24;

/// The first bytes of a BLAKE3 hash.
pub type Hash = [u8; HASH_LEN];

const VERSION: u8 = 1;

/// Kinds by the number they are kept under.
const KINDS: [(u8, StrongKind); 6] = [
    (1, StrongKind::Xxh128),
    (2, StrongKind::Xxh3),
    (3, StrongKind::Xxh64),
    (4, StrongKind::Md5),
    (5, StrongKind::Md4),
    (6, StrongKind::Sha1),
];

/// Clients of more kinds than this, in turn, make each other's `--checksum` read.
const MOST_DIGESTS: usize = 3;

/// What is known of a content, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub hash: Hash,
    pub size: u64,
    /// Newest first.
    digests: Vec<(u8, Vec<u8>)>,
}

impl Content {
    /// Of a content that is at hand.
    pub fn of(bytes: &[u8]) -> Self {
        let mut summer = ContentSummer::new(None);
        summer.update(bytes);
        summer.finish()
    }

    /// The digest that `--checksum` compares, if it is known.
    pub fn digest(&self, kind: StrongKind) -> Option<&[u8]> {
        let number = number_of(kind)?;
        let known = self.digests.iter().find(|(known, _)| *known == number);
        known.map(|(_, digest)| digest.as_slice())
    }

    /// Adds what is known of the same content otherwise.
    pub fn merge(&mut self, other: &Content) {
        for (number, digest) in &other.digests {
            self.digests.retain(|(known, _)| known != number);
            self.digests.insert(0, (*number, digest.clone()));
        }
        self.digests.truncate(MOST_DIGESTS);
    }

    fn add(&mut self, kind: StrongKind, digest: &StrongSum) {
        if let Some(number) = number_of(kind) {
            self.digests.insert(0, (number, digest.as_bytes().to_vec()));
        }
    }
}

/// A content, and the time of the file that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentSum {
    pub content: Content,
    pub mtime: FileTime,
}

impl ContentSum {
    /// Whether size and time are still those of the file.
    pub fn holds_for(&self, size: u64, mtime: FileTime) -> bool {
        (self.content.size, self.mtime) == (size, mtime)
    }

    /// As it is kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(VERSION);
        out.extend_from_slice(&self.content.hash);
        put_leb128(&mut out, self.content.size);
        let secs = self.mtime.secs;
        put_leb128(&mut out, ((secs << 1) ^ (secs >> 63)) as u64);
        out.extend_from_slice(&self.mtime.nanos.to_le_bytes());
        for (number, digest) in &self.content.digests {
            out.push(*number);
            out.extend_from_slice(digest);
        }
        out
    }

    /// `None`: it is of another version, or damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let hash = take(&mut rest, HASH_LEN)?.try_into().ok()?;
        let size = take_leb128(&mut rest)?;
        let secs = take_leb128(&mut rest)?;
        let secs = (secs >> 1) as i64 ^ -((secs & 1) as i64);
        let nanos = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        if nanos >= 1_000_000_000 {
            return None;
        }
        let mut digests = Vec::new();
        // What a later version knows of ends the list: its length is unknown here.
        while let Some((&number, after)) = rest.split_first()
            && let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == number)
        {
            rest = after;
            let digest = take(&mut rest, kind.digest_len())?;
            digests.push((number, digest.to_vec()));
        }
        Some(Self {
            content: Content {
                hash,
                size,
                digests,
            },
            mtime: FileTime { secs, nanos },
        })
    }
}

fn number_of(kind: StrongKind) -> Option<u8> {
    let kind = match kind {
        // For a whole list they are one.
        StrongKind::SeededMd4 => StrongKind::Md4,
        other => other,
    };
    let found = KINDS.iter().find(|(_, known)| *known == kind);
    found.map(|(number, _)| *number)
}

fn put_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_leb128(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

/// BLAKE3 gets a content in pieces of this size. It hashes sixteen chunks of 1 KiB at once, but
/// only where they stand in one subtree: with the pieces of a network it takes twice as long.
const GATHER: usize = 64 << 10;

/// Sums a content as it comes by, in order, from its first byte.
pub struct ContentSummer {
    blake3: blake3::Hasher,
    /// Not given to it yet; less than [`GATHER`].
    gathered: Vec<u8>,
    size: u64,
    list: Option<(StrongKind, FileSummer)>,
}

impl ContentSummer {
    /// `kind`: of the digest that `--checksum` compares; `None`: none is wanted.
    pub fn new(kind: Option<StrongKind>) -> Self {
        let kind = kind.filter(|kind| number_of(*kind).is_some());
        Self {
            blake3: blake3::Hasher::new(),
            gathered: Vec::new(),
            size: 0,
            list: kind.map(|kind| (kind, FileSummer::for_list(kind))),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if let Some((_, summer)) = &mut self.list {
            summer.update(bytes);
        }
        let mut rest = bytes;
        if !self.gathered.is_empty() {
            let fill = rest.len().min(GATHER - self.gathered.len());
            self.gathered.extend_from_slice(&rest[..fill]);
            rest = &rest[fill..];
            if self.gathered.len() < GATHER {
                return;
            }
            self.blake3.update(&self.gathered);
            self.gathered.clear();
        }
        let (whole, rest) = rest.split_at(rest.len() - rest.len() % GATHER);
        self.blake3.update(whole);
        self.gathered.extend_from_slice(rest);
    }

    pub fn finish(mut self) -> Content {
        self.blake3.update(&self.gathered);
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(&self.blake3.finalize().as_bytes()[..HASH_LEN]);
        let mut content = Content {
            hash,
            size: self.size,
            digests: Vec::new(),
        };
        if let Some((kind, summer)) = self.list {
            content.add(kind, &summer.finish());
        }
        content
    }
}

/// Sums a file that arrives: for the sum that follows its tokens, and for keeping.
///
/// Where both are of one kind and unseeded, which is what every client since 3.0 has, the data
/// goes through that one once. The MD4 of older protocols is seeded, and a second MD4 would cost
/// more than all else of a session: the first `--checksum` of such a client reads the file.
pub struct ArrivalSummer {
    verification: FileSummer,
    /// What the verification sum is good for besides.
    shared: Option<StrongKind>,
    content: ContentSummer,
    /// Part of the content went by unsummed.
    has_gap: bool,
}

impl ArrivalSummer {
    pub fn new(transfer: StrongKind, seed: i32, list: StrongKind) -> Self {
        let is_seeded = transfer == StrongKind::SeededMd4;
        let same = transfer == list && !is_seeded;
        Self {
            verification: FileSummer::new(transfer, seed),
            shared: same.then_some(list),
            content: ContentSummer::new((!same && !is_seeded).then_some(list)),
            has_gap: false,
        }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.verification.update(bytes);
        self.content.update(bytes);
    }

    /// Takes the next bytes of the file where the client's sum does not cover them (what
    /// `--append` finds there).
    pub fn update_uncovered(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
        self.shared = None;
    }

    /// The next bytes of the file are not known here, so nothing is kept of it.
    pub fn skip(&mut self) {
        self.has_gap = true;
    }

    /// The sum to compare with the client's, and what is to be kept.
    pub fn finish(self) -> (StrongSum, Option<Content>) {
        let sum = self.verification.finish();
        let mut content = self.content.finish();
        if let Some(kind) = self.shared {
            content.add(kind, &sum);
        }
        (sum, (!self.has_gap).then_some(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(size: u64, secs: i64, kinds: &[StrongKind]) -> ContentSum {
        let mut content = Content::of(b"abc");
        content.size = size;
        for kind in kinds {
            let mut summer = FileSummer::for_list(*kind);
            summer.update(b"abc");
            content.add(*kind, &summer.finish());
        }
        let mtime = FileTime {
            secs,
            nanos: 999_999_999,
        };
        ContentSum { content, mtime }
    }

    #[test]
    fn a_sum_reads_back_as_it_was_written() {
        let kinds = [StrongKind::Md5, StrongKind::Xxh64, StrongKind::Sha1];
        for size in [0, 127, 128, 4096, 1 << 30, u64::MAX] {
            for secs in [0, -1, i64::MIN, i64::MAX, 1_790_000_000] {
                let sum = sum(size, secs, &kinds);
                assert_eq!(ContentSum::decode(&sum.encode()), Some(sum));
            }
        }
    }

    #[test]
    fn what_an_inode_has_room_for_is_not_exceeded() {
        // Of 96 bytes beyond the usual inode: header 4, entry 16, name 12, end 4.
        for kind in [StrongKind::Xxh128, StrongKind::Md5, StrongKind::Md4] {
            assert!(sum(1 << 48, 1_790_000_000, &[kind]).encode().len() <= 60);
        }
    }

    #[test]
    fn what_is_not_whole_is_none() {
        let whole = sum(4096, 1, &[StrongKind::Xxh128]).encode();
        let bare = sum(4096, 1, &[]).encode().len();
        for len in 0..whole.len() {
            assert_eq!(
                ContentSum::decode(&whole[..len]).is_some(),
                len == bare,
                "{len}"
            );
        }
        let mut later = whole.clone();
        later[0] = 2;
        assert_eq!(ContentSum::decode(&later), None);
        let mut unknown = whole;
        unknown.push(99);
        assert!(ContentSum::decode(&unknown).is_some());
    }

    #[test]
    fn digests_of_one_kind_are_kept_once_and_the_oldest_goes() {
        let mut content = sum(3, 0, &[StrongKind::Md5, StrongKind::Xxh64]).content;
        content.merge(&sum(3, 0, &[StrongKind::Md5]).content);
        assert_eq!(content.digests.len(), 2);
        content.merge(&sum(3, 0, &[StrongKind::Sha1, StrongKind::Xxh128]).content);
        assert_eq!(content.digests.len(), MOST_DIGESTS);
        assert!(content.digest(StrongKind::Xxh128).is_some());
        assert!(content.digest(StrongKind::Xxh64).is_none());
    }

    #[test]
    fn a_hash_does_not_depend_on_the_pieces() {
        let content: Vec<u8> = (0..5 * GATHER as u32).map(|n| (n / 7) as u8).collect();
        for len in [0, 1, GATHER - 1, GATHER, GATHER + 1, content.len()] {
            let content = &content[..len];
            for piece in [1_000, 32_764, GATHER, 3 * GATHER + 5] {
                let mut summer = ContentSummer::new(None);
                for bytes in content.chunks(piece) {
                    summer.update(bytes);
                }
                let sum = summer.finish();
                assert_eq!(sum.hash, blake3::hash(content).as_bytes()[..HASH_LEN]);
                assert_eq!(sum.size, len as u64);
            }
        }
    }

    #[test]
    fn an_arrival_is_summed_as_a_list_sums_it() {
        for (transfer, list) in [
            (StrongKind::Xxh128, StrongKind::Xxh128),
            (StrongKind::Md5, StrongKind::Md5),
            (StrongKind::Md5, StrongKind::Sha1),
            (StrongKind::None, StrongKind::Md5),
        ] {
            let mut arrival = ArrivalSummer::new(transfer, 7, list);
            arrival.update(b"ab");
            arrival.update(b"c");
            let (sum, content) = arrival.finish();
            let mut expected = FileSummer::new(transfer, 7);
            expected.update(b"abc");
            assert_eq!(sum, expected.finish());
            let content = content.unwrap();
            let mut expected = FileSummer::for_list(list);
            expected.update(b"abc");
            assert_eq!(content.digest(list), Some(expected.finish().as_bytes()));
            assert_eq!(content.hash, blake3::hash(b"abc").as_bytes()[..HASH_LEN]);
        }
        let seeded = StrongKind::SeededMd4;
        let mut arrival = ArrivalSummer::new(seeded, 7, seeded);
        arrival.update(b"abc");
        let content = arrival.finish().1.unwrap();
        assert_eq!(content.digest(seeded), None);
        assert_eq!(content, Content::of(b"abc"));
        let mut arrival = ArrivalSummer::new(StrongKind::Md5, 0, StrongKind::Md5);
        arrival.update_uncovered(b"ab");
        arrival.update(b"c");
        let (_, content) = arrival.finish();
        let content = content.unwrap();
        assert_eq!(content.digest(StrongKind::Md5), None);
        assert_eq!(content.hash, Content::of(b"abc").hash);
    }
}
