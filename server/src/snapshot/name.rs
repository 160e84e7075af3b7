//! Names of snapshots: `2026-11-20T093000Z`, and `2026-11-20T093000Z.incomplete`.
//!
//! The name is the time in UTC, to the second, in ISO 8601 with the colons left out, so that a
//! listing sorts by time and no tool needs to quote it. Only this exact form is ever treated as a
//! snapshot: `2026-11-20T093000Z.keep`, or any other directory that an admin puts beside them, is
//! not ours.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Whether a snapshot holds all that a push meant to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Complete,
    /// Taken after a push that had not ended well.
    Incomplete,
}

/// The name of a committed snapshot. Sorts by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    time: Timestamp,
    state: State,
}

/// Not a name that coffre gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a snapshot; they look like 2026-11-20T093000Z")]
pub struct NotAName;

const INCOMPLETE: &str = ".incomplete";

impl SnapshotName {
    /// The name for a snapshot of that time, cut to the second. `None` outside the years 0 to
    /// 9999.
    pub fn new(time: Timestamp, state: State) -> Option<Self> {
        let time = Timestamp::from_second(time.as_second()).ok()?;
        let year = Offset::UTC.to_datetime(time).year();
        (0..=9999).contains(&year).then_some(Self { time, state })
    }

    /// When it was taken, to the second.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The same state, a second later.
    pub(super) fn next_second(&self) -> Option<Self> {
        Self::new(
            Timestamp::from_second(self.time.as_second() + 1).ok()?,
            self.state,
        )
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = Offset::UTC.to_datetime(self.time);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}{:02}{:02}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )?;
        match self.state {
            State::Complete => Ok(()),
            State::Incomplete => f.write_str(INCOMPLETE),
        }
    }
}

impl FromStr for SnapshotName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let (stamp, state) = match text.strip_suffix(INCOMPLETE) {
            Some(stamp) => (stamp, State::Incomplete),
            None => (text, State::Complete),
        };
        let shape = b"dddd-dd-ddTddddddZ";
        let fits = stamp.len() == shape.len()
            && stamp
                .bytes()
                .zip(shape)
                .all(|(byte, &wanted)| match wanted {
                    b'd' => byte.is_ascii_digit(),
                    _ => byte == wanted,
                });
        if !fits {
            return Err(NotAName);
        }
        let field = |range: std::ops::Range<usize>| stamp[range].parse::<i16>().unwrap_or(-1);
        let small = |range| i8::try_from(field(range)).unwrap_or(-1);
        let civil = DateTime::new(
            field(0..4),
            small(5..7),
            small(8..10),
            small(11..13),
            small(13..15),
            small(15..17),
            0,
        );
        let time = civil.ok().and_then(|t| Offset::UTC.to_timestamp(t).ok());
        Ok(Self {
            time: time.ok_or(NotAName)?,
            state,
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_itself() {
        for text in [
            "2026-11-20T093000Z",
            "1970-01-01T000000Z.incomplete",
            "9998-12-31T235959Z",
        ] {
            let name: SnapshotName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(SnapshotName::new(name.time(), name.state()), Some(name));
        }
    }

    #[test]
    fn only_the_exact_form_is_a_name() {
        for text in [
            "",
            "latest",
            "2026-11-20",
            "2026-11-20T09:30:00Z",
            "2026-11-20T093000",
            "2026-11-20T093000z",
            "2026-11-20T093000Z.keep",
            "2026-11-20T093000Z.incomplete.incomplete",
            "2026-11-20T093000Z.incomplete~",
            ".building-2026-11-20T093000Z",
            "2026-13-20T093000Z",
            "2026-02-30T093000Z",
            "2026-11-20T243000Z",
            "2026-11-20T093060Z",
            "+026-11-20T093000Z",
            "٢026-11-20T09300Z",
        ] {
            assert_eq!(text.parse::<SnapshotName>(), Err(NotAName), "{text}");
        }
    }

    #[test]
    fn names_sort_as_their_times_do() {
        let earlier: SnapshotName = "2026-11-20T093000Z.incomplete".parse().unwrap();
        let later: SnapshotName = "2026-11-20T093001Z".parse().unwrap();
        assert!(earlier < later);
        assert!(earlier.to_string() < later.to_string());
    }

    #[test]
    fn fractions_of_a_second_are_cut_off() {
        let time: Timestamp = "2026-11-20T09:30:00.999Z".parse().unwrap();
        let name = SnapshotName::new(time, State::Complete).unwrap();
        assert_eq!(name.to_string(), "2026-11-20T093000Z");
    }
}
