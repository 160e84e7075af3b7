//! What goes wrong, told to the client in the words that rsync uses.
//!
//! A path in a message is the one that the client sees.

use std::io;

use coffre_protocol::error::escape;
use coffre_protocol::mux::MessageKind;

use super::Sender;
use super::view::Place;
pub(super) use crate::session::receive::messages::reason;

impl Sender {
    /// The place of an entry, as the client knows it.
    pub(super) fn shown_entry(&self, dir: &Place, name: Option<&[u8]>) -> Vec<u8> {
        let mut shown = self.view.shown(dir);
        if let Some(name) = name {
            if shown != b"/" {
                shown.push(b'/');
            }
            shown.extend_from_slice(name);
        }
        shown
    }

    /// `rsync: [sender] ACTION "PATH" failed: WHY (ERRNO)`
    pub(super) fn sentence(&self, action: &str, shown: &[u8], error: &io::Error) -> String {
        let failed = if action.contains("failed to") {
            ""
        } else {
            " failed"
        };
        format!(
            "rsync: [sender] {action} \"{}\"{failed}: {}",
            String::from_utf8_lossy(shown),
            reason(error)
        )
    }

    /// Something about one entry failed; the run goes on, and the client will exit with 23.
    pub(super) fn file_error(&mut self, action: &str, shown: &[u8], error: &io::Error) {
        tracing::debug!(action, path = escape(shown), %error, "entry failed");
        self.totals.had_errors = true;
        let failed = if action.contains("failed to") {
            ""
        } else {
            " failed"
        };
        let line = [
            format!("rsync: [sender] {action} \"").as_bytes(),
            shown,
            format!("\"{failed}: {}", reason(error)).as_bytes(),
        ]
        .concat();
        self.out.raw_text(MessageKind::ErrorXfer, line);
    }

    /// What was there a moment ago is gone.
    pub(super) fn vanished(&mut self, what: &str, shown: &[u8]) {
        self.io_error |= 2;
        let line = [format!("{what} has vanished: \"").as_bytes(), shown, b"\""].concat();
        self.out.raw_text(MessageKind::Warning, line);
    }
}
