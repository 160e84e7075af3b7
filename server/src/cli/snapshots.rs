//! `coffre snapshots TENANT`

use jiff::Timestamp;

use super::ask::{ask, misunderstood};
use super::status::age;
use super::table::{Align, render};
use super::{Context, Exit, fail, print, print_json, unknown_tenant};
use crate::config::units::render_size;
use crate::control::facts::SnapshotFacts;
use crate::control::{Answer, Request};

pub(super) fn run(context: &Context, tenant: &str) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !config.tenants.iter().any(|t| t.name == tenant) {
        return fail(unknown_tenant(tenant, &context.config));
    }
    let request = Request::Snapshots {
        tenant: tenant.to_owned(),
    };
    let facts = match ask(context, &config, &request) {
        Ok(Answer::Snapshots(facts)) => facts,
        Ok(_) => return misunderstood(),
        Err(exit) => return exit,
    };
    if context.json {
        return print_json(&facts);
    }
    if facts.is_empty() {
        eprintln!("no snapshots yet");
        return Exit::Done;
    }
    print(&table(&facts, Timestamp::now()))
}

fn table(facts: &[SnapshotFacts], now: Timestamp) -> String {
    let columns = [
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("FILES", Align::Right),
        ("SIZE", Align::Right),
        ("OWN", Align::Right),
        ("AGE", Align::Right),
    ];
    let rows: Vec<Vec<String>> = facts
        .iter()
        .map(|snapshot| {
            vec![
                snapshot.name.clone(),
                snapshot.state.clone(),
                snapshot.files.to_string(),
                render_size(snapshot.size_bytes),
                render_size(snapshot.own_bytes),
                age(&snapshot.taken, now),
            ]
        })
        .collect();
    render(&columns, &rows)
}
