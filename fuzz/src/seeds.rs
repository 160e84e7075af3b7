//! Inputs to begin with: recorded conversations, and one of each thing that encoders can write.

use std::fs;
use std::path::Path;

use coffre_protocol::ProtocolVersion;
use coffre_protocol::charset::Charset;
use coffre_protocol::delta::{Compression, TokenEncoder};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::{MessageKind, put_message};
use coffre_protocol::ndx::{Ndx, NdxCoder};
use coffre_protocol::sum::SumHead;
use coffre_protocol::wire::Write;

use crate::charsets;

/// A target, a name, and an input for it.
pub type Seed = (&'static str, String, Vec<u8>);

/// `transcripts`: the directory of recorded conversations.
pub fn seeds(transcripts: &Path) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, exec, client) in conversations(transcripts) {
        let options = exec.split("rsync ").nth(1).unwrap_or_default();
        seeds.push(("options", name.clone(), exec.clone().into_bytes()));
        let shake = [
            &[0xff],
            options.as_bytes(),
            b"\n",
            &client[..client.len().min(64)],
        ];
        seeds.push(("handshake", name.clone(), shake.concat()));
        let session = [exec.as_bytes(), b"\n", &client].concat();
        seeds.push(("session", name, session));
    }
    for (name, text) in [
        (
            "prefixes",
            "sudo -n nice -n 10 /usr/bin/rsync --server -r . 'a b' \\*",
        ),
        (
            "separate",
            "rsync --server -l -o -g -D -t -p -r --delete . /dst/",
        ),
        (
            "valued",
            "rsync --server -vlogDtprze.iLsfxCIvu --partial-dir=.p --suffix '~' --backup-dir=../b \
             --max-size=1.5G --info=nonreg0 --log-format=%i --timeout 60 --modify-window=-1 . .",
        ),
        (
            "secluded",
            "rsync --server -se.iLsfxCIvu\nrsync\0--server\0-r\0.\0dst\0\0",
        ),
        ("probe", "echo -n \"a b\" c"),
    ] {
        seeds.push(("options", name.to_owned(), text.into()));
    }
    for number in 27..=32u8 {
        let Some(version) = ProtocolVersion::new(number) else {
            continue;
        };
        seeds.push(("flist", number.to_string(), list_of(number)));
        seeds.push(("items", number.to_string(), items_of(version)));
        seeds.push(("filters", number.to_string(), filters_of(number)));
        for (which, name) in (0..).zip(charsets::NAMES) {
            if which % 6 == number - 27 {
                let list = [&[which, 7][..], &converted_list_of(number)].concat();
                seeds.push(("charsets", format!("list-{name}"), list));
            }
        }
    }
    for (which, name) in (0..).zip(charsets::NAMES) {
        let text = text_in(name);
        seeds.push((
            "charsets",
            format!("text-{name}"),
            [&[which, 0][..], &text].concat(),
        ));
    }
    let named = [&[0xff, 0][..], b"koi8_u\n\xf0/\xd2"].concat();
    seeds.push(("charsets", "named".to_owned(), named));
    let methods = [
        Compression::None,
        Compression::Zlib,
        Compression::Zlibx,
        Compression::Zstd,
        Compression::Lz4,
    ];
    for (index, method) in (0..).zip(methods) {
        // Protocol 31, which every method has.
        let first = index + 5 * 4;
        let name = method.name().to_owned();
        seeds.push(("tokens", name.clone(), tokens_of(first, method)));
        let text: String = (0..200).map(|n| format!("line {n}\n")).collect();
        let data = [text.as_bytes(), b"inserted", &text.as_bytes()[700..]].concat();
        seeds.push((
            "delta",
            name,
            [&[first, index, 64, 128][..], &data].concat(),
        ));
    }
    let mut wire = Vec::new();
    put_message(&mut wire, MessageKind::Data, b"some data");
    put_message(&mut wire, MessageKind::Info, b"a line\n");
    put_message(&mut wire, MessageKind::Data, b"");
    for (kind, payload) in [
        (MessageKind::IoError, &[1, 0, 0, 0][..]),
        (MessageKind::Noop, &[]),
        (MessageKind::ErrorExit, &[23, 0, 0, 0]),
        (MessageKind::ErrorExit, &[]),
        (MessageKind::Success, &[5, 0, 0, 0]),
        (MessageKind::Deleted, b"d\0"),
        (MessageKind::NoSend, &[6, 0, 0, 0]),
    ] {
        put_message(&mut wire, kind, payload);
    }
    seeds.push(("mux", "every-kind".to_owned(), wire));
    let mut reply = vec![0x2f, 2, 33];
    reply.extend([b'v'; 33]);
    reply.extend([1, 2, b'v', b'v', 0]);
    seeds.push(("xattrs", "reply".to_owned(), reply));
    seeds.push(("xattrs", "request".to_owned(), vec![0, 2, 1, 1, 0]));
    seeds
}

/// Name, exec string and client's bytes of each recorded conversation.
fn conversations(dir: &Path) -> Vec<(String, String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let (Some(stem), Ok(text)) = (path.file_stem(), fs::read_to_string(&path)) else {
            continue;
        };
        let Some((head, rest)) = text.split_once("\nclient\n") else {
            continue;
        };
        let exec = head.lines().find_map(|line| line.strip_prefix("exec "));
        let client = rest.split("\nserver\n").next().unwrap_or_default();
        let bytes = client.lines().filter_map(|line| line.split_once('>'));
        let bytes = bytes.flat_map(|(pairs, _)| pairs.split_whitespace().skip(1));
        let bytes = bytes.filter_map(|pair| u8::from_str_radix(pair, 16).ok());
        found.push((
            stem.to_string_lossy().into_owned(),
            exec.unwrap_or_default().to_owned(),
            bytes.collect(),
        ));
    }
    found.sort();
    found
}

/// Two entries and the end, as plain as they come, with owners.
fn list_of(number: u8) -> Vec<u8> {
    let mut out = vec![number - 27, 0x70, 0x02, 0x04];
    let modern = number >= 30;
    for (name, mode) in [(&b"."[..], 0o40755), (b"a", 0o100_644)] {
        out.put_u8(if name == b"." { 0x01 } else { 0x18 });
        if out.last() == Some(&0x18) && !modern {
            // Flags of one byte: neither owner follows.
            out.put_u8(name.len() as u8);
        } else {
            out.put_u8(name.len() as u8);
        }
        out.put(name);
        match modern {
            true => {
                out.put_varlong(5, 3);
                out.put_varlong(1_577_934_245, 4);
            }
            false => {
                out.put_i32(5);
                out.put_i32(1_577_934_245);
            }
        }
        out.put_i32(mode);
        if name == b"." {
            for _ in 0..2 {
                match modern {
                    true => out.put_varint(0),
                    false => out.put_i32(0),
                }
            }
        }
    }
    out.put_u8(0);
    out
}

/// A name and a link in letters of several scripts, of which no charset has all.
fn converted_list_of(number: u8) -> Vec<u8> {
    let mut out = vec![number - 27, 0x40, 0x00, 0x00];
    let modern = number >= 30;
    for (name, target) in [
        ("d/\u{e9}", ""),
        ("l\u{65e5}", "\u{416}/\u{e9}"),
        ("z", "\u{20ac}"),
    ] {
        out.put_u8(0x18);
        out.put_u8(name.len() as u8);
        out.put(name.as_bytes());
        let len = if target.is_empty() { 5 } else { 0 };
        match modern {
            true => {
                out.put_varlong(len, 3);
                out.put_varlong(1_577_934_245, 4);
            }
            false => {
                out.put_i32(len as i32);
                out.put_i32(1_577_934_245);
            }
        }
        out.put_i32(if target.is_empty() {
            0o100_644
        } else {
            0o120_777
        });
        if !target.is_empty() {
            match modern {
                true => out.put_varint(target.len() as i32),
                false => out.put_i32(target.len() as i32),
            }
            out.put(target.as_bytes());
        }
    }
    out.put_u8(0);
    out
}

/// Text of the charset itself, as far as it has the letters, and its UTF-8 behind.
fn text_in(charset: &str) -> Vec<u8> {
    let letters = "a/\u{e9}\u{416}\u{5d0}\u{65e5}\u{d55c}\u{2551}\u{ff}";
    let mut out = Vec::new();
    if let Ok(charset) = Charset::find(charset.as_bytes()) {
        for letter in letters.chars() {
            let _ = charset.localize(letter.to_string().as_bytes(), &mut out);
        }
    }
    out.push(b'/');
    out.extend_from_slice(letters.as_bytes());
    out
}

fn items_of(version: ProtocolVersion) -> Vec<u8> {
    let mut out = vec![version.number() - 27];
    let mut coder = NdxCoder::new(version);
    for (ndx, flags, xname) in [
        (3, 0x8000 | ItemFlags::IS_NEW.0, None),
        (300, ItemFlags::REPORT_TIME.0, Some(b"other".to_vec())),
        (70_000, 0x8000, None),
    ] {
        coder.encode(Ndx::File(ndx), &mut out);
        let item = ItemHead {
            flags: ItemFlags(flags),
            basis_type: xname.is_some().then_some(0x80),
            xname,
        };
        item.encode(&mut out);
        if flags & 0x8000 != 0 {
            let head = SumHead {
                count: 2,
                block_len: 700,
                strong_len: 2,
                remainder: 1,
            };
            head.encode(&mut out);
            out.put(&[7; 12]);
        }
    }
    for ndx in [Ndx::Flist(0), Ndx::FlistEof, Ndx::DelStats, Ndx::Done] {
        coder.encode(ndx, &mut out);
    }
    out
}

fn filters_of(number: u8) -> Vec<u8> {
    let modern: &[&str] = &["-/ *.o", "+ a/**/b", ":n- .rsync-filter", "-p [a-c]?", "!"];
    let old: &[&str] = &["- *.o", "+ /a/*", "[!x]*/", "**b", "!"];
    let mut wire = Vec::new();
    for rule in if number >= 29 { modern } else { old } {
        wire.put_i32(rule.len() as i32);
        wire.put(rule.as_bytes());
    }
    wire.put_i32(0);
    let mut out = vec![number - 27];
    out.put_u16(wire.len() as u16);
    out.put(&wire);
    out.put(b"- *.bak\n+ /keep\n. other\nhide,! x\0x.o\0a/c/b\0keep\0user.x\0");
    out
}

fn tokens_of(first: u8, method: Compression) -> Vec<u8> {
    let mut out = vec![first, 4, 87, 100];
    let head = SumHead {
        count: 4,
        block_len: 696,
        strong_len: 2,
        remainder: 100,
    };
    let mut encoder = TokenEncoder::new(method, None, ProtocolVersion::OWN);
    for sum in [1, 3, 5] {
        encoder.begin_file(&head);
        encoder.blocks(0, 2, &mut out);
        encoder.matched(&[0; 1392]);
        encoder.literal(b"one two three one two three", &mut out);
        encoder.blocks(3, 1, &mut out);
        encoder.matched(&[0; 100]);
        encoder.literal(&[0; 5000], &mut out);
        encoder.finish_file(&mut out);
        out.push(sum);
    }
    out
}
