//! The SSH side against the OpenSSH client, against the library's own client where OpenSSH cannot
//! be made to misbehave, and against bare sockets.

mod bench;
mod channels;
mod ciphers;
mod hostile;
mod lifecycle;
mod logins;
