//! Conversations of stock clients with a stock server, recorded at every protocol version, are
//! understood: the same however their bytes are cut, and with the values that the trees had.
//!
//! `fixtures/transcripts/record` makes them, those of openrsync and rsync 2.6.9 too. Beside each stands what must be decoded from it;
//! `COFFRE_WRITE=1` writes that down anew.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[expect(unreachable_pub, reason = "the fuzz targets have it too")]
mod conversation;
mod transcript;

use std::fs;

use conversation::{Surroundings, listen};
use transcript::Transcript;

/// Of `d/numbers` before it was edited; nothing else has a basis.
fn basis(_: &[u8], from: u64, len: usize) -> Vec<u8> {
    let numbers: String = (1..=400).map(|n| format!("{n}\n")).collect();
    numbers.as_bytes()[from as usize..][..len].to_vec()
}

#[test]
fn every_conversation_is_understood_however_it_is_cut() {
    let mut seen = 0;
    for transcript in Transcript::all() {
        seen += 1;
        let server = transcript.server();
        let surroundings = Surroundings {
            seed: server.seed,
            requests: Some(server.xattr_requests.clone()),
            basis,
        };
        let whole = listen(
            &transcript.exec,
            &transcript.client,
            usize::MAX / 2,
            &surroundings,
        );
        assert_eq!(whole.error, None, "{}", transcript.name);
        assert_eq!(whole.left, 0, "{}", transcript.name);
        for step in [1, 2, 3, 5, 7, 16, 64, 500] {
            let said = listen(&transcript.exec, &transcript.client, step, &surroundings);
            assert_eq!(said, whole, "{} in pieces of {step}", transcript.name);
        }
        let text = whole.events.join("\n") + "\n";
        let file = transcript.path.with_extension("events");
        if std::env::var_os("COFFRE_WRITE").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap();
        assert_eq!(text, expected, "{}", transcript.name);
        assert!(!text.contains("sum wrong"), "{}", transcript.name);
    }
    assert_eq!(
        seen, 16,
        "two at each version from 27 to 32, and of two old clients"
    );
}

/// What we would have said in the handshake is what the stock server said, but for the lists of
/// names, which have our order.
#[test]
fn the_stock_server_said_what_we_would_have_said() {
    for transcript in Transcript::all() {
        let server = transcript.server();
        let ours = transcript.our_handshake(server.seed);
        assert_eq!(server.version, 32, "{}", transcript.name);
        assert_eq!(server.compat, ours.compat, "{}", transcript.name);
        assert_eq!(server.seed, 7, "{}", transcript.name);
    }
}

/// A conversation may end at any byte: what was said until then stands, and nothing panics.
#[test]
fn a_conversation_that_breaks_off_has_said_what_it_had_said() {
    for transcript in Transcript::all() {
        let server = transcript.server();
        let surroundings = Surroundings {
            seed: server.seed,
            requests: Some(server.xattr_requests.clone()),
            basis,
        };
        let whole = listen(&transcript.exec, &transcript.client, 4096, &surroundings);
        for end in 0..transcript.client.len() {
            let said = listen(
                &transcript.exec,
                &transcript.client[..end],
                4096,
                &surroundings,
            );
            assert_eq!(said.error, None, "{} cut at {end}", transcript.name);
            assert!(
                whole.events.starts_with(&said.events),
                "{} cut at {end}",
                transcript.name
            );
        }
    }
}
