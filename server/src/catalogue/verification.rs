//! How far verifying the store has come, and what it has found.
//!
//! A row per tenant for all of it (the scope is empty), and one per snapshot that was verified
//! alone.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{Catalogue, CatalogueError, Count, Time};
use crate::verify::{Finding, What};

/// A run: under way, left, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    pub started: Timestamp,
    /// When this was written down.
    pub updated: Timestamp,
    pub ended: Option<Timestamp>,
    /// Where it is: the name of a snapshot, or `live`; and how many of its directories are done.
    pub tree: String,
    pub directories: u64,
    pub files: u64,
    pub bytes: u64,
    pub without_sum: u64,
    pub damaged: u64,
}

/// The last run that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastVerification {
    pub started: Timestamp,
    pub ended: Timestamp,
    pub bytes: u64,
    pub damaged: u64,
}

impl Catalogue {
    /// The run that was begun last.
    pub fn verification(
        &self,
        tenant: &str,
        scope: &str,
    ) -> Result<Option<Verification>, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT started, updated, ended, tree, directories, files, bytes, \
                       without_sum, damaged FROM verifications WHERE tenant = ?1 AND scope = ?2";
            connection
                .prepare_cached(sql)?
                .query_row([tenant, scope], from_row)
                .optional()
        })
    }

    /// The last run over all of a tenant that went through.
    pub fn last_verification(
        &self,
        tenant: &str,
    ) -> Result<Option<LastVerification>, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT last_started, last_ended, last_bytes, last_damaged \
                       FROM verifications \
                       WHERE tenant = ?1 AND scope = '' AND last_ended IS NOT NULL";
            connection
                .prepare_cached(sql)?
                .query_row([tenant], |row| {
                    Ok(LastVerification {
                        started: row.get::<_, Time>(0)?.0,
                        ended: row.get::<_, Time>(1)?.0,
                        bytes: row.get::<_, Count>(2)?.0,
                        damaged: row.get::<_, Count>(3)?.0,
                    })
                })
                .optional()
        })
    }

    /// A run begins; what an earlier one has found is forgotten.
    pub fn begin_verification(
        &self,
        tenant: &str,
        scope: &str,
        started: Timestamp,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "DELETE FROM damage WHERE tenant = ?1 AND scope = ?2",
                [tenant, scope],
            )?;
            connection.execute(
                "INSERT INTO verifications (tenant, scope, started, updated, tree) \
                 VALUES (?1, ?2, ?3, ?3, '') \
                 ON CONFLICT (tenant, scope) DO UPDATE SET started = ?3, updated = ?3, \
                 ended = NULL, tree = '', directories = 0, files = 0, bytes = 0, \
                 without_sum = 0, damaged = 0",
                params![tenant, scope, Time(started)],
            )
        })?;
        Ok(())
    }

    /// How far it has come, and what was found since the last time.
    pub fn save_verification(
        &self,
        tenant: &str,
        scope: &str,
        state: &Verification,
        found: &[Finding],
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "UPDATE verifications SET updated = ?3, tree = ?4, directories = ?5, files = ?6, \
                 bytes = ?7, without_sum = ?8, damaged = ?9 WHERE tenant = ?1 AND scope = ?2",
                params![
                    tenant,
                    scope,
                    Time(state.updated),
                    state.tree,
                    Count(state.directories),
                    Count(state.files),
                    Count(state.bytes),
                    Count(state.without_sum),
                    Count(state.damaged),
                ],
            )?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO damage (tenant, scope, tree, path, inode, what, found) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for finding in found {
                let what = serde_json::to_string(&finding.what)
                    .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
                insert.execute(params![
                    tenant,
                    scope,
                    finding.tree,
                    finding.path,
                    // All 64 bits, as SQLite's signed number.
                    finding.inode.map(|inode| inode as i64),
                    what,
                    Time(state.updated),
                ])?;
            }
            Ok(())
        })
    }

    /// A run is through.
    pub fn end_verification(
        &self,
        tenant: &str,
        scope: &str,
        ended: Timestamp,
        damaged: u64,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "UPDATE verifications SET ended = ?3, updated = ?3, damaged = ?4, \
                 last_started = started, last_ended = ?3, last_bytes = bytes, last_damaged = ?4 \
                 WHERE tenant = ?1 AND scope = ?2",
                params![tenant, scope, Time(ended), Count(damaged)],
            )
        })?;
        Ok(())
    }

    /// What the last run has found.
    pub fn damage(&self, tenant: &str, scope: &str) -> Result<Vec<Finding>, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT tree, path, inode, what FROM damage \
                       WHERE tenant = ?1 AND scope = ?2 ORDER BY rowid";
            connection
                .prepare_cached(sql)?
                .query_map([tenant, scope], |row| {
                    let what: String = row.get(3)?;
                    Ok(Finding {
                        tree: row.get(0)?,
                        path: row.get(1)?,
                        inode: row.get::<_, Option<i64>>(2)?.map(|inode| inode as u64),
                        // Of a version that knows more.
                        what: serde_json::from_str(&what)
                            .unwrap_or(What::Unreadable { error: what }),
                    })
                })?
                .collect()
        })
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Verification> {
    Ok(Verification {
        started: row.get::<_, Time>(0)?.0,
        updated: row.get::<_, Time>(1)?.0,
        ended: row.get::<_, Option<Time>>(2)?.map(|time| time.0),
        tree: row.get(3)?,
        directories: row.get::<_, Count>(4)?.0,
        files: row.get::<_, Count>(5)?.0,
        bytes: row.get::<_, Count>(6)?.0,
        without_sum: row.get::<_, Count>(7)?.0,
        damaged: row.get::<_, Count>(8)?.0,
    })
}
