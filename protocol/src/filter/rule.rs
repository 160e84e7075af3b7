//! One rule, and its text.
//!
//! Modern shape: `TYPE[,]MODIFIERS SEPARATOR PATTERN` with a type of one character
//! (`- + : . ! H S P R`) or a word (`exclude`, `dir-merge`, …; then the comma is needed), and a
//! blank or `_` as separator. A stock client sends only `-`, `+` and `:`; the rest is what people
//! write into merge files. Before protocol 29 a rule is a bare pattern (see [`parse_old`]).
//! Source: rsync(1), "FILTER RULES IN DEPTH"; what rsync 2.6.9 to 3.5.0 send.

use super::pattern::{Base, Pattern};
use crate::error::escape;
use crate::options::Role;

/// Which ends a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sides {
    /// None: it counts on both.
    #[default]
    Unnamed,
    Sender,
    Receiver,
    Both,
}

impl Sides {
    pub(super) fn include(self, role: Role) -> bool {
        match role {
            Role::Sender => self != Sides::Receiver,
            Role::Receiver => self != Sides::Sender,
        }
    }

    fn and(self, role: Role) -> Self {
        match (self, role) {
            (Sides::Unnamed | Sides::Sender, Role::Sender) => Sides::Sender,
            (Sides::Unnamed | Sides::Receiver, Role::Receiver) => Sides::Receiver,
            _ => Sides::Both,
        }
    }
}

/// An include or exclude rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matching {
    pub(super) exclude: bool,
    pub(super) pattern: Pattern,
    /// It matches where the pattern does not.
    pub(super) negated: bool,
    /// It is about names of xattrs, not of files.
    pub(super) xattr: bool,
    /// It does not count inside a directory that is being deleted.
    pub(super) perishable: bool,
    pub(super) sides: Sides,
    pub(super) source: Source,
}

/// Where a rule comes from, for whoever asks why a name is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Source {
    /// The pattern as the client wrote it. `None`: it stands in a file of the tree, whose text is
    /// never shown.
    pub(super) text: Option<Box<[u8]>>,
    /// It is one of the default list of CVS.
    pub(super) is_default: bool,
}

/// How the text of a merge file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Syntax {
    #[default]
    Rules,
    /// Every piece is a pattern.
    Patterns { exclude: bool },
    /// Patterns; `!` clears.
    Cvs { exclude: bool },
}

/// What rules of a merge file have from the rule that names the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Template {
    pub(super) syntax: Syntax,
    /// Rules end at any white space, not at the end of a line.
    pub(super) words: bool,
    pub(super) absolute: bool,
    pub(super) perishable: bool,
    pub(super) sides: Sides,
}

/// A file of rules: its name, and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) name: Vec<u8>,
    /// Whether its rules hold in subdirectories too.
    pub(super) inherit: bool,
    /// Whether the file itself is excluded.
    pub(super) exclude_itself: bool,
    pub(super) template: Template,
    /// Where in a file of the tree this rule stands; `None`: the client named it.
    pub(super) named_at: Option<String>,
}

/// What a rule's text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Matching(Matching),
    /// `:`
    DirMerge(Merge),
    /// `.`
    Merge(Merge),
    /// `!`
    Clear,
    /// `-C`: the default list of CVS, excluded or included.
    CvsDefaults(Template),
}

/// Where a rule stands: what a leading `/` and the modifier `/` refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The absolute path of the transfer's root in the client's view, without trailing slash.
    pub(super) root: &'a [u8],
    /// What a leading slash is relative to.
    pub(super) anchor: &'a Base,
    /// It is a file of the tree.
    pub(super) in_file: bool,
}

impl Place<'_> {
    fn source(&self, pattern: &[u8], template: &Template) -> Source {
        Source {
            text: (!self.in_file).then(|| pattern.into()),
            is_default: matches!(template.syntax, Syntax::Cvs { .. }) && !self.in_file,
        }
    }

    fn pattern(&self, text: &[u8], absolute: bool) -> Pattern {
        let base = match (absolute, text.first()) {
            (true, _) => Base::Prefixed(self.root.to_vec()),
            (false, Some(b'/')) => self.anchor.clone(),
            (false, _) => Base::Name,
        };
        Pattern::new(text, base)
    }
}

/// Why a text is no rule, in the words of stock programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    Unknown,
    /// The letter, and its place in the rule from 0 on.
    Modifier(u8, usize),
    /// Its file is for one side already.
    SideTwice,
    AfterClear,
    NoPattern,
}

impl Flaw {
    /// What to say of a rule that the client wrote.
    pub(super) fn of_text(self, text: &[u8]) -> String {
        let text = escape(text);
        match self {
            Flaw::Modifier(letter, position) => format!(
                "invalid modifier '{}' at position {position} in filter rule: {text}",
                escape(&[letter])
            ),
            flaw => format!("{}: {text}", flaw.words()),
        }
    }

    /// What to say of a rule that stands `at` a place of a file: never its text, which may be
    /// that of any file of the tree.
    pub(super) fn of_place(self, at: &str) -> String {
        format!("{}: <rule from {at}>", self.words())
    }

    fn words(self) -> &'static str {
        match self {
            Flaw::Unknown => "Unknown filter rule",
            Flaw::Modifier(..) => "invalid modifier in filter rule",
            Flaw::SideTwice => "specified-side merge file contains specified-side filter",
            Flaw::AfterClear => "'!' rule has trailing characters",
            Flaw::NoPattern => "unexpected end of filter rule",
        }
    }
}

/// A rule as protocols before 29 send it: `- PATTERN`, `+ PATTERN`, `!`, or a pattern to exclude.
pub(super) fn parse_old(text: &[u8], place: &Place<'_>) -> Result<Parsed, Flaw> {
    let (exclude, pattern) = match text {
        b"!" => return Ok(Parsed::Clear),
        [b'-', b' ', pattern @ ..] => (true, pattern),
        [b'+', b' ', pattern @ ..] => (false, pattern),
        pattern => (true, pattern),
    };
    if pattern.is_empty() {
        return Err(Flaw::NoPattern);
    }
    Ok(plain(exclude, pattern, &Template::default(), place))
}

/// The next rule of `rest`, which is one line, or with `template.words` any text.
/// `None`: only white space was left.
pub(super) fn parse(
    rest: &mut &[u8],
    template: &Template,
    place: &Place<'_>,
) -> Result<Option<Parsed>, Flaw> {
    if template.words {
        *rest = rest.trim_ascii_start();
    }
    if rest.is_empty() {
        return Ok(None);
    }
    let exclude = match template.syntax {
        Syntax::Rules => return parse_rule(rest, template, place).map(Some),
        Syntax::Patterns { exclude } => exclude,
        Syntax::Cvs { exclude } => exclude,
    };
    Ok(Some(match take_pattern(rest, template) {
        b"!" if matches!(template.syntax, Syntax::Cvs { .. }) => Parsed::Clear,
        pattern => plain(exclude, pattern, template, place),
    }))
}

fn plain(exclude: bool, pattern: &[u8], template: &Template, place: &Place<'_>) -> Parsed {
    Parsed::Matching(Matching {
        exclude,
        pattern: place.pattern(pattern, template.absolute),
        negated: false,
        xattr: false,
        perishable: template.perishable,
        sides: template.sides,
        source: place.source(pattern, template),
    })
}

/// The rest of the line, or of the word.
fn take_pattern<'a>(rest: &mut &'a [u8], template: &Template) -> &'a [u8] {
    let end = match template.words {
        true => rest.iter().position(u8::is_ascii_whitespace),
        false => None,
    };
    let (pattern, tail) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = tail;
    pattern
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Exclude,
    Include,
    Merge,
    DirMerge,
    Clear,
}

/// The character, the word, what it is, and the side it implies.
const TYPES: [(u8, &str, Type, Option<Role>); 9] = [
    (b'-', "exclude", Type::Exclude, None),
    (b'+', "include", Type::Include, None),
    (b'.', "merge", Type::Merge, None),
    (b':', "dir-merge", Type::DirMerge, None),
    (b'!', "clear", Type::Clear, None),
    (b'H', "hide", Type::Exclude, Some(Role::Sender)),
    (b'S', "show", Type::Include, Some(Role::Sender)),
    (b'P', "protect", Type::Exclude, Some(Role::Receiver)),
    (b'R', "risk", Type::Include, Some(Role::Receiver)),
];

/// Takes the type off, with the comma behind it.
fn take_type(rest: &mut &[u8]) -> Result<(Type, Option<Role>), Flaw> {
    let word = rest
        .iter()
        .take_while(|b| b.is_ascii_lowercase() || **b == b'-')
        .count();
    let by_word = TYPES
        .iter()
        .find(|(_, name, ..)| rest[..word] == *name.as_bytes());
    if let Some((_, _, kind, side)) = by_word {
        *rest = &rest[word..];
        return match rest.first() {
            Some(b',') => {
                *rest = &rest[1..];
                Ok((*kind, *side))
            }
            None | Some(b' ' | b'_' | b'\t' | b'\r' | b'\n') => Ok((*kind, *side)),
            Some(_) => Err(Flaw::Unknown),
        };
    }
    let by_letter = TYPES
        .iter()
        .find(|(letter, ..)| rest.first() == Some(letter));
    let (_, _, kind, side) = by_letter.ok_or(Flaw::Unknown)?;
    *rest = &rest[1..];
    if let [b',', tail @ ..] = rest {
        *rest = tail;
    }
    Ok((*kind, *side))
}

fn parse_rule(rest: &mut &[u8], template: &Template, place: &Place<'_>) -> Result<Parsed, Flaw> {
    let len = rest.len();
    let (kind, side_of_type) = take_type(rest)?;
    if kind == Type::Clear {
        let trailing = take_pattern(rest, template);
        return match trailing.is_empty() {
            true => Ok(Parsed::Clear),
            false => Err(Flaw::AfterClear),
        };
    }
    let is_merge = matches!(kind, Type::Merge | Type::DirMerge);
    let mut modifiers = Modifiers {
        template: Template {
            syntax: Syntax::Rules,
            words: false,
            sides: side_of_type.map_or(Sides::Unnamed, |side| Sides::Unnamed.and(side)),
            ..*template
        },
        inherit: true,
        ..Modifiers::default()
    };
    while let [byte, tail @ ..] = *rest {
        if template.words && byte.is_ascii_whitespace() && *byte != b' ' {
            break;
        }
        let position = len - rest.len();
        *rest = tail;
        if matches!(byte, b' ' | b'_') {
            break;
        }
        if !modifiers.take(*byte, is_merge, side_of_type.is_some()) {
            return Err(Flaw::Modifier(*byte, position));
        }
    }
    let template_sides = template.sides;
    if template_sides != Sides::Unnamed {
        if modifiers.template.sides != Sides::Unnamed {
            return Err(Flaw::SideTwice);
        }
        modifiers.template.sides = template_sides;
    }
    let pattern = take_pattern(rest, template);
    let pattern = match (modifiers.cvs, is_merge, pattern) {
        (true, true, b"") => b".cvsignore",
        // What follows does not matter.
        (true, false, _) => {
            let mut template = modifiers.template;
            template.syntax = Syntax::Cvs {
                exclude: kind == Type::Exclude,
            };
            return Ok(Parsed::CvsDefaults(template));
        }
        (_, _, b"") => return Err(Flaw::NoPattern),
        (_, _, pattern) => pattern,
    };
    let merge = Merge {
        name: pattern.to_vec(),
        inherit: modifiers.inherit,
        exclude_itself: modifiers.exclude_itself,
        template: modifiers.template,
        named_at: None,
    };
    match kind {
        Type::Merge => Ok(Parsed::Merge(merge)),
        Type::DirMerge => Ok(Parsed::DirMerge(merge)),
        _ => Ok(Parsed::Matching(Matching {
            exclude: kind == Type::Exclude,
            pattern: place.pattern(pattern, modifiers.template.absolute),
            negated: modifiers.negated,
            xattr: modifiers.xattr,
            perishable: modifiers.template.perishable,
            sides: modifiers.template.sides,
            source: place.source(pattern, template),
        })),
    }
}

#[derive(Default)]
struct Modifiers {
    template: Template,
    inherit: bool,
    exclude_itself: bool,
    negated: bool,
    xattr: bool,
    cvs: bool,
}

impl Modifiers {
    /// `false`: the letter does not belong there.
    fn take(&mut self, letter: u8, is_merge: bool, type_names_side: bool) -> bool {
        let template = &mut self.template;
        match letter {
            b'/' => template.absolute = true,
            b'p' => template.perishable = true,
            b's' if !type_names_side => template.sides = template.sides.and(Role::Sender),
            b'r' if !type_names_side => template.sides = template.sides.and(Role::Receiver),
            b'C' if template.syntax == Syntax::Rules && !type_names_side => {
                self.cvs = true;
                self.inherit = false;
                template.syntax = Syntax::Cvs { exclude: true };
                template.words = true;
            }
            b'!' if !is_merge => self.negated = true,
            // It says nothing of a file.
            b'x' => self.xattr = true,
            b'n' if is_merge => self.inherit = false,
            b'w' if is_merge => template.words = true,
            b'e' if is_merge => self.exclude_itself = true,
            b'+' | b'-' if is_merge && template.syntax == Syntax::Rules => {
                template.syntax = Syntax::Patterns {
                    exclude: letter == b'-',
                };
            }
            _ => return false,
        }
        true
    }
}

impl Matching {
    /// The rule that keeps a merge file itself out of the transfer.
    pub(super) fn of_merge_file(merge: &Merge) -> Self {
        let name = merge.name.rsplit(|b| *b == b'/').next();
        let name = name.unwrap_or(&merge.name);
        Self {
            exclude: true,
            pattern: Pattern::new(name, Base::Name),
            negated: false,
            xattr: false,
            perishable: false,
            // Whatever the sides of the merge rule.
            sides: Sides::Both,
            source: Source {
                text: merge.named_at.is_none().then(|| name.into()),
                is_default: false,
            },
        }
    }
}
