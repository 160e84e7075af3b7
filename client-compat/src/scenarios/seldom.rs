//! Options that are seldom written out: parts of what `-a` and its kin stand for, and what only
//! says how, not what.

use crate::scenario::Scenario;
use crate::tree::{nasty, ordinary};

fn pushed(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(nasty)
        .run(&format!("{options} -i src/ :dst/"))
        .run(&format!("{options} -i src/ :dst/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        pushed(
            "devices-alone",
            "--devices without --specials",
            "-rlptgo --devices",
        )
        .prints("skipping non-regular file \"kinds/fifo\""),
        pushed(
            "specials-alone",
            "--specials without --devices",
            "-rlptgo --specials",
        )
        .prints("skipping non-regular file \"kinds/null\""),
        pushed(
            "inc-recursive",
            "--inc-recursive, and --no-inc-recursive",
            "-aH --inc-recursive",
        )
        .run("-aHi --no-inc-recursive --delete src/ :dst/")
        .prints_nothing(),
        pushed("open-noatime", "--open-noatime", "-a --open-noatime").since("3.2.0"),
        pushed("super-option", "--super, as root", "-a --super"),
        pushed("max-alloc", "--max-alloc", "-a --max-alloc=2g").since("3.2.2"),
        Scenario::new(
            "old-dirs",
            "--old-dirs: the names in a directory, not what is below",
        )
        .source(ordinary)
        .run("-tpi --old-dirs src/ :dst/"),
        pushed(
            "compress-choice",
            "--compress-choice, written out",
            "-az --compress-choice=zstd",
        )
        .since("3.2.0"),
        Scenario::new(
            "copy-devices",
            "--copy-devices: what a device holds, as a file",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.char_device("null", 1, 3)?
                .time("null", 1_400_000_000, 0)
                .map(drop)
        })
        .since("3.3.0")
        .run("-ai --copy-devices src/ :dst/"),
        Scenario::new(
            "write-devices",
            "--write-devices, into a device of the server",
        )
        .source(|tree| tree.file("null", b"x").map(drop))
        .since("3.2.0")
        .change_destination("a device", |tree| tree.char_device("null", 1, 3).map(drop))
        .run("-ai --write-devices src/ :dst/"),
    ]
}
