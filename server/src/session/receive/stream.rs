//! What the client sends, unit by unit.
//!
//! ```text
//!            ┌──────────┐   ┌───────────┐   ┌─────────┐   ┌──────────────────────────────┐
//! handshake ▶│ Filters? │──▶│ FileList  │──▶│ IoError?│──▶│ Ndx ─▶ ItemHead ─▶ Xattrs? ─▶ │
//!            └──────────┘   │ (and ids) │   └─────────┘   │   SumHead ─▶ Tokens ─▶ FileSum│
//!                           └───────────┘       ▲         └───────────┬──────────────────┘
//!                                 ▲             │                     │ index of a sub-list
//!                                 └─────────────┴─────────────────────┘
//! ```
//!
//! [`Receiver::feed`] takes bytes as they come. A unit that is not whole yet is kept in `carry`;
//! literals of files are passed on as they arrive, without a copy.

use coffre_protocol::ProtocolError;
use coffre_protocol::flist::{IdStep, Step};
use coffre_protocol::mux::{Message, Piece};
use coffre_protocol::ndx::Ndx;
use coffre_protocol::wire::{DecodeError, Reader};

use super::{Fatal, Receiver};

/// Which unit comes next in the data stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Filters,
    FileList,
    Ids,
    /// The `int` that ends a file list before protocol 30.
    IoErrorWord,
    Ndx,
    /// So many more of the five deletion counts.
    DelStats(u8),
    ItemHead(u32),
    XattrReply,
    SumHead,
    Tokens,
    FileSum,
    /// The goodbye is over.
    Nothing,
}

impl Receiver {
    /// Takes bytes of the client, of any length.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        if !self.negotiated.version.at_least(30) {
            return self.data(bytes);
        }
        let mut input = bytes;
        while let Some(piece) = self.demux.next(&mut input)? {
            match piece {
                Piece::Data(data) => self.data(data)?,
                Piece::Message(message) => self.message(message)?,
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
        while self.unit(&mut rest)? {}
        Ok(input.len() - rest.len())
    }

    /// Takes one unit. `false`: there is no whole one.
    fn unit(&mut self, rest: &mut &[u8]) -> Result<bool, Fatal> {
        if self.expect == Expect::Tokens {
            return self.take_tokens(rest);
        }
        let mut reader = Reader::new(rest);
        match self.small_unit(&mut reader) {
            Ok(()) => {
                *rest = reader.rest();
                Ok(true)
            }
            Err(UnitError::Incomplete) => Ok(false),
            Err(UnitError::Fatal(fatal)) => Err(fatal),
        }
    }

    fn small_unit(&mut self, reader: &mut Reader<'_>) -> Result<(), UnitError> {
        match self.expect {
            Expect::Filters => {
                if self.protection.decode(reader)? {
                    self.begin_list(None)?;
                }
            }
            Expect::FileList => match self.decoder.decode(reader)? {
                Step::Entry | Step::More => self.tell_unconverted(),
                Step::End { io_error } => {
                    self.note_io_error(io_error as i32);
                    self.list_ended()?;
                }
            },
            Expect::Ids => {
                if self.decoder.decode_ids(reader)? == IdStep::End {
                    self.ids_ended()?;
                }
            }
            Expect::IoErrorWord => {
                let bits = reader.i32()?;
                self.note_io_error(bits);
                self.list_arrived()?;
            }
            Expect::Ndx => {
                let ndx = self.ndx_in.decode(reader)?;
                self.take_ndx(ndx)?;
            }
            Expect::DelStats(left) => {
                reader.varint()?;
                self.expect = if left > 1 {
                    Expect::DelStats(left - 1)
                } else {
                    Expect::Ndx
                };
            }
            Expect::ItemHead(ndx) => {
                let item = self.decode_item_head(ndx, reader)?;
                if let Some(item) = item {
                    self.take_item(ndx, item)?;
                }
            }
            Expect::XattrReply => self.take_xattr_reply(reader)?,
            Expect::SumHead => self.take_sum_head(reader)?,
            Expect::FileSum => {
                let len = self.negotiated.transfer_sum.digest_len();
                let sum = reader.bytes(len)?;
                self.finish_file(sum)?;
            }
            Expect::Tokens => {}
            Expect::Nothing => {
                if reader.is_empty() {
                    return Err(UnitError::Incomplete);
                }
                return Err(ProtocolError::violation("data after the end of the run").into());
            }
        }
        Ok(())
    }

    fn take_ndx(&mut self, ndx: Ndx) -> Result<(), Fatal> {
        match ndx {
            Ndx::Done => self.take_done()?,
            Ndx::FlistEof => {
                self.flists.finish()?;
                self.all_lists_arrived()?;
            }
            Ndx::DelStats => self.expect = Expect::DelStats(5),
            Ndx::Flist(dir) => {
                self.begin_list(Some(dir))?;
            }
            Ndx::File(ndx) => self.expect = Expect::ItemHead(ndx),
        }
        Ok(())
    }

    fn message(&mut self, message: Message) -> Result<(), Fatal> {
        match message {
            Message::IoError(bits) => self.note_io_error(bits as i32),
            Message::NoSend(ndx) => {
                if let Ok(ndx) = u32::try_from(ndx) {
                    self.no_send(ndx)?;
                }
            }
            Message::ErrorExit(code) => return Err(Fatal::PeerExit(code.unwrap_or(0))),
            // Texts of a client are for its own user; the rest means nothing to a receiver.
            Message::Text(..) | Message::Noop | Message::Success(_) | Message::Deleted(_) => {}
        }
        Ok(())
    }

    pub(super) fn note_io_error(&mut self, bits: i32) {
        self.io_error |= bits as u32 & 7;
    }
}

/// A unit is not whole, or the run is over.
pub(super) enum UnitError {
    Incomplete,
    Fatal(Fatal),
}

impl From<DecodeError> for UnitError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Incomplete => UnitError::Incomplete,
            DecodeError::Malformed(error) => UnitError::Fatal(error.into()),
        }
    }
}

impl From<ProtocolError> for UnitError {
    fn from(error: ProtocolError) -> Self {
        UnitError::Fatal(error.into())
    }
}

impl From<Fatal> for UnitError {
    fn from(fatal: Fatal) -> Self {
        UnitError::Fatal(fatal)
    }
}
