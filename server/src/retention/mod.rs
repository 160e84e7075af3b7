//! Which snapshots stay: a tenant's `keep` rules, and the [`plan`] that follows from them.
//!
//! Nothing here touches a disk or reads a clock. The caller lists its snapshots, says what time it
//! is and where, and gets for each snapshot "keep" or "prune" with the reason; `coffre prune
//! --dry-run` prints exactly that, and the daemon acts on it.
//!
//! Rules come in two forms, and a tenant has one of them:
//!
//! * counts, `{ last = 3, daily = 7, … }`: the newest complete snapshot of each of the last seven
//!   days *that have one*. A missed day or a dead month uses up nothing.
//! * lines, `"+%Y-%m-01.-1month"`, as EvoBackup writes them: see [`line`].
//!
//! Whatever the rules say, the newest complete snapshot stays and so does the newest of all, and a
//! plan that looks like the work of a broken clock carries a [`StopReason`]. `docs/retention.md`
//! says all of it to the admin.

mod holes;
pub mod line;
mod plan;

pub use holes::{Hole, HoleKind};
pub use line::{Line, LineError};
pub use plan::{Candidate, Decision, KeepReason, Plan, PruneReason, StopReason, plan};

/// What a tenant keeps. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Counts(Counts),
    Lines(Vec<Line>),
}

/// How many of each kind stay; 0: that kind keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The newest ones, whenever they were taken.
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    /// ISO weeks: they begin on Monday.
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
}

/// Rules that would keep nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the keep rules keep nothing, so every snapshot would be pruned; name at least one count \
     above 0, or leave `keep` out to keep everything"
)]
pub struct EmptyRules;

impl Rules {
    /// Rules by count.
    pub fn from_counts(counts: Counts) -> Result<Self, EmptyRules> {
        if counts == Counts::default() {
            return Err(EmptyRules);
        }
        Ok(Self(Form::Counts(counts)))
    }

    /// EvoBackup's lines, one rule in each. The first bad one is the error; no line at all is one
    /// too, because it would mean "prune everything".
    pub fn parse_lines<S: AsRef<str>>(lines: &[S]) -> Result<Self, LineError> {
        if lines.is_empty() {
            return Err(LineError {
                index: 0,
                column: 1,
                message: EmptyRules.to_string(),
            });
        }
        let parse = |(index, text): (usize, &S)| Line::parse(index, text.as_ref());
        let lines = lines.iter().enumerate().map(parse);
        Ok(Self(Form::Lines(lines.collect::<Result<_, _>>()?)))
    }

    /// Lines that will not find the snapshot they ask for, because another day's rules have let
    /// it go before. Always empty for counts: a bucket holds on to its newest snapshot.
    pub fn holes(&self) -> Vec<Hole> {
        match &self.0 {
            Form::Counts(_) => Vec::new(),
            Form::Lines(lines) => holes::find(lines),
        }
    }
}

#[cfg(test)]
mod tests;
