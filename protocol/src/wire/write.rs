//! The encodings of [`super::Reader`], written.

/// Appends wire encodings to a buffer.
pub trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_i32(&mut self, value: i32) {
        self.put(&value.to_le_bytes());
    }

    /// See [`super::Reader::varint`].
    fn put_varint(&mut self, value: i32) {
        let bytes = value.to_le_bytes();
        let len = bytes.iter().rposition(|b| *b != 0).map_or(1, |top| top + 1);
        // A top byte that fits beside the length bits rides in the first byte.
        let room = 1u16 << (8 - len);
        let top = bytes[len - 1];
        if u16::from(top) < room {
            let ones = !(0xffu16 >> (len - 1)) as u8;
            self.put_u8(if len == 1 { top } else { ones | top });
            self.put(&bytes[..len - 1]);
        } else {
            self.put_u8(!(0xffu16 >> len) as u8);
            self.put(&bytes[..len]);
        }
    }

    /// See [`super::Reader::varlong`].
    fn put_varlong(&mut self, value: i64, min: usize) {
        let bytes = value.to_le_bytes();
        let len = bytes
            .iter()
            .rposition(|b| *b != 0)
            .map_or(1, |top| top + 1)
            .max(min);
        let top = bytes[len - 1];
        let room = 1u16 << (7 + min - len).min(8);
        if 7 + min >= len && u16::from(top) < room {
            let ones = !(0xffu16 >> (len - min)) as u8;
            self.put_u8(if len == min { top } else { ones | top });
            self.put(&bytes[..len - 1]);
        } else {
            self.put_u8(!(0xffu16 >> (len - min + 1)) as u8);
            self.put(&bytes[..len]);
        }
    }

    /// See [`super::Reader::longint`].
    fn put_longint(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(short) if short >= 0 => self.put_i32(short),
            _ => {
                self.put_i32(-1);
                self.put(&value.to_le_bytes());
            }
        }
    }

    /// See [`super::Reader::vstring`]. At most 0x7fff bytes are written.
    fn put_vstring(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(0x7fff)];
        if bytes.len() >= 0x80 {
            self.put_u8(0x80 | (bytes.len() >> 8) as u8);
        }
        self.put_u8(bytes.len() as u8);
        self.put(bytes);
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
