//! The receiving end of an rsync session: `rsync --server` for a push, on one thread.
//!
//! ```text
//!  Pipe ──▶ stream (units) ──▶ lists ──▶ generator ──▶ output ──▶ Pipe
//!               │                            │ requests, notes, marks
//!               └──▶ incoming (replies) ──▶ writer ──▶ TenantRoot
//! ```
//!
//! [`Receiver::run`] goes round: take what the client sent, then let the generator take a few
//! steps while little output is queued, then wait for either. Reading never waits for output, so
//! the two cannot block each other, whatever the client does. [`phases`] says when a phase is
//! over; [`decide`] holds the decisions without side effects; everything on disk goes through
//! [`TenantRoot`].
//!
//! The run ends in one of three ways: with the goodbye, after which everything is synced and the
//! exit status says how it went; with a [`Fatal`], which is told to the client; or with the
//! connection gone. Whatever happens, no half-written file has a name.

mod alike;
mod alternates;
mod attributes;
mod awaited;
mod backups;
mod basis;
mod compare;
pub(super) mod decide;
mod delete;
mod destination;
mod directory;
mod dirlinks;
mod fuzzy;
mod generator;
mod hardlinks;
mod incoming;
mod keeping;
mod lists;
pub(super) mod messages;
mod names;
mod notes;
mod opening;
mod owners;
mod phases;
mod policy;
mod protection;
mod publish;
mod regular;
mod special;
mod stream;
mod totals;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coffre_protocol::delta::TokenDecoder;
use coffre_protocol::flist::{EntryRef, FileList, FlistDecoder, Flists, Limits, NamesByDir};
use coffre_protocol::handshake::Negotiated;
use coffre_protocol::mux::Demux;
use coffre_protocol::ndx::NdxCoder;
use coffre_protocol::options::ServerOptions;
use coffre_protocol::{ExitCode, ProtocolError};

use self::alternates::Alternates;
use self::attributes::XattrExchange;
use self::awaited::Outstanding;
use self::backups::Backups;
use self::delete::Deletion;
use self::destination::Destination;
use self::fuzzy::Fuzzy;
use self::generator::{Job, Walk};
use self::hardlinks::Links;
use self::incoming::Incoming;
use self::lists::ListState;
pub(crate) use self::names::Names;
use self::notes::Paths;
use self::owners::Owners;
use self::phases::{HeldMarks, Marks, Stage};
use self::policy::Policy;
use self::protection::Protection;
use self::regular::Summing;
use self::stream::Expect;
use self::totals::Totals;
use super::agreed::Agreed;
use super::carry::Carry;
use super::outcome::{Fatal, Outcome};
use super::output::Outgoing;
use crate::confine::{Dir, Kept, Metadata, TenantPath, TenantRoot};
use crate::session::Pipe;
use crate::session::accounts::Accounts;
use crate::session::pipe::{Event, Output};

/// The generator pauses while this much output is queued.
const OUTPUT_LIMIT: usize = 512 << 10;
/// With fewer replies than this to come, the generator is served before more input.
const FEW_OUTSTANDING: usize = 512;
/// Requests ahead of their replies; protocols before 30 have no limit, since they do not say
/// which requests will not be answered.
const MAX_OUTSTANDING: usize = 16_384;
/// Steps of the generator between two looks at the input.
const STEPS: usize = 64;

/// One session's receiving end.
pub(crate) struct Receiver {
    pipe: Arc<Pipe>,
    root: TenantRoot,
    policy: Policy,
    owners: Owners,
    /// Something in the options that is told before anything else happens.
    refusal: Option<ProtocolError>,
    negotiated: Agreed,
    destination_argument: Vec<u8>,

    // The stream.
    demux: Demux,
    carry: Carry,
    expect: Expect,
    decoder: FlistDecoder,
    ndx_in: NdxCoder,
    tokens: TokenDecoder,
    incoming: Option<Incoming>,
    /// What broken pushes left, once the destination is known.
    kept: Option<Kept>,
    /// Which of the processes of stock a run that ends now would be ended by.
    role_in_errors: &'static str,
    outstanding: Outstanding,
    backups: Option<Backups>,
    /// Where the client wants temporary files to be.
    temp_dir: Option<TenantPath>,
    alternates: Option<Alternates>,
    fuzzy: Fuzzy,
    /// Whole files that wait beside the tree for the end (`--delay-updates`).
    delayed: Vec<u32>,
    last_input: Instant,

    // The lists.
    /// Of lists that are held, and of what is noted on the way, in bytes.
    limit_bytes: usize,
    flists: Flists,
    lists: VecDeque<ListState>,
    /// A list whose id lists are still to come.
    finished_list: Option<FileList>,
    lists_complete: bool,
    io_error: u32,
    /// What the client waits for before its first list is whole.
    names_to_send: Option<Names>,

    // The generator.
    destination: Option<Destination>,
    walk: Walk,
    jobs: VecDeque<Job>,
    /// To be sent again once the first phase is over.
    redo: Vec<u32>,
    summing: Option<Summing>,
    links: Links,
    protection: Protection,
    failed_dirs: Paths,
    made_dirs: Paths,
    touched_dirs: Paths,
    last_touched: Option<Vec<u8>>,
    /// The names of the list with this start, by directory.
    names: Option<(u32, Arc<NamesByDir>)>,
    /// Deletions put off to the end: path, and whether it is a directory.
    delayed_deletions: VecDeque<(Vec<u8>, bool)>,
    delayed_deletion_bytes: usize,
    /// Under way, the oldest first.
    deletions: VecDeque<Deletion>,
    /// Entries whose place was to be cleared, and whether it could be.
    emptied: HashMap<u32, bool>,
    told_io_error: bool,
    /// Files that the client may remove once everything is on disk.
    successes: Vec<u32>,
    late_repairs: Vec<(Vec<u8>, (i64, u32))>,
    late_repairs_bytes: usize,
    last_dir: Option<(Vec<u8>, Arc<Dir>)>,
    exchange: XattrExchange,
    /// What a new entry of the directory at hand does not get without `--perms`.
    umask: u32,
    umask_of: Option<Vec<u8>>,

    // The marks, and what is said.
    stage: Stage,
    marks: Marks,
    phase_one_answered: bool,
    held_marks: HeldMarks,
    out: Outgoing,
    last_output: Instant,
    totals: Totals,
    buffer: Vec<u8>,
}

/// An entry's path relative to the destination; `.` for the destination itself.
fn path_of(entry: &EntryRef<'_>) -> Vec<u8> {
    if entry.is_root() {
        return b".".to_vec();
    }
    let mut path = Vec::new();
    entry.path(&mut path);
    path
}

impl Receiver {
    pub(crate) fn new(
        pipe: Arc<Pipe>,
        root: TenantRoot,
        options: &ServerOptions,
        negotiated: Negotiated,
        limits: Limits,
        names: Option<Names>,
        (accounts, owner_names): (Arc<Accounts>, bool),
    ) -> Self {
        let agreed = Agreed::new(options, negotiated);
        let is_super = options.super_user.unwrap_or(
            root.metadata() == Metadata::Xattr || Metadata::detect() == Metadata::Native,
        );
        let policy = Policy::new(options, agreed.version, is_super);
        let format = agreed.list_format(options, limits);
        let wants_filters = options.receiver_wants_filter_list(agreed.version);
        let owners = Owners::new(
            options,
            accounts,
            owner_names,
            is_super,
            format.id0_names,
            agreed.is_incremental(),
        );
        let now = Instant::now();
        Self {
            owners,
            refusal: options.map_error.clone(),
            root,
            destination_argument: options.destination(),
            demux: Demux::new(),
            carry: Carry::default(),
            expect: if wants_filters {
                Expect::Filters
            } else {
                Expect::FileList
            },
            decoder: FlistDecoder::new(format.clone()),
            ndx_in: NdxCoder::new(agreed.version),
            tokens: TokenDecoder::new(agreed.compression, agreed.version),
            incoming: None,
            kept: None,
            role_in_errors: "receiver",
            backups: None,
            temp_dir: None,
            alternates: None,
            fuzzy: Fuzzy::default(),
            delayed: Vec::new(),
            outstanding: Outstanding::default(),
            last_input: now,
            limit_bytes: format.limits.list_bytes,
            flists: Flists::new(&format),
            lists: VecDeque::new(),
            finished_list: None,
            lists_complete: false,
            io_error: 0,
            names_to_send: names,
            destination: None,
            walk: Walk::default(),
            jobs: VecDeque::new(),
            redo: Vec::new(),
            summing: None,
            links: Links::default(),
            protection: Protection::new(options, agreed.version),
            failed_dirs: Paths::default(),
            made_dirs: Paths::default(),
            touched_dirs: Paths::default(),
            last_touched: None,
            names: None,
            delayed_deletions: VecDeque::new(),
            delayed_deletion_bytes: 0,
            deletions: VecDeque::new(),
            emptied: HashMap::new(),
            told_io_error: false,
            successes: Vec::new(),
            late_repairs: Vec::new(),
            late_repairs_bytes: 0,
            last_dir: None,
            exchange: XattrExchange::new(format.limits.clone()),
            umask: policy.umask,
            umask_of: None,
            stage: Stage::Visiting,
            marks: Marks::default(),
            phase_one_answered: false,
            held_marks: HeldMarks::default(),
            out: Outgoing::new(Arc::clone(&pipe), agreed.version)
                .quiet(options.quiet)
                .routed(options.message_route)
                .charset(options.iconv),
            last_output: now,
            totals: Totals::default(),
            buffer: Vec::new(),
            policy,
            negotiated: agreed,
            pipe,
        }
    }

    /// Runs to the end; the caller tells the exit status. `early`: what came of the client behind the handshake.
    pub(crate) fn run(mut self, early: &[u8]) -> Outcome {
        let result = self.converse(early);
        match result {
            Ok(()) => self.settle(),
            Err(fatal) => self.abandon(fatal),
        }
    }

    fn converse(&mut self, early: &[u8]) -> Result<(), Fatal> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal.into());
        }
        if self.expect == Expect::FileList {
            self.begin_list(None)?;
        }
        self.feed(early)?;
        self.advance()?;
        while self.stage != Stage::Over {
            self.generate_some()?;
            if self.stage == Stage::Over {
                break;
            }
            self.flush_what_is_urgent();
            if let Some(bytes) = self.pipe.try_input() {
                self.take_input(&bytes)?;
                continue;
            }
            let wants_room = self.may_generate().then_some(OUTPUT_LIMIT / 2);
            let held = self.held_marks.until();
            let deadline = held.into_iter().chain(self.next_deadline()).min();
            match self.pipe.wait(wants_room, deadline) {
                Event::Input(bytes) => self.take_input(&bytes)?,
                Event::OutputRoom => {}
                Event::TimedOut => self.look_at_clock()?,
                Event::InputEnd | Event::Disconnected => return Err(Fatal::Disconnected),
            }
        }
        Ok(())
    }

    fn take_input(&mut self, bytes: &Bytes) -> Result<(), Fatal> {
        self.last_input = Instant::now();
        self.feed(bytes)?;
        self.advance()?;
        self.check_notes()
    }

    fn may_generate(&self) -> bool {
        self.has_work()
            && (self.outstanding.len() < MAX_OUTSTANDING || !self.negotiated.version.at_least(30))
    }

    /// Lets the generator work: a little when much is outstanding and input waits, else until
    /// enough output is queued.
    fn generate_some(&mut self) -> Result<(), Fatal> {
        let mut steps = 0;
        while self.may_generate() && self.out.pending() + self.pipe.output_backlog() < OUTPUT_LIMIT
        {
            self.generate()?;
            self.check_notes()?;
            steps += 1;
            if steps % STEPS == 0 {
                self.advance()?;
                self.flush_what_is_urgent();
                if self.outstanding.len() >= FEW_OUTSTANDING && self.pipe.has_input() {
                    return Ok(());
                }
            }
        }
        if steps > 0 {
            self.advance()?;
        }
        Ok(())
    }

    fn flush(&mut self) {
        if self.out.pending() > 0 {
            self.last_output = Instant::now();
            self.out.flush();
        }
        self.held_marks = HeldMarks::default();
    }

    fn flush_what_is_urgent(&mut self) {
        if !self.may_hold_marks() {
            self.flush();
        }
    }

    /// Half the timeout: after so long a silence of ours a keep-alive is due.
    fn lull(&self) -> Option<Duration> {
        self.policy
            .timeout
            .map(|seconds| Duration::from_secs(u64::from(seconds.div_ceil(2))))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let lull = self.lull()?;
        let silence = self.silence_limit()?;
        let keep_alive = self.last_output + lull;
        Some(keep_alive.min(self.last_input + silence))
    }

    /// How long the client may be silent. Once the lists are complete it sends keep-alives of its
    /// own, but may be busy reading a large file between two of them.
    fn silence_limit(&self) -> Option<Duration> {
        let seconds = u64::from(self.policy.timeout?);
        Some(Duration::from_secs(if self.lists_complete {
            3 * seconds
        } else {
            seconds
        }))
    }

    fn look_at_clock(&mut self) -> Result<(), Fatal> {
        if let Some(limit) = self.silence_limit()
            && self.last_input.elapsed() >= limit
        {
            return Err(Fatal::exit(
                ExitCode::Timeout,
                format!(
                    "rsync: [receiver] io timeout after {} seconds -- exiting",
                    limit.as_secs()
                ),
            ));
        }
        self.stay_alive();
        if self
            .lull()
            .is_some_and(|lull| self.last_output.elapsed() >= lull)
        {
            // Nothing may be sent before the lists are there.
            self.last_output = Instant::now();
        }
        Ok(())
    }

    /// During long work of ours: tells a client with a timeout that the server lives.
    fn stay_alive(&mut self) {
        if let Some(lull) = self.lull()
            && self.destination.is_some()
            && self.last_output.elapsed() >= lull
        {
            self.last_output = Instant::now();
            self.out.keep_alive();
        }
    }

    /// The goodbye was said: put everything on disk, and tell how it went.
    fn settle(&mut self) -> Outcome {
        if !self.policy.dry_run
            && let Err(error) = self.root.sync()
        {
            tracing::error!(%error, "cannot sync the store");
            let message = format!(
                "the data could not be written to disk: {}",
                messages::reason(&error)
            );
            // After the goodbye the client takes an exit status and reads nothing more but what
            // its ssh prints.
            let line = format!("rsync: [receiver] {message}\n");
            self.pipe.send(Output::Stderr(line.into()));
            return self.outcome(ExitCode::FileIo.code().into(), false, Some(message));
        }
        let exit = if self.totals.had_errors || self.io_error & 1 != 0 {
            ExitCode::Partial
        } else if self.io_error & 2 != 0 {
            ExitCode::Vanished
        } else if self.io_error & 4 != 0 {
            ExitCode::DeleteLimit
        } else {
            ExitCode::Ok
        };
        let error = (exit != ExitCode::Ok).then(|| exit.text().to_owned());
        let ended_well = exit != ExitCode::Partial;
        if ended_well {
            self.forget_orphans();
        }
        self.outcome(exit.code().into(), ended_well, error)
    }

    /// Ends a run that cannot go on.
    fn abandon(&mut self, fatal: Fatal) -> Outcome {
        if let Some(incoming) = self.incoming.take() {
            self.keep_broken(incoming);
        }
        // Stock names the process; before the transfer there is only one.
        let who = match self.kept {
            Some(_) => self.role_in_errors,
            None => "Receiver",
        };
        let (exit, error) = self.out.end(fatal, who);
        self.outcome(exit, false, Some(error))
    }

    fn outcome(&self, exit: u32, ended_well: bool, error: Option<String>) -> Outcome {
        let totals = &self.totals;
        Outcome {
            exit,
            ended_well,
            touched: self.destination.is_some() && !self.policy.dry_run,
            error,
            files: totals.entries,
            transferred: totals.transferred,
            created: totals.created,
            deleted: totals.deleted.total(),
            literal: totals.literal,
            matched: totals.matched,
            total_size: totals.size,
            owner_names: self.decoder.id_names().clone(),
        }
    }
}
