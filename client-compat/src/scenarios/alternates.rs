//! What is taken from other directories of the server: equal files that need no transfer.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, noise, ordinary};

fn based(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(ordinary)
        .prepare(|place| {
            let old: Builder = Builder::at(&place.base.join("old"))?;
            ordinary(&old)?;
            // Not the same: content, time, mode, and something in the way.
            old.append("docs/file5", b"x")?
                .time("docs/file4", 5, 5)?
                .mode("docs/file3", 0o640)?
                .remove("pictures/file4")?;
            // What is the same has to have the same times.
            let src = place.src()?;
            for tree in [&old, &src] {
                for name in ["docs/big", "empty", "link"] {
                    tree.time(name, 1_450_000_000, 5)?;
                }
            }
            Ok(())
        })
        .run(&format!("-ai {options} src/ :dst/"))
        .run(&format!("-aii {options} src/ :dst/"))
}

fn chain(_: &Builder) -> Result<()> {
    Ok(())
}

/// One of each kind that can be the same elsewhere.
fn kinds(tree: &Builder) -> Result<()> {
    for name in [
        "same", "mode", "owner", "time", "content", "dir/same", "dir/mode",
    ] {
        tree.file(name, &noise(name.len() as u64, 40_000))?
            .time(name, 1_400_000_000, 7)?;
    }
    tree.file("empty", b"")?
        .time("empty", 1_400_000_001, 0)?
        .symlink("links/same", "target")?
        .symlink("links/other", "target")?
        .symlink("links/time", "target")?
        .fifo("nodes/fifo")?
        .socket("nodes/socket")?
        .char_device("nodes/same", 1, 3)?
        .char_device("nodes/other", 1, 3)?
        .block_device("nodes/mode", 7, 1)?
        .directory("dirs/same")?
        .directory("dirs/mode")?
        .file("kind", b"a file")?
        .file("group/a", &noise(5, 5_000))?
        .hard_link("group/a", "group/b")?
        .hard_link("group/a", "group/z/c")?
        .symlink("group/link", "somewhere")?
        .hard_link("group/link", "group/link2")?;
    Ok(())
}

fn edit(tree: &Builder) -> Result<()> {
    tree.mode("mode", 0o600)?
        .owner("owner", 1000, 1000)?
        .time("time", 1_300_000_000, 5)?
        .patch("content", 20_000, b"edited")?
        .append("content", b"longer")?
        .mode("dir/mode", 0o751)?
        .remove("links/other")?
        .symlink("links/other", "elsewhere")?
        .time("links/time", 1_200_000_000, 0)?
        .remove("nodes/other")?
        .char_device("nodes/other", 1, 5)?
        .mode("nodes/mode", 0o640)?
        .mode("dirs/mode", 0o711)?
        .remove("kind")?
        .symlink("kind", "no file")?
        .file("new", b"new")?
        .hard_link("group/a", "group/new")?;
    Ok(())
}

fn attributes(tree: &Builder) -> Result<()> {
    kinds(tree)?;
    let long = noise(17, 300);
    for name in ["same", "mode", "dir", "content"] {
        tree.xattr(name, "user.short", b"short")?
            .xattr(name, "user.long", &long)?;
    }
    tree.xattr("dir/same", "user.long", &long)?;
    Ok(())
}

fn edit_attributes(tree: &Builder) -> Result<()> {
    edit(tree)?;
    tree.xattr("same", "user.short", b"other")?
        .xattr("dir/mode", "user.new", &noise(18, 300))?
        .xattr("dir", "user.short", b"other")?;
    Ok(())
}

const KINDS: [&str; 3] = ["link", "copy", "compare"];

/// A push to `old`, edits, and then what is told of each kind of directory.
fn edited(name: String, about: &str) -> Scenario {
    Scenario::new(name, about)
        .source(kinds)
        .run("-aH src/ :old/")
        .change_source("edits", edit)
}

/// Stock rsync waits for ever for members of a group of hard links that `--compare-dest` leaves out.
fn hard_links(kind: &str) -> &'static str {
    if kind == "compare" { "" } else { "H" }
}

fn of_each_kind(kind: &str) -> Vec<Scenario> {
    let dest = format!("--{kind}-dest=../old");
    let h = hard_links(kind);
    let name = |what: &str| format!("{kind}-dest-{what}");
    vec![
        edited(name("kinds"), "every kind of entry, the same and not")
            .run(&format!("-a{h}i {dest} src/ :dst/"))
            .run(&format!("-a{h}ii {dest} src/ :dst/"))
            .run(&format!("-a{h}ii {dest} src/ :all/"))
            .run(&format!("-a{h}i --delete --delete-excluded --exclude=kind {dest} src/ :dst/")),
        Scenario::new(name("attributes"), "ACLs and extended attributes")
            .source(attributes)
            .run("-aHAX src/ :old/")
            .change_source("edits", edit_attributes)
            .run(&format!("-a{h}AXi {dest} src/ :dst/"))
            .run(&format!("-a{h}AXi {dest} src/ :dst/")),
        edited(name("dry-run"), "-n, without a destination and with one")
            .run(&format!("-a{h}in {dest} src/ :dst/"))
            .run(&format!("-a{h}nvv {dest} src/ :dst/"))
            .run(&format!("-a{h}iin --{kind}-dest=none {dest} src/ :dst/"))
            .run("-a --include=same --exclude=* src/ :dst/")
            .run(&format!("-a{h}iivvn --delete {dest} src/ :dst/")),
        edited(name("verbose"), "-v, -vv, and both with items")
            .run(&format!("-a{h}v {dest} src/ :one/"))
            .run(&format!("-a{h}vv {dest} src/ :two/"))
            .run(&format!("-a{h}vv {dest} src/ :two/"))
            .run(&format!("-a{h}ivv {dest} src/ :three/"))
            .run(&format!("-a{h}ivv {dest} src/ :three/")),
        edited(name("checksum"), "what counts as the same")
            .change_source("the time of one, the content of another", |tree| {
                tree.time("same", 1_400_000_009, 0)?
                    .patch("dir/same", 300, b"secret")?
                    .time("dir/same", 1_400_000_000, 7)?;
                Ok(())
            })
            .run(&format!("-ai {dest} src/ :dst/"))
            .run(&format!("-aci {dest} src/ :sums/"))
            .run(&format!("-ai --size-only {dest} src/ :sizes/"))
            .run(&format!("-aiI {dest} src/ :none/"))
            .run(&format!("-ai -@-1 {dest} src/ :nanoseconds/")),
        edited(name("existing"), "files that are there already")
            .run("-aH src/ :dst/")
            .change("the destination is older than the other directory", |place| {
                place
                    .dst()?
                    .file("same", b"old")?
                    .file("content", b"old")?
                    .remove("links/same")?
                    .file("links/same/in-the-way", b"x")?
                    .remove("dir/same")?
                    .symlink("dir/same", "in the way")?;
                Ok(())
            })
            .run(&format!("-a{h}i --delete {dest} src/ :dst/"))
            .run(&format!("-a{h}ii --delete {dest} src/ :dst/")),
        edited(name("without-attributes"), "no times, no modes")
            .run(&format!("-rl{h}i {dest} src/ :one/"))
            .run(&format!("-rlpii {dest} src/ :two/"))
            .run(&format!("-rlDtiiO {dest} src/ :three/"))
            .run(&format!("-rlDtEiiJ {dest} src/ :four/")),
        edited(name("ways-to-write"), "whole files, in place, delayed, kept, synced")
            .since("3.2.4")
            .run(&format!("-a{h}iW {dest} src/ :whole/"))
            .run(&format!("-a{h}i --inplace {dest} src/ :in-place/"))
            .run(&format!("-a{h}i --delay-updates {dest} src/ :delayed/"))
            .run(&format!("-a{h}i --partial-dir=.part --fsync {dest} src/ :partial/"))
            .run(&format!("-a{h}ib {dest} src/ :backup/")),
        edited(name("paths"), "relative names, a single file, an absolute directory")
            .run(&format!("-aRi --{kind}-dest=/mnt/compat/old src/./dir src/./group :relative/"))
            .run(&format!("-ai {dest} src/same :single/"))
            .run(&format!("-ai --{kind}-dest=old src/same :same"))
            .run(&format!("-ai --{kind}-dest=old/ src/mode :renamed"))
            .run(&format!("-ai --{kind}-dest=/mnt/compat/old/dir src/dir/ :dir")),
        edited(name("missing"), "directories that are none")
            .change("a file", |place| place.base()?.file("file", b"x").map(drop))
            .run(&format!(
                "-ai --{kind}-dest=../none --{kind}-dest=/mnt/compat/none/ --{kind}-dest=../file {dest} src/ :dst/"
            ))
            .run(&format!("-ai --{kind}-dest=../none src/ :other/"))
            .run(&format!("-ain --{kind}-dest=../none --{kind}-dest=none/x src/ :fresh/")),
        edited(name("several"), "the best of several counts")
            .run("-aH src/ :newer/")
            .change("neither has all", |place| {
                place
                    .base()?
                    .append("newer/same", b"x")?
                    .mode("newer/dir/mode", 0o700)?
                    .remove("newer/links/other")?;
                Ok(())
            })
            .run(&format!("-a{h}i {dest} --{kind}-dest=../newer src/ :dst/"))
            .run(&format!("-a{h}ii --{kind}-dest=../newer {dest} src/ :other/")),
        edited(name("symlinks"), "links that lead to the other directory, and in it")
            .change("links", |place| {
                place
                    .base()?
                    .symlink("current", "old")?
                    .symlink("absolute", "/mnt/compat/old")?
                    .rename("old/dir", "old/real")?
                    .symlink("old/dir", "real")?;
                Ok(())
            })
            .run(&format!("-a{h}i --{kind}-dest=../current src/ :one/"))
            .run(&format!("-a{h}i --{kind}-dest=/mnt/compat/current src/ :two/")),
        edited(name("removes-sources"), "--remove-source-files")
            .run(&format!("-a{h}i --remove-source-files {dest} src/ :dst/")),
    ]
}

fn at_protocol(kind: &str, version: u32) -> Scenario {
    let dest = format!("--{kind}-dest=../old --protocol={version}");
    let h = hard_links(kind);
    Scenario::new(
        format!("{kind}-dest-protocol-{version}"),
        format!("--{kind}-dest at protocol {version}"),
    )
    .source(kinds)
    .run("-aH src/ :old/")
    .change_source("edits", edit)
    .run(&format!("-a{h}i {dest} src/ :dst/"))
    .run(&format!("-a{h}vv {dest} src/ :verbose/"))
    .run(&format!("-a{h}ivvn {dest} src/ :dry/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut list = vec![
        based(
            "link-dest",
            "--link-dest takes what is the same",
            "--link-dest=../old",
        ),
        based(
            "link-dest-absolute",
            "… by an absolute path",
            "--link-dest=/mnt/compat/old",
        ),
        based("copy-dest", "--copy-dest", "--copy-dest=../old"),
        based("compare-dest", "--compare-dest", "--compare-dest=../old"),
        based(
            "link-dest-twice",
            "several of them, one missing",
            "--link-dest=../none --link-dest=../old",
        ),
        Scenario::new("link-dest-hard-links", "--link-dest with -H")
            .source(|tree| {
                tree.file("a", b"group")?
                    .hard_link("a", "sub/b")?
                    .file("c", b"alone")?;
                Ok(())
            })
            .destination(chain)
            .run("-aH src/ :old/")
            .run("-aHi --link-dest=../old src/ :dst/")
            .run("-aHi --delete --link-dest=../old src/ :dst/"),
    ];
    for kind in KINDS {
        list.extend(of_each_kind(kind));
        for version in [27, 28, 29, 30, 31] {
            list.push(at_protocol(kind, version));
        }
    }
    list
}
