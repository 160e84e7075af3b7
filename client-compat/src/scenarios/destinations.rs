//! What the last argument means: a file, a directory, nothing yet.

use crate::scenario::Scenario;
use crate::tree::ordinary;

const CANNOT_SELECT: &[&str] =
    &["rsync error: errors selecting input/output files, dirs (code 3) at # [Receiver]"];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("file-to-new-name", "one file to a name that is not there")
            .source(ordinary)
            .destination(|_| Ok(()))
            .run("-ai src/docs/big :dst/large")
            .leaves("large")
            .run("-ai src/docs/big :dst/large")
            .prints_nothing(),
        Scenario::new("file-to-existing-name", "one file over another")
            .source(ordinary)
            .destination(|tree| tree.file("large", b"small").map(drop))
            .run("-ai src/docs/big :dst/large"),
        Scenario::new(
            "file-to-directory",
            "one file into a directory, with and without slash",
        )
        .source(ordinary)
        .destination(|_| Ok(()))
        .run("-ai src/docs/big :dst")
        .run("-ai src/docs/file1 :dst/")
        .leaves("file1"),
        Scenario::new(
            "file-to-new-directory",
            "one file into a directory that is not there",
        )
        .source(ordinary)
        .run("-ai src/docs/big :dst/")
        .prints("created directory")
        .leaves("big"),
        Scenario::new(
            "file-to-plain-name",
            "one file to a new name beside the others",
        )
        .source(ordinary)
        .run("-ai src/docs/big :file"),
        Scenario::new(
            "file-to-symlinked-directory",
            "into a symlink to a directory",
        )
        .source(ordinary)
        .destination(|tree| tree.directory("real")?.symlink("link", "real").map(drop))
        .run("-ai src/docs/big :dst/link")
        .run("-ai src/pictures/ :dst/link/")
        .leaves("real/file1"),
        Scenario::new("missing-parent", "more than one directory is missing")
            .source(ordinary)
            .run("-ai src/ :a/b/c/")
            .exits(11)
            .exits_below(31, 12),
        Scenario::new("mkpath", "--mkpath makes them")
            .source(ordinary)
            .run("-ai --mkpath src/ :a/b/c/")
            .run("-ai --mkpath src/docs/big :d/e/f")
            .run("-ai --mkpath src/docs/big :g/h/")
            .since("3.2.3"),
        Scenario::new("destination-is-a-file", "many files to a file")
            .source(ordinary)
            .prepare(|place| place.base()?.file("dst", b"x").map(drop))
            .run("-ai src/ :dst/")
            .exits(3)
            .last_words(CANNOT_SELECT)
            .exits_below(31, 12)
            .run("-ai src/docs src/pictures :dst")
            .exits(3)
            .last_words(CANNOT_SELECT)
            .exits_below(31, 12),
        Scenario::new("destination-below-a-file", "a parent is a file")
            .source(ordinary)
            .prepare(|place| place.base()?.file("dst", b"x").map(drop))
            .run("-ai src/ :dst/below/")
            .exits(3)
            .last_words(CANNOT_SELECT)
            .exits_below(31, 12),
        Scenario::new(
            "existing-file-among-several",
            "a directory where a file would go",
        )
        .source(ordinary)
        .destination(|tree| tree.file("docs/big/inside", b"x").map(drop))
        .run("-ai src/docs/big :dst/docs/")
        .exits(23),
        Scenario::new("dry-run-missing-destination", "-n where nothing is yet")
            .source(ordinary)
            .run("-ain src/ :dst/")
            .run("-ain src/docs/big :dst/")
            .run("-ain src/ :a/b/")
            .exits(11)
            .compares(crate::scenario::Compare {
                exit: false,
                ..Default::default()
            }),
        Scenario::new("list-only", "without a destination the source is listed")
            .source(ordinary)
            .destination(ordinary)
            .run("-r :dst/")
            .prints("docs/deep/er/file5")
            .run(":dst/"),
    ]
}
