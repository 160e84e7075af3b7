//! What a client reads when it logs in without rsync. It never learns a path of the server, nor
//! anything of other tenants.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catalogue::TenantState;
use crate::config::Tenant;
use crate::config::units::render_duration;
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
    /// The port the client came in by.
    pub port: u16,
    pub may_restore: bool,
    pub now: Timestamp,
    pub time_zone: &'a TimeZone,
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
        let example = match facts.snapshots.last() {
            Some(name) => name.to_string(),
            None => "latest".to_owned(),
        };
        let _ = write!(
            out,
            "\nTo see what there is, and to get it back (HOST is this server):\n  \
             rsync -e 'ssh -p {port}' {login}@HOST:/\n  \
             rsync -e 'ssh -p {port}' -aHAX --numeric-ids {login}@HOST:/{example}/etc/ /tmp/etc/\n",
            port = facts.port,
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
    let state = facts.state;
    if state.last_push_ok == Some(false)
        && let Some(good) = state.last_good_push
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
    let state = facts.state;
    match (state.last_push_started, state.last_push_ended) {
        (None, None) => "never".to_owned(),
        (Some(started), ended) if ended.is_none_or(|ended| started > ended) => {
            // The server may also have died under it; then it counts as broken off.
            match state.last_push_ok {
                Some(false) => format!("{}, broke off", moment(facts, started)),
                _ => format!("running since {}", moment(facts, started)),
            }
        }
        (_, Some(ended)) if state.last_push_ok == Some(true) => {
            format!("{}, ended well", moment(facts, ended))
        }
        (_, ended) => match ended {
            Some(ended) => format!("{}, broke off", moment(facts, ended)),
            None => "unknown".to_owned(),
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
