//! A process killed at any moment: nothing half-built ever stands under a final name.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::*;

/// Tells the child what to work on.
const HOME: &str = "COFFRE_TEST_CRASH_HOME";

/// Not a test of its own: what the child process runs, until it is killed.
#[test]
#[ignore = "run by the tests that kill it"]
fn child_takes_and_removes_for_ever() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else {
        return;
    };
    let mut when = at(NOON);
    loop {
        let taken = take(&home, when, State::Complete, &()).unwrap();
        when = Timestamp::from_second(taken.name.time().as_second() + 1).unwrap();
        let ours = list(&home).unwrap();
        if ours.len() > 2 {
            remove(&home, ours[0].name, None, &()).unwrap();
        }
    }
}

fn start_child(home: &Path) -> Child {
    let this = std::env::current_exe().unwrap();
    let name = "snapshot::tests::crash::child_takes_and_removes_for_ever";
    Command::new(this)
        .args(["--exact", name, "--ignored", "--test-threads=1"])
        .env(HOME, home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_at_any_moment_leaves_only_whole_snapshots_and_an_untouched_live() {
    let tenant = Tenant::new();
    for i in 0..1500 {
        tenant.write(&format!("{}/{}/{i}", i % 40, i % 11), "x");
    }
    let before = look(&tenant.live());
    let (mut building, mut removing, mut committed) = (0, 0, 0);
    for round in 0..24_u64 {
        let mut child = start_child(&tenant.home);
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
    assert!(
        building > 0 && removing > 0 && committed > 0,
        "no kill hit the work"
    );
}
