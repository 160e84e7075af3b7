//! Runs one program to its end, or to the end of our patience, and keeps what it said.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(2);

/// How long what a program started may go on talking after its end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A program, its arguments, and what surrounds it. Nothing of our own environment is handed on.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub cwd: PathBuf,
    pub env: Vec<(OsString, OsString)>,
    pub stdin: Vec<u8>,
    /// After this the whole process group is killed.
    pub timeout: Duration,
    /// Then the program itself gets a signal, as from an impatient user.
    pub interrupt: Option<(When, Signal)>,
}

/// When something happens to a program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long after its start.
    After(Duration),
    /// Once it has read so many bytes from whatever it reads: on a busy machine, too, a client that
    /// pushes is then in the middle of a file.
    HasRead(u64),
}

impl When {
    fn has_come(self, start: Instant, pid: Pid) -> bool {
        match self {
            Self::After(time) => start.elapsed() >= time,
            Self::HasRead(bytes) => bytes_read(pid).is_some_and(|read| read >= bytes),
        }
    }
}

/// What the kernel counted (`rchar`, see proc_pid_io(5)); nothing of a process that has ended.
fn bytes_read(pid: Pid) -> Option<u64> {
    let counters = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = counters
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))?;
    line.parse().ok()
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit status; 128 + n when signal n ended it.
    pub exit: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub wall: Duration,
    pub timed_out: bool,
}

impl Invocation {
    pub fn new(program: &Path, cwd: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            args: Vec::new(),
            cwd: cwd.to_path_buf(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            interrupt: None,
        }
    }

    /// Runs it in a process group of its own. Whatever of the group is left at the end is killed.
    pub fn run(&self) -> Result<Outcome> {
        self.run_while(None::<(_, fn() -> Result<()>)>)
    }

    /// … and does something else when its time has come; not at all if it ends before.
    pub fn run_while(
        &self,
        mut meanwhile: Option<(When, impl FnOnce() -> Result<()>)>,
    ) -> Result<Outcome> {
        let start = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .current_dir(&self.cwd)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let group = ProcessGroup::of(&child);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();

        thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(mut stdin) = stdin {
                    // A program that does not want its input has the right to close it.
                    let _ = stdin.write_all(&self.stdin);
                }
            });
            let stdout = scope.spawn(|| drain(stdout));
            let stderr = scope.spawn(|| drain(stderr));

            let mut interrupt = self.interrupt;
            let mut timed_out = false;
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                if interrupt.is_some_and(|(when, _)| when.has_come(start, group.pid))
                    && let Some((_, signal)) = interrupt.take()
                {
                    let _ = rustix::process::kill_process(group.pid, signal);
                }
                if (meanwhile.as_ref()).is_some_and(|(when, _)| when.has_come(start, group.pid))
                    && let Some((_, action)) = meanwhile.take()
                    && let Err(error) = action()
                {
                    group.kill();
                    child.wait()?;
                    return Err(error);
                }
                if start.elapsed() >= self.timeout {
                    timed_out = true;
                    group.kill();
                    break child.wait()?;
                }
                thread::sleep(POLL);
            };
            let wall = start.elapsed();
            // A remote shell may still be passing on the server's last words.
            let patience = Instant::now() + LAST_WORDS;
            while !(stdout.is_finished() && stderr.is_finished()) && Instant::now() < patience {
                thread::sleep(POLL);
            }
            group.kill();
            Ok(Outcome {
                exit: status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
                stdout: stdout.join().unwrap_or_default(),
                stderr: stderr.join().unwrap_or_default(),
                wall,
                timed_out,
            })
        })
    }
}

fn drain(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

/// A child's own process group.
#[derive(Debug, Clone, Copy)]
pub struct ProcessGroup {
    pid: Pid,
}

impl ProcessGroup {
    /// Of a child that was started with `process_group(0)`.
    pub fn of(child: &Child) -> Self {
        Self {
            pid: Pid::from_child(child),
        }
    }

    /// Kills what is left of it.
    pub fn kill(self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

/// Runs a tool of the system that must succeed; gives its standard output.
pub fn tool(program: &str, args: &[&std::ffi::OsStr]) -> Result<Vec<u8>> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        anyhow::bail!(
            "{program} {}: {}: {}",
            args.iter()
                .map(|arg| arg.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        let mut invocation = Invocation::new(Path::new("/bin/sh"), Path::new("/"));
        invocation.args = vec!["-c".into(), script.into()];
        invocation
    }

    #[test]
    fn exit_code_and_both_outputs_are_kept_apart() {
        let outcome = shell("echo out; echo err >&2; exit 7").run().unwrap();
        assert_eq!(outcome.exit, 7);
        assert_eq!(outcome.stdout, b"out\n");
        assert_eq!(outcome.stderr, b"err\n");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let mut hang = shell("sleep 100 & sleep 100");
        hang.timeout = Duration::from_millis(100);
        let outcome = hang.run().unwrap();
        assert!(outcome.timed_out);
        assert_eq!(outcome.exit, 137);
        assert!(outcome.wall < Duration::from_secs(10));
    }

    #[test]
    fn an_interrupt_reaches_the_program() {
        let mut invocation = shell("trap 'exit 20' INT; while :; do sleep 0.01; done");
        invocation.interrupt = Some((When::After(Duration::from_millis(100)), Signal::INT));
        assert_eq!(invocation.run().unwrap().exit, 20);
    }

    #[test]
    fn something_happens_once_a_program_has_read_so_much() {
        let mut invocation = shell("exec cat /dev/zero > /dev/null");
        invocation.interrupt = Some((When::HasRead(200_000_000), Signal::TERM));
        let mut has_happened = false;
        let when = When::HasRead(100_000_000);
        let outcome = invocation.run_while(Some((when, || {
            has_happened = true;
            Ok(())
        })));
        assert_eq!(outcome.unwrap().exit, 128 + 15);
        assert!(has_happened);
        let fails = || anyhow::bail!("it cannot be done");
        let error = invocation.run_while(Some((when, fails))).unwrap_err();
        assert_eq!(error.to_string(), "it cannot be done");
        let mut short = shell("true");
        short.interrupt = Some((When::HasRead(100_000_000), Signal::INT));
        let never = || anyhow::bail!("it has not read that much");
        assert_eq!(short.run_while(Some((when, never))).unwrap().exit, 0);
    }

    #[test]
    fn the_environment_is_not_handed_on() {
        let outcome = shell("echo \"[$HOME]\"").run().unwrap();
        assert_eq!(outcome.stdout, b"[]\n");
    }
}
