//! Rules by count: days, weeks, hours, and what a missed one costs.

use super::*;

#[test]
fn ten_years_of_days_leave_exactly_what_the_counts_say() {
    let paris = zone("Europe/Paris");
    let rules = counts(3, 7, 4, 12, 2);
    let first = date(2024, 1, 1);
    let times = daily_at_noon(first, 3653, &paris);
    let store = simulate(&rules, &paris, times);
    // The last day is 2033-12-31, a Saturday.
    assert_eq!(
        days(&store, &paris),
        [
            "2032-12-31",
            "2033-01-31",
            "2033-02-28",
            "2033-03-31",
            "2033-04-30",
            "2033-05-31",
            "2033-06-30",
            "2033-07-31",
            "2033-08-31",
            "2033-09-30",
            "2033-10-31",
            "2033-11-30",
            "2033-12-11",
            "2033-12-18",
            "2033-12-25",
            "2033-12-26",
            "2033-12-27",
            "2033-12-28",
            "2033-12-29",
            "2033-12-30",
            "2033-12-31",
        ]
    );
}

#[test]
fn a_missed_day_or_a_dead_month_uses_up_nothing() {
    let utc = TimeZone::UTC;
    let rules = counts(0, 7, 0, 3, 0);
    let dead = date(2026, 3, 1)..=date(2026, 4, 15);
    let times = daily_at_noon(date(2026, 1, 1), 110, &utc)
        .filter(|time| !dead.contains(&time.to_zoned(utc.clone()).date()));
    let store = simulate(&rules, &utc, times);
    assert_eq!(
        days(&store, &utc),
        [
            "2026-01-31",
            "2026-02-27",
            "2026-02-28",
            "2026-04-16",
            "2026-04-17",
            "2026-04-18",
            "2026-04-19",
            "2026-04-20",
        ]
    );
}

#[test]
fn hours_are_buckets_also_when_the_clock_shows_one_twice() {
    let paris = zone("Europe/Paris");
    let rules = Rules::from_counts(Counts {
        hourly: 4,
        ..Counts::default()
    });
    // 02:00 to 02:59 happens twice: from 00:00Z and from 01:00Z.
    let times = (0..18).map(|i| at("2026-10-24T23:00:00Z") + SignedDuration::from_mins(i * 15));
    let store = simulate(&rules.unwrap(), &paris, times);
    let names: Vec<&str> = store.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "2026-10-25T004500Z",
            "2026-10-25T014500Z",
            "2026-10-25T024500Z",
            "2026-10-25T031500Z"
        ]
    );
}

#[test]
fn days_are_those_of_the_time_zone() {
    let snapshots = [
        complete("2026-11-20T22:30:00Z"),
        complete("2026-11-20T23:30:00Z"),
    ];
    let rules = counts(0, 2, 0, 0, 0);
    let now = at("2026-11-21T00:00:00Z");
    let kept = |time_zone| {
        let plan = plan(&snapshots, Some(&rules), now, &time_zone);
        plan.entries.len() - plan.pruned().len()
    };
    assert_eq!(kept(TimeZone::UTC), 1);
    assert_eq!(kept(zone("Europe/Paris")), 2);
}
