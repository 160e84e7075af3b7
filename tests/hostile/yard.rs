//! A server with two tenants, something outside that must not change, and a neighbour at work.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use coffre_client_compat::run::Outcome;
use coffre_client_compat::sandbox::{Lines, Port};
use coffre_client_compat::tree::{Builder, Described, describe, noise};
use coffre_tests::{Bed, said};

/// What the attacked tenant may take of memory, and what the whole process is allowed in the end:
/// that, and what a server with two busy tenants takes anyway.
pub(crate) const MAX_MEMORY: &str = "max_memory = \"16MiB\"\n";
const PEAK_KIB: u64 = 160 << 10;

pub(crate) struct Yard {
    pub(crate) bed: Bed,
    neighbour: Port,
    pub(crate) outside: PathBuf,
    history: PathBuf,
    before: [Described; 2],
}

impl Yard {
    /// `None`: not root, and said so.
    pub(crate) fn new(server: &str, tenant: &str) -> Option<Self> {
        Self::prepared(server, tenant, |outside| {
            outside.file("keep", b"kept").unwrap();
        })
    }

    /// With something of its own outside.
    pub(crate) fn with_outside(furnish: impl FnOnce(&Builder)) -> Option<Self> {
        Self::prepared("", "", furnish)
    }

    fn prepared(server: &str, tenant: &str, furnish: impl FnOnce(&Builder)) -> Option<Self> {
        let neighbour = Port::reserve().unwrap();
        // The neighbour has the same key; what differs is the port.
        let keys = tempfile::NamedTempFile::new().unwrap();
        let lines = Lines {
            server: server.to_owned(),
            tenant: format!("{MAX_MEMORY}{tenant}"),
            more: format!(
                "[tenants.neighbour]\nport = {}\nauthorized_keys = {:?}\nsnapshots = false\n",
                neighbour.number(),
                keys.path().display().to_string()
            ),
        };
        // A file of keys must have one; it gets the right one with the reload.
        fs::write(
            keys.path(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb1B4RQ70eDNXR6BmEra1/LK5uQss+8YaV27VTN04eC x\n",
        )
        .unwrap();
        let bed = Bed::configured(&lines).unwrap()?;
        fs::write(keys.path(), bed.keys.public("client").unwrap() + "\n").unwrap();
        bed.coffre.command(&["reload"]).unwrap();
        let source = bed.source().unwrap();
        source.file("keep", b"kept").unwrap();
        source.file("d/data", &noise(1, 50_000)).unwrap();
        let near = Builder::at(&bed.local().join("near")).unwrap();
        near.file("d/data", &noise(2, 200_000)).unwrap();
        bed.push_well("-a src/ server:/dst/").unwrap();
        let history = bed.coffre.snapshot().unwrap();
        let outside = bed.coffre.home().join("outside");
        let furnished = Builder::at(&outside).unwrap();
        furnished.file("secret", b"secret").unwrap();
        furnish(&furnished);
        let before = [&outside, &history].map(|path| describe(path, None).unwrap());
        Some(Self {
            bed,
            neighbour,
            outside,
            history,
            before,
        })
    }

    /// The snapshot taken before any attack.
    pub(crate) fn history(&self) -> &Path {
        &self.history
    }

    /// Runs an attack while the neighbour pushes, and looks at what must hold afterwards.
    pub(crate) fn during<T>(&self, attack: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        let pushes = AtomicU32::new(0);
        let result = thread::scope(|scope| {
            let (over, pushes) = (&over, &pushes);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) || pushes.load(Ordering::SeqCst) == 0 {
                    let push = self
                        .bed
                        .rsync(
                            "client",
                            self.neighbour.number(),
                            "-aI --delete near/ server:/",
                        )
                        .unwrap();
                    let outcome = push.run().unwrap();
                    assert_eq!(outcome.exit, 0, "the neighbour: {}", said(&outcome));
                    pushes.fetch_add(1, Ordering::SeqCst);
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
            over.store(true, Ordering::SeqCst);
            result
        });
        match result {
            Ok(result) => {
                self.check();
                result
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn check(&self) {
        for (path, before) in [&self.outside, &self.history].into_iter().zip(&self.before) {
            let now = describe(path, None).unwrap();
            assert_eq!(&now, before, "{} has changed", path.display());
        }
        let patience = Instant::now() + Duration::from_secs(20);
        while !self.bed.left_in_staging().is_empty() && Instant::now() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.bed.left_in_staging(), Vec::<PathBuf>::new());
        let peak = self.peak_kib();
        println!("peak memory of the server: {} MiB", peak >> 10);
        assert!(peak < PEAK_KIB, "the server took {peak} KiB");
        // The tenant itself is served as before.
        self.bed
            .push_well("-a --delete --force src/ server:/dst/")
            .unwrap();
    }

    /// The most memory that the server ever had.
    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.bed.coffre.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }

    /// Sends a whole stream; it must be refused in words, without a path of the server.
    pub(crate) fn refused(&self, what: &str, exec: &str, stream: crate::wire::Wire) -> String {
        let outcome = self.bed.ssh("client", exec, stream.0).unwrap();
        self.assert_refused(what, &outcome)
    }

    pub(crate) fn assert_refused(&self, what: &str, outcome: &Outcome) -> String {
        let text = said(outcome);
        assert!(!outcome.timed_out, "{what}: the session did not end");
        assert_ne!(outcome.exit, 0, "{what}: accepted");
        assert!(text.contains("(code "), "{what}: without a word: {text}");
        let home = self.bed.coffre.home().display().to_string();
        assert!(!text.contains(&home), "{what}: {text}");
        let shown = text.replace(|c: char| c.is_control(), " ");
        let last = shown.char_indices().rev().nth(250).map_or(0, |(at, _)| at);
        println!("{what}: {}", &shown[last..]);
        text
    }

    /// A client that looks at what the server says before it goes on.
    pub(crate) fn peer(&self, exec: &str) -> Peer {
        let config = self
            .bed
            .ssh_config("client", self.bed.coffre.port())
            .unwrap();
        Peer::start(&config, exec)
    }

    /// A client that reads nothing.
    pub(crate) fn deaf_peer(&self, exec: &str) -> Peer {
        let config = self
            .bed
            .ssh_config("client", self.bed.coffre.port())
            .unwrap();
        Peer::begin(&config, exec, false)
    }

    /// Sessions at work, the neighbour's too.
    pub(crate) fn sessions(&self) -> usize {
        self.session_threads().len()
    }

    /// The processor time of the session that has used most of it.
    pub(crate) fn busiest_session(&self) -> Duration {
        let ticks = self.session_threads().into_iter().filter_map(|task| {
            let stat = fs::read_to_string(task.join("stat")).ok()?;
            // Behind the name: utime and stime are the fields 14 and 15 of the line.
            let (_, fields) = stat.rsplit_once(')')?;
            let times = fields.split_whitespace().skip(11).take(2);
            Some(times.filter_map(|time| time.parse::<u64>().ok()).sum())
        });
        let most: u64 = ticks.max().unwrap_or(0);
        Duration::from_millis(most * 1000 / rustix::param::clock_ticks_per_second())
    }

    fn session_threads(&self) -> Vec<PathBuf> {
        let pid = self.bed.coffre.pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let paths = tasks.flatten().map(|task| task.path());
        let is_session = |task: &PathBuf| {
            let name = fs::read_to_string(task.join("comm"));
            name.is_ok_and(|name| name.starts_with("rsync "))
        };
        paths.filter(is_session).collect()
    }
}

impl Peer {
    pub(crate) fn start(config: &Path, exec: &str) -> Peer {
        Self::begin(config, exec, true)
    }

    fn begin(config: &Path, exec: &str, reads: bool) -> Peer {
        let mut child = Command::new("ssh")
            .arg("-F")
            .arg(config)
            .args(["server", exec])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut readers = vec![listen(child.stderr.take().unwrap(), Arc::clone(&heard))];
        if reads {
            readers.push(listen(child.stdout.take().unwrap(), Arc::clone(&heard)));
        }
        Peer {
            stdin: child.stdin.take(),
            child,
            heard,
            readers,
        }
    }
}

fn listen(mut from: impl Read + Send + 'static, heard: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(len @ 1..) = from.read(&mut piece) {
            heard.lock().unwrap().extend_from_slice(&piece[..len]);
        }
    })
}

pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Peer {
    /// What the server of protocol 29 says behind its version.
    pub(crate) fn seed(&self) -> [u8; 4] {
        let heard = self.heard.lock().unwrap();
        heard
            .get(4..8)
            .map_or([0; 4], |seed| seed.try_into().unwrap())
    }

    /// The server may have hung up already.
    pub(crate) fn say(&mut self, wire: crate::wire::Wire) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(&wire.0).and_then(|()| stdin.flush());
        }
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Waits until the server has said at least so many bytes in all, and then nothing more for a
    /// while; or has ended.
    pub(crate) fn hear(&mut self, least: usize) -> usize {
        let start = Instant::now();
        let mut last = (self.heard(), start);
        while !matches!(self.child.try_wait(), Ok(Some(_))) {
            thread::sleep(Duration::from_millis(10));
            if self.heard() != last.0 {
                last = (self.heard(), Instant::now());
            }
            let quiet = last.1.elapsed();
            let is_over = match last.0 >= least {
                true => {
                    quiet > Duration::from_millis(250) || start.elapsed() > Duration::from_secs(10)
                }
                false => quiet > Duration::from_secs(10),
            };
            if is_over {
                break;
            }
        }
        self.heard()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Hangs up and gives what came of it.
    pub(crate) fn end(mut self) -> Outcome {
        self.stdin = None;
        let start = Instant::now();
        let mut timed_out = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > Duration::from_secs(60) {
                timed_out = true;
                self.child.kill().unwrap();
                break self.child.wait().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Outcome {
            exit: status.code().unwrap_or(137),
            stdout: self.heard.lock().unwrap().clone(),
            stderr: Vec::new(),
            wall: start.elapsed(),
            timed_out,
        }
    }

    /// Goes without a word.
    pub(crate) fn vanish(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdin = None;
    }
}
