//! How the content of a file travels: deltas, in place, appended, broken off and resumed.

use anyhow::Result;

use crate::scenario::{Compare, Scenario};
use crate::tree::{Builder, noise};

/// A few large files.
fn large(tree: &Builder) -> Result<()> {
    tree.file("image", &noise(1, 4_000_000))?
        .file("log", &noise(2, 1_000_000))?
        .file("text", &b"the same line again and again\n".repeat(60_000))?
        .file("zeros", &vec![0; 1_000_000])?;
    for name in ["image", "log", "text", "zeros"] {
        tree.time(name, 1_300_000_000, 0)?;
    }
    Ok(())
}

fn edit(tree: &Builder) -> Result<()> {
    let image = noise(1, 4_000_000);
    let inserted = [&image[..1_000_001], b"inserted", &image[1_000_001..]].concat();
    tree.file("image", &inserted)?
        .patch("image", 3_500_000, b"patched")?
        .append("log", &noise(3, 50_000))?
        .patch("text", 900_000, b"Another")?
        .patch("zeros", 500_000, b"1")?;
    Ok(())
}

fn delta(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(large)
        .run(&format!("-a {options} src/ :dst/"))
        .change_source("edits", edit)
        .run(&format!("-ai --stats {options} src/ :dst/"))
        .run("-aic --omit-dir-times src/ :dst/")
        .prints_nothing()
}

/// The tree of an interrupted push depends on when it broke off, and so does what was printed.
const ONLY_THAT_IT_FAILED: Compare = Compare {
    exit: true,
    stdout: false,
    stderr: false,
    tree: false,
    order: false,
};

fn interrupted(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(large)
        .run(&format!(
            "-a {options} --bwlimit=1500 src/image src/log :dst/"
        ))
        .interrupted_when_it_has_read(1_500_000)
        .exits(20)
        .compares(ONLY_THAT_IT_FAILED)
        .run(&format!("-a {options} src/ :dst/"))
        .run("-aic --delete src/ :dst/")
        .prints_nothing()
}

/// Every way of writing that differs from "beside, then renamed", at one version of the protocol.
fn at_version(version: u32) -> Scenario {
    let protocol = format!("--protocol={version}");
    Scenario::new(
        format!("in-place-protocol-{version}"),
        format!("--inplace, --append and --append-verify with {protocol}"),
    )
    // Older ones tell a digest of such a protocol otherwise.
    .since(if version < 30 { "3.2.7" } else { "3.0.0" })
    .source(large)
    .run(&format!("-a {protocol} src/ :dst/"))
    .change_source("edits", edit)
    .run(&format!("-ain --inplace {protocol} src/ :dst/"))
    .run(&format!("-ai --inplace --stats {protocol} src/ :dst/"))
    .change_source("longer", |tree| {
        tree.append("log", &noise(5, 40_000)).map(drop)
    })
    .run(&format!("-ain --append {protocol} src/ :dst/"))
    .run(&format!("-ai --append --stats {protocol} src/ :dst/"))
    .change("longer, and spoiled over there", |place| {
        place.src()?.append("log", &noise(6, 30_000))?;
        place.dst()?.patch("log", 7, b"spoiled")?;
        Ok(())
    })
    .run(&format!(
        "-ai --append-verify --stats {protocol} src/ :dst/"
    ))
    .run(&format!("-aic {protocol} src/ :dst/"))
    .prints_nothing()
}

/// A push is broken off, and the next one says what it finds.
fn resumed(name: &str, about: &str, first: &str, second: &str) -> Scenario {
    Scenario::new(name, about)
        .source(large)
        .run(&format!("-a {first} --bwlimit=1000 src/image :dst/"))
        .interrupted_when_it_has_read(2_000_000)
        .exits(20)
        .compares(ONLY_THAT_IT_FAILED)
        .run(&format!("-ai {second} src/image :dst/"))
        .run("-aic --delete src/image :dst/")
        .prints_nothing()
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut list = in_all();
    list.extend((27..=31).map(at_version));
    list.push(at_version(32).since("3.4.0"));
    list
}

fn in_all() -> Vec<Scenario> {
    vec![
        delta(
            "delta",
            "matched and literal data of large edited files",
            "",
        ),
        delta("delta-block-size", "-B", "-B 4096"),
        delta(
            "delta-small-blocks",
            "-B with blocks below the usual least",
            "-B 100",
        ),
        delta("delta-inplace", "--inplace", "--inplace"),
        delta(
            "delta-in-place-backup",
            "--inplace -b",
            "--inplace -b --suffix=~~",
        ),
        delta("delta-whole-file", "-W", "-W"),
        delta("delta-sparse", "-S", "-S"),
        delta("delta-inplace-sparse", "-S --inplace", "-S --inplace").since("3.1.3"),
        delta(
            "delta-temp-dir",
            "--temp-dir that exists",
            "--temp-dir=/mnt/compat",
        ),
        delta("delta-delay-updates", "--delay-updates", "--delay-updates"),
        delta(
            "delta-delay-updates-old",
            "--delay-updates with an old protocol",
            "--delay-updates --protocol=28",
        ),
        delta(
            "delta-sparse-preallocate",
            "-S --preallocate --fsync",
            "-S --preallocate --fsync",
        )
        .since("3.2.4"),
        interrupted(
            "interrupted-delay-updates",
            "… with --delay-updates",
            "--delay-updates",
        ),
        delta("delta-partial-dir", "--partial-dir", "--partial-dir=.part"),
        delta("delta-fsync", "--fsync", "--fsync").since("3.2.4"),
        delta("delta-preallocate", "--preallocate", "--preallocate").since("3.1.0"),
        Scenario::new("append", "--append sends only what is longer")
            .source(large)
            .run("-a src/ :dst/")
            .change_source("appended", |tree| {
                tree.append("log", &noise(9, 70_000))?
                    .append("text", b"x")?;
                Ok(())
            })
            .run("-ai --append --stats src/ :dst/")
            .change_source("cut: append skips it", |tree| {
                tree.truncate("log", 10).map(drop)
            })
            .run("-ai --append src/ :dst/"),
        Scenario::new(
            "append-verify",
            "--append-verify repairs what is not the same start",
        )
        .source(large)
        .run("-a src/ :dst/")
        .change("appended, and spoiled over there", |place| {
            place
                .src()?
                .append("log", &noise(9, 70_000))?
                .append("image", b"x")?;
            place.dst()?.patch("log", 5, b"spoiled")?;
            Ok(())
        })
        .run("-ai --append-verify --stats src/ :dst/")
        .run("-aic src/ :dst/")
        .prints_nothing(),
        interrupted("interrupted", "the user presses ^C, and pushes again", ""),
        interrupted("interrupted-partial", "… with --partial", "--partial"),
        interrupted(
            "interrupted-partial-dir",
            "… with --partial-dir",
            "--partial-dir=.part",
        ),
        interrupted("interrupted-inplace", "… with --inplace", "--inplace"),
        Scenario::new(
            "partial-is-used",
            "what a --partial push left is not sent again",
        )
        .source(large)
        .run("-a --partial --bwlimit=1000 src/image :dst/")
        .interrupted_when_it_has_read(2_500_000)
        .exits(20)
        .compares(ONLY_THAT_IT_FAILED)
        .run("-a --partial --no-whole-file --stats src/image :dst/")
        .compares(Compare {
            stdout: false,
            ..Compare::default()
        })
        .check("some of it was there", |outcome, _| {
            let said = String::from_utf8_lossy(&outcome.stdout);
            let matched = said
                .lines()
                .find_map(|line| line.strip_prefix("Matched data: "))
                .ok_or("no statistics")?;
            match matched.starts_with("0 ") {
                true => Err("nothing matched".to_owned()),
                false => Ok(()),
            }
        }),
        resumed(
            "partial-is-told",
            "what is kept of a file is named as if it stood there",
            "--partial",
            "--partial",
        ),
        resumed(
            "partial-without-asking",
            "… and used by a push without --partial",
            "--partial",
            "",
        ),
        resumed(
            "partial-is-appended-to",
            "… and by one with --append",
            "--partial",
            "--append",
        ),
        resumed(
            "partial-dir-is-told",
            "what is kept for a partial directory",
            "--partial-dir=.part",
            "--partial-dir=.part",
        ),
        Scenario::new(
            "partial-dir-in-the-tree",
            "a partial directory that a stock server left",
        )
        .source(large)
        .destination(|tree| {
            tree.file(".part/image", &noise(1, 4_000_000)[..3_000_000])?
                .file(".part/other", b"stays")?
                .file("sub/.part/zeros", &[0; 500_000])?;
            Ok(())
        })
        .change_source("a directory below", |tree| {
            tree.file("sub/zeros", &[0; 700_000]).map(drop)
        })
        .run("-ain --partial-dir=.part src/ :dst/")
        .run("-ai --stats --partial-dir=.part src/ :dst/")
        .leaves("!sub/.part")
        .leaves("!.part/image")
        .leaves(".part/other")
        .run("-ai --delete --partial-dir=.part src/ :dst/")
        .run("-ai --delete src/ :dst/"),
        Scenario::new("bwlimit", "--bwlimit changes nothing but the time")
            .source(|tree| tree.file("f", &noise(4, 300_000)).map(drop))
            .run("-ai --bwlimit=1m src/ :dst/"),
        Scenario::new("timeout", "--timeout and --contimeout are understood")
            .source(large)
            .run("-ai --timeout=30 src/ :dst/")
            .run("-aic --timeout=5 src/ :dst/"),
    ]
}
