//! MD4 and MD5 of many blocks at once.
//!
//! Neither can be computed in parallel within one message: each step needs the one before. But a
//! basis has thousands of blocks of one length, and sixteen of them fill a vector register: each
//! lane is one block. What is computed is written on arrays of lanes, and the compiler makes
//! vector code of it, for the widest registers that this processor turns out to have.
//!
//! What is summed is `before`, a block, and `after` (one of the two is the seed), then the padding:
//! a one bit, zeros, and the length in bits.
//! Source: RFC 1320, RFC 1321.

use fearless_simd::{Level, dispatch};

/// Blocks at a time.
pub(super) const LANES: usize = 16;

/// One word of each lane.
type Words = [u32; LANES];

const CHUNK: usize = 64;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The two algorithms, which differ in their steps only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md4,
    Md5,
}

/// The digests of [`LANES`] blocks of one length. `before` and `after` are four bytes at most.
pub(super) fn digests(
    algorithm: Algorithm,
    before: &[u8],
    blocks: &[&[u8]; LANES],
    after: &[u8],
) -> [[u8; 16]; LANES] {
    match algorithm {
        Algorithm::Md4 => dispatch!(Level::new(), _ => sum::<false>(before, blocks, after)),
        Algorithm::Md5 => dispatch!(Level::new(), _ => sum::<true>(before, blocks, after)),
    }
}

// The algorithm is no function that is passed in: that would not be compiled for the registers at hand.
#[inline(always)]
fn sum<const IS_MD5: bool>(
    before: &[u8],
    blocks: &[&[u8]; LANES],
    after: &[u8],
) -> [[u8; 16]; LANES] {
    let len = before.len() + blocks[0].len() + after.len();
    // A byte for the one bit, eight for the length.
    let chunks = (len + 9).div_ceil(CHUNK);
    let mut state = START.map(|word| [word; LANES]);
    let mut message = [[0; LANES]; 16];
    for chunk in 0..chunks {
        let at = chunk * CHUNK;
        for (lane, block) in blocks.iter().enumerate() {
            let inside = at
                .checked_sub(before.len())
                .and_then(|at| block.get(at..at + CHUNK));
            match inside.and_then(|bytes| bytes.first_chunk::<CHUNK>()) {
                Some(bytes) => load(&mut message, lane, bytes),
                None => {
                    let last = chunk + 1 == chunks;
                    let edge = edge([before, block, after], at, last.then_some(len));
                    load(&mut message, lane, &edge);
                }
            }
        }
        let begin = state;
        match IS_MD5 {
            true => md5_chunk(&mut state, &message),
            false => md4_chunk(&mut state, &message),
        }
        for (word, begin) in state.iter_mut().zip(&begin) {
            *word = add(*word, begin);
        }
    }
    let mut digests = [[0; 16]; LANES];
    for (lane, digest) in digests.iter_mut().enumerate() {
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(&state) {
            *bytes = word[lane].to_le_bytes();
        }
    }
    digests
}

#[inline(always)]
fn load(message: &mut [Words; 16], lane: usize, bytes: &[u8; CHUNK]) {
    for (words, bytes) in message.iter_mut().zip(bytes.as_chunks::<4>().0) {
        words[lane] = u32::from_le_bytes(*bytes);
    }
}

/// The chunk that begins at byte `at` of the parts and their padding. `len`: of all parts, where
/// the chunk is the last and tells it.
#[inline(never)]
fn edge(parts: [&[u8]; 3], at: usize, len: Option<usize>) -> [u8; CHUNK] {
    let mut chunk = [0; CHUNK];
    let mut start = 0;
    for part in parts.into_iter().chain([&[0x80][..]]) {
        let end = start + part.len();
        let (from, to) = (at.clamp(start, end), (at + CHUNK).clamp(start, end));
        if from < to {
            chunk[from - at..to - at].copy_from_slice(&part[from - start..to - start]);
        }
        start = end;
    }
    if let Some(len) = len {
        let bits = (len as u64).wrapping_mul(8);
        chunk[CHUNK - 8..].copy_from_slice(&bits.to_le_bytes());
    }
    chunk
}

#[inline(always)]
fn add(mut words: Words, more: &Words) -> Words {
    for (word, more) in words.iter_mut().zip(more) {
        *word = word.wrapping_add(*more);
    }
    words
}

/// One step: `a` becomes (a + f(b, c, d) + word + constant) rotated left, and where `adds_b`,
/// plus b.
#[inline(always)]
fn step(
    state: &mut [Words; 4],
    [a, b, c, d]: [usize; 4],
    f: impl Fn(u32, u32, u32) -> u32,
    word: &Words,
    constant: u32,
    turn: u32,
    adds_b: bool,
) {
    let (b, c, d) = (state[b], state[c], state[d]);
    let a = &mut state[a];
    for lane in 0..LANES {
        let sum = a[lane]
            .wrapping_add(f(b[lane], c[lane], d[lane]))
            .wrapping_add(word[lane].wrapping_add(constant))
            .rotate_left(turn);
        a[lane] = match adds_b {
            true => sum.wrapping_add(b[lane]),
            false => sum,
        };
    }
}

/// Which of the four words of the state is `a`, `b`, `c` and `d` in a step: they change places.
const PLACES: [[usize; 4]; 4] = [[0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1], [1, 2, 3, 0]];

#[inline(always)]
fn choose(b: u32, c: u32, d: u32) -> u32 {
    (b & c) | (!b & d)
}

#[inline(always)]
fn parity(b: u32, c: u32, d: u32) -> u32 {
    b ^ c ^ d
}

#[inline(always)]
fn md4_chunk(state: &mut [Words; 4], message: &[Words; 16]) {
    const SECOND: [usize; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
    const THIRD: [usize; 16] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];
    let majority = |b: u32, c: u32, d: u32| (b & c) | (b & d) | (c & d);
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [3, 7, 11, 19][i % 4]);
        step(state, places, choose, &message[i], 0, turn, false);
    }
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [3, 5, 9, 13][i % 4]);
        let word = &message[SECOND[i]];
        step(state, places, majority, word, 0x5a82_7999, turn, false);
    }
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [3, 9, 11, 15][i % 4]);
        let word = &message[THIRD[i]];
        step(state, places, parity, word, 0x6ed9_eba1, turn, false);
    }
}

/// The whole part of 2³² · |sin(i + 1)|.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

#[inline(always)]
fn md5_chunk(state: &mut [Words; 4], message: &[Words; 16]) {
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [7, 12, 17, 22][i % 4]);
        step(state, places, choose, &message[i], SINES[i], turn, true);
    }
    let choose_by_d = |b, c, d| choose(d, b, c);
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [5, 9, 14, 20][i % 4]);
        let word = &message[(5 * i + 1) % 16];
        step(state, places, choose_by_d, word, SINES[16 + i], turn, true);
    }
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [4, 11, 16, 23][i % 4]);
        let word = &message[(3 * i + 5) % 16];
        step(state, places, parity, word, SINES[32 + i], turn, true);
    }
    for i in 0..16 {
        let (places, turn) = (PLACES[i % 4], [6, 10, 15, 21][i % 4]);
        let word = &message[7 * i % 16];
        let f = |b: u32, c: u32, d: u32| c ^ (b | !d);
        step(state, places, f, word, SINES[48 + i], turn, true);
    }
}
