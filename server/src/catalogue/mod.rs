//! The catalogue: what happened, kept in `<storage>/.coffre/catalogue.sqlite`.
//!
//! The daemon writes it: a row per session, a row per snapshot, and per tenant what must survive a
//! crash (whether a push broke off, when the last one ended well, which scheduled times have been
//! dealt with). The command line reads it. An admin may too: the tables are plain, times are UTC
//! text, `sqlite3 -readonly` is enough.
//!
//! The store itself does not depend on it. Snapshots carry their own marks, so a catalogue that is
//! lost or damaged is made again from the tree ([`rebuild`]); what is lost is the history of
//! sessions. Nobody then knows how the last pushes ended, so every tenant's next snapshot is
//! incomplete until a push ends well.
//!
//! Every change is on disk when the call returns (`synchronous = FULL` under WAL).

mod notes;
mod owners;
mod rebuild;
mod schema;
mod session;
mod snapshot;
mod state;
mod usage;
mod verification;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use rebuild::{Rebuilt, tenants_in};
pub use session::SessionRecord;
pub use snapshot::{Reason, SnapshotRecord};
pub use state::TenantState;
pub use usage::UsageRecord;
pub use verification::{LastVerification, Verification};

/// The open catalogue. Shared by all threads of a process; other processes may have it open too.
#[derive(Debug)]
pub struct Catalogue {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Opened when a tenant needs it.
    notes: Mutex<Option<Arc<notes::Table>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("cannot {doing} the catalogue {}: {source}", .path.display())]
    Sqlite {
        doing: &'static str,
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the catalogue {} is of version {found}, made by a newer coffre; this one knows up to \
         version {known}", .path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "the catalogue {} was made by an older coffre; start the server once, which brings it up \
         to date", .path.display()
    )]
    Older { path: PathBuf },
    #[error("cannot rebuild the catalogue: {0}")]
    Snapshots(#[from] crate::snapshot::SnapshotError),
}

/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Catalogue {
    /// Opens the catalogue of a store, for the daemon, before it serves anybody: only one process
    /// may do this at a time.
    ///
    /// A missing one is created, an older one brought up to date, a damaged one moved aside (to
    /// `catalogue.sqlite.damaged-<time>`, which the log tells). Where it had to start anew and the
    /// store has tenants, it is rebuilt from them. Pushes that were under way when the last
    /// daemon died are noted as broken off.
    pub fn open(storage: &Path) -> Result<Self, CatalogueError> {
        let path = Self::path_in(storage);
        let directory = storage.join(".coffre");
        let created = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        created.map_err(|source| CatalogueError::Io {
            doing: "create",
            path: directory,
            source,
        })?;

        let mut is_new = !path.exists();
        let catalogue = match Self::open_checked(&path) {
            Err(CatalogueError::Sqlite { source, .. }) if is_damage(&source) => {
                let aside = move_aside(&path, Timestamp::now())?;
                tracing::error!(
                    catalogue = %path.display(),
                    moved_to = %aside.display(),
                    error = %source,
                    "the catalogue is damaged; it was moved aside and is rebuilt from the \
                     snapshots; the history of sessions starts anew"
                );
                is_new = true;
                Self::open_checked(&path)?
            }
            other => other?,
        };
        if is_new {
            let tenants = tenants_in(storage)?;
            if !tenants.is_empty() {
                let rebuilt = catalogue.rebuild(storage, &tenants)?;
                tracing::warn!(
                    catalogue = %path.display(),
                    tenants = rebuilt.tenants,
                    snapshots = rebuilt.snapshots,
                    "the catalogue was made anew from the store; how the last pushes ended is \
                     unknown, so the next snapshots are incomplete until a push ends well"
                );
            }
        }
        catalogue.note_interrupted_pushes()?;
        Ok(catalogue)
    }

    /// Opens it for reading, beside a running daemon or without one. `None`: there is none.
    pub fn open_to_read(storage: &Path) -> Result<Option<Self>, CatalogueError> {
        let path = Self::path_in(storage);
        if !path.exists() {
            return Ok(None);
        }
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // A reader of a WAL needs to write its index; it must not write anything else.
            connection.pragma_update(None, "query_only", true)?;
            let version = schema::version(&connection)?;
            Ok((connection, version))
        };
        let (connection, found) = open().map_err(|source| CatalogueError::Sqlite {
            doing: "open",
            path: path.clone(),
            source,
        })?;
        schema::check_known(found, &path)?;
        Ok(Some(Self {
            connection: Mutex::new(connection),
            path,
            notes: Mutex::default(),
        }))
    }

    /// Opens it for writing beside a running daemon or without one. `None`: there is none.
    /// Errors: it is of another version, which only the daemon brings up to date.
    pub fn open_beside(storage: &Path) -> Result<Option<Self>, CatalogueError> {
        let path = Self::path_in(storage);
        if !path.exists() {
            return Ok(None);
        }
        let fail = |source| CatalogueError::Sqlite {
            doing: "open",
            path: path.clone(),
            source,
        };
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            let version = schema::version(&connection)?;
            Ok((connection, version))
        };
        let (connection, found) = open().map_err(fail)?;
        schema::check_known(found, &path)?;
        if !schema::is_current(found) {
            return Err(CatalogueError::Older { path });
        }
        Ok(Some(Self {
            connection: Mutex::new(connection),
            path,
            notes: Mutex::default(),
        }))
    }

    /// `<storage>/.coffre/catalogue.sqlite`.
    pub fn path_in(storage: &Path) -> PathBuf {
        storage.join(".coffre/catalogue.sqlite")
    }

    fn open_checked(path: &Path) -> Result<Self, CatalogueError> {
        let fail = |doing| {
            move |source| CatalogueError::Sqlite {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        let mut connection = Connection::open(path).map_err(fail("open"))?;
        let prepare = |connection: &Connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // The process cannot write to directories for temporary files.
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        };
        let verdict = prepare(&connection).map_err(fail("open"))?;
        if verdict != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(fail("check")(rusqlite::Error::SqliteFailure(
                code,
                Some(verdict),
            )));
        }
        let found = schema::version(&connection).map_err(fail("open"))?;
        schema::check_known(found, path)?;
        schema::migrate(&mut connection, found).map_err(fail("update"))?;
        Ok(Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
            notes: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        query(&self.lock()).map_err(|source| self.fail("read", source))
    }

    /// All of `change`, or nothing.
    fn write<T>(
        &self,
        change: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        let mut connection = self.lock();
        let run = || {
            let behaviour = rusqlite::TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behaviour)?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|source| self.fail("write", source))
    }

    fn fail(&self, doing: &'static str, source: rusqlite::Error) -> CatalogueError {
        CatalogueError::Sqlite {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    let damage = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
    error
        .sqlite_error_code()
        .is_some_and(|code| damage.contains(&code))
}

/// Renames the catalogue and its journals, which belong to it.
fn move_aside(path: &Path, now: Timestamp) -> Result<PathBuf, CatalogueError> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = now.strftime("%Y-%m-%dT%H%M%SZ");
    let mut aside = with(&format!(".damaged-{stamp}"));
    for n in 1.. {
        if !aside.exists() {
            break;
        }
        aside = with(&format!(".damaged-{stamp}.{n}"));
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut to = aside.as_os_str().to_owned();
        to.push(suffix);
        match std::fs::rename(with(suffix), to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(CatalogueError::Io {
                    doing: "move aside",
                    path: with(suffix),
                    source,
                });
            }
        }
    }
    Ok(aside)
}

/// An instant as the tables hold it: `2026-11-20T09:30:00.000000Z`, which sorts as text.
struct Time(Timestamp);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into())
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        text.parse()
            .map(Self)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// A count. SQLite's whole numbers are signed; one beyond them is a peer's invention, and cut.
struct Count(u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.0).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let count = value.as_i64()?;
        let count = u64::try_from(count).map_err(|_| FromSqlError::OutOfRange(count))?;
        Ok(Self(count))
    }
}

#[cfg(test)]
mod tests;
