//! The committed corpus is replayed: seeds, and what fuzzing found worth keeping.
//!
//! `COFFRE_WRITE=1` writes the seeds anew. An input that once broke something is kept in
//! `fixtures/fuzz/<target>/` by a name that says what it was.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};

use coffre_fuzz::{TARGETS, body, seeds};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn replay(target: &str) {
    let body = body(target).unwrap();
    let mut inputs = 0;
    for entry in fs::read_dir(fixtures().join("fuzz").join(target)).unwrap() {
        let path = entry.unwrap().path();
        // Shown if the body panics.
        println!("{}", path.display());
        body(&fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "{target} has no corpus");
}

macro_rules! replays {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($target)),*];
            let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(replayed.to_vec(), known);
            for name in known {
                let program = Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("programs/fuzz_targets")
                    .join(format!("{name}.rs"));
                assert!(program.exists(), "{name} has no program");
            }
        }
    };
}

replays!(
    charsets, delta, filters, flist, handshake, items, mux, options, session, tokens, xattrs
);

#[test]
fn the_seeds_are_those_that_the_transcripts_and_encoders_give() {
    for (target, name, input) in seeds::seeds(&fixtures().join("transcripts")) {
        let dir = fixtures().join("fuzz").join(target);
        let file = dir.join(format!("seed-{name}"));
        if std::env::var_os("COFFRE_WRITE").is_some() {
            fs::create_dir_all(&dir).unwrap();
            fs::write(&file, &input).unwrap();
        }
        assert!(fs::read(&file).unwrap() == input, "{}", file.display());
    }
}
