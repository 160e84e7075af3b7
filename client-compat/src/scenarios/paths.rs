//! Which path a file gets: several sources, --relative, lists of files, odd names on the command
//! line.

use std::ffi::OsStr;

use crate::scenario::Scenario;
use crate::tree::{nasty, ordinary};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "directory-itself",
            "without the slash the directory comes along",
        )
        .source(ordinary)
        .run("-ai src :dst/")
        .leaves("src/docs/big"),
        Scenario::new("several-sources", "files and directories side by side")
            .source(ordinary)
            .run("-ai src/docs src/pictures/ src/empty src/link :dst/")
            .run("-ai --delete src/docs src/pictures/ src/empty src/link :dst/"),
        Scenario::new("several-sources-merge", "the first source wins")
            .source(ordinary)
            .prepare(|place| {
                place
                    .local()?
                    .file("more/docs/big", b"another")?
                    .file("more/extra", b"x")?;
                Ok(())
            })
            .run("-ai src/ more/ :dst/")
            .run("-ai more/ src/ :dst/"),
        Scenario::new(
            "relative",
            "-R keeps the path, with its directories' attributes",
        )
        .source(ordinary)
        .change_source("modes of directories", |tree| {
            tree.mode("docs", 0o700)?
                .mode("docs/deep", 0o2711)?
                .time("docs", 5, 5)?;
            Ok(())
        })
        .run("-aiR src/docs/deep/er src/pictures/file1 :dst/")
        .leaves("src/docs/deep/er/file3")
        .run("-aiR src/docs/deep/er src/pictures/file1 :dst/")
        .prints_nothing(),
        Scenario::new("relative-dot", "-R keeps what is after /./")
            .source(ordinary)
            .run("-aiR src/./docs/deep src/docs/./file1 :dst/")
            .leaves("docs/deep/er/file1"),
        Scenario::new("relative-no-implied-dirs", "--no-implied-dirs")
            .source(ordinary)
            .change_source("modes of directories", |tree| {
                tree.mode("docs", 0o700)?.mode("docs/deep", 0o2711)?;
                Ok(())
            })
            .run("-aiR --no-implied-dirs src/./docs/deep/er src/./pictures/file1 :dst/")
            .leaves("docs/deep/er/file3")
            .since_protocol(
                30,
                "stock 3.5 gives up where a client tells nothing of the option",
            ),
        Scenario::new(
            "relative-delete",
            "-R --delete deletes below what was named",
        )
        .source(ordinary)
        .destination(|tree| {
            tree.file("src/docs/old", b"x")?
                .file("src/old", b"x")?
                .file("old", b"x")?;
            Ok(())
        })
        .run("-aiR --delete src/docs :dst/")
        .leaves("src/old"),
        Scenario::new(
            "relative-over-symlink",
            "an implied directory that is a symlink there",
        )
        .source(ordinary)
        .destination(|tree| {
            tree.file("elsewhere/docs/mine", b"x")?
                .symlink("src", "elsewhere")?;
            Ok(())
        })
        .run("-aiR src/docs/deep :dst/"),
        Scenario::new(
            "files-from",
            "--files-from with names, directories and comments",
        )
        .source(nasty)
        .prepare(|place| {
            place.local()?.file(
                "list",
                b"# not a comment\nsizes/700\nxattrs\nnames/new\nnot/there\n;x\n",
            )?;
            Ok(())
        })
        .run("-ai --files-from=list src/ :dst/")
        .exits(23)
        .run("-air --files-from=list src/ :dst/")
        .exits(23)
        .leaves("xattrs/33"),
        Scenario::new(
            "files-from-nul",
            "--from0 with names that hold line ends, from stdin",
        )
        .source(nasty)
        .run("-ai --from0 --files-from=- src/ :dst/")
        .stdin(b"names/new\nline\0names/not-utf8-\xff\xfe\0kinds/fifo\0")
        .leaves("kinds/fifo"),
        Scenario::new(
            "files-from-the-server",
            "--files-from with a file of the server, also with old protocols",
        )
        .source(nasty)
        .prepare(|place| {
            place.base()?.file(
                "list",
                b"# not a comment\nsizes/700\r\n\n\nxattrs\nnames/new\nnot/there\n;x",
            )?;
            Ok(())
        })
        .run("-ai --files-from=:/mnt/compat/list src/ :dst/")
        .exits(23)
        .leaves("sizes/700")
        .run("-air --delete --files-from=:/mnt/compat/list src/ :dst2/")
        .exits(23)
        .run("-ai --protocol=30 --files-from=:/mnt/compat/list src/ :dst3/")
        .exits(23)
        .run("-ai --protocol=29 --files-from=:/mnt/compat/list src/ :dst4/")
        .exits(23)
        .run("-ain --files-from=:/mnt/compat/list src/ :dst5/")
        .exits(23),
        Scenario::new(
            "files-from-the-server-nul",
            "--from0 with names that hold line ends, in a file of the server",
        )
        .source(nasty)
        .prepare(|place| {
            place.base()?.file(
                "list",
                b"names/new\nline\0\0names/not-utf8-\xff\xfe\0kinds/fifo",
            )?;
            Ok(())
        })
        .run("-ai --from0 --files-from=:/mnt/compat/list src/ :dst/")
        .leaves("kinds/fifo")
        .run("-ai --protocol=28 --from0 --files-from=:/mnt/compat/list src/ :dst2/"),
        Scenario::new(
            "files-from-the-server-many",
            "more names in a file of the server than any buffer holds",
        )
        .source(|tree| {
            for number in 0..3_000 {
                tree.file(format!("directory{:02}/{number:0>100}", number % 20), b"x")?;
            }
            Ok(())
        })
        .prepare(|place| {
            let names = (0..3_000).map(|number| {
                let directory = number % 20;
                format!("directory{directory:02}/{number:0>100}\n")
            });
            let names: String = names.collect();
            place.base()?.file("list", names.as_bytes()).map(drop)
        })
        .run("-ai --files-from=:/mnt/compat/list src/ :dst/")
        .run("-ai --protocol=30 --files-from=:/mnt/compat/list src/ :dst2/"),
        Scenario::new(
            "files-from-the-server-missing",
            "--files-from with a file that the server has not, or that is none",
        )
        .source(ordinary)
        .prepare(|place| {
            place
                .base()?
                .directory("directory")?
                .file("empty-list", b"")?;
            Ok(())
        })
        .run("-ai --files-from=:/mnt/compat/nothing src/ :dst/")
        .exits(12)
        .run("-ai --files-from=:/mnt/compat/directory src/ :dst/")
        .run("-ai --files-from=:/mnt/compat/empty-list src/ :dst/"),
        Scenario::new(
            "odd-names-on-the-command-line",
            "names a shell would take apart",
        )
        .source(nasty)
        .run_with(
            [
                "-ai",
                "--mkpath",
                "--",
                "src/names/new\nline",
                "src/names/ spaces around ",
                "src/names/$(touch pwned)",
                "src/names/star*",
                ":dst dir/it's \"quoted\" $HOME `x` \\ ; & <>|*?[a]{b}/",
            ]
            .map(OsStr::new),
        )
        .run_with(["-ai", "src/sizes", ":dst dir/"].map(OsStr::new))
        .since("3.2.4"),
        Scenario::new(
            "secluded-args",
            "-s sends the arguments apart from the command",
        )
        .source(nasty)
        .run_with(
            [
                "-ai",
                "-s",
                "src/sizes",
                ":a dir/with 'quotes' and * and\nline ends/",
            ]
            .map(OsStr::new),
        )
        .exits(11)
        .exits_below(31, 12)
        .run_with(
            [
                "-ai",
                "-s",
                "--mkpath",
                "src/sizes",
                ":a dir/with 'quotes' * and\nline/",
            ]
            .map(OsStr::new),
        )
        .since("3.2.3"),
        Scenario::new("old-args", "--old-args leaves quoting to the user")
            .source(ordinary)
            .run_with(["-ai", "--old-args", "src/docs", ":dst\\ dir/"].map(OsStr::new))
            .since("3.2.4"),
        Scenario::new("dots-in-the-destination", "., .. and // that cancel out")
            .source(ordinary)
            .destination(|_| Ok(()))
            .run("-ai src/ :./././dst/../dst/")
            .leaves("docs/big"),
        Scenario::new(
            "trailing-slashes-and-dots",
            "//, /./ and /../ in the destination",
        )
        .source(ordinary)
        .run("-ai src/docs :dst//")
        .run("-ai src/docs/ :dst/.//")
        .run("-ai src/pictures :dst/docs/../")
        .leaves("pictures/file1"),
        Scenario::new("copy-links", "-L and -k send what symlinks point to")
            .source(|tree| {
                ordinary(tree)?;
                tree.symlink("to-docs", "docs")?
                    .symlink("dangling", "nowhere")?;
                Ok(())
            })
            .run("-aik src/ :dst/")
            .leaves("to-docs/big")
            .run("-aiL src/ :dst/")
            .exits(23)
            .prints("symlink has no referent"),
        Scenario::new("safe-links", "--safe-links and --copy-unsafe-links")
            .source(|tree| {
                ordinary(tree)?;
                tree.symlink("outside", "../../elsewhere")?
                    .symlink("absolute", "/etc/hostname")?
                    .symlink("docs/up", "../empty")?;
                Ok(())
            })
            .run("-ai --safe-links src/ :dst/")
            .run("-aiv --copy-unsafe-links --exclude=outside src/ :dst/")
            .leaves("absolute"),
        Scenario::new(
            "munge-links",
            "--munge-links makes links unusable on the server",
        )
        .source(ordinary)
        .run("-ai --munge-links src/ :dst/"),
        Scenario::new(
            "munge-links-there",
            "the server munges links, and takes it back",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.symlink("absolute", "/etc/passwd")?
                .symlink("munged", "/rsyncd-munged/x")
                .map(drop)
        })
        .run("-ai -M--munge-links src/ :dst/")
        .run("-ai -M--munge-links src/ :dst/")
        .prints_nothing()
        .run("-ai --safe-links -M--munge-links src/ :safe/")
        .run("-ai -M--munge-links :dst/ out/")
        .run("-ai :dst/ raw/")
        .since("3.1.0"),
        Scenario::new("crtimes", "creation times, which Linux cannot set")
            .source(ordinary)
            .run("-ai -M--crtimes src/ :dst/")
            .exits(12)
            .run("-ai -M-N :dst/ out/")
            .exits(12)
            .since("3.1.0"),
        Scenario::new("one-file-system", "-x")
            .source(ordinary)
            .run("-aix src/ :dst/")
            .run("-aixx --delete src/ :dst/")
            .prints_nothing(),
    ]
}
