//! Arguments that follow on stdin.

use super::*;

/// Feeds `bytes` one at a time. Gives the words and what is left.
fn secluded(bytes: &[u8]) -> Result<(Vec<Word>, &[u8]), ProtocolError> {
    let mut decoder = SecludedArgs::new();
    let (mut words, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        let mut reader = Reader::new(&bytes[start..end]);
        match decoder.decode_word(&mut reader) {
            Ok(word) => {
                start += reader.consumed();
                match word {
                    Some(word) => words.push(word),
                    None => return Ok((words, &bytes[start..])),
                }
            }
            Err(DecodeError::Incomplete) => end += 1,
            Err(DecodeError::Malformed(error)) => return Err(error),
        }
    }
}

#[test]
fn secluded_arguments_follow_on_stdin() {
    let exec = split(b"--server -slogDtprAe.iLsfxCIvu --iconv=latin1").unwrap();
    let first = ServerOptions::parse(&exec).unwrap();
    assert!(first.secluded && first.acls && first.paths.is_empty());
    assert_eq!(first.iconv, Charset::find(b"latin1").ok());

    let (words, rest) =
        secluded(b"rsync\0--delete\0--max-size=1k\0.\0/d st/*$(x)\0\0\x20\0\0\0").unwrap();
    assert_eq!(rest, [0x20, 0, 0, 0]);
    let options = ServerOptions::parse_secluded(&exec, &words).unwrap();
    assert!(!options.secluded && options.acls && options.recursive);
    assert_eq!(options.delete, Delete::Unspecified);
    assert_eq!(options.max_size, Some(1024));
    assert_eq!(options.destination(), b"/d st/*$(x)");
    assert!(options.paths[0].has_wildcard());
    assert_eq!(options.capabilities, first.capabilities);
    assert!(options.converts_names && options.iconv == first.iconv);

    // They travel in UTF-8.
    let (words, _) = secluded(b"rsync\0.\0/d\xc3\xa9/*\0\0").unwrap();
    let options = ServerOptions::parse_secluded(&exec, &words).unwrap();
    assert_eq!(options.destination(), b"/d\xe9/*");
    assert!(options.paths[0].has_wildcard());

    // No shell saw a tilde, and a value in a word of its own is literal.
    let (words, _) = secluded(b"rsync\0--partial-dir\0~/p\0.\0~/x\0\0").unwrap();
    let options = ServerOptions::parse_secluded(&exec, &words).unwrap();
    assert_eq!(options.destination(), b"~/x");
    assert_eq!(options.partial_dir(), Some(&b"~/p"[..]));
}

#[test]
fn secluded_arguments_have_limits() {
    let longest = [vec![b'x'; SecludedArgs::MAX_WORD], vec![0, 0]].concat();
    assert_eq!(secluded(&longest).unwrap().0.len(), 1);
    let error = secluded(&[b'x'; SecludedArgs::MAX_WORD + 1]).unwrap_err();
    assert!(error.message.contains("4095 bytes"), "{error}");
    let most = [b"x\0".repeat(SecludedArgs::MAX_WORDS), vec![0]].concat();
    assert_eq!(secluded(&most).unwrap().0.len(), SecludedArgs::MAX_WORDS);
    let error = secluded(&b"x\0".repeat(SecludedArgs::MAX_WORDS + 1)).unwrap_err();
    assert!(error.message.contains("1000 words"), "{error}");
}

proptest! {
    #[test]
    fn letters_mean_the_same_in_any_order_and_in_any_number_of_words(
        letters in Just(b"logDtprvHAXUuncISRmOJbKWz".to_vec()).prop_shuffle(),
        cut in 0usize..25,
    ) {
        let text = String::from_utf8(letters).unwrap();
        let (a, b) = text.split_at(cut);
        let words = match a {
            "" => format!("-{b}e.iLsf"),
            a => format!("-{a} -{b}e.iLsf"),
        };
        prop_assert_eq!(push(&words), push("-logDtprvHAXUuncISRmOJbKWze.iLsf"));
    }

    #[test]
    fn no_words_make_the_parser_panic(
        words in proptest::collection::vec(
            prop_oneof![
                "-{0,2}[a-zA-Z0-9@.=,:*-]{0,12}",
                Just("--server".to_owned()), Just(".".to_owned()), Just("-e.i".to_owned()),
            ], 0..8),
    ) {
        let words: Vec<_> = words.iter().map(|w| Word::unquoted(w.as_bytes())).collect();
        if let Ok(options) = ServerOptions::parse(&words) {
            options.refusal();
            options.info();
            options.destination();
        }
    }
}
