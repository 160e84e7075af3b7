//! `coffre verify [TENANT [SNAPSHOT]]`

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use coffre_protocol::error::escape;

use super::watched::Watched;
use super::{Context, Exit, fail, print, print_json, unknown_tenant};
use crate::catalogue::Catalogue;
use crate::config::units::{count, render_size};
use crate::control::facts::{DamageFacts, VerifyFacts};
use crate::snapshot::SnapshotName;
use crate::verify::{self, Damage, Finding, Outcome, Task, Watch};

/// What the command line says.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) tenant: Option<String>,
    pub(super) snapshot: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) restart: bool,
}

/// Works on the store itself, whether a daemon runs or not.
pub(super) fn run(context: &Context, wanted: &Wanted) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let names: Vec<&str> = match &wanted.tenant {
        Some(name) => match config.tenants.iter().any(|t| t.name == *name) {
            true => vec![name],
            false => return fail(unknown_tenant(name, &context.config)),
        },
        None => config.tenants.iter().map(|t| t.name.as_str()).collect(),
    };
    let storage = &config.server.storage;
    let catalogue = match Catalogue::open_beside(storage) {
        Ok(Some(catalogue)) => Some(catalogue),
        Ok(None) => {
            eprintln!("there is no catalogue yet, so a run that is cut off begins anew");
            None
        }
        Err(e) => return fail(e),
    };
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for name in names {
        let home = storage.join(name);
        let only = match wanted.snapshot.as_deref() {
            None => None,
            Some(text) => match super::trees::snapshot(&home, text, &config.server.time_zone) {
                Ok(found) => Some(found),
                Err(why) => return fail(format_args!("tenant \"{name}\": {why}")),
            },
        };
        match one(name, &home, only, wanted, catalogue.as_ref()) {
            Ok(facts) => {
                if !facts.damaged.is_empty() {
                    exit = Exit::Failed;
                }
                if !context.json
                    && let Exit::Failed = print(&text(&facts))
                {
                    return Exit::Failed;
                }
                all.push(facts);
            }
            Err(why) => exit = fail(format_args!("tenant \"{name}\": {why}")),
        }
    }
    if context.json
        && let Exit::Failed = print_json(&all)
    {
        return Exit::Failed;
    }
    exit
}

fn one(
    tenant: &str,
    home: &Path,
    only: Option<SnapshotName>,
    wanted: &Wanted,
    catalogue: Option<&Catalogue>,
) -> Result<VerifyFacts, String> {
    let started = Instant::now();
    let shown = Shown {
        watched: Watched::new(),
        tenant: tenant.to_owned(),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        started,
    };
    let task = Task {
        tenant,
        home,
        only,
        bytes_per_second: wanted.limit,
        restart: wanted.restart,
        catalogue,
        notes: match catalogue {
            Some(catalogue) => catalogue.notes(tenant, home).map_err(|e| e.to_string())?,
            None => None,
        },
    };
    let outcome = verify::verify(&task, &shown);
    shown.watched.end();
    let outcome = outcome.map_err(|e| e.to_string())?;
    let damage = verify::gather(home, &outcome.findings).map_err(|e| e.to_string())?;
    Ok(facts(tenant, only, &outcome, damage, started))
}

struct Shown {
    watched: Watched,
    tenant: String,
    files: AtomicU64,
    bytes: AtomicU64,
    started: Instant,
}

impl Watch for Shown {
    fn advance(&self, files: u64, bytes: u64) {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.watched.show(|| {
            let rate = bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            format!(
                "{}: read {}, {} ({}/s)",
                self.tenant,
                count(files, "file"),
                render_size(bytes),
                render_size(rate as u64)
            )
        });
    }

    fn found(&self, finding: &Finding) {
        self.watched
            .line(&format!("{}: {}", self.tenant, finding.words()));
    }

    fn note(&self, line: &str) {
        self.watched.line(&format!("{}: {line}", self.tenant));
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn facts(
    tenant: &str,
    only: Option<SnapshotName>,
    outcome: &Outcome,
    damage: Vec<Damage>,
    started: Instant,
) -> VerifyFacts {
    let damaged = damage.into_iter().map(|damage| DamageFacts {
        path: escape(&damage.path),
        what: damage.what.to_string(),
        kind: damage.what.kind().to_owned(),
        snapshots: damage.trees,
    });
    VerifyFacts {
        tenant: tenant.to_owned(),
        snapshot: only.map(|name| name.to_string()),
        snapshots: outcome.snapshots,
        live: outcome.live,
        files: outcome.files,
        bytes: outcome.bytes,
        without_sum: outcome.without_sum,
        without_manifest: outcome.without_manifest.clone(),
        resumed: outcome.resumed,
        took_millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        damaged: damaged.collect(),
    }
}

fn text(facts: &VerifyFacts) -> String {
    let tenant = &facts.tenant;
    let mut out = String::new();
    for damage in &facts.damaged {
        let path = match damage.path.as_str() {
            "" => "/",
            path => path,
        };
        out.push_str(&format!("{tenant}: {path}: {}\n", damage.what));
        out.push_str(&format!("    in {}\n", damage.snapshots.join(", ")));
    }
    let trees = match (&facts.snapshot, facts.live) {
        (Some(name), _) => name.clone(),
        (None, true) => format!("{} and live", count(facts.snapshots, "snapshot")),
        (None, false) => count(facts.snapshots, "snapshot"),
    };
    let verdict = match facts.damaged.len() {
        0 => "nothing is damaged".to_owned(),
        n => format!("{} damaged", count(n as u64, "name")),
    };
    out.push_str(&format!(
        "{tenant}: {} ({}) in {trees}, {:.1} s: {verdict}\n",
        count(facts.files, "file"),
        render_size(facts.bytes),
        facts.took_millis as f64 / 1000.0
    ));
    if facts.without_sum > 0 {
        out.push_str(&format!(
            "{tenant}: {} no sum and could only be read; a push with --checksum notes it\n",
            match facts.without_sum {
                1 => "1 file has".to_owned(),
                n => format!("{n} files have"),
            }
        ));
    }
    if !facts.without_manifest.is_empty() {
        out.push_str(&format!(
            "{tenant}: no manifest, so what is missing there is not noticed: {}\n",
            facts.without_manifest.join(", ")
        ));
    }
    out
}
