//! `--usermap` and `--groupmap`: which local owner a sender's id or name becomes.

use crate::ProtocolError;
use crate::error::escape;
use crate::filter::Glob;

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMatch {
    /// This id or any between the two, both included.
    Ids(u32, u32),
    /// This name, or a pattern with `*`, `?` or `[`; `*` matches an id without name too.
    Name(Glob),
}

/// What an id becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdTarget {
    Id(u32),
    /// A local name, not yet looked up.
    Name(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMapRule {
    pub from: IdMatch,
    pub to: IdTarget,
}

/// Rules in the order of the command line; the first that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap {
    pub rules: Vec<IdMapRule>,
}

impl IdMap {
    /// Shape: `FROM:TO` separated by commas; FROM is an id, `N-M`, a name or a pattern, TO an id
    /// or a name. Errors: a usage error naming the part that is neither.
    pub(super) fn parse(option: &str, text: &[u8]) -> Result<Self, ProtocolError> {
        let rules = text.split(|b| *b == b',').map(|part| {
            parse_rule(part).ok_or_else(|| {
                ProtocolError::usage(format!("invalid --{option} entry `{}`", escape(part)))
            })
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What `id`, called `name` by the sender (empty: no name), becomes.
    pub fn target(&self, id: u32, name: &[u8]) -> Option<&IdTarget> {
        let rule = self.rules.iter().find(|rule| match &rule.from {
            IdMatch::Ids(first, last) => (*first..=*last).contains(&id),
            IdMatch::Name(glob) => glob.matches(name),
        })?;
        Some(&rule.to)
    }
}

fn parse_rule(text: &[u8]) -> Option<IdMapRule> {
    let colon = text.iter().position(|b| *b == b':')?;
    let (from, to) = (&text[..colon], &text[colon + 1..]);
    if from.is_empty() || to.is_empty() {
        return None;
    }
    let from = match (number(from), from.iter().position(|b| *b == b'-')) {
        (Some(id), _) => IdMatch::Ids(id, id),
        (None, Some(dash)) if from[0].is_ascii_digit() => {
            let (first, last) = (number(&from[..dash])?, number(&from[dash + 1..])?);
            (first <= last).then_some(IdMatch::Ids(first, last))?
        }
        // Names that begin with a digit could not be told from broken ranges.
        (None, _) if from[0].is_ascii_digit() => return None,
        (None, _) if Glob::is_wild(from) => IdMatch::Name(Glob::new(from)),
        (None, _) => IdMatch::Name(Glob::literal(from)),
    };
    let to = match number(to) {
        Some(id) => IdTarget::Id(id),
        None => IdTarget::Name(to.to_vec()),
    };
    Some(IdMapRule { from, to })
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let map = IdMap::parse("usermap", b"0:root,10-20:7,web*:www,ann:8,*:nobody").unwrap();
        let name = |text: &[u8]| IdTarget::Name(text.to_vec());
        for (id, wire_name, target) in [
            (0, &b"admin"[..], name(b"root")),
            (15, b"web1", IdTarget::Id(7)),
            (21, b"web1", name(b"www")),
            (21, b"ann", IdTarget::Id(8)),
            (21, b"anna", name(b"nobody")),
            (21, b"", name(b"nobody")),
        ] {
            assert_eq!(map.target(id, wire_name), Some(&target), "{id}");
        }
        assert_eq!(IdMap::default().target(0, b"root"), None);
        let map = IdMap::parse("usermap", b"ann:1").unwrap();
        assert_eq!(map.target(5, b""), None);
    }

    #[test]
    fn broken_entries_are_refused_by_name() {
        for text in [
            "", "a", "a:", ":b", "1-:2", "9-3:1", "1x:2", "a:b,,c:d", "-",
        ] {
            let error = IdMap::parse("groupmap", text.as_bytes()).unwrap_err();
            assert!(
                error.message.starts_with("invalid --groupmap entry"),
                "{text}"
            );
        }
    }
}
