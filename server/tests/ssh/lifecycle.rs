//! Start, reload and shutdown, and the host keys.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coffre::ssh::Server;
use coffre::tenant::TenantHandle;

use crate::bench::{Bench, End, Key, eventually, odd, stderr, stdout, tenant};

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The fingerprint that a client sees on a port.
fn scanned(bench: &Bench, port: u16) -> String {
    let scan = Command::new("ssh-keyscan")
        .args(["-p", &port.to_string(), "127.0.0.1"])
        .output()
        .unwrap();
    let file = bench.path().join("scanned");
    std::fs::write(&file, &scan.stdout).unwrap();
    let shown = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(&file)
        .output()
        .unwrap();
    stdout(&shown)
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_host_key_is_made_once_private_and_is_the_one_clients_see() {
    let mut bench = Bench::new();
    let path = bench.path().join("host_ed25519");
    assert_eq!(mode(&path), 0o600);
    let facts = bench.server().host_keys().to_vec();
    assert_eq!(facts.len(), 1);
    assert!(facts[0].created);
    assert_eq!(facts[0].algorithm, "ssh-ed25519");
    assert_eq!(
        scanned(&bench, bench.address().port()),
        facts[0].fingerprint
    );

    let before = std::fs::read(&path).unwrap();
    let (config, tenants) = (bench.config.clone(), bench.tenants.clone());
    let runtime = bench.runtime.handle().clone();
    let _inside = runtime.enter();
    bench.server().reload(&config, &tenants).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(!bench.server().host_keys()[0].created);
    assert_eq!(
        bench.server().host_keys()[0].fingerprint,
        facts[0].fingerprint
    );
}

#[test]
fn a_tenant_may_have_host_keys_of_its_own() {
    let mut paths = Vec::new();
    let bench = Bench::with(|config, ada| {
        let directory = config.path.parent().unwrap();
        let own = Key::new(directory, "own", &["ecdsa", "-b", "384"]);
        paths.push(own.path.clone());
        ada.host_keys = vec![own.path];
    });
    let public = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(&paths[0])
        .output()
        .unwrap();
    let expected = stdout(&public).split(' ').nth(1).unwrap().to_owned();
    assert_eq!(scanned(&bench, bench.address().port()), expected);
    assert!(bench.ssh().run("exit 0").status.success());
}

#[test]
fn a_problem_at_start_names_the_tenant_the_address_and_the_reason() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = bench.config.clone();
    let mut ada = (*config.tenants[0]).clone();
    ada.port = address.port();
    config.tenants = vec![Arc::new(ada)];
    config.server.ciphers = Some(vec!["rot13".to_owned()]);
    let exposed = bench.path().join("host_ed25519");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _inside = bench.runtime.enter();
    let problems = Server::start(&config, &bench.tenants, bench.sessions.clone())
        .err()
        .unwrap()
        .to_string();
    let exposed = exposed.display();
    assert_eq!(
        problems.lines().collect::<Vec<_>>(),
        [
            "unknown cipher \"rot13\" in server.ciphers; known are aes128-gcm@openssh.com, \
             aes256-gcm@openssh.com, chacha20-poly1305@openssh.com, aes256-ctr, aes192-ctr, \
             aes128-ctr",
            &format!(
                "host key `{exposed}` can be read or changed by others (mode 0644); \
                 run `chmod 600 {exposed}`"
            ),
            &format!(
                "tenant \"ada\": cannot listen on {address}: another program listens there already"
            ),
        ]
    );
}

#[test]
fn a_reload_adds_and_removes_tenants_and_lets_sessions_end_in_peace() {
    let mut bench = Bench::new();
    let _inside = bench.runtime.handle().clone();
    let _inside = _inside.enter();
    let old_address = bench.address();
    let mut client = bench
        .ssh()
        .ready("hold")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("its session runs", || bench.sessions.started().len() == 1);

    let mut standing = bench.runtime.block_on(odd::connect(old_address));
    let log_in = odd::log_in(&mut standing, "root", &bench.key, None);
    assert!(bench.runtime.block_on(log_in));
    let held = bench.runtime.block_on(async {
        let channel = standing.channel_open_session().await.unwrap();
        channel.exec(true, "hold").await.unwrap();
        channel
    });
    eventually("both run", || bench.sessions.started().len() == 2);

    // Bob comes, Ada goes.
    let bob = Arc::new(tenant("bob", vec![bench.key.rule()]));
    let mut config = bench.config.clone();
    config.tenants = vec![Arc::clone(&bob)];
    let handle = Arc::new(TenantHandle::new(&config.server.storage, bob));
    bench
        .server()
        .reload(&config, &[Arc::clone(&handle)])
        .unwrap();
    let bob_address = bench.address_of("bob");
    assert_eq!(bench.server().listening().len(), 1);
    eventually("nobody listens on the old port", || {
        std::net::TcpStream::connect(old_address).is_err()
    });
    let key = bench.key.private();
    let said = bench.runtime.block_on(async {
        let mut client = odd::connect(bob_address).await;
        let key = russh::keys::PrivateKeyWithHashAlg::new(key, None);
        client.authenticate_publickey("root", key).await.unwrap();
        odd::exec(&client, "who").await
    });
    assert!(said.stdout.starts_with("bob push root"), "{said:?}");

    // Ada's connections start nothing new.
    let said = bench.runtime.block_on(odd::exec(&standing, "exit 0"));
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("no longer serves"), "{said:?}");
    bench.runtime.block_on(held.eof()).unwrap();
    eventually("the connection is closed after its last session", || {
        standing.is_closed()
    });

    // Ada's session still runs, and ends as it wants to.
    assert!(client.try_wait().unwrap().is_none());
    drop(client.stdin.take());
    assert_eq!(client.wait().unwrap().code(), Some(0));

    // And back: a new port, the same tenant.
    let config = bench.config.clone();
    let both: Vec<_> = bench.tenants.iter().cloned().chain([handle]).collect();
    bench.server().reload(&config, &both).unwrap();
    assert!(bench.ssh().run("exit 0").status.success());
    bench.assert_no_task_is_left();
}

#[test]
fn a_reload_with_a_problem_changes_nothing() {
    let mut bench = Bench::new();
    let runtime = bench.runtime.handle().clone();
    let _inside = runtime.enter();
    let before = bench.server().listening();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bob = tenant("bob", vec![bench.key.rule()]);
    bob.port = taken.local_addr().unwrap().port();
    let mut config = bench.config.clone();
    config.tenants.push(Arc::new(bob.clone()));
    let mut tenants = bench.tenants.clone();
    tenants.push(Arc::new(TenantHandle::new(
        &config.server.storage,
        Arc::new(bob),
    )));
    let problems = bench.server().reload(&config, &tenants).unwrap_err();
    assert!(
        problems.to_string().contains("tenant \"bob\""),
        "{problems}"
    );
    assert_eq!(bench.server().listening(), before);
    assert!(bench.ssh().run("exit 0").status.success());
}

#[test]
fn two_tenants_may_swap_their_ports() {
    let mut bench = Bench::new();
    let runtime = bench.runtime.handle().clone();
    let _inside = runtime.enter();
    // Two ports that are free now.
    let ports: Vec<u16> = [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
        .iter()
        .map(|socket| socket.local_addr().unwrap().port())
        .collect();
    let mut config = bench.config.clone();
    let with_ports = |ada: u16, bob: u16| {
        [("ada", ada), ("bob", bob)].map(|(name, port)| {
            let mut tenant = tenant(name, vec![bench.key.rule()]);
            tenant.port = port;
            Arc::new(tenant)
        })
    };
    let first = with_ports(ports[0], ports[1]);
    let second = with_ports(ports[1], ports[0]);
    let handles: Vec<_> = first
        .iter()
        .map(|tenant| {
            Arc::new(TenantHandle::new(
                &config.server.storage,
                Arc::clone(tenant),
            ))
        })
        .collect();
    config.tenants = first.to_vec();
    bench.server().reload(&config, &handles).unwrap();
    assert_eq!(bench.address().port(), ports[0]);
    config.tenants = second.to_vec();
    bench.server().reload(&config, &handles).unwrap();
    assert_eq!(bench.address().port(), ports[1]);
    assert!(stdout(&bench.ssh().run("who")).starts_with("ada "));

    let mut same = second.to_vec();
    same[0] = Arc::clone(&first[0]);
    config.tenants = same;
    let problems = bench
        .server()
        .reload(&config, &handles)
        .unwrap_err()
        .to_string();
    assert_eq!(
        problems,
        format!(
            "tenants \"ada\" and \"bob\" both ask for 127.0.0.1:{}",
            ports[0]
        )
    );
}

#[test]
fn shutdown_lets_a_session_end_and_keeps_others_out() {
    let mut bench = Bench::new();
    let address = bench.address();
    let mut client = bench
        .ssh()
        .ready("hold")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("its session runs", || bench.sessions.started().len() == 1);
    let server = bench.server.take().unwrap();
    let ending = bench
        .runtime
        .spawn(server.shutdown(Duration::from_secs(30)));
    eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err()
    });
    assert!(client.try_wait().unwrap().is_none());
    drop(client.stdin.take());
    assert_eq!(client.wait().unwrap().code(), Some(0));
    assert!(bench.runtime.block_on(ending).unwrap(), "in peace");
    assert_eq!(bench.sessions.ended(End::Exit), 1);
}

#[test]
fn shutdown_closes_what_does_not_end() {
    let mut bench = Bench::new();
    let mut client = bench
        .ssh()
        .ready("hold")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("its session runs", || bench.sessions.started().len() == 1);
    // And one that has not logged in.
    let _idle = bench.socket();
    let server = bench.server.take().unwrap();
    let begin = Instant::now();
    assert!(
        !bench
            .runtime
            .block_on(server.shutdown(Duration::from_secs(1)))
    );
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(client.wait().unwrap().code(), Some(255));
    eventually("its session learns", || {
        bench.sessions.ended(End::Disconnected) == 1
    });
    let metrics = bench.runtime.metrics();
    eventually("no task is left", || metrics.num_alive_tasks() == 0);
}

#[test]
fn shutdown_ends_a_connection_whose_session_does_not_read() {
    let mut bench = Bench::new();
    // The callback waits for room in the session's queue.
    let mut client = bench
        .ssh()
        .ready("echo after 8")
        .stdin(std::fs::File::open("/dev/zero").unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("its session runs", || bench.sessions.started().len() == 1);
    std::thread::sleep(Duration::from_millis(500));
    let server = bench.server.take().unwrap();
    let begin = Instant::now();
    assert!(
        !bench
            .runtime
            .block_on(server.shutdown(Duration::from_millis(100)))
    );
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    client.wait().unwrap();
    let metrics = bench.runtime.metrics();
    eventually("no task is left", || metrics.num_alive_tasks() == 0);
}

#[test]
fn both_families_are_listened_on_with_the_same_port() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut bench = Bench::with(|config, ada| {
        config.server.listen = vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()];
        ada.port = free.port();
    });
    let listening = bench.server().listening();
    assert!(listening.iter().all(|l| l.address.port() == free.port()));
    assert!(!listening.is_empty());
    let v6 = listening.iter().any(|l| l.address.is_ipv6());
    for host in ["127.0.0.1", "::1"] {
        if host == "::1" && !v6 {
            continue;
        }
        let output = bench.ssh().option(&format!("HostName={host}")).run("who");
        assert!(
            stdout(&output).contains(host),
            "{host}: {}",
            stderr(&output)
        );
    }
}
