//! Exec strings, the words in them, and what they ask for.

use coffre_protocol::ProtocolVersion;
use coffre_protocol::command::{Command, Word, split};
use coffre_protocol::options::{SecludedArgs, ServerOptions};
use coffre_protocol::wire::{DecodeError, Reader};

use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

/// An exec string, and after the first newline what follows on stdin with secluded arguments.
pub(crate) fn options(data: &[u8]) {
    if data.len() > MAX_LEN {
        return;
    }
    let end = data.iter().position(|byte| *byte == b'\n');
    let exec = &data[..end.unwrap_or(data.len())];
    let stdin = end.map_or(&[][..], |end| &data[end + 1..]);
    bounded(allowance(data.len()), || understand(exec, stdin));
}

fn understand(exec: &[u8], stdin: &[u8]) {
    if let Ok(words) = split(exec) {
        for word in &words {
            let _ = (word.expand_home(), word.glob(), word.has_wildcard());
        }
        let again = split(&quote(&words)).expect("quoted words");
        assert!(
            words
                .iter()
                .map(Word::bytes)
                .eq(again.iter().map(Word::bytes))
        );
    }
    let Ok(Command::Rsync(words)) = Command::parse(exec) else {
        return;
    };
    let Ok(mut options) = ServerOptions::parse(&words) else {
        return;
    };
    if options.secluded {
        let more = secluded(stdin, usize::MAX);
        assert_eq!(secluded(stdin, 1), more, "byte by byte");
        let Some(more) = more else { return };
        match ServerOptions::parse_secluded(&words, &more) {
            Ok(whole) => options = whole,
            Err(_) => return,
        }
    }
    // The same words mean the same however they were quoted.
    if !options.secluded
        && let Ok(Command::Rsync(again)) =
            Command::parse(&[&b"rsync "[..], &quote(&words)].concat())
    {
        let again: Vec<&[u8]> = again.iter().map(Word::bytes).collect();
        assert!(words.iter().map(Word::bytes).eq(again));
    }
    let _ = options.refusal();
    let _ = (options.destination(), options.partial_dir(), options.info());
    for version in (27..=32).filter_map(ProtocolVersion::new) {
        let _ = options.check_version(version);
        let _ = options.receives_filter_list(version);
        let _ = (options.deletion(version), options.append(version));
    }
    let _ = options.allows_incremental_recursion();
}

fn quote(words: &[Word]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        out.push(b'\'');
        for byte in word.bytes() {
            match byte {
                b'\'' => out.extend_from_slice(b"'\\''"),
                byte => out.push(*byte),
            }
        }
        out.extend_from_slice(b"' ");
    }
    out
}

/// `None`: refused, or not all there.
fn secluded(stdin: &[u8], step: usize) -> Option<Vec<Word>> {
    let mut decoder = SecludedArgs::new();
    let mut words = Vec::new();
    let (mut at, mut shown) = (0, 0);
    loop {
        let mut reader = Reader::new(&stdin[at..shown]);
        match decoder.decode_word(&mut reader) {
            Ok(None) => return Some(words),
            Ok(Some(word)) => words.push(word),
            Err(DecodeError::Malformed(_)) => return None,
            Err(DecodeError::Incomplete) if shown == stdin.len() => return None,
            Err(DecodeError::Incomplete) => {
                shown = shown.saturating_add(step).min(stdin.len());
                continue;
            }
        }
        at += reader.consumed();
    }
}
