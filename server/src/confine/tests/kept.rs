//! What broken pushes left is found again, belongs to one path, and goes one day.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::*;

fn part(store: &Store, content: &[u8]) -> Staged {
    let staged = store.top().stage(0o644).unwrap();
    staged.file().write_all(content).unwrap();
    staged
}

fn note(path: &str) -> KeptNote {
    KeptNote {
        path: Some(at(path)),
        len: 100,
        literal: 5,
    }
}

fn content(kept: &Kept, path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut found = kept.find(&at(path)).unwrap()?;
    found.file.read_to_end(&mut bytes).unwrap();
    assert_eq!(found.len, bytes.len() as u64);
    Some(bytes)
}

#[test]
fn what_is_kept_is_found_by_a_later_session_and_stands_nowhere_in_the_tree() {
    let store = Store::new(Metadata::detect());
    let mut kept = store.root.kept().unwrap();
    assert!(kept.is_empty());
    kept.keep(part(&store, b"part"), &at("a/b"), &note("a/b"))
        .unwrap();
    assert!(store.top().entries().unwrap().is_empty());
    let later = store.root.kept().unwrap();
    assert_eq!(content(&later, "a/b").unwrap(), b"part");
    let found = later.find(&at("a/b")).unwrap().unwrap();
    assert_eq!(found.note, Some(note("a/b")));
    assert!(content(&later, "a").is_none());
    assert!(store.staging_is_empty());
}

#[test]
fn the_longer_part_stays() {
    let store = Store::new(Metadata::detect());
    let mut kept = store.root.kept().unwrap();
    for (bytes, stays) in [
        (&b"part"[..], &b"part"[..]),
        (b"pa", b"part"),
        (b"parts", b"parts"),
    ] {
        kept.keep(part(&store, bytes), &at("f"), &note("f"))
            .unwrap();
        assert_eq!(content(&kept, "f").unwrap(), stays);
    }
}

#[test]
fn a_part_that_is_taken_is_published_like_any_file() {
    let store = Store::new(Metadata::detect());
    let mut kept = store.root.kept().unwrap();
    kept.keep(part(&store, b"part"), &at("f"), &note("f"))
        .unwrap();
    let staged = kept.take(&at("f")).unwrap().unwrap();
    assert!(content(&store.root.kept().unwrap(), "f").is_none());
    assert_eq!(server_xattr(staged.file(), "kept").unwrap(), None);
    staged.publish(&store.top(), b"f", Replace::No).unwrap();
    assert_eq!(fs::read(store.live().join("f")).unwrap(), b"part");
    assert!(kept.take(&at("f")).unwrap().is_none());
    assert!(store.staging_is_empty());
}

#[test]
fn a_whole_file_waits_with_its_attributes_and_replaces_what_has_its_name() {
    let store = Store::new(Metadata::detect());
    let mut kept = store.root.kept().unwrap();
    fs::write(store.live().join("f"), b"old").unwrap();
    let mut staged = part(&store, b"new");
    let wanted = Attributes {
        mode: Some(0o640),
        mtime: Some(time(1_000, 0)),
        ..Attributes::default()
    };
    assert!(staged.apply(&wanted).unwrap().is_empty());
    kept.keep_whole(staged, &at("f")).unwrap();
    assert_eq!(fs::read(store.live().join("f")).unwrap(), b"old");
    assert!(kept.find(&at("f")).unwrap().unwrap().note.is_none());
    kept.put_in_place(&at("f"), &store.top(), b"f").unwrap();
    assert_eq!(fs::read(store.live().join("f")).unwrap(), b"new");
    let stat = store.top().stat(b"f").unwrap().unwrap();
    assert_eq!((stat.mode, stat.mtime), (0o640, time(1_000, 0)));
    assert!(store.root.kept().unwrap().is_empty());
}

#[test]
fn what_belongs_to_nothing_any_more_is_forgotten() {
    let store = Store::new(Metadata::detect());
    let mut kept = store.root.kept().unwrap();
    for path in ["a/f", "b/f"] {
        kept.keep(part(&store, b"part"), &at(path), &note(path))
            .unwrap();
    }
    kept.forget_where(|path| path.starts_with(&at("a")));
    assert!(content(&kept, "a/f").is_none());
    assert!(content(&kept, "b/f").is_some());
    kept.forget(&at("b/f"));
    assert!(store.root.kept().unwrap().is_empty());
}

#[test]
fn what_is_too_old_goes() {
    let store = Store::new(Metadata::detect());
    let mut kept = store.root.kept().unwrap();
    kept.keep(part(&store, b"part"), &at("f"), &note("f"))
        .unwrap();
    let partial = store.root.partial().unwrap();
    let soon = SystemTime::now() + KEEP_FOR - Duration::from_secs(60);
    assert_eq!(
        crate::confine::kept::expire(&partial, soon).unwrap().len(),
        1
    );
    let late = SystemTime::now() + KEEP_FOR + Duration::from_secs(60);
    assert_eq!(
        crate::confine::kept::expire(&partial, late).unwrap().len(),
        0
    );
    assert!(store.root.kept().unwrap().is_empty());
}

#[test]
fn copying_a_large_file_says_that_it_goes_on() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    // As where the file system cannot share blocks.
    top.shared.support.no_reflink.store(true, Ordering::Relaxed);
    let bytes = vec![7; 20 << 20];
    fs::write(store.live().join("f"), &bytes).unwrap();
    let snapshot = store.snapshot("1");
    let words = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&words);
    store.root.while_busy(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let seen = top.stat(b"f").unwrap().unwrap();
    let wanted = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    top.update(b"f", &seen, &wanted).unwrap();
    assert!(words.load(Ordering::Relaxed) >= 3);
    assert_eq!(fs::read(snapshot.join("f")).unwrap(), bytes);
    assert_eq!(fs::read(store.live().join("f")).unwrap(), bytes);
}
