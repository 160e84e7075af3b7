//! What sessions need of the daemon: answers in text, and somebody to tell that a push ended.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tracing::{error, info};

use super::Daemon;
use super::client_text::{self, ClientFacts};
use super::taking::NotTaken;
use super::usage;
use crate::catalogue::Reason;
use crate::session::{
    Admitted, Dispatcher, Pipe, Request, Sessions, Surroundings, TextAnswer, TextRequest,
};
use crate::snapshot::{self, SnapshotName};
use crate::tenant::TenantHandle;

/// Hands sessions on with the configuration that is in force when they start.
pub(super) struct Front {
    pub(super) daemon: Arc<Daemon>,
    /// For the answers that take a snapshot, which are given on threads of their own.
    pub(super) runtime: Handle,
}

impl Sessions for Front {
    fn start(&self, admitted: Admitted, request: Request, pipe: Arc<Pipe>) {
        let dispatcher = Dispatcher {
            catalogue: Arc::clone(self.daemon.catalogue()),
            surroundings: Arc::new(Front {
                daemon: Arc::clone(&self.daemon),
                runtime: self.runtime.clone(),
            }),
            metadata: self.daemon.metadata(),
            landlock: self.daemon.config().server.landlock,
            seccomp: self.daemon.config().server.seccomp,
            places: Arc::clone(&self.daemon.places),
            accounts: Arc::clone(&self.daemon.accounts),
        };
        dispatcher.start(admitted, request, pipe);
    }
}

impl Surroundings for Front {
    fn answer(&self, admitted: &Admitted, request: TextRequest) -> TextAnswer {
        let answer = match request {
            TextRequest::Snapshot => self.snapshot(admitted),
            TextRequest::Greeting => self.text(admitted, client_text::login),
            TextRequest::Status => self.text(admitted, client_text::status),
            TextRequest::Snapshots => self.text(admitted, client_text::snapshots),
        };
        match answer {
            Ok(stdout) => TextAnswer {
                stdout,
                stderr: String::new(),
                exit: 0,
            },
            Err(sentence) => TextAnswer {
                stdout: String::new(),
                stderr: format!("coffre: {sentence}\n"),
                exit: 1,
            },
        }
    }

    fn time_zone(&self) -> jiff::tz::TimeZone {
        self.daemon.config().server.time_zone.clone()
    }

    fn push_ended(&self, _tenant: &str, _ended_well: bool) {
        // How it ended is in the catalogue already; the schedule may have become due by it.
        self.daemon.scheduler().wake();
    }
}

impl Front {
    fn text(
        &self,
        admitted: &Admitted,
        render: impl FnOnce(&ClientFacts<'_>) -> String,
    ) -> Result<String, String> {
        let tenant = &admitted.tenant;
        let config = tenant.config();
        let known = self.daemon.catalogue().tenant_state(tenant.name());
        let state = known.map_err(|e| unusable(tenant, &e))?;
        let snapshots = self.snapshot_names(tenant)?;
        Ok(render(&ClientFacts {
            tenant: &config,
            state: &state,
            snapshots: &snapshots,
            port: self.daemon.port(tenant),
            may_restore: admitted.rights.restore,
            in_session: tenant.gate.sessions() > 0,
            now: Timestamp::now(),
            quota: usage::facts(&tenant.account),
            time_zone: &self.daemon.config().server.time_zone,
        }))
    }

    /// Oldest first. Asked of the store: an admin may have moved one away.
    fn snapshot_names(&self, tenant: &TenantHandle) -> Result<Vec<SnapshotName>, String> {
        let found = snapshot::list(tenant.home()).map_err(|e| unusable(tenant, &e))?;
        let ours = found.into_iter().filter(snapshot::Snapshot::is_ours);
        Ok(ours.map(|found| found.name).collect())
    }

    /// Takes one now, for a key that may push. A snapshot needs a push since the last one: without
    /// that it would hold the same, and a client could fill the store with them.
    fn snapshot(&self, admitted: &Admitted) -> Result<String, String> {
        let tenant = &admitted.tenant;
        let config = tenant.config();
        if !admitted.rights.push {
            return Err("this key may restore, not push, so it takes no snapshots".to_owned());
        }
        let policy = &config.snapshots;
        if policy.at.is_empty() && policy.cron.is_none() && !policy.after_session {
            return Err("snapshots of this tenant are taken by the server's admin".to_owned());
        }
        let known = self.daemon.catalogue().tenant_state(tenant.name());
        let state = known.map_err(|e| unusable(tenant, &e))?;
        let Some(pushed) = state.last_push_started.max(state.last_push_ended) else {
            return Err("nothing has been pushed yet".to_owned());
        };
        let newest = self.snapshot_names(tenant)?.pop();
        // A name may be of a later second than it was taken in.
        let taken = self
            .daemon
            .scheduler()
            .with(tenant.name(), |underway| underway.last_taken);
        let holds_it = |name: &SnapshotName| {
            name.time() >= pushed && taken.is_none_or(|taken| taken >= pushed)
        };
        if let Some(name) = newest.filter(holds_it) {
            return Ok(format!("{name} (nothing was pushed since)\n"));
        }
        let taken = self.runtime.block_on(self.daemon.take_snapshot(
            tenant,
            Reason::Manual,
            policy.wait,
            None,
        ));
        match taken {
            Ok(taken) => {
                info!(snapshot = %taken.name, "taken at the client's request");
                self.daemon.spawn_prune_on(&self.runtime, tenant);
                Ok(format!("{}\n", taken.name))
            }
            Err(why @ NotTaken::SessionsRun { .. }) => Err(format!("{why}; no snapshot was taken")),
            Err(why) => {
                error!("{why}");
                Err("the snapshot could not be taken; ask the server's admin".to_owned())
            }
        }
    }
}

/// The log has the path that the client must not see.
fn unusable(tenant: &TenantHandle, error: &dyn std::fmt::Display) -> String {
    error!(tenant = tenant.name(), "{error}");
    "the server's records are not usable; ask its admin".to_owned()
}
