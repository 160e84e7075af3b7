//! Names as they may be used: relative paths without `..`, `.` and empty components.
//!
//! This is the first of the layers that keep a client inside its tree: nothing that comes out of
//! [`clean`] can point above the directory it is resolved in (symlinks on the way are the business
//! of whoever opens it).

use crate::ProtocolError;
use crate::error::escape;
use crate::layers::names_are_checked;

/// A name that passed [`clean`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// Components joined by single slashes, or `.` alone for the top of the transfer.
    pub(super) path: &'a [u8],
    /// The name came with a leading slash. It takes part in the sort and nowhere else.
    pub(super) is_absolute: bool,
    /// The name came as `path/.`: the same directory, but it sorts among what is inside of it.
    pub(super) is_dot: bool,
}

/// What [`clean`] found beside the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) is_absolute: bool,
    pub(super) is_dot: bool,
}

impl Shape {
    pub(super) fn name(self, path: &[u8]) -> Name<'_> {
        Name {
            path,
            is_absolute: self.is_absolute,
            is_dot: self.is_dot,
        }
    }
}

/// Writes the clean form of `raw` to `path` (which is emptied first).
/// Errors: a `..` component, a NUL, nothing at all, a leading slash although names are not
/// `relative` (with `-R` they may be absolute; the slash is taken off).
pub(super) fn clean(
    raw: &[u8],
    relative: bool,
    path: &mut Vec<u8>,
) -> Result<Shape, ProtocolError> {
    let refuse =
        |what: &str| ProtocolError::violation(format!("file name \"{}\" {what}", escape(raw)));
    path.clear();
    if raw.is_empty() {
        return Err(ProtocolError::violation("a file name is empty"));
    }
    if raw.contains(&0) {
        return Err(refuse("contains a NUL byte"));
    }
    let is_absolute = raw[0] == b'/';
    if is_absolute && !relative {
        return Err(refuse("is absolute"));
    }
    let mut is_dot = false;
    for component in raw.split(|byte| *byte == b'/') {
        match component {
            b"" => {}
            b"." => is_dot = true,
            b".." if names_are_checked() => return Err(refuse("leaves the transfer root")),
            _ => {
                is_dot = false;
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    if path.is_empty() {
        path.push(b'.');
        is_dot = false;
    }
    Ok(Shape {
        is_absolute,
        is_dot: is_dot && raw.ends_with(b"/."),
    })
}

/// Splits a path at its last slash: parent (empty at the top) and base name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(raw: &[u8], relative: bool) -> Result<(Vec<u8>, Shape), ProtocolError> {
        let mut path = b"left over".to_vec();
        clean(raw, relative, &mut path).map(|shape| (path, shape))
    }

    #[test]
    fn needless_slashes_and_dots_are_taken_out() {
        for (raw, path) in [
            ("a/b", "a/b"),
            ("a//b", "a/b"),
            ("a/./b", "a/b"),
            ("./a", "a"),
            ("a/b/", "a/b"),
            (".", "."),
            ("./", "."),
            ("././.", "."),
            ("..a/b..", "..a/b.."),
            ("...", "..."),
        ] {
            let (clean, shape) = cleaned(raw.as_bytes(), false).unwrap();
            assert_eq!(clean, path.as_bytes(), "{raw}");
            assert!(!shape.is_dot && !shape.is_absolute, "{raw}");
        }
        let (path, shape) = cleaned(b"a/b/.", false).unwrap();
        assert_eq!((&path[..], shape.is_dot), (&b"a/b"[..], true));
    }

    #[test]
    fn names_that_could_leave_the_root_are_refused() {
        for raw in [
            "..", "../a", "a/..", "a/../b", "./..", "/", "/a", "//a", "/.",
        ] {
            assert!(cleaned(raw.as_bytes(), false).is_err(), "{raw}");
        }
        for raw in ["/..", "/../a", "a/..", "//.."] {
            assert!(cleaned(raw.as_bytes(), true).is_err(), "{raw}");
        }
        assert!(cleaned(b"", false).is_err());
        assert!(cleaned(b"a\0b", false).is_err());
    }

    #[test]
    fn with_relative_names_a_leading_slash_is_noted_and_stripped() {
        for (raw, path) in [("/a/b", "a/b"), ("//a", "a"), ("/.", "."), ("/", ".")] {
            let (clean, shape) = cleaned(raw.as_bytes(), true).unwrap();
            assert_eq!(clean, path.as_bytes(), "{raw}");
            assert!(shape.is_absolute && !shape.is_dot, "{raw}");
        }
    }

    #[test]
    fn messages_show_the_name_escaped() {
        let error = cleaned(b"a/\n/../b", false).unwrap_err();
        assert_eq!(
            error.message,
            "file name \"a/\\#012/../b\" leaves the transfer root"
        );
    }
}
