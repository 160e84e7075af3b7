//! The names of `--files-from` when the list is a file of the server: it is read here and sent to
//! the client, which is the sender and needs it.
//!
//! Names travel with a NUL behind each; an empty one ends them. Lines are taken apart and nothing
//! else: comments are names like others, as with stock rsync. From protocol 31 on they are data
//! of the stream; before, they go out bare and the stream's frames begin behind them. The client
//! sends entries while names are still coming, so they are one more thing that the generator does
//! in steps, before anything else.

use std::fs::File;
use std::io::{self, Read};

use coffre_protocol::ProtocolError;
use coffre_protocol::charset::Charset;
use coffre_protocol::options::{FilesFrom, ServerOptions};

use rustix::io::Errno;

use super::messages::{reason, words};
use super::{Fatal, Receiver};
use crate::confine::{Kind, TenantRoot, Unresolved};

/// How much of the file is sent between two looks at the input.
const STEP: usize = 32 << 10;

/// A file of names that is being sent.
pub(crate) struct Names {
    /// `None`: it is a directory, which holds no names.
    file: Option<File>,
    ends_in_nul: bool,
    /// The last byte sent was a NUL, or nothing has been sent: another one would end the names.
    after_nul: bool,
    /// Names are in this charset, and travel in UTF-8.
    charset: Option<Charset>,
    /// With a charset: the beginning of a name whose end is still to come.
    begun: Vec<u8>,
}

impl Names {
    /// Opens the file that the options name, in the tenant's view. `None`: they name none.
    /// Errors: it cannot be opened; to be told before the handshake, with stock's words.
    pub(crate) fn open(
        root: &TenantRoot,
        options: &ServerOptions,
    ) -> Result<Option<Self>, ProtocolError> {
        let FilesFrom::Server { path } = &options.files_from else {
            return Ok(None);
        };
        let file = open(root, path).map_err(|error| {
            ProtocolError::usage(format!(
                "failed to open files-from file {}: {}",
                String::from_utf8_lossy(path),
                words(&error)
            ))
        })?;
        Ok(Some(Self {
            file,
            ends_in_nul: options.from0,
            after_nul: true,
            charset: options.iconv.filter(|_| options.converts_names),
            begun: Vec::new(),
        }))
    }

    /// Appends the next names to `out`. `false`: those were the last.
    fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(charset) = self.charset else {
            return self.next_as_they_are(out);
        };
        let mut names = std::mem::take(&mut self.begun);
        let more = self.next_as_they_are(&mut names)?;
        let whole = names
            .iter()
            .rposition(|byte| *byte == 0)
            .map_or(0, |at| at + 1);
        self.begun = names.split_off(whole);
        // No NUL becomes, or comes of, anything else.
        out.extend_from_slice(&charset.globalize_all(&names));
        Ok(more)
    }

    fn next_as_they_are(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let mut piece = Vec::with_capacity(STEP);
        if let Some(file) = &mut self.file {
            file.take(STEP as u64).read_to_end(&mut piece)?;
        }
        for &byte in &piece {
            let is_end = byte == 0 || !self.ends_in_nul && matches!(byte, b'\r' | b'\n');
            if !is_end {
                out.push(byte);
            } else if !self.after_nul {
                out.push(0);
            }
            self.after_nul = is_end;
        }
        if piece.is_empty() {
            if !self.after_nul {
                out.push(0);
            }
            out.push(0);
        }
        Ok(!piece.is_empty())
    }
}

fn open(root: &TenantRoot, path: &[u8]) -> io::Result<Option<File>> {
    let path = root.resolve(path).map_err(|why| match why {
        Unresolved::Leaves => Errno::NOENT.into(),
        Unresolved::TooManyLinks => Errno::LOOP.into(),
        Unresolved::NotAPath(error) => error,
    })?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let dir = root.dir(&parent)?;
            match dir.stat(name)? {
                Some(stat) if stat.kind == Kind::Dir => Ok(None),
                Some(_) => dir.open_file(name).map(Some),
                None => Err(Errno::NOENT.into()),
            }
        }
        _ => Ok(None),
    }
}

impl Receiver {
    /// Sends some of the names.
    pub(super) fn send_names(&mut self) -> Result<(), Fatal> {
        let Some(mut names) = self.names_to_send.take() else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(STEP + 2);
        let more = names.next(&mut bytes).map_err(|error| {
            Fatal::exit(
                coffre_protocol::ExitCode::FileIo,
                format!("cannot read the files-from file: {}", reason(&error)),
            )
        })?;
        self.out.names(&bytes);
        self.names_to_send = more.then_some(names);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn sent(content: &[u8], ends_in_nul: bool) -> Vec<u8> {
        sent_from(content, ends_in_nul, None)
    }

    fn sent_from(content: &[u8], ends_in_nul: bool, charset: Option<Charset>) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let mut names = Names {
            file: Some(file),
            ends_in_nul,
            after_nul: true,
            charset,
            begun: Vec::new(),
        };
        let mut out = Vec::new();
        while names.next(&mut out).unwrap() {}
        out
    }

    #[test]
    fn lines_become_names_and_an_empty_one_ends_them() {
        for (content, ends_in_nul, names) in [
            (&b""[..], false, &b"\0"[..]),
            (b"\n\n", false, b"\0"),
            (b"a\nb", false, b"a\0b\0\0"),
            (b"a\r\n\r\n# b\n", false, b"a\0# b\0\0"),
            (b"a\nb\0\0c", true, b"a\nb\0c\0\0"),
            (b"a\0b\n", false, b"a\0b\0\0"),
        ] {
            assert_eq!(sent(content, ends_in_nul), names, "{content:?}");
        }
    }

    #[test]
    fn names_of_another_charset_travel_in_utf_8_also_across_the_end_of_a_step() {
        let latin1 = Charset::find(b"latin1").ok();
        let content = b"caf\xe9\n".repeat(STEP / 4);
        let names = ["caf\u{e9}\0".as_bytes().repeat(STEP / 4), b"\0".to_vec()].concat();
        assert_eq!(sent_from(&content, false, latin1), names);
    }

    #[test]
    fn names_across_the_end_of_a_step_stay_whole() {
        let content = b"0123456789\n".repeat(STEP / 5);
        let names = [&b"0123456789\0".repeat(STEP / 5)[..], b"\0"].concat();
        assert_eq!(sent(&content, false), names);
    }
}
