//! The first push of a machine: an empty or missing destination.

use crate::scenario::Scenario;
use crate::tree::{nasty, ordinary};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("first-push", "an ordinary tree with -a")
            .source(ordinary)
            .run("-a src/ :dst/")
            .leaves("docs/deep/er/file5"),
        Scenario::new("first-push-itemized", "… what -i prints, in its order")
            .source(ordinary)
            .run("-ai src/ :dst/")
            .in_order()
            .prints("<f+++++++++ docs/big")
            .from_protocol(29),
        Scenario::new("first-push-verbose", "… what -v prints")
            .source(ordinary)
            .run("-av src/ :dst/")
            .prints("docs/deep/er/"),
        Scenario::new("first-push-verbose-in-order", "… and in which order")
            .source(ordinary)
            .run("-av src/ :dst/")
            .in_order()
            .since_protocol(
                29,
                "a stock server's lines overtake its requests there, ours do not",
            ),
        Scenario::new(
            "first-push-everything",
            "a nasty tree with all that can be kept",
        )
        .source(nasty)
        .run("-aHAX --numeric-ids --delete src/ :dst/")
        .leaves("kinds/socket")
        .run("-aHAXi --numeric-ids --delete src/ :dst/")
        .prints_nothing(),
        Scenario::new("first-push-everything-verbose", "… with -ivv")
            .source(nasty)
            .run("-aHAXivv --numeric-ids src/ :dst/"),
        Scenario::new("first-push-archive-of-nasty", "a nasty tree with -a only")
            .source(nasty)
            .run("-a src/ :dst/")
            .run("-ai src/ :dst/")
            .prints_nothing(),
        Scenario::new(
            "first-push-without-recursion",
            "directories without -r are skipped",
        )
        .source(ordinary)
        .run("-lptgoD src/ :dst/")
        .prints("skipping directory"),
        Scenario::new("dirs-without-recursion", "-d sends one level")
            .source(ordinary)
            .run("-dlptgoD src/ :dst/")
            .leaves("!docs/big"),
        Scenario::new(
            "first-push-relative",
            "--relative from a /./ on, with compression",
        )
        .source(nasty)
        .run(
            "-a --relative --stats --ipv4 --hard-links --numeric-ids --archive --delete \
                 --ignore-errors --partial --timeout=600 --compress src/./ :dst/",
        )
        .run("-aRHi --numeric-ids --delete src/./ :dst/")
        .prints_nothing(),
        Scenario::new("empty-source-directory", "nothing in it")
            .source(|_| Ok(()))
            .run("-av src/ :dst/")
            .leaves(".")
            .run("-av --delete src/ :dst/"),
        Scenario::new("no-incremental-recursion", "--no-inc-recursive")
            .source(nasty)
            .run("-aHv --no-inc-recursive src/ :dst/")
            .run("-aHi --no-inc-recursive --delete src/ :dst/")
            .prints_nothing(),
        Scenario::new(
            "many-directories",
            "file lists that arrive while files are sent",
        )
        .source(|tree| {
            for number in 0..1_500 {
                let (outer, middle, inner) = (number / 100, number / 10 % 10, number % 10);
                let content = number.to_string();
                tree.file(format!("{outer}/{middle}/{inner}/f"), content.as_bytes())?;
            }
            Ok(())
        })
        .run("-a --stats src/ :dst/")
        .run("-ai src/ :dst/")
        .prints_nothing(),
    ]
}
