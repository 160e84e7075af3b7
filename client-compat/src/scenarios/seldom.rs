//! Options that are seldom written out: parts of what `-a` and its kin stand for, and what only
//! says how, not what.

use std::ffi::{OsStr, OsString};

use crate::scenario::{Compare, SHELL, Scenario};
use crate::tree::{nasty, ordinary};

fn rsh() -> OsString {
    format!("--rsh={SHELL}").into()
}

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
        Scenario::new(
            "large-device-protocol-27",
            "--protocol=27: a device number that takes 32 bits",
        )
        .source(|tree| tree.char_device("large", 4_095, 1_048_575).map(drop))
        .run("-a --protocol=27 src/ :dst/")
        .exits_somehow(),
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
        pushed(
            "open-noatime",
            "--open-noatime, with and without -U",
            "-a --open-noatime",
        )
        .run("-aUi --open-noatime src/ :dst/")
        .run("-aUi --open-noatime src/ :dst/")
        .prints_nothing()
        .check("access times are the client's", |_, place| {
            use std::os::unix::fs::MetadataExt;
            let of = |root: &std::path::Path| {
                let file = root.join("sizes/700");
                let seconds = file.symlink_metadata().map(|file| file.atime());
                seconds.map_err(|error| format!("{}: {error}", file.display()))
            };
            let (here, there) = (of(&place.local.join("src"))?, of(&place.base.join("dst"))?);
            match here == there {
                true => Ok(()),
                false => Err(format!("{here} at the client, {there} at the server")),
            }
        })
        .since("3.2.0"),
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
        pushed("stop-after", "--stop-after", "-a --stop-after=60").since("3.2.3"),
        pushed("stop-at", "--stop-at", "-a --stop-at=2099/12/31T23:59").since("3.2.3"),
        pushed(
            "remote-option",
            "--remote-option and -M, one option each",
            "-rlD --remote-option=-tp -M-o -M-g -M--numeric-ids",
        ),
        pushed(
            "client-only-options",
            "options that the server never hears of",
            "-a --no-motd --blocking-io --outbuf=L -8 --ipv4 --no-human-readable",
        ),
        pushed(
            "client-only-options-newer",
            "… and those of newer clients",
            "-a --no-old-args --no-secluded-args --insecure-links",
        )
        .since("3.5.0"),
        pushed(
            "drop-devices",
            "-M--drop-D: the server makes no devices",
            "-a -M--drop-D",
        )
        .prints("skipping non-regular file \"kinds/null\"")
        .since("3.5.0"),
        Scenario::new("rsh-option", "-e and --rsh name the remote shell")
            .source(ordinary)
            .run_with(["-ai", "-e", SHELL, "src/", ":dst/"].map(OsStr::new))
            .run_with([
                OsStr::new("-ai"),
                &rsh(),
                OsStr::new("src/"),
                OsStr::new(":dst/"),
            ])
            .prints_nothing(),
        Scenario::new("copy-as", "--copy-as: another user reads the files")
            .source(ordinary)
            .run("-ai --copy-as=daemon src/ :dst/")
            .exits(23)
            .prints("Permission denied")
            .leaves("!docs/file1")
            .since("3.2.0"),
        Scenario::new("write-batch-too", "--write-batch pushes as well")
            .source(ordinary)
            .run("-ai --write-batch=batch src/ :dst/")
            .compares(Compare {
                // The batch holds the seed of that connection.
                tree: false,
                ..Compare::default()
            })
            .leaves("docs/big")
            .change("the batch is not compared", |place| {
                place.local()?.remove("batch")?.remove("batch.sh").map(drop)
            })
            .run("-aic src/ :dst/")
            .prints_nothing(),
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
