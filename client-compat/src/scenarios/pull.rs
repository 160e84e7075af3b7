//! Pulling back what was pushed.

use crate::scenario::Scenario;
use crate::tree::{nasty, noise, ordinary};

/// Names share their beginnings with those before them.
const OLD_LISTS: &str = "how long an older list is follows the order in which directories are read";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("pull", "a tree with -a, and again")
            .destination(ordinary)
            .run("-ai :dst/ out/")
            .run("-ai :dst/ out/")
            .prints_nothing(),
        Scenario::new("pull-stats", "what --stats counts")
            .destination(ordinary)
            .run("-a --stats :dst/ out/")
            .run("-a --stats :dst/ out/")
            .since_protocol(30, OLD_LISTS),
        Scenario::new("pull-everything", "a nasty tree with all that can be kept")
            .destination(nasty)
            .run("-aHAX --numeric-ids :dst/ out/")
            .run("-aHAXi --numeric-ids --delete :dst/ out/")
            .prints_nothing(),
        Scenario::new("pull-verbose", "what -v and -vv print")
            .destination(ordinary)
            .run("-av :dst/ out/")
            .run("-avv :dst/ out/"),
        Scenario::new("pull-delta", "only what changed travels")
            .destination(|tree| {
                ordinary(tree)?;
                tree.file("image", &noise(1, 2_000_000)).map(drop)
            })
            .run("-a :dst/ out/")
            .change("edits at home", |place| {
                if !place.local.join("out/image").exists() {
                    // The pull before was refused, which is a difference of its own.
                    return Ok(());
                }
                let tree = crate::tree::Builder::at(&place.local.join("out"))?;
                tree.patch("image", 1_000_000, b"edited")?
                    .remove("docs/file1")?
                    .file("mine", b"x")?;
                Ok(())
            })
            .run("-ai --delete --stats --no-whole-file :dst/ out/")
            .run("-aic --delete :dst/ out/")
            .prints_nothing()
            .since_protocol(30, OLD_LISTS),
        Scenario::new("pull-one-file", "one file, to a name and into a directory")
            .destination(ordinary)
            .run("-ai :dst/docs/big out")
            .run("-ai :dst/docs/file1 :dst/docs/file2 several/")
            .run("-aiR :dst/./docs/deep/er/file3 relative/"),
        Scenario::new("pull-wildcards", "patterns are the server's to expand")
            .destination(ordinary)
            .run("-ai :dst/docs/file* out/")
            .run("-ai :dst/*/deep out2/"),
        Scenario::new("pull-filters", "excludes, includes, --delete and sizes")
            .destination(ordinary)
            .run("-ai --include=*/ --include=file[34] --exclude=* --prune-empty-dirs :dst/ out/")
            .run("-ai --delete --max-size=1k :dst/ out/"),
        Scenario::new("pull-limits", "--max-size, --min-size, --bwlimit, -x")
            .destination(ordinary)
            .run("-ai --max-size=100 :dst/ small/")
            .run("-ai --min-size=100 :dst/ large/")
            .run("-ai --bwlimit=4m :dst/ limited/")
            .run("-aix :dst/ one/")
            .run("-aixx :dst/ one/")
            .prints_nothing(),
        Scenario::new("pull-missing", "something that is not there")
            .destination(ordinary)
            .run("-ai :dst/nothing out/")
            .exits(23)
            .run("-ai :dst/docs :dst/nothing out/")
            .exits(23),
        Scenario::new("pull-files-from", "--files-from on either end")
            .destination(ordinary)
            .prepare(|place| {
                place.local()?.file("list", b"docs/big\nempty\n")?;
                place
                    .base()?
                    .file("remote-list", b"pictures/file1\ndocs/file1\n")?;
                Ok(())
            })
            .run("-ai --files-from=list :dst/ out/")
            .run("-ai --files-from=:/mnt/compat/remote-list :dst/ out/"),
        Scenario::new("pull-compressed", "-z in every kind")
            .destination(|tree| {
                ordinary(tree)?;
                tree.file("text", &b"again and again\n".repeat(20_000))
                    .map(drop)
            })
            .run("-az --zc=zstd :dst/ out1/")
            .run("-az --zc=lz4 :dst/ out2/")
            .run("-az --zc=zlibx :dst/ out3/")
            .run("-az --zc=zlib :dst/ out4/")
            .since("3.2.0"),
        Scenario::new("pull-hard-links-and-holes", "-H and -S")
            .destination(nasty)
            .run("-aHS --no-inc-recursive :dst/ out/")
            .run("-aHi :dst/ out/")
            .prints_nothing(),
        Scenario::new("pull-relative", "-R, implied directories, and /./")
            .destination(ordinary)
            .run("-aiR :dst/./docs/deep/er/file3 :dst/./pictures out2/")
            .run("-aiR --no-implied-dirs :dst/./docs/deep/er out3/")
            .run("-aiR --no-inc-recursive :dst/./docs/deep/er :dst/./docs/file1 out4/")
            .since_protocol(30, "stock 3.5 gives up where --no-implied-dirs is not told"),
        Scenario::new("pull-dirs", "directories without what is in them")
            .destination(ordinary)
            .run("-di :dst/ out1/")
            .run("-di :dst out2/")
            .run("-lti :dst out3/")
            .run("-ai --no-r :dst/docs out4/"),
        Scenario::new(
            "pull-links-followed",
            "-L, -k, --copy-unsafe-links, --safe-links",
        )
        .destination(|tree| {
            ordinary(tree)?;
            tree.symlink("to-file", "docs/file1")?
                .symlink("to-dir", "docs/deep")?
                .symlink("unsafe", "../elsewhere")?;
            Ok(())
        })
        .prepare(|place| {
            place
                .base()?
                .file("elsewhere", b"not in the tree")
                .map(drop)
        })
        .run("-aiL :dst/ out1/")
        .run("-aik :dst/ out2/")
        .run("-ai --copy-unsafe-links :dst/ out3/")
        .run("-ai --safe-links :dst/ out4/"),
        Scenario::new(
            "pull-merge-files",
            "-F, -C and rules in the tree that is sent",
        )
        .destination(|tree| {
            ordinary(tree)?;
            tree.file(".rsync-filter", b"- file4\n")?
                .file("docs/.rsync-filter", b"- file1\n")?
                .file("docs/core", b"dump")?
                .file("docs/a.o", b"object")?;
            Ok(())
        })
        .run("-aiF :dst/ out1/")
        .run("-aiFF :dst/ out2/")
        .run("-aiC :dst/ out3/"),
        Scenario::new(
            "pull-missing-args",
            "sources that are not there, on purpose",
        )
        .destination(ordinary)
        .run("-ai --ignore-missing-args :dst/docs/file1 :dst/nothing out/")
        .run("-ai --delete-missing-args :dst/docs/file2 :dst/nothing out/"),
        Scenario::new("pull-in-place", "--inplace and --append over what is there")
            .destination(|tree| tree.file("image", &noise(1, 900_000)).map(drop))
            .prepare(|place| {
                place
                    .local()?
                    .file("out/image", &noise(1, 900_000)[..500_000])?
                    .time("out/image", 1_000_000_000, 0)?
                    .file("out2/image", &noise(1, 900_000)[..500_000])?
                    .file("out3/image", &noise(2, 900_000))?
                    .file("out4/image", &noise(2, 500_000))?;
                Ok(())
            })
            .run("-ai --append --stats :dst/ out/")
            .run("-ai --append-verify --stats :dst/ out2/")
            .run("-ai --inplace --stats :dst/ out3/")
            .run("-ai --append-verify :dst/ out4/"),
        Scenario::new("pull-secluded", "arguments that no shell saw")
            .since("3.2.4")
            .destination(|tree| {
                ordinary(tree)?;
                tree.file("odd name", b"x")?.file("star*", b"y")?;
                Ok(())
            })
            .run("-ais :dst/docs/file* out1/")
            .run("-ais :dst/odd?name out2/")
            .run("-ai --old-args :dst/docs/fil* out3/"),
        Scenario::new("pull-trusting", "--trust-sender")
            .destination(nasty)
            .run("-aHi --trust-sender :dst/ out/")
            .run("-aHi --delete :dst/ out/")
            .prints_nothing()
            .since("3.2.5"),
        Scenario::new("pull-dry-run", "-n and --list-only")
            .destination(nasty)
            .run("-anHi :dst/ out/")
            .run("-r --list-only :dst/"),
    ]
}
