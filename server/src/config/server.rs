//! `[server]`: what holds for the whole process.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::diagnostic::did_you_mean;
use super::raw::{At, Document, Item, Table};
use super::units::parse_duration;
use super::{LandlockPolicy, MetadataPolicy, ServerConfig};

const KEYS: [&str; 10] = [
    "storage",
    "listen",
    "host_key",
    "time_zone",
    "metadata",
    "landlock",
    "ciphers",
    "login_grace",
    "max_unauthenticated",
    "max_unauthenticated_per_address",
];

/// Keys that later versions have.
const LATER: [&str; 3] = ["notify", "status", "bandwidth"];

/// The host key when none is named, beside the configuration.
const DEFAULT_HOST_KEY: &str = "host_ed25519";

/// As OpenSSH's `LoginGraceTime`: enough for an old client's key exchange over a bad line.
const DEFAULT_LOGIN_GRACE: Duration = Duration::from_secs(120);

/// Clients of one schedule come in the same second; each holds some 50 KiB until it has logged in.
const DEFAULT_MAX_UNAUTHENTICATED: usize = 256;

/// A site of clients behind one address may come at once, a flood from one address may not fill
/// the places of the others.
const DEFAULT_MAX_UNAUTHENTICATED_PER_ADDRESS: usize = 32;

/// Reads the table, which may be missing. `directory` is that of the file.
pub(super) fn read(
    doc: Document<'_>,
    table: Option<Table<'_>>,
    directory: &Path,
) -> Option<ServerConfig> {
    let Some(table) = table else {
        doc.error(
            &(0..0),
            "there is no [server] table; add one with storage = \"/backup\"",
        );
        return None;
    };
    table.check_keys(&KEYS, &LATER);

    let storage = match table.item("storage") {
        Some(item) => storage(&item),
        None => {
            doc.error(
                &header(&table),
                "[server] names no storage; add storage = \"/backup\"",
            );
            None
        }
    };
    let listen = table.value_or("listen", default_listen(), listen);
    let host_keys = table.value_or("host_key", vec![directory.join(DEFAULT_HOST_KEY)], |item| {
        let paths = paths(item, directory)?;
        // The first one is made when it is missing; the others cannot be meant to be new.
        let all_there = paths[1..]
            .iter()
            .map(|at| check_host_key_is_there(doc, at))
            .fold(true, |all, there| all & there);
        all_there.then(|| paths.into_iter().map(|at| at.value).collect())
    });
    let time_zone = match table.item("time_zone") {
        Some(item) => time_zone(&item).unwrap_or(TimeZone::UTC),
        None => TimeZone::try_system().unwrap_or_else(|_| {
            doc.warning(
                &header(&table),
                "the system's time zone cannot be found out, UTC is used; set time_zone",
            );
            TimeZone::UTC
        }),
    };
    let metadata = table.value_or("metadata", MetadataPolicy::Auto, |item| {
        choice(
            item,
            &[
                ("auto", MetadataPolicy::Auto),
                ("native", MetadataPolicy::Native),
                ("xattr", MetadataPolicy::Xattr),
            ],
        )
    });
    let landlock = table.value_or("landlock", LandlockPolicy::Auto, |item| {
        choice(
            item,
            &[
                ("auto", LandlockPolicy::Auto),
                ("required", LandlockPolicy::Required),
                ("off", LandlockPolicy::Off),
            ],
        )
    });
    let ciphers = table.value_or("ciphers", None, |item| ciphers(item).map(Some));
    let login_grace = table.value_or("login_grace", DEFAULT_LOGIN_GRACE, |item| {
        let found = duration(item)?;
        if found.is_zero() {
            item.error("\"login_grace\" of nothing would let nobody in");
            return None;
        }
        Some(found)
    });
    let max_unauthenticated = table.value_or(
        "max_unauthenticated",
        DEFAULT_MAX_UNAUTHENTICATED,
        at_least_one,
    );
    let max_unauthenticated_per_address = table.value_or(
        "max_unauthenticated_per_address",
        DEFAULT_MAX_UNAUTHENTICATED_PER_ADDRESS,
        at_least_one,
    );

    Some(ServerConfig {
        storage: storage?,
        listen,
        host_keys,
        time_zone,
        metadata,
        landlock,
        ciphers,
        login_grace,
        max_unauthenticated,
        max_unauthenticated_per_address,
    })
}

/// The first line of a table, where something that is missing in it is reported.
fn header(table: &Table<'_>) -> std::ops::Range<usize> {
    let text = &table.doc.source.text[table.span.clone()];
    let end = text.find('\n').unwrap_or(text.len());
    table.span.start..table.span.start + end
}

fn storage(item: &Item<'_>) -> Option<PathBuf> {
    let text = item.string("a path like \"/backup\"")?;
    let path = Path::new(text.value);
    if !path.is_absolute() {
        item.error("\"storage\" must be an absolute path, like \"/backup\"");
        return None;
    }
    if path.components().any(|c| c == Component::ParentDir) {
        item.error("\"storage\" must not go through \"..\"");
        return None;
    }
    let path: PathBuf = path.components().collect();
    if path.parent().is_none() {
        item.error("\"storage\" must be a directory of its own, not \"/\"");
        return None;
    }
    Some(path)
}

fn default_listen() -> Vec<IpAddr> {
    vec![
        IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED),
    ]
}

fn listen(item: &Item<'_>) -> Option<Vec<IpAddr>> {
    let mut seen = Vec::new();
    item.strings("an address like \"192.0.2.1\", or a list of them", |text| {
        let address = match text.value.parse::<IpAddr>() {
            Ok(address) => address.to_canonical(),
            Err(_) => {
                let hint = match text.value.rsplit_once(':') {
                    Some((host, port))
                        if host.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_ok() =>
                    {
                        "; the port is the tenant's"
                    }
                    _ => "",
                };
                item.doc.error(
                    &text.span,
                    format!("\"{}\" is not an IP address{hint}", text.value),
                );
                return None;
            }
        };
        if seen.contains(&address) {
            item.doc
                .error(&text.span, format!("\"{}\" is listed twice", text.value));
            return None;
        }
        seen.push(address);
        Some(address)
    })
}

fn time_zone(item: &Item<'_>) -> Option<TimeZone> {
    let text = item.string("the name of a time zone, like \"Europe/Paris\"")?;
    match TimeZone::get(text.value) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let names: Vec<String> = jiff::tz::db().available().map(|n| n.to_string()).collect();
            let hint = if names.is_empty() {
                "; this machine has no time zone database, install tzdata".to_owned()
            } else {
                did_you_mean(text.value, names.iter().map(String::as_str))
            };
            item.error(format!("unknown time zone \"{}\"{hint}", text.value));
            None
        }
    }
}

fn ciphers(item: &Item<'_>) -> Option<Vec<String>> {
    use russh::cipher;
    // What is neither encrypted, nor authenticated as strongly as the rest, is not on offer.
    let known: [&str; 6] = [
        cipher::CHACHA20_POLY1305.as_ref(),
        cipher::AES_256_GCM.as_ref(),
        cipher::AES_128_GCM.as_ref(),
        cipher::AES_256_CTR.as_ref(),
        cipher::AES_192_CTR.as_ref(),
        cipher::AES_128_CTR.as_ref(),
    ];
    item.strings("the name of a cipher, or a list of them", |text| {
        if known.contains(&text.value) {
            return Some(text.value.to_owned());
        }
        item.doc.error(
            &text.span,
            format!(
                "unknown cipher \"{}\"; the ciphers are {}",
                text.value,
                known.join(", ")
            ),
        );
        None
    })
}

fn at_least_one(item: &Item<'_>) -> Option<usize> {
    item.integer(1..=1_000_000)
        .and_then(|n| usize::try_from(n).ok())
}

/// One of the named values.
pub(super) fn choice<T: Copy>(item: &Item<'_>, choices: &[(&str, T)]) -> Option<T> {
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let expected = format!("one of {}", names.join(", "));
    let text = item.string(&expected)?;
    match choices.iter().find(|(name, _)| *name == text.value) {
        Some((_, value)) => Some(*value),
        None => {
            item.error(format!(
                "\"{}\" must be {expected}, not \"{}\"",
                item.name, text.value
            ));
            None
        }
    }
}

pub(super) fn duration(item: &Item<'_>) -> Option<Duration> {
    let text = item.string("a duration like \"90s\", \"30m\" or \"24h\"")?;
    match parse_duration(text.value) {
        Ok(found) => Some(found),
        Err(why) => {
            item.error(format!("\"{}\" is not a duration: {why}", text.value));
            None
        }
    }
}

/// Paths of files; relative ones start at the directory of the configuration.
pub(super) fn paths(item: &Item<'_>, directory: &Path) -> Option<Vec<At<PathBuf>>> {
    item.strings("a path, or a list of paths", |text| {
        if text.value.is_empty() {
            item.doc.error(&text.span, "the path is empty");
            return None;
        }
        Some(At {
            value: directory.join(text.value),
            span: text.span.clone(),
        })
    })
}

/// Whether a host key that is not made at start exists. What else may be wrong with it shows when
/// it is loaded: the configuration may be checked by someone who cannot read it.
pub(super) fn check_host_key_is_there(doc: Document<'_>, path: &At<PathBuf>) -> bool {
    match std::fs::metadata(&path.value) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            doc.error(
                &path.span,
                "there is no such host key; only the first one of [server] is made at start",
            );
            false
        }
        _ => true,
    }
}
