//! Reading no faster than allowed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all readers.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When what has been read so far would have been read at that pace.
    due: Mutex<Instant>,
}

/// The longest wait at a time, so that a wish to stop is heard.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|limit| limit.max(1)),
            due: Mutex::new(Instant::now()),
        }
    }

    /// So much has been read: waits until more may be, or `stop` says so.
    pub(super) fn took(&self, bytes: usize, stop: impl Fn() -> bool) {
        let Some(limit) = self.bytes_per_second else {
            return;
        };
        let until = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            // Time in which nothing was read is not saved up.
            let from = (*due).max(Instant::now());
            *due = from + Duration::from_secs_f64(bytes as f64 / limit as f64);
            *due
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop() {
                return;
            }
            std::thread::sleep(left.min(LONGEST_WAIT));
        }
    }
}
