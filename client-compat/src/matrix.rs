//! The tables of `docs/compatibility.md`, made from what the program itself says: each option is
//! put to the server's own reader of options, and the scenarios and known differences are those
//! that run. A test fails while the document says something else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coffre_protocol::command::Command;
use coffre_protocol::options::ServerOptions;

use crate::clients::Version;
use crate::gaps::{self, Gap};
use crate::scenario::{PROTOCOLS, Scenario, Step};
use crate::scenarios;

/// An option as a user writes it, and what of it a stock client of a push puts into the server's
/// command line. Empty: the client deals with it alone.
///
/// Source: rsync 2.6.9 to 3.5.0, observed.
const OPTIONS: &[(&str, &str)] = &[
    ("--verbose, -v", "-v"),
    ("--info, --debug", "--info=NAME2"),
    ("--stderr", ""),
    ("--quiet, -q", "-q"),
    ("--checksum, -c", "-c"),
    ("--archive, -a", "-logDtpr"),
    ("--recursive, -r", "-r"),
    ("--inc-recursive", "-e.iLsfxCIvu"),
    ("--relative, -R", "-R"),
    ("--no-implied-dirs", "--no-implied-dirs"),
    ("--backup, -b", "-b"),
    ("--backup-dir", "-b --backup-dir=old"),
    ("--suffix", "-b --suffix=.old"),
    ("--update, -u", "-u"),
    ("--inplace", "--inplace"),
    ("--append", "--append"),
    ("--append-verify", "--append --append"),
    ("--dirs, -d", "-d"),
    ("--old-dirs", "--old-dirs"),
    ("--mkpath", "--mkpath"),
    ("--links, -l", "-l"),
    ("--copy-links, -L", "-L"),
    ("--copy-unsafe-links", "--copy-unsafe-links"),
    ("--safe-links", "--safe-links"),
    ("--munge-links", "--munge-links"),
    ("--copy-dirlinks, -k", "-k"),
    ("--keep-dirlinks, -K", "-K"),
    ("--hard-links, -H", "-H"),
    ("--perms, -p", "-p"),
    ("--executability, -E", "-E"),
    ("--chmod", ""),
    ("--acls, -A", "-A"),
    ("--xattrs, -X", "-X"),
    ("--owner, -o", "-o"),
    ("--group, -g", "-g"),
    ("--devices", "--devices"),
    ("--specials", "--specials"),
    ("--drop-D (-M--drop-D)", "--drop-D"),
    ("--insecure-links", ""),
    ("--copy-devices", ""),
    ("--write-devices", "--write-devices"),
    ("--times, -t", "-t"),
    ("--atimes, -U", "-U"),
    ("--open-noatime", "--open-noatime"),
    ("--crtimes, -N", "-N"),
    ("--omit-dir-times, -O", "-O"),
    ("--omit-link-times, -J", "-J"),
    ("--super", "--super"),
    ("--fake-super (-M--fake-super)", "--fake-super"),
    ("--sparse, -S", "-S"),
    ("--preallocate", "--preallocate"),
    ("--dry-run, -n", "-n"),
    ("--whole-file, -W", "-W"),
    ("--checksum-choice", "--checksum-choice=md5"),
    ("--one-file-system, -x", "-x"),
    ("--block-size, -B", "-B4096"),
    ("--rsh, -e", ""),
    ("--rsync-path", ""),
    ("--existing", "--existing"),
    ("--ignore-existing", "--ignore-existing"),
    ("--remove-source-files", "--remove-source-files"),
    ("--delete", "-r --delete"),
    ("--delete-before", "-r --delete-before"),
    ("--delete-during", "-r --delete-during"),
    ("--delete-delay", "-r --delete-delay"),
    ("--delete-after", "-r --delete-after"),
    ("--delete-excluded", "-r --delete-excluded"),
    ("--ignore-missing-args", "--ignore-missing-args"),
    ("--delete-missing-args", "--delete-missing-args"),
    ("--ignore-errors", "--ignore-errors"),
    ("--force", "--force"),
    ("--max-delete", "--max-delete=5"),
    ("--max-size", "--max-size=5"),
    ("--min-size", "--min-size=5"),
    ("--max-alloc", "--max-alloc=1g"),
    ("--partial", "--partial"),
    ("--partial-dir", "--partial-dir=.part --partial"),
    ("--delay-updates", "--delay-updates"),
    ("--prune-empty-dirs, -m", "-m"),
    ("--numeric-ids", "--numeric-ids"),
    ("--usermap", "--usermap=1:2"),
    ("--groupmap", "--groupmap=1:2"),
    ("--chown", "--usermap=*:2"),
    ("--timeout", "--timeout=60"),
    ("--contimeout", ""),
    ("--ignore-times, -I", "-I"),
    ("--size-only", "--size-only"),
    ("--modify-window, -@", "--modify-window=1"),
    ("--temp-dir, -T", "--temp-dir=/tmp"),
    ("--fuzzy, -y", "-y"),
    ("--compare-dest", "--compare-dest=../old"),
    ("--copy-dest", "--copy-dest=../old"),
    ("--link-dest", "--link-dest=../old"),
    ("--compress, -z", "-z"),
    ("--compress-choice", "-z --compress-choice=zstd"),
    ("--compress-level", "-z --compress-level=3"),
    ("--skip-compress", ""),
    ("--cvs-exclude, -C", "-C"),
    ("--filter, --exclude, --include", ""),
    ("--files-from (of the client)", ""),
    ("--files-from (of the server)", "--files-from=/list"),
    ("--from0, -0", "--from0"),
    ("--old-args", ""),
    ("--secluded-args, -s", "-s"),
    ("--remote-option, -M", ""),
    ("--trust-sender", ""),
    ("--copy-as", ""),
    ("--stats", "--stats"),
    ("--human-readable, -h", ""),
    ("--progress, -P", ""),
    ("--itemize-changes, -i", "--log-format=%i"),
    ("--out-format, --log-format", "--log-format=X"),
    ("--log-file", ""),
    ("--bwlimit", "--bwlimit=100"),
    ("--stop-after, --stop-at", ""),
    ("--fsync", "--fsync"),
    ("--write-batch", ""),
    ("--read-batch", ""),
    ("--only-write-batch", "--only-write-batch=X"),
    ("--protocol", ""),
    ("--iconv", "--iconv=utf8"),
    ("--checksum-seed", "--checksum-seed=5"),
    ("--daemon", "--daemon"),
];

/// Releases that `client-compat install` finds or found, for the table of clients.
const RELEASES: &[&str] = &["3.1.3", "3.2.3", "3.2.7", "3.4.1", "3.5.0", "3.5.1"];

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md")
}

/// Puts the tables into the document.
pub fn write() -> Result<()> {
    let path = document();
    let text = std::fs::read_to_string(&path).context("read docs/compatibility.md")?;
    std::fs::write(&path, filled(&text)?)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The document with its tables made again.
fn filled(text: &str) -> Result<String> {
    let list = scenarios::all();
    let gaps = gaps::known(&scenarios::names())?;
    let text = replaced(text, "options", &options(&list, &gaps)?)?;
    let text = replaced(&text, "differences", &differences(&gaps))?;
    let text = replaced(&text, "clients", &clients(&list, &gaps))?;
    replaced(&text, "scenarios", &every_scenario(&list, &gaps))
}

/// What stands between the marks of that name goes; the table comes.
fn replaced(text: &str, name: &str, table: &str) -> Result<String> {
    let begin = format!("<!-- {name}: made by `client-compat matrix` -->\n");
    let end = format!("<!-- {name}: end -->");
    let found = text
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = found else {
        bail!("docs/compatibility.md has no marks for the table \"{name}\"");
    };
    Ok(format!("{before}{begin}\n{table}\n{end}{after}"))
}

/// Each option, what the server answers, and a scenario that shows it.
fn options(list: &[Scenario], gaps: &[Gap]) -> Result<String> {
    let mut table = "| option | answer | shown by |\n|---|---|---|\n".to_owned();
    for (written, sent) in OPTIONS {
        let shown: Vec<&str> = list
            .iter()
            .filter(|scenario| uses(scenario, written))
            .map(|scenario| scenario.name.as_str())
            .collect();
        let answer = match answer(sent)? {
            Some(sentence) => format!("refused: \u{201c}{sentence}\u{201d}"),
            None if sent.is_empty() => "same; the client does it alone".to_owned(),
            None => match shown
                .iter()
                .all(|name| gaps.iter().any(|gap| gap.scenario == *name))
            {
                true if !shown.is_empty() => "same but for what is listed below".to_owned(),
                _ => "same".to_owned(),
            },
        };
        let mut names: Vec<String> = shown
            .iter()
            .take(3)
            .map(|name| format!("`{name}`"))
            .collect();
        if shown.len() > names.len() {
            names.push(format!("and {} more", shown.len() - names.len()));
        }
        writeln!(table, "| `{written}` | {answer} | {} |", names.join(", "))?;
    }
    Ok(table)
}

/// The sentence with which the server refuses it; `None`: it does it.
fn answer(sent: &str) -> Result<Option<String>> {
    let line = format!("rsync --server -e.iLsfxCIvu {sent} . /dst/");
    let options = match Command::parse(line.as_bytes()) {
        Ok(Command::Rsync(words)) => ServerOptions::parse(&words),
        Ok(other) => bail!("{line} is not rsync but {other:?}"),
        Err(error) => return Ok(Some(error.message)),
    };
    Ok(match options {
        Ok(options) => options.refusal().map(|error| error.message),
        Err(error) => Some(error.message),
    })
}

/// Whether a command line of the scenario has the option, in one of the ways it is written.
fn uses(scenario: &Scenario, written: &str) -> bool {
    if written == "--daemon" {
        // What a client that is given two colons sends.
        return scenario.name == "daemon";
    }
    let words: BTreeSet<&str> = written
        .split([',', ' ', '(', ')'])
        .filter(|word| word.starts_with('-'))
        .collect();
    scenario.steps.iter().any(|step| {
        let Step::Client(run) = step else {
            return false;
        };
        !run.is_ssh
            && run.args.iter().any(|arg| {
                let arg = arg.to_string_lossy();
                // What is for the server alone counts too.
                let arg = arg.strip_prefix("-M").unwrap_or(&arg);
                words.iter().any(|word| match word.strip_prefix("--") {
                    Some(_) => arg == *word || arg.starts_with(&format!("{word}=")),
                    None if word.len() == 2 => {
                        !arg.starts_with("--")
                            && arg.starts_with('-')
                            && arg[1..]
                                .chars()
                                .take_while(char::is_ascii_alphanumeric)
                                .any(|letter| word.ends_with(letter))
                    }
                    None => arg == *word,
                })
            })
    })
}

/// The known differences that are no refusals, by reason.
fn differences(gaps: &[Gap]) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for gap in gaps.iter().filter(|gap| gap.refuses.is_none()) {
        by_reason
            .entry(&gap.reason)
            .or_default()
            .push(&gap.scenario);
    }
    if by_reason.is_empty() {
        return "None.\n".to_owned();
    }
    let mut table = "| what differs and why | scenarios |\n|---|---|\n".to_owned();
    for (reason, scenarios) in by_reason {
        let names: Vec<String> = scenarios.iter().map(|name| format!("`{name}`")).collect();
        table.push_str(&format!("| {reason} | {} |\n", names.join(", ")));
    }
    table
}

/// How many scenarios each release of the client runs.
fn clients(list: &[Scenario], gaps: &[Gap]) -> String {
    let mut table =
        "| client | scenarios it runs | of these differ or are refused | it is too old for \
                     |\n|---|---|---|---|\n"
            .to_owned();
    for release in RELEASES {
        let version = Version::parse(release);
        let (runs, skipped): (Vec<&Scenario>, Vec<&Scenario>) = list.iter().partition(|scenario| {
            scenario.since.is_none_or(|since| version.at_least(since))
                && scenario.until.is_none_or(|until| !version.at_least(until))
        });
        let open = runs
            .iter()
            .filter(|scenario| {
                gaps.iter().any(|gap| {
                    gap.scenario == scenario.name
                        && gap
                            .client
                            .as_deref()
                            .is_none_or(|wanted| version.is(wanted))
                })
            })
            .count();
        table.push_str(&format!(
            "| rsync {release} | {} | {open} | {} |\n",
            runs.len(),
            skipped.len()
        ));
    }
    table
}

/// Each scenario with each release.
fn every_scenario(list: &[Scenario], gaps: &[Gap]) -> String {
    let mut table = "| scenario | what it asks | protocols |".to_owned();
    for release in RELEASES {
        let _ = write!(table, " {release} |");
    }
    table.push_str("\n|---|---|---|");
    table.push_str(&"---|".repeat(RELEASES.len()));
    table.push('\n');
    for scenario in list {
        let about = scenario.about.replace('|', "\\|");
        let range = protocols(scenario);
        let _ = write!(table, "| `{}` | {about} | {range} |", scenario.name);
        for release in RELEASES {
            let version = Version::parse(release);
            let is_old = scenario.since.is_some_and(|since| !version.at_least(since));
            let is_new = scenario.until.is_some_and(|until| version.at_least(until));
            let differs = gaps.iter().any(|gap| {
                let wanted = gap.client.as_deref();
                gap.scenario == scenario.name && wanted.is_none_or(|wanted| version.is(wanted))
            });
            table.push_str(match (is_old || is_new, differs) {
                (true, _) => " – |",
                (false, true) => " ≠ |",
                (false, false) => " = |",
            });
        }
        table.push('\n');
    }
    table
}

/// Which protocols its options exist in.
fn protocols(scenario: &Scenario) -> String {
    match PROTOCOLS
        .into_iter()
        .find(|protocol| scenario.can_speak(*protocol).is_ok())
    {
        Some(32) => "32".to_owned(),
        Some(oldest) => format!("{oldest}–32"),
        None => "as it says".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_up_to_date() {
        let text = std::fs::read_to_string(document()).unwrap();
        assert!(
            filled(&text).unwrap() == text,
            "docs/compatibility.md is out of date: run `target/debug/client-compat matrix`"
        );
    }

    #[test]
    fn an_option_is_found_in_its_short_and_long_form() {
        let scenario = Scenario::new("x", "x").run("-aHi --delete --suffix=.b src/ :dst/");
        for (written, found) in [
            ("--hard-links, -H", true),
            ("--delete", true),
            ("--suffix", true),
            ("--delete-after", false),
            ("--dirs, -d", false),
        ] {
            assert_eq!(uses(&scenario, written), found, "{written}");
        }
    }

    #[test]
    fn what_is_refused_is_answered_with_the_sentence() {
        assert!(
            answer("--write-devices")
                .unwrap()
                .unwrap()
                .contains("--write-devices")
        );
        assert_eq!(answer("-logDtpr").unwrap(), None);
    }
}
