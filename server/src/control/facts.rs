//! What the daemon knows, as it is handed out: on the socket, and by `--json`.
//!
//! Times are RFC 3339 in UTC, sizes in bytes, durations in seconds.

use serde::{Deserialize, Serialize};

/// The whole server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusFacts {
    pub version: String,
    pub pid: u32,
    pub storage: String,
    pub config: String,
    pub started: String,
    /// `native` or `xattr`.
    pub metadata: String,
    pub landlock: String,
    pub time_zone: String,
    pub tenants: Vec<TenantFacts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantFacts {
    pub name: String,
    pub port: u16,
    /// What is listened on now; empty where no daemon runs.
    pub addresses: Vec<String>,
    pub home: String,
    pub logins: Vec<String>,
    pub restore_login: Option<String>,
    pub keys: usize,
    /// Sessions at work now.
    pub sessions: usize,
    pub last_push: Option<PushFacts>,
    pub snapshots: usize,
    pub latest_snapshot: Option<String>,
    /// When the next one is due by the schedule or after the last push.
    pub next_snapshot: Option<String>,
    /// Pushes that end well make snapshots due.
    pub after_push: bool,
    /// A due snapshot waits for sessions to end.
    pub snapshot_waits: bool,
    /// `None`: it has none.
    pub quota: Option<QuotaFacts>,
    /// `None`: its store was never verified, nor will it be by itself.
    #[serde(default)]
    pub verify: Option<ScrubFacts>,
}

/// What is known of damage in a tenant's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubFacts {
    /// In how long all of it is read once; `None`: only by hand.
    pub every_seconds: Option<u64>,
    /// When the next part is due.
    pub next: Option<String>,
    /// A part is being read now.
    pub running: bool,
    /// When a run began that is not through.
    pub started: Option<String>,
    /// What it has read so far.
    pub read_bytes: Option<u64>,
    /// The last run that went through.
    pub last_ended: Option<String>,
    pub last_bytes: Option<u64>,
    /// What is damaged, as far as the last runs have shown.
    pub damaged: u64,
    /// The first of it, a sentence each.
    pub damage: Vec<String>,
}

/// What a tenant may have and has: live and history, each inode once. Each limit may be missing;
/// what is used is not known before the first count is through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaFacts {
    pub size_bytes: Option<u64>,
    pub files: Option<u64>,
    pub used_bytes: Option<u64>,
    pub used_files: Option<u64>,
}

/// The last push, or the one that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushFacts {
    pub started: String,
    pub ended: Option<String>,
    pub state: PushState,
    /// When one last ended well.
    pub last_good: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushState {
    Running,
    EndedWell,
    /// Or the server died under it.
    BrokeOff,
}

/// One committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    pub name: String,
    /// `complete` or `incomplete`.
    pub state: String,
    pub taken: String,
    pub files: u64,
    /// Length of all content, each inode once.
    pub size_bytes: u64,
    /// Disk space that nothing but this snapshot uses: what its removal would free.
    pub own_bytes: u64,
}

/// A snapshot that was just taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenFacts {
    pub name: String,
    pub state: String,
    pub files: u64,
    pub directories: u64,
    pub took_millis: u64,
    /// What the admin should know, like mount points that were left out.
    pub notes: Vec<String>,
}

/// What became, or would become, of one tenant's snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneFacts {
    pub tenant: String,
    /// Newest first.
    pub plan: Vec<PlannedFacts>,
    /// Why nothing was pruned although the plan says so.
    pub stop: Option<String>,
    /// Names that are gone now; empty for a dry run.
    pub removed: Vec<String>,
    /// What ended it early: the time limit, or an error.
    pub ended_early: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFacts {
    pub name: String,
    pub keep: bool,
    pub why: String,
}

/// What was copied out of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreFacts {
    pub tenant: String,
    /// The name of the snapshot, or `live`.
    pub snapshot: String,
    pub files: u64,
    pub directories: u64,
    /// Symbolic links, devices, pipes and sockets.
    pub others: u64,
    /// Further names of files.
    pub links: u64,
    pub bytes: u64,
    /// What was not restored as it is stored; each was said.
    pub problems: u64,
    pub took_millis: u64,
}

/// A path that was looked for, and everything that went by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFacts {
    /// From the top of the tree, with unprintable bytes escaped.
    pub path: String,
    /// Oldest first.
    pub versions: Vec<VersionFacts>,
}

/// What one path stood for in consecutive snapshots, of which live is the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFacts {
    pub first: String,
    pub last: String,
    /// How many hold it, live among them.
    pub snapshots: u64,
    /// `file`, `directory`, `symlink`, `fifo`, `socket` or `device`; `None`: it is missing.
    pub kind: Option<String>,
    /// `None` of a directory.
    pub size_bytes: Option<u64>,
    pub modified: Option<String>,
    /// Of a directory: in the first of them.
    pub inode: u64,
}

/// What differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffFacts {
    pub tenant: String,
    /// Names of snapshots, or `live`.
    pub first: String,
    pub second: String,
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    pub moved: u64,
    /// Length of the files that only the second holds, each inode once.
    pub new_bytes: u64,
    /// By path.
    pub differences: Vec<DifferenceFacts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceFacts {
    /// From the top of the trees, with unprintable bytes escaped; a directory ends with a slash.
    pub path: String,
    /// `added`, `removed`, `moved` or `changed`.
    pub change: String,
    /// In the second tree; of what was removed, in the first. As [`VersionFacts::kind`].
    pub kind: String,
    /// Of what changed: `type`, `content`, `content?`, `size`, `mtime`, `mode`, `owner`, `xattr`,
    /// `acl`, `links`.
    pub what: Vec<String>,
    /// Of what moved.
    pub from: Option<String>,
    /// Of what was added or removed: a name of something that is in both.
    pub hard_link: bool,
    pub size_bytes: u64,
}

/// What reading a tenant's store has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFacts {
    pub tenant: String,
    /// The only one that was read; absent: all.
    pub snapshot: Option<String>,
    pub snapshots: u64,
    pub live: bool,
    /// Inodes that were read.
    pub files: u64,
    pub bytes: u64,
    pub without_sum: u64,
    /// Snapshots of which it is not known what they should hold.
    pub without_manifest: Vec<String>,
    /// It went on from where an earlier run was left.
    pub resumed: bool,
    pub took_millis: u64,
    pub damaged: Vec<DamageFacts>,
}

/// A name of something that is not as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageFacts {
    /// Relative to the tree, with unprintable bytes escaped.
    pub path: String,
    /// `content`, `size`, `unreadable`, `sum`, `missing`, `extra`, `replaced` or `manifest`.
    pub kind: String,
    /// The same in words.
    pub what: String,
    /// Where it has that name: snapshots, oldest first, and `live`.
    pub snapshots: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFacts {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub tenants: usize,
    /// Rendered warnings about the configuration.
    pub warnings: Vec<String>,
}

impl QuotaFacts {
    /// `12.3 GiB of 500 GiB (2%), 81234 of 2000000 files`.
    pub fn render(&self) -> String {
        use crate::config::units::render_size;
        let part = |used: Option<u64>, limit: u64, show: &dyn Fn(u64) -> String| match used {
            None => format!("being counted, of {}", show(limit)),
            Some(used) => {
                // Rounded up: 100% only where nothing is left would hide that nothing fits.
                let percent = (u128::from(used) * 100).div_ceil(u128::from(limit.max(1)));
                format!("{} of {} ({percent}%)", show(used), show(limit))
            }
        };
        let size = self
            .size_bytes
            .map(|limit| part(self.used_bytes, limit, &render_size));
        let files = self.files.map(|limit| {
            let text = part(self.used_files, limit, &|n| n.to_string());
            format!("{text} files")
        });
        let parts: Vec<String> = size.into_iter().chain(files).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_says_what_is_used_of_what() {
        let quota = QuotaFacts {
            size_bytes: Some(500 << 30),
            files: None,
            used_bytes: Some(13_207_024_435),
            used_files: Some(7),
        };
        assert_eq!(quota.render(), "12.3 GiB of 500 GiB (3%)");
        let both = QuotaFacts {
            files: Some(2000),
            ..quota.clone()
        };
        let expected = "12.3 GiB of 500 GiB (3%), 7 of 2000 (1%) files";
        assert_eq!(both.render(), expected);
        let unknown = QuotaFacts {
            used_bytes: None,
            ..quota
        };
        assert_eq!(unknown.render(), "being counted, of 500 GiB");
    }
}
