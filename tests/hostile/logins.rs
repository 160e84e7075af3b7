//! Clients that say nothing, slowly, or very often.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use coffre_tests::said;

use crate::wire::Wire;
use crate::yard::Yard;

/// A connection from another address than the neighbour's.
fn connect(port: u16) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let fd: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
    connect(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    TcpStream::from(fd)
}

fn is_closed(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn connections_that_never_log_in_are_counted_and_closed() {
    let server = "login_grace = \"3s\"\nmax_unauthenticated_per_address = 8\n";
    let Some(yard) = Yard::new(server, "") else {
        return;
    };
    yard.during(|| {
        let port = yard.bed.coffre.port();
        let start = Instant::now();
        let mut all: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
        // Slowly, a byte at a time, as some of them go on.
        let banner = b"SSH-2.0-slow loris, which takes its time";
        for byte in banner {
            for stream in all.iter_mut().take(8) {
                let _ = stream.write_all(&[*byte]);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for stream in &mut all {
            assert!(is_closed(stream, Duration::from_secs(30)), "kept for ever");
        }
        println!("all were closed after {:?}", start.elapsed());
    });
}

#[test]
fn garbage_instead_of_a_login_is_closed() {
    let Some(yard) = Yard::new("login_grace = \"3s\"\n", "") else {
        return;
    };
    yard.during(|| {
        let port = yard.bed.coffre.port();
        let long = vec![b'x'; 300_000];
        let framed = [&b"SSH-2.0-x\r\n"[..], &[0xff; 40_000]].concat();
        for bytes in [
            &b"GET / HTTP/1.0\r\n\r\n"[..],
            &long,
            &framed,
            b"SSH-1.5-x\r\n",
            &[0; 100],
        ] {
            let mut stream = connect(port);
            let _ = stream.write_all(bytes);
            assert!(is_closed(&mut stream, Duration::from_secs(30)));
        }
    });
}

/// Sessions that stall take places of their own tenant and of nobody else.
#[test]
fn sessions_that_stall_take_only_their_own_tenants_places() {
    let Some(yard) = Yard::new("", "max_sessions = 3\n") else {
        return;
    };
    yard.during(|| {
        let mut stalled: Vec<_> = (0..3)
            .map(|_| {
                let mut peer = yard.peer("rsync --server -r . /dst");
                peer.say(Wire::old().dir(b".").byte(0x40));
                peer.hear(8);
                peer
            })
            .collect();
        let outcome = yard.bed.push("-a src/ server:/dst/").unwrap();
        assert_ne!(outcome.exit, 0);
        assert!(said(&outcome).contains("session"), "{}", said(&outcome));
        for peer in stalled.drain(..) {
            assert_ne!(peer.end().exit, 0);
        }
        // With a timeout of its own, a stalled session is ended by the server.
        let mut peer = yard.peer("rsync --server -r --timeout=2 . /dst");
        peer.say(Wire::old().dir(b".").byte(0x40));
        let patience = Instant::now() + Duration::from_secs(40);
        while !peer.has_ended() && Instant::now() < patience {
            peer.hear(1 << 20);
        }
        assert!(peer.has_ended(), "the timeout is not kept");
        assert_eq!(peer.end().exit, 30);
    });
}

#[test]
fn a_storm_of_reconnects_leaves_nothing_behind() {
    let Some(yard) = Yard::new("", "") else {
        return;
    };
    yard.during(|| {
        let port = yard.bed.coffre.port();
        for _ in 0..300 {
            let mut stream = connect(port);
            let _ = stream.write_all(b"SSH-2.0-storm\r\n");
        }
        for round in 0..4 {
            let mut peers: Vec<_> = (0..6)
                .map(|_| {
                    let mut peer = yard.peer("rsync --server -r . /dst");
                    peer.say(Wire::old().dir(b"."));
                    peer
                })
                .collect();
            if round % 2 == 0 {
                peers.iter_mut().for_each(|peer| {
                    peer.hear(8);
                });
            }
            peers.into_iter().for_each(super::yard::Peer::vanish);
        }
        // All their threads have ended.
        let sessions = || yard.sessions();
        let patience = Instant::now() + Duration::from_secs(30);
        // The neighbour may have one.
        while sessions() > 1 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(sessions() <= 1, "{} threads are left", sessions());
    });
}
