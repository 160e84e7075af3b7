//! Tests on real directories. Those that need root, or a file system of their own on a loop
//! device, say so and pass where they cannot run.

mod borders;
mod crash;
mod faults;
mod limits;
mod recycle;
mod sizes;
mod subvolume;
mod trees;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOON: &str = "2026-11-20T12:00:00Z";

/// A tenant's home in a directory of its own.
struct Tenant {
    home: PathBuf,
    _directory: Option<TempDir>,
}

impl Tenant {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut tenant = Self::within(directory.path());
        tenant._directory = Some(directory);
        tenant
    }

    fn within(storage: &Path) -> Self {
        let home = storage.join("web01");
        fs::create_dir_all(home.join("live")).unwrap();
        Self {
            home,
            _directory: None,
        }
    }

    fn live(&self) -> PathBuf {
        self.home.join("live")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.live().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn take(&self, when: &str) -> Taken {
        take(&self.home, at(when), State::Complete, &()).unwrap()
    }

    fn recycle(&self, when: &str, old: SnapshotName) -> Taken {
        take_recycling(&self.home, at(when), State::Complete, Some(old), &()).unwrap()
    }

    fn path_of(&self, name: SnapshotName) -> PathBuf {
        self.home.join("snapshots").join(name.to_string())
    }

    /// All names in `snapshots/`.
    fn stages(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.join("snapshots")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// What must be equal in live and in its snapshot.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    /// Of files only: snapshots share them, directories have their own.
    inode: u64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Everything in a tree, by relative path; the root is `""`.
fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    fn visit(root: &Path, at: &Path, seen: &mut BTreeMap<PathBuf, Seen>) {
        let meta = fs::symlink_metadata(at).unwrap();
        let mut names = vec![0; 64 << 10];
        let length = rustix::fs::llistxattr(at, names.as_mut_slice()).unwrap();
        let xattr = |name: &[u8]| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(at, name, value.as_mut_slice()).unwrap();
            (name.to_vec(), value[..length].to_vec())
        };
        let mut xattrs: Vec<_> = attributes::names(&names[..length]).map(xattr).collect();
        xattrs.sort();
        let found = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            inode: if meta.is_dir() { 0 } else { meta.ino() },
            xattrs,
        };
        seen.insert(at.strip_prefix(root).unwrap().to_owned(), found);
        if meta.is_dir() {
            let mut names: Vec<OsString> = fs::read_dir(at)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            for name in names {
                visit(root, &at.join(name), seen);
            }
        }
    }
    let mut seen = BTreeMap::new();
    visit(root, root, &mut seen);
    seen
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// A fresh file system on a loop device, unmounted at the end.
struct Mounted {
    _directory: TempDir,
    path: PathBuf,
}

impl Mounted {
    /// `None`: it cannot be had here, which has been said.
    fn new(kind: &str, mebibytes: u64, options: &[&str]) -> Option<Self> {
        if !is_root() {
            skip("mounting takes root");
            return None;
        }
        let directory = TempDir::new().unwrap();
        let image = directory.path().join("image");
        fs::File::create(&image)
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        let made = Command::new(format!("mkfs.{kind}"))
            .arg("-q")
            .args(options)
            .arg(&image)
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            skip(&format!("no mkfs.{kind}"));
            return None;
        }
        let path = directory.path().join("mounted");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&path)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            skip(&format!("cannot mount {kind} from a loop device"));
            return None;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self {
            _directory: directory,
            path,
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
