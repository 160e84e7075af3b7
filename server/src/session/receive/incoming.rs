//! Replies: the echo of an item, and for a request the file's tokens and sum.
//!
//! Replies come in the order of the requests. What was asked for waits in a queue; a reply takes
//! its place at the front, and what stood before it was never answered (protocols before 30 say
//! nothing about a file that vanished).

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use coffre_protocol::ExitCode;
use coffre_protocol::delta::Token;
use coffre_protocol::flist::{EntryRef, FileKind, FileList};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::sum::SumHead;
use coffre_protocol::wire::{Decode, Reader};

use super::basis::Basis;
use super::generator::Job;
use super::policy::Append;
use super::stream::{Expect, UnitError};
use super::writer::{FileWriter, Held, Sink};
use super::{Fatal, Receiver, path_of};
use crate::confine::{Kind, Replace, Stat, XattrSet, keep_content_sum};
use crate::sum::{ArrivalSummer, Content};

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

/// What became of a file that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    Now,
    /// It waits for the end of the run.
    Later,
    /// The client was told.
    Failed,
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
    summer: ArrivalSummer,
    /// Bytes that came as they are, this time and when the kept basis was made.
    literal: u64,
}

/// What there is of a file whose rest will not come.
pub(super) struct Broken {
    pub(super) list: Arc<FileList>,
    pub(super) ndx: u32,
    pub(super) writer: FileWriter,
    pub(super) literal: u64,
}

impl Incoming {
    /// `None`: nothing had been written yet.
    pub(super) fn break_off(self) -> Option<Broken> {
        Some(Broken {
            list: self.list,
            ndx: self.awaited.ndx,
            writer: self.writer?,
            literal: self.literal,
        })
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
        let summer = self.negotiated.arrival_summer();
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
            literal: 0,
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
                // While a client writes a batch nothing changes here.
                if !self.policy.dry_run {
                    self.settle_note(&list, ndx, &values)?;
                }
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
                self.begin_content(&mut incoming, &entry, basis.as_ref())?;
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

    /// Makes or opens the file that the content goes into. No writer: it could not be had, which
    /// was told to the client; the content is thrown away. Errors: the store is full or broken.
    fn begin_content(
        &mut self,
        incoming: &mut Incoming,
        entry: &EntryRef<'_>,
        basis: Option<&Basis>,
    ) -> Result<(), Fatal> {
        let AwaitedKind::File { is_redo, .. } = incoming.awaited.kind else {
            return Ok(());
        };
        let appends = self.policy.append != Append::No && !is_redo && !incoming.head.is_empty();
        let (sink, held) = match self.open_sink(incoming, entry, basis, appends) {
            Ok(opened) => opened,
            Err((action, error)) if super::messages::is_store_failure(&error) => {
                return Err(self.store_failure(action, &path_of(entry), &error));
            }
            Err((action, error)) => {
                self.file_error(action, &path_of(entry), &error);
                return Ok(());
            }
        };
        let mut writer = FileWriter::new(sink, held, self.policy.sparse);
        if self.policy.preallocate {
            writer.preallocate(entry.len());
        }
        incoming.writer = Some(writer);
        if appends {
            self.pass_over_what_is_there(incoming)?;
        }
        Ok(())
    }

    /// The file to write into, and what it holds.
    fn open_sink(
        &mut self,
        incoming: &mut Incoming,
        entry: &EntryRef<'_>,
        basis: Option<&Basis>,
        appends: bool,
    ) -> Result<(Sink, Held), (&'static str, io::Error)> {
        let in_place = self.policy.inplace;
        if basis.is_some_and(Basis::is_kept) {
            let path = self.tree_path(entry).map_err(|error| ("open", error))?;
            let found = match &self.kept {
                Some(kept) => kept.find(&path).map_err(|error| ("open", error))?,
                None => None,
            };
            let note = found.and_then(|found| found.note);
            incoming.literal = note.map_or(0, |note| note.literal);
            // Appending needs what is there in the new file; and a client that keeps the rules
            // for files in place sends blocks only from behind the end of what was written.
            let (true, Some(kept)) = (in_place, &mut self.kept) else {
                return self.stage(incoming, entry);
            };
            let taken = kept.take(&path).map_err(|error| ("open", error))?;
            return match taken {
                Some(staged) => {
                    let len = incoming.head.basis_len();
                    let is_basis = true;
                    Ok((Sink::Staged(staged), Held { len, is_basis }))
                }
                None => Err(("open", io::ErrorKind::NotFound.into())),
            };
        }
        if !in_place {
            return self.stage(incoming, entry);
        }
        let target = self.target(entry).map_err(|error| ("open", error))?;
        let (Some(dir), Some(have)) = (&target.dir, &target.stat) else {
            if appends {
                return Err(("open", io::ErrorKind::NotFound.into()));
            }
            return self.stage(incoming, entry);
        };
        if have.kind != Kind::File {
            return self.stage(incoming, entry);
        }
        let file = dir
            .open_in_place(&target.name, have)
            .map_err(|error| ("open", error))?;
        let mut held = Held {
            len: file
                .file()
                .metadata()
                .map_err(|error| ("open", error))?
                .len(),
            is_basis: basis.is_some_and(Basis::has_content_of_destination),
        };
        if self.policy.sparse && self.policy.whole_file {
            // Holes come cheapest in a file that is empty at first.
            file.file()
                .set_len(0)
                .map_err(|error| ("ftruncate", error))?;
            held = Held::default();
        }
        Ok((Sink::InPlace(file), held))
    }

    /// A new file, as a clone of the basis where the file system can.
    fn stage(
        &mut self,
        incoming: &Incoming,
        entry: &EntryRef<'_>,
    ) -> Result<(Sink, Held), (&'static str, io::Error)> {
        let mut make = || {
            let dir = self.dir_of(entry)?.ok_or(io::ErrorKind::NotFound)?;
            let staged = dir.stage(self.policy.staging_mode(entry))?;
            let mut held = Held::default();
            if let Some(basis) = &incoming.basis
                && incoming.head.basis_len() >= WORTH_CLONING
                && staged.clone_content(basis)?
            {
                held.len = staged.file().metadata()?.len();
                held.is_basis = true;
            }
            Ok((Sink::Staged(staged), held))
        };
        make().map_err(|error| ("mkstemp", error))
    }

    /// Appending: what is there stays, and with `--append-verify` takes part in the sum.
    fn pass_over_what_is_there(&mut self, incoming: &mut Incoming) -> Result<(), Fatal> {
        let (Some(writer), Some(basis)) = (&mut incoming.writer, &incoming.basis) else {
            return Ok(());
        };
        let len = incoming.head.basis_len();
        writer.append_at(len);
        let is_covered = self.policy.append == Append::Verified;
        let mut at = 0;
        self.buffer.resize(COPY_STEP, 0);
        while at < len {
            let step = (len - at).min(COPY_STEP as u64) as usize;
            let piece = &mut self.buffer[..step];
            if let Err(error) = basis.read_exact_at(piece, at) {
                piece.fill(0);
                if !is_covered {
                    // Nobody verifies it, so a sum of it would vouch for bytes that are not there.
                    incoming.summer.skip();
                    return Ok(());
                }
                tracing::warn!(%error, "cannot read a file that is appended to");
            }
            match is_covered {
                true => incoming.summer.update(piece),
                false => incoming.summer.update_uncovered(piece),
            }
            at += step as u64;
            self.stay_alive();
        }
        Ok(())
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
                    incoming.literal += bytes.len() as u64;
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
            if let Err(error) = writer.write_matched(&self.buffer[..step], at) {
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
            literal,
            ..
        } = incoming;
        let ndx = awaited.ndx;
        let AwaitedKind::File { is_redo, basis, .. } = awaited.kind else {
            return Err(Fatal::internal("a file sum for a note"));
        };
        let Some(entry) = list.entry(ndx) else {
            return Err(Fatal::internal("a file sum for a dropped entry"));
        };
        let (own, content) = summer.finish();
        let is_whole = own.as_bytes() == sum;
        match writer {
            Some(writer) if is_whole => {
                let published = self.publish(&entry, writer, content, basis.as_ref(), &values)?;
                if published != Published::Failed {
                    self.totals.transferred += 1;
                    self.totals.transferred_size =
                        self.totals.transferred_size.saturating_add(entry.len());
                }
                match published {
                    Published::Now => {
                        if self.policy.reports_success {
                            self.successes.push(ndx);
                        }
                        self.leader_done(ndx, &entry)?;
                    }
                    Published::Later => self.delayed.push(ndx),
                    Published::Failed => self.leader_failed(ndx)?,
                }
            }
            None if is_redo || !lost_basis => self.leader_failed(ndx)?,
            writer if !is_redo => {
                self.keep_unverified(&entry, writer, literal);
                if self.policy.verbose > 0 || self.policy.itemizes {
                    self.verification_text(MessageKind::Warning, &entry);
                }
                self.redo_later(ndx);
                return Ok(());
            }
            writer => {
                self.keep_unverified(&entry, writer, literal);
                self.verification_text(MessageKind::ErrorXfer, &entry);
                self.totals.had_errors = true;
                self.leader_failed(ndx)?;
            }
        }
        self.closed(ndx)
    }

    /// Gives a whole file its attributes and its name.
    fn publish(
        &mut self,
        entry: &EntryRef<'_>,
        writer: FileWriter,
        content: Option<Content>,
        basis: Option<&Basis>,
        values: &HashMap<u32, Vec<u8>>,
    ) -> Result<Published, Fatal> {
        let path = path_of(entry);
        let tree_path = self.tree_path(entry);
        let sink = match writer.finish() {
            Ok(sink) => sink,
            Err(error) => return Err(self.store_failure("write failed on", &path, &error)),
        };
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => {
                self.entry_failed("failed to stat", entry, &error)?;
                return Ok(Published::Failed);
            }
        };
        let Some(dir) = &target.dir else {
            self.file_error("rename", &path, &std::io::ErrorKind::NotFound.into());
            return Ok(Published::Failed);
        };
        let have = target.stat.filter(|have| have.kind == Kind::File);
        let local = match have.map(|_| self.local_xattrs_if_kept(dir, &target.name)) {
            Some(Ok(local)) => local,
            // Its like elsewhere has what was not asked for.
            None => self.basis_xattrs(basis),
            Some(Err(error)) => {
                self.entry_failed("failed to read attributes of", entry, &error)?;
                XattrSet::new()
            }
        };
        let mut wanted = self.wanted(entry, have.as_ref(), &local, values);
        // A new inode has none of the old one's times, and one that was written to neither.
        wanted.set_time(&self.policy, entry);
        self.tell_lost_values(entry, &wanted);
        let mut staged = match (sink, have) {
            (Sink::Staged(staged), _) => staged,
            (Sink::InPlace(file), Some(have)) => {
                let result = super::attributes::update(dir, &target.name, &have, &wanted);
                self.report_attributes(entry, result)?;
                if let Some(content) = &content {
                    note_in_place(file.file(), content);
                }
                if self.policy.fsync
                    && let Err(error) = file.file().sync_all()
                {
                    return Err(self.store_failure("fsync failed on", &path, &error));
                }
                return Ok(Published::Now);
            }
            (Sink::InPlace(_), None) => {
                self.file_error("stat", &path, &io::ErrorKind::NotFound.into());
                return Ok(Published::Failed);
            }
        };
        if let Some(content) = content {
            staged.note_content(content);
        }
        let result = staged.apply(&wanted.attributes());
        self.report_attributes(entry, result)?;
        if self.policy.fsync
            && let Err(error) = staged.file().sync_all()
        {
            return Err(self.store_failure("fsync failed on", &path, &error));
        }
        if self.policy.delay_updates
            && let Some(kept) = &mut self.kept
        {
            let held = tree_path.and_then(|path| kept.keep_whole(staged, &path));
            return match held {
                Ok(()) => Ok(Published::Later),
                Err(error) => {
                    self.entry_failed("rename", entry, &error)?;
                    Ok(Published::Failed)
                }
            };
        }
        if !self.back_up_replaced(entry, &target)? {
            return Err(self.cannot_back_up(&path));
        }
        let replace = if target.stat.is_some() {
            Replace::Yes
        } else {
            Replace::No
        };
        self.touched(entry.dir());
        match staged.publish(dir, &target.name, replace) {
            Ok(()) => {
                self.forget_kept(entry);
                Ok(Published::Now)
            }
            Err(error) => {
                self.entry_failed("rename", entry, &error)?;
                Ok(Published::Failed)
            }
        }
    }

    /// What cannot be kept must not be replaced: stock ends here, and so do we.
    fn cannot_back_up(&self, path: &[u8]) -> Fatal {
        let shown = String::from_utf8_lossy(&self.shown(path)).into_owned();
        Fatal::exit(
            ExitCode::FileIo,
            format!("rsync: [receiver] no backup of \"{shown}\" could be made"),
        )
    }

    /// `--delay-updates`: puts in place what has come.
    pub(super) fn put_delayed_in_place(&mut self) -> Result<(), Fatal> {
        for ndx in std::mem::take(&mut self.delayed) {
            let place = self.list_of(ndx)?;
            let list = Arc::clone(&self.lists[place].list);
            let Some(entry) = list.entry(ndx) else {
                continue;
            };
            match self.put_one_in_place(&entry)? {
                Ok(true) => {
                    self.forget_kept(&entry);
                    if self.policy.reports_success {
                        self.successes.push(ndx);
                    }
                    self.leader_done(ndx, &entry)?;
                }
                Ok(false) => self.leader_failed(ndx)?,
                Err(error) => {
                    self.entry_failed("rename", &entry, &error)?;
                    self.leader_failed(ndx)?;
                }
            }
            self.stay_alive();
        }
        Ok(())
    }

    /// `Ok(false)`: it stays where it is, and the client was told.
    fn put_one_in_place(&mut self, entry: &EntryRef<'_>) -> Result<io::Result<bool>, Fatal> {
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => return Ok(Err(error)),
        };
        if !self.back_up_replaced(entry, &target)? {
            return Ok(Ok(false));
        }
        self.touched(entry.dir());
        let path = self.tree_path(entry);
        let (Some(dir), Some(kept)) = (&target.dir, &mut self.kept) else {
            return Ok(Err(io::ErrorKind::NotFound.into()));
        };
        let placed = path.and_then(|path| kept.put_in_place(&path, dir, &target.name));
        Ok(placed.map(|()| true))
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
        let (word, next): (&[u8], &[u8]) = match kind {
            MessageKind::Warning => (b"WARNING: ", b" (will try again)."),
            _ => (b"ERROR: ", b"."),
        };
        let kept: &[u8] = if self.policy.partial_dir.is_some() {
            b"put into partial-dir"
        } else if self.policy.keeps_broken {
            b"retained"
        } else {
            b"discarded"
        };
        let path = path_of(entry);
        let line = [word, &path, b" failed verification -- update ", kept, next];
        self.out.raw_text(kind, line.concat());
    }
}

/// The least basis, in bytes, that a new file starts as a clone of.
const WORTH_CLONING: u64 = 64 << 10;

/// Keeps what is known of a content that was written in place, with the time it has now. One that
/// cannot be kept is found out by reading when it is wanted.
fn note_in_place(file: &File, content: &Content) {
    let kept = rustix::fs::fstat(file)
        .map_err(io::Error::from)
        .and_then(|stat| keep_content_sum(file, content, Stat::from(stat).mtime));
    if let Err(error) = kept {
        tracing::debug!(%error, "the sum of a content could not be kept");
    }
}

/// How much of a basis is copied at a time.
const COPY_STEP: usize = 256 << 10;
