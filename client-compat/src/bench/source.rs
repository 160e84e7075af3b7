//! The trees that are pushed, the same each time, and what is changed in them.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::run::tool;
use crate::tree::{Builder, noise};

use super::workload::Size;

/// Files in one directory.
const PER_DIRECTORY: u64 = 100;

/// Sizes of the mixed tree: e to this power times the median at one standard deviation.
const SIGMA: f64 = 1.8;
const LARGEST_MIXED: f64 = (4 << 20) as f64;

/// A block of the big file; a hundredth of them is changed.
const BLOCK: u64 = 64 << 10;

/// Which tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// All files of one size.
    Even,
    LogNormal,
    /// Lines of words, as a compressor meets them in sources.
    Text,
    OneFile,
}

/// What a second push finds changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    OneFileInHundred,
    OneBlockInHundred,
}

/// A tree on disk, read once so that it is in memory, and a changed one beside it.
#[derive(Debug)]
pub(super) struct Source {
    dir: TempDir,
}

impl Source {
    pub(super) fn make(tree: Tree, size: Size, change: Change) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("coffre-bench-source-")
            .tempdir()?;
        let source = Self { dir };
        fill(&source.base(), tree, size)?;
        source.change(change, size)?;
        // What is still to be written would be written while somebody is measured.
        rustix::fs::syncfs(File::open(source.dir.path())?)?;
        Ok(source)
    }

    /// The tree as it was made.
    pub(super) fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    fn changed_dir(&self) -> PathBuf {
        self.dir.path().join("changed")
    }

    /// The changed tree and the first one take turns, so that there is always a change.
    pub(super) fn at_turn(&self, turn: usize) -> PathBuf {
        let changed = self.changed_dir();
        match turn.is_multiple_of(2) && changed.exists() {
            true => changed,
            false => self.base(),
        }
    }

    fn change(&self, change: Change, size: Size) -> Result<()> {
        let (base, changed) = (self.base(), self.changed_dir());
        match change {
            Change::Nothing => {}
            Change::OneFileInHundred => {
                tool("cp", &["-a".as_ref(), base.as_ref(), changed.as_ref()])?;
                let tree = Builder::at(&changed)?;
                for number in (0..size.files).step_by(100) {
                    let name = name_of(number);
                    fs::remove_file(tree.path(&name))?;
                    let length = usize::try_from(size.bytes)?;
                    tree.file(&name, &noise(number + size.files, length))?;
                    tree.time(&name, 1_600_000_000, 7)?;
                }
            }
            Change::OneBlockInHundred => {
                tool("cp", &["-a".as_ref(), base.as_ref(), changed.as_ref()])?;
                let path = changed.join("image");
                let file = File::options().write(true).open(&path)?;
                let mut at = 0;
                while at + BLOCK <= size.bytes {
                    file.write_all_at(&noise(at + 1, BLOCK as usize), at)?;
                    at += 100 * BLOCK;
                }
                Builder::at(&changed)?.time("image", 1_600_000_000, 7)?;
            }
        }
        Ok(())
    }
}

/// A directory's content as the client's command line names it.
pub(super) fn content_of(directory: &Path) -> OsString {
    let mut path = directory.as_os_str().to_owned();
    path.push("/");
    path
}

pub(super) fn name_of(number: u64) -> String {
    format!("d{:05}/f{number:07}", number / PER_DIRECTORY)
}

/// Makes the tree at `place`.
pub(super) fn fill(place: &Path, tree: Tree, size: Size) -> Result<()> {
    if tree == Tree::OneFile {
        fs::create_dir_all(place)?;
        let path = place.join("image");
        let mut file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        const PIECE: u64 = 1 << 20;
        for number in 0..size.bytes / PIECE {
            file.write_all(&noise(number, PIECE as usize))?;
        }
        file.write_all(&noise(0, (size.bytes % PIECE) as usize))?;
        return Ok(());
    }
    let builder = Builder::at(place)?;
    for number in 0..size.files {
        let path = builder.path(name_of(number));
        if let (true, Some(directory)) = (number.is_multiple_of(PER_DIRECTORY), path.parent()) {
            fs::create_dir(directory)?;
        }
        let content = match tree {
            Tree::LogNormal => noise(number, log_normal(number, size.bytes)),
            Tree::Text => text(number, size.bytes as usize),
            Tree::Even | Tree::OneFile => noise(number, size.bytes as usize),
        };
        // By one look-up: there may be a million.
        let mut file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        file.write_all(&content)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        let time = UNIX_EPOCH + Duration::new(1_500_000_000 + number % 1_000, 5);
        file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
    }
    Ok(())
}

/// Two numbers between 0 and 1 that hang on `number` only.
fn uniform(number: u64) -> (f64, f64) {
    let bytes = noise(number ^ 0x5eed, 8);
    let part = |bytes: &[u8]| {
        let mut four = [0; 4];
        four.copy_from_slice(bytes);
        (f64::from(u32::from_le_bytes(four)) + 1.0) / (f64::from(u32::MAX) + 2.0)
    };
    (part(&bytes[..4]), part(&bytes[4..8]))
}

fn log_normal(number: u64, median: u64) -> usize {
    let (a, b) = uniform(number);
    // Box and Muller.
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    (median as f64 * (SIGMA * normal).exp()).min(LARGEST_MIXED) as usize
}

/// Words from a vocabulary of which a few are used most, in lines that are indented.
fn text(number: u64, length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 16] = b"etaoinsrhldcumfp";
    let mut text = Vec::with_capacity(length + 80);
    let mut random = noise(number, length).into_iter().cycle();
    let mut next = move || usize::from(random.next().unwrap_or(0));
    while text.len() < length {
        let indent = next() % 4 * 4;
        text.extend(std::iter::repeat_n(b' ', indent));
        for _ in 0..4 + next() % 8 {
            // The product of two is small more often than large.
            let word = next() * next() / 64;
            let long = 2 + word % 9;
            text.extend((0..long).map(|at| LETTERS[(word * 7 + at * (word % 11 + 3)) % 16]));
            text.push(if word % 5 == 0 { b'.' } else { b' ' });
        }
        text.push(b'\n');
    }
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_spread_about_their_median() {
        let mut sizes: Vec<usize> = (0..2_001).map(|n| log_normal(n, 4_096)).collect();
        sizes.sort_unstable();
        let median = sizes[1_000];
        assert!((3_000..5_500).contains(&median), "{median}");
        assert!(sizes[0] < 100 && sizes[2_000] > 500_000, "{sizes:?}");
    }

    #[test]
    fn a_turn_is_always_a_change() {
        let size = Size {
            files: 200,
            bytes: 50,
        };
        let source = Source::make(Tree::Even, size, Change::OneFileInHundred).unwrap();
        let read = |turn, number| fs::read(source.at_turn(turn).join(name_of(number))).unwrap();
        assert_ne!(read(0, 100), read(1, 100));
        assert_eq!(read(0, 101), read(1, 101));
        assert_eq!(read(0, 100), read(2, 100));
    }
}
