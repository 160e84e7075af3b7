//! Which of a tenant's snapshots go, and their going.
//!
//! [`plan`] asks the disk which snapshots there are, and `retention` which of them stay; the
//! command line prints it for `--dry-run` without a daemon. [`run`] acts on it: oldest first, until
//! it is through, or its time is up, or the server stops. What is left goes next time.
//!
//! [`expiring`] looks ahead: which snapshot would go as soon as there is a new one. That one may
//! become the new one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::{info, warn};

use super::usage::Telling;
use crate::account::Account;
use crate::catalogue::Catalogue;
use crate::config::units::render_duration;
use crate::control::facts::{PlannedFacts, PruneFacts};
use crate::retention::{self, Candidate, Decision, Plan, Rules};
use crate::snapshot::{self, Progress, SnapshotError, SnapshotName, State};
use crate::tenant::TenantHandle;

/// What would be pruned now.
pub fn plan(
    home: &Path,
    rules: Option<&Rules>,
    now: Timestamp,
    time_zone: &TimeZone,
) -> Result<Plan, SnapshotError> {
    let candidates: Vec<Candidate> = ours(home)?.into_iter().map(candidate).collect();
    Ok(retention::plan(&candidates, rules, now, time_zone))
}

fn ours(home: &Path) -> Result<Vec<SnapshotName>, SnapshotError> {
    let found = snapshot::list(home)?.into_iter();
    let ours = found.filter(snapshot::Snapshot::is_ours);
    Ok(ours.map(|found| found.name).collect())
}

fn candidate(name: SnapshotName) -> Candidate {
    Candidate {
        name: name.to_string(),
        time: name.time(),
        state: name.state(),
    }
}

/// The snapshot that may become the one that is taken `now`, because the rules let it go as soon as
/// that one is there; of several the newest, which is likely to differ least.
///
/// Never the newest complete one, nor the newest of all: until the new one stands they are what
/// there is to restore from.
pub(super) fn expiring(
    home: &Path,
    rules: Option<&Rules>,
    now: Timestamp,
    state: State,
    time_zone: &TimeZone,
) -> Result<Option<SnapshotName>, SnapshotError> {
    let (Some(_), Some(coming)) = (rules, SnapshotName::new(now, state)) else {
        return Ok(None);
    };
    let ours = ours(home)?;
    let candidates: Vec<Candidate> = ours
        .iter()
        .copied()
        .chain([coming])
        .map(candidate)
        .collect();
    let plan = retention::plan(&candidates, rules, now, time_zone);
    let going = plan.to_prune();
    let newest_complete = ours.iter().rfind(|name| name.state() == State::Complete);
    let may_go = |name: &&SnapshotName| {
        Some(*name) != newest_complete
            && Some(*name) != ours.last()
            && going.contains(&name.to_string().as_str())
    };
    Ok(ours.iter().rfind(may_go).copied())
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
    pub(super) account: &'a Account,
    pub(super) handle: &'a Arc<TenantHandle>,
}

/// Prunes one tenant. An error about one snapshot ends the run: whatever it is, the next removal
/// would meet it too, and the log tells it once.
pub(super) fn run(
    run: &Run<'_>,
    catalogue: &Catalogue,
    progress: &dyn Progress,
) -> Result<PruneFacts, SnapshotError> {
    let deadline = run.limit.map(|limit| Instant::now() + limit);
    let telling = Telling {
        inner: progress,
        account: run.account,
    };
    let progress: &dyn Progress = &telling;
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
        let Some(_going) = run.handle.let_snapshot_go(name) else {
            facts.ended_early = Some(format!("a restore reads {name}; it goes next time"));
            continue;
        };
        match snapshot::remove(run.home, name, deadline, progress) {
            Ok(removed) => {
                // From here on it is gone under its name, be all of it removed or not.
                if let Err(e) = catalogue.forget_snapshot(run.tenant, name) {
                    warn!(tenant = run.tenant, snapshot = %name, "{e}");
                }
                facts.removed.push(name.to_string());
                info!(tenant = run.tenant, snapshot = %name, files = removed.files, "pruned");
                let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                match removed.finished {
                    true => {}
                    false if late || progress.cancelled() => {
                        facts.ended_early = Some(early_end(run.limit, progress));
                        break;
                    }
                    // Its name is gone; the tree stays for whoever reads it.
                    false => info!(
                        tenant = run.tenant,
                        snapshot = %name,
                        "it is still being read; its space comes free with the next prune"
                    ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::Counts;

    /// A tenant with a snapshot of each time, and what would become the one of `now`.
    fn expiring_of(taken: &[(&str, State)], last: u32, now: &str, state: State) -> Option<String> {
        let storage = tempfile::tempdir().unwrap();
        let home = storage.path().join("web01");
        std::fs::create_dir_all(home.join("live")).unwrap();
        for (when, state) in taken {
            snapshot::take(&home, when.parse().unwrap(), *state, &()).unwrap();
        }
        let counts = Counts {
            last,
            ..Counts::default()
        };
        let rules = Rules::from_counts(counts).unwrap();
        let now = now.parse().unwrap();
        let found = expiring(&home, Some(&rules), now, state, &TimeZone::UTC).unwrap();
        // What there is would not go without the new one.
        let plan = plan(&home, None, now, &TimeZone::UTC).unwrap();
        assert!(plan.to_prune().is_empty());
        found.map(|name| name.to_string())
    }

    const COMPLETE: State = State::Complete;
    const INCOMPLETE: State = State::Incomplete;

    #[test]
    fn what_the_new_snapshot_pushes_out_may_become_it() {
        let days = [
            ("2026-11-20T12:00:00Z", COMPLETE),
            ("2026-11-21T12:00:00Z", COMPLETE),
            ("2026-11-22T12:00:00Z", COMPLETE),
        ];
        let of = |last| expiring_of(&days, last, "2026-11-23T12:00:00Z", COMPLETE);
        assert_eq!(of(3).as_deref(), Some("2026-11-20T120000Z"));
        assert_eq!(of(4), None);
        // Of several, the newest.
        assert_eq!(of(2).as_deref(), Some("2026-11-21T120000Z"));
        // An incomplete one pushes out no complete one.
        let of = |last| expiring_of(&days, last, "2026-11-23T12:00:00Z", INCOMPLETE);
        assert_eq!(of(3), None);
    }

    #[test]
    fn the_last_good_one_is_not_touched_before_there_is_another() {
        let one = [("2026-11-20T12:00:00Z", COMPLETE)];
        assert_eq!(expiring_of(&one, 1, "2026-11-21T12:00:00Z", COMPLETE), None);
        let broken_since = [
            ("2026-11-20T12:00:00Z", COMPLETE),
            ("2026-11-21T12:00:00Z", INCOMPLETE),
        ];
        let of = |state| expiring_of(&broken_since, 1, "2026-11-22T12:00:00Z", state);
        assert_eq!(of(COMPLETE), None);
        assert_eq!(of(INCOMPLETE), None);
    }

    #[test]
    fn nothing_is_taken_from_a_plan_that_stops() {
        let from_the_future = [
            ("2026-11-20T12:00:00Z", COMPLETE),
            ("2026-11-21T12:00:00Z", COMPLETE),
            ("2030-01-01T12:00:00Z", COMPLETE),
        ];
        let now = "2026-11-23T12:00:00Z";
        assert_eq!(expiring_of(&from_the_future, 1, now, COMPLETE), None);
    }

    #[test]
    fn without_rules_nothing_expires() {
        let storage = tempfile::tempdir().unwrap();
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let found = expiring(storage.path(), None, now, COMPLETE, &TimeZone::UTC).unwrap();
        assert_eq!(found, None);
    }
}
