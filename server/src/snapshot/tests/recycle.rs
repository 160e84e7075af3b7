//! An old snapshot made into a new one is what a new one would be.

use std::os::unix::fs::symlink;

use proptest::prelude::*;
use rustix::fs::{FlockOperation, XattrFlags};

use super::*;

const NEXT: &str = "2026-11-21T12:00:00Z";
const THIRD: &str = "2026-11-22T12:00:00Z";

fn replace(path: &Path) {
    let new = path.with_file_name("being replaced");
    fs::write(&new, "new").unwrap();
    fs::rename(new, path).unwrap();
}

/// Everything but the marks.
fn whole(tenant: &Tenant, name: SnapshotName) -> BTreeMap<PathBuf, Seen> {
    look(&tenant.path_of(name))
}

#[test]
fn what_differs_is_changed_and_the_rest_is_not_touched() {
    let tenant = Tenant::new();
    for path in [
        "a/1",
        "a/2",
        "b/1",
        "b/sub/1",
        "c/1",
        "gone/1",
        "gone/sub/2",
        "turns",
        "d/t/1",
    ] {
        tenant.write(path, "old");
    }
    symlink("a/1", tenant.live().join("link")).unwrap();
    let first = tenant.take(NOON);
    let between = tenant.take("2026-11-20T18:00:00Z");
    let kept = whole(&tenant, between.name);

    let live = tenant.live();
    replace(&live.join("a/1"));
    fs::rename(live.join("b/1"), live.join("b/2")).unwrap();
    tenant.write("b/new/deep/er", "new");
    fs::remove_dir_all(live.join("gone")).unwrap();
    fs::remove_file(live.join("turns")).unwrap();
    tenant.write("turns/into a directory", "new");
    fs::remove_dir_all(live.join("d/t")).unwrap();
    tenant.write("d/t", "a file now");
    fs::remove_file(live.join("link")).unwrap();
    symlink("a/2", live.join("link")).unwrap();
    fs::set_permissions(live.join("c"), fs::Permissions::from_mode(0o711)).unwrap();

    let inode = |name, path: &str| fs::metadata(tenant.path_of(name).join(path)).unwrap().ino();
    let directory = inode(first.name, "b/sub");
    let changed = |name, path: &str| {
        let meta = fs::metadata(tenant.path_of(name).join(path)).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let untouched = changed(first.name, "b/sub");

    let taken = tenant.recycle(NEXT, first.name);
    assert_eq!(
        (taken.recycled, &taken.not_recycled),
        (Some(first.name), &None)
    );
    assert_eq!(whole(&tenant, taken.name), look(&live));
    assert_eq!(whole(&tenant, between.name), kept);
    assert_eq!(inode(taken.name, "b/sub"), directory, "it is the old tree");
    assert_eq!(changed(taken.name, "b/sub"), untouched);
    let fresh = tenant.take(THIRD);
    assert_eq!(
        (taken.files, taken.directories),
        (fresh.files, fresh.directories)
    );
    let names: Vec<_> = list(&tenant.home).unwrap();
    assert!(names.iter().all(Snapshot::is_ours), "{names:?}");
    let names: Vec<_> = names.iter().map(|s| s.name).collect();
    assert_eq!(names, [between.name, taken.name, fresh.name]);
    // What was a directory waits to be removed.
    assert!(
        tenant
            .stages()
            .contains(&format!(".removing-{}", first.name))
    );
    assert!(sweep_removals(&tenant.home, None, &()).unwrap().finished);
    assert_eq!(tenant.stages().len(), 3);
}

#[test]
fn an_equal_tree_costs_no_write() {
    let tenant = Tenant::new();
    for i in 0..300 {
        tenant.write(&format!("{}/{}/{i}", i % 7, i % 3), "x");
    }
    let value = b"user attributes too";
    let attributed = fs::File::open(tenant.live().join("1")).unwrap();
    rustix::fs::fsetxattr(&attributed, c"user.x", value, XattrFlags::empty()).unwrap();
    let paths: Vec<PathBuf> = look(&tenant.live()).into_keys().collect();
    let first = tenant.take(NOON);
    let times = |name| {
        let mut times = Vec::new();
        // To list them there would change their access times.
        for path in &paths {
            let meta = fs::symlink_metadata(tenant.path_of(name).join(path)).unwrap();
            // The root has a new mark.
            if meta.is_dir() && !path.as_os_str().is_empty() {
                times.push((path.clone(), meta.ino(), meta.ctime(), meta.ctime_nsec()));
            }
        }
        times
    };
    let before = times(first.name);
    let taken = tenant.recycle(NEXT, first.name);
    assert_eq!(times(taken.name), before);
    assert_eq!((taken.files, taken.directories), (300, 28));
    assert_eq!(tenant.stages(), [taken.name.to_string()]);
}

#[test]
fn a_snapshot_that_is_read_stays_as_it_is() {
    let tenant = Tenant::new();
    tenant.write("file", "old");
    let first = tenant.take(NOON);
    replace(&tenant.live().join("file"));
    let held = hold(&tenant.home, first.name).unwrap();
    let taken = tenant.recycle(NEXT, first.name);
    assert_eq!(taken.recycled, None);
    assert_eq!(taken.not_recycled.as_deref(), Some("it is being read"));
    assert_eq!(whole(&tenant, taken.name), look(&tenant.live()));
    let old = fs::read(tenant.path_of(first.name).join("file")).unwrap();
    assert_eq!(old, b"old");
    // It can lose its name, and the reader goes on.
    let removed = remove(&tenant.home, first.name, None, &()).unwrap();
    assert!(!removed.finished);
    rustix::fs::statat(held.root(), "file", rustix::fs::AtFlags::empty()).unwrap();
    drop(held);
    assert!(sweep_removals(&tenant.home, None, &()).unwrap().finished);
    let gone = hold(&tenant.home, first.name).unwrap_err();
    assert!(matches!(gone, SnapshotError::Missing(_)), "{gone}");
}

#[test]
fn what_is_being_recycled_cannot_be_held() {
    let tenant = Tenant::new();
    let first = tenant.take(NOON);
    let root = fs::File::open(tenant.path_of(first.name)).unwrap();
    rustix::fs::flock(&root, FlockOperation::LockExclusive).unwrap();
    let refused = hold(&tenant.home, first.name).unwrap_err();
    assert!(matches!(refused, SnapshotError::Missing(_)), "{refused}");
    drop(root);
    // Opened under the old name, locked after it has become another one.
    let taken = tenant.recycle(NEXT, first.name);
    let old = tenant.path_of(first.name);
    fs::rename(tenant.path_of(taken.name), old).unwrap();
    let refused = hold(&tenant.home, first.name).unwrap_err();
    assert!(matches!(refused, SnapshotError::Missing(_)), "{refused}");
}

#[test]
fn what_is_not_ours_is_not_recycled() {
    let tenant = Tenant::new();
    tenant.write("file", "x");
    let theirs = tenant.home.join("snapshots/2026-11-01T120000Z");
    fs::create_dir_all(theirs.join("precious")).unwrap();
    let name: SnapshotName = "2026-11-01T120000Z".parse().unwrap();
    let taken = tenant.recycle(NEXT, name);
    assert_eq!(taken.recycled, None);
    let why = taken.not_recycled.unwrap();
    assert_eq!(why, "it has no user.coffre.snapshot attribute");
    assert!(theirs.join("precious").is_dir());

    let missing: SnapshotName = "2026-11-02T120000Z".parse().unwrap();
    let taken = tenant.recycle(THIRD, missing);
    assert_eq!(taken.not_recycled.as_deref(), Some("it is gone"));
    assert_eq!(whole(&tenant, taken.name), look(&tenant.live()));
}

#[test]
fn where_something_is_mounted_snapshots_are_made_anew() {
    if !is_root() {
        return skip("mounting takes root");
    }
    let tenant = Tenant::new();
    tenant.write("a/file", "x");
    let first = tenant.take(NOON);
    let here = tenant.live().join("a b");
    fs::create_dir(&here).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&here)
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        return skip("cannot mount a tmpfs");
    }
    let taken = tenant.recycle(NEXT, first.name);
    Command::new("umount").arg(&here).status().unwrap();
    assert_eq!(taken.recycled, None);
    let why = taken.not_recycled.unwrap();
    assert!(why.ends_with("/web01/live/a b is a mount point"), "{why}");
    assert_eq!(taken.borders, [Border::Directory("live/a b".to_owned())]);
    assert!(tenant.path_of(first.name).is_dir());
}

#[test]
fn an_old_tree_that_resists_is_given_up_for_a_new_one() {
    if !is_root() {
        return skip("making a file immutable takes root");
    }
    let tenant = Tenant::new();
    tenant.write("a/file", "x");
    tenant.write("b/file", "x");
    let first = tenant.take(NOON);
    fs::remove_file(tenant.live().join("a/file")).unwrap();
    let old = tenant.path_of(first.name).join("a");
    let attr = |flag| Command::new("chattr").arg(flag).arg(&old).status();
    if !attr("+i").is_ok_and(|status| status.success()) {
        return skip("no chattr");
    }
    let taken = tenant.recycle(NEXT, first.name);
    assert_eq!(whole(&tenant, taken.name), look(&tenant.live()));
    assert_eq!(taken.recycled, Some(first.name));
    let why = taken.not_recycled.unwrap();
    assert_eq!(
        why,
        "cannot remove live/a/file: Operation not permitted (os error 1)"
    );
    let aside = tenant
        .home
        .join(format!("snapshots/.removing-{}/a", taken.name));
    Command::new("chattr")
        .arg("-i")
        .arg(&aside)
        .status()
        .unwrap();
    assert!(sweep_removals(&tenant.home, None, &()).unwrap().finished);
    assert_eq!(tenant.stages(), [taken.name.to_string()]);
}

#[test]
fn a_cancelled_one_is_no_snapshot_any_more() {
    let tenant = Tenant::new();
    tenant.write("a/file", "x");
    let first = tenant.take(NOON);
    let second = tenant.take(NEXT);
    let progress = Counter::default();
    progress.cancel();
    let old = Some(first.name);
    let cancelled = take_recycling(&tenant.home, at(THIRD), State::Complete, old, &progress);
    assert!(
        matches!(cancelled, Err(SnapshotError::Cancelled)),
        "{cancelled:?}"
    );
    let left: Vec<_> = list(&tenant.home).unwrap().iter().map(|s| s.name).collect();
    assert_eq!(left, [second.name]);
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    assert_eq!(tenant.stages(), [second.name.to_string()]);
}

/// A change of live, at places that come up again and again.
#[derive(Debug, Clone)]
enum Change {
    Write(u8),
    Remove(u8),
    Move(u8, u8),
    Link(u8, u8),
    Symlink(u8),
    Directory(u8),
    Mode(u8, u32),
    Attribute(u8, u8),
    Touch(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0..27_u8;
    prop_oneof![
        6 => place.clone().prop_map(Change::Write),
        3 => place.clone().prop_map(Change::Remove),
        3 => (place.clone(), place.clone()).prop_map(|(a, b)| Change::Move(a, b)),
        2 => (place.clone(), place.clone()).prop_map(|(a, b)| Change::Link(a, b)),
        1 => place.clone().prop_map(Change::Symlink),
        2 => place.clone().prop_map(Change::Directory),
        1 => (place.clone(), 0..8_u32).prop_map(|(a, m)| Change::Mode(a, 0o700 | (m * 0o11))),
        1 => (place.clone(), 0..3_u8).prop_map(|(a, v)| Change::Attribute(a, v)),
        1 => place.prop_map(Change::Touch),
    ]
}

/// Three names on each of three levels; a change that cannot be done is none.
fn apply(live: &Path, change: &Change) {
    let path = |place: &u8| {
        let [a, b, c] = [place / 9, place / 3 % 3, place % 3].map(|n| ["a", "b", "c"][n as usize]);
        // Short paths, too, so that directories and files meet under one name.
        match place % 2 {
            0 => live.join(a).join(b).join(c),
            _ => live.join(a).join(b),
        }
    };
    let beside = |path: &Path| {
        let _ = fs::create_dir_all(path.parent().unwrap());
    };
    let clear = |path: &Path| {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
    };
    // Files are shared with snapshots, and changed by replacing them only.
    if let Change::Mode(at, _) | Change::Attribute(at, _) | Change::Touch(at) = change
        && !path(at).parent().unwrap().is_dir()
    {
        return;
    }
    match change {
        Change::Write(at) => {
            beside(&path(at));
            clear(&path(at));
            let _ = fs::write(path(at), "content");
        }
        Change::Remove(at) => clear(&path(at)),
        Change::Move(from, to) => {
            beside(&path(to));
            let _ = fs::rename(path(from), path(to));
        }
        Change::Link(from, to) => {
            beside(&path(to));
            let _ = fs::hard_link(path(from), path(to));
        }
        Change::Symlink(at) => {
            beside(&path(at));
            let _ = symlink("somewhere", path(at));
        }
        Change::Directory(at) => {
            let _ = fs::create_dir_all(path(at));
        }
        Change::Mode(at, mode) => {
            let directory = path(at).parent().unwrap().to_owned();
            let _ = fs::set_permissions(directory, fs::Permissions::from_mode(*mode));
        }
        Change::Attribute(at, value) => {
            let directory = path(at).parent().unwrap().to_owned();
            let name = c"user.test";
            let _ = match value {
                0 => rustix::fs::removexattr(directory, name),
                n => rustix::fs::setxattr(directory, name, &[*n], XattrFlags::empty()),
            };
        }
        Change::Touch(at) => {
            let directory = path(at).parent().unwrap().to_owned();
            if let Ok(directory) = fs::File::open(directory) {
                let time = std::time::SystemTime::UNIX_EPOCH;
                let _ =
                    directory.set_modified(time + std::time::Duration::from_nanos(1_234_567_890));
            }
        }
    }
}

/// Takes snapshots between changes, always recycling the oldest of three.
fn check_recycling(tenant: &Tenant, rounds: &[Vec<Change>]) -> Result<(), TestCaseError> {
    let live = tenant.live();
    let mut known: Vec<(SnapshotName, BTreeMap<PathBuf, Seen>)> = Vec::new();
    for (number, changes) in rounds.iter().enumerate() {
        for change in changes {
            apply(&live, change);
        }
        let now = look(&live);
        let when = Timestamp::from_second(1_800_000_000 + number as i64).unwrap();
        let old = (known.len() >= 3).then(|| known.remove(0).0);
        let taken = take_recycling(&tenant.home, when, State::Complete, old, &()).unwrap();
        prop_assert_eq!((taken.recycled, taken.not_recycled), (old, None));
        prop_assert_eq!(&look(&live), &now);
        known.push((taken.name, now));
        for (name, seen) in &known {
            prop_assert_eq!(&whole(tenant, *name), seen, "{}", name);
        }
        let files = whole(tenant, taken.name)
            .values()
            .filter(|seen| seen.inode != 0)
            .count();
        prop_assert_eq!(taken.files, files as u64);
    }
    let there: Vec<_> = list(&tenant.home).unwrap().iter().map(|s| s.name).collect();
    let expected: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    prop_assert_eq!(there, expected);
    prop_assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    prop_assert_eq!(tenant.stages().len(), known.len());
    Ok(())
}

fn rounds() -> impl Strategy<Value = Vec<Vec<Change>>> {
    prop::collection::vec(prop::collection::vec(change(), 0..12), 4..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_recycled_snapshot_is_what_a_new_one_would_be(rounds in rounds()) {
        check_recycling(&Tenant::new(), &rounds)?;
    }
}

/// The same on file systems that list directories in another order, or share nothing else.
fn on(kind: &str) {
    let Some(mounted) = Mounted::new(kind, 512, &[]) else {
        return;
    };
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(12)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let number = std::cell::Cell::new(0);
    let checked = runner.run(&rounds(), |rounds| {
        number.set(number.get() + 1);
        let storage = mounted.path.join(number.get().to_string());
        check_recycling(&Tenant::within(&storage), &rounds)
    });
    checked.unwrap();
}

#[test]
fn recycling_holds_on_ext4() {
    on("ext4");
}

#[test]
fn recycling_holds_on_xfs() {
    on("xfs");
}

#[test]
fn recycling_holds_on_btrfs() {
    on("btrfs");
}
