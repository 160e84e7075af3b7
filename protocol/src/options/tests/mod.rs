//! What the words of `rsync --server` mean, by tables. The submodules are told apart by what an
//! admin would ask: which client, which option, why not.

/// Rows of words and the field that they move from its default to a value.
macro_rules! sets {
    ($($words:literal => $field:ident = $value:expr;)*) => {
        [$(($words, {
            fn check(options: &ServerOptions) -> bool {
                options.$field == $value && ServerOptions::default().$field != $value
            }
            check as fn(&ServerOptions) -> bool
        })),*]
    };
}

mod clients;
mod fields;
mod meaning;
mod refusals;
mod secluded;

use super::*;
use crate::command::{Command, split};
use crate::wire::{DecodeError, Reader};
use proptest::prelude::*;

fn try_parse(arguments: &str) -> Result<ServerOptions, ProtocolError> {
    ServerOptions::parse(&split(format!("--server {arguments}").as_bytes()).unwrap())
}

/// Options of a push to `dst` with these words before the `.`.
fn push(words: &str) -> ServerOptions {
    try_parse(&format!("{words} . dst")).unwrap()
}

fn message(words: &str) -> String {
    try_parse(&format!("{words} . dst")).unwrap_err().message
}

fn version(number: u8) -> ProtocolVersion {
    ProtocolVersion::new(number).unwrap()
}

/// What every field says in `-logDtpr`.
fn archive() -> ServerOptions {
    ServerOptions {
        recursive: true,
        links: true,
        owner: true,
        group: true,
        devices: true,
        specials: true,
        times: true,
        perms: true,
        paths: vec![Word::unquoted(b"dst")],
        ..ServerOptions::default()
    }
}
