//! What is being made is not seen, and what breaks off leaves nothing.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::*;

fn publish(dir: &Dir, name: &[u8], content: &[u8], replace: Replace) -> std::io::Result<()> {
    let staged = dir.stage(0o644)?;
    staged.file().write_all(content)?;
    staged.publish(dir, name, replace)
}

/// Once as the file system can, once as where it has no unnamed files.
fn both_ways(test: impl Fn(&Store)) {
    for named in [false, true] {
        let store = Store::new(Metadata::detect());
        store
            .top()
            .shared
            .support
            .no_tmpfile
            .store(named, Ordering::Relaxed);
        store
            .top()
            .shared
            .support
            .no_link_by_descriptor
            .store(named, Ordering::Relaxed);
        test(&store);
        assert!(store.staging_is_empty());
    }
}

#[test]
fn a_staged_file_has_no_name_until_it_is_published() {
    both_ways(|store| {
        let top = store.top();
        let staged = top.stage(0o644).unwrap();
        staged.file().write_all(b"new").unwrap();
        assert!(top.entries().unwrap().is_empty());
        staged.publish(&top, b"file", Replace::No).unwrap();
        assert_eq!(fs::read(store.live().join("file")).unwrap(), b"new");
        assert_eq!(top.stat(b"file").unwrap().unwrap().nlink, 1);
    });
}

#[test]
fn a_staged_file_that_is_dropped_leaves_nothing() {
    both_ways(|store| {
        let top = store.top();
        let staged = top.stage(0o644).unwrap();
        staged.preallocate(1 << 20).unwrap();
        drop(staged);
        assert!(top.entries().unwrap().is_empty());
    });
}

#[test]
fn a_name_that_is_taken_is_replaced_when_asked_and_kept_otherwise() {
    both_ways(|store| {
        let top = store.top();
        publish(&top, b"file", b"old", Replace::No).unwrap();
        let error = publish(&top, b"file", b"new", Replace::No).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(store.live().join("file")).unwrap(), b"old");
        publish(&top, b"file", b"new", Replace::Yes).unwrap();
        assert_eq!(fs::read(store.live().join("file")).unwrap(), b"new");
        top.make_dir(b"dir", 0o755).unwrap();
        let error = publish(&top, b"dir", b"new", Replace::Yes).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::IsADirectory);
        let nothing = Attributes::default();
        let symlink = |replace| top.make_symlink(b"file", b"target", &nothing, replace);
        assert!(symlink(Replace::No).is_err());
        symlink(Replace::Yes).unwrap();
        assert_eq!(top.read_link(b"file").unwrap(), b"target");
        top.make_node(b"file", Kind::Fifo, (0, 0), &nothing, Replace::Yes)
            .unwrap();
        assert_eq!(top.stat(b"file").unwrap().unwrap().kind, Kind::Fifo);
    });
}

#[test]
fn attributes_are_those_that_were_asked_for_whatever_the_hint_and_the_directory() {
    needs_root!();
    both_ways(|store| {
        let top = store.top();
        for (number, (hint, mode, uid)) in [
            (0o644, 0o644, 0),
            (0o600, 0o4755, 5),
            (0o777, 0o000, 6),
            (0o444, 0o7777, 7),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("{number}");
            let mut staged = top.stage(hint).unwrap();
            let wanted = Attributes {
                uid: Some(uid),
                gid: Some(uid + 1),
                mode: Some(mode),
                mtime: Some(time(12345, 678)),
                atime: Some(time(-1, 999_999_999)),
                ..Attributes::default()
            };
            assert!(staged.apply(&wanted).unwrap().is_empty());
            staged.publish(&top, name.as_bytes(), Replace::No).unwrap();
            let stat = top.stat(name.as_bytes()).unwrap().unwrap();
            assert_eq!((stat.mode, stat.uid, stat.gid), (mode, uid, uid + 1));
            assert_eq!(
                (stat.mtime, stat.atime),
                (time(12345, 678), time(-1, 999_999_999))
            );
        }
    });
}

#[test]
fn new_entries_inherit_from_their_directory_what_the_kernel_would_give_them() {
    needs_root!();
    both_ways(|store| {
        let top = store.top();
        top.make_dir(b"d", 0o755).unwrap();
        let path = store.live().join("d");
        run("setfacl", &["-d", "-m", "u:12:rwx,g:13:r-x,o::-"], &path);
        run("chown", &["0:55"], &path);
        run("chmod", &["2775"], &path);
        let dir = store.dir("d");
        let mode = Attributes {
            mode: Some(0o664),
            ..Attributes::default()
        };
        let mut staged = dir.stage(0o664).unwrap();
        assert!(staged.apply(&mode).unwrap().is_empty());
        staged.publish(&dir, b"file", Replace::No).unwrap();
        dir.make_node(b"fifo", Kind::Fifo, (0, 0), &mode, Replace::No)
            .unwrap();
        dir.make_symlink(b"link", b"x", &mode, Replace::No).unwrap();
        // Stock makes its temporary file here, 0600, and sets the mode at the end.
        fs::write(path.join("as-stock"), b"").unwrap();
        run("chmod", &["664"], &path.join("as-stock"));
        let expected = describe(&path.join("as-stock"));
        assert_eq!(expected.owner.1, 55);
        for name in ["file", "fifo"] {
            let is = describe(&path.join(name));
            assert_eq!(is.xattrs, expected.xattrs, "{name}");
            assert_eq!(
                (is.mode & 0o7777, is.owner),
                (0o664, expected.owner),
                "{name}"
            );
        }
        assert_eq!(describe(&path.join("link")).owner.1, 55);
    });
}

#[test]
fn a_time_that_the_file_system_cannot_hold_is_an_error_and_the_rest_is_set() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let mut staged = top.stage(0o600).unwrap();
    let wanted = Attributes {
        mode: Some(0o640),
        mtime: Some(time(i64::from(i32::MAX) << 8, 0)),
        ..Attributes::default()
    };
    let errors = staged.apply(&wanted).unwrap();
    staged.publish(&top, b"file", Replace::No).unwrap();
    let stat = top.stat(b"file").unwrap().unwrap();
    assert_eq!(stat.mode, 0o640);
    let held = stat.mtime == time(i64::from(i32::MAX) << 8, 0);
    let told = errors
        .iter()
        .any(|error| error.attribute == Attribute::Times);
    assert_eq!(held, !told, "{errors:?}");
    // 1902 and 2107 are in the range of every file system here.
    for secs in [-2_145_916_800, 4_323_456_000] {
        let seen = top.stat(b"file").unwrap().unwrap();
        let wanted = Attributes {
            mtime: Some(time(secs, 7)),
            ..Attributes::default()
        };
        assert!(
            top.update(b"file", &seen, &wanted)
                .unwrap()
                .errors
                .is_empty()
        );
        assert_eq!(top.stat(b"file").unwrap().unwrap().mtime, time(secs, 7));
    }
}

#[test]
fn a_failing_attribute_is_named_and_does_not_keep_the_others_from_being_set() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let mut staged = top.stage(0o600).unwrap();
    let xattrs = set(&[
        ("user.ok", "1"),
        ("user.coffre.sum", "2"),
        ("nonsense", "3"),
    ]);
    let wanted = Attributes {
        mode: Some(0o640),
        mtime: Some(time(1, 2)),
        xattrs: Some(&xattrs),
        ..Attributes::default()
    };
    let errors = staged.apply(&wanted).unwrap();
    let named: Vec<_> = errors
        .iter()
        .map(|error| error.attribute.to_string())
        .collect();
    let mut expected = vec!["extended attribute user.coffre.sum"];
    if store.root.metadata() == Metadata::Native {
        expected.insert(0, "extended attribute nonsense");
    }
    assert_eq!(named, expected);
    staged.publish(&top, b"file", Replace::No).unwrap();
    let stat = top.stat(b"file").unwrap().unwrap();
    assert_eq!((stat.mode, stat.mtime), (0o640, time(1, 2)));
    assert_eq!(top.xattrs(b"file").unwrap()[&b"user.ok"[..]], b"1");
}

#[test]
fn what_a_crash_left_in_staging_is_swept() {
    let store = Store::new(Metadata::detect());
    let staging = store.home.join(".staging");
    fs::write(staging.join("0123-1"), b"left").unwrap();
    fs::create_dir_all(staging.join("0123-2/below")).unwrap();
    fs::write(staging.join("0123-2/below/file"), b"left").unwrap();
    std::os::unix::fs::symlink(store.live(), staging.join("0123-3")).unwrap();
    publish(&store.top(), b"kept", b"kept", Replace::No).unwrap();
    fs::create_dir(store.live().join(".coffre-staging")).unwrap();
    fs::write(store.live().join(".coffre-staging/a-clients-own"), b"").unwrap();
    assert_eq!(TenantRoot::sweep(&store.home).unwrap(), 5);
    assert!(store.staging_is_empty());
    assert!(store.live().join("kept").exists());
    assert!(store.live().join(".coffre-staging/a-clients-own").exists());
    assert_eq!(TenantRoot::sweep(&store.home.join("none")).unwrap(), 0);
}

#[test]
fn what_a_broken_push_left_moves_between_the_tree_and_its_own_place() {
    let store = Store::new(Metadata::detect());
    let (top, partial) = (store.top(), store.root.partial().unwrap());
    publish(&partial, b"key", b"half", Replace::Yes).unwrap();
    assert!(top.entries().unwrap().is_empty());
    assert_eq!(
        std::io::read_to_string(partial.open_file(b"key").unwrap()).unwrap(),
        "half"
    );
    partial.rename(b"key", &top, b"file").unwrap();
    assert_eq!(fs::read(store.live().join("file")).unwrap(), b"half");
}

#[test]
fn a_live_tree_that_is_a_subvolume_keeps_its_staging_inside_and_out_of_sight() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new("btrfs", dir.path()) else {
        return;
    };
    let home = mount.at.join("home");
    fs::create_dir(&home).unwrap();
    run("btrfs", &["-q", "subvolume", "create"], &home.join("live"));
    let root = TenantRoot::open(&home, Metadata::Native, std::sync::Arc::default()).unwrap();
    let top = root.dir(&TenantPath::root()).unwrap();
    publish(&top, b"file", b"one", Replace::No).unwrap();
    publish(&top, b"file", b"two", Replace::Yes).unwrap();
    top.make_symlink(b"link", b"x", &Attributes::default(), Replace::Yes)
        .unwrap();
    assert_eq!(top.entries().unwrap().len(), 2);
    // Nor is it seen by who reads, in live or in a snapshot of the subvolume.
    fs::create_dir(home.join("snapshots")).unwrap();
    run(
        "btrfs",
        &[
            "-q",
            "subvolume",
            "snapshot",
            home.join("live").to_str().unwrap(),
        ],
        &home.join("snapshots/one"),
    );
    for tree in ["live", "snapshots/one"] {
        assert!(home.join(tree).join(".coffre-staging").is_dir(), "{tree}");
        let read = TenantRoot::open_read_only(&home.join(tree), Metadata::Native).unwrap();
        let top = read.dir(&TenantPath::root()).unwrap();
        assert_eq!(top.entries().unwrap().len(), 2, "{tree}");
        let error = top.open_dir(b".coffre-staging").err().unwrap();
        assert_eq!(Escape::of(&error), Some(Escape::Reserved));
    }
    let reserved = [
        top.stat(b".coffre-staging").err(),
        top.remove_dir(b".coffre-staging").err(),
        top.open_dir(b".coffre-staging").err(),
        root.dir(&at(".coffre-staging")).err(),
        root.dir(&at(".coffre-staging/x")).err(),
    ];
    for error in reserved {
        assert_eq!(Escape::of(&error.unwrap()), Some(Escape::Reserved));
    }
    // Things move over the border as copies, with all that is theirs.
    let partial = root.partial().unwrap();
    let mut staged = top.stage(0o600).unwrap();
    staged.file().write_all(b"half").unwrap();
    let xattrs = set(&[("user.note", "1")]);
    let wanted = Attributes {
        mtime: Some(time(9, 9)),
        xattrs: Some(&xattrs),
        ..Attributes::default()
    };
    assert!(staged.apply(&wanted).unwrap().is_empty());
    staged.publish(&partial, b"key", Replace::Yes).unwrap();
    let kept = describe(&home.join(".partial/key"));
    assert_eq!(
        (kept.content.as_slice(), kept.mtime),
        (&b"half"[..], (9, 9))
    );
    partial.rename(b"key", &top, b"back").unwrap();
    assert_eq!(describe(&home.join("live/back")), kept);
    assert!(partial.entries().unwrap().is_empty());
    fs::write(home.join("live/.coffre-staging/left"), b"").unwrap();
    assert_eq!(TenantRoot::sweep(&home).unwrap(), 1);
    drop((root, top, partial));
    drop(mount);
}
