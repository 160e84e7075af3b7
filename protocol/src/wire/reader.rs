//! A cursor over received bytes.

use crate::{ProtocolError, ProtocolVersion};

/// Why a value could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The unit continues beyond the bytes at hand.
    Incomplete,
    /// The bytes break a rule of the protocol.
    Malformed(ProtocolError),
}

impl From<ProtocolError> for DecodeError {
    fn from(error: ProtocolError) -> Self {
        DecodeError::Malformed(error)
    }
}

pub type Decode<T> = Result<T, DecodeError>;

/// A cursor over the bytes at hand.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// How many bytes follow the first one of a varint or varlong: its number of leading one bits.
fn extra_bytes(first: u8) -> usize {
    match first {
        0x00..=0x7f => 0,
        0x80..=0xbf => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        0xf8..=0xfb => 5,
        0xfc..=0xff => 6,
    }
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes consumed so far.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// Bytes not yet consumed.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn bytes(&mut self, n: usize) -> Decode<&'a [u8]> {
        let rest = self.rest();
        if rest.len() < n {
            return Err(DecodeError::Incomplete);
        }
        self.at += n;
        Ok(&rest[..n])
    }

    fn array<const N: usize>(&mut self) -> Decode<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Decode<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// `shortint`: two bytes.
    pub fn u16(&mut self) -> Decode<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// `int`: four bytes, signed.
    pub fn i32(&mut self) -> Decode<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Decode<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// 32-bit varint. The leading one bits of the first byte count the bytes that follow; its
    /// other bits are the most significant part. Errors: stream error when they count more than 4.
    pub fn varint(&mut self) -> Decode<i32> {
        let first = self.u8()?;
        let extra = extra_bytes(first);
        if extra > 4 {
            return Err(ProtocolError::stream("a variable-length number is too long").into());
        }
        let mut value = [0u8; 5];
        value[..extra].copy_from_slice(self.bytes(extra)?);
        value[extra] = first & (0x7f >> extra);
        Ok(i32::from_le_bytes([value[0], value[1], value[2], value[3]]))
    }

    /// 64-bit varlong whose first byte is followed by at least `min - 1` bytes.
    /// Errors: stream error when it would take more than 9 bytes.
    pub fn varlong(&mut self, min: usize) -> Decode<i64> {
        let first = self.u8()?;
        let extra = extra_bytes(first);
        if min + extra > 9 {
            return Err(ProtocolError::stream("a variable-length number is too long").into());
        }
        let mut value = [0u8; 9];
        let low = min - 1 + extra;
        value[..low].copy_from_slice(self.bytes(low)?);
        value[low] = if extra == 0 {
            first
        } else {
            first & ((1u16 << (8 - extra)) - 1) as u8
        };
        let mut eight = [0u8; 8];
        eight.copy_from_slice(&value[..8]);
        Ok(i64::from_le_bytes(eight))
    }

    /// `longint`: four bytes, or `ff ff ff ff` and eight.
    pub fn longint(&mut self) -> Decode<i64> {
        let short = self.i32()?;
        if short != -1 {
            return Ok(i64::from(short));
        }
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// `int` before protocol 30, varint from 30 on.
    pub fn varint30(&mut self, version: ProtocolVersion) -> Decode<i32> {
        if version.at_least(30) {
            self.varint()
        } else {
            self.i32()
        }
    }

    /// `longint` before protocol 30, varlong from 30 on.
    pub fn varlong30(&mut self, version: ProtocolVersion, min: usize) -> Decode<i64> {
        if version.at_least(30) {
            self.varlong(min)
        } else {
            self.longint()
        }
    }

    /// Length (one byte, or two with the top bit set, high part first) and that many bytes.
    /// Errors: stream error when longer than `limit`.
    pub fn vstring(&mut self, limit: usize) -> Decode<&'a [u8]> {
        let first = usize::from(self.u8()?);
        let len = if first & 0x80 != 0 {
            (first & 0x7f) << 8 | usize::from(self.u8()?)
        } else {
            first
        };
        if len > limit {
            return Err(ProtocolError::stream(format!(
                "a string of {len} bytes exceeds the limit of {limit}"
            ))
            .into());
        }
        self.bytes(len)
    }
}
