//! The byte stream as the SSH library gets it: the socket with a login deadline, an eye on stuck
//! writes, a limit on its speed, and a way to end it from outside.
//!
//! The library has none of these: an unauthenticated peer may stay for ever by sending a byte now
//! and then, a write to a peer that reads nothing waits for ever (and while it waits nothing else
//! of the connection runs), a client that is told goodbye may stay, and dropping what the library
//! gave back does not stop the connection. Here each of them becomes an I/O error, at which the
//! library lets go.
//!
//! The limit on speed is kept here and not in the callbacks: here the two directions know nothing
//! of each other, so a client that is slowed down in one is not held up in the other.
//!
//! The library reads each packet in two steps, its length and the rest. Here a few bytes more are
//! read with each rest, so that the next length is there already, and a packet is one system call.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::connection::Link;
use crate::bandwidth::{Bandwidth, Bucket};

/// With a limit on speed, the longest piece that is written at once.
const PACED_BYTES: usize = 32 << 10;

/// Bytes read ahead: more than the first step of any cipher, and little enough to be copied.
const AHEAD_BYTES: usize = 64;

/// A stream that gives more than was asked for in the same system call.
pub(super) trait ReadAhead: AsyncRead {
    /// Fills `buf`, and then as much of `ahead` as there is; gives the number of bytes in `ahead`.
    /// A stream that cannot do so reads no further than was asked.
    fn poll_read_ahead(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        _ahead: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buf).map_ok(|()| 0)
    }
}

impl ReadAhead for TcpStream {
    fn poll_read_ahead(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        ahead: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let room = buf.remaining();
        let wanted = room + ahead.len();
        let mut read = 0;
        loop {
            ready!(self.poll_read_ready(cx))?;
            let tried = self.try_io(Interest::READABLE, || {
                let mut parts = [
                    IoSliceMut::new(buf.initialize_unfilled()),
                    IoSliceMut::new(ahead),
                ];
                read = rustix::io::readv(&*self, &mut parts)?;
                // Fewer bytes than asked for: the socket is empty. To say so here spares the call
                // that would find out, and misses nothing that comes after the read.
                if 0 < read && read < wanted {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match tried {
                Err(error) if read == 0 && error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if read == 0 => return Poll::Ready(Err(error)),
                _ => break,
            }
        }
        buf.advance(read.min(room));
        Poll::Ready(Ok(read.saturating_sub(room)))
    }
}

/// How long a peer may keep us waiting after its login.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A peer that takes no byte for this long is gone, or stuck for good.
    write: Duration,
    /// How long a peer may take to close after we did.
    farewell: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            write: Duration::from_secs(120),
            farewell: Duration::from_secs(5),
        }
    }
}

/// Sent by the peer already, or by us already: see [`preamble`](super::preamble).
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// To be read again.
    pub(super) received: Vec<u8>,
    /// Bytes at the start of the library's output that have gone out.
    pub(super) sent: usize,
}

/// See the module's story.
pub(super) struct Guarded<S> {
    inner: S,
    link: Arc<Link>,
    patience: Patience,
    /// Comes before what `inner` gives.
    received: io::Cursor<Vec<u8>>,
    sent: usize,
    /// The end of the login's time, and after our own close that of the farewell.
    deadline: Pin<Box<Sleep>>,
    leaving: bool,
    write_deadline: Pin<Box<Sleep>>,
    write_stuck: bool,
    /// The tenant's, and the server's.
    bandwidth: [Arc<Bandwidth>; 2],
    read_pause: Pause,
    write_pause: Pause,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

impl<S> Guarded<S> {
    pub(super) fn new(
        inner: S,
        begun: Begun,
        login_deadline: Instant,
        patience: Patience,
        bandwidth: [Arc<Bandwidth>; 2],
        link: Arc<Link>,
    ) -> Self {
        let end = {
            let link = Arc::clone(&link);
            Box::pin(async move { link.ended().await })
        };
        Self {
            inner,
            link,
            patience,
            received: io::Cursor::new(begun.received),
            sent: begun.sent,
            deadline: Box::pin(tokio::time::sleep_until(login_deadline)),
            leaving: false,
            write_deadline: Box::pin(tokio::time::sleep_until(login_deadline)),
            write_stuck: false,
            bandwidth,
            read_pause: Pause::default(),
            write_pause: Pause::default(),
            end,
            ended: false,
        }
    }

    /// Looks whether the stream must end, and arranges to be woken when it must.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.ended = self.ended || self.end.as_mut().poll(cx).is_ready();
        if self.ended {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "closed by this server",
            ));
        }
        let in_time = !self.leaving && self.link.is_authenticated();
        if !in_time && self.deadline.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                if self.leaving {
                    "the peer did not close"
                } else {
                    "no login in time"
                },
            ));
        }
        Ok(())
    }
}

impl<S: ReadAhead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.poll_limits(cx)?;
        let position = this.received.position() as usize;
        let left = &this.received.get_ref()[position..];
        if !left.is_empty() {
            let n = left.len().min(buf.remaining());
            buf.put_slice(&left[..n]);
            this.received.set_position((position + n) as u64);
            return Poll::Ready(Ok(()));
        }
        // Before the login there is a deadline instead: strangers take nothing of the tenant's.
        let paced = this.link.is_authenticated();
        if paced {
            let [tenant, server] = &this.bandwidth;
            let buckets = [&tenant.incoming, &server.incoming];
            ready!(this.read_pause.poll(&buckets, cx));
        }
        // Everything in it has been read.
        let received = this.received.get_mut();
        received.resize(AHEAD_BYTES, 0);
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read_ahead(cx, buf, received);
        let ahead = match &read {
            Poll::Ready(Ok(ahead)) => *ahead,
            _ => 0,
        };
        received.truncate(ahead);
        this.received.set_position(0);
        let n = buf.filled().len() - before + ahead;
        if n > 0 {
            this.link.hear();
        }
        if paced {
            for bandwidth in &this.bandwidth {
                bandwidth.incoming.take(n);
            }
        }
        read.map_ok(|_| ())
    }
}

/// A wait for buckets to be out of debt.
#[derive(Default)]
struct Pause {
    sleep: Option<Pin<Box<Sleep>>>,
    sleeps: bool,
}

impl Pause {
    fn poll(&mut self, buckets: &[&Bucket], cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.sleeps
                && let Some(sleep) = &mut self.sleep
            {
                ready!(sleep.as_mut().poll(cx));
                self.sleeps = false;
            }
            let Some(delay) = buckets.iter().filter_map(|bucket| bucket.delay()).max() else {
                return Poll::Ready(());
            };
            let until = Instant::now() + delay;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(until),
                none => *none = Some(Box::pin(tokio::time::sleep_until(until))),
            }
            self.sleeps = true;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.poll_limits(cx)?;
        if this.sent > 0 {
            let n = this.sent.min(buf.len());
            this.sent -= n;
            return Poll::Ready(Ok(n));
        }
        let paced = this.link.is_authenticated();
        if paced {
            let [tenant, server] = &this.bandwidth;
            let buckets = [&tenant.outgoing, &server.outgoing];
            ready!(this.write_pause.poll(&buckets, cx));
        }
        let buf = if paced {
            &buf[..buf.len().min(PACED_BYTES)]
        } else {
            buf
        };
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        if let Poll::Ready(result) = written {
            this.write_stuck = false;
            if let (true, Ok(n)) = (paced, &result) {
                for bandwidth in &this.bandwidth {
                    bandwidth.outgoing.take(*n);
                }
            }
            return Poll::Ready(result);
        }
        if !this.write_stuck {
            this.write_stuck = true;
            let deadline = Instant::now() + this.patience.write;
            this.write_deadline.as_mut().reset(deadline);
        }
        ready!(this.write_deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no data",
        )))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.leaving {
            self.leaving = true;
            let deadline = Instant::now() + self.patience.farewell;
            self.deadline.as_mut().reset(deadline);
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::TcpListener;

    const GRACE: Duration = Duration::from_millis(200);
    const PATIENCE: Patience = Patience {
        write: Duration::from_millis(300),
        farewell: Duration::from_millis(100),
    };

    impl ReadAhead for DuplexStream {}

    /// A stream over a socket, and the peer's end of it.
    async fn over_tcp() -> (Guarded<TcpStream>, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (peer, accepted) = tokio::join!(peer, listener.accept());
        let link = Arc::new(Link::new(None));
        link.authenticated();
        let bandwidth = [(); 2].map(|()| Arc::new(Bandwidth::default()));
        let (begun, deadline) = (Begun::default(), Instant::now() + GRACE);
        let socket = accepted.unwrap().0;
        let stream = Guarded::new(socket, begun, deadline, PATIENCE, bandwidth, link);
        (stream, peer.unwrap())
    }

    #[tokio::test]
    async fn the_next_length_comes_with_the_packet_before() {
        let (mut stream, mut peer) = over_tcp().await;
        // Two packets: the length, and the rest.
        peer.write_all(&[7; 4 + 1000 + 4 + 500]).await.unwrap();
        stream.inner.readable().await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        let ahead = |stream: &Guarded<TcpStream>| {
            stream.received.get_ref().len() - stream.received.position() as usize
        };
        assert_eq!(ahead(&stream), AHEAD_BYTES, "the next length is there");
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.read_exact(&mut [0; 500]).await.unwrap();
        assert_eq!(ahead(&stream), 0);
    }

    #[tokio::test]
    async fn packets_arrive_as_they_were_sent_however_they_are_cut() {
        let (mut stream, mut peer) = over_tcp().await;
        peer.set_nodelay(true).unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n / 3) as u8).collect();
        let to_send = sent.clone();
        let writer = tokio::spawn(async move {
            let mut rest = &to_send[..];
            for len in [1, 3, 4, 60, 64, 65, 1000, 32_772].iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*len));
                peer.write_all(piece).await.unwrap();
                rest = after;
                // Now and then the reader finds nothing, and is woken.
                if *len == 65 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                if rest.is_empty() {
                    break;
                }
            }
        });
        let mut received = Vec::new();
        for len in [4, 500, 4, 20_000, 16, 1].iter().cycle() {
            let mut piece = vec![0; (*len).min(sent.len() - received.len())];
            stream.read_exact(&mut piece).await.unwrap();
            received.extend(piece);
            if received.len() == sent.len() {
                break;
            }
        }
        assert!(received == sent);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "the end");
        writer.await.unwrap();
    }

    /// A stream over a pipe of 16 bytes, and the peer's end of it.
    fn guarded(begun: Begun) -> (Guarded<DuplexStream>, DuplexStream, Arc<Link>) {
        guarded_and_slow(begun, None, 16)
    }

    fn guarded_and_slow(
        begun: Begun,
        rate: Option<u64>,
        pipe: usize,
    ) -> (Guarded<DuplexStream>, DuplexStream, Arc<Link>) {
        let (near, far) = tokio::io::duplex(pipe);
        let link = Arc::new(Link::new(None));
        let deadline = Instant::now() + GRACE;
        let bandwidth = [(); 2].map(|()| Arc::new(Bandwidth::default()));
        bandwidth[0].set(rate);
        let link_of_it = Arc::clone(&link);
        let stream = Guarded::new(near, begun, deadline, PATIENCE, bandwidth, link_of_it);
        (stream, far, link)
    }

    #[tokio::test]
    async fn a_direction_that_is_slowed_down_does_not_hold_up_the_other() {
        let (stream, mut far, link) = guarded_and_slow(Begun::default(), Some(1 << 20), 1 << 20);
        link.authenticated();
        let (mut reads, mut writes) = tokio::io::split(stream);
        // A quarter of a second's worth passes at once, the second is paid for by the third.
        far.write_all(&vec![7; 768 << 10]).await.unwrap();
        let begin = Instant::now();
        let reading = tokio::spawn(async move {
            for _ in 0..3 {
                reads.read_exact(&mut vec![0; 256 << 10]).await.unwrap();
            }
            Instant::now()
        });
        writes.write_all(b"at once").await.unwrap();
        let mut word = [0; 7];
        far.read_exact(&mut word).await.unwrap();
        let answered = Instant::now();
        let read = reading.await.unwrap();
        assert!(read - begin >= Duration::from_millis(200));
        assert!(answered < read, "the answer waited for the reading");
    }

    #[tokio::test]
    async fn a_write_that_is_slowed_down_is_not_taken_for_stuck() {
        let (mut stream, mut far, link) =
            guarded_and_slow(Begun::default(), Some(64 << 10), 1 << 20);
        link.authenticated();
        let begin = Instant::now();
        // Pauses of half a second: longer than the patience with a peer that takes nothing.
        stream.write_all(&vec![7; 80 << 10]).await.unwrap();
        assert!(begin.elapsed() > PATIENCE.write);
        far.read_exact(&mut vec![0; 80 << 10]).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_exchanged_already_is_read_again_and_not_written_again() {
        let (mut stream, mut far, _link) = guarded(Begun {
            received: b"hello ".to_vec(),
            sent: 4,
        });
        far.write_all(b"world").await.unwrap();
        let mut read = [0; 11];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello world");
        stream.write_all(b"ididnew").await.unwrap();
        let mut written = [0; 3];
        far.read_exact(&mut written).await.unwrap();
        assert_eq!(&written, b"new");
    }

    #[tokio::test]
    async fn the_login_deadline_ends_a_stream_that_trickles() {
        let (mut stream, mut far, _link) = guarded(Begun::default());
        tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(GRACE / 20).await;
            }
        });
        let begin = Instant::now();
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() < GRACE * 10);
    }

    #[tokio::test]
    async fn after_the_login_there_is_no_deadline() {
        let (mut stream, mut far, link) = guarded(Begun::default());
        link.authenticated();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE * 2).await;
            far.write_all(b"x").await.unwrap();
            far
        });
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (mut stream, mut far, link) = guarded(Begun::default());
        link.authenticated();
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(PATIENCE.write / 4).await;
                far.read_u8().await.unwrap();
            }
            far
        });
        // Takes longer than the patience, but never stands still for as long.
        stream.write_all(&[0; 26]).await.unwrap();
        let _far = slow.await.unwrap();
        let begin = Instant::now();
        let error = stream.write_all(&[0; 26]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= PATIENCE.write);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_close_is_left_soon() {
        let (mut stream, _far, link) = guarded(Begun::default());
        link.authenticated();
        stream.shutdown().await.unwrap();
        let begin = Instant::now();
        assert!(stream.read_u8().await.is_err());
        assert!(begin.elapsed() >= PATIENCE.farewell);
    }

    #[tokio::test]
    async fn ending_the_link_wakes_the_reader() {
        let (mut stream, _far, link) = guarded(Begun::default());
        link.authenticated();
        let reader = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        link.end();
        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
