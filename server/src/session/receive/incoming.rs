//! Replies: the echo of an item, and for a request the file's tokens and sum.
//!
//! Each belongs to a request that waits ([`awaited`](super::awaited)). With the head of the sums it
//! is known where the content goes ([`opening`](super::opening)); tokens are written there as they
//! come, from the wire or from the basis; and the sum at the end says whether the file gets its
//! name ([`publish`](super::publish)) or is asked for once more.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use coffre_protocol::delta::Token;
use coffre_protocol::flist::{FileKind, FileList};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::sum::SumHead;
use coffre_protocol::wire::{Decode, Reader};

use super::awaited::{Awaited, AwaitedKind};
use super::publish::Published;
use super::stream::{Expect, UnitError};
use super::writer::FileWriter;
use super::{Fatal, Receiver, path_of};

/// The file whose content is arriving.
pub(super) struct Incoming {
    pub(super) awaited: Awaited,
    list: Arc<FileList>,
    pub(super) head: SumHead,
    pub(super) basis: Option<File>,
    /// Xattr values by number.
    values: HashMap<u32, Vec<u8>>,
    /// `None`: the data is read and thrown away, because the file could not be made.
    pub(super) writer: Option<FileWriter>,
    /// The basis was there when its sums were sent, and is gone now.
    lost_basis: bool,
    /// Bytes that came as they are, this time and when the kept basis was made.
    pub(super) literal: u64,
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
            literal: 0,
        });
        if has_values {
            self.begin_xattr_reply(&missing, &allowed);
            self.expect = Expect::XattrReply;
            return Ok(());
        }
        self.after_xattrs(HashMap::new())
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
            let step = writer.step(end - at);
            let tokens = &mut self.tokens;
            let copied = writer.copy(basis, at, step, |piece| {
                if tokens.wants_matched_data() {
                    tokens.matched(piece);
                }
            });
            self.totals.matched += step as u64;
            if let Err(error) = copied {
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
            mut writer,
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
        let (is_whole, content) = match writer.as_mut().map(FileWriter::sums) {
            Some(Ok(Some((own, content)))) => (own.as_bytes() == sum, content),
            Some(Ok(None)) | None => (false, None),
            Some(Err(error)) => {
                self.keep_unverified(&entry, writer, literal);
                return Err(self.store_failure("write failed on", &path_of(&entry), &error));
            }
        };
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
}
