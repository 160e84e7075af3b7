//! How fast bytes may pass: a token bucket for each direction.
//!
//! What passes is taken from the bucket afterwards, whatever its size, and the next piece waits
//! until the bucket is out of debt. So nobody who asks is told to wait longer than the last piece
//! costs, and a reader and a writer never wait for each other.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many seconds' worth may pass at once after a lull.
const BURST_SECS: f64 = 0.25;

/// Both directions of a connection, or of all connections that share a limit.
#[derive(Debug, Default)]
pub struct Bandwidth {
    pub incoming: Bucket,
    pub outgoing: Bucket,
}

impl Bandwidth {
    /// Bytes a second in each direction; `None`: no limit. What passed already still counts.
    pub fn set(&self, rate: Option<u64>) {
        self.incoming.set(rate);
        self.outgoing.set(rate);
    }
}

/// See the module's story.
#[derive(Debug, Default)]
pub struct Bucket {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes a second; 0: no limit.
    rate: f64,
    /// Bytes that may pass; negative: that passed too early.
    level: f64,
    /// When `level` was true.
    at: Option<Instant>,
}

impl State {
    fn refill(&mut self, now: Instant) {
        let elapsed = self
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.level = (self.level + elapsed * self.rate).min(self.rate * BURST_SECS);
        self.at = Some(now);
    }
}

impl Bucket {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, rate: Option<u64>) {
        let mut state = self.lock();
        // Exact up to 8 PiB/s.
        let rate = rate.unwrap_or(0) as f64;
        if state.rate == rate {
            return;
        }
        *state = State {
            rate,
            level: rate * BURST_SECS,
            at: None,
        };
    }

    /// How long the next piece must wait; `None`: it may pass.
    pub fn delay(&self) -> Option<Duration> {
        self.delay_at(Instant::now())
    }

    fn delay_at(&self, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        if state.rate == 0.0 {
            return None;
        }
        state.refill(now);
        if state.level > 0.0 {
            return None;
        }
        // A little more, so that it is over when it seems to be.
        let debt = 1.0 - state.level;
        Some(Duration::from_secs_f64(debt / state.rate) + Duration::from_millis(1))
    }

    /// A piece has passed.
    pub fn take(&self, bytes: usize) {
        let mut state = self.lock();
        if state.rate > 0.0 {
            state.level -= bytes as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it takes to pass so many pieces.
    fn time_for(bucket: &Bucket, pieces: usize, bytes: usize) -> Duration {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..pieces {
            while let Some(wait) = bucket.delay_at(now) {
                now += wait;
            }
            bucket.take(bytes);
        }
        now - start
    }

    #[test]
    fn what_passes_keeps_to_the_rate() {
        let bucket = Bucket::default();
        bucket.set(Some(1 << 20));
        // 10 MiB, of which a quarter passes at once and the last piece is not waited for.
        let took = time_for(&bucket, 320, 32 << 10).as_secs_f64();
        assert!((9.5..10.5).contains(&took), "{took}");
    }

    #[test]
    fn a_piece_larger_than_the_bucket_passes_and_is_paid_for() {
        let bucket = Bucket::default();
        bucket.set(Some(1 << 20));
        let took = time_for(&bucket, 3, 8 << 20).as_secs_f64();
        assert!((15.0..17.0).contains(&took), "{took}");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let bucket = Bucket::default();
        assert_eq!(time_for(&bucket, 1000, 1 << 20), Duration::ZERO);
        bucket.set(Some(1 << 20));
        bucket.set(None);
        assert_eq!(time_for(&bucket, 1000, 1 << 20), Duration::ZERO);
    }

    #[test]
    fn a_lull_saves_up_a_quarter_of_a_second_and_no_more() {
        let bucket = Bucket::default();
        bucket.set(Some(1 << 20));
        let start = Instant::now();
        assert_eq!(bucket.delay_at(start), None);
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.delay_at(later), None);
        bucket.take(1 << 20);
        let wait = bucket.delay_at(later).unwrap().as_secs_f64();
        assert!((0.74..0.77).contains(&wait), "{wait}");
    }
}
