//! Inodes that a snapshot shares stay as they are, to the last attribute.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;

/// Puts one entry of every kind but directories into live, with attributes worth losing.
fn one_of_each(store: &Store) -> Vec<&'static str> {
    let top = store.top();
    let xattrs = set(&[("user.note", "old"), ("trusted.note", "old")]);
    let trusted = set(&[("trusted.note", "old")]);
    let acl = PosixAcl {
        mask: Some(6),
        users: vec![(12, 6), (3, 4)],
        ..PosixAcl::from_mode(0o640)
    };
    let basic = Attributes {
        uid: Some(1001),
        gid: Some(1002),
        mode: Some(0o2660),
        mtime: Some(time(1_000_000_000, 123_456_789)),
        ..Attributes::default()
    };
    let rich = Attributes {
        access_acl: Some(AclChange::Set(&acl)),
        ..basic
    };
    let mut file = top.stage(0o640).unwrap();
    // Bytes, a hole, bytes.
    file.file().write_all(b"content").unwrap();
    file.file().write_all_at(b"end", 1 << 20).unwrap();
    set_server_xattr(file.file(), "sum", b"abc").unwrap();
    let wanted = Attributes {
        xattrs: Some(&xattrs),
        ..rich
    };
    none(file.apply(&wanted).unwrap());
    file.publish(&top, b"file", Replace::No).unwrap();
    let wanted = Attributes {
        xattrs: Some(&trusted),
        ..basic
    };
    none(
        top.make_symlink(b"symlink", b"../../etc/passwd", &wanted, Replace::No)
            .unwrap(),
    );
    let wanted = Attributes {
        xattrs: Some(&trusted),
        ..rich
    };
    for (name, kind, rdev) in [
        ("fifo", Kind::Fifo, (0, 0)),
        ("socket", Kind::Socket, (0, 0)),
        ("char", Kind::CharDevice, (1, 3)),
        ("block", Kind::BlockDevice, (7, 300)),
    ] {
        none(
            top.make_node(name.as_bytes(), kind, rdev, &wanted, Replace::No)
                .unwrap(),
        );
    }
    vec!["file", "symlink", "fifo", "socket", "char", "block"]
}

fn none(errors: Vec<AttributeError>) {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// Every attribute, changed one at a time.
fn changes<'a>(xattrs: &'a XattrSet, acl: &'a PosixAcl) -> Vec<(&'static str, Attributes<'a>)> {
    let nothing = Attributes::default();
    vec![
        (
            "uid",
            Attributes {
                uid: Some(7),
                ..nothing
            },
        ),
        (
            "gid",
            Attributes {
                gid: Some(8),
                ..nothing
            },
        ),
        (
            "mode",
            Attributes {
                mode: Some(0o4711),
                ..nothing
            },
        ),
        (
            "mtime",
            Attributes {
                mtime: Some(time(-86_400, 5)),
                ..nothing
            },
        ),
        (
            "atime",
            Attributes {
                atime: Some(time(5_000_000, 6)),
                ..nothing
            },
        ),
        (
            "xattrs",
            Attributes {
                xattrs: Some(xattrs),
                ..nothing
            },
        ),
        (
            "ACL",
            Attributes {
                access_acl: Some(AclChange::Set(acl)),
                ..nothing
            },
        ),
        (
            "no ACL",
            Attributes {
                access_acl: Some(AclChange::Remove),
                ..nothing
            },
        ),
    ]
}

/// Whether an attribute exists for a kind of entry at all.
fn applies(what: &str, name: &str) -> bool {
    !(name == "symlink" && matches!(what, "mode" | "ACL" | "no ACL"))
}

fn every_change_leaves_the_snapshot_alone(file_system: Option<&str>) {
    let store = match file_system {
        Some(file_system) => match Store::on(file_system) {
            Some(store) => store,
            None => return,
        },
        None => Store::new(Metadata::Native),
    };
    let names = one_of_each(&store);
    let xattrs = set(&[("trusted.note", "new"), ("trusted.more", "2")]);
    let acl = PosixAcl {
        mask: Some(5),
        groups: vec![(99, 5)],
        ..PosixAcl::from_mode(0o754)
    };
    let mut earlier = Vec::new();
    for (serial, (what, wanted)) in changes(&xattrs, &acl).into_iter().enumerate() {
        let snapshot = store.snapshot(&format!("snapshot-{serial}"));
        earlier.push((describe_tree(&snapshot), snapshot));
        let top = store.top();
        for name in &names {
            let path = store.live().join(name);
            let before = describe(&path);
            let inode = inode_of(&path);
            let seen = top.stat(name.as_bytes()).unwrap().unwrap();
            let updated = top.update(name.as_bytes(), &seen, &wanted).unwrap();
            none(updated.errors);
            let now = top.stat(name.as_bytes()).unwrap().unwrap();
            // Once more finds it as it should be.
            let again = top.update(name.as_bytes(), &now, &wanted).unwrap();
            assert_eq!(again.how, How::Unchanged, "{what} of {name}");
            if !applies(what, name) {
                assert_eq!(updated.how, How::Unchanged, "{what} of {name}");
                continue;
            }
            assert_eq!(updated.how, How::Replaced, "{what} of {name}");
            assert_ne!(inode_of(&path), inode, "{what} of {name}");
            let after = describe(&path);
            let mut expected = before.clone();
            match what {
                "uid" => expected.owner.0 = 7,
                "gid" => expected.owner.1 = 8,
                "mtime" => expected.mtime = (-86_400, 5),
                "atime" if *name == "symlink" => {}
                "atime" => expected.atime = (5_000_000, 6),
                "xattrs" => {
                    expected.xattrs.retain(|name, _| {
                        name.starts_with(b"system.") || name.starts_with(b"user.coffre.")
                    });
                    expected.xattrs.extend(xattrs.clone());
                }
                "mode" => {
                    expected.mode = before.mode & !0o7777 | 0o4711;
                    expected.xattrs = after.xattrs.clone();
                    let acl = top
                        .acl(name.as_bytes(), &now, AclKind::Access)
                        .unwrap()
                        .unwrap();
                    assert_eq!((acl.user_obj, acl.mask, acl.other), (7, Some(1), 1));
                }
                "ACL" => {
                    expected.mode = before.mode & !0o777 | 0o754;
                    expected
                        .xattrs
                        .insert(b"system.posix_acl_access".to_vec(), acl.encode());
                }
                _ => {
                    expected.xattrs.remove(&b"system.posix_acl_access"[..]);
                }
            }
            assert_eq!(after, expected, "{what} of {name}");
            // It is nobody's but live's now.
            let in_place = Attributes {
                uid: Some(now.uid + 1),
                ..Attributes::default()
            };
            let updated = top.update(name.as_bytes(), &now, &in_place).unwrap();
            assert_eq!(updated.how, How::InPlace, "{what} of {name}");
            let back = Attributes {
                uid: Some(now.uid),
                ..Attributes::default()
            };
            let seen = top.stat(name.as_bytes()).unwrap().unwrap();
            assert_eq!(
                top.update(name.as_bytes(), &seen, &back).unwrap().how,
                How::InPlace
            );
            assert_eq!(
                describe(&path),
                after,
                "set-id bits outlive a change of owner"
            );
        }
        for (as_taken, snapshot) in &earlier {
            assert!(
                *as_taken == describe_tree(snapshot),
                "{what} changed a snapshot"
            );
        }
    }
    assert!(store.staging_is_empty());
}

#[test]
fn every_change_of_every_kind_leaves_the_snapshot_alone() {
    needs_root!();
    every_change_leaves_the_snapshot_alone(None);
}

#[test]
fn every_change_leaves_the_snapshot_alone_on_xfs() {
    every_change_leaves_the_snapshot_alone(Some("xfs"));
}

#[test]
fn every_change_leaves_the_snapshot_alone_on_btrfs() {
    every_change_leaves_the_snapshot_alone(Some("btrfs"));
}

fn write(store: &Store, dir: &str, name: &str, content: &[u8]) {
    let dir = store.dir(dir);
    let staged = dir.stage(0o644).unwrap();
    staged.file().write_all(content).unwrap();
    staged.publish(&dir, name.as_bytes(), Replace::Yes).unwrap();
}

fn content_changes_leave_the_snapshot_alone(store: &Store) {
    write(store, "", "log", b"one\n");
    write(store, "", "other", b"x");
    let top = store.top();
    top.make_dir(b"sub", 0o755).unwrap();
    top.link(b"log2", &top, b"log", Replace::No).unwrap();
    store
        .dir("sub")
        .link(b"log3", &top, b"log", Replace::No)
        .unwrap();
    let snapshot = store.snapshot("snapshot");
    let as_taken = describe_tree(&snapshot);

    let seen = top.stat(b"log").unwrap().unwrap();
    assert_eq!(seen.nlink, 6);
    let mut file = top.unshare_for_write(b"log", &seen).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"two\n").unwrap();
    file.write_all_at(b"O", 0).unwrap();
    // Replacing, removing and renaming leave the inode alone anyway.
    write(store, "", "other", b"new");
    top.remove_file(b"other").unwrap();

    assert!(as_taken == describe_tree(&snapshot));
    for name in ["log", "log2", "sub/log3"] {
        let path = store.live().join(name);
        assert_eq!(fs::read(&path).unwrap(), b"One\ntwo\n", "{name}");
        assert_eq!(
            inode_of(&path),
            inode_of(&store.live().join("log")),
            "{name}"
        );
    }
    // All three links are in live now: no copy is made for the next write.
    let seen = top.stat(b"log2").unwrap().unwrap();
    assert_eq!(seen.nlink, 3);
    let mut file = top.unshare_for_write(b"log2", &seen).unwrap();
    file.write_all(b"1").unwrap();
    assert_eq!(inode_of(&store.live().join("log2")), seen.ino);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "1ne\ntwo\n");
    assert!(store.staging_is_empty());
}

#[test]
fn writing_in_place_parts_all_live_names_from_the_snapshot_together() {
    content_changes_leave_the_snapshot_alone(&Store::new(Metadata::detect()));
}

#[test]
fn writing_in_place_parts_live_from_the_snapshot_on_xfs() {
    if let Some(store) = Store::on("xfs") {
        content_changes_leave_the_snapshot_alone(&store);
        assert!(!crate::confine::root::lacks(
            &store.top().shared.support.no_reflink
        ));
    }
}

#[test]
fn what_the_server_noted_of_a_content_goes_when_it_is_opened_for_writing() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    for snapshot in [false, true] {
        let staged = top.stage(0o644).unwrap();
        set_server_xattr(staged.file(), "sum", b"abc").unwrap();
        staged.publish(&top, b"file", Replace::Yes).unwrap();
        if snapshot {
            store.snapshot("snapshot");
        }
        assert!(top.xattrs(b"file").unwrap().is_empty());
        let seen = top.stat(b"file").unwrap().unwrap();
        let read = top.open_file(b"file").unwrap();
        assert_eq!(server_xattr(&read, "sum").unwrap().unwrap(), b"abc");
        let file = top.unshare_for_write(b"file", &seen).unwrap();
        assert_eq!(server_xattr(&file, "sum").unwrap(), None);
    }
    let kept = fs::File::open(store.home.join("snapshot/file")).unwrap();
    assert_eq!(server_xattr(&kept, "sum").unwrap().unwrap(), b"abc");
}

#[test]
fn a_copy_keeps_holes() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let staged = top.stage(0o644).unwrap();
    staged.file().write_all_at(b"x", 64 << 20).unwrap();
    staged.file().set_len(128 << 20).unwrap();
    staged.publish(&top, b"sparse", Replace::No).unwrap();
    let snapshot = store.snapshot("snapshot");
    let seen = top.stat(b"sparse").unwrap().unwrap();
    top.unshare_for_write(b"sparse", &seen).unwrap();
    let now = top.stat(b"sparse").unwrap().unwrap();
    assert_eq!(now.size, 128 << 20);
    assert!(now.allocated < 1 << 20, "{}", now.allocated);
    let content = fs::read(store.live().join("sparse")).unwrap();
    assert!(content == fs::read(snapshot.join("sparse")).unwrap());
}

#[test]
fn groups_stay_groups_through_links_renames_and_directory_renames() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    write(&store, "", "a", b"a");
    top.make_dir(b"d", 0o755).unwrap();
    let mode = |mode: u32| Attributes {
        mode: Some(mode),
        ..Attributes::default()
    };
    let update = |name: &[u8], bits: u32| {
        let seen = top.stat(name).unwrap().unwrap();
        top.update(name, &seen, &mode(bits)).unwrap().how
    };
    store.snapshot("one");
    // Builds the index, so that everything below has to keep it.
    assert_eq!(update(b"a", 0o600), How::Replaced);
    top.link(b"b", &top, b"a", Replace::No).unwrap();
    store.dir("d").link(b"c", &top, b"a", Replace::No).unwrap();
    assert_eq!(update(b"a", 0o640), How::InPlace);
    let one_inode = |names: &[&str]| {
        let first = inode_of(&store.live().join(names[0]));
        names
            .iter()
            .all(|name| inode_of(&store.live().join(name)) == first)
    };
    store.snapshot("two");
    assert_eq!(update(b"a", 0o644), How::Replaced);
    assert!(one_inode(&["a", "b", "d/c"]));
    top.rename(b"b", &store.dir("d"), b"b2").unwrap();
    assert_eq!(update(b"a", 0o664), How::InPlace);
    store.snapshot("three");
    assert_eq!(update(b"a", 0o666), How::Replaced);
    assert!(one_inode(&["a", "d/b2", "d/c"]));
    top.rename(b"d", &top, b"e").unwrap();
    assert_eq!(update(b"a", 0o600), How::InPlace);
    store.snapshot("four");
    assert_eq!(update(b"a", 0o604), How::Replaced);
    assert!(one_inode(&["a", "e/b2", "e/c"]));
    // A name that is taken by something else leaves the group; the others stay one.
    write(&store, "e", "c", b"else");
    store.snapshot("five");
    assert_eq!(update(b"a", 0o606), How::Replaced);
    assert!(one_inode(&["a", "e/b2"]) && !one_inode(&["a", "e/c"]));
    // Linking a name to what it stands for already changes nothing and leaves nothing.
    store
        .dir("e")
        .link(b"b2", &top, b"a", Replace::Yes)
        .unwrap();
    assert!(one_inode(&["a", "e/b2"]) && store.staging_is_empty());
}

#[test]
fn sessions_of_a_tenant_know_of_each_others_links() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    write(&store, "", "a", b"a");
    store.snapshot("snapshot");
    let touch = |root: &TenantRoot, secs: i64| {
        let top = root.dir(&TenantPath::root()).unwrap();
        let seen = top.stat(b"a").unwrap().unwrap();
        let wanted = Attributes {
            mtime: Some(time(secs, 0)),
            ..Attributes::default()
        };
        top.update(b"a", &seen, &wanted).unwrap().how
    };
    assert_eq!(touch(&store.root, 1), How::Replaced);
    let other =
        TenantRoot::open(&store.home, Metadata::detect(), std::sync::Arc::default()).unwrap();
    top.link(b"b", &top, b"a", Replace::No).unwrap();
    assert_eq!(touch(&other, 2), How::InPlace);
    store.snapshot("snapshot-2");
    assert_eq!(touch(&other, 3), How::Replaced);
    assert_eq!(
        inode_of(&store.live().join("a")),
        inode_of(&store.live().join("b"))
    );
}

#[test]
fn an_entry_that_was_replaced_meanwhile_is_not_changed() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    write(&store, "", "a", b"a");
    let seen = top.stat(b"a").unwrap().unwrap();
    let keep = fs::File::open(store.live().join("a")).unwrap();
    write(&store, "", "a", b"b");
    let wanted = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    let error = top.update(b"a", &seen, &wanted).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::STALE.raw_os_error())
    );
    assert!(top.unshare_for_write(b"a", &seen).is_err());
    drop(keep);
}

#[test]
fn two_sessions_at_once_cannot_make_a_shared_inode_look_private() {
    let store = Store::new(Metadata::detect());
    let other =
        TenantRoot::open(&store.home, Metadata::detect(), std::sync::Arc::default()).unwrap();
    let (top, elsewhere) = (store.top(), other.dir(&TenantPath::root()).unwrap());
    write(&store, "", "a", b"a");
    let snapshot = store.snapshot("snapshot");
    let as_taken = describe_tree(&snapshot);
    let mut replaced = 0;
    for round in 0..300 {
        let _ = fs::remove_file(store.live().join("a"));
        let _ = fs::remove_file(store.live().join("b"));
        fs::hard_link(snapshot.join("a"), store.live().join("a")).unwrap();
        let seen = top.stat(b"a").unwrap().unwrap();
        let wanted = Attributes {
            mtime: Some(time(round, 0)),
            ..Attributes::default()
        };
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                // The count of links goes up and down, and the name goes away.
                let _ = elsewhere.link(b"b", &elsewhere, b"a", Replace::Yes);
                let _ = elsewhere.remove_file(if round % 2 == 0 { b"a" } else { b"b" });
                let _ = elsewhere.link(b"a", &elsewhere, b"b", Replace::Yes);
            });
            barrier.wait();
            // Whatever comes of it (the name may be gone), it is not in place.
            match top.update(b"a", &seen, &wanted) {
                Ok(updated) => {
                    assert_eq!(updated.how, How::Replaced);
                    replaced += 1;
                }
                Err(_) => {
                    let _ = top.unshare_for_write(b"a", &seen);
                }
            }
        });
        assert!(as_taken == describe_tree(&snapshot), "round {round}");
    }
    assert!(replaced > 0);
    assert!(store.staging_is_empty());
}

#[test]
fn a_name_counts_once_though_its_directory_was_renamed_since_it_was_opened() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    top.make_dir(b"d", 0o755).unwrap();
    write(&store, "d", "f", b"f");
    // Two names in live and one in the snapshot: what would come out, if one counted twice.
    let snapshot = store.snapshot("snapshot");
    let as_taken = describe_tree(&snapshot.join("d"));
    top.link(b"g", &store.dir("d"), b"f", Replace::No).unwrap();
    let held = top.open_dir(b"d").unwrap();
    top.rename(b"d", &top, b"e").unwrap();
    let seen = held.stat(b"f").unwrap().unwrap();
    assert_eq!(seen.nlink, 3);
    let wanted = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    assert_eq!(
        held.update(b"f", &seen, &wanted).unwrap().how,
        How::Replaced
    );
    assert!(as_taken == describe_tree(&snapshot.join("d")));
    let inodes = ["e/f", "g"].map(|name| inode_of(&store.live().join(name)));
    assert_eq!(inodes[0], inodes[1]);
}

#[test]
fn a_group_may_have_more_names_than_there_are_descriptors() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    write(&store, "", "f", b"f");
    for number in 0..30 {
        let dir = format!("{number}");
        top.make_dir(dir.as_bytes(), 0o755).unwrap();
        let dir = store.dir(&dir);
        for number in 0..50 {
            let name = format!("{number}");
            dir.link(name.as_bytes(), &top, b"f", Replace::No).unwrap();
        }
    }
    let snapshot = store.snapshot("snapshot");
    let as_taken = describe(&snapshot.join("29/49"));
    let seen = top.stat(b"f").unwrap().unwrap();
    assert_eq!(seen.nlink, 2 * 1501);
    let wanted = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    assert_eq!(top.update(b"f", &seen, &wanted).unwrap().how, How::Replaced);
    assert_eq!(top.stat(b"f").unwrap().unwrap().nlink, 1501);
    assert_eq!(inode_of(&snapshot.join("29/49")), seen.ino);
    assert_eq!(as_taken, describe(&snapshot.join("29/49")));
    assert!(store.staging_is_empty());
}

#[test]
fn a_decision_about_sharing_and_a_change_of_names_wait_for_each_other() {
    let store = Store::new(Metadata::detect());
    let other =
        TenantRoot::open(&store.home, Metadata::detect(), std::sync::Arc::default()).unwrap();
    let (top, elsewhere) = (store.top(), other.dir(&TenantPath::root()).unwrap());
    let state = &top.shared.live_state;
    let wanted = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    let seen = |name: &[u8]| elsewhere.stat(name).unwrap().unwrap();
    let staged = |name: &[u8]| {
        elsewhere
            .stage(0o644)?
            .publish(&elsewhere, name, Replace::Yes)
    };
    // While names change, nobody decides; while somebody decides, no name changes.
    let decisions: [&(dyn Fn() -> std::io::Result<()> + Sync); 2] = [
        &|| elsewhere.update(b"a", &seen(b"a"), &wanted).map(drop),
        &|| elsewhere.unshare_for_write(b"b", &seen(b"b")).map(drop),
    ];
    let changes: [&(dyn Fn() -> std::io::Result<()> + Sync); 5] = [
        &|| elsewhere.link(b"c", &elsewhere, b"a", Replace::No),
        &|| elsewhere.link(b"c", &elsewhere, b"a", Replace::Yes),
        &|| elsewhere.rename(b"c", &elsewhere, b"d"),
        &|| elsewhere.remove_file(b"d"),
        &|| staged(b"a"),
    ];
    write(&store, "", "a", b"a");
    write(&store, "", "b", b"b");
    for (number, decision) in decisions.iter().enumerate() {
        assert!(waits(state.names_change(), decision), "decision {number}");
    }
    for (number, change) in changes.iter().enumerate() {
        assert!(waits(state.links_change(), change), "change {number}");
    }
}

/// Whether the work goes on only when the lock is let go.
fn waits<L>(lock: L, work: &(dyn Fn() -> std::io::Result<()> + Sync)) -> bool {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            work().unwrap();
            done.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(50));
        let waited = !done.load(Ordering::SeqCst);
        drop(lock);
        thread.join().unwrap();
        waited
    })
}
