//! The sending end of an rsync session: `rsync --server --sender` for a pull, on one thread.
//!
//! ```text
//!  Pipe ──▶ stream (units) ──▶ filter rules, names ──▶ arguments ──▶ plan
//!               │                                                      │
//!               │ items                 View, Folder ──▶ walk (entry) ─┴─▶ lists ──▶ output ──▶ Pipe
//!               ▼                                                                      ▲
//!            items (queue) ──▶ answers ──▶ transfer (delta, tokens, sums) ─────────────┘
//! ```
//!
//! [`Sender::run`] goes round: take what the client sent, then do a little work while little output
//! is queued, then wait for either. Reading never waits for output. So what the client asks for is
//! queued here; the block sums in that queue are bounded by leaving some out ([`stream`]), which
//! costs bytes on the wire and no correctness.
//!
//! With incremental recursion lists are sent about as fast as the client works through them
//! ([`lists`]), so memory is that of a few thousand entries whatever the size of the tree.
//!
//! Everything is read through [`View`]; nothing here can change a file.

mod answers;
mod arguments;
mod digest;
mod entry;
mod filters;
mod lists;
mod messages;
mod phases;
mod plan;
mod stream;
mod transfer;
mod view;
mod walk;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coffre_protocol::ExitCode;
use coffre_protocol::delta::TokenEncoder;
use coffre_protocol::flist::{FlistEncoder, FlistFormat, Flists, IdKind, IdNames, Limits};
use coffre_protocol::handshake::Negotiated;
use coffre_protocol::mux::Demux;
use coffre_protocol::ndx::NdxCoder;
use coffre_protocol::options::{FilesFrom, ServerOptions};

use self::answers::{Held, Job};
use self::arguments::Names;
use self::filters::Filters;
use self::lists::{Extra, Listing};
use self::phases::{Marks, Stage};
use self::plan::Plan;
use self::stream::Expect;
use self::transfer::Transfer;
pub(in crate::session) use self::view::View;
use self::walk::Visit;
use super::agreed::Agreed;
use super::carry::Carry;
use super::outcome::{Fatal, Outcome};
use super::output::Outgoing;
use crate::session::Pipe;
use crate::session::pipe::Event;

/// Nothing more is produced while this much output is queued.
const OUTPUT_LIMIT: usize = 512 << 10;
/// What is handed to the SSH side at a time: what it hands on in one piece.
const FLUSH: usize = 64 << 10;
/// Steps of work between two looks at the input.
const STEPS: usize = 16;
/// A client that asks for nothing for so long may wait for another list.
const LIST_PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    /// Entries in all file lists.
    entries: u64,
    /// Bytes in all regular files and symlinks of the lists.
    size: u64,
    transferred: u64,
    literal: u64,
    matched: u64,
    /// Blocks of a basis that were found; places whose rolling sum was one of it; those of them
    /// where the strong sum differed.
    matches: u64,
    hits: u64,
    false_alarms: u64,
    /// Something failed that ends the run with 23.
    had_errors: bool,
}

/// One session's sending end.
pub(in crate::session) struct Sender {
    pipe: Arc<Pipe>,
    view: Arc<View>,
    options: ServerOptions,
    agreed: Agreed,
    limits: Limits,

    // The stream.
    demux: Demux,
    carry: Carry,
    expect: Expect,
    ndx_in: NdxCoder,
    jobs: VecDeque<Job>,
    /// Memory of the block sums in `jobs`.
    sum_bytes: usize,
    last_input: Instant,

    // What is sent.
    names: Names,
    plan: Plan,
    filters: Filters,
    visits: Vec<Visit>,
    listing: Listing,

    // The lists.
    encoder: FlistEncoder,
    /// Of the entries that are kept to look up what is asked for.
    kept: FlistFormat,
    flists: Flists,
    extras: BTreeMap<u32, Extra>,
    /// Start of the list that the client is known to be at.
    current_list: u32,
    io_error: u32,
    /// The part of it that went with the lists.
    told_io_error: u32,
    list_began: Instant,
    list_millis: u64,

    // The transfer.
    transfer: Option<Transfer>,
    held: Option<Held>,
    tokens: TokenEncoder,
    /// Files that were asked for, where a second request is another kind of request.
    asked_once: HashSet<u32>,
    del_stats: Vec<i32>,
    buffer: Vec<u8>,

    // The end.
    stage: Stage,
    marks: Marks,
    out: Outgoing,
    last_output: Instant,
    /// When the client was last seen to take or give anything.
    last_progress: Instant,
    last_backlog: usize,
    /// With `--bwlimit`: nothing is sent before.
    paced_until: Instant,
    totals: Totals,
}

/// Ids go as the numbers that were pushed. Their names here mean nothing, but for the one that is
/// the same everywhere.
fn names() -> IdNames {
    let mut names = IdNames::new();
    names.insert(IdKind::User, 0, b"root");
    names.insert(IdKind::Group, 0, b"root");
    names
}

impl Sender {
    pub(in crate::session) fn new(
        pipe: Arc<Pipe>,
        view: Arc<View>,
        options: ServerOptions,
        negotiated: Negotiated,
        limits: Limits,
    ) -> Self {
        let agreed = Agreed::new(&options, negotiated);
        let format = agreed.list_format(&options, limits.clone());
        let kept = FlistFormat {
            links: false,
            devices: false,
            hard_links: false,
            atimes: false,
            crtimes: false,
            acls: false,
            checksum_len: None,
            ..format.clone()
        };
        let now = Instant::now();
        let level = options.compress_level;
        Self {
            demux: Demux::new(),
            carry: Carry::default(),
            expect: Expect::Filters,
            ndx_in: NdxCoder::new(agreed.version),
            jobs: VecDeque::new(),
            sum_bytes: 0,
            last_input: now,
            names: Names::new(&options),
            plan: Plan::default(),
            filters: Filters::default(),
            visits: Vec::new(),
            listing: Listing::default(),
            encoder: FlistEncoder::new(format, names()),
            flists: Flists::new(&kept),
            kept,
            extras: BTreeMap::new(),
            current_list: 0,
            io_error: 0,
            told_io_error: 0,
            list_began: now,
            list_millis: 0,
            transfer: None,
            held: None,
            tokens: TokenEncoder::new(agreed.compression, level, agreed.version),
            asked_once: HashSet::new(),
            del_stats: Vec::new(),
            buffer: Vec::new(),
            stage: Stage::Opening,
            marks: Marks::default(),
            out: Outgoing::new(Arc::clone(&pipe), agreed.version)
                .routed(options.message_route)
                .charset(options.iconv),
            last_output: now,
            last_progress: now,
            last_backlog: 0,
            paced_until: now,
            totals: Totals::default(),
            pipe,
            view,
            options,
            agreed,
            limits,
        }
    }

    /// Runs to the end; the caller tells the exit status. `early`: what came of the client behind
    /// the handshake.
    pub(in crate::session) fn run(mut self, early: &[u8]) -> Outcome {
        match self.converse(early) {
            Ok(()) => self.settle(),
            Err(fatal) => self.abandon(fatal),
        }
    }

    fn converse(&mut self, early: &[u8]) -> Result<(), Fatal> {
        self.feed(early)?;
        loop {
            self.work()?;
            if self.stage == Stage::Over {
                return Ok(());
            }
            self.flush();
            if let Some(bytes) = self.pipe.try_input() {
                self.take_input(&bytes)?;
                continue;
            }
            let wants_room = (self.has_work() && !self.is_paced()).then_some(OUTPUT_LIMIT / 2);
            match self.pipe.wait(wants_room, self.next_deadline()) {
                Event::Input(bytes) => self.take_input(&bytes)?,
                Event::OutputRoom => {}
                Event::TimedOut => self.look_at_clock()?,
                Event::InputEnd | Event::Disconnected => return Err(Fatal::Disconnected),
            }
        }
    }

    fn take_input(&mut self, bytes: &Bytes) -> Result<(), Fatal> {
        self.last_input = Instant::now();
        self.last_progress = self.last_input;
        self.feed(bytes)
    }

    /// Works a little while there is room for what comes of it.
    fn work(&mut self) -> Result<(), Fatal> {
        let mut steps = 0;
        while self.stage != Stage::Over
            && self.has_work()
            && !self.is_paced()
            && self.out.pending() + self.pipe.output_backlog() < OUTPUT_LIMIT
        {
            self.step()?;
            self.last_progress = Instant::now();
            steps += 1;
            if self.out.pending() >= FLUSH {
                self.flush();
            }
            if steps % STEPS == 0 && self.pipe.has_input() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether anything can be done without hearing more of the client.
    fn has_work(&self) -> bool {
        match self.stage {
            Stage::Opening => false,
            Stage::Planning => true,
            Stage::Serving => {
                self.transfer.is_some()
                    || self.listing.is_open()
                    || !self.jobs.is_empty()
                    || self.may_list(false)
            }
            Stage::Over => false,
        }
    }

    fn step(&mut self) -> Result<(), Fatal> {
        match self.stage {
            Stage::Opening | Stage::Over => Ok(()),
            Stage::Planning => self.plan_next(),
            Stage::Serving if self.transfer.is_some() => self.send_piece(),
            Stage::Serving if self.listing.is_open() => self.list_some(),
            Stage::Serving if self.must_list() => self.list_some(),
            Stage::Serving => match self.jobs.pop_front() {
                Some(job) => self.answer(job),
                None => self.list_some(),
            },
        }
    }

    fn flush(&mut self) {
        let pending = self.out.pending();
        if pending > 0 {
            self.last_output = Instant::now();
            if let Some(limit) = self.options.bwlimit.filter(|limit| *limit > 0) {
                let time = Duration::from_secs_f64(pending as f64 / limit as f64);
                self.paced_until = self.paced_until.max(self.last_output) + time;
            }
            self.out.flush();
        }
    }

    fn is_paced(&self) -> bool {
        self.options.bwlimit.is_some() && self.paced_until > Instant::now()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timeout = self.options.timeout_secs.filter(|seconds| *seconds > 0);
        let clock = timeout.map(|seconds| {
            let lull = Duration::from_secs(u64::from(seconds.div_ceil(2)));
            let silence = Duration::from_secs(u64::from(seconds));
            (self.last_output + lull).min(self.last_progress + silence)
        });
        let pace = self.is_paced().then_some(self.paced_until);
        let list = self.may_list(true).then(|| Instant::now() + LIST_PATIENCE);
        [clock, pace, list].into_iter().flatten().min()
    }

    fn look_at_clock(&mut self) -> Result<(), Fatal> {
        let backlog = self.pipe.output_backlog();
        if backlog < self.last_backlog {
            self.last_progress = Instant::now();
        }
        self.last_backlog = backlog;
        if let Some(seconds) = self.options.timeout_secs.filter(|seconds| *seconds > 0)
            && self.last_progress.elapsed() >= Duration::from_secs(u64::from(seconds))
        {
            return Err(Fatal::exit(
                ExitCode::Timeout,
                format!("rsync: [sender] io timeout after {seconds} seconds -- exiting"),
            ));
        }
        self.stay_alive();
        if self.stage == Stage::Serving
            && self.jobs.is_empty()
            && self.last_input.elapsed() >= LIST_PATIENCE
            && self.may_list(true)
        {
            self.list_some()?;
        }
        Ok(())
    }

    /// Tells a client with a timeout that the server lives, after half of it in silence.
    fn stay_alive(&mut self) {
        let timeout = self.options.timeout_secs.filter(|seconds| *seconds > 0);
        if let Some(seconds) = timeout
            && self.last_output.elapsed() >= Duration::from_secs(u64::from(seconds.div_ceil(2)))
        {
            self.last_output = Instant::now();
            self.out.keep_alive();
        }
    }

    /// Whether names come from the client.
    fn wants_names(&self) -> bool {
        self.options.files_from == FilesFrom::Client
    }

    /// The goodbye was said.
    fn settle(&mut self) -> Outcome {
        self.flush();
        let exit = if self.totals.had_errors || self.io_error & 1 != 0 {
            ExitCode::Partial
        } else if self.io_error & 2 != 0 {
            ExitCode::Vanished
        } else {
            ExitCode::Ok
        };
        let error = (exit != ExitCode::Ok).then(|| exit.text().to_owned());
        self.outcome(exit.code().into(), exit != ExitCode::Partial, error)
    }

    /// Ends a run that cannot go on.
    fn abandon(&mut self, fatal: Fatal) -> Outcome {
        let (exit, error) = self.out.end(fatal, "sender");
        self.outcome(exit, false, Some(error))
    }

    fn outcome(&self, exit: u32, ended_well: bool, error: Option<String>) -> Outcome {
        Outcome {
            exit,
            ended_well,
            touched: false,
            error,
            files: self.totals.entries,
            transferred: self.totals.transferred,
            literal: self.totals.literal,
            matched: self.totals.matched,
            total_size: self.totals.size,
            ..Outcome::default()
        }
    }
}
