//! The daemon's end of the socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Answer, Failure, Progress, Reply, Request, reachable, socket_path};

/// A request is a short line.
const LONGEST_REQUEST: u64 = 64 << 10;

/// Where progress goes. When the asker has gone, it goes nowhere, and the work goes on.
pub type Steps = mpsc::Sender<Progress>;

/// Does what is asked.
pub trait Answers: Send + Sync + 'static {
    fn answer(
        self: Arc<Self>,
        request: Request,
        steps: Steps,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// Takes the place of whatever socket an earlier daemon has left. The caller holds the store's
/// lock, so no living one is robbed of it.
pub fn bind(storage: &Path) -> io::Result<UnixListener> {
    let socket = socket_path(storage);
    match fs::remove_file(&socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let (path, _directory) = reachable(&socket)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until the task is dropped.
pub async fn serve(listener: UnixListener, answers: Arc<impl Answers>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    if let Err(e) = converse(stream, answers).await {
                        debug!("a request on the control socket was given up: {e}");
                    }
                });
            }
            Err(e) => {
                warn!("cannot accept on the control socket: {e}");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, answers: Arc<impl Answers>) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    BufReader::new(input.take(LONGEST_REQUEST))
        .read_line(&mut line)
        .await?;
    if line.is_empty() {
        return Ok(());
    }
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(e) => {
            let failure = Failure::new(format!(
                "the daemon cannot read the request, is it of another version? ({e})"
            ));
            return say(&mut output, &Reply::Failed(failure)).await;
        }
    };
    let (steps, mut made) = mpsc::channel(16);
    let work = tokio::spawn(answers.answer(request, steps));
    while let Some(step) = made.recv().await {
        say(&mut output, &Reply::Progress(step)).await?;
    }
    let reply = match work.await {
        Ok(Ok(answer)) => Reply::Done(answer),
        Ok(Err(failure)) => Reply::Failed(failure),
        Err(e) => Reply::Failed(Failure::new(format!("internal: the work stopped: {e}"))),
    };
    say(&mut output, &reply).await
}

async fn say(output: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    output.write_all(&line).await
}
