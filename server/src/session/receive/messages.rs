//! What goes wrong, told to the client in the words that rsync uses, and to the log.
//!
//! A path in a message is the one that the client sees: the tenant's root is `/`.

use std::io;

use coffre_protocol::ExitCode;
use coffre_protocol::error::escape;
use coffre_protocol::flist::{EntryRef, Unconverted};
use coffre_protocol::mux::MessageKind;

use super::{Fatal, Receiver, path_of};
use crate::confine::AttributeError;

/// Why a system call failed, as rsync prints it: `No space left on device (28)`.
pub(in crate::session) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{} ({code})", words(error)),
        // Found out without asking the system.
        None if error.kind() == io::ErrorKind::NotFound => reason(&rustix::io::Errno::NOENT.into()),
        None => words(error),
    }
}

/// The system's words for an error, without its number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error
        .raw_os_error()
        .map(|code| format!(" (os error {code})"));
    match number.and_then(|number| text.strip_suffix(&number).map(str::to_owned)) {
        Some(bare) => bare,
        None => text,
    }
}

/// Whether nothing more can be written to the store: it is full, read-only or broken.
pub(super) fn is_store_failure(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

impl Receiver {
    /// A path relative to the destination, as the client sees it. Its bytes are those of the
    /// client, which escapes what it prints.
    pub(super) fn shown(&self, path: &[u8]) -> Vec<u8> {
        let mut whole = b"/".to_vec();
        if let Some(destination) = &self.destination {
            whole.extend_from_slice(destination.dir.as_bytes());
            if whole.len() > 1 && !path.is_empty() && path != b"." {
                whole.push(b'/');
            }
        }
        if path != b"." {
            whole.extend_from_slice(path);
        }
        whole
    }

    /// Something about one entry failed; the run goes on, and the client will exit with 23.
    pub(super) fn file_error(&mut self, action: &str, path: &[u8], error: &io::Error) {
        let shown = self.shown(path);
        tracing::debug!(action, path = escape(&shown), %error, "entry failed");
        self.totals.had_errors = true;
        let failed = if action.contains("failed to") {
            ""
        } else {
            " failed"
        };
        let line = [
            format!("rsync: [generator] {action} \"").as_bytes(),
            &shown,
            format!("\"{failed}: {}", reason(error)).as_bytes(),
        ]
        .concat();
        self.out.raw_text(MessageKind::ErrorXfer, line);
    }

    /// As [`Self::file_error`], unless the store itself failed: then the run ends.
    pub(super) fn entry_failed(
        &mut self,
        action: &str,
        entry: &EntryRef<'_>,
        error: &io::Error,
    ) -> Result<(), Fatal> {
        let path = path_of(entry);
        if is_store_failure(error) {
            return Err(self.store_failure(action, &path, error));
        }
        self.file_error(action, &path, error);
        Ok(())
    }

    /// The store is full or broken: exit 11.
    pub(super) fn store_failure(&self, action: &str, path: &[u8], error: &io::Error) -> Fatal {
        let shown = String::from_utf8_lossy(&self.shown(path)).into_owned();
        Fatal::exit(
            ExitCode::FileIo,
            format!("rsync: [receiver] {action} \"{shown}\": {}", reason(error)),
        )
    }

    /// Tells of names that cannot be kept in the charset of `--iconv`: their entries are left out.
    pub(super) fn tell_unconverted(&mut self) {
        // Stock names the process; before the transfer there is only one.
        let process = if self.kept.is_some() {
            "receiver"
        } else {
            "Receiver"
        };
        for unconverted in self.decoder.take_unconverted() {
            self.note_io_error(1);
            match unconverted {
                Unconverted::Name { wire, why } => {
                    let line = [
                        format!("[{process}] cannot convert filename: ").as_bytes(),
                        &wire,
                        format!(" ({})", why.words()).as_bytes(),
                    ]
                    .concat();
                    self.out.wire_text(MessageKind::Error, line);
                }
                Unconverted::Target { path, why } => {
                    let line = [
                        format!("[{process}] cannot convert symlink data for: \"").as_bytes(),
                        &self.shown(&path),
                        format!("\" ({})", why.words()).as_bytes(),
                    ]
                    .concat();
                    self.totals.had_errors = true;
                    self.out.raw_text(MessageKind::ErrorXfer, line);
                }
            }
        }
    }

    /// Tells of attributes that could not be set.
    pub(super) fn report_attributes(
        &mut self,
        entry: &EntryRef<'_>,
        result: io::Result<Vec<AttributeError>>,
    ) -> Result<(), Fatal> {
        match result {
            Ok(errors) => {
                for AttributeError { attribute, error } in errors {
                    if is_store_failure(&error) {
                        let action = format!("failed to set {attribute} on");
                        return Err(self.store_failure(&action, &path_of(entry), &error));
                    }
                    self.file_error(
                        &format!("failed to set {attribute} on"),
                        &path_of(entry),
                        &error,
                    );
                }
                Ok(())
            }
            Err(error) => self.entry_failed("failed to set attributes on", entry, &error),
        }
    }
}
