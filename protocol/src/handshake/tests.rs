use super::*;
use crate::command::split;
use crate::wire::DecodeError;
use proptest::prelude::*;

const OWN_SUMS: &str = "xxh128 xxh3 xxh64 md5 md4 sha1 none";
const OWN_COMPRESSIONS: &str = "zstd lz4 zlibx zlib none";
const SEED: i32 = 0x0b0a_090d;

fn options(words: &str) -> ServerOptions {
    ServerOptions::parse(&split(format!("--server {words} . dst").as_bytes()).unwrap()).unwrap()
}

/// A string as the client sends it, behind its length.
fn vstring(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_vstring(text.as_bytes());
    out
}

/// Feeds the client's bytes one at a time. Gives the result, what the server wrote, and how many
/// bytes of the client were read.
fn run(
    options: &ServerOptions,
    client: &[u8],
) -> Result<(Negotiated, Vec<u8>, usize), ProtocolError> {
    let mut handshake = Handshake::new(options, ProtocolVersion::OWN, SEED)?;
    let mut written = Vec::new();
    for end in 0..=client.len() {
        let mut reader = Reader::new(&client[..end]);
        let decoded = handshake.decode(&mut reader);
        written.extend(handshake.take_output());
        match decoded {
            Ok(negotiated) => return Ok((negotiated, written, reader.consumed())),
            Err(DecodeError::Incomplete) => {}
            Err(DecodeError::Malformed(error)) => return Err(error),
        }
    }
    panic!("the handshake wants more than a client sends");
}

#[test]
fn two_new_programs_negotiate_names() {
    let options = options("-logDtprze.iLsfxCIvu");
    let client = [
        vec![0x20, 0, 0, 0],
        vstring("xxh128 xxh3 xxh64 md5 md4 sha1"),
        vstring("zstd lz4 zlibx zlib"),
        vec![0x50, 0, 0, 7],
    ]
    .concat();
    let (negotiated, written, read) = run(&options, &client).unwrap();
    let expected = [
        &[0x20, 0, 0, 0, 0x81, 0xff][..],
        b"\x23",
        OWN_SUMS.as_bytes(),
        b"\x18",
        OWN_COMPRESSIONS.as_bytes(),
        &SEED.to_le_bytes(),
    ]
    .concat();
    assert_eq!(written, expected);
    assert_eq!(read, client.len() - 4);
    assert_eq!(negotiated.version.number(), 32);
    assert_eq!(negotiated.compat, CompatFlags(0x1ff));
    assert_eq!(negotiated.transfer_sum, StrongKind::Xxh128);
    assert_eq!(negotiated.list_sum, StrongKind::Xxh128);
    assert_eq!(negotiated.compression, Compression::Zstd);
    assert_eq!(negotiated.seed, SEED);
    assert!(negotiated.client_multiplexes(&options));
}

#[test]
fn the_smallest_captured_push_starts_with_these_bytes() {
    let options = options("-logDtpre.iLsfxCIvu --checksum-seed=5");
    let mut handshake = Handshake::new(&options, ProtocolVersion::OWN, SEED)
        .unwrap()
        .without_incremental_recursion();
    let client = [
        vec![0x20, 0, 0, 0],
        vstring("xxh128 xxh3 xxh64 md5 md4 sha1"),
    ]
    .concat();
    let negotiated = handshake.decode(&mut Reader::new(&client)).unwrap();
    let expected = [
        &[0x20, 0, 0, 0, 0x81, 0xfe, 0x23][..],
        OWN_SUMS.as_bytes(),
        &[5, 0, 0, 0],
    ]
    .concat();
    assert_eq!(handshake.take_output(), expected);
    assert_eq!(handshake.take_output(), b"");
    assert_eq!(negotiated.seed, 5);
    assert_eq!(negotiated.compression, Compression::None);
}

#[test]
fn older_clients_get_what_they_can_read() {
    // Words, the version they announce, the flags on the wire, and what both then use.
    use StrongKind::{Md4, Md5, SeededMd4};
    for (words, announced, flags, compat, sums) in [
        ("-logDtpre.iLsfxC", 31, Some(0x3f), 0x3f, (Md5, Md5)),
        ("-logDtpe.LsfxC", 31, Some(0x3e), 0x3e, (Md5, Md5)),
        ("-logDtpre.iLsf", 30, Some(0x0f), 0x0f, (Md5, Md5)),
        ("-logDtpe.Lsf", 30, Some(0x0e), 0x0e, (Md5, Md5)),
        ("-logDtpr", 32, Some(0x06), 0x06, (Md5, Md5)),
        ("-logDtpre.iLsfxCIu", 32, Some(0x7f), 0x7f, (Md5, Md5)),
        ("-logDtpr", 29, None, 0, (SeededMd4, Md4)),
        ("-logDtpr", 27, None, 0, (SeededMd4, Md4)),
        ("-logDtpre.iLsfxCIvu", 28, None, 0, (SeededMd4, Md4)),
    ] {
        let options = options(words);
        let (negotiated, written, read) = run(&options, &[announced, 0, 0, 0]).unwrap();
        let expected = [
            &[0x20, 0, 0, 0][..],
            &flags.map_or(vec![], |flag: u8| vec![flag]),
            &SEED.to_le_bytes(),
        ]
        .concat();
        assert_eq!(written, expected, "{words} at {announced}");
        assert_eq!(read, 4);
        assert_eq!(negotiated.version.number(), announced.min(32));
        assert_eq!(negotiated.compat, CompatFlags(compat));
        assert_eq!((negotiated.transfer_sum, negotiated.list_sum), sums);
        assert_eq!(negotiated.client_multiplexes(&options), announced >= 30);
    }
}

#[test]
fn a_flag_is_set_only_for_a_client_that_advertised_its_letter() {
    for (letter, flag) in [
        ("i", CompatFlags::INC_RECURSE),
        ("f", CompatFlags::SAFE_FLIST),
        ("x", CompatFlags::AVOID_XATTR_OPTIM),
        ("C", CompatFlags::CHECKSUM_SEED_FIX),
        ("I", CompatFlags::INPLACE_PARTIAL_DIR),
        ("v", CompatFlags::VARINT_FLIST_FLAGS),
        (
            "vu",
            CompatFlags::VARINT_FLIST_FLAGS | CompatFlags::ID0_NAMES,
        ),
    ] {
        let base = CompatFlags::SYMLINK_TIMES | CompatFlags::SYMLINK_ICONV;
        let options = options(&format!("-re.{letter}"));
        let client = [vec![32, 0, 0, 0], vstring("md5")].concat();
        let (negotiated, ..) = run(&options, &client).unwrap();
        assert_eq!(negotiated.compat, base | flag, "{letter}");
    }
}

#[test]
fn versions_are_agreed_or_refused() {
    let plain = options("-r");
    for (announced, agreed) in [(27, 27), (32, 32), (33, 32), (40, 32)] {
        let client = [announced, 0, 0, 0];
        assert_eq!(run(&plain, &client).unwrap().0.version.number(), agreed);
    }
    for client in [
        *b"Welc",
        [26, 0, 0, 0],
        [19, 0, 0, 0],
        [41, 0, 0, 0],
        [0xff; 4],
    ] {
        assert_eq!(run(&plain, &client).unwrap_err().exit.code(), 2);
    }
    for (words, number) in [("-A", 29), ("-X", 28), ("-m", 28)] {
        let error = run(&options(words), &[number, 0, 0, 0]).unwrap_err();
        assert_eq!(error.exit.code(), 2, "{words}");
    }
}

#[test]
fn a_pre_release_client_gets_the_version_before_its_own() {
    for (letters, announced) in [
        ("32.7iLsf", 31),
        ("31.1iLsf", 30),
        ("28.3iLsf", 27),
        ("33.1iLsf", 32),
        ("32.0iLsf", 32),
        (".iLsf", 32),
    ] {
        let options = options(&format!("-re{letters}"));
        let mut handshake = Handshake::new(&options, ProtocolVersion::OWN, SEED).unwrap();
        assert_eq!(handshake.take_output(), [announced, 0, 0, 0], "{letters}");
    }
    for letters in ["27.1i", "5.1i", "0.1i"] {
        let options = options(&format!("-re{letters}"));
        let error = Handshake::new(&options, ProtocolVersion::OWN, SEED).unwrap_err();
        assert_eq!(error.exit.code(), 2, "{letters}");
    }
    let limited = options("-re.i --protocol=30");
    let mut handshake = Handshake::new(&limited, ProtocolVersion::OWN, SEED).unwrap();
    assert_eq!(handshake.take_output(), [30, 0, 0, 0]);
}

#[test]
fn the_first_name_of_the_client_that_is_known_is_chosen() {
    let options = options("-rze.v");
    let choose = |sums: &str, compressions: &str| {
        let client = [vec![32, 0, 0, 0], vstring(sums), vstring(compressions)].concat();
        run(&options, &client)
            .map(|(negotiated, ..)| (negotiated.transfer_sum, negotiated.compression))
    };
    for (sums, compressions, expected) in [
        (
            "md5 xxh128",
            "zlib zstd",
            (StrongKind::Md5, Compression::Zlib),
        ),
        (
            "future MD4",
            "future LZ4",
            (StrongKind::Md4, Compression::Lz4),
        ),
        ("xxhash", "zlibx", (StrongKind::Xxh64, Compression::Zlibx)),
        ("  sha1  ", "none", (StrongKind::Sha1, Compression::None)),
    ] {
        assert_eq!(choose(sums, compressions), Ok(expected), "{sums}");
    }
    for (sums, compressions) in [
        ("", "zlib"),
        ("future", "zlib"),
        ("md5", "future"),
        ("\u{e9}", ""),
    ] {
        assert_eq!(choose(sums, compressions).unwrap_err().exit.code(), 4);
    }
    let long = "x".repeat(256);
    assert!(choose(&long, "zlib").is_err());
    assert!(choose(&("md5 ".to_owned() + &"x".repeat(251)), "zlib").is_ok());
}

#[test]
fn explicit_choices_are_not_negotiated() {
    let sums = vstring("md5 md4");
    let compressions = vstring("zlib");
    let version = || vec![32, 0, 0, 0];
    for (words, client, expected) in [
        (
            "-rze.v --checksum-choice=xxh3,sha1",
            [version(), compressions.clone()].concat(),
            (StrongKind::Xxh3, StrongKind::Sha1, Compression::Zlib),
        ),
        (
            "-re.v --checksum-choice=auto,md4",
            version(),
            (StrongKind::Md5, StrongKind::Md4, Compression::None),
        ),
        (
            "-re.v --compress-choice=zstd",
            [version(), sums.clone()].concat(),
            (StrongKind::Md5, StrongKind::Md5, Compression::Zstd),
        ),
        (
            "-rze.v --old-compress --compress-level=0",
            [version(), sums.clone()].concat(),
            (StrongKind::Md5, StrongKind::Md5, Compression::None),
        ),
        (
            "-re.v --compress-level=0 --compress-choice=lz4",
            [version(), sums.clone()].concat(),
            (StrongKind::Md5, StrongKind::Md5, Compression::Lz4),
        ),
        (
            "-re.v --compress-level=3",
            [version(), sums, compressions].concat(),
            (StrongKind::Md5, StrongKind::Md5, Compression::Zlib),
        ),
        (
            "-rze.iLsf",
            version(),
            (StrongKind::Md5, StrongKind::Md5, Compression::Zlib),
        ),
    ] {
        let (negotiated, _, read) = run(&options(words), &client).unwrap();
        let used = (
            negotiated.transfer_sum,
            negotiated.list_sum,
            negotiated.compression,
        );
        assert_eq!((used, read), (expected, client.len()), "{words}");
    }
    let old = options("-r --checksum-choice=auto,md5");
    let (negotiated, ..) = run(&old, &[29, 0, 0, 0]).unwrap();
    assert_eq!(negotiated.transfer_sum, StrongKind::SeededMd4);
    assert_eq!(negotiated.list_sum, StrongKind::Md5);
}

#[test]
fn a_pull_of_protocol_29_multiplexes_only_to_have_sources_removed() {
    for (words, number, expected) in [
        ("--sender -r", 29, false),
        ("--sender -r --remove-source-files", 29, true),
        ("--sender -r --remove-sent-files", 28, false),
        ("-r --remove-source-files", 29, false),
        ("--sender -r", 30, true),
    ] {
        let options = options(words);
        let (negotiated, ..) = run(&options, &[number, 0, 0, 0]).unwrap();
        assert_eq!(negotiated.client_multiplexes(&options), expected, "{words}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_handshake_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        version in 27u8..=34,
    ) {
        let options = options("-rze.iLsfxCIvu");
        let mut handshake = Handshake::new(&options, ProtocolVersion::OWN, SEED).unwrap();
        let client = [vec![version, 0, 0, 0], bytes].concat();
        let _ = handshake.decode(&mut Reader::new(&client));
    }
}
