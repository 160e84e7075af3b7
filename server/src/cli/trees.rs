//! How the command line names a tree: a snapshot by its name, `latest`, `live`, or a day.

use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::snapshot::{self, Held, SnapshotError, SnapshotName};

/// A tree of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Live,
    Snapshot(SnapshotName),
}

impl Named {
    /// `None`: live.
    pub(super) fn snapshot(self) -> Option<SnapshotName> {
        match self {
            Self::Live => None,
            Self::Snapshot(name) => Some(name),
        }
    }

    /// Its directory.
    pub(super) fn path(self, home: &Path) -> std::path::PathBuf {
        match self {
            Self::Live => home.join("live"),
            Self::Snapshot(name) => home.join("snapshots").join(name.to_string()),
        }
    }
}

impl Named {
    /// Keeps it as it is while it is read; live is not kept from changing.
    pub(super) fn hold(self, home: &Path) -> Result<Option<Held>, SnapshotError> {
        match self {
            Self::Live => Ok(None),
            Self::Snapshot(name) => snapshot::hold_any(home, name).map(Some),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Snapshot(name) => name.fmt(f),
        }
    }
}

/// The tree that `text` names. A day is the newest snapshot taken on it, in the time zone of the
/// configuration. The error is a whole sentence.
pub(super) fn tree(home: &Path, text: &str, zone: &TimeZone) -> Result<Named, String> {
    match text {
        "live" => Ok(Named::Live),
        _ => named(home, text, zone, ", latest, or live").map(Named::Snapshot),
    }
}

/// The same, where only snapshots will do.
pub(super) fn snapshot(home: &Path, text: &str, zone: &TimeZone) -> Result<SnapshotName, String> {
    named(home, text, zone, ", or latest")
}

/// `others`: what else could have been given.
fn named(home: &Path, text: &str, zone: &TimeZone, others: &str) -> Result<SnapshotName, String> {
    let names = snapshot::list(home).map_err(|e| e.to_string())?;
    let names: Vec<SnapshotName> = names.into_iter().map(|found| found.name).collect();
    if text == "latest" {
        return names
            .last()
            .copied()
            .ok_or("there are no snapshots yet".to_owned());
    }
    if let Ok(name) = text.parse::<SnapshotName>() {
        return match names.contains(&name) {
            true => Ok(name),
            false => Err(format!(
                "there is no snapshot {name}; `coffre snapshots` lists them"
            )),
        };
    }
    match text.parse::<Date>() {
        Ok(day) => names
            .into_iter()
            .rfind(|name| zone.to_datetime(name.time()).date() == day)
            .ok_or_else(|| format!("no snapshot was taken on {day}")),
        Err(_) => Err(format!(
            "\"{text}\" names no snapshot; give a name like 2026-11-20T093000Z, a day like \
             2026-11-20{others}"
        )),
    }
}
