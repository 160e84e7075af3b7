//! When snapshots fall due: times of day, cron expressions, and the ends of pushes.
//!
//! All of it is pure: the clock is an argument. The daemon keeps one instant per tenant in the
//! catalogue, the *mark*: every scheduled time up to it has been dealt with. On each tick it asks
//! [`is_due`]; when something is, it takes a snapshot and moves the mark to now; when nothing is,
//! it sleeps until [`next_due`]. What that gives:
//!
//! * Times missed while the daemon was down are caught up at its first tick, once, however many
//!   they were.
//! * A clock set back finds the mark ahead of it, and nothing is done twice. A mark that is
//!   absurdly far ahead came from a clock that was wrong then; [`believable`] gives it up.
//! * A time of day that does not exist (spring) counts at the moment the clock has jumped over it,
//!   one that exists twice (autumn) counts the first time. Nothing is lost, nothing doubled.
//! * With no mark at all (a new tenant), nothing has been missed.

mod cron;
pub mod scrub;

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

pub use cron::{BadCron, Cron};

use crate::config::SnapshotPolicy;

/// How far a clock can be set back and a mark still be taken at its word.
const BELIEVABLE_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// No time zone has ever skipped or repeated more than a day, and a civil time is never farther
/// than this from where the clock shows it.
const LARGEST_SHIFT: SignedDuration = SignedDuration::from_hours(26);

/// The mark to go on with: `mark`, or `now` if it is so far in the future that it must have been
/// set under a wrong clock. The caller stores what comes back when it differs.
pub fn believable(mark: Timestamp, now: Timestamp) -> Timestamp {
    if mark.duration_since(now) > BELIEVABLE_AHEAD {
        now
    } else {
        mark
    }
}

/// The scheduled time that a snapshot is due for now: the latest one after `mark` and not after
/// `now`. `None`: nothing is due. Pushes are not looked at, see [`after_push`].
pub fn is_due(
    policy: &SnapshotPolicy,
    mark: Option<Timestamp>,
    now: Timestamp,
    time_zone: &TimeZone,
) -> Option<Timestamp> {
    let mark = mark?;
    let times = latest_civil(now, time_zone, |civil| {
        latest_time_of_day(&policy.at, civil)
    });
    let cron = policy.cron.as_ref().and_then(|c| c.latest(now, time_zone));
    times.max(cron).filter(|due| *due > mark)
}

/// When a snapshot falls due by time of day or cron expression. A time that is not after `now` is
/// due already (see [`is_due`]); `None`: the policy names no times.
pub fn next_due(
    policy: &SnapshotPolicy,
    mark: Option<Timestamp>,
    now: Timestamp,
    time_zone: &TimeZone,
) -> Option<Timestamp> {
    if let Some(due) = is_due(policy, mark, now, time_zone) {
        return Some(due);
    }
    let after = mark.map_or(now, |mark| mark.max(now));
    let times = next_civil(after, time_zone, |civil| {
        next_time_of_day(&policy.at, civil)
    });
    let cron = policy.cron.as_ref().and_then(|c| c.next(after, time_zone));
    match (times, cron) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// When the snapshot for a push that ended well at `ended` is due: at once, or `at_most` after
/// the last one. `None`: the policy does not ask for it, or a snapshot has been taken since.
///
/// `last_taken`: when the last snapshot was taken. If that is in the future, it was under a wrong
/// clock, and holds nothing up. Whoever knows only a snapshot's name must not ask twice: a name may be
/// of a later second than it was taken in, and stay in the future.
pub fn after_push(
    policy: &SnapshotPolicy,
    ended: Timestamp,
    last_taken: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    if !policy.after_session {
        return None;
    }
    let Some(last) = last_taken.filter(|last| *last <= now) else {
        return Some(ended);
    };
    if last >= ended {
        return None;
    }
    let spacing = policy.at_most.unwrap_or(Duration::ZERO);
    let earliest = last.saturating_add(signed(spacing)).ok()?;
    Some(ended.max(earliest))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// The first of `times` (of every day) that is not before `from`.
fn next_time_of_day(times: &[Time], from: DateTime) -> Option<DateTime> {
    let today = times.iter().filter(|t| **t >= from.time()).min();
    match today {
        Some(time) => Some(from.date().to_datetime(*time)),
        None => Some(
            from.date()
                .tomorrow()
                .ok()?
                .to_datetime(*times.iter().min()?),
        ),
    }
}

/// The last of `times` (of every day) that is not after `until`.
fn latest_time_of_day(times: &[Time], until: DateTime) -> Option<DateTime> {
    let today = times.iter().filter(|t| **t <= until.time()).max();
    match today {
        Some(time) => Some(until.date().to_datetime(*time)),
        None => Some(
            until
                .date()
                .yesterday()
                .ok()?
                .to_datetime(*times.iter().max()?),
        ),
    }
}

/// The first instant after `after` at which a wall clock shows one of a series of civil times.
/// `first_from` gives the series' first member that is not before a civil time.
///
/// A civil time that the clock skips counts as late as the skip is long, one that it shows twice
/// counts the first time. So instants are not quite in the order of their civil times, and the
/// search starts early and goes on until nothing can come in between.
fn next_civil(
    after: Timestamp,
    time_zone: &TimeZone,
    first_from: impl Fn(DateTime) -> Option<DateTime>,
) -> Option<Timestamp> {
    let mut best: Option<Timestamp> = None;
    let mut from = time_zone
        .to_datetime(after)
        .checked_sub(LARGEST_SHIFT)
        .ok()?;
    loop {
        let civil = first_from(from)?;
        if best.is_some_and(|best| civil > time_zone.to_datetime(best)) {
            return best;
        }
        let instant = time_zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        if instant > after && best.is_none_or(|best| instant < best) {
            best = Some(instant);
        }
        from = civil.checked_add(1.second()).ok()?;
    }
}

/// The last instant not after `until` at which a wall clock shows one of a series of civil times;
/// the mirror image of [`next_civil`].
fn latest_civil(
    until: Timestamp,
    time_zone: &TimeZone,
    last_until: impl Fn(DateTime) -> Option<DateTime>,
) -> Option<Timestamp> {
    let mut best: Option<Timestamp> = None;
    let mut to = time_zone
        .to_datetime(until)
        .checked_add(LARGEST_SHIFT)
        .ok()?;
    loop {
        let civil = last_until(to)?;
        let earliest = best.and_then(|b| time_zone.to_datetime(b).checked_sub(LARGEST_SHIFT).ok());
        if earliest.is_some_and(|earliest| civil < earliest) {
            return best;
        }
        let instant = time_zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        if instant <= until && best.is_none_or(|best| instant > best) {
            best = Some(instant);
        }
        to = civil.checked_sub(1.second()).ok()?;
    }
}

#[cfg(test)]
mod tests;
