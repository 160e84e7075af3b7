//! Random filter rules on random trees: what a stock client sends, takes, protects and deletes with
//! them must be the same with a stock server and with coffre. Each round has one tree on either
//! side and is a push or a pull, so that the rules are read by both ends of a server.
//!
//! A batch is a scenario of many runs, each with directories of its own. All of it follows from a
//! seed, so that a difference can be seen again.
//!
//! A rule of the tree that is none ends a run. How far it has come by then is chance, with stock as
//! with coffre: of such a run only the reason is compared.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, anyhow};

use crate::differ::{self, Lab, Report};
use crate::scenario::{Place, Scenario};
use crate::tree::{Builder, noise};

/// Runs of the client between two starts of the servers.
const BATCH: u64 = 25;

/// Numbers that follow from a seed.
struct Dice {
    bytes: std::vec::IntoIter<u8>,
    seed: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self {
            bytes: noise(seed, 4096).into_iter(),
            seed,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let byte = self.bytes.next().unwrap_or_else(|| {
            *self = Self::new(self.seed ^ 0x9e37_79b9_7f4a_7c15);
            0
        });
        usize::from(byte) % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

const DIRS: &[&str] = &["", "d/", "d/e/", "d/e/d/", "ab/", "ab/d/", "x.tmp/"];
const NAMES: &[&str] = &[
    "a", "b", "ab", "c.tmp", "x.tmp", "e", "core", "a.o", ".hidden", "k~",
];
const PARTS: &[&str] = &[
    "a",
    "b",
    "ab",
    "d",
    "e",
    "c.tmp",
    "*",
    "**",
    "?",
    "*.tmp",
    "[ab]",
    "[!a]",
    "a*",
    "?b",
    "x.tmp",
    "***",
    "*d*",
    "[[:alpha:]]",
    ".h*",
    "k~",
];
/// Files with rules for their directory.
const MERGES: &[&str] = &[".f", ".g", ".rsync-filter", ".cvsignore"];

fn pattern(dice: &mut Dice) -> String {
    let mut text = String::new();
    if dice.one_in(3) {
        text.push('/');
    }
    for part in 0..=dice.below(3) {
        if part > 0 {
            text.push('/');
        }
        text.push_str(dice.pick(PARTS));
    }
    if dice.one_in(4) {
        text.push('/');
    }
    text
}

fn rule(dice: &mut Dice) -> String {
    let action = dice.pick(&["-", "-", "-", "+", "+", "P", "P", "R", "H", "S"]);
    let mut modifiers = String::new();
    for modifier in ["p", "!", "/"] {
        if dice.one_in(9) {
            modifiers.push_str(modifier);
        }
    }
    if matches!(action, "-" | "+") {
        for modifier in ["s", "r"] {
            if dice.one_in(9) {
                modifiers.push_str(modifier);
            }
        }
    }
    let pattern = pattern(dice);
    match modifiers.is_empty() {
        true => format!("{action} {pattern}"),
        false => format!("{action},{modifiers} {pattern}"),
    }
}

/// A rule that names files with rules.
fn merge(dice: &mut Dice) -> String {
    if dice.one_in(8) {
        return dice.pick(&[":C", "-C"]).to_owned();
    }
    let mut modifiers = String::new();
    for modifier in ["e", "n", "s", "r", "p", "/", "w"] {
        if dice.one_in(if modifier == "w" { 12 } else { 6 }) {
            modifiers.push_str(modifier);
        }
    }
    if dice.one_in(6) {
        modifiers.push(if dice.one_in(2) { '-' } else { '+' });
    }
    let place = if dice.one_in(5) { "/" } else { "" };
    format!(":{modifiers} {place}{}", dice.pick(MERGES))
}

fn plant(tree: &Builder, dice: &mut Dice) -> Result<()> {
    tree.directory("")?;
    for dir in DIRS {
        if !dir.is_empty() && dice.one_in(5) {
            continue;
        }
        for name in NAMES {
            let path = format!("{dir}{name}");
            // A directory of the same name may be there.
            if dice.one_in(2) && !tree.exists(&path) && !is_below_a_file(tree, dir) {
                tree.file(&path, b"x")?.time(&path, 1_400_000_000, 0)?;
            }
        }
        if dice.one_in(2) && !is_below_a_file(tree, dir) {
            let lines: Vec<String> = (0..=dice.below(3)).map(|_| line(dice)).collect();
            let text = lines.join("\n") + "\n";
            tree.file(format!("{dir}{}", dice.pick(MERGES)), text.as_bytes())?;
        }
    }
    Ok(())
}

fn is_below_a_file(tree: &Builder, dir: &str) -> bool {
    dir.match_indices('/')
        .any(|(end, _)| tree.path(&dir[..end]).is_file())
}

/// A line of a file with rules.
fn line(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => "!".to_owned(),
        1 => "# a comment".to_owned(),
        2 => pattern(dice),
        3 => merge(dice),
        // A file of the same directory, or of the one above.
        4 if dice.one_in(3) => {
            let place = dice.pick(&["", "./", "../"]);
            format!(". {place}{}", dice.pick(MERGES))
        }
        // In a file of words.
        5 if dice.one_in(3) => rule(dice).replacen(' ', "_", 1),
        _ => rule(dice),
    }
}

fn options(dice: &mut Dice) -> Vec<OsString> {
    let mut words: Vec<String> = vec!["-ai".to_owned()];
    let delete = [
        "--delete",
        "--delete-before",
        "--delete-after",
        "--delete-delay",
        "--delete-excluded",
    ];
    words.push(dice.pick(&delete).to_owned());
    for (option, chance) in [
        ("-n", 4),
        ("-m", 8),
        ("-C", 8),
        ("-F", 5),
        ("-FF", 8),
        ("--force", 4),
        ("-vv", 5),
    ] {
        if dice.one_in(chance) {
            words.push(option.to_owned());
        }
    }
    if dice.one_in(5) {
        let old = dice.pick(&["27", "28", "29", "30", "31"]);
        words.push(format!("--protocol={old}"));
        if matches!(old, "27" | "28") {
            // Newer than these.
            words.retain(|word| word != "-m");
        }
    }
    for _ in 0..dice.below(5) {
        let word = match dice.below(6) {
            0 => format!("--exclude={}", pattern(dice)),
            1 => format!("--include={}", pattern(dice)),
            2 => format!("--filter={}", merge(dice)),
            _ => format!("--filter={}", rule(dice)),
        };
        words.push(word);
    }
    words.into_iter().map(Into::into).collect()
}

/// Whether the round with that seed is a pull.
fn is_pull(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

/// The runs with the seeds from `first` on.
fn batch(first: u64, rounds: u64) -> Scenario {
    let mut scenario = Scenario::new(
        format!("filters-{first}"),
        "random rules on random trees, the same on both sides",
    )
    .prepare(move |place: &Place| {
        for seed in first..first + rounds {
            let mine = Builder::at(&place.local.join(format!("tree{seed}")))?;
            let theirs = Builder::at(&place.base.join(format!("tree{seed}")))?;
            plant(&mine, &mut Dice::new(seed * 3))?;
            plant(&theirs, &mut Dice::new(seed * 3 + 1))?;
        }
        Ok(())
    });
    for seed in first..first + rounds {
        let mut words = options(&mut Dice::new(seed * 3 + 2));
        let mut places = [format!("tree{seed}/"), format!(":tree{seed}/")];
        if is_pull(seed) {
            places.reverse();
        }
        words.extend(places.map(OsString::from));
        scenario = scenario
            .run_with(words.iter().map(OsString::as_os_str))
            .exits_somehow()
            // What was broken off may differ, and is not to be compared with the next.
            .change("its trees go", move |place| {
                for side in [&place.local, &place.base] {
                    fs::remove_dir_all(side.join(format!("tree{seed}")))?;
                }
                Ok(())
            });
    }
    scenario
}

/// What came of all rounds.
#[derive(Debug, Default)]
pub struct Tally {
    pub rounds: u64,
    /// Command lines and what differed after each.
    pub different: Vec<(String, Vec<String>)>,
}

/// Runs `rounds` of them, from `seed` on, as many batches at a time as there are processors;
/// `heard` is told after each batch how many are done.
pub fn run(lab: &Lab, seed: u64, rounds: u64, heard: impl Fn(&Tally) + Sync) -> Result<Tally> {
    let firsts: Vec<u64> = (0..rounds).step_by(BATCH as usize).collect();
    let next = Mutex::new(firsts.into_iter());
    let tally = Mutex::new(Tally::default());
    let failed = || anyhow!("a batch panicked");
    let work = || -> Result<()> {
        loop {
            let Some(done) = next.lock().map_err(|_| failed())?.next() else {
                return Ok(());
            };
            let count = BATCH.min(rounds - done);
            let report = differ::run(&batch(seed + done, count), lab)?;
            let mut tally = tally.lock().map_err(|_| failed())?;
            tally.add(report);
            tally.rounds += count;
            heard(&tally);
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| failed())?)
    })?;
    tally.into_inner().map_err(|_| failed())
}

impl Tally {
    fn add(&mut self, report: Report) {
        let mut index: HashMap<String, usize> = HashMap::new();
        for difference in report.differences {
            let at = *index.entry(difference.after.clone()).or_insert_with(|| {
                self.different.push((difference.after.clone(), Vec::new()));
                self.different.len() - 1
            });
            self.different[at].1.push(difference.line);
        }
        if let Some(kept) = report.kept {
            println!("kept in {}", kept.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything() {
        let words = |seed| options(&mut Dice::new(seed));
        assert_eq!(words(5), words(5));
        assert!((0..50).any(|seed| words(seed) != words(5)));
        let dir = tempfile::tempdir().unwrap();
        let trees = ["one", "two"].map(|name| {
            let tree = Builder::at(&dir.path().join(name)).unwrap();
            plant(&tree, &mut Dice::new(77)).unwrap();
            let described = crate::tree::describe(&tree.path(""), None).unwrap();
            described.entries.into_keys().collect::<Vec<_>>()
        });
        assert_eq!(trees[0], trees[1]);
    }
}
