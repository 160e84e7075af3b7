//! When something goes wrong, the same words and the same exit code.

use std::ffi::OsStr;

use crate::scenario::{Compare, SHELL, Scenario};
use crate::tree::ordinary;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "unreadable-source",
            "files and directories the client may not read",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.mode("docs/big", 0o000)?.mode("pictures", 0o000)?;
            Ok(())
        })
        .run("-ai src/ :dst/")
        .as_nobody()
        .exits(23)
        .prints("Permission denied")
        .leaves("!docs/big"),
        Scenario::new(
            "write-batch-replayed",
            "what such a batch holds, over files that are there",
        )
        .source(ordinary)
        .run("-aHX src/ :dst/")
        .run("-aHX src/ out/")
        .change_source("edits", |tree| {
            tree.append("docs/big", b"more")?
                .file("docs/new", b"x")?
                .remove("docs/file1")?
                .xattr("docs/file2", "user.note", &[b'y'; 100])
                .map(drop)
        })
        .run("-aiHX --delete --only-write-batch=batch src/ :dst/")
        .leaves("!docs/new")
        .compares(Compare {
            tree: false,
            ..Compare::default()
        })
        .run("-aiHX --delete --read-batch=batch out/")
        .compares(Compare {
            tree: false,
            ..Compare::default()
        })
        .run("-aciHX --delete src/ out/")
        .prints_nothing()
        .compares(Compare {
            tree: false,
            ..Compare::default()
        }),
        Scenario::new("vanished-source", "a file that is gone when its turn comes")
            .source(|tree| {
                ordinary(tree)?;
                // Long enough that the last name is gone before the client comes to it.
                tree.file("aaa", &crate::tree::noise(1, 2_000_000))?;
                tree.file("zzz", b"soon gone").map(drop)
            })
            .run("-ai --bwlimit=700 src/ :dst/")
            .when_it_has_read(500_000, |tree| tree.remove("zzz").map(drop))
            .exits(24)
            .prints("vanished"),
        Scenario::new(
            "missing-source",
            "a source that is not there, beside one that is",
        )
        .source(ordinary)
        .run("-ai src/docs src/nothing :dst/")
        .exits(23)
        .run("-ai src/nothing :dst/")
        .exits(23)
        .run("-ai --delete src/nothing :dst/")
        .exits(23)
        .leaves("docs/big"),
        Scenario::new(
            "unknown-server-option",
            "-M with an option that no server knows: its words, the client's code",
        )
        .source(ordinary)
        .run("-ai -M--no-such-option src/ :dst/")
        .exits(12)
        .leaves("!docs"),
        Scenario::new("unknown-key", "a key that the server does not know")
            .source(ordinary)
            .run("-ai --delete src/ :dst/")
            .as_stranger()
            .exits(255)
            .compares(Compare {
                // 255 is ssh's. When rsync sees the connection end before ssh has ended, it is its
                // own 12; one in ten, with a stock server as with ours.
                exit: false,
                stderr: false,
                ..Compare::default()
            })
            .check("fails", |outcome, _| match outcome.exit {
                255 | 12 => Ok(()),
                other => Err(format!("exit code {other}")),
            })
            .prints("Permission denied (publickey).")
            .prints("rsync: connection unexpectedly closed (0 bytes received so far) [sender]")
            .leaves("!docs"),
        Scenario::new(
            "unknown-remote-command",
            "a server program that is not there",
        )
        .source(ordinary)
        .run("-ai --rsync-path=no-such-program src/ :dst/")
        .exits(127)
        .compares(Compare {
            // A shell has its own words, and coffre has no shell.
            stderr: false,
            exit: false,
            ..Compare::default()
        })
        .check("fails", |outcome, _| match outcome.exit {
            0 => Err("exit code 0".to_owned()),
            _ => Ok(()),
        }),
        Scenario::new("contradicting-options", "what the client refuses itself")
            .source(ordinary)
            .run("-ai --delete --no-r --no-d src/ :dst/")
            .exits(1)
            .run("-ai --inplace --delay-updates src/ :dst/")
            .exits(1)
            .run("-ai --contimeout=5 src/ :dst/")
            .exits(1),
        Scenario::new("daemon", "two colons: the daemon protocol over ssh")
            .source(ordinary)
            .run_with(["-ai", &format!("--rsh={SHELL}"), "src/", "server::module/"].map(OsStr::new))
            .exits_somehow()
            .leaves("!docs"),
        Scenario::new("temp-dir-missing", "--temp-dir that does not exist")
            .source(ordinary)
            .run("-ai --temp-dir=/mnt/compat/nothing src/ :dst/")
            .exits(11)
            .compares(Compare {
                exit: false,
                stderr: false,
                stdout: false,
                ..Compare::default()
            }),
        Scenario::new(
            "immutable-destination-parts",
            "a directory nobody can delete: a mount",
        )
        .source(ordinary)
        .destination(|tree| tree.file("docs/big/a/b/c", b"x").map(drop))
        .run("-ai src/ :dst/")
        .exits(23)
        .prints("cannot delete non-empty directory")
        .run("-aiv --delete --filter=P_c src/ :dst/")
        .exits(23),
        Scenario::new(
            "write-batch",
            "--only-write-batch changes nothing over there",
        )
        .source(ordinary)
        .run("-ai --only-write-batch=batch src/ :dst/")
        .compares(Compare {
            // The batch holds the seed of that connection.
            tree: false,
            ..Compare::default()
        })
        .leaves("!docs/big"),
    ]
}
