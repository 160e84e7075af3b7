//! A hostile client that restores: what it asks for, and how, at every protocol.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use coffre_tests::said;

use crate::wire::Wire;
use crate::yard::{Peer, Yard};

/// The first of four entries is the top.
const DIRECTORY: i32 = 0;
/// Flags of an item that is to be transferred.
const TRANSFER: [u8; 2] = [0x00, 0x80];

/// The client's side of a pull of one protocol.
#[derive(Debug, Clone, Copy)]
struct Puller {
    protocol: i32,
}

impl Puller {
    const ALL: [Puller; 6] = [
        Puller { protocol: 27 },
        Puller { protocol: 28 },
        Puller { protocol: 29 },
        Puller { protocol: 30 },
        Puller { protocol: 31 },
        Puller { protocol: 32 },
    ];

    /// No rules; then the list is heard.
    fn begin(self, yard: &Yard, exec: &str) -> Peer {
        let mut peer = yard.peer(exec);
        peer.say(Wire::default().int(self.protocol));
        peer.say(self.wire(Wire::default().int(0)));
        peer.hear(40);
        peer
    }

    /// The index of `keep`. Before protocol 29 directories are sorted as files are.
    fn file(self) -> i32 {
        match self.protocol < 29 {
            true => 3,
            false => 1,
        }
    }

    /// As data of this protocol.
    fn wire(self, data: Wire) -> Wire {
        match self.protocol < 30 {
            true => data,
            false => data.in_frames(),
        }
    }

    /// A first request, which says so much of a basis.
    fn request(self, ndx: i32, head: [i32; 4]) -> Wire {
        let wire = match self.protocol < 30 {
            true => Wire::default().int(ndx),
            false => Wire::default().first_ndx(ndx),
        };
        let wire = match self.protocol < 29 {
            true => wire,
            false => wire.bytes(&TRANSFER),
        };
        head.into_iter().fold(wire, Wire::int)
    }

    fn done(self) -> Wire {
        match self.protocol < 30 {
            true => Wire::default().int(-1),
            false => Wire::default().byte(0),
        }
    }
}

const PULL: &str = "rsync --server --sender -re.Lsf . /dst/";

#[test]
fn a_restore_of_every_protocol_is_refused_what_cannot_be() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        for puller in Puller::ALL {
            let here = |what: &str| format!("protocol {}: {what}", puller.protocol);
            // All of it where the encodings differ most; the others have the same rules.
            let most = if [29, 31].contains(&puller.protocol) {
                99
            } else {
                2
            };
            for ndx in [77, i32::MAX, 4, -2, -4, -50, -101, -200]
                .into_iter()
                .take(most)
            {
                let mut peer = puller.begin(&yard, PULL);
                peer.say(puller.wire(puller.request(ndx, [0; 4])));
                peer.hear(0);
                yard.assert_refused(&here(&format!("index {ndx}")), &peer.end());
            }
            let mut peer = puller.begin(&yard, PULL);
            peer.say(puller.wire(puller.request(DIRECTORY, [0; 4])));
            peer.hear(0);
            yard.assert_refused(&here("a directory as a file"), &peer.end());
            for head in [
                [-1, 700, 2, 0],
                [i32::MIN, 700, 2, 0],
                [1, 0, 2, 0],
                [1, -700, 2, 0],
                [1, i32::MAX, 2, 0],
                [1, 700, 99, 0],
                [1, 700, -1, 0],
                [1, 700, 2, 701],
                [1, 700, 2, -1],
            ]
            .into_iter()
            .take(most)
            {
                let mut peer = puller.begin(&yard, PULL);
                peer.say(puller.wire(puller.request(puller.file(), head)));
                peer.hear(0);
                yard.assert_refused(&here(&format!("the head {head:?}")), &peer.end());
            }
            // Ends of phases without end, and what comes after them.
            let mut peer = puller.begin(&yard, PULL);
            for _ in 0..12 {
                peer.say(puller.wire(puller.done()));
            }
            peer.say(puller.wire(puller.request(puller.file(), [0; 4])));
            peer.hear(0);
            let outcome = peer.end();
            assert!(!outcome.timed_out, "{}", here("ends of phases"));
            // Sums that were promised and do not come.
            for count in [1000, i32::MAX] {
                let mut peer = puller.begin(&yard, PULL);
                peer.say(puller.wire(puller.request(puller.file(), [count, 700, 2, 0])));
                peer.hear(0);
                assert_ne!(peer.end().exit, 0, "{}", here("sums that do not come"));
            }
        }
    });
}

#[test]
fn what_is_asked_for_before_there_is_a_list_is_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    // So many names that the list is not over when it is asked from.
    let many = yard.bed.coffre.home().join("live/dst/many");
    fs::create_dir(&many).unwrap();
    for n in 0..3000 {
        fs::File::create(many.join(format!("{n:0200}"))).unwrap();
    }
    yard.during(|| {
        for puller in Puller::ALL {
            let mut peer = yard.peer(PULL);
            peer.say(Wire::default().int(puller.protocol));
            let early = Wire::default().int(0);
            peer.say(puller.wire(early.bytes(&puller.request(puller.file(), [0; 4]).0)));
            peer.hear(0);
            let outcome = peer.end();
            assert!(!outcome.timed_out);
            assert_ne!(outcome.exit, 0, "protocol {}", puller.protocol);
        }
    });
}

#[test]
fn requests_without_end_are_refused_before_they_take_the_memory() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let puller = Puller { protocol: 29 };
        let mut peer = puller.begin(&yard, PULL);
        let request = puller.request(3, [0; 4]).0;
        peer.say(Wire(request.repeat(300_000)));
        peer.hear(usize::MAX);
        let text = yard.assert_refused("300,000 requests of one file", &peer.end());
        assert!(text.contains("asked for"), "{text}");

        // Sums of a basis that is larger than what the session may have for them.
        let mut peer = puller.begin(&yard, PULL);
        let blocks = 4_000_000;
        let head = puller.request(puller.file(), [blocks, 700, 2, 0]);
        peer.say(head.bytes(&vec![7; blocks as usize * 6]));
        peer.hear(100);
        for _ in 0..5 {
            peer.say(puller.done());
        }
        peer.hear(0);
        assert!(!peer.end().timed_out);
    });
}

/// Every place of the file has the weak sum of every block, and no strong one is right.
#[test]
fn equal_weak_sums_end() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let zeros = yard.bed.coffre.home().join("live/zeros");
    fs::create_dir(&zeros).unwrap();
    let file = fs::File::create(zeros.join("file")).unwrap();
    file.set_len(16 << 20).unwrap();
    yard.during(|| {
        for puller in [Puller { protocol: 29 }, Puller { protocol: 31 }] {
            let exec = "rsync --server --sender -re.Lsf . /zeros/";
            let mut taken = Vec::new();
            for blocks in [0, 20_000] {
                let mut peer = puller.begin(&yard, exec);
                let mut sums = Vec::new();
                for n in 0..blocks {
                    sums.extend_from_slice(&[0; 4]);
                    // So long that none can be right, whatever the seed.
                    sums.extend_from_slice(&[n as u8, (n >> 8) as u8, 5, 5, 5, 5, 5, 5]);
                }
                let len = if blocks > 0 { 700 } else { 0 };
                let strong = if blocks > 0 { 8 } else { 0 };
                let request = puller.request(1, [blocks, len, strong, 0]);
                peer.say(puller.wire(request.bytes(&sums)));
                let least = 16 << 20;
                let heard = peer.hear(least);
                assert!(heard >= least, "{heard} bytes of the file");
                taken.push(yard.busiest_session());
                peer.vanish();
            }
            println!("protocol {}: {taken:?}", puller.protocol);
            // A sum at each place would be 700 passes over the file, for one block of the 20,000.
            let range = Duration::from_millis(10)..Duration::from_secs(10);
            assert!(range.contains(&taken[1]), "{taken:?}");
        }
        fs::remove_dir_all(&zeros).unwrap();
    });
}

#[test]
fn filters_of_a_restore_have_limits_and_matching_ends() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let source = yard.bed.source().unwrap();
    for n in 0..20 {
        source.file(format!("{}{n}", "a".repeat(240)), b"").unwrap();
    }
    yard.bed.push_well("-a src/ server:/dst/").unwrap();
    let rule = |wire: Wire, rule: &str| wire.int(rule.len() as i32).bytes(rule.as_bytes());
    let exec = "rsync --server --sender -r . /dst/";
    yard.during(|| {
        for star in ["*a", "**a", "*?", "**/", "[!b]*", "a*a"] {
            let pattern = format!("- {}b", star.repeat(5000 / star.len()));
            let wire = (0..5).fold(Wire::old(), |wire, _| rule(wire, &pattern));
            let mut peer = yard.peer(exec);
            peer.say(wire.int(0));
            peer.hear(40);
            assert!(!peer.end().timed_out, "{star}");
        }
        let all = (0..4000).fold(Wire::old(), |wire, _| {
            rule(wire, &format!("- {}", "x".repeat(5000)))
        });
        let text = yard.refused("20 MB of rules", exec, all);
        assert!(text.contains("filter rules exceed"), "{text}");
        let small = (0..200_000).fold(Wire::old(), |wire, _| rule(wire, "- x"));
        let text = yard.refused("200,000 rules", exec, small);
        assert!(text.contains("filter rules exceed"), "{text}");
        for len in [5120, i32::MAX, -1] {
            let what = format!("a rule of {len} bytes");
            yard.refused(&what, exec, Wire::old().int(len));
        }
    });
}

/// By names, links, lists of names and patterns: nothing outside is told, and too much is refused.
#[test]
fn sources_outside_are_not_told_and_too_many_are_refused() {
    let Some(yard) = Yard::new("", "max_files = 20000\n") else {
        return;
    };
    let outside = yard.outside.display().to_string();
    let live = yard.bed.coffre.home().join("live/dst");
    symlink(&outside, live.join("evil")).unwrap();
    symlink("../../outside", live.join("up")).unwrap();
    symlink("../../outside/secret", live.join("file")).unwrap();
    for n in 0..30 {
        fs::create_dir(live.join(format!("dir{n}"))).unwrap();
    }
    let stolen = yard.bed.local().join("stolen");
    fs::create_dir(&stolen).unwrap();
    yard.during(|| {
        let list = yard.bed.local().join("list");
        for path in [
            "/../../outside/secret",
            "../../outside/secret",
            "../../../../../../etc/hostname",
            "/dst/evil/secret",
            "/dst/up/secret",
            "/dst/file/",
            "/dst/./../../outside/secret",
            "/dst/ev*/secret",
            "/../../out*/*",
            &format!("{outside}/secret"),
        ] {
            for options in ["-rtL", "-rtR", "-rt --copy-unsafe-links", "-rtk"] {
                fs::write(&list, format!("{path}\n")).unwrap();
                for command in [
                    format!("{options} server:{path} stolen/"),
                    format!("{options} --files-from=list server:/dst/ stolen/"),
                ] {
                    let outcome = yard.bed.push(&command).unwrap();
                    assert!(!outcome.timed_out, "{command}");
                    let found = yard.bed.ssh("client", "true", Vec::new()).map(|_| ());
                    found.unwrap();
                    let told = contents(&stolen);
                    assert!(
                        !told.iter().any(|text| text == b"secret"),
                        "{command}: {}",
                        said(&outcome)
                    );
                }
            }
        }
        // Thirty times as many with each step.
        let pattern = format!("/dst/{}*", "*/../".repeat(12));
        let exec = format!("rsync --server --sender -r . {pattern}");
        let text = yard.refused("a pattern that explodes", &exec, Wire::old().int(0));
        assert!(text.contains("a pattern matches more"), "{text}");
        let names = "rsync --server --sender -r --files-from=- --from0 . /";
        let long = Wire::old().int(0).bytes(&[b'n'; 5000]);
        yard.refused("a name of 5000 bytes", names, long);
        let many = Wire::old().int(0).bytes(&b"no-such-name\0".repeat(400_000));
        let text = yard.refused("400,000 names", names, many);
        assert!(text.contains("names of --files-from"), "{text}");
    });
}

/// What all files below a directory say.
fn contents(directory: &std::path::Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(contents(&entry.path())),
            false => found.extend(fs::read(entry.path())),
        }
    }
    found
}

/// A client that stops in the middle of a request, and one that stops reading.
#[test]
fn restores_that_stall_are_ended_and_hold_no_memory() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let large = yard.bed.coffre.home().join("live/large");
    fs::create_dir(&large).unwrap();
    let file = fs::File::create(large.join("file")).unwrap();
    file.set_len(4 << 30).unwrap();
    yard.during(|| {
        let puller = Puller { protocol: 29 };
        let exec = "rsync --server --sender -r --timeout=2 . /dst/";
        let mut peer = puller.begin(&yard, exec);
        peer.say(puller.request(puller.file(), [1000, 700, 2, 0]));
        let patience = Instant::now() + Duration::from_secs(40);
        while !peer.has_ended() && Instant::now() < patience {
            peer.hear(1 << 20);
        }
        assert!(peer.has_ended(), "the timeout is not kept");
        assert_eq!(peer.end().exit, 30);

        let exec = "rsync --server --sender -r --timeout=2 . /large/";
        let mut peer = yard.deaf_peer(exec);
        let request = puller.request(1, [0; 4]);
        peer.say(Wire::old().int(0).bytes(&request.0));
        let before = Instant::now();
        while yard.sessions() > 1 || before.elapsed().as_secs() < 1 {
            assert!(before.elapsed().as_secs() < 60, "it is served for ever");
            std::thread::sleep(Duration::from_millis(50));
        }
        peer.vanish();
        fs::remove_dir_all(&large).unwrap();
    });
}
