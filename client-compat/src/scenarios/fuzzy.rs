//! A file that is not there, and a similar one that is.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, noise};

/// Versions of files, each with much in common with its neighbours.
const OLD: &[&str] = &[
    "tool-1.0.tar.gz",
    "tool-1.1.tar.gz",
    "tool-2.0.tar.gz",
    "tool.zip",
    "messages.1",
    "messages.2",
    "messages.log.1",
    "mail.log.old",
    "mail.log.~1~",
    ".profile",
    "données-1.csv",
    "aab",
    "baa",
    "nothing-like-it-at-all-and-much-too-long-to-be",
];

const NEW: &[&str] = &[
    "tool-1.2.tar.gz",
    "tool-1.2.zip",
    "tool-10.0.tar.gz",
    "messages.3",
    "messages.log.2",
    "messages.log",
    "mail.log",
    "mail.log~",
    ".profile2",
    "données-2.csv",
    "aa",
    "dir/messages.4",
    "x",
];

fn content(number: usize) -> Vec<u8> {
    let mut content = noise(1, 30_000);
    content[100 * number..100 * number + 50].fill(b'0' + number as u8);
    content.truncate(29_000 + number);
    content
}

fn old(tree: &Builder) -> Result<()> {
    for (number, name) in OLD.iter().enumerate() {
        tree.file(name, &content(number))?
            .time(name, 1_400_000_000 + number as i64, 0)?;
    }
    tree.file("empty.tar.gz", b"")?
        .symlink("tool-1.3.tar.gz", "tool.zip")?
        .file("dir/messages.1", &content(3))?;
    Ok(())
}

/// How much came over the wire tells which file was taken.
fn new(tree: &Builder) -> Result<()> {
    for (number, name) in NEW.iter().enumerate() {
        let mut content = content(number);
        content.extend_from_slice(&noise(50 + number as u64, 600 + number));
        tree.file(name, &content)?
            .time(name, 1_500_000_000 + number as i64, 0)?;
    }
    Ok(())
}

fn renamed(name: &str, about: &str) -> Scenario {
    Scenario::new(name, about)
        .source(old)
        .run("-a src/ :dst/")
        .change_source("new files", new)
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        renamed("fuzzy-names", "the most similar name is the basis").run("-aiy --stats src/ :dst/"),
        renamed("fuzzy-one-by-one", "… of each file by itself")
            .run("-ay --stats --include=tool-1.2.* --exclude=* src/ :dst/")
            .run("-ay --stats --include=tool-10* --exclude=* src/ :dst/")
            .run("-ay --stats --include=messages.3 --exclude=* src/ :dst/")
            .run("-ay --stats --include=messages.log* --exclude=* src/ :dst/")
            .run("-ay --stats --include=mail* --exclude=* src/ :dst/")
            .run("-ay --stats --include=.pro* --exclude=* src/ :dst/")
            .run("-ay --stats --include=*.csv --exclude=* src/ :dst/")
            .run("-ay --stats --include=aa --exclude=* src/ :dst/"),
        Scenario::new(
            "fuzzy-size-and-time",
            "a file of the same size and time, whatever its name",
        )
        .source(old)
        .run("-a src/ :dst/")
        .change_source("other names", |tree| {
            tree.rename("tool-1.0.tar.gz", "archive")?
                .rename("messages.1", "tool-1.4.tar.gz")?
                .rename("aab", "dir/elsewhere")?;
            Ok(())
        })
        .run("-aiy --stats src/ :dst/")
        .run("-aiy --modify-window=2 --stats src/ :other/"),
        renamed(
            "fuzzy-deletes",
            "what goes is a basis only if it goes later",
        )
        .change_source("the old ones go", |tree| {
            tree.remove("messages.1")?
                .remove("tool-1.1.tar.gz")
                .map(drop)
        })
        .run("-aiy --stats --delete src/ :dst/"),
        renamed("fuzzy-deletes-later", "--delete-delay and --delete-after")
            .change_source("the old ones go", |tree| {
                tree.remove("messages.1")?
                    .remove("tool-1.1.tar.gz")
                    .map(drop)
            })
            .run("-aiy --stats --delete-delay src/ :dst/")
            .change_source("more go", |tree| {
                tree.rename("aa", "aaa")?.remove("mail.log~").map(drop)
            })
            .run("-aiy --stats --delete-after src/ :dst/"),
        renamed("fuzzy-elsewhere", "-yy looks in other directories too")
            .run("-aiyy --stats --compare-dest=../dst src/ :new/")
            .run("-aiyy --stats --link-dest=../none --link-dest=../dst src/ :linked/")
            .run("-aiy --stats --copy-dest=../dst src/ :copied/"),
        renamed("fuzzy-ways-to-write", "-n, -W, -c, in place, delayed")
            .run("-aiyn src/ :dst/")
            .run("-aiyyn --link-dest=../dst src/ :none/")
            .run("-aiyW --stats --include=tool* --exclude=* src/ :dst/")
            .run("-aiyc --stats --include=mess* --exclude=* src/ :dst/")
            .run("-aiy --inplace --stats --include=mail* --exclude=* src/ :dst/")
            .run("-aiy --delay-updates --stats src/ :dst/"),
        renamed("fuzzy-changing", "a file that changes is nobody's basis")
            .change_source("the nearest change too", |tree| {
                tree.append("messages.2", b"more")?
                    .append("tool-1.1.tar.gz", b"more")
                    .map(drop)
            })
            .run("-aiy --stats src/ :dst/"),
        renamed("fuzzy-protocol-29", "-y at protocol 29")
            .run("-aiy --stats --protocol=29 src/ :dst/"),
        renamed("fuzzy-protocol-30", "-y at protocol 30")
            .run("-aiyy --stats --protocol=30 src/ :dst/"),
    ]
}
