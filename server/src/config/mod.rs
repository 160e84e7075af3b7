//! `tenants.toml`: what was written ([`raw`]) becomes what is meant ([`Config`]).
//!
//! [`load`] reads the file and everything it names (`authorized_keys`), and gives either a
//! [`Config`] in which every value has been checked and every default applied, with warnings, or
//! all the problems at once, each with the place it was found at.
//!
//! [`server`] and [`tenant`] read the two kinds of table, [`keys`] and [`policy`] the larger values
//! in them. A new key is a line in one of these, a file in each of `fixtures/config/{good,bad}`,
//! and a paragraph in `docs/config.md`.

mod diagnostic;
mod keys;
mod policy;
mod raw;
mod server;
mod tenant;
pub mod units;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

pub(crate) use diagnostic::reason;
pub use diagnostic::{Diagnostic, Place, Severity};

use diagnostic::{Problems, Source};
use raw::{Document, Table};
use tenant::Draft;

/// Reads and checks a configuration and the files it names.
///
/// With the configuration come its warnings; without it, everything that was found, warnings
/// included. Both are sorted by place.
pub fn load(path: &Path) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = Source::read(path).map_err(|problem| vec![*problem])?;
    let problems = Problems::default();
    let config = check(path, &source, &problems);
    let found = problems.into_sorted(path);
    match config {
        Some(config) if found.iter().all(Diagnostic::is_warning) => Ok((config, found)),
        _ => Err(found),
    }
}

/// `None`: at least one error was reported.
fn check(path: &Path, source: &Source, problems: &Problems) -> Option<Config> {
    let doc = Document { source, problems };
    let (root, syntax_errors) = DeTable::parse_recoverable(&source.text);
    if !syntax_errors.is_empty() {
        // What follows from a syntax error is noise: the values are those of the parser's guess.
        for error in syntax_errors {
            let end = source.text.len();
            doc.error(&error.span().unwrap_or(end..end), error.message());
        }
        return None;
    }

    let directory = path.parent().unwrap_or(Path::new(""));
    let root = Table::root(doc, &root);
    root.check_keys(&["server", "defaults", "tenants"], &[]);
    let sub_table = |name: &str, what: &str| root.item(name)?.table(what, "a table");

    let server = match root.item("server") {
        None => server::read(doc, None, directory),
        Some(item) => item
            .table("[server]", "a table")
            .and_then(|table| server::read(doc, Some(table), directory)),
    };
    let defaults = sub_table("defaults", "[defaults]")
        .map(|table| Draft::read(&table, directory))
        .unwrap_or_else(Draft::empty);

    let mut tenants: BTreeMap<String, Arc<Tenant>> = BTreeMap::new();
    let mut ports: BTreeMap<u16, String> = BTreeMap::new();
    let mut items: Vec<_> = sub_table("tenants", "[tenants]")
        .iter()
        .flat_map(Table::items)
        .collect();
    // In the order they were written, so that the second use of a port is the one reported.
    items.sort_by_key(|item| item.key_span.start);
    if items.is_empty() {
        doc.warning(
            &(source.text.len()..source.text.len()),
            "there are no tenants, so nobody is served; add one as [tenants.web01]",
        );
    }
    for item in items {
        let name = item.name.as_str();
        if let Err(why) = tenant::check_name(name) {
            doc.error(&item.key_span, why);
        }
        let Some(table) = item.table(&format!("tenant \"{name}\""), "a table") else {
            continue;
        };
        let draft = Draft::read(&table, directory).over(&defaults);
        if let Some((port, at)) = draft.port().filter(|(port, _)| *port != 0) {
            match ports.get(&port) {
                None => {
                    ports.insert(port, name.to_owned());
                }
                Some(other) => doc.error(
                    &at,
                    format!("port {port} is that of tenant \"{other}\" already, and tenant \"{name}\" needs its own"),
                ),
            }
        }
        if let Some(tenant) = draft.finish(name, &item.key_span, doc, problems) {
            tenants.insert(name.to_owned(), Arc::new(tenant));
        }
    }
    Some(Config {
        path: path.to_owned(),
        read_files: problems.read_files(),
        server: server?,
        tenants: tenants.into_values().collect(),
    })
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// The files with keys that it names.
    pub read_files: Vec<PathBuf>,
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
    pub seccomp: SeccompPolicy,
    /// Cipher names to offer to every client, best first; `None`: chosen by client.
    pub ciphers: Option<Vec<String>>,
    /// How long a connection may take to authenticate.
    pub login_grace: Duration,
    /// Connections that have not authenticated yet, over all tenants.
    pub max_unauthenticated: usize,
    /// … and from one address.
    pub max_unauthenticated_per_address: usize,
    /// rsync sessions at a time, over all tenants.
    pub max_sessions: usize,
    /// Bytes a second in each direction, over all tenants; `None`: as fast as it goes.
    pub bandwidth: Option<u64>,
    /// What pushes leave free in the store.
    pub min_free: MinFree,
    /// How long the record of a session stays; `None`: for ever.
    pub keep_sessions: Option<Duration>,
}

/// A floor under the free space of the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinFree {
    Bytes(u64),
    /// Of the space, and of the inodes where the file system counts them.
    Percent(f64),
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

/// What to do about the kernel's filter on system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeccompPolicy {
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
    /// 0: a free one, chosen at start.
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
    pub limits: SessionLimits,
    /// Bytes a second in each direction; `None`: as fast as it goes.
    pub bandwidth: Option<u64>,
    pub quota: Quota,
    /// `None`: its store is verified only when somebody asks.
    pub verify: Option<VerifyPolicy>,
    /// Also what clients of 2014 need: SHA-1 signatures, older key exchanges.
    pub legacy_ssh: bool,
    /// Owners become the accounts of this server that have the names the client gives, as with
    /// stock rsync; else their numbers are kept.
    pub owner_names: bool,
}

/// How a tenant's store is verified by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyPolicy {
    /// In how long all of it is read once.
    pub every: Duration,
    /// Bytes a second; `None`: as fast as it goes.
    pub limit: Option<u64>,
}

/// What one session may take of the server's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Entries of file lists, of all that are held at the same time.
    pub files: u32,
    /// Bytes for file lists, ACLs and extended attributes.
    pub memory: u64,
    /// Bytes in the path of an entry, and in the target of a symbolic link.
    pub path: usize,
    /// Bytes in all extended attributes of one entry.
    pub xattrs: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            files: 10_000_000,
            memory: 2 << 30,
            path: 4095,
            xattrs: 16 << 20,
        }
    }
}

/// What a tenant may have in the store: live, history and all, each inode once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Bytes on disk.
    pub size: Option<u64>,
    /// Inodes: files and directories.
    pub files: Option<u64>,
}

impl Quota {
    pub fn is_none(&self) -> bool {
        self.size.is_none() && self.files.is_none()
    }
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
