//! The callbacks of the SSH library, for one connection.
//!
//! Authentication answers from memory: no file, no lock that is held for long. The library calls
//! [`russh::server::Handler::auth_publickey_offered`] for each key a client asks about and before
//! it verifies a signature, and [`russh::server::Handler::auth_publickey`] after; both decide by
//! [`admit`], because the first proves nothing.
//!
//! Requests on channels must each be answered, or the client waits. Forwarding, agents, X11 and
//! tunnels are refused by the library's own answers, which are left alone here.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use coffre_protocol::error::escape;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Pty, Sig};
use tracing::{info, warn};

use super::admission::{Refusal, admit};
use super::channel::{Channels, Delivery, State};
use super::connection::{Attempt, Link, SessionLine};
use super::service::{Seat, Service};
use super::window::Window;
use crate::session::{Admitted, Pipe, Request};

/// Keys of a connection that may be asked about with success. A client signs with the first that
/// is accepted; the library counts only what is refused.
const MAX_ACCEPTED_PROBES: usize = 8;

type Result<T> = std::result::Result<T, russh::Error>;

/// See the module's story.
pub(super) struct Handler {
    service: Arc<Service>,
    link: Arc<Link>,
    peer: SocketAddr,
    /// What the client calls itself, escaped.
    client: String,
    accepted_probes: usize,
    login: Option<Login>,
    seat: Option<Seat>,
    channels: Arc<Channels>,
    window: Window,
}

/// A login that went well.
struct Login {
    name: String,
    key: PublicKey,
    fingerprint: String,
}

impl Handler {
    pub(super) fn new(
        service: Arc<Service>,
        link: Arc<Link>,
        peer: SocketAddr,
        client: String,
    ) -> Self {
        Self {
            service,
            link,
            peer,
            client,
            accepted_probes: 0,
            login: None,
            seat: None,
            channels: Arc::default(),
            window: Window::default(),
        }
    }

    /// Whether the key may log in.
    fn judge(
        &self,
        login: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> std::result::Result<(), Refusal> {
        let tenant = self.service.tenant.config();
        // The same RSA key can sign in three ways, and only this one is broken.
        if *algorithm == (Algorithm::Rsa { hash: None }) && !tenant.legacy_ssh {
            return Err(Refusal::Sha1);
        }
        admit(&tenant, login, key, self.peer.ip()).map(|_admission| ())
    }

    /// Keeps the reason for the log, and answers as for any other key.
    fn refuse_key(&self, login: &str, key: &PublicKey, refusal: Refusal) -> Auth {
        let attempt = Attempt {
            login: escape(login.as_bytes()),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            refusal,
        };
        // A known key from elsewhere is worth a line at once: a forgotten address, or a theft.
        if refusal == Refusal::WrongAddress
            && let Some(kept_back) = self.service.refusals.pass()
        {
            warn!(
                tenant = self.service.tenant.name(), peer = %self.peer, login = attempt.login,
                fingerprint = attempt.fingerprint, kept_back, "key refused: {refusal}"
            );
        }
        self.link.refused(attempt);
        Auth::reject()
    }

    /// The client as it stands now, with the configuration in force now.
    fn admitted(&self, session: &Session) -> std::result::Result<Admitted, String> {
        if !self.service.is_serving() {
            return Err("this server is shutting down or no longer serves this port".to_owned());
        }
        let Some(login) = &self.login else {
            return Err("not logged in".to_owned());
        };
        let tenant = self.service.tenant.config();
        match admit(&tenant, &login.name, &login.key, self.peer.ip()) {
            Ok(admission) => Ok(Admitted {
                tenant: Arc::clone(&self.service.tenant),
                view: admission.view,
                login: login.name.clone(),
                fingerprint: login.fingerprint.clone(),
                peer: self.peer,
                rights: admission.rights,
                line: Arc::new(SessionLine {
                    link: Arc::clone(&self.link),
                    handle: session.handle(),
                    runtime: tokio::runtime::Handle::current(),
                }),
            }),
            Err(refusal) => {
                info!(
                    tenant = tenant.name, peer = %self.peer, login = login.name,
                    fingerprint = login.fingerprint,
                    "session refused on a connection from before: {refusal}"
                );
                Err("this key is no longer admitted".to_owned())
            }
        }
    }

    /// Hands a channel to a session.
    fn start(&mut self, id: ChannelId, request: Request, session: &mut Session) -> Result<()> {
        let (ended, terminal) = match self.channels.lock().get(&id) {
            Some(State::Open { ended, terminal }) => (*ended, *terminal),
            // A channel has one request in its life (RFC 4254 section 6.5).
            _ => return session.channel_failure(id),
        };
        session.channel_success(id)?;
        let admitted = match self.admitted(session) {
            Ok(admitted) => admitted,
            Err(sentence) => return self.refuse(id, &sentence, session),
        };
        let pipe = Arc::new(Pipe::new(&self.service.shared.shares));
        let ended_by = Arc::new(OnceLock::new());
        if ended {
            pipe.end_input();
        }
        self.channels.lock().insert(
            id,
            State::Running {
                pipe: Arc::clone(&pipe),
                ended_by: Arc::clone(&ended_by),
            },
        );
        self.link.session_began();
        let delivery = Delivery {
            handle: session.handle(),
            id,
            pipe: Arc::clone(&pipe),
            ended_by,
            terminal,
            channels: Arc::clone(&self.channels),
            link: Arc::clone(&self.link),
        };
        tokio::spawn(delivery.run());
        self.service.shared.sessions.start(admitted, request, pipe);
        Ok(())
    }

    /// Ends a channel with a sentence and exit status 1.
    fn refuse(&mut self, id: ChannelId, sentence: &str, session: &mut Session) -> Result<()> {
        self.channels.lock().remove(&id);
        let line = Bytes::from(format!("coffre: {sentence}\r\n"));
        session.extended_data(id, 1, line)?;
        session.exit_status_request(id, 1)?;
        session.eof(id)?;
        session.close(id)
    }
}

impl Drop for Handler {
    /// The connection is gone, in whatever way.
    fn drop(&mut self) {
        self.channels.close_all();
    }
}

impl russh::server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth> {
        let verdict = if self.accepted_probes < MAX_ACCEPTED_PROBES {
            self.judge(user, offer.public_key, offer.algorithm)
        } else {
            Err(Refusal::TooManyProbes)
        };
        match verdict {
            Ok(()) => {
                self.accepted_probes += 1;
                Ok(Auth::Accept)
            }
            Err(refusal) => Ok(self.refuse_key(user, offer.public_key, refusal)),
        }
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth> {
        if let Err(refusal) = self.judge(user, key.public_key, key.algorithm) {
            return Ok(self.refuse_key(user, key.public_key, refusal));
        }
        self.login = Some(Login {
            name: user.to_owned(),
            key: key.public_key.clone(),
            fingerprint: key.public_key.fingerprint(HashAlg::Sha256).to_string(),
        });
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<()> {
        self.link.authenticated();
        let counters = &self.service.shared.counters;
        counters.logins.fetch_add(1, Ordering::Relaxed);
        let (login, fingerprint) = match &self.login {
            Some(login) => (login.name.as_str(), login.fingerprint.as_str()),
            None => ("", ""),
        };
        let tenant = self.service.tenant.name();
        info!(
            tenant, peer = %self.peer, login, fingerprint, client = self.client,
            "logged in"
        );
        self.seat = self.service.take_seat();
        if self.seat.is_none() {
            warn!(tenant, peer = %self.peer, login, fingerprint, "too many connections of the tenant");
            session.disconnect(
                Disconnect::TooManyConnections,
                "too many connections to this port",
                "",
            )?;
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<()> {
        if self.channels.open(channel.id()) {
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<()> {
        let Some(pipe) = self.channels.pipe(id) else {
            return Ok(());
        };
        // May wait; see `channel` for what that means.
        tokio::select! {
            _read = self.link.while_deaf(pipe.push_input(Bytes::copy_from_slice(data))) => Ok(()),
            () = self.link.ended() => Err(russh::Error::Disconnect),
        }
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        self.window.next()
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<()> {
        match self.channels.lock().get_mut(&id) {
            Some(State::Open { ended, .. }) => *ended = true,
            Some(State::Running { pipe, .. }) => pipe.end_input(),
            None => {}
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<()> {
        self.channels.close(id);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<()> {
        if let Some(State::Open { terminal, .. }) = self.channels.lock().get_mut(&id) {
            *terminal = true;
        } else {
            return session.channel_failure(id);
        }
        session.channel_success(id)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        session: &mut Session,
    ) -> Result<()> {
        session.channel_success(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single_connection: bool,
        _auth_protocol: &str,
        _auth_cookie: &str,
        _screen_number: u32,
        session: &mut Session,
    ) -> Result<()> {
        session.channel_failure(id)
    }

    /// Accepted, so that no client complains, and used for nothing.
    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<()> {
        session.channel_success(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<()> {
        self.start(id, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<()> {
        self.start(id, Request::Exec(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<()> {
        self.start(id, Request::Subsystem(name.to_owned()), session)
    }

    /// A signal that would end a program ends the session; others mean nothing here.
    async fn signal(&mut self, id: ChannelId, signal: Sig, _session: &mut Session) -> Result<()> {
        if !matches!(
            signal,
            Sig::HUP | Sig::INT | Sig::QUIT | Sig::TERM | Sig::KILL | Sig::ABRT
        ) {
            return Ok(());
        }
        let state = self.channels.lock().remove(&id);
        if let Some(State::Running { pipe, ended_by }) = state {
            // First, so that who sees the pipe end finds it.
            let _ = ended_by.set(signal);
            pipe.disconnect();
        }
        Ok(())
    }
}
