//! Memory and time for many entries.

use std::time::{Duration, Instant};

use super::*;

/// A tree as a backup sees it: directories of about ten files with base names of 20 bytes.
fn tree(format: &FlistFormat, entries: u32, files_per_dir: u32) -> ListBuilder {
    let mut builder = ListBuilder::new(format, ListHead::first(format));
    let mut name = String::new();
    let mut dir = String::new();
    for i in 0..entries {
        use std::fmt::Write;
        name.clear();
        let is_dir = i % (files_per_dir + 1) == 0;
        if is_dir {
            dir.clear();
            let number = i / (files_per_dir + 1);
            write!(
                dir,
                "srv/www/site-{:03}/assets-{:08x}",
                number % 500,
                number * 7919
            )
            .unwrap();
            name.push_str(&dir);
        } else {
            write!(
                name,
                "{dir}/file-{:015x}",
                u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4
            )
            .unwrap();
        }
        builder
            .push(&EntryFields {
                name: name.as_bytes(),
                mode: if is_dir { 0o40755 } else { 0o100644 },
                len: u64::from(i),
                mtime: 1_700_000_000 + i64::from(i),
                mtime_nsec: Some(i),
                ..EntryFields::default()
            })
            .unwrap();
    }
    builder
}

#[test]
fn an_entry_takes_less_than_100_bytes() {
    let format = FlistFormat::new(version(32));
    let list = tree(&format, 100_000, 10).finish();
    let per_entry = list.bytes() / 100_000;
    println!("{per_entry} bytes per entry");
    assert!(per_entry < 85, "{per_entry} bytes per entry");
    let format = FlistFormat {
        hard_links: true,
        acls: true,
        xattrs: true,
        atimes: true,
        ..format
    };
    let list = tree(&format, 100_000, 10).finish();
    let per_entry = list.bytes() / 100_000;
    println!("{per_entry} bytes per entry with hard links, ACLs, xattrs and access times");
    assert!(per_entry < 105, "{per_entry} bytes per entry");
}

/// Far from the bound on any machine in use; what it guards against is a quadratic sort.
#[test]
fn sorting_many_entries_is_fast() {
    for (number, files_per_dir) in [(32, 10), (32, 1_000_000), (28, 10), (28, 1_000_000)] {
        let builder = tree(&FlistFormat::new(version(number)), 300_000, files_per_dir);
        let start = Instant::now();
        let list = builder.finish();
        let took = start.elapsed();
        println!("protocol {number}, {files_per_dir} per directory: {took:?}");
        assert_eq!(list.len(), 300_000);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

/// One name of 4095 bytes makes some two thousand directories; they share its bytes.
#[test]
fn deep_names_do_not_multiply_memory() {
    let format = FlistFormat::new(version(32));
    let mut builder = ListBuilder::new(&format, ListHead::first(&format));
    let mut wire = 0;
    for i in 0..50 {
        let mut name = format!("{i:02}");
        while name.len() < 4094 {
            name.push_str("/a");
        }
        wire += name.len();
        builder
            .push(&EntryFields {
                name: name.as_bytes(),
                mode: 0o100644,
                ..EntryFields::default()
            })
            .unwrap();
    }
    let list = builder.finish();
    assert!(list.bytes() < 10 * wire, "{} bytes of {wire}", list.bytes());
    assert!(paths(&list)[49].ends_with("/a/a/a"));
}
