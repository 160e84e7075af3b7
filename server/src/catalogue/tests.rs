use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::snapshot::{self, SnapshotName, State};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOON: &str = "2026-11-20T12:00:00Z";
const LATER: &str = "2026-11-20T12:05:00.25Z";

fn session(id: &str, tenant: &str, started: &str) -> SessionRecord {
    SessionRecord {
        id: id.into(),
        tenant: tenant.into(),
        fingerprint: "SHA256:abc".into(),
        address: "192.0.2.10".into(),
        login: "root".into(),
        view: "push".into(),
        command: "rsync --server -a . /".into(),
        started: at(started),
        ended: Some(at(LATER)),
        exit: Some(0),
        files: 10,
        transferred: 3,
        created: 2,
        deleted: 1,
        bytes_in: 1 << 40,
        bytes_out: 77,
        literal: 5,
        matched: 6,
        total_size: u64::MAX >> 1,
        error: None,
    }
}

fn record(tenant: &str, name: &str) -> SnapshotRecord {
    SnapshotRecord {
        tenant: tenant.into(),
        name: name.parse().unwrap(),
        files: Some(3),
        directories: Some(1),
        bytes: None,
        duration: Some(Duration::from_millis(1500)),
        reason: Some(Reason::AfterSession),
    }
}

#[test]
fn what_is_recorded_is_there_after_a_restart() {
    let storage = TempDir::new().unwrap();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let mode = fs::metadata(storage.path().join(".coffre"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    let broken = SessionRecord {
        ended: None,
        exit: Some(-1),
        error: Some("it \"broke\"".into()),
        ..session("b", "web01", "2026-11-20T12:00:01Z")
    };
    catalogue
        .record_session(&session("a", "web01", NOON))
        .unwrap();
    catalogue.record_session(&broken).unwrap();
    catalogue
        .record_session(&session("c", "web02", "2026-11-19T00:00:00Z"))
        .unwrap();
    catalogue
        .record_snapshot(&record("web01", "2026-11-20T120000Z"))
        .unwrap();
    catalogue
        .record_snapshot(&record("web01", "2026-11-19T120000Z.incomplete"))
        .unwrap();
    catalogue.set_schedule_mark("web01", at(NOON)).unwrap();
    drop(catalogue);

    let catalogue = Catalogue::open(storage.path()).unwrap();
    let of_tenant = catalogue.sessions(Some("web01"), 10).unwrap();
    assert_eq!(of_tenant, [broken.clone(), session("a", "web01", NOON)]);
    assert_eq!(catalogue.sessions(None, 2).unwrap().len(), 2);
    assert_eq!(catalogue.sessions(None, 2).unwrap()[0], broken);
    let snapshots = catalogue.snapshots("web01").unwrap();
    assert_eq!(
        snapshots,
        [
            record("web01", "2026-11-19T120000Z.incomplete"),
            record("web01", "2026-11-20T120000Z")
        ]
    );
    assert_eq!(
        catalogue.last_snapshot("web01").unwrap(),
        Some(snapshots[1].clone())
    );
    assert_eq!(catalogue.last_snapshot("web02").unwrap(), None);
    assert_eq!(
        catalogue.tenant_state("web01").unwrap().schedule_mark,
        Some(at(NOON))
    );
    assert_eq!(
        catalogue.tenant_state("nobody").unwrap(),
        TenantState::default()
    );

    let name = snapshots[1].name;
    catalogue.record_snapshot_bytes("web01", name, 42).unwrap();
    assert_eq!(
        catalogue.last_snapshot("web01").unwrap().unwrap().bytes,
        Some(42)
    );
    catalogue.forget_snapshot("web01", name).unwrap();
    assert_eq!(catalogue.snapshots("web01").unwrap().len(), 1);
    assert_eq!(catalogue.forget_sessions_before(at(NOON)).unwrap(), 1);
    assert_eq!(catalogue.sessions(None, 10).unwrap().len(), 2);
}

#[test]
fn a_session_recorded_again_replaces_its_beginning() {
    let storage = TempDir::new().unwrap();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let begun = SessionRecord {
        ended: None,
        exit: None,
        ..session("a", "web01", NOON)
    };
    catalogue.record_session(&begun).unwrap();
    assert_eq!(catalogue.sessions(None, 10).unwrap(), [begun]);
    catalogue
        .record_session(&session("a", "web01", NOON))
        .unwrap();
    assert_eq!(
        catalogue.sessions(None, 10).unwrap(),
        [session("a", "web01", NOON)]
    );
}

#[test]
fn a_push_that_breaks_off_makes_dirty_until_a_later_one_ends_well() {
    let storage = TempDir::new().unwrap();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let dirty = || catalogue.is_dirty("web01").unwrap();
    let start = |id| catalogue.mark_push_started("web01", id, at(NOON)).unwrap();
    let end = |id, ok| {
        catalogue
            .mark_push_ended("web01", id, at(LATER), ok)
            .unwrap();
    };

    assert!(!dirty());
    start("1");
    assert!(dirty(), "a push under way");
    end("1", true);
    assert!(!dirty());
    assert_eq!(catalogue.last_good_push("web01").unwrap(), Some(at(LATER)));
    start("2");
    end("2", false);
    assert!(dirty());
    let state = catalogue.tenant_state("web01").unwrap();
    assert_eq!(state.last_push_ok, Some(false));
    assert_eq!(state.last_push_started, Some(at(NOON)));

    // Two at a time: one that ran while the other broke off does not mend that.
    start("3");
    start("4");
    end("3", false);
    end("4", true);
    assert!(dirty());
    start("5");
    end("5", true);
    assert!(!dirty());
    assert!(!catalogue.is_dirty("web02").unwrap());
}

#[test]
fn a_push_left_open_by_a_dead_daemon_broke_off() {
    let storage = TempDir::new().unwrap();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    catalogue.mark_push_started("web01", "1", at(NOON)).unwrap();
    catalogue
        .mark_push_ended("web01", "1", at(LATER), true)
        .unwrap();
    catalogue.mark_push_started("web01", "2", at(NOON)).unwrap();
    drop(catalogue);

    let catalogue = Catalogue::open(storage.path()).unwrap();
    let state = catalogue.tenant_state("web01").unwrap();
    assert!(state.dirty);
    assert_eq!(state.last_push_ok, Some(false));
    assert_eq!(state.last_good_push, Some(at(LATER)));
    catalogue.mark_push_started("web01", "3", at(NOON)).unwrap();
    catalogue
        .mark_push_ended("web01", "3", at(LATER), true)
        .unwrap();
    assert!(!catalogue.is_dirty("web01").unwrap());
}

/// Tells the test that it is the process to be killed, and where.
const STORAGE: &str = "COFFRE_TEST_CATALOGUE_STORAGE";

/// What the process that is killed does.
fn start_a_push_and_wait(storage: &Path) -> ! {
    let catalogue = Catalogue::open(storage).unwrap();
    catalogue.mark_push_started("web01", "1", at(NOON)).unwrap();
    fs::write(storage.join("touched"), "").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_push_killed_with_its_daemon_makes_dirty() {
    if let Some(storage) = std::env::var_os(STORAGE) {
        start_a_push_and_wait(Path::new(&storage));
    }
    let storage = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "catalogue::tests::a_push_killed_with_its_daemon_makes_dirty",
        ])
        .env(STORAGE, storage.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let touched = storage.path().join("touched");
    for _ in 0..3000 {
        if touched.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(touched.exists(), "the child did not get to its push");
    assert!(
        Catalogue::open(storage.path())
            .unwrap()
            .is_dirty("web01")
            .unwrap()
    );
}

/// A store with a tenant, one snapshot of ours and one that is not.
fn store() -> (TempDir, SnapshotName) {
    let storage = TempDir::new().unwrap();
    let home = storage.path().join("web01");
    fs::create_dir_all(home.join("live")).unwrap();
    let taken = snapshot::take(&home, at(NOON), State::Complete, &()).unwrap();
    fs::create_dir(home.join("snapshots/2026-01-01T000000Z")).unwrap();
    fs::create_dir(storage.path().join("lost+found")).unwrap();
    (storage, taken.name)
}

#[test]
fn a_damaged_catalogue_is_moved_aside_and_made_again_from_the_store() {
    let damages: [fn(&Path); 3] = [
        |path| {
            fs::write(
                path,
                "this is no database, and long enough not to be taken for one",
            )
            .unwrap();
        },
        |path| {
            // A page of the schema.
            let mut bytes = fs::read(path).unwrap();
            bytes[100..4096].fill(0x5a);
            fs::write(path, bytes).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let half = bytes.len() / 2;
            bytes[half..].fill(0xff);
            fs::write(path, bytes).unwrap();
        },
    ];
    for damage in damages {
        let (storage, name) = store();
        let catalogue = Catalogue::open(storage.path()).unwrap();
        for i in 0..200 {
            catalogue
                .record_session(&session(&i.to_string(), "web01", NOON))
                .unwrap();
        }
        drop(catalogue);
        damage(&Catalogue::path_in(storage.path()));

        let catalogue = Catalogue::open(storage.path()).unwrap();
        let names: Vec<String> = fs::read_dir(storage.path().join(".coffre"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let aside = |name: &&String| name.starts_with("catalogue.sqlite.damaged-");
        assert!(names.iter().any(|name| aside(&name)), "{names:?}");
        let snapshots = catalogue.snapshots("web01").unwrap();
        assert_eq!(snapshots.iter().map(|s| s.name).collect::<Vec<_>>(), [name]);
        assert_eq!(snapshots[0].files, None);
        assert!(catalogue.is_dirty("web01").unwrap());
        assert_eq!(catalogue.sessions(None, 10).unwrap(), []);
        drop(catalogue);
        // It is well from now on.
        let catalogue = Catalogue::open(storage.path()).unwrap();
        assert_eq!(catalogue.snapshots("web01").unwrap().len(), 1);
    }
}

#[test]
fn a_missing_catalogue_of_a_store_with_tenants_is_made_again() {
    let (storage, name) = store();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    assert_eq!(
        catalogue.last_snapshot("web01").unwrap().unwrap().name,
        name
    );
    assert!(catalogue.is_dirty("web01").unwrap());
    assert_eq!(tenants_in(storage.path()).unwrap(), ["web01"]);
}

#[test]
fn a_rebuild_keeps_what_is_known_of_snapshots_that_are_there() {
    let (storage, name) = store();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let known = record("web01", &name.to_string());
    catalogue.record_snapshot(&known).unwrap();
    catalogue
        .record_snapshot(&record("web01", "2020-01-01T000000Z"))
        .unwrap();
    let rebuilt = catalogue
        .rebuild(storage.path(), &["web01".into(), "gone".into()])
        .unwrap();
    assert_eq!((rebuilt.tenants, rebuilt.snapshots), (2, 1));
    assert_eq!(catalogue.snapshots("web01").unwrap(), [known]);
}

#[test]
fn a_catalogue_of_a_newer_coffre_is_left_alone() {
    let storage = TempDir::new().unwrap();
    drop(Catalogue::open(storage.path()).unwrap());
    let path = Catalogue::path_in(storage.path());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    for opened in [
        Catalogue::open(storage.path()).map(Some),
        Catalogue::open_to_read(storage.path()),
    ] {
        let error = opened.unwrap_err();
        assert!(
            matches!(error, CatalogueError::Newer { found: 99, .. }),
            "{error}"
        );
    }
    assert!(path.exists());
}

#[test]
fn a_reader_sees_what_the_daemon_writes_and_cannot_write() {
    let storage = TempDir::new().unwrap();
    assert!(Catalogue::open_to_read(storage.path()).unwrap().is_none());
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let reader = Catalogue::open_to_read(storage.path()).unwrap().unwrap();
    catalogue
        .record_session(&session("a", "web01", NOON))
        .unwrap();
    assert_eq!(reader.sessions(None, 10).unwrap().len(), 1);
    assert!(reader.record_session(&session("b", "web01", NOON)).is_err());
    // A second writer waits for the first one.
    let second = Catalogue::open(storage.path()).unwrap();
    std::thread::scope(|scope| {
        for (writer, prefix) in [(&catalogue, "x"), (&second, "y")] {
            scope.spawn(move || {
                for i in 0..50 {
                    writer
                        .record_session(&session(&format!("{prefix}{i}"), "web01", NOON))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(reader.sessions(None, 1000).unwrap().len(), 101);
}

#[test]
fn names_of_owners_are_kept_and_the_last_one_counts() {
    use coffre_protocol::flist::{IdKind, IdNames};
    let storage = TempDir::new().unwrap();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let mut names = IdNames::new();
    names.insert(IdKind::User, 33, b"www-data");
    names.insert(IdKind::Group, 33, b"w\xffw");
    catalogue.remember_owner_names("web01", &names).unwrap();
    let mut later = IdNames::new();
    later.insert(IdKind::User, 33, b"http");
    later.insert(IdKind::User, u32::MAX, b"last");
    catalogue.remember_owner_names("web01", &later).unwrap();
    drop(catalogue);
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let known = catalogue.owner_names("web01").unwrap();
    assert_eq!(known.user(33), Some(&b"http"[..]));
    assert_eq!(known.user(u32::MAX), Some(&b"last"[..]));
    assert_eq!(known.group(33), Some(&b"w\xffw"[..]));
    assert_eq!(catalogue.owner_names("db01").unwrap(), IdNames::new());
}

#[test]
fn names_of_owners_have_a_limit() {
    use coffre_protocol::flist::{IdKind, IdNames};
    let storage = TempDir::new().unwrap();
    let catalogue = Catalogue::open(storage.path()).unwrap();
    let mut names = IdNames::new();
    for id in 0..70_000 {
        names.insert(IdKind::User, id, b"made-up");
    }
    catalogue.remember_owner_names("web01", &names).unwrap();
    let known = catalogue.owner_names("web01").unwrap();
    assert_eq!(known.iter(IdKind::User).count(), 1 << 16);
}
