//! The command line's end of the socket. Blocking: there is one request and nothing else to do.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Answer, Failure, Progress, Reply, Request, reachable, socket_path};
use crate::config::reason;

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens on the socket.
    NoDaemon(io::Error),
    /// The connection broke before the answer.
    Broken(String),
    /// The daemon did not do it.
    Refused(Failure),
}

/// Sends a request to the daemon of `storage` and waits for its answer.
pub fn ask(
    storage: &Path,
    request: &Request,
    mut progress: impl FnMut(Progress),
) -> Result<Answer, Error> {
    let (path, _directory) = reachable(&socket_path(storage)).map_err(Error::NoDaemon)?;
    let mut stream = UnixStream::connect(path).map_err(Error::NoDaemon)?;
    let broken = |e: io::Error| Error::Broken(reason(&e));
    let mut line = serde_json::to_string(request).map_err(|e| Error::Broken(e.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(broken)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line.map_err(broken)?) {
            Ok(Reply::Progress(step)) => progress(step),
            Ok(Reply::Done(answer)) => return Ok(answer),
            Ok(Reply::Failed(failure)) => return Err(Error::Refused(failure)),
            Err(e) => {
                return Err(Error::Broken(format!(
                    "the answer cannot be read, is the daemon of another version? ({e})"
                )));
            }
        }
    }
    Err(Error::Broken(
        "the daemon ended before it answered".to_owned(),
    ))
}
