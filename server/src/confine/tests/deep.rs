//! Names and paths as long as they can be.

use std::io::Write;

use super::*;

#[test]
fn names_of_255_bytes_work_everywhere_and_longer_ones_fail_as_the_kernel_says() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    let name = vec![0xff; 255];
    let nothing = Attributes::default();
    top.stage(0o644)
        .unwrap()
        .publish(&top, &name, Replace::No)
        .unwrap();
    top.stage(0o644)
        .unwrap()
        .publish(&top, &name, Replace::Yes)
        .unwrap();
    store.snapshot("snapshot");
    let seen = top.stat(&name).unwrap().unwrap();
    let wanted = Attributes {
        mode: Some(0o600),
        ..nothing
    };
    assert_eq!(
        top.update(&name, &seen, &wanted).unwrap().how,
        How::Replaced
    );
    assert!(top.xattrs(&name).unwrap().is_empty());
    top.make_symlink(&name, b"x", &nothing, Replace::Yes)
        .unwrap();
    assert_eq!(top.read_link(&name).unwrap(), b"x");
    top.remove_file(&name).unwrap();
    top.make_dir(&name, 0o755).unwrap();
    assert_eq!(
        top.open_dir(&name).unwrap().path().unwrap().as_bytes(),
        name
    );
    let error = top.make_dir(&[b'x'; 256], 0o755).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::NAMETOOLONG.raw_os_error())
    );
}

#[test]
fn paths_longer_than_the_kernel_takes_are_reached_in_pieces() {
    let store = Store::new(Metadata::detect());
    // Names of every length, so that cuts fall everywhere; 9 kB in all.
    let mut path = TenantPath::root();
    for depth in 0..120_usize {
        let name = vec![b'a' + (depth % 26) as u8; 1 + depth * 37 % 150];
        store
            .root
            .cached_dir(&path)
            .unwrap()
            .make_dir(&name, 0o755)
            .unwrap();
        path = path.child(&name).unwrap();
        let opened = store.root.dir(&path).unwrap();
        let cached = store.root.cached_dir(&path).unwrap();
        assert_eq!(
            opened.self_stat().unwrap().ino,
            cached.self_stat().unwrap().ino
        );
    }
    assert!(path.as_bytes().len() > 8192, "{}", path.as_bytes().len());
    let dir = store.root.dir(&path).unwrap();
    let staged = dir.stage(0o644).unwrap();
    staged.file().write_all(b"deep").unwrap();
    staged.publish(&dir, b"file", Replace::No).unwrap();
    dir.link(b"twin", &dir, b"file", Replace::No).unwrap();
    // The index of links walks down there, too.
    let seen = dir.stat(b"file").unwrap().unwrap();
    let wanted = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    assert_eq!(
        dir.update(b"file", &seen, &wanted).unwrap().how,
        How::InPlace
    );
    // Nor does one component too many, or a cut in the wrong place, go unnoticed.
    assert!(store.root.dir(&path.child(b"none").unwrap()).is_err());
    // A temporary directory of this depth is removed by path otherwise, and cannot be.
    for name in [b"file", b"twin"] {
        dir.remove_file(name).unwrap();
    }
    while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        store.root.dir(&parent).unwrap().remove_dir(name).unwrap();
        path = parent;
    }
}

#[test]
fn large_directories_and_large_extended_attributes_are_read_whole() {
    let store = Store::new(Metadata::detect());
    let top = store.top();
    for number in 0..3000 {
        top.make_dir(format!("{number:0>100}").as_bytes(), 0o755)
            .unwrap();
    }
    assert_eq!(top.entries().unwrap().len(), 3000);
    let mut names: Vec<_> = top.entries().unwrap();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(names[17].name, format!("{:0>100}", 17).as_bytes());
    assert_eq!(names[17].kind, Some(Kind::Dir));
    // More than the small buffer in names, and in one value.
    let mut wanted: XattrSet = (0..30)
        .map(|number| (format!("user.{number:0>60}").into_bytes(), vec![b'v']))
        .collect();
    wanted.insert(b"user.big".to_vec(), vec![7; 1500]);
    let mut staged = top.stage(0o644).unwrap();
    let attributes = Attributes {
        xattrs: Some(&wanted),
        ..Attributes::default()
    };
    let errors = staged.apply(&attributes).unwrap();
    if errors
        .iter()
        .any(|error| error.error.kind() == std::io::ErrorKind::StorageFull)
    {
        eprintln!("skipped: this file system has no room for large attributes");
        return;
    }
    assert!(errors.is_empty());
    staged.publish(&top, b"file", Replace::No).unwrap();
    assert_eq!(top.xattrs(b"file").unwrap(), wanted);
}
