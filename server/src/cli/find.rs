//! `coffre find TENANT PATTERN`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use coffre_protocol::error::escape;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::table::{Align, render};
use super::watched::Watched;
use super::{Context, Exit, print, print_json, trouble, unknown_tenant};
use crate::config::units::render_size;
use crate::confine::{FileTime, Kind};
use crate::control::facts::{FoundFacts, VersionFacts};
use crate::find::{self, Found, Pattern, Task, Version, Watch};

/// Reads the store itself, whether a daemon runs or not. Ends like `grep`.
pub(super) fn run(context: &Context, tenant: &str, pattern: &OsString) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !config.tenants.iter().any(|t| t.name == tenant) {
        return trouble(unknown_tenant(tenant, &context.config));
    }
    let pattern = match Pattern::parse(pattern.as_bytes()) {
        Ok(pattern) => pattern,
        Err(why) => return trouble(why),
    };
    let shown = Shown {
        watched: Watched::new(),
        names: AtomicU64::new(0),
        done: AtomicUsize::new(0),
        of: AtomicUsize::new(0),
    };
    let task = Task {
        home: &config.server.storage.join(tenant),
        pattern: &pattern,
        form: super::form(&config),
    };
    let found = find::find(&task, &shown);
    shown.watched.end();
    let found = match found {
        Ok(found) => found,
        Err(e) => return trouble(format_args!("tenant \"{tenant}\": {e}")),
    };
    let printed = match context.json {
        true => print_json(&found.iter().map(facts).collect::<Vec<_>>()),
        false if found.is_empty() => Exit::Done,
        false => print(&table(&found, &config.server.time_zone)),
    };
    match printed {
        Exit::Done if found.is_empty() => {
            eprintln!("nothing matches, in no snapshot and not in live");
            Exit::Failed
        }
        Exit::Done => Exit::Done,
        _ => Exit::Trouble,
    }
}

struct Shown {
    watched: Watched,
    names: AtomicU64,
    done: AtomicUsize,
    of: AtomicUsize,
}

impl Watch for Shown {
    fn advance(&self, names: u64) {
        let names = self.names.fetch_add(names, Ordering::Relaxed) + names;
        self.watched.show(|| {
            let (done, of) = (
                self.done.load(Ordering::Relaxed),
                self.of.load(Ordering::Relaxed),
            );
            match of {
                0 => format!("looked at {names} names"),
                _ => format!("looked through {done} of {of} trees, at {names} names"),
            }
        });
    }

    fn tree_done(&self, done: usize, of: usize) {
        self.done.store(done, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }

    fn note(&self, sentence: &str) {
        self.watched.line(sentence);
    }
}

/// As people name it.
pub(super) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Dir => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice | Kind::BlockDevice => "device",
    }
}

/// From the top of a tree, fit for a terminal.
pub(super) fn shown_path(path: &[u8]) -> String {
    format!("/{}", escape(path))
}

fn timestamp(time: FileTime) -> Option<Timestamp> {
    let nanos = i32::try_from(time.nanos).ok()?;
    Timestamp::new(time.secs, nanos).ok()
}

fn facts(found: &Found) -> FoundFacts {
    let version = |version: &Version| VersionFacts {
        first: version.first.clone(),
        last: version.last.clone(),
        snapshots: version.trees,
        kind: version.is.map(|is| kind_word(is.kind).to_owned()),
        size_bytes: version
            .is
            .and_then(|is| (is.kind != Kind::Dir).then_some(is.size)),
        modified: version
            .is
            .and_then(|is| timestamp(is.modified))
            .map(|time| time.to_string()),
        inode: version.inode,
    };
    FoundFacts {
        path: shown_path(&found.path),
        versions: found.versions.iter().map(version).collect(),
    }
}

fn table(found: &[Found], zone: &TimeZone) -> String {
    let columns = [
        ("FIRST", Align::Left),
        ("LAST", Align::Left),
        ("COUNT", Align::Right),
        ("SIZE", Align::Right),
        ("MODIFIED", Align::Left),
        ("TYPE", Align::Left),
        ("PATH", Align::Left),
    ];
    let row = |found: &Found, version: &Version| {
        let modified = version.is.and_then(|is| timestamp(is.modified));
        let modified = modified.map(|time| zone.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S"));
        vec![
            version.first.clone(),
            version.last.clone(),
            version.trees.to_string(),
            match version.is {
                Some(is) if is.kind != Kind::Dir => render_size(is.size),
                _ => "-".to_owned(),
            },
            modified.map_or("-".to_owned(), |time| time.to_string()),
            version
                .is
                .map_or("missing", |is| kind_word(is.kind))
                .to_owned(),
            shown_path(&found.path),
        ]
    };
    let rows: Vec<Vec<String>> = found
        .iter()
        .flat_map(|found| {
            found
                .versions
                .iter()
                .map(move |version| row(found, version))
        })
        .collect();
    render(&columns, &rows)
}
