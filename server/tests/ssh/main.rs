//! The SSH side against the OpenSSH client, against the library's own client where OpenSSH cannot
//! be made to misbehave, and against bare sockets.

#![allow(
    clippy::unwrap_used,
    reason = "a test may end at what it did not expect"
)]

mod bench;
mod channels;
mod ciphers;
mod hostile;
mod lifecycle;
mod logins;
