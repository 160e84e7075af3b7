//! What the process gives up at its start, before it has a second thread and before it has heard
//! anybody: what it never needs, it cannot be made to do.
//!
//! ```text
//! capabilities   all but those that owners, devices and low ports need; never to be had again
//! Landlock       the store, the configuration and what that names; nothing is executed
//! seccomp        no other program, no tracing, no mounting, no modules, no handles past paths
//! ```
//!
//! Threads inherit all of it. The thread of a session gives up more: see
//! [`landlock`](crate::confine::landlock) for the one tenant's tree that stays, and
//! [`seccomp::for_session`] for sockets.
//!
//! What is worth knowing: this bounds what code that has gone wrong can reach, and nothing else.
//! Threads of a process share its memory, so it does not part tenants from each other; names,
//! descriptors and the sessions' own confinement do.

mod capabilities;
pub mod seccomp;

use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, LandlockPolicy, MetadataPolicy};
use crate::confine::landlock::{self, Access, ConfineError, Enforced};

/// How it came out, for the log.
#[derive(Debug)]
pub struct Fence {
    /// What is left of the capabilities; `None`: there were none.
    pub capabilities: Option<String>,
    /// Where the process can read and write; empty where Landlock is not in force.
    pub places: Vec<(PathBuf, Access)>,
    pub seccomp: seccomp::Enforced,
}

/// Why the process must not run.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    #[error("cannot give up capabilities: {0}")]
    Capabilities(io::Error),
    #[error("{0}")]
    Landlock(#[from] ConfineError),
    #[error("{0}")]
    Seccomp(#[from] seccomp::SeccompError),
}

/// Puts the calling thread, and all that it starts, behind the fence.
pub fn raise(config: &Config) -> Result<Fence, FenceError> {
    let native = config.server.metadata != MetadataPolicy::Xattr;
    let capabilities = capabilities::drop_needless(native).map_err(FenceError::Capabilities)?;
    let places = match config.server.landlock {
        LandlockPolicy::Off => Vec::new(),
        _ => places(config),
    };
    let enforced = landlock::confine_thread(config.server.landlock, &places)?;
    let seccomp = seccomp::for_process(config.server.seccomp)?;
    Ok(Fence {
        capabilities,
        places: match enforced {
            Enforced::Yes(_) => places,
            Enforced::No => Vec::new(),
        },
        seccomp,
    })
}

/// What must be reachable until the end, reloads included. Directories rather than files, since a
/// file that is edited is mostly replaced.
fn places(config: &Config) -> Vec<(PathBuf, Access)> {
    let directory = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut places = vec![(config.server.storage.clone(), Access::ReadWrite)];
    let mut read = vec![directory(&config.path)];
    read.extend(config.read_files.iter().map(|file| directory(file)));
    let own = config.server.host_keys.iter();
    let of_tenants = config.tenants.iter().flat_map(|tenant| &tenant.host_keys);
    read.extend(own.chain(of_tenants).map(|key| directory(key)));
    if let Some(first) = config.server.host_keys.first().filter(|key| !key.exists()) {
        // It is made now.
        places.push((directory(first), Access::ReadWrite));
    }
    // Descriptors and mounts; time zones, which are looked up when a reload names another; how many
    // processors there are for us.
    let system = [
        "/proc",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/usr/share/lib/zoneinfo",
        "/etc/zoneinfo",
        "/sys/fs/cgroup",
    ];
    read.extend(system.into_iter().map(PathBuf::from));
    read.extend(std::env::var_os("TZDIR").map(PathBuf::from));
    read.sort();
    read.dedup();
    places.extend(read.into_iter().map(|path| (path, Access::Read)));
    // What is missing is either none of this system's ways, or missed with a better message.
    places.retain(|(path, _)| path.exists());
    places
}

impl Fence {
    /// What a reload that cannot read a file should say besides. `None`: nothing holds it back.
    pub fn hint(&self) -> Option<String> {
        if self.places.is_empty() {
            return None;
        }
        let shown: Vec<String> = self
            .places
            .iter()
            .filter(|(path, _)| {
                !["/proc", "/sys", "/usr"]
                    .iter()
                    .any(|s| path.starts_with(s))
            })
            .map(|(path, _)| path.display().to_string())
            .collect();
        Some(format!(
            "since its start this process can read nothing but what is in {}; a file elsewhere \
             needs a restart",
            shown.join(", ")
        ))
    }
}
