//! Which ciphers a client is offered, and that the first exchange waits for nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bench::{Bench, stderr};

const GCM: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com";
const FULL: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,\
                    aes256-ctr,aes192-ctr,aes128-ctr";

/// What the stock client says it uses.
fn negotiated(bench: &Bench, option: Option<&str>) -> String {
    let mut ssh = bench.ssh().arg("-v");
    if let Some(option) = option {
        ssh = ssh.option(option);
    }
    let output = ssh.run("exit 0");
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    let line = log
        .lines()
        .find(|line| line.contains("kex: client->server cipher: "))
        .unwrap();
    let name = line.split("cipher: ").nth(1).unwrap();
    name.split(' ').next().unwrap().to_owned()
}

#[test]
fn openssh_gets_aes_gcm_unless_it_has_none() {
    let bench = Bench::new();
    assert_eq!(negotiated(&bench, None), "aes128-gcm@openssh.com");
    for only in ["chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-ctr"] {
        assert_eq!(negotiated(&bench, Some(&format!("Ciphers={only}"))), only);
    }
    for mac in [
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha2-512-etm@openssh.com",
    ] {
        negotiated(&bench, Some(&format!("MACs={mac}")));
        let output = bench
            .ssh()
            .option("Ciphers=aes192-ctr")
            .option(&format!("MACs={mac}"))
            .run("exit 0");
        assert!(output.status.success(), "{mac}: {}", stderr(&output));
    }
}

#[test]
fn the_configuration_has_the_last_word() {
    let bench = Bench::with(|config, _| {
        config.server.ciphers = Some(vec!["aes256-ctr".to_owned()]);
    });
    assert_eq!(negotiated(&bench, None), "aes256-ctr");
}

#[test]
fn each_key_exchange_that_is_offered_works() {
    let bench = Bench::new();
    for kex in [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha256",
    ] {
        let output = bench
            .ssh()
            .option(&format!("KexAlgorithms={kex}"))
            .run("exit 0");
        assert!(output.status.success(), "{kex}: {}", stderr(&output));
    }
    let output = bench
        .ssh()
        .option("KexAlgorithms=diffie-hellman-group14-sha1")
        .run("exit 0");
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn compression_is_not_offered() {
    let bench = Bench::new();
    let output = bench.ssh().arg("-C").arg("-v").run("exit 0");
    assert!(output.status.success());
    assert!(stderr(&output).contains("compression: none"));
}

fn read_line(socket: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// The name-lists of the server's `SSH_MSG_KEXINIT`.
fn read_lists(socket: &mut TcpStream) -> Vec<String> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut packet).unwrap();
    assert_eq!(packet[1], 20);
    let mut rest = &packet[18..];
    let mut lists = Vec::new();
    for _ in 0..8 {
        let (length, after) = rest.split_first_chunk::<4>().unwrap();
        let (list, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        lists.push(String::from_utf8(list.to_vec()).unwrap());
        rest = after;
    }
    lists
}

#[test]
fn a_client_that_waits_for_the_servers_line_and_list_gets_both_and_the_full_list() {
    let bench = Bench::new();
    let mut socket = bench.socket();
    assert!(read_line(&mut socket).starts_with("SSH-2.0-coffre_"));
    socket.write_all(b"SSH-2.0-Waiting_1.0\r\n").unwrap();
    let begin = Instant::now();
    let lists = read_lists(&mut socket);
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(
        lists[0],
        "mlkem768x25519-sha256,curve25519-sha256,curve25519-sha256@libssh.org,\
         diffie-hellman-group16-sha512,diffie-hellman-group14-sha256,ext-info-s,\
         kex-strict-s-v00@openssh.com"
    );
    assert_eq!(lists[1], "ssh-ed25519");
    assert_eq!(lists[2], FULL);
    assert_eq!(lists[3], FULL);
    assert_eq!(lists[6], "none");
}

#[test]
fn one_that_says_openssh_and_waits_is_served_after_a_while() {
    let bench = Bench::new();
    let mut socket = bench.socket();
    socket.write_all(b"SSH-2.0-OpenSSH_1.0\r\n").unwrap();
    read_line(&mut socket);
    assert_eq!(read_lists(&mut socket)[2], FULL);
}

#[test]
fn a_list_with_aes_gcm_is_answered_with_aes_gcm_alone_even_in_single_bytes() {
    let bench = Bench::new();
    let mut payload = vec![20];
    payload.extend([9; 16]);
    for list in [
        "curve25519-sha256",
        "ssh-ed25519",
        FULL,
        FULL,
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ] {
        payload.extend((list.len() as u32).to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    let padding = 16 - (payload.len() + 5) % 8;
    let mut sent = b"SSH-2.0-OpenSSH_9.2\r\n".to_vec();
    sent.extend(((payload.len() + padding + 1) as u32).to_be_bytes());
    sent.push(padding as u8);
    sent.extend(payload);
    sent.extend(vec![0; padding]);
    let mut socket = bench.socket();
    for byte in sent {
        socket.write_all(&[byte]).unwrap();
    }
    read_line(&mut socket);
    assert_eq!(read_lists(&mut socket)[2], GCM);
}
