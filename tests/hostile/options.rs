//! Options that name paths, pointed outside in every way.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use coffre_tests::said;

use crate::wire::Wire;
use crate::yard::Yard;

/// Whether the option is refused or the path stays inside is the option's matter: nothing outside
/// is read, written or linked.
#[test]
fn paths_in_options_stay_inside() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let outside = yard.outside.display().to_string();
    let live = yard.bed.coffre.home().join("live");
    symlink(&outside, live.join("dst/evil")).unwrap();
    symlink("../../outside", live.join("dst/up")).unwrap();
    // The same file stands outside: a hard link or a copy of it would be seen.
    let source = yard.bed.source().unwrap();
    source.file("secret", b"secret").unwrap();
    let time = fs::metadata(yard.outside.join("secret")).unwrap().mtime();
    source.time("secret", time, 0).unwrap();
    yard.during(|| {
        for option in [
            "--temp-dir",
            "--partial-dir",
            "--backup --backup-dir",
            "--compare-dest",
            "--copy-dest",
            "--link-dest",
            "-M--log-file",
            "-M--write-batch",
            "-M--read-batch",
            "-M--only-write-batch",
            "-M--files-from",
            "-M--exclude-from",
            "-M--include-from",
            "-M--password-file",
            "-M--config",
            "-M--early-input",
            "-M--filter=merge,",
            "-M--filter=dir-merge,",
            "--delete --filter=:,",
            "--delay-updates --partial-dir",
            "--inplace --backup --suffix=/../../../outside/x --backup-dir",
        ] {
            for path in [
                outside.as_str(),
                "../../outside",
                "../../../../../../../../tmp",
                "/../../outside",
                "/dst/evil",
                "evil",
                "up",
                "./up/../up",
                "d/../../../outside",
            ] {
                let glue = if option.contains("filter=") { "" } else { "=" };
                let command = format!("-aI {option}{glue}{path} src/ server:/dst/");
                let outcome = yard.bed.push(&command).unwrap();
                assert!(!outcome.timed_out, "{command}");
                let secret = fs::metadata(yard.outside.join("secret")).unwrap();
                assert_eq!(secret.nlink(), 1, "{command} linked what is outside");
                let names = fs::read_dir(&yard.outside).unwrap().count();
                assert_eq!(names, 2, "{command} left something outside");
            }
        }
        source.remove("secret").unwrap();
    });
}

#[test]
fn what_no_server_should_be_asked_is_refused() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        for words in [
            "--server --daemon . /",
            "--server -r --write-devices . /dst",
            "--server -r --copy-devices . /dst",
            "--server -r --config=/etc/passwd . /dst",
            "--server -r --log-file=/etc/passwd . /dst",
            "--server -r --rsync-path=id . /dst",
            "--server -r --remote-option=--x . /dst",
            "--server -r --max-size=99999999999999999999999 . /dst",
            "--server -r --compress-choice=rot13 -z . /dst",
            "--server -r --checksum-choice=crc . /dst",
            "--server -r --block-size=-5 . /dst",
            "--server -r --no-such-option . /dst",
            "--server -r . /../../outside",
        ] {
            let stream = Wire::old().dir(b".").end();
            let outcome = yard.bed.ssh("client", &format!("rsync {words}"), stream.0);
            let outcome = outcome.unwrap();
            assert!(!outcome.timed_out, "{words}");
            assert_ne!(outcome.exit, 0, "{words}");
        }
        // Arguments without end, on the command line and on stdin.
        let long = format!("rsync --server -r . {}", "x ".repeat(60_000));
        let outcome = yard.bed.ssh("client", &long, Vec::new()).unwrap();
        assert_ne!(outcome.exit, 0);
        for stream in [vec![b'x'; 1 << 20], b"x\0".repeat(100_000)] {
            let outcome = yard
                .bed
                .ssh("client", "rsync --server -s . ", stream)
                .unwrap();
            assert!(!outcome.timed_out);
            assert_ne!(outcome.exit, 0);
        }
    });
}

/// A merge file is a way to read: the names that its lines protect tell what is in it.
#[test]
fn merge_files_outside_are_not_read() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    let live = yard.bed.coffre.home().join("live/dst");
    symlink(&yard.outside, live.join("evil")).unwrap();
    symlink("../../outside/secret", live.join("rules")).unwrap();
    yard.during(|| {
        for file in [
            "/../../outside/secret",
            "../../outside/secret",
            "evil/secret",
            "/dst/evil/secret",
            "rules",
            "/dst/rules",
        ] {
            fs::write(live.join("secret"), b"would be protected").unwrap();
            let command = format!(
                "-a --delete --exclude=/evil --exclude=/rules --filter=:-_{file} src/ server:/dst/"
            );
            let outcome = yard.bed.push(&command).unwrap();
            let text = said(&outcome);
            assert!(!outcome.timed_out, "{command}");
            // Deleted, so no line of the file counted; or refused.
            assert!(
                !live.join("secret").exists() || outcome.exit != 0,
                "{command} read what is outside: {text}"
            );
        }
        // Where a file inside is named, it counts.
        fs::write(live.join("inside"), b"secret").unwrap();
        fs::write(live.join("secret"), b"is protected").unwrap();
        yard.bed
            .push_well("-a --delete --filter=:-_inside src/ server:/dst/")
            .unwrap();
        assert!(
            live.join("secret").exists(),
            "merge files are not read at all"
        );
    });
}
