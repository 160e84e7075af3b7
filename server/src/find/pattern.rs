//! What is looked for: a path with wildcards, matched component by component, so that a walk goes
//! only where something can match.
//!
//! | pattern | matches |
//! |---|---|
//! | `passwd`, `*.conf` | that name, in any directory |
//! | `/etc/passwd`, `etc/passwd` | that path, from the top of the tree |
//! | `/etc/*.conf` | names in `/etc`: `*`, `?` and `[…]` stand for anything but a slash |
//! | `/home/**/.ssh` | `**` as a whole component: any number of directories, none too |
//! | `/etc/**` | everything below `/etc`, at any depth |
//! | `cache/` | directories only |
//!
//! `\` before a wildcard takes its meaning away. Capitals count, and so does a dot in front.

use coffre_protocol::filter::Glob;

/// See the module's story.
#[derive(Debug)]
pub struct Pattern {
    parts: Vec<Part>,
    only_directories: bool,
}

#[derive(Debug)]
enum Part {
    Name(Vec<u8>),
    Wild(Glob),
    /// `**`
    Deep,
}

/// Why a text is no pattern; a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("the pattern is empty; ** matches everything")]
    Empty,
    #[error("the [ in the pattern has no ]; \\[ stands for the character itself")]
    Bracket,
    #[error("\"..\" in the pattern leads nowhere here; give the path from the top of the tree")]
    Dots,
}

/// Components of the pattern that a directory's entries may be the next match of, in order.
pub(super) type Places = Vec<u32>;

impl Pattern {
    pub fn parse(text: &[u8]) -> Result<Self, BadPattern> {
        let only_directories = text.ends_with(b"/");
        let is_path = text
            .iter()
            .rev()
            .skip_while(|byte| **byte == b'/')
            .any(|byte| *byte == b'/');
        let mut parts = Vec::new();
        if !is_path {
            parts.push(Part::Deep);
        }
        for component in text.split(|byte| *byte == b'/') {
            parts.push(match component {
                b"" | b"." => continue,
                b".." => return Err(BadPattern::Dots),
                b"**" if matches!(parts.last(), Some(Part::Deep)) => continue,
                b"**" => Part::Deep,
                wild if has_open_bracket(wild) => return Err(BadPattern::Bracket),
                wild if Glob::is_wild(wild) => Part::Wild(Glob::new(wild)),
                name => Part::Name(name.to_vec()),
            });
        }
        match parts.as_slice() {
            [] | [Part::Deep] if !text.contains(&b'*') => Err(BadPattern::Empty),
            _ => Ok(Self {
                parts,
                only_directories,
            }),
        }
    }

    /// Whether it can match at any depth.
    pub(super) fn is_deep(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Deep))
    }

    /// For the entries of the tree's own directory.
    pub(super) fn start(&self) -> Places {
        let mut places = Places::new();
        self.reach(0, &mut places);
        places
    }

    /// Whether an entry of a directory is one that is looked for.
    pub(super) fn matches(&self, places: &[u32], name: &[u8], is_directory: bool) -> bool {
        let last = self.parts.len() as u32 - 1;
        (is_directory || !self.only_directories)
            && places.last() == Some(&last)
            && self.parts[last as usize].matches(name)
    }

    /// For the entries of a directory in that one; empty: nothing in there can match.
    pub(super) fn below(&self, places: &[u32], name: &[u8]) -> Places {
        let mut below = Places::new();
        for place in places {
            match &self.parts[*place as usize] {
                Part::Deep => self.reach(*place, &mut below),
                part if part.matches(name) => self.reach(place + 1, &mut below),
                _ => {}
            }
        }
        below.sort_unstable();
        below.dedup();
        below
    }

    /// The names that alone can match; `None`: others can, too.
    pub(super) fn only_names(&self, places: &[u32]) -> Option<Vec<&[u8]>> {
        let name = |place: &u32| match &self.parts[*place as usize] {
            Part::Name(name) => Some(name.as_slice()),
            _ => None,
        };
        places.iter().map(name).collect()
    }

    /// `**` may stand for no directory at all, so what comes after it is reached with it.
    fn reach(&self, mut place: u32, places: &mut Places) {
        while let Some(part) = self.parts.get(place as usize) {
            places.push(place);
            match part {
                Part::Deep => place += 1,
                _ => break,
            }
        }
    }
}

/// A set that does not end, which nothing would match.
fn has_open_bracket(component: &[u8]) -> bool {
    let mut rest = component;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'\\' => after.get(1..).unwrap_or_default(),
            b'[' => {
                let negated = matches!(after.first(), Some(b'!' | b'^'));
                // Right at the beginning it is one of the set.
                let set = after.get(usize::from(negated) + 1..).unwrap_or_default();
                match set.iter().position(|byte| *byte == b']') {
                    Some(end) => &set[end + 1..],
                    None => return true,
                }
            }
            _ => after,
        };
    }
    false
}

impl Part {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Wild(glob) => glob.matches(name),
            Self::Deep => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let mut places = pattern.start();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                return pattern.matches(&places, name.as_bytes(), is_directory);
            }
            places = pattern.below(&places, name.as_bytes());
        }
        false
    }

    #[test]
    fn patterns_match_what_the_table_says() {
        for (pattern, yes, no) in [
            (
                "passwd",
                &["passwd", "etc/passwd", "a/b/passwd"][..],
                &["etc/passwd-"][..],
            ),
            (
                "*.conf",
                &["a.conf", "etc/a.conf", "etc/.conf"],
                &["etc/a.conf/x"],
            ),
            (
                "etc/passwd",
                &["etc/passwd"],
                &["a/etc/passwd", "etc", "etc/passwd/x"],
            ),
            ("/etc/passwd", &["etc/passwd"], &["a/etc/passwd"]),
            ("/passwd", &["passwd"], &["etc/passwd"]),
            (
                "/etc/*.conf",
                &["etc/a.conf"],
                &["etc/a/b.conf", "x/etc/a.conf"],
            ),
            ("/*/*.conf", &["etc/a.conf"], &["a.conf", "etc/a/b.conf"]),
            (
                "/home/**/.ssh",
                &["home/.ssh", "home/a/.ssh", "home/a/b/.ssh"],
                &[".ssh", "a/home/.ssh"],
            ),
            ("**/b/c", &["b/c", "a/b/c", "a/a/b/c"], &["b/a/c", "c"]),
            ("/etc/**", &["etc/a", "etc/a/b"], &["etc", "a/etc/a"]),
            (
                "/a/**/b/**/c",
                &["a/b/c", "a/x/b/y/c", "a/b/b/c"],
                &["a/c", "b/c"],
            ),
            ("**", &["a", "a/b", "a/b/c/"], &[]),
            ("*", &["a", "a/b"], &[]),
            ("/*", &["a"], &["a/b"]),
            ("/**", &["a", "a/b"], &[]),
            ("cache/", &["cache/", "a/cache/"], &["cache"]),
            ("/a/**/", &["a/b/", "a/b/c/"], &["a/b", "a/"]),
            ("a**b", &["a1b", "x/ab"], &["a/b"]),
            ("[ab]?", &["a1", "x/b2"], &["c1", "a"]),
            (r"\*", &["*", "a/*"], &["a"]),
            (r"a\b", &[r"a\b"], &["ab"]),
            ("//etc//./passwd", &["etc/passwd"], &[]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "{pattern} {path}");
            }
            for path in no {
                assert!(!matches(pattern, path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn a_walk_knows_where_nothing_can_match() {
        let pattern = Pattern::parse(b"/etc/*/b").unwrap();
        assert_eq!(
            pattern.only_names(&pattern.start()),
            Some(vec![&b"etc"[..]])
        );
        assert!(pattern.below(&pattern.start(), b"usr").is_empty());
        let etc = pattern.below(&pattern.start(), b"etc");
        assert_eq!(pattern.only_names(&etc), None);
        assert!(!pattern.is_deep());
        assert!(Pattern::parse(b"b").unwrap().is_deep());
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for empty in ["", "/", "//", "."] {
            assert_eq!(
                Pattern::parse(empty.as_bytes()).unwrap_err(),
                BadPattern::Empty
            );
        }
        assert_eq!(Pattern::parse(b"a/../b").unwrap_err(), BadPattern::Dots);
        for open in ["[a", "a[", "/x/[!]", "[]", "[a]["] {
            let told = Pattern::parse(open.as_bytes()).unwrap_err();
            assert_eq!(told, BadPattern::Bracket, "{open}");
        }
        for closed in ["[a]", "[]]", "[!]]", r"\[a", "[[:alpha:]]"] {
            assert!(Pattern::parse(closed.as_bytes()).is_ok(), "{closed}");
        }
    }
}
