//! Cron expressions: five fields, as in a crontab, in the server's time zone.

use std::fmt;
use std::str::FromStr;

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::{latest_civil, next_civil};

/// A checked expression that names at least one time to come.
///
/// One whose hour field is `*` runs by the time line: each hour that passes, also the one that is
/// repeated in autumn. Any other runs by the wall clock, as a time of day does: once for each
/// time it names, also when the clock skips or repeats it, so `30 2,14 * * *` loses nothing on a
/// spring night.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    parsed: croner::Cron,
    every_hour: bool,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCron(String);

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Cron {
    /// Reads `minute hour day-of-month month day-of-week`, or a nickname such as `@daily`.
    pub fn parse(text: &str) -> Result<Self, BadCron> {
        let fail = |why: &str| Err(BadCron(format!("cron expression \"{text}\" {why}")));
        let trimmed = text.trim();
        let fields = match trimmed.strip_prefix('@') {
            None => trimmed,
            Some(_) => match NICKNAMES.iter().find(|(name, _)| *name == trimmed) {
                Some((_, fields)) => fields,
                None => {
                    return fail(
                        "is no known nickname; @hourly, @daily, @weekly, @monthly and @yearly are",
                    );
                }
            },
        };
        let count = fields.split_whitespace().count();
        if count != 5 {
            return fail(&format!(
                "has {count} fields, not 5 (minute, hour, day of month, month, day of week), \
                 such as \"30 10 * * *\""
            ));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let parsed = match parser.parse(fields) {
            Ok(parsed) => parsed,
            Err(error) => return fail(&format!("cannot be read: {}", reason(&error))),
        };
        let hour = fields.split_whitespace().nth(1).unwrap_or_default();
        let cron = Self {
            text: text.to_owned(),
            parsed,
            every_hour: matches!(hour, "*" | "*/1" | "?" | "0-23"),
        };
        // Any day will do: what happens at all happens within eight years of it.
        if cron.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_none() {
            return fail("names a day that never comes");
        }
        Ok(cron)
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first time after `after`.
    pub fn next(&self, after: Timestamp, time_zone: &TimeZone) -> Option<Timestamp> {
        if !self.every_hour {
            return next_civil(after, time_zone, |from| self.civil_from(from));
        }
        // Along the time line: from one change of the offset to the next.
        let mut from = after.checked_add(1.nanosecond()).ok()?;
        loop {
            let offset = time_zone.to_offset(from);
            let found = offset
                .to_timestamp(self.civil_from(offset.to_datetime(from))?)
                .ok()?;
            if found < from {
                // `from` is within the second that was found.
                from = found.checked_add(1.second()).ok()?;
                continue;
            }
            match time_zone.following(from).next() {
                Some(change) if change.timestamp() <= found => from = change.timestamp(),
                _ => return Some(found),
            }
        }
    }

    /// The last time that is not after `until`.
    pub fn latest(&self, until: Timestamp, time_zone: &TimeZone) -> Option<Timestamp> {
        if !self.every_hour {
            return latest_civil(until, time_zone, |to| self.civil_until(to));
        }
        let mut to = until;
        loop {
            let offset = time_zone.to_offset(to);
            let found = offset
                .to_timestamp(self.civil_until(offset.to_datetime(to))?)
                .ok()?;
            let after = to.checked_add(1.nanosecond()).ok()?;
            match time_zone.preceding(after).next() {
                Some(change) if found < change.timestamp() => {
                    to = change.timestamp().checked_sub(1.nanosecond()).ok()?;
                }
                _ => return Some(found),
            }
        }
    }

    /// The first civil time not before `from`, to the second.
    fn civil_from(&self, from: DateTime) -> Option<DateTime> {
        let found = self.parsed.find_next_occurrence(&flat(from)?, true).ok()?;
        Some(found.datetime())
    }

    /// The last civil time not after `to`.
    fn civil_until(&self, to: DateTime) -> Option<DateTime> {
        let found = self
            .parsed
            .find_previous_occurrence(&flat(to)?, true)
            .ok()?;
        Some(found.datetime())
    }
}

/// A civil time in a zone without any shifts. Croner is only asked about those: near the change of
/// a clock, what it finds may be a second on the wrong side of where it was asked to begin.
fn flat(civil: DateTime) -> Option<Zoned> {
    civil.to_zoned(TimeZone::UTC).ok()
}

/// croner's own words without its prefix and full stop.
fn reason(error: &croner::errors::CronError) -> String {
    let text = error.to_string();
    let text = text
        .split_once(": ")
        .map_or(text.as_str(), |(_, rest)| rest);
    text.trim_end_matches('.').to_owned()
}

impl FromStr for Cron {
    type Err = BadCron;

    fn from_str(text: &str) -> Result<Self, BadCron> {
        Self::parse(text)
    }
}

/// As written: the parsed form is thousands of numbers.
impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
