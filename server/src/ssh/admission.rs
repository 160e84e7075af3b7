//! Who is let in: tenant × login × key × address.
//!
//! The port has chosen the tenant already. A pure function of the tenant's configuration, called
//! for every key that a client shows, for every signature, and again when a channel starts a
//! session, so that a key that was taken away opens nothing on a connection that still stands.

use std::fmt;
use std::net::IpAddr;

use russh::keys::PublicKey;

use crate::config::{Rights, Tenant};
use crate::session::View;

/// What a key opens under a login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) view: View,
    pub(super) rights: Rights,
}

/// Why a key does not open the door. For the log: the client is never told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownLogin,
    UnknownKey,
    WrongAddress,
    NotAllowed(View),
    Sha1,
    TooManyProbes,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::UnknownLogin => "the tenant has no such login name",
            Refusal::UnknownKey => "the tenant has no such key",
            Refusal::WrongAddress => "the key may not come from this address",
            Refusal::NotAllowed(View::Push) => "the key may not push",
            Refusal::NotAllowed(View::Restore) => "the key may not restore",
            Refusal::Sha1 => {
                "the client signs with SHA-1 (ssh-rsa), which legacy_ssh = true would allow"
            }
            Refusal::TooManyProbes => "the client asked about too many keys",
        })
    }
}

/// Whether `key` under `login` from `address` is let in.
///
/// A key that stands in several lines has the rights of all lines that admit the address.
pub(super) fn admit(
    tenant: &Tenant,
    login: &str,
    key: &PublicKey,
    address: IpAddr,
) -> Result<Admission, Refusal> {
    let view = view(tenant, login).ok_or(Refusal::UnknownLogin)?;
    let mut known = false;
    let mut rights: Option<Rights> = None;
    for rule in &tenant.keys {
        // The comment is not part of the key.
        if rule.key.key_data() != key.key_data() {
            continue;
        }
        known = true;
        if rule.admits(address) {
            let rights = rights.get_or_insert(Rights {
                push: false,
                restore: false,
            });
            rights.push |= rule.may.push;
            rights.restore |= rule.may.restore;
        }
    }
    match rights {
        None if known => Err(Refusal::WrongAddress),
        None => Err(Refusal::UnknownKey),
        Some(rights) => {
            let allowed = match view {
                View::Push => rights.push,
                View::Restore => rights.restore,
            };
            if allowed {
                Ok(Admission { view, rights })
            } else {
                Err(Refusal::NotAllowed(view))
            }
        }
    }
}

fn view(tenant: &Tenant, login: &str) -> Option<View> {
    if tenant.logins.iter().any(|name| name == login) {
        Some(View::Push)
    } else if tenant.restore_login.as_deref() == Some(login) {
        Some(View::Restore)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KeyRule, SnapshotPolicy};
    use std::time::Duration;

    const ADA: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ada";
    const BOB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti bob";

    fn rule(key: &str, from: Option<&[&str]>, push: bool, restore: bool) -> KeyRule {
        KeyRule {
            key: key.parse().unwrap(),
            from: from.map(|list| list.iter().map(|net| net.parse().unwrap()).collect()),
            may: Rights { push, restore },
        }
    }

    fn tenant(keys: Vec<KeyRule>) -> Tenant {
        Tenant {
            name: "ada".into(),
            port: 2222,
            logins: vec!["root".into(), "backup".into()],
            restore_login: Some("restore".into()),
            keys,
            host_keys: Vec::new(),
            snapshots: SnapshotPolicy {
                at: Vec::new(),
                cron: None,
                after_session: true,
                at_most: None,
                wait: Duration::ZERO,
            },
            keep: None,
            prune_limit: None,
            max_sessions: 4,
            limits: crate::config::SessionLimits::default(),
            bandwidth: None,
            quota: crate::config::Quota::default(),
            owner_names: false,
            verify: None,
            legacy_ssh: false,
        }
    }

    fn ask(tenant: &Tenant, login: &str, key: &str, address: &str) -> Result<Admission, Refusal> {
        admit(
            tenant,
            login,
            &key.parse().unwrap(),
            address.parse().unwrap(),
        )
    }

    #[test]
    fn login_key_and_address_must_all_match() {
        let tenant = tenant(vec![rule(ADA, Some(&["192.0.2.0/24"]), true, true)]);
        let admission = ask(&tenant, "root", ADA, "192.0.2.9").unwrap();
        assert_eq!(admission.view, View::Push);
        assert_eq!(
            ask(&tenant, "backup", ADA, "192.0.2.9").unwrap().view,
            View::Push
        );
        assert_eq!(
            ask(&tenant, "restore", ADA, "192.0.2.9").unwrap().view,
            View::Restore
        );
        assert_eq!(
            ask(&tenant, "admin", ADA, "192.0.2.9"),
            Err(Refusal::UnknownLogin)
        );
        assert_eq!(
            ask(&tenant, "root", BOB, "192.0.2.9"),
            Err(Refusal::UnknownKey)
        );
        assert_eq!(
            ask(&tenant, "root", ADA, "198.51.100.1"),
            Err(Refusal::WrongAddress)
        );
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let tenant = tenant(vec![rule(ADA, Some(&["192.0.2.0/24"]), true, true)]);
        assert!(ask(&tenant, "root", ADA, "::ffff:192.0.2.9").is_ok());
        assert!(ask(&tenant, "root", ADA, "::ffff:198.51.100.1").is_err());
    }

    #[test]
    fn a_view_needs_its_right() {
        let tenant = tenant(vec![
            rule(ADA, None, true, false),
            rule(BOB, None, false, true),
        ]);
        assert!(ask(&tenant, "root", ADA, "192.0.2.9").is_ok());
        assert_eq!(
            ask(&tenant, "restore", ADA, "192.0.2.9"),
            Err(Refusal::NotAllowed(View::Restore))
        );
        assert!(ask(&tenant, "restore", BOB, "192.0.2.9").is_ok());
        assert_eq!(
            ask(&tenant, "root", BOB, "192.0.2.9"),
            Err(Refusal::NotAllowed(View::Push))
        );
    }

    #[test]
    fn a_key_in_two_lines_has_the_rights_of_those_that_admit_its_address() {
        let tenant = tenant(vec![
            rule(ADA, Some(&["192.0.2.1/32"]), true, false),
            rule(ADA, Some(&["192.0.2.0/24"]), false, true),
        ]);
        let near = ask(&tenant, "root", ADA, "192.0.2.1").unwrap();
        assert!(near.rights.push && near.rights.restore);
        assert_eq!(
            ask(&tenant, "root", ADA, "192.0.2.2"),
            Err(Refusal::NotAllowed(View::Push))
        );
    }

    #[test]
    fn without_a_restore_login_nobody_restores() {
        let mut tenant = tenant(vec![rule(ADA, None, true, true)]);
        tenant.restore_login = None;
        assert_eq!(
            ask(&tenant, "restore", ADA, "192.0.2.9"),
            Err(Refusal::UnknownLogin)
        );
    }
}
