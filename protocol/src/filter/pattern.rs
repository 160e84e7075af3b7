//! The pattern of one rule: which part of a name it looks at, and where it may begin.

use super::glob::Glob;

/// What a pattern is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// The name in the transfer.
    Name,
    /// The rest of the name below this directory of the transfer: a leading `/` in a merge file
    /// means the directory of that file.
    Below(Vec<u8>),
    /// This path, a slash and the name: the modifier `/`, or a merge file above the transfer.
    Prefixed(Vec<u8>),
}

/// A prepared pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    matcher: Matcher,
    base: Base,
    /// Ended in `/`.
    dir_only: bool,
    /// Began with `/`.
    anchored: bool,
    /// Number of slashes, a leading one included.
    slashes: usize,
    double_star: bool,
    double_star_first: bool,
    triple_star_last: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// Compared byte for byte; a backslash is nothing special without wildcards.
    Literal(Vec<u8>),
    Glob(Glob),
}

impl Matcher {
    fn matches(&self, subject: &[u8]) -> bool {
        match self {
            Matcher::Literal(text) => text == subject,
            Matcher::Glob(glob) => glob.matches(subject),
        }
    }
}

impl Pattern {
    pub(super) fn new(text: &[u8], base: Base) -> Self {
        let (text, dir_only) = match text {
            [text @ .., b'/'] if !text.is_empty() => (text, true),
            _ => (text, false),
        };
        let anchored = text.first() == Some(&b'/');
        let body = &text[usize::from(anchored)..];
        let matcher = match Glob::is_wild(text) {
            true => Matcher::Glob(Glob::new(body)),
            false => Matcher::Literal(body.to_vec()),
        };
        Self {
            matcher,
            base,
            dir_only,
            anchored,
            slashes: text.iter().filter(|b| **b == b'/').count(),
            double_star: text.windows(2).any(|pair| pair == b"**"),
            double_star_first: text.starts_with(b"**"),
            triple_star_last: text.ends_with(b"***"),
        }
    }

    /// Whether it matches `name`, the path below the transfer's root without leading slash.
    pub(super) fn matches(&self, name: &[u8], is_dir: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        if self.slashes == 0 && !self.double_star {
            return self
                .matcher
                .matches(last_components(name, 1).unwrap_or(name));
        }
        let joined;
        let subject = match &self.base {
            Base::Name => name,
            Base::Below(dir) => match below(name, dir) {
                Some(rest) => rest,
                None => return false,
            },
            Base::Prefixed(prefix) => {
                joined = [prefix, &b"/"[..], name].concat();
                &joined
            }
        };
        let subject = match subject {
            [b'/', rest @ ..] if self.anchored => rest,
            _ => subject,
        };
        match &self.matcher {
            Matcher::Glob(glob) if self.double_star || self.anchored => {
                let lead: &[u8] = match self.double_star_first && !subject.starts_with(b"/") {
                    true => b"/",
                    false => b"",
                };
                let trail: &[u8] = match self.triple_star_last && is_dir {
                    true => b"/",
                    false => b"",
                };
                let at_components = !self.anchored && !self.double_star_first;
                glob.matches_parts(&[lead, subject, trail], at_components)
            }
            matcher if self.anchored => matcher.matches(subject),
            matcher => last_components(subject, self.slashes + 1)
                .is_some_and(|subject| matcher.matches(subject)),
        }
    }
}

/// The last `n` components of a path; `None` if it has fewer.
fn last_components(path: &[u8], n: usize) -> Option<&[u8]> {
    let mut slashes = path.iter().enumerate().rev().filter(|(_, b)| **b == b'/');
    match slashes.nth(n - 1) {
        Some((at, _)) => Some(&path[at + 1..]),
        None if path.iter().filter(|b| **b == b'/').count() + 1 == n => Some(path),
        None => None,
    }
}

/// What is left of `name` below `dir` (empty: the root).
fn below<'a>(name: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    if dir.is_empty() {
        return Some(name);
    }
    name.strip_prefix(dir)?.strip_prefix(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern, name (a trailing slash: a directory), whether rsync 3.5.0 matches them.
    const OBSERVED: &[(&str, &str, bool)] = &[
        ("foo", "foo", true),
        ("foo", "a/foo", true),
        ("foo", "foobar", false),
        ("foo", "foo/", true),
        ("/foo", "foo", true),
        ("/foo", "a/foo", false),
        ("foo/", "foo", false),
        ("foo/", "a/foo/", true),
        ("a/b", "x/a/b", true),
        ("a/b", "xa/b", false),
        ("/a/b", "x/a/b", false),
        ("a/b/", "z/a/b/", true),
        ("*.o", "a/b/x.o", true),
        ("*.o", "a.o/x", false),
        ("a/*", "a/x", true),
        ("a/*", "a/b/x", false),
        ("a/*", "z/a/x", true),
        ("/a/*", "z/a/x", false),
        ("f?o", "f/o", false),
        ("f[a-z]o", "fxo", true),
        ("f[!a-z]o", "fXo", true),
        ("f[^a-z]o", "fxo", false),
        ("f[/]o", "f/o", false),
        ("[[:digit:]]", "7", true),
        (r"[a\]]x", "]x", true),
        ("[a-", "[a-", false),
        ("foo/*/bar", "q/foo/x/bar", true),
        ("foo/*/bar", "foo/x/y/bar", false),
        ("*/", "a/b/", true),
        ("/**/x", "x", false),
        ("/**/x", "a/x", true),
        ("a/**/x", "a/x", false),
        ("a/**/x", "a/b/c/x", true),
        ("a**x", "a/b/x", true),
        ("a**x", "q/a/b/x", true),
        ("**x", "a/bx", true),
        ("*", "a/x", true),
        ("a/***", "a/", true),
        ("a/***", "a/b/x", true),
        ("a/***", "z/a/", true),
        ("a/***", "a", false),
        ("a/**", "a/", false),
        ("a/**", "z/a/b/x", true),
        ("/a/**", "z/a/x", false),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/", "a/b/", true),
        (r"a\*b", "a*b", true),
        (r"a\*b", "axb", false),
        (r"a\b", r"a\b", true),
        (r"a\b", "ab", false),
        (r"a\b*", r"a\bc", false),
        (r"a\b*", "abc", true),
        (".*", ".x", true),
        ("*", ".x", true),
        ("a//b", "a/b", false),
        ("/", "a", false),
        ("/*/", "a/b/", false),
    ];

    fn matches(pattern: &str, base: Base, path: &str) -> bool {
        let name = path.strip_suffix('/').unwrap_or(path);
        Pattern::new(pattern.as_bytes(), base).matches(name.as_bytes(), name != path)
    }

    #[test]
    fn every_observed_pattern_matches_as_it_does_in_stock_programs() {
        for (pattern, path, expected) in OBSERVED {
            assert_eq!(
                matches(pattern, Base::Name, path),
                *expected,
                "{pattern} on {path}"
            );
        }
    }

    #[test]
    fn a_pattern_of_a_merge_file_is_anchored_at_its_directory() {
        let below = || Base::Below(b"a/b".to_vec());
        assert!(matches("/x", below(), "a/b/x"));
        assert!(!matches("/x", below(), "a/b/c/x"));
        assert!(!matches("/x", below(), "x"));
        assert!(!matches("/x", below(), "a/bb/x"));
        assert!(matches("/*/x", below(), "a/b/c/x"));
        let above = || Base::Prefixed(b"var/backup".to_vec());
        assert!(matches("/var/backup/x", above(), "x"));
        assert!(matches("/var/*/d/x", above(), "d/x"));
        assert!(!matches("/x", above(), "x"));
    }

    #[test]
    fn the_modifier_for_absolute_names_looks_at_the_whole_path() {
        let absolute = || Base::Prefixed(b"/var/backup".to_vec());
        assert!(matches("/var/backup/a/x", absolute(), "a/x"));
        assert!(matches("/var/**/x", absolute(), "a/x"));
        assert!(matches("backup/a", absolute(), "a/"));
        assert!(matches("**/backup/a", absolute(), "a"));
        assert!(matches("a", absolute(), "x/a"));
        assert!(!matches("/a/x", absolute(), "a/x"));
        // The top of the view has an empty prefix.
        assert!(matches("/a/x", Base::Prefixed(Vec::new()), "a/x"));
    }
}
