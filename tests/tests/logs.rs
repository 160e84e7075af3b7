//! What the log says of clients that are refused, and that they cannot write into it.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use coffre_client_compat::sandbox::Lines;
use coffre_tests::{Bed, said};

/// The log, of which every byte can be printed, and the lines that hold `text`.
fn lines_with(bed: &Bed, text: &str) -> Vec<String> {
    let log = fs::read(bed.coffre.log_file()).unwrap();
    let odd = log
        .iter()
        .find(|byte| byte.is_ascii_control() && **byte != b'\n');
    assert_eq!(odd, None, "{}", String::from_utf8_lossy(&log));
    let log = String::from_utf8(log).unwrap();
    let found = log.lines().filter(|line| line.contains(text));
    found.map(str::to_owned).collect()
}

/// Every refusal says whose port it was, who came from where, and why.
fn is_complete(line: &str) {
    for part in ["compat", "127.0.0.1:", "SHA256:"] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
}

#[test]
fn refusals_are_logged_with_tenant_address_key_and_reason() {
    let lines = Lines {
        tenant: "quota = { files = 100 }\n".to_owned(),
        ..Lines::default()
    };
    let Some(bed) = Bed::configured(&lines).unwrap() else {
        return;
    };
    // A key that is not listed.
    let stranger = bed.rsync("stranger", bed.coffre.port(), "-a src/ server:/x/");
    assert_ne!(stranger.unwrap().run().unwrap().exit, 0);
    let refused = lines_with(&bed, "login refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    is_complete(&refused[0]);
    assert!(
        refused[0].contains("the tenant has no such key"),
        "{}",
        refused[0]
    );

    // Commands, with what would colour a terminal and begin a line of their own.
    let forged = "rm -rf \u{1b}[31m\n2026-01-01T00:00:00Z  INFO forged";
    bed.ssh("client", forged, Vec::new()).unwrap();
    let refused = lines_with(&bed, "refused a command");
    assert_eq!(refused.len(), 1, "{refused:?}");
    is_complete(&refused[0]);
    assert!(refused[0].contains("rm -rf"), "{}", refused[0]);
    assert!(!lines_with(&bed, "forged")[0].starts_with("2026-01-01"));

    let outcome = bed
        .push("-a --log-file=x -M--log-file=/etc/passwd src/ server:/x/")
        .unwrap();
    assert_ne!(outcome.exit, 0, "{}", said(&outcome));
    for line in lines_with(&bed, "refused an rsync") {
        is_complete(&line);
    }

    // Names of files, in the words for a full disk.
    while bed
        .coffre
        .command(&["status", "--json"])
        .unwrap()
        .contains("\"used_files\":null")
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    let source = bed.source().unwrap();
    for number in 0..200 {
        let name = format!("{number}\u{1b}[31m\n2026-01-01T00:00:00Z  INFO forged");
        source.file(name, b"x").unwrap();
    }
    let outcome = bed.push("-a src/ server:/mnt/compat/dst/").unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    // The client hears of it before the session has ended.
    while lines_with(&bed, "exit=11").is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = lines_with(&bed, "Disk quota exceeded");
    assert_eq!(ended.len(), 1, "{ended:?}");
    is_complete(&ended[0]);
}

/// Sockets that the server has open.
fn sockets(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn strangers_get_a_limited_number_of_lines() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let before = lines_with(&bed, "").len();
    let sockets_before = sockets(bed.coffre.pid());
    for number in 0..300 {
        let mut stranger = TcpStream::connect(("127.0.0.1", bed.coffre.port())).unwrap();
        let _ = write!(stranger, "SSH-2.0-\u{1b}[31m{number}\r\nnoise\n");
        drop(stranger);
    }
    // Who comes while too many of this address are about to log in is turned away.
    let patience = Instant::now() + Duration::from_secs(30);
    while sockets(bed.coffre.pid()) > sockets_before {
        assert!(Instant::now() < patience, "strangers are still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    bed.source().unwrap().file("f", b"x").unwrap();
    let outcome = bed.push("-a src/ server:/mnt/compat/dst/").unwrap();
    assert_eq!(outcome.exit, 0, "{}", said(&outcome));
    let after = lines_with(&bed, "").len();
    assert!(after - before < 60, "{} lines", after - before);
}
