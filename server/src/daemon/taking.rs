//! Taking a snapshot: alone in the live tree, in its turn, under the right name, and on record.
//!
//! The gate comes first and a turn among the tenants second, but a turn is never held while
//! waiting at the gate (a session may run for hours), nor the gate for long while waiting for a
//! turn (the tenant's clients would wait as well).

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::SemaphorePermit;
use tracing::{info, warn};

use super::Daemon;
use super::prune;
use super::usage::Telling;
use crate::catalogue::{CatalogueError, Reason, SnapshotRecord};
use crate::config::units::render_duration;
use crate::control::listener::Steps;
use crate::control::{self, facts::TakenFacts};
use crate::snapshot::{self, Border, SnapshotError, SnapshotName, State, Taken};
use crate::tenant::{SnapshotPass, TenantHandle};

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("sessions of the tenant ({running}) still run after {}", render_duration(*.waited))]
    SessionsRun { running: usize, waited: Duration },
    #[error("cannot build the snapshot: {0}; no snapshot was taken")]
    Failed(#[from] SnapshotError),
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("{0}")]
    Internal(String),
    #[error("the server stops")]
    Stopping,
}

impl Daemon {
    /// Takes a snapshot of `tenant`, waiting up to `patience` for its sessions to end.
    pub(crate) async fn take_snapshot(
        &self,
        tenant: &Arc<TenantHandle>,
        reason: Reason,
        patience: Duration,
        steps: Option<&Steps>,
    ) -> Result<Taken, NotTaken> {
        let (pass, turn) = self.enter(tenant, patience, steps).await?;
        // Nobody writes to live from here on, so how the last push ended is settled.
        let pushes = self.catalogue().tenant_state(tenant.name())?;
        let state = match pushes.dirty {
            true => State::Incomplete,
            false => State::Complete,
        };
        if let Some(wait) = until_after(pushes.last_push_ended, Timestamp::now()) {
            tokio::time::sleep(wait).await;
        }
        let home = tenant.home().to_owned();
        let config = tenant.config();
        let time_zone = self.config().server.time_zone.clone();
        let account = Arc::clone(&tenant.account);
        let handle = Arc::clone(tenant);
        let (expiring, taken) = self
            .work()
            .run("linked", steps, move |progress| {
                let telling = Telling {
                    inner: progress,
                    account: &account,
                };
                let now = Timestamp::now();
                let expiring = prune::expiring(&home, config.keep.as_ref(), now, state, &time_zone);
                // The snapshot itself will meet it, if it is in its way.
                let expiring = expiring.unwrap_or_default();
                // One that a restore reads stays as it is.
                let going = expiring.and_then(|name| handle.let_snapshot_go(name));
                let expiring = expiring.filter(|_| going.is_some());
                let taken = snapshot::take_recycling(&home, now, state, expiring, &telling);
                (expiring, taken)
            })
            .await
            .map_err(NotTaken::Internal)?;
        if taken.as_ref().map_or(true, |taken| taken.new_inodes > 0) {
            // What was cleared up, or made because an inode had no room for links, was not told.
            tenant.account.distrust();
        }
        self.catalogue()
            .record_account(tenant.name(), &tenant.account, false)?;
        drop(pass);
        drop(turn);

        if let Some(old) = expiring {
            self.forget_if_gone(tenant, old);
        }
        let taken = taken?;
        let asked = taken.instead_of.unwrap_or(taken.name).time();
        self.scheduler()
            .with(tenant.name(), |underway| underway.last_taken = Some(asked));
        self.catalogue().record_snapshot(&SnapshotRecord {
            tenant: tenant.name().to_owned(),
            name: taken.name,
            files: Some(taken.files),
            directories: Some(taken.directories),
            bytes: None,
            duration: Some(taken.took),
            reason: Some(reason),
        })?;
        info!(
            tenant = tenant.name(),
            snapshot = %taken.name,
            %reason,
            files = taken.files,
            took = ?taken.took,
            recycled = taken.recycled.map(tracing::field::display),
            "snapshot taken"
        );
        if let (Some(old), Some(why)) = (expiring, &taken.not_recycled) {
            info!(
                tenant = tenant.name(),
                snapshot = %taken.name,
                "{old} is due to go, but could not become the new one: {why}"
            );
        }
        for note in notes(&taken) {
            warn!(tenant = tenant.name(), snapshot = %taken.name, "{note}");
        }
        Ok(taken)
    }

    /// A snapshot that was offered to become the new one may be gone, also where that failed.
    fn forget_if_gone(&self, tenant: &TenantHandle, old: SnapshotName) {
        let gone = match snapshot::list(tenant.home()) {
            Ok(there) => there.iter().all(|found| found.name != old),
            Err(_) => false,
        };
        if gone && let Err(e) = self.catalogue().forget_snapshot(tenant.name(), old) {
            warn!(tenant = tenant.name(), snapshot = %old, "{e}");
        }
    }

    async fn enter(
        &self,
        tenant: &Arc<TenantHandle>,
        patience: Duration,
        steps: Option<&Steps>,
    ) -> Result<(SnapshotPass, SemaphorePermit<'_>), NotTaken> {
        let deadline = Instant::now() + patience;
        let mut told = false;
        loop {
            let turn = self.turn().await?;
            if let Some(pass) = tenant.enter_snapshot(Duration::ZERO) {
                return Ok((pass, turn));
            }
            drop(turn);
            let sessions = tenant.gate.sessions();
            if let (false, Some(steps)) = (told, steps) {
                let what = match sessions {
                    0 => "waits for another snapshot of this tenant".to_owned(),
                    1 => "waits for 1 session to end".to_owned(),
                    n => format!("waits for {n} sessions to end"),
                };
                let _ = steps.try_send(control::Progress::Note(what));
                told = true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let waiting = Arc::clone(tenant);
            let pass = tokio::task::spawn_blocking(move || waiting.enter_snapshot(left))
                .await
                .map_err(|e| NotTaken::Internal(format!("internal: {e}")))?
                .ok_or_else(|| NotTaken::SessionsRun {
                    running: tenant.gate.sessions(),
                    waited: patience,
                })?;
            if let Ok(turn) = self.work().snapshots.try_acquire() {
                return Ok((pass, turn));
            }
            // Let the sessions in while others have their turn, then try again.
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, NotTaken> {
        if self.work().is_stopping() {
            return Err(NotTaken::Stopping);
        }
        self.work()
            .snapshots
            .acquire()
            .await
            .map_err(|_| NotTaken::Stopping)
    }
}

/// A snapshot's name is its time, cut to the second. One that is taken within the second in which
/// a push ended would seem older than that push, which the schedule would then find missing in it:
/// how long to wait, then. `None`: no need. A time ahead of the clock is none to wait for.
fn until_after(pushed: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let pushed = pushed?;
    let whole = pushed.subsec_nanosecond() == 0;
    if whole || pushed > now || pushed.as_second() != now.as_second() {
        return None;
    }
    let next = u64::try_from(1_000_000_000 - now.subsec_nanosecond()).ok()?;
    Some(Duration::from_nanos(next))
}

/// A taken snapshot as it is told.
pub(super) fn facts(taken: &Taken) -> TakenFacts {
    TakenFacts {
        name: taken.name.to_string(),
        state: taken.name.state().to_string(),
        files: taken.files,
        directories: taken.directories,
        took_millis: u64::try_from(taken.took.as_millis()).unwrap_or(u64::MAX),
        notes: notes(taken),
    }
}

fn notes(taken: &Taken) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(old) = taken.recycled.filter(|_| taken.not_recycled.is_none()) {
        notes.push(format!("{old} was due to go, and has become this one"));
    }
    if taken.name.state() == State::Incomplete {
        notes.push("incomplete: the last push did not end well".to_owned());
    }
    for border in &taken.borders {
        notes.push(match border {
            Border::Directory(path) => {
                format!(
                    "{path} is a mount point or a subvolume; it is an empty directory in the \
                     snapshot"
                )
            }
            Border::File(path) => {
                format!("{path} is a mount point; it is not in the snapshot")
            }
        });
    }
    if taken.new_inodes > 0 {
        notes.push(format!(
            "{} files had no room for more links and were copied",
            taken.new_inodes
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_later_than_the_push_it_holds() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-20T09:30:00.75Z");
        let wait = |pushed: &str| until_after(Some(at(pushed)), now);
        assert_eq!(
            wait("2026-11-20T09:30:00.5Z"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(wait("2026-11-20T09:29:59.9Z"), None);
        assert_eq!(wait("2026-11-20T09:30:00Z"), None);
        assert_eq!(wait("2027-01-01T00:00:00.5Z"), None);
        assert_eq!(until_after(None, now), None);
    }
}
