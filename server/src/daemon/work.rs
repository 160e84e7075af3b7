//! Heavy work on the store: how much of it runs at once, how far it has come, and how it is told
//! to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::control;
use crate::control::listener::Steps;
use crate::snapshot::{Counter, Progress};

/// Snapshots at a time. Each has two threads; more would only move the disk's heads about.
const SNAPSHOTS: usize = 2;

/// Prune runs at a time: nobody waits for one.
const PRUNES: usize = 1;

/// Counts of a whole tree at a time.
const COUNTS: usize = 1;

/// Parts of stores that are verified at a time: each has two readers, and the disk is one.
const SCRUBS: usize = 1;

/// How often progress is told.
const STEP_INTERVAL: Duration = Duration::from_millis(200);

/// Shared by all heavy work of the daemon.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) snapshots: Semaphore,
    pub(super) prunes: Semaphore,
    pub(super) counts: Semaphore,
    pub(super) scrubs: Semaphore,
    stopping: Arc<AtomicBool>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            snapshots: Semaphore::new(SNAPSHOTS),
            prunes: Semaphore::new(PRUNES),
            counts: Semaphore::new(COUNTS),
            scrubs: Semaphore::new(SCRUBS),
            stopping: Arc::default(),
        }
    }
}

impl Work {
    /// Tells all work to stop as soon as possible.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread of its own, and tells `steps` how far it has come. A panic in it is
    /// an error of this work only.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        what: &str,
        steps: Option<&Steps>,
        work: impl FnOnce(&dyn Progress) -> T + Send + 'static,
    ) -> Result<T, String> {
        let watched = Arc::new(Watched {
            counter: Counter::default(),
            stopping: Arc::clone(&self.stopping),
        });
        let inner = Arc::clone(&watched);
        let mut task = tokio::task::spawn_blocking(move || work(&*inner));
        let mut ticks = tokio::time::interval(STEP_INTERVAL);
        ticks.tick().await;
        loop {
            tokio::select! {
                done = &mut task => {
                    return done.map_err(|e| format!("internal: the work on it stopped: {e}"));
                }
                _ = ticks.tick() => {
                    if let Some(steps) = steps {
                        let step = control::Progress::Count {
                            what: what.to_owned(),
                            files: watched.counter.files(),
                            directories: watched.counter.directories(),
                        };
                        // Whoever asked may have gone, or be slow: the work goes on.
                        let _ = steps.try_send(step);
                    }
                }
            }
        }
    }
}

/// Counts, and passes on that the daemon stops.
#[derive(Debug)]
struct Watched {
    counter: Counter,
    stopping: Arc<AtomicBool>,
}

impl Progress for Watched {
    fn advance(&self, files: u64, directories: u64) {
        self.counter.advance(files, directories);
    }

    fn cancelled(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
