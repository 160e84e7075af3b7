//! What a client reads when it logs in without rsync. It never learns a path of the server, nor
//! anything of other tenants.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::pushes::LastPush;
use crate::catalogue::TenantState;
use crate::config::Tenant;
use crate::config::units::render_duration;
use crate::control::facts::{PushState, QuotaFacts};
use crate::snapshot::SnapshotName;

/// Snapshots named in an interactive login; `snapshots` lists all.
const SHOWN_AT_LOGIN: usize = 5;

/// What the texts are made of.
#[derive(Debug)]
pub struct ClientFacts<'a> {
    pub tenant: &'a Tenant,
    pub state: &'a TenantState,
    /// Oldest first.
    pub snapshots: &'a [SnapshotName],
    /// The port that clients come in by.
    pub port: u16,
    pub may_restore: bool,
    /// Some session is at work in the tenant's tree.
    pub in_session: bool,
    pub now: Timestamp,
    pub time_zone: &'a TimeZone,
    /// `None`: there is none.
    pub quota: Option<QuotaFacts>,
}

/// An interactive login: who this is, how the backup is, and how to get something back.
pub fn login(facts: &ClientFacts<'_>) -> String {
    let mut out = format!(
        "This is the backup of {}. The key works; there is no shell here.\n\n",
        facts.tenant.name
    );
    out.push_str(&status(facts));
    let shown = facts.snapshots.iter().rev().take(SHOWN_AT_LOGIN);
    for name in shown {
        let _ = writeln!(out, "                {name}");
    }
    if facts.snapshots.len() > SHOWN_AT_LOGIN {
        let _ = writeln!(
            out,
            "                … and {} older ones: ask for `snapshots`",
            facts.snapshots.len() - SHOWN_AT_LOGIN
        );
    }
    let restore = facts.tenant.restore_login.as_ref();
    if let (Some(login), true) = (restore, facts.may_restore) {
        let _ = write!(
            out,
            "\nTo get something back, as it was in the latest snapshot (or in one of these, by its \
             name or by its day):\n  rsync -aHAX --numeric-ids -e 'ssh -p {}' \
             {login}@THIS-SERVER:/latest/etc/ restored/\n",
            facts.port
        );
    }
    out
}

/// `status`: the last push and the snapshots, a fact to a line.
pub fn status(facts: &ClientFacts<'_>) -> String {
    let mut out = String::new();
    let mut line = |what: &str, text: String| {
        let _ = writeln!(out, "{what:<16}{text}");
    };
    line("tenant", facts.tenant.name.clone());
    line("last push", last_push(facts));
    let last = LastPush::of(facts.state, facts.in_session);
    if last.is_some_and(|push| push.state != PushState::EndedWell)
        && let Some(good) = facts.state.last_good_push
    {
        line("last good push", moment(facts, good));
    }
    line(
        "snapshots",
        match facts.snapshots {
            [] => "none yet".to_owned(),
            [only] => format!("1, {only}"),
            [.., last] => format!("{}, the latest {last}", facts.snapshots.len()),
        },
    );
    if let Some(quota) = &facts.quota {
        line("space", quota.render());
    }
    out
}

/// `snapshots`: name, state and age, oldest first.
pub fn snapshots(facts: &ClientFacts<'_>) -> String {
    let mut out = String::new();
    let width = facts
        .snapshots
        .iter()
        .map(|name| name.to_string().len())
        .max();
    let width = width.unwrap_or(0);
    for name in facts.snapshots {
        let _ = writeln!(
            out,
            "{:<width$}  {:<10}  {}",
            name.to_string(),
            name.state().to_string(),
            ago(name.time(), facts.now)
        );
    }
    out
}

fn last_push(facts: &ClientFacts<'_>) -> String {
    match LastPush::of(facts.state, facts.in_session) {
        None => "never".to_owned(),
        Some(push) => match push.state {
            PushState::Running => format!("running since {}", moment(facts, push.started)),
            PushState::EndedWell => {
                format!(
                    "{}, ended well",
                    moment(facts, push.ended.unwrap_or(push.started))
                )
            }
            PushState::BrokeOff => {
                format!(
                    "{}, broke off",
                    moment(facts, push.ended.unwrap_or(push.started))
                )
            }
        },
    }
}

fn moment(facts: &ClientFacts<'_>, time: Timestamp) -> String {
    let local = time.to_zoned(facts.time_zone.clone());
    format!(
        "{} ({})",
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        ago(time, facts.now)
    )
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    let elapsed = now.duration_since(time).max(jiff::SignedDuration::ZERO);
    format!("{} ago", render_duration(elapsed.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::State;

    fn tenant() -> Tenant {
        Tenant {
            name: "web01".to_owned(),
            port: 2222,
            logins: vec!["root".to_owned()],
            restore_login: Some("restore".to_owned()),
            keys: Vec::new(),
            host_keys: Vec::new(),
            snapshots: crate::config::SnapshotPolicy::after_every_push(),
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

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_login_says_how_the_backup_is_and_how_to_restore() {
        let snapshots: Vec<SnapshotName> = (10..17)
            .map(|day| {
                let time = at(&format!("2026-11-{day}T09:30:00Z"));
                SnapshotName::new(time, State::Complete).unwrap()
            })
            .collect();
        let state = TenantState {
            last_push_started: Some(at("2026-11-17T09:00:00Z")),
            last_push_ended: Some(at("2026-11-17T09:10:00Z")),
            last_push_ok: Some(false),
            last_good_push: Some(at("2026-11-16T09:10:00Z")),
            ..TenantState::default()
        };
        let tenant = tenant();
        let mut facts = ClientFacts {
            tenant: &tenant,
            state: &state,
            snapshots: &snapshots,
            port: 2222,
            may_restore: true,
            in_session: false,
            now: at("2026-11-17T10:10:00Z"),
            time_zone: &TimeZone::UTC,
            quota: None,
        };
        assert_eq!(
            login(&facts),
            "\
This is the backup of web01. The key works; there is no shell here.

tenant          web01
last push       2026-11-17 09:10:00 UTC (1h ago), broke off
last good push  2026-11-16 09:10:00 UTC (1d1h ago)
snapshots       7, the latest 2026-11-16T093000Z
                2026-11-16T093000Z
                2026-11-15T093000Z
                2026-11-14T093000Z
                2026-11-13T093000Z
                2026-11-12T093000Z
                … and 2 older ones: ask for `snapshots`

To get something back, as it was in the latest snapshot (or in one of these, by its name or by its day):
  rsync -aHAX --numeric-ids -e 'ssh -p 2222' restore@THIS-SERVER:/latest/etc/ restored/
"
        );
        facts.may_restore = false;
        assert!(!login(&facts).contains("get something back"));
    }

    #[test]
    fn a_new_tenant_has_nothing_to_tell() {
        let tenant = tenant();
        let facts = ClientFacts {
            tenant: &tenant,
            state: &TenantState::default(),
            snapshots: &[],
            port: 2222,
            may_restore: true,
            in_session: false,
            now: at("2026-11-17T10:10:00Z"),
            time_zone: &TimeZone::UTC,
            quota: Some(QuotaFacts {
                size_bytes: Some(1 << 30),
                files: None,
                used_bytes: Some(1 << 29),
                used_files: Some(3),
            }),
        };
        assert_eq!(
            status(&facts),
            "tenant          web01\nlast push       never\nsnapshots       none yet\n\
             space           512 MiB of 1.00 GiB (50%)\n"
        );
        assert_eq!(super::snapshots(&facts), "");
    }
}
