//! Who is let in, and how fast.

use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use coffre::config::{KeyRule, Rights};
use russh::Signer;
use russh::keys::HashAlg;
use russh::keys::agent::AgentIdentity;
use tracing_subscriber::fmt::MakeWriter;

use crate::bench::{Bench, Key, eventually, odd, stderr, stdout};

#[test]
fn a_key_of_the_tenant_is_let_in_and_the_session_knows_who_it_is() {
    let bench = Bench::new();
    let output = bench.ssh().run("who");
    assert_eq!(
        stdout(&output),
        format!(
            "ada push root push=true restore=true 127.0.0.1 {}\n",
            bench.key.fingerprint()
        ),
        "{}",
        stderr(&output)
    );
    let output = bench.ssh_as("restore", &bench.key).run("who");
    assert!(stdout(&output).starts_with("ada restore restore "));
}

#[test]
fn every_kind_of_key_logs_in() {
    let bench = Bench::new();
    let kinds: &[&[&str]] = &[
        &["ed25519"],
        &["ecdsa", "-b", "256"],
        &["ecdsa", "-b", "384"],
        &["ecdsa", "-b", "521"],
        &["rsa", "-b", "2048"],
    ];
    for (index, kind) in kinds.iter().enumerate() {
        let key = Key::new(bench.path(), &format!("kind{index}"), kind);
        bench.set_keys(vec![key.rule()]);
        let output = bench.ssh_as("root", &key).run("exit 0");
        assert!(output.status.success(), "{kind:?}: {}", stderr(&output));
    }
}

#[test]
fn keys_of_hardware_tokens_are_announced_to_the_client() {
    let bench = Bench::new();
    let output = bench.ssh().arg("-vv").run("exit 0");
    let log = stderr(&output);
    let line = log
        .lines()
        .find(|line| line.contains("server-sig-algs="))
        .unwrap_or_else(|| panic!("no server-sig-algs in {log}"));
    for algorithm in [
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
    ] {
        assert!(line.contains(algorithm), "{line}");
    }
    assert!(!line.contains("ssh-rsa"), "{line}");
}

fn assert_refused(bench: &Bench, login: &str, key: &Key) {
    let before = bench.sessions.started().len();
    let output = bench.ssh_as(login, key).run("exit 0");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        stderr(&output).contains("Permission denied (publickey)"),
        "{}",
        stderr(&output)
    );
    assert_eq!(bench.sessions.started().len(), before);
}

#[test]
fn an_unknown_key_a_wrong_login_and_a_missing_right_are_refused_alike() {
    let mut bench = Bench::new();
    let stranger = Key::new(bench.path(), "stranger", &["ed25519"]);
    assert_refused(&bench, "root", &stranger);
    assert_refused(&bench, "admin", &bench.key);
    bench.set_keys(vec![KeyRule {
        may: Rights {
            push: true,
            restore: false,
        },
        ..bench.key.rule()
    }]);
    assert_refused(&bench, "restore", &bench.key);
    assert!(bench.ssh().run("exit 0").status.success());
    eventually("refusals are counted", || {
        bench.server().counts().failed_logins == 3
    });
    assert_eq!(bench.server().counts().logins, 1);
}

#[test]
fn passwords_and_certificates_are_not_even_offered() {
    let bench = Bench::new();
    let stranger = Key::new(bench.path(), "stranger", &["ed25519"]);
    let output = bench.ssh_as("root", &stranger).arg("-v").run("exit 0");
    let log = stderr(&output);
    assert!(
        log.lines()
            .any(|line| line == "debug1: Authentications that can continue: publickey"),
        "{log}"
    );
    // A certificate for the tenant's own key, by a CA that nobody trusts.
    let ca = Key::new(bench.path(), "ca", &["ed25519"]);
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-I", "x", "-n", "root", "-s"])
        .arg(&ca.path)
        .arg(bench.key.path.with_extension("pub"))
        .status()
        .unwrap();
    assert!(signed.success());
    bench.set_keys(vec![stranger.rule(), ca.rule()]);
    assert_refused(&bench, "root", &bench.key);
}

#[test]
fn a_key_from_a_wrong_address_is_refused_and_the_log_says_which() {
    let log = captured_log();
    let bench = Bench::with(|_, ada| ada.name = "wrong-address".to_owned());
    bench.set_keys(vec![
        bench.key.rule_from(&["192.0.2.0/24", "2001:db8::/32"]),
    ]);
    let address = bench.address_of("wrong-address");
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        assert!(!odd::log_in(&mut client, "root", &bench.key, None).await);
    });
    let fingerprint = bench.key.fingerprint();
    eventually("the refusal is logged", || {
        log.lines().iter().any(|line| {
            line.contains("tenant=\"wrong-address\"")
                && line.contains(&fingerprint)
                && line.contains("peer=127.0.0.1:")
                && line.contains("the key may not come from this address")
        })
    });
    bench.set_keys(vec![bench.key.rule_from(&["127.0.0.0/8"])]);
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        assert!(odd::log_in(&mut client, "root", &bench.key, None).await);
    });
}

#[test]
fn what_a_peer_calls_itself_cannot_forge_a_log_line() {
    let log = captured_log();
    let bench = Bench::with(|_, ada| ada.name = "forged".to_owned());
    let address = bench.address_of("forged");
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        let login = "x\nlogged in tenant=\x1b[31m";
        assert!(!odd::log_in(&mut client, login, &bench.key, None).await);
    });
    eventually("the refusal is logged", || {
        log.lines()
            .iter()
            .any(|line| line.contains("tenant=\"forged\"") && line.contains("x\\\\#012logged in"))
    });
}

#[test]
fn rsa_with_sha1_is_refused_and_with_sha2_accepted() {
    let bench = Bench::new();
    let key = Key::new(bench.path(), "rsa", &["rsa", "-b", "2048"]);
    bench.set_keys(vec![key.rule()]);
    let output = bench
        .ssh_as("root", &key)
        .option("PubkeyAcceptedAlgorithms=ssh-rsa")
        .run("exit 0");
    assert_eq!(output.status.code(), Some(255));
    // The stock client saw that it is not announced and did not try; this one tries.
    let address = bench.address();
    bench.runtime.block_on(async {
        for (hash, accepted) in [
            (None, false),
            (Some(HashAlg::Sha256), true),
            (Some(HashAlg::Sha512), true),
        ] {
            let mut client = odd::connect(address).await;
            let success = odd::log_in(&mut client, "root", &key, hash).await;
            assert_eq!(success, accepted, "{hash:?}");
        }
    });
}

#[test]
fn a_client_without_a_common_algorithm_is_named_in_the_log() {
    let log = captured_log();
    let bench = Bench::with(|_, ada| ada.name = "outdated".to_owned());
    let mut ssh = bench.ssh_as_of("outdated", "root", &bench.key);
    ssh = ssh.option("KexAlgorithms=diffie-hellman-group14-sha1");
    assert_eq!(ssh.run("exit 0").status.code(), Some(255));
    eventually("the reason is logged", || {
        log.lines().iter().any(|line| {
            line.contains("tenant=\"outdated\"")
                && line.contains("no key exchange in common")
                && line.contains("offers diffie-hellman-group14-sha1")
                && line.contains("legacy_ssh = true lets in more")
        })
    });
}

/// OpenSSH held to what its release 6.7 offers, or less.
#[test]
fn legacy_ssh_lets_old_clients_in_and_only_then() {
    let old: &[&[&str]] = &[
        // Debian 8.
        &[
            "KexAlgorithms=curve25519-sha256@libssh.org,ecdh-sha2-nistp256,diffie-hellman-group14-sha1",
            "Ciphers=aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com",
            "MACs=hmac-sha2-256-etm@openssh.com,hmac-sha2-256,hmac-sha1",
            "PubkeyAcceptedAlgorithms=ssh-rsa",
        ],
        &[
            "KexAlgorithms=diffie-hellman-group14-sha1",
            "Ciphers=aes128-ctr",
            "MACs=hmac-sha1",
            "PubkeyAcceptedAlgorithms=ssh-rsa",
        ],
        &["KexAlgorithms=ecdh-sha2-nistp256"],
        &[
            "KexAlgorithms=ecdh-sha2-nistp521",
            "Ciphers=aes256-ctr",
            "MACs=hmac-sha1-etm@openssh.com",
        ],
        &["KexAlgorithms=diffie-hellman-group14-sha1"],
    ];
    for legacy in [false, true] {
        let bench = Bench::with(|_, ada| ada.legacy_ssh = legacy);
        let key = Key::new(bench.path(), "rsa", &["rsa", "-b", "2048"]);
        let mut ada = (*bench.tenants[0].config()).clone();
        ada.keys = vec![key.rule()];
        bench.tenants[0].set_config(Arc::new(ada));
        for options in old {
            let mut ssh = bench.ssh_as("root", &key);
            for option in *options {
                ssh = ssh.option(option);
            }
            let output = ssh.run("exit 0");
            let wanted = if legacy { Some(0) } else { Some(255) };
            assert_eq!(
                output.status.code(),
                wanted,
                "{options:?}: {}",
                stderr(&output)
            );
        }
        // Refused in any case.
        for options in [
            "KexAlgorithms=diffie-hellman-group1-sha1",
            "KexAlgorithms=diffie-hellman-group-exchange-sha1",
            "Ciphers=aes128-cbc",
            "Ciphers=3des-cbc",
        ] {
            let output = bench.ssh_as("root", &key).option(options).run("exit 0");
            assert_eq!(output.status.code(), Some(255), "{options}");
            assert!(
                stderr(&output).contains("no matching"),
                "{}",
                stderr(&output)
            );
        }
        // A client that can do better does.
        let output = bench.ssh_as("root", &key).arg("-v").run("exit 0");
        assert_eq!(output.status.code(), Some(0));
        for better in [
            "kex: algorithm: curve25519-sha256",
            "aes128-gcm@openssh.com",
        ] {
            assert!(stderr(&output).contains(better), "{}", stderr(&output));
        }
        assert!(!stderr(&output).contains("key exchange used SHA1"));
    }
}

#[test]
fn a_login_takes_no_second() {
    let bench = Bench::new();
    let stranger = Key::new(bench.path(), "stranger", &["ed25519"]);
    let fastest = (0..3)
        .map(|_| {
            let begin = Instant::now();
            // The wrong key first, as from an agent.
            let output = bench
                .ssh_as("root", &stranger)
                .option(&format!("IdentityFile={}", bench.key.path.display()))
                .run("exit 0");
            assert!(output.status.success(), "{}", stderr(&output));
            begin.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest < Duration::from_millis(800), "{fastest:?}");
}

#[test]
fn a_dozen_wrong_keys_do_not_use_up_the_patience() {
    let bench = Bench::new();
    let mut ssh = bench.ssh();
    for n in 0..12 {
        let key = Key::new(bench.path(), &format!("wrong{n}"), &["ed25519"]);
        ssh = ssh.option(&format!("IdentityFile={}", key.path.display()));
    }
    // The right key last.
    let mut command = ssh.ready("exit 0");
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let at = args.iter().position(|arg| arg == "-i").unwrap();
    let mut last = args.clone();
    last.drain(at..at + 2);
    last.insert(last.len() - 2, "-i".into());
    last.insert(last.len() - 2, args[at + 1].clone());
    command = Command::new("ssh");
    let output = command.args(last).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Asks about a key, and never signs.
struct OnlyAsks {
    accepted: usize,
}

#[derive(Debug)]
struct NoSignature;

impl From<russh::SendError> for NoSignature {
    fn from(_: russh::SendError) -> Self {
        Self
    }
}

impl Signer for OnlyAsks {
    type Error = NoSignature;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<HashAlg>,
        _to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, NoSignature> {
        self.accepted += 1;
        Err(NoSignature)
    }
}

#[test]
fn a_client_that_only_asks_about_keys_is_answered_a_few_times() {
    let bench = Bench::new();
    let address = bench.address();
    let accepted = bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        let mut signer = OnlyAsks { accepted: 0 };
        for _ in 0..100 {
            let key = bench.key.public.clone();
            let asked = client.authenticate_publickey_with("root", key, None, &mut signer);
            let _ = asked.await;
            if client.is_closed() {
                break;
            }
        }
        assert!(client.is_closed(), "the connection is closed in the end");
        signer.accepted
    });
    assert_eq!(accepted, 8);
    bench.assert_no_task_is_left();
}

#[test]
fn a_key_that_was_taken_away_opens_nothing_on_a_standing_connection() {
    let bench = Bench::new();
    let address = bench.address();
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        assert!(odd::log_in(&mut client, "root", &bench.key, None).await);
        assert_eq!(odd::exec(&client, "exit 5").await.status, Some(5));
        bench.set_keys(Vec::new());
        let said = odd::exec(&client, "exit 5").await;
        assert_eq!(said.status, Some(1));
        assert_eq!(said.stderr, "coffre: this key is no longer admitted\r\n");
        let mut other = odd::connect(address).await;
        assert!(!odd::log_in(&mut other, "root", &bench.key, None).await);
    });
    assert_eq!(bench.sessions.started().len(), 1);
}

#[test]
fn a_tenant_cannot_use_up_the_connections_of_all() {
    let bench = Bench::with(|_, ada| ada.max_sessions = 1);
    let address = bench.address();
    bench.runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..65 {
            let mut client = odd::connect(address).await;
            assert!(odd::log_in(&mut client, "root", &bench.key, None).await);
            clients.push(client);
        }
        let mut one_more = odd::connect(address).await;
        assert!(odd::log_in(&mut one_more, "root", &bench.key, None).await);
        assert!(one_more.channel_open_session().await.is_err());
        assert_eq!(odd::exec(&clients[64], "exit 4").await.status, Some(4));
    });
}

/// Everything the whole test program logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

fn captured_log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter("info,russh=off")
            .with_writer(log.clone())
            .init();
        log
    })
    .clone()
}
