//! When snapshots are taken and which stay: `snapshots` and `keep`.

use std::time::Duration;

use jiff::civil::Time;

use super::SnapshotPolicy;
use super::raw::{Item, Setting};
use super::server::duration;
use crate::retention::Rules;
use crate::schedule::Cron;

/// Without a schedule, pushes every few minutes must not make a snapshot each.
const DEFAULT_AT_MOST: Duration = Duration::from_secs(3600);

/// Longer than most sessions, short enough that a snapshot of the night is one of the night.
const DEFAULT_WAIT: Duration = Duration::from_secs(2 * 3600);

impl SnapshotPolicy {
    /// What holds when a tenant says nothing.
    pub(super) fn after_every_push() -> Self {
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

fn cron(_item: &Item<'_>) -> Option<Option<Cron>> {
    Some(Some(Cron))
}

pub(super) fn keep(_item: &Item<'_>) -> Option<Option<Rules>> {
    Some(Some(Rules))
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
