//! What the server sends: items, marks and block sums in the data stream, messages between them.
//!
//! Everything is appended to one buffer in the order it was said, and handed to the SSH side in
//! large pieces by [`Outgoing::flush`]. Nothing here ever waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coffre_protocol::charset::Charset;
use coffre_protocol::mux::{MAX_DATA, MAX_TEXT, MessageKind, put_message};
use coffre_protocol::ndx::{Ndx, NdxCoder};
use coffre_protocol::options::MessageRoute;
use coffre_protocol::wire::Write;
use coffre_protocol::{ExitCode, ProtocolVersion};

use crate::session::Pipe;
use crate::session::pipe::Output;

const HEADER: usize = 4;

/// Most bytes that are made room for before they come.
const FORESEEN: usize = 128 << 10;

/// The server's side of the stream.
pub(in crate::session) struct Outgoing {
    pipe: Arc<Pipe>,
    version: ProtocolVersion,
    /// The client wants no information (`-q`), not even for its log file.
    quiet: bool,
    /// Every message goes through the protocol (`--stderr=client`), none beside it.
    only_protocol: bool,
    /// Of the names in messages; UTF-8 travels.
    charset: Option<Charset>,
    ndx: NdxCoder,
    wire: Vec<u8>,
    /// Where the header of the data frame that is being filled stands.
    open_frame: Option<usize>,
}

impl Outgoing {
    pub(in crate::session) fn new(pipe: Arc<Pipe>, version: ProtocolVersion) -> Self {
        Self {
            pipe,
            version,
            quiet: false,
            only_protocol: false,
            charset: None,
            ndx: NdxCoder::new(version),
            wire: Vec::new(),
            open_frame: None,
        }
    }

    /// Sends no messages for information.
    pub(in crate::session) fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    pub(in crate::session) fn version(&self) -> ProtocolVersion {
        self.version
    }

    pub(in crate::session) fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Where warnings go that this version of the protocol has no message for.
    pub(in crate::session) fn routed(mut self, route: MessageRoute) -> Self {
        self.only_protocol = route == MessageRoute::Protocol;
        self
    }

    /// Names in messages are in this charset.
    pub(in crate::session) fn charset(mut self, charset: Option<Charset>) -> Self {
        self.charset = charset;
        self
    }

    pub(in crate::session) fn ndx(&mut self, ndx: Ndx) {
        let mut coder = self.ndx.clone();
        coder.encode(ndx, self);
        self.ndx = coder;
    }

    fn message(&mut self, kind: MessageKind, payload: &[u8]) {
        self.close_frame();
        put_message(&mut self.wire, kind, payload);
    }

    /// A line for the person at the other end; `line` has no newline.
    pub(in crate::session) fn text(&mut self, kind: MessageKind, line: &str) {
        self.wire_text(kind, line.as_bytes().to_vec());
    }

    /// As [`Self::text`], for lines that carry a name of any bytes.
    pub(in crate::session) fn raw_text(&mut self, kind: MessageKind, line: Vec<u8>) {
        let line = match self.charset {
            Some(charset) => charset.globalize_all(&line),
            None => line,
        };
        self.wire_text(kind, line);
    }

    /// As [`Self::raw_text`], for names as they travel.
    pub(in crate::session) fn wire_text(&mut self, kind: MessageKind, mut line: Vec<u8>) {
        if self.quiet && kind == MessageKind::Info {
            return;
        }
        // Old clients do not know the two kinds that protocol 30 added. At 29 stock writes both to
        // stderr, beside the protocol, where a warning does not stand among the names and an error
        // that fails nothing does not fail the run; at 27 and 28 both happen, with stock as well.
        let is_new = matches!(kind, MessageKind::Warning | MessageKind::Error);
        if is_new && self.version.number() == 29 && !self.only_protocol {
            line.push(b'\n');
            self.flush();
            self.pipe.send(Output::Stderr(line.into()));
            return;
        }
        let kind = match kind {
            MessageKind::Error if !self.version.at_least(30) => MessageKind::ErrorXfer,
            MessageKind::Warning if !self.version.at_least(30) => MessageKind::Info,
            kind => kind,
        };
        line.truncate(MAX_TEXT - 1);
        line.push(b'\n');
        self.message(kind, &line);
    }

    /// Something was deleted: `path` is relative to the destination.
    pub(in crate::session) fn deleted(&mut self, path: &[u8], is_dir: bool) {
        let mut payload = match self.charset {
            Some(charset) => charset.globalize_all(path),
            None => path.to_vec(),
        };
        if is_dir {
            payload.push(0);
        }
        self.message(MessageKind::Deleted, &payload);
    }

    /// The file with this index is safely on disk.
    pub(in crate::session) fn success(&mut self, ndx: u32) {
        self.message(MessageKind::Success, &(ndx as i32).to_le_bytes());
    }

    /// The file with this index will not be sent (protocol 30 and later).
    pub(in crate::session) fn no_send(&mut self, ndx: u32) {
        if self.version.at_least(30) {
            self.message(MessageKind::NoSend, &(ndx as i32).to_le_bytes());
        }
    }

    /// Bits for the client's I/O error word (protocol 30 and later).
    pub(in crate::session) fn io_error(&mut self, bits: u32) {
        if self.version.at_least(30) {
            self.message(MessageKind::IoError, &bits.to_le_bytes());
        }
    }

    /// Tells the client to end with `exit` (protocol 31 and later).
    pub(in crate::session) fn error_exit(&mut self, exit: ExitCode) {
        if self.version.at_least(31) {
            self.message(
                MessageKind::ErrorExit,
                &i32::from(exit.code()).to_le_bytes(),
            );
        }
    }

    /// Answers a client that said it ends (protocol 31 and later).
    pub(in crate::session) fn acknowledge_exit(&mut self) {
        if self.version.at_least(31) {
            self.message(MessageKind::ErrorExit, &[]);
        }
    }

    /// Names for a client that sends the files they name; see [`super::names`].
    pub(in crate::session) fn names(&mut self, names: &[u8]) {
        if self.version.at_least(31) {
            self.put(names);
        } else {
            self.close_frame();
            self.wire.extend_from_slice(names);
        }
    }

    /// An empty frame of data: "still here".
    pub(in crate::session) fn keep_alive(&mut self) {
        self.message(MessageKind::Data, &[]);
        self.flush();
    }

    fn close_frame(&mut self) {
        if let Some(start) = self.open_frame.take() {
            let len = (self.wire.len() - start - HEADER) as u32;
            self.wire[start..start + HEADER].copy_from_slice(&(len | 7 << 24).to_le_bytes());
        }
    }

    /// Bytes that [`Self::flush`] would hand over.
    pub(in crate::session) fn pending(&self) -> usize {
        self.wire.len()
    }

    /// Hands everything said so far to the SSH side.
    pub(in crate::session) fn flush(&mut self) {
        self.close_frame();
        if !self.wire.is_empty() {
            // The next one is mostly as long, so it need not grow step by step.
            let next = Vec::with_capacity(self.wire.len().min(FORESEEN));
            let bytes = Bytes::from(std::mem::replace(&mut self.wire, next));
            self.pipe.send(Output::Stdout(bytes));
        }
    }
}

/// Tells a client with a timeout that the server lives, from within work that cannot come back to
/// the event loop meanwhile. What [`Outgoing`] holds is whole frames, so these stand between them.
pub(in crate::session) struct Pulse {
    pipe: Arc<Pipe>,
    /// No two signs of life are closer than this.
    lull: Duration,
    last: Instant,
}

impl Pulse {
    pub(in crate::session) fn new(pipe: Arc<Pipe>, lull: Duration) -> Self {
        let last = Instant::now();
        Self { pipe, lull, last }
    }

    /// Work has gone on a little.
    pub(in crate::session) fn beat(&mut self) {
        if self.last.elapsed() >= self.lull {
            self.last = Instant::now();
            let mut wire = Vec::with_capacity(HEADER);
            put_message(&mut wire, MessageKind::Data, &[]);
            self.pipe.send(Output::Stdout(Bytes::from(wire)));
        }
    }
}

/// Appends to the data stream.
impl Write for Outgoing {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let start = match self.open_frame {
                Some(start) if self.wire.len() - start - HEADER < MAX_DATA => start,
                _ => {
                    self.close_frame();
                    let start = self.wire.len();
                    self.wire.extend_from_slice(&[0; HEADER]);
                    self.open_frame = Some(start);
                    start
                }
            };
            let room = MAX_DATA - (self.wire.len() - start - HEADER);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.wire.extend_from_slice(now);
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_protocol::mux::{Demux, Message, Piece};

    #[test]
    fn a_pulse_is_a_whole_frame_without_data_and_no_more_than_one_in_a_lull() {
        let pipe = Arc::new(Pipe::new(&Arc::default()));
        Pulse::new(Arc::clone(&pipe), Duration::from_secs(3600)).beat();
        assert_eq!(pipe.output_backlog(), 0);
        Pulse::new(Arc::clone(&pipe), Duration::ZERO).beat();
        assert_eq!(pipe.output_backlog(), HEADER);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let Some(Output::Stdout(bytes)) = runtime.block_on(pipe.next_output()) else {
            panic!("no output")
        };
        assert_eq!(bytes[..], [0, 0, 0, 7]);
    }

    #[test]
    fn data_and_messages_come_out_in_the_order_they_were_said() {
        let pipe = Arc::new(Pipe::new(&Arc::default()));
        let version = ProtocolVersion::OWN;
        let mut out = Outgoing::new(Arc::clone(&pipe), version);
        let long = vec![7u8; 3 * MAX_DATA + 5];
        out.put(&long);
        out.text(MessageKind::Info, "hello");
        out.ndx(Ndx::Done);
        out.deleted(b"d", true);
        out.flush();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let Some(Output::Stdout(bytes)) = runtime.block_on(pipe.next_output()) else {
            panic!("no output")
        };
        let mut demux = Demux::new();
        let mut input = &bytes[..];
        let mut data = Vec::new();
        let mut messages = Vec::new();
        while let Some(piece) = demux.next(&mut input).unwrap() {
            match piece {
                Piece::Data(bytes) => data.extend_from_slice(bytes),
                Piece::Message(message) => messages.push((data.len(), message)),
            }
        }
        assert_eq!(data.len(), long.len() + 1);
        assert_eq!(
            messages,
            [
                (
                    long.len(),
                    Message::Text(MessageKind::Info, b"hello\n".to_vec())
                ),
                (long.len() + 1, Message::Deleted(b"d\0".to_vec())),
            ]
        );
    }
}
