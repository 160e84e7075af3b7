//! `[tenants.NAME]` and `[defaults]`.
//!
//! Both tables are read into a [`Draft`] of checked values. What a tenant does not say is then
//! taken from the defaults, key by key, and [`Draft::finish`] checks what belongs together. So a
//! wrong value in `[defaults]` is reported once, where it stands.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::Problems;
use super::keys::{self, FoundKey};
use super::policy;
use super::raw::{Document, Item, Setting, Table};
use super::server::{bandwidth, check_host_key_is_there, duration, paths, size_within};
use super::{Quota, SessionLimits, SnapshotPolicy, Tenant, VerifyPolicy};
use crate::retention::Rules;

const KEYS: [&str; 19] = [
    "port",
    "login",
    "restore_login",
    "keys",
    "authorized_keys",
    "host_key",
    "snapshots",
    "keep",
    "max_sessions",
    "max_files",
    "max_memory",
    "max_path",
    "max_xattrs",
    "bandwidth",
    "quota",
    "legacy_ssh",
    "prune",
    "owner_names",
    "verify",
];

/// Keys that later versions have.
const LATER: [&str; 2] = ["expect", "notify"];

const DEFAULT_LOGIN: &str = "root";
const DEFAULT_RESTORE_LOGIN: &str = "restore";

/// A client's jobs rarely overlap; more than these at once is a loop gone wild.
const DEFAULT_MAX_SESSIONS: u64 = 4;

/// Ends before the same hour of the next day, whatever there is to remove.
const DEFAULT_PRUNE_LIMIT: Duration = Duration::from_secs(20 * 3600);

/// Indexes of files are whole numbers of 31 bits on the wire.
const MOST_FILES: u64 = 1 << 30;

/// The kernel takes no longer path in one piece (PATH_MAX without the NUL).
const LONGEST_PATH: u64 = 4095;

/// What one table says.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    port: Setting<u16>,
    logins: Setting<Vec<String>>,
    restore_login: Setting<Option<String>>,
    keys: Setting<Vec<FoundKey>>,
    authorized_keys: Setting<Vec<FoundKey>>,
    host_keys: Setting<Vec<PathBuf>>,
    snapshots: Setting<SnapshotPolicy>,
    keep: Setting<Option<Rules>>,
    prune_limit: Setting<Duration>,
    max_sessions: Setting<u64>,
    max_files: Setting<u64>,
    max_memory: Setting<u64>,
    max_path: Setting<u64>,
    max_xattrs: Setting<u64>,
    bandwidth: Setting<Option<u64>>,
    quota: Setting<Quota>,
    legacy_ssh: Setting<bool>,
    owner_names: Setting<bool>,
    verify: Setting<Option<VerifyPolicy>>,
}

impl Draft {
    /// What a missing table says.
    pub(super) fn empty() -> Self {
        Self {
            port: Setting::Absent,
            logins: Setting::Absent,
            restore_login: Setting::Absent,
            keys: Setting::Absent,
            authorized_keys: Setting::Absent,
            host_keys: Setting::Absent,
            snapshots: Setting::Absent,
            keep: Setting::Absent,
            prune_limit: Setting::Absent,
            max_sessions: Setting::Absent,
            max_files: Setting::Absent,
            max_memory: Setting::Absent,
            max_path: Setting::Absent,
            max_xattrs: Setting::Absent,
            bandwidth: Setting::Absent,
            quota: Setting::Absent,
            legacy_ssh: Setting::Absent,
            owner_names: Setting::Absent,
            verify: Setting::Absent,
        }
    }

    pub(super) fn read(table: &Table<'_>, directory: &Path) -> Self {
        table.check_keys(&KEYS, &LATER);
        let doc = table.doc;
        Self {
            port: table.setting("port", |item| {
                let port = item.integer(0..=u64::from(u16::MAX))?;
                if port == 0 {
                    doc.warning(
                        &item.span,
                        "port 0 is a free port, another one at each start",
                    );
                }
                u16::try_from(port).ok()
            }),
            logins: table.setting("login", logins),
            restore_login: table.setting("restore_login", restore_login),
            keys: table.setting("keys", keys::read_list),
            authorized_keys: table.setting("authorized_keys", |item| {
                let paths = paths(item, directory)?;
                keys::read_files(item, &paths, doc.problems)
            }),
            host_keys: table.setting("host_key", |item| {
                let paths = paths(item, directory)?;
                let all_there = paths
                    .iter()
                    .map(|at| check_host_key_is_there(doc, at))
                    .fold(true, |all, there| all & there);
                all_there.then(|| paths.into_iter().map(|at| at.value).collect())
            }),
            snapshots: table.setting("snapshots", policy::snapshots),
            keep: table.setting("keep", policy::keep),
            prune_limit: table.setting("prune", prune_limit),
            max_sessions: table.setting("max_sessions", |item| item.integer(1..=10_000)),
            max_files: table.setting("max_files", |item| item.integer(1000..=MOST_FILES)),
            max_memory: table.setting("max_memory", |item| size_within(item, 16 << 20, 1 << 40)),
            max_path: table.setting("max_path", |item| item.integer(255..=LONGEST_PATH)),
            max_xattrs: table.setting("max_xattrs", |item| size_within(item, 64 << 10, 1 << 30)),
            bandwidth: table.setting("bandwidth", bandwidth),
            quota: table.setting("quota", quota),
            legacy_ssh: table.setting("legacy_ssh", |item| item.boolean()),
            owner_names: table.setting("owner_names", Item::boolean),
            verify: table.setting("verify", policy::verify),
        }
    }

    /// This, with what it does not say taken from `defaults`.
    pub(super) fn over(self, defaults: &Draft) -> Self {
        Self {
            port: self.port.or(&defaults.port),
            logins: self.logins.or(&defaults.logins),
            restore_login: self.restore_login.or(&defaults.restore_login),
            keys: self.keys.or(&defaults.keys),
            authorized_keys: self.authorized_keys.or(&defaults.authorized_keys),
            host_keys: self.host_keys.or(&defaults.host_keys),
            snapshots: self.snapshots.or(&defaults.snapshots),
            keep: self.keep.or(&defaults.keep),
            prune_limit: self.prune_limit.or(&defaults.prune_limit),
            max_sessions: self.max_sessions.or(&defaults.max_sessions),
            max_files: self.max_files.or(&defaults.max_files),
            max_memory: self.max_memory.or(&defaults.max_memory),
            max_path: self.max_path.or(&defaults.max_path),
            max_xattrs: self.max_xattrs.or(&defaults.max_xattrs),
            bandwidth: self.bandwidth.or(&defaults.bandwidth),
            quota: self.quota.or(&defaults.quota),
            legacy_ssh: self.legacy_ssh.or(&defaults.legacy_ssh),
            owner_names: self.owner_names.or(&defaults.owner_names),
            verify: self.verify.or(&defaults.verify),
        }
    }

    /// Where the port was written, for the check that no two tenants share one.
    pub(super) fn port(&self) -> Option<(u16, Range<usize>)> {
        match &self.port {
            Setting::Is(at) => Some((at.value, at.span.clone())),
            _ => None,
        }
    }

    /// Checks what belongs together and applies the defaults of the program. `named_at` is where
    /// the tenant's name stands. `None`: something that was reported is wrong or missing.
    pub(super) fn finish(
        self,
        name: &str,
        named_at: &Range<usize>,
        doc: Document<'_>,
        problems: &Problems,
    ) -> Option<Tenant> {
        if let Setting::Absent = self.port {
            doc.error(
                named_at,
                format!("tenant \"{name}\" has no port; add one, like port = 2222"),
            );
        }
        let keys = self.check_keys(name, named_at, doc, problems);
        self.check_logins(name, named_at, doc);

        let Setting::Is(port) = self.port else {
            return None;
        };
        let limits = SessionLimits::default();
        Some(Tenant {
            name: name.to_owned(),
            port: port.value,
            logins: self.logins.value_or(vec![DEFAULT_LOGIN.to_owned()]),
            restore_login: self
                .restore_login
                .value_or(Some(DEFAULT_RESTORE_LOGIN.to_owned())),
            keys,
            host_keys: self.host_keys.value_or(Vec::new()),
            snapshots: self.snapshots.value_or(SnapshotPolicy::after_every_push()),
            keep: self.keep.value_or(None),
            prune_limit: Some(self.prune_limit.value_or(DEFAULT_PRUNE_LIMIT)),
            max_sessions: usize::try_from(self.max_sessions.value_or(DEFAULT_MAX_SESSIONS))
                .expect("the reader allows at most ten thousand"),
            limits: SessionLimits {
                files: u32::try_from(self.max_files.value_or(limits.files.into()))
                    .expect("the reader allows what an index can hold"),
                memory: self.max_memory.value_or(limits.memory),
                path: usize::try_from(self.max_path.value_or(limits.path as u64))
                    .expect("the reader allows what the kernel takes"),
                xattrs: self.max_xattrs.value_or(limits.xattrs),
            },
            bandwidth: self.bandwidth.value_or(None),
            quota: self.quota.value_or(Quota::default()),
            legacy_ssh: self.legacy_ssh.value_or(false),
            owner_names: self.owner_names.value_or(false),
            verify: self.verify.value_or(None),
        })
    }

    fn check_keys(
        &self,
        name: &str,
        named_at: &Range<usize>,
        doc: Document<'_>,
        problems: &Problems,
    ) -> Vec<super::KeyRule> {
        let mut all: Vec<FoundKey> = Vec::new();
        let mut wrong = false;
        for setting in [&self.keys, &self.authorized_keys] {
            match setting {
                Setting::Absent => {}
                Setting::Wrong => wrong = true,
                Setting::Is(found) => all.extend(found.value.iter().cloned()),
            }
        }
        if all.is_empty() && !wrong {
            doc.error(
                named_at,
                format!(
                    "tenant \"{name}\" has no keys, so nobody could log in; add \
                     keys = [{{ key = \"ssh-ed25519 …\", from = [\"192.0.2.10\"] }}]"
                ),
            );
        }
        keys::without_twins(&all, problems)
            .into_iter()
            .map(|rule| rule.as_ref().clone())
            .collect()
    }

    fn check_logins(&self, name: &str, named_at: &Range<usize>, doc: Document<'_>) {
        if matches!(self.logins, Setting::Wrong) || matches!(self.restore_login, Setting::Wrong) {
            return;
        }
        let default_logins = vec![DEFAULT_LOGIN.to_owned()];
        let default_restore = Some(DEFAULT_RESTORE_LOGIN.to_owned());
        let (logins, logins_at) = match &self.logins {
            Setting::Is(at) => (&at.value, Some(&at.span)),
            _ => (&default_logins, None),
        };
        let (restore, restore_at) = match &self.restore_login {
            Setting::Is(at) => (&at.value, Some(&at.span)),
            _ => (&default_restore, None),
        };
        let Some(restore) = restore else { return };
        if !logins.contains(restore) {
            return;
        }
        let hint = match restore_at {
            Some(_) => "choose two names",
            None => "choose another name for one of them, like restore_login = \"history\"",
        };
        doc.error(
            restore_at.or(logins_at).unwrap_or(named_at),
            format!(
                "tenant \"{name}\": \"{restore}\" is both \"login\" and \"restore_login\", and the \
                 login name chooses what a client sees; {hint}"
            ),
        );
    }
}

/// Why `name` cannot be the name of a tenant: it is a directory in the store, beside `.coffre`,
/// and it appears in logs and on command lines.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    const LONGEST: usize = 64;
    let ordinary = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty() {
        Err("the name of a tenant is empty")
    } else if name.len() > LONGEST {
        Err("the name of a tenant has at most 64 characters")
    } else if name.contains(|c: char| c.is_ascii_uppercase()) {
        Err("the name of a tenant has no capitals, so that no two differ by them alone")
    } else if !name.starts_with(ordinary) {
        Err("the name of a tenant starts with a letter or a digit")
    } else if !name.chars().all(|c| ordinary(c) || "._-".contains(c)) {
        Err("the name of a tenant is a directory: use a to z, 0 to 9, \".\", \"_\" and \"-\"")
    } else {
        Ok(())
    }
}

fn logins(item: &Item<'_>) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    item.strings("a login name, or a list of them", |text| {
        if let Err(why) = check_login(text.value) {
            item.doc.error(&text.span, why);
            return None;
        }
        if seen.contains(&text.value) {
            item.doc
                .error(&text.span, format!("\"{}\" is listed twice", text.value));
            return None;
        }
        seen.push(text.value);
        Some(text.value.to_owned())
    })
}

fn restore_login(item: &Item<'_>) -> Option<Option<String>> {
    if item.as_boolean() == Some(false) {
        return Some(None);
    }
    let text = item.string("a login name, or false")?;
    match check_login(text.value) {
        Ok(()) => Some(Some(text.value.to_owned())),
        Err(why) => {
            item.error(why);
            None
        }
    }
}

/// Why no client could log in by this name: ssh takes a leading `-` for an option, rsync takes
/// what is before the first `:` for user and host, and a `/` in it for a local path.
fn check_login(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a login name cannot be empty".to_owned());
    }
    let unfit = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | '@');
    if name.starts_with('-') || name.contains(unfit) {
        return Err(format!(
            "\"{}\" cannot be a login name: ssh or rsync would misread it",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// `"500GiB"`, `{ size = "500GiB", files = 2000000 }`, or `false` for none.
fn quota(item: &Item<'_>) -> Option<Quota> {
    if item.as_boolean() == Some(false) {
        return Some(Quota::default());
    }
    if item.is_string() {
        return Some(Quota {
            size: Some(size_within(item, 1 << 20, u64::MAX)?),
            files: None,
        });
    }
    let table = item.table(
        "\"quota\"",
        "a size like \"500GiB\", a table like { size = \"500GiB\", files = 2000000 }, or false",
    )?;
    table.check_keys(&["size", "files"], &[]);
    let size = table
        .item("size")
        .map(|item| size_within(&item, 1 << 20, u64::MAX));
    let files = table.item("files").map(|item| item.integer(100..=u64::MAX));
    if size.is_none() && files.is_none() {
        item.error("\"quota\" says nothing; give it a size or a number of files");
        return None;
    }
    if size == Some(None) || files == Some(None) {
        return None;
    }
    Some(Quota {
        size: size.flatten(),
        files: files.flatten(),
    })
}

fn prune_limit(item: &Item<'_>) -> Option<Duration> {
    let table = item.table("\"prune\"", "a table like { limit = \"20h\" }")?;
    table.check_keys(&["limit"], &[]);
    let Some(limit) = table.item("limit") else {
        return Some(DEFAULT_PRUNE_LIMIT);
    };
    let found = duration(&limit)?;
    if found.is_zero() {
        limit.error("a limit of nothing would never prune; leave \"keep\" out to keep everything");
        return None;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tenants_are_safe_as_directories() {
        for good in ["a", "web01", "web-01.example_org", "0", &"x".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".coffre",
            "-x",
            "_x",
            "Web",
            "a/b",
            "a b",
            "é",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn login_names_survive_the_command_line_of_ssh_and_rsync() {
        for good in ["root", "backup-web", "a.b", "été"] {
            assert_eq!(check_login(good), Ok(()), "{good}");
        }
        for bad in ["", "-l", "a b", "a:b", "a/b", "a@b", "a\n"] {
            assert!(check_login(bad).is_err(), "{bad:?}");
        }
    }
}
