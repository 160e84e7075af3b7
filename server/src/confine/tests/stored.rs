//! What cannot be set is stored as stock `rsync --fake-super` stores it, and read back.

use std::io::Write;

use super::*;

/// A tree with everything worth storing, made by whoever is called.
struct Sample {
    xattrs: XattrSet,
    acl: PosixAcl,
    default: PosixAcl,
}

impl Sample {
    fn new() -> Sample {
        let acl = PosixAcl {
            mask: Some(7),
            users: vec![(1, 6)],
            groups: vec![(54321, 4)],
            ..PosixAcl::from_mode(0o755)
        };
        Sample {
            xattrs: set(&[("user.q", "1"), ("trusted.t", "2"), ("security.foo", "3")]),
            default: PosixAcl {
                mask: Some(7),
                users: vec![(2, 7)],
                ..PosixAcl::from_mode(0o755)
            },
            acl,
        }
    }

    fn attributes(&self, kind: Kind, mode: u32, uid: u32, gid: u32) -> Attributes<'_> {
        Attributes {
            uid: Some(uid),
            gid: Some(gid),
            mode: Some(mode),
            mtime: Some(time(1_500_000_000, 500_000_000)),
            xattrs: (kind == Kind::File).then_some(&self.xattrs),
            ..Attributes::default()
        }
    }
}

type Entry = (&'static str, Kind, u32, (u32, u32), u32, u32);

/// Name, kind, mode, device numbers, owner, group.
const ENTRIES: [Entry; 9] = [
    ("setuid", Kind::File, 0o4755, (0, 0), 7, 8),
    ("unreadable", Kind::File, 0o000, (0, 0), 0, 0),
    ("plain", Kind::File, 0o640, (0, 0), 0, 0),
    ("dir", Kind::Dir, 0o2500, (0, 0), 9, 9),
    ("link", Kind::Symlink, 0o777, (0, 0), 1, 2),
    ("char", Kind::CharDevice, 0o644, (1, 3), 0, 6),
    ("block", Kind::BlockDevice, 0o660, (8, 17), 0, 6),
    ("fifo", Kind::Fifo, 0o600, (0, 0), 3, 4),
    ("socket", Kind::Socket, 0o755, (0, 0), 0, 0),
];

fn fill(store: &Store, sample: &Sample) {
    let top = store.top();
    for (name, kind, mode, rdev, uid, gid) in ENTRIES {
        let name = name.as_bytes();
        let wanted = sample.attributes(kind, mode, uid, gid);
        let errors = match kind {
            Kind::File => {
                let mut staged = top.stage(mode).unwrap();
                staged.file().write_all(name).unwrap();
                let errors = staged.apply(&wanted).unwrap();
                staged.publish(&top, name, Replace::No).unwrap();
                errors
            }
            Kind::Dir => {
                top.make_dir(name, mode).unwrap();
                let seen = top.stat(name).unwrap().unwrap();
                let wanted = Attributes {
                    default_acl: Some(AclChange::Set(&sample.default)),
                    ..wanted
                };
                top.update(name, &seen, &wanted).unwrap().errors
            }
            Kind::Symlink => top
                .make_symlink(name, b"../tgt", &wanted, Replace::No)
                .unwrap(),
            _ => top
                .make_node(name, kind, rdev, &wanted, Replace::No)
                .unwrap(),
        };
        assert!(errors.is_empty(), "{errors:?}");
    }
    let staged = top.stage(0o775).unwrap();
    staged.publish(&top, b"acl", Replace::No).unwrap();
    let seen = top.stat(b"acl").unwrap().unwrap();
    let wanted = Attributes {
        mode: Some(0o775),
        mtime: Some(time(1_500_000_000, 0)),
        access_acl: Some(AclChange::Set(&sample.acl)),
        ..Attributes::default()
    };
    assert!(
        top.update(b"acl", &seen, &wanted)
            .unwrap()
            .errors
            .is_empty()
    );
}

fn expect_sample(store: &Store, sample: &Sample) {
    let top = store.top();
    for (name, kind, mode, rdev, uid, gid) in ENTRIES {
        let stat = top.stat(name.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (stat.kind, stat.mode, stat.rdev, stat.uid, stat.gid),
            (kind, mode, rdev, uid, gid),
            "{name}"
        );
        assert_eq!(stat.mtime.secs, 1_500_000_000, "{name}");
        if kind == Kind::File {
            assert_eq!(top.xattrs(name.as_bytes()).unwrap(), sample.xattrs);
        }
        assert_eq!(
            top.acl(name.as_bytes(), &stat, AclKind::Access).unwrap(),
            None
        );
        let opened = top.open_file(name.as_bytes());
        assert_eq!(opened.is_ok(), kind == Kind::File, "{name}");
    }
    assert_eq!(top.read_link(b"link").unwrap(), b"../tgt");
    assert!(top.read_link(b"plain").is_err());
    assert_eq!(top.stat(b"link").unwrap().unwrap().size, 6);
    let stat = top.stat(b"dir").unwrap().unwrap();
    let default = top.acl(b"dir", &stat, AclKind::Default).unwrap();
    assert_eq!(default.as_ref(), Some(&sample.default));
    let stat = top.stat(b"acl").unwrap().unwrap();
    let acl = top.acl(b"acl", &stat, AclKind::Access).unwrap();
    assert_eq!(acl.as_ref(), Some(&sample.acl));
}

fn text(path: &Path, name: &str) -> Option<String> {
    let value = xattrs_of(path).remove(name.as_bytes())?;
    Some(String::from_utf8(value).unwrap())
}

#[test]
fn what_is_stored_is_read_back_and_lies_on_disk_in_rsyncs_format() {
    let store = Store::new(Metadata::Xattr);
    let sample = Sample::new();
    fill(&store, &sample);
    expect_sample(&store, &sample);
    let live = store.live();
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    for (name, stat) in [
        ("setuid", "104755 0,0 7:8"),
        ("unreadable", "100000 0,0 0:0"),
        ("dir", "42500 0,0 9:9"),
        ("link", "120777 0,0 1:2"),
        ("char", "20644 1,3 0:6"),
        ("block", "60660 8,17 0:6"),
        ("fifo", "10600 0,0 3:4"),
        ("socket", "140755 0,0 0:0"),
    ] {
        assert_eq!(
            text(&live.join(name), "user.rsync.%stat").as_deref(),
            Some(stat),
            "{name}"
        );
        let inode = fs::symlink_metadata(live.join(name)).unwrap();
        assert!(inode.is_file() || inode.is_dir(), "{name}");
        assert_eq!((inode.uid(), inode.gid()), (uid, gid), "{name}");
        let mode = u32::from_str_radix(stat.split(' ').next().unwrap(), 8).unwrap();
        let least = if name == "dir" { 0o700 } else { 0o600 };
        assert_eq!(inode.mode() & 0o7777, mode & 0o777 | least, "{name}");
    }
    if (uid, gid) == (0, 0) {
        assert_eq!(text(&live.join("plain"), "user.rsync.%stat"), None);
    }
    assert_eq!(
        text(&live.join("plain"), "user.rsync.trusted.t").as_deref(),
        Some("2")
    );
    assert_eq!(fs::read(live.join("link")).unwrap(), b"../tgt");
    let entries = store.top().entries().unwrap();
    let told: Vec<_> = entries.iter().filter_map(|entry| entry.kind).collect();
    assert_eq!(told, [Kind::Dir], "a regular file may stand for anything");
}

#[test]
fn stored_attributes_change_without_touching_a_snapshot() {
    let store = Store::new(Metadata::Xattr);
    fill(&store, &Sample::new());
    let snapshot = store.snapshot("snapshot");
    let as_taken = describe_tree(&snapshot);
    let top = store.top();
    for (name, kind, ..) in ENTRIES {
        let name = name.as_bytes();
        let seen = top.stat(name).unwrap().unwrap();
        let wanted = Attributes {
            uid: Some(4242),
            mode: Some(0o711),
            ..Attributes::default()
        };
        let updated = top.update(name, &seen, &wanted).unwrap();
        assert!(updated.errors.is_empty());
        let how = if kind == Kind::Dir {
            How::InPlace
        } else {
            How::Replaced
        };
        assert_eq!(updated.how, how);
        let now = top.stat(name).unwrap().unwrap();
        let mode = if kind == Kind::Symlink { 0o777 } else { 0o711 };
        assert_eq!(
            (now.kind, now.mode, now.uid, now.gid),
            (kind, mode, 4242, seen.gid)
        );
        assert_eq!(
            (now.rdev, now.mtime, now.size),
            (seen.rdev, seen.mtime, seen.size)
        );
        let again = top.update(name, &now, &wanted).unwrap();
        assert_eq!(again.how, How::Unchanged);
    }
    // chmod moves the mask of a stored ACL, as the kernel does with its own.
    let seen = top.stat(b"acl").unwrap().unwrap();
    let wanted = Attributes {
        mode: Some(0o710),
        ..Attributes::default()
    };
    top.update(b"acl", &seen, &wanted).unwrap();
    let now = top.stat(b"acl").unwrap().unwrap();
    let acl = top.acl(b"acl", &now, AclKind::Access).unwrap().unwrap();
    assert_eq!((acl.mask, acl.other), (Some(1), 0));
    let mut is = describe_tree(&snapshot);
    let mut was = as_taken;
    // A directory is not shared; the snapshot's was made with an mtime of its own.
    for tree in [&mut is, &mut was] {
        tree.remove(Path::new(""));
    }
    assert!(is == was);
}

/// Runs stock rsync; `None`, with a line that says so, where there is none.
fn rsync(arguments: &[&str], from: &Path, to: &Path) -> Option<()> {
    let mut from = from.as_os_str().to_owned();
    from.push("/");
    let output = Command::new("rsync")
        .args(arguments)
        .arg(from)
        .arg(to)
        .output();
    match output {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "rsync {arguments:?}: {error}");
            Some(())
        }
        Err(_) => {
            eprintln!("skipped: no stock rsync here");
            None
        }
    }
}

#[test]
fn stock_rsync_restores_what_we_store_and_we_read_what_it_stores() {
    needs_root!();
    let sample = Sample::new();
    let ours = Store::new(Metadata::Xattr);
    fill(&ours, &sample);
    // Ours, read by a stock sender with --fake-super, written for real.
    let real = Store::new(Metadata::Native);
    // As a pull, since a local copy has no say on what only the sender does.
    let shell = ours.home.join("shell");
    fs::write(&shell, "#!/bin/sh\nshift\nexec \"$@\"\n").unwrap();
    run("chmod", &["755"], &shell);
    let shell = shell.to_str().unwrap();
    let from = PathBuf::from(format!("here:{}", ours.live().display()));
    if rsync(
        &["-aAX", "-M--fake-super", "-e", shell],
        &from,
        &real.live(),
    )
    .is_none()
    {
        return;
    }
    expect_sample(&real, &sample);
    // The real ones, stored by a stock receiver, read by us.
    let theirs = Store::new(Metadata::Xattr);
    rsync(&["-aAX", "-M--fake-super"], &real.live(), &theirs.live()).unwrap();
    expect_sample(&theirs, &sample);
    // And on disk, both say the same.
    for (name, ..) in ENTRIES {
        let (ours, theirs) = (ours.live().join(name), theirs.live().join(name));
        assert_eq!(xattrs_of(&ours), xattrs_of(&theirs), "{name}");
        assert_eq!(
            fs::symlink_metadata(&ours).unwrap().mode(),
            fs::symlink_metadata(&theirs).unwrap().mode(),
            "{name}"
        );
    }
}
