//! The tables, and how older ones become them.

use std::path::Path;

use rusqlite::Connection;

use super::CatalogueError;

/// Step `n` makes version `n + 1` of version `n`. A released step is never changed: a new one is
/// added after it.
const STEPS: &[&str] = &[
    "
    CREATE TABLE tenants (
        tenant            TEXT PRIMARY KEY,
        -- 1: a push broke off and none has ended well since; the next snapshot is incomplete
        dirty             INTEGER NOT NULL DEFAULT 0,
        last_push_started TEXT,
        last_push_ended   TEXT,
        last_push_ok      INTEGER,
        last_good_push    TEXT,
        -- scheduled snapshots up to this instant have been dealt with
        schedule_mark     TEXT
    ) STRICT, WITHOUT ROWID;

    -- Pushes at work now. A row that outlives its daemon is a push that broke off.
    CREATE TABLE pushes (
        session TEXT PRIMARY KEY,
        tenant  TEXT NOT NULL,
        started TEXT NOT NULL,
        -- 1: another push broke off while this one ran, so its good end does not mend that
        tainted INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX pushes_by_tenant ON pushes (tenant);

    CREATE TABLE sessions (
        id          TEXT PRIMARY KEY,
        tenant      TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        address     TEXT NOT NULL,
        login       TEXT NOT NULL,
        view        TEXT NOT NULL,
        command     TEXT NOT NULL,
        started     TEXT NOT NULL,
        ended       TEXT,
        exit        INTEGER,
        files       INTEGER NOT NULL,
        transferred INTEGER NOT NULL,
        created     INTEGER NOT NULL,
        deleted     INTEGER NOT NULL,
        bytes_in    INTEGER NOT NULL,
        bytes_out   INTEGER NOT NULL,
        literal     INTEGER NOT NULL,
        matched     INTEGER NOT NULL,
        total_size  INTEGER NOT NULL,
        error       TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_tenant ON sessions (tenant, started);
    CREATE INDEX sessions_by_start ON sessions (started);

    CREATE TABLE snapshots (
        tenant        TEXT NOT NULL,
        name          TEXT NOT NULL,
        time          TEXT NOT NULL,
        state         TEXT NOT NULL,
        files         INTEGER,
        directories   INTEGER,
        bytes         INTEGER,
        duration_secs REAL,
        reason        TEXT,
        PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- What a tenant with a quota has in the store.
    CREATE TABLE usage (
        tenant  TEXT PRIMARY KEY,
        bytes   INTEGER NOT NULL,
        files   INTEGER NOT NULL,
        -- when the whole tree was counted last; what came and went since has been added up
        counted TEXT NOT NULL,
        -- 1: something has changed that is not in the sum
        stale   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    -- What tenants' clients call the owners in their trees, which are stored as numbers.
    CREATE TABLE owner_names (
        tenant TEXT NOT NULL,
        -- 'user' or 'group'
        kind   TEXT NOT NULL,
        id     INTEGER NOT NULL,
        name   BLOB NOT NULL,
        PRIMARY KEY (tenant, kind, id)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- How far reading the whole store has come; scope: a snapshot that is read alone, else empty.
    CREATE TABLE verifications (
        tenant       TEXT NOT NULL,
        scope        TEXT NOT NULL,
        started      TEXT NOT NULL,
        updated      TEXT NOT NULL,
        -- NULL: under way, or left
        ended        TEXT,
        -- where it is, and how many directories of that are done
        tree         TEXT NOT NULL,
        directories  INTEGER NOT NULL DEFAULT 0,
        files        INTEGER NOT NULL DEFAULT 0,
        bytes        INTEGER NOT NULL DEFAULT 0,
        without_sum  INTEGER NOT NULL DEFAULT 0,
        damaged      INTEGER NOT NULL DEFAULT 0,
        -- the last one that went through
        last_started TEXT,
        last_ended   TEXT,
        last_bytes   INTEGER,
        last_damaged INTEGER,
        PRIMARY KEY (tenant, scope)
    ) STRICT, WITHOUT ROWID;

    -- What the run that was begun last has found.
    CREATE TABLE damage (
        tenant TEXT NOT NULL,
        scope  TEXT NOT NULL,
        tree   TEXT NOT NULL,
        path   BLOB NOT NULL,
        inode  INTEGER,
        what   TEXT NOT NULL,
        found  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX damage_by_run ON damage (tenant, scope);
",
    "
    -- What is noted of files whose file system keeps no extended attributes.
    CREATE TABLE notes (
        tenant TEXT NOT NULL,
        inode  INTEGER NOT NULL,
        -- of the attribute it would be, below user.coffre.
        name   TEXT NOT NULL,
        -- what no other file of this number has: time of birth, or handle
        birth  BLOB NOT NULL,
        value  BLOB NOT NULL,
        noted  TEXT NOT NULL,
        PRIMARY KEY (tenant, inode, name)
    ) STRICT, WITHOUT ROWID;
",
];

/// `SQLITE_FCNTL` aside, what tells `file(1)` that it is ours: "Cfre".
const APPLICATION_ID: i32 = 0x4366_7265;

/// The version that this coffre writes.
const KNOWN: i64 = STEPS.len() as i64;

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

pub(super) fn is_current(found: i64) -> bool {
    found == KNOWN
}

pub(super) fn check_known(found: i64, path: &Path) -> Result<(), CatalogueError> {
    if found > KNOWN {
        return Err(CatalogueError::Newer {
            path: path.to_owned(),
            found,
            known: KNOWN,
        });
    }
    Ok(())
}

/// Brings a catalogue of version `from` up to date, each step whole or not at all.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    for (index, step) in STEPS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
