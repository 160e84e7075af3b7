//! From an exec request to an exit status: what the client asked for, and who answers.
//!
//! Every request gets a thread of its own, since answering may touch the disk. An rsync session
//! gets a second one, which confines itself to the tenant's tree before it reads the first byte
//! of the stream; the first stays outside and keeps the record: the catalogue must know of a push
//! before it touches anything, and of its end before the client does.

use std::sync::Arc;
use std::time::Duration;

use coffre_protocol::command::{Command, Word};
use coffre_protocol::error::escape;
use coffre_protocol::options::{Role, ServerOptions, render_usage_error};
use coffre_protocol::{ExitCode, ProtocolError};
use jiff::Timestamp;

use super::accounts::Accounts;
use super::outcome::Outcome;
use super::pipe::Output;
use super::push::{self, End, Push};
use super::send::View as Shown;
use super::{Admitted, Pipe, Request, Sessions, View};
use crate::catalogue::{Catalogue, SessionRecord};
use crate::config::{LandlockPolicy, SeccompPolicy};
use crate::confine::{Metadata, TenantRoot};
use crate::places::{NoPlace, Places};
use crate::snapshot;
use crate::tenant::NotAdmitted;

/// How long a session waits for a snapshot to be over.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a client asked for that is answered in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRequest {
    /// An interactive login.
    Greeting,
    Status,
    Snapshots,
    /// Take one now.
    Snapshot,
}

/// An answer in text; lines end in newlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextAnswer {
    pub stdout: String,
    pub stderr: String,
    pub exit: u32,
}

/// What sessions need of the daemon around them.
pub trait Surroundings: Send + Sync + 'static {
    /// Answers in text. May take as long as a snapshot does.
    fn answer(&self, admitted: &Admitted, request: TextRequest) -> TextAnswer;

    /// In which days are counted.
    fn time_zone(&self) -> jiff::tz::TimeZone;

    /// A push has ended and left the tenant's tree.
    fn push_ended(&self, tenant: &str, ended_well: bool);
}

/// Starts sessions; see the module's story.
pub struct Dispatcher {
    pub catalogue: Arc<Catalogue>,
    pub surroundings: Arc<dyn Surroundings>,
    pub metadata: Metadata,
    pub landlock: LandlockPolicy,
    pub seccomp: SeccompPolicy,
    /// Over all tenants.
    pub places: Arc<Places>,
    pub accounts: Arc<Accounts>,
}

impl Sessions for Dispatcher {
    fn start(&self, admitted: Admitted, request: Request, pipe: Arc<Pipe>) {
        let session = Session {
            id: new_id(),
            admitted,
            pipe: Arc::clone(&pipe),
            catalogue: Arc::clone(&self.catalogue),
            surroundings: Arc::clone(&self.surroundings),
            metadata: self.metadata,
            landlock: self.landlock,
            seccomp: self.seccomp,
            places: Arc::clone(&self.places),
            accounts: Arc::clone(&self.accounts),
        };
        let spawned = std::thread::Builder::new()
            .name(format!("session {}", session.id))
            .spawn(move || {
                let _last = LastWord(Arc::clone(&session.pipe));
                session.run(request);
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread for a session");
            refuse(&pipe, "the server is out of resources; try again later", 1);
        }
    }
}

fn new_id() -> String {
    let mut bytes = [0; 6];
    if getrandom::fill(&mut bytes).is_err() {
        // Only the record is named by it.
        bytes.copy_from_slice(&Timestamp::now().as_nanosecond().to_le_bytes()[..6]);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One sentence on stderr.
fn refuse(pipe: &Pipe, sentence: &str, exit: u32) {
    pipe.send(Output::Stderr(format!("coffre: {sentence}\n").into()));
    pipe.exit(exit);
}

/// A session that panics still ends for its client.
struct LastWord(Arc<Pipe>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.exit(ExitCode::StreamIo.code().into());
    }
}

struct Session {
    id: String,
    admitted: Admitted,
    pipe: Arc<Pipe>,
    catalogue: Arc<Catalogue>,
    surroundings: Arc<dyn Surroundings>,
    metadata: Metadata,
    landlock: LandlockPolicy,
    seccomp: SeccompPolicy,
    places: Arc<Places>,
    accounts: Arc<Accounts>,
}

impl Session {
    fn run(self, request: Request) {
        let tenant = self.admitted.tenant.name().to_owned();
        let span = tracing::info_span!(
            "session",
            tenant,
            id = self.id,
            peer = %self.admitted.peer,
            login = self.admitted.login,
            fingerprint = self.admitted.fingerprint
        );
        let _entered = span.enter();
        match request {
            Request::Shell => self.answer(TextRequest::Greeting),
            Request::Subsystem(name) => {
                let name = escape(name.as_bytes());
                tracing::info!(subsystem = name, "refused a subsystem");
                refuse(
                    &self.pipe,
                    &format!("there is no subsystem `{name}` here; use rsync"),
                    1,
                );
            }
            Request::Exec(exec) => self.exec(&exec),
        }
    }

    fn exec(self, exec: &[u8]) {
        match Command::parse(exec) {
            Ok(Command::Rsync(words)) => self.rsync(exec, &words),
            Ok(Command::Probe(text)) => {
                self.pipe.send(Output::Stdout(text.into()));
                self.pipe.exit(0);
            }
            Ok(Command::Status) => self.answer(TextRequest::Status),
            Ok(Command::Snapshots) => self.answer(TextRequest::Snapshots),
            Ok(Command::Snapshot) => self.answer(TextRequest::Snapshot),
            Ok(Command::Unknown(text)) => {
                tracing::info!(command = text, "refused a command");
                let sentence = format!(
                    "`{text}` is not run here; this server takes rsync, `status`, `snapshots` \
                     and `snapshot`"
                );
                refuse(&self.pipe, &sentence, 1);
            }
            Err(error) => {
                tracing::info!(command = escape(exec), %error, "refused a command");
                refuse(&self.pipe, &error.message, u32::from(error.exit.code()));
            }
        }
    }

    fn answer(self, request: TextRequest) {
        let answer = self.surroundings.answer(&self.admitted, request);
        if !answer.stdout.is_empty() {
            self.pipe.send(Output::Stdout(answer.stdout.into()));
        }
        if !answer.stderr.is_empty() {
            self.pipe.send(Output::Stderr(answer.stderr.into()));
        }
        self.pipe.exit(answer.exit);
    }

    /// The client's command line makes no sense: as stock rsync, before any protocol.
    fn usage_error(&self, error: &ProtocolError) {
        tracing::info!(%error, "refused an rsync command line");
        self.pipe
            .send(Output::Stderr(render_usage_error(error).into()));
        self.pipe.exit(error.exit.code().into());
    }

    fn rsync(self, exec: &[u8], words: &[Word]) {
        let options = match ServerOptions::parse(words) {
            Ok(options) => options,
            Err(error) => return self.usage_error(&error),
        };
        if let Some(refusal) = self.admitted.refusal(&options) {
            tracing::info!(reason = refusal.message, "refused an rsync session");
            return self.refuse_in_protocol(options, refusal);
        }
        let tenant = Arc::clone(&self.admitted.tenant);
        let max_sessions = tenant.config().max_sessions;
        let Admitted {
            fingerprint, line, ..
        } = &self.admitted;
        let dead = tenant.end_dead_sessions(fingerprint);
        if dead > 0 {
            tracing::warn!(
                sessions = dead,
                "took over from sessions of this key whose client had vanished"
            );
        }
        let entered = match options.role {
            Role::Receiver => tenant
                .enter_session(max_sessions, PATIENCE, fingerprint, line)
                .map(|pass| (Some(pass), None)),
            Role::Sender => tenant
                .enter_reader(max_sessions)
                .map(|pass| (None, Some(pass))),
        };
        let pass = match entered {
            Ok(pass) => pass,
            Err(NotAdmitted::TooMany(running)) => {
                let refusal = ProtocolError {
                    exit: ExitCode::StartClient,
                    message: format!(
                        "{running} sessions of this tenant run already, which is the most it may \
                         have; try again when one has ended"
                    ),
                };
                tracing::warn!(running, "too many sessions");
                return self.refuse_in_protocol(options, refusal);
            }
            Err(NotAdmitted::SnapshotRuns) => {
                tracing::warn!("refused an rsync session: a snapshot takes too long");
                let refusal = ProtocolError {
                    exit: ExitCode::StartClient,
                    message: "a snapshot is being taken; try again later".to_owned(),
                };
                return self.refuse_in_protocol(options, refusal);
            }
        };
        let place = match self.places.take(PATIENCE, || self.pipe.is_disconnected()) {
            Ok(place) => place,
            Err(NoPlace::Gone) => {
                tracing::info!("the client left while its session waited for its turn");
                return self.pipe.exit(ExitCode::StreamIo.code().into());
            }
            Err(NoPlace::Late(running)) => {
                tracing::warn!(running, "too many sessions on the server");
                let refusal = ProtocolError {
                    exit: ExitCode::StartClient,
                    message: format!(
                        "{running} sessions run on this server already, which is the most it \
                         takes, and none ended for an hour; try again later"
                    ),
                };
                return self.refuse_in_protocol(options, refusal);
            }
        };
        let receives = options.role == Role::Receiver;
        let changes_disk = receives && options.changes_disk();
        let mut record = self.record(exec);
        let begun = self.begin(&record, changes_disk);
        let outcome = match begun.and_then(|()| self.open_end(&options)) {
            Ok(Some(end)) => {
                let what = if receives { "push" } else { "restore" };
                tracing::info!(command = record.command, "{what} begins");
                self.confined(end, options, words.to_vec())
            }
            Ok(None) => {
                let refusal = ProtocolError {
                    exit: ExitCode::FileSelect,
                    message: "nothing has been pushed yet, so there is nothing to restore"
                        .to_owned(),
                };
                push::refuse(&self.pipe, options, &refusal);
                Outcome::failed(refusal.exit, refusal.message)
            }
            Err(message) => {
                tracing::error!(error = message, "cannot begin a push");
                let refusal = ProtocolError {
                    exit: ExitCode::FileIo,
                    message: "the server's storage is not usable; ask its admin".to_owned(),
                };
                push::refuse(&self.pipe, options, &refusal);
                Outcome::failed(ExitCode::FileIo, message)
            }
        };
        self.end(&mut record, &outcome, changes_disk);
        drop(place);
        drop(pass);
        self.pipe.exit(outcome.exit);
        if changes_disk {
            self.surroundings
                .push_ended(tenant.name(), outcome.ended_well);
        }
    }

    /// `None`: there is nothing to read yet.
    fn open_end(&self, options: &ServerOptions) -> Result<Option<End>, String> {
        if options.role == Role::Receiver {
            return self.open_root(options).map(|root| Some(End::Receive(root)));
        }
        let tenant = &self.admitted.tenant;
        let metadata = self.metadata_of(options);
        let unusable = |error: &dyn std::fmt::Display| format!("cannot open a tree: {error}");
        if !tenant.live().is_dir() {
            return Ok(None);
        }
        let shown = match self.admitted.view {
            View::Push => Shown::live(Arc::clone(tenant), metadata).map_err(|e| unusable(&e))?,
            View::Restore => {
                let found = snapshot::list(tenant.home()).map_err(|e| unusable(&e))?;
                let names: Vec<_> = found.into_iter().map(|snapshot| snapshot.name).collect();
                let zone = self.surroundings.time_zone();
                Shown::history(Arc::clone(tenant), metadata, zone, &names)
            }
        };
        Ok(Some(End::Send(shown)))
    }

    fn metadata_of(&self, options: &ServerOptions) -> Metadata {
        match options.fake_super {
            true => Metadata::Xattr,
            false => self.metadata,
        }
    }

    fn refuse_in_protocol(&self, options: ServerOptions, refusal: ProtocolError) {
        push::refuse(&self.pipe, options, &refusal);
        self.pipe.exit(refusal.exit.code().into());
    }

    fn open_root(&self, options: &ServerOptions) -> Result<TenantRoot, String> {
        let metadata = self.metadata_of(options);
        let account = Arc::clone(&self.admitted.tenant.account);
        TenantRoot::open(self.admitted.tenant.home(), metadata, account)
            .and_then(|root| root.with_notes(self.admitted.tenant.notes()))
            .map_err(|error| format!("cannot open the tenant's tree: {error}"))
    }

    /// Runs the session on a thread that can reach nothing but the tenant's tree.
    fn confined(&self, end: End, options: ServerOptions, words: Vec<Word>) -> Outcome {
        let push = Push {
            accounts: Arc::clone(&self.accounts),
            owner_names: self.admitted.tenant.config().owner_names,
            pipe: Arc::clone(&self.pipe),
            end,
            home: self.admitted.tenant.home().to_owned(),
            landlock: self.landlock,
            seccomp: self.seccomp,
            limits: self.admitted.tenant.config().limits,
            admitted: self.admitted.clone(),
            options,
            words,
        };
        let span = tracing::Span::current();
        let spawned = std::thread::Builder::new()
            .name(format!("rsync {}", self.id))
            .spawn(move || span.in_scope(|| push.run()));
        let joined = spawned.map(std::thread::JoinHandle::join);
        match joined {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::error!("internal: the session panicked; please report it");
                Outcome::failed(ExitCode::Protocol, "internal error: the session panicked")
            }
            Err(error) => {
                Outcome::failed(ExitCode::FileIo, format!("cannot start a thread: {error}"))
            }
        }
    }

    fn record(&self, exec: &[u8]) -> SessionRecord {
        SessionRecord {
            id: self.id.clone(),
            tenant: self.admitted.tenant.name().to_owned(),
            fingerprint: self.admitted.fingerprint.clone(),
            address: self.admitted.peer.ip().to_canonical().to_string(),
            login: escape(self.admitted.login.as_bytes()),
            view: match self.admitted.view {
                View::Push => "push",
                View::Restore => "restore",
            }
            .to_owned(),
            command: escape(exec),
            started: Timestamp::now(),
            ended: None,
            exit: None,
            files: 0,
            transferred: 0,
            created: 0,
            deleted: 0,
            bytes_in: 0,
            bytes_out: 0,
            literal: 0,
            matched: 0,
            total_size: 0,
            error: None,
        }
    }

    fn begin(&self, record: &SessionRecord, changes_disk: bool) -> Result<(), String> {
        let written = self.catalogue.record_session(record).and_then(|()| {
            if changes_disk {
                self.catalogue
                    .mark_push_started(&record.tenant, &record.id, record.started)?;
            }
            Ok(())
        });
        written.map_err(|error| error.to_string())
    }

    fn end(&self, record: &mut SessionRecord, outcome: &Outcome, changes_disk: bool) {
        let ended = Timestamp::now();
        (record.bytes_in, record.bytes_out) = self.pipe.totals();
        record.ended = Some(ended);
        record.exit = i32::try_from(outcome.exit).ok();
        record.files = outcome.files;
        record.transferred = outcome.transferred;
        record.created = outcome.created;
        record.deleted = outcome.deleted;
        record.literal = outcome.literal;
        record.matched = outcome.matched;
        record.total_size = outcome.total_size;
        // Names of the client's files are in it.
        record.error = outcome.error.as_deref().map(|e| escape(e.as_bytes()));
        let tenant = &self.admitted.tenant;
        // This session is one of them still.
        let others = tenant.gate.sessions() > 1;
        let written = self
            .catalogue
            .record_account(tenant.name(), &tenant.account, others);
        if let Err(error) = written {
            tracing::error!(%error, "cannot record what the tenant has");
        }
        let written = self.catalogue.record_session(record).and_then(|()| {
            if changes_disk {
                self.catalogue
                    .remember_owner_names(&record.tenant, &outcome.owner_names)?;
                if !outcome.touched && !outcome.ended_well {
                    return self.catalogue.forget_push(&record.id);
                }
                let ended_well = outcome.ended_well;
                self.catalogue
                    .mark_push_ended(&record.tenant, &record.id, ended, ended_well)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(%error, "cannot record the end of a session");
        }
        let seconds = ended.duration_since(record.started).as_secs_f64();
        tracing::info!(
            exit = outcome.exit,
            error = record.error,
            files = outcome.files,
            transferred = outcome.transferred,
            created = outcome.created,
            deleted = outcome.deleted,
            literal = outcome.literal,
            matched = outcome.matched,
            bytes_in = record.bytes_in,
            bytes_out = record.bytes_out,
            seconds,
            "session ended"
        );
    }
}
