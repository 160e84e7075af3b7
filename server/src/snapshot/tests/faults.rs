//! What goes wrong, and what is not ours.

use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;

use super::*;

#[test]
fn only_marked_directories_of_our_form_are_ours() {
    let tenant = Tenant::new();
    tenant.write("file", "x");
    let ours = tenant.take(NOON).name;
    let snapshots = tenant.home.join("snapshots");
    for name in [
        "kept by hand",
        "2026-11-20T120000Z.keep",
        ".building-mine",
        "latest",
    ] {
        fs::create_dir(snapshots.join(name)).unwrap();
    }
    fs::create_dir(snapshots.join("2026-01-01T000000Z")).unwrap();
    std::os::unix::fs::symlink("2026-11-20T120000Z", snapshots.join("2026-01-02T000000Z")).unwrap();
    fs::write(snapshots.join("2026-01-03T000000Z"), "").unwrap();

    let listed = list(&tenant.home).unwrap();
    let names: Vec<String> = listed.iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["2026-01-01T000000Z", "2026-11-20T120000Z"]);
    assert!(!listed[0].is_ours());
    assert!(listed[1].is_ours());

    let refused = remove(&tenant.home, listed[0].name, None, &()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "2026-01-01T000000Z is not a snapshot that coffre made for this tenant: it has no \
         user.coffre.snapshot attribute"
    );
    sweep(&tenant.home, None, &()).unwrap();
    remove(&tenant.home, ours, None, &()).unwrap();
    assert_eq!(
        tenant.stages(),
        [
            ".building-mine",
            "2026-01-01T000000Z",
            "2026-01-02T000000Z",
            "2026-01-03T000000Z",
            "2026-11-20T120000Z.keep",
            "kept by hand",
            "latest",
        ]
    );
}

#[test]
fn a_snapshot_that_was_renamed_or_moved_to_another_tenant_is_not_ours() {
    let tenant = Tenant::new();
    let name = tenant.take(NOON).name;
    let renamed: SnapshotName = "2027-01-01T000000Z".parse().unwrap();
    fs::rename(tenant.path_of(name), tenant.path_of(renamed)).unwrap();
    let origin = |home: &Path| list(home).unwrap()[0].origin.clone();
    let foreign = |why: &str| Origin::Foreign(why.to_owned());
    let other_name = "its mark is of another time or state than its name";
    assert_eq!(origin(&tenant.home), foreign(other_name));
    let incomplete: SnapshotName = "2026-11-20T120000Z.incomplete".parse().unwrap();
    fs::rename(tenant.path_of(renamed), tenant.path_of(incomplete)).unwrap();
    assert_eq!(origin(&tenant.home), foreign(other_name));
    fs::rename(tenant.path_of(incomplete), tenant.path_of(name)).unwrap();
    assert_eq!(origin(&tenant.home), Origin::Ours);

    let other = tenant.home.with_file_name("web02");
    fs::rename(&tenant.home, &other).unwrap();
    assert_eq!(origin(&other), foreign("its mark is of another tenant"));
    let directory = fs::File::open(other.join("snapshots/2026-11-20T120000Z")).unwrap();
    let newer = b"version=2\n";
    rustix::fs::fsetxattr(&directory, marker::XATTR, newer, XattrFlags::empty()).unwrap();
    let unknown = "its mark is of version \"2\", which this coffre does not know";
    assert_eq!(origin(&other), foreign(unknown));
}

#[test]
fn a_mark_in_live_does_not_make_a_wrong_one_in_a_snapshot() {
    let tenant = Tenant::new();
    let live = fs::File::open(tenant.live()).unwrap();
    rustix::fs::fsetxattr(&live, marker::XATTR, b"nonsense", XattrFlags::empty()).unwrap();
    tenant.take(NOON);
    assert!(list(&tenant.home).unwrap()[0].is_ours());
}

/// Asks to stop after so many questions.
struct StopAfter(std::sync::atomic::AtomicI64);

impl Progress for StopAfter {
    fn advance(&self, _files: u64, _directories: u64) {}

    fn cancelled(&self) -> bool {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0
    }
}

fn many_files(tenant: &Tenant) {
    for directory in 0..20 {
        for file in 0..30 {
            tenant.write(&format!("{directory}/{file}"), "x");
        }
    }
}

#[test]
fn a_cancelled_snapshot_leaves_nothing_under_its_name_and_the_next_one_works() {
    let tenant = Tenant::new();
    many_files(&tenant);
    let before = look(&tenant.live());
    for questions in 0..20 {
        let progress = StopAfter(questions.into());
        let error = take(&tenant.home, at(NOON), State::Complete, &progress).unwrap_err();
        assert!(matches!(error, SnapshotError::Cancelled), "{error}");
        assert_eq!(list(&tenant.home).unwrap(), []);
    }
    assert_eq!(look(&tenant.live()), before);
    let taken = tenant.take(NOON);
    assert_eq!(look(&tenant.path_of(taken.name)), before);
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    assert_eq!(tenant.stages(), ["2026-11-20T120000Z"]);
}

#[test]
fn a_removal_stops_at_its_deadline_or_when_cancelled_and_a_sweep_goes_on_with_it() {
    let tenant = Tenant::new();
    many_files(&tenant);
    let before = look(&tenant.live());
    let name = tenant.take(NOON).name;
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let removed = remove(&tenant.home, name, Some(past), &()).unwrap();
    assert_eq!(removed, Removed::default());
    assert_eq!(list(&tenant.home).unwrap(), []);
    assert_eq!(tenant.stages(), [".removing-2026-11-20T120000Z"]);

    let part = sweep_removals(&tenant.home, None, &StopAfter(8.into())).unwrap();
    assert!(!part.finished && part.gone.is_empty());
    assert!(part.files > 0 && part.files < 600, "{part:?}");
    let rest = sweep(&tenant.home, None, &()).unwrap();
    assert!(rest.finished);
    assert_eq!(rest.gone, [".removing-2026-11-20T120000Z"]);
    assert_eq!(part.files + rest.files, 600);
    assert_eq!(tenant.stages(), [""; 0]);
    assert_eq!(look(&tenant.live()), before);
}

#[test]
fn a_name_can_be_removed_again_while_its_first_removal_is_unfinished() {
    let tenant = Tenant::new();
    tenant.write("file", "x");
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    for _ in 0..3 {
        let name = tenant.take(NOON).name;
        assert!(
            !remove(&tenant.home, name, Some(past), &())
                .unwrap()
                .finished
        );
    }
    assert_eq!(
        tenant.stages(),
        [
            ".removing-2026-11-20T120000Z",
            ".removing-2026-11-20T120000Z.1",
            ".removing-2026-11-20T120000Z.2",
        ]
    );
    assert_eq!(sweep(&tenant.home, None, &()).unwrap().gone.len(), 3);
    assert_eq!(tenant.stages(), [""; 0]);
}

#[test]
fn a_tree_that_somebody_is_removing_is_left_to_them() {
    let tenant = Tenant::new();
    many_files(&tenant);
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    for round in 0..9 {
        let name = tenant.take(&format!("2026-11-2{round}T12:00:00Z")).name;
        remove(&tenant.home, name, Some(past), &()).unwrap();
        let sweeps = std::thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(|| sweep_removals(&tenant.home, None, &())));
            threads.map(|thread| thread.join().unwrap().unwrap())
        });
        let files: u64 = sweeps.iter().map(|swept| swept.files).sum();
        assert_eq!(files, 600, "{sweeps:?}");
        assert!(sweeps.iter().any(|swept| swept.finished), "{sweeps:?}");
        assert_eq!(tenant.stages(), [""; 0]);
    }
}

#[test]
fn only_one_builder_is_at_work_at_a_time() {
    let tenant = Tenant::new();
    let home = home::Home::open_or_create(&tenant.home).unwrap();
    assert!(home.try_lock().unwrap());
    let building = tenant.home.join("snapshots/.building-2026-11-19T120000Z");
    fs::create_dir(&building).unwrap();

    let error = take(&tenant.home, at(NOON), State::Complete, &()).unwrap_err();
    assert!(matches!(error, SnapshotError::Busy), "{error}");
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    assert!(
        building.exists(),
        "a sweep took the tree from under a builder"
    );

    drop(home);
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    assert!(!building.exists());
}

#[test]
fn what_is_not_there_is_missing() {
    let tenant = Tenant::new();
    tenant.take(NOON);
    let name: SnapshotName = "2027-01-01T000000Z".parse().unwrap();
    let error = remove(&tenant.home, name, None, &()).unwrap_err();
    assert_eq!(error.to_string(), "there is no snapshot 2027-01-01T000000Z");
    let error = measure(&tenant.home, &[name], &()).unwrap_err();
    assert!(matches!(error, SnapshotError::Missing(missing) if missing == name));
}

#[test]
fn a_store_without_room_fails_the_snapshot_and_keeps_the_others() {
    let Some(mounted) = Mounted::new("ext4", 4, &["-N", "400"]) else {
        return;
    };
    let tenant = Tenant::within(&mounted.path);
    for i in 0..100 {
        tenant.write(&format!("{i}/file"), "x");
    }
    let first = tenant.take(NOON);
    let before = look(&tenant.path_of(first.name));
    let mut error = None;
    for day in 1..9 {
        let when = at(&format!("2026-12-0{day}T12:00:00Z"));
        if let Err(failed) = take(&tenant.home, when, State::Complete, &()) {
            error = Some(failed);
            break;
        }
    }
    let error = error.expect("400 inodes are not enough for 9 snapshots of 100 directories");
    assert!(error.is_out_of_space(), "{error}");
    assert!(
        tenant.stages().iter().all(|name| !name.starts_with('.')),
        "{:?}",
        tenant.stages()
    );
    assert_eq!(look(&tenant.path_of(first.name)), before);
    assert_eq!(look(&tenant.live()), before);
}
