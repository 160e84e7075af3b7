//! What a writer takes is what the file holds, and what is summed, however it comes.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use coffre_protocol::checksum::StrongKind;
use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::account::{Account, Used};
use crate::config::{MinFree, Quota};
use crate::confine::{Metadata, TenantPath, TenantRoot};

/// Without a pattern, but for stretches of zeros.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8 | 1
        })
        .collect();
    for zeros in bytes.chunks_mut(150_000) {
        let len = zeros.len().min(50_000);
        zeros[..len].fill(0);
    }
    bytes
}

#[derive(Debug, Clone)]
enum Piece {
    Literal {
        seed: u64,
        len: usize,
    },
    /// Out of the basis, from this part of it.
    Blocks {
        from: f64,
        len: usize,
    },
    /// What the basis has at the same place.
    Same {
        len: usize,
    },
}

fn piece() -> impl Strategy<Value = Piece> {
    let len = || prop_oneof![0..100_usize, 0..70_000_usize, 200_000..600_000_usize];
    prop_oneof![
        (any::<u64>(), len()).prop_map(|(seed, len)| Piece::Literal { seed, len }),
        (0.0..1.0, len()).prop_map(|(from, len)| Piece::Blocks { from, len }),
        len().prop_map(|len| Piece::Same { len }),
    ]
}

/// A new file; `cloned`: it holds the basis at first, as where the file system shares blocks.
fn stage(root: &TenantRoot, basis: &[u8], cloned: bool) -> (Sink, Held) {
    let top = root.cached_dir(&TenantPath::root()).unwrap();
    let staged = top.stage(0o600).unwrap();
    let mut held = Held::default();
    if cloned {
        staged.file().write_all_at(basis, 0).unwrap();
        held = Held {
            len: basis.len() as u64,
            is_basis: true,
        };
    }
    (Sink::Staged(staged), held)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_file_holds_what_came(
        pieces in prop::collection::vec(piece(), 0..12),
        basis_len in 0..900_000_usize,
        announced in 0..2_000_000_u64,
        cloned: bool,
        sparse: bool,
        breaks_off: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = TenantRoot::open(dir.path(), Metadata::Xattr, Arc::default()).unwrap();
        let basis = content(7, basis_len);
        let basis_path = dir.path().join("basis");
        std::fs::write(&basis_path, &basis).unwrap();
        let basis_file = File::open(&basis_path).unwrap();
        let (sink, held) = stage(&root, &basis, cloned);
        let summer = || ArrivalSummer::new(StrongKind::Xxh128, 5, StrongKind::Md5);
        let mut writer = FileWriter::new(sink, held, sparse, summer(), announced);

        let mut expected = Vec::new();
        for piece in pieces {
            let (from, len) = match piece {
                Piece::Literal { seed, len } => {
                    let bytes = content(seed, len);
                    writer.write(&bytes).unwrap();
                    expected.extend(bytes);
                    continue;
                }
                Piece::Blocks { from, len } => ((from * basis_len as f64) as usize, len),
                Piece::Same { len } => (expected.len(), len),
            };
            let end = (from + len).min(basis_len);
            let mut at = from;
            while at < end {
                let step = writer.step((end - at) as u64);
                let mut seen = Vec::new();
                let see = |bytes: &[u8]| seen.extend_from_slice(bytes);
                writer.copy(&basis_file, at as u64, step, see).unwrap();
                prop_assert!(seen == basis[at..at + step]);
                at += step;
            }
            expected.extend_from_slice(basis.get(from..end).unwrap_or_default());
        }
        let sink = if breaks_off {
            writer.break_off().unwrap()
        } else {
            let mut whole = summer();
            whole.update(&expected);
            prop_assert_eq!(writer.sums().unwrap(), Some(whole.finish()));
            writer.finish().unwrap()
        };
        let len = sink.file().metadata().unwrap().len();
        prop_assert_eq!(len, expected.len() as u64);
        let mut found = vec![0; expected.len()];
        sink.file().read_exact_at(&mut found, 0).unwrap();
        prop_assert!(found == expected);
    }
}

#[test]
fn writes_end_at_boundaries_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = TenantRoot::open(dir.path(), Metadata::Xattr, Arc::default()).unwrap();
    let (sink, held) = stage(&root, b"", false);
    let summer = ArrivalSummer::new(StrongKind::Xxh128, 0, StrongKind::Xxh128);
    let mut writer = FileWriter::new(sink, held, false, summer, 1 << 30);
    let on_disk = |writer: &FileWriter| writer.sink.file().metadata().unwrap().len();
    for _ in 0..20 {
        writer.write(&[7; 32_700]).unwrap();
        assert_eq!(on_disk(&writer) % GATHER as u64, 0);
    }
    assert_eq!(on_disk(&writer), 2 * GATHER as u64);
    writer.sums().unwrap();
    assert_eq!(on_disk(&writer), 20 * 32_700);
}

/// What is kept of a file after its quota ran out, for a push that goes on from there.
#[test]
fn a_write_that_fails_leaves_what_came_and_nothing_behind_it() {
    let quota = Quota {
        size: Some(400_000),
        files: None,
    };
    for (sparse, cloned, preallocates) in [
        (false, false, false),
        (false, false, true),
        (true, false, false),
        (false, true, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let account = Arc::new(Account::new(quota, MinFree::Bytes(0)));
        account.recall(Used::default(), true);
        let root = TenantRoot::open(dir.path(), Metadata::Xattr, account).unwrap();
        let (sink, held) = stage(&root, &vec![7; 2_000_000], cloned);
        let summer = ArrivalSummer::new(StrongKind::Xxh128, 0, StrongKind::Xxh128);
        let mut writer = FileWriter::new(sink, held, sparse, summer, 1 << 30);
        if preallocates {
            writer.preallocate(2_000_000);
        }
        // Where holes are made, one stands before what fails in the same piece.
        let came = content(3, 900_000);
        let error = writer.write(&came).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::DQUOT.raw_os_error()));
        let sink = writer.break_off().unwrap();
        let kept = std::fs::read(format!("/proc/self/fd/{}", sink.file().as_raw_fd())).unwrap();
        assert!(!kept.is_empty());
        assert!(came.starts_with(&kept), "{sparse} {cloned} {preallocates}");
    }
}
