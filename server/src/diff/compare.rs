//! Compares what is known of two entries.

use std::io;

use super::What;
use crate::confine::{Kind, Stat};
use crate::restore::source::{Has, Views};

/// What of an entry that is no directory differs, in order, and what the second one is.
pub(super) fn entries(a: &Views, b: &Views, name: &[u8]) -> io::Result<(Vec<What>, Stat)> {
    let (first, second) = (a.entry(name)?, b.entry(name)?);
    let mut what = Vec::new();
    if first.stat.kind != second.stat.kind {
        what.push(What::Type);
    } else {
        what.extend(content(a, b, name, &first.stat, &second.stat)?);
    }
    attributes(&first, &second, &mut what);
    Ok((what, second.stat))
}

/// The same of directories.
pub(super) fn directories(a: &Views, b: &Views) -> io::Result<(Vec<What>, Stat)> {
    let (first, second) = (a.itself()?, b.itself()?);
    let mut what = Vec::new();
    attributes(&first, &second, &mut what);
    Ok((what, second.stat))
}

fn content(
    a: &Views,
    b: &Views,
    name: &[u8],
    first: &Stat,
    second: &Stat,
) -> io::Result<Option<What>> {
    Ok(match second.kind {
        Kind::File if first.size != second.size => Some(What::Content),
        Kind::File => {
            let sum = |views: &Views, stat: &Stat| {
                let sum = views.content_sum(name).ok().flatten();
                sum.filter(|sum| sum.holds_for(stat.size, stat.mtime))
            };
            match (sum(a, first), sum(b, second)) {
                _ if first.size == 0 => None,
                (Some(first), Some(second)) if first.content.hash == second.content.hash => None,
                (Some(_), Some(_)) => Some(What::Content),
                _ => Some(What::PerhapsContent),
            }
        }
        Kind::Symlink => {
            let same = a.of(name)?.read_link(name)? == b.of(name)?.read_link(name)?;
            (!same).then_some(What::Content)
        }
        _ => (first.rdev != second.rdev).then_some(What::Content),
    })
}

fn attributes(first: &Has, second: &Has, what: &mut Vec<What>) {
    let (a, b) = (&first.stat, &second.stat);
    let is_file = a.kind == Kind::File && b.kind == Kind::File;
    let is_link = a.kind == Kind::Symlink || b.kind == Kind::Symlink;
    let acls = |has: &Has| (has.access_acl.clone(), has.default_acl.clone());
    for (differs, word) in [
        (is_file && a.size != b.size, What::Size),
        (a.mtime != b.mtime, What::Mtime),
        // A link's own mode says nothing.
        (!is_link && a.mode != b.mode, What::Mode),
        ((a.uid, a.gid) != (b.uid, b.gid), What::Owner),
        (first.xattrs != second.xattrs, What::Xattr),
        (acls(first) != acls(second), What::Acl),
    ] {
        if differs {
            what.push(word);
        }
    }
}
