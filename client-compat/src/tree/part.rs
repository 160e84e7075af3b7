//! Parts files of a tree from names elsewhere: an admin who edits a live tree by hand does this
//! first, or the edit would reach the snapshots that share its inodes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::build::set_times;
use crate::run::tool;

/// Gives every file of the tree that has names outside it an inode of its own, with all that can
/// be kept. Names that are one file inside the tree stay one.
pub fn share_nothing(root: &Path) -> Result<()> {
    part(root, |_| true)
}

/// … only those that one of these names, relative to `root`, stands for.
pub fn share_nothing_of(root: &Path, names: &[PathBuf]) -> Result<()> {
    part(root, |name| names.iter().any(|wanted| wanted == name))
}

fn part(root: &Path, is_wanted: impl Fn(&Path) -> bool) -> Result<()> {
    let mut names_of: BTreeMap<u64, (u64, Vec<PathBuf>)> = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(relative.join(entry?.file_name()));
            }
        } else if metadata.nlink() > 1 {
            let (_, names) = names_of
                .entry(metadata.ino())
                .or_insert_with(|| (metadata.nlink(), Vec::new()));
            names.push(relative);
        }
    }
    for (links, names) in names_of.into_values() {
        let is_shared = links > names.len() as u64;
        if is_shared && names.iter().any(|name| is_wanted(name)) {
            let names: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
            copy_group(&names).with_context(|| format!("part {}", names[0].display()))?;
        }
    }
    Ok(())
}

/// Puts one copy in the place of all these names of one file.
fn copy_group(names: &[PathBuf]) -> Result<()> {
    let [first, others @ ..] = names else {
        return Ok(());
    };
    replace(first, |made| {
        let args = ["-a", "-T", "--"].map(OsStr::new);
        tool(
            "cp",
            &[&args[..], &[first.as_os_str(), made.as_os_str()]].concat(),
        )
        .map(drop)
    })?;
    for other in others {
        replace(other, |made| Ok(fs::hard_link(first, made)?))?;
    }
    Ok(())
}

/// Makes something beside a name and renames it over that. The directory keeps its time.
fn replace(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = path.parent().context("no directory above it")?;
    let before: Metadata = fs::metadata(parent)?;
    let made = parent.join(".parted-by-client-compat");
    make(&made)?;
    fs::rename(&made, path)?;
    set_times(
        parent,
        (before.atime(), before.atime_nsec()),
        (before.mtime(), before.mtime_nsec()),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Builder, compare, describe};

    #[test]
    fn an_edit_after_parting_does_not_reach_the_other_tree() {
        let dir = tempfile::tempdir().unwrap();
        let live = Builder::at(&dir.path().join("live")).unwrap();
        live.file("a", b"one")
            .unwrap()
            .hard_link("a", "sub/b")
            .unwrap()
            .file("c", b"three")
            .unwrap()
            .symlink("l", "target")
            .unwrap()
            .time("sub", 1_000_000_000, 77)
            .unwrap()
            .time("a", 1_000_000_001, 5)
            .unwrap();
        let old = Builder::at(&dir.path().join("old")).unwrap();
        for name in ["a", "c", "l"] {
            fs::hard_link(live.path(name), old.path(name)).unwrap();
        }
        let [was, history] = [&live, &old].map(|tree| describe(&tree.path(""), None).unwrap());

        share_nothing_of(&live.path(""), &[PathBuf::from("sub/b")]).unwrap();
        let now = describe(&live.path(""), None).unwrap();
        assert!(compare(&was, &now, ("was", "now")).is_empty());
        let inode =
            |tree: &Builder, name: &str| fs::symlink_metadata(tree.path(name)).unwrap().ino();
        assert_ne!(inode(&live, "a"), inode(&old, "a"));
        assert_eq!(inode(&live, "a"), inode(&live, "sub/b"));
        assert_eq!(inode(&live, "c"), inode(&old, "c"), "was not asked for");

        share_nothing(&live.path("")).unwrap();
        live.patch("a", 0, b"X")
            .unwrap()
            .patch("c", 0, b"X")
            .unwrap();
        live.time("l", 5, 5).unwrap();
        let now = describe(&old.path(""), None).unwrap();
        assert!(compare(&history, &now, ("then", "now")).is_empty());
    }
}
