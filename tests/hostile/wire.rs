//! An encoder of its own: it writes whatever it is told, which no honest client would.

/// The bytes of a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire(pub(crate) Vec<u8>);

/// Flag of an entry whose name's length takes more than a byte.
const LONG_NAME: u8 = 0x40;

impl Wire {
    /// A client of protocol 29: nothing of it is framed.
    pub(crate) fn old() -> Self {
        Self::default().int(29)
    }

    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// An entry of protocol 29 with nothing but name, length, time and mode.
    pub(crate) fn entry(self, name: &[u8], mode: i32, len: i32) -> Self {
        self.entry_of_length(name.len() as i32, name, mode, len)
    }

    /// … whose name is said to have another length.
    pub(crate) fn entry_of_length(self, said: i32, name: &[u8], mode: i32, len: i32) -> Self {
        self.byte(LONG_NAME)
            .int(said)
            .bytes(name)
            .int(len)
            .int(1_500_000_000)
            .int(mode)
    }

    pub(crate) fn dir(self, name: &[u8]) -> Self {
        self.entry(name, 0o40755, 4096)
    }

    /// A directory that the client names as its own source, so that all in it counts.
    pub(crate) fn top(self, name: &[u8]) -> Self {
        let at = self.0.len();
        let mut wire = self.dir(name);
        wire.0[at] |= 1;
        wire
    }

    pub(crate) fn file(self, name: &[u8], len: i32) -> Self {
        self.entry(name, 0o100_644, len)
    }

    pub(crate) fn link(self, name: &[u8], target: &[u8]) -> Self {
        self.entry(name, 0o120_777, target.len() as i32)
            .int(target.len() as i32)
            .bytes(target)
    }

    /// The end of a list of protocol 29: no entry, no I/O errors.
    pub(crate) fn end(self) -> Self {
        self.byte(0).int(0)
    }

    /// The reply for a file of protocol 29, up to its tokens: index, flags of a new file, no basis.
    pub(crate) fn reply(self, ndx: i32) -> Self {
        self.reply_with(ndx, [0, 0, 0, 0])
    }

    /// … with this sum head: blocks, their length, bytes of each strong sum, remainder.
    pub(crate) fn reply_with(self, ndx: i32, head: [i32; 4]) -> Self {
        let wire = self.int(ndx).bytes(&0xa000u16.to_le_bytes());
        head.into_iter().fold(wire, Wire::int)
    }

    /// A reply with a whole new file, and the sum that is right for it.
    pub(crate) fn whole_reply(self, ndx: i32, content: &[u8], seed: [u8; 4]) -> Self {
        use md4::Digest;
        let sum = md4::Md4::new().chain_update(seed).chain_update(content);
        let wire = self.reply(ndx).int(content.len() as i32).bytes(content);
        wire.int(0).bytes(&sum.finalize())
    }

    /// End of a phase of protocol 29.
    pub(crate) fn done(self) -> Self {
        self.int(-1)
    }

    /// A varint of protocol 30, always in its longest form.
    pub(crate) fn varint(self, value: i32) -> Self {
        self.byte(0xf0).bytes(&value.to_le_bytes())
    }

    /// A client of protocol 31, whose data so far is framed.
    pub(crate) fn framed(self) -> Self {
        let framed = self.in_frames();
        Self::default().int(31).bytes(&framed.0)
    }

    /// A first file index of protocol 30, as the difference to the one before, which is none.
    pub(crate) fn first_ndx(self, ndx: i32) -> Self {
        match ndx {
            0..=252 => self.byte(ndx as u8 + 1),
            253.. => {
                let [a, b, c, d] = ndx.to_be_bytes();
                self.bytes(&[0xfe, a | 0x80, d, c, b])
            }
            // Below none a byte tells which, and the number comes without its sign.
            _ => {
                let [a, b, c, d] = (-ndx).to_be_bytes();
                self.bytes(&[0xff, 0xfe, a | 0x80, d, c, b])
            }
        }
    }

    /// The data so far, in frames of no more than 60,000 bytes.
    pub(crate) fn in_frames(self) -> Self {
        let mut wire = Self::default();
        for piece in self.0.chunks(60_000) {
            wire = wire.int(piece.len() as i32 | 7 << 24).bytes(piece);
        }
        wire
    }

    /// A message between frames.
    pub(crate) fn message(self, code: u8, payload: &[u8]) -> Self {
        self.int(payload.len() as i32 | i32::from(code + 7) << 24)
            .bytes(payload)
    }

    /// An entry of protocol 31 (flags of a byte or two): what comes after the name is the caller's.
    pub(crate) fn new_entry(self, more_flags: u16, name: &[u8]) -> Self {
        let flags = u16::from(LONG_NAME) | more_flags;
        let wire = match flags > 0xff {
            true => self.bytes(&(flags | 4).to_le_bytes()),
            false => self.byte(flags as u8),
        };
        wire.varint(name.len() as i32).bytes(name)
    }

    /// Length, time and mode of protocol 31.
    pub(crate) fn values(self, mode: i32, len: u16) -> Self {
        self.byte(0)
            .bytes(&len.to_le_bytes())
            .bytes(&[0x59, 0x00, 0x2f, 0x68])
            .int(mode)
    }
}

/// A deflate stream of zeros as it travels, 1.6 bytes for each 258.
pub(crate) fn zeros(matches: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // A block with fixed codes: a zero, then copies of 258 bytes from one byte back.
    bits.put(0b010, 3);
    bits.code(0x30, 8);
    for _ in 0..matches {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    // The sync flush, whose last four bytes are left out.
    bits.put(0, 3);
    bits.align();
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    /// From the lowest bit on.
    fn put(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= (((value >> bit) & 1) as u8) << (self.used % 8);
            self.used += 1;
        }
    }

    /// A Huffman code, from the highest bit on.
    fn code(&mut self, code: u32, count: usize) {
        for bit in (0..count).rev() {
            self.put((code >> bit) & 1, 1);
        }
    }

    fn align(&mut self) {
        self.used = self.bytes.len() * 8;
    }
}
