//! Takes snapshots when they are due, and prunes after them.
//!
//! One task looks at every tenant, starts what is due, and sleeps until the next thing is: a
//! scheduled time, a push that ended, a reload, or at the latest a
//! minute, so that a clock that was set or a machine that slept is noticed. When things are due is
//! decided by `schedule`; how far the schedule has been dealt with is in the catalogue, so a
//! restart neither loses nor doubles anything.
//!
//! A due snapshot waits at the gate for running sessions, up to `snapshots.wait`. After that it is
//! postponed: it lets new sessions in again, and is taken as soon as none runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::Daemon;
use super::prune;
use super::taking::NotTaken;
use super::usage::{self, CountedUsage};
use crate::catalogue::{CatalogueError, Reason, TenantState};
use crate::config::{Config, Tenant};
use crate::control::facts::PruneFacts;
use crate::control::listener::Steps;
use crate::schedule;
use crate::tenant::TenantHandle;

/// The longest sleep: how late a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How often a postponed snapshot looks whether the sessions have ended.
const POSTPONED_LOOK: Duration = Duration::from_secs(1);

/// After a failure (a full disk, say) the next try is not before this.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// How often old records of sessions are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(6 * 3600);

/// What is under way for a tenant.
#[derive(Debug, Default)]
pub(super) struct Underway {
    snapshot: bool,
    postponed: bool,
    prune: bool,
    pub(super) scrub: bool,
    pub(super) scrub_not_before: Option<Instant>,
    retry_not_before: Option<Instant>,
    /// When the last snapshot was taken, whatever its name says: that may be of a later second, and
    /// the latest name of all may come from a clock that was wrong.
    pub(super) last_taken: Option<Timestamp>,
    count: bool,
    count_not_before: Option<Instant>,
    counted: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Scheduler {
    woken: Notify,
    underway: Mutex<HashMap<String, Underway>>,
}

impl Scheduler {
    /// Has the schedule looked at again.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Whether a due snapshot of the tenant waits for sessions to end.
    pub(super) fn is_postponed(&self, tenant: &str) -> bool {
        self.lock().get(tenant).is_some_and(|u| u.postponed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Underway>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, tenant: &str, change: impl FnOnce(&mut Underway) -> T) -> T {
        change(self.lock().entry(tenant.to_owned()).or_default())
    }
}

/// A count of a tree that changed meanwhile is nearly right. Counting anew may take this part of the
/// time, so the next try waits so many times as long as the last one took …
const COUNT_REST: u32 = 50;

/// … but no less than this …
const COUNT_AGAIN_SOONEST: Duration = Duration::from_secs(5);

/// … and no longer. After an error it waits so long.
const COUNT_AGAIN_LATEST: Duration = Duration::from_secs(3600);

/// What is due for a tenant, and when.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Timestamp,
    reason: Reason,
}

/// Something that was due and is under way. However it ends, by a panic too, the tenant's schedule
/// goes on.
pub(super) struct Attempt {
    pub(super) daemon: Arc<Daemon>,
    pub(super) tenant: Arc<TenantHandle>,
    went_well: bool,
    /// If it did not go well, the next try is not before this.
    retry_after: Duration,
    /// Notes that it is over, and when the next try may be.
    over: fn(&mut Underway, Option<Instant>),
}

impl Attempt {
    /// `over` is told when it has ended.
    pub(super) fn begin(
        daemon: &Arc<Daemon>,
        tenant: &Arc<TenantHandle>,
        retry_after: Duration,
        over: fn(&mut Underway, Option<Instant>),
    ) -> Self {
        Self {
            daemon: Arc::clone(daemon),
            tenant: Arc::clone(tenant),
            went_well: false,
            retry_after,
            over,
        }
    }

    pub(super) fn note(&mut self, went_well: bool) {
        self.went_well = went_well;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let scheduler = self.daemon.scheduler();
        let next = (!self.went_well).then(|| Instant::now() + self.retry_after);
        scheduler.with(self.tenant.name(), |underway| (self.over)(underway, next));
        scheduler.wake();
    }
}

/// The one prune run of a tenant.
struct Pruning<'a> {
    scheduler: &'a Scheduler,
    tenant: &'a str,
}

impl Drop for Pruning<'_> {
    fn drop(&mut self) {
        self.scheduler
            .with(self.tenant, |underway| underway.prune = false);
        // What was freed may have to be counted.
        self.scheduler.wake();
    }
}

impl Daemon {
    /// Runs until the process ends.
    pub(super) async fn keep_schedule(self: Arc<Self>) {
        let mut forgot: Option<Instant> = None;
        loop {
            if forgot.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
                forgot = Some(Instant::now());
                tokio::task::block_in_place(|| self.forget_old_sessions());
            }
            // It reads the catalogue for every tenant.
            let sleep = match tokio::task::block_in_place(|| self.start_what_is_due()) {
                Ok(sleep) => sleep,
                Err(e) => {
                    error!("cannot look at the schedule: {e}");
                    LONGEST_SLEEP
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.scheduler().woken.notified() => {}
            }
        }
    }

    /// Records of sessions older than `keep_sessions` go, so that the catalogue does not grow for
    /// ever.
    fn forget_old_sessions(&self) {
        let Some(keep) = self.config().server.keep_sessions else {
            return;
        };
        let Ok(before) = Timestamp::now().checked_sub(keep) else {
            return;
        };
        match self.catalogue().forget_sessions_before(before) {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "forgot old records of sessions"),
            Err(e) => warn!("{e}"),
        }
    }

    /// How long there is nothing to do afterwards.
    fn start_what_is_due(self: &Arc<Self>) -> Result<Duration, CatalogueError> {
        let config = self.config();
        let now = Timestamp::now();
        let mut sleep = LONGEST_SLEEP;
        for tenant in self.tenants() {
            if let Some(wait) = self.start_count_if_due(&tenant) {
                sleep = sleep.min(wait + Duration::from_millis(5));
            }
            if let Some(wait) = self.start_scrub_if_due(&tenant, now)? {
                sleep = sleep.min(wait + Duration::from_millis(5));
            }
            let waits = self.scheduler().with(tenant.name(), |underway| {
                underway.snapshot
                    || underway
                        .retry_not_before
                        .is_some_and(|at| at > Instant::now())
            });
            if waits {
                continue;
            }
            let Some(due) = self.next_due(&tenant, &config, now)? else {
                continue;
            };
            let wait = due.at.duration_since(now);
            if wait.is_positive() {
                // A little more than a whole step, so that it is due when we look again.
                sleep = sleep.min(wait.unsigned_abs() + Duration::from_millis(5));
                continue;
            }
            self.scheduler()
                .with(tenant.name(), |underway| underway.snapshot = true);
            let mut taking = Attempt::begin(self, &tenant, RETRY_AFTER, |underway, next| {
                underway.snapshot = false;
                underway.postponed = false;
                underway.retry_not_before = next;
            });
            tokio::spawn(async move {
                let went_well = taking.daemon.take_due(&taking.tenant, due).await;
                taking.note(went_well);
            });
        }
        Ok(sleep)
    }

    /// Counts a tree in the background where its quota needs it. Gives how long that has to wait.
    fn start_count_if_due(self: &Arc<Self>, tenant: &Arc<TenantHandle>) -> Option<Duration> {
        let name = tenant.name();
        let now = Instant::now();
        let wait = self.scheduler().with(name, |underway| {
            let is_old = |at: Instant| now.saturating_duration_since(at) > usage::TRUSTED_FOR;
            if underway.counted.is_some_and(is_old) {
                tenant.account.distrust();
            }
            if !tenant.account.needs_count() || underway.count {
                return None;
            }
            let not_before = underway.count_not_before.unwrap_or(now);
            underway.count = not_before <= now;
            Some(not_before.saturating_duration_since(now))
        });
        if wait != Some(Duration::ZERO) {
            return wait;
        }
        let daemon = Arc::clone(self);
        let tenant = Arc::clone(tenant);
        tokio::spawn(async move {
            let counted = daemon.count_usage(&tenant).await;
            let now = Instant::now();
            let wait = match counted {
                CountedUsage::Exact => None,
                CountedUsage::Nearly(took) => Some(
                    took.saturating_mul(COUNT_REST)
                        .clamp(COUNT_AGAIN_SOONEST, COUNT_AGAIN_LATEST),
                ),
                CountedUsage::Failed => Some(COUNT_AGAIN_LATEST),
            };
            daemon.scheduler().with(tenant.name(), |underway| {
                underway.count = false;
                if wait.is_none() {
                    underway.counted = Some(now);
                }
                underway.count_not_before = wait.map(|wait| now + wait);
            });
            daemon.scheduler().wake();
        });
        None
    }

    /// When the tenant's next snapshot is due; in the past or now: it is.
    fn next_due(
        &self,
        tenant: &TenantHandle,
        config: &Config,
        now: Timestamp,
    ) -> Result<Option<Due>, CatalogueError> {
        let policy = &tenant.config().snapshots;
        let zone = &config.server.time_zone;
        let state = self.catalogue().tenant_state(tenant.name())?;
        let mark = self.mark(tenant.name(), &state, now)?;
        let scheduled = schedule::next_due(policy, Some(mark), now, zone).map(|at| Due {
            at,
            reason: Reason::Schedule,
        });
        let after_push = match state.last_good_push {
            // A broken or running push has changed live since: its end is what counts.
            Some(ended) if !state.dirty => {
                let known = self.scheduler().with(tenant.name(), |u| u.last_taken);
                let last = match known {
                    Some(taken) => Some(taken),
                    // None since the start.
                    None => {
                        let last = self.catalogue().last_snapshot(tenant.name())?;
                        last.map(|snapshot| snapshot.time())
                    }
                };
                schedule::after_push(policy, ended, last, now)
            }
            _ => None,
        }
        .map(|at| Due {
            at,
            reason: Reason::AfterSession,
        });
        Ok([scheduled, after_push]
            .into_iter()
            .flatten()
            .min_by_key(|due| due.at))
    }

    /// When the next snapshot is due, for people to read.
    pub(super) fn next_due_at(
        &self,
        tenant: &TenantHandle,
    ) -> Result<Option<Timestamp>, CatalogueError> {
        let due = self.next_due(tenant, &self.config(), Timestamp::now())?;
        Ok(due.map(|due| due.at))
    }

    /// The tenant's mark; a new tenant's schedule begins now.
    fn mark(
        &self,
        tenant: &str,
        state: &TenantState,
        now: Timestamp,
    ) -> Result<Timestamp, CatalogueError> {
        let believed = state
            .schedule_mark
            .map_or(now, |mark| schedule::believable(mark, now));
        if Some(believed) != state.schedule_mark {
            self.catalogue().set_schedule_mark(tenant, believed)?;
        }
        Ok(believed)
    }

    /// `false`: it failed, and is to be tried again later.
    async fn take_due(self: &Arc<Self>, tenant: &Arc<TenantHandle>, due: Due) -> bool {
        if due.reason == Reason::Schedule && self.nothing_was_ever_pushed(tenant) {
            info!(
                tenant = tenant.name(),
                "a snapshot is due, but nothing has been pushed yet"
            );
            return self.note_done(tenant.name(), Timestamp::now());
        }
        let mut patience = tenant.config().snapshots.wait;
        let taken = loop {
            let taken = self.take_snapshot(tenant, due.reason, patience, None).await;
            match taken {
                Err(NotTaken::SessionsRun { running, waited }) => {
                    let first = self.scheduler().with(tenant.name(), |u| {
                        !std::mem::replace(&mut u.postponed, true)
                    });
                    if first {
                        warn!(
                            tenant = tenant.name(),
                            sessions = running,
                            ?waited,
                            "the due snapshot is put off until the sessions end"
                        );
                    }
                    self.until_no_session_runs(tenant).await;
                    patience = POSTPONED_LOOK;
                }
                other => break other,
            }
        };
        match taken {
            Ok(taken) => {
                // All times up to this one are served by it, also those that passed while it
                // waited. The name is cut to the second, and so may be a little early.
                let until = taken.name.time().max(due.at);
                if due.reason == Reason::Schedule && !self.note_done(tenant.name(), until) {
                    return false;
                }
                self.spawn_prune(tenant);
                true
            }
            Err(NotTaken::Stopping) => true,
            Err(why) => {
                error!(
                    tenant = tenant.name(),
                    "{why}; next try in {} minutes",
                    RETRY_AFTER.as_secs() / 60
                );
                false
            }
        }
    }

    fn note_done(&self, tenant: &str, until: Timestamp) -> bool {
        match self.catalogue().set_schedule_mark(tenant, until) {
            Ok(()) => true,
            Err(e) => {
                error!(tenant, "{e}");
                false
            }
        }
    }

    fn nothing_was_ever_pushed(&self, tenant: &TenantHandle) -> bool {
        let no_push = self
            .catalogue()
            .tenant_state(tenant.name())
            .is_ok_and(|state| state.last_push_started.is_none());
        let empty = std::fs::read_dir(tenant.live()).is_ok_and(|mut live| live.next().is_none());
        no_push && empty
    }

    async fn until_no_session_runs(&self, tenant: &TenantHandle) {
        while tenant.gate.sessions() > 0 && !self.work().is_stopping() {
            tokio::time::sleep(POSTPONED_LOOK).await;
        }
    }

    /// Prunes in the background, where there are rules.
    pub(super) fn spawn_prune(self: &Arc<Self>, tenant: &Arc<TenantHandle>) {
        self.spawn_prune_on(&Handle::current(), tenant);
    }

    /// The same, from a thread that is none of the runtime's.
    pub(super) fn spawn_prune_on(self: &Arc<Self>, runtime: &Handle, tenant: &Arc<TenantHandle>) {
        if tenant.config().keep.is_none() {
            return;
        }
        let daemon = Arc::clone(self);
        let tenant = Arc::clone(tenant);
        runtime.spawn(async move {
            if let Err(why) = daemon.prune(&tenant, None).await {
                error!(tenant = tenant.name(), "{why}");
            }
        });
    }

    /// Prunes one tenant, in its turn. The error is a whole message.
    pub(super) async fn prune(
        &self,
        tenant: &Arc<TenantHandle>,
        steps: Option<&Steps>,
    ) -> Result<PruneFacts, String> {
        let name = tenant.name();
        let mine = self
            .scheduler()
            .with(name, |u| !std::mem::replace(&mut u.prune, true));
        if !mine {
            return Err(format!("tenant \"{name}\" is being pruned already"));
        }
        let _pruning = Pruning {
            scheduler: self.scheduler(),
            tenant: name,
        };
        self.prune_in_turn(tenant, steps).await
    }

    async fn prune_in_turn(
        &self,
        tenant: &Arc<TenantHandle>,
        steps: Option<&Steps>,
    ) -> Result<PruneFacts, String> {
        let Ok(_turn) = self.work().prunes.acquire().await else {
            return Err("the server stops".to_owned());
        };
        let config: Arc<Tenant> = tenant.config();
        let home = tenant.home().to_owned();
        let time_zone = self.config().server.time_zone.clone();
        let catalogue = Arc::clone(self.catalogue());
        let account = Arc::clone(&tenant.account);
        let handle = Arc::clone(tenant);
        let pruned = self
            .work()
            .run("removed", steps, move |progress| {
                let run = prune::Run {
                    tenant: &config.name,
                    home: &home,
                    rules: config.keep.as_ref(),
                    limit: config.prune_limit,
                    time_zone: &time_zone,
                    account: &account,
                    handle: &handle,
                };
                prune::run(&run, &catalogue, progress)
            })
            .await?;
        let others = tenant.gate.sessions() > 0;
        let recorded = self
            .catalogue()
            .record_account(tenant.name(), &tenant.account, others);
        if let Err(e) = recorded {
            error!(tenant = tenant.name(), "{e}");
        }
        pruned.map_err(|e| format!("tenant \"{}\": cannot prune: {e}", tenant.name()))
    }
}
