//! What must be true of a store after anything that was cut short.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use coffre_client_compat::tree::{Described, Kind};

/// Every content that a name has had at the client.
#[derive(Debug, Default)]
pub struct Known(HashMap<PathBuf, Vec<Kind>>);

impl Known {
    /// The client has this tree now.
    pub fn note(&mut self, tree: &Described) {
        for (name, entry) in &tree.entries {
            self.0
                .entry(name.clone())
                .or_default()
                .push(entry.kind.clone());
        }
    }

    /// Every file is one that was there once, as a whole.
    pub fn check(&self, tree: &Described, what: &str) {
        for (name, entry) in &tree.entries {
            let known = self
                .0
                .get(name)
                .is_some_and(|kinds| kinds.contains(&entry.kind));
            assert!(known, "{what}: {} is torn", name.display());
        }
    }
}

/// Everything in `snapshots/` of a tenant's home, in order.
pub fn snapshots(home: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(home.join("snapshots"))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}
