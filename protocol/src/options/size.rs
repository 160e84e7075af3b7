//! Sizes as users write them: `3k`, `1.5G`, `2MB`, `10KiB+1`.

/// Reads a size in bytes. `default_unit` applies to a number without suffix.
///
/// Shape: digits with an optional fraction, an optional suffix (`b`; `k m g t p` for powers of
/// 1024, also with `iB`; the same with `B` for powers of 1000), then an optional `+1` or `-1`.
/// Old clients forward this text, new ones send plain numbers. `None`: not a size, or above 2^63-1.
/// Source: rsync(1), `--max-size`.
pub(super) fn parse(text: &[u8], default_unit: u64) -> Option<u64> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        _ => (&[][..], rest),
    };
    // Beyond nine digits a fraction of the largest unit is below one byte in a million.
    let fraction = &fraction[..fraction.len().min(9)];
    if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
        return None;
    }
    let (unit, adjustment) = suffix(rest, default_unit)?;
    let mantissa = whole.iter().chain(fraction).fold(0u128, |number, digit| {
        number * 10 + u128::from(digit - b'0')
    });
    let bytes = mantissa.checked_mul(u128::from(unit))? / 10u128.pow(fraction.len() as u32);
    let bytes = i128::try_from(bytes).ok()? + adjustment;
    i64::try_from(bytes).ok()?.try_into().ok()
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count())
}

fn suffix(text: &[u8], default_unit: u64) -> Option<(u64, i128)> {
    let (text, adjustment) = match text {
        [text @ .., b'+', b'1'] => (text, 1),
        [text @ .., b'-', b'1'] => (text, -1),
        _ => (text, 0),
    };
    let (letter, base) = match text {
        [] => return Some((default_unit, adjustment)),
        [b'b' | b'B'] => return Some((1, adjustment)),
        [letter] | [letter, b'i' | b'I', b'b' | b'B'] => (letter, 1024u64),
        [letter, b'b' | b'B'] => (letter, 1000),
        _ => return None,
    };
    let power = match letter.to_ascii_lowercase() {
        b'k' => 1,
        b'm' => 2,
        b'g' => 3,
        b't' => 4,
        b'p' => 5,
        _ => return None,
    };
    Some((base.pow(power), adjustment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_size() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("3k", 3 << 10),
            ("3K", 3 << 10),
            ("3KiB", 3 << 10),
            ("3kb", 3000),
            ("2M", 2 << 20),
            ("2MB", 2_000_000),
            ("1.5G", 3 << 29),
            (".5k", 512),
            ("1.", 1),
            ("1t", 1 << 40),
            ("1P", 1 << 50),
            ("1m+1", (1 << 20) + 1),
            ("1m-1", (1 << 20) - 1),
            ("7+1", 8),
            ("9223372036854775807", i64::MAX as u64),
            ("0.0000000009999999g", 0),
        ] {
            assert_eq!(parse(text.as_bytes(), 1), Some(bytes), "{text}");
        }
        assert_eq!(parse(b"1.5", 1024), Some(1536));
        assert_eq!(parse(b"1b", 1024), Some(1));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            ".",
            "k",
            "-1",
            "3q",
            "3kk",
            "3ki",
            "3+2",
            "1e3",
            "0-1",
            "8192P",
            " 1",
            "9223372036854775808",
            "99999999999999999999",
            "3 k",
            "3iB",
        ] {
            assert_eq!(parse(text.as_bytes(), 1), None, "{text}");
        }
    }
}
