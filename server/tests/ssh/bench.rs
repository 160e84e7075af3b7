//! A server with one tenant, keys to come in with, and sessions that do as they are told.
//!
//! Shared with `ssh_descriptors.rs`, which has a process of its own.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coffre::config::{
    Config, KeyRule, LandlockPolicy, MetadataPolicy, Rights, ServerConfig, SnapshotPolicy, Tenant,
};
use coffre::session::pipe::{Event, Output as Sent};
use coffre::session::{Admitted, Pipe, Request, Sessions, View};
use coffre::ssh::Server;
use coffre::tenant::TenantHandle;
use russh::keys::{PrivateKey, PublicKey};
use tokio::runtime::Runtime;

/// What tests may do.
pub(crate) const ALL: Rights = Rights {
    push: true,
    restore: true,
};

/// A private key in a file, as `ssh -i` wants it.
pub(crate) struct Key {
    pub(crate) path: PathBuf,
    pub(crate) public: PublicKey,
}

impl Key {
    pub(crate) fn new(directory: &Path, name: &str, kind: &[&str]) -> Self {
        let path = directory.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", name, "-t"])
            .args(kind)
            .arg("-f")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        Self {
            path,
            public: public.parse().unwrap(),
        }
    }

    pub(crate) fn private(&self) -> Arc<PrivateKey> {
        Arc::new(PrivateKey::read_openssh_file(&self.path).unwrap())
    }

    pub(crate) fn fingerprint(&self) -> String {
        let kind = russh::keys::HashAlg::Sha256;
        self.public.fingerprint(kind).to_string()
    }

    pub(crate) fn rule(&self) -> KeyRule {
        KeyRule {
            key: self.public.clone(),
            from: None,
            may: ALL,
        }
    }

    pub(crate) fn rule_from(&self, networks: &[&str]) -> KeyRule {
        KeyRule {
            from: Some(networks.iter().map(|net| net.parse().unwrap()).collect()),
            ..self.rule()
        }
    }
}

pub(crate) fn tenant(name: &str, keys: Vec<KeyRule>) -> Tenant {
    Tenant {
        name: name.to_owned(),
        port: 0,
        logins: vec!["root".to_owned()],
        restore_login: Some("restore".to_owned()),
        keys,
        host_keys: Vec::new(),
        snapshots: SnapshotPolicy {
            at: Vec::new(),
            cron: None,
            after_session: false,
            at_most: None,
            wait: Duration::ZERO,
        },
        keep: None,
        prune_limit: None,
        max_sessions: 4,
        limits: coffre::config::SessionLimits::default(),
        bandwidth: None,
        quota: coffre::config::Quota::default(),
        owner_names: false,
        verify: None,
        legacy_ssh: false,
    }
}

pub(crate) fn config(directory: &Path) -> Config {
    Config {
        path: directory.join("tenants.toml"),
        read_files: Vec::new(),
        server: ServerConfig {
            storage: directory.join("store"),
            listen: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            host_keys: vec![directory.join("host_ed25519")],
            time_zone: jiff::tz::TimeZone::UTC,
            metadata: MetadataPolicy::Xattr,
            landlock: LandlockPolicy::Off,
            seccomp: coffre::config::SeccompPolicy::Off,
            ciphers: None,
            login_grace: Duration::from_secs(30),
            max_unauthenticated: 100,
            max_unauthenticated_per_address: 100,
            max_sessions: 100,
            bandwidth: None,
            min_free: coffre::config::MinFree::Bytes(0),
            keep_sessions: None,
        },
        tenants: Vec::new(),
    }
}

/// A running server and what is needed to talk to it.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) server: Option<Server>,
    pub(crate) config: Config,
    pub(crate) tenants: Vec<Arc<TenantHandle>>,
    pub(crate) sessions: Arc<Scripted>,
    pub(crate) key: Key,
    directory: tempfile::TempDir,
}

impl Bench {
    /// One tenant, `ada`, with one key that may come from anywhere.
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// As [`Bench::new`], changed before it starts.
    pub(crate) fn with(change: impl FnOnce(&mut Config, &mut Tenant)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::new(directory.path(), "key", &["ed25519"]);
        let mut config = config(directory.path());
        let mut ada = tenant("ada", vec![key.rule()]);
        change(&mut config, &mut ada);
        config.tenants = vec![Arc::new(ada)];
        let tenants = vec![Arc::new(TenantHandle::new(
            &config.server.storage,
            Arc::clone(&config.tenants[0]),
        ))];
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let sessions = Arc::new(Scripted::default());
        let server = {
            let _inside = runtime.enter();
            let sessions = Arc::clone(&sessions);
            Server::start(&config, &tenants, sessions).unwrap_or_else(|error| panic!("{error}"))
        };
        Self {
            runtime,
            server: Some(server),
            config,
            tenants,
            sessions,
            key,
            directory,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    /// Where a tenant listens (the first address).
    pub(crate) fn address_of(&self, tenant: &str) -> SocketAddr {
        let listening = self.server.as_ref().unwrap().listening();
        let found = listening.iter().find(|l| l.tenant == tenant);
        found
            .unwrap_or_else(|| panic!("{tenant} listens nowhere: {listening:?}"))
            .address
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of("ada")
    }

    /// Gives `ada` other keys, as a reload does.
    pub(crate) fn set_keys(&self, keys: Vec<KeyRule>) {
        let mut ada = (*self.tenants[0].config()).clone();
        ada.keys = keys;
        self.tenants[0].set_config(Arc::new(ada));
    }

    /// The stock client with this key and login; the caller adds options, then [`Ssh::run`].
    pub(crate) fn ssh_as(&self, login: &str, key: &Key) -> Ssh {
        self.ssh_as_of("ada", login, key)
    }

    /// … to the port of that tenant.
    pub(crate) fn ssh_as_of(&self, tenant: &str, login: &str, key: &Key) -> Ssh {
        let mut command = Command::new("ssh");
        let address = self.address_of(tenant);
        command
            .args(["-F", "none", "-p", &address.port().to_string()])
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "StrictHostKeyChecking=accept-new"])
            .args(["-o", "ConnectTimeout=20"])
            .arg("-o")
            .arg(format!(
                "UserKnownHostsFile={}",
                self.path().join("known_hosts").display()
            ))
            .arg("-i")
            .arg(&key.path)
            .args(["-l", login])
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("DISPLAY")
            .stdin(Stdio::null());
        Ssh {
            command,
            host: address.ip().to_string(),
        }
    }

    pub(crate) fn ssh(&self) -> Ssh {
        self.ssh_as("root", &self.key)
    }

    pub(crate) fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// Waits until every connection is over.
    pub(crate) fn assert_no_task_is_left(&self) {
        // One per listener stays.
        let expected = self.server.as_ref().unwrap().listening().len();
        let metrics = self.runtime.metrics();
        eventually("all connection tasks end", || {
            metrics.num_alive_tasks() <= expected
        });
    }
}

/// A client command.
pub(crate) struct Ssh {
    pub(crate) command: Command,
    host: String,
}

impl Ssh {
    pub(crate) fn option(mut self, option: &str) -> Self {
        self.command.args(["-o", option]);
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds the host and what to run there.
    pub(crate) fn ready(mut self, request: &str) -> Command {
        self.command.arg(&self.host);
        if !request.is_empty() {
            self.command.arg(request);
        }
        self.command
    }

    pub(crate) fn run(self, request: &str) -> Output {
        self.ready(request).output().unwrap()
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks until it is so, for at most 15 seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sessions that follow the command line:
///
/// * `echo`: what comes in goes out; `echo after SECS`: from then on
/// * `exit N`; `streams`: both of them, and 3
/// * `who`: view, login, rights, peer address
/// * `flood BYTES`: this much output, never with more than a little backlog
/// * `lines N`: N short lines
/// * `hold`: until the client goes, or until it closes its input (then 0)
#[derive(Default)]
pub(crate) struct Scripted {
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    started: Vec<(Admitted, Request)>,
    ended: Vec<End>,
}

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit,
    Disconnected,
}

impl Scripted {
    pub(crate) fn started(&self) -> Vec<(Admitted, Request)> {
        self.record.lock().unwrap().started.clone()
    }

    pub(crate) fn ended(&self, how: End) -> usize {
        let record = self.record.lock().unwrap();
        record.ended.iter().filter(|end| **end == how).count()
    }
}

impl Sessions for Scripted {
    fn start(&self, admitted: Admitted, request: Request, pipe: Arc<Pipe>) {
        let record = Arc::clone(&self.record);
        record
            .lock()
            .unwrap()
            .started
            .push((admitted.clone(), request.clone()));
        std::thread::spawn(move || {
            let end = match script(&admitted, &request, &pipe) {
                Some(status) => {
                    pipe.exit(status);
                    End::Exit
                }
                None => End::Disconnected,
            };
            record.lock().unwrap().ended.push(end);
        });
    }
}

fn say(pipe: &Pipe, text: &str) {
    pipe.send(Sent::Stdout(Bytes::copy_from_slice(text.as_bytes())));
}

/// The exit status; `None`: the client went.
fn script(admitted: &Admitted, request: &Request, pipe: &Pipe) -> Option<u32> {
    let line = match request {
        Request::Shell => {
            say(pipe, "welcome\nthis is all\n");
            return Some(0);
        }
        Request::Subsystem(name) => {
            let text = format!("no subsystem {name}\n");
            pipe.send(Sent::Stderr(text.into()));
            return Some(1);
        }
        Request::Exec(line) => String::from_utf8(line.clone()).unwrap(),
    };
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["exit", status] => Some(status.parse().unwrap()),
        ["streams"] => {
            say(pipe, "to stdout\n");
            pipe.send(Sent::Stderr("to stderr\n".into()));
            Some(3)
        }
        ["who"] => {
            let view = match admitted.view {
                View::Push => "push",
                View::Restore => "restore",
            };
            let Rights { push, restore } = admitted.rights;
            say(
                pipe,
                &format!(
                    "{} {view} {} push={push} restore={restore} {} {}\n",
                    admitted.tenant.name(),
                    admitted.login,
                    admitted.peer.ip(),
                    admitted.fingerprint
                ),
            );
            Some(0)
        }
        ["lines", count] => {
            for n in 0..count.parse::<u32>().unwrap() {
                say(pipe, &format!("{n}\n"));
            }
            Some(0)
        }
        ["flood", bytes] => {
            let mut left: usize = bytes.parse().unwrap();
            while left > 0 {
                match pipe.wait(Some(256 * 1024), None) {
                    Event::OutputRoom => {
                        let piece = left.min(100_000);
                        pipe.send(Sent::Stdout(vec![b'x'; piece].into()));
                        left -= piece;
                    }
                    Event::Disconnected => return None,
                    Event::Input(_) | Event::InputEnd | Event::TimedOut => {}
                }
            }
            Some(0)
        }
        ["echo", ref after @ ..] => {
            if let ["after", secs] = after {
                std::thread::sleep(Duration::from_secs(secs.parse().unwrap()));
            }
            loop {
                match pipe.wait(None, None) {
                    Event::Input(data) => pipe.send(Sent::Stdout(data)),
                    Event::InputEnd => return Some(0),
                    Event::Disconnected => return None,
                    Event::OutputRoom | Event::TimedOut => {}
                }
            }
        }
        ["hold"] => loop {
            match pipe.wait(None, None) {
                Event::InputEnd => return Some(0),
                Event::Disconnected => return None,
                Event::Input(_) | Event::OutputRoom | Event::TimedOut => {}
            }
        },
        _ => {
            pipe.send(Sent::Stderr(format!("unknown: {line}\n").into()));
            Some(127)
        }
    }
}

/// A client that does what the stock one cannot be made to do.
pub(crate) mod odd {
    use super::*;
    use russh::client::{self, Handle};
    use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
    use russh::{Channel, ChannelMsg};

    pub(crate) struct AnyServer;

    impl client::Handler for AnyServer {
        type Error = russh::Error;

        async fn check_server_key(
            &mut self,
            _key: &PublicKeyOrCertificate,
        ) -> Result<bool, Self::Error> {
            Ok(true)
        }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Handle<AnyServer> {
        let config = Arc::new(client::Config::default());
        client::connect(config, address, AnyServer).await.unwrap()
    }

    pub(crate) async fn log_in(
        client: &mut Handle<AnyServer>,
        login: &str,
        key: &Key,
        hash: Option<HashAlg>,
    ) -> bool {
        let key = PrivateKeyWithHashAlg::new(key.private(), hash);
        client
            .authenticate_publickey(login, key)
            .await
            .unwrap()
            .success()
    }

    /// What a session said, and how it ended.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Said {
        pub(crate) stdout: String,
        pub(crate) stderr: String,
        pub(crate) status: Option<u32>,
        pub(crate) signal: Option<String>,
        /// The server refused the request itself.
        pub(crate) failed: bool,
    }

    pub(crate) async fn hear(channel: &mut Channel<client::Msg>) -> Said {
        let mut said = Said::default();
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    said.stdout.push_str(&String::from_utf8_lossy(&data));
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    said.stderr.push_str(&String::from_utf8_lossy(&data));
                }
                ChannelMsg::ExitStatus { exit_status } => said.status = Some(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    said.signal = Some(format!("{signal_name:?}"));
                }
                ChannelMsg::Failure => {
                    said.failed = true;
                    break;
                }
                _ => {}
            }
        }
        said
    }

    pub(crate) async fn exec(client: &Handle<AnyServer>, line: &str) -> Said {
        let mut channel = client.channel_open_session().await.unwrap();
        channel.exec(true, line).await.unwrap();
        hear(&mut channel).await
    }
}
