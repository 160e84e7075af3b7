//! One bound address: accept, count, hand over.
//!
//! The loop ends only when it is told to. The library's own ends at the first error of `accept`,
//! and a process that is out of descriptors for a moment would be deaf from then on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::connection;
use super::limits::Throttle;
use super::service::Service;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 128;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// A running accept loop. Dropped, it stops listening.
pub(super) struct Listener {
    address: SocketAddr,
    serving: watch::Sender<Arc<Service>>,
    task: JoinHandle<()>,
}

/// A socket that listens and is not accepted from yet.
pub(super) struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

/// Binds an address. `[::]` takes IPv6 only, so that it does not collide with `0.0.0.0`.
pub(super) fn bind(address: SocketAddr) -> io::Result<Bound> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // A restart must not wait for connections of the last run to be forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let socket = TcpListener::from_std(socket.into())?;
    let address = socket.local_addr()?;
    Ok(Bound { socket, address })
}

/// Whether binding failed because the system lacks the address family.
pub(super) fn family_is_absent(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::PFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

impl Listener {
    /// Starts to accept. Each connection's task holds a clone of `alive` until its end.
    pub(super) fn spawn(bound: Bound, service: Arc<Service>, alive: mpsc::Sender<()>) -> Self {
        let Bound { socket, address } = bound;
        let (serving, served) = watch::channel(service);
        let task = tokio::spawn(accept(socket, address, served, alive));
        Self {
            address,
            serving,
            task,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn tenant(&self) -> String {
        self.serving.borrow().tenant.name().to_owned()
    }

    /// Connections from now on are for this tenant.
    pub(super) fn serve(&self, service: Arc<Service>) {
        self.serving.send_replace(service);
    }

    /// Stops, and returns when the socket is closed.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        // Cancelled is what it is meant to be.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    socket: TcpListener,
    address: SocketAddr,
    served: watch::Receiver<Arc<Service>>,
    alive: mpsc::Sender<()>,
) {
    let failures = Throttle::new(3, Duration::from_secs(60));
    let turned_away = Throttle::new(5, Duration::from_secs(30));
    let mut backoff = FIRST_BACKOFF;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                backoff = FIRST_BACKOFF;
                let service = Arc::clone(&served.borrow());
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                welcome(stream, peer, service, &turned_away, &alive);
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(%address, "a connection ended before it was accepted: {error}");
            }
            Err(error) => {
                if let Some(kept_back) = failures.pass() {
                    warn!(
                        %address, kept_back,
                        "cannot accept connections, trying again: {error}"
                    );
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }
}

/// Errors of `accept` that say nothing about the listener. Linux passes errors of the network on
/// as well (`accept(2)`).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT
        )
    )
}

fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service>,
    turned_away: &Throttle,
    alive: &mpsc::Sender<()>,
) {
    let counters = &service.shared.counters;
    counters.connections.fetch_add(1, Ordering::Relaxed);
    match service.shared.door.admit(peer.ip()) {
        Ok(ticket) => {
            tokio::spawn(connection::serve(
                stream,
                peer,
                service,
                ticket,
                alive.clone(),
            ));
        }
        Err(full) => {
            counters.turned_away.fetch_add(1, Ordering::Relaxed);
            if let Some(kept_back) = turned_away.pass() {
                warn!(
                    tenant = service.tenant.name(), %peer, kept_back,
                    "turned a connection away: {full}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_unspecified_addresses_take_the_same_port() {
        let v4 = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = v4.address.port();
        match bind(SocketAddr::new("::".parse().unwrap(), port)) {
            Ok(v6) => assert_eq!(v6.address.port(), port),
            Err(error) => assert!(family_is_absent(&error), "{error}"),
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.address).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
