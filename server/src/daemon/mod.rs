//! The running server: what it owns, in what order it starts and stops, and what the parts ask of
//! each other. There are no globals; everything hangs off one [`Daemon`].
//!
//! ```text
//!            signals ─▶ serve ─▶ reload
//!  control socket ─▶ requests ─┐    │
//!      ssh ─▶ surroundings ────┼─▶ Daemon ─▶ taking, prune ─▶ snapshot
//!                scheduler ────┘              (in turns: work)
//! ```
//!
//! What a failure costs: a session or a piece of heavy work may die alone; it is logged, and its
//! client or asker is told. When a listener, the scheduler or the control socket dies, the process
//! ends with it ([`serve`]), because a server that only looks alive is worse than none.

pub mod client_text;
pub mod prune;
mod pushes;
mod reload;
mod requests;
mod scheduler;
mod scrub;
pub mod serve;
mod store;
mod surroundings;
mod taking;
mod usage;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use jiff::Timestamp;

use crate::catalogue::Catalogue;
use crate::config::{Config, MetadataPolicy};
use crate::confine::Metadata;
use crate::fence::Fence;
use crate::places::Places;
use crate::session::accounts::Accounts;
use crate::ssh;
use crate::tenant::TenantHandle;
use scheduler::Scheduler;
use work::Work;

/// What the server keeps for itself in the storage; no tenant can have this name.
pub const INNER_DIRECTORY: &str = ".coffre";

/// Everything that lives as long as the process serves.
pub struct Daemon {
    config: RwLock<Arc<Config>>,
    tenants: RwLock<BTreeMap<String, Arc<TenantHandle>>>,
    /// Tenants that were served at some time: one that comes back while its old sessions still
    /// run must share their gate.
    known: Mutex<HashMap<String, Weak<TenantHandle>>>,
    catalogue: Arc<Catalogue>,
    /// `None` before the start is through, and after the stop has begun.
    server: tokio::sync::Mutex<Option<ssh::Server>>,
    /// The ports that are listened on, by tenant: where 0 is configured, it is another one.
    ports: RwLock<BTreeMap<String, u16>>,
    scheduler: Scheduler,
    work: Work,
    /// For rsync sessions of all tenants.
    places: Arc<Places>,
    accounts: Arc<Accounts>,
    /// What this process can still do.
    fence: Fence,
    started: Timestamp,
}

impl Daemon {
    fn new(config: Config, catalogue: Catalogue, fence: Fence, accounts: Accounts) -> Self {
        let places = Arc::new(Places::default());
        places.set(config.server.max_sessions);
        Self {
            places,
            accounts: Arc::new(accounts),
            fence,
            config: RwLock::new(Arc::new(config)),
            tenants: RwLock::default(),
            known: Mutex::default(),
            catalogue: Arc::new(catalogue),
            server: tokio::sync::Mutex::new(None),
            ports: RwLock::default(),
            scheduler: Scheduler::default(),
            work: Work::default(),
            started: Timestamp::now(),
        }
    }

    /// The configuration in force now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// How attributes are kept, as the configuration and the process's capabilities have it.
    pub fn metadata(&self) -> Metadata {
        match self.config().server.metadata {
            MetadataPolicy::Native => Metadata::Native,
            MetadataPolicy::Xattr => Metadata::Xattr,
            MetadataPolicy::Auto => Metadata::detect(),
        }
    }

    /// The tenants served now, in order of name.
    pub fn tenants(&self) -> Vec<Arc<TenantHandle>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.values().cloned().collect()
    }

    pub fn tenant(&self, name: &str) -> Option<Arc<TenantHandle>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(name).cloned()
    }

    /// The port that clients reach the tenant by.
    fn port(&self, tenant: &TenantHandle) -> u16 {
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        let port = ports.get(tenant.name()).copied();
        port.unwrap_or(tenant.config().port)
    }

    fn note_ports(&self, server: &ssh::Server) {
        let listening = server.listening();
        let ports = listening.into_iter().map(|l| (l.tenant, l.address.port()));
        *self.ports.write().unwrap_or_else(PoisonError::into_inner) = ports.collect();
    }

    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn work(&self) -> &Work {
        &self.work
    }
}
