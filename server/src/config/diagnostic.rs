//! Problems in a configuration, each with the place it was found at.
//!
//! Checking never stops at the first problem: every reader reports into [`Problems`] and goes on,
//! so an admin repairs a file in one round. A [`Diagnostic`] keeps its own copy of the line, and is
//! printed like this:
//!
//! ```text
//! tenants.toml:14:1: unknown key "retentoin" in tenant "ada"; did you mean "retention"?
//! 14 | retentoin = 3
//!    | ^^^^^^^^^
//! ```
//!
//! Lines and columns count from one; columns count characters, as editors do.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Columns of a source line that are shown around a problem; keys are longer than any terminal.
const SHOWN_COLUMNS: usize = 90;

/// Whether a problem stops the configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The file, as it was given to [`super::load`] or written in the configuration.
    pub file: PathBuf,
    /// `None`: the file as a whole.
    pub place: Option<Place>,
    /// Lower case, no full stop.
    pub message: String,
}

/// Where in a file a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// The line, without its end.
    pub source: String,
    /// Characters that the problem covers on that line; at least one.
    pub width: usize,
}

impl Diagnostic {
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// Place and message on one line, for a log that has its own words for the severity.
    pub fn summary(&self) -> String {
        format!("{}: {}", self.at(), self.message)
    }

    /// `file:line:column`, or the file alone.
    pub(super) fn at(&self) -> String {
        match &self.place {
            Some(place) => format!("{}:{}:{}", self.file.display(), place.line, place.column),
            None => self.file.display().to_string(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_warning() { "warning: " } else { "" };
        write!(f, "{}: {severity}{}", self.at(), self.message)?;
        let Some(place) = &self.place else {
            return Ok(());
        };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let (shown, before, width) = excerpt(place);
        write!(f, "\n{number} | {shown}\n{margin} | {before}")?;
        f.write_str(&"^".repeat(width))
    }
}

/// The part of the line to show, the blank text that leads to the carets, and how many carets.
fn excerpt(place: &Place) -> (String, String, usize) {
    let chars: Vec<char> = place
        .source
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let at = (place.column - 1).min(chars.len());
    let start = if chars.len() <= SHOWN_COLUMNS || at < SHOWN_COLUMNS / 2 {
        0
    } else {
        (at - SHOWN_COLUMNS / 3).min(chars.len() - SHOWN_COLUMNS / 2)
    };
    let end = chars.len().min(start + SHOWN_COLUMNS);

    let mut shown = String::new();
    let mut before = String::new();
    if start > 0 {
        shown.push('…');
        before.push(' ');
    }
    shown.extend(&chars[start..end]);
    before.extend(
        chars[start..at]
            .iter()
            .map(|c| if *c == '\t' { '\t' } else { ' ' }),
    );
    if end < chars.len() {
        shown.push('…');
    }
    let room = end.saturating_sub(at).max(1);
    (shown, before, place.width.clamp(1, room))
}

/// A file that was read, for turning byte offsets into places.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// Reads a file. What goes wrong is one diagnostic for the file, or for the line that is not
    /// UTF-8.
    pub(super) fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        let whole_file = |message: String| {
            Box::new(Diagnostic {
                severity: Severity::Error,
                file: path.to_owned(),
                place: None,
                message,
            })
        };
        let bytes =
            std::fs::read(path).map_err(|e| whole_file(format!("cannot read: {}", reason(&e))))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(e) => {
                let valid_up_to = e.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
                let source = Self::new(path, text);
                Err(Box::new(source.diagnostic(
                    Severity::Error,
                    valid_up_to..valid_up_to + 1,
                    "this is not UTF-8 text".to_owned(),
                )))
            }
        }
    }

    pub(super) fn new(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// The number of the line that `offset` is on.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset.min(self.text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    }

    pub(super) fn diagnostic(
        &self,
        severity: Severity,
        span: Range<usize>,
        message: String,
    ) -> Diagnostic {
        let start = char_start(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |i| start + i);
        let end = char_start(&self.text, span.end.clamp(start, line_end));
        Diagnostic {
            severity,
            file: self.path.clone(),
            place: Some(Place {
                line: self.line_of(start),
                column: self.text[line_start..start].chars().count() + 1,
                source: self.text[line_start..line_end].trim_end().to_owned(),
                width: self.text[start..end].trim_end().chars().count().max(1),
            }),
            message,
        }
    }
}

/// The start of the character that `offset` falls into; the end for what lies behind it.
fn char_start(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// What checking has found so far. Readers share it, so it is written to through a shared
/// reference.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Diagnostic>>,
    /// Files that were read on the way.
    read: RefCell<Vec<PathBuf>>,
}

impl Problems {
    /// A file that the configuration names is read.
    pub(super) fn note_file(&self, path: &Path) {
        self.read.borrow_mut().push(path.to_owned());
    }

    pub(super) fn read_files(&self) -> Vec<PathBuf> {
        let mut files = self.read.borrow().clone();
        files.sort();
        files.dedup();
        files
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub(super) fn error(&self, source: &Source, span: Range<usize>, message: impl Into<String>) {
        self.push(source.diagnostic(Severity::Error, span, message.into()));
    }

    pub(super) fn warning(&self, source: &Source, span: Range<usize>, message: impl Into<String>) {
        self.push(source.diagnostic(Severity::Warning, span, message.into()));
    }

    /// Everything, each once, sorted by place; `main` before the files that it names.
    pub(super) fn into_sorted(self, main: &Path) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|d| {
            let place = d.place.as_ref().map(|p| (p.line, p.column));
            (d.file != main, d.file.clone(), place, d.severity)
        });
        found.dedup();
        found
    }
}

/// An I/O error in words, without Rust's `(os error 2)`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(i) if text.ends_with(')') => text[..i].to_owned(),
        _ => text,
    }
}

/// `; did you mean "x"?` for the candidate closest to `written`, or nothing when none is close.
pub(super) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    let limit = (written.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&written.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

/// Edit distance in which swapping two neighbours counts as one edit.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Three rows of the table are enough: this one, the one before, and the one before that.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, span: Range<usize>) -> Diagnostic {
        Source::new(Path::new("t.toml"), text.to_owned()).diagnostic(
            Severity::Error,
            span,
            "wrong".to_owned(),
        )
    }

    #[test]
    fn carets_stand_under_the_text_whatever_precedes_it() {
        let text = "a = 1\n\té = \"bad\"\n";
        let start = text.find('"').unwrap();
        assert_eq!(
            at(text, start..start + 5).to_string(),
            "t.toml:2:6: wrong\n2 | \té = \"bad\"\n  | \t    ^^^^^"
        );
    }

    #[test]
    fn a_problem_at_the_end_of_the_file_or_over_several_lines_has_a_place() {
        assert_eq!(
            at("a =", 3..3).to_string(),
            "t.toml:1:4: wrong\n1 | a =\n  |    ^"
        );
        assert_eq!(
            at("a = [\n1\n]", 4..9).to_string(),
            "t.toml:1:5: wrong\n1 | a = [\n  |     ^"
        );
        assert_eq!(at("", 7..9).place.unwrap().column, 1);
    }

    #[test]
    fn a_long_line_is_shown_around_the_problem() {
        let text = format!("key = \"{}\" # {}", "A".repeat(700), "x".repeat(200));
        let start = text.find('#').unwrap();
        let rendered = at(&text, start..start + 3).to_string();
        let lines: Vec<&str> = rendered.lines().collect();
        let shown: Vec<char> = lines[1].chars().collect();
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(shown[caret], '#');
        assert!(shown.len() <= SHOWN_COLUMNS + 10, "{rendered}");
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        assert_eq!(
            did_you_mean("prot", ["port", "keys"]),
            "; did you mean \"port\"?"
        );
        assert_eq!(
            did_you_mean("retore_login", ["restore_login", "login"]),
            "; did you mean \"restore_login\"?"
        );
        assert_eq!(did_you_mean("colour", ["port", "keys"]), "");
        assert_eq!(
            did_you_mean("snapshot", ["snapshots"]),
            "; did you mean \"snapshots\"?"
        );
    }

    #[test]
    fn text_that_is_not_utf8_is_reported_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
        let found = Source::read(&path).unwrap_err();
        assert_eq!(found.place.unwrap().line, 2);
        assert_eq!(found.message, "this is not UTF-8 text");
    }
}
