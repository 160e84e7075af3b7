//! The framed stream, and what stands in it about files: indexes, item heads, sum heads, block sums.

use coffre_protocol::item::ItemHead;
use coffre_protocol::mux::{Demux, Message, MessageKind, Piece, put_message};
use coffre_protocol::ndx::{Ndx, NdxCoder};
use coffre_protocol::sum::{BlockSumDecoder, SumHead};
use coffre_protocol::wire::{DecodeError, Reader};
use coffre_protocol::{ProtocolError, ProtocolVersion};

use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

/// Data and messages of a stream, and how it ended.
#[derive(Debug, PartialEq, Eq, Default)]
struct Pieces {
    data: Vec<u8>,
    messages: Vec<(usize, Message)>,
    error: Option<ProtocolError>,
    is_at_border: bool,
}

fn demultiplex(stream: &[u8], step: usize) -> Pieces {
    let mut demux = Demux::new();
    let mut pieces = Pieces::default();
    for chunk in stream.chunks(step) {
        let mut input = chunk;
        loop {
            match demux.next(&mut input) {
                Ok(Some(Piece::Data(bytes))) => pieces.data.extend_from_slice(bytes),
                Ok(Some(Piece::Message(message))) => {
                    pieces.messages.push((pieces.data.len(), message));
                }
                Ok(None) => break,
                Err(error) => {
                    pieces.error = Some(error);
                    return pieces;
                }
            }
        }
        assert!(input.is_empty());
    }
    pieces.is_at_border = demux.is_at_border();
    pieces
}

pub(crate) fn mux(data: &[u8]) {
    if data.is_empty() || data.len() > MAX_LEN {
        return;
    }
    let whole = bounded(allowance(data.len()), || demultiplex(data, data.len()));
    for step in [1, 3, 64] {
        assert_eq!(demultiplex(data, step), whole, "in pieces of {step} bytes");
    }
    // Written again, with the data between the messages in one frame each.
    let mut wire = Vec::new();
    let mut at = 0;
    for (before, message) in &whole.messages {
        put_message(&mut wire, MessageKind::Data, &whole.data[at..*before]);
        at = *before;
        let number = |value: i32| value.to_le_bytes().to_vec();
        let (kind, payload) = match message {
            Message::Text(kind, text) => (*kind, text.clone()),
            Message::IoError(bits) => (MessageKind::IoError, number(*bits as i32)),
            Message::Noop => (MessageKind::Noop, Vec::new()),
            Message::ErrorExit(code) => {
                (MessageKind::ErrorExit, code.map(number).unwrap_or_default())
            }
            Message::Success(ndx) => (MessageKind::Success, number(*ndx)),
            Message::Deleted(name) => (MessageKind::Deleted, name.clone()),
            Message::NoSend(ndx) => (MessageKind::NoSend, number(*ndx)),
        };
        put_message(&mut wire, kind, &payload);
    }
    put_message(&mut wire, MessageKind::Data, &whole.data[at..]);
    let again = demultiplex(&wire, wire.len());
    assert_eq!(again.error, None);
    assert_eq!((again.data, again.messages), (whole.data, whole.messages));
}

/// What follows an index here, as a sender reads it.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ndx(Ndx),
    Item(ItemHead),
    Sums(SumHead, u32, Vec<u32>),
}

fn read(version: ProtocolVersion, stream: &[u8], step: usize) -> (Vec<Said>, Option<String>) {
    let mut said = Vec::new();
    let mut coder = NdxCoder::new(version);
    let (mut at, mut shown) = (0, 0);
    let mut stage = 0;
    let mut sums: Option<BlockSumDecoder> = None;
    let mut head = SumHead::NONE;
    loop {
        if let Some(decoder) = &mut sums {
            let mut input = &stream[at..shown];
            let done = decoder.read(&mut input);
            at = shown - input.len();
            if done {
                let table = sums.take().map(BlockSumDecoder::finish);
                let rolling = table.map_or(Vec::new(), |table| table.rolling().to_vec());
                said.push(Said::Sums(head, head.count, rolling));
                continue;
            }
        } else {
            let mut reader = Reader::new(&stream[at..shown]);
            let result = match stage {
                0 => coder.decode(&mut reader).map(|ndx| {
                    stage = u8::from(matches!(ndx, Ndx::File(_)));
                    said.push(Said::Ndx(ndx));
                }),
                1 => ItemHead::decode(&mut reader).map(|item| {
                    let is_transfer = item.flags.0 & 0x8000 != 0;
                    stage = if is_transfer { 2 } else { 0 };
                    said.push(Said::Item(item));
                }),
                _ => SumHead::decode(&mut reader, version, 16).map(|found| {
                    stage = 0;
                    head = found;
                    sums = Some(BlockSumDecoder::new(found, 1000));
                }),
            };
            match result {
                Ok(()) => {
                    at += reader.consumed();
                    continue;
                }
                Err(DecodeError::Malformed(error)) => return (said, Some(error.message)),
                Err(DecodeError::Incomplete) => {}
            }
        }
        if shown == stream.len() {
            return (said, None);
        }
        shown = shown.saturating_add(step).min(stream.len());
    }
}

pub(crate) fn items(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    if stream.len() > MAX_LEN {
        return;
    }
    let Some(version) = ProtocolVersion::new(27 + first % 6) else {
        return;
    };
    let whole = bounded(allowance(stream.len()), || {
        read(version, stream, usize::MAX)
    });
    for step in [1, 5] {
        assert_eq!(read(version, stream, step), whole, "in pieces of {step}");
    }
    let mut wire = Vec::new();
    let mut coder = NdxCoder::new(version);
    let mut expected = Vec::new();
    for one in whole.0 {
        match &one {
            Said::Ndx(ndx) => coder.encode(*ndx, &mut wire),
            Said::Item(item) => item.encode(&mut wire),
            // The sums themselves are numbers like others: only the head is written again.
            Said::Sums(head, ..) => {
                let mut wire = Vec::new();
                head.encode(&mut wire);
                let mut reader = Reader::new(&wire);
                assert_eq!(SumHead::decode(&mut reader, version, 16), Ok(*head));
                break;
            }
        }
        expected.push(one);
    }
    let (again, error) = read(version, &wire, usize::MAX);
    assert_eq!((again, error), (expected, None));
}
