//! A changed configuration, while the server runs.

use std::net::TcpStream;

use crate::place::{Place, free_port, tenant};

#[test]
fn a_reload_starts_new_tenants_and_stops_removed_ones() {
    let (one, two) = (free_port(), free_port());
    let place = Place::new(&tenant("one", one));
    let _server = place.serve();
    TcpStream::connect(("127.0.0.1", one)).unwrap();

    place.configure(&tenant("two", two));
    let output = place.run(&["reload"]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "reloaded: 1 tenant, new: two, removed: one\n"
    );
    TcpStream::connect(("127.0.0.1", two)).unwrap();
    TcpStream::connect(("127.0.0.1", one)).unwrap_err();
    assert!(place.storage().join("two/live").is_dir());
    assert!(
        place.storage().join("one/live").is_dir(),
        "what was pushed stays"
    );
}

#[test]
fn a_reload_of_a_file_with_errors_changes_nothing() {
    let port = free_port();
    let place = Place::new(&tenant("one", port));
    let mut server = place.serve();
    std::fs::write(place.config(), "[server]\nstorage = 1\n").unwrap();
    assert_eq!(place.run(&["reload"]).status, Some(78));
    server.signal("HUP");
    server.wait_for("nothing was changed; the server goes on as before");
    TcpStream::connect(("127.0.0.1", port)).unwrap();

    // The command line reads the file itself; a daemon that is asked says the same.
    place.configure(&tenant("two", port).replace("port =", "max_sessions = 0\nport ="));
    assert_eq!(place.run(&["reload"]).status, Some(78));

    // A port that is taken is no fault of the file.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    place.configure(&tenant("two", address.port()));
    let output = place.run(&["reload"]);
    assert_eq!(output.status, Some(1));
    assert!(
        output.stderr.contains(&format!(
            "tenant \"two\": cannot listen on {address}: another program listens there already\n\
             nothing was changed"
        )),
        "{}",
        output.stderr
    );
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn the_storage_cannot_change_while_the_server_runs() {
    let place = Place::new(&tenant("one", 0));
    let mut server = place.serve();
    let elsewhere = place.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let text = std::fs::read_to_string(place.config()).unwrap();
    let here = place.storage().display().to_string();
    std::fs::write(
        place.config(),
        text.replace(&here, elsewhere.to_str().unwrap()),
    )
    .unwrap();
    server.signal("HUP");
    let log = server.wait_for("nothing was changed; the server goes on as before");
    let log = log.join("\n");
    assert!(log.contains("while the server runs; restart it"), "{log}");
    assert!(!elsewhere.join(".coffre").exists());
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}
