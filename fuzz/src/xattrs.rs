//! Values of extended attributes, as they are asked for and answered.

use coffre_protocol::flist::{
    Limits, ReplyStep, XattrReplyDecoder, XattrRequestDecoder, XattrSet, encode_request,
};
use coffre_protocol::wire::{DecodeError, Reader};

use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

/// Values of 1, 33, 40 and 1000 bytes: of these the last three are fetched.
fn set() -> XattrSet {
    let item = |name: &str, len: usize| (name.as_bytes().into(), vec![b'v'; len].into());
    XattrSet::new([
        item("user.a", 1),
        item("user.b", 33),
        item("user.c", 40),
        item("user.d", 1000),
    ])
}

#[derive(Debug, PartialEq, Eq)]
struct Values {
    values: Vec<(u32, u32, Vec<u8>)>,
    end: Result<bool, String>,
    used: usize,
}

fn reply(wanted: &[u32], allowed: &[u32], stream: &[u8], step: usize) -> Values {
    let mut decoder = XattrReplyDecoder::new(wanted, allowed, &Limits::default());
    let mut values: Vec<(u32, u32, Vec<u8>)> = Vec::new();
    let (mut at, mut shown) = (0, 0);
    let end = loop {
        let mut reader = Reader::new(&stream[at..shown]);
        match decoder.decode(&mut reader) {
            Ok(ReplyStep::Value { num, len }) => values.push((num, len, Vec::new())),
            Ok(ReplyStep::Data(data)) => {
                assert!(!data.is_empty());
                if let Some((_, len, value)) = values.last_mut() {
                    value.extend_from_slice(data);
                    assert!(value.len() <= *len as usize);
                }
            }
            Ok(ReplyStep::End) => {
                at += reader.consumed();
                break Ok(true);
            }
            Err(DecodeError::Malformed(error)) => break Err(error.message),
            Err(DecodeError::Incomplete) if shown == stream.len() => break Ok(false),
            Err(DecodeError::Incomplete) => {
                shown = shown.saturating_add(step).min(stream.len());
                continue;
            }
        }
        at += reader.consumed();
    };
    Values {
        values,
        end,
        used: at,
    }
}

fn request(set: &XattrSet, stream: &[u8], step: usize) -> Option<Vec<u32>> {
    let mut decoder = XattrRequestDecoder::new();
    let mut nums = Vec::new();
    let (mut at, mut shown) = (0, 0);
    loop {
        let mut reader = Reader::new(&stream[at..shown]);
        match decoder.decode(&mut reader, set) {
            Ok(Some(num)) => nums.push(num),
            Ok(None) => return Some(nums),
            Err(DecodeError::Malformed(_)) => return None,
            Err(DecodeError::Incomplete) if shown == stream.len() => return None,
            Err(DecodeError::Incomplete) => {
                shown = shown.saturating_add(step).min(stream.len());
                continue;
            }
        }
        at += reader.consumed();
    }
}

/// A byte of what is wanted (low four bits) and allowed besides (high four), and the stream.
pub(crate) fn xattrs(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    if stream.len() > MAX_LEN {
        return;
    }
    let nums = |bits: u8| (1..=4).filter(move |num| bits >> (num - 1) & 1 == 1);
    let wanted: Vec<u32> = nums(first & 15).collect();
    let allowed: Vec<u32> = nums(first >> 4).collect();
    let whole = bounded(allowance(stream.len()), || {
        reply(&wanted, &allowed, stream, usize::MAX)
    });
    for step in [1, 6] {
        assert_eq!(reply(&wanted, &allowed, stream, step), whole);
    }
    let set = set();
    let asked = request(&set, stream, usize::MAX);
    assert_eq!(request(&set, stream, 1), asked);
    if let Some(nums) = asked {
        let mut wire = Vec::new();
        encode_request(&nums, &mut wire);
        assert_eq!(request(&set, &wire, usize::MAX), Some(nums));
    }
}
