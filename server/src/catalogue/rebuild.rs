//! Makes the catalogue anew from what the store itself says.

use std::path::Path;

use super::snapshot::insert;
use super::state::note_broken;
use super::{Catalogue, CatalogueError, SnapshotRecord};
use crate::snapshot;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuilt {
    pub tenants: usize,
    pub snapshots: usize,
}

/// The directories of a store that look like a tenant's: they have `live` or `snapshots` in them.
pub fn tenants_in(storage: &Path) -> Result<Vec<String>, CatalogueError> {
    let fail = |source| CatalogueError::Io {
        doing: "list",
        path: storage.to_owned(),
        source,
    };
    let mut tenants = Vec::new();
    for entry in std::fs::read_dir(storage).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_home = ["live", "snapshots"]
            .iter()
            .any(|name| entry.path().join(name).is_dir());
        if let (true, Ok(name)) = (is_home, entry.file_name().into_string()) {
            tenants.push(name);
        }
    }
    tenants.sort();
    Ok(tenants)
}

impl Catalogue {
    /// Records the snapshots that `tenants` have, by the marks on them, and forgets those they
    /// have not. What is known of a recorded one stays. Nobody knows how their last pushes ended,
    /// so all of them count as broken off.
    pub fn rebuild(&self, storage: &Path, tenants: &[String]) -> Result<Rebuilt, CatalogueError> {
        let mut rebuilt = Rebuilt::default();
        for tenant in tenants {
            let known = self.snapshots(tenant)?;
            let found = snapshot::list(&storage.join(tenant))?;
            let records: Vec<SnapshotRecord> = found
                .iter()
                .filter(|snapshot| snapshot.is_ours())
                .map(|snapshot| {
                    let known = known.iter().find(|record| record.name == snapshot.name);
                    known.cloned().unwrap_or(SnapshotRecord {
                        tenant: tenant.clone(),
                        name: snapshot.name,
                        files: None,
                        directories: None,
                        bytes: None,
                        duration: None,
                        reason: None,
                    })
                })
                .collect();
            self.write(|connection| {
                connection.execute("DELETE FROM snapshots WHERE tenant = ?1", [tenant])?;
                for record in &records {
                    insert(connection, record)?;
                }
                note_broken(connection, tenant)
            })?;
            rebuilt.tenants += 1;
            rebuilt.snapshots += records.len();
        }
        Ok(rebuilt)
    }
}
