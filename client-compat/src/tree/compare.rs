//! What differs between two descriptions, one readable line per difference.

use std::ffi::OsString;
use std::path::Path;

use super::describe::{Described, Entry, Kind, Time, escape};

/// Lines such as `dst/a: mode 0644 (stock), 0600 (coffre)`.
pub type Differences = Vec<String>;

/// Compares two trees; `names` says what to call them.
pub fn compare(left: &Described, right: &Described, names: (&str, &str)) -> Differences {
    let mut lines = Vec::new();
    for (path, entry) in &left.entries {
        match right.entries.get(path) {
            None => lines.push(format!(
                "{}: {} only in {}",
                show(path),
                kind_name(&entry.kind),
                names.0
            )),
            Some(other) => {
                for (what, left, right) in fields(entry, other) {
                    lines.push(format!(
                        "{}: {what} {left} ({}), {right} ({})",
                        show(path),
                        names.0,
                        names.1
                    ));
                }
            }
        }
    }
    for (path, entry) in &right.entries {
        if !left.entries.contains_key(path) {
            lines.push(format!(
                "{}: {} only in {}",
                show(path),
                kind_name(&entry.kind),
                names.1
            ));
        }
    }
    lines
}

fn fields(left: &Entry, right: &Entry) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut note = |what: &str, left: String, right: String| {
        if left != right {
            found.push((what.to_owned(), left, right));
        }
    };
    note("kind", kind(&left.kind), kind(&right.kind));
    note(
        "size",
        left.size_bytes.to_string(),
        right.size_bytes.to_string(),
    );
    note(
        "mode",
        format!("{:04o}", left.mode),
        format!("{:04o}", right.mode),
    );
    note("owner", left.uid.to_string(), right.uid.to_string());
    note("group", left.gid.to_string(), right.gid.to_string());
    note("mtime", time(left.mtime), time(right.mtime));
    note("same file as", same(left), same(right));
    let mut names: Vec<&OsString> = left.xattrs.keys().chain(right.xattrs.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        note(
            &format!("xattr {}", escape(name.as_encoded_bytes())),
            value(left.xattrs.get(name)),
            value(right.xattrs.get(name)),
        );
    }
    found
}

fn show(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. } => "file",
        Kind::Directory => "directory",
        Kind::Symlink { .. } => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice { .. } => "char device",
        Kind::BlockDevice { .. } => "block device",
    }
}

fn kind(kind: &Kind) -> String {
    let name = kind_name(kind);
    match kind {
        Kind::File { content } => format!("{name} with content {}", &content.to_hex()[..16]),
        Kind::Symlink { target } => format!("{name} to {}", show(target)),
        Kind::CharDevice { number } | Kind::BlockDevice { number } => {
            format!("{name} {}:{}", number.0, number.1)
        }
        _ => name.to_owned(),
    }
}

fn time(time: Time) -> String {
    match time {
        Time::At(seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        Time::Now => "now".to_owned(),
    }
}

fn same(entry: &Entry) -> String {
    match &entry.same_as {
        Some(path) => show(path),
        None => "none".to_owned(),
    }
}

fn value(value: Option<&Vec<u8>>) -> String {
    match value {
        // The digest too: a long value is cut where it may differ.
        Some(value) if value.len() > 64 => {
            format!(
                "{} bytes {}",
                value.len(),
                &blake3::hash(value).to_hex()[..16]
            )
        }
        Some(value) => format!("\"{}\"", escape(value)),
        None => "absent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Builder, acl, describe};
    use super::*;

    /// Builds the same tree twice, changes the second, and gives the lines.
    fn differences(change: impl Fn(&Builder) -> anyhow::Result<()>) -> Differences {
        let [left, right] = [(); 2].map(|()| {
            let dir = tempfile::tempdir().unwrap();
            let build = Builder::at(dir.path()).unwrap();
            build.file("a", b"hello").unwrap();
            build.hard_link("a", "b").unwrap();
            build.symlink("link", "a").unwrap();
            for name in ["link", "a", "."] {
                build.time(name, 1_000_000_000, 5).unwrap();
            }
            dir
        });
        change(&Builder::at(right.path()).unwrap()).unwrap();
        let described = [&left, &right].map(|dir| describe(dir.path(), None).unwrap());
        compare(&described[0], &described[1], ("left", "right"))
    }

    #[test]
    fn equal_trees_have_no_differences() {
        assert_eq!(differences(|_| Ok(())), Vec::<String>::new());
    }

    #[test]
    fn one_nanosecond_is_a_difference() {
        let lines = differences(|tree| tree.time("a", 1_000_000_000, 6).map(drop));
        assert_eq!(
            lines,
            [
                "a: mtime 1000000000.000000005 (left), 1000000000.000000006 (right)",
                "b: mtime 1000000000.000000005 (left), 1000000000.000000006 (right)"
            ]
        );
    }

    #[test]
    fn modes_are_shown_in_octal() {
        let lines = differences(|tree| tree.mode("a", 0o4600).map(drop));
        assert_eq!(lines[0], "a: mode 0644 (left), 4600 (right)");
    }

    #[test]
    fn a_broken_hard_link_group_is_a_difference() {
        let lines = differences(|tree| {
            fs::remove_file(tree.path("b"))?;
            tree.file("b", b"hello")?.time("b", 1_000_000_000, 5)?;
            tree.time(".", 1_000_000_000, 5).map(drop)
        });
        assert_eq!(
            lines,
            [
                "a: same file as a (left), none (right)",
                "b: same file as a (left), none (right)"
            ]
        );
    }

    #[test]
    fn content_of_the_same_size_and_time_is_a_difference() {
        let lines = differences(|tree| {
            fs::write(tree.path("a"), b"hellO")?;
            tree.time("a", 1_000_000_000, 5).map(drop)
        });
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("a: kind file with content "),
            "{lines:?}"
        );
    }

    #[test]
    fn acls_and_attributes_are_differences_but_the_servers_own_are_not() {
        let lines = differences(|tree| {
            tree.xattr("a", "user.coffre.sum", b"x")?;
            tree.xattr("a", "user.colour", b"\x00\xff")?;
            tree.acl("a", &acl(&[(acl::USER_OBJ, 6), (acl::user(7), 4)]))?;
            tree.mode("a", 0o644)?.time("a", 1_000_000_000, 5).map(drop)
        });
        assert!(
            lines.contains(&"a: xattr user.colour absent (left), \"\\x00\\xff\" (right)".into()),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("a: xattr system.posix_acl_access absent")),
            "{lines:?}"
        );
        assert!(
            !lines.iter().any(|line| line.contains("coffre")),
            "{lines:?}"
        );
    }

    #[test]
    fn missing_and_additional_names_are_differences() {
        let lines = differences(|tree| {
            fs::remove_file(tree.path("link"))?;
            tree.directory("new")?.time("new", 1, 0)?;
            tree.time(".", 1_000_000_000, 5).map(drop)
        });
        assert_eq!(
            lines,
            ["link: symlink only in left", "new: directory only in right"]
        );
    }
}
