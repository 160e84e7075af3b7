//! What both ends settle before the multiplexed stream begins, from the server's side.
//!
//! Order on the wire (brackets: conditional):
//!
//! ```text
//! server ─▶ version      [compat flags]  [checksum list]  [compression list]        seed
//! client ─▶      version                                  [checksum list]  [compression list]
//! ```
//!
//! Neither end waits before its version; the client waits for the compat flags before its lists;
//! the seed follows when the client's lists are in. From then on everything the server writes is
//! multiplexed, and from protocol 30 on everything it reads ([`Negotiated::client_multiplexes`]).
//!
//! Driven by a session: send [`Handshake::take_output`], read, give all bytes so far to
//! [`Handshake::decode`], until that answers with a [`Negotiated`]; send the output once more.
//!
//! Trap: from a list the *first name of the client's list* that is known here is chosen. That is
//! what the client computes on its side, also when the two orders differ.
//! Source: rsync 2.6.9 to 3.5.0, observed.

mod compat;
mod names;
#[cfg(test)]
mod tests;

pub use compat::CompatFlags;

use crate::checksum::StrongKind;
use crate::delta::Compression;
use crate::options::{
    ChecksumChoice, CompressRequest, RemoveSource, Role, ServerOptions, SumChoice,
};
use crate::wire::{Decode, Reader, Write};
use crate::{ProtocolError, ProtocolVersion};

/// Longest list of names, in bytes.
const MAX_NAMES: usize = 255;

/// What both ends go by for the rest of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    pub version: ProtocolVersion,
    pub compat: CompatFlags,
    /// Salts block sums; its little-endian bytes are what is hashed.
    pub seed: i32,
    /// For blocks and whole files in transfer.
    pub transfer_sum: StrongKind,
    /// For the digests of `--checksum` in the file list.
    pub list_sum: StrongKind,
    pub compression: Compression,
}

impl Negotiated {
    /// Whether the bytes from the client are multiplexed from here on. Those to the client
    /// always are.
    pub fn client_multiplexes(&self, options: &ServerOptions) -> bool {
        let removes = options.remove_source != RemoveSource::No;
        self.version.at_least(30)
            || self.version.at_least(29) && options.role == Role::Sender && removes
    }
}

/// The server's side of the handshake.
#[derive(Debug)]
pub struct Handshake<'a> {
    options: &'a ServerOptions,
    announced: ProtocolVersion,
    seed: i32,
    incremental: bool,
    output: Vec<u8>,
    /// The part between the versions and the client's lists has been written.
    offered: bool,
}

impl<'a> Handshake<'a> {
    /// `seed` has to be unpredictable; `--checksum-seed` overrides it.
    /// Errors: the client is a pre-release of a protocol that is too old.
    pub fn new(
        options: &'a ServerOptions,
        own: ProtocolVersion,
        seed: i32,
    ) -> Result<Self, ProtocolError> {
        let announced = announced_version(options, own)?;
        let mut output = Vec::new();
        output.put_i32(i32::from(announced.number()));
        Ok(Self {
            options,
            announced,
            seed: options.checksum_seed.unwrap_or(seed),
            incremental: true,
            output,
            offered: false,
        })
    }

    /// Never offers incremental recursion, whatever the client can do.
    pub fn without_incremental_recursion(mut self) -> Self {
        self.incremental = false;
        self
    }

    /// Bytes to send now; empty when there are none.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Reads the client's part, which starts at the reader's first byte. On `Incomplete` there may
    /// be output that the client waits for before it goes on.
    /// Errors: no common version, an option that the version cannot carry (both exit 2), no common
    /// checksum or compression (exit 4), a list that is too long.
    pub fn decode(&mut self, reader: &mut Reader<'_>) -> Decode<Negotiated> {
        let version = ProtocolVersion::negotiate(self.announced, reader.i32()?)?;
        self.options.check_version(version)?;
        let compat = self.compat(version);
        if self.options.crtimes && !compat.contains(CompatFlags::VARINT_FLIST_FLAGS) {
            return Err(ProtocolError::violation(
                "--crtimes requires rsync 3.2.0 or newer on both sides",
            )
            .into());
        }
        let sums = self.options.checksum_choice;
        let negotiates = compat.contains(CompatFlags::VARINT_FLIST_FLAGS);
        let negotiates_sum = negotiates && sums.is_none();
        let negotiates_compression =
            negotiates && self.options.compress == CompressRequest::Negotiate;
        if !self.offered {
            self.offered = true;
            if version.at_least(30) {
                self.output.put_varint(compat.0);
            }
            if negotiates_sum {
                self.output.put_vstring(names::CHECKSUMS);
            }
            if negotiates_compression {
                self.output.put_vstring(names::COMPRESSIONS);
            }
        }
        let default_sum = match version.at_least(30) {
            true => (StrongKind::Md5, StrongKind::Md5),
            false => (StrongKind::SeededMd4, StrongKind::Md4),
        };
        let (transfer_sum, list_sum) = match sums {
            _ if negotiates_sum => {
                let sum = names::choose_sum(reader.vstring(MAX_NAMES)?)?;
                (sum, sum)
            }
            Some(ChecksumChoice { transfer, list }) => (
                named_or(transfer, default_sum.0),
                named_or(list, default_sum.1),
            ),
            None => default_sum,
        };
        let compression = match self.options.compress {
            CompressRequest::Off => Compression::None,
            CompressRequest::Explicit(compression) => compression,
            CompressRequest::Negotiate if negotiates_compression => {
                names::choose_compression(reader.vstring(MAX_NAMES)?)?
            }
            CompressRequest::Negotiate => Compression::Zlib,
        };
        self.output.put_i32(self.seed);
        Ok(Negotiated {
            version,
            compat,
            seed: self.seed,
            transfer_sum,
            list_sum,
            compression: at_level(compression, self.options.compress_level),
        })
    }

    fn compat(&self, version: ProtocolVersion) -> CompatFlags {
        if !version.at_least(30) {
            return CompatFlags::default();
        }
        let incremental = self.incremental && self.options.allows_incremental_recursion();
        CompatFlags::for_client(self.options.capabilities.as_ref(), incremental)
    }
}

/// The version to announce: lower than our own to a pre-release client, whose wire format of that
/// version may still have changed, and where a user asked for it.
fn announced_version(
    options: &ServerOptions,
    own: ProtocolVersion,
) -> Result<ProtocolVersion, ProtocolError> {
    let own = options.protocol_limit.map_or(own, |limit| limit.min(own));
    let pre_release = options.capabilities.as_ref().and_then(|c| c.pre_release);
    let number = match pre_release {
        Some((protocol, sub)) if sub != 0 && protocol <= u32::from(own.number()) => {
            protocol.saturating_sub(1)
        }
        _ => return Ok(own),
    };
    u8::try_from(number)
        .ok()
        .and_then(ProtocolVersion::new)
        .ok_or_else(|| {
            ProtocolError::violation(format!(
                "the client is a pre-release of protocol {}; this server needs 27 or newer",
                number + 1
            ))
        })
}

fn named_or(choice: SumChoice, default: StrongKind) -> StrongKind {
    match choice {
        SumChoice::Auto => default,
        SumChoice::Named(kind) => kind,
    }
}

/// Level 0 of zlib is no compression, and both ends then leave it out altogether.
fn at_level(compression: Compression, level: Option<i32>) -> Compression {
    match (compression, level) {
        (Compression::Zlib | Compression::Zlibx, Some(0)) => Compression::None,
        _ => compression,
    }
}
