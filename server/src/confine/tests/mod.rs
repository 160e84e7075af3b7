//! A store to try things in, and descriptions of trees that tell every difference.

mod deep;
mod escapes;
mod kept;
mod kernel;
mod random;
mod sharing;
mod staging;
mod stored;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{lgetxattr, llistxattr};

use super::*;

/// A tenant's home in a temporary directory, or on a file system of its own.
struct Store {
    home: PathBuf,
    root: TenantRoot,
    // In this order: unmounted before the directory goes.
    _mount: Option<Mount>,
    _dir: tempfile::TempDir,
}

impl Store {
    fn new(metadata: Metadata) -> Store {
        let dir = tempfile::tempdir().unwrap();
        Self::in_dir(dir, None, metadata)
    }

    /// On a fresh file system; `None`, with a line that says why, where that cannot be.
    fn on(file_system: &str) -> Option<Store> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Mount::new(file_system, dir.path())?;
        Some(Self::in_dir(dir, Some(mount), Metadata::Native))
    }

    fn in_dir(dir: tempfile::TempDir, mount: Option<Mount>, metadata: Metadata) -> Store {
        let home = mount
            .as_ref()
            .map_or(dir.path(), |mount| &mount.at)
            .join("home");
        fs::create_dir(&home).unwrap();
        let root = TenantRoot::open(&home, metadata, std::sync::Arc::default()).unwrap();
        Store {
            home,
            root,
            _mount: mount,
            _dir: dir,
        }
    }

    fn live(&self) -> PathBuf {
        self.home.join("live")
    }

    fn dir(&self, path: &str) -> std::sync::Arc<Dir> {
        self.root.cached_dir(&at(path)).unwrap()
    }

    fn top(&self) -> std::sync::Arc<Dir> {
        self.dir("")
    }

    /// Links everything in live into a directory beside it, as a snapshot does.
    fn snapshot(&self, name: &str) -> PathBuf {
        let to = self.home.join(name);
        link_tree(&self.live(), &to);
        to
    }

    fn staging_is_empty(&self) -> bool {
        fs::read_dir(self.home.join(".staging"))
            .unwrap()
            .next()
            .is_none()
    }
}

fn link_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link_tree(&entry.path(), &target);
        } else {
            fs::hard_link(entry.path(), target).unwrap();
        }
    }
}

/// A file system in a file.
struct Mount {
    at: PathBuf,
}

impl Mount {
    fn new(file_system: &str, dir: &Path) -> Option<Mount> {
        if !is_root() {
            eprintln!("skipped on {file_system}: mounting needs root");
            return None;
        }
        let image = dir.join("image");
        let at = dir.join("mount");
        fs::create_dir(&at).unwrap();
        fs::File::create(&image)
            .unwrap()
            .set_len(400 << 20)
            .unwrap();
        let quietly = |command: &mut Command| {
            let output = command.output();
            output.is_ok_and(|output| output.status.success())
        };
        let made = quietly(
            Command::new(format!("mkfs.{file_system}"))
                .arg("-q")
                .arg(&image),
        );
        let mounted = made
            && quietly(
                Command::new("mount")
                    .args(["-o", "loop"])
                    .arg(&image)
                    .arg(&at),
            );
        if !mounted {
            eprintln!("skipped on {file_system}: it cannot be made or mounted here");
            return None;
        }
        Some(Mount { at })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since the root of the store is still open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Ends a test, with a line that says why, where the process may not do what it is about.
macro_rules! needs_root {
    () => {
        if !$crate::confine::tests::is_root() {
            eprintln!("skipped: needs root");
            return;
        }
    };
}
use needs_root;

fn at(path: &str) -> TenantPath {
    TenantPath::parse(path.as_bytes()).unwrap()
}

fn time(secs: i64, nanos: u32) -> FileTime {
    FileTime { secs, nanos }
}

fn set(pairs: &[(&str, &str)]) -> XattrSet {
    pairs
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

/// Everything that one can see of an entry, whoever looks.
#[derive(Clone, PartialEq, Eq)]
struct Description {
    mode: u32,
    owner: (u32, u32),
    rdev: u64,
    mtime: (i64, i64),
    /// Not of symbolic links and directories: looking moves it.
    atime: (i64, i64),
    /// Of a file its bytes, of a link its target.
    content: Vec<u8>,
    /// All of them, ACLs too.
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:o} {:?} {:?} {}",
            self.mode,
            self.owner,
            self.mtime,
            self.content.len()
        )?;
        for (name, value) in &self.xattrs {
            writeln!(f, "  {} {value:x?}", String::from_utf8_lossy(name))?;
        }
        Ok(())
    }
}

fn describe(path: &Path) -> Description {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        read_quietly(path)
    } else if kind.is_symlink() {
        fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let device = kind.is_char_device() || kind.is_block_device();
    Description {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        rdev: if device { metadata.rdev() } else { 0 },
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        atime: match kind.is_symlink() || kind.is_dir() {
            true => (0, 0),
            false => (metadata.atime(), metadata.atime_nsec()),
        },
        content,
        xattrs: xattrs_of(path),
    }
}

/// Reads a file without moving its atime, where that may be.
fn read_quietly(path: &Path) -> Vec<u8> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = open(path, flags | OFlags::NOATIME, Mode::empty())
        .or_else(|_| open(path, flags, Mode::empty()))
        .unwrap();
    let mut content = Vec::new();
    fs::File::from(fd).read_to_end(&mut content).unwrap();
    content
}

fn xattrs_of(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let len = llistxattr(path, &mut list[..]).unwrap();
    list[..len]
        .split(|&byte| byte == 0)
        // XFS tells its ACLs twice.
        .filter(|name| !name.is_empty() && !name.starts_with(b"trusted.SGI_ACL_"))
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect()
}

/// Every entry below a directory, and itself, by path.
fn describe_tree(root: &Path) -> BTreeMap<PathBuf, Description> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        }
        found.insert(path.strip_prefix(root).unwrap().to_owned(), describe(&path));
    }
    found
}

fn inode_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}
