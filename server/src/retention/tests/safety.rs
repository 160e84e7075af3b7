//! When pruning stops, whatever the rules say.

use super::*;

#[test]
fn an_incomplete_snapshot_stays_until_a_newer_complete_one_exists() {
    let rules = counts(0, 2, 0, 0, 0);
    let incomplete = |time: &str| candidate(at(time), State::Incomplete);
    let mut snapshots = vec![
        complete("2026-11-10T10:00:00Z"),
        complete("2026-11-11T10:00:00Z"),
        complete("2026-11-12T10:00:00Z"),
        incomplete("2026-11-13T10:00:00Z"),
        incomplete("2026-11-14T10:00:00Z"),
        incomplete("2026-11-15T10:00:00Z"),
        incomplete("2026-11-15T11:00:00Z"),
    ];
    let judge = |snapshots: &[Candidate]| {
        let now = at("2026-11-16T10:00:00Z");
        explain(&plan(snapshots, Some(&rules), now, &TimeZone::UTC))
    };
    // The rules thin them out among themselves; they take no complete one's place.
    assert_eq!(
        judge(&snapshots),
        [
            "2026-11-15T110000Z.incomplete keep: daily 1 of 2, newest",
            "2026-11-15T100000Z.incomplete prune: no rule keeps it",
            "2026-11-14T100000Z.incomplete keep: daily 2 of 2",
            "2026-11-13T100000Z.incomplete prune: no rule keeps it",
            "2026-11-12T100000Z keep: daily 1 of 2, newest complete",
            "2026-11-11T100000Z keep: daily 2 of 2",
            "2026-11-10T100000Z prune: no rule keeps it",
        ]
    );
    snapshots.push(complete("2026-11-16T09:00:00Z"));
    let judged = judge(&snapshots);
    let superseded = judged
        .iter()
        .filter(|line| line.ends_with("is newer and complete"));
    assert_eq!(superseded.count(), 4, "{judged:#?}");
}

#[test]
fn a_clock_behind_the_newest_snapshot_stops_pruning() {
    let snapshots: Vec<Candidate> = (1..=9)
        .map(|d| complete(&format!("2026-11-0{d}T10:00:00Z")))
        .collect();
    let rules = counts(0, 5, 0, 0, 0);
    let judge = |now| plan(&snapshots, Some(&rules), at(now), &TimeZone::UTC);
    // Two snapshots in one second make the newest a little early.
    assert_eq!(judge("2026-11-09T09:59:00Z").to_prune().len(), 4);
    let stopped = judge("2026-11-09T09:00:00Z");
    assert!(
        matches!(stopped.stop, Some(StopReason::ClockBehind { .. })),
        "{stopped:?}"
    );
    assert_eq!(stopped.to_prune(), [""; 0]);
    assert_eq!(stopped.pruned().len(), 4);
}

#[test]
fn lines_that_name_no_snapshot_at_all_stop_pruning() {
    let snapshots: Vec<Candidate> = (1..=9)
        .map(|d| complete(&format!("2026-11-0{d}T10:00:00Z")))
        .collect();
    let rules = lines(&["+%Y-%m-%d.-0day", "+%Y-%m-%d.-1day"]);
    let stopped = plan(
        &snapshots,
        Some(&rules),
        at("2026-12-24T10:00:00Z"),
        &TimeZone::UTC,
    );
    assert_eq!(stopped.stop, Some(StopReason::RulesKeepNothing { of: 9 }));
    assert_eq!(
        stopped.stop.unwrap().to_string(),
        "the keep rules ask for none of the 9 snapshots there are; nothing pruned"
    );
}

#[test]
fn a_prune_of_more_than_half_after_a_jump_of_the_clock_stops_for_a_week() {
    let rules = lines(&[
        "+%Y-%m-%d.-0day",
        "+%Y-%m-%d.-1day",
        "+%Y-%m-%d.-2day",
        "+%Y-%m-%d.-3day",
    ]);
    let mut snapshots: Vec<Candidate> = (1..=4)
        .map(|d| complete(&format!("2026-11-0{d}T10:00:00Z")))
        .collect();
    let mut judge = |now: &str| {
        snapshots.push(complete(now));
        plan(&snapshots, Some(&rules), at(now), &TimeZone::UTC)
    };
    // The clock is a month ahead for days.
    for day in 4..=9 {
        let plan = judge(&format!("2026-12-0{day}T10:00:00Z"));
        let prunes = plan.pruned().len();
        if prunes * 2 > plan.entries.len() {
            assert!(
                matches!(plan.stop, Some(StopReason::ClockJumped { .. })),
                "{plan:?}"
            );
        }
        assert!(plan.to_prune().len() <= prunes);
        if day == 4 {
            assert_eq!(
                plan.stop.unwrap().to_string(),
                "4 of 5 snapshots would go, and there is nothing between 2026-11-04T10:00:00Z and \
                 2026-12-04T10:00:00Z: the clock may have jumped; nothing pruned"
            );
        }
    }
    let plan = judge("2026-12-12T10:00:00Z");
    assert_eq!(plan.stop, None);
    assert!(plan.to_prune().len() >= 4);
}

#[test]
fn many_prunes_at_once_without_a_jump_are_the_admins_wish() {
    let utc = TimeZone::UTC;
    let times = daily_at_noon(date(2026, 1, 1), 100, &utc);
    let snapshots: Vec<Candidate> = times.map(|t| candidate(t, State::Complete)).collect();
    let now = snapshots.last().unwrap().time;
    let plan = plan(&snapshots, Some(&counts(0, 3, 0, 0, 0)), now, &utc);
    assert_eq!(plan.stop, None);
    assert_eq!(plan.to_prune().len(), 97);
}
