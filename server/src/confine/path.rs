//! Paths below a tenant's root, as checked byte strings.

use std::fmt;

use coffre_protocol::error::escape;
use coffre_protocol::layers::names_are_checked;

use super::escape::check_name;

/// A path relative to a tenant's root: components joined by `/`, none of them empty, `.` or
/// `..`, without NUL. The root itself is the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantPath {
    bytes: Vec<u8>,
}

/// Longest name of a directory entry, in bytes (NAME_MAX).
const NAME_LIMIT: usize = 255;
/// A path from a peer must be shorter than this, in bytes (PATH_MAX). Paths that grow out of
/// joins may be longer: they are walked in pieces.
const PATH_LIMIT: usize = 4096;

/// Why a path of a peer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRefusal {
    ParentComponent,
    Nul,
    ComponentTooLong,
    TooLong,
}

impl fmt::Display for PathRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathRefusal::ParentComponent => f.write_str("`..` leaves the tenant's root"),
            PathRefusal::Nul => f.write_str("the path has a NUL byte in it"),
            PathRefusal::ComponentTooLong => {
                write!(f, "a name in the path is longer than {NAME_LIMIT} bytes")
            }
            PathRefusal::TooLong => {
                write!(f, "the path is longer than {} bytes", PATH_LIMIT - 1)
            }
        }
    }
}

impl std::error::Error for PathRefusal {}

impl TenantPath {
    /// The tenant's `/`.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path that came from a peer. Absolute and relative paths both start at the
    /// tenant's `/`; empty components and `.` collapse; `..` is refused rather than resolved,
    /// since what it means depends on links.
    pub fn parse(peer: &[u8]) -> Result<Self, PathRefusal> {
        let mut path = Self::root();
        for component in peer.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." if names_are_checked() => return Err(PathRefusal::ParentComponent),
                _ => {}
            }
            if component.contains(&0) {
                return Err(PathRefusal::Nul);
            }
            if component.len() > NAME_LIMIT {
                return Err(PathRefusal::ComponentTooLong);
            }
            path.push(component);
        }
        if path.bytes.len() >= PATH_LIMIT {
            return Err(PathRefusal::TooLong);
        }
        Ok(path)
    }

    fn push(&mut self, component: &[u8]) {
        if !self.bytes.is_empty() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(component);
    }

    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Without a leading slash; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The path of an entry of this directory.
    /// Errors: [`super::Escape::NotAName`].
    pub fn child(&self, name: &[u8]) -> std::io::Result<Self> {
        if names_are_checked() {
            check_name(name)?;
        }
        let mut path = self.clone();
        path.push(name);
        Ok(path)
    }

    /// `below`, seen from this directory.
    pub fn join(&self, below: &TenantPath) -> Self {
        let mut path = self.clone();
        for component in below.components() {
            path.push(component);
        }
        path
    }

    /// The directory that holds this entry; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self
            .bytes
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        Some(Self {
            bytes: self.bytes[..end].to_vec(),
        })
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.bytes
            .rsplit(|&byte| byte == b'/')
            .next()
            .filter(|name| !name.is_empty())
    }

    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes
            .split(|&byte| byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// Whether this is `ancestor` or below it.
    pub fn starts_with(&self, ancestor: &TenantPath) -> bool {
        match self.bytes.strip_prefix(ancestor.bytes.as_slice()) {
            Some(rest) => ancestor.is_root() || rest.is_empty() || rest[0] == b'/',
            None => false,
        }
    }
}

/// As a client may see it, with peer bytes escaped; the root is `.`.
impl fmt::Display for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.write_str(".")
        } else {
            f.write_str(&escape(&self.bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        String::from_utf8(TenantPath::parse(text.as_bytes()).unwrap().bytes).unwrap()
    }

    #[test]
    fn absolute_and_relative_paths_start_at_the_tenants_root_and_collapse() {
        for (given, meant) in [
            ("", ""),
            ("/", ""),
            (".", ""),
            ("/./", ""),
            ("a", "a"),
            ("/a/b", "a/b"),
            ("//a///b/./c/", "a/b/c"),
            ("...", "..."),
            ("a/..b/c..", "a/..b/c.."),
        ] {
            assert_eq!(parsed(given), meant, "{given:?}");
        }
    }

    #[test]
    fn what_could_lead_outside_or_confuse_the_kernel_is_refused() {
        let name = "n".repeat(256);
        let long = "0123456/".repeat(512);
        for (given, why) in [
            ("..", PathRefusal::ParentComponent),
            ("a/../b", PathRefusal::ParentComponent),
            ("/../etc/passwd", PathRefusal::ParentComponent),
            ("a\0b", PathRefusal::Nul),
            (name.as_str(), PathRefusal::ComponentTooLong),
            (&format!("{long}x"), PathRefusal::TooLong),
        ] {
            assert_eq!(TenantPath::parse(given.as_bytes()), Err(why), "{given:?}");
        }
        assert_eq!(parsed(&long).len(), 4095);
        assert!(TenantPath::root().child(b"..").is_err());
        assert!(TenantPath::root().child(b"a/b").is_err());
    }

    #[test]
    fn parents_names_and_prefixes_are_by_component() {
        let path = TenantPath::parse(b"/a/bc/d").unwrap();
        assert_eq!(path.file_name(), Some(&b"d"[..]));
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/bc");
        assert_eq!(path.components().count(), 3);
        let a = TenantPath::parse(b"a").unwrap();
        assert_eq!(a.parent(), Some(TenantPath::root()));
        assert_eq!(TenantPath::root().parent(), None);
        assert_eq!(TenantPath::root().file_name(), None);
        assert!(path.starts_with(&a) && path.starts_with(&TenantPath::root()));
        assert!(!path.starts_with(&TenantPath::parse(b"a/b").unwrap()));
        assert_eq!(a.join(&path).as_bytes(), b"a/a/bc/d");
        assert_eq!(a.child(b"z").unwrap().as_bytes(), b"a/z");
    }
}
