//! What is gone from the source, and what may stay in the destination all the same.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, ordinary};

/// More in the destination than in the source: files, trees, links, and a directory with a mode
/// that keeps others out.
fn surplus(tree: &Builder) -> Result<()> {
    ordinary(tree)?;
    for dir in ["", "docs/", "docs/deep/", "gone/", "gone/sub/", "pictures/"] {
        for name in ["old", "old.tmp", "keep.me", ".hidden", "zzz"] {
            tree.file(format!("{dir}{name}"), name.as_bytes())?;
        }
    }
    tree.symlink("gone/link", "../docs")?
        .fifo("gone/fifo")?
        .char_device("gone/null", 1, 3)?
        .file("locked/inside", b"x")?
        .mode("locked", 0o000)?;
    Ok(())
}

fn delete(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(ordinary)
        .destination(surplus)
        .run(&format!("-ai {options} src/ :dst/"))
        .run(&format!("-ai {options} src/ :dst/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut list = vec![
        delete("no-delete", "without --delete everything stays", "").leaves("gone/sub/old"),
        delete("delete", "--delete", "--delete").leaves("!gone"),
        delete("delete-before", "--delete-before", "--delete-before").leaves("!gone"),
        delete("delete-during", "--delete-during", "--delete-during").leaves("!gone"),
        delete("delete-delay", "--delete-delay", "--delete-delay").leaves("!gone"),
        delete("delete-after", "--delete-after", "--delete-after").leaves("!gone"),
        delete(
            "delete-excluded",
            "what is excluded goes too",
            "--delete-excluded --exclude=*.tmp --exclude=pictures",
        )
        .leaves("!pictures"),
        delete(
            "delete-but-not-excluded",
            "what is excluded is safe",
            "--delete --exclude=*.tmp --exclude=/gone/sub/ --exclude=pictures/z*",
        )
        .leaves("gone/sub/zzz"),
        delete(
            "delete-protect",
            "P rules protect, R rules lift the protection",
            "--delete --filter=R_docs/keep.me --filter=P_keep.me --filter=P_/gone/sub/",
        )
        .leaves("pictures/keep.me"),
        delete(
            "delete-hide-and-show",
            "H hides from the transfer only, S shows",
            "--delete --filter=S_file5 --filter=H_file* --filter=P_.hidden",
        ),
        delete(
            "delete-perishable",
            "perishable rules do not keep a directory alive",
            "--delete --filter=-p_*.tmp --filter=-p_.hidden",
        ),
        delete(
            "filters-with-wildcards",
            "*, **, ?, classes, anchors and directories only",
            "--delete --include=docs/** --include=*/ --exclude=file[0-2] --exclude=?ld \
             --exclude=/zzz --exclude=[[:upper:]]* --exclude=deep/**/file4",
        ),
        delete(
            "max-delete-zero",
            "--max-delete=0 deletes nothing",
            "--delete --max-delete=0",
        )
        // Both stop at the limit.
        .all_exit(25, 0),
    ];
    list.extend([
        Scenario::new("max-delete", "--max-delete=7 stops there, with a warning")
            .source(ordinary)
            .destination(surplus)
            .run("-a --delete --max-delete=7 src/ :dst/")
            .exits(25)
            .prints("--max-delete"),
        Scenario::new("delete-verbose", "-v of deletions, and --stats of them")
            .source(ordinary)
            .destination(surplus)
            .run("-av --delete --stats src/ :dst/")
            .prints("Number of deleted files: ")
            .from_protocol(31),
        Scenario::new(
            "delete-per-directory-merge",
            "rules in files of the tree: -FF and dir-merge",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.file(".rsync-filter", b"- *.tmp\nP keep.me\n")?
                .file("docs/.rsync-filter", b"+ old.tmp\n- file[45]\n")?
                .file("docs/deep/.rsync-filter", b"!\n- er/\n")?;
            Ok(())
        })
        .destination(surplus)
        .run("-ai -F --delete src/ :dst/")
        .run("-ai -FF --delete-after src/ :dst/"),
        Scenario::new(
            "delete-with-merge-files",
            "per-directory rules that the server has to read",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.file("docs/.rules", b"- *.tmp\nP zzz\n")?;
            Ok(())
        })
        .destination(surplus)
        .run("-ai --delete-after --filter=:_.rules src/ :dst/")
        .run("-ai --delete-before --filter=:e_.rules src/ :dst/")
        .run("-ai --delete-excluded --filter=:n_.rules src/ :dst/"),
        Scenario::new(
            "delete-from-a-file",
            "--exclude-from, --include-from and -C",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.file("core", b"core")?.file("docs/a.o", b"object")?;
            tree.file("docs/b.c~", b"backup")?
                .file(".git/config", b"git")?;
            Ok(())
        })
        .destination(surplus)
        .prepare(|place| {
            place
                .local()?
                .file("rules", b"# comment\n; too\n*.tmp\n+ keep.me\n\nzzz\n")?;
            Ok(())
        })
        .run("-aiC --delete --exclude-from=rules src/ :dst/"),
        Scenario::new(
            "delete-several-sources",
            "only inside the directories that were sent",
        )
        .source(ordinary)
        .destination(surplus)
        .run("-ai --delete src/docs src/pictures :dst/")
        .leaves("gone/old"),
        Scenario::new(
            "delete-missing-args",
            "--delete-missing-args and --ignore-missing-args",
        )
        .source(ordinary)
        .destination(surplus)
        .run("-ai --ignore-missing-args src/docs src/nothing :dst/")
        .run("-ai --delete-missing-args src/empty src/gone src/old :dst/")
        .exits(0),
        Scenario::new(
            "delete-read-error",
            "an error while listing the source stops deletions",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.directory("docs/closed")?.mode("docs/closed", 0o000)?;
            Ok(())
        })
        .destination(surplus)
        .run("-ai --delete-after src/ :dst/")
        .as_nobody()
        .exits(23)
        .prints("skipping file deletion")
        .leaves("gone/old")
        .run("-ai --delete-after --ignore-errors src/ :dst/")
        .as_nobody()
        .exits(23)
        .leaves("!gone"),
        Scenario::new(
            "prune-empty-dirs",
            "-m leaves out directories without files",
        )
        .source(ordinary)
        .run("-aim --include=*/ --include=file5 --exclude=* src/ :dst/")
        .leaves("!empty-dir"),
        Scenario::new("remove-source-files", "--remove-source-files moves")
            .source(ordinary)
            .run("-ai --remove-source-files src/ :dst/")
            .run("-aii --remove-source-files src/ :dst/"),
    ]);
    list
}
