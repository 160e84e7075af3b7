//! What is printed, for those who read it or parse it.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, nasty, ordinary};

fn edit(tree: &Builder) -> Result<()> {
    tree.append("docs/big", b"more")?
        .mode("docs/file1", 0o640)?
        .file("new", b"new")?
        .remove("pictures/file2")?;
    Ok(())
}

fn printed(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .source(ordinary)
        .run(&format!("-a {options} src/ :dst/"))
        .change_source("edits", edit)
        .run(&format!("-a --delete {options} src/ :dst/"))
        .run(&format!("-a --delete {options} src/ :dst/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        printed("quiet", "-q", "-q").prints_nothing(),
        printed("quiet-verbose", "-qv", "-qv"),
        printed("stats", "--stats", "--stats").prints("Number of files: "),
        printed("stats-human", "--stats -hh", "--stats -hh"),
        printed("itemize-verbose", "-iv", "-iv"),
        printed("itemize-all", "-ii", "-ii"),
        printed("very-verbose", "-vv", "-vv"),
        printed(
            "out-format",
            "--out-format with %o",
            "--out-format=%o|%i|%n|%L|%l|%f|%M",
        ),
        printed(
            "log-format",
            "--log-format, its older name",
            "--log-format=%i|%n",
        ),
        printed("out-format-name", "--out-format=%n", "--out-format=%n"),
        printed(
            "out-format-plain",
            "--out-format with no item",
            "--out-format=x",
        ),
        printed("info-name2", "--info=name2", "--info=name2"),
        printed(
            "info-all",
            "--info=all1,progress0,stats0",
            "--info=all1,progress0,stats0",
        ),
        printed(
            "info-some",
            "--info=del,skip,copy,misc,stats2",
            "--info=del,skip,copy,misc,stats2",
        ),
        printed("info-none", "-v --info=none", "-v --info=none"),
        printed(
            "progress",
            "--progress: which files, if not how fast",
            "--progress",
        ),
        printed("log-file", "--log-file", "--log-file=client.log"),
        printed(
            "log-file-format",
            "--log-file-format",
            "--log-file=client.log --log-file-format=%i_%n",
        ),
        printed("stderr-modes", "--stderr=all", "--stderr=all").since("3.2.4"),
        printed("stderr-client", "--stderr=client", "--stderr=client").since("3.2.4"),
        printed(
            "no-motd-and-others",
            "options that mean nothing here",
            "--no-motd --outbuf=L -8",
        ),
        Scenario::new(
            "odd-names-printed",
            "-i of names that need escapes, with and without -8",
        )
        .source(nasty)
        .run("-ai src/names :dst/")
        .run("-aI8i src/names :dst/"),
    ]
}
