//! One connection, from the accept to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use coffre_protocol::error::escape;
use russh::Disconnect;
use russh::server::Handle;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use super::admission::Refusal;
use super::handler::Handler;
use super::limits::Ticket;
use super::offer::SERVER_ID;
use super::preamble::{self, Preamble};
use super::service::{Phase, Service};
use super::stream::{Begun, Guarded, Patience};
use crate::tenant::Line;

/// How long a client may take to leave by itself once its tenant is no longer served and its last
/// session has ended.
const LEAVE: Duration = Duration::from_secs(1);

/// What the parts of one connection share: the task that watches it, the byte stream, and the
/// callbacks.
pub(super) struct Link {
    authenticated: AtomicBool,
    /// Given back at the login.
    ticket: Mutex<Option<Ticket>>,
    /// Tells the stream and waiting callbacks to end.
    end: watch::Sender<bool>,
    /// Sessions on this connection.
    sessions: watch::Sender<usize>,
    attempt: Mutex<Option<Attempt>>,
    began: Instant,
    /// When something last came from the peer, in milliseconds since `began`.
    heard: AtomicU64,
    /// Callbacks that wait for a session to take input: as long, nothing is read.
    deaf: AtomicUsize,
}

/// The last login that was refused on a connection.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Escaped.
    pub(super) login: String,
    pub(super) fingerprint: String,
    pub(super) refusal: Refusal,
}

impl Link {
    pub(super) fn new(ticket: Option<Ticket>) -> Self {
        Self {
            authenticated: AtomicBool::new(false),
            ticket: Mutex::new(ticket),
            end: watch::Sender::new(false),
            sessions: watch::Sender::new(0),
            attempt: Mutex::default(),
            began: Instant::now(),
            heard: AtomicU64::new(0),
            deaf: AtomicUsize::new(0),
        }
    }

    /// Something has come from the peer.
    pub(super) fn hear(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    /// How long nothing has come, although it would have been read.
    pub(super) fn silent_for(&self) -> Duration {
        if self.deaf.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    /// Nothing is read while `waiting` waits.
    pub(super) async fn while_deaf<T>(&self, waiting: impl Future<Output = T>) -> T {
        let _deaf = Deaf::new(self);
        waiting.await
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }

    /// The login went well: no deadline any more, and no place among those who wait for it.
    pub(super) fn authenticated(&self) {
        self.authenticated.store(true, Ordering::Release);
        self.ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Ends the connection, whatever it is doing.
    pub(super) fn end(&self) {
        self.end.send_replace(true);
    }

    pub(super) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.end.subscribe().wait_for(|end| *end).await;
    }

    pub(super) fn session_began(&self) {
        self.sessions.send_modify(|sessions| *sessions += 1);
    }

    pub(super) fn session_ended(&self) {
        self.sessions.send_modify(|sessions| *sessions -= 1);
    }

    async fn without_sessions(&self) {
        let _ = self.sessions.subscribe().wait_for(|n| *n == 0).await;
    }

    pub(super) fn refused(&self, attempt: Attempt) {
        *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some(attempt);
    }

    fn last_attempt(&self) -> Option<Attempt> {
        self.attempt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

struct Deaf<'a>(&'a Link);

impl<'a> Deaf<'a> {
    fn new(link: &'a Link) -> Self {
        link.deaf.fetch_add(1, Ordering::Relaxed);
        Self(link)
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.0.hear();
        self.0.deaf.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection as a session sees it.
pub(super) struct SessionLine {
    pub(super) link: Arc<Link>,
    pub(super) handle: Handle,
    pub(super) runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for SessionLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLine").finish_non_exhaustive()
    }
}

impl Line for SessionLine {
    fn silent_for(&self) -> Duration {
        self.link.silent_for()
    }

    /// With a request that every client refuses: any answer is a sign of life. (The library has no
    /// other that can be sent from outside of its callbacks.)
    fn ask(&self) {
        let (handle, link) = (self.handle.clone(), Arc::clone(&self.link));
        self.runtime.spawn(async move {
            tokio::select! {
                _refused = handle.forward_tcpip(String::new(), 0) => {}
                () = link.ended() => {}
            }
        });
    }

    fn end(&self) {
        self.link.end();
    }
}

/// Serves a connection to its end. `_alive` says that it is not over.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service>,
    ticket: Ticket,
    _alive: mpsc::Sender<()>,
) {
    let link = Arc::new(Link::new(Some(ticket)));
    let (client, result) = run(stream, peer, &service, &link).await;
    let tenant = service.tenant.name();
    if let Err(error) = &result {
        debug!(tenant, %peer, client, "connection ended: {error}");
        if let Some(missing) = in_common(error)
            && let Some(kept_back) = service.refusals.pass()
        {
            info!(
                tenant, %peer, client, kept_back,
                "refused a client that is too old or too strict: no {missing}"
            );
        }
    }
    if !link.is_authenticated()
        && let Some(attempt) = link.last_attempt()
    {
        let counters = &service.shared.counters;
        counters.failed_logins.fetch_add(1, Ordering::Relaxed);
        if let Some(kept_back) = service.refusals.pass() {
            info!(
                tenant, %peer, login = attempt.login, fingerprint = attempt.fingerprint, client,
                kept_back, "login refused: {}", attempt.refusal
            );
        }
    }
}

/// What client and server have not in common, with what the client offers.
fn in_common(error: &russh::Error) -> Option<String> {
    let russh::Error::NoCommonAlgo { kind, theirs, .. } = error else {
        return None;
    };
    let kind = match format!("{kind:?}").as_str() {
        "Kex" => "key exchange".to_owned(),
        "Key" => "host key algorithm".to_owned(),
        other => other.to_lowercase(),
    };
    let theirs = escape(theirs.join(",").as_bytes());
    Some(format!(
        "{kind} in common, it offers {theirs}; legacy_ssh = true lets in more"
    ))
}

/// Gives what the client calls itself, escaped, and how it ended.
async fn run(
    mut stream: TcpStream,
    peer: SocketAddr,
    service: &Arc<Service>,
    link: &Arc<Link>,
) -> (String, Result<(), russh::Error>) {
    if let Err(error) = prepare(&stream) {
        return (String::new(), Err(error.into()));
    }
    let deadline = service.shared.login_deadline().into();
    let offers = service.offers();
    let mut phase = service.phase();
    let patience = offers
        .depend_on_client()
        .then_some(preamble::KEXINIT_PATIENCE);
    let preamble = tokio::select! {
        preamble = preamble::exchange(&mut stream, patience) => preamble,
        () = tokio::time::sleep_until(deadline) => {
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no login in time"))
        }
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
    };
    let preamble: Preamble = match preamble {
        Ok(preamble) => preamble,
        Err(error) => return (String::new(), Err(error.into())),
    };
    let client = escape(preamble.id());
    let config = offers.choose(&preamble);
    let handler = Handler::new(Arc::clone(service), Arc::clone(link), peer, client.clone());
    let stream = Guarded::new(
        stream,
        Begun {
            received: preamble.bytes,
            sent: SERVER_ID.len() + "\r\n".len(),
        },
        deadline,
        Patience::default(),
        [
            Arc::clone(&service.tenant.bandwidth),
            Arc::clone(&service.shared.bandwidth),
        ],
        Arc::clone(link),
    );
    let mut connection = match russh::server::run_stream(config, stream, handler).await {
        Ok(connection) => connection,
        Err(error) => return (client, Err(error)),
    };
    let handle = connection.handle();
    let result = tokio::select! {
        result = &mut connection => return (client, result),
        () = until_told_to_end(service, link, &handle) => {
            // The library runs in a task of its own, which ends at the next look at its stream.
            link.end();
            connection.await
        }
    };
    (client, result)
}

/// Waits until the tenant is no longer served and the connection is not needed any more.
async fn until_told_to_end(service: &Service, link: &Link, handle: &Handle) {
    let mut phase = service.phase();
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    let leave = async {
        link.without_sessions().await;
        // A client whose only session has ended closes by itself.
        tokio::time::sleep(LEAVE).await;
        let _ = handle
            .disconnect(
                Disconnect::ByApplication,
                "the server no longer serves this port".to_owned(),
                String::new(),
            )
            .await;
        tokio::time::sleep(LEAVE).await;
    };
    let mut phase = service.phase();
    tokio::select! {
        () = leave => {}
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
    }
}

/// Small packets go out at once: without this a login waits 40 ms for a delayed acknowledgement.
/// And the kernel looks after idle connections, whose peer may have vanished without a word.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}
