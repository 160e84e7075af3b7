//! What stands for the physical limit of a workload: the least work of its kind, done once by plain
//! tools of this machine, so that a figure can be told from what the machine makes of it.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Sample;
use super::measure::cpu_secs_of_children;
use crate::loopfs::LoopFs;

/// Which work that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// `cp -a` of the source onto the same file system, with a sync.
    Copy,
    /// The same as often as there are clients, all at once.
    Copies,
    /// `find -printf` of what is to be looked at: a `stat` for each file.
    Look,
    /// `cat` of the file through ssh and sshd to nowhere.
    Cipher,
    /// The same, where the workload has a slow line and this has none.
    CipherNearby,
    /// What the clients themselves compute.
    Clients,
    /// `cp -al` by two processes.
    Links,
    /// `find` of two trees by two processes, without a look at their files.
    Listings,
    /// `rm -rf` by two processes.
    Removals,
    /// Sockets that listen.
    Sockets,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "`cp -a` of the source to the same file system, and a sync",
            Self::Copies => {
                "as many `cp -a` of the source at once as there are clients, and a sync"
            }
            Self::Look => "`find` with a `stat` of each file",
            Self::Cipher => "the same bytes through `ssh` and `sshd` into `cat > /dev/null`",
            Self::CipherNearby => {
                "the same bytes through `ssh` and `sshd` into `cat > /dev/null`, without the delay"
            }
            Self::Clients => "the CPU time of the clients alone",
            Self::Links => "two `cp -al` at once, of half of the directories each, and a sync",
            Self::Listings => "two `find -false` at once, of live and of a snapshot",
            Self::Removals => "two `rm -rf` at once, of half of the directories each, and a sync",
            Self::Sockets => "as many sockets that listen, and nothing else",
        })
    }
}

/// Runs `commands` all at once and syncs `fs`; the CPU time is theirs.
pub(super) fn at_once(fs: &LoopFs, commands: Vec<Command>) -> Result<Sample> {
    fs.sync()?;
    let before = cpu_secs_of_children();
    let started = Instant::now();
    let mut running = Running(Vec::new());
    for mut command in commands {
        command.stdout(Stdio::null());
        let child = command.spawn();
        let child = child.with_context(|| format!("start {command:?}"))?;
        running.0.push((command, child));
    }
    for (command, child) in &mut running.0 {
        let status = child.wait()?;
        if !status.success() {
            bail!("{command:?}: {status}");
        }
    }
    let wall_secs = started.elapsed().as_secs_f64();
    let synced = Instant::now();
    fs.sync()?;
    Ok(Sample {
        sync_secs: synced.elapsed().as_secs_f64(),
        server_cpu_secs: Some(cpu_secs_of_children() - before),
        ..Sample::lasting(wall_secs)
    })
}

/// Processes that end with this value.
struct Running(Vec<(Command, Child)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // Those that were waited for are gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `program` twice, in `place`, with its arguments and half of the names in `place` each.
pub(super) fn by_two(
    program: &str,
    args: &[&std::ffi::OsStr],
    place: &Path,
) -> Result<Vec<Command>> {
    let names = std::fs::read_dir(place)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    let (first, second) = names.split_at(names.len() / 2);
    let command = |names: &[std::ffi::OsString]| {
        let mut command = Command::new(program);
        command.args(args).args(names).current_dir(place);
        command
    };
    let halves = [first, second].into_iter().filter(|half| !half.is_empty());
    Ok(halves.map(command).collect())
}

/// So many sockets that listen, on ports that the kernel chooses.
pub(super) fn sockets(number: u64) -> Result<Sample> {
    let started = Instant::now();
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets = (0..number).map(bind).collect::<std::io::Result<Vec<_>>>()?;
    let took = started.elapsed().as_secs_f64();
    drop(sockets);
    Ok(Sample::lasting(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_in_one_half() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let args = |command: &Command| command.get_args().map(ToOwned::to_owned).collect();
        let commands = by_two("rm", &["-rf".as_ref()], dir.path()).unwrap();
        let all: Vec<Vec<_>> = commands.iter().map(args).collect();
        assert_eq!(all, [vec!["-rf", "a"], vec!["-rf", "b", "c"]]);

        std::fs::remove_dir(dir.path().join("a")).unwrap();
        std::fs::remove_dir(dir.path().join("b")).unwrap();
        let commands = by_two("rm", &[], dir.path()).unwrap();
        assert_eq!(commands.len(), 1, "one process for one name");
    }
}
