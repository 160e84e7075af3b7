//! Replies that nobody asked for, or that say what cannot be.

use coffre_tests::said;

use crate::wire::{Wire, zeros};
use crate::yard::{Peer, Yard};

/// Version and seed of the server, and its request for one new file in a frame: index, flags, head.
pub(crate) const FIRST_REQUEST: usize = 8 + 4 + 22;

/// A peer whose new file `x`, entry 1, has been asked for.
fn asked(yard: &Yard, options: &str) -> Peer {
    let mut peer = yard.peer(&format!("rsync --server {options} . /dst"));
    peer.say(Wire::old().dir(b".").file(b"x", 5).end());
    let heard = peer.hear(FIRST_REQUEST);
    assert!(heard >= FIRST_REQUEST, "no request: {heard} bytes");
    peer
}

#[test]
fn file_indexes_that_are_in_no_list_or_were_not_asked_for_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        for ndx in [0, 2, 77, i32::MAX, -4, -50, -101, -2, i32::MIN] {
            let mut peer = asked(&yard, "-r");
            peer.say(Wire::default().reply(ndx).int(0));
            peer.hear(FIRST_REQUEST + 20);
            yard.assert_refused(&format!("index {ndx}"), &peer.end());
        }
        let mut peer = asked(&yard, "-r");
        peer.say((0..10).fold(Wire::default(), |wire, _| wire.done()));
        peer.hear(FIRST_REQUEST + 20);
        yard.assert_refused("ten ends of phases", &peer.end());
    });
}

#[test]
fn sum_heads_that_cannot_be_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        for head in [
            [-1, 700, 2, 0],
            [1, 0, 2, 0],
            [1, -700, 2, 0],
            [1, 1 << 30, 2, 0],
            [1, 700, 99, 0],
            [1, 700, -1, 0],
            [1, 700, 2, 701],
            [1, 700, 2, -1],
            [i32::MAX, 1 << 29, 16, 0],
        ] {
            let mut peer = asked(&yard, "-r");
            // A block far beyond the basis, in case the head is believed.
            peer.say(Wire::default().reply_with(1, head).int(i32::MIN));
            peer.hear(FIRST_REQUEST + 20);
            yard.assert_refused(&format!("the head {head:?}"), &peer.end());
        }
    });
}

#[test]
fn tokens_that_cannot_be_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        for token in [-1, -2, i32::MIN] {
            let mut peer = asked(&yard, "-r");
            peer.say(Wire::default().reply(1).int(token));
            peer.hear(FIRST_REQUEST + 20);
            yard.assert_refused(&format!("the token {token}"), &peer.end());
        }
        // Literals that never come.
        let mut peer = asked(&yard, "-r");
        peer.say(Wire::default().reply(1).int(i32::MAX).bytes(b"not so many"));
        peer.hear(0);
        assert_ne!(peer.end().exit, 0);
        for (what, wire) in [
            ("an unknown flag", &[0x22][..]),
            ("a block that is not there", &[0x20, 9, 0, 0, 0]),
            (
                "a run beyond all numbers",
                &[0x21, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff],
            ),
            (
                "a chunk of nonsense",
                &[0x40, 5, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
            ("a stream that ends", &[0x40, 2, 0x03, 0x00, 0x00]),
        ] {
            let mut peer = asked(&yard, "-rz");
            peer.say(Wire::default().reply(1).bytes(wire).bytes(&[0; 30]));
            peer.hear(FIRST_REQUEST + 20);
            yard.assert_refused(what, &peer.end());
        }
    });
}

/// 128 MiB out of less than one: the file grows on disk as stock's would, memory does not, and
/// nothing is left of it.
#[test]
fn a_compression_bomb_takes_no_memory_and_leaves_nothing() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let mut peer = asked(&yard, "-rz");
        let mut wire = Wire::default().reply(1);
        for chunk in zeros(520_000).chunks((1 << 14) - 1) {
            wire = wire.byte(0x40 | (chunk.len() >> 8) as u8);
            wire = wire.byte(chunk.len() as u8).bytes(chunk);
        }
        assert!(wire.0.len() < 1 << 20);
        peer.say(wire.byte(0).bytes(&[0; 16]));
        peer.hear(FIRST_REQUEST + 5);
        // It is asked for once more, and an empty file with a wrong sum is no better.
        peer.say(Wire::default().done());
        let heard = peer.hear(FIRST_REQUEST + 22);
        peer.say(Wire::default().reply(1).byte(0).bytes(&[0; 16]));
        peer.hear(heard + 1);
        let outcome = peer.end();
        assert_ne!(outcome.exit, 0);
        let text = said(&outcome);
        assert!(text.contains("failed verification"), "{text}");
        let live = yard.bed.coffre.home().join("live/dst/x");
        assert!(!live.exists(), "a file whose sum is wrong has a name");
    });
}

#[test]
fn a_file_whose_sum_is_always_wrong_is_given_up() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let mut peer = asked(&yard, "-r");
        let wrong = || {
            Wire::default()
                .reply(1)
                .int(5)
                .bytes(b"wrong")
                .int(0)
                .bytes(&[7; 16])
        };
        peer.say(wrong());
        let mut heard = peer.hear(FIRST_REQUEST);
        // However often it is sent, it is asked for once more and not for ever.
        for _ in 0..20 {
            peer.say(Wire::default().done());
            heard = peer.hear(heard);
            peer.say(wrong());
            heard = peer.hear(heard);
            if peer.has_ended() {
                break;
            }
        }
        assert!(peer.has_ended(), "it goes on for ever");
        let outcome = peer.end();
        assert_ne!(outcome.exit, 0);
        assert!(!yard.bed.coffre.home().join("live/dst/x").exists());
    });
}
