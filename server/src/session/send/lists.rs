//! The lists: one for everything, or with incremental recursion one for each directory.
//!
//! A list is written into the data stream as it is made, so nothing else may be written until it
//! ends. With incremental recursion [`Sender::must_list`] and [`Sender::may_list`] keep between one
//! and ten thousand entries ahead of where the client is known to be, as stock senders do. It is
//! known from its items and marks only. So a client that asks for nothing for a while is given
//! another list: it may be looking at entries that are all up to date.

use std::collections::HashMap;
use std::time::Instant;

use coffre_protocol::flist::{EntryFields, ListBuilder, ListHead};
use coffre_protocol::ndx::Ndx;
use coffre_protocol::wire::Write;

use super::phases::Stage;
use super::walk::{Part, Visit, Visiting};
use super::{Fatal, Sender};

/// Entries ahead of the client before anything else is done, and at most.
const LEAST_AHEAD: u64 = 1000;
const MOST_AHEAD: u64 = 10_000;

/// What is kept of a list beside its entries.
pub(super) struct Extra {
    pub(super) len: u32,
    /// By place in order of transmission; empty: all are of origin 0.
    origins: Box<[u32]>,
    /// Of the directory that the list is the content of.
    owner_origin: u32,
}

/// The list that is being sent, and the directory whose entries go into it.
#[derive(Default)]
pub(super) struct Listing {
    list: Option<OpenList>,
    pub(super) visiting: Option<Visiting>,
}

struct OpenList {
    builder: ListBuilder,
    origins: Vec<u32>,
    one_origin: bool,
    owner_origin: u32,
    /// Directories in it whose content is still to be listed, by path.
    below: HashMap<Vec<u8>, Vec<Part>>,
}

impl Listing {
    pub(super) fn is_open(&self) -> bool {
        self.list.is_some()
    }

    pub(super) fn builder(&mut self) -> Option<&mut ListBuilder> {
        self.list.as_mut().map(|list| &mut list.builder)
    }

    pub(super) fn keep(
        &mut self,
        fields: &EntryFields<'_>,
        xattrs: Option<u32>,
        origin: u32,
    ) -> Result<(), Fatal> {
        if let Some(list) = &mut self.list {
            list.builder.push_with(fields, xattrs)?;
            if !list.one_origin {
                list.origins.push(origin);
            }
        }
        Ok(())
    }

    /// A directory in this list has content that comes later.
    pub(super) fn put_below(&mut self, path: &[u8], part: Part) {
        if let Some(list) = &mut self.list {
            list.below.entry(path.to_vec()).or_default().push(part);
        }
    }
}

impl Sender {
    fn is_incremental(&self) -> bool {
        self.agreed.is_incremental()
    }

    /// Entries in lists behind the one that the client is at.
    fn ahead(&self) -> u64 {
        let behind = self.extras.range(self.current_list + 1..);
        behind
            .take(LEAST_AHEAD as usize * 10)
            .map(|(_, extra)| u64::from(extra.len) + 1)
            .sum()
    }

    /// Whether another list comes before anything else.
    pub(super) fn must_list(&self) -> bool {
        self.flists.count() == 0
            || self.is_incremental() && !self.flists.is_complete() && self.ahead() < LEAST_AHEAD
    }

    /// Whether another list may be sent now; `waits`: the client asks for nothing.
    pub(super) fn may_list(&self, waits: bool) -> bool {
        if self.stage != Stage::Serving || self.listing.is_open() {
            return false;
        }
        self.flists.count() == 0
            || self.is_incremental()
                && !self.flists.is_complete()
                && (waits || self.ahead() < MOST_AHEAD)
    }

    /// The client is at this list, or further.
    pub(super) fn client_is_at(&mut self, start: u32) {
        self.current_list = self.current_list.max(start);
    }

    /// A piece of the list at hand, or of the next one.
    pub(super) fn list_some(&mut self) -> Result<(), Fatal> {
        if !self.listing.is_open() {
            self.begin_list()?;
        }
        if self.visit_some()? {
            return Ok(());
        }
        if !self.is_incremental() {
            self.push_parts_below();
            if let Some(visit) = self.visits.pop() {
                self.begin_visit(visit);
                return Ok(());
            }
        }
        self.end_list()
    }

    fn begin_list(&mut self) -> Result<(), Fatal> {
        let Some(visit) = self.visits.pop() else {
            return Err(Fatal::internal("no directory is left to list"));
        };
        let head = match visit.number {
            None => ListHead::first(&self.kept),
            Some(number) => {
                let head = self.flists.announce(number)?;
                self.out.ndx(Ndx::Flist(number));
                head
            }
        };
        self.encoder.begin(&head);
        self.listing.list = Some(OpenList {
            builder: ListBuilder::new(&self.kept, head),
            origins: Vec::new(),
            one_origin: self.plan.has_one_origin(),
            owner_origin: visit.parts.first().map_or(0, |part| part.origin),
            below: HashMap::new(),
        });
        self.begin_visit(visit);
        Ok(())
    }

    /// Without incremental recursion the content of the directories just listed comes next.
    fn push_parts_below(&mut self) {
        if let Some(list) = &mut self.listing.list {
            for (name, parts) in list.below.drain() {
                self.visits.push(Visit {
                    name,
                    number: None,
                    parts,
                });
            }
        }
    }

    fn end_list(&mut self) -> Result<(), Fatal> {
        let Some(list) = self.listing.list.take() else {
            return Ok(());
        };
        let version = self.agreed.version;
        let first = self.flists.count() == 0;
        let told = match self.options.ignore_errors {
            true => 0,
            false => self.io_error,
        };
        let went = self.encoder.end(told, &mut self.out);
        self.encoder.ids(&mut self.out);
        if !version.at_least(30) {
            self.out.put_i32(told as i32);
        } else if !went && told != 0 {
            self.out.io_error(told);
        }
        self.told_io_error = self.io_error;
        let list_of = list.builder.finish();
        let start = list_of.start();
        self.extras.insert(
            start,
            Extra {
                len: list_of.len(),
                origins: list.origins.into_boxed_slice(),
                owner_origin: list.owner_origin,
            },
        );
        let is_empty = list_of.is_empty();
        self.flists.push(list_of)?;
        if first {
            self.current_list = start;
        }
        if self.is_incremental() {
            self.schedule_directories(list.below);
            if self.visits.is_empty() {
                self.out.ndx(Ndx::FlistEof);
                self.flists.finish()?;
            }
        }
        self.list_millis = u64::try_from(self.list_began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if first && is_empty {
            // Such a client reads no further.
            self.stage = Stage::Over;
        }
        self.filters_done();
        self.last_input = Instant::now();
        Ok(())
    }

    /// The directories of the list just ended, in their order: each gets a list of its own.
    fn schedule_directories(&mut self, mut below: HashMap<Vec<u8>, Vec<Part>>) {
        let mut path = Vec::new();
        let mut visits: Vec<Visit> = self
            .flists
            .newest_directories()
            .map(|(number, entry)| {
                let name = entry.path(&mut path).to_vec();
                Visit {
                    parts: below.remove(&name).unwrap_or_default(),
                    name,
                    number: Some(number),
                }
            })
            .collect();
        visits.reverse();
        self.visits.append(&mut visits);
    }

    /// Rules are not needed again once everything is listed.
    fn filters_done(&mut self) {
        if !self.is_incremental() || self.flists.is_complete() {
            self.filters = super::filters::Filters::default();
        }
    }

    /// Where an entry comes from. `ndx`: of a list that is not released.
    pub(super) fn origin_of(&self, ndx: u32) -> u32 {
        let Some(list) = self.flists.list_of(ndx) else {
            return 0;
        };
        let Some(extra) = self.extras.get(&list.start()) else {
            return 0;
        };
        if ndx < list.start() {
            return match list.owner() {
                Some(_) => extra.owner_origin,
                // The entry `.` of the first list.
                None if list.is_empty() => 0,
                None => self.origin_of(list.ndx_of(0)),
            };
        }
        list.position(ndx)
            .and_then(|position| extra.origins.get(position as usize).copied())
            .unwrap_or(0)
    }

    /// Forgets the oldest list; the client is done with it.
    pub(super) fn release_oldest(&mut self) {
        if let Some(start) = self.flists.release_oldest() {
            self.extras.remove(&start);
        }
        if let Some(start) = self.flists.oldest().map(|list| list.start()) {
            self.client_is_at(start);
        }
    }
}
