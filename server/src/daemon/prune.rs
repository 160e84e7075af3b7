//! Which of a tenant's snapshots go, and their going.
//!
//! [`plan`] asks the disk which snapshots there are, and `retention` which of them stay; the
//! command line prints it for `--dry-run` without a daemon. [`run`] acts on it: oldest first, until
//! it is through, or its time is up, or the server stops. What is left goes next time.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::{info, warn};

use crate::catalogue::Catalogue;
use crate::config::units::render_duration;
use crate::control::facts::{PlannedFacts, PruneFacts};
use crate::retention::{self, Candidate, Decision, Plan, Rules};
use crate::snapshot::{self, Progress, SnapshotError, SnapshotName};

/// What would be pruned now.
pub fn plan(
    home: &Path,
    rules: Option<&Rules>,
    now: Timestamp,
    time_zone: &TimeZone,
) -> Result<Plan, SnapshotError> {
    let candidates: Vec<Candidate> = snapshot::list(home)?
        .into_iter()
        .filter(snapshot::Snapshot::is_ours)
        .map(|found| Candidate {
            name: found.name.to_string(),
            time: found.time(),
            state: found.state(),
        })
        .collect();
    Ok(retention::plan(&candidates, rules, now, time_zone))
}

/// The plan as it is printed.
pub fn facts(tenant: &str, plan: &Plan) -> PruneFacts {
    let planned = |(name, decision): &(String, Decision)| {
        let keep = matches!(decision, Decision::Keep(_));
        let text = decision.to_string();
        let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
        PlannedFacts {
            name: name.clone(),
            keep,
            why: why.to_owned(),
        }
    };
    PruneFacts {
        tenant: tenant.to_owned(),
        plan: plan.entries.iter().map(planned).collect(),
        stop: plan.stop.as_ref().map(ToString::to_string),
        removed: Vec::new(),
        ended_early: None,
    }
}

/// What a run needs to know.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) tenant: &'a str,
    pub(super) home: &'a Path,
    pub(super) rules: Option<&'a Rules>,
    pub(super) limit: Option<Duration>,
    pub(super) time_zone: &'a TimeZone,
}

/// Prunes one tenant. An error about one snapshot ends the run: whatever it is, the next removal
/// would meet it too, and the log tells it once.
pub(super) fn run(
    run: &Run<'_>,
    catalogue: &Catalogue,
    progress: &dyn Progress,
) -> Result<PruneFacts, SnapshotError> {
    let deadline = run.limit.map(|limit| Instant::now() + limit);
    // What an earlier run has begun and not finished comes first: it is hidden already.
    snapshot::sweep_removals(run.home, deadline, progress)?;
    let plan = plan(run.home, run.rules, Timestamp::now(), run.time_zone)?;
    let mut facts = facts(run.tenant, &plan);
    if let Some(stop) = &plan.stop {
        warn!(tenant = run.tenant, "{stop}");
        return Ok(facts);
    }
    for name in plan.to_prune() {
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late || progress.cancelled() {
            facts.ended_early = Some(early_end(run.limit, progress));
            break;
        }
        let name: SnapshotName = match name.parse() {
            Ok(name) => name,
            // The plan holds the names that it was given.
            Err(_) => continue,
        };
        match snapshot::remove(run.home, name, deadline, progress) {
            Ok(removed) => {
                // From here on it is gone under its name, be all of it removed or not.
                if let Err(e) = catalogue.forget_snapshot(run.tenant, name) {
                    warn!(tenant = run.tenant, snapshot = %name, "{e}");
                }
                facts.removed.push(name.to_string());
                info!(tenant = run.tenant, snapshot = %name, files = removed.files, "pruned");
                if !removed.finished {
                    facts.ended_early = Some(early_end(run.limit, progress));
                    break;
                }
            }
            Err(e) => {
                facts.ended_early = Some(e.to_string());
                break;
            }
        }
    }
    if let Some(why) = &facts.ended_early {
        warn!(tenant = run.tenant, "pruning ended early: {why}");
    }
    Ok(facts)
}

fn early_end(limit: Option<Duration>, progress: &dyn Progress) -> String {
    match limit {
        Some(limit) if !progress.cancelled() => format!(
            "the limit of {} is reached; the rest goes next time",
            render_duration(limit)
        ),
        _ => "the server stops; the rest goes next time".to_owned(),
    }
}
