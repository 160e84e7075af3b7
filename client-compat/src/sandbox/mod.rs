//! Throw-away servers, always cleaned up: both kinds serve [`BASE`], listen on a loopback port of
//! their own with the same host key, and let the same key in, so that a client's command line is
//! the same for both and so is every path that a server may mention.

mod coffre;
mod keys;
mod stock;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

pub use coffre::{Coffre, Lines, TENANT, coffre_binary};
pub use keys::{Keys, NOBODY};
pub use stock::Stock;

use crate::run::ProcessGroup;

/// Where clients find their tree, on every server.
pub const BASE: &str = "/mnt/compat";

/// What clients call the server; their SSH configuration knows where it is.
pub const HOST: &str = "server";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    Stock,
    Coffre,
}

impl ServerKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Coffre => "coffre",
        }
    }
}

/// A running server of either kind.
#[derive(Debug)]
pub enum Server {
    Stock(Stock),
    Coffre(Coffre),
}

impl Server {
    /// Starts one with its files in `dir`. `rsync`: what the stock server runs.
    /// `tenant`: lines of coffre's configuration about the tenant.
    pub fn start(
        kind: ServerKind,
        dir: &Path,
        keys: &Keys,
        rsync: &Path,
        tenant: &str,
    ) -> Result<Self> {
        Ok(match kind {
            ServerKind::Stock => Self::Stock(Stock::start(dir, keys, rsync)?),
            ServerKind::Coffre => Self::Coffre(Coffre::start(dir, keys, tenant)?),
        })
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Stock(server) => server.port(),
            Self::Coffre(server) => server.port(),
        }
    }

    /// [`BASE`], as this process can reach it.
    pub fn base(&self) -> &Path {
        match self {
            Self::Stock(server) => server.base(),
            Self::Coffre(server) => server.base(),
        }
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        let path = match self {
            Self::Stock(server) => server.log_file(),
            Self::Coffre(server) => server.log_file(),
        };
        let log = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// A server process. It and its descendants end with this value, and with the thread that
/// started it.
#[derive(Debug)]
struct Daemon {
    child: Child,
}

impl Daemon {
    /// Waits until somebody listens on the port.
    fn wait_for_port(&mut self, port: u16, log: &Path) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let patience = Instant::now() + Duration::from_secs(15);
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read(log).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                bail!("the server ended at once ({status}): {}", said.trim());
            }
            if Instant::now() >= patience {
                bail!("the server does not listen on port {port} after 15 seconds");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        ProcessGroup::of(&self.child).kill();
        let _ = self.child.wait();
    }
}

/// A port of ours: other processes that run scenarios leave it alone while this value lives.
///
/// Taking any free port is not enough: two servers that start at the same time may choose the same
/// one, and then each client finds whoever came first.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked.
    _lock: File,
}

/// Below the ports that the kernel gives to outgoing connections.
const PORTS: Range<u16> = 20_000..30_000;

impl Port {
    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn reserve() -> Result<Self> {
        let locks = std::env::temp_dir().join("coffre-compat-ports");
        fs::create_dir_all(&locks).with_context(|| format!("make {}", locks.display()))?;
        // Start somewhere else in each process and each time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let start = now.subsec_nanos() ^ std::process::id().rotate_left(16);
        let span = u32::from(PORTS.end - PORTS.start);
        for step in 0..span {
            let offset = start.wrapping_add(step) % span;
            let number = PORTS.start + u16::try_from(offset)?;
            let lock = File::create(locks.join(number.to_string()))?;
            let is_free = || TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
            if lock.try_lock().is_ok() && is_free() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("no port is free between {} and {}", PORTS.start, PORTS.end)
    }
}

/// Whether this process may do what a server for all owners needs.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The prefix of [`BASE`] without its slash, to be joined to a root.
fn base_below(root: &Path) -> PathBuf {
    root.join(BASE.trim_start_matches('/'))
}
