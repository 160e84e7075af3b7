//! What `tenants.toml` may say, and what is said about it when it is wrong.
//!
//! `fixtures/config/good` holds files that are accepted without a warning, `fixtures/config/bad`
//! pairs of a file and the exact text about it. After a change of wording,
//! `COFFRE_BLESS=1 cargo test -p coffre --test config` writes the texts anew; read the difference.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose surroundings fail has failed"
)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre::config::{self, Config, Diagnostic};

/// An ordinary key of the fixtures.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb1B4RQ70eDNXR6BmEra1/LK5uQss+8YaV27VTN04eC";

/// Another one.
const ANOTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBc1yeKc4KOx4czZerdgCsqDEhrrChdmvh7KAn6t03oV";

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/config")
        .join(kind);
    let mut files: Vec<PathBuf> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn render(found: &[Diagnostic]) -> String {
    found.iter().map(|d| format!("{d}\n")).collect()
}

fn load_text(text: &str) -> Result<(Config, Vec<Diagnostic>), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tenants.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path).map_err(|found| render(&found))
}

#[test]
fn good_files_are_accepted_without_a_word() {
    for path in fixtures("good") {
        match config::load(&path) {
            Ok((_, warnings)) => assert_eq!(render(&warnings), "", "{}", path.display()),
            Err(found) => panic!("{}:\n{}", path.display(), render(&found)),
        }
    }
}

#[test]
fn bad_files_are_answered_with_exactly_this_text() {
    let bless = std::env::var_os("COFFRE_BLESS").is_some();
    let mut differing = Vec::new();
    for path in fixtures("bad") {
        let Err(found) = config::load(&path) else {
            panic!("{} was accepted", path.display());
        };
        // As it would be printed to someone who works in that folder.
        let folder = format!("{}/", path.parent().unwrap().display());
        let text = render(&found).replace(&folder, "");
        let expected_at = path.with_extension("stderr");
        if bless {
            std::fs::write(&expected_at, &text).unwrap();
        } else if std::fs::read_to_string(&expected_at).unwrap_or_default() != text {
            differing.push(format!("--- {}\n{text}", expected_at.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.concat());
}

#[test]
fn everything_that_is_left_out_has_a_default() {
    let (config, warnings) = load_text(&format!(
        "[server]\nstorage = \"/backup/\"\n\n[tenants.web01]\nport = 2222\n\
         keys = [{{ key = \"{KEY}\", from = \"::ffff:192.0.2.10\" }}]\n"
    ))
    .unwrap();
    assert_eq!(render(&warnings), "");

    let server = &config.server;
    assert_eq!(server.storage, Path::new("/backup"));
    let everywhere: [IpAddr; 2] = ["0.0.0.0", "::"].map(|a| a.parse().unwrap());
    assert_eq!(server.listen, everywhere);
    assert_eq!(
        server.host_keys,
        [config.path.parent().unwrap().join("host_ed25519")],
        "beside the configuration"
    );
    assert_eq!(server.metadata, config::MetadataPolicy::Auto);
    assert_eq!(server.landlock, config::LandlockPolicy::Auto);

    let tenant = &config.tenants[0];
    assert_eq!(tenant.logins, ["root"]);
    assert_eq!(tenant.restore_login.as_deref(), Some("restore"));
    assert!(tenant.snapshots.after_session);
    assert_eq!(tenant.snapshots.at_most, Some(Duration::from_secs(3600)));
    assert!(
        tenant.keep.is_none(),
        "nothing is pruned unless a rule says so"
    );
    assert_eq!(tenant.max_sessions, 4);
    assert_eq!(tenant.limits, config::SessionLimits::default());
    assert_eq!((tenant.bandwidth, server.bandwidth), (None, None));
    assert!(tenant.quota.is_none());
    assert_eq!(server.min_free, config::MinFree::Percent(1.0));
    assert_eq!(server.max_sessions, 128);
    let key = &tenant.keys[0];
    assert!(key.may.push && key.may.restore);
    assert!(key.admits("192.0.2.10".parse().unwrap()));
    assert!(key.admits("::ffff:192.0.2.10".parse().unwrap()));
    assert!(!key.admits("192.0.2.11".parse().unwrap()));
}

#[test]
fn a_tenant_overrides_the_defaults_key_by_key() {
    let (config, _) = load_text(&format!(
        "[server]\nstorage = \"/backup\"\nmax_sessions = 50\n\
         [defaults]\nquota = \"5GiB\"\nmax_sessions = 7\nlogin = \"backup\"\nsnapshots = false\n\
         [tenants.a]\nport = 1\nkeys = [{{ key = \"{KEY}\" }}]\nmax_sessions = 2\n\
         [tenants.b]\nport = 2\nkeys = [{{ key = \"{KEY}\" }}]\nsnapshots = {{ at = \"10:30\" }}\n"
    ))
    .unwrap();
    let [a, b] = &config.tenants[..] else {
        panic!("two tenants")
    };
    assert_eq!((a.max_sessions, b.max_sessions), (2, 7));
    assert_eq!(config.server.max_sessions, 50);
    assert_eq!(a.quota.size, Some(5 << 30));
    assert_eq!(a.logins, ["backup"]);
    assert_eq!(b.logins, ["backup"]);
    assert!(a.snapshots.at.is_empty() && !a.snapshots.after_session);
    assert_eq!(b.snapshots.at.len(), 1);
    assert!(
        !b.snapshots.after_session,
        "a table replaces the whole default"
    );
}

#[test]
fn a_key_without_from_is_accepted_with_a_warning() {
    let (config, warnings) = load_text(&format!(
        "[server]\nstorage = \"/backup\"\n\
         [tenants.a]\nport = 1\nkeys = [{{ key = \"{KEY}\" }}]\n"
    ))
    .unwrap();
    assert!(config.tenants[0].keys[0].admits("203.0.113.99".parse().unwrap()));
    let [warning] = &warnings[..] else {
        panic!("{}", render(&warnings))
    };
    assert!(warning.is_warning());
    assert!(
        warning.summary().ends_with(
            ":5:17: this key may come from any address; name its networks with \"from\""
        ),
        "{}",
        warning.summary()
    );
}

#[test]
fn a_file_that_is_not_there_is_named_without_a_place() {
    let found = config::load(Path::new("/nonexistent/tenants.toml")).unwrap_err();
    assert_eq!(
        render(&found),
        "/nonexistent/tenants.toml: cannot read: No such file or directory\n"
    );
}

/// Every block of TOML that a document shows, with the line it starts on.
fn snippets(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in document.lines().enumerate() {
        match &mut block {
            None if line == "```toml" => block = Some((number + 1, String::new())),
            None => {}
            Some(_) if line == "```" => found.extend(block.take()),
            Some((_, text)) => text.extend([line, "\n"]),
        }
    }
    found
}

#[test]
fn what_the_documents_show_can_be_used_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path();
    std::fs::create_dir(etc.join("keys")).unwrap();
    // The files that snippets name; of a host key only the presence is checked.
    for (name, content) in [
        ("host_ed25519", String::new()),
        ("web01_host_key", String::new()),
        ("db01_host_key", String::new()),
        ("keys/web01", format!("from=\"192.0.2.10\" {ANOTHER_KEY}\n")),
        ("keys/db01", format!("from=\"192.0.2.20\" {ANOTHER_KEY}\n")),
    ] {
        std::fs::write(etc.join(name), content).unwrap();
    }
    let mut seen = 0;
    for name in ["docs/config.md", "README.md"] {
        let Ok(document) = std::fs::read_to_string(root.join(name)) else {
            assert_eq!(name, "README.md", "docs/config.md is part of the project");
            continue;
        };
        for (line, text) in snippets(&document) {
            let path = etc.join("tenants.toml");
            let here = format!("{}/", etc.display());
            std::fs::write(&path, text.replace("/etc/coffre/", &here)).unwrap();
            if let Err(found) = config::load(&path) {
                panic!("{name}:{line}:\n{}", render(&found));
            }
            seen += 1;
        }
    }
    assert!(seen >= 2, "docs/config.md shows files");
}

#[test]
fn every_key_has_a_paragraph_in_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("docs/config.md")).unwrap();
    let everything =
        std::fs::read_to_string(root.join("fixtures/config/good/everything.toml")).unwrap();
    for line in everything.lines() {
        let Some((key, _)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim();
        if line.starts_with([' ', '#']) {
            continue;
        }
        let heading = format!("\n### {key}\n");
        assert!(document.contains(&heading), "\"{key}\" has no paragraph");
    }
}
