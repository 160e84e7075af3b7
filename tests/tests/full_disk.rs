//! The store's file system is full.

use std::path::PathBuf;

use coffre_client_compat::loopfs::{FileSystem, LoopFs};
use coffre_client_compat::sandbox::Lines;
use coffre_client_compat::tree::{describe, noise};
use coffre_tests::{Bed, may_run, said};

const PUSH: &str = "-a --delete src/ server:/mnt/compat/dst/";

#[test]
fn a_full_disk_is_told_and_tears_nothing() {
    if !may_run() {
        return;
    }
    // Dropped last: the server goes before its file system.
    let disk = LoopFs::make(FileSystem::Ext4, 64 << 20).unwrap();
    // To the last byte: without a floor under the free space.
    let lines = Lines {
        server: "min_free = \"0B\"\n".to_owned(),
        ..Lines::default()
    };
    let bed = Bed::configured_with_store(&disk.path().join("store"), &lines).unwrap();
    let source = bed.source().unwrap();
    for number in 0..10 {
        let name = format!("f{number}");
        source.file(&name, &noise(number, 500_000)).unwrap();
        source.time(&name, 1_400_000_000, 5).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    let snapshot = bed.coffre.snapshot().unwrap();
    let history = describe(&snapshot, None).unwrap();
    let old = describe(&bed.destination(), None).unwrap();

    // Each of them fits, all of them do not.
    for number in 0..10 {
        let name = format!("f{number}");
        source
            .file(&name, &noise(100 + number, 12_000_000))
            .unwrap();
        source.time(&name, 1_500_000_000, 5).unwrap();
    }
    let new = describe(&source.path(""), None).unwrap();
    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    assert!(
        said(&outcome).contains("No space left on device"),
        "{}",
        said(&outcome)
    );

    let now = describe(&bed.destination(), None).unwrap();
    for (name, entry) in &now.entries {
        let known = [&old, &new].map(|tree| tree.entries.get(name));
        let is_whole = known
            .into_iter()
            .flatten()
            .any(|known| known.kind == entry.kind);
        assert!(is_whole, "{name:?} is neither old nor new");
    }
    assert_eq!(bed.left_in_staging(), Vec::<PathBuf>::new());
    assert_eq!(
        describe(&snapshot, None).unwrap(),
        history,
        "history has changed"
    );

    // When the client needs less again, all is well.
    for number in 0..10 {
        let name = format!("f{number}");
        source.file(&name, &noise(200 + number, 1_000)).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    assert_eq!(
        bed.differences(&source.path(""), &bed.destination())
            .unwrap(),
        ""
    );
}
