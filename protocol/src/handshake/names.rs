//! Lists of checksum and compression names.

use crate::ProtocolError;
use crate::checksum::StrongKind;
use crate::delta::Compression;
use crate::error::escape;

/// Best first, in the order of stock programs.
pub(super) const CHECKSUMS: &[u8] = b"xxh128 xxh3 xxh64 md5 md4 sha1 none";
pub(super) const COMPRESSIONS: &[u8] = b"zstd lz4 zlibx zlib none";

pub(super) fn choose_sum(client: &[u8]) -> Result<StrongKind, ProtocolError> {
    choose(client, StrongKind::from_name)
        .ok_or_else(|| nothing_common("checksum", client, CHECKSUMS))
}

pub(super) fn choose_compression(client: &[u8]) -> Result<Compression, ProtocolError> {
    choose(client, Compression::from_name)
        .ok_or_else(|| nothing_common("compression", client, COMPRESSIONS))
}

/// The first name of the client's list that is known here. Names compare without case.
fn choose<T>(client: &[u8], known: impl Fn(&str) -> Option<T>) -> Option<T> {
    client
        .split(|b| *b == b' ')
        .find_map(|name| known(std::str::from_utf8(name).ok()?))
}

fn nothing_common(what: &str, client: &[u8], own: &[u8]) -> ProtocolError {
    ProtocolError::unsupported(format!(
        "no common {what} method: the client offers `{}`, this server `{}`",
        escape(client),
        escape(own)
    ))
}
