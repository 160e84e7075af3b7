//! What a plan says of each snapshot, and what rules it refuses.

use super::*;

#[test]
fn every_decision_says_why() {
    let snapshots = [
        complete("2026-11-20T09:30:00Z"),
        complete("2026-11-20T08:30:00Z"),
        complete("2026-11-19T09:30:00Z"),
        complete("2026-10-31T09:30:00Z"),
        complete("2026-10-01T09:30:00Z"),
        candidate(at("2026-11-18T09:30:00Z"), State::Incomplete),
    ];
    let rules = counts(1, 2, 0, 2, 0);
    let plan = plan(
        &snapshots,
        Some(&rules),
        at("2026-11-20T10:00:00Z"),
        &TimeZone::UTC,
    );
    assert_eq!(
        explain(&plan),
        [
            "2026-11-20T093000Z keep: last 1 of 1, daily 1 of 2, monthly 1 of 2, newest complete, \
             newest",
            "2026-11-20T083000Z prune: no rule keeps it",
            "2026-11-19T093000Z keep: daily 2 of 2",
            "2026-11-18T093000Z.incomplete prune: incomplete, and 2026-11-20T093000Z is newer and \
             complete",
            "2026-10-31T093000Z keep: monthly 2 of 2",
            "2026-10-01T093000Z prune: no rule keeps it",
        ]
    );
    assert_eq!(
        plan.to_prune(),
        [
            "2026-10-01T093000Z",
            "2026-11-18T093000Z.incomplete",
            "2026-11-20T083000Z"
        ]
    );
}

#[test]
fn without_rules_everything_stays() {
    let snapshots = [
        complete("2001-01-01T00:00:00Z"),
        complete("2026-01-01T00:00:00Z"),
    ];
    let plan = plan(&snapshots, None, at("1990-01-01T00:00:00Z"), &TimeZone::UTC);
    assert_eq!(
        explain(&plan),
        [
            "2026-01-01T000000Z keep: no keep rules",
            "2001-01-01T000000Z keep: no keep rules"
        ]
    );
    assert_eq!(plan.stop, None);
}

#[test]
fn rules_that_keep_nothing_are_an_error() {
    assert!(Rules::from_counts(Counts::default()).is_err());
    let error = Rules::parse_lines::<&str>(&[]).unwrap_err();
    assert!(
        error.message.contains("every snapshot would be pruned"),
        "{error}"
    );
}
