//! Peers that have not authenticated and do not mean to.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bench::{Bench, eventually, stderr};

/// Reads until the server closes; resets count.
fn read_to_close(socket: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    match socket.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
    received
}

fn strict(grace: Duration) -> Bench {
    Bench::with(|config, _| config.server.login_grace = grace)
}

#[test]
fn who_does_not_log_in_is_closed_when_the_grace_time_ends() {
    let grace = Duration::from_secs(1);
    let bench = strict(grace);
    let silent = |begin: &[u8]| {
        let mut socket = bench.socket();
        socket.write_all(begin).unwrap();
        let begin = Instant::now();
        read_to_close(&mut socket);
        begin.elapsed()
    };
    for begin in [
        &b""[..],
        b"SSH-2.0-x",
        b"SSH-2.0-x\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14",
    ] {
        let took = silent(begin);
        assert!(took >= grace - Duration::from_millis(100), "{took:?}");
        assert!(took < grace * 5, "{took:?}");
    }

    // One that trickles.
    let mut socket = bench.socket();
    let begin = Instant::now();
    socket.write_all(b"SSH-2.0-x\r\n\0\0\xff\x00").unwrap();
    while socket.write_all(b"\0").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
        assert!(begin.elapsed() < grace * 5);
    }
    bench.assert_no_task_is_left();
}

#[test]
fn a_session_outlives_the_grace_time() {
    let bench = strict(Duration::from_secs(2));
    let output = bench.ssh().run("echo after 4");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn an_address_has_its_share_of_unauthenticated_connections() {
    let mut bench = Bench::with(|config, _| {
        config.server.max_unauthenticated_per_address = 3;
    });
    let is_served = |socket: &mut TcpStream| {
        let mut byte = [0];
        matches!(socket.read(&mut byte), Ok(1))
    };
    let mut held: Vec<_> = (0..3).map(|_| bench.socket()).collect();
    assert!(held.iter_mut().all(is_served));
    assert!(!is_served(&mut bench.socket()));
    assert_eq!(bench.server().counts().turned_away, 1);
    held.pop();
    eventually("the freed place is given away", || {
        is_served(&mut bench.socket())
    });
    drop(held);
    // Whoever has logged in does not count.
    let mut clients: Vec<_> = (0..5)
        .map(|n| {
            let client = bench
                .ssh()
                .ready("hold")
                .stdin(std::process::Stdio::piped())
                .spawn();
            eventually("it is in", || bench.sessions.started().len() == n + 1);
            client.unwrap()
        })
        .collect();
    for client in &mut clients {
        drop(client.stdin.take());
        assert!(client.wait().unwrap().success());
    }
}

#[test]
fn the_total_of_unauthenticated_connections_is_bounded() {
    let mut bench = Bench::with(|config, _| config.server.max_unauthenticated = 2);
    let held: Vec<_> = (0..6).map(|_| bench.socket()).collect();
    eventually("four are turned away", || {
        bench.server().counts().turned_away == 4
    });
    drop(held);
    eventually("the door is free", || {
        bench.ssh().run("exit 0").status.success()
    });
}

/// What a stock client sends during a login, as the server sees it.
fn recorded(bench: &Bench) -> Vec<u8> {
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = relay.local_addr().unwrap().port();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let target = bench.address();
    let copied = Arc::clone(&bytes);
    std::thread::spawn(move || {
        let (mut client, _) = relay.accept().unwrap();
        let mut server = TcpStream::connect(target).unwrap();
        let (mut back_from, mut back_to) =
            (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = client.read(&mut piece) {
            copied.lock().unwrap().extend_from_slice(&piece[..n]);
            server.write_all(&piece[..n]).unwrap();
        }
        let _ = server.shutdown(Shutdown::Write);
    });
    let output = bench
        .ssh()
        .option(&format!("Port={port}"))
        .option("HostKeyAlias=relay")
        .arg("-p")
        .arg(&port.to_string())
        .ready("exit 0");
    // The first -p wins, so it is replaced.
    let mut args: Vec<_> = output.get_args().map(ToOwned::to_owned).collect();
    let at = args.iter().position(|arg| arg == "-p").unwrap();
    args.drain(at..at + 2);
    let output = std::process::Command::new("ssh")
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let bytes = bytes.lock().unwrap().clone();
    assert!(bytes.len() > 1500);
    bytes
}

/// Where what is recorded goes on under the keys of its own connection: behind the NEWKEYS.
fn end_of_plain_text(bytes: &[u8]) -> usize {
    const NEWKEYS: u8 = 21;
    let line = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
    let mut at = line + 2;
    loop {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let kind = bytes[at + 5];
        at += 4 + length as usize;
        if kind == NEWKEYS {
            return at;
        }
    }
}

#[test]
fn a_handshake_that_breaks_off_anywhere_leaves_nothing_behind() {
    let bench = strict(Duration::from_secs(3));
    let bytes = recorded(&bench);
    let plain = end_of_plain_text(&bytes);
    assert!(plain + 200 < bytes.len(), "cuts on both sides of {plain}");
    // The line and the list byte by byte in part, what follows in steps.
    let cuts = (0..64).chain((64..bytes.len()).step_by(41));
    for (index, cut) in cuts.enumerate() {
        let mut socket = bench.socket();
        socket.write_all(&bytes[..cut]).unwrap();
        match index % 3 {
            0 => drop(socket),
            1 => {
                match socket.shutdown(Shutdown::Write) {
                    // The server closes when it sees other keys, and may be the quicker one.
                    Err(error) if error.kind() == ErrorKind::NotConnected && cut > plain => {}
                    done => done.unwrap(),
                }
                read_to_close(&mut socket);
            }
            // Its answers are never read, and it is reset.
            _ => {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                drop(socket);
            }
        }
    }
    bench.assert_no_task_is_left();
    assert!(bench.ssh().run("exit 0").status.success());
}

#[test]
fn garbage_at_any_place_leaves_nothing_behind() {
    let bench = strict(Duration::from_secs(3));
    let bytes = recorded(&bench);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..150 {
        let mut broken = bytes.clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % broken.len();
            broken[at] = random() as u8;
        }
        let mut socket = bench.socket();
        // The server may close before it has everything.
        let _ = socket.write_all(&broken);
        let _ = socket.shutdown(Shutdown::Write);
        read_to_close(&mut socket);
    }
    bench.assert_no_task_is_left();
    assert!(bench.ssh().run("exit 0").status.success());
}

#[test]
fn other_protocols_are_closed_at_once() {
    let bench = Bench::new();
    for first in [
        &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"SSH-1.5-1.2.27\r\n",
        &[b'A'; 10_000],
    ] {
        let mut socket = bench.socket();
        let begin = Instant::now();
        let _ = socket.write_all(first);
        read_to_close(&mut socket);
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    bench.assert_no_task_is_left();
}
