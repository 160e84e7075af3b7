//! The client's half of a push, decoded from the exec string to the goodbye, without doing anything
//! about it.
//!
//! What it says is an [`Event`] per thing decoded, and these must not depend on how the bytes were
//! cut. What a real session takes from its disk (the basis of a delta) is made up.

use std::collections::HashMap;

use coffre_protocol::checksum::FileSummer;
use coffre_protocol::command::Command;
use coffre_protocol::delta::{Token, TokenDecoder};
use coffre_protocol::filter::{FilterList, ListState};
use coffre_protocol::flist::{
    EntryRef, FlistDecoder, FlistFormat, Flists, IdKind, IdStep, ListHead, ReplyStep, Step,
    XattrReplyDecoder, XattrSet, XattrValue,
};
use coffre_protocol::handshake::{CompatFlags, Handshake, Negotiated};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::{Demux, Message, Piece};
use coffre_protocol::ndx::{Ndx, NdxCoder};
use coffre_protocol::options::{MissingArgs, SecludedArgs, ServerOptions, Xattrs};
use coffre_protocol::sum::SumHead;
use coffre_protocol::wire::{DecodeError, Reader};
use coffre_protocol::{ProtocolError, ProtocolVersion};

/// One thing that the client said, as a line.
pub type Event = String;

/// More bytes of file content than this are not looked at: a bomb ends here, at the same byte
/// however it was cut.
const MOST_CONTENT: u64 = 16 << 20;

/// The bytes of a file's basis: its path, an offset, a length.
pub type Basis = fn(&[u8], u64, usize) -> Vec<u8>;

/// What a real session knows from elsewhere.
pub struct Surroundings {
    pub seed: i32,
    /// Numbers of the xattr values that the server asked for, by index; `None`: all that are
    /// abbreviated.
    pub requests: Option<HashMap<u32, Vec<u32>>>,
    pub basis: Basis,
}

/// Everything said in a conversation, and how it broke off if it did.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub events: Vec<Event>,
    pub error: Option<ProtocolError>,
    /// Bytes of an unfinished unit at the end.
    pub left: usize,
}

/// The client's bytes in pieces of `step`.
pub fn listen(exec: &[u8], client: &[u8], step: usize, surroundings: &Surroundings) -> Said {
    let mut events = Vec::new();
    let mut left = 0;
    let error = converse(exec, client, step, surroundings, &mut events, &mut left).err();
    Said {
        events,
        error,
        left,
    }
}

fn converse(
    exec: &[u8],
    client: &[u8],
    step: usize,
    surroundings: &Surroundings,
    events: &mut Vec<Event>,
    left: &mut usize,
) -> Result<(), ProtocolError> {
    let Command::Rsync(words) = Command::parse(exec)? else {
        return Err(ProtocolError::usage("this is no rsync"));
    };
    let mut options = ServerOptions::parse(&words)?;
    let mut feed = Feed::new(client, step);
    if options.secluded {
        let mut decoder = SecludedArgs::new();
        let mut more = Vec::new();
        while let Some(word) = feed.unit(|reader| decoder.decode_word(reader))?.flatten() {
            more.push(word);
        }
        options = ServerOptions::parse_secluded(&words, &more)?;
    }
    let mut handshake = Handshake::new(&options, ProtocolVersion::OWN, surroundings.seed)?;
    let Some(negotiated) = feed.unit(|reader| handshake.decode(reader))? else {
        *left = feed.shown - feed.at;
        return Ok(());
    };
    events.push(format!("negotiated {negotiated:?}"));
    let mut conversation = Conversation::new(&options, negotiated, surroundings);
    let mut demux = Demux::new();
    let is_framed = negotiated.client_multiplexes(&options);
    let mut result = Ok(());
    // What was shown of the handshake and is not of it comes first.
    let rest = &client[feed.at..];
    let pieces = std::iter::once(feed.shown - feed.at)
        .filter(|len| *len > 0)
        .chain(std::iter::repeat(step));
    let mut at = 0;
    for piece in pieces {
        if at == rest.len() || result.is_err() {
            break;
        }
        let end = (at + piece).min(rest.len());
        let mut input = &rest[at..end];
        at = end;
        result = if is_framed {
            conversation.framed(&mut demux, &mut input)
        } else {
            conversation.data(input)
        };
    }
    *left = conversation.carry.len() + usize::from(!demux.is_at_border());
    events.append(&mut conversation.events);
    result
}

/// Shows more and more of the bytes until a unit is whole.
struct Feed<'a> {
    bytes: &'a [u8],
    at: usize,
    shown: usize,
    step: usize,
}

impl<'a> Feed<'a> {
    fn new(bytes: &'a [u8], step: usize) -> Self {
        Self {
            bytes,
            at: 0,
            shown: 0,
            step,
        }
    }

    /// `None`: the bytes end before the unit does.
    fn unit<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, ProtocolError> {
        loop {
            let mut reader = Reader::new(&self.bytes[self.at..self.shown]);
            match decode(&mut reader) {
                Ok(value) => {
                    self.at += reader.consumed();
                    return Ok(Some(value));
                }
                Err(DecodeError::Malformed(error)) => return Err(error),
                Err(DecodeError::Incomplete) if self.shown == self.bytes.len() => {
                    return Ok(None);
                }
                Err(DecodeError::Incomplete) => {
                    self.shown = (self.shown + self.step).min(self.bytes.len());
                }
            }
        }
    }
}

/// Which unit comes next.
enum Expect {
    Filters,
    List,
    Ids,
    IoErrorWord,
    Ndx,
    DelStats(u8),
    Item(u32),
    Xattrs(u32, ItemHead, Box<XattrReplyDecoder>),
    SumHead(u32),
    Tokens(Box<Transfer>),
    FileSum(Box<Transfer>),
}

/// A file that is being sent.
struct Transfer {
    ndx: u32,
    path: Vec<u8>,
    summer: FileSummer,
    literal: u64,
    matched: u64,
    /// Blocks one after the other that were referred to last.
    run: (u32, u32),
    tokens: Vec<String>,
    head: SumHead,
}

impl Transfer {
    fn end_run(&mut self) {
        let (first, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.tokens.push(format!("{first}+{count}"));
        }
    }

    fn is_bomb(&self) -> bool {
        self.literal + self.matched > MOST_CONTENT
    }
}

struct Conversation<'a> {
    options: &'a ServerOptions,
    negotiated: Negotiated,
    surroundings: &'a Surroundings,
    expect: Expect,
    carry: Vec<u8>,
    filters: FilterList,
    rules: usize,
    decoder: FlistDecoder,
    flists: Flists,
    ndx: NdxCoder,
    tokens: TokenDecoder,
    events: Vec<Event>,
    /// A list whose id lists are still to come.
    list: Option<coffre_protocol::flist::FileList>,
}

/// The file list's layout, as a session derives it.
fn list_format(options: &ServerOptions, negotiated: &Negotiated) -> FlistFormat {
    let compat = negotiated.compat;
    FlistFormat {
        varint_flags: compat.contains(CompatFlags::VARINT_FLIST_FLAGS),
        safe_flist: compat.contains(CompatFlags::SAFE_FLIST),
        id0_names: compat.contains(CompatFlags::ID0_NAMES),
        inc_recurse: compat.contains(CompatFlags::INC_RECURSE),
        owner: options.owner,
        group: options.group,
        links: options.links,
        devices: options.devices,
        specials: options.specials,
        hard_links: options.hard_links,
        atimes: options.atimes,
        crtimes: options.crtimes,
        acls: options.acls,
        xattrs: options.xattrs != Xattrs::No,
        checksum_len: options.checksum.then(|| negotiated.list_sum.digest_len()),
        numeric_ids: options.numeric_ids,
        relative: options.relative,
        recurse: options.recursive,
        delete_missing_args: options.missing_args == MissingArgs::Delete,
        ..FlistFormat::new(negotiated.version)
    }
}

impl<'a> Conversation<'a> {
    fn new(
        options: &'a ServerOptions,
        negotiated: Negotiated,
        surroundings: &'a Surroundings,
    ) -> Self {
        let version = negotiated.version;
        let format = list_format(options, &negotiated);
        let first = ListHead::first(&format);
        let mut conversation = Self {
            options,
            negotiated,
            surroundings,
            expect: Expect::Filters,
            carry: Vec::new(),
            filters: FilterList::new(options, version, b"/dst"),
            rules: 0,
            flists: Flists::new(&format),
            decoder: FlistDecoder::new(format),
            ndx: NdxCoder::new(version),
            tokens: TokenDecoder::new(negotiated.compression, version),
            events: Vec::new(),
            list: None,
        };
        if !options.receives_filter_list(version) {
            conversation.begin(first);
        }
        conversation
    }

    fn begin(&mut self, head: ListHead) {
        self.decoder.begin(head);
        self.expect = Expect::List;
    }

    fn framed(&mut self, demux: &mut Demux, input: &mut &[u8]) -> Result<(), ProtocolError> {
        while let Some(piece) = demux.next(input)? {
            match piece {
                Piece::Data(data) => self.data(data)?,
                // A message may stand anywhere between the bytes of a unit.
                Piece::Message(Message::Noop) => {}
                Piece::Message(message) => self.events.push(format!("message {message:?}")),
            }
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        let mut rest = &carry[..];
        while self.unit(&mut rest)? {}
        let used = carry.len() - rest.len();
        carry.drain(..used);
        self.carry = carry;
        Ok(())
    }

    /// Takes one unit; `false`: there is no whole one.
    fn unit(&mut self, rest: &mut &[u8]) -> Result<bool, ProtocolError> {
        if matches!(self.expect, Expect::Tokens(_)) {
            return self.token(rest);
        }
        let mut reader = Reader::new(rest);
        match self.small(&mut reader) {
            Ok(()) => {
                *rest = reader.rest();
                Ok(true)
            }
            Err(DecodeError::Incomplete) => Ok(false),
            Err(DecodeError::Malformed(error)) => Err(error),
        }
    }

    fn small(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match &mut self.expect {
            Expect::Filters => match self.filters.decode_rule(reader)? {
                ListState::More => self.rules += 1,
                ListState::Complete => {
                    self.filters.complete(self.options);
                    self.events.push(format!("{} filter rules", self.rules));
                    self.begin(ListHead::first(self.decoder.format()));
                }
            },
            Expect::List => match self.decoder.decode(reader)? {
                Step::Entry | Step::More => {}
                Step::End { io_error } => {
                    let list = self.decoder.take_list();
                    let owner = list
                        .owner()
                        .map_or(String::new(), |number| format!(" of directory {number}"));
                    self.events
                        .push(format!("list{owner}, I/O errors {io_error}"));
                    self.list = Some(list);
                    self.expect = Expect::Ids;
                    if self.decoder.format().inc_recurse {
                        self.list_arrived()?;
                    }
                }
            },
            Expect::Ids => {
                if self.decoder.decode_ids(reader)? == IdStep::End {
                    if self.negotiated.version.at_least(30) {
                        self.list_arrived()?;
                    } else {
                        self.expect = Expect::IoErrorWord;
                    }
                }
            }
            Expect::IoErrorWord => {
                let word = reader.i32()?;
                self.events.push(format!("I/O errors {word}"));
                self.list_arrived()?;
            }
            Expect::Ndx => match self.ndx.decode(reader)? {
                Ndx::File(ndx) => self.expect = Expect::Item(ndx),
                Ndx::Flist(number) => {
                    let head = self.flists.announce(number)?;
                    self.begin(head);
                }
                Ndx::FlistEof => {
                    self.flists.finish()?;
                    self.events.push("no more lists".to_owned());
                }
                Ndx::DelStats => self.expect = Expect::DelStats(5),
                Ndx::Done => self.events.push("done".to_owned()),
            },
            Expect::DelStats(left) => {
                let count = reader.varint()?;
                *left -= 1;
                let is_last = *left == 0;
                self.events.push(format!("deletions {count}"));
                if is_last {
                    self.expect = Expect::Ndx;
                }
            }
            Expect::Item(ndx) => {
                let ndx = *ndx;
                self.item(ndx, reader)?;
            }
            Expect::Xattrs(ndx, item, decoder) => match decoder.decode(reader)? {
                ReplyStep::Value { num, len } => {
                    self.events.push(format!("xattr {num} of {len} bytes"));
                }
                ReplyStep::Data(_) => {}
                ReplyStep::End => {
                    let (ndx, item) = (*ndx, item.clone());
                    self.after_xattrs(ndx, &item);
                }
            },
            Expect::SumHead(ndx) => {
                let ndx = *ndx;
                let digest_len = self.negotiated.transfer_sum.digest_len();
                let head = SumHead::decode(reader, self.negotiated.version, digest_len)?;
                self.tokens.begin_file(&head);
                let path = self.path(ndx);
                self.expect = Expect::Tokens(Box::new(Transfer {
                    ndx,
                    path,
                    summer: FileSummer::new(self.negotiated.transfer_sum, self.negotiated.seed),
                    literal: 0,
                    matched: 0,
                    run: (0, 0),
                    tokens: Vec::new(),
                    head,
                }));
            }
            Expect::FileSum(_) => {
                let sum = reader.bytes(self.negotiated.transfer_sum.digest_len())?;
                if let Expect::FileSum(transfer) = std::mem::replace(&mut self.expect, Expect::Ndx)
                {
                    self.file_ended(*transfer, sum);
                }
            }
            Expect::Tokens(_) => {}
        }
        Ok(())
    }

    fn list_arrived(&mut self) -> Result<(), ProtocolError> {
        self.expect = Expect::Ndx;
        let Some(list) = self.list.take() else {
            return Ok(());
        };
        for (ndx, entry) in list.iter() {
            let line = describe(&self.decoder, ndx, entry);
            self.events.push(line);
        }
        if !self.decoder.format().inc_recurse {
            for kind in [IdKind::User, IdKind::Group] {
                let names = self.decoder.id_names();
                for (id, name) in names.iter(kind) {
                    let name = String::from_utf8_lossy(name);
                    self.events.push(format!("{kind:?} {id} is {name}"));
                }
            }
        }
        self.flists.push(list)
    }

    fn xattrs(&self, entry: &EntryRef<'_>) -> Option<&XattrSet> {
        self.decoder.xattr_cache().set(entry.xattrs()?)
    }

    fn path(&self, ndx: u32) -> Vec<u8> {
        self.flists
            .entry(ndx)
            .map_or(Vec::new(), |entry| entry.path(&mut Vec::new()).to_vec())
    }

    fn item(&mut self, ndx: u32, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let item = if self.negotiated.version.at_least(29) {
            ItemHead::decode(reader)?
        } else {
            ItemHead {
                flags: ItemFlags::TRANSFER,
                ..ItemHead::default()
            }
        };
        if self.flists.entry(ndx).is_none() && item.flags != ItemFlags::IS_NEW {
            let message = format!("file index {ndx} is not in any list");
            return Err(ProtocolError::violation(message).into());
        }
        let path = String::from_utf8_lossy(&self.path(ndx)).into_owned();
        self.events
            .push(format!("item {ndx} {path:?} {:04x}", item.flags.0));
        let exchanges = self.options.xattrs != Xattrs::No
            && item.flags.contains(ItemFlags::REPORT_XATTR)
            && !(self.negotiated.version.at_least(31)
                && !self
                    .negotiated
                    .compat
                    .contains(CompatFlags::AVOID_XATTR_OPTIM)
                && item
                    .flags
                    .contains(ItemFlags::XNAME_FOLLOWS | ItemFlags::LOCAL_CHANGE));
        if !exchanges {
            self.after_xattrs(ndx, &item);
            return Ok(());
        }
        let all: Vec<u32> = self
            .flists
            .entry(ndx)
            .and_then(|entry| self.xattrs(&entry))
            .map(|set| {
                (1..=set.items.len() as u32)
                    .filter(|num| {
                        set.by_num(*num)
                            .is_some_and(|item| !matches!(item.value, XattrValue::Full(_)))
                    })
                    .collect()
            })
            .unwrap_or_default();
        let wanted = match &self.surroundings.requests {
            Some(requests) => requests.get(&ndx).cloned().unwrap_or_default(),
            None => all.clone(),
        };
        let limits = &self.decoder.format().limits;
        let decoder = XattrReplyDecoder::new(&wanted, &all, limits);
        self.expect = Expect::Xattrs(ndx, item, Box::new(decoder));
        Ok(())
    }

    fn after_xattrs(&mut self, ndx: u32, item: &ItemHead) {
        let is_transfer = item.flags.contains(ItemFlags::TRANSFER) && !self.options.dry_run;
        self.expect = if is_transfer {
            Expect::SumHead(ndx)
        } else {
            Expect::Ndx
        };
    }

    fn token(&mut self, rest: &mut &[u8]) -> Result<bool, ProtocolError> {
        let Expect::Tokens(transfer) = &mut self.expect else {
            return Ok(false);
        };
        match self.tokens.next(rest)? {
            None => return Ok(false),
            Some(Token::Literal(bytes)) => {
                transfer.end_run();
                transfer.literal += bytes.len() as u64;
                if !transfer.is_bomb() {
                    transfer.summer.update(bytes);
                }
            }
            Some(Token::Blocks { first, count }) => {
                match &mut transfer.run {
                    (start, so_far) if *so_far > 0 && *start + *so_far == first => *so_far += count,
                    _ => {
                        transfer.end_run();
                        transfer.run = (first, count);
                    }
                }
                let span = transfer.head.span(first, count)?;
                transfer.matched += span.end - span.start;
                if !transfer.is_bomb() {
                    let mut from = span.start;
                    while from < span.end {
                        let len = (span.end - from).min(1 << 16);
                        let basis = self.surroundings.basis;
                        let bytes = basis(&transfer.path, from, len as usize);
                        transfer.summer.update(&bytes);
                        self.tokens.matched(&bytes);
                        from += len;
                    }
                }
            }
            Some(Token::End) => {
                transfer.end_run();
                if let Expect::Tokens(transfer) = std::mem::replace(&mut self.expect, Expect::Ndx) {
                    self.expect = Expect::FileSum(transfer);
                }
                return Ok(true);
            }
        }
        if transfer.is_bomb() {
            return Err(ProtocolError::stream("more content than is looked at"));
        }
        Ok(true)
    }

    fn file_ended(&mut self, transfer: Transfer, sum: &[u8]) {
        let verdict = match transfer.summer.finish().as_bytes() == sum {
            true => "right",
            false => "wrong",
        };
        self.events.push(format!(
            "file {}: {} literal bytes, {} of blocks {:?}, sum {verdict}",
            transfer.ndx, transfer.literal, transfer.matched, transfer.tokens,
        ));
    }
}

/// An entry with all that the list says of it, in a line.
pub fn describe(decoder: &FlistDecoder, ndx: u32, entry: EntryRef<'_>) -> Event {
    let path = String::from_utf8_lossy(entry.path(&mut Vec::new())).into_owned();
    let mut line = format!("entry {ndx} {path:?} {:o}", entry.mode());
    line += &format!(" len {} mtime {:?}", entry.len(), entry.mtime());
    line += &format!(" owner {}:{}", entry.uid(), entry.gid());
    if entry.rdev() != (0, 0) {
        line += &format!(" rdev {:?}", entry.rdev());
    }
    if let Some(target) = entry.link_target() {
        line += &format!(" -> {:?}", String::from_utf8_lossy(target));
    }
    if let Some(digest) = entry.digest() {
        line += " sum ";
        line.extend(digest.iter().map(|byte| format!("{byte:02x}")));
    }
    for (what, value) in [("atime", entry.atime()), ("crtime", entry.crtime())] {
        if let Some(value) = value {
            line += &format!(" {what} {value}");
        }
    }
    if let Some(group) = entry.hard_link_group() {
        line += &format!(" links {group}");
    }
    let acls = decoder.acl_cache();
    let both = [
        ("acl", entry.acl().and_then(|index| acls.access_acl(index))),
        (
            "default acl",
            entry
                .default_acl()
                .and_then(|index| acls.default_acl(index)),
        ),
    ];
    for (what, acl) in both {
        if let Some(acl) = acl.filter(|acl| !acl.is_empty()) {
            line += &format!(" {what} {acl:?}");
        }
    }
    let sets = decoder.xattr_cache();
    if let Some(set) = entry.xattrs().and_then(|index| sets.set(index)) {
        for item in &set.items {
            let name = String::from_utf8_lossy(&item.name).into_owned();
            match &item.value {
                XattrValue::Full(value) => {
                    line += &format!(" {name:?}={:?}", String::from_utf8_lossy(value));
                }
                value => line += &format!(" {name:?} of {}", value.len()),
            }
        }
    }
    for (what, is_so) in [
        (" top", entry.is_top_dir()),
        (" content", entry.has_content()),
        (" implied", entry.is_implied()),
    ] {
        if is_so {
            line += what;
        }
    }
    line
}
