//! The command line: a file per verb.
//!
//! A verb takes its arguments, prints facts on stdout and everything else on stderr, and answers
//! with an [`Exit`]. `--json` replaces the text on stdout by the facts themselves.

mod ask;
mod check_config;
mod diff;
mod find;
mod prune;
mod reload;
mod restore;
mod serve;
mod snapshot;
mod snapshots;
mod status;
mod table;
mod tenants;
mod trees;
mod verify;
mod watched;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::catalogue::{Catalogue, CatalogueError};
use crate::config::units::{count, parse_size};
use crate::config::{self, Config, Diagnostic, MetadataPolicy};
use crate::confine::{self, Metadata, Notes};
use crate::session::accounts;

/// How a verb ended. Scripts know these numbers; clap ends with 2 when it cannot make sense of the
/// arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// Of verbs that end like `grep` and `diff`, whose 1 is an answer.
    Trouble,
    /// `EX_CONFIG` of sysexits.h.
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Trouble => 2,
            Exit::Config => 78,
        })
    }
}

/// A backup receiver: clients push with stock `rsync -e ssh`, and find their history in dated
/// snapshots.
#[derive(Debug, Parser)]
#[command(name = "coffre", version, max_term_width = 100)]
struct Arguments {
    /// The configuration.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        default_value = "/etc/coffre/tenants.toml"
    )]
    config: PathBuf,
    /// Print facts as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server in the foreground.
    ///
    /// SIGHUP, or `coffre reload`, applies a changed configuration. SIGTERM stops: running
    /// sessions get half a minute to end, a second signal ends them at once.
    Serve,
    /// Answers the server's questions about accounts of this system on standard input.
    #[command(hide = true)]
    AnswerAccounts,
    /// Check the configuration, and say everything that is wrong with it.
    CheckConfig,
    /// Make the running server apply its changed configuration.
    Reload,
    /// Show what the running server does.
    Status,
    /// List the tenants.
    Tenants,
    /// Take a snapshot now, and print its name.
    Snapshot {
        /// Whose, as the configuration names it.
        tenant: String,
    },
    /// List the snapshots of a tenant: name, state, files, size, own size, age.
    ///
    /// The size is that of everything in it, the own size what only this snapshot holds: what its
    /// removal would free.
    Snapshots {
        /// Whose, as the configuration names it.
        tenant: String,
    },
    /// Remove the snapshots that the keep rules let go.
    Prune {
        /// Only this tenant; else all of them.
        tenant: Option<String>,
        /// Print the plan and remove nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy files out of a snapshot to a place on this machine, with all their attributes.
    ///
    /// A directory is restored as TO, which must not exist or be empty. A file is restored as TO,
    /// or into it where that is a directory. Links are restored and never followed.
    Restore {
        /// Whose, as the configuration names it.
        tenant: String,
        /// The snapshot's name, a day like 2026-11-20, "latest", or "live".
        snapshot: String,
        /// What of it, from its top: /etc/passwd, or / for everything.
        path: OsString,
        /// Where to.
        to: PathBuf,
        /// Restore into what is there, and replace what has the same name.
        #[arg(long)]
        overwrite: bool,
    },
    /// Say which snapshots hold which versions of a path.
    ///
    /// A line per version: the first and the last of the consecutive snapshots that hold it (live
    /// counts as the last of all), how many they are, size, time and kind. No content is read.
    ///
    /// PATTERN with a slash is a path from the top: /etc/passwd, or etc/passwd. Without one it is a
    /// name in any directory: passwd. In both, `*`, `?` and `[a-z]` stand for anything but a
    /// slash; `**` as a whole component stands for any number of directories, none too: /home/**/.ssh;
    /// at the end for everything below: /etc/**. A slash at the end means directories only. Quote
    /// it for the shell.
    ///
    /// A version is an inode that consecutive snapshots share; of directories, what has the same
    /// mode, owner and time. Exit code 0: something was found, 1: nothing matches, 2: trouble.
    #[command(verbatim_doc_comment)]
    Find {
        /// Whose, as the configuration names it.
        tenant: String,
        /// A path or a name, with wildcards.
        pattern: OsString,
    },
    /// Say what changed between two snapshots, or live.
    ///
    /// A line per difference: added, removed, moved, or changed with what of it (type, content,
    /// size, mtime, mode, owner, xattr, acl, links). Inodes are compared, and what is known of
    /// them; no content is read. "content?" says that nothing was noted of one of two contents of
    /// the same size. "links" says that a file shares its inode with other names than before.
    /// Exit code 0: they are the same, 1: they differ, 2: trouble.
    Diff {
        /// Whose, as the configuration names it.
        tenant: String,
        /// A snapshot's name, a day like 2026-11-20, "latest", or "live".
        a: String,
        /// The same.
        b: String,
    },
    /// Read the store and say what is damaged, missing, or one too many.
    ///
    /// Every file is read once, however many snapshots share it, and compared with what was noted
    /// when it arrived. A run that is cut off goes on where it was. Exit code 1: something is
    /// wrong.
    Verify {
        /// Only this tenant; else all of them.
        tenant: Option<String>,
        /// Only this snapshot: its name, a day like 2026-11-20, or "latest".
        snapshot: Option<String>,
        /// Read no faster, like 50MiB (per second).
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        limit: Option<u64>,
        /// Begin anew where an earlier run was cut off.
        #[arg(long)]
        restart: bool,
    },
}

/// What every verb is told.
#[derive(Debug)]
struct Context {
    config: PathBuf,
    json: bool,
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = Context {
        config: arguments.config,
        json: arguments.json,
    };
    match arguments.verb {
        Verb::Serve => serve::run(&context),
        Verb::AnswerAccounts => {
            match accounts::answer(std::io::stdin().lock(), std::io::stdout().lock()) {
                Ok(()) => Exit::Done,
                Err(error) => {
                    eprintln!("coffre: cannot answer about accounts: {error}");
                    Exit::Failed
                }
            }
        }
        Verb::CheckConfig => check_config::run(&context),
        Verb::Reload => reload::run(&context),
        Verb::Status => status::run(&context),
        Verb::Tenants => tenants::run(&context),
        Verb::Snapshot { tenant } => snapshot::run(&context, &tenant),
        Verb::Snapshots { tenant } => snapshots::run(&context, &tenant),
        Verb::Prune { tenant, dry_run } => prune::run(&context, tenant, dry_run),
        Verb::Restore {
            tenant,
            snapshot,
            path,
            to,
            overwrite,
        } => {
            let wanted = restore::Wanted {
                tenant,
                snapshot,
                path,
                to,
                overwrite,
            };
            restore::run(&context, &wanted)
        }
        Verb::Find { tenant, pattern } => find::run(&context, &tenant, &pattern),
        Verb::Diff { tenant, a, b } => diff::run(&context, &tenant, [&a, &b]),
        Verb::Verify {
            tenant,
            snapshot,
            limit,
            restart,
        } => {
            let wanted = verify::Wanted {
                tenant,
                snapshot,
                limit,
                restart,
            };
            verify::run(&context, &wanted)
        }
    }
    .into()
}

impl Context {
    /// Loads the configuration for a verb that is about something else: warnings are not repeated.
    fn load(&self) -> Result<Config, Exit> {
        match config::load(&self.config) {
            Ok((config, _)) => Ok(config),
            Err(found) => {
                complain(&found);
                Err(Exit::Config)
            }
        }
    }
}

/// Prints diagnostics, and how many there are.
fn complain(found: &[Diagnostic]) {
    for diagnostic in found {
        eprintln!("{diagnostic}");
    }
    let errors = found.iter().filter(|d| !d.is_warning()).count();
    if errors > 1 {
        eprintln!("{}", count(errors as u64, "error"));
    }
}

/// Prints an error of a verb.
fn fail(message: impl std::fmt::Display) -> Exit {
    eprintln!("coffre: {message}");
    Exit::Failed
}

/// The same of a verb whose exit code 1 is an answer.
fn trouble(message: impl std::fmt::Display) -> Exit {
    fail(message);
    Exit::Trouble
}

/// How the store keeps attributes, as far as the configuration says so.
fn form(config: &Config) -> Option<Metadata> {
    match config.server.metadata {
        MetadataPolicy::Native => Some(Metadata::Native),
        MetadataPolicy::Xattr => Some(Metadata::Xattr),
        MetadataPolicy::Auto => None,
    }
}

/// Where what is noted of a tenant's files is, if not in the files. Nothing is written.
fn notes(storage: &Path, tenant: &str) -> Result<Option<Arc<dyn Notes>>, CatalogueError> {
    let home = storage.join(tenant);
    // Where the files have it, a catalogue that cannot be used is no trouble.
    if !std::fs::File::open(&home).is_ok_and(|home| confine::lacks_attributes(&home)) {
        return Ok(None);
    }
    match Catalogue::open_to_read(storage)? {
        Some(catalogue) => catalogue.notes(tenant, &home),
        None => Ok(None),
    }
}

/// Prints on stdout. A reader that has gone away, as in `coffre snapshots web01 | head`, is no
/// error worth a word.
fn print(text: &str) -> Exit {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(e) => fail(format_args!("cannot print: {}", config::reason(&e))),
    }
}

fn print_json(facts: &impl Serialize) -> Exit {
    match serde_json::to_string_pretty(facts) {
        Ok(text) => print(&format!("{text}\n")),
        Err(e) => fail(format_args!("cannot print: {e}")),
    }
}

/// A tenant must be in the configuration; the words are the same wherever it is missing.
fn unknown_tenant(name: &str, config: &Path) -> String {
    format!(
        "there is no tenant \"{name}\" in {}; `coffre tenants` lists them",
        config.display()
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
