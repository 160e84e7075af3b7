//! How far ahead of us a client may send.
//!
//! A client sends what it has been granted and then waits for more, so on a long line its speed is
//! what it is granted in a round trip. The library grants anew when less than half of the target is
//! left, up to the target. Where the client is always waiting, that half is a trap: what it still
//! had has just arrived when exactly half is left, nothing is granted, and the next packet comes a
//! round trip later. So a client gets half the window in a round trip, for ever. Targets that
//! take turns lead out of it: the threshold of one is passed by what is left of the other, and
//! there are two grants in each round trip.
//!
//! A client near by is not given more than it needs, because OpenSSH reads that far ahead of its
//! socket, and is slower with large buffers. One that takes long to use up a grant is: its line is
//! long, or slow, and then it has the time.
//!
//! None of this takes memory here: what arrives and finds no room in the session's queue
//! ([`crate::session::pipe::MOST_INPUT`]) stays in the kernel.

use std::time::{Duration, Instant};

/// Bytes that a client is granted at first.
pub(super) const NEAR: u32 = 8 << 20;

/// … and on a long line: 100 MiB/s at a round trip of 160 ms.
const FAR: u32 = 16 << 20;

/// A grant that lasts longer than this tells a long line, or one below 80 MiB/s.
const LONG: Duration = Duration::from_millis(50);

/// By how much targets that take turns differ: some of the longest packets.
const STEP: u32 = 256 << 10;

/// See the module's story.
#[derive(Debug, Default)]
pub(super) struct Window {
    granted: Option<Instant>,
    is_far: bool,
    is_upper: bool,
}

impl Window {
    /// The library has granted up to the target; what is the next one?
    pub(super) fn next(&mut self) -> u32 {
        self.next_at(Instant::now())
    }

    fn next_at(&mut self, now: Instant) -> u32 {
        let before = self.granted.replace(now);
        self.is_far |= before.is_some_and(|before| now.duration_since(before) > LONG);
        self.is_upper = !self.is_upper;
        let base = if self.is_far { FAR } else { NEAR };
        base + if self.is_upper { STEP } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u32 = 32 << 10;

    /// The bytes that arrive in so many round trips, from a client that sends at once whatever it
    /// may over a line that takes everything at once.
    fn carried(round_trips: u32, mut next: impl FnMut(Instant) -> u32) -> u64 {
        let trip = Duration::from_millis(150);
        let start = Instant::now();
        let mut target = NEAR;
        let mut left = target;
        let mut coming = target;
        let mut carried = 0;
        for round in 0..round_trips {
            let mut granted = 0;
            for _ in 0..coming / PACKET {
                carried += u64::from(PACKET);
                left -= PACKET;
                if left < target / 2 {
                    granted += target - left;
                    left = target;
                    target = next(start + trip * round);
                }
            }
            coming = granted + coming % PACKET;
        }
        carried
    }

    #[test]
    fn a_client_far_away_gets_the_whole_window_in_each_round_trip() {
        let half = carried(100, |_| NEAR);
        assert!(half < 100 * u64::from(NEAR) * 6 / 10, "{half}");
        let mut window = Window::default();
        let whole = carried(100, |now| window.next_at(now));
        assert!(whole > 97 * u64::from(FAR), "{whole}");
    }

    #[test]
    fn a_client_near_by_is_held_to_the_small_window() {
        let mut window = Window::default();
        let start = Instant::now();
        for n in 0..1_000 {
            let next = window.next_at(start + LONG / 2 * n);
            assert!(next <= NEAR + STEP);
        }
    }
}
