//! Names that lead somewhere else, and trees in which they do.

use std::os::unix::fs::symlink;

use crate::wire::Wire;
use crate::yard::Yard;

const EXEC: &str = "rsync --server -rl . /dst";

#[test]
fn names_that_no_file_can_have_are_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let long = vec![b'n'; 5000];
        for name in [
            &b".."[..],
            b"../outside/x",
            b"../../../../../../etc/x",
            b"d/../../outside/x",
            b"d/..",
            b"/etc/x",
            b"//x",
            b"",
            b"a\0b",
            &long,
        ] {
            for charset in ["", "utf8", "latin1", "sjis", "gb18030"] {
                let exec = match charset {
                    "" => EXEC.to_owned(),
                    charset => EXEC.replace(" . ", &format!(" --iconv={charset} . ")),
                };
                let stream = Wire::old().dir(b".").file(name, 5).end();
                let what = format!("the name {} {charset}", name.escape_ascii());
                yard.refused(&what, &exec, stream);
            }
        }
        for said in [i32::MAX, -1, i32::MIN, 1 << 30, 5000] {
            let stream = Wire::old()
                .dir(b".")
                .entry_of_length(said, b"name", 0o100_644, 5);
            yard.refused(&format!("a name of {said} bytes"), EXEC, stream);
        }
    });
}

/// Whether the entry is refused or the link replaced, nothing arrives behind it.
#[test]
fn entries_under_a_symlink_of_the_same_list_stay_inside() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        for target in [&b"../../outside"[..], b"/etc"] {
            for options in ["-rl", "-rlR", "-rlK", "-rlL", "-rlk", "-dl"] {
                let exec = format!("rsync --server {options} . /dst");
                let mut peer = yard.peer(&exec);
                let list = Wire::old()
                    .dir(b".")
                    .link(b"ln", target)
                    .file(b"ln/evil", 4);
                peer.say(list.dir(b"ln/evil-dir").end());
                let heard = peer.hear(9);
                assert!(heard >= 9 || peer.has_ended(), "{options}: {heard} bytes");
                for ndx in 0..5 {
                    peer.say(Wire::default().reply(ndx).int(4).bytes(b"evil").int(0));
                    peer.hear(0);
                    if peer.has_ended() {
                        break;
                    }
                }
                let outcome = peer.end();
                assert!(!outcome.timed_out);
            }
        }
        let found = std::fs::read_dir(&yard.outside).unwrap().count();
        assert_eq!(found, 2, "something arrived outside");
        assert!(!std::path::Path::new("/evil").exists());
        assert!(!std::path::Path::new("/etc/evil").exists());
    });
}

#[test]
fn entries_under_a_symlink_of_an_earlier_session_stay_inside() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let source = yard.bed.source().unwrap();
        source.symlink("ln", "../../outside").unwrap();
        source.symlink("abs", "/").unwrap();
        yard.bed.push_well("-a src/ server:/dst/").unwrap();
        source.remove("ln").unwrap().remove("abs").unwrap();
        source.file("ln/evil", b"evil").unwrap();
        source.file("abs/tmp/coffre-evil", b"evil").unwrap();
        for options in [
            "-a",
            "-aK",
            "-aR",
            "-a --inplace",
            "-a --delete --force",
            "-a --backup",
            "-aR --no-implied-dirs",
        ] {
            let path = match options.contains('R') {
                true => "src/./ln/evil src/./abs/tmp/coffre-evil",
                false => "src/",
            };
            let outcome = yard
                .bed
                .push(&format!("{options} {path} server:/dst/"))
                .unwrap();
            assert!(!outcome.timed_out);
            let live = yard.bed.coffre.home().join("live/dst");
            if !live.join("ln").is_symlink() {
                let _ = std::fs::remove_dir_all(live.join("ln"));
                symlink("../../outside", live.join("ln")).unwrap();
            }
        }
        assert!(!std::path::Path::new("/tmp/coffre-evil").exists());
        let found = std::fs::read_dir(&yard.outside).unwrap().count();
        assert_eq!(found, 2, "something arrived outside");
        source.remove("ln").unwrap().remove("abs").unwrap();
    });
}
