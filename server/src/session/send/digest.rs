//! The digest of a whole file that `--checksum` puts into the list.
//!
//! This is the one place that decides where it comes from. Today the file is read.

use std::io::Read;

use coffre_protocol::checksum::StrongSum;

use super::Sender;
use super::entry::Found;

const PIECE: usize = 256 << 10;

impl Sender {
    /// `None`: it cannot be read, which the list tells with zeros and the transfer with a reason.
    pub(super) fn digest_of(&mut self, found: &Found) -> Option<StrongSum> {
        let mut file = found.open().ok()?;
        let mut summer = self.agreed.list_summer();
        self.buffer.resize(PIECE, 0);
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Some(summer.finish()),
                Ok(len) => summer.update(&self.buffer[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            // A large file takes longer than some clients have patience.
            self.stay_alive();
            self.last_progress = std::time::Instant::now();
        }
    }
}
