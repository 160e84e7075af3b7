//! What the client's source arguments and names mean.
//!
//! They are looked at one at a time, before the first entry is listed: a source that does not
//! exist is told, and the others go on. Wildcards are expanded here, as the login shell (or, with
//! `--secluded-args`, the stock server) would.

use std::collections::VecDeque;
use std::io::{self, Read};

use coffre_protocol::ExitCode;
use coffre_protocol::command::Word;
use coffre_protocol::filter::Glob;
use coffre_protocol::mux::MessageKind;
use coffre_protocol::options::{FilesFrom, MissingArgs, ServerOptions};

use super::phases::Stage;
use super::plan::{Asked, Origin};
use super::view::{Folder, Place};
use super::{Fatal, Sender};
use crate::confine::Kind;

/// Largest `--files-from` file of the server, in bytes.
const MAX_NAMES_FILE: u64 = 256 << 20;
/// Longest name from the client.
const MAX_NAME: usize = 4095;

/// Sources that have not been looked at yet.
pub(super) struct Names {
    words: VecDeque<Word>,
    texts: VecDeque<Vec<u8>>,
    /// Names of `--files-from`, relative to the only argument.
    below: Option<Place>,
    arriving: Vec<u8>,
    bytes: usize,
    is_read: bool,
}

impl Names {
    pub(super) fn new(options: &ServerOptions) -> Self {
        Self {
            words: options.paths.iter().cloned().collect(),
            texts: VecDeque::new(),
            below: None,
            arriving: Vec::new(),
            bytes: 0,
            is_read: false,
        }
    }
}

/// How a source ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Name,
    /// A slash, `.` or `..`: what is in it.
    Content,
}

fn ending(text: &[u8]) -> Ending {
    let last = text.rsplit(|b| *b == b'/').next().unwrap_or_default();
    match last {
        b"" | b"." | b".." => Ending::Content,
        _ => Ending::Name,
    }
}

impl Sender {
    /// Takes names of `--files-from` off the stream; an empty one ends them. Answers how many
    /// bytes they were.
    pub(super) fn take_names(&mut self, bytes: &[u8]) -> Result<usize, Fatal> {
        for (at, byte) in bytes.iter().enumerate() {
            if *byte != 0 {
                self.names.arriving.push(*byte);
                if self.names.arriving.len() > MAX_NAME {
                    return Err(Fatal::violation("a name of --files-from is too long"));
                }
                continue;
            }
            if self.names.arriving.is_empty() {
                self.expect = super::stream::Expect::Ndx;
                self.stage = Stage::Planning;
                self.names.is_read = true;
                return Ok(at + 1);
            }
            let mut name = std::mem::take(&mut self.names.arriving);
            if let Some(charset) = self.options.iconv.filter(|_| self.options.converts_names) {
                name = charset.localize_all(&name);
            }
            self.keep_name(name)?;
        }
        Ok(bytes.len())
    }

    fn keep_name(&mut self, name: Vec<u8>) -> Result<(), Fatal> {
        self.names.bytes += name.len() + size_of::<Vec<u8>>();
        if self.names.bytes > self.limits.list_bytes {
            return Err(Fatal::violation(
                "the names of --files-from take more memory than a session may have",
            ));
        }
        self.names.texts.push_back(name);
        Ok(())
    }

    /// Looks at the next source; after the last one the walk begins.
    pub(super) fn plan_next(&mut self) -> Result<(), Fatal> {
        if self.options.files_from != FilesFrom::Arguments && self.names.below.is_none() {
            self.enter_names()?;
        }
        let is_named = self.options.files_from != FilesFrom::Arguments;
        for _ in 0..64 {
            if self.plan.len() > self.limits.entries as usize {
                return Err(Fatal::violation("more names than a session may have"));
            }
            if let Some(text) = self.names.texts.pop_front() {
                let from = match (&self.names.below, is_named) {
                    (Some(below), true) => below.clone(),
                    _ => self.view.top(),
                };
                let text = if is_named { sanitized(&text) } else { text };
                self.plan_source(&from, &text)?;
            } else if let Some(word) = self.names.words.pop_front() {
                self.names.texts = self.expanded(&word)?.into();
            } else {
                return self.begin_walk();
            }
        }
        Ok(())
    }

    /// The directory that names are relative to, and the file that they are in.
    fn enter_names(&mut self) -> Result<(), Fatal> {
        let word = self.names.words.pop_front().unwrap_or_default();
        self.names.words.clear();
        let text = word.expand_home();
        let top = self.view.top();
        let below = self
            .view
            .resolve(&top, &text, true)
            .and_then(|place| self.view.open(&place).map(|_| place));
        match below {
            Ok(place) => self.names.below = Some(place),
            Err(error) => {
                return Err(Fatal::exit(
                    ExitCode::FileSelect,
                    self.sentence("change_dir", &self.view_path(&text), &error),
                ));
            }
        }
        if let FilesFrom::Server { path } = self.options.files_from.clone() {
            let read = self.read_names_file(&path);
            let text = read.map_err(|error| {
                let shown = String::from_utf8_lossy(&path).into_owned();
                Fatal::exit(
                    ExitCode::FileIo,
                    format!(
                        "failed to open files-from file {shown}: {}",
                        super::messages::reason(&error)
                    ),
                )
            })?;
            let from0 = self.options.from0;
            let names = text
                .split(|b| *b == 0 || !from0 && matches!(b, b'\n' | b'\r'))
                .filter(|name| !name.is_empty() && !matches!(name[0], b'#' | b';'))
                .map(<[u8]>::to_vec);
            for name in names {
                self.keep_name(name)?;
            }
        }
        Ok(())
    }

    /// Only from what the client may restore anyway.
    fn read_names_file(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let path = path
            .strip_prefix(b"~")
            .filter(|rest| rest.first() == Some(&b'/'))
            .unwrap_or(path);
        let place = self.view.resolve(&self.view.top(), path, true)?;
        let not_a_file = || io::Error::from(rustix::io::Errno::INVAL);
        let (dir, name) = self.view.split(&place).ok_or_else(not_a_file)?;
        let file = self.view.open(&dir)?.open_file(&name)?;
        let mut text = Vec::new();
        let most = MAX_NAMES_FILE.min(self.limits.list_bytes as u64);
        file.take(most + 1).read_to_end(&mut text)?;
        match text.len() as u64 > most {
            true => Err(rustix::io::Errno::FBIG.into()),
            false => Ok(text),
        }
    }

    fn plan_source(&mut self, from: &Place, text: &[u8]) -> Result<(), Fatal> {
        let text = if text.is_empty() { b"." } else { text };
        match self.options.relative {
            true => self.plan_relative(from, text),
            false => self.plan_plain(from, text),
        }
    }

    /// Without `-R`: the last name alone counts.
    fn plan_plain(&mut self, from: &Place, text: &[u8]) -> Result<(), Fatal> {
        let ending = ending(text);
        let (dir, name) = match ending {
            Ending::Content => (text, None),
            Ending::Name => match text.iter().rposition(|b| *b == b'/') {
                Some(0) => (&b"/"[..], Some(&text[1..])),
                Some(at) => (&text[..at], Some(&text[at + 1..])),
                None => (&b""[..], Some(text)),
            },
        };
        let Some(base) = self.entered(from, dir)? else {
            return Ok(());
        };
        let origin = Origin {
            base,
            is_absolute: false,
        };
        self.plan_name(origin, text, name.into_iter().collect(), ending, false)
    }

    /// With `-R`: all names count, or those behind `/./`.
    fn plan_relative(&mut self, from: &Place, text: &[u8]) -> Result<(), Fatal> {
        let (dir, mut rest) = match text.windows(3).position(|three| three == b"/./") {
            Some(0) => (Some(&b"/"[..]), &text[3..]),
            Some(at) => (Some(&text[..at]), &text[at + 3..]),
            None => (None, text),
        };
        let mut implies_dot = false;
        if dir.is_none() && rest.starts_with(b"./") {
            implies_dot = true;
            rest = &rest[2..];
        }
        let base = match dir {
            Some(dir) => match self.entered(from, dir)? {
                Some(base) => base,
                None => return Ok(()),
            },
            None => from.clone(),
        };
        if dir.is_some() {
            rest = rest.strip_prefix(b"/").unwrap_or(rest);
        }
        let ending = ending(rest);
        let names: Vec<&[u8]> = rest
            .split(|b| *b == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .collect();
        if names.contains(&&b".."[..]) {
            return Err(Fatal::exit(
                ExitCode::Syntax,
                format!(
                    "found \"..\" dir in relative path: {}",
                    String::from_utf8_lossy(rest)
                ),
            ));
        }
        let is_absolute = dir.is_none() && rest.starts_with(b"/");
        let origin = Origin {
            base: if is_absolute { self.view.top() } else { base },
            is_absolute,
        };
        let ending = if names.is_empty() {
            Ending::Content
        } else {
            ending
        };
        self.plan_name(origin, text, names, ending, implies_dot)
    }

    /// The directory at `dir`, which is entered over links; `None`: that failed, and is told.
    fn entered(&mut self, from: &Place, dir: &[u8]) -> Result<Option<Place>, Fatal> {
        let place = self.view.resolve(from, dir, true);
        match place.and_then(|place| self.view.open(&place).map(|_| place)) {
            Ok(place) => Ok(Some(place)),
            Err(error) => {
                self.io_error |= 1;
                let shown = self.view_path(dir);
                self.file_error("change_dir", &shown, &error);
                Ok(None)
            }
        }
    }

    fn plan_name(
        &mut self,
        origin: Origin,
        text: &[u8],
        names: Vec<&[u8]>,
        ending: Ending,
        implies_dot: bool,
    ) -> Result<(), Fatal> {
        let follows =
            ending == Ending::Content || self.options.copy_links || self.options.copy_dirlinks;
        let path = names.join(&b'/');
        let found = self
            .view
            .resolve(&origin.base, &path, follows)
            .and_then(|place| self.view.stat(&place));
        let missing = |asked: bool| Asked {
            content: false,
            missing: asked,
            implied: false,
        };
        let asked = match found {
            Ok(Some(stat)) if stat.kind == Kind::Dir => {
                let transfers_dirs = self.transfers_dirs();
                if !transfers_dirs {
                    let name = if path.is_empty() { b"." } else { &path[..] };
                    let line = [b"skipping directory ", name].concat();
                    self.out.raw_text(MessageKind::Info, line);
                    return Ok(());
                }
                Asked {
                    content: self.options.recursive || ending == Ending::Content,
                    ..missing(false)
                }
            }
            Ok(Some(_)) if ending == Ending::Content && !names.is_empty() => {
                return self.lacks(text, &rustix::io::Errno::NOTDIR.into());
            }
            Ok(Some(_)) => missing(false),
            Ok(None) => match self.options.missing_args {
                MissingArgs::Report => {
                    return self.lacks(text, &rustix::io::Errno::NOENT.into());
                }
                MissingArgs::Ignore => return Ok(()),
                MissingArgs::Delete => missing(true),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.options.missing_args {
                    MissingArgs::Report => return self.lacks(text, &error),
                    MissingArgs::Ignore => return Ok(()),
                    MissingArgs::Delete => missing(true),
                }
            }
            Err(error) => return self.lacks(text, &error),
        };
        let number = self.plan.origin(origin);
        if implies_dot {
            let dot = Asked {
                implied: true,
                ..missing(false)
            };
            self.plan.add(number, [], dot);
        }
        self.plan.add(number, names, asked);
        Ok(())
    }

    /// Whether directories are entries at all.
    pub(super) fn transfers_dirs(&self) -> bool {
        self.options.recursive
            || self.options.dirs
            || self.options.list_only
            || self.options.files_from != FilesFrom::Arguments
    }

    /// A source cannot be looked at.
    fn lacks(&mut self, text: &[u8], error: &io::Error) -> Result<(), Fatal> {
        if error.kind() != io::ErrorKind::NotFound {
            self.io_error |= 1;
        }
        let shown = match (&self.names.below, text.first()) {
            (Some(below), Some(first)) if *first != b'/' => {
                let mut shown = self.view.shown(below);
                if shown != b"/" {
                    shown.push(b'/');
                }
                [&shown[..], text].concat()
            }
            _ => self.view_path(text),
        };
        self.file_error("link_stat", &shown, error);
        Ok(())
    }

    /// A path as the client gave it, from the top.
    fn view_path(&self, text: &[u8]) -> Vec<u8> {
        let mut shown = b"/".to_vec();
        for name in text.split(|b| *b == b'/') {
            if !name.is_empty() && name != b"." {
                if shown.len() > 1 {
                    shown.push(b'/');
                }
                shown.extend_from_slice(name);
            }
        }
        shown
    }

    /// The names that a word stands for: itself, or what its wildcards match, in order.
    fn expanded(&self, word: &Word) -> Result<Vec<Vec<u8>>, Fatal> {
        if !word.has_wildcard() {
            return Ok(vec![word.expand_home()]);
        }
        let pattern = word.glob();
        let mut found: Vec<Vec<u8>> = vec![Vec::new()];
        let mut matched = false;
        for (index, part) in pattern.split(|b| *b == b'/').enumerate() {
            let separator: &[u8] = if index > 0 { b"/" } else { b"" };
            if !is_live(part) {
                let literal = unescaped(part);
                for path in &mut found {
                    path.extend_from_slice(separator);
                    path.extend_from_slice(&literal);
                }
                // The shell drops what does not go on.
                if matched && !literal.is_empty() {
                    found.retain(|path| self.exists(path));
                }
                continue;
            }
            matched = true;
            let glob = Glob::new(part);
            let shows_hidden = part.starts_with(b".") || part.starts_with(b"\\.");
            let mut next = Vec::new();
            let mut bytes = 0;
            for path in &found {
                // The same directory may be listed very often.
                if self.pipe.is_disconnected() {
                    return Err(Fatal::Disconnected);
                }
                for name in self.names_in(path) {
                    if (shows_hidden || !name.starts_with(b".")) && glob.matches(&name) {
                        let path = [&path[..], separator, &name].concat();
                        bytes += path.len() + size_of::<Vec<u8>>();
                        next.push(path);
                    }
                }
                if next.len() > self.limits.entries as usize || bytes > self.limits.list_bytes {
                    return Err(Fatal::violation(
                        "a pattern matches more names than a session may have",
                    ));
                }
            }
            found = next;
        }
        found.sort();
        Ok(match found.is_empty() {
            true => vec![word.expand_home()],
            false => found,
        })
    }

    fn exists(&self, path: &[u8]) -> bool {
        let place = self.view.resolve(&self.view.top(), path, false);
        place.is_ok_and(|place| matches!(self.view.stat(&place), Ok(Some(_))))
    }

    /// Names in a directory; none where there is none.
    fn names_in(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let place = self.view.resolve(&self.view.top(), path, true);
        let entries = place
            .and_then(|place| self.view.open(&place))
            .and_then(|folder: Folder| folder.entries());
        let entries = entries.unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

/// Whether a part of a pattern has a wildcard that is not escaped.
fn is_live(part: &[u8]) -> bool {
    let mut escaped = false;
    part.iter().any(|b| {
        let is_live = !escaped && matches!(b, b'*' | b'?' | b'[');
        escaped = !escaped && *b == b'\\';
        is_live
    })
}

fn unescaped(part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    let mut escaped = false;
    for byte in part {
        escaped = !escaped && *byte == b'\\';
        if !escaped {
            out.push(*byte);
        }
    }
    out
}

/// A name of `--files-from`: without leading slashes, and `..` does not lead above the directory
/// that names are relative to.
fn sanitized(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = parts.join(&b'/');
    if name.ends_with(b"/") && !clean.is_empty() {
        clean.push(b'/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_list_stay_below_their_directory() {
        for (name, clean) in [
            ("a/b", "a/b"),
            ("/a//b/", "a/b/"),
            ("../../a", "a"),
            ("a/../../b", "b"),
            ("a/./b", "a/./b"),
            ("./a", "./a"),
            ("..", ""),
        ] {
            assert_eq!(sanitized(name.as_bytes()), clean.as_bytes(), "{name}");
        }
    }

    #[test]
    fn only_wildcards_that_are_not_escaped_are_live() {
        assert!(is_live(b"a*") && is_live(br"\\*") && is_live(b"[a]"));
        assert!(!is_live(br"a\*") && !is_live(b"plain"));
        assert_eq!(unescaped(br"a\*\\b"), br"a*\b");
    }

    #[test]
    fn a_source_ends_in_a_name_or_means_what_is_in_it() {
        for text in ["a/", "a/.", "..", "a/..", ".", "/", ""] {
            assert_eq!(ending(text.as_bytes()), Ending::Content, "{text}");
        }
        for text in ["a", "a/b", "...", "a/.b"] {
            assert_eq!(ending(text.as_bytes()), Ending::Name, "{text}");
        }
    }
}
