//! Start and stop.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::place::{Place, tenant};

#[test]
fn a_storage_that_is_not_there_is_not_made() {
    let place = Place::new(&tenant("web01", 2222));
    std::fs::remove_dir(place.storage()).unwrap();
    let output = place.run(&["serve"]);
    assert_eq!(output.status, Some(1));
    assert!(
        output
            .stderr
            .contains("does not exist; is its disk mounted?"),
        "{}",
        output.stderr
    );
    assert!(!place.storage().exists());
}

#[test]
fn a_server_starts_tells_what_it_is_and_stops_at_a_signal() {
    let place = Place::new(&tenant("web01", 0));
    let mut child = Command::new(env!("CARGO_BIN_EXE_coffre"))
        .args(["serve", "--config"])
        .arg(place.config())
        .stderr(Stdio::piped())
        .env_remove("RUST_LOG")
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.ends_with(" ready\n") {
        assert!(stderr.read_line(&mut log).unwrap() > 0, "{log}");
    }
    for fact in [
        "coffre 0.1.0 serves",
        "metadata: ",
        "landlock: ",
        "address=127.0.0.1:",
        "SHA256:",
    ] {
        assert!(log.contains(fact), "{fact} is missing in {log}");
    }
    assert!(place.dir.path().join("host_ed25519").exists());
    let status = place.run(&["status", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(facts["pid"], child.id());
    let address = facts["tenants"][0]["addresses"][0].as_str().unwrap();
    TcpStream::connect(address).unwrap();

    Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!place.storage().join(".coffre/control.sock").exists());
    TcpStream::connect(address).unwrap_err();
}

#[test]
fn a_second_server_for_the_store_is_refused() {
    let place = Place::new(&tenant("web01", 0));
    let server = place.serve();
    let output = place.run(&["serve"]);
    assert_eq!(output.status, Some(1));
    let expected = format!(
        "coffre: another coffre serves {} already (process {})\n",
        place.storage().display(),
        server.child.id()
    );
    assert!(output.stderr.ends_with(&expected), "{}", output.stderr);
    assert_eq!(
        place.run(&["status"]).status,
        Some(0),
        "the first one goes on"
    );
}
