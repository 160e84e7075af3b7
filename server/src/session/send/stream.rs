//! What the client sends, unit by unit.
//!
//! ```text
//! handshake ▶ Filters ─▶ Names? ─▶ Ndx ─▶ ItemHead ─▶ XattrRequest? ─▶ SumHead? ─▶ Sums? ─┐
//!                                   ▲                                                     │
//!                                   └─────────────────────────────────────────────────────┘
//! ```
//!
//! Items go to a queue: the client asks as fast as it likes, and is answered as fast as it reads.
//! What it can make this queue hold is bounded: an index is good for two requests, all together
//! take no more memory than file lists may, and of block sums beyond a quarter of the session's
//! memory none are kept, so that those files are sent whole.

use coffre_protocol::ProtocolError;
use coffre_protocol::filter::ListState;
use coffre_protocol::flist::{FileKind, XattrRequestDecoder};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::{Message, Piece};
use coffre_protocol::ndx::Ndx;
use coffre_protocol::options::Append;
use coffre_protocol::sum::{BlockSumDecoder, SumHead};
use coffre_protocol::wire::{DecodeError, Reader};

use super::answers::{Item, Job};
use super::phases::Stage;
use super::{Fatal, Sender};

/// Bytes of block sums that wait for their turn, at most; a session with less memory has less.
pub(super) const SUMS_LIMIT: usize = 256 << 20;
/// Most blocks of one basis whose sums are kept; the rest of that file is sent as it is.
const MAX_BLOCKS: u32 = 8 << 20;
/// Items that wait for their turn, beyond the two that each entry is good for.
const SPARE_JOBS: usize = 1 << 16;

/// Which unit comes next in the data stream.
pub(super) enum Expect {
    Filters,
    /// Of `--files-from`; `true`: behind a name.
    Names,
    Ndx,
    /// So many more of the five deletion counts.
    DelStats(u8),
    ItemHead(u32),
    XattrRequest(Box<Item>, XattrRequestDecoder),
    SumHead(Box<Item>),
    Sums(Box<Item>, Box<BlockSumDecoder>),
    /// The goodbye is over.
    Nothing,
}

impl Sender {
    /// Takes bytes of the client, of any length.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        let framed = self.agreed.version.at_least(30);
        let mut input = bytes;
        while !input.is_empty() {
            if !framed {
                self.data(input)?;
                return Ok(());
            }
            // Before protocol 31 names come outside of the frames.
            if matches!(self.expect, Expect::Names)
                && !self.agreed.version.at_least(31)
                && self.demux.is_at_border()
            {
                let used = self.take_names(input)?;
                input = &input[used..];
                continue;
            }
            match self.demux.next(&mut input)? {
                Some(Piece::Data(data)) => self.data(data)?,
                Some(Piece::Message(message)) => self.message(message)?,
                None => {}
            }
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        let mut carry = std::mem::take(&mut self.carry);
        carry.pass(bytes, |input| self.consume(input))?;
        self.carry = carry;
        Ok(())
    }

    /// Takes all whole units from the front of `input`; answers how many bytes they were.
    fn consume(&mut self, input: &[u8]) -> Result<usize, Fatal> {
        let mut rest = input;
        loop {
            if matches!(self.expect, Expect::Names) {
                if rest.is_empty() {
                    break;
                }
                let used = self.take_names(rest)?;
                rest = &rest[used..];
                continue;
            }
            if matches!(self.expect, Expect::Sums(..)) {
                if !self.take_sums(&mut rest)? {
                    break;
                }
                continue;
            }
            let mut reader = Reader::new(rest);
            match self.unit(&mut reader) {
                Ok(()) => rest = reader.rest(),
                Err(DecodeError::Incomplete) => break,
                Err(DecodeError::Malformed(error)) => return Err(error.into()),
            }
        }
        Ok(input.len() - rest.len())
    }

    fn unit(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match &mut self.expect {
            Expect::Filters => {
                let state = self
                    .filters
                    .decode(reader, &self.options, self.agreed.version)?;
                if state == ListState::Complete {
                    self.expect = Expect::Ndx;
                    if self.wants_names() {
                        self.expect = Expect::Names;
                    } else {
                        self.stage = Stage::Planning;
                    }
                }
            }
            Expect::Ndx => {
                let ndx = self.ndx_in.decode(reader)?;
                self.take_ndx(ndx)?;
            }
            Expect::DelStats(left) => {
                let count = reader.varint()?;
                let left = *left - 1;
                self.del_stats.push(count);
                self.expect = Expect::DelStats(left);
                if left == 0 {
                    let counts = std::mem::take(&mut self.del_stats);
                    self.queue(Job::DelStats(counts))?;
                    self.expect = Expect::Ndx;
                }
            }
            Expect::ItemHead(ndx) => {
                let ndx = *ndx;
                let head = match self.agreed.version.at_least(29) {
                    true => ItemHead::decode(reader)?,
                    false => ItemHead {
                        flags: ItemFlags::TRANSFER,
                        ..ItemHead::default()
                    },
                };
                self.take_item(ndx, head)?;
            }
            Expect::XattrRequest(item, decoder) => {
                let entry = self.flists.entry(item.ndx);
                let set = entry.and_then(|entry| self.encoder.xattr_set(entry.xattrs()?));
                let empty = Default::default();
                if let Some(num) = decoder.decode(reader, set.unwrap_or(&empty))? {
                    item.xattrs.get_or_insert_default().push(num);
                } else if let Expect::XattrRequest(item, _) =
                    std::mem::replace(&mut self.expect, Expect::Ndx)
                {
                    self.after_xattrs(item)?;
                }
            }
            Expect::SumHead(_) => {
                let digest_len = self.agreed.transfer_sum.digest_len();
                let head = SumHead::decode(reader, self.agreed.version, digest_len)?;
                if let Expect::SumHead(item) = std::mem::replace(&mut self.expect, Expect::Ndx) {
                    self.take_sum_head(item, head)?;
                }
            }
            Expect::Names | Expect::Sums(..) => return Err(DecodeError::Incomplete),
            Expect::Nothing => {
                if reader.is_empty() {
                    return Err(DecodeError::Incomplete);
                }
                return Err(ProtocolError::violation("data after the end of the run").into());
            }
        }
        Ok(())
    }

    fn take_ndx(&mut self, ndx: Ndx) -> Result<(), ProtocolError> {
        if self.flists.count() == 0 {
            return Err(ProtocolError::violation(
                "something was asked for before there was a file list",
            ));
        }
        match ndx {
            Ndx::Done => self.queue(Job::Done)?,
            Ndx::DelStats => self.expect = Expect::DelStats(5),
            Ndx::File(ndx) if self.agreed.version.at_least(29) => {
                self.expect = Expect::ItemHead(ndx);
            }
            Ndx::File(ndx) => {
                let head = ItemHead {
                    flags: ItemFlags::TRANSFER,
                    ..ItemHead::default()
                };
                self.take_item(ndx, head)?;
            }
            Ndx::Flist(_) | Ndx::FlistEof => {
                return Err(ProtocolError::violation("a receiver announced a file list"));
            }
        }
        Ok(())
    }

    fn take_item(&mut self, ndx: u32, head: ItemHead) -> Result<(), ProtocolError> {
        self.expect = Expect::Ndx;
        let version = self.agreed.version;
        let is_keep_alive = !version.at_least(30)
            && head.flags == ItemFlags::IS_NEW
            && self.flists.newest().is_some_and(|list| list.len() == ndx);
        if is_keep_alive {
            return Ok(());
        }
        let Some(entry) = self.flists.entry(ndx) else {
            return Err(ProtocolError::violation(format!(
                "index {ndx} is not that of an entry"
            )));
        };
        let transfers = head.flags.contains(ItemFlags::TRANSFER);
        if transfers && entry.kind() != FileKind::Regular {
            return Err(ProtocolError::violation(format!(
                "index {ndx} was requested, which is not a regular file"
            )));
        }
        let item = Box::new(Item {
            ndx,
            head,
            xattrs: None,
            sums: None,
            sum_head: SumHead::NONE,
            appends: false,
        });
        let exchanges = self.encoder.format().has_xattrs()
            && !self.options.dry_run
            && self.agreed.exchanges_xattrs(item.head.flags);
        if exchanges {
            self.expect = Expect::XattrRequest(
                Box::new(Item {
                    xattrs: Some(Vec::new()),
                    ..*item
                }),
                XattrRequestDecoder::new(),
            );
            return Ok(());
        }
        self.after_xattrs(item)
    }

    fn after_xattrs(&mut self, item: Box<Item>) -> Result<(), ProtocolError> {
        if item.transfers() && !self.options.dry_run {
            self.expect = Expect::SumHead(item);
            return Ok(());
        }
        self.expect = Expect::Ndx;
        self.queue(Job::Item(item))
    }

    fn take_sum_head(&mut self, mut item: Box<Item>, head: SumHead) -> Result<(), ProtocolError> {
        item.sum_head = head;
        let appends = self.options.append(self.agreed.version) != Append::No;
        // What did not verify is asked for again, as a transfer like any other.
        item.appends = appends && self.asked_once.insert(item.ndx);
        if head.count == 0 || item.appends {
            return self.queue(Job::Item(item));
        }
        let limit = SUMS_LIMIT.min(self.limits.cache_bytes);
        let room = limit.saturating_sub(self.sum_bytes) / head.sum_len();
        let blocks = MAX_BLOCKS.min(u32::try_from(room).unwrap_or(u32::MAX));
        let decoder = BlockSumDecoder::new(head, blocks);
        self.expect = Expect::Sums(item, Box::new(decoder));
        Ok(())
    }

    /// `false`: more has to come.
    fn take_sums(&mut self, rest: &mut &[u8]) -> Result<bool, Fatal> {
        let Expect::Sums(_, decoder) = &mut self.expect else {
            return Ok(true);
        };
        if !decoder.read(rest) {
            return Ok(false);
        }
        if let Expect::Sums(mut item, decoder) = std::mem::replace(&mut self.expect, Expect::Ndx) {
            let sums = decoder.finish();
            self.sum_bytes += sums.known() as usize * item.sum_head.sum_len();
            item.sums = Some(sums);
            self.queue(Job::Item(item))?;
        }
        Ok(true)
    }

    fn queue(&mut self, job: Job) -> Result<(), ProtocolError> {
        let entries = usize::try_from(self.totals.entries).unwrap_or(usize::MAX);
        if self.jobs.len() > entries.saturating_mul(2).saturating_add(SPARE_JOBS) {
            return Err(ProtocolError::violation(
                "more was asked for than there is in the file list",
            ));
        }
        let bytes = self.jobs.len() * (size_of::<Job>() + size_of::<Item>());
        if bytes > self.limits.list_bytes {
            return Err(ProtocolError::violation(
                "more was asked for at a time than a session may have memory for",
            ));
        }
        self.jobs.push_back(job);
        Ok(())
    }

    fn message(&mut self, message: Message) -> Result<(), Fatal> {
        match message {
            Message::ErrorExit(code) => Err(Fatal::PeerExit(code.unwrap_or(0))),
            Message::IoError(_)
            | Message::NoSend(_)
            | Message::Text(..)
            | Message::Noop
            | Message::Success(_)
            | Message::Deleted(_) => Ok(()),
        }
    }
}
