//! Landlock alone keeps a thread inside, and what a session does works under it.

use std::io::Write;

use super::landlock::{Access, Enforced, confine_thread, receiving, support};
use super::*;
use crate::config::LandlockPolicy;

/// Runs on a thread that is restricted to the places of a receiving session; `None`, with a line
/// that says so, on a kernel without.
fn confined<T: Send>(store: &Store, work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            match confine_thread(LandlockPolicy::Auto, &receiving(&store.home)).unwrap() {
                Enforced::Yes(_) => Some(work()),
                Enforced::No => {
                    eprintln!("skipped: {}", support());
                    None
                }
            }
        });
        thread.join().unwrap()
    })
}

#[test]
fn landlock_alone_stops_what_leads_outside() {
    let store = Store::new(Metadata::detect());
    let outside = store.home.join("outside");
    fs::write(&outside, b"secret").unwrap();
    fs::write(store.live().join("inside"), b"mine").unwrap();
    let before = describe_tree(&store.home);
    let denied = confined(&store, || {
        [
            fs::read(&outside).err(),
            fs::read("/etc/passwd").err(),
            fs::write(&outside, b"x").err(),
            fs::write(store.home.join("new"), b"x").err(),
            fs::remove_file(&outside).err(),
            fs::hard_link(store.live().join("inside"), store.home.join("new")).err(),
            fs::rename(store.live().join("inside"), store.home.join("new")).err(),
            fs::read_dir(&store.home).err(),
            Command::new("/bin/true").status().err(),
        ]
    });
    let Some(denied) = denied else { return };
    for (number, error) in denied.into_iter().enumerate() {
        let kind = error.map(|error| error.kind());
        assert!(
            matches!(
                kind,
                Some(std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::CrossesDevices)
            ),
            "{number}: {kind:?}"
        );
    }
    assert_eq!(before, describe_tree(&store.home));
    // Only that thread is restricted.
    assert_eq!(fs::read(&outside).unwrap(), b"secret");
}

/// Landlock has no say about attributes, so that they are safe rests on descriptors alone: a link
/// in the way of any of these calls, planted before or in the middle, leads nowhere.
#[test]
fn attributes_outside_are_safe_although_landlock_does_not_guard_them() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    let store = Store::new(Metadata::detect());
    let outside = store.home.join("outside");
    fs::write(&outside, b"secret").unwrap();
    let mode = |mode| fs::Permissions::from_mode(mode);
    let live = store.live();
    let guarded = confined(&store, || {
        fs::set_permissions(&outside, mode(0o640)).err().is_some()
            || fs::metadata(&outside).err().is_some()
    });
    if let Some(guarded) = guarded {
        assert!(!guarded, "the kernel guards attributes by now: say so");
    }
    fs::set_permissions(&outside, mode(0o644)).unwrap();
    let before = describe_tree(&store.home.join("outside"));

    let xattrs = set(&[("user.note", "planted")]);
    let wanted = Attributes {
        uid: is_root().then_some(7),
        gid: is_root().then_some(7),
        mode: Some(0o4777),
        mtime: Some(time(1, 1)),
        atime: Some(time(2, 2)),
        xattrs: Some(&xattrs),
        ..Attributes::default()
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flipper = scope.spawn(|| {
            let (name, other) = (live.join("name"), live.join("other"));
            for round in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return round;
                }
                fs::write(&other, b"a file").unwrap();
                fs::rename(&other, &name).unwrap();
                symlink(&outside, &other).unwrap();
                fs::rename(&other, &name).unwrap();
            }
            0
        });
        // Without Landlock, too: it is not what holds here.
        for confine in [false, true] {
            let attempts = || {
                let top = store.top();
                let mut done = 0;
                for _ in 0..20_000 {
                    let Ok(Some(seen)) = top.stat(b"name") else {
                        continue;
                    };
                    done += u32::from(top.update(b"name", &seen, &wanted).is_ok());
                    let _ = top.xattrs(b"name");
                    let _ = top.acl(b"name", &seen, AclKind::Access);
                    let _ = top.open_file(b"name").map(|file| {
                        let content = std::io::read_to_string(file).unwrap();
                        assert_ne!(content, "secret");
                    });
                    if done > 500 {
                        break;
                    }
                }
                assert!(done > 0, "nothing was ever set");
            };
            match confine {
                false => attempts(),
                true => {
                    confined(&store, attempts);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(flipper.join().unwrap() > 0);
    });
    assert_eq!(before, describe_tree(&store.home.join("outside")));
}

#[test]
fn everything_a_session_does_works_under_landlock() {
    for metadata in [Metadata::detect(), Metadata::Xattr] {
        for unnamed in [true, false] {
            let store = Store::new(metadata);
            fs::write(store.live().join("shared"), b"old").unwrap();
            store.snapshot("snapshot");
            let lack = &store.top().shared.support.no_link_by_descriptor;
            lack.store(!unnamed, std::sync::atomic::Ordering::Relaxed);
            confined(&store, || session(&store));
        }
    }
}

fn session(store: &Store) {
    let top = store.top();
    let xattrs = set(&[("user.note", "1")]);
    let wanted = Attributes {
        mode: Some(0o640),
        mtime: Some(time(1, 2)),
        xattrs: Some(&xattrs),
        access_acl: Some(AclChange::Remove),
        ..Attributes::default()
    };
    top.make_dir(b"d", 0o755).unwrap();
    let dir = store.dir("d");
    for replace in [Replace::No, Replace::Yes] {
        let mut staged = dir.stage(0o600).unwrap();
        staged.file().write_all(b"text").unwrap();
        assert!(staged.apply(&wanted).unwrap().is_empty());
        staged.publish(&dir, b"file", replace).unwrap();
    }
    let seen = top.stat(b"shared").unwrap().unwrap();
    assert_eq!(
        top.update(b"shared", &seen, &wanted).unwrap().how,
        How::Replaced
    );
    top.link(b"linked", &dir, b"file", Replace::No).unwrap();
    top.link(b"shared", &dir, b"file", Replace::Yes).unwrap();
    let seen = top.stat(b"linked").unwrap().unwrap();
    let mut file = top.unshare_for_write(b"linked", &seen).unwrap();
    file.write_all(b"longer than before").unwrap();
    file.set_len(3).unwrap();
    top.make_symlink(b"symlink", b"x", &Attributes::default(), Replace::Yes)
        .unwrap();
    let mode = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    top.make_node(b"fifo", Kind::Fifo, (0, 0), &mode, Replace::No)
        .unwrap();
    if is_root() {
        top.make_node(b"char", Kind::CharDevice, (1, 3), &mode, Replace::No)
            .unwrap();
        let seen = top.stat(b"char").unwrap().unwrap();
        let wanted = Attributes {
            mode: Some(0o666),
            ..Attributes::default()
        };
        assert!(
            top.update(b"char", &seen, &wanted)
                .unwrap()
                .errors
                .is_empty()
        );
    }
    assert_eq!(
        std::io::read_to_string(dir.open_file(b"file").unwrap()).unwrap(),
        "lon"
    );
    assert_eq!(top.xattrs(b"shared").unwrap(), xattrs);
    top.rename(b"symlink", &dir, b"moved").unwrap();
    dir.remove_file(b"moved").unwrap();
    let partial = store.root.partial().unwrap();
    top.rename(b"linked", &partial, b"kept").unwrap();
    dir.remove_file(b"file").unwrap();
    top.remove_dir(b"d").unwrap();
    assert!(top.entries().unwrap().len() >= 2);
    store.root.sync().unwrap();
}

#[test]
fn a_restore_can_read_and_nothing_else() {
    let store = Store::new(Metadata::detect());
    fs::write(store.live().join("file"), b"text").unwrap();
    let root = TenantRoot::open_read_only(&store.live(), Metadata::detect()).unwrap();
    let work = || {
        let places = [(store.live(), Access::Read)];
        if confine_thread(LandlockPolicy::Auto, &places).unwrap() == Enforced::No {
            eprintln!("skipped: {}", support());
            return;
        }
        let top = root.dir(&TenantPath::root()).unwrap();
        assert_eq!(
            std::io::read_to_string(top.open_file(b"file").unwrap()).unwrap(),
            "text"
        );
        assert_eq!(top.entries().unwrap().len(), 1);
        assert!(fs::write(store.live().join("file"), b"x").is_err());
        assert!(fs::remove_file(store.live().join("file")).is_err());
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}

#[test]
fn the_policy_decides_what_a_missing_place_or_kernel_means() {
    let store = Store::new(Metadata::detect());
    let places = receiving(&store.home.join("none"));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(
                confine_thread(LandlockPolicy::Off, &places).unwrap(),
                Enforced::No
            );
            if support().is_usable() {
                let error = confine_thread(LandlockPolicy::Auto, &places).unwrap_err();
                assert!(error.to_string().starts_with("cannot open `"), "{error}");
                let places = receiving(&store.home);
                let enforced = confine_thread(LandlockPolicy::Required, &places).unwrap();
                assert!(matches!(enforced, Enforced::Yes(abi) if abi >= 2));
            } else {
                let error = confine_thread(LandlockPolicy::Required, &places).unwrap_err();
                assert!(error.to_string().contains("landlock"), "{error}");
            }
        });
        thread.join().unwrap();
    });
    eprintln!("{}", support());
}
