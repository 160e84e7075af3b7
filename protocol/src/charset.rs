//! Charsets of names (`--iconv`): UTF-8 travels, and the server keeps names in the charset that
//! the client asks for.
//!
//! Everything here is strict, as iconv is: a name that the other charset cannot say is
//! [`Unfit`], never changed. One rule goes further: a character counts as sayable only when its
//! bytes mean that character again, so that no two names of a client become one here.
//!
//! Charsets are those in which text files and file systems of clients are found, all of them with
//! ASCII as it is: no byte below 0x80 stands for anything else, and none that is part of a longer
//! character is a slash or NUL (a test tries them all). So a name can neither gain a directory nor
//! lose its end here; it is checked behind the conversion all the same ([`crate::flist`]).
//! Stateful charsets (ISO-2022, UTF-7) and those of wide units (UTF-16) have names no path can
//! hold, and are refused with those that are not known.

use encoding_rs::{
    BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_8859_2, ISO_8859_3,
    ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7, ISO_8859_8, ISO_8859_10, ISO_8859_13,
    ISO_8859_14, ISO_8859_15, ISO_8859_16, KOI8_R, KOI8_U, SHIFT_JIS, WINDOWS_874, WINDOWS_1250,
    WINDOWS_1251, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1255, WINDOWS_1256,
    WINDOWS_1257, WINDOWS_1258,
};
use oem_cp::code_table::{DECODING_TABLE_CP_MAP, ENCODING_TABLE_CP_MAP};

use crate::ProtocolError;
use crate::error::escape;

/// In which names are kept on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(Table);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Utf8,
    Ascii,
    /// A code page of DOS.
    Oem(u16),
    /// As the web has it, which is as iconv has it.
    Whole(&'static Encoding),
    /// The web reads it as its Windows relative; here 0x80 to 0x9f are control characters.
    WithControls(&'static Encoding),
    /// The web fills what Windows left undefined with control characters; here it is undefined.
    WithoutControls(&'static Encoding),
}

/// Why bytes are not converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// A character that the other charset does not have, or bytes that are none.
    Character,
    /// The bytes end within a character.
    CutOff,
    /// The result is longer than a path may be.
    TooLong,
}

impl Unfit {
    /// The system's words for it, which stock rsync shows.
    pub fn words(self) -> &'static str {
        match self {
            Unfit::Character => "Invalid or incomplete multibyte or wide character",
            Unfit::CutOff => "Invalid argument",
            Unfit::TooLong => "Argument list too long",
        }
    }
}

/// Longest character of any charset here, in bytes.
const LONGEST: usize = 4;

impl Charset {
    pub const UTF_8: Charset = Charset(Table::Utf8);

    /// Finds a charset by the name that a client gives it, in any spelling of iconv's. Nothing, and
    /// `.`, are the server's own: UTF-8.
    /// Errors: exit 4, as a stock server whose iconv does not know the name.
    pub fn find(name: &[u8]) -> Result<Self, ProtocolError> {
        if matches!(name, b"" | b".") {
            return Ok(Self::UTF_8);
        }
        let known = name
            .is_ascii()
            .then(|| {
                let plain = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
                let plain: String = plain.map(|b| char::from(b.to_ascii_lowercase())).collect();
                by_name(&plain)
            })
            .flatten();
        // `X//TRANSLIT` gives different names the same bytes.
        let known = known.filter(|_| !name.contains(&b'/'));
        known.map(Charset).ok_or_else(|| {
            ProtocolError::unsupported(format!(
                "this server cannot keep names in the charset `{}` of --iconv; it knows UTF-8, \
                 ASCII, ISO-8859-1 to -16, CP1250 to CP1258, the code pages of DOS, KOI8-R, \
                 KOI8-U, SHIFT_JIS, EUC-JP, GBK, GB18030, BIG5 and EUC-KR",
                escape(name)
            ))
        })
    }

    /// Appends in this charset what arrived in UTF-8.
    pub fn localize(self, wire: &[u8], local: &mut Vec<u8>) -> Result<(), Unfit> {
        let text = std::str::from_utf8(wire).map_err(|error| match error.error_len() {
            Some(_) => Unfit::Character,
            None => Unfit::CutOff,
        })?;
        if self.0 == Table::Utf8 || text.is_ascii() {
            local.extend_from_slice(wire);
            return Ok(());
        }
        match text.chars().all(|c| self.encode(c, local)) {
            true => Ok(()),
            false => Err(Unfit::Character),
        }
    }

    /// Appends in UTF-8 what is kept in this charset.
    pub fn globalize(self, local: &[u8], wire: &mut Vec<u8>) -> Result<(), Unfit> {
        let mut rest = local;
        while !rest.is_empty() {
            rest = &rest[self.decode(rest, wire)?..];
        }
        Ok(())
    }

    /// As [`Self::localize`], for text that has to go on: what is unfit stays as it is.
    pub fn localize_all(self, wire: &[u8]) -> Vec<u8> {
        let mut local = Vec::with_capacity(wire.len());
        let mut rest = wire;
        while let Some(first) = rest.first() {
            let len = (1..=LONGEST.min(rest.len()))
                .find(|len| std::str::from_utf8(&rest[..*len]).is_ok())
                .filter(|len| self.localize(&rest[..*len], &mut local).is_ok());
            if len.is_none() {
                local.push(*first);
            }
            rest = &rest[len.unwrap_or(1)..];
        }
        local
    }

    /// As [`Self::globalize`], for text that has to go on: what is unfit stays as it is.
    pub fn globalize_all(self, local: &[u8]) -> Vec<u8> {
        let mut wire = Vec::with_capacity(local.len());
        let mut rest = local;
        while let Some(first) = rest.first() {
            let len = self.decode(rest, &mut wire).unwrap_or_else(|_| {
                wire.push(*first);
                1
            });
            rest = &rest[len..];
        }
        wire
    }

    /// Appends one character; `false`, and nothing appended: it cannot be said.
    fn encode(self, c: char, local: &mut Vec<u8>) -> bool {
        if c.is_ascii() {
            local.push(c as u8);
            return true;
        }
        let mut utf8 = [0; 4];
        let text: &str = c.encode_utf8(&mut utf8);
        let begin = local.len();
        let fits = match self.0 {
            Table::Utf8 => {
                local.extend_from_slice(text.as_bytes());
                true
            }
            Table::Ascii => false,
            Table::Oem(page) => ENCODING_TABLE_CP_MAP
                .get(&page)
                .and_then(|table| table.get(&c))
                .map(|byte| local.push(*byte))
                .is_some(),
            Table::WithControls(_) if is_control(c) => {
                local.push(c as u8);
                true
            }
            Table::WithoutControls(_) if is_control(c) => false,
            Table::Whole(encoding)
            | Table::WithControls(encoding)
            | Table::WithoutControls(encoding) => {
                let (bytes, _, had_unmappable) = encoding.encode(text);
                local.extend_from_slice(&bytes);
                !had_unmappable
            }
        };
        let mut again = Vec::with_capacity(4);
        let means_it =
            fits && self.globalize(&local[begin..], &mut again).is_ok() && again == text.as_bytes();
        if !means_it {
            local.truncate(begin);
        }
        means_it
    }

    /// Appends the first character of `local`; answers how many bytes it took.
    fn decode(self, local: &[u8], wire: &mut Vec<u8>) -> Result<usize, Unfit> {
        let first = *local.first().ok_or(Unfit::CutOff)?;
        if first.is_ascii() {
            wire.push(first);
            return Ok(1);
        }
        let put = |c: char, wire: &mut Vec<u8>| {
            wire.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(1)
        };
        match self.0 {
            Table::Utf8 => {
                let longest = &local[..LONGEST.min(local.len())];
                let len = (2..=longest.len())
                    .find(|len| std::str::from_utf8(&longest[..*len]).is_ok())
                    .ok_or_else(|| match std::str::from_utf8(longest) {
                        Err(error) if error.error_len().is_none() => Unfit::CutOff,
                        _ => Unfit::Character,
                    })?;
                wire.extend_from_slice(&local[..len]);
                Ok(len)
            }
            Table::Ascii => Err(Unfit::Character),
            Table::Oem(page) => {
                let table = DECODING_TABLE_CP_MAP.get(&page).ok_or(Unfit::Character)?;
                put(
                    table.decode_char_checked(first).ok_or(Unfit::Character)?,
                    wire,
                )
            }
            Table::WithControls(_) if first < 0xa0 => put(char::from(first), wire),
            Table::WithoutControls(encoding) => {
                let text = encoding
                    .decode_without_bom_handling_and_without_replacement(&local[..1])
                    .filter(|text| !text.contains(is_control))
                    .ok_or(Unfit::Character)?;
                wire.extend_from_slice(text.as_bytes());
                Ok(1)
            }
            Table::Whole(encoding) | Table::WithControls(encoding) => {
                let whole = (1..=LONGEST.min(local.len())).find_map(|len| {
                    let text = encoding
                        .decode_without_bom_handling_and_without_replacement(&local[..len])?;
                    Some((len, text))
                });
                let Some((len, text)) = whole else {
                    return Err(cut_off_or_wrong(encoding, local));
                };
                wire.extend_from_slice(text.as_bytes());
                Ok(len)
            }
        }
    }
}

fn is_control(c: char) -> bool {
    ('\u{80}'..'\u{a0}').contains(&c)
}

fn cut_off_or_wrong(encoding: &'static Encoding, local: &[u8]) -> Unfit {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut room = [0; 32];
    let longest = &local[..LONGEST.min(local.len())];
    match decoder.decode_to_utf8_without_replacement(longest, &mut room, false) {
        (DecoderResult::InputEmpty, _, 0) => Unfit::CutOff,
        _ => Unfit::Character,
    }
}

/// By iconv's names, in lower case and without punctuation.
fn by_name(name: &str) -> Option<Table> {
    let oem = name
        .strip_prefix("cp")
        .or_else(|| name.strip_prefix("ibm"))
        .or_else(|| name.strip_prefix("dos"))
        .unwrap_or(name);
    if let Ok(page) = oem.parse::<u16>()
        && DECODING_TABLE_CP_MAP.contains_key(&page)
    {
        return Some(Table::Oem(page));
    }
    Some(match name {
        "utf8" => Table::Utf8,
        "ascii" | "usascii" | "us" | "646" | "iso646us" | "ansix341968" => Table::Ascii,
        "iso88591" | "88591" | "latin1" | "l1" | "cp819" | "ibm819" => {
            Table::WithControls(WINDOWS_1252)
        }
        "iso88592" | "88592" | "latin2" | "l2" => Table::Whole(ISO_8859_2),
        "iso88593" | "88593" | "latin3" | "l3" => Table::Whole(ISO_8859_3),
        "iso88594" | "88594" | "latin4" | "l4" => Table::Whole(ISO_8859_4),
        "iso88595" | "88595" | "cyrillic" => Table::Whole(ISO_8859_5),
        "iso88596" | "88596" | "arabic" => Table::Whole(ISO_8859_6),
        "iso88597" | "88597" | "greek" => Table::Whole(ISO_8859_7),
        "iso88598" | "88598" | "hebrew" => Table::Whole(ISO_8859_8),
        "iso88599" | "88599" | "latin5" | "l5" => Table::WithControls(WINDOWS_1254),
        "iso885910" | "latin6" | "l6" => Table::Whole(ISO_8859_10),
        "iso885911" | "tis620" => Table::WithControls(WINDOWS_874),
        "iso885913" | "latin7" | "l7" => Table::Whole(ISO_8859_13),
        "iso885914" | "latin8" | "l8" => Table::Whole(ISO_8859_14),
        "iso885915" | "latin9" => Table::Whole(ISO_8859_15),
        "iso885916" | "latin10" | "l10" => Table::Whole(ISO_8859_16),
        "cp1250" | "windows1250" | "msee" => Table::WithoutControls(WINDOWS_1250),
        "cp1251" | "windows1251" | "mscyrl" => Table::WithoutControls(WINDOWS_1251),
        "cp1252" | "windows1252" | "msansi" => Table::WithoutControls(WINDOWS_1252),
        "cp1253" | "windows1253" | "msgreek" => Table::WithoutControls(WINDOWS_1253),
        "cp1254" | "windows1254" | "msturk" => Table::WithoutControls(WINDOWS_1254),
        "cp1255" | "windows1255" | "mshebr" => Table::WithoutControls(WINDOWS_1255),
        "cp1256" | "windows1256" | "msarab" => Table::WithoutControls(WINDOWS_1256),
        "cp1257" | "windows1257" | "winbaltrim" => Table::WithoutControls(WINDOWS_1257),
        "cp1258" | "windows1258" => Table::WithoutControls(WINDOWS_1258),
        "koi8r" => Table::Whole(KOI8_R),
        "koi8u" => Table::Whole(KOI8_U),
        "sjis" | "shiftjis" | "mskanji" | "cp932" | "ms932" | "windows31j" => {
            Table::Whole(SHIFT_JIS)
        }
        "eucjp" | "ujis" | "eucjpms" => Table::Whole(EUC_JP),
        "gbk" | "cp936" | "ms936" | "windows936" | "gb2312" | "euccn" => Table::Whole(GBK),
        "gb18030" => Table::Whole(GB18030),
        "big5" | "cp950" => Table::Whole(BIG5),
        "euckr" | "cp949" | "uhc" => Table::Whole(EUC_KR),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "UTF-8",
        "ascii",
        "ISO-8859-1",
        "ISO_8859-2",
        "latin3",
        "latin4",
        "iso8859-5",
        "iso8859-6",
        "iso8859-7",
        "iso8859-8",
        "latin5",
        "latin6",
        "tis-620",
        "latin7",
        "latin8",
        "ISO-8859-15",
        "latin10",
        "CP1250",
        "CP1251",
        "windows-1252",
        "CP1253",
        "CP1254",
        "CP1255",
        "CP1256",
        "CP1257",
        "CP1258",
        "CP437",
        "IBM850",
        "852",
        "cp866",
        "cp857",
        "cp864",
        "KOI8-R",
        "koi8u",
        "Shift_JIS",
        "CP932",
        "EUC-JP",
        "GBK",
        "GB2312",
        "GB18030",
        "Big5",
        "EUC-KR",
    ];

    fn charset(name: &str) -> Charset {
        Charset::find(name.as_bytes()).unwrap()
    }

    #[test]
    fn charsets_are_found_in_every_spelling_and_others_refused_in_a_sentence() {
        for name in NAMES {
            charset(name);
        }
        assert_eq!(charset("latin1"), charset("ISO_8859-1"));
        assert_ne!(charset("latin1"), charset("cp1252"));
        for own in ["", ".", "utf8", "UTF-8"] {
            assert_eq!(charset(own), Charset::UTF_8);
        }
        for name in [
            "klingon",
            "-",
            "utf-16",
            "UCS-2",
            "UTF-7",
            "ISO-2022-JP",
            "utf-8-mac",
            "latin1//TRANSLIT",
            "latin1//IGNORE",
            "\u{fc}",
            "cp0",
            "cp99999",
        ] {
            let error = Charset::find(name.as_bytes()).unwrap_err();
            assert_eq!(error.exit, crate::ExitCode::Unsupported, "{name}");
            assert!(
                error.message.contains("of --iconv; it knows UTF-8"),
                "{name}"
            );
        }
    }

    /// The claim of the module's story, for every character there is.
    #[test]
    fn no_character_becomes_another_one_nor_brings_a_slash_or_nul() {
        for name in NAMES {
            let charset = charset(name);
            let mut said = 0;
            let mut local = Vec::new();
            let mut wire = Vec::new();
            // Beyond the first plane one in 97.
            let beyond = ('\u{10000}'..=char::MAX).step_by(97);
            for c in ('\0'..='\u{ffff}').chain(beyond) {
                local.clear();
                if !charset.encode(c, &mut local) {
                    assert!(local.is_empty());
                    continue;
                }
                said += 1;
                for byte in [0, b'/'] {
                    let has = local.contains(&byte);
                    assert_eq!(has, c as u32 == u32::from(byte), "{name}: {c:?}");
                }
                wire.clear();
                charset.globalize(&local, &mut wire).unwrap();
                assert_eq!(wire, c.to_string().as_bytes(), "{name}: {c:?}");
            }
            assert!(said >= 128, "{name}");
            for first in 0..=u8::MAX {
                for second in [0, b'/', b'.', 0x40, 0x80, 0xff] {
                    wire.clear();
                    if charset.globalize(&[first, second], &mut wire).is_ok() {
                        for byte in [0, b'/'] {
                            let had = [first, second].contains(&byte);
                            assert_eq!(wire.contains(&byte), had, "{name}: {first} {second}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_unfit_is_told_apart_and_kept_where_text_has_to_go_on() {
        let latin1 = charset("latin1");
        let localized = |charset: Charset, wire: &[u8]| {
            let mut local = Vec::new();
            charset.localize(wire, &mut local).map(|()| local)
        };
        assert_eq!(localized(latin1, "é".as_bytes()), Ok(vec![0xe9]));
        assert_eq!(localized(latin1, "€".as_bytes()), Err(Unfit::Character));
        assert_eq!(localized(latin1, b"a\xff"), Err(Unfit::Character));
        assert_eq!(localized(latin1, b"a\xc3"), Err(Unfit::CutOff));
        assert_eq!(
            localized(Charset::UTF_8, b"\xed\xa0\x80"),
            Err(Unfit::Character)
        );
        // Two characters of the web's tables that share their bytes with others.
        assert_eq!(
            localized(charset("sjis"), "¥".as_bytes()),
            Err(Unfit::Character)
        );

        let globalized = |name: &str, local: &[u8]| {
            let mut wire = Vec::new();
            charset(name).globalize(local, &mut wire).map(|()| wire)
        };
        assert_eq!(globalized("cp1252", b"\x80"), Ok("€".into()));
        assert_eq!(globalized("cp1252", b"\x81"), Err(Unfit::Character));
        assert_eq!(globalized("latin1", b"\x81"), Ok("\u{81}".into()));
        assert_eq!(globalized("sjis", b"a\x93\xfa"), Ok("a日".into()));
        assert_eq!(globalized("sjis", b"a\x93"), Err(Unfit::CutOff));
        assert_eq!(globalized("utf8", b"\xc3"), Err(Unfit::CutOff));
        assert_eq!(globalized("utf8", b"\xff"), Err(Unfit::Character));

        assert_eq!(
            latin1.localize_all("é€\u{ff}".as_bytes()),
            b"\xe9\xe2\x82\xac\xff"
        );
        assert_eq!(latin1.localize_all(b"\xc3"), b"\xc3");
        assert_eq!(
            charset("sjis").globalize_all(b"\x93\xfa\xff/\x93"),
            b"\xe6\x97\xa5\xff/\x93"
        );
    }
}
