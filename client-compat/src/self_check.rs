//! Shows that the harness is able to fail: stock against stock must be equal, and stock against a
//! spoiled result must differ, for every kind of spoiling.

use std::fs;

use anyhow::{Result, anyhow, bail};

use crate::clients::Clients;
use crate::differ::{Lab, run};
use crate::run::Outcome;
use crate::sandbox::ServerKind;
use crate::scenario::{Place, Scenario};
use crate::scenarios;
use crate::tree::{Builder, acl};

type Damage = fn(&Place, &mut Outcome) -> Result<()>;

/// Scenarios that touch every part of the harness: all kinds of files, deletions, exit codes,
/// order of lines, an interrupted client, a client without privilege, a pull.
pub const SAMPLE: &[&str] = &[
    "first-push-everything",
    "first-push-itemized",
    "type-changes",
    "edits",
    "max-delete",
    "unreadable-source",
    "interrupted",
    "pull-delta",
];

/// What is done to the second result, and a part of the line that must report it.
const DAMAGES: &[(&str, Damage, &str)] = &[
    (
        "one byte of content",
        |place, _| change(place, |tree| tree.patch("sizes/32768", 9, b"?").map(drop)),
        "kind file with content",
    ),
    (
        "a longer file",
        |place, _| change(place, |tree| tree.append("sizes/700", b"?").map(drop)),
        "size 700",
    ),
    (
        "a mode",
        |place, _| change(place, |tree| tree.mode("sizes/700", 0o640).map(drop)),
        "mode 0644",
    ),
    (
        "an owner",
        |place, _| change(place, |tree| tree.owner("kinds/dangling", 5, 0).map(drop)),
        "owner 0",
    ),
    (
        "a group",
        |place, _| change(place, |tree| tree.owner("sizes/700", 0, 5).map(drop)),
        "group 0",
    ),
    (
        "a nanosecond",
        |place, _| {
            change(place, |tree| {
                tree.time("times/last-nanosecond", 1_600_000_000, 999_999_998)
                    .map(drop)
            })
        },
        "999999999",
    ),
    (
        "a symlink's target",
        |place, _| {
            change(place, |tree| {
                tree.remove("kinds/odd")?
                    .symlink("kinds/odd", "x")
                    .map(drop)
            })
        },
        "kind symlink to",
    ),
    (
        "an attribute",
        |place, _| {
            change(place, |tree| {
                tree.xattr("xattrs/33", "user.value", b"?").map(drop)
            })
        },
        "xattr user.value",
    ),
    (
        "an ACL",
        |place, _| change(place, |tree| tree.acl("acls/file", &acl(&[])).map(drop)),
        "system.posix_acl_access",
    ),
    (
        "a default ACL",
        |place, _| {
            change(place, |tree| {
                tree.remove_xattr("acls/dir", "system.posix_acl_default")
                    .map(drop)
            })
        },
        "system.posix_acl_default",
    ),
    (
        "a device number",
        |place, _| {
            change(place, |tree| {
                tree.remove("kinds/block")?
                    .block_device("kinds/block", 7, 1)
                    .map(drop)
            })
        },
        "block device 7:0",
    ),
    (
        "a hard link",
        |place, _| {
            change(place, |tree| {
                let content = fs::read(tree.path("links/z"))?;
                tree.remove("links/z")?.file("links/z", &content).map(drop)
            })
        },
        "same file as",
    ),
    (
        "a file more",
        |place, _| change(place, |tree| tree.file(".staging.tmp", b"").map(drop)),
        "only in right",
    ),
    (
        "a file less",
        |place, _| change(place, |tree| tree.remove("kinds/fifo").map(drop)),
        "only in left",
    ),
    (
        "the exit code",
        |_, outcome| {
            outcome.exit = 23;
            Ok(())
        },
        "exit: 0",
    ),
    (
        "a line on stdout",
        |_, outcome| {
            outcome.stdout.extend(b"more\n");
            Ok(())
        },
        "stdout: only right: more",
    ),
    (
        "a line on stderr",
        |_, outcome| {
            outcome.stderr.extend(b"more\n");
            Ok(())
        },
        "stderr: only right: more",
    ),
];

/// Spoils the destination without leaving other traces.
fn change(place: &Place, damage: impl Fn(&Builder) -> Result<()>) -> Result<()> {
    damage(&place.dst()?)
}

/// A lab with a stock server on both sides.
pub fn stock_lab(clients: &Clients) -> Result<Lab> {
    Ok(Lab {
        sides: [ServerKind::Stock, ServerKind::Stock],
        ..Lab::new(clients)?
    })
}

/// Stock against stock must be equal.
pub fn must_be_equal(name: &str, lab: &Lab) -> Result<()> {
    let report = run(&named(name)?, lab)?;
    if report.differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = report
        .differences
        .iter()
        .map(|difference| format!("  after {}: {}", difference.after, difference.line))
        .collect();
    bail!("{name}: stock differs from stock:\n{}", lines.join("\n"))
}

/// Names of the ways to spoil a result.
pub fn damages() -> impl Iterator<Item = &'static str> {
    DAMAGES.iter().map(|(name, ..)| *name)
}

/// Stock against a spoiled result must differ, and the report must say where.
pub fn must_be_noticed(damage: &str, lab: &Lab) -> Result<()> {
    let (name, damage, line) = DAMAGES
        .iter()
        .find(|(name, ..)| *name == damage)
        .ok_or_else(|| anyhow!("no damage {damage:?}"))?;
    let mut scenario = named("first-push-everything")?;
    // The first push is enough.
    scenario.steps.truncate(1);
    let lab = Lab {
        damage: Some(*damage),
        ..lab.clone()
    };
    let report = run(&scenario, &lab)?;
    if report
        .differences
        .iter()
        .any(|difference| difference.line.contains(line))
    {
        return Ok(());
    }
    bail!(
        "{name} was spoiled and no line with {line:?} says so; there were: {:#?}",
        report.differences
    )
}

fn named(name: &str) -> Result<Scenario> {
    scenarios::all()
        .into_iter()
        .find(|scenario| scenario.name == name)
        .ok_or_else(|| anyhow!("no scenario {name:?}"))
}
