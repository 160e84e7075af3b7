//! What clients call the owners of their files.
//!
//! The store holds numbers. The names that a client gives for them are kept here, so that they can
//! be shown and sent back with a restore. The last name for a number counts. A catalogue that is
//! made anew has none until each tenant's next push, which brings them all.

use coffre_protocol::flist::{IdKind, IdNames};
use rusqlite::params;

use super::{Catalogue, CatalogueError};

/// Names kept per tenant and kind. Machines have a few hundred, a large directory service tens of
/// thousands; beyond that somebody makes them up.
const MOST_NAMES: usize = 1 << 16;

fn word(kind: IdKind) -> &'static str {
    match kind {
        IdKind::User => "user",
        IdKind::Group => "group",
    }
}

impl Catalogue {
    /// Adds the names that a push brought. New ones beyond a limit of 65,536 per kind are not kept.
    pub fn remember_owner_names(
        &self,
        tenant: &str,
        names: &IdNames,
    ) -> Result<(), CatalogueError> {
        let known = self.owner_names(tenant)?;
        let mut fresh: Vec<(IdKind, u32, &[u8])> = Vec::new();
        for kind in [IdKind::User, IdKind::Group] {
            let mut count = known.iter(kind).count();
            for (id, name) in names.iter(kind) {
                match known.name(kind, id) {
                    Some(same) if same == name => {}
                    Some(_) => fresh.push((kind, id, name)),
                    None if count >= MOST_NAMES => {}
                    None => {
                        count += 1;
                        fresh.push((kind, id, name));
                    }
                }
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO owner_names (tenant, kind, id, name) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET name = excluded.name",
            )?;
            for (kind, id, name) in &fresh {
                insert.execute(params![tenant, word(*kind), id, name])?;
            }
            Ok(())
        })
    }

    /// All that is known of a tenant's owners.
    pub fn owner_names(&self, tenant: &str) -> Result<IdNames, CatalogueError> {
        self.read(|connection| {
            let mut names = IdNames::new();
            for kind in [IdKind::User, IdKind::Group] {
                let mut rows = connection.prepare_cached(
                    "SELECT id, name FROM owner_names WHERE tenant = ?1 AND kind = ?2",
                )?;
                let rows = rows.query_map(params![tenant, word(kind)], |row| {
                    Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?))
                })?;
                for row in rows {
                    let (id, name) = row?;
                    names.insert(kind, id, &name);
                }
            }
            Ok(names)
        })
    }
}
