//! `[server]`: what holds for the whole process.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::diagnostic::did_you_mean;
use super::raw::{At, Document, Item, Table};
use super::units::{parse_duration, parse_size, render_size};
use super::{LandlockPolicy, MetadataPolicy, MinFree, SeccompPolicy, ServerConfig};

const KEYS: [&str; 15] = [
    "storage",
    "listen",
    "host_key",
    "time_zone",
    "metadata",
    "landlock",
    "seccomp",
    "ciphers",
    "login_grace",
    "max_unauthenticated",
    "max_unauthenticated_per_address",
    "max_sessions",
    "bandwidth",
    "min_free",
    "keep_sessions",
];

/// Keys that later versions have.
const LATER: [&str; 2] = ["notify", "status"];

/// The host key when none is named, beside the configuration.
const DEFAULT_HOST_KEY: &str = "host_ed25519";

/// As OpenSSH's `LoginGraceTime`: enough for an old client's key exchange over a bad line.
const DEFAULT_LOGIN_GRACE: Duration = Duration::from_secs(120);

/// Clients of one schedule come in the same second; each holds some 50 KiB until it has logged in.
const DEFAULT_MAX_UNAUTHENTICATED: usize = 256;

/// A site of clients behind one address may come at once, a flood from one address may not fill
/// the places of the others.
const DEFAULT_MAX_UNAUTHENTICATED_PER_ADDRESS: usize = 32;

/// What hundreds of tenants with one schedule start at once goes through in turns: beyond these
/// the disks only seek. Sessions over it wait for a place and are not refused.
const DEFAULT_MAX_SESSIONS: usize = 128;

/// A full file system is slow, and btrfs may need room to delete.
const DEFAULT_MIN_FREE: MinFree = MinFree::Percent(1.0);

/// A year and its last month, so that this year's can be compared with the last.
const DEFAULT_KEEP_SESSIONS: Duration = Duration::from_secs(400 * 24 * 3600);

/// Below this a session could not even exchange keys before clients give up.
const LEAST_BANDWIDTH: u64 = 16 << 10;

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
    let seccomp = table.value_or("seccomp", SeccompPolicy::Auto, |item| {
        choice(
            item,
            &[
                ("auto", SeccompPolicy::Auto),
                ("required", SeccompPolicy::Required),
                ("off", SeccompPolicy::Off),
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

    let max_sessions = table.value_or("max_sessions", DEFAULT_MAX_SESSIONS, at_least_one);
    let bandwidth = table.value_or("bandwidth", None, bandwidth);
    let min_free = table.value_or("min_free", DEFAULT_MIN_FREE, min_free);
    let keep_sessions = table.value_or("keep_sessions", Some(DEFAULT_KEEP_SESSIONS), |item| {
        if item.is_string() && item.string("")?.value == "forever" {
            return Some(None);
        }
        duration(item).map(Some)
    });

    Some(ServerConfig {
        storage: storage?,
        listen,
        host_keys,
        time_zone,
        metadata,
        landlock,
        seccomp,
        ciphers,
        login_grace,
        max_unauthenticated,
        max_unauthenticated_per_address,
        max_sessions,
        bandwidth,
        min_free,
        keep_sessions,
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

/// `"5GiB"` or `"1%"`.
fn min_free(item: &Item<'_>) -> Option<MinFree> {
    let text = item.string("a size like \"5GiB\", or a part of the disk like \"1%\"")?;
    let Some(number) = text.value.strip_suffix('%') else {
        return size(item).map(MinFree::Bytes);
    };
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..=50.0).contains(&percent) => Some(MinFree::Percent(percent)),
        _ => {
            item.error("\"min_free\" in percent must be a number from 0 to 50, like \"1%\"");
            None
        }
    }
}

/// `"20MiB/s"`, or `false` for as fast as it goes.
pub(super) fn bandwidth(item: &Item<'_>) -> Option<Option<u64>> {
    if item.as_boolean() == Some(false) {
        return Some(None);
    }
    let text = item.string("a size for each second like \"20MiB/s\", or false")?;
    let Some(each_second) = text.value.trim().strip_suffix("/s") else {
        item.error(format!(
            "\"{}\" is not a bandwidth: write a size for each second, like \"20MiB/s\"",
            text.value
        ));
        return None;
    };
    match parse_size(each_second) {
        Ok(bytes) if bytes >= LEAST_BANDWIDTH => Some(Some(bytes)),
        Ok(_) => {
            item.error(format!("\"{}\" must be at least \"16KiB/s\"", item.name));
            None
        }
        Err(why) => {
            item.error(format!("\"{}\" is not a bandwidth: {why}", text.value));
            None
        }
    }
}

pub(super) fn size(item: &Item<'_>) -> Option<u64> {
    let text = item.string("a size like \"500GiB\"")?;
    match parse_size(text.value) {
        Ok(found) => Some(found),
        Err(why) => {
            item.error(format!("\"{}\" is not a size: {why}", text.value));
            None
        }
    }
}

/// A size with bounds, in bytes; no upper one: `u64::MAX`.
pub(super) fn size_within(item: &Item<'_>, least: u64, most: u64) -> Option<u64> {
    let found = size(item)?;
    if (least..=most).contains(&found) {
        return Some(found);
    }
    let least = render_size(least);
    let name = &item.name;
    item.error(match most {
        u64::MAX => format!("\"{name}\" must be at least {least}"),
        most => format!("\"{name}\" must be from {least} to {}", render_size(most)),
    });
    None
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
