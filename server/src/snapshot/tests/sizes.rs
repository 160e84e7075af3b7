//! Sizes, and what of them is a snapshot's own.

use super::*;

#[test]
fn a_snapshots_own_size_is_what_removing_it_frees() {
    let tenant = Tenant::new();
    let mib = "x".repeat(1 << 20);
    tenant.write("stays", &mib);
    tenant.write("group/one", &mib);
    fs::hard_link(tenant.live().join("group/one"), tenant.live().join("two")).unwrap();
    let first = tenant.take(NOON).name;
    // The first snapshot alone has the group now.
    fs::remove_file(tenant.live().join("group/one")).unwrap();
    fs::remove_file(tenant.live().join("two")).unwrap();
    tenant.write("only second", &mib);
    let second = tenant.take("2026-11-21T12:00:00Z").name;
    fs::remove_file(tenant.live().join("only second")).unwrap();
    fs::remove_file(tenant.path_of(first).join("stays")).unwrap();

    let progress = Counter::default();
    let sizes = measure(&tenant.home, &[first, second], &progress).unwrap();
    let [one, two] = sizes.as_slice() else {
        panic!("{sizes:?}");
    };
    let directories = |n: u64| n * 4096;
    assert_eq!((one.files, one.directories, one.bytes), (2, 1, 1 << 20));
    assert!(
        (1 << 20..=(1 << 20) + directories(3)).contains(&one.own_bytes),
        "{one:?}"
    );
    assert_eq!((two.files, two.directories, two.bytes), (2, 1, 2 << 20));
    assert!(
        (1 << 20..=(1 << 20) + directories(3)).contains(&two.own_bytes),
        "{two:?}"
    );
    assert_eq!(progress.files(), 4);

    // `stays` has only live's and the second snapshot's link now; without live it is its own.
    fs::remove_file(tenant.live().join("stays")).unwrap();
    let alone = measure(&tenant.home, &[second], &()).unwrap()[0];
    assert!(alone.own_bytes >= 2 << 20, "{alone:?}");
}
