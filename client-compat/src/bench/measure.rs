//! CPU time and memory of a server and everything it starts.
//!
//! CPU time comes from a control group of our own where there is one to be had (`cpu.stat` of
//! version 2 needs no controller); otherwise from `/proc`, as the sum of what each process used and
//! what its children had used when it waited for them. That misses nothing as long as the
//! connections have ended, because sshd waits for its children.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// How often the memory of a server's processes is summed up.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// What a server used while it was watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    pub(super) cpu_secs: f64,
    pub(super) peak: Memory,
}

/// Memory that no other process has a part in, of a process and all below it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    pub(super) private_bytes: u64,
    /// Without what the kernel can read from the program's file again.
    pub(super) own_bytes: u64,
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            private_bytes: sum.private_bytes + one.private_bytes,
            own_bytes: sum.own_bytes + one.own_bytes,
        })
    }
}

impl Memory {
    fn largest(self, other: Self) -> Self {
        Self {
            private_bytes: self.private_bytes.max(other.private_bytes),
            own_bytes: self.own_bytes.max(other.own_bytes),
        }
    }
}

/// Watches from [`Watch::start`] to [`Watch::finish`]. Memory is measured in the same way for every
/// server, be it one process or many.
pub(super) struct Watch<'a> {
    pid: u32,
    group: Option<&'a Group>,
    cpu_before: f64,
    over: Arc<AtomicBool>,
    sampling: JoinHandle<Memory>,
}

impl<'a> Watch<'a> {
    /// Of the server under `pid`, which has no connection at the moment.
    pub(super) fn start(pid: u32, group: Option<&'a Group>) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let sampling = thread::spawn(move || {
            let mut peak = Memory::default();
            while !told.load(Ordering::Relaxed) {
                peak = peak.largest(memory_of(pid));
                thread::sleep(SAMPLE_EVERY);
            }
            peak
        });
        Ok(Self {
            pid,
            group,
            cpu_before: cpu_secs(pid, group)?,
            over,
            sampling,
        })
    }

    pub(super) fn finish(self) -> Result<Used> {
        self.over.store(true, Ordering::Relaxed);
        let peak = self
            .sampling
            .join()
            .map_err(|_| anyhow!("the sampler panicked"))?;
        // The client ends before the server's last process does.
        thread::sleep(Duration::from_millis(200));
        let cpu_secs = cpu_secs(self.pid, self.group)? - self.cpu_before;
        Ok(Used { cpu_secs, peak })
    }
}

/// CPU time of programs that this process has started and waited for.
pub(super) fn cpu_secs_of_children() -> f64 {
    let ticks: f64 = stat_fields(std::process::id())
        .unwrap_or_default()
        .iter()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

pub(super) fn memory_of(pid: u32) -> Memory {
    descendants(pid).into_iter().map(private_memory).sum()
}

fn cpu_secs(pid: u32, group: Option<&Group>) -> Result<f64> {
    match group {
        Some(group) => group.cpu_secs(),
        None => Ok(descendants(pid)
            .into_iter()
            .map(cpu_secs_with_children)
            .sum()),
    }
}

/// A control group (version 2) with a server in it, removed when the server is gone.
pub(super) struct Group {
    dir: PathBuf,
}

impl Group {
    /// Moves the server into a new group. `None`: there are none, or we may not.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        })?;
        let dir = root.join(format!("coffre-bench-{pid}"));
        fs::create_dir(&dir).ok()?;
        let group = Self { dir };
        for pid in descendants(pid) {
            fs::write(group.dir.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        group.cpu_secs().ok()?;
        Some(group)
    }

    fn cpu_secs(&self) -> Result<f64> {
        let stat = fs::read_to_string(self.dir.join("cpu.stat"))?;
        let micros = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .context("cpu.stat without usage_usec")?;
        Ok(micros.parse::<f64>()? / 1e6)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only an empty one can go, and the last process of the server may take a moment.
        for _ in 0..50 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `pid` and all below it.
fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(child) = name.to_str().and_then(|name| name.parse().ok())
            && let Some(fields) = stat_fields(child)
            && let Some(parent) = fields.get(1).and_then(|parent| parent.parse().ok())
        {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        if let Some(more) = children.get(&found[next]) {
            found.extend(more);
        }
        next += 1;
    }
    found
}

/// What follows the name in `/proc/PID/stat`: state, parent, …
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// utime, stime, cutime and cstime, which are fields 14 to 17 of the whole line.
fn cpu_secs_with_children(pid: u32) -> f64 {
    let ticks: f64 = stat_fields(pid)
        .unwrap_or_default()
        .iter()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

fn private_memory(pid: u32) -> Memory {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(file).unwrap_or_default();
    let of = |field| kib_of(&text, field).unwrap_or(0);
    let dirty = of("Private_Dirty:");
    Memory {
        private_bytes: of("Private_Clean:") + dirty,
        own_bytes: dirty,
    }
}

/// The value of a line such as `VmHWM:   1234 kB`, in bytes.
fn kib_of(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn cpu_time_of_children_is_counted() {
        let mut child = Command::new("/bin/sh")
            .args([
                "-c",
                "read go; sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; read end",
            ])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let before = cpu_secs(child.id(), None).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
        thread::sleep(Duration::from_millis(100));
        // The grandchild is busy, or has been waited for.
        let patience = std::time::Instant::now() + Duration::from_secs(20);
        while descendants(child.id()).len() > 1 && std::time::Instant::now() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        let used = cpu_secs(child.id(), None).unwrap() - before;
        drop(stdin);
        child.wait().unwrap();
        assert!(used > 0.05, "{used}");
    }

    #[test]
    fn this_process_has_private_memory() {
        let memory = private_memory(std::process::id());
        assert!(memory.own_bytes > 100_000 && memory.private_bytes >= memory.own_bytes);
    }
}
