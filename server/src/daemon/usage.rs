//! What tenants have in the store, for those that have a quota: recalled at the start, counted in
//! the background when it is not known or not to be trusted, and written down after each change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::Daemon;
use crate::account::Account;
use crate::catalogue::Catalogue;
use crate::control::facts::QuotaFacts;
use crate::snapshot::{self, Progress};
use crate::tenant::TenantHandle;

/// A sum that is older is counted anew: what is added up is nearly right, and nearly adds up too.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Tells the account what snapshots and prunes make and free.
pub(super) struct Telling<'a> {
    pub(super) inner: &'a dyn Progress,
    pub(super) account: &'a Account,
}

impl Progress for Telling<'_> {
    fn advance(&self, files: u64, directories: u64) {
        self.inner.advance(files, directories);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }

    fn counts_space(&self) -> bool {
        self.account.counts()
    }

    fn space(&self, bytes: i64, files: i64) {
        if (bytes, files) != (0, 0) {
            self.account.add(bytes, files);
        }
    }

    fn uncounted(&self) {
        self.account.distrust();
    }
}

/// What the catalogue knows from the last run.
pub(super) fn recall(tenant: &TenantHandle, catalogue: &Catalogue) {
    match catalogue.usage(tenant.name()) {
        Ok(Some(record)) => {
            let age = Timestamp::now().duration_since(record.counted);
            let is_old = age.unsigned_abs() > TRUSTED_FOR;
            tenant.account.recall(record.used, !record.stale && !is_old);
        }
        Ok(None) => {}
        Err(e) => warn!(tenant = tenant.name(), "{e}"),
    }
}

pub(super) fn facts(account: &Account) -> Option<QuotaFacts> {
    let quota = account.quota();
    if quota.is_none() {
        return None;
    }
    let used = account.used();
    Some(QuotaFacts {
        size_bytes: quota.size,
        files: quota.files,
        used_bytes: used.map(|used| used.bytes),
        used_files: used.map(|used| used.files),
    })
}

/// What came of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountedUsage {
    /// Or the daemon is about to end.
    Exact,
    /// Something changed meanwhile. How long it took.
    Nearly(Duration),
    /// Told in the log.
    Failed,
}

impl Daemon {
    /// Counts the tenant's tree.
    pub(super) async fn count_usage(&self, tenant: &Arc<TenantHandle>) -> CountedUsage {
        let Ok(_turn) = self.work().counts.acquire().await else {
            return CountedUsage::Exact;
        };
        let started = Instant::now();
        let account = &tenant.account;
        let began = account.count_begins();
        let home = tenant.home().to_owned();
        let counted = self
            .work()
            .run("counted", None, move |progress| {
                snapshot::usage(&home, progress)
            })
            .await;
        let used = match counted {
            Ok(Ok(used)) => used,
            Ok(Err(_)) if self.work().is_stopping() => return CountedUsage::Exact,
            Ok(Err(e)) => {
                error!(tenant = tenant.name(), "cannot count what it has: {e}");
                return CountedUsage::Failed;
            }
            Err(e) => {
                error!(tenant = tenant.name(), "{e}");
                return CountedUsage::Failed;
            }
        };
        let exact = account.counted(used, began) && tenant.gate.sessions() == 0;
        if !exact {
            account.distrust();
        }
        let name = tenant.name();
        info!(
            tenant = name,
            bytes = used.bytes,
            files = used.files,
            exact,
            "counted what the tenant has in the store"
        );
        if let Err(e) = self.catalogue().record_count(name, used, exact) {
            error!(tenant = name, "{e}");
        }
        match exact {
            true => CountedUsage::Exact,
            false => CountedUsage::Nearly(started.elapsed()),
        }
    }
}
