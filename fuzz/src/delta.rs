//! Deltas made and undone: what the search finds and the encoder writes rebuilds the file.

use coffre_protocol::ProtocolVersion;
use coffre_protocol::checksum::{BlockSummer, StrongKind};
use coffre_protocol::delta::{BlockSearch, Compression, Found, Token, TokenDecoder, TokenEncoder};
use coffre_protocol::sum::{BlockSumDecoder, BlockSumEncoder, SumHead};

use crate::MAX_LEN;

/// Compression and version, sum, block length, and where the basis ends.
pub(crate) const HEADER: usize = 4;

const METHODS: [Compression; 5] = [
    Compression::None,
    Compression::Zlib,
    Compression::Zlibx,
    Compression::Zstd,
    Compression::Lz4,
];

const KINDS: [StrongKind; 6] = [
    StrongKind::Xxh128,
    StrongKind::Xxh3,
    StrongKind::Md5,
    StrongKind::Md4,
    StrongKind::SeededMd4,
    StrongKind::Sha1,
];

pub(crate) fn delta(data: &[u8]) {
    let Some((header, rest)) = data.split_first_chunk::<HEADER>() else {
        return;
    };
    if rest.len() > MAX_LEN {
        return;
    }
    let [method, kind, block_len, cut] = *header;
    let compression = METHODS[usize::from(method) % METHODS.len()];
    let version = ProtocolVersion::new(27 + method / 5 % 6).unwrap_or(ProtocolVersion::OWN);
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let (basis, source) = rest.split_at(rest.len() * usize::from(cut) / 256);
    let summer = BlockSummer::new(kind, 7, true);
    let head = SumHead::for_basis(
        basis.len() as u64,
        version,
        kind.digest_len(),
        Some(u32::from(block_len).max(1)),
        // With strong sums of two bytes, blocks this small would match falsely.
        true,
    );
    let mut sums = Vec::new();
    let mut encoder = BlockSumEncoder::new(head, summer);
    encoder.sum_blocks(basis, &mut sums);
    encoder.finish(&mut sums);
    let mut decoder = BlockSumDecoder::new(head, u32::MAX);
    let mut input = &sums[..];
    assert!(decoder.read(&mut input) && input.is_empty());

    let mut wire = Vec::new();
    let mut encoder = TokenEncoder::new(compression, None, version);
    encoder.begin_file(&head);
    let mut search = BlockSearch::new(decoder.finish(), summer, false);
    search_into(&mut search, source, &head, basis, &mut encoder, &mut wire);
    encoder.finish_file(&mut wire);

    let mut decoder = TokenDecoder::new(compression, version);
    decoder.begin_file(&head);
    let mut rebuilt = Vec::new();
    let mut input = &wire[..];
    loop {
        match decoder.next(&mut input) {
            Ok(Some(Token::Literal(bytes))) => rebuilt.extend_from_slice(bytes),
            Ok(Some(Token::Blocks { first, count })) => {
                let span = head.span(first, count).expect("a block that exists");
                let bytes = &basis[span.start as usize..span.end as usize];
                rebuilt.extend_from_slice(bytes);
                decoder.matched(bytes);
            }
            Ok(Some(Token::End)) => break,
            Ok(None) => panic!("the delta is not whole"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(input.is_empty());
    assert!(rebuilt == source, "the file is not what it was");
}

fn search_into(
    search: &mut BlockSearch,
    mut window: &[u8],
    head: &SumHead,
    basis: &[u8],
    encoder: &mut TokenEncoder,
    wire: &mut Vec<u8>,
) {
    loop {
        let len = match search.next(window, true) {
            Found::End => break,
            Found::More => panic!("more is wanted than the file has"),
            Found::Literal(len) => {
                encoder.literal(&window[..len], wire);
                len
            }
            Found::Block { index, len } => {
                encoder.blocks(index, 1, wire);
                let span = head.span(index, 1).expect("a block that exists");
                encoder.matched(&basis[span.start as usize..span.end as usize]);
                len
            }
        };
        assert!(len > 0, "no progress");
        window = &window[len..];
    }
    assert!(window.is_empty());
}
