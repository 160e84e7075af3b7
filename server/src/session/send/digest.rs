//! The digest of a whole file that `--checksum` puts into the list.
//!
//! This is the one place that decides where it comes from. What was noted when the content came
//! is believed as long as size and time of the file are those it was noted with; then nothing is
//! read. Else the file is. What that shows is not kept: a restore changes nothing in the store.

use std::io::Read;

use coffre_protocol::checksum::StrongKind;

use super::Sender;
use super::entry::Found;

const PIECE: usize = 256 << 10;

impl Sender {
    /// `None`: it cannot be read, which the list tells with zeros and the transfer with a reason.
    pub(super) fn digest_of(&mut self, found: &Found) -> Option<Vec<u8>> {
        let kind = self.agreed.list_sum;
        if let Some(noted) = found.noted_digest(kind) {
            return Some(noted);
        }
        let mut summer = self.agreed.list_summer();
        if kind == StrongKind::None {
            // One zero byte stands for every content.
            return Some(summer.finish().as_bytes().to_vec());
        }
        let (mut file, _) = found.open().ok()?;
        self.buffer.resize(PIECE, 0);
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Some(summer.finish().as_bytes().to_vec()),
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
