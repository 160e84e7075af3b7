//! The two queues between an SSH channel (async) and a session thread (blocking).
//!
//! Input is bounded: [`Pipe::push_input`] waits while a session's share of [`Shares`] is queued, and
//! so the client's window closes. Output is never waited for: a session that waited for its output while
//! the SSH side waits to hand it input would freeze the connection for ever. Instead the session
//! looks at [`Pipe::output_backlog`] before it makes more output of its own accord, and goes on
//! reading whatever the backlog is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes of input that all sessions may have queued, as long as it is enough for [`LEAST_INPUT`]
/// each. Where the disk is the slower one, this much is always resident.
const ALL_INPUT: usize = 8 << 20;
/// The most that one may have; more would not make it faster.
pub const MOST_INPUT: usize = 512 << 10;
/// And the least, however many there are.
const LEAST_INPUT: usize = 128 << 10;

/// What the sessions of a server share: room for input.
#[derive(Debug, Default)]
pub struct Shares {
    pipes: AtomicUsize,
}

impl Shares {
    /// Bytes of input that each session may have queued before its client is made to wait.
    fn input(&self) -> usize {
        let pipes = self.pipes.load(Ordering::Relaxed).max(1);
        (ALL_INPUT / pipes).clamp(LEAST_INPUT, MOST_INPUT)
    }
}

/// What a session sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The exit status; always the last.
    Exit(u32),
}

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Input(Bytes),
    /// The client closed its sending side; nothing more will come.
    InputEnd,
    /// The backlog is below the limit that was asked for.
    OutputRoom,
    /// The connection is gone; output goes nowhere.
    Disconnected,
    TimedOut,
}

#[derive(Debug, Default)]
struct State {
    input: VecDeque<Bytes>,
    input_bytes: usize,
    input_total: u64,
    input_ended: bool,
    /// The SSH side has input and no room for it.
    waits_for_room: bool,
    output: VecDeque<Output>,
    output_bytes: usize,
    output_total: u64,
    /// What the session waits for; `None`: it is at work, and nobody need wake it.
    waits: Option<Wait>,
    /// The session has ended; input is dropped.
    exited: bool,
    disconnected: bool,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    /// Besides for input, for so little queued output.
    backlog: Option<usize>,
}

/// See the module's story.
#[derive(Debug)]
pub struct Pipe {
    shares: Arc<Shares>,
    state: Mutex<State>,
    session_wakes: Condvar,
    input_room: Notify,
    output_ready: Notify,
}

impl Pipe {
    pub fn new(shares: &Arc<Shares>) -> Self {
        shares.pipes.fetch_add(1, Ordering::Relaxed);
        Self {
            shares: Arc::clone(shares),
            state: Mutex::default(),
            session_wakes: Condvar::new(),
            input_room: Notify::new(),
            output_ready: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the session, if it waits: that is a system call.
    fn wake(&self, state: &mut State) {
        if state.waits.take().is_some() {
            self.session_wakes.notify_one();
        }
    }

    // The SSH side.

    /// Queues input, waiting for room. `false`: the session has ended and nobody reads it.
    pub async fn push_input(&self, data: Bytes) -> bool {
        loop {
            let room = self.input_room.notified();
            {
                let mut state = self.lock();
                if state.exited {
                    return false;
                }
                if state.input_bytes < self.shares.input() {
                    state.input_bytes += data.len();
                    state.input_total += data.len() as u64;
                    state.input.push_back(data);
                    self.wake(&mut state);
                    return true;
                }
                state.waits_for_room = true;
            }
            room.await;
        }
    }

    /// The client sent EOF on its channel.
    pub fn end_input(&self) {
        let mut state = self.lock();
        state.input_ended = true;
        self.wake(&mut state);
    }

    /// The channel or the connection is gone. Wakes everybody.
    pub fn disconnect(&self) {
        let mut state = self.lock();
        state.disconnected = true;
        state.input_ended = true;
        self.wake(&mut state);
        drop(state);
        self.output_ready.notify_one();
        self.input_room.notify_one();
    }

    /// The next output. After [`Output::Exit`], and when disconnected, `None`. For one task.
    pub async fn next_output(&self) -> Option<Output> {
        loop {
            let ready = self.output_ready.notified();
            {
                let mut state = self.lock();
                if let Some(output) = state.output.pop_front() {
                    if let Output::Stdout(data) | Output::Stderr(data) = &output {
                        state.output_bytes -= data.len();
                    }
                    let enough = state.waits.and_then(|wait| wait.backlog);
                    if enough.is_some_and(|backlog| state.output_bytes <= backlog) {
                        self.wake(&mut state);
                    }
                    return Some(output);
                }
                if state.exited || state.disconnected {
                    return None;
                }
            }
            ready.await;
        }
    }

    // The session's side.

    /// Waits for input, or until the output backlog is at most `backlog`, whichever comes first;
    /// input wins. `backlog` of `None`: for input only.
    pub fn wait(&self, backlog: Option<usize>, deadline: Option<Instant>) -> Event {
        let mut state = self.lock();
        loop {
            if let Some(data) = self.take_input(&mut state) {
                return Event::Input(data);
            }
            if state.disconnected {
                return Event::Disconnected;
            }
            if backlog.is_some_and(|limit| state.output_bytes <= limit) {
                return Event::OutputRoom;
            }
            if state.input_ended {
                return Event::InputEnd;
            }
            state.waits = Some(Wait { backlog });
            state = match deadline {
                None => self
                    .session_wakes
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.waits = None;
                        return Event::TimedOut;
                    }
                    self.session_wakes
                        .wait_timeout(state, left.min(Duration::from_secs(3600)))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
            state.waits = None;
        }
    }

    /// Takes input that is there already, without waiting.
    pub fn try_input(&self) -> Option<Bytes> {
        self.take_input(&mut self.lock())
    }

    fn take_input(&self, state: &mut State) -> Option<Bytes> {
        let data = state.input.pop_front()?;
        state.input_bytes -= data.len();
        if state.waits_for_room && state.input_bytes < self.shares.input() {
            state.waits_for_room = false;
            self.input_room.notify_one();
        }
        Some(data)
    }

    /// Whether input is there to be taken.
    pub fn has_input(&self) -> bool {
        !self.lock().input.is_empty()
    }

    /// Whether the connection is gone; for work that takes long without looking at input.
    pub fn is_disconnected(&self) -> bool {
        self.lock().disconnected
    }

    /// Queues output; never waits.
    pub fn send(&self, output: Output) {
        let mut state = self.lock();
        if state.exited {
            return;
        }
        if state.disconnected {
            state.exited |= matches!(output, Output::Exit(_));
            return;
        }
        match &output {
            Output::Stdout(data) | Output::Stderr(data) => {
                state.output_bytes += data.len();
                state.output_total += data.len() as u64;
            }
            Output::Exit(_) => {
                state.exited = true;
                state.input.clear();
                state.input_bytes = 0;
            }
        }
        state.output.push_back(output);
        drop(state);
        self.output_ready.notify_one();
        self.input_room.notify_one();
    }

    /// Ends the session with a status.
    pub fn exit(&self, status: u32) {
        self.send(Output::Exit(status));
    }

    /// Bytes of output that the SSH side has not taken yet.
    pub fn output_backlog(&self) -> usize {
        self.lock().output_bytes
    }

    /// Bytes received and sent so far.
    pub fn totals(&self) -> (u64, u64) {
        let state = self.lock();
        (state.input_total, state.output_total)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shares.pipes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_the_room_for_input_and_get_it_back() {
        let shares = Arc::default();
        let first = Pipe::new(&shares);
        let piece = || Bytes::from(vec![0; 32 << 10]);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut fill = |pipe: &Pipe| {
            let mut pushed = 0;
            loop {
                let mut push = std::pin::pin!(pipe.push_input(piece()));
                match push.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(taken) => assert!(taken),
                    std::task::Poll::Pending => return pushed,
                }
                pushed += 32 << 10;
            }
        };
        assert_eq!(fill(&first), MOST_INPUT);
        let others: Vec<Pipe> = (1..32).map(|_| Pipe::new(&shares)).collect();
        assert_eq!(fill(&others[0]), ALL_INPUT / 32);
        // One that has more than its share gives it up first.
        while first.lock().input_bytes > ALL_INPUT / 32 {
            assert!(first.try_input().is_some());
            assert_eq!(fill(&first), 0);
        }
        let many: Vec<Pipe> = (0..1000).map(|_| Pipe::new(&shares)).collect();
        assert_eq!(fill(&many[0]), LEAST_INPUT);
        drop((others, many));
        // Who waits for room of a share that has grown since is told at the next piece taken.
        let mut push = std::pin::pin!(first.push_input(piece()));
        first.lock().waits_for_room = true;
        assert!(first.try_input().is_some());
        assert!(!first.lock().waits_for_room);
        assert!(push.as_mut().poll(&mut context).is_ready());
    }

    /// What a session that waits is told when something happens on the other side.
    fn told(backlog: Option<usize>, queued: &[usize], happens: impl AsyncFnOnce(&Pipe)) -> Event {
        let pipe = Pipe::new(&Arc::default());
        for bytes in queued {
            pipe.send(Output::Stdout(Bytes::from(vec![0; *bytes])));
        }
        let far = Instant::now() + Duration::from_secs(30);
        let event = std::thread::scope(|scope| {
            let session = scope.spawn(|| pipe.wait(backlog, Some(far)));
            while pipe.lock().waits.is_none() && !session.is_finished() {
                std::thread::yield_now();
            }
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.build().unwrap().block_on(happens(&pipe));
            session.join().unwrap()
        });
        assert!(pipe.lock().waits.is_none(), "nobody waits any more");
        event
    }

    #[test]
    fn a_session_that_waits_is_woken_by_what_it_waits_for() {
        let input = Bytes::from_static(b"input");
        let event = told(None, &[], async |pipe| {
            assert!(pipe.push_input(input.clone()).await);
        });
        assert_eq!(event, Event::Input(input.clone()));
        let event = told(None, &[], async |pipe| pipe.end_input());
        assert_eq!(event, Event::InputEnd);
        let event = told(None, &[], async |pipe| pipe.disconnect());
        assert_eq!(event, Event::Disconnected);
        // Room comes with the piece that makes it small enough.
        let event = told(Some(10), &[100, 5, 5], async |pipe| {
            assert!(pipe.next_output().await.is_some());
        });
        assert_eq!(event, Event::OutputRoom);
        // Who waits for input alone sleeps on.
        let event = told(None, &[100], async |pipe| {
            assert!(pipe.next_output().await.is_some());
            assert!(pipe.lock().waits.is_some());
            assert!(pipe.push_input(input.clone()).await);
        });
        assert_eq!(event, Event::Input(input));
    }

    #[test]
    fn a_session_at_work_finds_what_came_meanwhile() {
        let pipe = Pipe::new(&Arc::default());
        let soon = || Some(Instant::now() + Duration::from_millis(1));
        assert_eq!(pipe.wait(None, soon()), Event::TimedOut);
        assert_eq!(pipe.wait(Some(0), soon()), Event::OutputRoom);
        pipe.end_input();
        assert_eq!(pipe.wait(None, soon()), Event::InputEnd);
        pipe.disconnect();
        assert_eq!(pipe.wait(Some(0), soon()), Event::Disconnected);
    }
}
