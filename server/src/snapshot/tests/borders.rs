//! Mounts inside live and inside snapshots.

use super::*;

/// A bind or tmpfs mount, undone at the end.
struct Mount(PathBuf);

impl Mount {
    fn new(arguments: &[&str], source: &Path, target: &Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(arguments).arg(source).arg(target);
        if !is_root() || !command.output().is_ok_and(|output| output.status.success()) {
            skip("mounting takes root");
            return None;
        }
        Some(Self(target.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_mount_point_in_live_becomes_an_empty_directory_and_is_reported() {
    let tenant = Tenant::new();
    tenant.write("file", "x");
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("not ours"), "x").unwrap();
    let targets = ["other device", "same device"].map(|name| tenant.live().join(name));
    for target in &targets {
        fs::create_dir(target).unwrap();
    }
    let Some(_tmpfs) = Mount::new(&["-t", "tmpfs"], Path::new("none"), &targets[0]) else {
        return;
    };
    fs::create_dir(targets[0].join("inside")).unwrap();
    // Same device number, and still no links across.
    let _bind = Mount::new(&["--bind"], outside.path(), &targets[1]);
    fs::write(tenant.live().join("mounted file"), "").unwrap();
    let file = outside.path().join("not ours");
    let _file = Mount::new(&["--bind"], &file, &tenant.live().join("mounted file"));

    let taken = tenant.take(NOON);
    let mut borders = taken.borders.clone();
    borders.sort_by_key(|border| format!("{border:?}"));
    assert_eq!(
        borders,
        [
            Border::Directory("live/other device".into()),
            Border::Directory("live/same device".into()),
            Border::File("live/mounted file".into()),
        ]
    );
    let copy = look(&tenant.path_of(taken.name));
    let names: Vec<_> = copy.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["", "file", "other device", "same device"]);
    assert_eq!((taken.files, taken.directories), (1, 2));
}

#[test]
fn a_removal_does_not_reach_into_a_mount() {
    let tenant = Tenant::new();
    tenant.write("a/b/file", "x");
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let name = tenant.take(NOON).name;
    let target = tenant.path_of(name).join("a/b");
    let Some(mount) = Mount::new(&["--bind"], outside.path(), &target) else {
        return;
    };
    let error = remove(&tenant.home, name, None, &()).unwrap_err();
    // The rename to the removing name took the mount along.
    let moved = tenant
        .home
        .join("snapshots/.removing-2026-11-20T120000Z/a/b");
    let _mount = Mount(moved.clone());
    std::mem::forget(mount);
    assert_eq!(
        error.to_string(),
        "snapshots/.removing-2026-11-20T120000Z/a/b is a mount point; nothing in it was touched; \
         unmount it first"
    );
    assert!(outside.path().join("precious").exists());
    drop(_mount);
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
    assert!(outside.path().join("precious").exists());
}

#[test]
fn live_on_another_file_system_than_snapshots_is_refused() {
    let tenant = Tenant::new();
    let Some(_mount) = Mount::new(&["-t", "tmpfs"], Path::new("none"), &tenant.live()) else {
        return;
    };
    let error = take(&tenant.home, at(NOON), State::Complete, &()).unwrap_err();
    assert!(matches!(error, SnapshotError::Apart), "{error}");
    assert_eq!(tenant.stages(), [""; 0]);
}
