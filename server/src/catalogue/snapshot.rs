//! Snapshots: one row for each that is committed, until it is removed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, params};

use super::{Catalogue, CatalogueError, Count, Time};
use crate::snapshot::{SnapshotName, State};

/// What is known of a snapshot beyond its name. What is `None` was lost with an older catalogue,
/// or (`bytes`) nobody has measured yet.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRecord {
    pub tenant: String,
    pub name: SnapshotName,
    pub files: Option<u64>,
    pub directories: Option<u64>,
    /// Length of the content, each inode once. Taking a snapshot looks at no file, so it takes
    /// `snapshot::measure` to know.
    pub bytes: Option<u64>,
    /// How long it took.
    pub duration: Option<Duration>,
    pub reason: Option<Reason>,
}

/// What a snapshot was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Schedule,
    /// A push ended well.
    AfterSession,
    /// Somebody asked.
    Manual,
}

impl SnapshotRecord {
    pub fn time(&self) -> Timestamp {
        self.name.time()
    }

    pub fn state(&self) -> State {
        self.name.state()
    }
}

impl Catalogue {
    /// Writes down a snapshot; a second time replaces the first.
    pub fn record_snapshot(&self, snapshot: &SnapshotRecord) -> Result<(), CatalogueError> {
        self.write(|connection| insert(connection, snapshot))
    }

    /// Writes down what measuring it has shown.
    pub fn record_snapshot_bytes(
        &self,
        tenant: &str,
        name: SnapshotName,
        bytes: u64,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "UPDATE snapshots SET bytes = ?3 WHERE tenant = ?1 AND name = ?2",
                params![tenant, name.to_string(), Count(bytes)],
            )
        })?;
        Ok(())
    }

    /// Forgets a snapshot that was removed.
    pub fn forget_snapshot(&self, tenant: &str, name: SnapshotName) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute(
                "DELETE FROM snapshots WHERE tenant = ?1 AND name = ?2",
                params![tenant, name.to_string()],
            )
        })?;
        Ok(())
    }

    /// A tenant's snapshots as recorded, oldest first. Which there are is for `snapshot::list` to
    /// say.
    pub fn snapshots(&self, tenant: &str) -> Result<Vec<SnapshotRecord>, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT tenant, name, files, directories, bytes, duration_secs, reason \
                       FROM snapshots WHERE tenant = ?1 ORDER BY name";
            connection
                .prepare_cached(sql)?
                .query_map([tenant], from_row)?
                .collect()
        })
    }

    /// The snapshot that was recorded last under the latest name.
    pub fn last_snapshot(&self, tenant: &str) -> Result<Option<SnapshotRecord>, CatalogueError> {
        Ok(self.snapshots(tenant)?.pop())
    }
}

pub(super) fn insert(connection: &Connection, snapshot: &SnapshotRecord) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO snapshots \
               (tenant, name, time, state, files, directories, bytes, duration_secs, reason) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    connection.prepare_cached(sql)?.execute(params![
        snapshot.tenant,
        snapshot.name.to_string(),
        Time(snapshot.time()),
        snapshot.state().to_string(),
        snapshot.files.map(Count),
        snapshot.directories.map(Count),
        snapshot.bytes.map(Count),
        snapshot.duration.map(|duration| duration.as_secs_f64()),
        snapshot.reason,
    ])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<SnapshotRecord> {
    let count =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<Count>>(column)?.map(|c| c.0));
    let seconds: Option<f64> = row.get(5)?;
    Ok(SnapshotRecord {
        tenant: row.get(0)?,
        name: row.get(1)?,
        files: count(2)?,
        directories: count(3)?,
        bytes: count(4)?,
        duration: seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()),
        reason: row.get(6)?,
    })
}

impl FromSql for SnapshotName {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schedule => "schedule",
            Self::AfterSession => "after session",
            Self::Manual => "manual",
        })
    }
}

/// Not a reason that the catalogue knows.
#[derive(Debug, thiserror::Error)]
#[error("unknown reason for a snapshot: {0:?}")]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        [Self::Schedule, Self::AfterSession, Self::Manual]
            .into_iter()
            .find(|reason| reason.to_string() == text)
            .ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

impl ToSql for Reason {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl FromSql for Reason {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}
