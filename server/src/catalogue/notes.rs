//! What is noted of files whose file system keeps no extended attributes: sums of contents, and
//! what broken pushes left. See [`crate::confine::Notes`].
//!
//! A push of a hundred thousand files must not be a hundred thousand transactions: notes gather in
//! memory, where this process finds them, and are written down [`BATCH`] at a time, at the end of
//! a push, and before anybody is told that it ended well. To forget is written at once, because
//! another process (`coffre verify`) would take a changed content for damage.
//!
//! The connection is one of its own. Confined sessions use it: all it needs is open by then. What
//! it commits may be lost with the power. A note that is lost costs reading a file. One that had
//! been taken back and is there again says for which size and time it holds, so nobody is misled
//! by it but verify, which names such a file: its content is another than the one that was summed.
//!
//! Notes of files that are gone stay until a verification has seen all that is there
//! ([`Notes::forget_others`]), or the inode number is used again.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{BUSY_TIMEOUT, Catalogue, CatalogueError, Time, schema};
use crate::confine::{Identity, Notes, identity_of, lacks_attributes};

/// Notes per transaction.
const BATCH: usize = 2048;

/// The table of a store, of all tenants.
#[derive(Debug)]
pub(super) struct Table {
    connection: Mutex<Connection>,
    /// Nothing is ever written.
    is_read_only: bool,
    /// Trouble has been told.
    is_troubled: AtomicBool,
}

/// The notes of one tenant.
#[derive(Debug)]
struct TenantNotes {
    table: Arc<Table>,
    tenant: String,
    /// Not written down yet, by inode and name.
    gathered: Mutex<HashMap<(u64, String), Note>>,
}

#[derive(Debug)]
struct Note {
    birth: Vec<u8>,
    value: Vec<u8>,
    noted: Timestamp,
}

impl Catalogue {
    /// Where what is noted of a tenant's files is kept. `None`: in the files; or nowhere, because
    /// its file system tells nothing of a file that a later one of the same inode number would
    /// not have.
    pub fn notes(
        &self,
        tenant: &str,
        home: &Path,
    ) -> Result<Option<Arc<dyn Notes>>, CatalogueError> {
        // A tenant without a home has no files.
        let Ok(directory) = std::fs::File::open(home) else {
            return Ok(None);
        };
        if !lacks_attributes(&directory) || !matches!(identity_of(&directory), Ok(Some(_))) {
            return Ok(None);
        }
        // One that only the daemon brings up to date.
        if !schema::is_current(self.read(schema::version)?) {
            return Ok(None);
        }
        let mut table = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let table = match &*table {
            Some(table) => Arc::clone(table),
            None => Arc::clone(table.insert(Arc::new(self.open_table()?))),
        };
        Ok(Some(Arc::new(TenantNotes {
            table,
            tenant: tenant.to_owned(),
            gathered: Mutex::default(),
        })))
    }

    fn open_table(&self) -> Result<Table, CatalogueError> {
        let open = || {
            let is_read_only = self
                .lock()
                .query_row("PRAGMA query_only", [], |row| row.get(0))?;
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            connection.pragma_update(None, "query_only", is_read_only)?;
            // Opens all there is to open, while the thread may.
            connection.query_row(
                "SELECT count(*) FROM (SELECT 1 FROM notes LIMIT 1)",
                [],
                |_| Ok(()),
            )?;
            Ok(Table {
                connection: Mutex::new(connection),
                is_read_only,
                is_troubled: AtomicBool::new(false),
            })
        };
        open().map_err(|source| self.fail("open", source))
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: it failed, and the log says so, once.
    fn told<T>(&self, doing: &str, result: rusqlite::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if !self.is_troubled.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "cannot {doing} the sums of contents in the catalogue: {error}; files are \
                         read where their sums are missing"
                    );
                }
                None
            }
        }
    }
}

impl TenantNotes {
    fn gathered(&self) -> MutexGuard<'_, HashMap<(u64, String), Note>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, gathered: &mut HashMap<(u64, String), Note>) {
        if gathered.is_empty() {
            return;
        }
        let notes = std::mem::take(gathered);
        if self.table.is_read_only {
            return;
        }
        let mut connection = self.table.lock();
        let mut write = || {
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT OR REPLACE INTO notes (tenant, inode, name, birth, value, noted) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                for ((inode, name), note) in &notes {
                    insert.execute(params![
                        self.tenant,
                        signed(*inode),
                        name,
                        note.birth,
                        note.value,
                        Time(note.noted)
                    ])?;
                }
            }
            transaction.commit()
        };
        let written = write();
        self.table.told("write", written);
    }
}

impl Notes for TenantNotes {
    fn note(&self, file: &Identity, name: &str) -> Option<Vec<u8>> {
        if let Some(note) = self.gathered().get(&(file.inode, name.to_owned())) {
            return (note.birth == file.birth).then(|| note.value.clone());
        }
        let connection = self.table.lock();
        let find = || {
            connection
                .prepare_cached(
                    "SELECT value FROM notes \
                     WHERE tenant = ?1 AND inode = ?2 AND name = ?3 AND birth = ?4",
                )?
                .query_row(
                    params![self.tenant, signed(file.inode), name, file.birth],
                    |row| row.get(0),
                )
                .optional()
        };
        self.table.told("read", find()).flatten()
    }

    fn keep(&self, file: &Identity, name: &str, value: &[u8]) {
        let mut gathered = self.gathered();
        gathered.insert(
            (file.inode, name.to_owned()),
            Note {
                birth: file.birth.clone(),
                value: value.to_vec(),
                noted: Timestamp::now(),
            },
        );
        if gathered.len() >= BATCH {
            self.write(&mut gathered);
        }
    }

    fn forget(&self, file: &Identity) -> io::Result<()> {
        self.gathered().retain(|(inode, _), _| *inode != file.inode);
        if self.table.is_read_only {
            return Ok(());
        }
        let connection = self.table.lock();
        let forget = || {
            // Most files that change have none: to look costs no transaction.
            let is_known = connection
                .prepare_cached("SELECT 1 FROM notes WHERE tenant = ?1 AND inode = ?2 LIMIT 1")?
                .exists(params![self.tenant, signed(file.inode)])?;
            if is_known {
                connection
                    .prepare_cached("DELETE FROM notes WHERE tenant = ?1 AND inode = ?2")?
                    .execute(params![self.tenant, signed(file.inode)])?;
            }
            Ok(())
        };
        forget().map_err(|error: rusqlite::Error| {
            io::Error::other(format!(
                "the sum of its content cannot be taken back from the catalogue: {error}"
            ))
        })
    }

    fn flush(&self) {
        self.write(&mut self.gathered());
    }

    fn forget_others(&self, is_there: &dyn Fn(u64) -> bool, noted_before: Timestamp) {
        if self.table.is_read_only {
            return;
        }
        let sweep = || {
            let connection = self.table.lock();
            let mut inodes = connection.prepare_cached(
                "SELECT DISTINCT inode FROM notes WHERE tenant = ?1 AND noted < ?2",
            )?;
            let gone: Vec<i64> = inodes
                .query_map(params![self.tenant, Time(noted_before)], |row| row.get(0))?
                .filter(|inode| !matches!(inode, Ok(inode) if is_there(*inode as u64)))
                .collect::<rusqlite::Result<_>>()?;
            drop(inodes);
            drop(connection);
            for some in gone.chunks(BATCH) {
                let mut connection = self.table.lock();
                let transaction = connection.transaction()?;
                {
                    let mut delete = transaction.prepare_cached(
                        "DELETE FROM notes WHERE tenant = ?1 AND inode = ?2 AND noted < ?3",
                    )?;
                    for inode in some {
                        delete.execute(params![self.tenant, inode, Time(noted_before)])?;
                    }
                }
                transaction.commit()?;
            }
            Ok(())
        };
        self.table.told("sweep", sweep());
    }
}

impl Drop for TenantNotes {
    fn drop(&mut self) {
        self.flush();
    }
}

/// All 64 bits, as SQLite's signed number.
fn signed(inode: u64) -> i64 {
    inode as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tenants' notes in a new store.
    fn notes(storage: &Path) -> (Catalogue, [TenantNotes; 2]) {
        let catalogue = Catalogue::open(storage).unwrap();
        let table = Arc::new(catalogue.open_table().unwrap());
        let of = |tenant: &str| TenantNotes {
            table: Arc::clone(&table),
            tenant: tenant.to_owned(),
            gathered: Mutex::default(),
        };
        let both = ["one", "other"].map(of);
        (catalogue, both)
    }

    fn file(inode: u64, birth: &[u8]) -> Identity {
        Identity {
            device: 1,
            inode,
            birth: birth.to_vec(),
        }
    }

    #[test]
    fn a_note_is_of_one_file_and_tenant_written_down_or_not() {
        let storage = tempfile::tempdir().unwrap();
        let (_catalogue, [one, other]) = notes(storage.path());
        one.keep(&file(u64::MAX, b"1"), "sum", b"value");
        for _ in 0..2 {
            let found =
                |notes: &TenantNotes, birth: &[u8], name| notes.note(&file(u64::MAX, birth), name);
            assert_eq!(found(&one, b"1", "sum").as_deref(), Some(&b"value"[..]));
            assert_eq!(found(&one, b"2", "sum"), None);
            assert_eq!(found(&one, b"1", "kept"), None);
            assert_eq!(found(&other, b"1", "sum"), None);
            one.flush();
        }
        // A later file of that number: the note of the first is gone for good.
        one.keep(&file(u64::MAX, b"2"), "sum", b"later");
        one.flush();
        assert_eq!(one.note(&file(u64::MAX, b"1"), "sum"), None);
    }

    #[test]
    fn what_is_forgotten_is_forgotten_for_others_too() {
        let storage = tempfile::tempdir().unwrap();
        let (catalogue, [one, _]) = notes(storage.path());
        let elsewhere = TenantNotes {
            table: Arc::new(catalogue.open_table().unwrap()),
            tenant: "one".to_owned(),
            gathered: Mutex::default(),
        };
        one.keep(&file(7, b"1"), "sum", b"value");
        assert_eq!(elsewhere.note(&file(7, b"1"), "sum"), None);
        one.flush();
        assert!(elsewhere.note(&file(7, b"1"), "sum").is_some());
        one.keep(&file(7, b"1"), "sum", b"newer");
        one.forget(&file(7, b"1")).unwrap();
        one.flush();
        assert_eq!(elsewhere.note(&file(7, b"1"), "sum"), None);
    }

    #[test]
    fn more_than_a_batch_is_written_down_without_being_asked() {
        let storage = tempfile::tempdir().unwrap();
        let (catalogue, [one, _]) = notes(storage.path());
        for inode in 0..BATCH as u64 + 1 {
            one.keep(&file(inode, b"1"), "sum", b"value");
        }
        let count = || {
            let count = catalogue
                .lock()
                .query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0));
            count.unwrap()
        };
        assert_eq!(count(), BATCH as i64);
        drop(one);
        assert_eq!(count(), BATCH as i64 + 1);
    }

    #[test]
    fn notes_of_files_that_are_gone_go_and_new_ones_stay() {
        let storage = tempfile::tempdir().unwrap();
        let (_catalogue, [one, other]) = notes(storage.path());
        let began = Timestamp::now() + jiff::SignedDuration::from_secs(1);
        for notes in [&one, &other] {
            for inode in [1, 2, 3] {
                notes.keep(&file(inode, b"1"), "sum", b"value");
            }
            notes.flush();
        }
        let has = |notes: &TenantNotes| {
            [1, 2, 3].map(|inode| notes.note(&file(inode, b"1"), "sum").is_some())
        };
        one.forget_others(&|_| false, began - jiff::SignedDuration::from_secs(60));
        assert_eq!(has(&one), [true; 3]);
        one.forget_others(&|inode| inode == 2, began);
        assert_eq!(has(&one), [false, true, false]);
        assert_eq!(has(&other), [true; 3]);
    }
}
