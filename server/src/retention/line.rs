//! One keep rule in EvoBackup's notation: `+PATTERN.OFFSET`.
//!
//! `PATTERN` is what `date(1)` takes after `+`: filled in for today, it names a day. `OFFSET`
//! moves that day: `-0day`, `-2week`, `-1month`, `-1year -1day`, `3 days ago`. A snapshot is kept
//! when it was taken on the day that comes out, in the server's time zone.
//!
//! | line | keeps, on 2026-11-20 |
//! |---|---|
//! | `+%Y-%m-%d.-0day` | 2026-11-20, today |
//! | `+%Y-%m-%d.-3day` | 2026-11-17 |
//! | `+%Y-%m-01.-1month` | 2026-10-01 |
//! | `+%Y-01-01.-1year` | 2025-01-01 |
//!
//! Months and years are added to the month and year fields, and a day that the month does not
//! have runs over into the next, as `date(1)` computes it: `+%Y-%m-%d.-1month` on 31 March is
//! "31 February", which is 3 March (2 March in a leap year). Days and weeks come after that.
//!
//! What the shell original would ignore or stumble over at night is an error here: a pattern that
//! is no date on some day of the year (`+%Y-%m-31`), an unknown unit, a missing offset.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;

/// A keep rule that names one day, relative to today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    text: String,
    pattern: Vec<Piece>,
    offset: Offset,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LineError {
    /// Which line, from 0.
    pub index: usize,
    /// Which character of it, from 1.
    pub column: usize,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Literal(char),
    Year,
    /// Zero-padded to two digits, as `%m` gives it; unpadded digits parse alike.
    Month,
    Day,
}

/// Added field by field to a civil date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Offset {
    months: i32,
    days: i32,
}

/// A century, the farthest an offset may reach: what is meant to be older is a typing error.
const MOST_MONTHS: i32 = 100 * 12;
const MOST_DAYS: i32 = 36_525;

impl Line {
    /// Reads line number `index` of a list.
    pub fn parse(index: usize, text: &str) -> Result<Self, LineError> {
        let fail = |byte: usize, message: String| LineError {
            index,
            column: text[..byte].chars().count() + 1,
            message,
        };
        if text.trim().is_empty() {
            return Err(fail(0, "empty keep line".into()));
        }
        if !text.starts_with('+') {
            return Err(fail(
                0,
                format!("keep line \"{text}\" must start with \"+\", such as \"+%Y-%m-%d.-1day\""),
            ));
        }
        let Some(dot) = text.find('.') else {
            return Err(fail(
                text.len(),
                format!("keep line \"{text}\" has no offset; for today, write \"{text}.-0day\""),
            ));
        };
        let pattern = parse_pattern(&text[1..dot]).map_err(|(at, why)| fail(1 + at, why))?;
        let offset =
            Offset::parse(&text[dot + 1..]).map_err(|(at, why)| fail(dot + 1 + at, why))?;
        let line = Self {
            text: text.to_owned(),
            pattern,
            offset,
        };
        line.check_every_day().map_err(|why| fail(1, why))?;
        Ok(line)
    }

    /// The line as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The day that the line keeps when today is `today`. `None` only at the ends of the calendar
    /// (years -9999 and 9999).
    pub fn day(&self, today: Date) -> Option<Date> {
        self.offset.add_to(self.reference(today)?)
    }

    /// The pattern filled in for `today`.
    fn reference(&self, today: Date) -> Option<Date> {
        read_date(&self.render(today))
    }

    fn render(&self, today: Date) -> String {
        let mut out = String::new();
        for piece in &self.pattern {
            match piece {
                Piece::Literal(c) => out.push(*c),
                Piece::Year => out.push_str(&format!("{:04}", today.year())),
                Piece::Month => out.push_str(&format!("{:02}", today.month())),
                Piece::Day => out.push_str(&format!("{:02}", today.day())),
            }
        }
        out
    }

    /// A pattern must be a date on each day of a common and of a leap year.
    fn check_every_day(&self) -> Result<(), String> {
        let first = Date::constant(2027, 1, 1);
        for today in first.series(1.day()).take(365 + 366) {
            if self.reference(today).is_none() {
                return Err(format!(
                    "the pattern of \"{}\" gives \"{}\" on {today}, which is no date",
                    self.text,
                    self.render(today)
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Errors carry the byte they are about.
fn parse_pattern(text: &str) -> Result<Vec<Piece>, (usize, String)> {
    let mut pieces = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '%' {
            pieces.push(Piece::Literal(c));
            continue;
        }
        let mut item = chars.next().map(|(_, c)| c);
        if item == Some('-') {
            item = chars.next().map(|(_, c)| c);
        }
        match item {
            Some('Y') => pieces.push(Piece::Year),
            Some('m') => pieces.push(Piece::Month),
            Some('d' | 'e') => pieces.push(Piece::Day),
            Some('F') => pieces.extend([
                Piece::Year,
                Piece::Literal('-'),
                Piece::Month,
                Piece::Literal('-'),
                Piece::Day,
            ]),
            Some(other) => {
                return Err((
                    at,
                    format!("\"%{other}\" cannot be part of a day; use %Y, %m, %d and digits"),
                ));
            }
            None => return Err((at, "\"%\" stands alone; use %Y, %m, %d and digits".into())),
        }
    }
    Ok(pieces)
}

/// `2026-11-20`, `2026/11/20` or `20261120`.
fn read_date(text: &str) -> Option<Date> {
    let separator = text.chars().find(|c| !c.is_ascii_digit());
    let (year, month, day) = match separator {
        None if text.len() == 8 => (&text[..4], &text[4..6], &text[6..]),
        Some(c @ ('-' | '/')) => {
            let mut fields = text.split(c);
            let ymd = (fields.next()?, fields.next()?, fields.next()?);
            if fields.next().is_some() {
                return None;
            }
            ymd
        }
        _ => return None,
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    if !(digits(year) && digits(month) && digits(day)) {
        return None;
    }
    let date = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    Date::new(date.0, date.1, date.2).ok()
}

impl Offset {
    /// One or more of `[+-]NUMBER UNIT [ago]`. Errors carry the byte they are about.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut offset = Self::default();
        let mut rest = Rest { text, at: 0 };
        rest.skip_spaces();
        if rest.is_empty() {
            return Err((
                0,
                "the offset is missing; for today, write \"-0day\"".into(),
            ));
        }
        while !rest.is_empty() {
            let start = rest.at;
            let sign = match rest.peek() {
                Some('-') => -1,
                _ => 1,
            };
            rest.take_while_at_most(1, |c| c == '-' || c == '+');
            rest.skip_spaces();
            let digits = rest.take_while(|c| c.is_ascii_digit());
            if digits.is_empty() {
                return Err((
                    start,
                    format!("offset \"{text}\" is not like \"-1day\", \"-2week\" or \"-1month\""),
                ));
            }
            let too_far = || {
                (
                    start,
                    format!("offset \"{text}\" reaches farther than 100 years"),
                )
            };
            let number: Option<i32> = digits.parse().ok().filter(|n| *n <= MOST_DAYS);
            let number = number.ok_or_else(too_far)?;
            rest.skip_spaces();
            let unit_at = rest.at;
            let unit = rest.take_while(|c| c.is_ascii_alphabetic()).to_lowercase();
            rest.skip_spaces();
            let ago = rest.take_word("ago");
            rest.skip_spaces();
            let number: i32 = if ago { -sign * number } else { sign * number };
            match unit.strip_suffix('s').unwrap_or(&unit) {
                "day" => offset.days += number,
                "week" => offset.days += 7 * number,
                "fortnight" => offset.days += 14 * number,
                "month" => offset.months += number,
                "year" => offset.months += 12 * number,
                _ => {
                    return Err((
                        unit_at,
                        format!("\"{unit}\" is no unit; use day, week, month or year"),
                    ));
                }
            }
            if offset.days.abs() > MOST_DAYS || offset.months.abs() > MOST_MONTHS {
                return Err(too_far());
            }
        }
        Ok(offset)
    }

    fn add_to(self, date: Date) -> Option<Date> {
        let months = i32::from(date.year()) * 12 + i32::from(date.month()) - 1 + self.months;
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
        let days = i32::from(date.day()) - 1 + self.days;
        Date::new(year, month, 1)
            .ok()?
            .checked_add(days.days())
            .ok()
    }
}

/// What is left of an offset.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn is_empty(&self) -> bool {
        self.at == self.text.len()
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        self.take_while_at_most(usize::MAX, wanted)
    }

    fn take_while_at_most(&mut self, most: usize, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        for c in self.text[start..].chars().take(most) {
            if !wanted(c) {
                break;
            }
            self.at += c.len_utf8();
        }
        &self.text[start..self.at]
    }

    fn skip_spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn take_word(&mut self, word: &str) -> bool {
        let start = self.at;
        if self
            .take_while(|c| c.is_ascii_alphabetic())
            .eq_ignore_ascii_case(word)
        {
            return true;
        }
        self.at = start;
        false
    }
}
