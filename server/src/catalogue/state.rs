//! What must be known of each tenant after a crash: how its pushes ended, and which scheduled
//! times have been dealt with.
//!
//! A push is written down before it touches live, and struck out when it has ended. So a push that
//! was cut short by `kill -9` or a power failure is still there afterwards, and the tenant counts
//! as *dirty* until a push that began later ends well.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Catalogue, CatalogueError, Time};

/// What is known of a tenant's pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantState {
    /// A push broke off (or is under way), and none has mended that: a snapshot taken now is
    /// incomplete.
    pub dirty: bool,
    pub last_push_started: Option<Timestamp>,
    pub last_push_ended: Option<Timestamp>,
    /// Whether that one ended well.
    pub last_push_ok: Option<bool>,
    pub last_good_push: Option<Timestamp>,
    /// Scheduled snapshots up to this instant have been dealt with; see `schedule`.
    pub schedule_mark: Option<Timestamp>,
}

impl Catalogue {
    /// Writes down that a push begins. To be called after the session has been let into live
    /// (`TenantHandle::enter_session`) and before it touches anything there.
    pub fn mark_push_started(
        &self,
        tenant: &str,
        session: &str,
        started: Timestamp,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            ensure_tenant(connection, tenant)?;
            connection.execute(
                "UPDATE tenants SET last_push_started = ?2 WHERE tenant = ?1",
                params![tenant, Time(started)],
            )?;
            connection.execute(
                "INSERT OR REPLACE INTO pushes (session, tenant, started) VALUES (?1, ?2, ?3)",
                params![session, tenant, Time(started)],
            )?;
            connection.execute("UPDATE usage SET stale = 1 WHERE tenant = ?1", [tenant])
        })?;
        Ok(())
    }

    /// Writes down how a push ended, while the session still holds its pass to live. `ok`: the
    /// client was told success, which means that all is on disk.
    pub fn mark_push_ended(
        &self,
        tenant: &str,
        session: &str,
        ended: Timestamp,
        ok: bool,
    ) -> Result<(), CatalogueError> {
        self.write(|connection| {
            ensure_tenant(connection, tenant)?;
            let tainted: Option<bool> = connection
                .query_row(
                    "SELECT tainted FROM pushes WHERE session = ?1",
                    [session],
                    |row| row.get(0),
                )
                .optional()?;
            connection.execute("DELETE FROM pushes WHERE session = ?1", [session])?;
            connection.execute(
                "UPDATE tenants SET last_push_ended = ?2, last_push_ok = ?3 WHERE tenant = ?1",
                params![tenant, Time(ended), ok],
            )?;
            if !ok {
                return note_broken(connection, tenant);
            }
            connection.execute(
                "UPDATE tenants SET last_good_push = ?2 WHERE tenant = ?1",
                params![tenant, Time(ended)],
            )?;
            // A push that ran while another broke off has not been through what that one left.
            if tainted == Some(false) {
                connection.execute("UPDATE tenants SET dirty = 0 WHERE tenant = ?1", [tenant])?;
            }
            Ok(())
        })
    }

    /// A push ended before it touched anything: as if it had not begun.
    pub fn forget_push(&self, session: &str) -> Result<(), CatalogueError> {
        self.write(|connection| {
            connection.execute("DELETE FROM pushes WHERE session = ?1", [session])
        })?;
        Ok(())
    }

    /// What is known of a tenant; all empty where nothing is.
    pub fn tenant_state(&self, tenant: &str) -> Result<TenantState, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT dirty OR EXISTS (SELECT 1 FROM pushes WHERE pushes.tenant = ?1), \
                       last_push_started, last_push_ended, last_push_ok, last_good_push, \
                       schedule_mark FROM tenants WHERE tenant = ?1";
            let state = connection
                .prepare_cached(sql)?
                .query_row([tenant], from_row)
                .optional()?;
            Ok(state.unwrap_or_default())
        })
    }

    /// Whether a snapshot taken now is incomplete. For the holder of the snapshot pass: while
    /// sessions run, they make the tenant dirty.
    pub fn is_dirty(&self, tenant: &str) -> Result<bool, CatalogueError> {
        Ok(self.tenant_state(tenant)?.dirty)
    }

    /// When the last push that ended well did so.
    pub fn last_good_push(&self, tenant: &str) -> Result<Option<Timestamp>, CatalogueError> {
        Ok(self.tenant_state(tenant)?.last_good_push)
    }

    /// Writes down that scheduled snapshots up to `mark` have been dealt with. It may go back,
    /// where the clock had been wrong.
    pub fn set_schedule_mark(&self, tenant: &str, mark: Timestamp) -> Result<(), CatalogueError> {
        self.write(|connection| {
            ensure_tenant(connection, tenant)?;
            connection.execute(
                "UPDATE tenants SET schedule_mark = ?2 WHERE tenant = ?1",
                params![tenant, Time(mark)],
            )
        })?;
        Ok(())
    }

    /// Pushes that a daemon before this one left behind broke off when it died. Returns how many.
    pub(super) fn note_interrupted_pushes(&self) -> Result<usize, CatalogueError> {
        self.write(|connection| {
            let sql = "SELECT DISTINCT tenant FROM pushes";
            let tenants: Vec<String> = connection
                .prepare(sql)?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for tenant in &tenants {
                ensure_tenant(connection, tenant)?;
                note_broken(connection, tenant)?;
                connection.execute(
                    "UPDATE tenants SET last_push_ok = 0 WHERE tenant = ?1",
                    [tenant],
                )?;
            }
            connection.execute("DELETE FROM pushes", [])
        })
    }
}

/// The tenant's row, with everything unknown.
fn ensure_tenant(connection: &Connection, tenant: &str) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO tenants (tenant) VALUES (?1)",
        [tenant],
    )?;
    Ok(())
}

/// A push of the tenant broke off, or none is known to have ended well.
pub(super) fn note_broken(connection: &Connection, tenant: &str) -> rusqlite::Result<()> {
    ensure_tenant(connection, tenant)?;
    connection.execute("UPDATE tenants SET dirty = 1 WHERE tenant = ?1", [tenant])?;
    connection.execute("UPDATE pushes SET tainted = 1 WHERE tenant = ?1", [tenant])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<TenantState> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<Time>>(column)?.map(|t| t.0));
    Ok(TenantState {
        dirty: row.get(0)?,
        last_push_started: time(1)?,
        last_push_ended: time(2)?,
        last_push_ok: row.get(3)?,
        last_good_push: time(4)?,
        schedule_mark: time(5)?,
    })
}
