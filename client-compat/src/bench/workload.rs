//! The workloads, one row of the page each.

use crate::loopfs::FileSystem;

use super::limit::Limit;
use super::source::{Change, Tree};

/// What a workload is to reach: coffre ÷ stock, medians. `None`: no number was set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Goals {
    pub(super) cpu: Option<f64>,
    pub(super) wall: Option<f64>,
    pub(super) memory: Option<f64>,
    pub(super) written: Option<f64>,
}

/// Numbers of files and bytes, before `--scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) size: Size,
    pub(super) kind: Kind,
    pub(super) goals: Goals,
    /// The file system it is about, if not the one that was asked for.
    pub(super) fs: Option<FileSystem>,
    /// What stands for what no server could do without.
    pub(super) limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Into an empty destination.
    FirstPush {
        tree: Tree,
        with: Transfer,
    },
    /// Onto what an earlier push has left.
    Push {
        tree: Tree,
        change: Change,
        with: Transfer,
    },
    Pull {
        tree: Tree,
    },
    /// So many clients at once, each with a tree and a destination of its own.
    ManyClients {
        clients: usize,
    },
    /// Logins that run `true`, one after the other.
    Logins {
        logins: usize,
    },
    Snapshot,
    /// A new snapshot with a hundredth changed, and an old one gone.
    Steady,
    Prune,
    /// So many tenants on so many ports.
    Tenants,
}

/// How the client is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) args: &'static [&'static str],
    /// There and back.
    pub(super) round_trip_millis: u64,
}

const PLAIN: Transfer = Transfer {
    args: &[],
    round_trip_millis: 0,
};

const fn with(args: &'static [&'static str]) -> Transfer {
    Transfer {
        args,
        round_trip_millis: 0,
    }
}

const fn goals(cpu: f64, wall: f64, memory: f64) -> Goals {
    const fn some(goal: f64) -> Option<f64> {
        if goal > 0.0 { Some(goal) } else { None }
    }
    Goals {
        cpu: some(cpu),
        wall: some(wall),
        memory: some(memory),
        written: None,
    }
}

const fn size(files: u64, bytes: u64) -> Size {
    Size { files, bytes }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "first-push",
        about: "{files} files of 4 KiB into an empty destination",
        size: size(100_000, 4 * KIB),
        kind: Kind::FirstPush {
            tree: Tree::Even,
            with: PLAIN,
        },
        goals: goals(0.5, 0.7, 0.5),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "first-push-mixed",
        about: "{files} files of log-normal sizes (median 4 KiB, up to 4 MiB) into an empty destination",
        size: size(20_000, 4 * KIB),
        kind: Kind::FirstPush {
            tree: Tree::LogNormal,
            with: PLAIN,
        },
        goals: goals(0.45, 0.7, 0.5),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "no-change",
        about: "{files} files again, none changed",
        size: size(1_000_000, 100),
        kind: Kind::Push {
            tree: Tree::Even,
            change: Change::Nothing,
            with: PLAIN,
        },
        goals: goals(0.5, 0.9, 0.5),
        fs: None,
        limit: Limit::Look,
    },
    Workload {
        name: "one-percent",
        about: "{files} files again, a hundredth of them changed, with `--delete`",
        size: size(200_000, KIB),
        kind: Kind::Push {
            tree: Tree::Even,
            change: Change::OneFileInHundred,
            with: PLAIN,
        },
        goals: goals(0.5, 0.9, 0.5),
        fs: None,
        limit: Limit::Look,
    },
    Workload {
        name: "big-file",
        about: "one new file of {bytes}",
        size: size(1, 2 * GIB),
        kind: Kind::FirstPush {
            tree: Tree::OneFile,
            with: PLAIN,
        },
        goals: goals(0.35, 0.75, 0.0),
        fs: None,
        limit: Limit::Cipher,
    },
    Workload {
        name: "delta",
        about: "one file of {bytes}, a hundredth of its blocks changed",
        size: size(1, 4 * GIB),
        kind: DELTA,
        goals: goals(0.6, 0.8, 0.0),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "delta-xfs",
        about: "one file of {bytes}, a hundredth of its blocks changed, on XFS",
        size: size(1, 4 * GIB),
        kind: DELTA,
        goals: Goals {
            cpu: None,
            wall: None,
            memory: None,
            written: Some(0.05),
        },
        fs: Some(FileSystem::Xfs),
        limit: Limit::Copy,
    },
    Workload {
        name: "delta-btrfs",
        about: "one file of {bytes}, a hundredth of its blocks changed, on btrfs",
        size: size(1, 4 * GIB),
        kind: DELTA,
        goals: Goals {
            cpu: None,
            wall: None,
            memory: None,
            written: Some(0.05),
        },
        fs: Some(FileSystem::Btrfs),
        limit: Limit::Copy,
    },
    Workload {
        name: "compressed",
        about: "`-z`: {files} files of text, {bytes} each, into an empty destination",
        size: size(5_000, 32 * KIB),
        kind: Kind::FirstPush {
            tree: Tree::Text,
            with: with(&["-z"]),
        },
        goals: goals(0.8, 1.0, 0.0),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "protocol-29",
        about: "`--no-acls --no-xattrs --protocol=29` (MD4): one file of {bytes}, a hundredth of its blocks changed",
        size: size(1, GIB),
        kind: Kind::Push {
            tree: Tree::OneFile,
            change: Change::OneBlockInHundred,
            with: with(&["--no-acls", "--no-xattrs", "--protocol=29"]),
        },
        goals: goals(0.6, 1.0, 0.0),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "protocol-30",
        about: "`--protocol=30 --checksum-choice=md5`: one file of {bytes}, a hundredth of its blocks changed",
        size: size(1, GIB),
        kind: Kind::Push {
            tree: Tree::OneFile,
            change: Change::OneBlockInHundred,
            with: with(&["--protocol=30", "--checksum-choice=md5"]),
        },
        goals: goals(0.6, 1.0, 0.0),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "checksum",
        about: "`-c`: {files} files of {bytes} each again, none changed",
        size: size(10_000, 210 * KIB),
        kind: Kind::Push {
            tree: Tree::Even,
            change: Change::Nothing,
            with: with(&["-c"]),
        },
        goals: goals(0.1, 0.7, 0.0),
        fs: None,
        limit: Limit::Look,
    },
    Workload {
        name: "restore-small",
        about: "a pull of {files} files of 4 KiB",
        size: size(100_000, 4 * KIB),
        kind: Kind::Pull { tree: Tree::Even },
        goals: goals(0.5, 0.8, 0.0),
        fs: None,
        limit: Limit::Copy,
    },
    Workload {
        name: "restore-big",
        about: "a pull of one file of {bytes}",
        size: size(1, 2 * GIB),
        kind: Kind::Pull {
            tree: Tree::OneFile,
        },
        goals: goals(0.45, 0.5, 0.0),
        fs: None,
        limit: Limit::Cipher,
    },
    Workload {
        name: "many-clients",
        about: "32 clients at once, {files} files of 4 KiB each",
        size: size(2_000, 4 * KIB),
        kind: Kind::ManyClients { clients: 32 },
        goals: goals(0.4, 0.7, 0.25),
        fs: None,
        limit: Limit::Copies,
    },
    Workload {
        name: "login",
        about: "20 times one after the other: connect, authenticate, run `true`, close",
        size: size(1, 1),
        kind: Kind::Logins { logins: 20 },
        goals: goals(0.05, 0.3, 0.0),
        fs: None,
        limit: Limit::Clients,
    },
    Workload {
        name: "far-away",
        about: "one new file of {bytes} over a line with a round trip of 150 ms",
        size: size(1, 256 * MIB),
        kind: Kind::FirstPush {
            tree: Tree::OneFile,
            with: Transfer {
                args: &[],
                round_trip_millis: 150,
            },
        },
        goals: goals(0.0, 0.3, 0.0),
        fs: None,
        limit: Limit::CipherNearby,
    },
    Workload {
        name: "snapshot",
        about: "a snapshot of {files} files, against `cp -al` and a sync",
        size: size(1_000_000, 100),
        kind: Kind::Snapshot,
        goals: goals(0.0, 0.5, 0.0),
        fs: None,
        limit: Limit::Links,
    },
    Workload {
        name: "steady",
        about: "a new snapshot of {files} files, a hundredth changed, and an old one gone; against \
                `cp -al`, `rm -rf` and a sync",
        size: size(1_000_000, 100),
        kind: Kind::Steady,
        goals: goals(0.0, 0.08, 0.0),
        fs: None,
        limit: Limit::Listings,
    },
    Workload {
        name: "prune",
        about: "removal of a snapshot of {files} files, against `rm -rf`",
        size: size(1_000_000, 100),
        kind: Kind::Prune,
        goals: goals(0.0, 0.6, 0.0),
        fs: None,
        limit: Limit::Removals,
    },
    Workload {
        name: "tenants",
        about: "{files} tenants: from the start until all ports answer, and the memory of all that \
                idle; against an sshd for each",
        size: size(1_000, 1),
        kind: Kind::Tenants,
        goals: goals(0.0, 0.1, 0.02),
        fs: None,
        limit: Limit::Sockets,
    },
];

const DELTA: Kind = Kind::Push {
    tree: Tree::OneFile,
    change: Change::OneBlockInHundred,
    with: PLAIN,
};

impl Workload {
    pub(super) fn tell(&self, size: Size) -> String {
        self.about
            .replace("{files}", &size.files.to_string())
            .replace("{bytes}", &bytes(size.bytes))
    }

    /// Smaller, or larger: what there is many of.
    pub(super) fn scaled(&self, scale: f64) -> Size {
        let times = |n: u64| ((n as f64 * scale).round() as u64).max(1);
        match self.size {
            Size { files: 1, bytes } if bytes >= MIB => Size {
                files: 1,
                bytes: times(bytes),
            },
            Size { files: 1, bytes } => Size { files: 1, bytes },
            Size { files, bytes } => Size {
                files: times(files),
                bytes,
            },
        }
    }
}

fn bytes(n: u64) -> String {
    match n {
        n if n >= GIB && n.is_multiple_of(GIB) => format!("{} GiB", n / GIB),
        n if n >= MIB => format!("{} MiB", n / MIB),
        n if n >= KIB => format!("{} KiB", n / KIB),
        n => format!("{n} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_many_of_is_scaled() {
        let find = |name| WORKLOADS.iter().find(|w| w.name == name).unwrap();
        let told = |name, scale| find(name).tell(find(name).scaled(scale));
        assert_eq!(told("big-file", 1.0), "one new file of 2 GiB");
        assert_eq!(told("big-file", 0.1), "one new file of 204 MiB");
        assert_eq!(
            told("checksum", 0.1),
            "`-c`: 1000 files of 210 KiB each again, none changed"
        );
        assert_eq!(find("login").scaled(0.1).files, 1);
    }

    #[test]
    fn names_are_different() {
        for (n, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..n].iter().all(|w| w.name != workload.name));
        }
    }
}
