//! `coffre snapshots TENANT`

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::status::age;
use super::table::{Align, render};
use super::{Context, Exit, fail, print, print_json, unknown_tenant};
use crate::config::units::render_size;
use crate::control::facts::SnapshotFacts;
use crate::snapshot::{self, Counter, Origin, SnapshotError};

/// Reads the store itself, whether a daemon runs or not.
pub(super) fn run(context: &Context, tenant: &str) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !config.tenants.iter().any(|t| t.name == tenant) {
        return fail(unknown_tenant(tenant, &context.config));
    }
    let facts = match watched(|counter| measure(&config.server.storage.join(tenant), counter)) {
        Ok(facts) => facts,
        Err(e) => return fail(format_args!("tenant \"{tenant}\": {e}")),
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

/// Oldest first. One that is pruned meanwhile is left out.
fn measure(home: &std::path::Path, counter: &Counter) -> Result<Vec<SnapshotFacts>, SnapshotError> {
    let mut facts = Vec::new();
    for found in snapshot::list(home)? {
        let size = match snapshot::measure(home, &[found.name], counter) {
            Ok(sizes) => sizes.into_iter().next(),
            Err(SnapshotError::Missing(_)) => None,
            Err(e) => return Err(e),
        };
        let Some(size) = size else { continue };
        if let Origin::Foreign(why) = &found.origin {
            eprintln!("{}: not made by coffre, never pruned: {why}", found.name);
        }
        facts.push(SnapshotFacts {
            name: found.name.to_string(),
            state: found.state().to_string(),
            taken: found.time().to_string(),
            files: size.files,
            size_bytes: size.bytes,
            own_bytes: size.own_bytes,
        });
    }
    Ok(facts)
}

/// Runs `work` while a terminal, if stderr is one, is shown how far it has come.
fn watched<T>(work: impl FnOnce(&Counter) -> T) -> T {
    let counter = Counter::default();
    if !std::io::stderr().is_terminal() {
        return work(&counter);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let shower = scope.spawn(|| {
            let mut shown = false;
            loop {
                std::thread::park_timeout(Duration::from_millis(200));
                let mut out = std::io::stderr().lock();
                if done.load(Ordering::Relaxed) {
                    if shown {
                        let _ = write!(out, "\r\x1b[K");
                    }
                    return;
                }
                let _ = write!(out, "\r\x1b[Klooked at {} files", counter.files());
                let _ = out.flush();
                shown = true;
            }
        });
        let result = work(&counter);
        done.store(true, Ordering::Relaxed);
        shower.thread().unpark();
        result
    })
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
