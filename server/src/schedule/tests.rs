use std::time::Duration;

use jiff::civil::{Time, date, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 4] = ["Europe/Paris", "America/New_York", "Pacific/Apia", "UTC"];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(at: &[Time], cron: Option<&str>) -> SnapshotPolicy {
    SnapshotPolicy {
        at: at.to_vec(),
        cron: cron.map(|text| Cron::parse(text).unwrap()),
        after_session: false,
        at_most: None,
        wait: Duration::ZERO,
    }
}

/// All times in `(from, until]`, asked for one after the other.
fn all(
    policy: &SnapshotPolicy,
    zone: &TimeZone,
    from: Timestamp,
    until: Timestamp,
) -> Vec<Timestamp> {
    let mut times = Vec::new();
    let mut now = from;
    while let Some(next) = next_due(policy, None, now, zone).filter(|next| *next <= until) {
        assert!(next > now, "{next} is not after {now}");
        times.push(next);
        now = next;
    }
    times
}

fn texts(times: &[Timestamp], zone: &TimeZone) -> Vec<String> {
    let text = |t: &Timestamp| {
        t.to_zoned(zone.clone())
            .strftime("%m-%d %H:%M %:z")
            .to_string()
    };
    times.iter().map(text).collect()
}

#[test]
fn a_time_of_day_that_is_skipped_counts_when_the_clock_has_jumped() {
    let paris = zone("Europe/Paris");
    let times = policy(&[time(2, 30, 0, 0), time(10, 0, 0, 0)], None);
    let from = at("2026-03-28T12:00:00Z");
    assert_eq!(
        texts(
            &all(&times, &paris, from, at("2026-03-30T12:00:00Z")),
            &paris
        ),
        [
            "03-29 03:30 +02:00",
            "03-29 10:00 +02:00",
            "03-30 02:30 +02:00",
            "03-30 10:00 +02:00"
        ]
    );
}

#[test]
fn a_time_of_day_that_comes_twice_counts_once() {
    let paris = zone("Europe/Paris");
    let times = policy(&[time(2, 30, 0, 0)], None);
    let from = at("2026-10-24T12:00:00Z");
    assert_eq!(
        texts(
            &all(&times, &paris, from, at("2026-10-26T12:00:00Z")),
            &paris
        ),
        ["10-25 02:30 +02:00", "10-26 02:30 +01:00"]
    );
}

#[test]
fn a_day_that_a_zone_leaves_out_is_no_day() {
    // Samoa had no 30 December 2011.
    let apia = zone("Pacific/Apia");
    for schedule in [
        policy(&[time(10, 30, 0, 0)], None),
        policy(&[], Some("30 10 * * *")),
    ] {
        let from = at("2011-12-28T12:00:00Z");
        assert_eq!(
            texts(
                &all(&schedule, &apia, from, at("2012-01-01T12:00:00Z")),
                &apia
            ),
            [
                "12-28 10:30 -10:00",
                "12-29 10:30 -10:00",
                "12-31 10:30 +14:00",
                "01-01 10:30 +14:00"
            ]
        );
    }
}

#[test]
fn a_cron_list_of_hours_runs_by_the_wall_clock() {
    let paris = zone("Europe/Paris");
    let cron = policy(&[], Some("15,45 2,3 * * *"));
    let spring = all(
        &cron,
        &paris,
        at("2026-03-28T12:00:00Z"),
        at("2026-03-29T12:00:00Z"),
    );
    // 02:15 and 02:45 are skipped, and fall on 03:15 and 03:45.
    assert_eq!(
        texts(&spring, &paris),
        ["03-29 03:15 +02:00", "03-29 03:45 +02:00"]
    );
    let autumn = all(
        &cron,
        &paris,
        at("2026-10-24T12:00:00Z"),
        at("2026-10-25T12:00:00Z"),
    );
    assert_eq!(
        texts(&autumn, &paris),
        [
            "10-25 02:15 +02:00",
            "10-25 02:45 +02:00",
            "10-25 03:15 +01:00",
            "10-25 03:45 +01:00"
        ]
    );
}

#[test]
fn a_cron_of_every_hour_runs_by_the_time_line() {
    for name in ZONES {
        let zone = zone(name);
        let cron = policy(&[], Some("0 * * * *"));
        let from = at("2026-01-01T00:00:00Z");
        let times = all(&cron, &zone, from, at("2027-01-01T00:00:00Z"));
        assert_eq!(times.len(), 365 * 24, "{name}");
    }
}

#[test]
fn an_hour_that_comes_twice_is_two_hours_to_a_cron_of_every_hour() {
    let paris = zone("Europe/Paris");
    let cron = policy(&[], Some("*/30 * * * *"));
    let autumn = all(
        &cron,
        &paris,
        at("2026-10-24T23:45:00Z"),
        at("2026-10-25T02:00:00Z"),
    );
    assert_eq!(
        texts(&autumn, &paris),
        [
            "10-25 02:00 +02:00",
            "10-25 02:30 +02:00",
            "10-25 02:00 +01:00",
            "10-25 02:30 +01:00",
            "10-25 03:00 +01:00",
        ]
    );
    let latest = Cron::parse("0 * * * *")
        .unwrap()
        .latest(at("2026-10-25T00:59:59.9Z"), &paris);
    assert_eq!(latest, Some(at("2026-10-25T00:00:00Z")));
}

#[test]
fn ten_years_of_a_daily_time_are_as_many_as_their_days() {
    for name in ZONES {
        let zone = zone(name);
        for schedule in [
            policy(&[time(2, 30, 0, 0)], None),
            policy(&[], Some("30 2 * * *")),
        ] {
            let midnight = |day: jiff::civil::Date| day.to_zoned(zone.clone()).unwrap().timestamp();
            let times = all(
                &schedule,
                &zone,
                midnight(date(2020, 1, 1)),
                midnight(date(2030, 1, 1)),
            );
            assert_eq!(times.len(), 3653, "{name}");
            let days = times.iter().map(|t| t.to_zoned(zone.clone()).date());
            assert!(
                days.eq(date(2020, 1, 1).series(1.day()).take(3653)),
                "{name}"
            );
        }
    }
}

#[test]
fn missed_times_are_caught_up_once() {
    let paris = zone("Europe/Paris");
    let times = policy(&[time(10, 30, 0, 0), time(22, 30, 0, 0)], Some("0 4 * * 1"));
    let mark = at("2026-11-01T09:30:00Z");
    let now = at("2026-11-20T12:00:00Z");
    // Of all that were missed, the latest: one snapshot now.
    let due = is_due(&times, Some(mark), now, &paris);
    assert_eq!(due, Some(at("2026-11-20T09:30:00Z")));
    assert_eq!(next_due(&times, Some(mark), now, &paris), due);
    // And that was it.
    assert_eq!(is_due(&times, Some(now), now, &paris), None);
    assert_eq!(
        next_due(&times, Some(now), now, &paris),
        Some(at("2026-11-20T21:30:00Z"))
    );
}

#[test]
fn a_new_tenant_has_missed_nothing() {
    let times = policy(&[time(10, 30, 0, 0)], None);
    let now = at("2026-11-20T12:00:00Z");
    assert_eq!(is_due(&times, None, now, &TimeZone::UTC), None);
    assert_eq!(
        next_due(&times, None, now, &TimeZone::UTC),
        Some(at("2026-11-21T10:30:00Z"))
    );
    assert_eq!(
        next_due(&policy(&[], None), None, now, &TimeZone::UTC),
        None
    );
    assert_eq!(
        is_due(&policy(&[], None), Some(now), now, &TimeZone::UTC),
        None
    );
}

#[test]
fn a_time_is_due_from_its_very_moment_on() {
    let times = policy(&[time(10, 30, 0, 0)], Some("30 10 * * *"));
    let mark = Some(at("2026-11-20T00:00:00Z"));
    let utc = TimeZone::UTC;
    assert_eq!(
        is_due(&times, mark, at("2026-11-20T10:29:59.999Z"), &utc),
        None
    );
    let due = Some(at("2026-11-20T10:30:00Z"));
    assert_eq!(is_due(&times, mark, at("2026-11-20T10:30:00Z"), &utc), due);
    assert_eq!(
        is_due(&times, mark, at("2026-11-20T10:30:00.5Z"), &utc),
        due
    );
}

#[test]
fn a_clock_set_back_does_nothing_twice() {
    let times = policy(&[time(10, 30, 0, 0)], None);
    let mark = at("2026-11-20T10:30:05Z");
    let now = at("2026-11-20T09:00:00Z");
    assert_eq!(believable(mark, now), mark);
    assert_eq!(is_due(&times, Some(mark), now, &TimeZone::UTC), None);
    let tomorrow = Some(at("2026-11-21T10:30:00Z"));
    assert_eq!(next_due(&times, Some(mark), now, &TimeZone::UTC), tomorrow);
}

#[test]
fn a_mark_from_a_clock_that_was_years_ahead_is_given_up() {
    let now = at("2026-11-20T09:00:00Z");
    assert_eq!(believable(at("2036-11-20T09:00:00Z"), now), now);
    assert_eq!(
        believable(at("2026-11-20T20:00:00Z"), now),
        at("2026-11-20T20:00:00Z")
    );
    assert_eq!(
        believable(at("2006-11-20T20:00:00Z"), now),
        at("2006-11-20T20:00:00Z")
    );
}

#[test]
fn a_push_is_followed_by_a_snapshot_but_not_too_often() {
    let hour = Duration::from_secs(3600);
    let after = SnapshotPolicy {
        after_session: true,
        at_most: Some(hour),
        ..policy(&[], None)
    };
    let ended = at("2026-11-20T10:00:00Z");
    let due =
        |last: Option<&str>| after_push(&after, ended, last.map(at), at("2026-11-20T10:00:01Z"));
    assert_eq!(due(None), Some(ended));
    assert_eq!(due(Some("2026-11-20T08:00:00Z")), Some(ended));
    assert_eq!(
        due(Some("2026-11-20T09:30:00Z")),
        Some(at("2026-11-20T10:30:00Z"))
    );
    assert_eq!(due(Some("2026-11-20T10:00:00Z")), None);
    // Taken under a wrong clock.
    assert_eq!(due(Some("2036-01-01T00:00:00Z")), Some(ended));
    assert_eq!(after_push(&policy(&[], None), ended, None, ended), None);
}

#[test]
fn a_bad_expression_says_what_is_wrong() {
    let cases = [
        ("", "has 0 fields, not 5"),
        ("30 10 * *", "has 4 fields, not 5"),
        ("0 30 10 * * *", "has 6 fields, not 5"),
        ("@reboot", "is no known nickname"),
        ("60 10 * * *", "cannot be read: "),
        ("x 10 * * *", "cannot be read: "),
        ("0 0 30 2 *", "names a day that never comes"),
    ];
    for (text, message) in cases {
        let error = Cron::parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cron expression \"{text}\" ")),
            "{error}"
        );
        assert!(error.contains(message), "{error}");
        assert!(!error.ends_with('.'), "{error}");
    }
}

#[test]
fn nicknames_and_rare_days_are_known() {
    let utc = TimeZone::UTC;
    let next = |text: &str| {
        Cron::parse(text)
            .unwrap()
            .next(at("2026-11-20T09:30:00Z"), &utc)
            .unwrap()
            .to_string()
    };
    assert_eq!(next("@hourly"), "2026-11-20T10:00:00Z");
    assert_eq!(next("@daily"), "2026-11-21T00:00:00Z");
    assert_eq!(next("@weekly"), "2026-11-22T00:00:00Z");
    assert_eq!(next("@yearly"), "2027-01-01T00:00:00Z");
    assert_eq!(next("0 12 29 2 *"), "2028-02-29T12:00:00Z");
    assert_eq!(next("0 12 L * *"), "2026-11-30T12:00:00Z");
    assert_eq!(next("*/20 9 * * MON-FRI"), "2026-11-20T09:40:00Z");
}

fn any_policy() -> impl Strategy<Value = SnapshotPolicy> {
    let times = prop::collection::vec(
        (0..24_i8, 0..60_i8).prop_map(|(h, m)| time(h, m, 0, 0)),
        0..4,
    );
    let crons = [
        "*/20 * * * *",
        "0 * * * *",
        "30 2 * * *",
        "0,30 1-3 * * *",
        "15 */6 * * *",
        "0 12 1 * *",
    ];
    (
        times,
        prop::option::of(prop::sample::select(crons.to_vec())),
    )
        .prop_map(|(times, cron)| policy(&times, cron))
}

/// Moments near changes of the clock, where it is hard, and anywhere else.
fn any_moment() -> impl Strategy<Value = Timestamp> {
    let hard = prop::sample::select(vec![
        "2026-03-29T01:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-11-01T06:00:00Z",
        "2011-12-30T10:00:00Z",
        "2020-09-26T14:00:00Z",
    ]);
    let near =
        (hard, -200_000..200_000_i64).prop_map(|(t, s)| at(t) + SignedDuration::from_secs(s));
    let anywhere =
        (1_200_000_000..1_900_000_000_i64).prop_map(|s| Timestamp::from_second(s).unwrap());
    prop_oneof![near, anywhere]
}

proptest! {
    #[test]
    fn looking_back_finds_what_looking_ahead_found(
        policy in any_policy(),
        zone in prop::sample::select(ZONES.to_vec()).prop_map(zone),
        from in any_moment(),
    ) {
        let until = from + SignedDuration::from_hours(60);
        let ahead = all(&policy, &zone, from, until);
        let mut back = Vec::new();
        let mut now = until;
        while let Some(due) = is_due(&policy, Some(from), now, &zone) {
            prop_assert!(due <= now);
            back.push(due);
            now = due - SignedDuration::from_nanos(1);
        }
        back.reverse();
        prop_assert_eq!(ahead, back);
    }

    #[test]
    fn a_daemon_that_ticks_down_and_up_again_loses_and_doubles_nothing(
        policy in any_policy(),
        zone in prop::sample::select(ZONES.to_vec()).prop_map(zone),
        start in any_moment(),
        // Seconds until the next tick; a negative one is a clock set back.
        ticks in prop::collection::vec(-7_000..30_000_i64, 1..60),
    ) {
        let mut mark = start;
        let mut now = start;
        let mut latest = start;
        let mut done = Vec::new();
        for tick in ticks {
            now += SignedDuration::from_secs(tick);
            latest = latest.max(now);
            mark = believable(mark, now);
            if let Some(due) = is_due(&policy, Some(mark), now, &zone) {
                prop_assert!(due > mark && due <= now);
                done.push(due);
                mark = now;
            }
        }
        prop_assert!(done.is_sorted_by(|a, b| a < b), "doubled: {:?}", done);
        // Whatever fell due is covered by a snapshot taken at or after it.
        let scheduled = all(&policy, &zone, start, latest);
        if let Some(last) = scheduled.last() {
            prop_assert_eq!(is_due(&policy, Some(mark), latest, &zone).is_some(), mark < *last);
        } else {
            prop_assert!(done.is_empty());
        }
    }
}
