//! Names of the server's own users and groups, looked up for a session that is confined.
//!
//! A confined thread cannot read `/etc/passwd`, let alone ask a directory service, and which names
//! it needs is known only when the client sends them. So it asks ([`Accounts::id_of`]), and the
//! thread that waits for its end answers meanwhile ([`Clerk::serve`]). A question is a name, an
//! answer a number: nothing else crosses, and one that the system cannot answer is "unknown".

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use coffre_protocol::flist::IdKind;

/// A name that is longer is nobody's, and not worth asking a directory service for.
const LONGEST_NAME: usize = 255;

struct Question {
    kind: IdKind,
    name: Vec<u8>,
    answer: SyncSender<Option<u32>>,
}

/// Asks for accounts, from within the confinement.
pub(crate) struct Accounts(Sender<Question>);

/// Answers, from outside.
pub(crate) struct Clerk(Receiver<Question>);

/// One who asks and one who answers.
pub(crate) fn desk() -> (Accounts, Clerk) {
    let (ask, questions) = channel();
    (Accounts(ask), Clerk(questions))
}

impl Accounts {
    /// The number of a local user or group; `None`: there is none of this name.
    pub(crate) fn id_of(&self, kind: IdKind, name: &[u8]) -> Option<u32> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        let question = Question {
            kind,
            name: name.to_vec(),
            answer,
        };
        self.0.send(question).ok()?;
        answered.recv().ok().flatten()
    }
}

impl Clerk {
    /// Answers until nobody is left who could ask.
    pub(crate) fn serve(self) {
        for question in self.0 {
            let id = look_up(question.kind, OsStr::from_bytes(&question.name));
            // Whoever asked may have ended meanwhile.
            let _ = question.answer.send(id);
        }
    }
}

fn look_up(kind: IdKind, name: &OsStr) -> Option<u32> {
    // A NUL cannot be in a name of the system's.
    if name.as_bytes().contains(&0) {
        return None;
    }
    match kind {
        IdKind::User => uzers::get_user_by_name(name).map(|user| user.uid()),
        IdKind::Group => uzers::get_group_by_name(name).map(|group| group.gid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_from_another_thread() {
        let (accounts, clerk) = desk();
        let asking = std::thread::spawn(move || {
            let ask = |kind, name: &[u8]| accounts.id_of(kind, name);
            [
                ask(IdKind::User, b"root"),
                ask(IdKind::Group, b"root"),
                ask(IdKind::User, b"no-such-account-here"),
                ask(IdKind::User, b""),
                ask(IdKind::User, b"ro\0ot"),
                ask(IdKind::Group, &[b'a'; 300]),
            ]
        });
        clerk.serve();
        assert_eq!(
            asking.join().unwrap(),
            [Some(0), Some(0), None, None, None, None]
        );
    }
}
