//! `coffre status`

use jiff::Timestamp;

use super::ask::{ask, misunderstood};
use super::table::{Align, render};
use super::{Context, Exit, print, print_json};
use crate::config::units::{render_duration, render_size};
use crate::control::facts::{PushFacts, PushState, ScrubFacts, StatusFacts, TenantFacts};
use crate::control::{Answer, Request};

pub(super) fn run(context: &Context) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let facts = match ask(context, &config, &Request::Status) {
        Ok(Answer::Status(facts)) => facts,
        Ok(_) => return misunderstood(),
        Err(exit) => return exit,
    };
    if context.json {
        return print_json(&facts);
    }
    print(&text(&facts, Timestamp::now()))
}

fn text(facts: &StatusFacts, now: Timestamp) -> String {
    let mut out = format!(
        "coffre {} (process {}), up {}\nstorage   {}\nmetadata  {}\n{}\n",
        facts.version,
        facts.pid,
        age(&facts.started, now),
        facts.storage,
        facts.metadata,
        facts.landlock.replacen("landlock:", "landlock ", 1),
    );
    if facts.tenants.is_empty() {
        return out;
    }
    out.push('\n');
    out.push_str(&tenant_table(&facts.tenants, now));
    out.push_str(&damage(&facts.tenants));
    out
}

fn tenant_table(tenants: &[TenantFacts], now: Timestamp) -> String {
    let mut columns = vec![
        ("TENANT", Align::Left),
        ("PORT", Align::Right),
        ("SESSIONS", Align::Right),
        ("LAST PUSH", Align::Left),
        ("SNAPSHOTS", Align::Right),
        ("LATEST", Align::Left),
        ("NEXT", Align::Left),
    ];
    let with_quota = tenants.iter().any(|tenant| tenant.quota.is_some());
    if with_quota {
        columns.push(("USED", Align::Left));
    }
    let with_verify = tenants.iter().any(|tenant| tenant.verify.is_some());
    if with_verify {
        columns.push(("VERIFIED", Align::Left));
    }
    let rows: Vec<Vec<String>> = tenants
        .iter()
        .map(|tenant| {
            let mut row = vec![
                tenant.name.clone(),
                port(tenant),
                tenant.sessions.to_string(),
                last_push(tenant.last_push.as_ref(), now),
                tenant.snapshots.to_string(),
                tenant.latest_snapshot.clone().unwrap_or("none".to_owned()),
                next_snapshot(tenant, now),
            ];
            if with_quota {
                let quota = tenant.quota.as_ref();
                row.push(quota.map_or("no quota".to_owned(), |quota| quota.render()));
            }
            if with_verify {
                row.push(verified(tenant.verify.as_ref(), now));
            }
            row
        })
        .collect();
    render(&columns, &rows)
}

/// What is damaged, loudly.
fn damage(tenants: &[TenantFacts]) -> String {
    let mut out = String::new();
    for tenant in tenants {
        let Some(facts) = tenant.verify.as_ref().filter(|facts| facts.damaged > 0) else {
            continue;
        };
        let name = &tenant.name;
        for damage in &facts.damage {
            out.push_str(&format!("DAMAGED  {name}: {damage}\n"));
        }
        let named = facts.damage.len() as u64;
        out.push_str(&match facts.damaged.saturating_sub(named) {
            0 => format!("DAMAGED  {name}: `coffre verify {name}` says in which snapshots\n"),
            more => format!("DAMAGED  {name}: and {more} more; `coffre verify {name}` says all\n"),
        });
    }
    out
}

fn verified(facts: Option<&ScrubFacts>, now: Timestamp) -> String {
    let Some(facts) = facts else {
        return "by hand".to_owned();
    };
    let last = match &facts.last_ended {
        Some(ended) => format!("{} ago", age(ended, now)),
        None => "never".to_owned(),
    };
    let mut text = match (&facts.started, facts.read_bytes) {
        (Some(_), Some(read)) if facts.running => {
            format!("{last}, reading ({})", render_size(read))
        }
        (Some(_), Some(read)) => format!("{last}, partly ({})", render_size(read)),
        _ => last,
    };
    if facts.damaged > 0 {
        text.push_str(&format!(", {} DAMAGED", facts.damaged));
    }
    text
}

/// The port that is listened on, where the configured one is 0.
fn port(tenant: &TenantFacts) -> String {
    let bound = tenant
        .addresses
        .first()
        .and_then(|address| address.rsplit(':').next());
    match bound {
        Some(bound) if tenant.port == 0 => bound.to_owned(),
        _ => tenant.port.to_string(),
    }
}

fn last_push(push: Option<&PushFacts>, now: Timestamp) -> String {
    let Some(push) = push else {
        return "never".to_owned();
    };
    let when = age(push.ended.as_ref().unwrap_or(&push.started), now);
    match push.state {
        PushState::Running => format!("running for {when}"),
        PushState::EndedWell => format!("{when} ago"),
        PushState::BrokeOff => format!("broke off {when} ago"),
    }
}

fn next_snapshot(tenant: &TenantFacts, now: Timestamp) -> String {
    if tenant.snapshot_waits {
        return "waits for sessions".to_owned();
    }
    match tenant.next_snapshot.as_deref().map(str::parse::<Timestamp>) {
        None if tenant.after_push => "after a push".to_owned(),
        None => "on request".to_owned(),
        Some(Ok(at)) if at > now => format!(
            "in {}",
            render_duration(at.duration_since(now).unsigned_abs())
        ),
        Some(_) => "now".to_owned(),
    }
}

/// How long ago a time was; a clock set back makes it nothing rather than a negative.
pub(super) fn age(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => {
            let elapsed = now.duration_since(time);
            let elapsed = elapsed.max(jiff::SignedDuration::ZERO).unsigned_abs();
            render_duration(elapsed)
        }
        Err(_) => time.to_owned(),
    }
}
