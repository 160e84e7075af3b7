//! Fetching the values that were too long for the file list.
//!
//! The receiver asks by number, the sender answers in the same order, both behind the item flags
//! of the entry:
//!
//! ```text
//! request := (varint num - previous)* 00
//! reply   := (varint num - previous, varint length, data)* 00
//! ```
//!
//! A value may have another length by now than the list said, and 0 if it can no longer be read.

use std::collections::VecDeque;

use super::super::Limits;
use super::{MAX_FULL, XattrSet, bounded};
use crate::ProtocolError;
use crate::wire::{Decode, Reader, Write};

/// Writes a request for the values with these numbers (ascending, from 1).
pub fn encode_request(nums: &[u32], out: &mut impl Write) {
    let mut previous = 0;
    for &num in nums {
        out.put_varint(num.wrapping_sub(previous) as i32);
        previous = num;
    }
    out.put_u8(0);
}

/// Writes one value of a reply; `previous` is the number before it, 0 at first. The data follows,
/// and after the last value a zero byte.
pub fn encode_reply_head(num: u32, previous: u32, len: u32, out: &mut impl Write) {
    out.put_varint(num.wrapping_sub(previous) as i32);
    out.put_varint(len as i32);
}

/// Takes a request apart, number by number (sender).
#[derive(Debug, Default)]
pub struct XattrRequestDecoder {
    previous: u32,
}

impl XattrRequestDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next number asked for; `None` at the end of the request.
    /// Errors: a number that `set` does not have, is asked for twice or out of order, or whose
    /// value travelled in the list.
    pub fn decode(&mut self, reader: &mut Reader<'_>, set: &XattrSet) -> Decode<Option<u32>> {
        let mut ahead = reader.clone();
        let delta = ahead.varint()?;
        if delta != 0 {
            let num = next_num(self.previous, delta)?;
            if set
                .by_num(num)
                .is_none_or(|item| item.value.len() <= MAX_FULL)
            {
                return Err(ProtocolError::violation(format!(
                    "xattr {num} is requested, which was not abbreviated"
                ))
                .into());
            }
            self.previous = num;
        }
        *reader = ahead;
        Ok((delta != 0).then_some(self.previous))
    }
}

fn next_num(previous: u32, delta: i32) -> Result<u32, ProtocolError> {
    u32::try_from(delta)
        .ok()
        .and_then(|delta| previous.checked_add(delta))
        .ok_or_else(|| ProtocolError::violation("the number of an xattr is out of its range"))
}

/// What [`XattrReplyDecoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyStep<'a> {
    /// The value with this number follows, this many bytes.
    Value { num: u32, len: u32 },
    /// The next bytes of it, never empty.
    Data(&'a [u8]),
    /// All that was asked for has come.
    End,
}

/// Takes a reply apart (receiver). Values are not collected: they may be large.
#[derive(Debug)]
pub struct XattrReplyDecoder {
    /// Still to come.
    wanted: VecDeque<u32>,
    /// What may come besides.
    allowed: Vec<u32>,
    previous: u32,
    /// Bytes of the current value that have not come yet.
    left: u32,
    limit: u32,
}

impl XattrReplyDecoder {
    /// `wanted`: the numbers that were asked for. `allowed`: numbers that may be answered all the
    /// same; a client sends what it was asked for with an entry that vanished when the next entry
    /// with the same set comes.
    pub fn new(wanted: &[u32], allowed: &[u32], limits: &Limits) -> Self {
        Self {
            wanted: wanted.iter().copied().collect(),
            allowed: allowed.to_vec(),
            previous: 0,
            left: 0,
            limit: limits.xattr_value,
        }
    }

    /// The next step. Data comes in whatever pieces `reader` has.
    /// Errors: anything but the wanted numbers in their order, a value beyond the limit.
    pub fn decode<'a>(&mut self, reader: &mut Reader<'a>) -> Decode<ReplyStep<'a>> {
        if self.left > 0 {
            let at_hand = reader.rest().len().clamp(1, self.left as usize);
            let data = reader.bytes(at_hand)?;
            self.left -= data.len() as u32;
            return Ok(ReplyStep::Data(data));
        }
        let mut ahead = reader.clone();
        let delta = ahead.varint()?;
        let step = if delta == 0 {
            if let Some(num) = self.wanted.front() {
                return Err(
                    ProtocolError::violation(format!("xattr {num} was not answered")).into(),
                );
            }
            ReplyStep::End
        } else {
            let num = next_num(self.previous, delta)?;
            let len = bounded(ahead.varint()?, self.limit, "an xattr has", "bytes")?;
            let is_wanted = self.wanted.front() == Some(&num);
            if !is_wanted && !self.allowed.contains(&num) {
                return Err(ProtocolError::violation(format!(
                    "xattr {num} was answered but not requested"
                ))
                .into());
            }
            if is_wanted {
                self.wanted.pop_front();
            }
            self.previous = num;
            self.left = len;
            ReplyStep::Value { num, len }
        };
        *reader = ahead;
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DecodeError;

    fn set() -> XattrSet {
        let value = |len: usize| vec![b'v'; len].into_boxed_slice();
        XattrSet::new([
            (b"user.big"[..].into(), value(40)),
            (b"user.s"[..].into(), value(3)),
            (b"user.t"[..].into(), value(33)),
        ])
    }

    fn requested(bytes: &[u8]) -> Decode<Vec<u32>> {
        let mut decoder = XattrRequestDecoder::new();
        let mut reader = Reader::new(bytes);
        let mut nums = Vec::new();
        while let Some(num) = decoder.decode(&mut reader, &set())? {
            nums.push(num);
        }
        assert!(reader.is_empty());
        Ok(nums)
    }

    #[test]
    fn requests_name_abbreviated_values_in_ascending_order() {
        let mut bytes = Vec::new();
        encode_request(&[1], &mut bytes);
        assert_eq!(bytes, [0x01, 0x00]);
        let mut bytes = Vec::new();
        encode_request(&[1, 3], &mut bytes);
        assert_eq!(requested(&bytes), Ok(vec![1, 3]));
        assert_eq!(requested(&[0]), Ok(vec![]));
        assert_eq!(requested(&[1]), Err(DecodeError::Incomplete));
        for bytes in [&[2, 0][..], &[4, 0], &[1, 0xf0, 0xff, 0xff, 0xff, 0xff, 0]] {
            assert!(
                matches!(requested(bytes), Err(DecodeError::Malformed(_))),
                "{bytes:?}"
            );
        }
        let mut bytes = vec![1];
        bytes.put_varint(i32::MAX);
        assert!(matches!(requested(&bytes), Err(DecodeError::Malformed(_))));
    }

    /// The values of a reply, fed in pieces.
    fn values(wanted: &[u32], bytes: &[u8], step: usize) -> Result<Vec<(u32, Vec<u8>)>, String> {
        let mut decoder = XattrReplyDecoder::new(wanted, &[], &Limits::default());
        let (mut at, mut shown) = (0, 0);
        let mut values: Vec<(u32, Vec<u8>)> = Vec::new();
        loop {
            let mut reader = Reader::new(&bytes[at..shown]);
            match decoder.decode(&mut reader) {
                Ok(ReplyStep::Value { num, len }) => {
                    assert!(values.last().is_none_or(|(last, _)| *last < num));
                    assert!(len as usize <= bytes.len());
                    values.push((num, Vec::new()));
                }
                Ok(ReplyStep::Data(data)) => {
                    assert!(!data.is_empty());
                    values.last_mut().unwrap().1.extend_from_slice(data);
                }
                Ok(ReplyStep::End) => return Ok(values),
                Err(DecodeError::Incomplete) => {
                    assert_eq!(reader.consumed(), 0);
                    assert!(shown < bytes.len(), "the reply ends inside a unit");
                    shown = (shown + step).min(bytes.len());
                }
                Err(DecodeError::Malformed(error)) => return Err(error.message),
            }
            at += reader.consumed();
        }
    }

    #[test]
    fn replies_come_in_whatever_pieces() {
        let mut bytes = vec![0x01, 0x28];
        bytes.extend([b'v'; 40]);
        encode_reply_head(3, 1, 0, &mut bytes);
        bytes.push(0);
        for step in [1, 7, 100] {
            let values = values(&[1, 3], &bytes, step).unwrap();
            assert_eq!(values, [(1, vec![b'v'; 40]), (3, Vec::new())]);
        }
        assert_eq!(values(&[], &[0], 1), Ok(vec![]));
    }

    #[test]
    fn replies_have_what_was_wanted_and_nothing_else() {
        for (wanted, bytes, message) in [
            (&[1][..], &[0][..], "xattr 1 was not answered"),
            (&[1], &[2, 0, 0], "xattr 2 was answered but not requested"),
            (
                &[1],
                &[1, 0, 1, 0, 0],
                "xattr 2 was answered but not requested",
            ),
            (&[], &[1, 0, 0], "xattr 1 was answered but not requested"),
            (
                &[1],
                &[1, 0xf0, 0xff, 0xff, 0xff, 0xff],
                "an xattr has -1 bytes",
            ),
            (
                &[1],
                &[1, 0xf0, 0x01, 0x00, 0x00, 0x08],
                "an xattr has 134217729 bytes",
            ),
        ] {
            assert_eq!(values(wanted, bytes, 1).unwrap_err(), message);
        }
    }
}
