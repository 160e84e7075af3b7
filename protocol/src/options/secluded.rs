//! Arguments that follow on stdin (`s`, `--secluded-args`).

use crate::ProtocolError;
use crate::command::Word;
use crate::wire::{Decode, DecodeError, Reader};

/// Reads the words that come before the client's protocol version: each ends in a NUL, an empty
/// one ends the list. The first is a program name without meaning. No shell saw them, so nothing
/// is escaped, and wildcards in paths are live.
#[derive(Debug, Default)]
pub struct SecludedArgs {
    count: usize,
}

impl SecludedArgs {
    /// Longest word, in bytes.
    pub const MAX_WORD: usize = 4095;
    /// Most words.
    pub const MAX_WORDS: usize = 1000;

    pub fn new() -> Self {
        Self::default()
    }

    /// The next word; `None` at the end of the list.
    /// Errors: a usage error beyond the limits, found as soon as the limit is passed.
    pub fn decode_word(&mut self, reader: &mut Reader<'_>) -> Decode<Option<Word>> {
        let rest = reader.rest();
        let shown = &rest[..rest.len().min(Self::MAX_WORD + 1)];
        let Some(len) = shown.iter().position(|b| *b == 0) else {
            return Err(match shown.len() > Self::MAX_WORD {
                true => limit("an argument on stdin exceeds", Self::MAX_WORD, "bytes").into(),
                false => DecodeError::Incomplete,
            });
        };
        let word = reader.bytes(len)?;
        reader.u8()?;
        if word.is_empty() {
            return Ok(None);
        }
        self.count += 1;
        match self.count > Self::MAX_WORDS {
            true => Err(limit("the arguments on stdin exceed", Self::MAX_WORDS, "words").into()),
            false => Ok(Some(Word::unquoted(word))),
        }
    }
}

fn limit(what: &str, limit: usize, unit: &str) -> ProtocolError {
    ProtocolError::usage(format!("{what} {limit} {unit}"))
}
