//! What rsync itself keeps of older files.

use crate::scenario::{Compare, Scenario};
use crate::tree::ordinary;

fn kept(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(ordinary)
        .run("-a src/ :dst/")
        .change_source("edits", |tree| {
            tree.file("docs/big", b"smaller")?
                .append("pictures/file5", b"more")?
                .remove("docs/deep/er/file1")?
                .remove("link")?
                .symlink("link", "elsewhere")?
                .mode("docs/file3", 0o600)?;
            Ok(())
        })
        .run(&format!("-ai {options} src/ :dst/"))
        .change_source("edits again", |tree| {
            tree.file("docs/big", b"tiny").map(drop)
        })
        .run(&format!("-aivv {options} src/ :dst/"))
}

/// Nothing needs the directory before a file two levels down goes. `tree`: whether the trees are
/// compared at once.
fn made_below(name: &str, recursion: &str, tree: bool) -> Scenario {
    let push =
        format!("-ai {recursion} --backup --backup-dir=.old --delete --exclude=/.old src/ :dst/");
    let compare = || Compare {
        tree,
        ..Compare::default()
    };
    Scenario::new(
        name,
        format!("--backup-dir that is first needed for a directory below, {recursion}"),
    )
    .source(ordinary)
    .destination(|tree| {
        tree.file("docs/deep/old", b"goes")?;
        tree.file("docs/deep/er/old", b"goes").map(drop)
    })
    .run(&push)
    .compares(compare())
    .change_destination("old files again", |tree| {
        tree.remove(".old")?;
        tree.file("docs/deep/er/old", b"goes").map(drop)
    })
    .run(&push)
    .compares(compare())
    .leaves(".old/docs/deep/er/old")
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        kept("backup", "-b", "-b"),
        kept("backup-delete", "-b --delete", "-b --delete"),
        kept("backup-suffix", "--suffix", "-b --suffix=.bak --delete"),
        kept(
            "backup-dir",
            "--backup-dir inside",
            "-b --backup-dir=.old --delete",
        ),
        made_below("backup-dir-made-below", "--no-inc-recursive", true),
        // With incremental recursion stock may be done with the times of the destination before it
        // makes the directory in it, or not: a matter of milliseconds, so the trees are compared
        // after another run, which sets them.
        made_below("backup-dir-made-late", "--inc-recursive", false)
            .run("-a --exclude=/.old src/ :dst/"),
        kept(
            "backup-dir-outside",
            "--backup-dir beside, with a suffix",
            "-b --backup-dir=../kept --suffix=.1 --delete --filter=P_*.1",
        ),
        kept(
            "backup-dir-absolute",
            "--backup-dir by an absolute path",
            "-b --backup-dir=/mnt/compat/kept/here --delete",
        ),
        kept(
            "backup-everything-kept",
            "-b with attributes, and every kind of entry",
            "-bHAX --delete --backup-dir=.old",
        ),
        kept(
            "backup-in-place",
            "-b --inplace",
            "-b --inplace --no-whole-file --delete",
        ),
        kept(
            "backup-in-place-dir",
            "-b --inplace with a directory",
            "-b --inplace --no-whole-file --backup-dir=.old --delete",
        ),
        kept(
            "backup-delayed",
            "-b --delay-updates",
            "-b --delay-updates --delete",
        ),
        kept("backup-dry-run", "-n -b", "-nb --delete"),
        Scenario::new("backup-in-the-way", "what stands where backups go")
            .source(ordinary)
            .destination(|tree| {
                tree.file("docs/big", b"old")?
                    .file("docs/big~/dir/file", b"in the way")?
                    .file("pictures/file5", b"old")?
                    .file("pictures/file5~", b"older")?
                    .file(".old", b"not a directory")?;
                Ok(())
            })
            .run("-aib src/ :dst/")
            .run("-aib --backup-dir=.old src/ :dst/")
            .exits(1)
            .exits_below(31, 12),
        Scenario::new("backup-hard-links", "-b -H")
            .source(|tree| {
                tree.file("a", b"group")?
                    .hard_link("a", "sub/b")?
                    .file("c", b"alone")?;
                Ok(())
            })
            .run("-aH src/ :dst/")
            .change_source("another group", |tree| {
                tree.file("a", b"changed group")?
                    .remove("sub/b")?
                    .hard_link("a", "sub/b")?
                    .remove("c")?
                    .hard_link("a", "c")?;
                Ok(())
            })
            .run("-aHib src/ :dst/")
            .run("-aHib --delete src/ :dst/"),
    ]
}
