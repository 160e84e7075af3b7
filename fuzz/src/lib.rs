//! What the fuzz targets do with their bytes.
//!
//! Each body takes any bytes and must come to an end, without a panic, with bounded memory. It
//! decodes them whole and in pieces, which must give the same; and where there is an encoder, what
//! was decoded is encoded and decoded again. The first bytes of an input choose what is to be
//! decoded, the rest is the stream.
//!
//! `fuzz/programs/` has a libFuzzer program for each; `tests/replay.rs` runs the bodies over the committed
//! corpus with an ordinary compiler.

mod charsets;
#[path = "../../protocol/tests/transcripts/conversation.rs"]
#[expect(unreachable_pub, reason = "it is a module of a test too")]
mod conversation;
mod delta;
mod filters;
mod flist;
mod items;
mod memory;
mod session;
mod tokens;
mod words;
mod xattrs;

pub mod seeds;

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// All targets, by the names of their programs and corpora.
pub const TARGETS: &[(&str, Body)] = &[
    ("charsets", charsets::charsets),
    ("delta", delta::delta),
    ("filters", filters::filters),
    ("flist", flist::flist),
    ("handshake", session::handshake),
    ("items", items::items),
    ("mux", items::mux),
    ("options", words::options),
    ("session", session::session),
    ("tokens", tokens::tokens),
    ("xattrs", xattrs::xattrs),
];

/// The body of a target.
pub fn body(name: &str) -> Option<Body> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, body)| *body)
}

/// Inputs beyond this teach nothing new, and byte by byte they take long.
pub const MAX_LEN: usize = 8192;

/// Memory that a decoder may hold for an input: so much in any case, and so much for each byte.
fn allowance(len: usize) -> usize {
    (1 << 20) + 400 * len
}
