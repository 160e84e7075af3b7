//! What people do to files between two pushes.

use crate::scenario::Scenario;
use crate::tree::{Builder, noise, ordinary};
use anyhow::Result;

/// Files that will be edited in different ways.
fn editable(tree: &Builder) -> Result<()> {
    ordinary(tree)?;
    for name in [
        "edited",
        "appended",
        "prepended",
        "cut",
        "emptied",
        "same-size",
        "swapped",
        "replaced",
        "old-name",
        "touched",
    ] {
        tree.file(name, &noise(name.len() as u64, 150_000))?;
        tree.time(name, 1_300_000_000, 1)?;
    }
    Ok(())
}

fn edit(tree: &Builder) -> Result<()> {
    tree.patch("edited", 70_000, b"in the middle")?
        .append("appended", &noise(7, 5_000))?
        .file(
            "prepended",
            &[
                &b"at the start"[..],
                &noise("prepended".len() as u64, 150_000),
            ]
            .concat(),
        )?
        .truncate("cut", 70_001)?
        .truncate("emptied", 0)?
        .patch("same-size", 0, b"X")?;
    // Two blocks change places.
    let old = noise("swapped".len() as u64, 150_000);
    tree.file("swapped", &[&old[75_000..], &old[..75_000]].concat())?
        .file("replaced", &noise(1_000, 150_000))?
        .rename("old-name", "new-name")?
        .time("touched", 1_300_000_001, 0)?
        .remove("docs/file3")?
        .file("docs/new", b"new")?;
    Ok(())
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("edits", "edited, appended, cut, renamed, removed")
            .source(editable)
            .run("-a src/ :dst/")
            .change_source("edits", edit)
            .run("-ai --delete --stats src/ :dst/")
            .prints("<f.st...... appended")
            .from_protocol(29)
            .run("-aii --delete src/ :dst/"),
        Scenario::new(
            "edits-dry-run",
            "-n says what would be done and does nothing",
        )
        .source(editable)
        .run("-ain src/ :dst/")
        .run("-a src/ :dst/")
        .change_source("edits", edit)
        .run("-ain --delete --stats src/ :dst/")
        .leaves("old-name")
        .run("-avn --delete src/ :dst/")
        .run("-aHAXinvv --delete --delete-excluded --exclude=docs src/ :dst/"),
        Scenario::new("edits-checksum", "-c finds what size and time do not show")
            .source(editable)
            .run("-a src/ :dst/")
            .change_source("edits that keep size and time", |tree| {
                tree.patch("edited", 70_000, b"secret")?
                    .time("edited", 1_300_000_000, 1)?;
                tree.time("touched", 1_000_000_000, 0)?;
                Ok(())
            })
            .run("-ai src/ :dst/")
            .run("-aci src/ :dst/")
            .prints("<fc........ edited")
            .from_protocol(29),
        Scenario::new("edits-at-the-destination", "somebody worked in the backup")
            .source(editable)
            .run("-a src/ :dst/")
            .change_destination("edits", edit)
            .run("-ai --delete src/ :dst/")
            .run("-aci --delete src/ :dst/")
            .prints_nothing(),
        Scenario::new("renamed-directory", "a directory moves")
            .source(editable)
            .run("-a src/ :dst/")
            .change_source("docs is called papers", |tree| {
                tree.rename("docs", "papers").map(drop)
            })
            .run("-ai --delete src/ :dst/")
            .prints("*deleting   docs/deep/er/file5")
            .from_protocol(29),
        Scenario::new("fuzzy", "-y uses a similar file as basis")
            .source(editable)
            .run("-a src/ :dst/")
            .change_source("renames", |tree| {
                tree.rename("edited", "edited.1")?
                    .rename("swapped", "swapped.old")?;
                tree.append("edited.1", b"more")?;
                Ok(())
            })
            .run("-aiy --stats --no-whole-file src/ :dst/")
            .run("-aiyy --delete-after src/ :dst/"),
    ]
}
