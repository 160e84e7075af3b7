//! Bytes of a client that are no whole unit yet.
//!
//! Both ends decode their stream unit by unit, from whatever pieces it comes in. What is left of
//! a piece waits here for the next; everything else is decoded where it lies, without a copy.

/// How much of a new piece is put behind what waits, at least.
const STEP: usize = 64;

/// The beginning of a unit.
#[derive(Debug, Default)]
pub(super) struct Carry(Vec<u8>);

impl Carry {
    /// Passes on what waits and `bytes` behind it, in order. `consume` takes whole units from the
    /// front and says how many bytes they were; the rest waits.
    pub(super) fn pass<E>(
        &mut self,
        mut bytes: &[u8],
        mut consume: impl FnMut(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.0.is_empty() {
                let used = consume(bytes)?;
                self.0.extend_from_slice(&bytes[used..]);
                return Ok(());
            }
            // Complete the unit at hand with a little more, then go on without copying.
            let old = self.0.len();
            let more = bytes.len().min(old.max(STEP));
            self.0.extend_from_slice(&bytes[..more]);
            let used = consume(&self.0)?;
            if used >= old {
                bytes = &bytes[used - old..];
                self.0.clear();
            } else {
                self.0.drain(..used);
                bytes = &bytes[more..];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of one byte of length and so many bytes.
    fn units(input: &[u8], out: &mut Vec<Vec<u8>>) -> usize {
        let mut rest = input;
        while let Some((len, after)) = rest.split_first()
            && let Some((unit, after)) = after.split_at_checked((*len).into())
        {
            out.push(unit.to_vec());
            rest = after;
        }
        input.len() - rest.len()
    }

    #[test]
    fn units_are_the_same_in_whatever_pieces_they_come() {
        let wire: Vec<u8> = [0, 1, 200, 3, 64, 65, 255, 0, 7]
            .into_iter()
            .flat_map(|len: u8| [vec![len], vec![len; len.into()]].concat())
            .collect();
        let mut whole = Vec::new();
        assert_eq!(units(&wire, &mut whole), wire.len());
        for piece in 1..=wire.len() {
            let mut found = Vec::new();
            let mut carry = Carry::default();
            for bytes in wire.chunks(piece) {
                let taken = carry.pass(bytes, |input| Ok::<_, ()>(units(input, &mut found)));
                assert_eq!(taken, Ok(()));
            }
            assert_eq!(found, whole, "in pieces of {piece}");
        }
    }
}
