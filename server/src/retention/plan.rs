//! The plan: for each snapshot keep or prune, and why.
//!
//! Order of things: complete snapshots are judged by the rules; the newest complete one and the
//! newest of all are pinned on top; incomplete ones stay until a newer complete one exists; then
//! the whole is looked at for signs of a broken clock.

use std::collections::HashMap;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Counts, Form, Line, Rules};
use crate::snapshot::State;

/// A snapshot to judge. Only those that coffre made and recorded belong here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    pub time: Timestamp,
    pub state: State,
}

/// What becomes of each snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Newest first.
    pub entries: Vec<(String, Decision)>,
    /// Why nothing may be pruned until somebody has looked.
    pub stop: Option<StopReason>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// All the reasons, in the order of the rules.
    Keep(Vec<KeepReason>),
    Prune(PruneReason),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// The tenant has no keep rules.
    NoRules,
    /// A count: this is the `place`-th newest of its kind, of `of` that stay.
    Count {
        rule: &'static str,
        place: u32,
        of: u32,
    },
    /// A line, and the day it names now.
    Line { line: String, day: Date },
    /// Pinned.
    NewestComplete,
    /// Pinned.
    Newest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneReason {
    /// No rule asks for it.
    NoRule,
    /// It is incomplete, and this complete one is newer.
    Superseded(String),
}

/// Signs that a clock or a rule is wrong: the plan is shown, and not acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The newest snapshot is from the future.
    ClockBehind { now: Timestamp, newest: Timestamp },
    /// More than half would go, after a gap out of all proportion.
    ClockJumped {
        from: Timestamp,
        to: Timestamp,
        prunes: usize,
        of: usize,
    },
    /// No rule asks for any of the snapshots there are.
    RulesKeepNothing { of: usize },
}

/// Two snapshots in one second get names a second apart, so a name may be a little early.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(2);
/// A gap shorter than a long weekend is no jump, however often snapshots are taken.
const LEAST_JUMP: SignedDuration = SignedDuration::from_hours(3 * 24);
/// A jump is longer than this many usual gaps.
const JUMP_FACTOR: i32 = 4;
/// The usual gap is the median of this many before it.
const USUAL_GAPS: usize = 7;
/// How long a jump holds pruning up. Then the clock has stood the test.
const JUMP_MEMORY: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Plan {
    /// What is to be pruned now, oldest first. Empty when the plan has a [`StopReason`].
    pub fn to_prune(&self) -> Vec<&str> {
        match self.stop {
            Some(_) => Vec::new(),
            None => self.pruned(),
        }
    }

    /// What the rules let go, oldest first, whether or not the plan has a [`StopReason`]: for a
    /// dry run, and for an admin who has looked and insists.
    pub fn pruned(&self) -> Vec<&str> {
        self.entries
            .iter()
            .rev()
            .filter(|(_, decision)| matches!(decision, Decision::Prune(_)))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Judges all of a tenant's snapshots at the time `now`. `rules`: `None` keeps everything. Days,
/// weeks, months and years are those of `time_zone`.
pub fn plan(
    snapshots: &[Candidate],
    rules: Option<&Rules>,
    now: Timestamp,
    time_zone: &TimeZone,
) -> Plan {
    let mut sorted: Vec<&Candidate> = snapshots.iter().collect();
    sorted.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| b.name.cmp(&a.name)));
    let Some(rules) = rules else {
        let keep = |c: &&Candidate| (c.name.clone(), Decision::Keep(vec![KeepReason::NoRules]));
        return Plan {
            entries: sorted.iter().map(keep).collect(),
            stop: None,
        };
    };

    let newest_complete = sorted.iter().position(|c| c.state == State::Complete);
    let complete: Vec<usize> = (0..sorted.len())
        .filter(|&i| sorted[i].state == State::Complete)
        .collect();
    // Those that no complete one has replaced yet; they never take a complete one's place.
    let waiting: Vec<usize> = (0..newest_complete.unwrap_or(sorted.len())).collect();

    let mut reasons: Vec<Vec<KeepReason>> = vec![Vec::new(); sorted.len()];
    for group in [&complete, &waiting] {
        match &rules.0 {
            Form::Counts(counts) => apply_counts(counts, &sorted, group, time_zone, &mut reasons),
            Form::Lines(lines) => {
                apply_lines(lines, &sorted, group, now, time_zone, &mut reasons);
            }
        }
    }
    let wanted = reasons.iter().filter(|r| !r.is_empty()).count();
    if let Some(i) = newest_complete {
        reasons[i].push(KeepReason::NewestComplete);
    }
    if let Some(first) = reasons.first_mut() {
        first.push(KeepReason::Newest);
    }

    let decide = |(i, reasons): (usize, Vec<KeepReason>)| {
        let decision = match newest_complete {
            _ if !reasons.is_empty() => Decision::Keep(reasons),
            Some(newer) if sorted[i].state == State::Incomplete && newer < i => {
                Decision::Prune(PruneReason::Superseded(sorted[newer].name.clone()))
            }
            _ => Decision::Prune(PruneReason::NoRule),
        };
        (sorted[i].name.clone(), decision)
    };
    let mut plan = Plan {
        entries: reasons.into_iter().enumerate().map(decide).collect(),
        stop: None,
    };
    plan.stop = stop_reason(&plan, &sorted, wanted, now);
    plan
}

/// Goes from the newest to the oldest; the first snapshot met in a bucket stands for it.
fn apply_counts(
    counts: &Counts,
    sorted: &[&Candidate],
    group: &[usize],
    time_zone: &TimeZone,
    reasons: &mut [Vec<KeepReason>],
) {
    type Bucket = fn(&jiff::Zoned) -> (i32, i32, i32, i64);
    // Hours are counted on the time line: the hour that is repeated in autumn is two.
    let hour: Bucket = |t| {
        let offset = i64::from(t.offset().seconds());
        let hour = (t.timestamp().as_second() + offset).div_euclid(3600);
        (0, 0, t.offset().seconds(), hour)
    };
    let rules: [(&'static str, u32, Option<Bucket>); 6] = [
        ("last", counts.last, None),
        ("hourly", counts.hourly, Some(hour)),
        (
            "daily",
            counts.daily,
            Some(|t| (t.year().into(), t.day_of_year().into(), 0, 0)),
        ),
        (
            "weekly",
            counts.weekly,
            Some(|t| {
                let week = t.date().iso_week_date();
                (week.year().into(), week.week().into(), 0, 0)
            }),
        ),
        (
            "monthly",
            counts.monthly,
            Some(|t| (t.year().into(), t.month().into(), 0, 0)),
        ),
        (
            "yearly",
            counts.yearly,
            Some(|t| (t.year().into(), 0, 0, 0)),
        ),
    ];
    for (rule, of, bucket) in rules {
        let mut place = 0;
        let mut last_met = None;
        for &i in group {
            if place == of {
                break;
            }
            let met = bucket.map(|bucket| bucket(&sorted[i].time.to_zoned(time_zone.clone())));
            if met.is_some() && met == last_met {
                continue;
            }
            last_met = met;
            place += 1;
            reasons[i].push(KeepReason::Count { rule, place, of });
        }
    }
}

fn apply_lines(
    lines: &[Line],
    sorted: &[&Candidate],
    group: &[usize],
    now: Timestamp,
    time_zone: &TimeZone,
    reasons: &mut [Vec<KeepReason>],
) {
    let today = now.to_zoned(time_zone.clone()).date();
    let mut by_day: HashMap<Date, Vec<usize>> = HashMap::new();
    for &i in group {
        let day = sorted[i].time.to_zoned(time_zone.clone()).date();
        by_day.entry(day).or_default().push(i);
    }
    for line in lines {
        let Some(day) = line.day(today) else { continue };
        for &i in by_day.get(&day).into_iter().flatten() {
            reasons[i].push(KeepReason::Line {
                line: line.text().to_owned(),
                day,
            });
        }
    }
}

fn stop_reason(
    plan: &Plan,
    sorted: &[&Candidate],
    wanted: usize,
    now: Timestamp,
) -> Option<StopReason> {
    let prunes = plan.pruned().len();
    if prunes == 0 {
        return None;
    }
    let of = sorted.len();
    let newest = sorted.first()?.time;
    if newest.duration_since(now) > CLOCK_TOLERANCE {
        return Some(StopReason::ClockBehind { now, newest });
    }
    if wanted == 0 {
        return Some(StopReason::RulesKeepNothing { of });
    }
    if prunes * 2 > of {
        let times: Vec<Timestamp> = std::iter::once(now)
            .chain(sorted.iter().map(|c| c.time))
            .collect();
        let (from, to) = recent_jump(&times)?;
        return Some(StopReason::ClockJumped {
            from,
            to,
            prunes,
            of,
        });
    }
    None
}

/// The latest gap in `times` (newest first, beginning with now) that ends within the last days and
/// is out of proportion to those before it.
fn recent_jump(times: &[Timestamp]) -> Option<(Timestamp, Timestamp)> {
    let gaps: Vec<SignedDuration> = times
        .windows(2)
        .map(|t| t[0].duration_since(t[1]))
        .collect();
    let now = times.first()?;
    for (i, &gap) in gaps.iter().enumerate() {
        if now.duration_since(times[i]) > JUMP_MEMORY {
            break;
        }
        let mut before: Vec<SignedDuration> =
            gaps[i + 1..].iter().copied().take(USUAL_GAPS).collect();
        before.sort();
        let Some(usual) = before.get(before.len() / 2) else {
            break;
        };
        if gap > LEAST_JUMP && gap > usual.saturating_mul(JUMP_FACTOR) {
            return Some((times[i + 1], times[i]));
        }
    }
    None
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(reasons) => {
                let texts: Vec<_> = reasons.iter().map(KeepReason::to_string).collect();
                write!(f, "keep: {}", texts.join(", "))
            }
            Self::Prune(reason) => write!(f, "prune: {reason}"),
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("no keep rules"),
            Self::Count { rule, place, of } => write!(f, "{rule} {place} of {of}"),
            Self::Line { line, day } => write!(f, "\"{line}\" is {day}"),
            Self::NewestComplete => f.write_str("newest complete"),
            Self::Newest => f.write_str("newest"),
        }
    }
}

impl fmt::Display for PruneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule keeps it"),
            Self::Superseded(newer) => write!(f, "incomplete, and {newer} is newer and complete"),
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockBehind { now, newest } => write!(
                f,
                "the newest snapshot is of {newest}, but it is only {now}: either the clock is \
                 wrong now or it was then; nothing pruned"
            ),
            Self::ClockJumped {
                from,
                to,
                prunes,
                of,
            } => write!(
                f,
                "{prunes} of {of} snapshots would go, and there is nothing between {from} and \
                 {to}: the clock may have jumped; nothing pruned"
            ),
            Self::RulesKeepNothing { of } => write!(
                f,
                "the keep rules ask for none of the {of} snapshots there are; nothing pruned"
            ),
        }
    }
}
