//! Inodes that take no more links, and the file systems that matter.

use std::os::unix::fs::symlink;

use rustix::fs::XattrFlags;

use super::*;

const EXT4_LINKS: u64 = 65_000;

/// Links `path` into `elsewhere` until the inode has `links` of them.
fn fill(path: &Path, elsewhere: &Path, links: u64) {
    fs::create_dir(elsewhere).unwrap();
    for i in fs::symlink_metadata(path).unwrap().nlink()..links {
        fs::hard_link(path, elsewhere.join(i.to_string())).unwrap();
    }
}

fn links_of(path: &Path) -> (u64, u64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.ino(), meta.nlink())
}

/// As [`look`], without inode numbers.
fn content(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = look(root);
    seen.values_mut().for_each(|seen| seen.inode = 0);
    seen
}

#[test]
fn a_file_with_no_room_for_links_gets_a_new_inode_in_the_snapshot_and_in_live() {
    let Some(mounted) = Mounted::new("ext4", 64, &[]) else {
        return;
    };
    let tenant = Tenant::within(&mounted.path);
    tenant.write("etc/full", "content of a full inode");
    tenant.write("etc/room", "content of another");
    let full = tenant.live().join("etc/full");
    let file = fs::File::open(&full).unwrap();
    rustix::fs::fsetxattr(&file, c"user.coffre.sum", b"sum", XattrFlags::empty()).unwrap();
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o4751)).unwrap();
    symlink("a target", tenant.live().join("link")).unwrap();
    let inode = links_of(&full).0;
    fill(&full, &mounted.path.join("elsewhere"), EXT4_LINKS);
    fill(
        &tenant.live().join("link"),
        &mounted.path.join("elsewhere too"),
        EXT4_LINKS,
    );
    let before = content(&tenant.live());

    let taken = tenant.take(NOON);
    assert_eq!((taken.files, taken.directories), (3, 1));
    assert_eq!(taken.new_inodes, 2);
    let copy = tenant.path_of(taken.name);
    assert_eq!(content(&tenant.live()), before);
    assert_eq!(look(&copy), look(&tenant.live()));
    assert_eq!(
        fs::read_to_string(copy.join("etc/full")).unwrap(),
        "content of a full inode"
    );
    let (new_inode, links) = links_of(&full);
    assert_ne!(new_inode, inode);
    assert_eq!(links, 2);
    assert_eq!(
        links_of(&mounted.path.join("elsewhere/5")),
        (inode, EXT4_LINKS - 1)
    );

    let next = tenant.take("2026-11-21T12:00:00Z");
    assert_eq!(next.new_inodes, 0);
    assert_eq!(links_of(&full), (new_inode, 3));
    assert_eq!(
        tenant.stages(),
        ["2026-11-20T120000Z", "2026-11-21T120000Z"]
    );
}

#[test]
fn a_group_of_links_stays_one_when_it_moves_to_a_new_inode() {
    let Some(mounted) = Mounted::new("ext4", 64, &[]) else {
        return;
    };
    let tenant = Tenant::within(&mounted.path);
    tenant.write("a/one", "x");
    fs::create_dir(tenant.live().join("b")).unwrap();
    for name in ["a/two", "b/three", "four"] {
        fs::hard_link(tenant.live().join("a/one"), tenant.live().join(name)).unwrap();
    }
    // The limit comes in the middle of the group: there is room for two more links.
    let one = tenant.live().join("a/one");
    fill(&one, &mounted.path.join("elsewhere"), EXT4_LINKS - 2);
    let before = content(&tenant.live());
    let taken = tenant.take(NOON);
    assert_eq!((taken.files, taken.new_inodes), (4, 1));
    assert_eq!(content(&tenant.live()), before);
    assert_eq!(look(&tenant.path_of(taken.name)), look(&tenant.live()));
    assert_eq!(links_of(&one).1, 8);
}

#[test]
fn a_group_too_large_for_both_keeps_its_inode_in_live() {
    let Some(mounted) = Mounted::new("ext4", 64, &[]) else {
        return;
    };
    let tenant = Tenant::within(&mounted.path);
    tenant.write("first", "x");
    let first = tenant.live().join("first");
    fill(&first, &tenant.live().join("more"), EXT4_LINKS);
    let before = look(&tenant.live());
    let taken = tenant.take(NOON);
    assert_eq!((taken.files, taken.new_inodes), (EXT4_LINKS, 1));
    assert_eq!(look(&tenant.live()), before);
    assert_eq!(
        content(&tenant.path_of(taken.name)),
        content(&tenant.live())
    );
    let (inode, links) = links_of(&tenant.path_of(taken.name).join("first"));
    assert_ne!(inode, links_of(&first).0);
    assert_eq!(links, EXT4_LINKS);
    assert_eq!(tenant.stages(), ["2026-11-20T120000Z"]);
}

#[test]
fn a_new_inode_has_the_holes_and_the_content_of_the_old_one() {
    for kind in ["ext4", "xfs", "btrfs"] {
        let Some(mounted) = Mounted::new(kind, 400, &[]) else {
            continue;
        };
        let path = mounted.path.join("sparse");
        let file = fs::File::create(&path).unwrap();
        use std::os::unix::fs::FileExt;
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(&[7; 100_000], 5 << 20).unwrap();
        file.set_len(20 << 20).unwrap();
        file.sync_all().unwrap();
        let directory = rustix::fd::OwnedFd::from(fs::File::open(&mounted.path).unwrap());
        let stat = rustix::fs::statx(
            &directory,
            c"sparse",
            rustix::fs::AtFlags::empty(),
            rustix::fs::StatxFlags::BASIC_STATS,
        );
        let mut scratch = walk::Scratch::new();
        let copied = inode::duplicate(
            &directory,
            c"sparse",
            &stat.unwrap(),
            &directory,
            c"copy",
            &mut scratch,
        );
        copied.unwrap();
        let copy = mounted.path.join("copy");
        assert!(
            fs::read(&copy).unwrap() == fs::read(&path).unwrap(),
            "{kind}"
        );
        let blocks = fs::metadata(&copy).unwrap().blocks();
        assert!(
            blocks * 512 < 1 << 20,
            "{kind}: {blocks} blocks, so the holes were filled"
        );
    }
}

#[test]
fn every_file_system_takes_lists_measures_and_removes() {
    for kind in ["ext4", "xfs", "btrfs"] {
        let Some(mounted) = Mounted::new(kind, 400, &[]) else {
            continue;
        };
        let tenant = Tenant::within(&mounted.path);
        for i in 0..300 {
            tenant.write(&format!("{}/{}/{i}", i % 7, i % 5), "x");
        }
        let taken = tenant.take(NOON);
        assert_eq!(taken.files, 300, "{kind}");
        assert_eq!(
            look(&tenant.path_of(taken.name)),
            look(&tenant.live()),
            "{kind}"
        );
        assert!(list(&tenant.home).unwrap()[0].is_ours(), "{kind}");
        let size = measure(&tenant.home, &[taken.name], &()).unwrap()[0];
        assert_eq!((size.files, size.bytes), (300, 300), "{kind}");
        let removed = remove(&tenant.home, taken.name, None, &()).unwrap();
        assert!(removed.finished && removed.files == 300, "{kind}");
        assert_eq!(tenant.stages(), [""; 0], "{kind}");
    }
}
