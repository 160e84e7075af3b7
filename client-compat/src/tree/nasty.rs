//! Two source trees that most scenarios start from.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::Result;

use super::build::{Builder, acl, noise};

/// Sizes on both sides of rsync's smallest block, its read sizes and its largest block.
const SIZES: &[usize] = &[0, 1, 699, 700, 701, 32_767, 32_768, 32_769, 65_536, 1 << 20];

/// Names that break what splits, quotes, matches or prints them.
const NAMES: &[&[u8]] = &[
    b"-leading-dash",
    b"--delete",
    b".hidden",
    b"..two-dots",
    b"...",
    b" spaces around ",
    b"tab\there",
    b"new\nline",
    b"carriage\rreturn",
    b"bell\x07and-escape\x1b[31m",
    b"back\\slash",
    b"\\#012",
    b"quote'single",
    b"quote\"double",
    b"$(touch pwned)",
    b"`touch pwned`",
    b"; rm -r x",
    b"star*",
    b"question?",
    b"brackets[a-z]",
    b"{a,b}",
    b"~root",
    b"colon:name",
    b"hash#",
    b"percent%s%n",
    b"not-utf8-\xff\xfe",
    b"cut-utf8-\xc3",
    "éü-日本-😀".as_bytes(),
    b"CASE",
    b"case",
    b"sort.a",
    b"sort-a",
    b"sort/a",
];

/// A small tree without surprises: sub-directories, text, a symlink, a few sizes.
pub fn ordinary(tree: &Builder) -> Result<()> {
    for dir in ["", "docs/", "docs/deep/er/", "pictures/"] {
        for number in 0..6u8 {
            let name = format!("{dir}file{number}");
            tree.file(&name, &noise(u64::from(number), 300 * usize::from(number)))?;
            tree.time(&name, 1_400_000_000 + i64::from(number), 123_456_789)?;
        }
    }
    tree.file("docs/big", &noise(99, 200_000))?;
    tree.file("empty", b"")?;
    tree.directory("empty-dir")?;
    tree.symlink("link", "docs/big")?;
    tree.mode("docs/file1", 0o600)?.mode("docs/file2", 0o755)?;
    Ok(())
}

/// Everything a file system can hold that has ever made trouble. Needs root.
pub fn nasty(tree: &Builder) -> Result<()> {
    names(tree)?;
    sizes_and_times(tree)?;
    modes_and_owners(tree)?;
    kinds(tree)?;
    attributes(tree)
}

fn names(tree: &Builder) -> Result<()> {
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        let mut path = OsString::from("names/");
        path.push(name);
        tree.file(&path, name.as_bytes())?;
    }
    // The longest name, and the longest whose temporary name still fits.
    for length in [255, 247, 248] {
        tree.file(format!("names/{}", "n".repeat(length)), b"long")?;
    }
    // Cutting this one for a temporary name cuts a character in two.
    tree.file(format!("names/{}x", "é".repeat(127)), b"long")?;
    tree.directory("names/dir\nwith newline")?;
    tree.file("names/dir\nwith newline/\u{1}", b"control")?;
    tree.file(deep_name(), b"deep")?;
    Ok(())
}

/// A path of about 3,500 bytes; more of it would not fit below a temporary directory.
pub fn deep_name() -> OsString {
    let mut path = b"names/".to_vec();
    for level in 0..16 {
        path.extend(std::iter::repeat_n(b'a' + level, 205));
        path.push(b'/');
    }
    path.extend([b'z'; 200]);
    OsString::from_vec(path)
}

fn sizes_and_times(tree: &Builder) -> Result<()> {
    for &size in SIZES {
        tree.file(format!("sizes/{size}"), &noise(size as u64, size))?;
    }
    tree.file("sizes/zeros", &vec![0; 100_000])?;
    tree.sparse(
        "sizes/sparse",
        3 << 20,
        &[(1 << 20, b"island"), ((2 << 20) + 4095, b"coast")],
    )?;
    tree.sparse("sizes/hole-at-end", 300_000, &[(0, b"start")])?;
    for (name, seconds, nanoseconds) in [
        ("epoch", 0, 0),
        ("before-epoch", -1, 999_999_999),
        ("long-before", -2_000_000_000, 5),
        ("one-nanosecond", 1_600_000_000, 1),
        ("last-nanosecond", 1_600_000_000, 999_999_999),
        ("y2038", 2_147_483_648, 0),
        ("y2106", 4_294_967_296, 7),
        ("y2400", 13_569_465_600, 0),
    ] {
        let name = format!("times/{name}");
        tree.file(&name, name.as_bytes())?;
        tree.time(&name, seconds, nanoseconds)?;
    }
    tree.directory("times/dir")?.time("times/dir", -5, 5)?;
    tree.symlink("times/link", "epoch")?
        .time("times/link", 1_000_000_001, 42)?;
    Ok(())
}

fn modes_and_owners(tree: &Builder) -> Result<()> {
    for mode in [
        0o000, 0o001, 0o200, 0o400, 0o444, 0o600, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711,
        0o7777,
    ] {
        let name = format!("modes/file-{mode:04o}");
        tree.file(&name, b"mode")?.mode(&name, mode)?;
        let name = format!("modes/dir-{mode:04o}");
        tree.directory(&name)?
            .file(format!("{name}/inside"), b"x")?
            .mode(&name, mode)?;
    }
    // With and without a name on this machine; the last is the highest that is valid.
    for id in [
        0,
        1,
        33,
        65_534,
        1_234,
        70_000,
        2_000_000_000,
        4_294_967_294,
    ] {
        let name = format!("owners/{id}");
        tree.file(&name, b"owner")?.owner(&name, id, id)?;
    }
    tree.file("owners/setuid", b"x")?
        .owner("owners/setuid", 1, 33)?
        .mode("owners/setuid", 0o6755)?;
    tree.directory("owners/dir")?
        .owner("owners/dir", 1_234, 33)?;
    tree.symlink("owners/link", "nowhere")?
        .owner("owners/link", 33, 1_234)?;
    Ok(())
}

fn kinds(tree: &Builder) -> Result<()> {
    tree.symlink("kinds/dangling", "no/such/file")?
        .symlink("kinds/absolute", "/etc/passwd")?
        .symlink("kinds/upwards", "../../../../etc/passwd")?
        .symlink("kinds/to-itself", "to-itself")?
        .symlink("kinds/to-directory", "../sizes")?
        .symlink("kinds/long", "t".repeat(4000))?
        .symlink("kinds/odd", OsStr::from_bytes(b"new\nline\xff"))?
        .fifo("kinds/fifo")?
        .socket("kinds/socket")?
        .char_device("kinds/null", 1, 3)?
        .char_device("kinds/large-numbers", 4_095, 1_048_575)?
        .block_device("kinds/block", 7, 0)?
        .block_device("kinds/block-256", 256, 300)?
        .directory("kinds/empty")?;
    tree.mode("kinds/fifo", 0o620)?.owner("kinds/null", 1, 33)?;
    // One group over several directories, groups of other kinds, and two groups of equal files.
    tree.file("links/a", b"one")?
        .hard_link("links/a", "links/z")?
        .hard_link("links/a", "links/sub/middle")?
        .hard_link("links/a", "another/place")?
        .file("links/b", b"one")?
        .hard_link("links/b", "links/c")?;
    tree.hard_link("kinds/fifo", "links/fifo")?
        .hard_link("kinds/null", "links/null")?
        .hard_link("kinds/dangling", "links/symlink")?
        .file("links/empty1", b"")?
        .hard_link("links/empty1", "links/empty2")?;
    Ok(())
}

fn attributes(tree: &Builder) -> Result<()> {
    // rsync sends values of more than 32 bytes as a sum first.
    for length in [0, 1, 32, 33, 1_000, 3_000] {
        let name = format!("xattrs/{length}");
        tree.file(&name, b"x")?
            .xattr(&name, "user.value", &noise(length as u64, length))?;
    }
    tree.file("xattrs/several", b"x")?;
    for (key, value) in [
        ("user.a", &b"1"[..]),
        ("user.b", b"\0\xff"),
        ("user.with space", b"2"),
        ("user.\u{e9}", b"3"),
        ("trusted.t", b"4"),
        ("security.s", b"5"),
    ] {
        tree.xattr("xattrs/several", key, value)?;
    }
    tree.directory("xattrs/dir")?
        .xattr("xattrs/dir", "user.d", b"dir")?;
    tree.symlink("xattrs/link", "several")?
        .xattr("xattrs/link", "trusted.l", b"link")?;
    tree.fifo("xattrs/fifo")?
        .xattr("xattrs/fifo", "trusted.f", b"f")?;
    // The same set on two files: sent once, referred to later.
    for name in ["xattrs/twin1", "xattrs/twin2"] {
        tree.file(name, b"twin")?
            .xattr(name, "user.twin", &noise(5, 100))?;
    }

    let named = acl(&[(acl::user(1_234), 6), (acl::group(33), 4), (acl::MASK, 4)]);
    tree.file("acls/file", b"x")?.acl("acls/file", &named)?;
    tree.file("acls/twin", b"x")?.acl("acls/twin", &named)?;
    tree.file("acls/masked", b"x")?
        .acl("acls/masked", &acl(&[(acl::user(0), 7), (acl::MASK, 0)]))?;
    tree.file("acls/wide", b"x")?.acl(
        "acls/wide",
        &acl(&(0..30)
            .map(|id| (acl::user(5_000 + id), 7))
            .collect::<Vec<_>>()),
    )?;
    tree.directory("acls/dir")?
        .acl(
            "acls/dir",
            &acl(&[(acl::USER_OBJ, 7), (acl::user(70_000), 7)]),
        )?
        .default_acl("acls/dir", &acl(&[(acl::USER_OBJ, 7), (acl::group(1), 5)]))?;
    tree.directory("acls/only-default")?
        .default_acl("acls/only-default", &acl(&[(acl::USER_OBJ, 7)]))?;
    Ok(())
}
