//! `--keep-dirlinks`: a symbolic link stays where the client has a directory, if it leads to one.
//!
//! What the client has in that directory goes into the one behind the link, wherever in the
//! tenant's tree that is. It is found by walking the link in the tenant's own view
//! ([`TenantRoot::behind_links`]), and then opened over real directories only: a link that is turned
//! elsewhere in between is an error of this entry, and leads nowhere. One that leads to no
//! directory of the tenant is replaced, as any other thing in the way of a directory.
//!
//! What such a directory is to have is set as stock does it: owner and time on the link, and the
//! rest on the directory behind it, which keeps its own time. So its time differs from the
//! client's each time anew, and is told each time.

use std::io;

use coffre_protocol::flist::EntryRef;

use super::attributes::{self, Wanted};
use super::destination::Destination;
use super::generator::Target;
use super::{Fatal, Receiver};
use crate::confine::{Escape, Kind, TenantPath, TenantRoot};

/// The name of a [`Target`] that is its directory itself.
pub(super) const ITSELF: &[u8] = b".";

impl Destination {
    /// Where in the tenant's tree a directory of the list stands, or would be made.
    pub(super) fn place(&self, root: &TenantRoot, path: &[u8]) -> io::Result<TenantPath> {
        let plain = self.dir.join(&self.below(path)?);
        if !self.keeps_links {
            return Ok(plain);
        }
        match root.cached_dir(&plain) {
            Err(error) if may_be_link(&error) => Ok(root.past_links(&plain).unwrap_or(plain)),
            _ => Ok(plain),
        }
    }
}

fn may_be_link(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory || Escape::of(error) == Some(Escape::SymbolicLink)
}

impl Receiver {
    /// The directory behind a link that stands where the client has a directory. `None`: nothing
    /// of that kind stands there, or nothing is to be kept.
    pub(super) fn behind_link(&self, target: &Target) -> io::Result<Option<Target>> {
        if !self.policy.keep_dirlinks || target.stat.is_none_or(|it| it.kind != Kind::Symlink) {
            return Ok(None);
        }
        let Some(parent) = target.dir.as_ref().and_then(|dir| dir.path()) else {
            return Ok(None);
        };
        let Some(place) = self.root.behind_links(&parent.child(&target.name)?) else {
            return Ok(None);
        };
        let dir = self.root.cached_dir(&place)?;
        Ok(Some(Target {
            stat: Some(dir.self_stat()?),
            dir: Some(dir),
            name: ITSELF.to_vec(),
        }))
    }

    /// Whether a link stands where the client has this directory.
    pub(super) fn is_kept_link(&mut self, path: &[u8]) -> bool {
        if !self.policy.keep_dirlinks || path.is_empty() {
            return false;
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let Ok(Some(dir)) = self.dir_at(parent) else {
            return false;
        };
        matches!(dir.stat(name), Ok(Some(stat)) if stat.kind == Kind::Symlink)
    }

    /// Sets what differs of what a kept link is to have itself.
    pub(super) fn set_on_link(&mut self, entry: &EntryRef<'_>, own: &Wanted) -> Result<(), Fatal> {
        let link = match self.target(entry) {
            Ok(link) => link,
            Err(error) => return self.entry_failed("failed to stat", entry, &error),
        };
        if let (Some(dir), Some(have)) = (&link.dir, &link.stat)
            && have.kind == Kind::Symlink
        {
            let result = attributes::update(dir, &link.name, have, own);
            self.report_attributes(entry, result)?;
        }
        Ok(())
    }
}
