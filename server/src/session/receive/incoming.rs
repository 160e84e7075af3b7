//! Replies: the echo of an item, and for a request the file's tokens and sum.
//!
//! Replies come in the order of the requests. What was asked for waits in a queue; a reply takes
//! its place at the front, and what stood before it was never answered (protocols before 30 say
//! nothing about a file that vanished).

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use coffre_protocol::checksum::FileSummer;
use coffre_protocol::delta::Token;
use coffre_protocol::flist::{EntryRef, FileKind, FileList};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::sum::SumHead;
use coffre_protocol::wire::{Decode, Reader};

use super::basis::Basis;
use super::generator::Job;
use super::stream::{Expect, UnitError};
use super::writer::FileWriter;
use super::{Fatal, Receiver, path_of};
use crate::confine::{Kind, Replace, XattrSet};

/// What is to come for an item.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) ndx: u32,
    item: ItemHead,
    /// Numbers of the xattr values asked for.
    missing: Vec<u32>,
    /// Marks that had been sent before it was asked for.
    after_marks: u32,
    kind: AwaitedKind,
}

#[derive(Debug)]
enum AwaitedKind {
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
    pub(super) fn dry_run(ndx: u32, item: ItemHead) -> Self {
        Self {
            ndx,
            item,
            missing: Vec::new(),
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
}

/// The file whose content is arriving.
pub(super) struct Incoming {
    awaited: Awaited,
    list: Arc<FileList>,
    head: SumHead,
    basis: Option<File>,
    /// Xattr values by number.
    values: HashMap<u32, Vec<u8>>,
    /// `None`: the data is read and thrown away, because the file could not be made.
    writer: Option<FileWriter>,
    /// The basis was there when its sums were sent, and is gone now.
    lost_basis: bool,
    summer: FileSummer,
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

    /// Decodes what follows an index. `None`: it was a keep-alive of protocol 29.
    pub(super) fn decode_item_head(
        &mut self,
        ndx: u32,
        reader: &mut Reader<'_>,
    ) -> Decode<Option<ItemHead>> {
        if !self.negotiated.version.at_least(29) {
            let flags = ItemFlags::TRANSFER;
            return Ok(Some(ItemHead {
                flags,
                basis_type: None,
                xname: None,
            }));
        }
        let item = ItemHead::decode(reader)?;
        let is_keep_alive = !self.negotiated.version.at_least(30)
            && item.flags == ItemFlags::IS_NEW
            && self
                .lists
                .front()
                .is_some_and(|state| ndx == state.list.start() + state.list.len());
        if is_keep_alive {
            self.expect = Expect::Ndx;
            return Ok(None);
        }
        Ok(Some(item))
    }

    /// The echo of an item is there.
    pub(super) fn take_item(&mut self, ndx: u32, item: ItemHead) -> Result<(), Fatal> {
        let is_transfer = item.flags.contains(ItemFlags::TRANSFER);
        let has_values = self.exchanges_xattrs(&item);
        if !is_transfer && !has_values {
            // A note comes back as it was sent; there is nothing to do about it.
            self.expect = Expect::Ndx;
            return Ok(());
        }
        let awaited = self.next_awaited(ndx)?;
        let asked = awaited.item.flags;
        if asked.contains(ItemFlags::TRANSFER) != is_transfer
            || self.exchanges_xattrs(&awaited.item) != has_values
        {
            return Err(Fatal::violation(format!(
                "the reply for file index {ndx} does not fit the request"
            )));
        }
        let place = self.list_of(ndx)?;
        let list = Arc::clone(&self.lists[place].list);
        let summer = self.negotiated.file_summer();
        let missing = awaited.missing.clone();
        let allowed = self.abbreviated(&list, ndx);
        self.incoming = Some(Incoming {
            awaited,
            list,
            head: SumHead::NONE,
            basis: None,
            values: HashMap::new(),
            writer: None,
            lost_basis: false,
            summer,
        });
        if has_values {
            self.begin_xattr_reply(&missing, &allowed);
            self.expect = Expect::XattrReply;
            return Ok(());
        }
        self.after_xattrs(HashMap::new())
    }

    fn next_awaited(&mut self, ndx: u32) -> Result<Awaited, Fatal> {
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

    /// Goes on with an item after its xattr values, if there were any.
    pub(super) fn after_xattrs(&mut self, values: HashMap<u32, Vec<u8>>) -> Result<(), Fatal> {
        let Some(incoming) = &mut self.incoming else {
            return Err(Fatal::internal("xattr values without an item"));
        };
        incoming.values = values;
        match incoming.awaited.kind {
            AwaitedKind::File { .. } => self.expect = Expect::SumHead,
            AwaitedKind::DryRun => {
                let ndx = incoming.awaited.ndx;
                let list = Arc::clone(&incoming.list);
                self.incoming = None;
                self.expect = Expect::Ndx;
                if let Some(entry) = list.entry(ndx) {
                    self.leader_done(ndx, &entry)?;
                }
                self.closed(ndx)?;
            }
            AwaitedKind::Note => {
                let ndx = incoming.awaited.ndx;
                let list = Arc::clone(&incoming.list);
                let values = std::mem::take(&mut incoming.values);
                self.incoming = None;
                self.expect = Expect::Ndx;
                self.settle_note(&list, ndx, &values)?;
                self.closed(ndx)?;
            }
        }
        Ok(())
    }

    /// The values that a note waited for are there: set what it told.
    fn settle_note(
        &mut self,
        list: &Arc<FileList>,
        ndx: u32,
        values: &HashMap<u32, Vec<u8>>,
    ) -> Result<(), Fatal> {
        // A note under the index before a list's first is about the directory it belongs to.
        let owner = (ndx < list.start())
            .then(|| self.flists.owner_of(list))
            .flatten();
        let entry = match &owner {
            Some((home, slot)) => home.slot(*slot),
            None => list.entry(ndx),
        };
        let Some(entry) = entry else { return Ok(()) };
        let found = if entry.kind() == FileKind::Directory {
            self.directory_target(&entry)
        } else {
            self.target(&entry)
        };
        let target = match found {
            Ok(target) => target,
            Err(error) => return self.entry_failed("failed to stat", &entry, &error),
        };
        if let (Some(dir), Some(have)) = (&target.dir, &target.stat) {
            self.set_attributes(&entry, dir, &target.name, have, values)?;
        }
        Ok(())
    }

    pub(super) fn take_sum_head(&mut self, reader: &mut Reader<'_>) -> Result<(), UnitError> {
        let echoed = SumHead::decode(
            reader,
            self.negotiated.version,
            self.negotiated.transfer_sum.digest_len(),
        )?;
        let Some(mut incoming) = self.incoming.take() else {
            return Err(Fatal::internal("a sum head without a request").into());
        };
        let AwaitedKind::File { head, basis, .. } = &incoming.awaited.kind else {
            return Err(Fatal::internal("a sum head for a note").into());
        };
        if echoed != *head {
            return Err(Fatal::violation(format!(
                "the sum head for file index {} is not the one that was sent",
                incoming.awaited.ndx
            ))
            .into());
        }
        incoming.head = *head;
        let basis = basis.clone();
        let list = Arc::clone(&incoming.list);
        if let Some(entry) = list.entry(incoming.awaited.ndx) {
            if let Some(basis) = &basis {
                incoming.basis = self.open_basis_again(&entry, basis);
            }
            incoming.lost_basis = basis.is_some() && incoming.basis.is_none();
            if !incoming.lost_basis {
                incoming.writer = self.open_writer(&entry)?;
            }
        }
        self.tokens.begin_file(&incoming.head);
        if incoming.writer.is_none() {
            self.tokens.discard();
        }
        self.incoming = Some(incoming);
        self.expect = Expect::Tokens;
        Ok(())
    }

    /// Makes the unnamed file that the content goes into. `None`: it could not be made, which was
    /// told to the client; the content is thrown away. Errors: the store is full or broken.
    fn open_writer(&mut self, entry: &EntryRef<'_>) -> Result<Option<FileWriter>, Fatal> {
        let made = self.dir_of(entry).and_then(|dir| match dir {
            Some(dir) => dir.stage(self.policy.staging_mode(entry)),
            None => Err(std::io::ErrorKind::NotFound.into()),
        });
        match made {
            Ok(staged) => {
                let mut writer = FileWriter::new(staged, self.policy.sparse);
                if self.policy.preallocate {
                    writer.preallocate(entry.len());
                }
                Ok(Some(writer))
            }
            Err(error) if super::messages::is_store_failure(&error) => {
                Err(self.store_failure("mkstemp", &path_of(entry), &error))
            }
            Err(error) => {
                self.file_error("mkstemp", &path_of(entry), &error);
                Ok(None)
            }
        }
    }

    /// Takes tokens of the file at hand. `false`: the input is used up.
    pub(super) fn take_tokens(&mut self, rest: &mut &[u8]) -> Result<bool, Fatal> {
        let Some(mut incoming) = self.incoming.take() else {
            return Err(Fatal::internal("tokens without a file"));
        };
        let result = self.tokens_of(&mut incoming, rest);
        self.incoming = Some(incoming);
        result
    }

    fn tokens_of(&mut self, incoming: &mut Incoming, rest: &mut &[u8]) -> Result<bool, Fatal> {
        loop {
            match self.tokens.next(rest)? {
                None => return Ok(false),
                Some(Token::Literal(bytes)) => {
                    self.totals.literal += bytes.len() as u64;
                    incoming.summer.update(bytes);
                    if let Some(writer) = &mut incoming.writer
                        && let Err(error) = writer.write(bytes)
                    {
                        return Err(self.write_failed(incoming, &error));
                    }
                }
                Some(Token::Blocks { first, count }) => {
                    self.copy_blocks(incoming, first, count)?;
                }
                Some(Token::End) => {
                    self.expect = Expect::FileSum;
                    return Ok(true);
                }
            }
        }
    }

    fn write_failed(&mut self, incoming: &Incoming, error: &std::io::Error) -> Fatal {
        let path = incoming
            .list
            .entry(incoming.awaited.ndx)
            .map(|entry| path_of(&entry));
        self.store_failure("write failed on", &path.unwrap_or_default(), error)
    }

    /// Copies blocks `first … first + count - 1` of the basis.
    fn copy_blocks(
        &mut self,
        incoming: &mut Incoming,
        first: u32,
        count: u32,
    ) -> Result<(), Fatal> {
        let Some(writer) = &mut incoming.writer else {
            return Ok(());
        };
        let Some(basis) = &incoming.basis else {
            return Err(Fatal::violation("a block of a file that is not there"));
        };
        let mut at = incoming.head.offset(first);
        let last = first + count - 1;
        let end = incoming.head.offset(last) + u64::from(incoming.head.len(last));
        while at < end {
            let step = (end - at).min(COPY_STEP as u64) as usize;
            self.buffer.resize(COPY_STEP, 0);
            let piece = &mut self.buffer[..step];
            if let Err(error) = basis.read_exact_at(piece, at) {
                // What cannot be read cannot verify: the file will be asked for once more.
                piece.fill(0);
                tracing::warn!(%error, "cannot read a basis file");
            }
            incoming.summer.update(piece);
            if self.tokens.wants_matched_data() {
                self.tokens.matched(piece);
            }
            self.totals.matched += step as u64;
            if let Err(error) = writer.write(&self.buffer[..step]) {
                return Err(self.write_failed(incoming, &error));
            }
            at += step as u64;
            self.stay_alive();
        }
        Ok(())
    }

    /// The sum of the whole file is there: keep it, or ask again.
    pub(super) fn finish_file(&mut self, sum: &[u8]) -> Result<(), Fatal> {
        self.expect = Expect::Ndx;
        let Some(incoming) = self.incoming.take() else {
            return Err(Fatal::internal("a file sum without a file"));
        };
        let Incoming {
            awaited,
            list,
            values,
            writer,
            summer,
            lost_basis,
            ..
        } = incoming;
        let ndx = awaited.ndx;
        let AwaitedKind::File { is_redo, .. } = awaited.kind else {
            return Err(Fatal::internal("a file sum for a note"));
        };
        let Some(entry) = list.entry(ndx) else {
            return Err(Fatal::internal("a file sum for a dropped entry"));
        };
        let is_whole = summer.finish().as_bytes() == sum;
        match writer {
            Some(writer) if is_whole => {
                if self.publish(&entry, writer, &values)? {
                    self.totals.transferred += 1;
                    self.totals.transferred_size =
                        self.totals.transferred_size.saturating_add(entry.len());
                    if self.policy.reports_success {
                        self.successes.push(ndx);
                    }
                    self.leader_done(ndx, &entry)?;
                } else {
                    self.leader_failed(ndx)?;
                }
            }
            None if is_redo || !lost_basis => self.leader_failed(ndx)?,
            _ if !is_redo => {
                if self.policy.verbose > 0 || self.policy.itemizes {
                    self.verification_text(MessageKind::Warning, &entry);
                }
                self.redo_later(ndx);
                return Ok(());
            }
            _ => {
                self.verification_text(MessageKind::ErrorXfer, &entry);
                self.totals.had_errors = true;
                self.leader_failed(ndx)?;
            }
        }
        self.closed(ndx)
    }

    /// Gives a whole file its attributes and its name. `false`: it failed and was reported.
    fn publish(
        &mut self,
        entry: &EntryRef<'_>,
        writer: FileWriter,
        values: &HashMap<u32, Vec<u8>>,
    ) -> Result<bool, Fatal> {
        let path = path_of(entry);
        let mut staged = match writer.finish() {
            Ok(staged) => staged,
            Err(error) => return Err(self.store_failure("write failed on", &path, &error)),
        };
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => {
                self.entry_failed("failed to stat", entry, &error)?;
                return Ok(false);
            }
        };
        let Some(dir) = &target.dir else {
            self.file_error("rename", &path, &std::io::ErrorKind::NotFound.into());
            return Ok(false);
        };
        let have = target.stat.filter(|have| have.kind == Kind::File);
        let local = match have.map(|_| self.local_xattrs_if_kept(dir, &target.name)) {
            Some(Ok(local)) => local,
            None => XattrSet::new(),
            Some(Err(error)) => {
                self.entry_failed("failed to read attributes of", entry, &error)?;
                XattrSet::new()
            }
        };
        let mut wanted = self.wanted(entry, have.as_ref(), &local, values);
        // A new inode has none of the old one's times.
        wanted.set_time(&self.policy, entry);
        self.tell_lost_values(entry, &wanted);
        let result = staged.apply(&wanted.attributes());
        self.report_attributes(entry, result)?;
        if self.policy.fsync
            && let Err(error) = staged.file().sync_all()
        {
            return Err(self.store_failure("fsync failed on", &path, &error));
        }
        let replace = if target.stat.is_some() {
            Replace::Yes
        } else {
            Replace::No
        };
        self.touched(entry.dir());
        match staged.publish(dir, &target.name, replace) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.entry_failed("rename", entry, &error)?;
                Ok(false)
            }
        }
    }

    /// Asks for a file once more: at once with incremental recursion, else in its own phase.
    fn redo_later(&mut self, ndx: u32) {
        if self.negotiated.is_incremental() {
            self.jobs.push_back(Job::Redo(ndx));
        } else {
            self.redo.push(ndx);
        }
    }

    /// The first phase is over: what did not verify in it is asked for again.
    pub(super) fn redo_now(&mut self) {
        let again = std::mem::take(&mut self.redo);
        self.jobs.extend(again.into_iter().map(Job::Redo));
    }

    fn verification_text(&mut self, kind: MessageKind, entry: &EntryRef<'_>) {
        let (word, tail): (&[u8], &[u8]) = if kind == MessageKind::Warning {
            (
                b"WARNING: ",
                b" failed verification -- update discarded (will try again).",
            )
        } else {
            (b"ERROR: ", b" failed verification -- update discarded.")
        };
        self.out
            .raw_text(kind, [word, &path_of(entry), tail].concat());
    }
}

/// How much of a basis is copied at a time.
const COPY_STEP: usize = 256 << 10;
