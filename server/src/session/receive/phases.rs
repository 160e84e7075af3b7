//! The marks that end lists and phases, and what must have happened before each.
//!
//! ```text
//!  Visiting ──R1──▶ Redoing ──R2──▶ Settling ──R3──▶ Deleting ──(R4)──▶ Leaving ──R5──▶ Over
//!     │ ▲             wait S1         wait S2         wait S3            wait S4
//!     └─┘ one DONE per finished list (incremental recursion)
//! ```
//!
//! R*n* are the marks this side sends, S*n* the client's answers. Marks may be sent together when
//! nothing stands between them, and are: a round trip on a long link costs more than the rest of
//! a small push. Protocol 29 and 30 have no R4 and S4; before 29 there is no R3 and S3 either.

use std::time::{Duration, Instant};

use coffre_protocol::ndx::Ndx;
use coffre_protocol::wire::Write;

use super::stream::Expect;
use super::{Fatal, Receiver};

/// Where the run stands; see the picture above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Visiting,
    Redoing,
    Settling,
    Deleting,
    Leaving,
    Over,
}

/// Marks sent and answered.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) sent: u32,
    pub(super) answered: u32,
    /// The number of the mark R1, once it was sent.
    first: u32,
}

impl Marks {
    /// Whether the client has answered R*n*.
    fn has_answer(&self, n: u32) -> bool {
        self.first != 0 && self.answered >= self.first + n - 1
    }
}

/// Marks that end lists and wait for more of them. A client is a thousand entries ahead, so it
/// misses none for a while, and each that is sent alone wakes four threads and a client.
#[derive(Debug, Default)]
pub(super) struct HeldMarks {
    /// All that is to be sent, as long as nothing else is.
    bytes: usize,
    /// In the lists that they end.
    entries: u32,
    since: Option<Instant>,
}

/// Half of what a client is ahead at least.
const HELD_ENTRIES: u32 = 500;

/// Long enough for the next list of a client that is at work, too short for anybody to notice.
const HELD_FOR: Duration = Duration::from_millis(2);

impl HeldMarks {
    /// When they are to be sent at the latest.
    pub(super) fn until(&self) -> Option<Instant> {
        self.since.map(|since| since + HELD_FOR)
    }
}

impl Receiver {
    fn mark(&mut self) {
        self.out.ndx(Ndx::Done);
        self.marks.sent += 1;
    }

    /// A mark that ends a list of so many entries.
    fn mark_list(&mut self, entries: u32) {
        let is_alone = self.out.pending() == self.held_marks.bytes;
        self.mark();
        if is_alone {
            self.held_marks.bytes = self.out.pending();
            self.held_marks.entries = self.held_marks.entries.saturating_add(entries);
            self.held_marks.since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether what is to be sent can wait.
    pub(super) fn may_hold_marks(&self) -> bool {
        let held = &self.held_marks;
        self.out.pending() == held.bytes
            && held.entries < HELD_ENTRIES
            && !self.lists_complete
            && held.until().is_some_and(|until| Instant::now() < until)
    }

    /// The client sent a mark.
    pub(super) fn take_done(&mut self) -> Result<(), Fatal> {
        self.marks.answered += 1;
        if self.marks.answered > self.marks.sent {
            return Err(Fatal::violation(
                "the client ended a phase that was not over",
            ));
        }
        Ok(())
    }

    /// Goes on to the next stage as long as nothing is missing for it.
    pub(super) fn advance(&mut self) -> Result<(), Fatal> {
        if self.destination.is_none() {
            return Ok(());
        }
        loop {
            let before = (self.stage, self.marks.sent);
            match self.stage {
                Stage::Visiting => self.end_visits()?,
                Stage::Redoing => self.end_redo()?,
                Stage::Settling => self.end_settling()?,
                Stage::Deleting => self.end_deleting()?,
                Stage::Leaving => self.leave()?,
                Stage::Over => return Ok(()),
            }
            if (self.stage, self.marks.sent) == before {
                return Ok(());
            }
        }
    }

    fn end_visits(&mut self) -> Result<(), Fatal> {
        // A list goes when the walk is at work in the next one: the deletions there, and backups
        // of what goes, may still make directories in those of this one.
        while self.negotiated.is_incremental()
            && self.walk_is_within_a_later_list()
            && self.lists[0].is_finished()
        {
            if let Some(done) = self.lists.pop_front() {
                self.mark_list(done.list.len());
                self.walk.list_released();
                self.repair_owner_of(&done.list);
                self.flists.release_oldest();
            }
        }
        let visited = self.lists_complete && self.walk_is_over() && !self.has_jobs();
        // With incremental recursion the mark of the last list is R1, and like the others it
        // says that nothing of the list is open.
        let answered = !self.negotiated.is_incremental()
            || self.lists.iter().all(super::lists::ListState::is_finished);
        if visited && answered {
            self.mark();
            self.marks.first = self.marks.sent;
            self.stage = Stage::Redoing;
        }
        Ok(())
    }

    fn end_redo(&mut self) -> Result<(), Fatal> {
        if !self.marks.has_answer(1) {
            return Ok(());
        }
        if !self.phase_one_answered {
            self.phase_one_answered = true;
            self.fail_unanswered()?;
            self.redo_now();
        }
        if self.has_jobs() {
            return Ok(());
        }
        // From protocol 30 on every request gets a reply, or word that there is none; a reply can
        // lead to further requests (hard links whose leader failed), which belong to this phase.
        // Links to files that are put in place at the end wait for them.
        let is_open = match self.delayed.is_empty() {
            true => self.lists.iter().any(|state| state.open > 0),
            false => self.outstanding.len() > 0,
        };
        if is_open && self.negotiated.version.at_least(30) {
            return Ok(());
        }
        self.mark();
        self.stage = Stage::Settling;
        Ok(())
    }

    fn end_settling(&mut self) -> Result<(), Fatal> {
        // Notes of hard links that wait for a file sent again must come before R3.
        let must_wait = self.totals.redone > 0
            || !self.delayed.is_empty()
            || !self.negotiated.version.at_least(29);
        if must_wait && !self.marks.has_answer(2) {
            return Ok(());
        }
        if self.marks.has_answer(2) {
            self.fail_unanswered()?;
        }
        self.put_delayed_in_place()?;
        if self.has_jobs() {
            return Ok(());
        }
        if !self.negotiated.version.at_least(29) {
            self.stage = Stage::Deleting;
            return Ok(());
        }
        self.mark();
        if !self.policy.deletes_late() {
            self.put_deletion_marks();
        }
        self.stage = Stage::Deleting;
        Ok(())
    }

    fn end_deleting(&mut self) -> Result<(), Fatal> {
        if self.negotiated.version.at_least(29) && !self.marks.has_answer(3) {
            return Ok(());
        }
        self.fail_unanswered()?;
        if self.policy.deletes_late() {
            if !self.late_deletion_is_over() {
                return Ok(());
            }
            self.put_deletion_marks();
        }
        self.stage = Stage::Leaving;
        Ok(())
    }

    /// What was deleted, and R4; protocol 31 and later only.
    fn put_deletion_marks(&mut self) {
        if !self.negotiated.version.at_least(31) {
            return;
        }
        if self.policy.may_delete() {
            self.out.ndx(Ndx::DelStats);
            for count in self.totals.deleted.counts() {
                self.out
                    .put_varint(i32::try_from(count).unwrap_or(i32::MAX));
            }
        }
        self.mark();
    }

    /// `--remove-source-files`: the client removes what it is told is safe, so it must be.
    fn tell_successes(&mut self) -> Result<(), Fatal> {
        if self.successes.is_empty() || self.policy.dry_run {
            return Ok(());
        }
        if let Err(error) = self.root.sync() {
            return Err(self.store_failure("sync failed for", b"", &error));
        }
        for ndx in std::mem::take(&mut self.successes) {
            self.out.success(ndx);
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Fatal> {
        if self.negotiated.version.at_least(31) && !self.marks.has_answer(4) {
            return Ok(());
        }
        self.end_of_deletion_notice();
        self.repair_directories();
        self.tell_successes()?;
        self.out.ndx(Ndx::Done);
        self.out.flush();
        self.expect = Expect::Nothing;
        self.stage = Stage::Over;
        Ok(())
    }
}
