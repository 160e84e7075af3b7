//! `coffre tenants`

use serde::Serialize;

use super::table::{Align, render};
use super::{Context, Exit, print, print_json};
use crate::config::units::render_duration;
use crate::config::{SnapshotPolicy, Tenant};

#[derive(Serialize)]
struct Facts<'a> {
    name: &'a str,
    port: u16,
    home: String,
    logins: &'a [String],
    restore_login: Option<&'a str>,
    keys: usize,
    snapshots: String,
    prunes: bool,
}

/// Reads the configuration alone: it answers also where no daemon runs.
pub(super) fn run(context: &Context) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let facts: Vec<Facts<'_>> = config
        .tenants
        .iter()
        .map(|tenant| facts(tenant, &config.server.storage))
        .collect();
    if context.json {
        return print_json(&facts);
    }
    let columns = [
        ("TENANT", Align::Left),
        ("PORT", Align::Right),
        ("LOGIN", Align::Left),
        ("RESTORE", Align::Left),
        ("KEYS", Align::Right),
        ("SNAPSHOTS", Align::Left),
        ("HOME", Align::Left),
    ];
    let rows: Vec<Vec<String>> = facts
        .iter()
        .map(|tenant| {
            vec![
                tenant.name.to_owned(),
                tenant.port.to_string(),
                tenant.logins.join(","),
                tenant.restore_login.unwrap_or("-").to_owned(),
                tenant.keys.to_string(),
                tenant.snapshots.clone(),
                tenant.home.clone(),
            ]
        })
        .collect();
    print(&render(&columns, &rows))
}

fn facts<'a>(tenant: &'a Tenant, storage: &std::path::Path) -> Facts<'a> {
    Facts {
        name: &tenant.name,
        port: tenant.port,
        home: storage.join(&tenant.name).display().to_string(),
        logins: &tenant.logins,
        restore_login: tenant.restore_login.as_deref(),
        keys: tenant.keys.len(),
        snapshots: describe(&tenant.snapshots),
        prunes: tenant.keep.is_some(),
    }
}

fn describe(policy: &SnapshotPolicy) -> String {
    let mut parts: Vec<String> = policy
        .at
        .iter()
        .map(|time| match time.second() {
            0 => time.strftime("%H:%M").to_string(),
            _ => time.strftime("%H:%M:%S").to_string(),
        })
        .collect();
    if let Some(cron) = &policy.cron {
        parts.push(format!("cron {cron}"));
    }
    if policy.after_session {
        parts.push(match policy.at_most {
            Some(spacing) => format!("after a push, {} apart", render_duration(spacing)),
            None => "after every push".to_owned(),
        });
    }
    if parts.is_empty() {
        "on request".to_owned()
    } else {
        parts.join("; ")
    }
}
