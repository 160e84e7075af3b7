//! Requests that wait for their replies.
//!
//! Replies come in the order of the requests. What was asked for waits in a queue; a reply takes
//! its place at the front, and what stood before it was never answered (protocols before 30 say
//! nothing about a file that vanished).

use std::collections::{HashSet, VecDeque};

use coffre_protocol::item::ItemHead;
use coffre_protocol::sum::SumHead;

use super::basis::Basis;
use super::{Fatal, Receiver};

/// What is to come for an item.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) ndx: u32,
    pub(super) item: ItemHead,
    /// Numbers of the xattr values asked for.
    pub(super) missing: Vec<u32>,
    /// Marks that had been sent before it was asked for.
    after_marks: u32,
    pub(super) kind: AwaitedKind,
}

#[derive(Debug)]
pub(super) enum AwaitedKind {
    /// Only the echo, with xattr values.
    Note,
    /// Only the echo: nothing is transferred in a dry run.
    DryRun,
    File {
        head: SumHead,
        basis: Option<Basis>,
        is_redo: bool,
    },
}

impl Awaited {
    pub(super) fn dry_run(ndx: u32, item: ItemHead, missing: Vec<u32>) -> Self {
        Self {
            ndx,
            item,
            missing,
            after_marks: 0,
            kind: AwaitedKind::DryRun,
        }
    }

    pub(super) fn file(
        ndx: u32,
        item: ItemHead,
        missing: Vec<u32>,
        head: SumHead,
        basis: Option<Basis>,
        is_redo: bool,
    ) -> Self {
        Self {
            ndx,
            item,
            missing,
            after_marks: 0,
            kind: AwaitedKind::File {
                head,
                basis,
                is_redo,
            },
        }
    }
}

/// Requests in order, and those of them that the client said it will not answer.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    queue: VecDeque<Awaited>,
    not_sent: HashSet<u32>,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Of memory.
    pub(super) fn bytes(&self) -> usize {
        self.queue.len() * size_of::<Awaited>() + 2 * self.not_sent.len() * size_of::<u32>()
    }
}

impl Receiver {
    pub(super) fn await_reply(&mut self, mut awaited: Awaited) {
        awaited.after_marks = self.marks.sent;
        self.outstanding.queue.push_back(awaited);
    }

    pub(super) fn await_note(
        &mut self,
        ndx: u32,
        item: ItemHead,
        missing: &[u32],
    ) -> Result<(), Fatal> {
        self.opened(ndx)?;
        let (missing, kind) = (missing.to_vec(), AwaitedKind::Note);
        let after_marks = self.marks.sent;
        self.outstanding.queue.push_back(Awaited {
            ndx,
            item,
            missing,
            after_marks,
            kind,
        });
        Ok(())
    }

    /// The client will not send this file.
    pub(super) fn no_send(&mut self, ndx: u32) -> Result<(), Fatal> {
        let Outstanding { queue, not_sent } = &mut self.outstanding;
        if !not_sent.contains(&ndx) && queue.iter().any(|awaited| awaited.ndx == ndx) {
            not_sent.insert(ndx);
        }
        self.skip_not_sent()
    }

    /// Takes what will not come off the front of the queue.
    fn skip_not_sent(&mut self) -> Result<(), Fatal> {
        while let Some(front) = self.outstanding.queue.front()
            && self.outstanding.not_sent.remove(&front.ndx)
        {
            let ndx = front.ndx;
            self.outstanding.queue.pop_front();
            self.unanswered(ndx)?;
        }
        Ok(())
    }

    /// A request that got no answer.
    fn unanswered(&mut self, ndx: u32) -> Result<(), Fatal> {
        self.leader_failed(ndx)?;
        self.closed(ndx)
    }

    /// A phase is over: what was asked in it and has not come will not come.
    pub(super) fn fail_unanswered(&mut self) -> Result<(), Fatal> {
        let answered = self.marks.answered;
        while let Some(awaited) = self.outstanding.queue.front()
            && awaited.after_marks < answered
        {
            let ndx = awaited.ndx;
            self.outstanding.queue.pop_front();
            self.outstanding.not_sent.remove(&ndx);
            self.unanswered(ndx)?;
        }
        Ok(())
    }

    /// The request that a reply belongs to. Those before it have got none.
    pub(super) fn next_awaited(&mut self, ndx: u32) -> Result<Awaited, Fatal> {
        loop {
            let Some(awaited) = self.outstanding.queue.pop_front() else {
                return Err(Fatal::violation(format!(
                    "a reply for file index {ndx}, which was not asked for"
                )));
            };
            self.outstanding.not_sent.remove(&awaited.ndx);
            if awaited.ndx == ndx {
                return Ok(awaited);
            }
            let skipped = awaited.ndx;
            self.unanswered(skipped)?;
        }
    }
}
