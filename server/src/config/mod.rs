//! `tenants.toml`: what was written ([`raw`]) becomes what is meant ([`Config`]).
//!
//! [`load`] reads the file and everything it names (`authorized_keys`), and gives either a
//! [`Config`] in which every value has been checked and every default applied, with warnings, or
//! all the problems at once, each with the place it was found at.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    pub server: ServerConfig,
    /// In order of name.
    pub tenants: Vec<Arc<Tenant>>,
}

#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where every tenant's live tree and snapshots are; one file system.
    pub storage: PathBuf,
    /// Addresses that every tenant port binds.
    pub listen: Vec<IpAddr>,
    /// Files of the host keys; the first is made at first start if it is missing.
    pub host_keys: Vec<PathBuf>,
    /// For schedules and keep rules.
    pub time_zone: jiff::tz::TimeZone,
    pub metadata: MetadataPolicy,
    pub landlock: LandlockPolicy,
    /// Cipher names to offer to every client, best first; `None`: chosen by client.
    pub ciphers: Option<Vec<String>>,
    /// How long a connection may take to authenticate.
    pub login_grace: Duration,
    /// Connections that have not authenticated yet, over all tenants.
    pub max_unauthenticated: usize,
    /// … and from one address.
    pub max_unauthenticated_per_address: usize,
}

/// How owners, devices and other privileged attributes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataPolicy {
    /// `Native` when the process has the capabilities for it, else `Xattr`.
    Auto,
    /// Set on the files themselves.
    Native,
    /// In `user.rsync.%stat` and friends, as `rsync --fake-super` does.
    Xattr,
}

/// What to do about the kernel's confinement of session threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LandlockPolicy {
    /// Use it where the kernel has it, and say at start where not.
    Auto,
    /// Refuse to run without it.
    Required,
    Off,
}

/// One tenant: who may come in from where, and what becomes of what they push.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Also the name of its directory in the store.
    pub name: String,
    pub port: u16,
    /// Login names that push into the live tree.
    pub logins: Vec<String>,
    /// The login name that reads history; `None`: nobody does.
    pub restore_login: Option<String>,
    pub keys: Vec<KeyRule>,
    /// This tenant's own host keys; empty: those of the server.
    pub host_keys: Vec<PathBuf>,
    pub snapshots: SnapshotPolicy,
    /// Which snapshots stay; `None`: all of them.
    pub keep: Option<crate::retention::Rules>,
    /// Longest time one prune run may take.
    pub prune_limit: Option<Duration>,
    /// rsync sessions at a time.
    pub max_sessions: usize,
}

/// A key that may log in.
#[derive(Debug, Clone)]
pub struct KeyRule {
    pub key: russh::keys::PublicKey,
    /// Networks it may come from; `None`: anywhere. IPv4-mapped addresses are stored as IPv4.
    pub from: Option<Vec<ipnet::IpNet>>,
    pub may: Rights,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    pub push: bool,
    pub restore: bool,
}

/// When snapshots are taken.
#[derive(Debug, Clone)]
pub struct SnapshotPolicy {
    /// Times of day, local to `server.time_zone`.
    pub at: Vec<jiff::civil::Time>,
    pub cron: Option<crate::schedule::Cron>,
    /// After every push that ended well.
    pub after_session: bool,
    /// Not more often than this (applies to `after_session`).
    pub at_most: Option<Duration>,
    /// How long a due snapshot waits for running sessions before it is put off to their end.
    pub wait: Duration,
}

impl KeyRule {
    /// Whether the key may come from `address`. IPv4-mapped IPv6 counts as IPv4.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match &self.from {
            None => true,
            Some(networks) => networks.iter().any(|network| network.contains(&address)),
        }
    }
}
