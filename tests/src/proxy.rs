//! A TCP proxy on a loopback port that cuts the connection after so many bytes of the client's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// Serves one connection after the other, for as long as the process lives.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    limit: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Proxy {
    pub fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            limit: Arc::new(AtomicU64::new(u64::MAX)),
            passed: Arc::new(AtomicU64::new(0)),
        };
        let (limit, passed) = (Arc::clone(&proxy.limit), Arc::clone(&proxy.passed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that fails is one that the client sees fail.
                let _ = serve(client, server, limit.load(Ordering::SeqCst), &passed);
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

    /// Bytes from clients since the last [`Self::cut_after`].
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: u16, limit: u64, passed: &AtomicU64) -> std::io::Result<()> {
    let server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server)))?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
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
