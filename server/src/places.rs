//! How many sessions run at a time over all tenants. One more waits for its turn: clients of many
//! tenants come at the same hour, and a refusal would be a day without a backup.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a session that waits looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub struct Places {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    most: usize,
    taken: usize,
    waiting: usize,
}

/// Held while a session runs.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
}

/// Why a session got no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// So many run still.
    Late(usize),
    /// The client left while it waited.
    Gone,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are from now on. Sessions that run keep theirs.
    pub fn set(&self, most: usize) {
        self.lock().most = most;
        self.changed.notify_all();
    }

    /// Sessions that run, and that wait for a place.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.taken, state.waiting)
    }

    /// Takes a place, waiting for one up to `patience` or until `gone`.
    pub fn take(
        self: &Arc<Self>,
        patience: Duration,
        gone: impl Fn() -> bool,
    ) -> Result<Place, NoPlace> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.waiting += 1;
        let result = loop {
            if state.taken < state.most {
                state.taken += 1;
                break Ok(Place {
                    places: Arc::clone(self),
                });
            }
            if gone() {
                break Err(NoPlace::Gone);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(NoPlace::Late(state.taken));
            }
            state = self
                .changed
                .wait_timeout(state, left.min(LOOK))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        state.waiting -= 1;
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken -= 1;
        self.places.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_waits_until_a_place_is_free() {
        let places = Arc::new(Places::default());
        places.set(1);
        let first = places.take(Duration::ZERO, || false).unwrap();
        let late = places.take(Duration::ZERO, || false).unwrap_err();
        assert_eq!(late, NoPlace::Late(1));
        let gone = places.take(Duration::from_secs(60), || true).unwrap_err();
        assert_eq!(gone, NoPlace::Gone);

        let others = Arc::clone(&places);
        let waiting =
            std::thread::spawn(move || others.take(Duration::from_secs(60), || false).is_ok());
        while places.counts() != (1, 1) {
            std::thread::yield_now();
        }
        drop(first);
        assert!(waiting.join().unwrap());
        assert_eq!(places.counts(), (0, 0));
    }

    #[test]
    fn a_reload_to_fewer_ends_nobody_and_to_more_lets_the_waiting_in() {
        let places = Arc::new(Places::default());
        places.set(2);
        let _a = places.take(Duration::ZERO, || false).unwrap();
        let b = places.take(Duration::ZERO, || false).unwrap();
        places.set(1);
        assert_eq!(places.counts(), (2, 0));
        drop(b);
        assert!(places.take(Duration::ZERO, || false).is_err());
        places.set(3);
        assert!(places.take(Duration::ZERO, || false).is_ok());
    }
}
