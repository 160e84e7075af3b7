//! Hard links, and files with holes.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, nasty, noise};

fn groups(tree: &Builder) -> Result<()> {
    tree.file("a/one", &noise(1, 100_000))?
        .hard_link("a/one", "b/two")?
        .hard_link("a/one", "c/d/three")?
        .file("a/alone", b"alone")?
        .file("a/pair1", b"pair")?
        .hard_link("a/pair1", "z/pair2")?
        .fifo("a/fifo1")?
        .hard_link("a/fifo1", "b/fifo2")?
        .symlink("a/link1", "target")?
        .hard_link("a/link1", "b/link2")?;
    Ok(())
}

fn regroup(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(groups)
        .run(&format!("-aHi {options} src/ :dst/"))
        .change_source("groups grow, shrink, join and part", |tree| {
            tree.hard_link("a/alone", "a/alone-no-more")?
                .remove("b/two")?
                .file("b/two", b"on its own")?
                .remove("z/pair2")?
                .hard_link("a/one", "z/pair2")?
                .patch("c/d/three", 50_000, b"edited")?;
            Ok(())
        })
        .run(&format!("-aHi --delete {options} src/ :dst/"))
        .run(&format!("-aHi --delete {options} src/ :dst/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        regroup("hard-links", "groups change", "").prints_nothing(),
        regroup(
            "hard-links-no-inc",
            "… without incremental recursion",
            "--no-inc-recursive",
        ),
        Scenario::new(
            "hard-links-with-attributes-no-inc",
            "notes of links that carry attributes come after the first phase",
        )
        .source(|tree| {
            groups(tree)?;
            tree.xattr("a/one", "user.short", b"1")?.xattr(
                "a/pair1",
                "user.long",
                &noise(7, 100),
            )?;
            Ok(())
        })
        .run("-aHXi --no-inc-recursive src/ :dst/")
        .run("-aHXi --delete-after src/ :dst/")
        .prints_nothing(),
        Scenario::new(
            "hard-links-last-name-exists",
            "a group whose last name is passed over",
        )
        .source(groups)
        .destination(|tree| tree.file("c/d/three", b"stays").map(drop))
        .run("-aH --ignore-existing src/ :dst/")
        .leaves("a/one")
        .run("-aH --ignore-existing --no-inc-recursive src/ :dst/"),
        Scenario::new(
            "hard-links-last-name-newer",
            "… because it is newer over there",
        )
        .source(groups)
        .destination(|tree| {
            tree.file("c/d/three", b"newer")?
                .time("c/d/three", 2_000_000_000, 0)?;
            Ok(())
        })
        .run("-aHu src/ :dst/")
        .leaves("a/one"),
        Scenario::new(
            "hard-links-remove-sources",
            "links that are in place already are safe to remove",
        )
        .source(groups)
        .run("-aH src/ :dst/")
        .run("-aH --remove-source-files src/ :dst/"),
        Scenario::new(
            "attribute-of-the-top",
            "the destination itself has a long attribute",
        )
        .source(|tree| {
            tree.file("a", b"a")?
                .xattr("", "user.long", &noise(3, 200))?;
            Ok(())
        })
        .run("-aX src/ :dst/")
        .run("-aXi src/ :dst/")
        .prints_nothing(),
        Scenario::new("delete-late-and-old", "old protocols delete late too")
            .source(groups)
            .destination(|tree| tree.file("old", b"goes").map(drop))
            .run("-aH --protocol=28 --delete-after src/ :dst/")
            .leaves("!old"),
        regroup("hard-links-inplace", "… with --inplace", "--inplace"),
        regroup("hard-links-checksum", "… with -c", "-c"),
        regroup(
            "hard-links-delay-updates",
            "… with --delay-updates",
            "--delay-updates",
        ),
        Scenario::new(
            "hard-links-of-specials",
            "groups of fifos and symlinks part and join",
        )
        .source(groups)
        .run("-aHi src/ :dst/")
        .change_source("part and join", |tree| {
            tree.remove("b/fifo2")?
                .fifo("b/fifo2")?
                .hard_link("a/link1", "a/link3")?
                .remove("b/link2")?
                .symlink("b/link2", "target")?;
            Ok(())
        })
        .run("-aHi --delete src/ :dst/")
        .run("-aHi --delete src/ :dst/"),
        Scenario::new("hard-links-attributes", "attributes of a group change")
            .source(groups)
            .run("-aHX src/ :dst/")
            .change_source("mode, owner, time and attribute of one name", |tree| {
                tree.mode("b/two", 0o600)?
                    .owner("z/pair2", 5, 6)?
                    .time("b/fifo2", 77, 7)?
                    .xattr("z/pair2", "user.x", b"1")?;
                Ok(())
            })
            .run("-aHXi src/ :dst/")
            .run("-aHXi src/ :dst/")
            .prints_nothing(),
        Scenario::new(
            "hard-links-in-the-way",
            "the destination's groups are others",
        )
        .source(groups)
        .destination(|tree| {
            tree.file("a/one", b"x")?
                .hard_link("a/one", "a/alone")?
                .hard_link("a/one", "z/pair2")?
                .hard_link("a/one", "other")?;
            Ok(())
        })
        .run("-aHi src/ :dst/"),
        Scenario::new("hard-links-ignored", "without -H every name is a file")
            .source(groups)
            .run("-ai src/ :dst/")
            .run("-aHi src/ :dst/"),
        Scenario::new(
            "hard-links-ignored-second",
            "without -H over groups that exist",
        )
        .source(groups)
        .run("-aH src/ :dst/")
        .change_source("edit", |tree| tree.patch("a/one", 5, b"edit").map(drop))
        .run("-ai src/ :dst/"),
        Scenario::new("hard-links-partly-excluded", "part of a group is not sent")
            .source(groups)
            .run("-aHi --exclude=/a src/ :dst/")
            .run("-aHi src/ :dst/"),
        Scenario::new("hard-links-dry-run", "-n of groups")
            .source(groups)
            .run("-aHin src/ :dst/")
            .run("-aHinvv src/ :dst/"),
        Scenario::new("holes", "-S makes holes")
            .source(nasty)
            .run("-aS src/sizes :dst/")
            .change_source("islands", |tree| {
                tree.patch("sizes/sparse", 100_000, b"new island")?
                    .patch("sizes/zeros", 50_000, b"new")?
                    .truncate("sizes/hole-at-end", 600_000)?;
                Ok(())
            })
            .run("-aSi src/sizes :dst/")
            .run("-aSi --inplace -I src/sizes :dst/")
            .run("-aci src/sizes :dst/")
            .prints_nothing(),
    ]
}
