//! Extended attributes: the sets in a file list.
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
//! Values left out are fetched while files are transferred, see [`fetch`].
//! Source: rsync `xattrs.c`, as observed. The digest is plain MD5, whatever was negotiated.

mod fetch;

pub use fetch::{
    ReplyStep, XattrReplyDecoder, XattrRequestDecoder, encode_reply_head, encode_request,
};

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

    /// The set as a list holds it: of long values only length and digest.
    pub fn abbreviated(&self) -> Self {
        use md5::{Digest, Md5};
        let items = self.items.iter().map(|item| Xattr {
            num: item.num,
            name: item.name.clone(),
            value: match &item.value {
                XattrValue::Full(bytes) if bytes.len() > MAX_FULL => XattrValue::Abbreviated {
                    len: bytes.len() as u32,
                    md5: Md5::digest(bytes).into(),
                },
                value => value.clone(),
            },
        });
        Self {
            items: items.collect(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

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
