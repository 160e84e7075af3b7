//! The flag word that opens every entry, its three forms, and the end of a list.
//!
//! The bits mean different things at different versions; see the constants. A set bit for a field
//! that is not present means nothing.
//! Source: rsync `rsync.h` (`XMIT_*`) and `flist.c:send_file_entry`, as observed on the wire.

use super::FlistFormat;
use crate::ProtocolError;
use crate::wire::{Decode, Reader, Write};

/// On a directory: a command-line argument. On anything else: noise that keeps the word from being 0.
pub(super) const TOP_DIR: u32 = 1 << 0;
pub(super) const SAME_MODE: u32 = 1 << 1;
/// Protocol 27: the device number is that of the previous entry.
pub(super) const SAME_RDEV_27: u32 = 1 << 2;
/// Protocol 28 and later: a second byte follows (in the varint form: nothing).
pub(super) const EXTENDED_FLAGS: u32 = 1 << 2;
pub(super) const SAME_UID: u32 = 1 << 3;
pub(super) const SAME_GID: u32 = 1 << 4;
pub(super) const SAME_NAME: u32 = 1 << 5;
pub(super) const LONG_NAME: u32 = 1 << 6;
pub(super) const SAME_TIME: u32 = 1 << 7;
/// Devices and specials, protocol 28 and later.
pub(super) const SAME_RDEV_MAJOR: u32 = 1 << 8;
/// Directories, protocol 30 and later.
pub(super) const NO_CONTENT_DIR: u32 = 1 << 8;
pub(super) const HLINKED: u32 = 1 << 9;
/// Protocols 28 and 29, with [`HLINKED`].
pub(super) const SAME_DEV: u32 = 1 << 10;
/// Protocol 30 and later.
pub(super) const USER_NAME_FOLLOWS: u32 = 1 << 10;
/// Protocols 28 and 29.
pub(super) const RDEV_MINOR_8: u32 = 1 << 11;
/// Protocol 30 and later.
pub(super) const GROUP_NAME_FOLLOWS: u32 = 1 << 11;
/// Protocol 30 and later, with [`HLINKED`].
pub(super) const HLINK_FIRST: u32 = 1 << 12;
/// Protocol 31 and later.
pub(super) const MOD_NSEC: u32 = 1 << 13;
pub(super) const SAME_ATIME: u32 = 1 << 14;
/// Only in the varint form.
pub(super) const CRTIME_EQ_MTIME: u32 = 1 << 17;

/// End of a list with an error word, in the two-byte form.
const ERROR_MARKER: u32 = 0x1004;

/// What stands where an entry may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Entry(u32),
    /// The list ends, with this I/O error word (0: none).
    End(u32),
}

/// Decodes a flag word or an end marker.
pub(super) fn decode(reader: &mut Reader<'_>, format: &FlistFormat) -> Decode<Opening> {
    if format.varint_flags && format.at_least(30) {
        let flags = reader.varint()? as u32;
        return Ok(if flags == 0 {
            Opening::End(io_error(reader)?)
        } else {
            Opening::Entry(flags)
        });
    }
    let mut flags = u32::from(reader.u8()?);
    if flags == 0 {
        return Ok(Opening::End(0));
    }
    if format.at_least(28) && flags & EXTENDED_FLAGS != 0 {
        flags |= u32::from(reader.u8()?) << 8;
        if flags == ERROR_MARKER {
            if !format.has_error_marker() {
                return Err(ProtocolError::violation(
                    "the file list ends with an error marker that was not agreed on",
                )
                .into());
            }
            return Ok(Opening::End(io_error(reader)?));
        }
    }
    Ok(Opening::Entry(flags))
}

fn io_error(reader: &mut Reader<'_>) -> Decode<u32> {
    // UNTRUSTED: only the three known bits count.
    Ok(reader.varint()? as u32 & 7)
}

/// Makes `flags` a word that the form can carry: never 0, with the bit for a second byte where one
/// is needed. To be called before the fields that depend on the flags are written.
pub(super) fn make_sendable(flags: u32, is_dir: bool, format: &FlistFormat) -> u32 {
    if format.varint_flags && format.at_least(30) {
        return if flags == 0 { EXTENDED_FLAGS } else { flags };
    }
    let flags = match flags & form_bits(format) {
        0 if !is_dir => TOP_DIR,
        0 if !format.at_least(28) => LONG_NAME,
        flags => flags,
    };
    if format.at_least(28) && (flags & 0xff00 != 0 || flags == 0) {
        flags | EXTENDED_FLAGS
    } else {
        flags
    }
}

/// Bits that exist in the byte forms.
fn form_bits(format: &FlistFormat) -> u32 {
    if format.at_least(28) { 0xffff } else { 0xff }
}

/// Writes a word that [`make_sendable`] returned.
pub(super) fn encode(flags: u32, format: &FlistFormat, out: &mut impl Write) {
    if format.varint_flags && format.at_least(30) {
        out.put_varint(flags as i32);
    } else if format.at_least(28) && flags & EXTENDED_FLAGS != 0 {
        out.put_u16(flags as u16);
    } else {
        out.put_u8(flags as u8);
    }
}

/// Writes the end of a list. Returns whether the error word went with it; if not it has to be told
/// in another way: before protocol 30 as an `int` after the id lists, at 30 as a message.
pub(super) fn encode_end(io_error: u32, format: &FlistFormat, out: &mut impl Write) -> bool {
    if format.varint_flags && format.at_least(30) {
        out.put_u8(0);
        out.put_varint(io_error as i32);
        return true;
    }
    if io_error != 0 && format.at_least(30) && format.has_error_marker() {
        out.put_u16(ERROR_MARKER as u16);
        out.put_varint(io_error as i32);
        return true;
    }
    out.put_u8(0);
    io_error == 0
}
