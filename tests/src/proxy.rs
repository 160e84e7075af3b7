//! A TCP proxy on a loopback port that cuts the connection after so many bytes of the client's, or
//! stops taking the server's for a while.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// Serves one connection after the other, for as long as the process lives.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    limit: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    stall: Arc<Stall>,
}

/// When the server's side is not read, and for how long.
#[derive(Debug)]
struct Stall {
    after_bytes: AtomicU64,
    milliseconds: AtomicU64,
    /// How often it has happened.
    times: AtomicU64,
}

impl Proxy {
    pub fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            limit: Arc::new(AtomicU64::new(u64::MAX)),
            passed: Arc::new(AtomicU64::new(0)),
            stall: Arc::new(Stall {
                after_bytes: AtomicU64::new(u64::MAX),
                milliseconds: AtomicU64::new(0),
                times: AtomicU64::new(0),
            }),
        };
        let stall = Arc::clone(&proxy.stall);
        let (limit, passed) = (Arc::clone(&proxy.limit), Arc::clone(&proxy.passed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that fails is one that the client sees fail.
                let limit = limit.load(Ordering::SeqCst);
                let _ = serve(client, server, limit, &passed, &stall);
            }
        });
        Ok(proxy)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections from now on are cut after that many bytes from the client.
    pub fn cut_after(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::SeqCst);
        self.passed.store(0, Ordering::SeqCst);
    }

    /// Connections from now on read nothing of the server for so long, once, after that many
    /// bytes of it.
    pub fn stall_after(&self, bytes: u64, pause: Duration) {
        let milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.stall
            .milliseconds
            .store(milliseconds, Ordering::SeqCst);
        self.stall.after_bytes.store(bytes, Ordering::SeqCst);
    }

    /// How often a connection was stalled.
    pub fn stalls(&self) -> u64 {
        self.stall.times.load(Ordering::SeqCst)
    }

    /// Bytes from clients since the last [`Self::cut_after`].
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

fn serve(
    client: TcpStream,
    server: u16,
    limit: u64,
    passed: &AtomicU64,
    stall: &Arc<Stall>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server)))?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let stall = Arc::clone(stall);
    let back = thread::spawn(move || {
        let before = stall.after_bytes.load(Ordering::SeqCst);
        let _ = std::io::copy(&mut (&mut from_server).take(before), &mut to_client);
        if before < u64::MAX {
            stall.times.fetch_add(1, Ordering::SeqCst);
            let pause = stall.milliseconds.load(Ordering::SeqCst);
            thread::sleep(Duration::from_millis(pause));
            let _ = std::io::copy(&mut from_server, &mut to_client);
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut left = limit;
    let mut piece = [0; 4_096];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let length = (&client).read(&mut piece[..most])?;
        if length == 0 {
            break;
        }
        (&server).write_all(&piece[..length])?;
        passed.fetch_add(length as u64, Ordering::SeqCst);
        left -= length as u64;
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}
