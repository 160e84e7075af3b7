//! Tests of file lists as a whole; what concerns one part stands beside it.

mod captures;
mod charset;
mod hostile;
mod recursion;
mod round_trip;
mod size;
mod sorting;
mod stock;

use super::*;
use crate::ProtocolVersion;
use crate::wire::{DecodeError, Reader};

fn version(number: u8) -> ProtocolVersion {
    ProtocolVersion::new(number).unwrap()
}

/// Bytes from a dump: hexadecimal pairs, and text in double quotes (`\0` is a NUL).
fn dump(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            bytes.extend_from_slice(part.replace("\\0", "\0").as_bytes());
            continue;
        }
        for line in part.lines() {
            let line = line.split('#').next().unwrap();
            for pair in line.split_whitespace() {
                bytes.push(u8::from_str_radix(pair, 16).unwrap());
            }
        }
    }
    bytes
}

/// Feeds a stream to a decoder in pieces; a unit that is incomplete is asked for again with more.
struct Feed<'a> {
    bytes: &'a [u8],
    at: usize,
    shown: usize,
    /// Lengths of the pieces, over and over.
    steps: Vec<usize>,
    taken: usize,
}

impl<'a> Feed<'a> {
    fn new(bytes: &'a [u8], step: usize) -> Self {
        Self::in_pieces(bytes, &[step])
    }

    fn in_pieces(bytes: &'a [u8], steps: &[usize]) -> Self {
        Self {
            bytes,
            at: 0,
            shown: 0,
            steps: steps.to_vec(),
            taken: 0,
        }
    }

    fn unit<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, crate::ProtocolError> {
        loop {
            let mut reader = Reader::new(&self.bytes[self.at..self.shown]);
            match decode(&mut reader) {
                Ok(value) => {
                    self.at += reader.consumed();
                    return Ok(value);
                }
                Err(DecodeError::Incomplete) => {
                    assert_eq!(reader.consumed(), 0, "an incomplete unit was consumed");
                    assert!(
                        self.shown < self.bytes.len(),
                        "the stream ends inside a unit"
                    );
                    let step = self.steps[self.taken % self.steps.len()];
                    self.taken += 1;
                    self.shown = (self.shown + step).min(self.bytes.len());
                }
                Err(DecodeError::Malformed(error)) => return Err(error),
            }
        }
    }

    fn list(
        &mut self,
        decoder: &mut FlistDecoder,
        head: ListHead,
    ) -> Result<(FileList, u32), crate::ProtocolError> {
        decoder.begin(head);
        loop {
            if let Step::End { io_error } = self.unit(|reader| decoder.decode(reader))? {
                return Ok((decoder.take_list(), io_error));
            }
        }
    }

    fn ids(&mut self, decoder: &mut FlistDecoder) -> Result<(), crate::ProtocolError> {
        while self.unit(|reader| decoder.decode_ids(reader))? == IdStep::More {}
        Ok(())
    }
}

/// The first list of a session with what follows it, cut in pieces of `step` bytes. All bytes have
/// to be used.
fn decode_in_steps(
    format: &FlistFormat,
    bytes: &[u8],
    step: usize,
) -> Result<(FileList, FlistDecoder), crate::ProtocolError> {
    let mut decoder = FlistDecoder::new(format.clone());
    let mut feed = Feed::new(bytes, step);
    let (list, _) = feed.list(&mut decoder, ListHead::first(format))?;
    feed.ids(&mut decoder)?;
    assert_eq!(feed.at, bytes.len(), "bytes are left over");
    Ok((list, decoder))
}

/// Whole and byte by byte, with the same result.
fn decode(
    format: &FlistFormat,
    bytes: &[u8],
) -> Result<(FileList, FlistDecoder), crate::ProtocolError> {
    let whole = decode_in_steps(format, bytes, bytes.len().max(1));
    let single = decode_in_steps(format, bytes, 1);
    match (&whole, &single) {
        (Ok(whole), Ok(single)) => {
            assert_eq!(describe(&whole.0), describe(&single.0));
            assert_eq!(whole.1.id_names(), single.1.id_names());
        }
        (Err(whole), Err(single)) => assert_eq!(whole, single),
        _ => panic!("the result depends on how the bytes are cut"),
    }
    whole
}

fn refusal(format: &FlistFormat, bytes: &[u8]) -> String {
    match decode(format, bytes) {
        Ok((list, _)) => panic!("accepted: {:?}", describe(&list)),
        Err(error) => error.message,
    }
}

/// An entry in a line: everything that is not at its default.
fn describe_entry(ndx: u32, entry: EntryRef<'_>) -> String {
    use std::fmt::Write;
    let mut buffer = Vec::new();
    let path = String::from_utf8_lossy(entry.path(&mut buffer)).into_owned();
    let (mtime, nsec) = entry.mtime();
    let mut text = format!("{ndx} {path} {:o} {} {mtime}", entry.mode(), entry.len());
    if entry.has_nsec() {
        write!(text, ".{nsec:09}").unwrap();
    }
    if (entry.uid(), entry.gid()) != (0, 0) {
        write!(text, " {}:{}", entry.uid(), entry.gid()).unwrap();
    }
    if entry.rdev() != (0, 0) {
        write!(text, " rdev {}:{}", entry.rdev().0, entry.rdev().1).unwrap();
    }
    if let Some(target) = entry.link_target() {
        write!(text, " -> {}", String::from_utf8_lossy(target)).unwrap();
    }
    if let Some(digest) = entry.digest() {
        write!(text, " sum").unwrap();
        for byte in digest {
            write!(text, " {byte:02x}").unwrap();
        }
    }
    for (what, value) in [("atime", entry.atime()), ("crtime", entry.crtime())] {
        if let Some(value) = value {
            write!(text, " {what} {value}").unwrap();
        }
    }
    for (what, value) in [
        ("group", entry.hard_link_group()),
        ("acl", entry.acl()),
        ("default", entry.default_acl()),
        ("xattrs", entry.xattrs()),
    ] {
        if let Some(value) = value {
            write!(text, " {what} {value}").unwrap();
        }
    }
    for (what, value) in [
        (" top", entry.is_top_dir()),
        (" content", entry.has_content()),
        (" implied", entry.is_implied()),
    ] {
        if value {
            text.push_str(what);
        }
    }
    text
}

fn describe(list: &FileList) -> Vec<String> {
    list.iter()
        .map(|(ndx, entry)| describe_entry(ndx, entry))
        .collect()
}

fn paths(list: &FileList) -> Vec<String> {
    list.iter()
        .map(|(_, entry)| {
            let path = String::from_utf8_lossy(entry.path(&mut Vec::new())).into_owned();
            match entry.is_dir() {
                true => path + "/",
                false => path,
            }
        })
        .collect()
}
