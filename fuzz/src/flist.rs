//! File lists in all their layouts.

use coffre_protocol::flist::{
    EntryFields, FlistDecoder, FlistEncoder, FlistFormat, Flists, IdStep, ListHead, Outgoing, Step,
};
use coffre_protocol::ndx::{Ndx, NdxCoder};
use coffre_protocol::wire::{DecodeError, Reader};
use coffre_protocol::{ProtocolError, ProtocolVersion};

use crate::conversation::describe;
use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

/// Bytes that choose the layout.
pub(crate) const HEADER: usize = 4;

pub(crate) fn flist(data: &[u8]) {
    let Some((header, stream)) = data.split_first_chunk::<HEADER>() else {
        return;
    };
    if stream.len() > MAX_LEN {
        return;
    }
    let format = format(*header);
    read_in_pieces(&format, stream);
    if !format.inc_recurse && !format.relative {
        round_trip(&format, stream);
    }
}

/// Reads all lists, which come out the same however the stream is cut.
pub(crate) fn read_in_pieces(format: &FlistFormat, stream: &[u8]) {
    let whole = bounded(allowance(stream.len()), || read(format, stream, usize::MAX));
    for step in [1, 7] {
        assert_eq!(
            read(format, stream, step),
            whole,
            "in pieces of {step} bytes"
        );
    }
}

/// The layout that four bytes choose; never one that no handshake can lead to.
pub(crate) fn format([version, a, b, sums]: [u8; HEADER]) -> FlistFormat {
    let number = 27 + version % 6;
    let modern = number >= 30;
    let a = |bit: u8| a >> bit & 1 == 1;
    let b = |bit: u8| b >> bit & 1 == 1;
    let varint_flags = a(0) && modern;
    FlistFormat {
        varint_flags,
        safe_flist: a(1),
        id0_names: a(2) && modern,
        inc_recurse: a(3) && modern,
        owner: a(4),
        group: a(5),
        links: a(6),
        devices: a(7),
        specials: b(0),
        hard_links: b(1),
        atimes: b(2),
        crtimes: b(3) && varint_flags,
        acls: b(4),
        xattrs: b(5),
        checksum_len: match sums & 3 {
            0 => None,
            _ if number < 30 => Some(16),
            1 => Some(8),
            2 => Some(16),
            _ => Some(20),
        },
        numeric_ids: b(6),
        relative: b(7),
        recurse: sums & 4 != 0,
        delete_missing_args: sums & 8 != 0,
        ..FlistFormat::new(ProtocolVersion::new(number).unwrap_or(ProtocolVersion::OWN))
    }
}

/// What was read, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Lists {
    lines: Vec<String>,
    error: Option<ProtocolError>,
}

fn read(format: &FlistFormat, stream: &[u8], step: usize) -> Lists {
    let mut lines = Vec::new();
    let error = match read_into(format, stream, step, &mut lines) {
        Ok(()) | Err(DecodeError::Incomplete) => None,
        Err(DecodeError::Malformed(error)) => Some(error),
    };
    Lists { lines, error }
}

/// Shows more of the stream until a unit is whole.
struct Feed<'a> {
    stream: &'a [u8],
    at: usize,
    shown: usize,
    step: usize,
}

impl<'a> Feed<'a> {
    fn unit<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        loop {
            let mut reader = Reader::new(&self.stream[self.at..self.shown]);
            match decode(&mut reader) {
                Ok(value) => {
                    self.at += reader.consumed();
                    return Ok(value);
                }
                Err(DecodeError::Incomplete) if self.shown < self.stream.len() => {
                    self.shown = self.shown.saturating_add(self.step).min(self.stream.len());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn read_into(
    format: &FlistFormat,
    stream: &[u8],
    step: usize,
    lines: &mut Vec<String>,
) -> Result<(), DecodeError> {
    let mut feed = Feed {
        stream,
        at: 0,
        shown: 0,
        step,
    };
    let mut decoder = FlistDecoder::new(format.clone());
    let mut flists = Flists::new(format);
    let mut coder = NdxCoder::new(format.version);
    let mut head = ListHead::first(format);
    loop {
        decoder.begin(head);
        let io_error = loop {
            let step = feed.unit(|reader| decoder.decode(reader))?;
            let unconverted = decoder.take_unconverted();
            lines.extend(unconverted.into_iter().map(|what| format!("{what:?}")));
            if let Step::End { io_error } = step {
                break io_error;
            }
        };
        let list = decoder.take_list();
        lines.push(format!("list of {:?}, {io_error}", list.owner()));
        for (ndx, entry) in list.iter() {
            lines.push(describe(&decoder, ndx, entry));
        }
        flists.push(list)?;
        if !format.inc_recurse {
            while feed.unit(|reader| decoder.decode_ids(reader))? == IdStep::More {}
            lines.push(format!("{:?}", decoder.id_names()));
            return Ok(());
        }
        head = loop {
            match feed.unit(|reader| coder.decode(reader))? {
                Ndx::Flist(number) => break flists.announce(number)?,
                Ndx::FlistEof => flists.finish()?,
                Ndx::Done => lines.push(format!("released {:?}", flists.release_oldest())),
                Ndx::File(ndx) => lines.push(format!("{ndx}: {:?}", flists.entry(ndx))),
                Ndx::DelStats => lines.push(format!("{} awaited", flists.awaited().count())),
            }
        };
    }
}

/// What was read is written and read again.
fn round_trip(format: &FlistFormat, stream: &[u8]) {
    let mut decoder = FlistDecoder::new(format.clone());
    let mut reader = Reader::new(stream);
    let head = ListHead::first(format);
    decoder.begin(head.clone());
    loop {
        match decoder.decode(&mut reader) {
            Ok(Step::End { .. }) => break,
            Ok(_) => {}
            Err(_) => return,
        }
    }
    let list = decoder.take_list();
    let mut encoder = FlistEncoder::new(format.clone(), decoder.id_names().clone());
    let mut wire = Vec::new();
    encoder.begin(&head);
    let mut path = Vec::new();
    for entry in list.arrivals() {
        let (mtime, nsec) = entry.mtime();
        let outgoing = Outgoing {
            fields: EntryFields {
                name: entry.path(&mut path),
                mode: entry.mode(),
                len: entry.len(),
                mtime,
                mtime_nsec: entry.has_nsec().then_some(nsec),
                atime: entry.atime().unwrap_or(0),
                crtime: entry.crtime().unwrap_or(0),
                uid: entry.uid(),
                gid: entry.gid(),
                rdev: entry.rdev(),
                link_target: entry.link_target().unwrap_or_default(),
                digest: entry.digest().unwrap_or_default(),
                top_dir: entry.is_top_dir(),
                content: entry.has_content(),
                link_group: None,
            },
            inode: entry.hard_link_group().map(|group| (0, u64::from(group))),
            acl: entry
                .acl()
                .and_then(|index| decoder.acl_cache().access_acl(index)),
            default_acl: entry
                .default_acl()
                .and_then(|index| decoder.acl_cache().default_acl(index)),
            xattrs: entry
                .xattrs()
                .and_then(|index| decoder.xattr_cache().set(index)),
        };
        encoder.entry(&outgoing, &mut wire);
    }
    let _ = encoder.end(0, &mut wire);
    let mut again = FlistDecoder::new(format.clone());
    let mut reader = Reader::new(&wire);
    again.begin(head);
    loop {
        match again.decode(&mut reader) {
            Ok(Step::End { .. }) => break,
            Ok(_) => {}
            Err(error) => panic!("what was encoded is not understood: {error:?}"),
        }
    }
    assert!(reader.is_empty(), "bytes are left over");
    let same = again.take_list();
    let lines = |decoder: &FlistDecoder, list: &coffre_protocol::flist::FileList| {
        // What kind of argument a directory is cannot be said of every mixture of flags.
        let described = list.iter().map(|(ndx, entry)| {
            let mut line = describe(decoder, ndx, entry);
            for flag in [" implied", " content", " top"] {
                line = line.strip_suffix(flag).map(str::to_owned).unwrap_or(line);
            }
            line
        });
        described.collect::<Vec<_>>()
    };
    assert_eq!(lines(&again, &same), lines(&decoder, &list));
}
