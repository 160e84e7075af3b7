//! When a tenant's store is read for verification, and how much of it at a time.
//!
//! The period of `verify.every` has up to thirty parts. In each part a share of the store is read,
//! so that all of it has been read once before the period is over, and no night has to bear it
//! alone:
//!
//! ```text
//! every = "30d"   a part a day     every = "7d"   every 5.6 h     every = "12h"   every hour
//! ```
//!
//! What a share is follows from what is left and how many parts are. How much there is, nobody knows
//! exactly; so a share is a little larger than it need be, and the last part takes all that is
//! left. A run that was begun by hand counts like any other.

use std::time::Duration;

use jiff::Timestamp;

use super::{believable, signed};
use crate::config::VerifyPolicy;

const PARTS: u32 = 30;
const SHORTEST_PART: Duration = Duration::from_secs(3600);
const LONGEST_PART: Duration = Duration::from_secs(24 * 3600);

/// Less is not worth a start: a small store is read in one go.
const SMALLEST_SHARE: u64 = 256 << 20;

/// What is known of earlier readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// A run that is not through.
    pub left: Option<Left>,
    /// When the last one that went through began and ended.
    pub last: Option<(Timestamp, Timestamp)>,
}

/// A run that is not through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub started: Timestamp,
    pub updated: Timestamp,
    /// Bytes read so far.
    pub read: u64,
}

/// Between the beginnings of two parts.
pub fn part(policy: &VerifyPolicy) -> Duration {
    (policy.every / PARTS).clamp(SHORTEST_PART, LONGEST_PART)
}

/// When the next part is due; not after `now`: it is. A store that was never read is due at once.
pub fn due(policy: &VerifyPolicy, past: &Past, now: Timestamp) -> Timestamp {
    let after = |time: Timestamp, wait: Duration| match believable(time, now) == time {
        true => time.saturating_add(signed(wait)).unwrap_or(Timestamp::MAX),
        // It was written under a wrong clock.
        false => now,
    };
    match (past.left, past.last) {
        (Some(left), _) => after(left.updated, part(policy)),
        (None, Some((started, ended))) => {
            after(started, policy.every).max(after(ended, part(policy)))
        }
        (None, None) => now,
    }
}

/// How many bytes the part that begins now should read, of `total`; `None`: all that is left.
pub fn share(policy: &VerifyPolicy, past: &Past, total: u64, now: Timestamp) -> Option<u64> {
    let (started, read) = match past.left {
        Some(left) => (left.started.min(now), left.read),
        None => (now, 0),
    };
    let gone = now.duration_since(started).unsigned_abs();
    let parts = policy.every.saturating_sub(gone).as_secs() / part(policy).as_secs();
    // One part is kept in reserve, for what came since, and for a day without power.
    let parts = parts.saturating_sub(1);
    if parts <= 1 {
        return None;
    }
    // More than was thought: then at least as much as usual.
    let left = total.saturating_sub(read).max(total / u64::from(PARTS));
    Some(left.div_ceil(parts).max(SMALLEST_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const TOTAL: u64 = 6 << 40;

    fn policy(every: Duration) -> VerifyPolicy {
        VerifyPolicy { every, limit: None }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn parts_are_thirty_and_neither_too_short_nor_too_long() {
        for (every, expected) in [
            (HOUR, HOUR),
            (12 * HOUR, HOUR),
            (7 * DAY, Duration::from_secs(20_160)),
            (30 * DAY, DAY),
            (365 * DAY, DAY),
        ] {
            assert_eq!(part(&policy(every)), expected);
        }
    }

    /// Goes through a run as the daemon does, with `up` hours of each day on which it is up; gives
    /// how many parts it had, the largest share, and how long it took.
    fn run(every: Duration, total: u64, thought: u64, up: i8) -> (u32, u64, Duration) {
        let policy = policy(every);
        let began = at("2026-11-01T00:00:00Z");
        let mut now = began;
        let mut past = Past::default();
        let (mut read, mut parts, mut largest) = (0, 0, 0);
        loop {
            let is_up = now.to_zoned(jiff::tz::TimeZone::UTC).hour() < up;
            if is_up && due(&policy, &past, now) <= now {
                let share = share(&policy, &past, thought, now);
                let now_read = share.unwrap_or(u64::MAX).min(total - read);
                read += now_read;
                largest = largest.max(now_read);
                parts += 1;
                if read == total {
                    return (parts, largest, now.duration_since(began).unsigned_abs());
                }
                past.left = Some(Left {
                    started: past.left.map_or(now, |left| left.started),
                    updated: now,
                    read,
                });
            }
            now = now.saturating_add(signed(HOUR / 4)).unwrap();
        }
    }

    #[test]
    fn a_store_is_read_within_the_period_in_even_parts() {
        for every in [12 * HOUR, 7 * DAY, 30 * DAY, 90 * DAY] {
            let (parts, largest, took) = run(every, TOTAL, TOTAL, 24);
            assert!(took < every, "{took:?} of {every:?}");
            assert!(took > every / 2, "{took:?} of {every:?}");
            assert!(parts > 5);
            assert!(
                largest < TOTAL / u64::from(parts) * 3 / 2,
                "{every:?}: {largest} in {parts}"
            );
        }
    }

    #[test]
    fn it_is_through_in_time_also_when_it_was_more_and_the_machine_is_off_at_night() {
        for (total, thought, up) in [
            (TOTAL, TOTAL / 3, 24),
            (TOTAL, TOTAL, 6),
            (TOTAL, 0, 24),
            (TOTAL / 3, TOTAL, 24),
        ] {
            let (_, _, took) = run(30 * DAY, total, thought, up);
            assert!(took <= 30 * DAY, "{total} {thought} {up}: {took:?}");
        }
    }

    #[test]
    fn a_small_store_is_read_at_once_and_again_after_the_period() {
        let (parts, _, _) = run(30 * DAY, 1 << 20, 1 << 20, 24);
        assert_eq!(parts, 1);
        let policy = policy(30 * DAY);
        let began = at("2026-11-01T00:00:00Z");
        let past = Past {
            left: None,
            last: Some((began, began)),
        };
        assert_eq!(due(&policy, &past, began), at("2026-12-01T00:00:00Z"));
        // One that took longer than it should rests a while before the next.
        let late = Past {
            left: None,
            last: Some((began, at("2026-12-05T00:00:00Z"))),
        };
        let now = at("2026-12-05T00:00:00Z");
        assert_eq!(due(&policy, &late, now), at("2026-12-06T00:00:00Z"));
    }

    #[test]
    fn a_time_that_a_wrong_clock_wrote_holds_nothing_up() {
        let policy = policy(30 * DAY);
        let now = at("2026-11-01T00:00:00Z");
        let future = at("2031-01-01T00:00:00Z");
        let left = Past {
            left: Some(Left {
                started: future,
                updated: future,
                read: 5,
            }),
            last: None,
        };
        assert_eq!(due(&policy, &left, now), now);
        assert!(share(&policy, &left, TOTAL, now).is_some());
        let last = Past {
            left: None,
            last: Some((future, future)),
        };
        assert_eq!(due(&policy, &last, now), now);
    }
}
