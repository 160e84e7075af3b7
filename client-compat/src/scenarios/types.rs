//! A name that is something else than last time: every kind by every kind.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::Builder;

const KINDS: &[&str] = &[
    "file",
    "linked",
    "directory",
    "full",
    "symlink",
    "fifo",
    "socket",
    "char",
    "block",
];

fn plant(tree: &Builder, name: &str, kind: &str) -> Result<()> {
    match kind {
        "file" => tree.file(name, b"content")?,
        "linked" => tree
            .file(name, b"linked")?
            .hard_link(name, format!("{name}.twin"))?,
        "directory" => tree.directory(name)?,
        "full" => tree.file(format!("{name}/sub/inside"), b"inside")?,
        "symlink" => tree.symlink(name, "target")?,
        "fifo" => tree.fifo(name)?,
        "socket" => tree.socket(name)?,
        "char" => tree.char_device(name, 1, 3)?,
        "block" => tree.block_device(name, 7, 1)?,
        other => unreachable!("no kind {other}"),
    };
    Ok(())
}

/// `from-to`, of the kind that `pick` chooses of the two.
fn matrix(tree: &Builder, pick: fn(&'static str, &'static str) -> &'static str) -> Result<()> {
    for from in KINDS {
        for to in KINDS {
            plant(tree, &format!("{from}-{to}"), pick(from, to))?;
        }
    }
    // Devices that differ by number only.
    let number = if pick("a", "b") == "a" { 3 } else { 5 };
    tree.char_device("number", 1, number)?;
    tree.symlink("target", format!("to-{number}"))?;
    Ok(())
}

fn before(tree: &Builder) -> Result<()> {
    matrix(tree, |from, _| from)
}

fn after(tree: &Builder) -> Result<()> {
    matrix(tree, |_, to| to)
}

fn changed(name: &str, about: &str) -> Scenario {
    Scenario::new(name, about).source(after).destination(before)
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        changed("type-changes", "full directories stay in the way")
            .run("-ai src/ :dst/")
            .exits(23)
            .prints("non-empty directory"),
        changed("type-changes-force", "--force removes full directories")
            .run("-aHi --force src/ :dst/")
            .run("-aHi src/ :dst/")
            .prints_nothing(),
        changed("type-changes-delete", "--delete removes them too")
            .run("-aHi --delete src/ :dst/")
            .run("-aHi --delete src/ :dst/")
            .prints_nothing(),
        changed(
            "type-changes-delete-after",
            "… also when it deletes at the end",
        )
        .run("-aHiv --delete-after src/ :dst/"),
        changed(
            "type-changes-delete-before",
            "… also when it deletes first, when directories are not there yet",
        )
        .run("-aHiv --delete-before src/ :dst/"),
        changed(
            "type-changes-without-links",
            "-r alone leaves other kinds alone",
        )
        .run("-ri --delete src/ :dst/")
        .prints("skipping non-regular file"),
        changed("type-changes-no-devices", "--no-D").run("-aHi --no-D --delete src/ :dst/"),
        changed("type-changes-no-specials", "--no-specials and --no-devices")
            .run("-aHi --no-specials --delete src/ :dst/")
            .run("-aHi --no-devices --delete src/ :dst/"),
        changed(
            "type-changes-keep-dirlinks",
            "-K follows symlinks to directories",
        )
        .destination(|tree| {
            tree.directory("real")?.symlink("full-link", "real")?;
            Ok(())
        })
        .source(|tree| tree.file("full-link/inside", b"x").map(drop))
        .run("-aHiK --force src/ :dst/")
        .leaves("real/inside"),
        changed("type-changes-backup", "-b keeps what was there")
            .run("-aib --suffix=.old --force src/ :dst/")
            .exits(23)
            .leaves("file-symlink.old"),
        changed("type-changes-dry-run", "-n of all of it")
            .run("-aHin --delete src/ :dst/")
            .run("-aHivn --force src/ :dst/"),
    ]
}
