//! What lives as long as a tenant is served: its current configuration, its place in the store,
//! and the gate between sessions and snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::bandwidth::Bandwidth;
use crate::config::Tenant;
use crate::confine::Notes;
use crate::snapshot::SnapshotName;

/// One served tenant. A reload replaces the configuration inside.
#[derive(Debug)]
pub struct TenantHandle {
    name: String,
    config: RwLock<Arc<Tenant>>,
    home: PathBuf,
    pub gate: Gate,
    /// Shared by all connections of the tenant.
    pub bandwidth: Arc<Bandwidth>,
    /// What it has in the store.
    pub account: Arc<Account>,
    /// What is noted of its files, where that is not in the files.
    notes: OnceLock<Arc<dyn Notes>>,
    readings: Mutex<Readings>,
}

/// Which snapshots restores read, and which are on their way out.
#[derive(Debug, Default)]
struct Readings {
    reading: BTreeMap<SnapshotName, usize>,
    going: BTreeSet<SnapshotName>,
}

/// Held while a restore reads a snapshot: until then it stays.
#[derive(Debug)]
pub struct Reading {
    tenant: Arc<TenantHandle>,
    name: SnapshotName,
}

/// Held while a snapshot is removed or made into another: no restore begins to read it.
#[derive(Debug)]
pub struct Going {
    tenant: Arc<TenantHandle>,
    name: SnapshotName,
}

impl TenantHandle {
    pub fn new(storage: &Path, config: Arc<Tenant>) -> Self {
        let bandwidth = Arc::new(Bandwidth::default());
        bandwidth.set(config.bandwidth);
        Self {
            name: config.name.clone(),
            home: storage.join(&config.name),
            config: RwLock::new(config),
            gate: Gate::default(),
            bandwidth,
            account: Arc::default(),
            notes: OnceLock::new(),
            readings: Mutex::default(),
        }
    }

    /// What is noted of its files is in `notes`, not in the files. Said once, before it is served.
    pub fn set_notes(&self, notes: Arc<dyn Notes>) {
        let _ = self.notes.set(notes);
    }

    /// `None`: what is noted of its files is in the files.
    pub fn notes(&self) -> Option<Arc<dyn Notes>> {
        self.notes.get().cloned()
    }

    fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A restore begins to read a snapshot. `None`: that is being removed.
    pub fn read_snapshot(self: &Arc<Self>, name: SnapshotName) -> Option<Reading> {
        let mut readings = self.readings();
        if readings.going.contains(&name) {
            return None;
        }
        *readings.reading.entry(name).or_default() += 1;
        Some(Reading {
            tenant: Arc::clone(self),
            name,
        })
    }

    /// A snapshot is about to go. `None`: a restore reads it.
    pub fn let_snapshot_go(self: &Arc<Self>, name: SnapshotName) -> Option<Going> {
        let mut readings = self.readings();
        if readings.reading.contains_key(&name) {
            return None;
        }
        readings.going.insert(name);
        Some(Going {
            tenant: Arc::clone(self),
            name,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration in force now.
    pub fn config(&self) -> Arc<Tenant> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_config(&self, config: Arc<Tenant>) {
        self.bandwidth.set(config.bandwidth);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// `<storage>/<tenant>`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `<storage>/<tenant>/live`.
    pub fn live(&self) -> PathBuf {
        self.home.join("live")
    }

    /// `<storage>/<tenant>/snapshots`.
    pub fn snapshots(&self) -> PathBuf {
        self.home.join("snapshots")
    }
}

/// Sessions share the live tree; a snapshot needs it alone.
///
/// A snapshot that waits keeps new sessions out, so that it comes to its turn; when its patience
/// ends it leaves, and they come in.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    sessions: Vec<Running>,
    next_id: u64,
    /// Sessions that only read: they do not disturb a snapshot, nor it them.
    readers: usize,
    snapshot_waits: usize,
    snapshot_runs: bool,
}

/// A session in the live tree.
#[derive(Debug)]
struct Running {
    id: u64,
    fingerprint: String,
    line: Arc<dyn Line>,
}

/// The connection that a session's client is at the other end of.
pub trait Line: std::fmt::Debug + Send + Sync {
    /// How long nothing has come over it although it was listened to.
    fn silent_for(&self) -> Duration;

    /// Asks the client for a sign of life; it comes as anything that ends the silence.
    fn ask(&self);

    /// Ends the connection.
    fn end(&self);
}

/// A connection that has been silent for so long is asked for a sign of life when its client comes
/// again …
const SILENT: Duration = Duration::from_secs(5);

/// … for which it has so long.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the session of a dead connection may take to notice that.
const LEAVE: Duration = Duration::from_secs(20);

/// Held while a session works in the live tree.
#[derive(Debug)]
pub struct SessionPass {
    tenant: Arc<TenantHandle>,
    id: u64,
}

/// Held while a session reads.
#[derive(Debug)]
pub struct ReaderPass {
    tenant: Arc<TenantHandle>,
}

/// Held while a snapshot is taken.
#[derive(Debug)]
pub struct SnapshotPass {
    tenant: Arc<TenantHandle>,
}

/// Why a session was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// This many run already.
    TooMany(usize),
    /// A snapshot took longer than the session was ready to wait.
    SnapshotRuns,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions at work now.
    pub fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }
}

impl TenantHandle {
    /// Ends what a client has left behind that vanished without a word and comes again: sessions
    /// of the same key whose connection is silent and gives no sign of life. Returns how many.
    ///
    /// Waits for signs of life, and for the sessions to leave.
    pub fn end_dead_sessions(&self, fingerprint: &str) -> usize {
        let suspects: Vec<(u64, Arc<dyn Line>)> = {
            let state = self.gate.lock();
            let silent = state.sessions.iter().filter(|running| {
                running.fingerprint == fingerprint && running.line.silent_for() >= SILENT
            });
            silent
                .map(|running| (running.id, Arc::clone(&running.line)))
                .collect()
        };
        if suspects.is_empty() {
            return 0;
        }
        for (_, line) in &suspects {
            line.ask();
        }
        let answered = |line: &Arc<dyn Line>| line.silent_for() < SILENT;
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline && !suspects.iter().all(|(_, line)| answered(line)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let dead: Vec<u64> = suspects
            .into_iter()
            .filter(|(_, line)| !answered(line))
            .map(|(id, line)| {
                line.end();
                id
            })
            .collect();
        self.until_left(&dead);
        dead.len()
    }

    fn until_left(&self, ids: &[u64]) {
        let deadline = Instant::now() + LEAVE;
        let mut state = self.gate.lock();
        while state
            .sessions
            .iter()
            .any(|running| ids.contains(&running.id))
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .gate
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Lets a session in, after a snapshot that runs or waits, up to `patience`.
    pub fn enter_session(
        self: &Arc<Self>,
        max_sessions: usize,
        patience: Duration,
        fingerprint: &str,
        line: &Arc<dyn Line>,
    ) -> Result<SessionPass, NotAdmitted> {
        let deadline = Instant::now() + patience;
        let mut state = self.gate.lock();
        loop {
            let running = state.sessions.len() + state.readers;
            if running >= max_sessions {
                return Err(NotAdmitted::TooMany(running));
            }
            if !state.snapshot_runs && state.snapshot_waits == 0 {
                let id = state.next_id;
                state.next_id += 1;
                state.sessions.push(Running {
                    id,
                    fingerprint: fingerprint.to_owned(),
                    line: Arc::clone(line),
                });
                return Ok(SessionPass {
                    tenant: Arc::clone(self),
                    id,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotAdmitted::SnapshotRuns);
            }
            state = self
                .gate
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Lets a session in that only reads. It waits for nothing: a snapshot that is taken leaves
    /// live as it is.
    pub fn enter_reader(self: &Arc<Self>, max_sessions: usize) -> Result<ReaderPass, NotAdmitted> {
        let mut state = self.gate.lock();
        let running = state.sessions.len() + state.readers;
        if running >= max_sessions {
            return Err(NotAdmitted::TooMany(running));
        }
        state.readers += 1;
        Ok(ReaderPass {
            tenant: Arc::clone(self),
        })
    }

    /// Waits until no session runs, up to `patience`. `None`: sessions still run, or another
    /// snapshot does.
    pub fn enter_snapshot(self: &Arc<Self>, patience: Duration) -> Option<SnapshotPass> {
        let deadline = Instant::now() + patience;
        let mut state = self.gate.lock();
        state.snapshot_waits += 1;
        loop {
            if state.sessions.is_empty() && !state.snapshot_runs {
                state.snapshot_waits -= 1;
                state.snapshot_runs = true;
                return Some(SnapshotPass {
                    tenant: Arc::clone(self),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.snapshot_waits -= 1;
                self.gate.changed.notify_all();
                return None;
            }
            state = self
                .gate
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for SessionPass {
    fn drop(&mut self) {
        let mut state = self.tenant.gate.lock();
        state.sessions.retain(|running| running.id != self.id);
        drop(state);
        self.tenant.gate.changed.notify_all();
    }
}

impl Drop for ReaderPass {
    fn drop(&mut self) {
        self.tenant.gate.lock().readers -= 1;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut readings = self.tenant.readings();
        if let Some(count) = readings.reading.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                readings.reading.remove(&self.name);
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.tenant.readings().going.remove(&self.name);
    }
}

impl Drop for SnapshotPass {
    fn drop(&mut self) {
        self.tenant.gate.lock().snapshot_runs = false;
        self.tenant.gate.changed.notify_all();
    }
}
