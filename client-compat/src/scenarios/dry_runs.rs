//! `-n` with the other options: what is told is what would be done, and nothing is done.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, acl, noise, ordinary};

/// Edits of every kind, over what a first push has brought.
fn edit(tree: &Builder) -> Result<()> {
    tree.append("docs/big", b"longer")?
        .patch("docs/file4", 100, b"other")?
        .time("docs/file5", 1_300_000_000, 0)?
        .mode("docs/file1", 0o640)?
        .owner("pictures/file1", 5, 6)?
        .remove("pictures/file2")?
        .remove("docs/deep")?
        .remove("link")?
        .symlink("link", "empty")?
        .file("new/sub/file", &noise(7, 5_000))?
        .fifo("new/fifo")?
        .char_device("new/null", 1, 3)?
        .file("group/one", b"one inode")?
        .hard_link("group/one", "group/two")?
        .remove("empty")?
        .directory("empty")?
        .xattr("docs/big", "user.note", b"1")?
        .acl("docs/file2", &acl(&[(acl::user(9), 7)]))?;
    Ok(())
}

/// Each of these options with `-n`, one after the other: each finds what the first push left.
fn dry(name: &str, about: &str, options: &'static [&'static str]) -> Scenario {
    let first = Scenario::new(name, about)
        .source(ordinary)
        .run("-a src/ :dst/")
        .change_source("edits", edit)
        .change_destination("what is only there", |tree| {
            tree.file("old/file", b"old")?
                .file("old/.part/file", b"old")?
                .file("docs/big~", b"old")?
                .time("docs/file0", 2_000_000_000, 0)
                .map(drop)
        });
    options.iter().fold(first, |scenario, options| {
        scenario.run(&format!("-ain {options} src/ :dst/"))
    })
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        dry(
            "dry-run-deletes",
            "-n with every time and kind of deletion",
            &[
                "--delete",
                "--delete-before",
                "--delete-during",
                "--delete-delay -v",
                "--delete-after --stats",
                "--delete-excluded --exclude=*.tmp --exclude=pictures",
                "--delete --max-delete=100 --force",
                "--delete --ignore-errors -m",
                "--delete -b --suffix=.bak",
                "--delete --backup --backup-dir=/mnt/compat/kept",
                "--delete --existing",
            ],
        ),
        dry(
            "dry-run-ways-to-write",
            "-n with what says how a file is written",
            &[
                "-W",
                "--no-W --stats",
                "--inplace",
                "--append",
                "--append-verify",
                "--partial",
                "--partial-dir=.part",
                "--delay-updates",
                "--temp-dir=/mnt/compat",
                "--sparse",
                "--preallocate",
                "--fsync",
                "-b --inplace",
                "-B 700 --fuzzy",
                "--bwlimit=1m --timeout=60",
            ],
        )
        .since("3.2.4"),
        dry(
            "dry-run-choices",
            "-n with what says which files count as changed",
            &[
                "-c",
                "-I",
                "-u",
                "--size-only",
                "--modify-window=5",
                "--max-size=1k",
                "--min-size=1k",
                "--existing",
                "--ignore-existing",
                "-z",
                "-c --checksum-seed=5",
                "--whole-file --remove-source-files",
            ],
        )
        .leaves("!new"),
        dry(
            "dry-run-attributes",
            "-n with what says which attributes are kept",
            &[
                "-H",
                "-O",
                "-J",
                "--no-p -E",
                "--no-o --no-g --no-t",
                "--no-D",
                "--no-l",
                "--numeric-ids",
                "--chmod=g+w,Fo-r",
                "--usermap=0:7 --groupmap=0:8",
                "--chown=daemon:sys",
                "--munge-links",
                "-M--fake-super",
                "-M--munge-links",
                "--super",
            ],
        ),
        dry(
            "dry-run-attributes-of-files",
            "-n with ACLs, extended attributes and access times",
            &["-A", "-X", "-HAXXS", "-AX -M--fake-super", "-AX -vv"],
        )
        .since_protocol(30, "no ACLs and no attributes"),
        dry(
            "dry-run-paths",
            "-n with what says which path a file gets",
            &[
                "-R",
                "-R --no-implied-dirs",
                "-k",
                "--safe-links",
                "-x",
                "--no-r --dirs",
                "-F --exclude=docs",
                "--link-dest=../old",
                "--copy-dest=none",
                "-y",
            ],
        ),
        dry(
            "dry-run-list",
            "-n with names from a list, one of which is none",
            &["--files-from=list", "-r --files-from=list"],
        )
        .prepare(|place| {
            place
                .local()?
                .file("list", b"docs/big\nnew/sub\nnothing\n")
                .map(drop)
        })
        .all_exit(23, 1),
        dry(
            "dry-run-in-the-way",
            "-n where --ignore-existing keeps a file in a directory's place",
            &["--delete --ignore-existing"],
        )
        .exits(23)
        .exits_below(30, 0),
        Scenario::new(
            "dry-run-nothing-there",
            "-n without a destination, and with --mkpath",
        )
        .source(ordinary)
        .run("-ain src/ :dst/")
        .run("-ain --delete -v src/ :dst/")
        .run("-ain --mkpath src/ :several/levels/down/")
        .run("-n --mkpath -aHivv src/docs src/link :several/levels/")
        .run("-ain src/ :several/levels/down/")
        .leaves("!docs")
        .since("3.2.3"),
    ]
}
