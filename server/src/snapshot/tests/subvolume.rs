//! A live tree that is a btrfs subvolume, alone and beside older snapshots of hard links.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::XattrFlags;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::*;
use crate::account::{Account, Used, charge};
use crate::config::{MinFree, Quota};
use crate::confine::{Attributes, FileTime, INNER_STAGING, Metadata, TenantPath, TenantRoot};

fn btrfs(args: &[&str], path: &Path) {
    let done = Command::new("btrfs")
        .arg("-q")
        .args(args)
        .arg(path)
        .output();
    let done = done.unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn on_btrfs() -> Option<(Mounted, Tenant)> {
    let mounted = Mounted::new("btrfs", 400, &[])?;
    let home = mounted.path.join("web01");
    fs::create_dir(&home).unwrap();
    btrfs(&["subvolume", "create"], &home.join("live"));
    let tenant = Tenant {
        home,
        _directory: None,
    };
    Some((mounted, tenant))
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = look(root).into_keys().map(|path| root.join(path));
    let files = files.filter(|path| fs::symlink_metadata(path).unwrap().is_file());
    files
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect()
}

const NEXT: &str = "2026-11-21T12:00:00Z";
const LAST: &str = "2026-11-22T12:00:00Z";

#[test]
fn a_snapshot_of_a_subvolume_is_one_that_nobody_can_change() {
    let Some((_mounted, tenant)) = on_btrfs() else {
        return;
    };
    for i in 0..300 {
        tenant.write(&format!("{}/{}/{i}", i % 7, i % 5), "x");
    }
    let live = tenant.live();
    fs::hard_link(live.join("0/0/0"), live.join("1/again")).unwrap();
    symlink("a target", live.join("link")).unwrap();
    fs::DirBuilder::new()
        .mode(0o2710)
        .create(live.join("closed"))
        .unwrap();
    fs::set_permissions(&live, fs::Permissions::from_mode(0o1555)).unwrap();
    let before = look(&live);
    // What a session that was cut off leaves.
    fs::create_dir_all(live.join(INNER_STAGING).join("made")).unwrap();
    fs::write(live.join(INNER_STAGING).join("left"), "half").unwrap();
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 5,
            tv_nsec: 6,
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: 7,
            tv_nsec: 8,
        },
    };
    let top = fs::File::open(&live).unwrap();
    rustix::fs::futimens(&top, &times).unwrap();

    let first = tenant.take(NOON);
    assert_eq!(
        (first.files, first.directories),
        (302, before.len() as u64 - 303)
    );
    assert_eq!(first.borders, []);
    let copy = tenant.path_of(first.name);
    let mut expected = before;
    expected.get_mut(Path::new("")).unwrap().modified = (7, 8);
    assert_eq!(look(&copy), expected);
    assert!(live.join(INNER_STAGING).join("left").exists());
    for path in ["0/0/0", "new"] {
        let error = fs::write(copy.join(path), "changed").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    assert!(list(&tenant.home).unwrap()[0].is_ours());

    // One that is due to go stays until it is pruned: there is nothing to gain from it.
    let second = tenant.recycle(NEXT, first.name);
    assert_eq!((second.recycled, second.not_recycled), (None, None));
    assert_eq!(look(&copy), expected);

    let held = hold(&tenant.home, first.name).unwrap();
    assert!(
        !remove(&tenant.home, first.name, None, &())
            .unwrap()
            .finished
    );
    drop(held);
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    assert_eq!(tenant.stages(), [second.name.to_string()]);
    let removed = remove(&tenant.home, second.name, None, &()).unwrap();
    assert_eq!(
        (removed.finished, removed.files, removed.directories),
        (true, 0, 1)
    );
    assert_eq!(tenant.stages(), [""; 0]);
    let manifests = fs::read_dir(tenant.home.join(".manifests")).unwrap();
    assert_eq!(manifests.count(), 0);
}

/// `None`: no privilege to destroy subvolumes.
fn without_privilege<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kept = capabilities(None).unwrap().permitted - CapabilitySet::SYS_ADMIN;
            let sets = CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, sets).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn without_privilege_its_files_are_unlinked() {
    let Some((mounted, tenant)) = on_btrfs() else {
        return;
    };
    for i in 0..300 {
        tenant.write(&format!("{}/{}/{i}", i % 7, i % 5), "x");
    }
    let taken = without_privilege(|| tenant.take(NOON));
    let removed = without_privilege(|| remove(&tenant.home, taken.name, None, &()).unwrap());
    assert_eq!((removed.finished, removed.files), (true, 300));
    assert_eq!(tenant.stages(), [""; 0]);
    // Where the mount allows it, it goes in one step.
    let allowed = Command::new("mount")
        .args(["-o", "remount,user_subvol_rm_allowed"])
        .arg(&mounted.path)
        .status();
    assert!(allowed.unwrap().success());
    let taken = tenant.take(NOON);
    let removed = without_privilege(|| remove(&tenant.home, taken.name, None, &()).unwrap());
    assert_eq!((removed.finished, removed.files), (true, 0));
    assert_eq!(tenant.stages(), [""; 0]);
}

/// What `usage` should say: by what every file is, each version of each once.
fn expected_usage(tenant: &Tenant, trees: &[(&Path, bool)]) -> Used {
    let mut found: HashMap<(bool, u64, (i64, i64)), u64> = HashMap::new();
    for (tree, is_subvolume) in trees {
        for path in look(tree).into_keys() {
            let meta = fs::symlink_metadata(tree.join(path)).unwrap();
            let key = match (is_subvolume, meta.is_dir()) {
                (true, false) => (true, meta.ino(), (meta.ctime(), meta.ctime_nsec())),
                (true, true) => (true, meta.ino(), (0, 0)),
                (false, _) => (false, meta.ino(), (0, 0)),
            };
            found.insert(key, charge(meta.is_file(), meta.size(), meta.blocks()));
        }
    }
    // The tenant's own directory, and `snapshots`.
    let own = [tenant.home.clone(), tenant.home.join("snapshots")];
    let own = own.map(|path| charge(false, 0, fs::metadata(path).unwrap().blocks()));
    Used {
        bytes: found.values().sum::<u64>() + own.iter().sum::<u64>(),
        files: found.len() as u64 + 2,
    }
}

#[test]
fn hard_links_and_subvolumes_stand_side_by_side() {
    let Some(mounted) = Mounted::new("btrfs", 400, &[]) else {
        return;
    };
    let tenant = Tenant::within(&mounted.path);
    let live = tenant.live();
    for name in ["same", "grows", "touched", "d/goes"] {
        tenant.write(name, &name.repeat(5000));
    }
    let linked = tenant.take(NOON);
    // As an admin does it.
    fs::rename(&live, tenant.home.join("was")).unwrap();
    btrfs(&["subvolume", "create"], &live);
    let copied = Command::new("cp")
        .args(["-a", "--reflink"])
        .args([tenant.home.join("was/."), live.clone()])
        .status();
    assert!(copied.unwrap().success());
    fs::remove_dir_all(tenant.home.join("was")).unwrap();
    let frozen = tenant.take(NEXT);
    let trees = [tenant.path_of(linked.name), tenant.path_of(frozen.name)];
    let state = || trees.each_ref().map(|tree| (look(tree), contents(tree)));
    let before = state();

    // As a session does it, with everything that changes a file in place.
    let account = Arc::new(Account::new(
        Quota {
            size: Some(1 << 30),
            files: None,
        },
        MinFree::Bytes(0),
    ));
    let counted = || usage(&tenant.home, &()).unwrap();
    account.recall(counted(), true);
    {
        let root = TenantRoot::open(&tenant.home, Metadata::Native, Arc::clone(&account)).unwrap();
        let top = root.dir(&TenantPath::root()).unwrap();
        let gone = top.open_dir(b"d").unwrap();
        let size = account.used().unwrap();
        gone.remove_file(b"goes").unwrap();
        assert_eq!(account.used(), Some(size), "a snapshot has it still");
        assert!(account.needs_count(), "its directory is another now");
        let seen = top.stat(b"grows").unwrap().unwrap();
        use std::io::Write;
        use std::os::unix::fs::FileExt;
        let file = top.unshare_for_write(b"grows", &seen).unwrap();
        file.write_all_at(b"other", 3).unwrap();
        (&file).flush().unwrap();
        assert!(account.needs_count(), "there are two of it now");
        let seen = top.stat(b"touched").unwrap().unwrap();
        let wanted = Attributes {
            mtime: Some(FileTime { secs: 9, nanos: 9 }),
            ..Attributes::default()
        };
        top.update(b"touched", &seen, &wanted).unwrap();
    }
    fs::remove_dir(live.join(INNER_STAGING)).unwrap();
    for beside in [".staging", ".partial"] {
        fs::remove_dir(tenant.home.join(beside)).unwrap();
    }
    assert_eq!(state(), before);
    let last = tenant.take(LAST);
    assert_eq!(state(), before);

    let last_tree = tenant.path_of(last.name);
    let all = [
        (&*trees[0], false),
        (&*trees[1], true),
        (&*last_tree, true),
        (&*live, true),
    ];
    assert_eq!(counted(), expected_usage(&tenant, &all));
    let sizes = measure(&tenant.home, &[linked.name, frozen.name, last.name], &()).unwrap();
    let own = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let names = ["grows", "touched", "d/goes"];
    let of_frozen: u64 = names.iter().map(|name| own(&trees[1].join(name))).sum();
    assert_eq!(sizes[1].own_bytes, of_frozen);
    assert_eq!(sizes[2].own_bytes, 0, "live has all of it");

    check_readers(&tenant, [linked.name, frozen.name, last.name]);

    let counter = Uncounted::default();
    assert!(
        remove(&tenant.home, frozen.name, None, &counter)
            .unwrap()
            .finished
    );
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    let left = [all[0], all[2], all[3]];
    assert_eq!(counted(), expected_usage(&tenant, &left));
    assert!(
        remove(&tenant.home, linked.name, None, &())
            .unwrap()
            .finished
    );
    assert_eq!(tenant.stages(), [last.name.to_string()]);
}

/// Told that something has gone that nobody looked at.
#[derive(Default)]
struct Uncounted(AtomicU64);

impl Progress for Uncounted {
    fn advance(&self, _files: u64, _directories: u64) {}

    fn uncounted(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Reading;

impl crate::verify::Watch for Reading {
    fn advance(&self, _files: u64, _bytes: u64) {}

    fn found(&self, finding: &crate::verify::Finding) {
        panic!("{finding:?}");
    }

    fn note(&self, _line: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}

impl crate::find::Watch for Reading {
    fn advance(&self, _names: u64) {}

    fn tree_done(&self, _done: usize, _of: usize) {}

    fn note(&self, sentence: &str) {
        panic!("{sentence}");
    }
}

impl crate::diff::Watch for Reading {
    fn advance(&self, _names: u64) {}
}

/// Verify, find and diff, for the history of the test above.
fn check_readers(tenant: &Tenant, [linked, frozen, last]: [SnapshotName; 3]) {
    let verified = crate::verify::verify(
        &crate::verify::Task {
            tenant: "web01",
            home: &tenant.home,
            only: None,
            bytes_per_second: None,
            restart: false,
            catalogue: None,
            notes: None,
        },
        &Reading,
    )
    .unwrap();
    // Four of hard links, the same four as they were copied, and two that were changed since.
    assert_eq!((verified.files, verified.without_manifest.len()), (10, 0));

    let diff = |first: SnapshotName, second: Option<SnapshotName>| {
        let task = crate::diff::Task {
            home: &tenant.home,
            first: Some(first),
            second,
            form: None,
            notes: None,
        };
        let found = crate::diff::diff(&task, &Reading).unwrap();
        let told = |d: &crate::diff::Difference| {
            (
                String::from_utf8_lossy(&d.path).into_owned(),
                d.change.clone(),
            )
        };
        found.all.iter().map(told).collect::<Vec<_>>()
    };
    // Copied with everything, but nobody has noted what content they have.
    let perhaps = crate::diff::Change::Changed(vec![crate::diff::What::PerhapsContent]);
    let copied = ["d/goes", "grows", "same", "touched"].map(|p| (p.to_owned(), perhaps.clone()));
    assert_eq!(diff(linked, Some(frozen)), copied);
    let changed = diff(frozen, Some(last));
    let paths: Vec<&str> = changed.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["", "d", "d/goes", "grows", "touched"]);
    assert_eq!(diff(frozen, None), changed);
    assert_eq!(diff(last, None), []);

    let task = |pattern: &str| {
        let pattern = crate::find::Pattern::parse(pattern.as_bytes()).unwrap();
        let task = crate::find::Task {
            home: &tenant.home,
            pattern: &pattern,
            form: None,
        };
        let found = crate::find::find(&task, &Reading).unwrap();
        let version = |v: &crate::find::Version| (v.first.clone(), v.last.clone());
        let one = |f: &crate::find::Found| f.versions.iter().map(version).collect::<Vec<_>>();
        found.iter().map(one).collect::<Vec<_>>()
    };
    let [linked, frozen, last] = [linked, frozen, last].map(|name| name.to_string());
    let live = "live".to_owned();
    // Through the manifests, and through the directories.
    for deep in ["", "/"] {
        assert_eq!(
            task(&format!("{deep}same")),
            [[
                (linked.clone(), linked.clone()),
                (frozen.clone(), live.clone())
            ]]
        );
        assert_eq!(
            task(&format!("{deep}touched")),
            [[
                (linked.clone(), linked.clone()),
                (frozen.clone(), frozen.clone()),
                (last.clone(), live.clone())
            ]]
        );
    }
}

#[test]
fn the_servers_own_directory_in_live_is_shown_to_nobody() {
    let Some((_mounted, tenant)) = on_btrfs() else {
        return;
    };
    tenant.write("file", "content");
    let taken = tenant.take(NOON);
    let staging = tenant.live().join(INNER_STAGING);
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("left"), "half").unwrap();
    let task = crate::diff::Task {
        home: &tenant.home,
        first: Some(taken.name),
        second: None,
        form: None,
        notes: None,
    };
    let found = crate::diff::diff(&task, &Reading).unwrap();
    // Its coming has changed the time of the top.
    assert!(found.all.iter().all(|d| d.path.is_empty()), "{found:?}");
    let verified = crate::verify::verify(
        &crate::verify::Task {
            tenant: "web01",
            home: &tenant.home,
            only: None,
            bytes_per_second: None,
            restart: false,
            catalogue: None,
            notes: None,
        },
        &Reading,
    );
    assert_eq!(verified.unwrap().files, 1);
    for pattern_text in ["left", "/.coffre-staging", "*", "/*"] {
        let pattern = crate::find::Pattern::parse(pattern_text.as_bytes()).unwrap();
        let task = crate::find::Task {
            home: &tenant.home,
            pattern: &pattern,
            form: None,
        };
        let found = crate::find::find(&task, &Reading).unwrap();
        assert!(found.iter().all(|found| found.path == b"file"), "{found:?}");
        let is_wild = pattern_text.contains('*');
        assert_eq!(!found.is_empty(), is_wild, "{pattern_text}");
    }
}

#[test]
fn a_subvolume_inside_is_an_empty_directory_and_told() {
    let Some((_mounted, tenant)) = on_btrfs() else {
        return;
    };
    tenant.write("d/file", "content");
    btrfs(&["subvolume", "create"], &tenant.live().join("d/inner"));
    fs::write(tenant.live().join("d/inner/hidden"), "x").unwrap();
    let taken = tenant.take(NOON);
    assert_eq!(
        taken.borders,
        [Border::Directory("live/d/inner".to_owned())]
    );
    let copy = tenant.path_of(taken.name);
    assert_eq!(fs::read_dir(copy.join("d/inner")).unwrap().count(), 0);
    assert!(
        remove(&tenant.home, taken.name, None, &())
            .unwrap()
            .finished
    );
}

#[test]
fn a_kill_at_any_moment_leaves_only_whole_subvolumes() {
    let Some((_mounted, tenant)) = on_btrfs() else {
        return;
    };
    for i in 0..3000 {
        tenant.write(&format!("{}/{}/{i}", i % 40, i % 11), "x");
    }
    let file = fs::File::open(tenant.live()).unwrap();
    rustix::fs::fsetxattr(&file, c"user.note", b"top", XattrFlags::empty()).unwrap();
    let (building, _, committed) = crash::kill_at_any_moment(&tenant);
    assert!(building > 0 && committed > 0, "no kill hit the work");
}
