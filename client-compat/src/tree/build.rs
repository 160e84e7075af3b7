//! Makes trees, the same each time: every content, time and mode is told.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};

/// Works below one directory. Names are relative to it; every step may be chained.
#[derive(Debug, Clone)]
pub struct Builder {
    root: PathBuf,
}

impl Builder {
    /// Makes the directory if it is missing.
    pub fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.root.join(name.as_ref())
    }

    pub fn exists(&self, name: impl AsRef<OsStr>) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// A file with that content and mode 0644, with the directories above it.
    pub fn file(&self, name: impl AsRef<OsStr>, content: &[u8]) -> Result<&Self> {
        let path = self.path(name);
        self.parent(&path)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        Ok(self)
    }

    pub fn directory(&self, name: impl AsRef<OsStr>) -> Result<&Self> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(self)
    }

    pub fn symlink(&self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> Result<&Self> {
        let path = self.path(name);
        self.parent(&path)?;
        symlink(target.as_ref(), &path).with_context(|| format!("link {}", path.display()))?;
        Ok(self)
    }

    pub fn hard_link(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<&Self> {
        let to = self.path(to);
        self.parent(&to)?;
        fs::hard_link(self.path(from), &to).with_context(|| format!("link {}", to.display()))?;
        Ok(self)
    }

    pub fn fifo(&self, name: impl AsRef<OsStr>) -> Result<&Self> {
        self.node(name, FileType::Fifo, 0)
    }

    pub fn socket(&self, name: impl AsRef<OsStr>) -> Result<&Self> {
        self.node(name, FileType::Socket, 0)
    }

    pub fn char_device(&self, name: impl AsRef<OsStr>, major: u32, minor: u32) -> Result<&Self> {
        self.node(name, FileType::CharacterDevice, makedev(major, minor))
    }

    pub fn block_device(&self, name: impl AsRef<OsStr>, major: u32, minor: u32) -> Result<&Self> {
        self.node(name, FileType::BlockDevice, makedev(major, minor))
    }

    fn node(&self, name: impl AsRef<OsStr>, file_type: FileType, device: u64) -> Result<&Self> {
        let path = self.path(name);
        self.parent(&path)?;
        mknodat(CWD, &path, file_type, Mode::from_raw_mode(0o644), device)
            .with_context(|| format!("make {}", path.display()))?;
        Ok(self)
    }

    fn parent(&self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) => {
                fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))
            }
            None => Ok(()),
        }
    }

    pub fn mode(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<&Self> {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode))?;
        Ok(self)
    }

    /// Owner and group; it clears setuid and setgid, so set the mode later.
    pub fn owner(&self, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> Result<&Self> {
        std::os::unix::fs::lchown(self.path(name), Some(uid), Some(gid))?;
        Ok(self)
    }

    /// Modification time, of a symlink itself too.
    pub fn time(&self, name: impl AsRef<OsStr>, seconds: i64, nanoseconds: u32) -> Result<&Self> {
        let path = self.path(name);
        set_time(&path, seconds, nanoseconds)
            .with_context(|| format!("set time of {}", path.display()))?;
        Ok(self)
    }

    pub fn xattr(&self, name: impl AsRef<OsStr>, key: &str, value: &[u8]) -> Result<&Self> {
        let path = self.path(name);
        lsetxattr(&path, key, value, XattrFlags::empty())
            .with_context(|| format!("set {key} of {}", path.display()))?;
        Ok(self)
    }

    pub fn remove_xattr(&self, name: impl AsRef<OsStr>, key: &str) -> Result<&Self> {
        rustix::fs::lremovexattr(self.path(name), key)?;
        Ok(self)
    }

    /// Access ACL, as made by [`acl()`].
    pub fn acl(&self, name: impl AsRef<OsStr>, acl: &[u8]) -> Result<&Self> {
        self.xattr(name, "system.posix_acl_access", acl)
    }

    /// Default ACL of a directory.
    pub fn default_acl(&self, name: impl AsRef<OsStr>, acl: &[u8]) -> Result<&Self> {
        self.xattr(name, "system.posix_acl_default", acl)
    }

    /// A file of that length with data at some offsets and holes elsewhere.
    pub fn sparse(
        &self,
        name: impl AsRef<OsStr>,
        length: u64,
        data: &[(u64, &[u8])],
    ) -> Result<&Self> {
        let file = File::create(self.path(name))?;
        file.set_len(length)?;
        for (offset, bytes) in data {
            file.write_all_at(bytes, *offset)?;
        }
        Ok(self)
    }

    /// Overwrites bytes in place.
    pub fn patch(&self, name: impl AsRef<OsStr>, offset: u64, bytes: &[u8]) -> Result<&Self> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        file.write_all_at(bytes, offset)?;
        Ok(self)
    }

    pub fn append(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<&Self> {
        let length = fs::metadata(self.path(&name))?.len();
        self.patch(name, length, bytes)
    }

    pub fn truncate(&self, name: impl AsRef<OsStr>, length: u64) -> Result<&Self> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        file.set_len(length)?;
        Ok(self)
    }

    /// Removes whatever it is, with what is below it.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<&Self> {
        let path = self.path(name);
        let metadata =
            fs::symlink_metadata(&path).with_context(|| format!("remove {}", path.display()))?;
        match metadata.is_dir() {
            true => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
        Ok(self)
    }

    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<&Self> {
        let to = self.path(to);
        self.parent(&to)?;
        fs::rename(self.path(from), to)?;
        Ok(self)
    }

    /// What was written since `since`, by relative path; the directory itself is the empty path.
    pub fn written_since(&self, since: SystemTime) -> Result<Vec<PathBuf>> {
        let since = since.duration_since(SystemTime::UNIX_EPOCH)?;
        let since = i64::try_from(since.as_secs())?;
        let mut waiting = vec![PathBuf::new()];
        let mut written = Vec::new();
        while let Some(relative) = waiting.pop() {
            let path = self.root.join(&relative);
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                for entry in fs::read_dir(&path)? {
                    waiting.push(relative.join(entry?.file_name()));
                }
            }
            // Within a day: dates in the far future are planted.
            if (since..since + 24 * 3600).contains(&metadata.mtime()) {
                written.push(relative);
            }
        }
        Ok(written)
    }

    /// Gives each of them a time of its own, made from its name and `epoch`. So two trees that
    /// were built one after the other are still equal.
    pub fn settle(&self, written: &[PathBuf], epoch: u32) -> Result<()> {
        for relative in written {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(relative);
            let seconds = 1_500_000_000 + i64::from(epoch) * 100_000 + (hash % 90_000) as i64;
            set_time(
                &self.root.join(relative),
                seconds,
                (hash >> 32) as u32 % 1_000_000_000,
            )?;
        }
        Ok(())
    }
}

fn set_time(path: &Path, seconds: i64, nanoseconds: u32) -> rustix::io::Result<()> {
    let time = (seconds, i64::from(nanoseconds));
    set_times(path, time, time)
}

/// Access and modification time, each in seconds and nanoseconds.
pub(super) fn set_times(
    path: &Path,
    access: (i64, i64),
    modification: (i64, i64),
) -> rustix::io::Result<()> {
    let [last_access, last_modification] =
        [access, modification].map(|(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec });
    let times = Timestamps {
        last_access,
        last_modification,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Bytes without a pattern that a compressor or a delta could use; the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A POSIX ACL as the kernel stores it, from (tag, permissions) pairs. What is missing to make it
/// valid (owner, group, others, and the mask that named entries need) is added.
pub fn acl(entries: &[(acl::Tag, u16)]) -> Vec<u8> {
    let mut entries: Vec<_> = entries
        .iter()
        .map(|&(tag, bits)| (tag.0, tag.1, bits))
        .collect();
    for (tag, bits) in [
        (acl::USER_OBJ, 6),
        (acl::GROUP_OBJ, 4),
        (acl::MASK, 6),
        (acl::OTHER, 4),
    ] {
        if !entries.iter().any(|entry| entry.0 == tag.0) {
            entries.push((tag.0, tag.1, bits));
        }
    }
    entries.sort_unstable();
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, id, bits) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Tags of ACL entries. Source: Linux `include/uapi/linux/posix_acl.h`.
pub mod acl {
    /// Kind of entry and the id it is for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Tag(pub(super) u16, pub(super) u32);

    const NO_ID: u32 = u32::MAX;

    pub const USER_OBJ: Tag = Tag(0x01, NO_ID);
    pub const GROUP_OBJ: Tag = Tag(0x04, NO_ID);
    pub const MASK: Tag = Tag(0x10, NO_ID);
    pub const OTHER: Tag = Tag(0x20, NO_ID);

    /// A named user.
    pub const fn user(uid: u32) -> Tag {
        Tag(0x02, uid)
    }

    /// A named group.
    pub const fn group(gid: u32) -> Tag {
        Tag(0x08, gid)
    }
}
