//! `--keep-dirlinks`: symbolic links of the destination that stand for directories.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::Builder;

/// What the client has: real directories, all with times of their own.
fn source(tree: &Builder) -> Result<()> {
    tree.file("home/note", b"a note")?
        .file("home/deep/er/file", b"deep")?
        .file("home/old", b"new content")?
        .file("plain/file", b"plain")?;
    for (at, name) in ["home/note", "home/old", "home/deep/er", "home/deep", "home"]
        .into_iter()
        .enumerate()
    {
        tree.time(name, 1_400_000_000 + at as i64, 5)?;
    }
    Ok(())
}

/// What stands at the server: `home` moved aside, with something of its own in it.
fn moved(tree: &Builder) -> Result<()> {
    tree.file("srv/homes/extra", b"extra")?
        .file("srv/homes/old", b"old")?
        .time("srv/homes/old", 1_300_000_000, 5)?
        .time("srv/homes", 1_300_000_001, 5)?
        .symlink("home", "srv/homes")?
        .time("home", 1_300_000_002, 5)?;
    Ok(())
}

fn kept(name: &str, about: &str) -> Scenario {
    Scenario::new(name, about).source(source).destination(moved)
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        kept(
            "keep-dirlinks",
            "-K keeps a link to a directory and writes behind it",
        )
        .run("-aiK src/ :dst/")
        .leaves("srv/homes/deep/er/file")
        .run("-aiK src/ :dst/")
        .run("-aiiK src/ :dst/"),
        kept("keep-dirlinks-not", "… without -K the link goes")
            .run("-ai src/ :dst/")
            .leaves("home/deep/er/file"),
        kept(
            "keep-dirlinks-delete",
            "… --delete tidies behind the link, in each of its ways",
        )
        .source(|tree| tree.directory("srv/homes").map(drop))
        .run("-aiKn --delete src/ :dst/")
        .run("-aiK --delete-before --exclude=/srv/homes/* src/ :dst/")
        .change_destination("something more stands there", |tree| {
            tree.file("srv/homes/gone/a", b"a")?
                .file("srv/homes/deep/gone", b"b")?
                .symlink("srv/homes/away", "../../plain")
                .map(drop)
        })
        .run("-aiK --delete-during --exclude=/srv/homes/* src/ :dst/")
        .change_destination("and again", |tree| {
            tree.file("srv/homes/gone/a", b"a").map(drop)
        })
        .run("-aiK --delete-delay --exclude=/srv/homes/* src/ :dst/")
        .change_destination("and again", |tree| {
            tree.file("srv/homes/gone/a", b"a").map(drop)
        })
        .run("-aiK --delete-after --exclude=/srv/homes/* src/ :dst/"),
        kept(
            "keep-dirlinks-delete-behind",
            "… the directory behind the link goes first",
        )
        .run("-aiK --delete src/ :dst/")
        .leaves("home/deep/er/file"),
        kept("keep-dirlinks-delete-after", "… or last").run("-aiK --delete-after src/ :dst/"),
        kept("keep-dirlinks-dry-run", "… -n")
            .run("-aiKn src/ :dst/")
            .run("-aivKn --delete src/ :dst/"),
        kept("keep-dirlinks-one-list", "… without incremental recursion")
            .run("-aiK --no-inc-recursive src/ :dst/")
            .run("-aiK --no-inc-recursive --delete --exclude=/srv src/ :dst/"),
        kept("keep-dirlinks-relative", "… links on the way to a source")
            .run("-aiKR src/./home/deep/er :dst/")
            .leaves("srv/homes/deep/er/file"),
        kept("keep-dirlinks-relative-file", "… to a file")
            .run("-aiKR src/./home/note :dst/")
            .run("-aiKR src/./home/deep/er/file :dst/")
            .leaves("srv/homes/deep/er/file"),
        kept(
            "keep-dirlinks-no-implied-dirs",
            "… to a file whose directory is not sent",
        )
        .since_protocol(30, "a stock server ends at a path that it was not told of")
        .run("-aiKR --no-implied-dirs src/./home/note :dst/")
        .leaves("srv/homes/note")
        .run("-aiKR --no-implied-dirs src/./home/deep/er :dst/"),
        kept("keep-dirlinks-hard-links", "… hard links across the link")
            .source(|tree| {
                tree.hard_link("home/note", "home/deep/twin")?
                    .hard_link("home/note", "plain/twin")
                    .map(drop)
            })
            .run("-aiHK src/ :dst/")
            .leaves("srv/homes/deep/twin")
            .run("-aiHK src/ :dst/"),
        kept(
            "keep-dirlinks-backup",
            "… -b keeps what was behind the link",
        )
        .run("-aibK src/ :dst/")
        .leaves("srv/homes/old~"),
        kept(
            "keep-dirlinks-backup-dir",
            "… --backup-dir has it by the name of the link",
        )
        .run("-aibK --backup-dir=kept --delete --exclude=/srv --exclude=/kept src/ :dst/")
        .leaves("kept/home/old"),
        kept(
            "keep-dirlinks-ways-to-write",
            "… partial, temporary, delayed, in place",
        )
        .source(|tree| tree.directory("tmp").map(drop))
        .run("-aiK --partial-dir=.part src/ :dst/")
        .change_source("edits", |tree| tree.append("home/old", b"1").map(drop))
        .run("-aiK --temp-dir=tmp src/ :dst/")
        .change_source("edits", |tree| tree.append("home/old", b"2").map(drop))
        .run("-aiK --delay-updates src/ :dst/")
        .change_source("edits", |tree| tree.append("home/old", b"3").map(drop))
        .run("-aiK --inplace src/ :dst/")
        .change_source("edits", |tree| tree.append("home/old", b"4").map(drop))
        .run("-aiK --append src/ :dst/")
        .run("-aiKyc src/ :dst/"),
        kept(
            "keep-dirlinks-nested",
            "… a link to a link, and a link behind a link",
        )
        .destination(|tree| {
            tree.directory("srv/deep")?
                .symlink("srv/homes/deep", "../deep")?
                .symlink("srv/alias", "homes")?
                .remove("home")?
                .symlink("home", "srv/alias")
                .map(drop)
        })
        .run("-aiK src/ :dst/")
        .leaves("srv/deep/er/file")
        .run("-aiK --delete --exclude=/srv src/ :dst/"),
        kept("keep-dirlinks-two", "… two links to one directory")
            .source(|tree| tree.file("other/own", b"own").map(drop))
            .destination(|tree| tree.symlink("other", "srv/homes").map(drop))
            .run("-aiK src/ :dst/")
            .leaves("srv/homes/own"),
        kept("keep-dirlinks-itself", "… a link to the destination itself")
            .destination(|tree| tree.remove("home")?.symlink("home", ".").map(drop))
            .run("-aiK src/ :dst/")
            .leaves("note"),
        kept(
            "keep-dirlinks-no-directory",
            "… links to a file, to nothing, to themselves go",
        )
        .source(|tree| {
            for name in ["file", "nothing", "loop"] {
                tree.file(format!("{name}/inside"), name.as_bytes())?;
            }
            Ok(())
        })
        .destination(|tree| {
            tree.symlink("file", "srv/homes/old")?
                .symlink("nothing", "srv/nothing")?
                .symlink("loop", "loop")
                .map(drop)
        })
        .run("-aiK src/ :dst/")
        .leaves("nothing/inside")
        .leaves("loop/inside"),
        kept(
            "keep-dirlinks-filters",
            "… rules that stand behind the link",
        )
        .destination(|tree| tree.file("srv/homes/.rsync-filter", b"P extra\n").map(drop))
        .source(|tree| tree.file("home/.rsync-filter", b"P extra\n").map(drop))
        .run("-aiKF --delete --exclude=/srv src/ :dst/")
        .leaves("srv/homes/extra"),
        kept(
            "keep-dirlinks-existing",
            "… --existing, --ignore-existing, --update",
        )
        .run("-aiK --existing src/ :dst/")
        .run("-aiK --ignore-existing src/ :dst/")
        .run("-aiuK src/ :dst/"),
        kept("keep-dirlinks-owner", "… owner and times go to the link")
            .source(|tree| tree.owner("home", 1007, 1008).map(drop))
            .run("-aiK src/ :dst/")
            .run("-aiK src/ :dst/"),
        kept(
            "keep-dirlinks-mode",
            "… the mode goes to the directory behind it",
        )
        .source(|tree| tree.mode("home", 0o750).map(drop))
        .run("-aiK src/ :dst/")
        .exits_somehow(),
        kept(
            "keep-dirlinks-above",
            "… links that lead out of the destination",
        )
        .source(|tree| tree.file("above/file", b"above").map(drop))
        .prepare(|place| {
            Builder::at(&place.base.join("beside"))?;
            place.dst()?.symlink("above", "../beside").map(drop)
        })
        .run("-aK src/ :dst/")
        .exits_somehow(),
        kept("keep-dirlinks-link-dest", "… with directories to link from")
            .source(|tree| tree.file("home/same", b"same").map(drop))
            .prepare(|place| {
                let old = Builder::at(&place.base.join("old"))?;
                old.file("home/same", b"same")?;
                for tree in [&old, &place.src()?] {
                    tree.time("home/same", 1_450_000_000, 5)?;
                }
                Ok(())
            })
            .run("-aiK --link-dest=../old src/ :dst/"),
    ]
}
