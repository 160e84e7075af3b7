//! What tenants have in the store, so that a start need not count it. See `account`.
//!
//! A push marks it stale when it begins, and whoever adds up writes the sum down when done; so
//! after a crash it is known that the sum is not to be trusted.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Catalogue, CatalogueError, Count, Time};
use crate::account::{Account, Used};

/// What was written down last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageRecord {
    pub used: Used,
    /// When the whole tree was counted last.
    pub counted: Timestamp,
    /// Something has changed since that is not in it.
    pub stale: bool,
}

impl Catalogue {
    /// `None`: nothing was ever counted.
    pub fn usage(&self, tenant: &str) -> Result<Option<UsageRecord>, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT bytes, files, counted, stale FROM usage WHERE tenant = ?1";
            connection
                .prepare_cached(sql)?
                .query_row([tenant], |row| {
                    Ok(UsageRecord {
                        used: Used {
                            bytes: row.get::<_, Count>(0)?.0,
                            files: row.get::<_, Count>(1)?.0,
                        },
                        counted: row.get::<_, Time>(2)?.0,
                        stale: row.get(3)?,
                    })
                })
                .optional()
        })
    }

    /// Writes down what a count of the whole tree has found.
    pub fn record_count(
        &self,
        tenant: &str,
        used: Used,
        exact: bool,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "INSERT OR REPLACE INTO usage (tenant, bytes, files, counted, stale) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    tenant,
                    Count(used.bytes),
                    Count(used.files),
                    Time(Timestamp::now()),
                    !exact
                ],
            )
        })?;
        Ok(())
    }

    /// Writes down what an account says, where somebody counts. `others`: somebody else is at
    /// work whose changes are not in it yet.
    pub fn record_account(
        &self,
        tenant: &str,
        account: &Account,
        others: bool,
    ) -> Result<(), CatalogueError> {
        match account.used() {
            Some(used) if account.counts() => {
                self.record_usage(tenant, used, !others && !account.needs_count())
            }
            _ => Ok(()),
        }
    }

    /// Writes down a sum. `exact`: nobody is at work whose changes are not in it yet.
    pub fn record_usage(
        &self,
        tenant: &str,
        used: Used,
        exact: bool,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "UPDATE usage SET bytes = ?2, files = ?3, stale = ?4 WHERE tenant = ?1",
                params![tenant, Count(used.bytes), Count(used.files), !exact],
            )
        })?;
        Ok(())
    }
}
