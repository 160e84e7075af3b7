//! Filter rules from the wire and from merge files, and what they say about names.

use std::sync::Arc;

use coffre_protocol::ProtocolVersion;
use coffre_protocol::command::split;
use coffre_protocol::filter::{DirFilter, FilterList, Glob, ListState, MergeFile, Verdict};
use coffre_protocol::options::ServerOptions;
use coffre_protocol::wire::{DecodeError, Reader};

use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

const LINES: [&str; 4] = [
    "--server -r --delete . dst",
    "--server -r --delete-excluded . dst",
    "--server -rC --delete . dst",
    "--server --sender -rC . src",
];

/// Version and role; then the rules as on the wire, behind a length of two bytes; then, each ended
/// by a NUL, the text of a merge file and names.
pub(crate) fn filters(data: &[u8]) {
    let Some(([first, low, high], rest)) = data.split_first_chunk::<3>() else {
        return;
    };
    if rest.len() > MAX_LEN {
        return;
    }
    let (rules, rest) = rest.split_at(
        rest.len()
            .min(usize::from(u16::from_le_bytes([*low, *high]))),
    );
    let line = LINES[usize::from(*first) / 6 % LINES.len()];
    let Some(version) = ProtocolVersion::new(27 + first % 6) else {
        return;
    };
    let Ok(options) = split(line.as_bytes()).and_then(|words| ServerOptions::parse(&words)) else {
        return;
    };
    // A pattern is several times its text, once prepared.
    let most = 4 * allowance(data.len());
    bounded(most, || {
        let (list, error) = read(&options, version, rules, usize::MAX);
        let (again, same) = read(&options, version, rules, 1);
        assert_eq!(same, error, "byte by byte");
        let mut parts = rest.split(|byte| *byte == 0);
        let text = parts.next().unwrap_or_default();
        let names: Vec<&[u8]> = parts.filter(|name| !name.is_empty()).take(64).collect();
        let verdicts = judge(list, text, &names);
        assert_eq!(judge(again, text, &names), verdicts);
    });
    globs(rest);
}

/// Of the rules what came before an error.
fn read(
    options: &ServerOptions,
    version: ProtocolVersion,
    rules: &[u8],
    step: usize,
) -> (FilterList, Option<String>) {
    let mut list = FilterList::new(options, version, b"/dst");
    let (mut at, mut shown) = (0, 0);
    let error = loop {
        let mut reader = Reader::new(&rules[at..shown]);
        match list.decode_rule(&mut reader) {
            Ok(ListState::More) => {}
            Ok(ListState::Complete) => {
                list.complete(options);
                break None;
            }
            Err(DecodeError::Malformed(error)) => break Some(error.message),
            Err(DecodeError::Incomplete) if shown == rules.len() => break None,
            Err(DecodeError::Incomplete) => {
                shown = shown.saturating_add(step).min(rules.len());
                continue;
            }
        }
        at += reader.consumed();
    };
    (list, error)
}

fn judge(list: FilterList, text: &[u8], names: &[&[u8]]) -> Vec<Verdict> {
    let mut filter = DirFilter::new(Arc::new(list));
    let mut verdicts = Vec::new();
    for dir in [&b""[..], b"d", b"d/e"] {
        filter.enter(dir);
        let mut supplied = 0;
        while let Some(file) = filter.next_file() {
            // The same text once for each directory, so that files that name themselves end.
            let content = match (&file, supplied) {
                (MergeFile::Here(_), 0..4) | (MergeFile::At(_), 0) => Some(text),
                _ => None,
            };
            supplied += 1;
            if filter.supply(content).is_err() {
                return verdicts;
            }
        }
        for name in names {
            let path = match dir {
                b"" => name.to_vec(),
                dir => [dir, b"/", name].concat(),
            };
            verdicts.push(filter.check(&path, false, false));
            verdicts.push(filter.check(&path, true, true));
            verdicts.push(filter.check_xattr(name));
        }
    }
    filter.leave();
    verdicts
}

/// The first part as a pattern, the second as what it is compared with; a pattern without
/// wildcards is its own only match.
fn globs(rest: &[u8]) {
    let mut parts = rest.split(|byte| *byte == 0);
    let (Some(pattern), Some(subject)) = (parts.next(), parts.next()) else {
        return;
    };
    let matched = Glob::new(pattern).matches(subject);
    if !pattern.iter().any(|byte| b"*?[\\".contains(byte)) {
        assert_eq!(matched, pattern == subject);
    }
}
