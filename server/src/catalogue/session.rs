//! Sessions: one row each, written when it begins (so that one cut short by a crash is there) and
//! again when it has ended.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{Catalogue, CatalogueError, Count, Time};

/// What a session was and did. Texts from the peer are escaped before they come here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Unique in the store.
    pub id: String,
    pub tenant: String,
    /// Of the key it came in with.
    pub fingerprint: String,
    pub address: String,
    pub login: String,
    /// `push` or `restore`.
    pub view: String,
    /// The command the client asked for, escaped.
    pub command: String,
    pub started: Timestamp,
    /// `None`: the server stopped before the session did.
    pub ended: Option<Timestamp>,
    /// What the client was told; `None`: nothing.
    pub exit: Option<i32>,
    /// Entries in the file list.
    pub files: u64,
    /// Regular files whose content was sent.
    pub transferred: u64,
    pub created: u64,
    pub deleted: u64,
    /// On the wire, from the client.
    pub bytes_in: u64,
    /// On the wire, to the client.
    pub bytes_out: u64,
    /// Content bytes that came over the wire.
    pub literal: u64,
    /// Content bytes that were taken from basis files.
    pub matched: u64,
    /// Of all files in the list.
    pub total_size: u64,
    /// Why it did not end well.
    pub error: Option<String>,
}

const COLUMNS: &str = "id, tenant, fingerprint, address, login, view, command, started, ended, \
                       exit, files, transferred, created, deleted, bytes_in, bytes_out, literal, \
                       matched, total_size, error";

impl Catalogue {
    /// Writes down a session; a second time with the same id replaces the first.
    pub fn record_session(&self, session: &SessionRecord) -> Result<(), CatalogueError> {
        self.write(|connection| insert(connection, session))
    }

    /// The latest sessions, newest first, of one tenant or of all.
    pub fn sessions(
        &self,
        tenant: Option<&str>,
        at_most: usize,
    ) -> Result<Vec<SessionRecord>, CatalogueError> {
        self.read(|connection| {
            let sql = match tenant {
                Some(_) => format!(
                    "SELECT {COLUMNS} FROM sessions WHERE tenant = ?1 \
                     ORDER BY started DESC, id LIMIT ?2"
                ),
                None => format!(
                    "SELECT {COLUMNS} FROM sessions WHERE ?1 IS NULL \
                     ORDER BY started DESC, id LIMIT ?2"
                ),
            };
            let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
            let mut statement = connection.prepare_cached(&sql)?;
            statement
                .query_map(params![tenant, at_most], from_row)?
                .collect()
        })
    }

    /// Forgets sessions that started before `time`, so that the catalogue does not grow for ever.
    /// Returns how many.
    pub fn forget_sessions_before(&self, time: Timestamp) -> Result<usize, CatalogueError> {
        self.write(|connection| {
            connection.execute("DELETE FROM sessions WHERE started < ?1", [Time(time)])
        })
    }
}

pub(super) fn insert(
    connection: &rusqlite::Connection,
    session: &SessionRecord,
) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO sessions ({COLUMNS}) VALUES \
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        session.id,
        session.tenant,
        session.fingerprint,
        session.address,
        session.login,
        session.view,
        session.command,
        Time(session.started),
        session.ended.map(Time),
        session.exit,
        Count(session.files),
        Count(session.transferred),
        Count(session.created),
        Count(session.deleted),
        Count(session.bytes_in),
        Count(session.bytes_out),
        Count(session.literal),
        Count(session.matched),
        Count(session.total_size),
        session.error,
    ])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        id: row.get(0)?,
        tenant: row.get(1)?,
        fingerprint: row.get(2)?,
        address: row.get(3)?,
        login: row.get(4)?,
        view: row.get(5)?,
        command: row.get(6)?,
        started: row.get::<_, Time>(7)?.0,
        ended: row.get::<_, Option<Time>>(8)?.map(|time| time.0),
        exit: row.get(9)?,
        files: row.get::<_, Count>(10)?.0,
        transferred: row.get::<_, Count>(11)?.0,
        created: row.get::<_, Count>(12)?.0,
        deleted: row.get::<_, Count>(13)?.0,
        bytes_in: row.get::<_, Count>(14)?.0,
        bytes_out: row.get::<_, Count>(15)?.0,
        literal: row.get::<_, Count>(16)?.0,
        matched: row.get::<_, Count>(17)?.0,
        total_size: row.get::<_, Count>(18)?.0,
        error: row.get(19)?,
    })
}
