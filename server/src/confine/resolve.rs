//! Paths that a client names outside a file list: a destination, a file of names.
//!
//! Stock rsync lets the kernel walk such a path, links and `..` included, and people rely on it
//! (`/backup -> /srv/backup`). Here it is walked step by step in the tenant's own view, where `/`
//! is the tenant's root. What comes out has no link left in it, and is opened without following
//! any: a link that somebody puts in the way afterwards is an error, and leads nowhere.

use std::io;

use coffre_protocol::layers::names_are_checked;

use super::path::TenantPath;
use super::root::TenantRoot;
use super::stat::Kind;

/// Symbolic links followed in one path, as the kernel does.
const MAX_LINKS: usize = 40;

/// Why a path leads nowhere.
#[derive(Debug)]
pub enum Unresolved {
    /// `..` above the root.
    Leaves,
    TooManyLinks,
    /// A name in it is no name, or too long.
    NotAPath(io::Error),
}

impl TenantRoot {
    /// Where `path` leads in the tenant's view: `.` and `..` taken out, symbolic links followed,
    /// the last component's too. What does not exist is taken as it is written.
    pub fn resolve(&self, path: &[u8]) -> Result<TenantPath, Unresolved> {
        let mut links_left = MAX_LINKS;
        let mut reached = TenantPath::root();
        let mut ahead: Vec<Vec<u8>> = components(path);
        while let Some(name) = ahead.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." if names_are_checked() => {
                    reached = reached.parent().ok_or(Unresolved::Leaves)?;
                    continue;
                }
                _ => {}
            }
            let next = reached.child(&name).map_err(Unresolved::NotAPath)?;
            if let Ok(Some(Kind::Symlink)) = self.kind_at(&next)
                && let Ok(target) = self.dir(&reached).and_then(|dir| dir.read_link(&name))
            {
                links_left -= 1;
                if links_left == 0 {
                    return Err(Unresolved::TooManyLinks);
                }
                if target.starts_with(b"/") {
                    reached = TenantPath::root();
                }
                ahead.extend(components(&target));
                continue;
            }
            reached = next;
        }
        Ok(reached)
    }

    /// Where a directory stands that a path leads to over links. `None`: it leads outside, to
    /// nothing, or to something else.
    pub fn behind_links(&self, path: &TenantPath) -> Option<TenantPath> {
        let reached = self.resolve(path.as_bytes()).ok()?;
        matches!(self.kind_at(&reached), Ok(Some(Kind::Dir))).then_some(reached)
    }

    /// The same for a directory that may not be there yet. `None`: it leads outside, or to something
    /// else.
    pub fn past_links(&self, path: &TenantPath) -> Option<TenantPath> {
        let reached = self.resolve(path.as_bytes()).ok()?;
        matches!(self.kind_at(&reached), Ok(Some(Kind::Dir) | None)).then_some(reached)
    }

    /// What stands at a path; `None`: nothing.
    pub fn kind_at(&self, path: &TenantPath) -> io::Result<Option<Kind>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Some(Kind::Dir));
        };
        let dir = match self.dir(&parent) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(dir.stat(name)?.map(|stat| stat.kind))
    }
}

/// The last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}
