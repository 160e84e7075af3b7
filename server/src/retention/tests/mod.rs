//! Plans of what to prune: by example, by simulated years, and by properties.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::*;
use crate::snapshot::{SnapshotName, State};

mod counts;
mod decisions;
mod lines;
mod properties;
mod safety;

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

fn try_counts(last: u32, daily: u32, weekly: u32, monthly: u32, yearly: u32) -> Option<Rules> {
    let counts = Counts {
        last,
        hourly: 0,
        daily,
        weekly,
        monthly,
        yearly,
    };
    Rules::from_counts(counts).ok()
}

fn counts(last: u32, daily: u32, weekly: u32, monthly: u32, yearly: u32) -> Rules {
    try_counts(last, daily, weekly, monthly, yearly).unwrap()
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
