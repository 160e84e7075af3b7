//! The push of every day: nearly nothing has changed.

use std::ffi::OsStr;

use crate::scenario::Scenario;
use crate::tree::{nasty, ordinary};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("no-change", "a second push with -i prints nothing")
            .source(ordinary)
            .run("-a src/ :dst/")
            .run("-ai src/ :dst/")
            .prints_nothing()
            .run("-a --stats src/ :dst/")
            .prints("Number of regular files transferred: 0"),
        Scenario::new("no-change-all-items", "-ii names what is the same")
            .source(nasty)
            .run("-aHAX src/ :dst/")
            .run("-aHAXii src/ :dst/")
            .prints(".f          sizes/1"),
        Scenario::new("no-change-verbose", "-v, -vv, and -vvi of the same tree")
            .source(ordinary)
            .run("-a src/ :dst/")
            .run("-av src/ :dst/")
            .run("-avv src/ :dst/")
            .prints("is uptodate")
            .run("-avvi src/ :dst/"),
        Scenario::new("no-change-checksum", "-c of the same tree")
            .source(ordinary)
            .run("-a src/ :dst/")
            .run("-aci src/ :dst/")
            .prints_nothing()
            .run("-acii src/ :dst/"),
        Scenario::new(
            "no-change-without-times",
            "without -t everything is sent again",
        )
        .source(ordinary)
        .run("-rlpgoD src/ :dst/")
        .run("-rlpgoDi src/ :dst/")
        .prints("<f..T...... docs/big")
        .from_protocol(29),
        Scenario::new("nanoseconds", "times that differ below a second")
            .source(|tree| {
                tree.file("a", b"a")?.time("a", 1_500_000_000, 1)?;
                tree.file("b", b"b")?.time("b", 1_500_000_000, 0)?;
                Ok(())
            })
            .run("-a src/ :dst/")
            .change_source("a nanosecond later", |tree| {
                tree.time("a", 1_500_000_000, 2)?
                    .time("b", 1_500_000_000, 999_999_999)?;
                Ok(())
            })
            .run("-ai src/ :dst/"),
        Scenario::new("rsync-path", "the server's command in its other forms")
            .source(ordinary)
            .run("-a --rsync-path=/usr/bin/rsync src/ :dst/")
            .change_source("a new file", |tree| tree.file("new", b"1").map(drop))
            .run_with(["-ai", "--rsync-path=nice -n 5 rsync", "src/", ":dst/"].map(OsStr::new))
            .change_source("another", |tree| tree.file("new", b"22").map(drop))
            .run_with(
                ["-ai", "--rsync-path=ionice -c3 nice rsync", "src/", ":dst/"].map(OsStr::new),
            )
            .prints("<f.st...... new")
            .from_protocol(29),
    ]
}
