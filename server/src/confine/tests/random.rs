//! Whatever a session does, in whatever order, snapshots taken in between never change.

use std::io::Write;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;

/// Names and directories are few, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Publish(Place, u8, bool),
    Symlink(Place, u8),
    Fifo(Place),
    Link(Place, Place, bool),
    Rename(Place, Place),
    Remove(Place),
    MakeDir(u8),
    RemoveDir(u8),
    RenameDir(u8, u8),
    Mode(Place, u16),
    Times(Place, i32, u32),
    Xattrs(Place, u8),
    Write(Place, u8),
    Snapshot,
}

/// Directory 0 is the top; then a name.
type Place = (u8, u8);

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..3_u8, 0..4_u8);
    prop_oneof![
        3 => (place(), any::<u8>(), any::<bool>()).prop_map(|(p, c, r)| Step::Publish(p, c, r)),
        1 => (place(), any::<u8>()).prop_map(|(p, c)| Step::Symlink(p, c)),
        1 => place().prop_map(Step::Fifo),
        3 => (place(), place(), any::<bool>()).prop_map(|(p, q, r)| Step::Link(p, q, r)),
        2 => (place(), place()).prop_map(|(p, q)| Step::Rename(p, q)),
        1 => place().prop_map(Step::Remove),
        1 => (1..3_u8).prop_map(Step::MakeDir),
        1 => (1..3_u8).prop_map(Step::RemoveDir),
        1 => (1..3_u8, 1..3_u8).prop_map(|(a, b)| Step::RenameDir(a, b)),
        3 => (place(), 0..0o7777_u16).prop_map(|(p, m)| Step::Mode(p, m)),
        2 => (place(), any::<i32>(), 0..1_000_000_000_u32).prop_map(|(p, s, n)| Step::Times(p, s, n)),
        2 => (place(), any::<u8>()).prop_map(|(p, x)| Step::Xattrs(p, x)),
        3 => (place(), any::<u8>()).prop_map(|(p, c)| Step::Write(p, c)),
        2 => Just(Step::Snapshot),
    ]
}

/// The groups of names in live that are one inode.
fn groups(store: &Store) -> Vec<Vec<PathBuf>> {
    let mut by_inode: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for path in describe_tree(&store.live()).into_keys() {
        let full = store.live().join(&path);
        if !fs::symlink_metadata(&full).unwrap().is_dir() {
            by_inode.entry(inode_of(&full)).or_default().push(path);
        }
    }
    let mut groups: Vec<_> = by_inode.into_values().collect();
    groups.sort();
    groups
}

fn name_of(place: Place) -> Vec<u8> {
    vec![b'a' + place.1]
}

/// Does a step, or fails as it may (nothing there, something in the way).
fn take(store: &Store, step: &Step) -> std::io::Result<()> {
    let dir = |place: Place| match place.0 {
        0 => store.root.cached_dir(&TenantPath::root()),
        number => store.root.cached_dir(&at(&format!("d{number}"))),
    };
    let update = |place: Place, wanted: &Attributes<'_>| {
        let (dir, name) = (dir(place)?, name_of(place));
        let Some(seen) = dir.stat(&name)? else {
            return Ok(());
        };
        let before = groups(store);
        let errors = dir.update(&name, &seen, wanted)?.errors;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(
            groups(store),
            before,
            "an update changed who is linked to whom"
        );
        Ok(())
    };
    let replace = |yes: bool| if yes { Replace::Yes } else { Replace::No };
    let nothing = Attributes::default();
    match *step {
        Step::Publish(place, content, yes) => {
            let staged = dir(place)?.stage(0o644)?;
            staged.file().write_all(&[content; 100])?;
            staged.publish(&*dir(place)?, &name_of(place), replace(yes))
        }
        Step::Symlink(place, target) => {
            let target = format!("{target}");
            dir(place)?
                .make_symlink(&name_of(place), target.as_bytes(), &nothing, Replace::Yes)
                .map(|_| ())
        }
        Step::Fifo(place) => dir(place)?
            .make_node(&name_of(place), Kind::Fifo, (0, 0), &nothing, Replace::Yes)
            .map(|_| ()),
        Step::Link(to, from, yes) => {
            dir(to)?.link(&name_of(to), &*dir(from)?, &name_of(from), replace(yes))
        }
        Step::Rename(from, to) => dir(from)?.rename(&name_of(from), &*dir(to)?, &name_of(to)),
        Step::Remove(place) => dir(place)?.remove_file(&name_of(place)),
        Step::MakeDir(number) => store.top().make_dir(format!("d{number}").as_bytes(), 0o755),
        Step::RemoveDir(number) => store.top().remove_dir(format!("d{number}").as_bytes()),
        Step::RenameDir(from, to) => store.top().rename(
            format!("d{from}").as_bytes(),
            &store.top(),
            format!("d{to}").as_bytes(),
        ),
        Step::Mode(place, mode) => update(
            place,
            &Attributes {
                mode: Some(mode.into()),
                ..nothing
            },
        ),
        Step::Times(place, secs, nanos) => update(
            place,
            &Attributes {
                mtime: Some(time(secs.into(), nanos)),
                ..nothing
            },
        ),
        Step::Xattrs(place, value) => {
            let (dir, name) = (dir(place)?, name_of(place));
            if dir.stat(&name)?.is_none_or(|stat| stat.kind != Kind::File) {
                return Ok(());
            }
            let xattrs = set(&[("user.value", &format!("{value}"))]);
            update(
                place,
                &Attributes {
                    xattrs: Some(&xattrs),
                    ..nothing
                },
            )
        }
        Step::Write(place, content) => {
            let (dir, name) = (dir(place)?, name_of(place));
            let Some(seen) = dir.stat(&name)? else {
                return Ok(());
            };
            let before = groups(store);
            let file = dir.unshare_for_write(&name, &seen)?;
            file.write_all_at(&[content; 10], 50)?;
            assert_eq!(
                groups(store),
                before,
                "a write changed who is linked to whom"
            );
            Ok(())
        }
        Step::Snapshot => Ok(()),
    }
}

fn snapshots_never_change(metadata: Metadata, steps: &[Step]) {
    let store = Store::new(metadata);
    let mut snapshots: Vec<(PathBuf, BTreeMap<PathBuf, Description>)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if matches!(step, Step::Snapshot) {
            let snapshot = store.snapshot(&format!("snapshot-{number}"));
            let as_taken = describe_tree(&snapshot);
            snapshots.push((snapshot, as_taken));
        }
        // What cannot be done is refused, and that is all.
        let _ = take(&store, step);
        for (snapshot, as_taken) in &snapshots {
            assert!(
                *as_taken == describe_tree(snapshot),
                "{step:?} changed a snapshot"
            );
        }
    }
    assert!(store.staging_is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn snapshots_never_change_whatever_a_session_does(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        snapshots_never_change(Metadata::detect(), &steps);
    }

    #[test]
    fn snapshots_of_stored_attributes_never_change(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        snapshots_never_change(Metadata::Xattr, &steps);
    }
}
