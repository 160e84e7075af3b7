//! Who may log in: the `keys` of a tenant, and files in OpenSSH's `authorized_keys` format.
//!
//! Of the options that OpenSSH knows, `from="…"` is the only one that means something here, and it
//! means addresses and networks only. Every other one is an error rather than a silent loss: an
//! admin who wrote `command="…"` relied on it.

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::diagnostic::{Diagnostic, Problems, Severity, Source};
use super::raw::{At, Document, Item};
use super::{KeyRule, Rights};

/// RSA keys below this are refused, as OpenSSH and Debian do for new ones.
const LEAST_RSA_BITS: u32 = 2048;

const EVERYTHING: Rights = Rights {
    push: true,
    restore: true,
};

/// A key and where it was found.
#[derive(Debug, Clone)]
pub(super) struct FoundKey {
    pub(super) rule: Arc<KeyRule>,
    /// A diagnostic without message at the place of the key.
    here: Diagnostic,
}

/// Reads `keys = [{ key, from, may }, …]`.
pub(super) fn read_list(item: &Item<'_>) -> Option<Vec<FoundKey>> {
    const EXPECTED: &str =
        "a list of tables like { key = \"ssh-ed25519 …\", from = [\"192.0.2.10\"] }";
    if !item.is_list() {
        item.wrong_type(EXPECTED);
        return None;
    }
    let found: Vec<Option<FoundKey>> = item.one_or_more().iter().map(read_one).collect();
    found.into_iter().collect()
}

fn read_one(item: &Item<'_>) -> Option<FoundKey> {
    let doc = item.doc;
    let table = item.table("a key", "a table like { key = \"ssh-ed25519 …\" }")?;
    table.check_keys(&["key", "from", "may"], &[]);

    let key = match table.item("key") {
        None => {
            item.error("there is no \"key\" here; write the public key as key = \"ssh-ed25519 …\"");
            None
        }
        Some(key) => read_key(&key),
    };
    let from = match table.item("from") {
        None => {
            if let Some((at, _)) = &key {
                doc.warning(
                    &at.span,
                    "this key may come from any address; name its networks with \"from\"",
                );
            }
            Some(None)
        }
        Some(from) => from
            .strings("an address or a network, or a list of them", |text| {
                network(text.value)
                    .map_err(|why| doc.error(&text.span, why))
                    .ok()
            })
            .map(Some),
    };
    let may = match table.item("may") {
        None => Some(EVERYTHING),
        Some(may) => read_rights(&may),
    };

    let (at, key) = key?;
    Some(FoundKey {
        rule: Arc::new(KeyRule {
            key,
            from: from?,
            may: may?,
        }),
        here: doc
            .source
            .diagnostic(Severity::Error, at.span, String::new()),
    })
}

fn read_key<'d>(item: &Item<'d>) -> Option<(At<&'d str>, PublicKey)> {
    let text = item.string("a public key, like \"ssh-ed25519 …\"")?;
    match parse_key(text.value) {
        Ok(key) => Some((text, key)),
        Err(why) => {
            // With options in front of it, the text is a line of authorized_keys.
            let first = text.value.split([' ', '=']).next().unwrap_or_default();
            let why = if first == "from" || OPTIONS.contains(&first) {
                "options do not belong here; write the key alone, and its networks as \
                 from = [\"192.0.2.10\"]"
                    .to_owned()
            } else {
                why
            };
            item.error(why);
            None
        }
    }
}

fn read_rights(item: &Item<'_>) -> Option<Rights> {
    let mut rights = Rights {
        push: false,
        restore: false,
    };
    item.strings(
        "\"push\", \"restore\", or a list of them",
        |text| match text.value {
            "push" => {
                rights.push = true;
                Some(())
            }
            "restore" => {
                rights.restore = true;
                Some(())
            }
            other => {
                item.doc.error(
                    &text.span,
                    format!("a key may \"push\" or \"restore\"; there is no right \"{other}\""),
                );
                None
            }
        },
    )?;
    Some(rights)
}

/// Parses `type base64 comment`. The error is a whole message.
fn parse_key(text: &str) -> Result<PublicKey, String> {
    let text = text.trim();
    let mut words = text.split_whitespace();
    let (Some(algorithm), Some(_)) = (words.next(), words.next()) else {
        return Err(
            "this is not a public key; write the line of the client's .pub file, like \
             \"ssh-ed25519 AAAA… name\""
                .to_owned(),
        );
    };
    if algorithm.contains("-cert-v0") {
        return Err("certificates are not accepted, only plain keys".to_owned());
    }
    if algorithm == "ssh-dss" {
        return Err("DSA keys are not accepted; make an Ed25519 or RSA one".to_owned());
    }
    if text.contains('\n') {
        return Err("this is more than one line; write one key per entry".to_owned());
    }
    // Normalised, since OpenSSH accepts any white space between the three parts.
    let normal = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let key = PublicKey::from_openssh(&normal).map_err(|_| {
        if KEY_TYPES.contains(&algorithm) {
            format!("this {algorithm} key is damaged; copy the line of the .pub file again")
        } else {
            format!(
                "\"{algorithm}\" is not a type of key; the types are {}",
                KEY_TYPES.join(", ")
            )
        }
    })?;
    match key.key_data() {
        KeyData::Rsa(rsa) if rsa.key_size() < LEAST_RSA_BITS => Err(format!(
            "this RSA key has {} bits; at least {LEAST_RSA_BITS} are needed",
            rsa.key_size()
        )),
        KeyData::Rsa(_)
        | KeyData::Ed25519(_)
        | KeyData::Ecdsa(_)
        | KeyData::SkEcdsaSha2NistP256(_)
        | KeyData::SkEd25519(_) => Ok(key),
        _ => Err(format!(
            "\"{algorithm}\" is not a type of key; the types are {}",
            KEY_TYPES.join(", ")
        )),
    }
}

const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// An address or a network; an IPv4-mapped one becomes IPv4. The error is a whole message.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        let looks_like_a_name = text.contains(|c: char| c.is_ascii_alphabetic())
            && !text.contains(':')
            && !text.contains('/');
        return Err(if text.starts_with('!') {
            format!("\"{text}\": exceptions are not supported; list what is allowed")
        } else if text.contains(['*', '?']) {
            format!(
                "\"{text}\": wildcards are not supported; write a network, like \"192.0.2.0/24\""
            )
        } else if looks_like_a_name {
            format!(
                "\"{text}\" is a name; only addresses and networks can be listed, because whoever \
                 answers for a name could open the door"
            )
        } else {
            format!("\"{text}\" is not an address or a network")
        });
    };
    if net.network() != net.addr() {
        return Err(format!(
            "\"{text}\" is an address within a network; write \"{}\" for the network or \"{}\" for \
             the address",
            net.trunc(),
            net.addr()
        ));
    }
    Ok(match net {
        // `::ffff:192.0.2.0/120` is how 192.0.2.0/24 looks on a socket for both families.
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
            (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).map_or(net, IpNet::V4),
            _ => net,
        },
        IpNet::V4(_) => net,
    })
}

/// Reads files in the format of OpenSSH's `authorized_keys`. Each file's problems cite that file.
pub(super) fn read_files(
    item: &Item<'_>,
    paths: &[At<PathBuf>],
    problems: &Problems,
) -> Option<Vec<FoundKey>> {
    let mut all_good = true;
    let mut found = Vec::new();
    for path in paths {
        match read_file(&path.value, problems) {
            Ok(keys) => found.extend(keys),
            Err(FileError::Unreadable(why)) => {
                item.doc
                    .error(&path.span, format!("{}: {why}", path.value.display()));
                all_good = false;
            }
            Err(FileError::BadLines) => all_good = false,
        }
    }
    all_good.then_some(found)
}

enum FileError {
    /// To be said where the file is named.
    Unreadable(String),
    /// Said already, at the lines.
    BadLines,
}

fn read_file(path: &Path, problems: &Problems) -> Result<Vec<FoundKey>, FileError> {
    problems.note_file(path);
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(problem) if problem.place.is_none() => {
            return Err(FileError::Unreadable(problem.message));
        }
        Err(problem) => {
            problems.push(*problem);
            return Err(FileError::BadLines);
        }
    };
    let doc = Document {
        source: &source,
        problems,
    };
    let mut found = Vec::new();
    let mut all_good = true;
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let span = start..start + line.len();
        start = span.end;
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let at = At {
            value: text,
            span: span.start + indent..span.start + indent + text.len(),
        };
        match read_line(doc, &at) {
            Some(key) => found.push(key),
            None => all_good = false,
        }
    }
    if all_good {
        Ok(found)
    } else {
        Err(FileError::BadLines)
    }
}

/// Options that OpenSSH knows; a line that starts with none of them starts with its key.
const OPTIONS: [&str; 25] = [
    "agent-forwarding",
    "cert-authority",
    "command",
    "environment",
    "expiry-time",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-X11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "touch-required",
    "tunnel",
    "user-rc",
    "verify-required",
    "X11-forwarding",
    "x11-forwarding",
    "no-x11-forwarding",
];

/// Options that only take away what is never given here.
const NEEDLESS: [&str; 7] = [
    "restrict",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-user-rc",
    "no-X11-forwarding",
    "no-x11-forwarding",
];

fn read_line(doc: Document<'_>, line: &At<&str>) -> Option<FoundKey> {
    let starts_with_key = line
        .value
        .split_whitespace()
        .next()
        .is_some_and(|word| !OPTIONS.iter().any(|o| is_option(word, o)));
    let (options, key_start) = if starts_with_key {
        (Vec::new(), 0)
    } else {
        match split_options(line.value) {
            Ok(parts) => parts,
            Err(at) => {
                let place = line.span.start + at;
                doc.error(&(place..place + 1), "this quotation mark is never closed");
                return None;
            }
        }
    };
    let place = |part: &Range<usize>| line.span.start + part.start..line.span.start + part.end;

    let mut good = true;
    let mut from: Option<Vec<IpNet>> = None;
    for part in options {
        let option = &line.value[part.clone()];
        let name = option.split('=').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case("from") {
            let why = if NEEDLESS.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                format!(
                    "the option \"{name}\" is not needed, none of that is ever given; remove it"
                )
            } else {
                format!("the option \"{name}\" has no meaning here; remove it, or the key")
            };
            doc.error(&place(&part), why);
            good = false;
            continue;
        }
        let Some(list) = option
            .split_once('=')
            .and_then(|(_, v)| v.strip_prefix('"'))
            .and_then(|v| v.strip_suffix('"'))
        else {
            doc.error(&place(&part), "write from=\"…\" with quotation marks");
            good = false;
            continue;
        };
        let mut start = part.start + "from=\"".len();
        for pattern in list.split(',') {
            let written = start..start + pattern.len();
            start = written.end + 1;
            match network(pattern) {
                Ok(net) => from.get_or_insert_default().push(net),
                Err(why) => {
                    doc.error(&place(&written), why);
                    good = false;
                }
            }
        }
    }

    let key_text = &line.value[key_start..];
    let key_span = place(&(key_start..line.value.len()));
    let key = match parse_key(key_text) {
        Ok(key) => key,
        Err(why) => {
            doc.error(&key_span, why);
            return None;
        }
    };
    if !good {
        return None;
    }
    if from.is_none() {
        doc.warning(
            &key_span,
            "this key may come from any address; put from=\"…\" with its networks before it",
        );
    }
    Some(FoundKey {
        rule: Arc::new(KeyRule {
            key,
            from,
            may: EVERYTHING,
        }),
        here: doc
            .source
            .diagnostic(Severity::Error, key_span, String::new()),
    })
}

fn is_option(word: &str, option: &str) -> bool {
    let name = word.split(['=', ',']).next().unwrap_or_default();
    name.eq_ignore_ascii_case(option)
}

/// Splits the options off a line: where each stands, and where the key starts. The error is where
/// an unclosed quotation mark stands.
/// Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT": comma-separated, no spaces but within double
/// quotes, where `\"` is a quotation mark.
fn split_options(line: &str) -> Result<(Vec<Range<usize>>, usize), usize> {
    let mut options = Vec::new();
    let mut start = 0;
    let mut quoted: Option<usize> = None;
    let mut escaped = false;
    for (i, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted.is_some() => escaped = true,
            '"' => quoted = if quoted.is_some() { None } else { Some(i) },
            ',' if quoted.is_none() => {
                options.push(start..i);
                start = i + 1;
            }
            c if c.is_whitespace() && quoted.is_none() => {
                options.push(start..i);
                let key = line[i..].len() - line[i..].trim_start().len();
                return Ok((options, i + key));
            }
            _ => {}
        }
    }
    match quoted {
        Some(at) => Err(at),
        None => {
            options.push(start..line.len());
            Ok((options, line.len()))
        }
    }
}

/// Reports every key that is listed twice for one tenant, and gives the rules in their order.
pub(super) fn without_twins(found: &[FoundKey], problems: &Problems) -> Vec<Arc<KeyRule>> {
    let mut rules: Vec<&FoundKey> = Vec::new();
    for key in found {
        let twin = rules
            .iter()
            .find(|other| other.rule.key.key_data() == key.rule.key.key_data());
        match twin {
            Some(twin) => {
                let mut problem = key.here.clone();
                let first = twin.here.at();
                problem.message =
                    format!("this key is listed twice for one tenant; the first is at {first}");
                problems.push(problem);
            }
            None => rules.push(key),
        }
    }
    rules.iter().map(|key| Arc::clone(&key.rule)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_normalised_and_mistakes_explained() {
        for (text, net) in [
            ("192.0.2.10", "192.0.2.10/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::/48", "2001:db8::/48"),
            ("::ffff:192.0.2.10", "192.0.2.10/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(network(text), Ok(net.parse().unwrap()), "{text}");
        }
        assert!(
            network("192.0.2.10/24")
                .unwrap_err()
                .contains("\"192.0.2.0/24\"")
        );
        assert!(network("host.example").unwrap_err().contains("is a name"));
        assert!(network("192.0.2.*").unwrap_err().contains("wildcards"));
        assert!(network("!192.0.2.1").unwrap_err().contains("exceptions"));
        assert!(
            network("192.0.2.1/33")
                .unwrap_err()
                .contains("is not an address")
        );
        assert!(network("192.0.2").is_err());
        assert!(network("").is_err());
    }

    #[test]
    fn options_are_split_at_commas_outside_quotes() {
        let line =
            r#"from="192.0.2.1,192.0.2.2",command="echo \"a b\", c",no-pty ssh-ed25519 AAAA x"#;
        let (options, key) = split_options(line).unwrap();
        let options: Vec<&str> = options.into_iter().map(|r| &line[r]).collect();
        assert_eq!(
            options,
            [
                r#"from="192.0.2.1,192.0.2.2""#,
                r#"command="echo \"a b\", c""#,
                "no-pty"
            ]
        );
        assert_eq!(&line[key..], "ssh-ed25519 AAAA x");
        assert_eq!(split_options("from=\"x ssh-ed25519"), Err(5));
    }
}
