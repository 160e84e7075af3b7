//! What the words of `rsync --server …` mean.
//!
//! [`ServerOptions::parse`] reads the words that [`crate::command`] found; with secluded
//! arguments the rest follows on stdin ([`SecludedArgs`]) and goes to
//! [`ServerOptions::parse_secluded`]. Then [`ServerOptions::refusal`] says what is understood but
//! not done by this server, [`crate::handshake`] settles what depends on the protocol version, and
//! everything later reads the fields.
//!
//! * `table.rs` holds one row per option: to teach an option, add a row.
//! * `refusal.rs` holds one row per option that is not performed: to perform it, delete the row.
//!
//! Traps: letters after `e` are capabilities, not options; `--delete-excluded` and
//! `--delete-WHEN` come without `--delete`; a word after the lone `.` is a path even when it
//! begins with a dash (rsync 2.6.9 does not protect such names).
//! Source: the command lines of rsync 2.6.9 to 3.5.0, observed; rsync(1).

mod capabilities;
mod idmap;
mod info;
mod parse;
mod refusal;
mod secluded;
mod size;
mod table;
#[cfg(test)]
mod tests;

pub use capabilities::Capabilities;
pub use idmap::{IdMap, IdMapRule, IdMatch, IdTarget};
pub use info::{Info, InfoLevels};
pub use refusal::render_usage_error;
pub use secluded::SecludedArgs;

use crate::charset::Charset;
use crate::checksum::StrongKind;
use crate::command::Word;
use crate::delta::Compression;
use crate::{ProtocolError, ProtocolVersion};

/// Which end of the transfer the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// A push: the client sends.
    #[default]
    Receiver,
    /// `--sender`: a pull.
    Sender,
}

/// When deletion is asked for, before the protocol version is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delete {
    #[default]
    No,
    /// `--delete` or `--delete-excluded` without a moment.
    Unspecified,
    Before,
    During,
    Delay,
    After,
}

/// When deletion happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteTiming {
    None,
    /// Before the first file.
    Before,
    /// As each directory is visited.
    During,
    /// Found as each directory is visited, removed at the end.
    Delay,
    /// Found and removed at the end.
    After,
}

/// Sources that do not exist on the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingArgs {
    #[default]
    Report,
    Ignore,
    /// An entry of mode 0 asks the receiver to delete that name.
    Delete,
}

/// Whether files are sent whole. Across a connection the default is to send deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WholeFile {
    #[default]
    Default,
    Always,
    Never,
}

/// How an existing longer or shorter file is continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Append {
    #[default]
    No,
    /// What is there counts as right. Before protocol 30 this word meant [`Append::Verified`].
    Unverified,
    /// What is there takes part in the file's checksum.
    Verified,
}

/// Where a similarly named file may serve as basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fuzzy {
    #[default]
    No,
    Destination,
    /// `yy`: in the alternate destination directories too.
    AlternatesToo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Xattrs {
    #[default]
    No,
    /// What a user may see.
    Plain,
    /// `XX`: also rsync's own attributes that hold fake-super metadata.
    WithInternal,
}

/// Whether the sender stays on one filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OneFileSystem {
    #[default]
    No,
    /// Mount points are sent as empty directories.
    KeepMountPoints,
    /// `xx`: mount points are left out.
    OmitMountPoints,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RemoveSource {
    #[default]
    No,
    /// `--remove-sent-files`: only what was transferred.
    SentFiles,
    /// `--remove-source-files`: also what was already up to date.
    SourceFiles,
}

/// What an alternate destination directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlternateKind {
    /// An equal file there needs no copy here.
    Compare,
    /// An equal file there is copied here.
    Copy,
    /// An equal file there is hard-linked here.
    Link,
}

impl AlternateKind {
    /// The option that asks for it.
    pub fn option(self) -> &'static str {
        match self {
            AlternateKind::Compare => "--compare-dest",
            AlternateKind::Copy => "--copy-dest",
            AlternateKind::Link => "--link-dest",
        }
    }
}

/// Alternate destination directories in the order of their use, all of one kind, 1 to 20.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternates {
    pub kind: AlternateKind,
    pub dirs: Vec<Vec<u8>>,
}

/// Where the sender's list of names comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FilesFrom {
    #[default]
    Arguments,
    /// `--files-from=-`: the client sends the names.
    Client,
    /// A file of the server.
    Server { path: Vec<u8> },
}

/// How far modification times may differ and still count as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModifyWindow {
    /// Whole seconds; 0 compares seconds only.
    Seconds(u32),
    /// A negative window: nanoseconds count.
    Nanoseconds,
}

/// What `--log-format` tells about the client's output. It is never a format to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    None,
    /// `%i`: itemised changes.
    Itemize,
    /// `%i%I`: itemised, unchanged entries too.
    ItemizeUnchanged,
    /// `%o`: the operation.
    Operation,
    /// `X`: some format without either.
    Other,
}

/// Where the server's messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageRoute {
    /// Through the protocol, errors that cannot go there to stderr.
    #[default]
    Default,
    Stderr,
    Protocol,
}

/// A checksum by name, or `auto`: what the protocol version implies without negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumChoice {
    Auto,
    Named(StrongKind),
}

/// `--checksum-choice`: nothing is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumChoice {
    /// For blocks and whole files in transfer.
    pub transfer: SumChoice,
    /// For the digests of `--checksum` in the file list.
    pub list: SumChoice,
}

/// Whether and how file data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressRequest {
    #[default]
    Off,
    /// Negotiated where both sides can, else [`Compression::Zlib`].
    Negotiate,
    Explicit(Compression),
}

/// Everything a client's command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    pub role: Role,
    /// `s`: the remaining arguments follow on stdin. Cleared once they have been read.
    pub secluded: bool,
    /// The words after the `.`: one destination, or the sources.
    pub paths: Vec<Word>,
    /// The string after `e`; absent when the client is limited to protocols before 30.
    pub capabilities: Option<Capabilities>,
    /// `--protocol`, forced by a user: announce at most this version.
    pub protocol_limit: Option<ProtocolVersion>,
    /// `--iconv`: the charset of names on the server; UTF-8 travels.
    pub iconv: Option<Charset>,
    /// Names of `--files-from` that travel are UTF-8 too: with `--iconv` and secluded arguments.
    pub converts_names: bool,

    // Which entries take part.
    pub recursive: bool,
    /// `d`: directories are entries of their own without recursion.
    pub dirs: bool,
    /// `R`: names keep their full paths.
    pub relative: bool,
    /// False after `--no-implied-dirs`.
    pub implied_dirs: bool,
    pub files_from: FilesFrom,
    /// Names in a `--files-from` file of the server end in NUL.
    pub from0: bool,
    pub missing_args: MissingArgs,
    pub one_file_system: OneFileSystem,
    pub cvs_exclude: bool,
    pub prune_empty_dirs: bool,
    /// Bytes.
    pub min_size: Option<u64>,
    /// Bytes.
    pub max_size: Option<u64>,
    pub existing: bool,
    pub ignore_existing: bool,
    pub remove_source: RemoveSource,

    // What is kept of an entry; these letters also decide which fields are on the wire.
    pub links: bool,
    pub copy_links: bool,
    pub copy_dirlinks: bool,
    pub copy_unsafe_links: bool,
    pub safe_links: bool,
    pub munge_links: bool,
    pub keep_dirlinks: bool,
    pub hard_links: bool,
    pub perms: bool,
    pub executability: bool,
    pub owner: bool,
    pub group: bool,
    pub devices: bool,
    pub specials: bool,
    /// Neither devices nor fifos and sockets are made, though they travel (3.5).
    pub drop_nodes: bool,
    pub times: bool,
    pub omit_dir_times: bool,
    pub omit_link_times: bool,
    pub atimes: bool,
    pub crtimes: bool,
    pub acls: bool,
    pub xattrs: Xattrs,
    pub numeric_ids: bool,
    pub usermap: IdMap,
    pub groupmap: IdMap,
    /// What is wrong in one of them; ends the session once the protocol has begun.
    pub map_error: Option<ProtocolError>,
    pub super_user: Option<bool>,
    pub fake_super: bool,

    // How files are compared.
    pub checksum: bool,
    pub ignore_times: bool,
    pub size_only: bool,
    pub update: bool,
    pub modify_window: ModifyWindow,

    // How files are transferred and written.
    pub whole_file: WholeFile,
    /// Bytes.
    pub block_size: Option<u32>,
    pub checksum_choice: Option<ChecksumChoice>,
    pub checksum_seed: Option<i32>,
    pub compress: CompressRequest,
    pub compress_level: Option<i32>,
    pub skip_compress: Option<Vec<u8>>,
    pub sparse: bool,
    pub preallocate: bool,
    /// Asked for by name; see also [`ServerOptions::writes_in_place`].
    pub inplace: bool,
    /// Asked for by name; [`ServerOptions::append`] has the meaning at a version.
    pub append: Append,
    pub partial: bool,
    pub partial_dir: Option<Vec<u8>>,
    pub delay_updates: bool,
    pub temp_dir: Option<Vec<u8>>,
    pub backup: bool,
    pub backup_dir: Option<Vec<u8>>,
    /// `~`, or empty with a backup directory, unless the client named one.
    pub backup_suffix: Vec<u8>,
    pub alternates: Option<Alternates>,
    pub fuzzy: Fuzzy,
    pub fsync: bool,
    pub write_devices: bool,
    pub copy_devices: bool,
    pub open_noatime: bool,
    pub mkpath: bool,
    pub only_write_batch: bool,
    pub dry_run: bool,
    pub list_only: bool,

    // Deletion.
    pub delete: Delete,
    pub delete_excluded: bool,
    pub max_delete: Option<u64>,
    pub ignore_errors: bool,
    pub force: bool,

    // Output and limits.
    /// Number of `v`.
    pub verbosity: u8,
    pub quiet: bool,
    /// Words of `--info`, over the levels that `verbosity` implies; see [`ServerOptions::info`].
    pub info_changes: Vec<(Info, u8)>,
    /// What `--debug` says of its word FILTER; see [`ServerOptions::traces_filters`].
    pub debug_filter: Option<u8>,
    /// The same of its word DEL; see [`ServerOptions::traces_deletions`].
    pub debug_del: Option<u8>,
    pub log_format: LogFormat,
    pub stats: bool,
    pub message_route: MessageRoute,
    /// Seconds without any byte before the session ends.
    pub timeout_secs: Option<u32>,
    /// Bytes per second.
    pub bwlimit: Option<u64>,
    /// Bytes.
    pub max_alloc: Option<u64>,
    /// False after `--no-inc-recursive` or `--qsort`.
    pub incremental: bool,
}

impl ServerOptions {
    /// Directory of `--delay-updates` without `--partial-dir`.
    pub const DELAYED_DIR: &'static [u8] = b".~tmp~";

    /// Whether the client sends its filter rules: always on a pull, on a push only when the
    /// receiver has a use for them. If not, there is not even a terminator.
    pub fn receives_filter_list(&self, version: ProtocolVersion) -> bool {
        self.role == Role::Sender || self.receiver_wants_filter_list(version)
    }

    /// The predicate that both ends compute for a push.
    pub fn receiver_wants_filter_list(&self, version: ProtocolVersion) -> bool {
        let deleting = self.delete != Delete::No;
        self.prune_empty_dirs || deleting && (!self.delete_excluded || version.at_least(29))
    }

    pub fn deletion(&self, version: ProtocolVersion) -> DeleteTiming {
        match self.delete {
            Delete::No => DeleteTiming::None,
            Delete::Unspecified if version.at_least(30) => DeleteTiming::During,
            Delete::Unspecified | Delete::Before => DeleteTiming::Before,
            Delete::During => DeleteTiming::During,
            Delete::Delay => DeleteTiming::Delay,
            Delete::After => DeleteTiming::After,
        }
    }

    /// Whether nothing asked for stands against lists that arrive directory by directory. The
    /// client looks only at its own options, so on a push this is for the server to check.
    pub fn allows_incremental_recursion(&self) -> bool {
        let needs_whole_list = match self.role {
            Role::Sender => false,
            Role::Receiver => {
                matches!(self.delete, Delete::Before | Delete::After)
                    || self.delay_updates
                    || self.prune_empty_dirs
            }
        };
        self.has_capability(b'i') && self.recursive && self.incremental && !needs_whole_list
    }

    /// Whether the capability string has this letter.
    pub fn has_capability(&self, letter: u8) -> bool {
        self.capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.has(letter))
    }

    /// Whether the targets of symlinks are converted like names.
    pub fn converts_links(&self) -> bool {
        self.iconv.is_some() && self.has_capability(b's')
    }

    /// Whether entries that need nothing are reported to the client all the same.
    pub fn itemizes_unchanged(&self) -> bool {
        self.log_format == LogFormat::ItemizeUnchanged || self.info().level(Info::Name) >= 2
    }

    /// Which messages the client wants to see.
    pub fn info(&self) -> InfoLevels {
        InfoLevels::new(self.verbosity, self.stats, &self.info_changes)
    }

    /// Whether the client wants to know which rule decides about which name.
    pub fn traces_filters(&self) -> bool {
        self.traces(self.debug_filter)
    }

    /// Whether the client wants to know where a pass of deletions begins.
    pub fn traces_deletions(&self) -> bool {
        self.traces(self.debug_del)
    }

    fn traces(&self, level: Option<u8>) -> bool {
        match level {
            Some(level) => level > 0,
            None => self.verbosity >= 2,
        }
    }

    /// What `--append` means at this version.
    pub fn append(&self, version: ProtocolVersion) -> Append {
        match self.append {
            Append::Unverified if !version.at_least(30) => Append::Verified,
            append => append,
        }
    }

    /// Whether files are changed in place, by name or as part of another option.
    pub fn writes_in_place(&self) -> bool {
        self.inplace || self.append != Append::No || self.write_devices
    }

    /// Whether anything may change on disk.
    pub fn changes_disk(&self) -> bool {
        !(self.dry_run || self.only_write_batch || self.list_only)
    }

    /// Where interrupted files are kept: the directory named, or the one that delayed updates use.
    pub fn partial_dir(&self) -> Option<&[u8]> {
        match &self.partial_dir {
            None if self.delay_updates => Some(Self::DELAYED_DIR),
            dir => dir.as_deref(),
        }
    }

    /// Where a push goes; an absent or empty path is `.`.
    pub fn destination(&self) -> Vec<u8> {
        match self.paths.first() {
            Some(path) if !path.bytes().is_empty() => path.expand_home(),
            _ => b".".to_vec(),
        }
    }

    /// What the options ask that this protocol version has no way to say: exit 2.
    pub fn check_version(&self, version: ProtocolVersion) -> Result<(), ProtocolError> {
        let several = self.alternates.as_ref().is_some_and(|a| a.dirs.len() > 1);
        let kind = match self.alternates.as_ref().map(|alternates| alternates.kind) {
            Some(AlternateKind::Compare) => "--compare-dest",
            Some(AlternateKind::Copy) => "--copy-dest",
            Some(AlternateKind::Link) | None => "--link-dest",
        };
        let needs: [(&str, u8, bool); 6] = [
            ("--acls", 30, self.acls),
            ("--xattrs", 30, self.xattrs != Xattrs::No),
            ("--fuzzy", 29, self.fuzzy != Fuzzy::No),
            (
                &format!("{kind} with --inplace"),
                29,
                self.alternates.is_some() && self.writes_in_place(),
            ),
            (&format!("Using more than one {kind} option"), 29, several),
            ("--prune-empty-dirs", 29, self.prune_empty_dirs),
        ];
        match needs
            .iter()
            .find(|(_, first, asked)| *asked && !version.at_least(*first))
        {
            None => Ok(()),
            Some((option, first, _)) => Err(ProtocolError::violation(format!(
                "{option} requires protocol {first} or higher (negotiated {})",
                version.number()
            ))),
        }
    }
}
