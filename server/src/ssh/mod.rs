//! The SSH side: one listener per tenant port and address, and what happens on a connection until
//! a session has it. The only module that knows the SSH library.
//!
//! The daemon calls [`Server::start`], [`Server::reload`] and [`Server::shutdown`]; sessions are
//! handed to its [`Sessions`]. A connection goes through the parts in this order:
//!
//! ```text
//! listener ─▶ limits ─▶ preamble ─▶ offer ─▶ stream ─▶ handler ─▶ admission ─▶ channel ─▶ session
//! accept      tickets   client's    which    grace,    callbacks  tenant ×     output,
//!                       first line  ciphers  stalls    of russh   key × …      exit status
//! ```
//!
//! Traps, each with its place:
//! * While a callback of the library waits, nothing else of that connection runs. A callback may
//!   therefore wait for a session to read, and a session must never wait for its output
//!   (`handler`, `channel`; test `a_client_that_stops_reading_gets_every_byte`).
//! * The library has no login grace time and no limit on accepted key probes (`stream`,
//!   `handler`).
//! * It asks clients that have not authenticated for a sign of life too, and OpenSSH ends the
//!   connection at that (`offer`).
//! * Its own accept loop ends at the first error (`listener`).
//! * A panic in it (most of its past advisories are one) must cost one connection, never the
//!   process: do not build with `panic = "abort"`.
//! * It logs what peers say, unescaped and without a limit: keep its target `russh` off or at
//!   `error` in the log filter.

mod admission;
mod channel;
mod connection;
mod handler;
mod hostkey;
mod limits;
mod listener;
mod offer;
mod preamble;
mod service;
mod stream;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{Config, Tenant};
use crate::session::Sessions;
use crate::tenant::TenantHandle;

pub use hostkey::{HostKeyError, HostKeyFacts};
pub use limits::Counts;
pub use offer::CIPHERS;

use hostkey::HostKeys;
use limits::Counters;
use listener::{Bound, Listener};
use offer::{Ciphers, Offers};
use service::{Phase, Service, Shared};

/// How long connections may take to end after they have been told to.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Every listener and every connection of the process. Dropped, it closes them all at once;
/// [`Server::shutdown`] is the friendly way.
pub struct Server {
    shared: Arc<Shared>,
    listeners: BTreeMap<Place, Listener>,
    services: BTreeMap<String, Arc<Service>>,
    host_keys: Vec<HostKeyFacts>,
    /// Every connection task holds the sending side, so the receiving side ends with the last.
    connections: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// An address that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    pub tenant: String,
    /// As bound: with the real port where 0 was asked for.
    pub address: SocketAddr,
}

/// What keeps the server from listening as configured.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("tenant \"{tenant}\": cannot listen on {address}: {}", bind_reason(.error))]
    Bind {
        tenant: String,
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("tenants \"{first}\" and \"{second}\" both ask for {address}")]
    Twice {
        first: String,
        second: String,
        address: SocketAddr,
    },
    #[error("{0}")]
    HostKey(#[from] HostKeyError),
    #[error("unknown cipher \"{}\" in server.ciphers; known are {}", .0, CIPHERS.join(", "))]
    Cipher(String),
    #[error("server.ciphers is empty, so no client could talk to this server; known are {}", CIPHERS.join(", "))]
    NoCipher,
    #[error("internal: tenant \"{0}\" is configured but was not opened")]
    NotOpened(String),
}

/// All problems of one start or reload.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Where a listener is: what tells two of them apart across reloads. Port 0 is a different place
/// for each tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    address: SocketAddr,
    unnumbered: Option<String>,
}

impl Place {
    fn new(address: SocketAddr, tenant: &str) -> Self {
        Self {
            address,
            unnumbered: (address.port() == 0).then(|| tenant.to_owned()),
        }
    }
}

impl Server {
    /// Reads (or makes) the host keys, binds every address of every tenant, and serves. Must run
    /// inside a tokio runtime with time and I/O.
    ///
    /// `tenants` holds the open tenants of `config`, matched by name.
    pub fn start(
        config: &Config,
        tenants: &[Arc<TenantHandle>],
        sessions: Arc<dyn Sessions>,
    ) -> Result<Self, Problems> {
        let mut server = Self {
            shared: Arc::new(Shared::new(sessions)),
            listeners: BTreeMap::new(),
            services: BTreeMap::new(),
            host_keys: Vec::new(),
            connections: mpsc::channel(1),
        };
        server.reload(config, tenants)?;
        Ok(server)
    }

    /// Goes over to another configuration: new tenants start to listen, removed ones stop while
    /// their sessions end in peace, host keys are read again, and who stays does not notice.
    ///
    /// On an error nothing has changed. So the daemon calls this first, and gives the tenants
    /// their new configuration (keys, rights; [`TenantHandle::set_config`]) when it went well.
    pub fn reload(
        &mut self,
        config: &Config,
        tenants: &[Arc<TenantHandle>],
    ) -> Result<(), Problems> {
        let plan = self.plan(config, tenants)?;
        self.apply(config, plan);
        Ok(())
    }

    /// Everything that can go wrong happens here.
    fn plan(&self, config: &Config, tenants: &[Arc<TenantHandle>]) -> Result<Plan, Problems> {
        let mut problems = Vec::new();
        let mut plan = Plan::default();
        let ciphers = Ciphers::new(config.server.ciphers.as_deref(), &mut problems);
        let mut host_keys = HostKeys::default();
        let server_keys = host_keys.of_server(&config.server.host_keys, &mut problems);
        for written in &config.tenants {
            let Some(handle) = tenants.iter().find(|handle| handle.name() == written.name) else {
                problems.push(Problem::NotOpened(written.name.clone()));
                continue;
            };
            let keys = if written.host_keys.is_empty() {
                server_keys.clone()
            } else {
                host_keys.of_tenant(&written.name, &written.host_keys, &mut problems)
            };
            plan.tenants.push(Planned {
                handle: Arc::clone(handle),
                offers: Arc::new(Offers::new(
                    &ciphers,
                    config.server.login_grace,
                    keys,
                    written.legacy_ssh,
                )),
            });
            self.plan_listeners(config, written, &mut plan, &mut problems);
        }
        plan.host_keys = host_keys.facts();
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(Problems(problems))
        }
    }

    fn plan_listeners(
        &self,
        config: &Config,
        tenant: &Tenant,
        plan: &mut Plan,
        problems: &mut Vec<Problem>,
    ) {
        for &ip in &config.server.listen {
            let address = SocketAddr::new(ip, tenant.port);
            let place = Place::new(address, &tenant.name);
            if let Some((first, _)) = plan.places.get(&place) {
                problems.push(Problem::Twice {
                    first: first.clone(),
                    second: tenant.name.clone(),
                    address,
                });
                continue;
            }
            let socket = if self.listeners.contains_key(&place) {
                None
            } else {
                match listener::bind(address) {
                    Ok(socket) => Some(socket),
                    Err(error)
                        if listener::family_is_absent(&error) && can_do_without(config, ip) =>
                    {
                        plan.without_ipv6 = true;
                        continue;
                    }
                    Err(error) => {
                        problems.push(Problem::Bind {
                            tenant: tenant.name.clone(),
                            address,
                            error,
                        });
                        continue;
                    }
                }
            };
            plan.places.insert(place, (tenant.name.clone(), socket));
        }
    }

    fn apply(&mut self, config: &Config, plan: Plan) {
        self.shared.configure(&config.server);
        if plan.without_ipv6 {
            warn!("not listening on [::]: this system has no IPv6");
        }
        let mut services = BTreeMap::new();
        for planned in plan.tenants {
            let name = planned.handle.name().to_owned();
            let service = match self.services.remove(&name) {
                Some(service) if Arc::ptr_eq(&service.tenant, &planned.handle) => {
                    service.set_offers(planned.offers);
                    service
                }
                replaced => {
                    if let Some(old) = replaced {
                        old.enter(Phase::Draining);
                        self.shared.remember(old);
                    }
                    Arc::new(Service::new(
                        planned.handle,
                        planned.offers,
                        Arc::clone(&self.shared),
                    ))
                }
            };
            services.insert(name, service);
        }
        for (name, removed) in std::mem::replace(&mut self.services, services) {
            info!(tenant = name, "no longer served; running sessions go on");
            removed.enter(Phase::Draining);
            self.shared.remember(removed);
        }
        let mut before = std::mem::take(&mut self.listeners);
        for (place, (tenant, socket)) in plan.places {
            let service = Arc::clone(&self.services[&tenant]);
            let listener = match (before.remove(&place), socket) {
                (Some(listener), _) => {
                    listener.serve(service);
                    listener
                }
                (None, Some(socket)) => {
                    let listener = Listener::spawn(socket, service, self.connections.0.clone());
                    info!(tenant, address = %listener.address(), "listening");
                    listener
                }
                (None, None) => continue,
            };
            self.listeners.insert(place, listener);
        }
        for listener in before.into_values() {
            info!(address = %listener.address(), "no longer listening");
        }
        for fact in plan.host_keys.iter().filter(|fact| fact.created) {
            info!(path = %fact.path.display(), fingerprint = fact.fingerprint, "made a host key");
        }
        self.host_keys = plan.host_keys;
    }

    /// Every address that is listened on, in order of tenant and address.
    pub fn listening(&self) -> Vec<Listening> {
        let mut listening: Vec<_> = self
            .listeners
            .values()
            .map(|listener| Listening {
                tenant: listener.tenant(),
                address: listener.address(),
            })
            .collect();
        listening.sort_by(|a, b| (&a.tenant, a.address).cmp(&(&b.tenant, b.address)));
        listening
    }

    /// The host keys in use, for the daemon to print.
    pub fn host_keys(&self) -> &[HostKeyFacts] {
        &self.host_keys
    }

    /// What happened at the door since the start.
    pub fn counts(&self) -> Counts {
        Counters::read(&self.shared.counters)
    }

    /// Stops listening, lets running sessions go on for up to `grace`, then closes what is left.
    /// `true`: every session ended by itself.
    pub async fn shutdown(mut self, grace: Duration) -> bool {
        for listener in std::mem::take(&mut self.listeners).into_values() {
            listener.stop().await;
        }
        self.enter(Phase::Draining);
        let (sender, mut last) = std::mem::replace(&mut self.connections, mpsc::channel(1));
        drop(sender);
        let in_peace = tokio::time::timeout(grace, last.recv()).await.is_ok();
        if !in_peace {
            self.enter(Phase::Closed);
            if tokio::time::timeout(CLOSE_PATIENCE, last.recv())
                .await
                .is_err()
            {
                warn!("some connections did not end in time");
            }
        }
        in_peace
    }

    fn enter(&self, phase: Phase) {
        for service in self.services.values() {
            service.enter(phase);
        }
        self.shared.enter_remembered(phase);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.enter(Phase::Closed);
    }
}

/// What a reload will do; everything it needs is at hand.
#[derive(Default)]
struct Plan {
    tenants: Vec<Planned>,
    /// Tenant and, where nobody listens yet, the bound socket.
    places: BTreeMap<Place, (String, Option<Bound>)>,
    host_keys: Vec<HostKeyFacts>,
    without_ipv6: bool,
}

struct Planned {
    handle: Arc<TenantHandle>,
    offers: Arc<Offers>,
}

/// Whether `address` is the `::` of the default list, which a system without IPv6 cannot bind.
fn can_do_without(config: &Config, address: IpAddr) -> bool {
    let default = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    address == default[1] && config.server.listen == default
}

fn bind_reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there already".to_owned(),
        ErrorKind::AddrNotAvailable => "this system does not have that address".to_owned(),
        ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A path in a message to the admin.
fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_is_another_place_for_each_tenant() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert_ne!(Place::new(any, "ada"), Place::new(any, "bob"));
        let fixed: SocketAddr = "127.0.0.1:2222".parse().unwrap();
        assert_eq!(Place::new(fixed, "ada"), Place::new(fixed, "bob"));
    }
}
