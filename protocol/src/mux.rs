//! The multiplexed stream: one byte stream of data, with messages between its pieces.
//!
//! Frame: a 4-byte little-endian header, low 24 bits payload length, high 8 bits 7 + message code;
//! then the payload. Frame borders mean nothing to the data stream. A frame of data without
//! payload is a keep-alive.

use crate::ProtocolError;
use crate::wire::Write;

const BASE: u8 = 7;
/// Stock peers never emit more in one frame of data.
pub const MAX_DATA: usize = 65_532;
/// A stock peer dies of a text of 5120 bytes; longer texts are cut to this.
pub const MAX_TEXT: usize = 4096;

/// Kinds of message that may travel over a shell connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageKind {
    Data = 0,
    /// Text on the client's stderr; the client then exits with 23.
    ErrorXfer = 1,
    /// Text on the client's stdout.
    Info = 2,
    /// Text on the client's stderr.
    Error = 3,
    Warning = 4,
    /// Bits to add to the I/O error word.
    IoError = 22,
    Noop = 42,
    /// The other side ends with this exit code.
    ErrorExit = 86,
    /// The file with this index is safely on disk.
    Success = 100,
    /// This path was deleted; a trailing NUL marks a directory.
    Deleted = 101,
    /// The sender will not send the file with this index.
    NoSend = 102,
}

impl MessageKind {
    fn from_code(code: u8) -> Option<Self> {
        use MessageKind::*;
        [
            Data, ErrorXfer, Info, Error, Warning, IoError, Noop, ErrorExit, Success, Deleted,
            NoSend,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == code)
    }
}

/// A whole message that is not data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text meant for a person, of any of the four kinds.
    Text(MessageKind, Vec<u8>),
    IoError(u32),
    Noop,
    /// `None`: the acknowledgement without a code.
    ErrorExit(Option<i32>),
    Success(i32),
    Deleted(Vec<u8>),
    NoSend(i32),
}

/// What [`Demux::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of the data stream.
    Data(&'a [u8]),
    Message(Message),
}

/// Takes a framed stream apart without copying its data.
#[derive(Debug, Default)]
pub struct Demux {
    header: [u8; 4],
    header_len: usize,
    /// Bytes of the current frame of data that have not come yet.
    data_left: usize,
    /// The current message and its announced length.
    message: Option<(MessageKind, usize)>,
    payload: Vec<u8>,
}

impl Demux {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece out of `input`, advancing it. `None` when `input` is used up.
    /// Errors: an unknown kind, a text of 5120 bytes or more, a payload of the wrong length.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, ProtocolError> {
        loop {
            if self.data_left > 0 {
                if input.is_empty() {
                    return Ok(None);
                }
                let (data, rest) = input.split_at(self.data_left.min(input.len()));
                *input = rest;
                self.data_left -= data.len();
                return Ok(Some(Piece::Data(data)));
            }
            if let Some((kind, len)) = self.message {
                let (part, rest) = input.split_at((len - self.payload.len()).min(input.len()));
                *input = rest;
                self.payload.extend_from_slice(part);
                if self.payload.len() < len {
                    return Ok(None);
                }
                self.message = None;
                let message = whole_message(kind, std::mem::take(&mut self.payload))?;
                return Ok(Some(Piece::Message(message)));
            }
            let (part, rest) = input.split_at((4 - self.header_len).min(input.len()));
            *input = rest;
            self.header[self.header_len..self.header_len + part.len()].copy_from_slice(part);
            self.header_len += part.len();
            if self.header_len < 4 {
                return Ok(None);
            }
            self.header_len = 0;
            self.begin_frame(u32::from_le_bytes(self.header))?;
        }
    }

    fn begin_frame(&mut self, header: u32) -> Result<(), ProtocolError> {
        let len = (header & 0x00ff_ffff) as usize;
        let tag = (header >> 24) as u8;
        let kind = tag
            .checked_sub(BASE)
            .and_then(MessageKind::from_code)
            .ok_or_else(|| ProtocolError::stream(format!("unexpected tag {tag}")))?;
        let ok = match kind {
            MessageKind::Data => {
                self.data_left = len;
                return Ok(());
            }
            MessageKind::IoError | MessageKind::Success | MessageKind::NoSend => len == 4,
            MessageKind::ErrorExit => len == 4 || len == 0,
            MessageKind::Noop => len == 0,
            _ => len < 5120,
        };
        if !ok {
            return Err(ProtocolError::stream(format!(
                "invalid message of kind {} with {len} bytes",
                kind as u8
            )));
        }
        self.message = Some((kind, len));
        Ok(())
    }

    /// Whether the stream may end here: not inside a frame.
    pub fn is_at_border(&self) -> bool {
        self.data_left == 0 && self.header_len == 0 && self.message.is_none()
    }
}

fn whole_message(kind: MessageKind, payload: Vec<u8>) -> Result<Message, ProtocolError> {
    let number = || {
        <[u8; 4]>::try_from(&payload[..])
            .map(i32::from_le_bytes)
            .unwrap_or_default()
    };
    Ok(match kind {
        MessageKind::Data => return Err(ProtocolError::stream("a data frame is not a message")),
        MessageKind::ErrorXfer | MessageKind::Info | MessageKind::Error | MessageKind::Warning => {
            Message::Text(kind, payload)
        }
        // Only the three known bits count.
        MessageKind::IoError => Message::IoError(number() as u32 & 7),
        MessageKind::Noop => Message::Noop,
        MessageKind::ErrorExit => Message::ErrorExit((payload.len() == 4).then(number)),
        MessageKind::Success => Message::Success(number()),
        MessageKind::Deleted => Message::Deleted(payload),
        MessageKind::NoSend => Message::NoSend(number()),
    })
}

/// Appends the frame of one message.
pub fn put_message(out: &mut Vec<u8>, kind: MessageKind, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_DATA)];
    let header = payload.len() as u32 | u32::from(BASE + kind as u8) << 24;
    out.put(&header.to_le_bytes());
    out.put(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces of `step` and collects the data stream and the messages.
    fn drain(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Message>), ProtocolError> {
        let mut demux = Demux::new();
        let (mut data, mut messages) = (Vec::new(), Vec::new());
        for chunk in bytes.chunks(step) {
            let mut input = chunk;
            while let Some(piece) = demux.next(&mut input)? {
                match piece {
                    Piece::Data(bytes) => data.extend_from_slice(bytes),
                    Piece::Message(message) => messages.push(message),
                }
            }
            assert!(input.is_empty());
        }
        assert!(demux.is_at_border());
        Ok((data, messages))
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_pieces(
            parts in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..20),
            step in 1usize..70,
        ) {
            let (mut wire, mut data, mut texts) = (Vec::new(), Vec::new(), Vec::new());
            for (is_data, bytes) in parts {
                if is_data {
                    put_message(&mut wire, MessageKind::Data, &bytes);
                    data.extend_from_slice(&bytes);
                } else {
                    put_message(&mut wire, MessageKind::Info, &bytes);
                    texts.push(Message::Text(MessageKind::Info, bytes));
                }
            }
            prop_assert_eq!(drain(&wire, step).unwrap(), (data, texts));
        }
    }

    #[test]
    fn codes_that_never_travel_and_wrong_lengths_are_refused() {
        for code in [5u8, 6, 7, 8, 9, 10, 33, 77, 200] {
            assert!(
                drain(&[4, 0, 0, BASE + code, 0, 0, 0, 0], 3).is_err(),
                "code {code}"
            );
        }
        for kind in [
            MessageKind::IoError,
            MessageKind::ErrorExit,
            MessageKind::Success,
        ] {
            assert!(drain(&[3, 0, 0, BASE + kind as u8, 0, 0, 0], 3).is_err());
        }
        // A text of 16 MiB is refused by its header, before a byte of it is stored.
        assert!(drain(&[0xff, 0xff, 0xff, BASE + 2], 4).is_err());
    }
}
