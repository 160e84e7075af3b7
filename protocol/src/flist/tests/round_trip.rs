//! What the encoder writes, the decoder reads: every version, any set of options, any cuts.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::wire::Write;

#[derive(Debug, Clone)]
struct Item {
    /// Base name; the place makes it unique.
    stem: String,
    kind: u32,
    permissions: u32,
    len: u64,
    mtime: i64,
    nsec: Option<u32>,
    atime: i64,
    crtime: Option<i64>,
    uid: u32,
    gid: u32,
    rdev: (u32, u32),
    target: Vec<u8>,
    digest: [u8; 20],
    top_dir: bool,
    content: bool,
    /// Another name of an earlier file.
    link_to: Option<Index>,
    parent: Index,
    acl: usize,
    default_acl: usize,
    xattrs: usize,
}

fn any_item() -> impl Strategy<Value = Item> {
    let kind = proptest::sample::select(vec![
        0o140_000, 0o120_000, 0o100_000, 0o100_000, 0o100_000, 0o060_000, 0o040_000, 0o040_000,
        0o020_000, 0o010_000,
    ]);
    let id = prop_oneof![Just(0), Just(1000), 0u32..5, any::<u32>()];
    let seconds = prop_oneof![Just(0), Just(1_700_000_000), 0..i64::from(u32::MAX)];
    let stem = prop_oneof![
        "[a-c\u{e9}]{1,3}",
        "[ab]{250,300}",
        "same-beginning-[0-9]{1,30}"
    ];
    let number = prop_oneof![Just(5), 0u32..4096];
    (
        (
            stem,
            kind,
            0u32..0o10000,
            prop_oneof![0u64..1000, 0..i64::MAX as u64],
            seconds.clone(),
        ),
        (
            proptest::option::of(0u32..1_000_000_000),
            seconds.clone(),
            proptest::option::of(seconds),
            id.clone(),
            id,
        ),
        (
            (number, prop_oneof![0u32..300, 0u32..1 << 20]),
            proptest::collection::vec(1u8.., 1..60),
            any::<[u8; 20]>(),
            any::<bool>(),
            any::<bool>(),
        ),
        (
            proptest::option::weighted(0.3, any::<Index>()),
            any::<Index>(),
        ),
        (0usize..4, 0usize..4, 0usize..4),
    )
        .prop_map(
            |(a, b, c, (link_to, parent), (acl, default_acl, xattrs))| Item {
                stem: a.0,
                kind: a.1,
                permissions: a.2,
                len: a.3,
                mtime: a.4,
                nsec: b.0,
                atime: b.1,
                crtime: b.2,
                uid: b.3,
                gid: b.4,
                rdev: c.0,
                target: c.1,
                digest: c.2,
                top_dir: c.3,
                content: c.4,
                link_to,
                parent,
                acl,
                default_acl,
                xattrs,
            },
        )
}

fn any_format() -> impl Strategy<Value = FlistFormat> {
    (
        27u8..=32,
        any::<[bool; 16]>(),
        proptest::option::of(proptest::sample::select(vec![1usize, 8, 16, 20])),
    )
        .prop_map(|(number, on, checksum_len)| FlistFormat {
            varint_flags: on[0] && number >= 30,
            safe_flist: on[1],
            id0_names: on[2] && number >= 30,
            inc_recurse: on[3] && number >= 30,
            owner: on[4],
            group: on[5],
            links: on[6],
            devices: on[7],
            specials: on[8],
            hard_links: on[9],
            atimes: on[10],
            crtimes: on[11] && on[0] && number >= 30,
            acls: on[12],
            xattrs: on[13],
            checksum_len: if number < 28 {
                checksum_len.map(|_| 16)
            } else {
                checksum_len
            },
            numeric_ids: on[14],
            recurse: on[15],
            ..FlistFormat::new(version(number))
        })
}

/// Four ACLs and four xattr sets that entries share, the first of each empty.
fn acls() -> [Acl; 4] {
    let named = |kind, id, permissions| NamedEntry {
        kind,
        id,
        permissions,
    };
    [
        Acl::default(),
        Acl {
            user_obj: Some(7),
            other_obj: Some(0),
            ..Acl::default()
        },
        Acl {
            mask_obj: Some(3),
            named: vec![named(IdKind::User, 1, 6), named(IdKind::Group, 1, 5)],
            ..Acl::default()
        },
        Acl {
            group_obj: Some(1),
            named: vec![named(IdKind::User, u32::MAX, 7), named(IdKind::User, 3, 0)],
            ..Acl::default()
        },
    ]
}

fn xattr_sets() -> [XattrSet; 4] {
    let set = |items: &[(&str, usize)]| {
        XattrSet::new(
            items
                .iter()
                .map(|(name, len)| (name.as_bytes().into(), vec![b'v'; *len].into())),
        )
    };
    [
        set(&[]),
        set(&[("user.b", 32), ("user.a", 0)]),
        set(&[
            ("user.big", 33),
            ("security.capability", 20),
            ("user.huge", 5000),
        ]),
        set(&[("user.big", 33)]),
    ]
}

fn names() -> IdNames {
    let mut names = IdNames::new();
    names.insert(IdKind::User, 0, b"root");
    names.insert(IdKind::User, 1, b"daemon");
    names.insert(IdKind::User, 1000, b"ada");
    names.insert(IdKind::Group, 0, b"wheel");
    names.insert(IdKind::Group, 1, "é".as_bytes());
    names.insert(IdKind::Group, 1000, &[b'g'; 255]);
    names
}

/// An entry as it was meant: its list, its path, its values, and its inode if it is a hard link.
struct Meant {
    path: String,
    item: Item,
    inode: u64,
}

/// Gives items their paths and turns links into copies of what they link to.
fn lay_out(items: &[Item], in_dir: &str, first_inode: u64, meant: &mut Vec<Meant>, nested: bool) {
    let begin = meant.len();
    for (i, item) in items.iter().enumerate() {
        let mut item = item.clone();
        let mut inode = first_inode + i as u64;
        if let Some(link) = item.link_to
            && !meant.is_empty()
        {
            let target = &meant[link.index(meant.len())];
            if target.item.kind != 0o040_000 {
                let stem = item.stem;
                item = Item {
                    stem,
                    parent: item.parent,
                    acl: item.acl,
                    xattrs: item.xattrs,
                    ..target.item.clone()
                };
                inode = target.inode;
            }
        }
        let dirs: Vec<&str> = meant[begin..]
            .iter()
            .filter(|other| nested && other.item.kind == 0o040_000 && other.path.len() < 2000)
            .map(|other| other.path.as_str())
            .chain([in_dir])
            .collect();
        let dir = dirs[item.parent.index(dirs.len())];
        let slash = if dir.is_empty() { "" } else { "/" };
        let path = format!("{dir}{slash}{}{}", item.stem, meant.len());
        meant.push(Meant { path, item, inode });
    }
}

fn fields<'a>(meant: &'a Meant, format: &FlistFormat) -> EntryFields<'a> {
    let item = &meant.item;
    EntryFields {
        name: meant.path.as_bytes(),
        mode: item.kind | item.permissions,
        len: item.len,
        mtime: item.mtime,
        mtime_nsec: item.nsec,
        atime: item.atime,
        crtime: item.crtime.unwrap_or(item.mtime),
        uid: item.uid,
        gid: item.gid,
        rdev: item.rdev,
        link_target: &item.target,
        digest: &item.digest[..format.checksum_len.unwrap_or(0)],
        top_dir: item.top_dir,
        content: item.content,
        link_group: None,
    }
}

fn encode_list(
    encoder: &mut FlistEncoder,
    head: &ListHead,
    meant: &[Meant],
    io_error: u32,
) -> Vec<u8> {
    let mut out = Vec::new();
    let format = encoder.format().clone();
    let (acls, sets) = (acls(), xattr_sets());
    encoder.begin(head);
    for one in meant {
        let item = &one.item;
        let entry = Outgoing {
            fields: fields(one, &format),
            inode: Some((one.inode % 2, one.inode)),
            acl: (item.acl > 0).then(|| &acls[item.acl]),
            default_acl: (item.default_acl > 0).then(|| &acls[item.default_acl]),
            xattrs: (item.xattrs > 0).then(|| &sets[item.xattrs]),
        };
        encoder.entry(&entry, &mut out);
    }
    let is_told = encoder.end(io_error, &mut out);
    let has_marker = format.varint_flags || format.version.at_least(31) || format.safe_flist;
    assert_eq!(
        is_told,
        io_error == 0 || (format.version.at_least(30) && has_marker)
    );
    out
}

/// Compares an entry with what was meant, as far as the format carries it.
fn check(
    entry: EntryRef<'_>,
    meant: &Meant,
    group: Option<u32>,
    format: &FlistFormat,
    decoder: &FlistDecoder,
) -> Result<(), TestCaseError> {
    let item = &meant.item;
    let at_least = |number| format.version.at_least(number);
    let kind = item.kind;
    let is_dir = kind == 0o040_000;
    let is_device = kind == 0o020_000 || kind == 0o060_000;
    let mut buffer = Vec::new();
    prop_assert_eq!(entry.path(&mut buffer), meant.path.as_bytes());
    prop_assert_eq!(entry.mode(), kind | item.permissions);
    prop_assert_eq!(entry.len(), item.len);
    let nsec = item.nsec.filter(|_| at_least(31));
    prop_assert_eq!(entry.mtime(), (item.mtime, nsec.unwrap_or(0)));
    prop_assert_eq!(entry.has_nsec(), nsec.is_some());
    prop_assert_eq!(
        entry.atime(),
        Some(item.atime).filter(|_| format.atimes && !is_dir)
    );
    prop_assert_eq!(
        entry.crtime(),
        Some(item.crtime.unwrap_or(item.mtime)).filter(|_| format.crtimes)
    );
    prop_assert_eq!(entry.uid(), if format.owner { item.uid } else { 0 });
    prop_assert_eq!(entry.gid(), if format.group { item.gid } else { 0 });
    let rdev = if format.devices && is_device {
        item.rdev
    } else {
        (0, 0)
    };
    prop_assert_eq!(entry.rdev(), rdev);
    prop_assert_eq!(
        entry.link_target(),
        Some(&item.target[..]).filter(|_| format.links && kind == 0o120_000)
    );
    let digest = format.checksum_len.map(|len| &item.digest[..len]);
    prop_assert_eq!(entry.digest(), digest.filter(|_| kind == 0o100_000));
    prop_assert_eq!(entry.is_top_dir(), is_dir && item.top_dir);
    if at_least(30) {
        prop_assert_eq!(entry.has_content(), is_dir && item.content);
        prop_assert_eq!(entry.is_implied(), is_dir && item.top_dir && !item.content);
    }
    prop_assert_eq!(entry.hard_link_group(), group);
    let acls = acls();
    let acl = entry
        .acl()
        .map(|index| decoder.acl_cache().access_acl(index).unwrap());
    let has_acls = format.acls && at_least(30) && kind != 0o120_000;
    prop_assert_eq!(acl, has_acls.then_some(&acls[item.acl]));
    let default = entry
        .default_acl()
        .map(|index| decoder.acl_cache().default_acl(index).unwrap());
    prop_assert_eq!(
        default,
        (has_acls && is_dir).then_some(&acls[item.default_acl])
    );
    let set = entry
        .xattrs()
        .map(|index| decoder.xattr_cache().set(index).unwrap());
    let meant_set = &xattr_sets()[item.xattrs];
    prop_assert_eq!(set.is_some(), format.xattrs && at_least(30));
    if let Some(set) = set {
        prop_assert_eq!(set.items.len(), meant_set.items.len());
        for (item, meant) in set.items.iter().zip(&meant_set.items) {
            prop_assert_eq!((item.num, &item.name), (meant.num, &meant.name));
            prop_assert_eq!(item.value.len(), meant.value.len());
            if meant.value.len() <= MAX_FULL {
                prop_assert_eq!(&item.value, &meant.value);
            }
        }
    }
    Ok(())
}

/// The group number of each entry: the place of the first of its inode, in order of arrival.
struct Groups {
    firsts: HashMap<u64, u32>,
}

impl Groups {
    fn of(&mut self, meant: &Meant, number: u32, format: &FlistFormat) -> Option<u32> {
        let kind = meant.item.kind;
        let is_linked = match format.version.number() {
            27 => kind == 0o100_000,
            _ => kind != 0o040_000,
        };
        (format.hard_links && is_linked).then(|| *self.firsts.entry(meant.inode).or_insert(number))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn one_list_comes_back(
        format in any_format().prop_map(|format| FlistFormat { inc_recurse: false, ..format }),
        items in proptest::collection::vec(any_item(), 0..25),
        io_error in 0u32..8,
        steps in proptest::collection::vec(1usize..40, 1..10),
    ) {
        let mut meant = Vec::new();
        lay_out(&items, "", 1, &mut meant, true);
        let mut encoder = FlistEncoder::new(format.clone(), names());
        let head = ListHead::first(&format);
        let mut bytes = encode_list(&mut encoder, &head, &meant, io_error);
        encoder.ids(&mut bytes);
        let mut decoder = FlistDecoder::new(format.clone());
        let mut feed = Feed::in_pieces(&bytes, &steps);
        let (list, told) = feed.list(&mut decoder, head).unwrap();
        feed.ids(&mut decoder).unwrap();
        prop_assert_eq!(feed.at, bytes.len());
        let can_tell = format.version.at_least(30)
            && (format.varint_flags || format.safe_flist || format.version.at_least(31));
        prop_assert_eq!(told, if can_tell { io_error } else { 0 });

        let mut groups = Groups { firsts: HashMap::new() };
        let numbers: Vec<_> =
            (0..).zip(&meant).map(|(i, meant)| groups.of(meant, i, &format)).collect();
        prop_assert_eq!(list.len() as usize, meant.len());
        for ((entry, meant), group) in list.arrivals().zip(&meant).zip(&numbers) {
            let members = numbers.iter().filter(|other| *other == group).count();
            let group = group.filter(|_| members > 1);
            check(entry, meant, group, &format, &decoder)?;
        }
        if !format.numeric_ids && format.owner {
            for one in &meant {
                let uid = one.item.uid;
                let has_zero = uid != 0 || format.id0_names;
                let name = names().user(uid).filter(|_| has_zero).map(<[u8]>::to_vec);
                prop_assert_eq!(decoder.id_names().user(uid), name.as_deref());
            }
        }
        // The sender numbers its entries alike.
        let mut builder = ListBuilder::new(&format, ListHead::first(&format));
        for one in &meant {
            builder.push(&fields(one, &format)).unwrap();
        }
        let built = builder.finish();
        prop_assert_eq!(paths(&built), paths(&list));
        prop_assert!(built.arrivals().map(|e| e.path(&mut Vec::new()).to_vec()).eq(list.arrivals().map(|e| e.path(&mut Vec::new()).to_vec())));
    }

    #[test]
    fn lists_of_a_whole_session_come_back(
        format in any_format().prop_filter("30 and later", |format| format.version.at_least(30))
            .prop_map(|format| FlistFormat { inc_recurse: true, ..format }),
        lists in proptest::collection::vec(proptest::collection::vec(any_item(), 0..12), 1..6),
        steps in proptest::collection::vec(1usize..40, 1..10),
    ) {
        let mut encoder = FlistEncoder::new(format.clone(), names());
        let mut decoder = FlistDecoder::new(format.clone());
        let mut flists = Flists::new(&format);
        let mut groups = Groups { firsts: HashMap::new() };
        let mut seen: Vec<Meant> = Vec::new();
        let mut head = ListHead::first(&format);
        for items in &lists {
            let dir = head.owner.as_ref().map_or(String::new(), |owner| {
                String::from_utf8(owner.path.to_vec()).unwrap()
            });
            let begin = seen.len();
            lay_out(items, &dir, 1 + begin as u64, &mut seen, false);
            let meant = &seen[begin..];
            let mut bytes = encode_list(&mut encoder, &head, meant, 0);
            encoder.ids(&mut bytes);
            let mut feed = Feed::in_pieces(&bytes, &steps);
            let start = head.start;
            let (list, _) = feed.list(&mut decoder, head).unwrap();
            feed.ids(&mut decoder).unwrap();
            prop_assert_eq!(feed.at, bytes.len());
            prop_assert_eq!(list.len() as usize, meant.len());
            for ((entry, meant), number) in list.arrivals().zip(meant).zip(start..) {
                let group = groups.of(meant, number, &format);
                check(entry, meant, group, &format, &decoder)?;
                if format.owner && !format.numeric_ids {
                    let name = names().user(meant.item.uid).map(<[u8]>::to_vec);
                    prop_assert_eq!(decoder.id_names().user(meant.item.uid), name.as_deref());
                }
            }
            flists.push(list).unwrap();
            let Some((next, entry)) = flists.awaited().next() else { break };
            if entry.path(&mut Vec::new()).len() > 3000 {
                break;
            }
            head = flists.announce(next).unwrap();
        }
    }
}

#[test]
fn a_directory_without_flags_and_a_file_without_flags_can_be_sent() {
    for number in 27..=32 {
        for varint_flags in [false, number >= 30] {
            let format = FlistFormat {
                varint_flags,
                ..FlistFormat::new(version(number))
            };
            let mut builder = FlistEncoder::new(format.clone(), IdNames::new());
            let mut bytes = Vec::new();
            for (name, mode) in [(&b"a"[..], 0o100644), (b"b", 0o40755), (b"c", 0o100600)] {
                let fields = EntryFields {
                    name,
                    mode,
                    mtime: i64::from(mode),
                    content: true,
                    ..EntryFields::default()
                };
                let entry = Outgoing {
                    fields,
                    ..Outgoing::default()
                };
                builder.entry(&entry, &mut bytes);
            }
            assert!(builder.end(0, &mut bytes));
            let (list, _) = decode(&format, &bytes).unwrap();
            assert_eq!(list.len(), 3, "protocol {number}");
            assert!(list.iter().all(|(_, entry)| !entry.is_top_dir()));
        }
    }
}

/// A hard link's copied values are not taken for known: the device after it says its number.
#[test]
fn nothing_is_left_out_after_a_copied_hard_link() {
    let format = FlistFormat {
        hard_links: true,
        devices: true,
        varint_flags: true,
        ..FlistFormat::new(version(32))
    };
    let mut encoder = FlistEncoder::new(format.clone(), IdNames::new());
    let mut bytes = Vec::new();
    for (name, rdev, inode) in [
        (&b"a"[..], (5, 2), 1),
        (b"b", (300, 1), 2),
        (b"c", (5, 2), 1),
        (b"d", (5, 9), 3),
    ] {
        let fields = EntryFields {
            name,
            rdev,
            mode: 0o20644,
            ..EntryFields::default()
        };
        let entry = Outgoing {
            fields,
            inode: Some((0, inode)),
            ..Outgoing::default()
        };
        encoder.entry(&entry, &mut bytes);
    }
    assert!(bytes.ends_with(&[5, 9]));
    assert!(encoder.end(0, &mut bytes));
    let (list, _) = decode(&format, &bytes).unwrap();
    let rdevs: Vec<_> = list.iter().map(|(_, entry)| entry.rdev()).collect();
    assert_eq!(rdevs, [(5, 2), (300, 1), (5, 2), (5, 9)]);
}

/// As release 3.5.0 sends it: after the copied link to 5:2 the device 5:1 leaves its major out.
#[test]
fn a_copied_hard_link_sets_the_previous_device() {
    let format = FlistFormat {
        owner: true,
        group: true,
        hard_links: true,
        devices: true,
        varint_flags: true,
        numeric_ids: true,
        ..FlistFormat::new(version(32))
    };
    let bytes = dump(
        "92 00 02 6e 33 00 00 00 5e ac 5d 0d a4 21 00 00 00 00 05 02
         80 b8 01 01 32 00 00 00 80 61 00 00 81 2c c1 70 11
         82 b8 01 01 30 00
         81 ba 01 01 31 00 00 00 01
         00 00",
    );
    let (list, _) = decode(&format, &bytes).unwrap();
    let rdevs: Vec<_> = list.iter().map(|(_, entry)| entry.rdev()).collect();
    assert_eq!(rdevs, [(5, 2), (5, 1), (300, 70000), (5, 2)]);
}

#[test]
fn times_that_old_protocols_cannot_say_lose_their_upper_bits() {
    let format = FlistFormat::new(version(29));
    for (mtime, sent) in [(-1, i64::from(u32::MAX)), ((1 << 33) + 5, 5), (77, 77)] {
        let mut encoder = FlistEncoder::new(format.clone(), IdNames::new());
        let mut bytes = Vec::new();
        let fields = EntryFields {
            name: b"a",
            mode: 0o100644,
            mtime,
            ..EntryFields::default()
        };
        let entry = Outgoing {
            fields,
            ..Outgoing::default()
        };
        encoder.entry(&entry, &mut bytes);
        bytes.put_u8(0);
        let (list, _) = decode(&format, &bytes).unwrap();
        assert_eq!(list.entry(0).unwrap().mtime().0, sent);
    }
}
