//! What a snapshot holds of a tree.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

use super::*;

#[test]
fn a_snapshot_is_the_tree_with_files_shared_and_directories_copied() {
    let tenant = Tenant::new();
    tenant.write("etc/passwd", "root");
    tenant.write("etc/ssh/sshd_config", "Port 22");
    tenant.write("var/log/syslog", "line");
    fs::create_dir(tenant.live().join("empty")).unwrap();
    let before = look(&tenant.live());

    let taken = tenant.take(NOON);

    assert_eq!(taken.name.to_string(), "2026-11-20T120000Z");
    assert_eq!((taken.files, taken.directories), (3, 5));
    assert_eq!(taken.instead_of, None);
    assert_eq!(taken.borders, []);
    assert_eq!(look(&tenant.path_of(taken.name)), before);
    assert_eq!(look(&tenant.live()), before);
    assert_eq!(tenant.stages(), ["2026-11-20T120000Z"]);
    let mode = fs::metadata(tenant.home.join("snapshots")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn unchanged_files_share_inodes_over_snapshots_and_replaced_ones_do_not() {
    let tenant = Tenant::new();
    tenant.write("same", "1");
    tenant.write("changed", "1");
    let first = tenant.path_of(tenant.take(NOON).name);
    fs::write(tenant.live().join("new"), "2").unwrap();
    fs::rename(tenant.live().join("new"), tenant.live().join("changed")).unwrap();
    let second = tenant.path_of(tenant.take("2026-11-21T12:00:00Z").name);

    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(first.join("same")), inode(second.join("same")));
    assert_ne!(inode(first.join("changed")), inode(second.join("changed")));
    assert_eq!(fs::read(first.join("changed")).unwrap(), b"1");
    assert_eq!(fs::read(second.join("changed")).unwrap(), b"2");
}

#[test]
fn names_may_be_any_bytes_and_up_to_255_of_them() {
    let tenant = Tenant::new();
    let long = "x".repeat(255);
    let names: [&[u8]; 8] = [
        b"new\nline",
        b"\xff\xfe not UTF-8",
        b"-rf",
        b" ",
        b"..  ",
        b"...",
        b"\x01\x1b[31m",
        long.as_bytes(),
    ];
    for name in names {
        fs::write(tenant.live().join(OsStr::from_bytes(name)), "x").unwrap();
        let directory = [b"d", &name[..name.len() - 1]].concat();
        fs::create_dir(tenant.live().join(OsStr::from_bytes(&directory))).unwrap();
    }
    let taken = tenant.take(NOON);
    assert_eq!((taken.files, taken.directories), (8, 8));
    assert_eq!(look(&tenant.path_of(taken.name)), look(&tenant.live()));
    assert!(
        remove(&tenant.home, taken.name, None, &())
            .unwrap()
            .finished
    );
    assert_eq!(tenant.stages(), [""; 0]);
}

#[test]
fn files_of_all_kinds_are_linked() {
    let tenant = Tenant::new();
    let live = tenant.live();
    symlink("nowhere/at all", live.join("symlink")).unwrap();
    symlink("/", live.join("to a directory")).unwrap();
    drop(UnixListener::bind(live.join("socket")).unwrap());
    let here = rustix::fs::CWD;
    let fifo = live.join("fifo");
    rustix::fs::mknodat(here, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut kinds = 4;
    if is_root() {
        let device = rustix::fs::makedev(1, 3);
        for (name, kind) in [
            ("char", FileType::CharacterDevice),
            ("block", FileType::BlockDevice),
        ] {
            rustix::fs::mknodat(here, live.join(name), kind, Mode::RUSR, device).unwrap();
            kinds += 1;
        }
    } else {
        skip("devices take root");
    }
    let taken = tenant.take(NOON);
    assert_eq!((taken.files, taken.directories), (kinds, 0));
    assert_eq!(look(&tenant.path_of(taken.name)), look(&live));
}

#[test]
fn directories_keep_owner_mode_times_and_attributes() {
    let tenant = Tenant::new();
    tenant.write("a/b/file", "x");
    tenant.write("a/c/file", "x");
    let directory = |path: &str| fs::File::open(tenant.live().join(path)).unwrap();
    let a = directory("a");
    let stat = b"100644 0,0 1000:1000";
    rustix::fs::fsetxattr(&a, c"user.rsync.%stat", stat, XattrFlags::empty()).unwrap();
    let mode = |path, mode| rustix::fs::fchmod(directory(path), Mode::from_raw_mode(mode)).unwrap();
    mode("a", 0o2751);
    mode("a/c", 0o1777);
    mode(".", 0o711);
    if is_root() {
        let owner = Some(rustix::fs::Uid::from_raw(4711));
        let group = Some(rustix::fs::Gid::from_raw(815));
        rustix::fs::fchown(directory("a/b"), owner, group).unwrap();
        rustix::fs::fchown(directory("."), owner, group).unwrap();
    }
    // u::rwx u:1000:r-x g::r-x m::rwx o::---, as the kernel packs it.
    let acl = acl(&[
        (1, 7, u32::MAX),
        (2, 5, 1000),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ]);
    for kind in [c"system.posix_acl_access", c"system.posix_acl_default"] {
        match rustix::fs::fsetxattr(directory("a/b"), kind, &acl, XattrFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => skip("no ACLs in this file system"),
            Err(error) => panic!("{error}"),
        }
    }
    for (path, nanoseconds) in [
        ("a/b", 123_456_789),
        ("a/c", 1),
        ("a", 999_999_999),
        (".", 5),
    ] {
        let time = Timespec {
            tv_sec: -86_400,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::futimens(directory(path), &times).unwrap();
    }
    let taken = tenant.take(NOON);
    let copy = tenant.path_of(taken.name);
    // Look at the access time first: looking changes it.
    let access = fs::metadata(copy.join("a/b")).unwrap();
    assert_eq!(
        (access.atime(), access.atime_nsec()),
        (-86_400, 123_456_789)
    );
    assert_eq!(look(&copy), look(&tenant.live()));
}

#[test]
fn a_default_acl_around_the_snapshots_does_not_creep_into_them() {
    let tenant = Tenant::new();
    tenant.write("a/file", "x");
    tenant.take(NOON);
    let acl = acl(&[
        (1, 7, u32::MAX),
        (2, 7, 1000),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ]);
    let snapshots = fs::File::open(tenant.home.join("snapshots")).unwrap();
    let kind = c"system.posix_acl_default";
    if rustix::fs::fsetxattr(&snapshots, kind, &acl, XattrFlags::empty()).is_err() {
        return skip("no ACLs in this file system");
    }
    let taken = tenant.take("2026-11-21T12:00:00Z");
    assert_eq!(look(&tenant.path_of(taken.name)), look(&tenant.live()));
}

/// `(tag, permissions, id)` each.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut packed = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        packed.extend(tag.to_le_bytes());
        packed.extend(permissions.to_le_bytes());
        packed.extend(id.to_le_bytes());
    }
    packed
}

#[test]
fn a_tree_deeper_than_a_path_can_say_is_taken_measured_and_removed() {
    const DEPTH: u64 = 3000;
    let tenant = Tenant::new();
    let name = CString::new("deep".repeat(10)).unwrap();
    let mut directory = open(&tenant.live());
    for _ in 0..DEPTH {
        let mode = Mode::RWXU;
        // Each level has two, so that parents must wait for both.
        rustix::fs::mkdirat(&directory, c"sibling", mode).unwrap();
        rustix::fs::mkdirat(&directory, &name, mode).unwrap();
        directory = open_at(&directory, &name);
    }
    rustix::fs::mknodat(&directory, c"bottom", FileType::RegularFile, Mode::RUSR, 0).unwrap();

    let taken = tenant.take(NOON);
    assert_eq!((taken.files, taken.directories), (1, 2 * DEPTH));
    let mut directory = open(&tenant.path_of(taken.name));
    for _ in 0..DEPTH {
        directory = open_at(&directory, &name);
    }
    rustix::fs::statat(&directory, c"bottom", AtFlags::empty()).unwrap();

    let size = measure(&tenant.home, &[taken.name], &()).unwrap()[0];
    assert_eq!((size.files, size.directories), (1, 2 * DEPTH));
    let removed = remove(&tenant.home, taken.name, None, &()).unwrap();
    let all = Removed {
        finished: true,
        files: 1,
        directories: 2 * DEPTH + 1,
    };
    assert_eq!(removed, all);
    assert_eq!(tenant.stages(), [""; 0]);
    // What made it can clear it, too: the standard library would need a path.
    fs::rename(
        tenant.live(),
        tenant.home.join("snapshots/.removing-2026-11-20T120000Z"),
    )
    .unwrap();
    assert!(sweep(&tenant.home, None, &()).unwrap().finished);
}

fn open(path: &Path) -> rustix::fd::OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

fn open_at(directory: &rustix::fd::OwnedFd, name: &CStr) -> rustix::fd::OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rustix::fs::openat(directory, name, flags, Mode::empty()).unwrap()
}

#[test]
fn a_large_directory_is_taken_whole() {
    let tenant = Tenant::new();
    for i in 0..5000 {
        fs::write(
            tenant
                .live()
                .join(format!("a file with a fairly long name {i}")),
            "",
        )
        .unwrap();
    }
    for i in 0..500 {
        fs::create_dir(tenant.live().join(format!("directory {i}"))).unwrap();
    }
    let progress = Counter::default();
    let taken = take(&tenant.home, at(NOON), State::Complete, &progress).unwrap();
    assert_eq!((taken.files, taken.directories), (5000, 500));
    assert_eq!((progress.files(), progress.directories()), (5000, 500));
    assert_eq!(look(&tenant.path_of(taken.name)), look(&tenant.live()));
}

#[test]
fn two_snapshots_in_one_second_get_two_names() {
    let tenant = Tenant::new();
    let first = tenant.take("2026-11-20T12:00:00.2Z");
    let second = tenant.take("2026-11-20T12:00:00.7Z");
    let third = take(&tenant.home, at(NOON), State::Incomplete, &()).unwrap();
    assert_eq!(first.name.to_string(), "2026-11-20T120000Z");
    assert_eq!(second.name.to_string(), "2026-11-20T120001Z");
    assert_eq!(second.instead_of, Some(first.name));
    assert_eq!(third.name.to_string(), "2026-11-20T120002Z.incomplete");
    assert_eq!(list(&tenant.home).unwrap().len(), 3);
}

#[test]
fn a_tenant_that_never_pushed_has_no_snapshots_and_can_take_none() {
    let directory = TempDir::new().unwrap();
    let home = directory.path().join("web01");
    let taken = take(&home, at(NOON), State::Complete, &());
    assert!(matches!(taken, Err(SnapshotError::NoLive)), "{taken:?}");
    assert_eq!(list(&home).unwrap(), []);
    assert!(sweep(&home, None, &()).unwrap().finished);
    fs::create_dir(&home).unwrap();
    let taken = take(&home, at(NOON), State::Complete, &());
    assert!(matches!(taken, Err(SnapshotError::NoLive)), "{taken:?}");
}
