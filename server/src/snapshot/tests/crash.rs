//! A process killed at any moment: nothing half-built ever stands under a final name.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::*;

/// Tells a test that it is the process to be killed, and what to work on.
const HOME: &str = "COFFRE_TEST_CRASH_HOME";

/// The time of the first snapshot that the child takes.
const FIRST: &str = "COFFRE_TEST_CRASH_FIRST";

/// Where to work until killed, and from which time on. `None`: this is the process that kills.
fn as_child() -> Option<(PathBuf, Timestamp)> {
    let home = std::env::var_os(HOME)?;
    Some((home.into(), at(&std::env::var(FIRST).unwrap())))
}

fn take_and_remove_for_ever(home: &Path, mut when: Timestamp) -> ! {
    loop {
        let taken = take(home, when, State::Complete, &()).unwrap();
        when = Timestamp::from_second(taken.name.time().as_second() + 1).unwrap();
        let ours = list(home).unwrap();
        if ours.len() > 2 {
            remove(home, ours[0].name, None, &()).unwrap();
        }
    }
}

fn recycle_for_ever(home: &Path, mut when: Timestamp) -> ! {
    loop {
        let ours = list(home).unwrap();
        let old = ours.first().filter(|_| ours.len() > 2).map(|s| s.name);
        let taken = take_recycling(home, when, State::Complete, old, &()).unwrap();
        assert_eq!((taken.recycled, taken.not_recycled), (old, None));
        when = Timestamp::from_second(taken.name.time().as_second() + 1).unwrap();
    }
}

#[test]
fn a_kill_while_recycling_leaves_only_whole_snapshots() {
    if let Some((home, when)) = as_child() {
        recycle_for_ever(&home, when);
    }
    let tenant = Tenant::new();
    let mut known: BTreeMap<SnapshotName, BTreeMap<PathBuf, Seen>> = BTreeMap::new();
    let mut building = 0;
    for round in 0..24_u64 {
        // Three, so that the child recycles from its first one on.
        for second in list(&tenant.home).unwrap().len()..3 {
            let taken = tenant.take(&format!("2026-11-20T12:{round:02}:{second:02}Z"));
            known.insert(taken.name, look(&tenant.live()));
        }
        // Much differs from what the old snapshots hold.
        for i in 0..1500_u64 {
            if round == 0 || (i + round).is_multiple_of(3) {
                let path = tenant.live().join(format!("{}/{}/{i}", i % 40, i % 11));
                let _ = fs::remove_file(path);
                tenant.write(&format!("{}/{}/{i}", i % 40, i % 11), "x");
            }
        }
        for i in 0..40_u64 {
            let [here, there] = ["d", "e"].map(|name| tenant.live().join(format!("{i}/{name}")));
            match (i + round).is_multiple_of(2) {
                true => {
                    fs::create_dir_all(here.join("sub")).unwrap();
                    fs::write(here.join("sub/file"), "x").unwrap();
                    let _ = fs::remove_dir_all(there);
                }
                false => {
                    let _ = fs::rename(here, there);
                }
            }
        }
        let now = look(&tenant.live());
        let first = format!("2026-11-20T12:{round:02}:10Z");
        let mut child = start(
            &tenant.home,
            "a_kill_while_recycling_leaves_only_whole_snapshots",
            &first,
        );
        for _ in 0..20_000 {
            let begun = |name: &String| name.starts_with(".building-");
            if tenant.home.join("snapshots").exists() && tenant.stages().iter().any(begun) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 3_701 % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(look(&tenant.live()), now, "round {round}");
        let stages = tenant.stages();
        building += stages.iter().filter(|s| s.starts_with('.')).count();
        let there = list(&tenant.home).unwrap();
        for snapshot in &there {
            assert!(snapshot.is_ours(), "{snapshot:?}");
            let seen = look(&tenant.path_of(snapshot.name));
            let expected = known.entry(snapshot.name).or_insert_with(|| now.clone());
            assert_eq!(&seen, expected, "round {round}: {}", snapshot.name);
        }
        // One at most is lost on the way.
        assert!(there.len() >= 2, "round {round}: {stages:?}");
        assert!(sweep(&tenant.home, None, &()).unwrap().finished);
        assert!(tenant.stages().iter().all(|name| !name.starts_with('.')));
    }
    eprintln!("killed with {building} unfinished directories");
    assert!(building > 0, "no kill hit the work");
}

/// Starts a test of this file as the process to be killed.
fn start(home: &Path, test: &str, first: &str) -> Child {
    let this = std::env::current_exe().unwrap();
    let name = format!("snapshot::tests::crash::{test}");
    Command::new(this)
        .args(["--exact", &name, "--test-threads=1"])
        .env(FIRST, first)
        .env(HOME, home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

const AT_ANY_MOMENT: &str =
    "a_kill_at_any_moment_leaves_only_whole_snapshots_and_an_untouched_live";

#[test]
fn a_kill_at_any_moment_leaves_only_whole_snapshots_and_an_untouched_live() {
    if let Some((home, when)) = as_child() {
        take_and_remove_for_ever(&home, when);
    }
    let tenant = Tenant::new();
    for i in 0..1500 {
        tenant.write(&format!("{}/{}/{i}", i % 40, i % 11), "x");
    }
    let (building, removing, committed) = kill_at_any_moment(&tenant);
    assert!(
        building > 0 && removing > 0 && committed > 0,
        "no kill hit the work"
    );
}

/// How many snapshots kills have met while they were built, removed, and after either.
pub(super) fn kill_at_any_moment(tenant: &Tenant) -> (u32, u32, u32) {
    let before = look(&tenant.live());
    let (mut building, mut removing, mut committed) = (0, 0, 0);
    for round in 0..24_u64 {
        let mut child = start(&tenant.home, AT_ANY_MOMENT, NOON);
        // Any moment, but near each kind of work: a little after its name has shown up.
        let wanted = [".building-", "2026-", ".removing-"][round as usize % 3];
        for _ in 0..20_000 {
            let stages = tenant
                .home
                .join("snapshots")
                .exists()
                .then(|| tenant.stages());
            if stages
                .into_iter()
                .flatten()
                .any(|name| name.starts_with(wanted))
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 3_701 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(look(&tenant.live()), before, "round {round}");
        for name in tenant.stages() {
            building += u32::from(name.starts_with(".building-"));
            removing += u32::from(name.starts_with(".removing-"));
        }
        for snapshot in list(&tenant.home).unwrap() {
            assert!(snapshot.is_ours(), "{snapshot:?}");
            assert_eq!(
                look(&tenant.path_of(snapshot.name)),
                before,
                "round {round}"
            );
            committed += 1;
        }
        assert!(sweep(&tenant.home, None, &()).unwrap().finished);
        assert!(
            tenant.stages().iter().all(|name| !name.starts_with('.')),
            "round {round}"
        );
        assert_eq!(look(&tenant.live()), before, "round {round}");
    }
    eprintln!("killed while building: {building}, removing: {removing}; whole: {committed}");
    (building, removing, committed)
}
