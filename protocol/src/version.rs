//! The protocol version: which ones are spoken, and how two ends agree.

use crate::ProtocolError;

/// A version that both ends speak, 27 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(u8);

impl ProtocolVersion {
    /// What this implementation announces.
    pub const OWN: ProtocolVersion = ProtocolVersion(32);
    /// The oldest version spoken (rsync 2.6.0).
    pub const OLDEST: ProtocolVersion = ProtocolVersion(27);

    /// `min(own, peer)`. A peer outside 20…40 is not speaking rsync at all (text of a login shell
    /// read as a number is huge); below [`Self::OLDEST`] it is too old. Both: exit 2.
    pub fn negotiate(own: ProtocolVersion, peer: i32) -> Result<Self, ProtocolError> {
        if !(20..=40).contains(&peer) {
            return Err(ProtocolError::violation(
                "protocol version mismatch -- is your shell clean?",
            ));
        }
        let chosen = own.0.min(peer as u8);
        if chosen < Self::OLDEST.0 {
            return Err(ProtocolError::violation(format!(
                "the client speaks protocol {peer}; this server needs 27 or newer (rsync 2.6.0)"
            )));
        }
        Ok(Self(chosen))
    }

    /// For tests and tools; `None` outside 27…32.
    pub fn new(number: u8) -> Option<Self> {
        (27..=32).contains(&number).then_some(Self(number))
    }

    pub fn number(self) -> u8 {
        self.0
    }

    pub fn at_least(self, number: u8) -> bool {
        self.0 >= number
    }
}
