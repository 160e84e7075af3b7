//! Finds keep lines that come too late: the snapshot they ask for is gone by then.
//!
//! `["+%Y-%m-%d.-0day", "+%Y-%m-%d.-1day", "+%Y-%m-01.-1month"]` looks as if it kept the first of
//! last month. It does not: the snapshot of the first is two days old on the third, no line keeps
//! it then, and in the next month there is nothing left to keep. A line for `-0month` closes the
//! hole.
//!
//! The check plays it through: a snapshot a day, pruned a day, for long enough that every line has
//! met what it asks for, and through a leap year.

use std::collections::BTreeSet;
use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;

use super::line::Line;

/// A line that does not do what it seems to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Which line, from 0.
    pub index: usize,
    /// The line as it was written.
    pub line: String,
    pub kind: HoleKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoleKind {
    /// It only ever names days to come.
    NeverMatches,
    /// On this day it asks for `wanted`, which was pruned on `pruned`.
    Pruned {
        on: Date,
        wanted: Date,
        pruned: Date,
        /// So it is each time, not on some days only.
        always: bool,
    },
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = &self.line;
        match self.kind {
            HoleKind::NeverMatches => {
                write!(
                    f,
                    "keep line \"{line}\" only names days to come, so it keeps nothing"
                )
            }
            HoleKind::Pruned {
                on,
                wanted,
                pruned,
                always,
            } => {
                let how_often = if always { "never" } else { "not always" };
                write!(
                    f,
                    "keep line \"{line}\" will {how_often} find its snapshot: on {on} it asks for \
                     the one of {wanted}, which no line kept on {pruned}; add a line that keeps it \
                     in between"
                )
            }
        }
    }
}

/// How one line fared.
#[derive(Default, Clone)]
struct Record {
    met: bool,
    missed: Option<(Date, Date)>,
}

pub(super) fn find(lines: &[Line]) -> Vec<Hole> {
    let first = Date::constant(2027, 1, 1);
    let reach = lines
        .iter()
        .filter_map(|line| Some(line.day(first)?.until(first).ok()?.get_days()))
        .max()
        .unwrap_or(0)
        .max(0);
    // After the reach of the longest line, a round through a common and a leap year.
    let days = usize::try_from(reach).unwrap_or(0) + 4 * 366;

    let mut records = vec![Record::default(); lines.len()];
    let mut held = BTreeSet::new();
    let mut pruned_on = std::collections::BTreeMap::new();
    for today in first.series(1.day()).take(days) {
        held.insert(today);
        let wanted: Vec<Option<Date>> = lines.iter().map(|line| line.day(today)).collect();
        for (record, day) in records.iter_mut().zip(&wanted) {
            match day {
                Some(day) if held.contains(day) => record.met = true,
                Some(day) if *day >= first && *day <= today => {
                    record.missed.get_or_insert((today, *day));
                }
                _ => {}
            }
        }
        // The newest is never pruned, so it is not this day's rules that lose it.
        held.retain(|day| {
            let keep = *day == today || wanted.contains(&Some(*day));
            if !keep {
                pruned_on.insert(*day, today);
            }
            keep
        });
    }

    let judge = |(index, record): (usize, &Record)| {
        let kind = match record.missed {
            Some((on, wanted)) => HoleKind::Pruned {
                on,
                wanted,
                pruned: *pruned_on.get(&wanted)?,
                always: !record.met,
            },
            None if !record.met => HoleKind::NeverMatches,
            None => return None,
        };
        Some(Hole {
            index,
            line: lines[index].text().to_owned(),
            kind,
        })
    };
    records.iter().enumerate().filter_map(judge).collect()
}
