//! The weak sum of a block, which can slide over a file byte by byte.
//!
//! With the bytes of a window x₀…xₙ₋₁ taken as **signed** eight-bit numbers, the two halves are
//!
//! ```text
//! a = Σ xᵢ            b = Σ (n − i)·xᵢ           value = (a mod 2¹⁶) | (b mod 2¹⁶) << 16
//! ```
//!
//! The generator sums whole blocks, so [`RollingSum::append`] is written for wide registers: since
//! only sixteen bits of each half count, it adds whole rows of bytes into sixteen-bit lanes and
//! lets them wrap. The sender slides a window with [`RollingSum::roll`].

/// The weak sum of a window of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RollingSum {
    // Both halves are right in their low sixteen bits only.
    a: u32,
    b: u32,
    len: u32,
}

/// Bytes summed per step: enough independent lanes to fill the vector units of every target.
const LANES: usize = 32;

impl RollingSum {
    /// The sum of the empty window.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sum of `window`.
    pub fn of(window: &[u8]) -> Self {
        let mut sum = Self::new();
        sum.append(window);
        sum
    }

    /// Bytes in the window, modulo 2³².
    pub fn len(self) -> u32 {
        self.len
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Makes the window longer by `bytes` at its end.
    pub fn append(&mut self, bytes: &[u8]) {
        let (rows, tail) = bytes.as_chunks::<LANES>();
        let (a, b) = sum_rows(rows);
        let n = (rows.len() * LANES) as u32;
        self.b = self.b.wrapping_add(n.wrapping_mul(self.a)).wrapping_add(b);
        self.a = self.a.wrapping_add(a);
        for &byte in tail {
            self.a = self.a.wrapping_add(signed(byte));
            self.b = self.b.wrapping_add(self.a);
        }
        self.len = self.len.wrapping_add(bytes.len() as u32);
    }

    /// Slides the window by one byte: `first` leaves at its start, `next` enters at its end.
    #[inline]
    pub fn roll(&mut self, first: u8, next: u8) {
        let first = signed(first);
        self.a = self.a.wrapping_sub(first).wrapping_add(signed(next));
        self.b = self
            .b
            .wrapping_sub(self.len.wrapping_mul(first))
            .wrapping_add(self.a);
    }

    /// Makes the window shorter by its first byte.
    #[inline]
    pub fn drop_first(&mut self, first: u8) {
        let first = signed(first);
        self.a = self.a.wrapping_sub(first);
        self.b = self.b.wrapping_sub(self.len.wrapping_mul(first));
        self.len = self.len.wrapping_sub(1);
    }

    /// The value on the wire (four bytes, little-endian).
    #[inline]
    pub fn value(self) -> u32 {
        (self.a & 0xffff) | (self.b << 16)
    }
}

#[inline]
fn signed(byte: u8) -> u32 {
    byte as i8 as u32
}

/// Both halves, modulo 2¹⁶, of rows that stand one after the other.
///
/// Lane j sums column j: its own `a`, and a `b` that weights the byte of row r with the number of
/// rows from r on. The weight of that byte in the whole is `LANES` times this, minus j.
fn sum_rows(rows: &[[u8; LANES]]) -> (u32, u32) {
    let mut a = [0u16; LANES];
    let mut b = [0u16; LANES];
    for row in rows {
        for lane in 0..LANES {
            a[lane] = a[lane].wrapping_add(row[lane] as i8 as u16);
            b[lane] = b[lane].wrapping_add(a[lane]);
        }
    }
    let mut sum = (0u32, 0u32);
    for lane in 0..LANES {
        let (a, b) = (u32::from(a[lane]), u32::from(b[lane]));
        sum.0 = sum.0.wrapping_add(a);
        sum.1 = sum
            .1
            .wrapping_add(b.wrapping_mul(LANES as u32))
            .wrapping_sub(a.wrapping_mul(lane as u32));
    }
    sum
}
