//! One exec request of an admitted client, from the command line to the exit status.
//!
//! The SSH side gives an [`Admitted`] (proof that key, address, login and port were checked), a
//! [`Request`] and a [`Pipe`]; a session answers through the pipe and ends it with an exit status.
//! rsync sessions run on a thread of their own, confined to the tenant's root before the first
//! byte of the client is parsed.

pub mod accounts;
mod agreed;
mod carry;
mod dispatch;
mod ending;
mod outcome;
mod output;
pub mod pipe;
mod push;
mod receive;
mod send;

use std::net::SocketAddr;
use std::sync::Arc;

pub use dispatch::{Dispatcher, Surroundings, TextAnswer, TextRequest};
pub use pipe::Pipe;

use coffre_protocol::ProtocolError;
use coffre_protocol::options::{FilesFrom, Role, ServerOptions};

use crate::config::Rights;
use crate::tenant::{Line, TenantHandle};

/// What a login name shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The live tree, read and write.
    Push,
    /// `latest`, `live` and every snapshot, read-only.
    Restore,
}

/// A client that was let in. Only the SSH module makes one, after all four checks.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub tenant: Arc<TenantHandle>,
    pub view: View,
    pub login: String,
    /// `SHA256:…`
    pub fingerprint: String,
    pub peer: SocketAddr,
    pub rights: Rights,
    /// The connection it came by.
    pub line: Arc<dyn Line>,
}

impl Admitted {
    /// What this key, login and server do not do. To be asked again when more options have come.
    fn refusal(&self, options: &ServerOptions) -> Option<ProtocolError> {
        let no = |message: &str| Some(ProtocolError::unsupported(message));
        let reads_names = matches!(options.files_from, FilesFrom::Server { .. });
        match (self.view, options.role) {
            (View::Restore, Role::Receiver) => no("this login name only reads; nothing can be \
                                                   written here"),
            (_, Role::Sender) if !self.rights.restore => {
                no("this key may push, not read; ask the server's admin for a restore")
            }
            (_, Role::Receiver) if reads_names && !self.rights.restore => {
                no("this key may push, not read: --files-from must name a file of the client")
            }
            _ => options.refusal(),
        }
    }
}

/// What the client asked its channel to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// An interactive login.
    Shell,
    /// The exec string as it came.
    Exec(Vec<u8>),
    /// A subsystem, by name.
    Subsystem(String),
}

/// Starts sessions; the daemon implements it.
pub trait Sessions: Send + Sync + 'static {
    /// Must not block: the work happens on another thread, which ends with [`Pipe::exit`].
    fn start(&self, admitted: Admitted, request: Request, pipe: Arc<Pipe>);
}
