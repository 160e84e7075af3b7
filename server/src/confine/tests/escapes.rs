//! Nothing outside the root is read or written, however the way there is laid.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;

fn escape_of<T>(result: std::io::Result<T>) -> Option<Escape> {
    result.err().as_ref().and_then(Escape::of)
}

/// A directory outside, with something in it worth reading and overwriting.
fn outside(store: &Store) -> PathBuf {
    let outside = store.home.join("outside");
    fs::create_dir_all(outside.join("d")).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    fs::write(outside.join("d/secret"), b"secret").unwrap();
    outside
}

#[test]
fn a_symbolic_link_at_any_component_stops_the_walk() {
    let store = Store::new(Metadata::detect());
    let outside = outside(&store);
    fs::create_dir_all(store.live().join("a/b/c")).unwrap();
    symlink(&outside, store.live().join("link")).unwrap();
    symlink(&outside, store.live().join("a/link")).unwrap();
    symlink("..", store.live().join("a/up")).unwrap();
    symlink("b", store.live().join("a/inside")).unwrap();
    for path in [
        "link",
        "link/d",
        "a/link",
        "a/link/d",
        "a/up",
        "a/inside",
        "a/inside/c",
    ] {
        assert_eq!(
            escape_of(store.root.dir(&at(path))),
            Some(Escape::SymbolicLink),
            "{path}"
        );
        assert!(store.root.cached_dir(&at(path)).is_err(), "{path}");
    }
    assert_eq!(
        escape_of(store.dir("a").open_dir(b"up")),
        Some(Escape::SymbolicLink)
    );
    let top = store.top();
    assert_eq!(top.stat(b"link").unwrap().unwrap().kind, Kind::Symlink);
    assert!(top.open_file(b"link").is_err());
    assert!(top.visit_entries(|_, _, _| Ok(())).is_ok());
}

#[test]
fn names_that_are_paths_are_refused_by_every_call() {
    let store = Store::new(Metadata::detect());
    let outside = outside(&store);
    let before = describe_tree(&outside);
    let top = store.top();
    top.stage(0o644)
        .unwrap()
        .publish(&top, b"ok", Replace::No)
        .unwrap();
    let seen = top.stat(b"ok").unwrap().unwrap();
    let nothing = Attributes::default();
    for name in [
        &b".."[..],
        b".",
        b"",
        b"../outside/secret",
        b"a/b",
        b"/etc/passwd",
        b"a\0b",
    ] {
        let refused = [
            escape_of(top.stat(name)),
            escape_of(top.open_dir(name)),
            escape_of(top.open_file(name)),
            escape_of(top.read_link(name)),
            escape_of(top.xattrs(name)),
            escape_of(top.acl(name, &seen, AclKind::Access)),
            escape_of(top.update(name, &seen, &nothing)),
            escape_of(top.unshare_for_write(name, &seen)),
            escape_of(top.make_dir(name, 0o755)),
            escape_of(top.make_symlink(name, b"x", &nothing, Replace::Yes)),
            escape_of(top.make_node(name, Kind::Fifo, (0, 0), &nothing, Replace::Yes)),
            escape_of(top.link(name, &top, b"ok", Replace::Yes)),
            escape_of(top.link(b"new", &top, name, Replace::Yes)),
            escape_of(top.remove_file(name)),
            escape_of(top.remove_dir(name)),
            escape_of(top.rename(name, &top, b"new")),
            escape_of(top.rename(b"ok", &top, name)),
            escape_of(top.stage(0o644).unwrap().publish(&top, name, Replace::Yes)),
        ];
        assert_eq!(refused, [Some(Escape::NotAName); 18], "{name:?}");
    }
    assert_eq!(before, describe_tree(&outside));
    assert!(store.staging_is_empty());
}

#[test]
fn devices_fifos_and_links_are_never_opened_as_a_basis() {
    needs_root!();
    let store = Store::new(Metadata::Native);
    let top = store.top();
    let nothing = Attributes::default();
    // Opening the first would wait for ever, the second fails loudly when there is no such device.
    top.make_node(b"fifo", Kind::Fifo, (0, 0), &nothing, Replace::No)
        .unwrap();
    top.make_node(b"char", Kind::CharDevice, (240, 77), &nothing, Replace::No)
        .unwrap();
    top.make_symlink(b"link", b"fifo", &nothing, Replace::No)
        .unwrap();
    top.make_dir(b"dir", 0o755).unwrap();
    for name in [&b"fifo"[..], b"char", b"link", b"dir"] {
        let error = top.open_file(name).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
    }
    // Where anybody may change the tree, nothing is taken for what it was seen to be.
    for name in [&b"fifo"[..], b"char", b"link", b"dir"] {
        let error = top.open_seen(name).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn what_was_seen_in_a_snapshot_is_opened_at_once_and_only_if_it_is_a_file() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let nothing = Attributes::default();
    let staged = top.stage(0o644).unwrap();
    staged.file().write_all(b"text").unwrap();
    staged.publish(&top, b"file", Replace::No).unwrap();
    top.make_node(b"fifo", Kind::Fifo, (0, 0), &nothing, Replace::No)
        .unwrap();
    top.make_symlink(b"link", b"file", &nothing, Replace::No)
        .unwrap();
    top.make_dir(b"dir", 0o755).unwrap();
    let root = TenantRoot::open_read_only(&store.live(), Metadata::detect()).unwrap();
    let top = root.unchanging().dir(&TenantPath::root()).unwrap();
    let (file, size) = top.open_seen(b"file").unwrap();
    assert_eq!(size, 4);
    assert_eq!(std::io::read_to_string(file).unwrap(), "text");
    for name in [&b"fifo"[..], b"link", b"dir"] {
        let error = top.open_seen(name).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
    }
    for name in [&b".."[..], b"", b"dir/file"] {
        assert!(top.open_seen(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_directory_that_flips_to_a_link_outside_leads_nowhere() {
    let store = Store::new(Metadata::detect());
    let outside = outside(&store);
    let before = describe_tree(&outside);
    let live = store.live();
    fs::create_dir_all(live.join("flip/d")).unwrap();
    fs::create_dir_all(live.join("real/d")).unwrap();
    fs::remove_dir_all(live.join("flip")).unwrap();
    let stop = AtomicBool::new(false);
    let flips = AtomicU32::new(0);
    let mut outcomes = [0_u32; 2];
    std::thread::scope(|scope| {
        let flipper = scope.spawn(|| {
            let (real, flip) = (live.join("real"), live.join("flip"));
            while !stop.load(Ordering::Relaxed) {
                symlink(&outside, &flip).unwrap();
                fs::remove_file(&flip).unwrap();
                fs::rename(&real, &flip).unwrap();
                std::thread::yield_now();
                fs::rename(&flip, &real).unwrap();
                flips.fetch_add(1, Ordering::Relaxed);
            }
        });
        let wanted = Attributes {
            mode: Some(0o600),
            mtime: Some(time(1, 1)),
            ..Attributes::default()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        for round in 0_u32.. {
            let enough = flips.load(Ordering::Relaxed) > 2_000 && outcomes[1] > 200;
            if enough || Instant::now() > deadline {
                break;
            }
            let path = at(if round % 2 == 0 { "flip" } else { "flip/d" });
            let Ok(dir) = store.root.dir(&path) else {
                outcomes[0] += 1;
                continue;
            };
            outcomes[1] += 1;
            let name: &[u8] = if round % 3 == 0 { b"secret" } else { b"new" };
            // Whatever it answers: the directory may have moved away, but only inside.
            let _ = dir.open_file(name).map(|file| {
                let content = std::io::read_to_string(file).unwrap();
                assert_ne!(content, "secret", "a file outside was opened");
            });
            if let Ok(staged) = dir.stage(0o644) {
                staged.file().write_all(b"mine").unwrap();
                let _ = staged.publish(&dir, name, Replace::Yes);
            }
            if let Ok(Some(seen)) = dir.stat(name) {
                let _ = dir.update(name, &seen, &wanted);
                let _ = dir.unshare_for_write(name, &seen);
            }
            let _ = dir.make_dir(b"sub", 0o755);
            let _ = dir.remove_dir(b"sub");
            let _ = dir.link(b"linked", &dir, name, Replace::Yes);
            let _ = dir.remove_file(b"linked");
            if let Ok(cached) = store.root.cached_dir(&path) {
                let _ = cached.remove_file(name);
            }
        }
        stop.store(true, Ordering::Relaxed);
        flipper.join().unwrap();
        let flips = flips.load(Ordering::Relaxed);
        eprintln!(
            "{flips} flips; opened {}, refused {}",
            outcomes[1], outcomes[0]
        );
        assert!(flips > 1000 && outcomes[0] > 0 && outcomes[1] > 0);
    });
    assert_eq!(before, describe_tree(&outside));
    assert!(store.staging_is_empty());
}

#[test]
fn a_cached_directory_that_was_removed_or_replaced_is_opened_anew() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let other =
        TenantRoot::open(&store.home, Metadata::detect(), std::sync::Arc::default()).unwrap();
    let elsewhere = other.dir(&TenantPath::root()).unwrap();
    for who in [&*top, &elsewhere] {
        top.make_dir(b"d", 0o755).unwrap();
        store.dir("d").make_dir(b"e", 0o755).unwrap();
        let old = store.dir("d/e").self_stat().unwrap();
        assert_eq!(store.dir("d/e").self_stat().unwrap().ino, old.ino);
        who.open_dir(b"d").unwrap().remove_dir(b"e").unwrap();
        assert!(store.root.cached_dir(&at("d/e")).is_err());
        // Renamed away, and another in its place.
        store.dir("d").make_dir(b"e", 0o755).unwrap();
        let moved = store.dir("d/e").self_stat().unwrap();
        who.rename(b"d", who, b"moved").unwrap();
        assert!(store.root.cached_dir(&at("d/e")).is_err());
        top.make_dir(b"d", 0o755).unwrap();
        store.dir("d").make_dir(b"e", 0o755).unwrap();
        assert_ne!(store.dir("d/e").self_stat().unwrap().ino, moved.ino);
        assert_eq!(store.dir("moved/e").self_stat().unwrap().ino, moved.ino);
        fs::remove_dir_all(store.live().join("moved")).unwrap();
        store.dir("d").remove_dir(b"e").unwrap();
        top.remove_dir(b"d").unwrap();
    }
}

#[test]
fn the_cache_holds_no_more_descriptors_than_its_limit() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    for number in 0..200 {
        top.make_dir(format!("{number}").as_bytes(), 0o755).unwrap();
    }
    let held: Vec<_> = (0..200)
        .map(|number| store.dir(&format!("{number}")))
        .collect();
    let most = open();
    drop(held);
    // Other tests open and close theirs meanwhile.
    assert!(most > open() + 100, "{most} before, {} after", open());
}

#[test]
fn a_root_that_was_opened_for_reading_changes_nothing() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let staged = top.stage(0o644).unwrap();
    staged.file().write_all(b"text").unwrap();
    staged.publish(&top, b"file", Replace::No).unwrap();
    top.make_dir(b"dir", 0o755).unwrap();
    let before = describe_tree(&store.live());
    let root = TenantRoot::open_read_only(&store.live(), Metadata::detect()).unwrap();
    let top = root.dir(&TenantPath::root()).unwrap();
    let seen = top.stat(b"file").unwrap().unwrap();
    assert_eq!(
        std::io::read_to_string(top.open_file(b"file").unwrap()).unwrap(),
        "text"
    );
    let nothing = Attributes::default();
    let errors = [
        top.update(b"file", &seen, &nothing).err(),
        top.update_self(&nothing).err(),
        top.unshare_for_write(b"file", &seen).err(),
        top.stage(0o644).err(),
        top.make_dir(b"new", 0o755).err(),
        top.make_symlink(b"new", b"x", &nothing, Replace::Yes).err(),
        top.make_node(b"new", Kind::Fifo, (0, 0), &nothing, Replace::Yes)
            .err(),
        top.link(b"new", &top, b"file", Replace::No).err(),
        top.rename(b"file", &top, b"new").err(),
        top.remove_file(b"file").err(),
        top.remove_dir(b"dir").err(),
        root.partial().err(),
    ];
    for error in errors {
        assert_eq!(
            error.unwrap().kind(),
            std::io::ErrorKind::ReadOnlyFilesystem
        );
    }
    assert_eq!(before, describe_tree(&store.live()));
}
