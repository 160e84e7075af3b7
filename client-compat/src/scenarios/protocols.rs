//! Older versions of the protocol, each with a tree that uses all that it can carry.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, nasty, noise};

/// What every version can carry: times that fit 32 bits, no owners above 2³¹.
fn modest(tree: &Builder) -> Result<()> {
    nasty(tree)?;
    for name in ["times", "owners/4294967294", "names"] {
        tree.remove(name)?;
    }
    tree.file("big", &noise(1, 500_000))?;
    Ok(())
}

fn edit(tree: &Builder) -> Result<()> {
    tree.patch("big", 250_000, b"edited")?
        .append("sizes/65536", b"longer")?
        .mode("modes/file-0600", 0o644)?
        .remove("sizes/700")?
        .file("links/new", b"new")?
        .hard_link("links/new", "links/new2")?;
    Ok(())
}

fn protocol(version: u32) -> Scenario {
    // ACLs and attributes came with 30, and so did modified nanoseconds with 31.
    let options = if version >= 30 { "-aHAX" } else { "-aH" };
    let options = format!("{options} --numeric-ids --protocol={version}");
    Scenario::new(
        format!("protocol-{version}"),
        format!("--protocol={version}: push, push changes, push nothing, pull"),
    )
    .source(move |tree| {
        modest(tree)?;
        if version == 27 {
            // Device numbers of 16 bits.
            tree.remove("kinds/large-numbers")?
                .remove("kinds/block-256")?;
        }
        Ok(())
    })
    .run(&format!("{options} --stats src/ :dst/"))
    .change_source("edits", edit)
    .run(&format!("{options} -iv --delete src/ :dst/"))
    .run(&format!("{options} -i --delete src/ :dst/"))
    .run(&format!("{options} -czi --delete src/ :dst/"))
    .run(&format!("{options} -i :dst/ out/"))
    .run(&format!("{options} -iI --no-whole-file :dst/ out/"))
}

const INCOMPATIBLE: &str = "rsync error: protocol incompatibility (code 2) at # [Receiver]";
const LACKS_FUZZY: &[&str] = &[
    "--fuzzy requires protocol 29 or higher (negotiated 28).",
    INCOMPATIBLE,
];
const LACKS_PRUNING: &[&str] = &[
    "--prune-empty-dirs requires protocol 29 or higher (negotiated 28).",
    INCOMPATIBLE,
];
const LACKS_SEVERAL: &[&str] = &[
    "Using more than one --link-dest option requires protocol 29 or higher (negotiated 27).",
    INCOMPATIBLE,
];
const LACKS_IN_PLACE: &[&str] = &[
    "--copy-dest with --inplace requires protocol 29 or higher (negotiated 28).",
    INCOMPATIBLE,
];
const LACKS_ACLS: &[&str] = &[
    "--acls requires protocol 30 or higher (negotiated 29).",
    INCOMPATIBLE,
];
const LACKS_XATTRS: &[&str] = &[
    "--xattrs requires protocol 30 or higher (negotiated 29).",
    INCOMPATIBLE,
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut list: Vec<Scenario> = (27..=31).map(protocol).collect();
    list.push(protocol(32).since("3.4.0"));
    list.push(
        Scenario::new(
            "protocol-lacks",
            "what older protocols cannot say is refused, by both ends",
        )
        .source(|tree| tree.file("a", b"a").map(drop))
        .run("-r --protocol=28 -y src/ :dst/")
        .exits(2)
        .prints("--fuzzy requires protocol 29 or higher (negotiated 28).")
        .last_words(LACKS_FUZZY)
        .run("-r --protocol=28 -m --delete src/ :dst/")
        .exits(2)
        .prints("--prune-empty-dirs requires protocol 29 or higher (negotiated 28).")
        .last_words(LACKS_PRUNING)
        .run("-r --protocol=27 --link-dest=../a --link-dest=../b src/ :dst/")
        .exits(2)
        .prints("Using more than one --link-dest option requires protocol 29 or higher")
        .last_words(LACKS_SEVERAL)
        .run("-r --protocol=28 --inplace --copy-dest=../a src/ :dst/")
        .exits(2)
        .prints("--copy-dest with --inplace requires protocol 29 or higher (negotiated 28).")
        .last_words(LACKS_IN_PLACE)
        .run("-rA --protocol=29 src/ :dst/")
        .exits(2)
        .prints("--acls requires protocol 30 or higher (negotiated 29).")
        .last_words(LACKS_ACLS)
        .run("-rX --protocol=29 src/ :dst/")
        .exits(2)
        .prints("--xattrs requires protocol 30 or higher (negotiated 29).")
        .last_words(LACKS_XATTRS)
        .leaves("!a"),
    );
    list.push(
        Scenario::new(
            "protocol-too-old",
            "--protocol=19: older than anything that is spoken",
        )
        .source(|tree| tree.file("a", b"a").map(drop))
        .run("-r --protocol=19 src/ :dst/")
        .exits(2)
        .prints("--protocol must be at least 20 on the Client.")
        .last_words(&[
            "protocol version mismatch -- is your shell clean?",
            "(see the rsync manpage for an explanation)",
            "rsync error: protocol incompatibility (code 2) at # [Receiver]",
        ]),
    );
    list
}
