//! Extended attributes: the sets in a file list, and fetching the values that were left out.
//!
//! Wire, for every entry:
//!
//! ```text
//! set   := varint k      0: a literal follows and is appended to the cache
//!                        k: the item k-1 of the cache
//! literal := varint count, count × item
//! item  := varint name_len (with the NUL), varint datum_len, name, NUL,
//!          datum if datum_len <= 32, else its MD5
//! ```
//!
//! Values left out are fetched while files are transferred. The receiver asks by number, the
//! sender answers in the same order, both behind the item flags of the entry:
//!
//! ```text
//! request := (varint num - previous)* 00
//! reply   := (varint num - previous, varint length, data)* 00
//! ```
//!
//! Source: rsync `xattrs.c`, as observed. The digest is plain MD5, whatever was negotiated.

use std::collections::VecDeque;

use super::Limits;
use crate::ProtocolError;
use crate::error::escape;
use crate::wire::{Decode, Reader, Write};

/// Values up to this many bytes travel in the file list.
pub const MAX_FULL: usize = 32;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xattr {
    /// From 1, in the order of the sender.
    pub num: u32,
    /// With its namespace, without NUL.
    pub name: Box<[u8]>,
    pub value: XattrValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum XattrValue {
    Full(Box<[u8]>),
    /// More than [`MAX_FULL`] bytes: only its length and digest are known.
    Abbreviated {
        len: u32,
        md5: [u8; 16],
    },
}

impl XattrValue {
    /// Bytes in the value.
    pub fn len(&self) -> usize {
        match self {
            XattrValue::Full(bytes) => bytes.len(),
            XattrValue::Abbreviated { len, .. } => *len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The attributes of an entry, as the sender numbers them. Many entries share one set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct XattrSet {
    pub items: Vec<Xattr>,
}

impl XattrSet {
    /// A set from names and values, which are put into the order that goes over the wire.
    pub fn new(items: impl IntoIterator<Item = (Box<[u8]>, Box<[u8]>)>) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort();
        Self {
            items: items
                .into_iter()
                .zip(1..)
                .map(|((name, value), num)| Xattr {
                    num,
                    name,
                    value: XattrValue::Full(value),
                })
                .collect(),
        }
    }

    /// By the sender's number.
    pub fn by_num(&self, num: u32) -> Option<&Xattr> {
        self.items.get((num as usize).checked_sub(1)?)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.items.capacity() * size_of::<Xattr>()
            + self.items.iter().map(Xattr::heap_bytes).sum::<usize>()
    }
}

impl Xattr {
    fn heap_bytes(&self) -> usize {
        let value = match &self.value {
            XattrValue::Full(bytes) => bytes.len(),
            XattrValue::Abbreviated { .. } => 0,
        };
        self.name.len() + value
    }
}

/// The sets of a session by index. Every later entry may refer back to any of them.
#[derive(Debug, Default)]
pub struct XattrCache {
    sets: Vec<XattrSet>,
    pub(super) bytes: usize,
}

impl XattrCache {
    /// By [`EntryRef::xattrs`](super::EntryRef::xattrs).
    pub fn set(&self, index: u32) -> Option<&XattrSet> {
        self.sets.get(index as usize)
    }

    pub(super) fn len(&self) -> u32 {
        self.sets.len() as u32
    }

    pub(super) fn push(&mut self, mut set: XattrSet) -> u32 {
        set.items.shrink_to_fit();
        self.bytes += set.bytes();
        self.sets.push(set);
        self.len() - 1
    }
}

/// The beginning of a set.
pub(super) enum SetHead {
    Cached(u32),
    Literal(PartialSet),
}

/// A literal of which items are still to come.
#[derive(Debug)]
pub(super) struct PartialSet {
    pub(super) set: XattrSet,
    left: u32,
    /// Bytes in all values, announced.
    total: u64,
    /// Memory that it takes so far.
    pub(super) bytes: usize,
}

/// Errors: an index beyond the cache, too many items.
pub(super) fn decode_head(
    reader: &mut Reader<'_>,
    cached: u32,
    limits: &Limits,
) -> Decode<SetHead> {
    let k = reader.varint()?;
    if k != 0 {
        return match u32::try_from(k) {
            Ok(k) if k <= cached => Ok(SetHead::Cached(k - 1)),
            _ => Err(ProtocolError::violation(format!(
                "an entry refers to xattr set {k} of {cached}"
            ))
            .into()),
        };
    }
    let count = reader.varint()?;
    let left = bounded(count, limits.xattrs, "an entry has", "xattrs")?;
    Ok(SetHead::Literal(PartialSet {
        set: XattrSet::default(),
        left,
        total: 0,
        bytes: 0,
    }))
}

fn bounded(value: i32, limit: u32, has: &str, what: &str) -> Result<u32, ProtocolError> {
    u32::try_from(value)
        .ok()
        .filter(|value| *value <= limit)
        .ok_or_else(|| ProtocolError::violation(format!("{has} {value} {what}")))
}

impl PartialSet {
    pub(super) fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Decodes one item.
    /// Errors: a name or a value beyond the limits, a name that is empty, without NUL at its end
    /// or with one elsewhere.
    pub(super) fn decode_item(&mut self, reader: &mut Reader<'_>, limits: &Limits) -> Decode<()> {
        let name_len = reader.varint()?;
        let name_len = bounded(
            name_len,
            limits.xattr_name,
            "the name of an xattr has",
            "bytes",
        )?;
        let len = reader.varint()?;
        let len = bounded(len, limits.xattr_value, "an xattr has", "bytes")?;
        let total = self.total + u64::from(len);
        if total > limits.xattr_set {
            return Err(ProtocolError::violation(format!(
                "the xattrs of an entry have {total} bytes"
            ))
            .into());
        }
        let name = reader.bytes(name_len as usize)?;
        let name = match name.split_last() {
            Some((0, name)) if !name.is_empty() && !name.contains(&0) => name,
            _ => {
                return Err(ProtocolError::violation(format!(
                    "the name of an xattr is malformed: \"{}\"",
                    escape(name)
                ))
                .into());
            }
        };
        let value = if len as usize <= MAX_FULL {
            XattrValue::Full(reader.bytes(len as usize)?.into())
        } else {
            let mut md5 = [0; 16];
            md5.copy_from_slice(reader.bytes(16)?);
            XattrValue::Abbreviated { len, md5 }
        };
        let item = Xattr {
            num: self.set.items.len() as u32 + 1,
            name: name.into(),
            value,
        };
        self.bytes += size_of::<Xattr>() + item.heap_bytes();
        self.set.items.push(item);
        self.total = total;
        self.left -= 1;
        Ok(())
    }
}

/// Writes count and items of a set, the part that two entries share.
pub(super) fn encode_items(set: &XattrSet, out: &mut impl Write) {
    use md5::{Digest, Md5};
    out.put_varint(set.items.len() as i32);
    for item in &set.items {
        out.put_varint(item.name.len() as i32 + 1);
        out.put_varint(item.value.len() as i32);
        out.put(&item.name);
        out.put_u8(0);
        match &item.value {
            XattrValue::Full(bytes) if bytes.len() <= MAX_FULL => out.put(bytes),
            XattrValue::Full(bytes) => out.put(&Md5::digest(bytes)),
            XattrValue::Abbreviated { md5, .. } => out.put(md5),
        }
    }
}

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
    wanted: VecDeque<u32>,
    previous: u32,
    /// Bytes of the current value that have not come yet.
    left: u32,
    limit: u32,
}

impl XattrReplyDecoder {
    /// `wanted`: the numbers that were asked for.
    pub fn new(wanted: &[u32], limits: &Limits) -> Self {
        Self {
            wanted: wanted.iter().copied().collect(),
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
            if self.wanted.front() != Some(&num) {
                return Err(ProtocolError::violation(format!(
                    "xattr {num} was answered but not requested"
                ))
                .into());
            }
            self.wanted.pop_front();
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
        let mut decoder = XattrReplyDecoder::new(wanted, &Limits::default());
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

    #[test]
    fn sets_are_ordered_and_numbered() {
        let set = XattrSet::new([
            (b"user.b"[..].into(), b"2"[..].into()),
            (b"user.a"[..].into(), b"1"[..].into()),
        ]);
        assert_eq!(&set.by_num(1).unwrap().name[..], b"user.a");
        assert_eq!(&set.by_num(2).unwrap().name[..], b"user.b");
        assert!(set.by_num(0).is_none() && set.by_num(3).is_none());
    }
}
