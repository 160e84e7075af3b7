//! Answers to the command line.

use std::sync::Arc;

use jiff::Timestamp;

use super::Daemon;
use super::pushes::LastPush;
use super::taking;
use super::usage;
use crate::catalogue::{Reason, TenantState};
use crate::confine::{Metadata, landlock};
use crate::control::facts::{PushFacts, StatusFacts, TenantFacts};
use crate::control::listener::{Answers, Steps};
use crate::control::{Answer, Failure, Request};
use crate::snapshot;
use crate::tenant::TenantHandle;

impl Answers for Daemon {
    async fn answer(self: Arc<Self>, request: Request, steps: Steps) -> Result<Answer, Failure> {
        match request {
            Request::Status => Ok(Answer::Status(self.status().await?)),
            Request::Reload => Ok(Answer::Reloaded(self.reload().await?)),
            Request::Snapshot { tenant } => {
                let tenant = self.served(&tenant)?;
                let patience = tenant.config().snapshots.wait;
                let taken = self
                    .take_snapshot(&tenant, Reason::Manual, patience, Some(&steps))
                    .await
                    .map_err(|why| Failure::new(format!("tenant \"{}\": {why}", tenant.name())))?;
                self.spawn_prune(&tenant);
                Ok(Answer::Snapshot(taking::facts(&taken)))
            }
            Request::Prune { tenant } => {
                let tenants = match tenant {
                    Some(name) => vec![self.served(&name)?],
                    None => self.tenants(),
                };
                let mut pruned = Vec::new();
                for tenant in tenants {
                    let facts = self.prune(&tenant, Some(&steps)).await;
                    pruned.push(facts.map_err(Failure::new)?);
                }
                Ok(Answer::Pruned(pruned))
            }
        }
    }
}

impl Daemon {
    /// A tenant that this daemon serves; the file may know others already.
    fn served(&self, name: &str) -> Result<Arc<TenantHandle>, Failure> {
        self.tenant(name).ok_or_else(|| {
            Failure::new(format!(
                "the daemon does not serve a tenant \"{name}\"; is it new in the configuration? \
                 `coffre reload` applies it"
            ))
        })
    }

    async fn status(&self) -> Result<StatusFacts, Failure> {
        let listening = match self.server.lock().await.as_ref() {
            Some(server) => server.listening(),
            None => Vec::new(),
        };
        let config = self.config();
        let mut tenants = Vec::new();
        for tenant in self.tenants() {
            let addresses = listening
                .iter()
                .filter(|l| l.tenant == tenant.name())
                .map(|l| l.address.to_string())
                .collect();
            tenants.push(self.tenant_facts(&tenant, addresses)?);
        }
        Ok(StatusFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            storage: config.server.storage.display().to_string(),
            config: config.path.display().to_string(),
            started: self.started.to_string(),
            metadata: match self.metadata() {
                Metadata::Native => "native".to_owned(),
                Metadata::Xattr => "xattr".to_owned(),
            },
            landlock: landlock::support().to_string(),
            time_zone: zone_name(&config.server.time_zone),
            tenants,
        })
    }

    fn tenant_facts(
        &self,
        tenant: &Arc<TenantHandle>,
        addresses: Vec<String>,
    ) -> Result<TenantFacts, Failure> {
        let failed =
            |e: &dyn std::fmt::Display| Failure::new(format!("tenant \"{}\": {e}", tenant.name()));
        let config = tenant.config();
        let next = self.next_due_at(tenant).map_err(|e| failed(&e))?;
        let state = self.catalogue().tenant_state(tenant.name());
        let state = state.map_err(|e| failed(&e))?;
        // The store knows best: an admin may have moved one away.
        let mut snapshots = snapshot::list(tenant.home()).map_err(|e| failed(&e))?;
        snapshots.retain(snapshot::Snapshot::is_ours);
        Ok(TenantFacts {
            name: config.name.clone(),
            port: config.port,
            addresses,
            home: tenant.home().display().to_string(),
            logins: config.logins.clone(),
            restore_login: config.restore_login.clone(),
            keys: config.keys.len(),
            sessions: tenant.gate.sessions(),
            last_push: last_push(&state, tenant.gate.sessions()),
            snapshots: snapshots.len(),
            latest_snapshot: snapshots.last().map(|s| s.name.to_string()),
            next_snapshot: next.map(|at| at.to_string()),
            after_push: config.snapshots.after_session,
            quota: usage::facts(&tenant.account),
            verify: self
                .scrub_facts(tenant, Timestamp::now())
                .map_err(|e| failed(&e))?,
            snapshot_waits: self.scheduler().is_postponed(tenant.name()),
        })
    }
}

pub(super) fn zone_name(zone: &jiff::tz::TimeZone) -> String {
    zone.iana_name().unwrap_or("the system's").to_owned()
}

fn last_push(state: &TenantState, sessions: usize) -> Option<PushFacts> {
    let push = LastPush::of(state, sessions > 0)?;
    Some(PushFacts {
        started: push.started.to_string(),
        ended: push.ended.map(|at| at.to_string()),
        state: push.state,
        last_good: state.last_good_push.map(|at| at.to_string()),
    })
}
