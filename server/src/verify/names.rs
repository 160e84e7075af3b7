//! Under which names what is wrong can be met.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::findings::{Finding, What};
use super::tour::{Tree, each_name};
use crate::snapshot::{self, SnapshotError};

/// One thing that is wrong, with everywhere it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Relative to the tree, as bytes.
    pub path: Vec<u8>,
    pub what: What,
    /// Names of snapshots, or `live`; oldest first.
    pub trees: Vec<String>,
}

/// Looks for all names of what is wrong, in all snapshots of a tenant and in live.
pub fn gather(home: &Path, findings: &[Finding]) -> Result<Vec<Damage>, SnapshotError> {
    let inodes: HashMap<u64, &What> = findings
        .iter()
        .filter_map(|finding| Some((finding.inode?, &finding.what)))
        .collect();
    // By path and what is wrong; a tree at most once.
    let mut gathered: BTreeMap<(Vec<u8>, What), Vec<String>> = BTreeMap::new();
    let mut note = |path: Vec<u8>, what: &What, tree: &str| {
        let trees = gathered.entry((path, what.clone())).or_default();
        if !trees.iter().any(|known| known == tree) {
            trees.push(tree.to_owned());
        }
    };
    if !inodes.is_empty() {
        let snapshots = snapshot::list(home)?.into_iter().map(|found| Tree {
            name: found.name.to_string(),
            snapshot: Some(found.name),
        });
        for tree in snapshots.chain([Tree::live()]) {
            each_name(home, &tree, |path, _, inode| {
                if let Some(what) = inodes.get(&inode) {
                    note(path(), what, &tree.name);
                }
            })?;
        }
    }
    for finding in findings {
        note(finding.path.clone(), &finding.what, &finding.tree);
    }
    let damage = gathered.into_iter().map(|((path, what), mut trees)| {
        // Snapshots sort by time, and live after them.
        trees.sort();
        Damage { path, what, trees }
    });
    Ok(damage.collect())
}
