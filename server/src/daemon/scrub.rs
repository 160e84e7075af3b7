//! Reads the store a part at a time, as `verify` in the configuration says, and says loudly what
//! is damaged. When a part is due and how large it is, `schedule::scrub` decides; how far it has
//! come is in the catalogue, so a restart goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coffre_protocol::error::escape;
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::Daemon;
use super::scheduler::Attempt;
use crate::catalogue::CatalogueError;
use crate::config::VerifyPolicy;
use crate::config::units::render_size;
use crate::control::facts::ScrubFacts;
use crate::schedule::scrub::{Left, Past, due, share};
use crate::snapshot::{self, Progress};
use crate::tenant::TenantHandle;
use crate::verify::{self, Finding, Outcome, Task, VerifyError, Watch};

/// After a failure, or while somebody verifies by hand, the next try is not before this.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Damaged names that the status tells.
const MOST_NAMED: usize = 5;

/// One part of a run.
struct Part<'a> {
    tenant: &'a str,
    progress: &'a dyn Progress,
    /// `None`: to the end.
    share: Option<u64>,
    read: AtomicU64,
}

impl Watch for Part<'_> {
    fn advance(&self, _files: u64, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn found(&self, finding: &Finding) {
        error!(
            tenant = self.tenant,
            tree = finding.tree,
            path = escape(&finding.path),
            "DAMAGED: {}",
            finding.what
        );
    }

    fn note(&self, line: &str) {
        info!(tenant = self.tenant, "verifying: {line}");
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }

    fn has_enough(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        self.share.is_some_and(|share| read >= share)
    }
}

impl Daemon {
    /// Starts the tenant's next part where one is due, and says how long there is nothing to do
    /// else.
    pub(super) fn start_scrub_if_due(
        self: &Arc<Self>,
        tenant: &Arc<TenantHandle>,
        now: Timestamp,
    ) -> Result<Option<Duration>, CatalogueError> {
        let Some(policy) = tenant.config().verify else {
            return Ok(None);
        };
        let name = tenant.name();
        let waits = self.scheduler().with(name, |underway| {
            underway.scrub
                || underway
                    .scrub_not_before
                    .is_some_and(|at| at > Instant::now())
        });
        if waits {
            return Ok(None);
        }
        // What was never in a snapshot was hardly ever pushed.
        if self.catalogue().last_snapshot(name)?.is_none() {
            return Ok(None);
        }
        let past = self.past(name)?;
        let wait = due(&policy, &past, now).duration_since(now);
        if wait.is_positive() {
            return Ok(Some(wait.unsigned_abs()));
        }
        self.scheduler()
            .with(name, |underway| underway.scrub = true);
        let mut scrubbing = Attempt::begin(self, tenant, RETRY_AFTER, |underway, next| {
            underway.scrub = false;
            underway.scrub_not_before = next;
        });
        tokio::spawn(async move {
            let went_well = scrubbing
                .daemon
                .scrub(&scrubbing.tenant, policy, &past)
                .await;
            scrubbing.note(went_well);
        });
        Ok(None)
    }

    fn past(&self, tenant: &str) -> Result<Past, CatalogueError> {
        let left = self.catalogue().verification(tenant, "")?;
        let left = left.filter(|run| run.ended.is_none()).map(|run| Left {
            started: run.started,
            updated: run.updated,
            read: run.bytes,
        });
        let last = self.catalogue().last_verification(tenant)?;
        Ok(Past {
            left,
            last: last.map(|run| (run.started, run.ended)),
        })
    }

    /// `false`: it failed, and is to be tried again later.
    async fn scrub(&self, tenant: &Arc<TenantHandle>, policy: VerifyPolicy, past: &Past) -> bool {
        let Ok(_turn) = self.work().scrubs.acquire().await else {
            return true;
        };
        let name = tenant.name().to_owned();
        let total = match self.bytes_to_read(tenant).await {
            Ok(total) => total,
            Err(_) if self.work().is_stopping() => return true,
            Err(why) => {
                error!(
                    tenant = name,
                    "cannot measure what there is to verify: {why}"
                );
                return false;
            }
        };
        // It may have waited for its turn.
        let share = share(&policy, past, total, Timestamp::now());
        let catalogue = Arc::clone(self.catalogue());
        let home = tenant.home().to_owned();
        let notes = tenant.notes();
        let task = move |progress: &dyn Progress| {
            let part = Part {
                tenant: &name,
                progress,
                share,
                read: AtomicU64::new(0),
            };
            let task = Task {
                tenant: &name,
                home: &home,
                only: None,
                bytes_per_second: policy.limit,
                restart: false,
                catalogue: Some(&catalogue),
                notes,
            };
            // On a thread that ends with it, since its priority stays low.
            let verified = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    verify::go_idle();
                    verify::verify(&task, &part)
                });
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            (verified, part.read.into_inner())
        };
        let name = tenant.name();
        let (verified, read) = match self.work().run("verified", None, task).await {
            Ok(done) => done,
            Err(why) => {
                error!(tenant = name, "{why}");
                return false;
            }
        };
        match verified {
            Ok(outcome) => {
                report(name, &outcome, read, total);
                true
            }
            Err(VerifyError::Busy) => {
                info!(tenant = name, "it is being verified by hand");
                false
            }
            Err(why) => {
                error!(tenant = name, "cannot verify the store: {why}");
                false
            }
        }
    }

    /// About how much all runs through the tenant's store together read.
    async fn bytes_to_read(&self, tenant: &Arc<TenantHandle>) -> Result<u64, String> {
        if let Some(used) = tenant.account.used() {
            return Ok(used.bytes);
        }
        let last = self.catalogue().last_verification(tenant.name());
        if let Some(last) = last.map_err(|e| e.to_string())? {
            return Ok(last.bytes);
        }
        let home = tenant.home().to_owned();
        let counted = self
            .work()
            .run("counted", None, move |progress| {
                snapshot::usage(&home, progress)
            })
            .await?;
        counted.map(|used| used.bytes).map_err(|e| e.to_string())
    }

    /// What is known of a tenant's damage. `None`: nobody has looked, nor will.
    pub(super) fn scrub_facts(
        &self,
        tenant: &TenantHandle,
        now: Timestamp,
    ) -> Result<Option<ScrubFacts>, CatalogueError> {
        let name = tenant.name();
        let policy = tenant.config().verify;
        let run = self.catalogue().verification(name, "")?;
        if policy.is_none() && run.is_none() {
            return Ok(None);
        }
        let last = self.catalogue().last_verification(name)?;
        let left = run.filter(|run| run.ended.is_none());
        let found = self.catalogue().damage(name, "")?;
        let past = self.past(name)?;
        let is_read = self.catalogue().last_snapshot(name)?.is_some();
        Ok(Some(ScrubFacts {
            every_seconds: policy.map(|policy| policy.every.as_secs()),
            next: policy
                .filter(|_| is_read)
                .map(|policy| due(&policy, &past, now).max(now).to_string()),
            running: self.scheduler().with(name, |underway| underway.scrub),
            started: left.as_ref().map(|run| run.started.to_string()),
            read_bytes: left.as_ref().map(|run| run.bytes),
            last_ended: last.as_ref().map(|run| run.ended.to_string()),
            last_bytes: last.as_ref().map(|run| run.bytes),
            damaged: match (&left, &last) {
                // What the last one has found is still so until it is looked at again.
                (Some(_), Some(last)) => last.damaged.max(found.len() as u64),
                _ => found.len() as u64,
            },
            damage: found.iter().take(MOST_NAMED).map(Finding::words).collect(),
        }))
    }
}

fn report(tenant: &str, outcome: &Outcome, read: u64, total: u64) {
    let damaged = outcome.findings.len();
    if !outcome.complete {
        info!(
            tenant,
            read = render_size(read),
            so_far = render_size(outcome.bytes),
            of_about = render_size(total),
            damaged,
            "verified a part of the store"
        );
        return;
    }
    info!(
        tenant,
        files = outcome.files,
        bytes = outcome.bytes,
        without_sum = outcome.without_sum,
        damaged,
        "verified the store"
    );
    if damaged > 0 {
        error!(
            tenant,
            damaged,
            "DAMAGED files are in the store: `coffre verify {tenant}` says in which snapshots"
        );
    }
    if !outcome.without_manifest.is_empty() {
        warn!(
            tenant,
            snapshots = outcome.without_manifest.join(", "),
            "no manifest, so what is missing there is not noticed"
        );
    }
}
