//! Names in other charsets (`--iconv`): text, names of charsets, and file lists that are converted
//! as they arrive.

use coffre_protocol::ExitCode;
use coffre_protocol::charset::Charset;
use coffre_protocol::flist::{FlistDecoder, FlistFormat, ListHead, Step};
use coffre_protocol::wire::Reader;

use crate::memory::bounded;
use crate::{MAX_LEN, allowance, flist};

/// One name for each way in which a charset is kept, and each table of more than one byte.
pub(crate) const NAMES: &[&str] = &[
    "UTF-8",
    "ASCII",
    "ISO-8859-1",
    "ISO-8859-2",
    "ISO-8859-8",
    "ISO-8859-9",
    "ISO-8859-11",
    "CP1252",
    "CP1255",
    "CP1258",
    "CP437",
    "CP866",
    "KOI8-R",
    "SHIFT_JIS",
    "EUC-JP",
    "GBK",
    "GB18030",
    "BIG5",
    "EUC-KR",
];

/// The first byte chooses the charset: one of [`NAMES`], or beyond them the one that the first line
/// names. The bit 0 of the second decides whether text follows or a list, with its layout in front.
pub(crate) fn charsets(data: &[u8]) {
    let Some(([which, what], mut rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    if rest.len() > MAX_LEN {
        return;
    }
    let name = match NAMES.get(usize::from(*which)) {
        Some(known) => known.as_bytes(),
        None => {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let name = &rest[..end.unwrap_or(rest.len())];
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
            name
        }
    };
    let charset = match Charset::find(name) {
        Ok(charset) => charset,
        Err(error) => return assert_eq!(error.exit, ExitCode::Unsupported),
    };
    match what & 1 {
        0 => bounded(allowance(rest.len()), || {
            localized(charset, rest);
            globalized(charset, rest);
        }),
        _ => list(charset, *what, rest),
    }
}

/// The bytes that have a meaning in paths.
fn marks(text: &[u8]) -> (usize, usize) {
    let count = |mark: u8| text.iter().filter(|byte| **byte == mark).count();
    (count(b'/'), count(0))
}

/// As text that comes over the wire.
fn localized(charset: Charset, wire: &[u8]) {
    let one = |wire: &[u8]| {
        let mut local = b"before".to_vec();
        charset
            .localize(wire, &mut local)
            .map(|()| local.split_off(6))
    };
    let goes_on = charset.localize_all(wire);
    assert_eq!(marks(&goes_on), marks(wire));
    let whole = one(wire);
    let parts: Result<Vec<_>, _> = wire.split(|byte| *byte == b'/').map(one).collect();
    assert_eq!(whole.is_ok(), parts.is_ok(), "in pieces");
    let (Ok(whole), Ok(parts)) = (whole, parts) else {
        return;
    };
    assert_eq!(whole, parts.join(&b'/'));
    assert_eq!(whole, goes_on);
    let mut back = Vec::new();
    assert_eq!(charset.globalize(&whole, &mut back), Ok(()));
    assert_eq!(back, wire, "there and back");
}

/// As text that is kept here.
fn globalized(charset: Charset, local: &[u8]) {
    let one = |local: &[u8]| {
        let mut wire = b"before".to_vec();
        charset
            .globalize(local, &mut wire)
            .map(|()| wire.split_off(6))
    };
    let goes_on = charset.globalize_all(local);
    assert_eq!(marks(&goes_on), marks(local));
    let whole = one(local);
    let parts: Result<Vec<_>, _> = local.split(|byte| *byte == b'/').map(one).collect();
    assert_eq!(whole.is_ok(), parts.is_ok(), "in pieces");
    let (Ok(whole), Ok(parts)) = (whole, parts) else {
        return;
    };
    assert_eq!(whole, parts.join(&b'/'));
    assert_eq!(whole, goes_on);
    assert!(std::str::from_utf8(&whole).is_ok(), "UTF-8 travels");
    // Several bytes may mean one character, and only one of them is written; never another one.
    let mut again = Vec::new();
    if charset.localize(&whole, &mut again).is_ok() {
        let mut back = Vec::new();
        assert_eq!(charset.globalize(&again, &mut back), Ok(()));
        assert_eq!(back, whole);
    }
}

/// A file list whose names and targets are converted.
fn list(charset: Charset, what: u8, data: &[u8]) {
    let Some((header, stream)) = data.split_first_chunk::<{ flist::HEADER }>() else {
        return;
    };
    let format = FlistFormat {
        charset: Some(charset),
        converts_links: what & 2 != 0,
        munges_links: what & 4 != 0,
        ..flist::format(*header)
    };
    bounded(allowance(stream.len()), || {
        said_again(charset, &format, stream);
    });
    flist::read_in_pieces(&format, stream);
}

/// What the first list shows can be said to the client again.
fn said_again(charset: Charset, format: &FlistFormat, stream: &[u8]) {
    let mut decoder = FlistDecoder::new(format.clone());
    decoder.begin(ListHead::first(format));
    let mut reader = Reader::new(stream);
    loop {
        match decoder.decode(&mut reader) {
            Ok(Step::End { .. }) => break,
            Ok(_) => {
                for unconverted in decoder.take_unconverted() {
                    drop(unconverted);
                }
            }
            Err(_) => return,
        }
    }
    let list = decoder.take_list();
    let mut path = Vec::new();
    let mut wire = Vec::new();
    for (_, entry) in list.iter() {
        wire.clear();
        let name = entry.path(&mut path);
        assert!(!name.contains(&0) && !name.starts_with(b"/"));
        assert!(name.split(|byte| *byte == b'/').all(|part| part != b".."));
        assert_eq!(charset.globalize(name, &mut wire), Ok(()));
        if let Some(target) = entry.link_target().filter(|_| format.converts_links) {
            assert_eq!(charset.globalize(target, &mut wire), Ok(()));
        }
    }
}
