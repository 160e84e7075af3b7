//! What the listeners and connections of one tenant share, and what all of them do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::limits::{Counters, Door, Throttle};
use super::offer::Offers;
use crate::bandwidth::Bandwidth;
use crate::config::ServerConfig;
use crate::session::Sessions;
use crate::session::pipe::Shares;
use crate::tenant::TenantHandle;

/// Authenticated connections that a tenant may have beyond its sessions. A connection without a
/// session is an idle multiplexing master or one that waits to be refused; without a limit one
/// tenant's keys could use up the process's descriptors.
const IDLE_CONNECTIONS: usize = 64;

/// How far towards its end the service of a tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// No new sessions; those that run go on.
    Draining,
    /// Everything ends now.
    Closed,
}

/// One tenant's.
pub(super) struct Service {
    pub(super) tenant: Arc<TenantHandle>,
    pub(super) shared: Arc<Shared>,
    /// For lines about logins that were refused.
    pub(super) refusals: Throttle,
    offers: RwLock<Arc<Offers>>,
    phase: watch::Sender<Phase>,
    connections: AtomicUsize,
}

/// Counted from the authentication to the end of a connection.
pub(super) struct Seat {
    service: Arc<Service>,
}

impl Service {
    pub(super) fn new(tenant: Arc<TenantHandle>, offers: Arc<Offers>, shared: Arc<Shared>) -> Self {
        Self {
            tenant,
            shared,
            refusals: Throttle::new(20, Duration::from_secs(3)),
            offers: RwLock::new(offers),
            phase: watch::Sender::new(Phase::Serving),
            connections: AtomicUsize::new(0),
        }
    }

    /// What a new connection is offered.
    pub(super) fn offers(&self) -> Arc<Offers> {
        Arc::clone(&self.offers.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_offers(&self, offers: Arc<Offers>) {
        *self.offers.write().unwrap_or_else(PoisonError::into_inner) = offers;
    }

    /// Moves on; never back.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let further = *now < phase;
            if further {
                *now = phase;
            }
            further
        });
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// A place for an authenticated connection. `None`: the tenant has too many.
    pub(super) fn take_seat(self: &Arc<Self>) -> Option<Seat> {
        let limit = self.tenant.config().max_sessions + IDLE_CONNECTIONS;
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Seat {
                service: Arc::clone(self),
            })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.service.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All tenants'.
pub(super) struct Shared {
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) door: Arc<Door>,
    pub(super) counters: Counters,
    pub(super) bandwidth: Arc<Bandwidth>,
    pub(super) shares: Arc<Shares>,
    grace: Mutex<Duration>,
    /// Tenants that are no longer served but may have sessions.
    removed: Mutex<Vec<Weak<Service>>>,
}

impl Shared {
    pub(super) fn new(sessions: Arc<dyn Sessions>) -> Self {
        Self {
            sessions,
            door: Arc::default(),
            counters: Counters::default(),
            bandwidth: Arc::default(),
            shares: Arc::default(),
            grace: Mutex::default(),
            removed: Mutex::default(),
        }
    }

    pub(super) fn configure(&self, config: &ServerConfig) {
        self.door.set_limits(
            config.max_unauthenticated,
            config.max_unauthenticated_per_address,
        );
        self.bandwidth.set(config.bandwidth);
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = config.login_grace;
    }

    /// When a connection that starts now must have authenticated.
    pub(super) fn login_deadline(&self) -> Instant {
        Instant::now() + *self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, removed: Arc<Service>) {
        let mut list = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|service| service.strong_count() > 0);
        list.push(Arc::downgrade(&removed));
    }

    pub(super) fn enter_remembered(&self, phase: Phase) {
        let list = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        for service in list.iter().filter_map(Weak::upgrade) {
            service.enter(phase);
        }
    }
}
