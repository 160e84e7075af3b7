//! Names of the server's own users and groups.
//!
//! Behind its fence the server can read neither `/etc/passwd` nor ask a directory service, and the
//! names to look up come from clients. So a process of its own looks them up: it is started before
//! the fence is raised, gives up all capabilities, and knows nothing but its standard input and
//! output. A question is a kind and a name, an answer a number; nothing else crosses. It ends with
//! the server, whose end closes its input.
//!
//! ```text
//! question   u or g, one byte of length, the name
//! answer     1 and four bytes of number, least first; or 0: there is none of this name
//! ```

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use coffre_protocol::flist::IdKind;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Asks; shared by all sessions, which take turns.
#[derive(Debug)]
pub struct Accounts(Mutex<Option<Clerk>>);

#[derive(Debug)]
struct Clerk {
    process: Child,
    ask: ChildStdin,
    answers: ChildStdout,
}

impl Accounts {
    /// Knows nobody: every number stays what it is.
    pub fn unknown() -> Self {
        Self(Mutex::new(None))
    }

    /// Starts the process that looks up; to be called before the fence is raised.
    pub fn start() -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("answer-accounts")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A ^C is the server's to deal with.
            .process_group(0)
            .spawn()?;
        let (Some(ask), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        Ok(Self(Mutex::new(Some(Clerk {
            process,
            ask,
            answers,
        }))))
    }

    /// The number of a local user or group; `None`: there is none of this name.
    pub(crate) fn id_of(&self, kind: IdKind, name: &[u8]) -> Option<u32> {
        let len = u8::try_from(name.len()).ok().filter(|len| *len > 0)?;
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clerk = place.as_mut()?;
        match clerk.ask(kind, len, name) {
            Ok(id) => id,
            Err(error) => {
                tracing::error!(
                    %error,
                    "the process that looks up accounts is gone; until a restart no names of \
                     owners are known"
                );
                *place = None;
                None
            }
        }
    }
}

impl Clerk {
    fn ask(&mut self, kind: IdKind, len: u8, name: &[u8]) -> io::Result<Option<u32>> {
        let letter = match kind {
            IdKind::User => b'u',
            IdKind::Group => b'g',
        };
        self.ask.write_all(&[&[letter, len][..], name].concat())?;
        let mut found = [0];
        self.answers.read_exact(&mut found)?;
        if found == [0] {
            return Ok(None);
        }
        let mut id = [0; 4];
        self.answers.read_exact(&mut id)?;
        Ok(Some(u32::from_le_bytes(id)))
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        // It waits for questions or for a directory service, and neither is wanted any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other process: answers questions until there are none any more.
pub(crate) fn answer(mut questions: impl Read, mut answers: impl Write) -> io::Result<()> {
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, nothing)?;
    serve(&mut questions, &mut answers)
}

fn serve(questions: &mut impl Read, answers: &mut impl Write) -> io::Result<()> {
    let mut head = [0; 2];
    let mut name = [0; 255];
    loop {
        match questions.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let name = &mut name[..usize::from(head[1])];
        questions.read_exact(name)?;
        let answer = match look_up(head[0], OsStr::from_bytes(name)) {
            Some(id) => [&[1][..], &id.to_le_bytes()].concat(),
            None => vec![0],
        };
        answers.write_all(&answer)?;
        answers.flush()?;
    }
}

fn look_up(kind: u8, name: &OsStr) -> Option<u32> {
    // A NUL cannot be in a name of the system's.
    if name.as_bytes().contains(&0) {
        return None;
    }
    match kind {
        b'u' => uzers::get_user_by_name(name).map(|user| user.uid()),
        _ => uzers::get_group_by_name(name).map(|group| group.gid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_one_by_one() {
        let mut answers = Vec::new();
        let asked = b"u\x04rootg\x04rootu\x14no-such-account-hereu\x00g\x05ro\0ot";
        serve(&mut &asked[..], &mut answers).unwrap();
        assert_eq!(answers, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn half_a_question_is_an_error() {
        assert!(serve(&mut &b"u\x04ro"[..], &mut Vec::new()).is_err());
    }
}
