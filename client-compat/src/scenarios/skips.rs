//! Which files are looked at, which are skipped, and which are sent although they look the same.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, ordinary};

/// Destination files that are older, newer, of another size, or missing.
fn partly_there(tree: &Builder) -> Result<()> {
    ordinary(tree)?;
    tree.time("docs/file1", 1_400_000_100, 0)?
        .time("docs/file2", 1_300_000_000, 0)?
        .patch("docs/file3", 0, b"other")?
        .time("docs/file3", 1_400_000_003, 123_456_789)?
        .append("docs/file4", b"longer")?
        .time("docs/file4", 1_500_000_000, 0)?
        .remove("docs/file5")?
        .remove("pictures")?
        .remove("link")?
        .symlink("link", "newer")?
        .time("docs/big", 1_400_000_000, 1)?;
    Ok(())
}

fn skip(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(|tree| {
            ordinary(tree)?;
            tree.time("docs/big", 1_400_000_000, 0).map(drop)
        })
        .destination(partly_there)
        .run(&format!("-ai {options} src/ :dst/"))
        .run(&format!("-aivv {options} src/ :dst/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        skip("update", "-u leaves what is newer there", "-u"),
        skip("existing", "--existing makes nothing new", "--existing"),
        skip(
            "ignore-existing",
            "--ignore-existing changes nothing",
            "--ignore-existing",
        ),
        skip(
            "existing-and-delete",
            "… while deleting",
            "--existing --ignore-existing --delete",
        ),
        skip(
            "size-only",
            "--size-only does not look at times",
            "--size-only",
        ),
        skip("ignore-times", "-I sends everything", "-I"),
        skip("checksum", "-c reads everything", "-c"),
        skip("checksum-and-update", "-c with -u", "-cu"),
        skip(
            "modify-window",
            "--modify-window=1000",
            "--modify-window=1000",
        ),
        skip(
            "modify-window-exact",
            "--modify-window=-1 looks at nanoseconds",
            "--modify-window=-1",
        ),
        skip("max-size", "--max-size", "--max-size=1K"),
        skip("min-size", "--min-size", "--min-size=1000"),
        skip(
            "between-sizes",
            "both, with --delete",
            "--min-size=1 --max-size=1.5kb --delete",
        ),
        skip("whole-file", "-W", "-W"),
        skip("no-whole-file", "--no-W", "--no-W"),
    ]
}
