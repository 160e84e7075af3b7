//! The pure decisions of a generator: is this file up to date, and what differs.
//!
//! Source: `docs/stock-rsync-behaviour.md`; each rule was watched on the wire of a stock server.

use coffre_protocol::flist::{EntryRef, FileKind};
use coffre_protocol::item::ItemFlags;

use super::policy::{Policy, QuickCheck};
use crate::confine::{FileTime, Stat};

/// What differs besides what the list and [`Stat`] tell between them; looked at only where the
/// options ask for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    pub(super) owner: bool,
    pub(super) group: bool,
    pub(super) acl: bool,
    pub(super) xattrs: bool,
    /// Numbers of the xattr values that must be asked for.
    pub(super) missing: Vec<u32>,
    /// Values are still to come, for this entry or for an earlier one with the same set.
    pub(super) waits: bool,
}

/// Whether two times count as different under the modify window: 0 compares whole seconds, a
/// negative one nanoseconds too, a positive one allows that many seconds.
pub(super) fn times_differ(window: i32, a: (i64, u32), b: (i64, u32)) -> bool {
    match window {
        0 => a.0 != b.0,
        ..0 => a != b,
        window => a.0.abs_diff(b.0) > u64::from(window.unsigned_abs()),
    }
}

fn seconds_and_nanos(time: FileTime) -> (i64, u32) {
    (time.secs, time.nanos)
}

/// The quick check, apart from `--checksum`, which must read the file.
pub(super) fn quick_check(policy: &Policy, entry: &EntryRef<'_>, have: &Stat) -> bool {
    if entry.len() != have.size {
        return false;
    }
    match policy.quick_check {
        QuickCheck::SizeOnly => true,
        QuickCheck::IgnoreTimes | QuickCheck::Checksum => false,
        QuickCheck::SizeAndTime => !times_differ(
            policy.modify_window,
            seconds_and_nanos(have.mtime),
            entry.mtime(),
        ),
    }
}

/// Whether this entry's modification time is kept at all.
pub(super) fn keeps_time(policy: &Policy, kind: FileKind) -> bool {
    policy.times
        && match kind {
            FileKind::Directory => !policy.omit_dir_times,
            FileKind::Symlink => !policy.omit_link_times,
            _ => true,
        }
}

/// The 12 permission bits an entry is to get. `have`: what is there now, of the same kind;
/// `umask`: what a new entry of its directory does not get.
/// Without `--perms` an existing file keeps its own bits (with `--executability` adjusted), and a
/// new one gets the source's less the umask, without set-id bits.
pub(super) fn wanted_mode(
    policy: &Policy,
    entry: &EntryRef<'_>,
    have: Option<&Stat>,
    umask: u32,
) -> u32 {
    let source = entry.mode() & 0o7777;
    if policy.perms {
        return source;
    }
    match have {
        Some(have) => {
            let mut mode = have.mode & 0o7777;
            if policy.executability && entry.kind() == FileKind::Regular {
                if source & 0o111 == 0 {
                    mode &= !0o111;
                } else if mode & 0o111 == 0 {
                    mode |= (mode & 0o444) >> 2;
                }
            }
            mode
        }
        None => source & !0o7000 & !umask,
    }
}

/// Whether something elsewhere has all the attributes that the entry is to have, so that it can
/// stand for the entry as it is. Its time counts even where times are not kept on directories.
pub(super) fn has_attributes(
    policy: &Policy,
    entry: &EntryRef<'_>,
    have: &Stat,
    extra: &Extra,
) -> bool {
    let is_symlink = entry.kind() == FileKind::Symlink;
    let time = policy.times
        && !(is_symlink && policy.omit_link_times)
        && times_differ(
            policy.modify_window,
            seconds_and_nanos(have.mtime),
            entry.mtime(),
        );
    let mode = !is_symlink && mode_differs(policy, entry, have);
    !(time || mode || extra.owner || extra.group || extra.acl || extra.xattrs)
}

fn mode_differs(policy: &Policy, entry: &EntryRef<'_>, have: &Stat) -> bool {
    if policy.perms {
        (entry.mode() ^ have.mode) & 0o7777 != 0
    } else {
        policy.executability
            && entry.kind() == FileKind::Regular
            && (entry.mode() & 0o111 == 0) != (have.mode & 0o111 == 0)
    }
}

/// The report bits of an item: what differs between `have` and the entry. `base` are the bits
/// known already; `None` for `have` makes the entry a new one.
pub(super) fn report(
    policy: &Policy,
    entry: &EntryRef<'_>,
    have: Option<&Stat>,
    extra: &Extra,
    base: ItemFlags,
) -> ItemFlags {
    let mut flags = base;
    let Some(have) = have else {
        flags |= ItemFlags::IS_NEW;
        if extra.xattrs {
            flags |= ItemFlags::REPORT_XATTR;
        }
        return flags;
    };
    let kind = entry.kind();
    if kind == FileKind::Regular && entry.len() != have.size {
        flags |= ItemFlags::REPORT_SIZE;
    }
    let changes = flags.contains(ItemFlags::TRANSFER) || flags.contains(ItemFlags::LOCAL_CHANGE);
    let time = if keeps_time(policy, kind) {
        times_differ(
            policy.modify_window,
            seconds_and_nanos(have.mtime),
            entry.mtime(),
        )
    } else {
        // The time will be that of the transfer.
        changes && !flags.contains(ItemFlags::XNAME_FOLLOWS)
    };
    if time {
        flags |= ItemFlags::REPORT_TIME;
    }
    if let Some(atime) = entry.atime()
        && policy.atimes
        && kind != FileKind::Directory
        && kind != FileKind::Symlink
        && times_differ(policy.modify_window, (have.atime.secs, 0), (atime, 0))
    {
        flags |= ItemFlags::REPORT_ATIME;
    }
    if kind != FileKind::Symlink && mode_differs(policy, entry, have) {
        flags |= ItemFlags::REPORT_PERMS;
    }
    if extra.owner {
        flags |= ItemFlags::REPORT_OWNER;
    }
    if extra.group {
        flags |= ItemFlags::REPORT_GROUP;
    }
    if extra.acl {
        flags |= ItemFlags::REPORT_ACL;
    }
    if extra.xattrs {
        flags |= ItemFlags::REPORT_XATTR;
    }
    flags
}

/// What stock rsync tells about something that it has brought into line: it does not tell what
/// setting something else has settled already.
///
/// Having changed owner or group of a file with set-id bits it looks at the file again, and so
/// finds the new owner in place and the bits that the kernel took away. An ACL sets the nine
/// permission bits too. Of a directory all is told beforehand.
pub(super) fn told_after_changes(
    policy: &Policy,
    entry: &EntryRef<'_>,
    have: &Stat,
    flags: ItemFlags,
) -> ItemFlags {
    let mut told = flags;
    let mut mode = have.mode;
    let chown = ItemFlags::REPORT_OWNER | ItemFlags::REPORT_GROUP;
    let changed =
        flags.contains(ItemFlags::REPORT_OWNER) || flags.contains(ItemFlags::REPORT_GROUP);
    if changed && mode & 0o6000 != 0 && entry.kind() == FileKind::Regular {
        // A set-group-id bit without x for the group means something else, and stays.
        mode &= match mode & 0o010 != 0 {
            true => !0o6000,
            false => !0o4000,
        };
        told = told.without(chown).without(ItemFlags::REPORT_PERMS);
        if policy.perms && (entry.mode() ^ mode) & 0o7777 != 0 {
            told |= ItemFlags::REPORT_PERMS;
        }
    }
    let is_settled = flags.contains(ItemFlags::REPORT_ACL)
        && entry.kind() != FileKind::Directory
        && (entry.mode() ^ mode) & 0o7000 == 0;
    match is_settled {
        true => told.without(ItemFlags::REPORT_PERMS),
        false => told,
    }
}

/// Whether a symlink target may leave the tree (`--safe-links`): absolute, empty, climbing above
/// the transfer root, or with a `..` anywhere but in its leading run. `link` is the path of the
/// link itself, relative to the transfer root.
pub(in crate::session) fn is_unsafe_link(target: &[u8], link: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' {
        return true;
    }
    let components: Vec<&[u8]> = target
        .split(|b| *b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
        .collect();
    let climbs = components.iter().take_while(|c| **c == b"..").count();
    if components[climbs..].contains(&&b".."[..]) {
        return true;
    }
    let depth = link
        .split(|b| *b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
        .count()
        .saturating_sub(1);
    climbs > depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modify_window_compares_seconds_unless_negative() {
        assert!(!times_differ(0, (5, 1), (5, 999)));
        assert!(times_differ(0, (5, 0), (6, 0)));
        assert!(times_differ(-1, (5, 1), (5, 2)));
        assert!(!times_differ(2, (5, 0), (7, 9)));
        assert!(times_differ(2, (5, 0), (8, 0)));
        assert!(times_differ(1, (i64::MIN, 0), (i64::MAX, 0)));
    }

    #[test]
    fn links_that_leave_the_tree_are_unsafe() {
        for (target, link, is_unsafe) in [
            (&b"/etc/passwd"[..], &b"a"[..], true),
            (b"", b"a", true),
            (b"../x", b"a", true),
            (b"../x", b"d/a", false),
            (b"../../x", b"d/a", true),
            (b"x/../y", b"d/e/a", true),
            (b"x/..", b"d/a", true),
            (b"./x", b"a", false),
            (b"x//y", b"a", false),
        ] {
            assert_eq!(
                is_unsafe_link(target, link),
                is_unsafe,
                "{:?} at {:?}",
                String::from_utf8_lossy(target),
                String::from_utf8_lossy(link)
            );
        }
    }
}
