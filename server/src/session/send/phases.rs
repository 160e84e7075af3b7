//! The marks that end lists and phases, and the goodbye.
//!
//! | mark of the client | answer |
//! |---|---|
//! | end of a list, while there are more | the same |
//! | end of phase 0, of phase 1 | the same |
//! | end of phase 2 (before protocol 29: of phase 1) | what went wrong since the lists, a mark, statistics |
//! | protocol 31: behind it (deletion counts, and) a mark | the same, and one mark more is awaited |

use coffre_protocol::mux::MessageKind;
use coffre_protocol::ndx::Ndx;
use coffre_protocol::wire::Write;

use super::stream::Expect;
use super::{Fatal, Sender};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Filter rules, and names, are read.
    Opening,
    /// Sources are looked at.
    Planning,
    /// Lists and files are sent.
    Serving,
    /// Nothing more will be said.
    Over,
}

/// How far the marks have come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    pub(super) phase: u8,
    /// Marks of the goodbye that have come.
    goodbye: u8,
    pub(super) is_goodbye: bool,
}

impl Sender {
    pub(super) fn take_done(&mut self) -> Result<(), Fatal> {
        let version = self.agreed.version;
        if self.marks.is_goodbye {
            self.marks.goodbye += 1;
            let awaited = if version.at_least(31) { 2 } else { 1 };
            if self.marks.goodbye < awaited {
                self.out.ndx(Ndx::Done);
            } else {
                self.expect = Expect::Nothing;
                self.stage = Stage::Over;
            }
            return Ok(());
        }
        if self.agreed.is_incremental() && self.flists.oldest().is_some() {
            self.release_oldest();
            if self.flists.oldest().is_some() || !self.flists.is_complete() {
                self.out.ndx(Ndx::Done);
                return Ok(());
            }
        }
        self.marks.phase += 1;
        let last = if version.at_least(29) { 3 } else { 2 };
        if self.marks.phase < last {
            self.out.ndx(Ndx::Done);
            return Ok(());
        }
        if self.io_error != self.told_io_error {
            self.out.io_error(self.io_error);
        }
        if self.options.verbosity >= 2 {
            let totals = self.totals;
            let line = format!(
                "total: matches={}  hash_hits={}  false_alarms={} data={}",
                totals.matches, totals.hits, totals.false_alarms, totals.literal
            );
            self.out.text(MessageKind::Info, &line);
        }
        self.out.ndx(Ndx::Done);
        self.put_statistics();
        self.marks.is_goodbye = true;
        Ok(())
    }

    fn put_statistics(&mut self) {
        self.flush();
        let (read, written) = self.pipe.totals();
        // A time of zero would say that none was taken.
        let list_millis = self.list_millis.max(1);
        let version = self.agreed.version;
        let mut values = vec![read, written, self.totals.size];
        if version.at_least(29) {
            values.extend([list_millis, 0]);
        }
        for value in values {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            match version.at_least(30) {
                true => self.out.put_varlong(value, 3),
                false => self.out.put_longint(value),
            }
        }
    }

    /// The client's deletion counts, which it wants back.
    pub(super) fn echo_del_stats(&mut self, counts: &[i32]) {
        self.out.ndx(Ndx::DelStats);
        for count in counts {
            self.out.put_varint(*count);
        }
    }
}
