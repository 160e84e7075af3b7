//! When snapshots are taken and which stay: `snapshots` and `keep`.

use std::ops::Range;
use std::time::Duration;

use jiff::civil::Time;

use super::raw::{At, Item, Setting, Table};
use super::server::{bandwidth, duration};
use super::{SnapshotPolicy, VerifyPolicy};
use crate::retention::{Counts, Line, Rules};
use crate::schedule::Cron;

/// Without a schedule, pushes every few minutes must not make a snapshot each.
const DEFAULT_AT_MOST: Duration = Duration::from_secs(3600);

/// Longer than most sessions, short enough that a snapshot of the night is one of the night.
const DEFAULT_WAIT: Duration = Duration::from_secs(2 * 3600);

impl SnapshotPolicy {
    /// What holds when a tenant says nothing.
    pub(crate) fn after_every_push() -> Self {
        Self {
            at: Vec::new(),
            cron: None,
            after_session: true,
            at_most: Some(DEFAULT_AT_MOST),
            wait: DEFAULT_WAIT,
        }
    }

    /// `snapshots = false`: only when asked for.
    fn never() -> Self {
        Self {
            after_session: false,
            at_most: None,
            ..Self::after_every_push()
        }
    }
}

pub(super) fn snapshots(item: &Item<'_>) -> Option<SnapshotPolicy> {
    if item.as_boolean() == Some(false) {
        return Some(SnapshotPolicy::never());
    }
    let table = item.table(
        "\"snapshots\"",
        "false, or a table like { at = [\"10:30\"] }",
    )?;
    table.check_keys(&["at", "cron", "after_session", "at_most", "wait"], &[]);

    let at = table.setting("at", times);
    let cron = table.setting("cron", cron);
    let scheduled = !matches!((&at, &cron), (Setting::Absent, Setting::Absent));
    let after_session = table.setting("after_session", Item::boolean);
    let at_most = table.setting("at_most", duration);
    let wait = table.setting("wait", duration);

    // Each wrong part has been reported; a policy with a hole in it is not one.
    let wrong = matches!(at, Setting::Wrong)
        || matches!(cron, Setting::Wrong)
        || matches!(after_session, Setting::Wrong)
        || matches!(at_most, Setting::Wrong)
        || matches!(wait, Setting::Wrong);
    if wrong {
        return None;
    }
    let after_session = after_session.value_or(!scheduled);
    if !scheduled && !after_session {
        item.error(
            "this takes no snapshot at all; give \"at\", \"cron\" or after_session = true, or \
             write snapshots = false if that is meant",
        );
        return None;
    }
    let at_most = match at_most {
        Setting::Is(limit) if !after_session => {
            item.doc.error(
                &limit.span,
                "\"at_most\" limits snapshots after sessions; without after_session = true it \
                 limits nothing",
            );
            return None;
        }
        Setting::Is(limit) if limit.value.is_zero() => None,
        Setting::Is(limit) => Some(limit.value),
        _ => after_session.then_some(DEFAULT_AT_MOST),
    };
    Some(SnapshotPolicy {
        at: at.value_or(Vec::new()),
        cron: cron.value_or(None),
        after_session,
        at_most,
        wait: wait.value_or(DEFAULT_WAIT),
    })
}

/// Shorter, and it would do nothing else.
const SHORTEST_PERIOD: Duration = Duration::from_secs(3600);

/// `{ every = "30d", limit = "50MiB/s" }`, or `false`.
pub(super) fn verify(item: &Item<'_>) -> Option<Option<VerifyPolicy>> {
    if item.as_boolean() == Some(false) {
        return Some(None);
    }
    let table = item.table(
        "\"verify\"",
        "false, or a table like { every = \"30d\", limit = \"50MiB/s\" }",
    )?;
    table.check_keys(&["every", "limit"], &[]);
    let limit = table.setting("limit", bandwidth);
    let every = table.setting("every", |item| {
        let every = duration(item)?;
        if every < SHORTEST_PERIOD {
            item.error("\"every\" must be at least \"1h\": the whole store is read in that time");
            return None;
        }
        Some(every)
    });
    match (every, limit) {
        (Setting::Absent, _) => {
            item.error("\"verify\" does not say how often; add every = \"30d\"");
            None
        }
        (Setting::Wrong, _) | (_, Setting::Wrong) => None,
        (Setting::Is(every), limit) => Some(Some(VerifyPolicy {
            every: every.value,
            limit: limit.value_or(None),
        })),
    }
}

fn times(item: &Item<'_>) -> Option<Vec<Time>> {
    let mut times = item.strings("a time like \"10:30\", or a list of them", |text| {
        let time = parse_time(text.value);
        if time.is_none() {
            item.doc.error(
                &text.span,
                format!(
                    "\"{}\" is not a time of day; write it like \"10:30\" or \"23:59:30\"",
                    text.value
                ),
            );
        }
        time
    })?;
    times.sort();
    times.dedup();
    Some(times)
}

/// `HH:MM` or `HH:MM:SS`, two digits each.
fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':').map(|part| {
        let two_digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        two_digits.then(|| part.parse::<i8>().ok()).flatten()
    });
    let hour = parts.next()??;
    let minute = parts.next()??;
    let second = match parts.next() {
        None => 0,
        Some(second) => second?,
    };
    if parts.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

fn cron(item: &Item<'_>) -> Option<Option<Cron>> {
    let text = item.string("a cron expression like \"30 10 * * *\"")?;
    match Cron::parse(text.value) {
        Ok(cron) => Some(Some(cron)),
        Err(why) => {
            let at = match lone_bad_field(text.value) {
                Some(field) => item.doc.within(&text, field),
                None => item.span.clone(),
            };
            item.doc.error(&at, why.to_string());
            None
        }
    }
}

/// The field of a cron expression that is wrong by itself: with `*` in the place of all others the
/// expression is still refused.
fn lone_bad_field(text: &str) -> Option<Range<usize>> {
    let mut end = 0;
    let mut fields: Vec<Range<usize>> = Vec::new();
    for field in text.split_whitespace() {
        // Only white space stands between the last field and this one.
        let start = end + text[end..].find(field)?;
        end = start + field.len();
        fields.push(start..end);
    }
    if fields.len() != 5 {
        return None;
    }
    (0..fields.len())
        .find(|&i| {
            let mut alone = ["*"; 5];
            alone[i] = &text[fields[i].clone()];
            Cron::parse(&alone.join(" ")).is_err()
        })
        .map(|i| fields[i].clone())
}

/// Reads `keep`: counts, EvoBackup's lines, or `"forever"` against a default.
pub(super) fn keep(item: &Item<'_>) -> Option<Option<Rules>> {
    const EXPECTED: &str =
        "a table like { daily = 7, monthly = 12 }, a list of EvoBackup's lines, or \"forever\"";
    if item.is_list() {
        return keep_lines(item).map(Some);
    }
    if item.is_string() {
        let text = item.string(EXPECTED)?;
        if text.value == "forever" {
            return Some(None);
        }
        item.error(format!(
            "\"keep\" must be {EXPECTED}, not \"{}\"",
            text.value
        ));
        return None;
    }
    keep_counts(&item.table("\"keep\"", EXPECTED)?).map(Some)
}

fn keep_counts(table: &Table<'_>) -> Option<Rules> {
    table.check_keys(
        &["last", "hourly", "daily", "weekly", "monthly", "yearly"],
        &[],
    );
    let count = |name: &str| match table.setting(name, |item| item.integer(0..=1_000_000)) {
        Setting::Absent => Some(0),
        Setting::Wrong => None,
        Setting::Is(at) => u32::try_from(at.value).ok(),
    };
    let (last, hourly, daily) = (count("last"), count("hourly"), count("daily"));
    let (weekly, monthly, yearly) = (count("weekly"), count("monthly"), count("yearly"));
    let counts = Counts {
        last: last?,
        hourly: hourly?,
        daily: daily?,
        weekly: weekly?,
        monthly: monthly?,
        yearly: yearly?,
    };
    match Rules::from_counts(counts) {
        Ok(rules) => Some(rules),
        Err(why) => {
            table.doc.error(&table.span, why.to_string());
            None
        }
    }
}

fn keep_lines(item: &Item<'_>) -> Option<Rules> {
    let items = item.one_or_more();
    let mut lines: Vec<At<&str>> = Vec::new();
    let mut wrong = false;
    for (index, element) in items.iter().enumerate() {
        let Some(text) = element.string("a list of lines like \"+%Y-%m-%d.-1day\"") else {
            wrong = true;
            continue;
        };
        if let Err(why) = Line::parse(index, text.value) {
            let start = text
                .value
                .char_indices()
                .nth(why.column.saturating_sub(1))
                .map_or(text.value.len(), |(i, _)| i);
            let at = item.doc.within(&text, start..text.value.len());
            item.doc.error(&at, why.message);
            wrong = true;
        }
        lines.push(text);
    }
    if wrong {
        return None;
    }
    let texts: Vec<&str> = lines.iter().map(|line| line.value).collect();
    let rules = match Rules::parse_lines(&texts) {
        Ok(rules) => rules,
        Err(why) => {
            item.error(why.message);
            return None;
        }
    };
    for hole in rules.holes() {
        item.doc.warning(&lines[hole.index].span, hole.to_string());
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_have_two_digits_per_part() {
        assert_eq!(parse_time("00:00"), Some(jiff::civil::time(0, 0, 0, 0)));
        assert_eq!(
            parse_time("23:59:30"),
            Some(jiff::civil::time(23, 59, 30, 0))
        );
        for bad in [
            "",
            "9:30",
            "24:00",
            "10:60",
            "10",
            "10:30:00:00",
            "10.30",
            "+1:30",
            " 10:30",
        ] {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
    }
}
