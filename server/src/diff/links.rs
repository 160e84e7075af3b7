//! Which names share an inode, in the one tree and in the other.

use std::collections::{HashMap, HashSet};

use super::{Change, Difference, Differences, What};
use crate::confine::Kind;
use crate::verify::Inodes;

/// Something that differs by its inode, before it is known what else has that.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) difference: Difference,
    /// In the first tree and in the second, or what stands for them (`Known::likeness`); of a
    /// directory, nothing.
    pub(super) inodes: (Option<u64>, Option<u64>),
}

/// What has been met in both trees.
#[derive(Default)]
pub(super) struct Met {
    pub(super) items: Vec<Item>,
    /// Inodes that one name at least has in both.
    pub(super) shared: Inodes,
}

impl Met {
    pub(super) fn finish(mut self) -> Differences {
        // By inode: what a name that stood for it in one tree stands for in the other.
        let mut after: HashMap<u64, u64> = HashMap::new();
        let mut before: HashMap<u64, u64> = HashMap::new();
        let mut parted: HashSet<u64> = HashSet::new();
        for item in &self.items {
            if let (Some(a), Some(b)) = item.inodes {
                // In a subvolume a file stays what it was when something about it changes.
                if a == b {
                    after.insert(a, b);
                    before.insert(b, a);
                    continue;
                }
                if *after.entry(a).or_insert(b) != b || self.shared.contains(a) {
                    parted.insert(a);
                }
                if *before.entry(b).or_insert(a) != a || self.shared.contains(b) {
                    parted.insert(b);
                }
            }
        }
        self.note_moves();
        let mut found = Differences::default();
        let mut counted = HashSet::new();
        for mut item in self.items {
            match (&mut item.difference.change, item.inodes) {
                (Change::Changed(what), (Some(a), Some(b))) => {
                    if parted.contains(&a) || parted.contains(&b) {
                        what.push(What::Links);
                    }
                    if what.is_empty() {
                        continue;
                    }
                }
                (Change::Added { is_link }, (None, Some(b))) => {
                    *is_link = self.shared.contains(b) || before.contains_key(&b);
                }
                (Change::Removed { is_link }, (Some(a), None)) => {
                    *is_link = self.shared.contains(a) || after.contains_key(&a);
                }
                _ => {}
            }
            let is_new = match item.difference.change {
                Change::Added { is_link } => !is_link,
                Change::Changed(_) => true,
                Change::Moved { .. } | Change::Removed { .. } => false,
            };
            if let (true, Kind::File, (_, Some(b))) = (is_new, item.difference.kind, item.inodes)
                && !self.shared.contains(b)
                && counted.insert(b)
            {
                found.new_bytes += item.difference.size;
            }
            found.all.push(item.difference);
        }
        found.all.sort_unstable_by(|x, y| x.path.cmp(&y.path));
        found
    }

    /// What is gone under one name and there under another has moved.
    fn note_moves(&mut self) {
        let mut gone: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, item) in self.items.iter().enumerate().rev() {
            if let (Some(a), None) = item.inodes {
                gone.entry(a).or_default().push(index);
            }
        }
        let mut moved = HashSet::new();
        for index in 0..self.items.len() {
            let (None, Some(b)) = self.items[index].inodes else {
                continue;
            };
            if let Some(from) = gone.get_mut(&b).and_then(Vec::pop) {
                let from_path = self.items[from].difference.path.clone();
                self.items[index].difference.change = Change::Moved { from: from_path };
                moved.insert(from);
            }
        }
        let mut index = 0;
        self.items.retain(|_| {
            index += 1;
            !moved.contains(&(index - 1))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, change: Change, a: Option<u64>, b: Option<u64>) -> Item {
        Item {
            difference: Difference {
                path: path.into(),
                change,
                kind: Kind::File,
                size: 10,
            },
            inodes: (a, b),
        }
    }

    #[test]
    fn names_of_one_inode_are_told_from_copies() {
        let changed = |what: &[What]| Change::Changed(what.to_vec());
        let (added, removed) = (
            Change::Added { is_link: false },
            Change::Removed { is_link: false },
        );
        let mut met = Met::default();
        met.shared.insert(1);
        met.items = vec![
            item("a further name", added.clone(), None, Some(1)),
            item("a name less", removed.clone(), Some(1), None),
            item("old", removed.clone(), Some(2), None),
            item("new", added.clone(), None, Some(2)),
            // Two names, changed together.
            item("both 1", changed(&[What::Mtime]), Some(3), Some(4)),
            item("both 2", changed(&[What::Mtime]), Some(3), Some(4)),
            // One name of the shared inode became a file of its own, equal in everything.
            item("parted", changed(&[]), Some(1), Some(5)),
            // Copied to and fro: nothing differs.
            item("same", changed(&[]), Some(6), Some(7)),
            item("joined 1", changed(&[]), Some(8), Some(10)),
            item("joined 2", changed(&[]), Some(9), Some(10)),
            item("really new", added, None, Some(11)),
            item("really gone", removed, Some(12), None),
        ];
        let found = met.finish();
        let told: Vec<_> = found
            .all
            .iter()
            .map(|d| (String::from_utf8(d.path.clone()).unwrap(), d.change.clone()))
            .collect();
        let expected = [
            (
                "a further name",
                Change::Moved {
                    from: b"a name less".to_vec(),
                },
            ),
            ("both 1", changed(&[What::Mtime])),
            ("both 2", changed(&[What::Mtime])),
            ("joined 1", changed(&[What::Links])),
            ("joined 2", changed(&[What::Links])),
            (
                "new",
                Change::Moved {
                    from: b"old".to_vec(),
                },
            ),
            ("parted", changed(&[What::Links])),
            ("really gone", Change::Removed { is_link: false }),
            ("really new", Change::Added { is_link: false }),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(path, change)| (path.to_owned(), change))
            .collect();
        assert_eq!(told, expected);
        // Inodes 4, 5, 10 and 11.
        assert_eq!(found.new_bytes, 40);
    }

    #[test]
    fn a_name_more_or_less_of_what_is_in_both_is_a_link() {
        let mut met = Met::default();
        met.shared.insert(1);
        met.shared.insert(2);
        met.items = vec![
            item("more", Change::Added { is_link: false }, None, Some(1)),
            item("less", Change::Removed { is_link: false }, Some(2), None),
        ];
        let found = met.finish();
        assert_eq!(found.all[0].change, Change::Removed { is_link: true });
        assert_eq!(found.all[1].change, Change::Added { is_link: true });
        assert_eq!(found.new_bytes, 0);
    }
}
