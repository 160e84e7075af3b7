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

impl IdMatch {
    /// Whether it is this id, called `name` by the sender (empty: no name).
    pub fn matches(&self, id: u32, name: &[u8]) -> bool {
        match self {
            IdMatch::Ids(first, last) => (*first..=*last).contains(&id),
            IdMatch::Name(glob) => glob.matches(name),
        }
    }
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
    /// or a name. Errors: exit 1, in the words of stock servers, about the last part that is wrong.
    pub(super) fn parse(option: &str, text: &[u8]) -> Result<Self, ProtocolError> {
        let rules = text.split(|b| *b == b',').rev();
        let mut rules = rules
            .map(|part| parse_rule(option, part))
            .collect::<Result<Vec<_>, _>>()?;
        rules.reverse();
        Ok(Self { rules })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What `id`, called `name` by the sender (empty: no name), becomes.
    pub fn target(&self, id: u32, name: &[u8]) -> Option<&IdTarget> {
        let rule = self.rules.iter().find(|rule| rule.from.matches(id, name))?;
        Some(&rule.to)
    }
}

fn parse_rule(option: &str, text: &[u8]) -> Result<IdMapRule, ProtocolError> {
    let wrong = |what: &str, cited: &[u8]| {
        ProtocolError::usage(format!("{what} --{option}: {}", escape(cited)))
    };
    let Some(colon) = text.iter().position(|b| *b == b':') else {
        return Err(wrong("No colon found in", text));
    };
    let (from, to) = (&text[..colon], &text[colon + 1..]);
    if to.is_empty() {
        return Err(wrong("No name found after colon", text));
    }
    let from = if from.first().is_some_and(u8::is_ascii_digit) {
        let mut ends = from.splitn(2, |b| *b == b'-');
        let first = ends.next().unwrap_or_default();
        let last = ends.next().unwrap_or(first);
        let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if !is_number(first) || !is_number(last) {
            return Err(wrong("Invalid number in", from));
        }
        // A range that ends before it begins holds nothing.
        IdMatch::Ids(number(first)?, number(last)?)
    } else if Glob::is_wild(from) {
        IdMatch::Name(Glob::new(from))
    } else {
        IdMatch::Name(Glob::literal(from))
    };
    let to = if to.iter().all(u8::is_ascii_digit) {
        IdTarget::Id(number(to)?)
    } else {
        IdTarget::Name(to.to_vec())
    };
    Ok(IdMapRule { from, to })
}

fn number(digits: &[u8]) -> Result<u32, ProtocolError> {
    let number = std::str::from_utf8(digits).ok();
    number
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| ProtocolError::usage(format!("Invalid ID number: {}", escape(digits))))
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
    fn broken_entries_are_refused_in_stock_words() {
        for (text, words) in [
            ("", "No colon found in --groupmap: "),
            ("a:1,b", "No colon found in --groupmap: b"),
            ("a:", "No name found after colon --groupmap: a:"),
            ("1-:2", "Invalid number in --groupmap: 1-"),
            ("1-2-3:2", "Invalid number in --groupmap: 1-2-3"),
            ("1x:2,2:3", "Invalid number in --groupmap: 1x"),
            ("a:99999999999", "Invalid ID number: 99999999999"),
        ] {
            let error = IdMap::parse("groupmap", text.as_bytes()).unwrap_err();
            assert_eq!(error.message, words);
        }
        let map = IdMap::parse("usermap", b"9-3:1,:2").unwrap();
        assert_eq!(map.target(5, b"x"), None);
        assert_eq!(map.target(5, b""), Some(&IdTarget::Id(2)));
    }
}
