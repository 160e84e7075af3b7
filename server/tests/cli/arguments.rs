//! What verbs make of their arguments and of the configuration, without a server.

use std::path::Path;
use std::process::Command;

use crate::place::{Place, run, tenant};

#[test]
fn a_good_configuration_is_called_good() {
    let place = Place::new(&tenant("web01", 2222));
    let output = place.run(&["check-config"]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let expected = format!("{}: good, 1 tenant\n", place.config().display());
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "");
}

#[test]
fn every_bad_configuration_is_explained_on_stderr_with_exit_78() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config/bad");
    for name in ["unknown_keys_everywhere", "syntax", "authorized_keys"] {
        let output = Command::new(env!("CARGO_BIN_EXE_coffre"))
            .args(["check-config", "--config", &format!("{name}.toml")])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert!(output.stdout.is_empty());
        let expected = std::fs::read_to_string(folder.join(format!("{name}.stderr"))).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let (problems, count) = stderr.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(format!("{problems}\n"), expected);
        assert!(count.ends_with(" errors"), "{count}");
    }
}

#[test]
fn a_configuration_with_errors_is_not_served() {
    let place = Place::new("[tenants.web01]\nport = 2222\n");
    let output = place.run(&["serve"]);
    assert_eq!(output.status, Some(78));
    assert!(output.stderr.contains("has no keys"), "{}", output.stderr);
    assert!(!place.storage().join(".coffre").exists());
}

#[test]
fn json_holds_the_problems_too() {
    let place = Place::new(&tenant("web01", 2222).replace("port = 2222", "port = \"x\""));
    let output = place.run(&["check-config", "--json"]);
    assert_eq!(output.status, Some(78));
    let facts: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(facts["ok"], false);
    assert_eq!(facts["problems"][0]["line"], 6);
    assert_eq!(facts["problems"][0]["column"], 8);
    assert_eq!(facts["problems"][0]["severity"], "error");
}

#[test]
fn a_command_line_without_sense_exits_with_2() {
    for arguments in [
        &["snapshot"][..],
        &["frobnicate"],
        &["prune", "a", "b"],
        &[],
    ] {
        assert_eq!(run(arguments).status, Some(2), "{arguments:?}");
    }
}

#[test]
fn verbs_of_later_versions_are_not_on_offer() {
    let output = run(&["--help"]);
    assert_eq!(output.status, Some(0));
    let offered: Vec<&str> = output
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "serve",
        "check-config",
        "reload",
        "status",
        "tenants",
        "snapshot",
        "snapshots",
        "prune",
        "restore",
        "find",
        "diff",
        "verify",
        "help",
    ];
    assert_eq!(offered, expected);
}

#[test]
fn without_a_daemon_the_message_says_how_to_start_one() {
    let place = Place::new(&tenant("web01", 2222));
    let storage = place.storage();
    let expected = format!(
        "coffre: no daemon is running for {} ({}/.coffre/control.sock: No such file or \
         directory); start it with `coffre serve --config {}`\n",
        storage.display(),
        storage.display(),
        place.config().display()
    );
    for arguments in [
        &["status"][..],
        &["reload"],
        &["snapshot", "web01"],
        &["prune"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status, Some(1), "{arguments:?}");
        assert_eq!(output.stderr, expected, "{arguments:?}");
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
}

#[test]
fn tenants_snapshots_and_dry_runs_need_no_daemon() {
    let place = Place::new(&tenant("web01", 2222));
    let tenants = place.run(&["tenants"]);
    assert_eq!(tenants.status, Some(0), "{}", tenants.stderr);
    assert!(
        tenants
            .stdout
            .contains("web01   2222  root   restore     1"),
        "{}",
        tenants.stdout
    );
    let snapshots = place.run(&["snapshots", "web01"]);
    assert_eq!(snapshots.status, Some(0), "{}", snapshots.stderr);
    assert_eq!(snapshots.stderr, "no snapshots yet\n");
    assert_eq!(place.run(&["prune", "--dry-run"]).status, Some(0));
}

#[test]
fn a_tenant_that_is_not_configured_is_named() {
    let place = Place::new(&tenant("web01", 2222));
    for verb in ["snapshot", "snapshots", "prune"] {
        let output = place.run(&[verb, "web02"]);
        assert_eq!(output.status, Some(1));
        assert!(
            output
                .stderr
                .starts_with("coffre: there is no tenant \"web02\" in "),
            "{}",
            output.stderr
        );
    }
}
