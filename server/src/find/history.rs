//! Puts together what was found in one tree after another.

use std::collections::HashMap;

use crate::confine::{FileTime, Kind, Stat};
use crate::snapshot::Numbers;

/// A path that was looked for, with everything that went by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// From the top of the tree, as bytes.
    pub path: Vec<u8>,
    /// Oldest first.
    pub versions: Vec<Version>,
}

/// What one path stood for in consecutive trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Names of snapshots, or `live`.
    pub first: String,
    pub last: String,
    /// How many trees that is.
    pub trees: u64,
    /// Of a directory: in the first of them.
    pub inode: u64,
    /// `None`: it could not be looked at; `coffre verify` says what is wrong with it.
    pub is: Option<Is>,
}

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Is {
    pub kind: Kind,
    /// Bytes; of a symbolic link, of its target.
    pub size: u64,
    pub modified: FileTime,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// When anything about it changed last.
    pub changed: FileTime,
}

impl From<Stat> for Is {
    fn from(stat: Stat) -> Self {
        Self {
            kind: stat.kind,
            size: stat.size,
            modified: stat.mtime,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            changed: stat.ctime,
        }
    }
}

/// A name in one tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    pub(super) path: Vec<u8>,
    pub(super) is_directory: bool,
    pub(super) inode: u64,
}

/// About 200 bytes for each version and the length of each path.
#[derive(Default)]
pub(super) struct History {
    /// The trees that were looked through, in order.
    trees: Vec<String>,
    paths: HashMap<Vec<u8>, Vec<Group>>,
}

struct Group {
    first: usize,
    last: usize,
    is_directory: bool,
    inode: u64,
    numbers: Numbers,
    is: Option<Is>,
}

impl History {
    /// Takes what was found in the next tree. `look`: what stands at a path of it.
    ///
    /// In trees with inode numbers of their own, a file that was changed has the number of the one
    /// that it was, so there each is looked at.
    pub(super) fn add(
        &mut self,
        tree: String,
        numbers: Numbers,
        found: Vec<Match>,
        mut look: impl FnMut(&[u8]) -> Option<Is>,
    ) {
        let at = self.trees.len();
        self.trees.push(tree);
        for Match {
            path,
            is_directory,
            inode,
        } in found
        {
            let groups = match self.paths.get_mut(&path) {
                Some(groups) => groups,
                None => self.paths.entry(path.clone()).or_default(),
            };
            let latest = groups
                .last_mut()
                .filter(|group| group.last + 1 == at && group.is_directory == is_directory);
            if let Some(group) = latest {
                let is_same = match is_directory {
                    false if group.inode != inode || group.numbers != numbers => false,
                    false => numbers == Numbers::Shared || look(&path) == group.is,
                    true => {
                        // Its own size is of no meaning, and each copy of it is made at its time.
                        let changed = FileTime { secs: 0, nanos: 0 };
                        let state = |is: Is| Is {
                            size: 0,
                            changed,
                            ..is
                        };
                        look(&path).map(state) == group.is.map(state)
                    }
                };
                if is_same {
                    group.last = at;
                    if group.is.is_none() {
                        group.is = look(&path);
                    }
                    continue;
                }
            }
            groups.push(Group {
                first: at,
                last: at,
                is_directory,
                inode,
                numbers,
                is: look(&path),
            });
        }
    }

    /// By path.
    pub(super) fn finish(self) -> Vec<Found> {
        let version = |group: Group| Version {
            first: self.trees[group.first].clone(),
            last: self.trees[group.last].clone(),
            trees: (group.last - group.first) as u64 + 1,
            inode: group.inode,
            is: group.is,
        };
        let found = self.paths.into_iter().map(|(path, groups)| Found {
            path,
            versions: groups.into_iter().map(version).collect(),
        });
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(modified: i64) -> Option<Is> {
        Some(Is {
            kind: Kind::File,
            size: 1,
            modified: FileTime {
                secs: modified,
                nanos: 0,
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            changed: FileTime { secs: 1, nanos: 0 },
        })
    }

    #[test]
    fn consecutive_trees_with_one_inode_are_one_version() {
        let mut history = History::default();
        // Inodes of the file in each tree, and times of the directory.
        let trees = [
            ("1", Some(5), 1),
            ("2", Some(5), 1),
            ("3", None, 2),
            ("4", Some(5), 2),
            ("5", Some(6), 2),
            ("live", Some(6), 3),
        ];
        for (number, (tree, file, time)) in trees.into_iter().enumerate() {
            let named = |path: &[u8], is_directory, inode| Match {
                path: path.to_vec(),
                is_directory,
                inode,
            };
            // A directory has another inode in each.
            let directory = named(b"dir", true, 100 + number as u64);
            let found = file.map(|inode| named(b"dir/file", false, inode));
            history.add(
                tree.to_owned(),
                Numbers::Shared,
                [directory].into_iter().chain(found).collect(),
                |path| match path {
                    b"dir" => is(time),
                    _ => is(9),
                },
            );
        }
        let told = |found: &Found| -> Vec<(String, String, u64)> {
            let told = |v: &Version| (v.first.clone(), v.last.clone(), v.trees);
            found.versions.iter().map(told).collect()
        };
        let expected = |list: &[(&str, &str, u64)]| -> Vec<(String, String, u64)> {
            let owned = |(a, b, n): &(&str, &str, u64)| ((*a).to_owned(), (*b).to_owned(), *n);
            list.iter().map(owned).collect()
        };
        let found = history.finish();
        assert_eq!(found[0].path, b"dir");
        assert_eq!(
            told(&found[0]),
            expected(&[("1", "2", 2), ("3", "5", 3), ("live", "live", 1)])
        );
        assert_eq!(found[1].path, b"dir/file");
        assert_eq!(
            told(&found[1]),
            expected(&[("1", "2", 2), ("4", "4", 1), ("5", "live", 2)])
        );
    }

    #[test]
    fn where_numbers_are_a_trees_own_each_file_is_looked_at() {
        let mut history = History::default();
        let trees = [
            ("1", Numbers::Shared, 5, 1),
            // The same number by chance: live has become a subvolume.
            ("2", Numbers::Own, 5, 1),
            ("3", Numbers::Own, 5, 1),
            // Changed in place.
            ("live", Numbers::Own, 5, 2),
        ];
        for (tree, numbers, inode, time) in trees {
            let found = Match {
                path: b"file".to_vec(),
                is_directory: false,
                inode,
            };
            history.add(tree.to_owned(), numbers, vec![found], |_| is(time));
        }
        let found = history.finish();
        let told: Vec<_> = found[0]
            .versions
            .iter()
            .map(|v| (&*v.first, v.trees))
            .collect();
        assert_eq!(told, [("1", 1), ("2", 2), ("live", 1)]);
    }
}
