//! Which snapshots a tenant has.

use std::path::Path;

use jiff::Timestamp;
use rustix::io::Errno;

use super::error::SnapshotError;
use super::home::Home;
use super::marker;
use super::name::{SnapshotName, State};
use super::walk::open_directory;

/// A committed snapshot, or something that goes by the name of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub name: SnapshotName,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Coffre made it for this tenant: its mark says so.
    Ours,
    /// Somebody else put it there, for this reason. It is shown, and never pruned.
    Foreign(String),
}

impl Snapshot {
    pub fn time(&self) -> Timestamp {
        self.name.time()
    }

    pub fn state(&self) -> State {
        self.name.state()
    }

    pub fn is_ours(&self) -> bool {
        self.origin == Origin::Ours
    }
}

/// All directories in `<home>/snapshots` that are named like a snapshot, oldest first. Other
/// names are not looked at. A tenant without any, or without a directory, has none.
pub fn list(home: &Path) -> Result<Vec<Snapshot>, SnapshotError> {
    let Some(home) = Home::open(home)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for file_name in home.directories()? {
        let Ok(name) = file_name.parse::<SnapshotName>() else {
            continue;
        };
        // It may have been set aside since it was listed.
        if let Some(origin) = origin(&home, name)? {
            found.push(Snapshot { name, origin });
        }
    }
    found.sort_by_key(|snapshot| snapshot.name);
    Ok(found)
}

/// Whose it is. `None`: there is no such directory.
pub(super) fn origin(home: &Home, name: SnapshotName) -> Result<Option<Origin>, SnapshotError> {
    let file_name = name.to_string();
    let c_name = std::ffi::CString::new(file_name.as_str()).expect("a name has no NUL");
    let directory = match open_directory(&home.snapshots, &c_name) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(Errno::ACCESS) => {
            return Ok(Some(Origin::Foreign("it may not be read".into())));
        }
        Err(error) => return Err(home.fail("open", &file_name, error)),
    };
    Ok(Some(match marker::check(home, &directory, name) {
        Ok(()) => Origin::Ours,
        Err(why) => Origin::Foreign(why.to_string()),
    }))
}
