//! `coffre restore TENANT SNAPSHOT PATH TO`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::watched::Watched;
use super::{Context, Exit, fail, print_json, unknown_tenant};
use crate::config::units::{count, render_size};
use crate::control::facts::RestoreFacts;
use crate::restore::{self, Outcome, RestoreError, Task, Watch};

/// What the command line says.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) tenant: String,
    pub(super) snapshot: String,
    pub(super) path: OsString,
    pub(super) to: PathBuf,
    pub(super) overwrite: bool,
}

/// Works on the store itself, whether a daemon runs or not.
pub(super) fn run(context: &Context, wanted: &Wanted) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let tenant = &wanted.tenant;
    if !config.tenants.iter().any(|t| t.name == *tenant) {
        return fail(unknown_tenant(tenant, &context.config));
    }
    let home = config.server.storage.join(tenant);
    let tree = match super::trees::tree(&home, &wanted.snapshot, &config.server.time_zone) {
        Ok(tree) => tree,
        Err(why) => return fail(format_args!("tenant \"{tenant}\": {why}")),
    };
    let directory = tree.path(&home);
    // Nobody makes it into another snapshot meanwhile.
    let held = tree.hold(&home);
    if let Err(e) = &held {
        return fail(format_args!("tenant \"{tenant}\": {e}"));
    }
    let to = std::path::absolute(&wanted.to).unwrap_or_else(|_| wanted.to.clone());
    if to.starts_with(&config.server.storage) {
        return fail(format_args!(
            "{} is in the store itself; restore to a place outside {}",
            wanted.to.display(),
            config.server.storage.display()
        ));
    }
    let shown = Shown {
        watched: Watched::new(),
        entries: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let started = Instant::now();
    let task = Task {
        home: &home,
        tree: &directory,
        path: wanted.path.as_bytes(),
        to: &wanted.to,
        overwrite: wanted.overwrite,
        form: super::form(&config),
    };
    let outcome = restore::restore(&task, &shown);
    shown.watched.end();
    drop(held);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(e @ (RestoreError::Missing(_) | RestoreError::Symlink(_))) => {
            return fail(format_args!("tenant \"{tenant}\", {tree}: {e}"));
        }
        Err(e) => return fail(e),
    };
    let facts = facts(&wanted.tenant, &tree.to_string(), &outcome, started);
    let printed = match context.json {
        true => print_json(&facts),
        false => {
            eprintln!("{}", text(&facts));
            Exit::Done
        }
    };
    if outcome.without_owners {
        eprintln!("coffre: not root, so owners were left as they are here");
    }
    match outcome.problems {
        0 => printed,
        n => fail(format_args!(
            "{} could not be restored as stored",
            count(n, "thing")
        )),
    }
}

struct Shown {
    watched: Watched,
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Watch for Shown {
    fn advance(&self, entries: u64, bytes: u64) {
        let entries = self.entries.fetch_add(entries, Ordering::Relaxed) + entries;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.watched.show(|| {
            let entries = match entries {
                1 => "1 entry".to_owned(),
                n => format!("{n} entries"),
            };
            format!("restored {entries}, {}", render_size(bytes))
        });
    }

    fn problem(&self, sentence: &str) {
        self.watched.line(sentence);
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn facts(tenant: &str, tree: &str, outcome: &Outcome, started: Instant) -> RestoreFacts {
    RestoreFacts {
        tenant: tenant.to_owned(),
        snapshot: tree.to_owned(),
        files: outcome.files,
        directories: outcome.directories,
        others: outcome.others,
        links: outcome.links,
        bytes: outcome.bytes,
        problems: outcome.problems,
        took_millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn text(facts: &RestoreFacts) -> String {
    let mut out = format!("restored {}", count(facts.files, "file"));
    if facts.links > 0 {
        out.push_str(&format!(" ({} more of them)", count(facts.links, "name")));
    }
    if facts.others > 0 {
        out.push_str(&format!(", {}", count(facts.others, "other entry")));
    }
    out.push_str(&format!(
        " in {}, {}, {:.1} s, from {}",
        count(facts.directories, "directory"),
        render_size(facts.bytes),
        facts.took_millis as f64 / 1000.0,
        facts.snapshot
    ));
    out
}
