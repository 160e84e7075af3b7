//! File indexes on the wire, and the special numbers that stand in their place.
//!
//! Before protocol 30 an index is a plain `int`. From 30 on it is coded as the difference from the
//! previous one; each direction has its own state that lives as long as the session.

use crate::wire::{Decode, Reader, Write};
use crate::{ProtocolError, ProtocolVersion};

/// What may stand where an index is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ndx {
    /// The entry with this index.
    File(u32),
    /// End of a list or a phase.
    Done,
    /// No further file lists will come (incremental recursion).
    FlistEof,
    /// Deletion statistics follow.
    DelStats,
    /// A file list for the directory with this number follows (incremental recursion).
    Flist(u32),
}

impl Ndx {
    fn number(self) -> i32 {
        match self {
            Ndx::File(index) => index as i32,
            Ndx::Done => -1,
            Ndx::FlistEof => -2,
            Ndx::DelStats => -3,
            Ndx::Flist(dir) => -101 - dir as i32,
        }
    }

    fn from_number(number: i32) -> Result<Self, ProtocolError> {
        match number {
            0.. => Ok(Ndx::File(number as u32)),
            -1 => Ok(Ndx::Done),
            -2 => Ok(Ndx::FlistEof),
            -3 => Ok(Ndx::DelStats),
            ..=-101 => Ok(Ndx::Flist((-101 - number) as u32)),
            _ => Err(ProtocolError::violation(format!(
                "invalid file index {number}"
            ))),
        }
    }
}

/// State of one direction.
#[derive(Debug, Clone)]
pub struct NdxCoder {
    version: ProtocolVersion,
    positive: i32,
    negative: i32,
}

impl NdxCoder {
    pub fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            positive: -1,
            negative: 1,
        }
    }

    /// Decodes one index. The state changes only when the whole index was there.
    /// Errors: a number above 2^31-1 or one without meaning.
    pub fn decode(&mut self, reader: &mut Reader<'_>) -> Decode<Ndx> {
        if !self.version.at_least(30) {
            return Ok(Ndx::from_number(reader.i32()?)?);
        }
        let mut first = reader.u8()?;
        if first == 0 {
            return Ok(Ndx::Done);
        }
        let is_negative = first == 0xff;
        if is_negative {
            first = reader.u8()?;
        }
        let previous = if is_negative {
            self.negative
        } else {
            self.positive
        };
        let value = if first == 0xfe {
            let high = reader.u8()?;
            let low = reader.u8()?;
            if high & 0x80 != 0 {
                let second = reader.u8()?;
                let third = reader.u8()?;
                i32::from_be_bytes([high & 0x7f, third, second, low])
            } else {
                previous.wrapping_add(i32::from(u16::from_be_bytes([high, low])))
            }
        } else {
            previous.wrapping_add(i32::from(first))
        };
        if value < 0 {
            return Err(ProtocolError::violation("a file index exceeds its range").into());
        }
        if is_negative {
            let ndx = Ndx::from_number(-value)?;
            self.negative = value;
            Ok(ndx)
        } else {
            self.positive = value;
            Ok(Ndx::File(value as u32))
        }
    }

    pub fn encode(&mut self, ndx: Ndx, out: &mut impl Write) {
        let number = ndx.number();
        if !self.version.at_least(30) {
            out.put_i32(number);
            return;
        }
        if ndx == Ndx::Done {
            out.put_u8(0);
            return;
        }
        let (value, difference) = if number >= 0 {
            let difference = number.wrapping_sub(self.positive);
            self.positive = number;
            (number, difference)
        } else {
            out.put_u8(0xff);
            let difference = (-number).wrapping_sub(self.negative);
            self.negative = -number;
            (-number, difference)
        };
        match difference {
            1..=253 => out.put_u8(difference as u8),
            0 | 254..=32767 => {
                out.put_u8(0xfe);
                out.put(&(difference as u16).to_be_bytes());
            }
            _ => {
                let [high, third, second, low] = value.to_be_bytes();
                out.put(&[0xfe, high | 0x80, low, second, third]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v(number: u8) -> ProtocolVersion {
        ProtocolVersion::new(number).unwrap()
    }

    #[test]
    fn observed_sequences() {
        let mut coder = NdxCoder::new(v(31));
        let mut out = Vec::new();
        for ndx in [Ndx::Flist(0), Ndx::Flist(1), Ndx::FlistEof] {
            coder.encode(ndx, &mut out);
        }
        assert_eq!(
            out,
            [0xff, 0x64, 0xff, 0x01, 0xff, 0xfe, 0x80, 0x02, 0x00, 0x00]
        );

        let mut coder = NdxCoder::new(v(31));
        let mut out = Vec::new();
        for ndx in [Ndx::File(2), Ndx::File(2), Ndx::Done, Ndx::DelStats] {
            coder.encode(ndx, &mut out);
        }
        assert_eq!(out, [0x03, 0xfe, 0x00, 0x00, 0x00, 0xff, 0x02]);
    }

    #[test]
    fn the_largest_index_may_be_the_first() {
        for number in 27..=32 {
            let mut out = Vec::new();
            let mut coder = NdxCoder::new(v(number));
            let largest = [
                Ndx::File(i32::MAX as u32),
                Ndx::Flist(i32::MAX as u32 - 101),
            ];
            for ndx in largest {
                coder.encode(ndx, &mut out);
            }
            let mut coder = NdxCoder::new(v(number));
            let mut reader = Reader::new(&out);
            for ndx in largest {
                assert_eq!(coder.decode(&mut reader), Ok(ndx));
            }
            assert!(reader.is_empty());
        }
    }

    fn any_ndx() -> impl Strategy<Value = Ndx> {
        prop_oneof![
            (0u32..=i32::MAX as u32).prop_map(Ndx::File),
            (0u32..100_000).prop_map(Ndx::File),
            (0u32..1000).prop_map(Ndx::File),
            Just(Ndx::Done),
            Just(Ndx::FlistEof),
            Just(Ndx::DelStats),
            (0u32..100_000).prop_map(Ndx::Flist),
        ]
    }

    proptest! {
        #[test]
        fn sequences_come_back_at_every_version(
            sequence in proptest::collection::vec(any_ndx(), 1..50), number in 27u8..=32,
        ) {
            let mut coder = NdxCoder::new(v(number));
            let mut out = Vec::new();
            for ndx in &sequence {
                coder.encode(*ndx, &mut out);
            }
            let mut coder = NdxCoder::new(v(number));
            let mut start = 0;
            for ndx in &sequence {
                // One more byte at a time: incomplete until whole, and nothing is forgotten.
                let mut end = start;
                let decoded = loop {
                    let mut reader = Reader::new(&out[start..end]);
                    match coder.decode(&mut reader) {
                        Ok(ndx) => { start += reader.consumed(); break ndx }
                        Err(_) => end += 1,
                    }
                };
                prop_assert_eq!(decoded, *ndx);
            }
            prop_assert_eq!(start, out.len());
        }
    }
}
