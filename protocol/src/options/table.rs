//! One row per option: its long name, its letter (0: none), and what it sets.

use super::parse::{Draft, Value};
use super::*;

type Set = fn(&mut Draft);
type SetValue = fn(&mut Draft, &Value<'_>) -> Result<(), ProtocolError>;

/// What a row does with its option.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Flag(Set),
    Valued(SetValue),
    /// Known to stock servers, refused here for this reason.
    Refused(&'static str),
}

/// Finds the row of a long option without its dashes, also in its `no-` form.
pub(super) fn long(name: &[u8]) -> Option<Action> {
    let is = |known: &str| name == known.as_bytes();
    if let Some((_, _, set)) = FLAGS.iter().find(|(long, _, _)| is(long)) {
        return Some(Action::Flag(*set));
    }
    if let Some((_, _, set)) = VALUED.iter().find(|(long, _, _)| is(long)) {
        return Some(Action::Valued(*set));
    }
    if let Some((_, _, reason)) = REFUSED.iter().find(|(long, _, _)| is(long)) {
        return Some(Action::Refused(reason));
    }
    let positive = name.strip_prefix(b"no-")?;
    let is = |known: &str| !known.is_empty() && positive == known.as_bytes();
    let (_, _, set) = NEGATED
        .iter()
        .find(|(long, short, _)| is(long) || is(short))?;
    Some(Action::Flag(*set))
}

/// Finds the row of a letter.
pub(super) fn short(letter: u8) -> Option<Action> {
    if letter == 0 {
        return None;
    }
    let flag = FLAGS.iter().find(|(_, short, _)| *short == letter);
    let valued = VALUED.iter().find(|(_, short, _)| *short == letter);
    let refused = REFUSED.iter().find(|(_, short, _)| *short == letter);
    flag.map(|(_, _, set)| Action::Flag(*set))
        .or(valued.map(|(_, _, set)| Action::Valued(*set)))
        .or(refused.map(|(_, _, reason)| Action::Refused(reason)))
}

const FLAGS: &[(&str, u8, Set)] = &[
    ("server", 0, |d| d.server = true),
    ("sender", 0, |d| d.options.role = Role::Sender),
    ("secluded-args", b's', |d| d.options.secluded = true),
    ("protect-args", 0, |d| d.options.secluded = true),
    // Which entries take part.
    ("archive", b'a', archive),
    ("recursive", b'r', |d| d.options.recursive = true),
    ("inc-recursive", 0, |d| d.options.incremental = true),
    ("i-r", 0, |d| d.options.incremental = true),
    ("qsort", 0, |d| d.options.incremental = false),
    ("use-qsort", 0, |d| d.options.incremental = false),
    ("dirs", b'd', |d| d.options.dirs = true),
    ("old-dirs", 0, |d| d.options.dirs = true),
    ("relative", b'R', |d| d.relative = Some(true)),
    ("implied-dirs", 0, |d| d.options.implied_dirs = true),
    ("from0", b'0', |d| d.options.from0 = true),
    ("delete-missing-args", 0, |d| {
        d.options.missing_args = MissingArgs::Delete;
    }),
    ("ignore-missing-args", 0, |d| {
        if d.options.missing_args == MissingArgs::Report {
            d.options.missing_args = MissingArgs::Ignore;
        }
    }),
    ("one-file-system", b'x', |d| {
        d.options.one_file_system = match d.options.one_file_system {
            OneFileSystem::No => OneFileSystem::KeepMountPoints,
            _ => OneFileSystem::OmitMountPoints,
        };
    }),
    ("cvs-exclude", b'C', |d| d.options.cvs_exclude = true),
    ("prune-empty-dirs", b'm', |d| {
        d.options.prune_empty_dirs = true;
    }),
    ("existing", 0, |d| d.options.existing = true),
    ("ignore-non-existing", 0, |d| d.options.existing = true),
    ("ignore-existing", 0, |d| d.options.ignore_existing = true),
    ("remove-source-files", 0, |d| {
        d.options.remove_source = RemoveSource::SourceFiles;
    }),
    ("remove-sent-files", 0, |d| {
        d.options.remove_source = RemoveSource::SentFiles;
    }),
    // What is kept of an entry.
    ("links", b'l', |d| d.options.links = true),
    ("copy-links", b'L', |d| d.options.copy_links = true),
    ("copy-dirlinks", b'k', |d| d.options.copy_dirlinks = true),
    ("copy-unsafe-links", 0, |d| {
        d.options.copy_unsafe_links = true;
    }),
    ("safe-links", 0, |d| d.options.safe_links = true),
    ("munge-links", 0, |d| d.options.munge_links = true),
    ("keep-dirlinks", b'K', |d| d.options.keep_dirlinks = true),
    ("hard-links", b'H', |d| d.options.hard_links = true),
    ("perms", b'p', |d| d.options.perms = true),
    ("executability", b'E', |d| d.options.executability = true),
    ("owner", b'o', |d| d.options.owner = true),
    ("group", b'g', |d| d.options.group = true),
    ("devices", 0, |d| d.options.devices = true),
    ("specials", 0, |d| d.options.specials = true),
    ("", b'D', devices_and_specials),
    ("drop-D", 0, |d| d.options.drop_nodes = true),
    // Links in what a client names are followed as long as they stay in the tree: as servers did
    // before there was this option.
    ("insecure-links", 0, |_| {}),
    ("times", b't', |d| d.options.times = true),
    ("omit-dir-times", b'O', |d| d.options.omit_dir_times = true),
    ("omit-link-times", b'J', |d| {
        d.options.omit_link_times = true;
    }),
    ("atimes", b'U', |d| {
        d.options.open_noatime |= d.options.atimes;
        d.options.atimes = true;
    }),
    ("crtimes", b'N', |d| d.options.crtimes = true),
    ("acls", b'A', |d| d.options.acls = true),
    ("xattrs", b'X', |d| {
        d.options.xattrs = match d.options.xattrs {
            Xattrs::No => Xattrs::Plain,
            _ => Xattrs::WithInternal,
        };
    }),
    ("numeric-ids", 0, |d| d.options.numeric_ids = true),
    ("super", 0, |d| d.privilege(Some(true), false)),
    ("fake-super", 0, |d| d.privilege(None, true)),
    // How files are compared.
    ("checksum", b'c', |d| d.options.checksum = true),
    ("ignore-times", b'I', |d| d.options.ignore_times = true),
    ("size-only", 0, |d| d.options.size_only = true),
    ("update", b'u', |d| d.options.update = true),
    // How files are transferred and written.
    ("whole-file", b'W', |d| {
        d.options.whole_file = WholeFile::Always;
    }),
    ("compress", b'z', |d| d.compress_letters += 1),
    ("new-compress", 0, |d| {
        d.compress_choice = Some(CompressRequest::Explicit(Compression::Zlibx));
    }),
    ("old-compress", 0, |d| {
        d.compress_choice = Some(CompressRequest::Explicit(Compression::Zlib));
    }),
    ("sparse", b'S', |d| d.options.sparse = true),
    ("preallocate", 0, |d| d.options.preallocate = true),
    ("inplace", 0, |d| d.options.inplace = true),
    ("append", 0, |d| {
        d.options.append = match d.options.append {
            Append::No => Append::Unverified,
            _ => Append::Verified,
        };
    }),
    ("append-verify", 0, |d| d.options.append = Append::Verified),
    ("partial", 0, |d| d.options.partial = true),
    ("delay-updates", 0, |d| d.options.delay_updates = true),
    ("backup", b'b', |d| d.options.backup = true),
    ("fuzzy", b'y', |d| {
        d.options.fuzzy = match d.options.fuzzy {
            Fuzzy::No => Fuzzy::Destination,
            _ => Fuzzy::AlternatesToo,
        };
    }),
    ("fsync", 0, |d| d.options.fsync = true),
    ("write-devices", 0, |d| d.options.write_devices = true),
    ("copy-devices", 0, |d| d.options.copy_devices = true),
    ("open-noatime", 0, |d| d.options.open_noatime = true),
    ("mkpath", 0, |d| d.options.mkpath = true),
    ("dry-run", b'n', |d| d.options.dry_run = true),
    ("list-only", 0, |d| d.options.list_only = true),
    // Deletion.
    ("delete", 0, |d| d.delete(Delete::Unspecified)),
    ("delete-before", 0, |d| d.delete(Delete::Before)),
    ("delete-during", 0, |d| d.delete(Delete::During)),
    ("del", 0, |d| d.delete(Delete::During)),
    ("delete-delay", 0, |d| d.delete(Delete::Delay)),
    ("delete-after", 0, |d| d.delete(Delete::After)),
    ("delete-excluded", 0, |d| {
        d.options.delete_excluded = true;
        d.delete(Delete::Unspecified);
    }),
    ("ignore-errors", 0, |d| d.options.ignore_errors = true),
    ("force", 0, |d| d.options.force = true),
    // Output.
    ("verbose", b'v', |d| {
        d.options.verbosity = d.options.verbosity.saturating_add(1);
    }),
    ("quiet", b'q', |d| d.options.quiet = true),
    ("stats", 0, |d| d.options.stats = true),
    ("itemize-changes", b'i', |d| {
        d.options.log_format = match d.options.log_format {
            LogFormat::Itemize | LogFormat::ItemizeUnchanged => LogFormat::ItemizeUnchanged,
            _ => LogFormat::Itemize,
        };
    }),
    ("msgs2stderr", 0, |d| {
        d.options.message_route = MessageRoute::Stderr;
    }),
    // They change what a client does or prints, and nothing on a server.
    ("human-readable", b'h', |_| ()),
    ("8-bit-output", b'8', |_| ()),
    ("progress", 0, |_| ()),
    ("trust-sender", 0, |_| ()),
    ("old-args", 0, |_| ()),
    ("blocking-io", 0, |_| ()),
];

/// `--no-LONG` and `--no-SHORT`.
const NEGATED: &[(&str, &str, Set)] = &[
    ("recursive", "r", |d| d.options.recursive = false),
    ("inc-recursive", "i-r", |d| d.options.incremental = false),
    ("dirs", "d", |d| d.options.dirs = false),
    ("relative", "R", |d| d.relative = Some(false)),
    ("implied-dirs", "i-d", |d| d.options.implied_dirs = false),
    ("one-file-system", "x", |d| {
        d.options.one_file_system = OneFileSystem::No;
    }),
    ("cvs-exclude", "C", |d| d.options.cvs_exclude = false),
    ("prune-empty-dirs", "m", |d| {
        d.options.prune_empty_dirs = false;
    }),
    ("secluded-args", "s", |d| d.options.secluded = false),
    ("links", "l", |d| d.options.links = false),
    ("munge-links", "", |d| d.options.munge_links = false),
    ("hard-links", "H", |d| d.options.hard_links = false),
    ("perms", "p", |d| d.options.perms = false),
    ("owner", "o", |d| d.options.owner = false),
    ("group", "g", |d| d.options.group = false),
    ("devices", "", |d| d.options.devices = false),
    ("specials", "", |d| d.options.specials = false),
    ("drop-D", "", |d| d.options.drop_nodes = false),
    ("insecure-links", "", |_| {}),
    ("", "D", |d| {
        d.options.devices = false;
        d.options.specials = false;
    }),
    ("times", "t", |d| d.options.times = false),
    ("omit-dir-times", "O", |d| d.options.omit_dir_times = false),
    ("omit-link-times", "J", |d| {
        d.options.omit_link_times = false;
    }),
    ("atimes", "U", |d| d.options.atimes = false),
    ("crtimes", "N", |d| d.options.crtimes = false),
    ("acls", "A", |d| d.options.acls = false),
    ("xattrs", "X", |d| d.options.xattrs = Xattrs::No),
    ("numeric-ids", "", |d| d.options.numeric_ids = false),
    ("super", "", |d| d.privilege(Some(false), false)),
    ("checksum", "c", |d| d.options.checksum = false),
    ("ignore-times", "I", |d| d.options.ignore_times = false),
    ("size-only", "", |d| d.options.size_only = false),
    ("update", "u", |d| d.options.update = false),
    ("whole-file", "W", |d| {
        d.options.whole_file = WholeFile::Never;
    }),
    ("compress", "z", |d| {
        d.compress_letters = 0;
        d.compress_choice = Some(CompressRequest::Off);
    }),
    ("sparse", "S", |d| d.options.sparse = false),
    ("preallocate", "", |d| d.options.preallocate = false),
    ("inplace", "", |d| d.options.inplace = false),
    ("append", "", |d| d.options.append = Append::No),
    ("partial", "", |d| d.options.partial = false),
    ("delay-updates", "", |d| d.options.delay_updates = false),
    ("backup", "b", |d| d.options.backup = false),
    ("fuzzy", "y", |d| d.options.fuzzy = Fuzzy::No),
    ("fsync", "", |d| d.options.fsync = false),
    ("write-devices", "", |d| d.options.write_devices = false),
    ("copy-devices", "", |d| d.options.copy_devices = false),
    ("open-noatime", "", |d| d.options.open_noatime = false),
    ("mkpath", "", |d| d.options.mkpath = false),
    ("ignore-errors", "", |d| d.options.ignore_errors = false),
    ("force", "", |d| d.options.force = false),
    ("max-delete", "", |d| d.options.max_delete = None),
    ("verbose", "v", |d| d.options.verbosity = 0),
    ("quiet", "q", |d| d.options.quiet = false),
    ("stats", "", |d| d.options.stats = false),
    ("itemize-changes", "i", |d| {
        d.options.log_format = LogFormat::None;
    }),
    ("log-format", "", |d| {
        d.options.log_format = LogFormat::None;
    }),
    ("msgs2stderr", "", |d| {
        d.options.message_route = MessageRoute::Protocol;
    }),
    ("timeout", "", |d| d.options.timeout_secs = None),
    ("bwlimit", "", |d| d.options.bwlimit = None),
    ("iconv", "", |d| d.charset = None),
    ("human-readable", "h", |_| ()),
    ("8-bit-output", "8", |_| ()),
    ("progress", "", |_| ()),
    ("blocking-io", "", |_| ()),
];

const VALUED: &[(&str, u8, SetValue)] = &[
    ("rsh", b'e', |d, v| {
        d.options.capabilities = Some(Capabilities::parse(v.bytes));
        Ok(())
    }),
    ("protocol", 0, |d, v| {
        let number = u8::try_from(v.integer()?).ok();
        let version = number.and_then(ProtocolVersion::new);
        d.options.protocol_limit = Some(version.ok_or_else(|| v.invalid())?);
        Ok(())
    }),
    ("iconv", 0, |d, v| v.text(&mut d.charset)),
    ("files-from", 0, |d, v| {
        d.options.files_from = match v.bytes {
            b"-" => FilesFrom::Client,
            _ => FilesFrom::Server { path: v.path() },
        };
        Ok(())
    }),
    ("min-size", 0, |d, v| {
        d.options.min_size = Some(v.size(1)?);
        Ok(())
    }),
    ("max-size", 0, |d, v| {
        d.options.max_size = Some(v.size(1)?);
        Ok(())
    }),
    ("max-alloc", 0, |d, v| {
        let size = v.size(1)?;
        d.options.max_alloc = Some(if size == 0 {
            Err(v.invalid())
        } else {
            Ok(size)
        }?);
        Ok(())
    }),
    ("bwlimit", 0, |d, v| {
        d.options.bwlimit = Some(v.size(1024)?).filter(|limit| *limit > 0);
        Ok(())
    }),
    ("timeout", 0, |d, v| {
        let secs = u32::try_from(v.integer()?).ok();
        d.options.timeout_secs = secs.filter(|secs| *secs > 0);
        Ok(())
    }),
    ("block-size", b'B', |d, v| {
        let size = v.size(1)?;
        if size > u64::from(MAX_BLOCK_SIZE) {
            return Err(ProtocolError::usage(format!(
                "--block-size={size} is too large (max: {MAX_BLOCK_SIZE})"
            )));
        }
        d.options.block_size = Some(size as u32).filter(|size| *size > 0);
        Ok(())
    }),
    ("checksum-choice", 0, |d, v| {
        d.options.checksum_choice = v.checksum_choice()?;
        Ok(())
    }),
    ("cc", 0, |d, v| {
        d.options.checksum_choice = v.checksum_choice()?;
        Ok(())
    }),
    ("checksum-seed", 0, |d, v| {
        let seed = v.integer()?;
        d.options.checksum_seed = Some(seed).filter(|seed| *seed != 0);
        Ok(())
    }),
    ("compress-choice", 0, |d, v| {
        d.compress_choice = v.compress_choice()?;
        Ok(())
    }),
    ("zc", 0, |d, v| {
        d.compress_choice = v.compress_choice()?;
        Ok(())
    }),
    ("compress-level", 0, |d, v| {
        d.options.compress_level = Some(v.integer()?);
        Ok(())
    }),
    ("zl", 0, |d, v| {
        d.options.compress_level = Some(v.integer()?);
        Ok(())
    }),
    ("skip-compress", 0, |d, v| {
        v.text(&mut d.options.skip_compress)
    }),
    ("compress-threads", 0, |_, v| v.integer().map(drop)),
    ("backup-dir", 0, |d, v| {
        d.options.backup_dir = Some(v.path());
        Ok(())
    }),
    ("suffix", 0, |d, v| v.text(&mut d.suffix)),
    ("partial-dir", 0, |d, v| {
        d.options.partial_dir = Some(v.path()).filter(|dir| !matches!(&dir[..], b"" | b"."));
        Ok(())
    }),
    ("temp-dir", b'T', |d, v| {
        d.options.temp_dir = Some(v.path());
        Ok(())
    }),
    ("compare-dest", 0, |d, v| {
        d.alternate(AlternateKind::Compare, v)
    }),
    ("copy-dest", 0, |d, v| d.alternate(AlternateKind::Copy, v)),
    ("link-dest", 0, |d, v| d.alternate(AlternateKind::Link, v)),
    ("only-write-batch", 0, |d, _| {
        d.options.only_write_batch = true;
        Ok(())
    }),
    ("modify-window", b'@', |d, v| {
        d.options.modify_window = match u32::try_from(v.integer()?) {
            Ok(secs) => ModifyWindow::Seconds(secs),
            Err(_) => ModifyWindow::Nanoseconds,
        };
        Ok(())
    }),
    ("max-delete", 0, |d, v| {
        // A client says -1 for a limit of none at all.
        d.options.max_delete = Some(u64::try_from(v.integer()?).unwrap_or(0));
        Ok(())
    }),
    ("usermap", 0, |d, v| {
        d.map("usermap", v);
        Ok(())
    }),
    ("groupmap", 0, |d, v| {
        d.map("groupmap", v);
        Ok(())
    }),
    ("log-format", 0, |d, v| {
        d.options.log_format = v.log_format();
        Ok(())
    }),
    ("out-format", 0, |d, v| {
        d.options.log_format = v.log_format();
        Ok(())
    }),
    ("info", 0, |d, v| {
        d.options.info_changes.extend(info::parse(v.bytes));
        Ok(())
    }),
    ("stderr", 0, |d, v| {
        d.options.message_route = match v.bytes.first() {
            Some(b'e') => MessageRoute::Default,
            Some(b'a') => MessageRoute::Stderr,
            Some(b'c') => MessageRoute::Protocol,
            _ => return Err(v.invalid()),
        };
        Ok(())
    }),
    ("debug", 0, |d, v| {
        let options = &mut d.options;
        for (word, level) in [
            (&b"FILTER"[..], &mut options.debug_filter),
            (b"DEL", &mut options.debug_del),
        ] {
            *level = info::debug_level(v.bytes, word).or(*level);
        }
        Ok(())
    }),
    ("outbuf", 0, |_, _| Ok(())),
    ("contimeout", 0, |_, _| Ok(())),
];

const NO_FILTERS: &str = "filter rules are taken from the client's own list; \
                          give it to the client without --remote-option";
const NO_SERVER_FILES: &str = "it names a file of the server";
const NO_BATCH: &str = "batches are the client's business";

const REFUSED: &[(&str, u8, &str)] = &[
    ("daemon", 0, "the daemon protocol is not spoken here"),
    ("config", 0, "the daemon protocol is not spoken here"),
    ("dparam", 0, "the daemon protocol is not spoken here"),
    ("log-file", 0, NO_SERVER_FILES),
    ("log-file-format", 0, NO_SERVER_FILES),
    ("password-file", 0, NO_SERVER_FILES),
    ("early-input", 0, NO_SERVER_FILES),
    ("filter", b'f', NO_FILTERS),
    ("exclude", 0, NO_FILTERS),
    ("include", 0, NO_FILTERS),
    ("exclude-from", 0, NO_SERVER_FILES),
    ("include-from", 0, NO_SERVER_FILES),
    ("", b'F', NO_FILTERS),
    ("write-batch", 0, NO_BATCH),
    ("read-batch", 0, NO_BATCH),
    (
        "confine-root",
        0,
        "a client sees its tenant's tree and nothing else anyway",
    ),
    ("chmod", 0, "give it to the client without --remote-option"),
    ("chown", 0, "give it to the client without --remote-option"),
    (
        "remote-option",
        b'M',
        "there is no further server behind this one",
    ),
    (
        "stop-after",
        0,
        "give it to the client without --remote-option",
    ),
    (
        "stop-at",
        0,
        "give it to the client without --remote-option",
    ),
    (
        "time-limit",
        0,
        "give it to the client without --remote-option",
    ),
];

/// The largest block that a stock server takes.
const MAX_BLOCK_SIZE: u32 = 131_072;

fn archive(d: &mut Draft) {
    d.options.recursive = true;
    d.options.links = true;
    d.options.perms = true;
    d.options.times = true;
    d.options.group = true;
    d.options.owner = true;
    devices_and_specials(d);
}

fn devices_and_specials(d: &mut Draft) {
    d.options.devices = true;
    d.options.specials = true;
}
