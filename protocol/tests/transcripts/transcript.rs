//! Transcripts as `fixtures/transcripts/record` writes them, and what a stock server said in one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use coffre_protocol::ProtocolVersion;
use coffre_protocol::command::Command;
use coffre_protocol::handshake::{CompatFlags, Handshake, Negotiated};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::{Demux, Piece};
use coffre_protocol::ndx::{Ndx, NdxCoder};
use coffre_protocol::options::{CompressRequest, ServerOptions};
use coffre_protocol::sum::{BlockSumDecoder, SumHead};
use coffre_protocol::wire::Reader;

pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) exec: Vec<u8>,
    pub(crate) client: Vec<u8>,
    server: Vec<u8>,
}

/// What the server said.
pub(crate) struct Server {
    pub(crate) version: i32,
    pub(crate) compat: CompatFlags,
    pub(crate) seed: i32,
    /// Numbers of the xattr values asked for, by index.
    pub(crate) xattr_requests: HashMap<u32, Vec<u32>>,
}

impl Transcript {
    pub(crate) fn all() -> Vec<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/transcripts");
        let mut paths: Vec<PathBuf> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "txt"))
            .collect();
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let mut transcript = Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            path,
            exec: Vec::new(),
            client: Vec::new(),
            server: Vec::new(),
        };
        let mut is_client = true;
        for line in text.lines() {
            if let Some(exec) = line.strip_prefix("exec ") {
                transcript.exec = exec.into();
            } else if line == "client" || line == "server" {
                is_client = line == "client";
            } else if line.starts_with(|c: char| c.is_ascii_hexdigit()) && line.contains('>') {
                let (bytes, _) = line.split_once('>').unwrap();
                let side = match is_client {
                    true => &mut transcript.client,
                    false => &mut transcript.server,
                };
                let pairs = bytes.split_whitespace().skip(1);
                side.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
            }
        }
        transcript
    }

    fn options(&self) -> ServerOptions {
        match Command::parse(&self.exec).unwrap() {
            Command::Rsync(words) => ServerOptions::parse(&words).unwrap(),
            other => panic!("{}: {other:?}", self.name),
        }
    }

    pub(crate) fn our_handshake(&self, seed: i32) -> Negotiated {
        let options = self.options();
        let mut handshake = Handshake::new(&options, ProtocolVersion::OWN, seed).unwrap();
        handshake.decode(&mut Reader::new(&self.client)).unwrap()
    }

    /// Takes the server's side apart, up to its last byte.
    pub(crate) fn server(&self) -> Server {
        let options = self.options();
        let negotiated = self.our_handshake(0);
        let version = negotiated.version;
        let mut reader = Reader::new(&self.server);
        let announced = reader.i32().unwrap();
        let mut compat = CompatFlags::default();
        if version.at_least(30) {
            compat = CompatFlags(reader.varint().unwrap());
        }
        if compat.contains(CompatFlags::VARINT_FLIST_FLAGS) {
            reader.vstring(255).unwrap();
            if options.compress == CompressRequest::Negotiate {
                reader.vstring(255).unwrap();
            }
        }
        let seed = reader.i32().unwrap();
        let mut data = Vec::new();
        let mut demux = Demux::new();
        let mut input = reader.rest();
        while let Some(piece) = demux.next(&mut input).unwrap() {
            if let Piece::Data(bytes) = piece {
                data.extend_from_slice(bytes);
            }
        }
        assert!(demux.is_at_border(), "{}", self.name);
        let mut server = Server {
            version: announced,
            compat,
            seed,
            xattr_requests: HashMap::new(),
        };
        let mut reader = Reader::new(&data);
        let mut coder = NdxCoder::new(version);
        while !reader.is_empty() {
            match coder.decode(&mut reader).unwrap() {
                Ndx::Done => {}
                Ndx::DelStats => {
                    for _ in 0..5 {
                        reader.varint().unwrap();
                    }
                }
                Ndx::File(ndx) => server.item(ndx, &mut reader, &negotiated),
                other => panic!("{}: the server said {other:?}", self.name),
            }
        }
        server
    }
}

impl Server {
    fn item(&mut self, ndx: u32, reader: &mut Reader<'_>, negotiated: &Negotiated) {
        let version = negotiated.version;
        let mut item = ItemHead {
            flags: ItemFlags::TRANSFER,
            ..ItemHead::default()
        };
        if version.at_least(29) {
            item = ItemHead::decode(reader).unwrap();
        }
        if item.flags.contains(ItemFlags::REPORT_XATTR) {
            let mut num = 0;
            let mut nums = Vec::new();
            loop {
                match reader.varint().unwrap() {
                    0 => break,
                    more => num += more as u32,
                }
                nums.push(num);
            }
            self.xattr_requests.insert(ndx, nums);
        }
        if item.flags.contains(ItemFlags::TRANSFER) {
            let digest_len = negotiated.transfer_sum.digest_len();
            let head = SumHead::decode(reader, version, digest_len).unwrap();
            let mut decoder = BlockSumDecoder::new(head, u32::MAX);
            let len = head.sum_len() * head.count as usize;
            let mut sums = reader.bytes(len).unwrap();
            assert!(decoder.read(&mut sums) && sums.is_empty());
        }
    }
}
