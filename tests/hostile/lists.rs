//! File lists whose numbers are wrong.

use crate::wire::Wire;
use crate::yard::Yard;

/// Flags of an entry.
const FIRST: u16 = 0x1000;
const HLINKED: u16 = 0x0200;

#[test]
fn hard_links_to_what_is_no_first_name_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let exec = "rsync --server -rHe.Lsf . /dst";
    yard.during(|| {
        let list = || Wire::default().new_entry(0, b".").values(0o40755, 0);
        for ndx in [0, 1, 2, 3, 1000, i32::MAX, -1, i32::MIN] {
            // Entry 1 is a file that is not linked, entry 2 refers to `ndx`.
            let stream = list()
                .new_entry(0, b"a")
                .values(0o100_644, 5)
                .new_entry(HLINKED, b"b")
                .varint(ndx)
                .values(0o100_644, 5)
                .byte(0);
            yard.refused(&format!("a link to entry {ndx}"), exec, stream.framed());
        }
        // To itself, and a directory that claims to be linked.
        let dir = list()
            .new_entry(HLINKED | FIRST, b"d")
            .values(0o40755, 0)
            .new_entry(HLINKED, b"e")
            .varint(1)
            .values(0o40755, 0);
        yard.refused("a link to a directory", exec, dir.byte(0).framed());
        // Linked although -H is not in effect.
        let stream = list()
            .new_entry(HLINKED, b"b")
            .varint(7)
            .values(0o100_644, 5);
        let plain = "rsync --server -re.Lsf . /dst";
        yard.refused("a link without -H", plain, stream.byte(0).framed());
    });
}

#[test]
fn modes_lengths_and_tops_that_cannot_be_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let exec = "rsync --server -rl . /dst";
    yard.during(|| {
        for mode in [0, 0o777, 0o170_000, 0o110_644, -1, i32::MIN, 1 << 20] {
            let stream = Wire::old().dir(b".").entry(b"x", mode, 5).end();
            yard.refused(&format!("the mode {mode:o}"), exec, stream);
        }
        for len in [-2, i32::MIN] {
            let stream = Wire::old().dir(b".").file(b"x", len).end();
            yard.refused(&format!("a file of {len} bytes"), exec, stream);
        }
        // The top of the transfer as something that is no directory.
        for stream in [Wire::old().file(b".", 5), Wire::old().link(b".", b"/etc")] {
            yard.refused("a top that is no directory", exec, stream.end());
        }
        for said in [i32::MAX, -1, 100_000] {
            let link = Wire::old().dir(b".").entry(b"l", 0o120_777, 3).int(said);
            yard.refused(
                &format!("a target of {said} bytes"),
                exec,
                link.bytes(b"abc"),
            );
        }
    });
}

#[test]
fn counts_of_acls_and_xattrs_that_cannot_be_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let acls = "rsync --server -rAe.Lsf . /dst";
        let xattrs = "rsync --server -rXe.Lsf . /dst";
        let file = || Wire::default().new_entry(0, b"a").values(0o100_644, 5);
        for count in [i32::MAX, -1, 1 << 30] {
            let named = file().varint(0).byte(0x10).varint(count);
            yard.refused(&format!("an ACL of {count}"), acls, named.framed());
            let set = file().varint(0).varint(count);
            yard.refused(&format!("{count} xattrs"), xattrs, set.framed());
            let name = file().varint(0).varint(1).varint(count).varint(1);
            yard.refused(&format!("an xattr name of {count}"), xattrs, name.framed());
            let value = file().varint(0).varint(1).varint(7).varint(count);
            yard.refused(
                &format!("an xattr value of {count}"),
                xattrs,
                value.bytes(b"user.a\0").framed(),
            );
            let cached = file().varint(count);
            yard.refused(&format!("ACL {count}"), acls, cached.clone().framed());
            yard.refused(&format!("xattr set {count}"), xattrs, cached.framed());
        }
        let flags = file().varint(0).byte(0xe0);
        yard.refused("an ACL with unknown flags", acls, flags.framed());
        let rights = file().varint(0).byte(0x01).varint(8);
        yard.refused("an ACL with unknown rights", acls, rights.framed());
        let bare = file().varint(0).varint(1).varint(7).varint(1);
        yard.refused(
            "an xattr without NUL",
            xattrs,
            bare.bytes(b"user.ab1").framed(),
        );
    });
}

#[test]
fn attributes_of_the_server_cannot_be_set() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let mut peer = yard.peer("rsync --server -rXe.Lsf . /dst");
        let value = Wire::default()
            .new_entry(0, b".")
            .values(0o40755, 0)
            .varint(0)
            .varint(1)
            .varint(16)
            .varint(3)
            .bytes(b"user.coffre.sum\0abc");
        peer.say(value.byte(0).framed());
        peer.hear(9);
        assert!(!peer.end().timed_out);
        let live = yard.bed.coffre.home().join("live/dst");
        let size = rustix::fs::lgetxattr(&live, "user.coffre.sum", &mut [0u8; 0][..]);
        assert!(size.is_err(), "a client set an attribute of the server");
    });
}

#[test]
fn lists_of_directories_that_were_not_told_of_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let exec = "rsync --server -re.iLsf . /dst";
    yard.during(|| {
        let first = || {
            Wire::default()
                .new_entry(1, b".")
                .values(0o40755, 0)
                .new_entry(0, b"d")
                .values(0o40755, 0)
                .byte(0)
        };
        // The marker of directory n is -101 - n, coded as a difference from the one before (-1).
        for (what, marker) in [
            ("directory 5", &[0xff, 105][..]),
            (
                "directory 2^31 - 150",
                &[0xff, 0xfe, 0xff, 0xd0, 0xff, 0xff],
            ),
            ("the top", &[0xff, 100]),
        ] {
            let stream = first().bytes(marker).new_entry(0, b"d/x");
            yard.refused(what, exec, stream.values(0o100_644, 5).byte(0).framed());
        }
        // The list of d with what is not in d, twice, and after the end of all lists.
        let elsewhere = first().bytes(&[0xff, 101]).new_entry(0, b"e/x");
        let elsewhere = elsewhere.values(0o100_644, 5).byte(0);
        yard.refused("content of another directory", exec, elsewhere.framed());
        let once = || first().bytes(&[0xff, 101]).byte(0);
        let twice = once().bytes(&[0xff, 0xfe, 0, 0]).byte(0);
        yard.refused("a second list", exec, twice.framed());
        let ended = first().bytes(&[0xff, 1]).bytes(&[0xff, 100]).byte(0);
        yard.refused("a list after the last", exec, ended.framed());
        // The first list has a name below a directory, or a top that is a file.
        let deep = Wire::default().new_entry(0, b"d/x").values(0o100_644, 5);
        yard.refused("a name before its directory", exec, deep.byte(0).framed());
        let top = Wire::default().new_entry(0, b".").values(0o100_644, 5);
        yard.refused("a top that is a file", exec, top.byte(0).framed());
    });
}
