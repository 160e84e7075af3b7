//! Every checksum and every compression that a client can choose.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, noise};

fn before(tree: &Builder) -> Result<()> {
    for (number, size) in [0, 1, 100, 699, 700, 5_000, 40_000, 300_000]
        .into_iter()
        .enumerate()
    {
        let name = format!("noise{number}");
        tree.file(&name, &noise(number as u64, size))?
            .time(&name, 1_300_000_000, 0)?;
        let name = format!("text{number}");
        let text: String = (0..size / 10)
            .map(|line| format!("line {line}\n"))
            .collect();
        tree.file(&name, text.as_bytes())?
            .time(&name, 1_300_000_000, 0)?;
    }
    // Suffixes that rsync does not compress.
    tree.file("photo.jpg", &noise(50, 70_000))?
        .file("archive.gz", &vec![7; 70_000])?;
    Ok(())
}

fn after(tree: &Builder) -> Result<()> {
    for number in 3..8 {
        let middle = 10 * number;
        tree.patch(format!("noise{number}"), middle, b"changed")?
            .append(format!("text{number}"), b"and more")?;
    }
    tree.patch("photo.jpg", 35_000, b"changed")?
        .append("archive.gz", b"changed")?;
    Ok(())
}

fn choice(name: &str, options: &str) -> Scenario {
    Scenario::new(name, options)
        .source(before)
        .run(&format!("-a --stats {options} src/ :dst/"))
        .change_source("edits", after)
        .run(&format!("-ai --stats {options} src/ :dst/"))
        .run(&format!("-aci {options} src/ :dst/"))
        .prints_nothing()
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut list = vec![
        choice("compress", "-z"),
        choice("compress-level", "-z --compress-level=9"),
        choice("compress-level-zero", "-z --compress-level=0"),
        choice("compress-skip", "-z --skip-compress=jpg"),
        choice("compress-whole-file", "-zW"),
        choice("new-compress", "-zz").since("3.1.1"),
        choice("old-compress", "--old-compress").since("3.1.1"),
    ];
    for compression in ["zstd", "lz4", "zlibx", "zlib", "none"] {
        list.push(
            choice(
                &format!("compress-{compression}"),
                &format!("-z --zc={compression}"),
            )
            .since("3.2.0"),
        );
    }
    list.push(choice("compress-zstd-level", "--zc=zstd --zl=19").since("3.2.0"));
    for checksum in ["xxh128", "xxh3", "xxh64", "md5", "md4", "sha1"] {
        let since = if checksum == "sha1" { "3.4.0" } else { "3.2.0" };
        list.push(
            choice(
                &format!("checksum-{checksum}"),
                &format!("--checksum-choice={checksum}"),
            )
            .since(since),
        );
    }
    list.push(choice("checksum-two", "--checksum-choice=md4,xxh64").since("3.2.0"));
    list.push(choice("checksum-two-others", "--cc=sha1,md5 -z").since("3.4.0"));
    list.push(
        Scenario::new("checksum-none", "--checksum-choice=none means whole files")
            .source(before)
            .run("-ai --checksum-choice=none src/ :dst/")
            .change_source("edits", after)
            .run("-ai --checksum-choice=none --stats src/ :dst/")
            .since("3.2.0"),
    );
    list.push(choice("checksum-seed", "--checksum-seed=12345"));
    list.push(
        Scenario::new("choice-unknown", "a choice that nobody knows")
            .source(before)
            .run("-ai --checksum-choice=crc7 src/ :dst/")
            .exits(4)
            .since("3.2.0"),
    );
    list
}
