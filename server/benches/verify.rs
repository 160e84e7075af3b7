//! `coffre verify` against what limits it: `cargo bench --bench verify [-- MIB [DIRECTORY]]`.
//!
//! A tenant's tree is made in DIRECTORY (else in the one for temporary files), once of large files
//! and once of small ones, so many MiB in all. Then three things take turns, each with as many
//! threads as `verify` has: reading the files and nothing else, from the disk; BLAKE3 over as many
//! bytes in memory, cut into as many contents; and `verify` itself, from the disk. Before what
//! reads from the disk the files are dropped from the cache. What is shown is the median of the
//! rounds, and the ratio to the slower of the two limits: 1 is as fast as can be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use coffre::confine::Stat;
use coffre::sum::{Content, ContentSum};
use coffre::verify::{Finding, Task, Watch, verify};
use rustix::fs::{Advice, XattrFlags, fadvise, fsetxattr, fstat};

const ROUNDS: usize = 5;
/// As many as `verify` has.
const THREADS: usize = 2;
const FILES_PER_DIRECTORY: usize = 250;

fn main() -> Result<()> {
    // `cargo bench` passes `--bench`, too.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let mib: usize = arguments.next().map_or(Ok(1024), |a| a.parse())?;
    let place = arguments.next().map_or(std::env::temp_dir(), PathBuf::from);
    println!("{mib} MiB; median of {ROUNDS} rounds, {THREADS} threads");
    // Small files are many, so there is less in them.
    for (name, size, mib) in [("large", 64 << 20, mib), ("small", 4096, mib / 8)] {
        let total = mib << 20;
        measure(name, size, (total / size).max(1), &place)?;
    }
    Ok(())
}

fn measure(name: &str, size: usize, files: usize, place: &Path) -> Result<()> {
    let directory = tempfile::TempDir::new_in(place)?;
    let home = directory.path().join("tenant");
    let paths = make(&home, size, files)?;
    let mut times: [Vec<Duration>; 3] = Default::default();
    let content = vec![7; size];
    for _ in 0..ROUNDS {
        drop_cached(&paths)?;
        time(&mut times[0], || {
            on_threads(files, |number, buffer| {
                let mut file = File::open(&paths[number])?;
                while file.read(buffer)? > 0 {}
                Ok(())
            })
        })?;
        time(&mut times[1], || {
            on_threads(files, |_, _| {
                std::hint::black_box(blake3::hash(&content));
                Ok(())
            })
        })?;
        drop_cached(&paths)?;
        time(&mut times[2], || {
            let task = Task {
                tenant: "tenant",
                home: &home,
                only: None,
                bytes_per_second: None,
                restart: true,
                catalogue: None,
                notes: None,
            };
            let outcome = verify(&task, &Nobody)?;
            ensure!(outcome.files == files as u64, "{outcome:?}");
            ensure!(outcome.without_sum == 0, "{outcome:?}");
            ensure!(outcome.findings.is_empty(), "{outcome:?}");
            Ok(())
        })?;
    }
    let [disk, hash, verify] = times.map(median);
    let rate = |time: Duration| ((size * files) >> 20) as f64 / time.as_secs_f64();
    println!(
        "{name}: {files} files of {size} bytes: disk {disk:.2?} ({:.0} MiB/s), BLAKE3 {hash:.2?} \
         ({:.0} MiB/s), verify {verify:.2?} ({:.0} MiB/s): {:.2} of the slower limit",
        rate(disk),
        rate(hash),
        rate(verify),
        verify.as_secs_f64() / disk.max(hash).as_secs_f64(),
    );
    Ok(())
}

/// Files with their sums, as pushes leave them.
fn make(home: &Path, size: usize, files: usize) -> Result<Vec<PathBuf>> {
    let live = home.join("live");
    std::fs::create_dir_all(home.join("snapshots"))?;
    let mut paths = Vec::new();
    for number in 0..files {
        let directory = live.join(format!("d{}", number / FILES_PER_DIRECTORY));
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("f{number}"));
        let content = noise(number as u64, size);
        std::fs::write(&path, &content)?;
        let file = File::open(&path)?;
        let sum = ContentSum {
            content: Content::of(&content),
            mtime: Stat::from(fstat(&file)?).mtime,
        };
        fsetxattr(&file, "user.coffre.sum", &sum.encode(), XattrFlags::empty())
            .with_context(|| format!("{} keeps no attributes", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Bytes that no disk packs.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

fn drop_cached(paths: &[PathBuf]) -> Result<()> {
    rustix::fs::sync();
    for path in paths {
        fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn on_threads(files: usize, work: impl Fn(usize, &mut [u8]) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut buffer = vec![0; 1 << 20];
                    loop {
                        match next.fetch_add(1, Ordering::Relaxed) {
                            number if number >= files => return Ok(()),
                            number => work(number, &mut buffer)?,
                        }
                    }
                })
            })
            .collect();
        started
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a thread of the measurement panicked"))
    })
}

fn time(times: &mut Vec<Duration>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    work()?;
    times.push(started.elapsed());
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Nobody;

impl Watch for Nobody {
    fn advance(&self, _files: u64, _bytes: u64) {}
    fn found(&self, _finding: &Finding) {}
    fn note(&self, _line: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}
