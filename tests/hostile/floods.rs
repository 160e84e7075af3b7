//! Too much of everything.

use crate::wire::Wire;
use crate::yard::Yard;

#[test]
fn a_list_without_end_is_refused_before_it_takes_the_memory() {
    let Some(yard) = Yard::new("", "max_files = 1000000\n") else {
        return;
    };
    let exec = "rsync --server -r . /dst";
    yard.during(|| {
        // 24 MB of names; the tenant may have 16 MiB for all of them.
        let stream = (0..300_000).fold(Wire::old().dir(b"."), |wire, n| {
            wire.file(format!("{n:060}").as_bytes(), 5)
        });
        let text = yard.refused("a long list", exec, stream);
        assert!(text.contains("memory"), "{text}");
    });
}

#[test]
fn a_list_of_more_entries_than_allowed_is_refused() {
    let Some(yard) = Yard::new("", "max_files = 1000\n") else {
        return;
    };
    yard.during(|| {
        let stream = (0..1100).fold(Wire::old().dir(b"."), |wire, n| {
            wire.file(format!("{n}").as_bytes(), 5)
        });
        let text = yard.refused("1100 entries", "rsync --server -r . /dst", stream.end());
        assert!(text.contains("1000"), "{text}");
    });
}

#[test]
fn xattrs_and_acls_without_end_are_refused_before_they_take_the_memory() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let mut stream = Wire::default();
        for n in 0..700u32 {
            // 20 values of 32 bytes in each would be small; names of 200 bytes are not.
            stream = stream
                .new_entry(0, format!("{n}").as_bytes())
                .values(0o100_644, 5)
                .varint(0)
                .varint(100);
            for name in 0..100 {
                let name = format!("user.{n:05}{name:0190}\0");
                stream = stream
                    .varint(name.len() as i32)
                    .varint(32)
                    .bytes(name.as_bytes())
                    .bytes(&[b'v'; 32]);
            }
        }
        let text = yard.refused(
            "xattrs without end",
            "rsync --server -rXe.Lsf . /dst",
            stream.framed(),
        );
        assert!(text.contains("memory"), "{text}");

        let mut stream = Wire::default();
        for n in 0..200u32 {
            stream = stream
                .new_entry(0, format!("{n}").as_bytes())
                .values(0o100_644, 5)
                .varint(0)
                .byte(0x10)
                .varint(20_000);
            for id in 0..20_000 {
                stream = stream.bytes(&[0x80 | (id >> 8) as u8 & 0x3f, id as u8, 4]);
            }
        }
        let text = yard.refused(
            "ACLs without end",
            "rsync --server -rAe.Lsf . /dst",
            stream.framed(),
        );
        assert!(text.contains("memory"), "{text}");
    });
}

#[test]
fn messages_without_end_are_passed_over() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let exec = "rsync --server -re.Lsf . /dst";
        let list = || {
            let top = Wire::default().new_entry(0, b".").values(0o40755, 0);
            top.framed()
        };
        // Texts, keep-alives, deletions, successes, 60 MB in all, and the list never goes on.
        let text = vec![b't'; 5000];
        let mut stream = list();
        for _ in 0..10_000 {
            stream = stream
                .message(2, &text)
                .message(42, b"")
                .message(101, &text[..1000])
                .message(100, &[9; 4])
                .message(102, &[9; 4])
                .message(22, &[1, 0, 0, 0]);
        }
        let outcome = yard.bed.ssh("client", exec, stream.0).unwrap();
        assert!(!outcome.timed_out);
        assert_ne!(outcome.exit, 0);
        for (code, len) in [
            (2, 5120),
            (2, 1 << 23),
            (22, 5),
            (86, 3),
            (100, 0),
            (9, 4),
            (77, 1),
        ] {
            let stream = list().message(code, &vec![0; len]);
            yard.refused(&format!("a message {code} of {len} bytes"), exec, stream);
        }
    });
}

#[test]
fn filter_rules_made_to_blow_up_end() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    // Names that match almost to the end.
    let source = yard.bed.source().unwrap();
    for n in 0..20 {
        source.file(format!("{}{n}", "a".repeat(240)), b"").unwrap();
    }
    yard.bed.push_well("-a src/ server:/dst/").unwrap();
    let rule = |wire: Wire, rule: &str| wire.int(rule.len() as i32).bytes(rule.as_bytes());
    let exec = "rsync --server -r --delete . /dst";
    yard.during(|| {
        for star in ["*a", "**a", "*?", "**/", "[!b]*", "a*a"] {
            let pattern = format!("- {}b", star.repeat(5000 / star.len()));
            let wire = (0..5).fold(Wire::old(), |wire, _| rule(wire, &pattern));
            let mut peer = yard.peer(exec);
            peer.say(wire.int(0).dir(b".").end());
            peer.hear(9);
            for _ in 0..3 {
                peer.say(Wire::default().done());
                peer.hear(0);
            }
            assert!(!peer.end().timed_out, "{star}");
        }
        let all = (0..4000).fold(Wire::old(), |wire, _| {
            rule(wire, &format!("- {}", "x".repeat(5000)))
        });
        let text = yard.refused("20 MB of rules", exec, all);
        assert!(text.contains("filter rules exceed"), "{text}");
        for len in [5120, i32::MAX, -1] {
            yard.refused(
                &format!("a rule of {len} bytes"),
                exec,
                Wire::old().int(len),
            );
        }
    });
}

/// What is noted until the end counts as lists do: names that are to go, and groups of links.
#[test]
fn notes_without_end_are_refused_before_they_take_the_memory() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let many = yard.bed.coffre.home().join("live/dst/many");
    std::fs::create_dir(&many).unwrap();
    for n in 0..40_000 {
        std::fs::File::create(many.join(format!("{n:0200}"))).unwrap();
    }
    yard.during(|| {
        for when in ["delay", "during", "before"] {
            let exec = format!("rsync --server -r --delete-{when} . /dst");
            let stream = Wire::old().int(0).top(b".").top(b"many").end();
            let mut peer = yard.peer(&exec);
            peer.say(stream);
            peer.hear(60);
            let text = yard.assert_refused(&format!("40,000 names that go, {when}"), &peer.end());
            assert!(text.contains("what is noted of"), "{text}");
        }
        std::fs::remove_dir_all(&many).unwrap();
        // Each of two names; the second says no more than where the first is.
        let pair = |wire: Wire, n: i32| {
            let (first, second) = (format!("{n:05}a"), format!("{n:05}b"));
            let wire = wire.new_entry(0x1200, first.as_bytes());
            let wire = wire.values(0o100_644, 5);
            wire.new_entry(0x0200, second.as_bytes()).varint(2 * n)
        };
        let list = (0..20_000).fold(Wire::default(), pair);
        let exec = "rsync --server -rHe.Lsf . /dst";
        let text = yard.refused("20,000 groups of links", exec, list.byte(0).framed());
        assert!(text.contains("what is noted of"), "{text}");
    });
}
