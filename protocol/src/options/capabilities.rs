//! The string after the letter `e`.

/// What the client can do, as letters; once the place of a remote shell's name.
///
/// Shape: `.` or the number of a pre-release protocol (`32.7`), then letters. Unknown letters
/// mean something to newer servers and are kept without meaning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Protocol and sub-protocol of a client that is a pre-release.
    pub pre_release: Option<(u32, u32)>,
    letters: Vec<u8>,
}

impl Capabilities {
    pub fn parse(text: &[u8]) -> Self {
        let (protocol, rest) = leading_number(text);
        match (protocol, rest) {
            (Some(protocol), [b'.', rest @ ..]) => {
                let (sub, letters) = leading_number(rest);
                Self {
                    pre_release: sub.map(|sub| (protocol, sub)),
                    letters: letters.to_vec(),
                }
            }
            (_, [b'.', letters @ ..] | letters) => Self {
                pre_release: None,
                letters: letters.to_vec(),
            },
        }
    }

    pub fn has(&self, letter: u8) -> bool {
        self.letters.contains(&letter)
    }
}

/// The digits at the start as a number (at most 9 of them), and the rest.
fn leading_number(text: &[u8]) -> (Option<u32>, &[u8]) {
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    let number = std::str::from_utf8(digits).ok().filter(|d| d.len() <= 9);
    (number.and_then(|digits| digits.parse().ok()), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pre_release_says_its_numbers_and_a_release_only_letters() {
        let released = Capabilities::parse(b".iLsfxCIvu");
        assert_eq!(released.pre_release, None);
        assert!(b"iLsfxCIvu".iter().all(|letter| released.has(*letter)));
        assert!(!released.has(b'.') && !released.has(b'V'));

        let pre_release = Capabilities::parse(b"32.7iL?");
        assert_eq!(pre_release.pre_release, Some((32, 7)));
        assert!(pre_release.has(b'i') && !pre_release.has(b'7'));

        for odd in ["", ".", "32", "32.", "99999999999.9i", "..", "a.b"] {
            assert_eq!(
                Capabilities::parse(odd.as_bytes()).pre_release,
                None,
                "{odd}"
            );
        }
    }
}
