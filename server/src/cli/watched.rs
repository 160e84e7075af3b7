//! Shows how far work in this process has come: one line that changes on a terminal, a plain line
//! now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two changes of the line on a terminal.
const INTERVAL: Duration = Duration::from_millis(200);

/// Between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// See the module's story. Shared by the threads at work.
pub(super) struct Watched {
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    shown: Instant,
    live_line: bool,
}

impl Watched {
    pub(super) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            state: Mutex::new(State {
                shown: Instant::now(),
                live_line: false,
            }),
        }
    }

    /// Shows a line, unless the last one is still fresh.
    pub(super) fn show(&self, line: impl FnOnce() -> String) {
        let interval = if self.terminal {
            INTERVAL
        } else {
            PLAIN_INTERVAL
        };
        // Another thread is showing something: that will do.
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        if state.shown.elapsed() < interval {
            return;
        }
        state.shown = Instant::now();
        let mut out = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to stop.
        let _ = if self.terminal {
            state.live_line = true;
            write!(out, "\r\x1b[K{}", line()).and_then(|()| out.flush())
        } else {
            writeln!(out, "{}", line())
        };
    }

    /// Shows a line that stays.
    pub(super) fn line(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if state.live_line { "\r\x1b[K" } else { "" };
        state.live_line = false;
        let _ = writeln!(std::io::stderr(), "{clear}{line}");
    }

    /// Takes the changing line away.
    pub(super) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.live_line {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            state.live_line = false;
        }
    }
}
