use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::*;
use crate::snapshot::{SnapshotName, State};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn candidate(time: Timestamp, state: State) -> Candidate {
    let name = SnapshotName::new(time, state).unwrap();
    Candidate {
        name: name.to_string(),
        time: name.time(),
        state,
    }
}

fn complete(time: &str) -> Candidate {
    candidate(at(time), State::Complete)
}

fn lines(texts: &[&str]) -> Rules {
    Rules::parse_lines(texts).unwrap()
}

fn counts(last: u32, daily: u32, weekly: u32, monthly: u32, yearly: u32) -> Rules {
    Rules::from_counts(Counts {
        last,
        hourly: 0,
        daily,
        weekly,
        monthly,
        yearly,
    })
    .unwrap()
}

fn explain(plan: &Plan) -> Vec<String> {
    let line = |(name, decision): &(String, Decision)| format!("{name} {decision}");
    plan.entries.iter().map(line).collect()
}

/// A store that takes a snapshot and prunes, at each of `times`.
fn simulate(
    rules: &Rules,
    time_zone: &TimeZone,
    times: impl Iterator<Item = Timestamp>,
) -> Vec<Candidate> {
    let mut store: Vec<Candidate> = Vec::new();
    for now in times {
        store.push(candidate(now, State::Complete));
        let plan = plan(&store, Some(rules), now, time_zone);
        assert_eq!(plan.stop, None, "{now}");
        let pruned = plan.to_prune();
        store.retain(|c| !pruned.contains(&c.name.as_str()));
    }
    store
}

fn daily_at_noon(from: Date, days: usize, time_zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    let noon = |day: Date| {
        day.at(12, 0, 0, 0)
            .to_zoned(time_zone.clone())
            .unwrap()
            .timestamp()
    };
    from.series(1.day()).take(days).map(noon)
}

fn days(store: &[Candidate], time_zone: &TimeZone) -> Vec<String> {
    let day = |c: &Candidate| c.time.to_zoned(time_zone.clone()).date().to_string();
    store.iter().map(day).collect()
}

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

#[test]
fn lines_mean_what_they_mean_to_evobackup() {
    // The reference is `date --date "$(date +PATTERN) OFFSET" +%F` of GNU coreutils.
    let cases = [
        ("2026-11-20", "+%Y-%m-%d.-0day", "2026-11-20"),
        ("2026-11-20", "+%Y-%m-%d.-3day", "2026-11-17"),
        ("2026-11-20", "+%Y-%m-%d.-1week", "2026-11-13"),
        ("2026-11-20", "+%Y-%m-%d.-2 weeks", "2026-11-06"),
        ("2026-11-20", "+%Y-%m-%d.3 days ago", "2026-11-17"),
        ("2026-11-20", "+%Y-%m-01.-0month", "2026-11-01"),
        ("2026-11-20", "+%Y-%m-01.-1month", "2026-10-01"),
        ("2026-01-20", "+%Y-%m-01.-1month", "2025-12-01"),
        ("2026-11-20", "+%Y-%m-01.-12month", "2025-11-01"),
        ("2026-11-20", "+%Y-01-01.-0year", "2026-01-01"),
        ("2026-11-20", "+%Y-01-01.-1year", "2025-01-01"),
        ("2026-11-20", "+%Y-%m-15.-1month -1day", "2026-10-14"),
        ("2026-11-20", "+%F.-1day", "2026-11-19"),
        ("2026-11-20", "+%Y%m%d.-1day", "2026-11-19"),
        ("2026-11-20", "+%Y/%-m/%e.-1day", "2026-11-19"),
        ("2026-11-20", "+%Y-%m-%d.+1day", "2026-11-21"),
        // A day that the month does not have runs over into the next.
        ("2026-03-31", "+%Y-%m-%d.-1month", "2026-03-03"),
        ("2028-03-31", "+%Y-%m-%d.-1month", "2028-03-02"),
        ("2026-12-31", "+%Y-%m-%d.-1month", "2026-12-01"),
        ("2028-02-29", "+%Y-%m-%d.-1year", "2027-03-01"),
        ("2026-05-31", "+%Y-%m-%d.-1month -1day", "2026-04-30"),
    ];
    for (today, text, wanted) in cases {
        let line = Line::parse(0, text).unwrap();
        let day = line.day(today.parse().unwrap()).unwrap();
        assert_eq!(day.to_string(), wanted, "{text} on {today}");
    }
}

#[test]
fn lines_agree_with_date_1_on_every_day_of_two_years() {
    let texts = [
        "+%Y-%m-%d.-1month",
        "+%Y-%m-%d.-1year -1day",
        "+%Y-%m-01.-2week",
        "+%Y-12-31.-3month",
    ];
    let today = date(2027, 1, 1);
    let days: Vec<Date> = today.series(1.day()).take(731).collect();
    for text in texts {
        let line = Line::parse(0, text).unwrap();
        let (pattern, offset) = text[1..].split_once('.').unwrap();
        let asked: String = days
            .iter()
            .map(|day| format!("{} {offset}\n", day.strftime(pattern)))
            .collect();
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("days");
        std::fs::write(&file, asked).unwrap();
        let output = std::process::Command::new("date")
            .args(["-u", "+%F", "-f"])
            .arg(&file)
            .env("LC_ALL", "C")
            .output();
        let Ok(output) = output else {
            return eprintln!("skipped: no date(1)");
        };
        if !output.status.success() {
            return eprintln!("skipped: date(1) is not that of GNU");
        }
        let ours: Vec<String> = days
            .iter()
            .map(|d| line.day(*d).unwrap().to_string())
            .collect();
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(ours, theirs.lines().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn a_bad_line_says_what_is_wrong_and_where() {
    let cases = [
        ("", 1, "empty keep line"),
        ("%Y-%m-%d.-1day", 1, "must start with \"+\""),
        (
            "+%Y-%m-%d",
            10,
            "has no offset; for today, write \"+%Y-%m-%d.-0day\"",
        ),
        ("+%Y-%m-%d.", 11, "the offset is missing"),
        ("+%Y-%m-%d.-1dya", 13, "\"dya\" is no unit"),
        ("+%Y-%m-%d.-1hour", 13, "\"hour\" is no unit"),
        ("+%Y-%m-%d.-1", 13, "\"\" is no unit"),
        ("+%Y-%m-%d.-day", 11, "is not like \"-1day\""),
        ("+%Y-%m-%d.-1day.", 16, "is not like"),
        ("+%Y-%m-%d.yesterday", 11, "is not like"),
        ("+%Y-%m-%d.-101year", 11, "reaches farther than 100 years"),
        (
            "+%Y-%m-%d.-99999999999day",
            11,
            "reaches farther than 100 years",
        ),
        (
            "+%Y-%m-31.-1month",
            2,
            "gives \"2027-02-31\" on 2027-02-01, which is no date",
        ),
        (
            "+%Y-02-%d.-1month",
            2,
            "gives \"2027-02-29\" on 2027-01-29, which is no date",
        ),
        (
            "+%Y.-1month",
            2,
            "gives \"2027\" on 2027-01-01, which is no date",
        ),
        (
            "+hello.-1day",
            2,
            "gives \"hello\" on 2027-01-01, which is no date",
        ),
        ("+%Y-W%V.-1day", 6, "\"%V\" cannot be part of a day"),
        ("+é%q.-1day", 3, "\"%q\" cannot be part of a day"),
        ("+%Y-%m-%.-1day", 8, "\"%\" stands alone"),
    ];
    for (text, column, message) in cases {
        let error = Rules::parse_lines(&["+%Y-%m-%d.-0day", text]).unwrap_err();
        assert!(error.message.contains(message), "{text:?}: {error}");
        assert_eq!(
            (error.index, error.column),
            (1, column),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn evobackups_default_lines_keep_four_days_and_two_firsts() {
    let paris = zone("Europe/Paris");
    let rules = lines(&[
        "+%Y-%m-%d.-0day",
        "+%Y-%m-%d.-1day",
        "+%Y-%m-%d.-2day",
        "+%Y-%m-%d.-3day",
        "+%Y-%m-01.-0month",
        "+%Y-%m-01.-1month",
    ]);
    assert_eq!(rules.holes(), []);
    let times = daily_at_noon(date(2016, 1, 1), 3657, &paris);
    let store = simulate(&rules, &paris, times);
    assert_eq!(
        days(&store, &paris),
        [
            "2025-12-01",
            "2026-01-01",
            "2026-01-02",
            "2026-01-03",
            "2026-01-04"
        ]
    );
}

#[test]
fn all_snapshots_of_a_day_that_a_line_names_are_kept() {
    let snapshots = [
        complete("2026-11-20T02:00:00Z"),
        complete("2026-11-20T10:00:00Z"),
        complete("2026-11-19T10:00:00Z"),
    ];
    let rules = lines(&["+%Y-%m-%d.-0day"]);
    let plan = plan(
        &snapshots,
        Some(&rules),
        at("2026-11-20T11:00:00Z"),
        &TimeZone::UTC,
    );
    assert_eq!(plan.to_prune(), ["2026-11-19T100000Z"]);
    assert_eq!(
        explain(&plan)[1],
        "2026-11-20T020000Z keep: \"+%Y-%m-%d.-0day\" is 2026-11-20"
    );
}

#[test]
fn a_line_whose_copy_is_gone_by_then_is_a_hole() {
    let holes = lines(&["+%Y-%m-%d.-0day", "+%Y-%m-%d.-1day", "+%Y-%m-01.-1month"]).holes();
    assert_eq!(holes.len(), 1, "{holes:?}");
    assert_eq!(holes[0].index, 2);
    assert_eq!(
        holes[0].to_string(),
        "keep line \"+%Y-%m-01.-1month\" will never find its snapshot: on 2027-02-01 it asks for \
         the one of 2027-01-01, which no line kept on 2027-01-03; add a line that keeps it in \
         between"
    );

    let days = |n: u32| -> Vec<String> { (0..=n).map(|i| format!("+%Y-%m-%d.-{i}day")).collect() };
    // Thirty days close it, but for the longest months.
    let mut texts = days(29);
    texts.push("+%Y-%m-01.-1month".into());
    let holes = Rules::parse_lines(&texts).unwrap().holes();
    assert!(
        matches!(
            holes.as_slice(),
            [Hole {
                index: 30,
                kind: HoleKind::Pruned { always: false, .. },
                ..
            }]
        ),
        "{holes:?}"
    );
    texts.push("+%Y-%m-01.-0month".into());
    assert_eq!(Rules::parse_lines(&texts).unwrap().holes(), []);
}

#[test]
fn a_line_that_names_only_the_future_is_a_hole() {
    let holes = lines(&["+%Y-%m-%d.-0day", "+%Y-%m-%d.+1day"]).holes();
    assert_eq!(holes.len(), 1);
    assert_eq!(holes[0].kind, HoleKind::NeverMatches);
    assert_eq!(counts(1, 1, 1, 1, 1).holes(), []);
}

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

fn any_rules() -> impl Strategy<Value = Rules> {
    let by_count = (0..4_u32, 0..4_u32, 0..4_u32, 0..4_u32, 0..3_u32).prop_filter_map(
        "keeps nothing",
        |(last, daily, weekly, monthly, yearly)| {
            Rules::from_counts(Counts {
                last,
                hourly: 0,
                daily,
                weekly,
                monthly,
                yearly,
            })
            .ok()
        },
    );
    let line = (0..3, 0..40).prop_map(|(kind, n)| match kind {
        0 => format!("+%Y-%m-%d.-{n}day"),
        1 => format!("+%Y-%m-01.-{n}month"),
        _ => format!("+%Y-01-01.-{}year", n % 5),
    });
    let by_line = prop::collection::vec(line, 1..8).prop_map(|l| Rules::parse_lines(&l).unwrap());
    prop_oneof![by_count, by_line]
}

fn any_snapshots() -> impl Strategy<Value = Vec<Candidate>> {
    // Within three years, so that rules and snapshots meet.
    let one = (1_700_000_000..1_800_000_000_i64, prop::bool::weighted(0.2));
    prop::collection::btree_map(
        one.prop_map(|(t, _)| t / 7 * 7),
        prop::bool::weighted(0.2),
        0..60,
    )
    .prop_map(|times| {
        let of = |(t, incomplete): (i64, bool)| {
            let state = if incomplete {
                State::Incomplete
            } else {
                State::Complete
            };
            candidate(Timestamp::from_second(t).unwrap(), state)
        };
        times.into_iter().map(of).collect()
    })
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "Pacific/Apia",
    ])
    .prop_map(zone)
}

proptest! {
    #[test]
    fn the_newest_and_the_newest_complete_are_never_pruned(
        snapshots in any_snapshots(),
        rules in any_rules(),
        zone in any_zone(),
        now in 1_500_000_000..2_000_000_000_i64,
    ) {
        let now = Timestamp::from_second(now).unwrap();
        let plan = plan(&snapshots, Some(&rules), now, &zone);
        prop_assert_eq!(plan.entries.len(), snapshots.len());
        let newest = snapshots.iter().max_by_key(|c| c.time);
        let newest_complete =
            snapshots.iter().filter(|c| c.state == State::Complete).max_by_key(|c| c.time);
        for pinned in newest.into_iter().chain(newest_complete) {
            prop_assert!(!plan.pruned().contains(&pinned.name.as_str()));
        }
        // Newest first, whatever the order was.
        prop_assert!(plan.entries.is_sorted_by(|a, b| a.0 >= b.0));
        if snapshots.iter().any(|c| c.time > now + SignedDuration::from_mins(2)) {
            prop_assert!(plan.to_prune().is_empty());
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_the_order_and_is_done_when_acted_on(
        snapshots in any_snapshots(),
        rules in any_rules(),
        zone in any_zone(),
    ) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let first = plan(&snapshots, Some(&rules), now, &zone);
        let reversed: Vec<Candidate> = snapshots.iter().rev().cloned().collect();
        prop_assert_eq!(&first, &plan(&reversed, Some(&rules), now, &zone));
        let pruned = first.pruned();
        let left: Vec<Candidate> =
            snapshots.iter().filter(|c| !pruned.contains(&c.name.as_str())).cloned().collect();
        let second = plan(&left, Some(&rules), now, &zone);
        prop_assert_eq!(second.pruned(), Vec::<&str>::new());
    }

    #[test]
    fn a_count_of_days_keeps_the_newest_of_that_many_days(
        snapshots in any_snapshots(),
        daily in 1..20_u32,
        zone in any_zone(),
    ) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let rules = counts(0, daily, 0, 0, 0);
        let plan = plan(&snapshots, Some(&rules), now, &zone);
        let pruned = plan.pruned();
        let mut newest_of_day = std::collections::BTreeMap::new();
        for c in snapshots.iter().filter(|c| c.state == State::Complete) {
            let day = c.time.to_zoned(zone.clone()).date();
            let newest = newest_of_day.entry(day).or_insert(c);
            if c.time > newest.time {
                *newest = c;
            }
        }
        let wanted: Vec<&str> =
            newest_of_day.values().rev().take(daily as usize).map(|c| c.name.as_str()).collect();
        for c in snapshots.iter().filter(|c| c.state == State::Complete) {
            let name = c.name.as_str();
            prop_assert_eq!(wanted.contains(&name), !pruned.contains(&name), "{}", name);
        }
    }
}
