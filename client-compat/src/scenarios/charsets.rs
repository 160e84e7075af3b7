//! Names in another charset on the server than at the client (`--iconv`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, ordinary};

/// Names that Latin-1 has, which sort differently there and in UTF-8. (Hard links are in one
/// directory, since stock takes the list that comes first in several.)
fn western(tree: &Builder) -> Result<()> {
    for (number, name) in [
        "café",
        "cafz",
        "Ärger",
        "z",
        "¡hola",
        "naïve/über",
        "naïve/zebra",
    ]
    .into_iter()
    .enumerate()
    {
        tree.file(name, format!("file {number}\n").as_bytes())?
            .time(name, 1_300_000_000 + number as i64, 0)?;
    }
    tree.file("ÿ/é/ü", b"deep")?
        .file("o/é", b"x")?
        .file("ö/é", b"y")?
        .symlink("lien", "naïve/über")?
        .symlink("lién", "../ÿ")?
        .hard_link("café", "encore-café")?
        .hard_link("café", "été")?
        .directory("vidé")
        .map(drop)
}

/// The same and names that Latin-1 does not have. (In a list of incremental recursion they make a
/// stock server give up, and hard links to them make it link to what stands in its memory: the
/// end-to-end tests look at those.)
fn eastern(tree: &Builder) -> Result<()> {
    western(tree)?;
    tree.file("日本", b"1")?
        .file("naïve/€", b"3")?
        .file("naïve/ascii", b"4")?
        .symlink("to-japan", "日本")
        .map(drop)
}

/// Names as a server with Latin-1 has them, one of which is no UTF-8 either.
fn latin1(tree: &Builder) -> Result<()> {
    let name = OsStr::from_bytes;
    tree.file(name(b"caf\xe9"), b"1")?
        .file(name(b"na\xefve/\xfcber"), b"2")?
        .file(name(b"na\xefve/ascii"), b"3")?
        .file("z", b"4")?
        .symlink("lien", name(b"na\xefve/\xfcber"))
        .map(drop)
}

fn kept_as(name: &str, charset: &str, names: &'static [&'static str]) -> Scenario {
    Scenario::new(name, format!("names kept in {charset}"))
        .source(move |tree| {
            for name in names {
                tree.file(name, name.as_bytes())?
                    .time(name, 1_300_000_000, 0)?;
            }
            Ok(())
        })
        .run(&format!("-ai --iconv=utf8,{charset} src/ :dst/"))
        .run(&format!("-aic --delete --iconv=utf8,{charset} src/ :dst/"))
        .prints_nothing()
        .run(&format!("-ai --iconv=utf8,{charset} :dst/ out/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "iconv",
            "--iconv: names, targets and hard links in Latin-1 there",
        )
        .source(western)
        .run("-aiH --iconv=utf8,iso-8859-1 src/ :dst/")
        .run("-aiHc --delete --iconv=utf8,iso-8859-1 src/ :dst/")
        .prints_nothing()
        .change_source("edits", |tree| {
            tree.append("naïve/über", b"more")?
                .remove("café")?
                .remove("ÿ")?
                .file("nouveau/à", b"x")
                .map(drop)
        })
        .run("-aiHv --delete --iconv=utf8,iso-8859-1 src/ :dst/")
        .run("-ai --iconv=utf8,iso-8859-1 :dst/ out/")
        .run("-aic --delete --iconv=utf8,iso-8859-1 :dst/ out/")
        .prints_nothing(),
        Scenario::new("iconv-whole-list", "--iconv without incremental recursion")
            .source(western)
            .run("-aiH --no-i-r --iconv=utf8,latin1 src/ :dst/")
            .run("-aiHm --delete-after --iconv=utf8,latin1 src/ :dst/")
            .run("-aiH --no-i-r --iconv=utf8,latin1 :dst/ out/"),
        Scenario::new("iconv-relative", "--iconv with -R and names from a list")
            .source(western)
            .run("-aiR --iconv=utf8,latin1 src/./o src/./naïve/über src/./ÿ :dst/")
            .run("-aiR --iconv=utf8,latin1 :dst/./o out/"),
        Scenario::new(
            "iconv-unfit",
            "names that the server's charset does not have",
        )
        .source(eastern)
        .destination(|tree| tree.file("here", b"x").map(drop))
        .run("-ai --no-i-r --iconv=utf8,latin1 src/ :dst/")
        .exits(23)
        .run("-ai --no-i-r --delete --iconv=utf8,latin1 src/ :dst/")
        .exits(23)
        .run("-ai --no-i-r --delete --ignore-errors --iconv=utf8,latin1 src/ :dst/")
        .exits(23),
        Scenario::new(
            "iconv-pull",
            "names of the server in Latin-1, and taken for UTF-8",
        )
        // Older ones do not find the charset when the locale is none.
        .since("3.2.4")
        .destination(latin1)
        .run("-ai --iconv=utf8,latin1 :dst/ out/")
        .run("-aic --delete --iconv=utf8,latin1 :dst/ out/")
        .prints_nothing()
        .run("-ai --iconv=latin1,utf8 :dst/ other/")
        .exits(23),
        Scenario::new(
            "iconv-secluded",
            "-s: arguments and names of a list travel in UTF-8",
        )
        .source(western)
        .prepare(|place| {
            place.local()?.file("list", "café\nnaïve\n".as_bytes())?;
            place
                .base()?
                .file("there", b"caf\xe9\nna\xefve\n")
                .map(drop)
        })
        .destination(|tree| tree.file("here", b"x").map(drop))
        .run("-ais --iconv=utf8,latin1 src/ :dst/tél/")
        .run("-ais --iconv=utf8,latin1 :dst/tél/naïve out/")
        .run("-airs --iconv=utf8,latin1 --files-from=list :dst/tél/ listed/")
        .run("-airs --iconv=utf8,latin1 --files-from=:/mnt/compat/there src/ :dst/listed/"),
        Scenario::new("iconv-unknown", "a charset that there is not")
            .source(ordinary)
            .run("-ai --iconv=utf8,klingon src/ :dst/")
            .exits(12)
            .run("-ai --iconv=utf8,- src/ :dst/")
            .exits(12),
        Scenario::new("iconv-off", "--no-iconv and --iconv=-")
            .source(western)
            .run("-ai --iconv=- src/ :dst/")
            .run("-aic --iconv=utf8,latin1 --no-iconv src/ :dst/")
            .prints_nothing(),
        kept_as("iconv-utf8", "utf8", &["é/日本", "ASCII", "😀"]),
        kept_as(
            "iconv-cp850",
            "CP850",
            &["é/ñ", "ÇüéâäàåçêëèïîìÄÅ", "¿½¼«»░▒▓"],
        ),
        kept_as("iconv-cp1252", "CP1252", &["€/Š", "„Anführung“", "naïve"]),
        kept_as("iconv-koi8-r", "KOI8-R", &["привет/мир", "Ёлка", "z"]),
        kept_as("iconv-latin9", "ISO-8859-15", &["€/é", "œuvre", "Ž"]),
        kept_as(
            "iconv-sjis",
            "SHIFT_JIS",
            &["日本/ファイル", "表示", "ソース", "ﾊﾝｶｸ"],
        ),
        kept_as(
            "iconv-euc-jp",
            "EUC-JP",
            &["日本/ファイル", "表示", "ソース"],
        ),
        kept_as("iconv-gbk", "GBK", &["中文/文件", "誠", "€"]),
    ]
}
