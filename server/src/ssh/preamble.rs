//! The first bytes of a connection, before the SSH library has it.
//!
//! The library sends its list of algorithms as soon as it runs, but which ciphers to offer depends
//! on the client ([`offer`](super::offer)). So the first exchange happens here, in the order in
//! which neither side can wait for the other:
//!
//! 1. our identification line goes out (RFC 4253 section 4.2: either side may send first, and a
//!    client may wait for ours);
//! 2. the client's line is read;
//! 3. from OpenSSH, which sends its `SSH_MSG_KEXINIT` as soon as it has our line, that message is
//!    read as well. Any other client may wait for ours, so we do not wait for its.
//!
//! Everything that was read is handed to the library again, and its own copy of our line is
//! swallowed on its way out ([`stream`](super::stream)). The price is one round trip for OpenSSH.
//!
//! UNTRUSTED: all of it. Nothing here is trusted with more than the choice among our own ciphers;
//! the library judges the bytes when it gets them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::offer::SERVER_ID;

/// RFC 4253 section 4.2, with the line end.
const MAX_LINE_BYTES: usize = 255;

/// OpenSSH's `SSH_MSG_KEXINIT` has about 1.5 KiB. Longer: the library may judge it, unread.
const MAX_KEXINIT_BYTES: usize = 16 * 1024;

/// How long to wait for the list of a client that says it is OpenSSH, and is perhaps not.
pub(super) const KEXINIT_PATIENCE: Duration = Duration::from_secs(3);

const SSH_MSG_KEXINIT: u8 = 20;

/// How a client began.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preamble {
    /// Every byte that was read, from the first.
    pub(super) bytes: Vec<u8>,
    /// Length of the identification line, without its end.
    id_bytes: usize,
    /// The client's ciphers; empty when they were not waited for.
    ciphers: Vec<String>,
}

impl Preamble {
    /// The client's identification line, without its end.
    pub(super) fn id(&self) -> &[u8] {
        &self.bytes[..self.id_bytes]
    }

    /// Whether the client showed one of these.
    pub(super) fn has_cipher(&self, names: &[&str]) -> bool {
        self.ciphers.iter().any(|own| names.contains(&own.as_str()))
    }
}

/// Sends our line and reads the client's; its algorithms too, for which a client that should send
/// them by itself has `list_patience`. `None`: they do not matter.
///
/// Does not end by itself when the client says nothing: the caller has a deadline.
pub(super) async fn exchange<S>(
    stream: &mut S,
    list_patience: Option<Duration>,
) -> io::Result<Preamble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream
        .write_all(format!("{SERVER_ID}\r\n").as_bytes())
        .await?;
    let mut preamble = Preamble::default();
    let line_bytes = loop {
        if let Some(end) = preamble.bytes.iter().position(|&byte| byte == b'\n') {
            break end + 1;
        }
        if preamble.bytes.len() >= MAX_LINE_BYTES {
            return Err(not_ssh());
        }
        read_more(stream, &mut preamble.bytes).await?;
    };
    let line = &preamble.bytes[..line_bytes - 1];
    preamble.id_bytes = line.strip_suffix(b"\r").unwrap_or(line).len();
    if line_bytes > MAX_LINE_BYTES
        || !(preamble.id().starts_with(b"SSH-2.0-") || preamble.id().starts_with(b"SSH-1.99-"))
    {
        return Err(not_ssh());
    }
    if let Some(patience) = list_patience
        && is_openssh(preamble.id())
    {
        let list = async {
            loop {
                match kexinit_ciphers(&preamble.bytes[line_bytes..]) {
                    Progress::More => read_more(stream, &mut preamble.bytes).await?,
                    Progress::Done(ciphers) => return io::Result::Ok(ciphers),
                }
            }
        };
        match tokio::time::timeout(patience, list).await {
            Ok(ciphers) => preamble.ciphers = ciphers?,
            // Not OpenSSH after all: it waits for our list.
            Err(_elapsed) => {}
        }
    }
    Ok(preamble)
}

async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 2048];
    let n = stream.read(&mut piece).await?;
    if n == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(&piece[..n]);
    Ok(())
}

fn not_ssh() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the first line is not an SSH identification",
    )
}

/// `SSH-2.0-OpenSSH_9.2p1 Debian-2` and its like. Every version since 3.x sends its list without
/// waiting; AES-GCM came with 6.2.
fn is_openssh(id: &[u8]) -> bool {
    id.strip_prefix(b"SSH-2.0-")
        .is_some_and(|software| software.starts_with(b"OpenSSH_"))
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// The packet is not whole yet.
    More,
    /// The ciphers for the client's sending side; none, if this is not such a packet.
    Done(Vec<String>),
}

/// Reads the ciphers out of an unencrypted packet.
///
/// Wire: u32 packet length, u8 padding length, u8 message, 16 bytes cookie, then name-lists (u32
/// length, names with commas): key exchange, host key, ciphers client to server, …
/// Source: RFC 4253 sections 6 and 7.1.
fn kexinit_ciphers(bytes: &[u8]) -> Progress {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Progress::More;
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_KEXINIT_BYTES {
        return Progress::Done(Vec::new());
    }
    let Some(packet) = rest.get(..length) else {
        return Progress::More;
    };
    Progress::Done(third_list(packet).unwrap_or_default())
}

fn third_list(packet: &[u8]) -> Option<Vec<String>> {
    let (&padding, packet) = packet.split_first()?;
    let payload = packet.get(..packet.len().checked_sub(usize::from(padding))?)?;
    let (&message, payload) = payload.split_first()?;
    if message != SSH_MSG_KEXINIT {
        return None;
    }
    let mut rest = payload.get(16..)?;
    let mut list: &[u8] = &[];
    for _ in 0..3 {
        let (length, after) = rest.split_first_chunk::<4>()?;
        (list, rest) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    }
    let names = std::str::from_utf8(list).ok()?;
    Some(names.split(',').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kexinit(ciphers: &str) -> Vec<u8> {
        let mut payload = vec![SSH_MSG_KEXINIT];
        payload.extend([7; 16]);
        for list in ["curve25519-sha256", "ssh-ed25519", ciphers, ciphers] {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        let mut packet = ((payload.len() + 1 + 4) as u32).to_be_bytes().to_vec();
        packet.push(4);
        packet.extend(payload);
        packet.extend([0; 4]);
        packet
    }

    fn names(list: &[&str]) -> Progress {
        Progress::Done(list.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn the_ciphers_are_found_however_the_packet_is_cut() {
        let packet = kexinit("aes128-gcm@openssh.com,aes256-ctr");
        for cut in 0..packet.len() {
            assert_eq!(kexinit_ciphers(&packet[..cut]), Progress::More, "{cut}");
        }
        let found = names(&["aes128-gcm@openssh.com", "aes256-ctr"]);
        assert_eq!(kexinit_ciphers(&packet), found);
    }

    #[test]
    fn no_bytes_make_the_reader_stumble() {
        let packet = kexinit("aes256-ctr");
        for at in 0..packet.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = packet.clone();
                broken[at] = value;
                let _ = kexinit_ciphers(&broken);
            }
        }
        assert_eq!(kexinit_ciphers(&[0xff; 64]), names(&[]));
        assert_eq!(kexinit_ciphers(&[0, 0, 0, 1, 9]), names(&[]));
        assert_eq!(kexinit_ciphers(&[0, 0, 0, 0]), names(&[]));
    }

    async fn given(sent: &[u8]) -> io::Result<Preamble> {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(sent).await.unwrap();
        let result = exchange(&mut near, Some(Duration::from_millis(50))).await;
        drop(near);
        let mut ours = Vec::new();
        far.read_to_end(&mut ours).await.unwrap();
        assert_eq!(ours, format!("{SERVER_ID}\r\n").as_bytes());
        result
    }

    #[tokio::test]
    async fn openssh_is_read_up_to_its_list_and_nothing_is_lost() {
        let mut sent = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec();
        sent.extend(kexinit(
            "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
        ));
        sent.extend(b"and more");
        let preamble = given(&sent).await.unwrap();
        assert_eq!(preamble.id(), b"SSH-2.0-OpenSSH_9.2p1 Debian-2");
        assert_eq!(preamble.bytes, sent);
        assert!(preamble.has_cipher(&["aes256-gcm@openssh.com"]));
        assert!(!preamble.has_cipher(&["aes128-gcm@openssh.com"]));
    }

    #[tokio::test]
    async fn another_client_is_not_waited_for() {
        let preamble = given(b"SSH-2.0-PuTTY_Release_0.78\r\n").await.unwrap();
        assert_eq!(preamble.id(), b"SSH-2.0-PuTTY_Release_0.78");
        assert!(preamble.ciphers.is_empty());
    }

    #[tokio::test]
    async fn one_that_says_openssh_and_waits_is_served_all_the_same() {
        let preamble = given(b"SSH-2.0-OpenSSH_impostor\n").await.unwrap();
        assert_eq!(preamble.id(), b"SSH-2.0-OpenSSH_impostor");
        assert!(preamble.ciphers.is_empty());
    }

    #[tokio::test]
    async fn what_is_not_ssh_is_refused_within_a_line() {
        for sent in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\n".to_vec(),
            b"SSH-1.5-old\r\n".to_vec(),
            vec![b'S'; 4096],
            [b"SSH-2.0-".to_vec(), vec![b'x'; 300], b"\r\n".to_vec()].concat(),
        ] {
            let error = given(&sent).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
