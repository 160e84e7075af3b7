//! Snapshots against `cp -al` and `rm -rf`: `cargo bench --bench snapshots [-- FILES]`, as root.
//!
//! Each file system is made fresh on a loop device. A tree of small files, a hundred to a
//! directory, is made once; then the two ways take turns, so that a slow moment of the machine
//! meets both. What is shown is the median of the rounds, and the ratio of the medians.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use coffre::snapshot::{self, State};
use jiff::Timestamp;

const ROUNDS: usize = 5;
const FILES_PER_DIRECTORY: usize = 100;

fn main() -> Result<()> {
    // `cargo bench` passes `--bench`, too.
    let files = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let files: usize = files.unwrap_or(100_000);
    println!("{files} files, {FILES_PER_DIRECTORY} to a directory; median of {ROUNDS} rounds");
    for kind in ["ext4", "xfs", "btrfs"] {
        if let Err(error) = measure(kind, files) {
            println!("{kind}: skipped: {error:#}");
        }
    }
    Ok(())
}

fn measure(kind: &str, files: usize) -> Result<()> {
    let mounted = Mounted::new(kind)?;
    let home = mounted.path.join("tenant");
    let live = home.join("live");
    for i in 0..files.div_ceil(FILES_PER_DIRECTORY) {
        let directory = live.join(format!("{}/{i}", i % 50));
        std::fs::create_dir_all(&directory)?;
        for j in 0..FILES_PER_DIRECTORY {
            std::fs::write(directory.join(format!("file-{j}")), [7; 1024])?;
        }
    }
    let copy = mounted.path.join("copy");
    let mut times: [Vec<Duration>; 7] = Default::default();
    for round in 0..ROUNDS {
        let when = Timestamp::from_second(1_800_000_000 + round as i64)?;
        sync(&mounted.path)?;
        let taken = time(&mut times[0], || {
            let taken = snapshot::take(&home, when, State::Complete, &())?;
            Ok(taken)
        })?;
        time(&mut times[1], || {
            run("cp", &["-al".as_ref(), live.as_os_str(), copy.as_os_str()])?;
            // A snapshot is on disk when it is taken.
            sync(&mounted.path)
        })?;
        time(&mut times[4], || {
            Ok(snapshot::measure(&home, &[taken.name], &())?)
        })?;
        // A hundredth of the files is replaced; then the old one becomes the new one.
        for i in (round..files).step_by(100) {
            let directory = i / FILES_PER_DIRECTORY;
            let directory = live.join(format!("{}/{directory}", directory % 50));
            let new = directory.join("new");
            std::fs::write(&new, [8; 1024])?;
            std::fs::rename(
                new,
                directory.join(format!("file-{}", i % FILES_PER_DIRECTORY)),
            )?;
        }
        sync(&mounted.path)?;
        let later = Timestamp::from_second(1_900_000_000 + round as i64)?;
        let taken = time(&mut times[5], || {
            let old = Some(taken.name);
            let taken = snapshot::take_recycling(&home, later, State::Complete, old, &())?;
            anyhow::ensure!(taken.not_recycled.is_none(), "{taken:?}");
            Ok(taken)
        })?;
        let later = Timestamp::from_second(2_000_000_000 + round as i64)?;
        let taken = time(&mut times[6], || {
            let old = Some(taken.name);
            Ok(snapshot::take_recycling(
                &home,
                later,
                State::Complete,
                old,
                &(),
            )?)
        })?;
        time(&mut times[2], || {
            Ok(snapshot::remove(&home, taken.name, None, &())?)
        })?;
        time(&mut times[3], || {
            run("rm", &["-rf".as_ref(), copy.as_os_str()])
        })?;
    }
    let [take, cp, remove, rm, size, recycle, idle] = times.map(median);
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "{kind}: take {take:.2?}, cp -al {cp:.2?}: {:.2}; remove {remove:.2?}, rm -rf {rm:.2?}: \
         {:.2}; measure {size:.2?}; recycle with 1 % changed {recycle:.2?}, nothing changed \
         {idle:.2?}: {:.3} and {:.3} of cp -al and rm -rf",
        ratio(take, cp),
        ratio(remove, rm),
        ratio(recycle, cp + rm),
        ratio(idle, cp + rm),
    );
    Ok(())
}

fn time<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let done = work()?;
    times.push(started.elapsed());
    Ok(done)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn sync(path: &Path) -> Result<()> {
    run("sync", &["-f".as_ref(), path.as_os_str()])
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .context(program.to_owned())?;
    if !output.status.success() {
        bail!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

struct Mounted {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Mounted {
    fn new(kind: &str) -> Result<Self> {
        let directory = tempfile::TempDir::new()?;
        let image = directory.path().join("image");
        let path = directory.path().join("mounted");
        std::fs::File::create(&image)?.set_len(4 << 30)?;
        std::fs::create_dir(&path)?;
        run(&format!("mkfs.{kind}"), &["-q".as_ref(), image.as_os_str()])?;
        let loop_option = ["-o", "loop"].map(AsRef::as_ref);
        run(
            "mount",
            &[
                loop_option[0],
                loop_option[1],
                image.as_os_str(),
                path.as_os_str(),
            ],
        )?;
        Ok(Self {
            _directory: directory,
            path,
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &["-l".as_ref(), self.path.as_os_str()]) {
            eprintln!("{error:#}");
        }
    }
}
