//! Whole conversations, and their beginning.

use coffre_protocol::ProtocolVersion;
use coffre_protocol::command::split;
use coffre_protocol::handshake::{Handshake, Negotiated};
use coffre_protocol::options::ServerOptions;
use coffre_protocol::wire::{DecodeError, Reader};

use crate::conversation::{Said, Surroundings, listen};
use crate::memory::bounded;
use crate::{MAX_LEN, allowance};

const SEED: i32 = 7;

/// An exec string, a newline, and all that the client sends.
pub(crate) fn session(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (exec, client) = (&data[..end], &data[end + 1..]);
    if data.len() > MAX_LEN {
        return;
    }
    // A basis that the delta refers to is made up in pieces of 64 KiB.
    let surroundings = Surroundings {
        seed: SEED,
        requests: None,
        basis: |_, from, len| (from..).take(len).map(|at| (at >> 3) as u8).collect(),
    };
    let said = |step| {
        let mut said: Said = listen(exec, client, step, &surroundings);
        if said.error.is_some() {
            said.left = 0;
        }
        said
    };
    let whole = bounded(allowance(data.len()) + (2 << 20), || said(usize::MAX));
    for step in [1, 13] {
        assert_eq!(said(step), whole, "in pieces of {step} bytes");
    }
}

/// Command lines of clients old and new.
const LINES: &[&str] = &[
    "--server -logDtpre.iLsfxCIvu . dst",
    "--server -logDtprze.iLsfxCIvu . dst",
    "--server -logDtpre.iLsfxC . dst",
    "--server -logDtpre.iLsf . dst",
    "--server -logDtpr . dst",
    "--server -l -o -g -D -t -p -r . dst",
    "--server -vlogDtprze.iLsfxCIvu --compress-choice=zstd . dst",
    "--server -logDtprAXe.iLsfxCIvu --checksum-choice=xxh3,md5 . dst",
    "--server -logDtpcrNUe.iLsfxCIvu --delete --checksum-seed=5 . dst",
    "--server -logDtpre32.7iLsfxCIvu . dst",
    "--server --sender -logDtpre.iLsfxCIvu --remove-source-files . src",
    "--server -logDtprmze.iLsfxCIvu --new-compress --compress-level=0 --fuzzy . dst",
];

fn shake(options: &ServerOptions, client: &[u8], step: usize) -> (Option<Negotiated>, Vec<u8>) {
    let mut written = Vec::new();
    let Ok(mut handshake) = Handshake::new(options, ProtocolVersion::OWN, SEED) else {
        return (None, written);
    };
    let mut shown = 0;
    loop {
        let result = handshake.decode(&mut Reader::new(&client[..shown]));
        written.extend(handshake.take_output());
        match result {
            Ok(negotiated) => return (Some(negotiated), written),
            Err(DecodeError::Incomplete) if shown < client.len() => {
                shown = shown.saturating_add(step).min(client.len());
            }
            Err(_) => return (None, written),
        }
    }
}

/// One of the command lines, or with 0xff one of its own before a newline, and the client's bytes.
pub(crate) fn handshake(data: &[u8]) {
    let Some((first, mut client)) = data.split_first() else {
        return;
    };
    if client.len() > MAX_LEN {
        return;
    }
    let mut line = LINES[usize::from(*first) % LINES.len()].as_bytes();
    if *first == 0xff
        && let Some(end) = client.iter().position(|byte| *byte == b'\n')
    {
        (line, client) = (&client[..end], &client[end + 1..]);
    }
    let Ok(options) = split(line).and_then(|words| ServerOptions::parse(&words)) else {
        return;
    };
    let whole = bounded(allowance(data.len()), || {
        shake(&options, client, usize::MAX)
    });
    assert_eq!(shake(&options, client, 1), whole, "byte by byte");
    if let Some(negotiated) = whole.0 {
        let _ = negotiated.client_multiplexes(&options);
    }
}
