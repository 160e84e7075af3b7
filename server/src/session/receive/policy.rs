//! What the client's options mean for this receiver, in the form that its hot loops ask for.

use coffre_protocol::ProtocolVersion;
use coffre_protocol::flist::EntryRef;
pub(super) use coffre_protocol::options::Append;
use coffre_protocol::options::{
    Alternates, DeleteTiming, Fuzzy, Info, LogFormat, ModifyWindow, RemoveSource, ServerOptions,
    WholeFile, Xattrs,
};

/// How a file is told from one that is up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuickCheck {
    SizeAndTime,
    SizeOnly,
    Checksum,
    /// Nothing counts as up to date.
    IgnoreTimes,
}

/// Kinds of message that the client wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants {
    /// Names of what changed.
    pub(super) name: bool,
    pub(super) skip: bool,
    pub(super) nonreg: bool,
    pub(super) symsafe: bool,
    pub(super) del: bool,
    /// `deleting in X`
    pub(super) deleting_in: bool,
    pub(super) backup: bool,
    /// `X is uptodate`
    pub(super) name_unchanged: bool,
    /// `created directory X`
    pub(super) created_destination: bool,
    pub(super) delta_transmission: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Owners, devices and attributes of all namespaces are set, as root would.
    pub(super) is_super: bool,
    pub(super) perms: bool,
    pub(super) executability: bool,
    pub(super) owner: bool,
    pub(super) group: bool,
    pub(super) times: bool,
    pub(super) omit_dir_times: bool,
    pub(super) omit_link_times: bool,
    pub(super) atimes: bool,
    pub(super) acls: bool,
    pub(super) xattrs: bool,
    pub(super) links: bool,
    pub(super) devices: bool,
    pub(super) specials: bool,
    pub(super) safe_links: bool,
    pub(super) relative: bool,
    /// A link to a directory counts as the directory.
    pub(super) keep_dirlinks: bool,
    pub(super) no_implied_dirs: bool,
    pub(super) prune_empty_dirs: bool,

    pub(super) quick_check: QuickCheck,
    /// See [`super::decide::times_differ`].
    pub(super) modify_window: i32,
    pub(super) update: bool,
    pub(super) existing_only: bool,
    pub(super) ignore_existing: bool,
    pub(super) max_size: Option<u64>,
    pub(super) min_size: Option<u64>,

    pub(super) whole_file: bool,
    pub(super) block_len: Option<u32>,
    pub(super) inplace: bool,
    pub(super) append: Append,
    /// What broke off is kept for the next time.
    pub(super) keeps_broken: bool,
    /// What is kept is told as a file in this directory: relative to that of each file, or
    /// absolute.
    pub(super) partial_dir: Option<Vec<u8>>,
    /// Files are put in place at the end, all at once.
    pub(super) delay_updates: bool,
    pub(super) temp_dir: Option<Vec<u8>>,
    pub(super) backup: bool,
    pub(super) backup_dir: Option<Vec<u8>>,
    pub(super) backup_suffix: Vec<u8>,
    /// As the client names them.
    pub(super) alternates: Option<Alternates>,
    /// Whether a similar file may be the basis.
    pub(super) fuzzy: Fuzzy,
    pub(super) sparse: bool,
    pub(super) preallocate: bool,
    pub(super) fsync: bool,
    pub(super) mkpath: bool,
    pub(super) dry_run: bool,
    /// A dry run in which the client writes a batch: requests carry sums, replies no data.
    pub(super) batch_only: bool,
    pub(super) reports_success: bool,
    pub(super) reports_up_to_date: bool,

    pub(super) deletion: DeleteTiming,
    pub(super) force: bool,
    pub(super) ignore_errors: bool,
    pub(super) max_delete: Option<u64>,

    pub(super) info: Wants,
    pub(super) verbose: u8,
    pub(super) itemizes: bool,
    pub(super) itemizes_unchanged: bool,
    /// How the client prints changes, which an old one leaves to the server for deletions.
    pub(super) log_format: LogFormat,
    /// Seconds.
    pub(super) timeout: Option<u32>,
    /// Bits that a new file does not get without `--perms`.
    pub(super) umask: u32,
}

/// A backup directory as it is told to the client; empty for the destination itself.
fn without_dots(mut dir: &[u8]) -> &[u8] {
    while let Some(rest) = dir.strip_prefix(b"./") {
        dir = rest;
    }
    if dir == b"." { b"" } else { dir }
}

/// The server's umask: what stock servers run with, whatever this process was started with.
const UMASK: u32 = 0o022;

impl Policy {
    pub(super) fn new(options: &ServerOptions, version: ProtocolVersion, is_super: bool) -> Self {
        let info = options.info();
        let backup_dir = options
            .backup_dir
            .as_ref()
            .map(|dir| without_dots(dir).to_vec())
            .filter(|dir| !dir.is_empty());
        let itemizes = matches!(
            options.log_format,
            LogFormat::Itemize | LogFormat::ItemizeUnchanged
        );
        // Before protocol 29 there are no items that a client could make lines of.
        let says_names = !version.at_least(29)
            || !matches!(
                options.log_format,
                LogFormat::Itemize | LogFormat::ItemizeUnchanged | LogFormat::Operation
            );
        Self {
            is_super,
            perms: options.perms || options.acls,
            executability: options.executability,
            owner: options.owner && is_super,
            group: options.group,
            times: options.times,
            // A backup beside its file changes the time of the directory: it is not kept then.
            omit_dir_times: options.omit_dir_times || (options.backup && backup_dir.is_none()),
            omit_link_times: options.omit_link_times,
            atimes: options.atimes,
            acls: options.acls,
            xattrs: options.xattrs != Xattrs::No,
            links: options.links,
            devices: options.devices && is_super && !options.drop_nodes,
            specials: options.specials && !options.drop_nodes,
            safe_links: options.safe_links,
            relative: options.relative,
            keep_dirlinks: options.keep_dirlinks,
            no_implied_dirs: !options.implied_dirs,
            prune_empty_dirs: options.prune_empty_dirs,
            quick_check: if options.checksum {
                QuickCheck::Checksum
            } else if options.size_only {
                QuickCheck::SizeOnly
            } else if options.ignore_times {
                QuickCheck::IgnoreTimes
            } else {
                QuickCheck::SizeAndTime
            },
            modify_window: match options.modify_window {
                ModifyWindow::Seconds(seconds) => i32::try_from(seconds).unwrap_or(i32::MAX),
                ModifyWindow::Nanoseconds => -1,
            },
            update: options.update,
            existing_only: options.existing,
            ignore_existing: options.ignore_existing,
            max_size: options.max_size,
            min_size: options.min_size,
            whole_file: options.whole_file == WholeFile::Always,
            block_len: options.block_size,
            inplace: options.writes_in_place(),
            append: options.append(version),
            keeps_broken: options.partial
                || options.partial_dir().is_some()
                || options.writes_in_place(),
            partial_dir: options.partial_dir().map(<[u8]>::to_vec),
            delay_updates: options.delay_updates,
            temp_dir: options.temp_dir.clone(),
            backup: options.backup,
            backup_dir: backup_dir.clone(),
            backup_suffix: options.backup_suffix.clone(),
            alternates: options.alternates.clone(),
            fuzzy: options.fuzzy,
            sparse: options.sparse,
            preallocate: options.preallocate,
            fsync: options.fsync,
            mkpath: options.mkpath,
            dry_run: !options.changes_disk(),
            batch_only: options.only_write_batch && !options.dry_run,
            reports_success: options.remove_source != RemoveSource::No,
            reports_up_to_date: options.remove_source == RemoveSource::SourceFiles,
            deletion: options.deletion(version),
            force: options.force,
            ignore_errors: options.ignore_errors,
            max_delete: options.max_delete,
            info: Wants {
                name: info.wants(Info::Name),
                skip: info.wants(Info::Skip),
                nonreg: info.wants(Info::Nonreg),
                symsafe: info.wants(Info::Symsafe),
                del: info.wants(Info::Del),
                deleting_in: options.traces_deletions(),
                backup: info.wants(Info::Backup),
                name_unchanged: info.level(Info::Name) >= 2
                    && (says_names || !version.at_least(29)),
                created_destination: info.wants(Info::Name) || itemizes,
                delta_transmission: info.level(Info::Flist) >= 1 && options.verbosity >= 2,
            },
            verbose: options.verbosity,
            itemizes,
            itemizes_unchanged: options.itemizes_unchanged(),
            log_format: options.log_format,
            timeout: options.timeout_secs.filter(|seconds| *seconds > 0),
            umask: UMASK,
        }
    }

    pub(super) fn may_delete(&self) -> bool {
        self.deletion != DeleteTiming::None || self.force
    }

    pub(super) fn deletes_before(&self) -> bool {
        self.deletion == DeleteTiming::Before
    }

    /// As directories are visited: to delete at once, or to note down what will be.
    pub(super) fn deletes_during(&self) -> bool {
        matches!(self.deletion, DeleteTiming::During | DeleteTiming::Delay)
    }

    pub(super) fn deletes_delayed(&self) -> bool {
        self.deletion == DeleteTiming::Delay
    }

    pub(super) fn deletes_late(&self) -> bool {
        matches!(self.deletion, DeleteTiming::Delay | DeleteTiming::After)
    }

    /// How much newer than the source a file must be for `--update` to leave it, less one second.
    pub(super) fn update_slack(&self) -> i64 {
        i64::from(self.modify_window.max(0))
    }

    /// The mode a file is made with before it has its name: the permission bits of the entry, so
    /// that mostly none need be set again. Nobody can reach it before it has all its attributes.
    pub(super) fn staging_mode(&self, entry: &EntryRef<'_>) -> u32 {
        (entry.mode() & 0o777) | 0o600
    }
}
