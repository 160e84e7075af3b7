//! Wildcards, matched in time proportional to pattern length times subject length.
//!
//! `?` stands for one byte, `*` for any run of bytes without `/`, `**` (or more stars) for any run
//! with `/`, `[…]` for one byte of a class, `\x` for x itself. Neither `?` nor a class matches a
//! `/`. An unterminated class, an unknown `[:name:]` or a lone backslash at the end match nothing.
//!
//! Patterns come from peers. All positions that a match could have reached are followed at once,
//! byte by byte, so that nothing is tried twice and `*a*a*a*a*b` costs no more than any other.
//! Source: rsync(1), "PATTERN MATCHING RULES"; behaviour of rsync 3.5.0.

/// A set of bytes, one bit each.
type Class = [u64; 4];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    Any,
    /// Index into the classes.
    Class(u32),
    /// `*`
    Star,
    /// `**`
    StarStar,
    Never,
}

/// A compiled pattern. It has to match the whole subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    classes: Vec<Class>,
}

impl Glob {
    /// Compiles `pattern`; every text is a pattern.
    pub fn new(pattern: &[u8]) -> Self {
        let mut glob = Self {
            tokens: Vec::with_capacity(pattern.len()),
            classes: Vec::new(),
        };
        let mut rest = pattern;
        while let [byte, tail @ ..] = rest {
            rest = tail;
            let token = match byte {
                b'?' => Token::Any,
                b'*' => {
                    let more = rest.iter().take_while(|b| **b == b'*').count();
                    rest = &rest[more..];
                    if more > 0 {
                        Token::StarStar
                    } else {
                        Token::Star
                    }
                }
                b'[' => match parse_class(rest) {
                    Some((class, tail)) => {
                        rest = tail;
                        glob.classes.push(class);
                        Token::Class(glob.classes.len() as u32 - 1)
                    }
                    None => {
                        rest = &[];
                        Token::Never
                    }
                },
                b'\\' => match rest {
                    [escaped, tail @ ..] => {
                        rest = tail;
                        Token::Byte(*escaped)
                    }
                    [] => Token::Never,
                },
                byte => Token::Byte(*byte),
            };
            glob.tokens.push(token);
        }
        glob
    }

    /// A pattern that matches just `text`, in which nothing is special.
    pub fn literal(text: &[u8]) -> Self {
        Self {
            tokens: text.iter().map(|b| Token::Byte(*b)).collect(),
            classes: Vec::new(),
        }
    }

    /// Whether `pattern` has a wildcard at all. Without one, backslashes are ordinary too.
    pub fn is_wild(pattern: &[u8]) -> bool {
        pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
    }

    pub fn matches(&self, subject: &[u8]) -> bool {
        self.matches_parts(&[subject], false)
    }

    /// Matches the concatenation of `parts`, or with `at_components` also any rest of it that
    /// follows a `/`.
    pub(super) fn matches_parts(&self, parts: &[&[u8]], at_components: bool) -> bool {
        // Most names fail on their last byte already.
        let last = parts.iter().rev().find_map(|part| part.last());
        if let Some(Token::Byte(byte)) = self.tokens.last()
            && last != Some(byte)
        {
            return false;
        }
        let mut small = [0u64; 4];
        let mut large = Vec::new();
        let words = self.tokens.len() / 64 + 1;
        let sets = match words <= 2 {
            true => &mut small[..2 * words],
            false => {
                large.resize(2 * words, 0u64);
                &mut large[..]
            }
        };
        let (mut now, mut next) = sets.split_at_mut(words);
        self.enter(now, 0);
        for byte in parts.iter().copied().flatten() {
            next.fill(0);
            let mut alive = false;
            for (index, word) in now.iter().enumerate() {
                let mut word = *word;
                while word != 0 {
                    let position = index * 64 + word.trailing_zeros() as usize;
                    word &= word - 1;
                    if let Some(to) = self.step(position, *byte) {
                        self.enter(next, to);
                        alive = true;
                    }
                }
            }
            if at_components && *byte == b'/' {
                self.enter(next, 0);
            } else if !alive && !at_components {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
        }
        let end = self.tokens.len();
        now[end / 64] >> (end % 64) & 1 == 1
    }

    /// The position after `byte` was read at `position`; stars stay where they are.
    fn step(&self, position: usize, byte: u8) -> Option<usize> {
        let (takes, stays) = match self.tokens.get(position)? {
            Token::Byte(b) => (*b == byte, false),
            Token::Any => (byte != b'/', false),
            Token::Class(index) => (contains(&self.classes[*index as usize], byte), false),
            Token::Star => (byte != b'/', true),
            Token::StarStar => (true, true),
            Token::Never => (false, false),
        };
        takes.then_some(if stays { position } else { position + 1 })
    }

    /// Adds a position, and those behind the stars that may match nothing there.
    fn enter(&self, set: &mut [u64], mut position: usize) {
        loop {
            let (word, bit) = (position / 64, 1 << (position % 64));
            if set[word] & bit != 0 {
                return;
            }
            set[word] |= bit;
            match self.tokens.get(position) {
                Some(Token::Star | Token::StarStar) => position += 1,
                _ => return,
            }
        }
    }
}

fn contains(class: &Class, byte: u8) -> bool {
    class[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
}

fn add(class: &mut Class, byte: u8) {
    class[usize::from(byte / 64)] |= 1 << (byte % 64);
}

fn remove(class: &mut Class, byte: u8) {
    class[usize::from(byte / 64)] &= !(1 << (byte % 64));
}

/// Reads a class from after its `[`; gives what follows its `]`. `None` where it is malformed.
fn parse_class(mut rest: &[u8]) -> Option<(Class, &[u8])> {
    let mut class = [0; 4];
    let negated = matches!(rest, [b'!' | b'^', ..]);
    rest = &rest[usize::from(negated)..];
    // The byte that a following `-` makes the start of a range.
    let mut start = None;
    let mut first = true;
    loop {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        match (byte, rest) {
            (b']', _) if !first => break,
            (b'-', [end, ..]) if *end != b']' && start.is_some() => {
                let (end, tail) = class_byte(rest)?;
                rest = tail;
                if let Some(start) = start.take() {
                    (start..=end).for_each(|b| add(&mut class, b));
                }
            }
            (b'[', [b':', ..]) => match named_class(&rest[1..])? {
                Named::Class(test, tail) => {
                    rest = tail;
                    start = None;
                    (0..=255u8).filter(test).for_each(|b| add(&mut class, b));
                }
                Named::NotOne => {
                    add(&mut class, b'[');
                    start = Some(b'[');
                }
            },
            (b'\\', _) => {
                let (escaped, tail) = rest.split_first()?;
                rest = tail;
                add(&mut class, *escaped);
                start = Some(*escaped);
            }
            (byte, _) => {
                add(&mut class, *byte);
                start = Some(*byte);
            }
        }
        first = false;
    }
    if negated {
        class.iter_mut().for_each(|word| *word = !*word);
    }
    remove(&mut class, b'/');
    Some((class, rest))
}

/// One byte of a class, which a backslash may precede.
fn class_byte(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        [b'\\', byte, tail @ ..] => Some((*byte, tail)),
        [b'\\'] | [] => None,
        [byte, tail @ ..] => Some((*byte, tail)),
    }
}

enum Named<'a> {
    Class(fn(&u8) -> bool, &'a [u8]),
    /// `[:` without `:]`: an ordinary bracket.
    NotOne,
}

/// Reads what follows `[:`. `None` where there is no `]` at all, or the name is unknown.
fn named_class(rest: &[u8]) -> Option<Named<'_>> {
    let end = rest.iter().position(|b| *b == b']')?;
    let [name @ .., b':'] = &rest[..end] else {
        return Some(Named::NotOne);
    };
    let test: fn(&u8) -> bool = match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |b| matches!(b, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        // The vertical tab is the one that Rust does not count.
        b"space" => |b| b.is_ascii_whitespace() || *b == 0x0b,
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    };
    Some(Named::Class(test, &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_ranges_and_escapes() {
        for (pattern, subject, expected) in [
            ("[abc]", "b", true),
            ("[!abc]", "b", false),
            ("[^abc]", "d", true),
            ("[^abc]", "/", false),
            ("[.-0]", "/", false),
            ("[a-c]", "b", true),
            ("[c-a]", "b", false),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[a-c-e]", "-", true),
            ("[a-c-e]", "d", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[!]a]", "b", true),
            (r"[\]]", "]", true),
            (r"[\!a]", "!", true),
            (r"[a-\d]", "c", true),
            (r"[\a-c]", "b", true),
            ("[[:alpha:]-z]", "-", true),
            ("[[:alpha:]-z]", "1", false),
            ("[[:digit:][:upper:]]", "Q", true),
            ("[![:space:]]", "\u{b}", false),
            ("[[:foo:]]", "f", false),
            ("[[:alpha]", ":", true),
            ("[[:alpha]", "[", true),
            ("[", "[", false),
            ("[]", "]", false),
            ("[a", "a", false),
            ("[a\\", "a", false),
            ("a\\", "a", false),
            ("a\\", "a\\", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("[*]", "*", true),
        ] {
            assert_eq!(
                Glob::new(pattern.as_bytes()).matches(subject.as_bytes()),
                expected,
                "{pattern:?} on {subject:?}"
            );
        }
        assert!(Glob::literal(br"a\[*").matches(br"a\[*"));
    }

    /// The definition, tried in every way.
    fn reference(pattern: &[u8], subject: &[u8]) -> bool {
        match (pattern, subject) {
            ([], _) => subject.is_empty(),
            ([b'*', b'*', rest @ ..], _) => {
                (0..=subject.len()).any(|n| reference(rest, &subject[n..]))
            }
            ([b'*', rest @ ..], _) => (0..=subject.len())
                .take_while(|n| !subject[..*n].contains(&b'/'))
                .any(|n| reference(rest, &subject[n..])),
            ([b'?', p @ ..], [b, s @ ..]) => *b != b'/' && reference(p, s),
            ([b'\\', e, p @ ..], [b, s @ ..]) => e == b && reference(p, s),
            ([b'[', b'!', b'a', b']', p @ ..], [b, s @ ..]) => {
                *b != b'a' && *b != b'/' && reference(p, s)
            }
            ([c, p @ ..], [b, s @ ..]) => c == b && reference(p, s),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(
            pattern in proptest::collection::vec(
                prop_oneof![Just("a"), Just("b"), Just("/"), Just("*"), Just("**"), Just("?"),
                            Just("\\*"), Just("[!a]")], 0..8),
            subject in "[ab/*]{0,10}",
        ) {
            // Stars beside each other are one token here and several steps there.
            let pattern = pattern.concat();
            prop_assume!(!pattern.contains("***"));
            prop_assert_eq!(
                Glob::new(pattern.as_bytes()).matches(subject.as_bytes()),
                reference(pattern.as_bytes(), subject.as_bytes())
            );
        }

        #[test]
        fn any_bytes_are_a_pattern(
            pattern in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(&b"[]!^-:\\*?/a"[..])], 0..200),
            subject in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            Glob::new(&pattern).matches(&subject);
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_pattern_times_subject() {
        let started = std::time::Instant::now();
        let subject = vec![b'a'; 4095];
        for star in ["*a", "**a", "*?", "**/*"] {
            let pattern = star.repeat(1000) + "b";
            assert!(!Glob::new(pattern.as_bytes()).matches(&subject));
            assert!(
                !Glob::new(pattern.as_bytes()).matches_parts(&[&subject, b"/", &subject], true)
            );
        }
        // Backtracking would take longer than the universe has existed.
        assert!(started.elapsed().as_secs() < 10);
    }
}
