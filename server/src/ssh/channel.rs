//! One channel: from its opening to the exit status of the session on it.
//!
//! Two directions that never wait for each other:
//!
//! * Input: the library's callback puts it into the session's [`Pipe`] and waits there while the
//!   session has much to do. Meanwhile *nothing else of the connection runs*, not even its output.
//! * Output: [`deliver`], a task of its own, takes it from the pipe. It waits while the client
//!   does not read, or while the connection waits for the session to take input.
//!
//! That is no deadlock because a session never waits for its output to go (it looks at the
//! backlog, and goes on reading), so the callback always comes back.
//! INVARIANT: nothing that takes input from a pipe may wait for its output.
//!
//! Input cannot be held off in a better way: the library opens the client's window again when the
//! data arrives and not when it is used. What it costs: while a session takes no input and its
//! queue is full, the client's requests for a sign of life go unanswered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::server::Handle;
use russh::{ChannelId, Sig};

use super::connection::Link;
use crate::session::Pipe;
use crate::session::pipe::Output;

/// Channels of one connection at a time. A client that shares a connection (`ControlMaster`) runs
/// one session on each.
const MAX_CHANNELS: usize = 8;

/// The longest piece of output handed to the library, which cuts it into the client's packets.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Output pieces up to this size are put together, which costs a copy.
const SMALL_BYTES: usize = 16 * 1024;

/// SSH_EXTENDED_DATA_STDERR, RFC 4254 section 5.2.
const STDERR: u32 = 1;

/// Where a channel is.
pub(super) enum State {
    /// Open; the client has not said yet what for.
    Open {
        /// It will send nothing.
        ended: bool,
        /// It has a terminal, so lines must end with CR LF.
        terminal: bool,
    },
    /// A session has it.
    Running {
        pipe: Arc<Pipe>,
        /// What the client sent to end it.
        ended_by: Arc<OnceLock<Sig>>,
    },
}

/// The channels of one connection. Dropped, they tell their sessions that the client is gone.
#[derive(Default)]
pub(super) struct Channels {
    by_id: Mutex<HashMap<ChannelId, State>>,
}

impl Channels {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, State>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new channel. `false`: there are enough.
    pub(super) fn open(&self, id: ChannelId) -> bool {
        let mut channels = self.lock();
        let open = channels.len() < MAX_CHANNELS;
        if open {
            let state = State::Open {
                ended: false,
                terminal: false,
            };
            channels.insert(id, state);
        }
        open
    }

    /// The pipe of the session on a channel.
    pub(super) fn pipe(&self, id: ChannelId) -> Option<Arc<Pipe>> {
        match self.lock().get(&id) {
            Some(State::Running { pipe, .. }) => Some(Arc::clone(pipe)),
            _ => None,
        }
    }

    /// Forgets a channel, and tells its session, if it has one.
    pub(super) fn close(&self, id: ChannelId) {
        let state = self.lock().remove(&id);
        if let Some(State::Running { pipe, .. }) = state {
            pipe.disconnect();
        }
    }

    /// The connection is gone.
    pub(super) fn close_all(&self) {
        let states = std::mem::take(&mut *self.lock());
        for state in states.into_values() {
            if let State::Running { pipe, .. } = state {
                pipe.disconnect();
            }
        }
    }
}

/// Carries a session's output to the client.
pub(super) struct Delivery {
    pub(super) handle: Handle,
    pub(super) id: ChannelId,
    pub(super) pipe: Arc<Pipe>,
    pub(super) ended_by: Arc<OnceLock<Sig>>,
    pub(super) terminal: bool,
    pub(super) channels: Arc<Channels>,
    pub(super) link: Arc<Link>,
}

/// The connection is gone.
struct Gone;

impl Delivery {
    /// Runs to the end of the session, or of the connection.
    pub(super) async fn run(self) {
        let done = self.deliver().await;
        if done.is_err() {
            self.pipe.disconnect();
        }
        self.channels.lock().remove(&self.id);
        self.link.session_ended();
    }

    async fn deliver(&self) -> Result<(), Gone> {
        let mut next = self.pipe.next_output().await;
        loop {
            let (stderr, first) = match next {
                Some(Output::Stdout(data)) => (false, data),
                Some(Output::Stderr(data)) => (true, data),
                Some(Output::Exit(status)) => {
                    let sent = self.handle.exit_status_request(self.id, status).await;
                    sent.map_err(|()| Gone)?;
                    return self.close().await;
                }
                // The session was told that the client is gone, and there is no exit status.
                None => {
                    self.name_signal().await?;
                    return self.close().await;
                }
            };
            let (data, after) = self.gather(stderr, first);
            self.write(stderr, data).await?;
            next = match after {
                Some(output) => Some(output),
                None => self.pipe.next_output().await,
            };
        }
    }

    /// Says which signal ended the session, if it was one.
    async fn name_signal(&self) -> Result<(), Gone> {
        let Some(signal) = self.ended_by.get().cloned() else {
            return Ok(());
        };
        self.handle
            .exit_signal_request(self.id, signal, false, String::new(), String::new())
            .await
            .map_err(|()| Gone)
    }

    /// Puts small pieces that are there already together. Also gives the first output that did not
    /// fit.
    fn gather(&self, stderr: bool, first: Bytes) -> (Bytes, Option<Output>) {
        let mut gathered = BytesMut::new();
        let mut data = first;
        while data.len() <= SMALL_BYTES && gathered.len() + data.len() <= MAX_MESSAGE_BYTES {
            match (self.output_at_hand(), stderr) {
                (Some(Output::Stdout(more)), false) | (Some(Output::Stderr(more)), true) => {
                    gathered.extend_from_slice(&data);
                    data = more;
                }
                (after, _) if gathered.is_empty() => return (data, after),
                (after, _) => {
                    gathered.extend_from_slice(&data);
                    return (gathered.freeze(), after);
                }
            }
        }
        if gathered.is_empty() {
            return (data, None);
        }
        let after = if stderr {
            Output::Stderr(data)
        } else {
            Output::Stdout(data)
        };
        (gathered.freeze(), Some(after))
    }

    fn output_at_hand(&self) -> Option<Output> {
        let mut next = std::pin::pin!(self.pipe.next_output());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match next.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => output,
            std::task::Poll::Pending => None,
        }
    }

    async fn write(&self, stderr: bool, data: Bytes) -> Result<(), Gone> {
        let mut rest = if self.terminal {
            with_carriage_returns(&data)
        } else {
            data
        };
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MAX_MESSAGE_BYTES));
            let sent = if stderr {
                self.handle.extended_data(self.id, STDERR, piece).await
            } else {
                self.handle.data(self.id, piece).await
            };
            sent.map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), Gone> {
        self.handle.eof(self.id).await.map_err(|()| Gone)?;
        self.handle.close(self.id).await.map_err(|()| Gone)
    }
}

/// What a terminal driver does with output (`onlcr`): the client's terminal is in raw mode.
fn with_carriage_returns(data: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 16);
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_on_a_terminal_end_with_a_carriage_return() {
        let out = with_carriage_returns(&Bytes::from_static(b"one\ntwo\n\nlast"));
        assert_eq!(out, b"one\r\ntwo\r\n\r\nlast"[..]);
    }
}
