//! Include and exclude rules: which names take part, and on a receiver which are safe from
//! deletion.
//!
//! A session first reads the client's rules, one [`FilterList::decode_rule`] at a time, where
//! [`ServerOptions::receives_filter_list`] says that they are on the wire, and ends with
//! [`FilterList::complete`]. While it walks directories it asks a [`DirFilter`], which adds the
//! rules of per-directory merge files.
//!
//! Rules are tried in order and the first that matches decides. Names are relative to the root of
//! the transfer, without leading slash. On the receiver [`Verdict::Exclude`] means *protected*:
//! not listed, not descended into, not deleted. That an excluded directory hides what is in it is
//! the walker's doing, not the pattern's.
//!
//! Traps: a text of the tree never appears in an error, or a merge rule would be a way to read
//! files; rules come from peers, so matching has no backtracking ([`Glob`]).
//! Source: rsync(1), "FILTER RULES"; rsync 2.6.9 to 3.5.0, observed.

mod cvs;
mod dir;
mod glob;
mod pattern;
mod rule;
#[cfg(test)]
mod tests;

pub use dir::{DirFilter, MergeFile};
pub use glob::Glob;

use crate::error::escape;
use crate::options::{Role, ServerOptions};
use crate::wire::{Decode, Reader};
use crate::{ProtocolError, ProtocolVersion};
use pattern::Base;
use rule::{Matching, Merge, Parsed, Place, Template};

/// What the rules say about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Left out; on a receiver: protected.
    Exclude,
    /// Taken in; on a receiver: at risk, and nothing later can protect it.
    Include,
    /// No rule matches; treated as included.
    NoMatch,
}

/// Whether more rules follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListState {
    More,
    Complete,
}

/// A rule in its list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Matching(Matching),
    /// The rules of a merge file stand here; an index into the merge rules in force.
    Merge(usize),
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    File {
        name: &'a [u8],
        is_dir: bool,
        /// The directory that holds it is being deleted.
        deleting: bool,
    },
    Xattr(&'a [u8]),
}

/// What decided about a name.
#[derive(Clone, Copy)]
struct Decision<'a> {
    rule: &'a Matching,
    /// The merge rule whose files hold it.
    merge: Option<&'a Merge>,
}

impl Decision<'_> {
    /// The line with which stock programs tell of it: `[sender] hiding file a~ because of pattern
    /// *~`.
    fn trace(&self, role: Role, subject: Subject<'_>) -> Vec<u8> {
        let (kind, name): (_, &[u8]) = match subject {
            Subject::File { name, is_dir, .. } if is_dir => ("directory", name),
            Subject::File { name, .. } => ("file", name),
            Subject::Xattr(name) => ("xattr", name),
        };
        let does = match (role, self.rule.exclude) {
            (Role::Sender, true) => "[sender] hiding",
            (Role::Sender, false) => "[sender] showing",
            (Role::Receiver, true) => "[generator] protecting",
            (Role::Receiver, false) => "[generator] risking",
        };
        let pattern = match &self.rule.source.text {
            Some(text) => text,
            None => &b"<rule from a file read earlier>"[..],
        };
        let list = match self.merge {
            _ if self.rule.source.is_default => " [global CVS]".to_owned().into_bytes(),
            None => Vec::new(),
            Some(merge) => {
                let name = match &merge.named_at {
                    Some(at) => format!("<rule from {at}>").into_bytes(),
                    None => last_component(&merge.name).to_vec(),
                };
                [&b" [per-dir "[..], &name, b"]"].concat()
            }
        };
        [
            format!("{does} {kind} ").as_bytes(),
            name,
            b" because of pattern ",
            pattern,
            &list,
        ]
        .concat()
    }
}

impl Matching {
    fn decides(&self, subject: Subject<'_>) -> bool {
        let matched = match subject {
            Subject::File { deleting: true, .. } if self.perishable => return false,
            Subject::File { name, is_dir, .. } if !self.xattr => self.pattern.matches(name, is_dir),
            Subject::Xattr(name) if self.xattr => self.pattern.matches(name, false),
            _ => return false,
        };
        matched != self.negated
    }

    fn verdict(&self) -> Verdict {
        match self.exclude {
            true => Verdict::Exclude,
            false => Verdict::Include,
        }
    }
}

/// The rules of a session.
#[derive(Debug, Clone)]
pub struct FilterList {
    role: Role,
    version: ProtocolVersion,
    delete_excluded: bool,
    /// Without trailing slash, so that the top of the view is empty.
    root: Vec<u8>,
    rules: Vec<Rule>,
    merges: Vec<Merge>,
    has_xattr_rules: bool,
    received_bytes: usize,
}

impl FilterList {
    /// Longest rule on the wire, in bytes.
    pub const MAX_RULE: usize = 5119;
    /// All rules on the wire together, in bytes, of which each takes [`Self::EACH`] beside its text.
    pub const MAX_LIST: usize = 16 << 20;
    /// What a rule takes in memory beside its text, in bytes.
    pub const EACH: usize = 128;

    /// An empty list. `root` is the absolute path of the transfer's root in the client's view;
    /// rules with the modifier `/` look at it.
    pub fn new(options: &ServerOptions, version: ProtocolVersion, root: &[u8]) -> Self {
        Self {
            role: options.role,
            version,
            delete_excluded: options.delete_excluded,
            root: root.strip_suffix(b"/").unwrap_or(root).to_vec(),
            rules: Vec::new(),
            merges: Vec::new(),
            has_xattr_rules: false,
            received_bytes: 0,
        }
    }

    /// Reads one rule: an `int` length and that many bytes; length 0 ends the list.
    /// Errors: stream errors beyond [`Self::MAX_RULE`] and [`Self::MAX_LIST`]; exit 1 for a text
    /// that is no rule; exit 4 for a rule that names a file to merge at once.
    pub fn decode_rule(&mut self, reader: &mut Reader<'_>) -> Decode<ListState> {
        let len = reader.i32()?;
        let len = match usize::try_from(len) {
            Ok(0) => return Ok(ListState::Complete),
            Ok(len) if len <= Self::MAX_RULE => len,
            _ => {
                let text = format!("a filter rule of {len} bytes");
                return Err(ProtocolError::stream(text).into());
            }
        };
        let text = reader.bytes(len)?;
        self.received_bytes += len + Self::EACH;
        if self.received_bytes > Self::MAX_LIST {
            let text = format!("the filter rules exceed {} bytes", Self::MAX_LIST);
            return Err(ProtocolError::stream(text).into());
        }
        self.add_received(text)?;
        Ok(ListState::More)
    }

    /// Adds what the options imply beyond the rules received (`--cvs-exclude`).
    pub fn complete(&mut self, options: &ServerOptions) {
        if !options.cvs_exclude {
            return;
        }
        match options.role {
            // From protocol 29 on the client sends all of it.
            Role::Receiver if self.version.at_least(29) => {}
            Role::Receiver => self.add(Parsed::DirMerge(cvs::ignore_files())),
            Role::Sender => {
                self.add(Parsed::DirMerge(cvs::ignore_files()));
                self.add(Parsed::CvsDefaults(cvs::template(false)));
            }
        }
    }

    /// Whether any rule was about names of extended attributes, in the list itself.
    pub fn has_xattr_rules(&self) -> bool {
        self.has_xattr_rules
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether directories may have rules of their own, so that they have to be entered and left.
    pub fn has_merge_files(&self) -> bool {
        !self.merges.is_empty()
    }

    fn add_received(&mut self, text: &[u8]) -> Result<(), ProtocolError> {
        let place = Place {
            root: &self.root,
            anchor: &Base::Name,
            in_file: false,
        };
        let parsed = match self.version.at_least(29) {
            true => rule::parse(&mut &text[..], &rule::Template::default(), &place),
            false => rule::parse_old(text, &place).map(Some),
        };
        match parsed {
            Ok(Some(Parsed::Merge(_))) => Err(ProtocolError::unsupported(format!(
                "the filter rule `{}` names a file of the server; \
                 have the client read it, or use a per-directory rule",
                escape(text)
            ))),
            Ok(parsed) => {
                parsed.into_iter().for_each(|parsed| self.add(parsed));
                Ok(())
            }
            Err(flaw) => Err(ProtocolError::usage(flaw.of_text(text))),
        }
    }

    fn add(&mut self, parsed: Parsed) {
        self.has_xattr_rules |= matches!(&parsed, Parsed::Matching(rule) if rule.xattr);
        let counting = self.counting();
        let mut sink = Sink {
            counting,
            rules: &mut self.rules,
            merges: &mut self.merges,
        };
        sink.add(parsed);
    }

    fn counting(&self) -> Counting {
        Counting {
            role: self.role,
            delete_excluded: self.delete_excluded,
            perishable_defaults: self.version.at_least(30),
            sides: true,
        }
    }
}

/// Which rules count.
#[derive(Debug, Clone, Copy)]
struct Counting {
    role: Role,
    delete_excluded: bool,
    /// The default list of CVS perishes.
    perishable_defaults: bool,
    /// Rules for the other side do not count.
    sides: bool,
}

/// Where parsed rules go: a list, and the merge rules in force.
struct Sink<'a> {
    counting: Counting,
    rules: &'a mut Vec<Rule>,
    merges: &'a mut Vec<Merge>,
}

impl Sink<'_> {
    /// Adds a rule if it counts. `Clear` empties the list; a [`Parsed::Merge`] is for the caller
    /// to read and adds nothing.
    fn add(&mut self, parsed: Parsed) {
        let Counting {
            role,
            delete_excluded,
            perishable_defaults,
            sides,
        } = self.counting;
        match parsed {
            Parsed::Matching(mut matching) => {
                if delete_excluded && matching.sides == rule::Sides::Unnamed {
                    matching.sides = rule::Sides::Sender;
                }
                if !sides || matching.sides.include(role) {
                    self.rules.push(Rule::Matching(matching));
                }
            }
            Parsed::DirMerge(merge) => {
                if merge.exclude_itself {
                    self.add(Parsed::Matching(Matching::of_merge_file(&merge)));
                }
                let known = self
                    .merges
                    .iter()
                    .any(|other| last_component(&other.name) == last_component(&merge.name));
                if (!sides || merge.template.sides.include(role)) && !known {
                    self.rules.push(Rule::Merge(self.merges.len()));
                    self.merges.push(merge);
                }
            }
            Parsed::CvsDefaults(template) => {
                let place = Place {
                    root: b"",
                    anchor: &Base::Name,
                    in_file: false,
                };
                let template = Template {
                    words: true,
                    perishable: template.perishable || perishable_defaults,
                    ..template
                };
                let mut rest = cvs::DEFAULTS;
                while let Ok(Some(parsed)) = rule::parse(&mut rest, &template, &place) {
                    self.add(parsed);
                }
            }
            Parsed::Clear => self.rules.clear(),
            Parsed::Merge(_) => {}
        }
    }
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}
