//! Start, run, stop.
//!
//! The order of the start: the configuration, the fence ([`fence`]), the store's lock (nobody else is at work), the catalogue (which looks
//! at the homes that are there, so no new one may have been made yet), the homes, the listeners,
//! the schedule, the control socket, and `ready`. The stop goes the other way round: no new
//! connections, half a minute for sessions that run, heavy work told to end, and the lock goes
//! with the process.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::reload::check_landlock;
use super::store::{self, StoreError};
use super::surroundings::Front;
use super::{Daemon, requests};
use crate::catalogue::{Catalogue, CatalogueError, tenants_in};
use crate::config::{self, Config, Diagnostic};
use crate::confine::landlock::Access;
use crate::confine::{Metadata, landlock};
use crate::control::listener;
use crate::fence::{self, Fence};
use crate::session::accounts::Accounts;
use crate::ssh;

/// How long running sessions may go on after the first signal.
const GRACE: Duration = Duration::from_secs(30);

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the configuration has errors")]
    Config(Vec<Diagnostic>),
    /// The configuration asks for what this machine does not have.
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("{0}")]
    Tenant(String),
    #[error("{0}")]
    Listen(#[from] ssh::Problems),
    #[error("cannot open the control socket: {}", config::reason(.0))]
    Control(io::Error),
    #[error("cannot wait for signals: {}", config::reason(.0))]
    Signals(io::Error),
    #[error("internal: the {0} stopped; the server cannot go on without it")]
    Died(&'static str),
}

/// A checked configuration, and a thread that can do no more than it asks for.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    fence: Fence,
    accounts: Accounts,
}

/// Reads the configuration, and gives up for the calling thread, and for all that it starts from
/// here on, what it does not need. To be called before anything else has been started.
pub fn prepare(path: &Path) -> Result<Prepared, ServeError> {
    let (config, warnings) = config::load(path).map_err(ServeError::Config)?;
    for warning in &warnings {
        warn!("{}", warning.summary());
    }
    check_landlock(&config).map_err(ServeError::Unfit)?;
    let accounts = Accounts::start().unwrap_or_else(|error| {
        warn!(%error, "cannot start the process that looks up accounts; no names of owners are known");
        Accounts::unknown()
    });
    let fence = fence::raise(&config).map_err(|e| ServeError::Unfit(e.to_string()))?;
    Ok(Prepared {
        config,
        fence,
        accounts,
    })
}

/// Serves until a signal ends it.
pub async fn serve(prepared: Prepared) -> Result<(), ServeError> {
    let Prepared {
        config,
        fence,
        accounts,
    } = prepared;
    // Before anything is bound: who stops a server that is starting means it.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;

    let descriptors = store::raise_descriptor_limit();
    let storage = config.server.storage.clone();
    let lock = store::lock(&storage)?;
    let keeps_attributes = lock.keeps_attributes();
    let tells_files_apart = lock.tells_files_apart();
    let catalogue = Catalogue::open(&storage)?;
    let daemon = Arc::new(Daemon::new(config.clone(), catalogue, fence, accounts));
    introduce(&config, &daemon, descriptors);
    if !keeps_attributes {
        if daemon.metadata() == Metadata::Xattr {
            return Err(ServeError::Unfit(format!(
                "the file system of {} keeps no extended attributes, and without root they are \
                 where owners, modes and devices go; use another file system, or run as root",
                storage.display()
            )));
        }
        let sums = match tells_files_apart {
            true => "sums of contents are kept in the catalogue instead",
            false => {
                "nor can it tell a file from a later one of the same inode number, so no sums of \
                 contents are kept: `--checksum` reads the store, and `coffre verify` finds what \
                 is missing, replaced or unreadable, but no flipped bit"
            }
        };
        warn!(
            "the file system of {} keeps no extended attributes: {sums}; attributes of clients \
             cannot be kept",
            storage.display()
        );
    }

    start_listening(&daemon, config).await?;
    let mut schedule = tokio::spawn(Arc::clone(&daemon).keep_schedule());
    let socket = listener::bind(&storage).map_err(ServeError::Control)?;
    let mut control = tokio::spawn(listener::serve(socket, Arc::clone(&daemon)));
    info!("ready");

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                info!("reload asked for by SIGHUP");
                if let Err(failure) = daemon.reload().await {
                    error!("{}", failure.message);
                }
            }
            _ = &mut schedule => return Err(ServeError::Died("scheduler")),
            _ = &mut control => return Err(ServeError::Died("control socket")),
        }
    }

    info!(
        "stopping; running sessions have {} seconds to end",
        GRACE.as_secs()
    );
    control.abort();
    schedule.abort();
    // A socket that nobody answers would be mistaken for a daemon that hangs.
    let _ = std::fs::remove_file(crate::control::socket_path(&storage));
    daemon.work().stop();
    let server = daemon.server.lock().await.take();
    let stopped = async {
        match server {
            Some(server) => server.shutdown(GRACE).await,
            None => true,
        }
    };
    tokio::select! {
        in_peace = stopped => match in_peace {
            true => info!("stopped"),
            false => warn!("stopped; sessions that ran longer were cut off"),
        },
        _ = terminate.recv() => warn!("stopped at once by a second signal"),
        _ = interrupt.recv() => warn!("stopped at once by a second signal"),
    }
    Ok(())
}

async fn start_listening(daemon: &Arc<Daemon>, config: Config) -> Result<(), ServeError> {
    let config = Arc::new(config);
    let handles = daemon.open_tenants(&config).map_err(ServeError::Tenant)?;
    let tenants: Vec<_> = handles.values().cloned().collect();
    daemon.adopt(Arc::clone(&config), handles, &[]);
    let front = Front {
        daemon: Arc::clone(daemon),
        runtime: Handle::current(),
    };
    let server = ssh::Server::start(&config, &tenants, Arc::new(front))?;
    for key in server.host_keys() {
        info!(
            file = %key.path.display(),
            fingerprint = key.fingerprint,
            "host key"
        );
    }
    daemon.note_ports(&server);
    *daemon.server.lock().await = Some(server);
    Ok(())
}

/// The first lines of the log: what this is and how it will work.
fn introduce(config: &Config, daemon: &Daemon, descriptors: Option<u64>) {
    let storage = &config.server.storage;
    info!(
        "coffre {} serves {} as configured in {}",
        env!("CARGO_PKG_VERSION"),
        storage.display(),
        config.path.display()
    );
    match daemon.metadata() {
        Metadata::Native => info!("metadata: native (owners and devices are set on the files)"),
        Metadata::Xattr => info!(
            "metadata: xattr (owners and devices are kept in user.rsync.%stat; native needs root)"
        ),
    }
    info!("{}", landlock::support());
    let fence = &daemon.fence;
    if !fence.places.is_empty() {
        let places: Vec<String> = fence
            .places
            .iter()
            .map(|(path, access)| {
                let how = match access {
                    Access::Read => "read",
                    Access::ReadWrite => "write",
                };
                format!("{} ({how})", path.display())
            })
            .collect();
        info!("this process can reach: {}", places.join(", "));
    }
    match &fence.capabilities {
        Some(kept) => info!("capabilities kept: {kept}"),
        None => info!("capabilities kept: none, there were none"),
    }
    info!("{}", fence.seccomp);
    info!(
        "time zone: {}",
        requests::zone_name(&config.server.time_zone)
    );
    let wanted = config.tenants.len() as u64 * config.server.listen.len() as u64 + 1024;
    if let Some(limit) = descriptors.filter(|limit| *limit < wanted) {
        warn!("only {limit} open files are allowed, about {wanted} are wise; raise LimitNOFILE");
    }
    match tenants_in(storage) {
        Ok(homes) => {
            let unknown = |home: &String| !config.tenants.iter().any(|t| t.name == *home);
            let strays: Vec<String> = homes.into_iter().filter(unknown).collect();
            if !strays.is_empty() {
                warn!(
                    "in the storage, but not in the configuration, and left alone: {}",
                    strays.join(", ")
                );
            }
        }
        Err(e) => warn!("{e}"),
    }
}
