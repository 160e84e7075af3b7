//! Durations as people write them: `"90s"`, `"90m"`, `"24h"`, `"2d"`, `"1h30m"`; sizes: `"500GiB"`,
//! `"1.5TB"`; and both as they are printed.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("w", 7 * 24 * 3600),
    ("d", 24 * 3600),
    ("h", 3600),
    ("m", 60),
    ("s", 1),
];

/// Parses a duration: whole numbers, each followed by `w`, `d`, `h`, `m` or `s`, largest first.
/// A day is 24 hours. The error is what is wrong, fit for the end of a message.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const SHAPE: &str = "write a number with its unit, like \"90s\", \"30m\", \"24h\" or \"1h30m\"";
    if text.is_empty() {
        return Err(SHAPE.to_owned());
    }
    let mut total = 0_u64;
    let mut rest = text;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if number.is_empty() || unit.is_empty() {
            return Err(SHAPE.to_owned());
        }
        let Some((_, secs)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("there is no unit \"{unit}\": {SHAPE}"));
        };
        if *secs >= smallest {
            return Err("write each unit once, the largest first, like \"1h30m\"".to_owned());
        }
        smallest = *secs;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*secs))
            .and_then(|n| n.checked_add(total))
            .filter(|n| *n <= LONGEST_SECS)
            .ok_or_else(|| "that is longer than 100 years".to_owned())?;
        rest = after;
    }
    Ok(Duration::from_secs(total))
}

/// Longer than any schedule needs, and safe to add to any clock.
const LONGEST_SECS: u64 = 100 * 366 * 24 * 3600;

/// A duration as [`parse_duration`] reads it, at most its two largest units: `1h30m`, `2d`, `0s`.
pub fn render_duration(duration: Duration) -> String {
    let mut secs = duration.as_secs();
    let mut out = String::new();
    let mut parts = 0;
    for (name, unit) in UNITS.iter().skip(1) {
        if secs >= *unit {
            out.push_str(&format!("{}{name}", secs / unit));
            secs %= unit;
            parts += 1;
        } else if parts > 0 {
            break;
        }
        if parts == 2 {
            break;
        }
    }
    if out.is_empty() {
        out.push_str("0s");
    }
    out
}

/// Units of sizes, in bytes.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Parses a size: a number, with up to three decimals, and a unit, `B`, `KiB` … `TiB` or `kB` …
/// `TB`. In bytes, rounded down. The error is what is wrong, fit for the end of a message.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "write a number with its unit, like \"500GiB\", \"1.5TiB\" or \"20MB\"";
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    if number.is_empty() || unit.is_empty() {
        return Err(SHAPE.to_owned());
    }
    let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("there is no unit \"{unit}\": {SHAPE}"));
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || !(1..=3).contains(&decimals.len()) || decimals.contains('.') {
        return Err(SHAPE.to_owned());
    }
    let thousandths: u128 = format!("{whole}{decimals:0<3}")
        .parse()
        .map_err(|_| SHAPE.to_owned())?;
    u64::try_from(thousandths * u128::from(*bytes) / 1000)
        .ok()
        .filter(|size| *size <= LARGEST_SIZE)
        .ok_or_else(|| "that is more than a disk can hold".to_owned())
}

/// An exbibyte: safe to add up in signed numbers.
const LARGEST_SIZE: u64 = 1 << 60;

/// A number of things: `1 file`, `2 files`, `1 directory`, `0 directories`.
pub fn count(n: u64, one: &str) -> String {
    match (n, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {one}s"),
    }
}

/// A size with three digits that matter: `0 B`, `999 B`, `1.50 KiB`, `12.3 GiB`.
pub fn render_size(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut name = 0;
    // 999.5 would be printed as 1000: take the next unit before that.
    while value >= 999.5 && name + 1 < NAMES.len() {
        value /= 1024.0;
        name += 1;
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", NAMES[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, secs) in [
            ("0s", 0),
            ("90s", 90),
            ("90m", 5400),
            ("24h", 86400),
            ("2d", 172_800),
            ("1w", 604_800),
            ("1h30m", 5400),
            ("1d2h3m4s", 93_784),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(secs)),
                "{text}"
            );
        }
    }

    #[test]
    fn durations_without_unit_or_sense_are_refused() {
        for text in [
            "",
            "24",
            "h",
            "24 h",
            "1.5h",
            "-1h",
            "1H",
            "30m1h",
            "1h1h",
            "1month",
            "h1",
            "99999999999999999999s",
            "101000w",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_with_two_units_at_most() {
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (5400, "1h30m"),
            (86_400, "1d"),
            (90_061, "1d1h"),
            (86_460, "1d"),
            (1_000_000, "11d13h"),
        ] {
            assert_eq!(render_duration(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [
            ("0B", 0),
            ("1KiB", 1024),
            ("20MiB", 20 << 20),
            ("20 MB", 20_000_000),
            ("500GiB", 500 << 30),
            ("1.5TiB", 3 << 39),
            ("0.001kB", 1),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "20",
            "MiB",
            "20mib",
            "20M",
            "1,5GiB",
            "1.GiB",
            ".5GiB",
            "1.2345GiB",
            "1.2.3GiB",
            "-1GiB",
            "99999999TiB",
            "999999999999999999999999999999999999999999999TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_of_a_thing_is_singular() {
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(count(2, "directory"), "2 directories");
    }

    #[test]
    fn sizes_are_printed_with_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10_235, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (13_207_024_435, "12.3 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(render_size(bytes), text);
        }
    }
}
