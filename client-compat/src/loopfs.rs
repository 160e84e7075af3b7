//! A fresh file system in a sparse file, mounted for as long as the value lives.
//!
//! Results on the machine's own root file system mislead: it may be one without a journal, or one
//! without large attributes. Each is made with the defaults of its mkfs. Needs root.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::run::tool;

/// The kinds that a store may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FromStr for FileSystem {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "ext4" => Self::Ext4,
            "xfs" => Self::Xfs,
            "btrfs" => Self::Btrfs,
            other => bail!("no file system {other:?}; there is ext4, xfs and btrfs"),
        })
    }
}

impl FileSystem {
    /// What makes one, told to overwrite what is there and to say nothing.
    fn mkfs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Ext4 => ("mkfs.ext4", &["-q", "-F"]),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f"]),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-f"]),
        }
    }
}

/// A mounted one.
#[derive(Debug)]
pub struct LoopFs {
    mounted: PathBuf,
    dir: TempDir,
}

impl LoopFs {
    pub fn make(kind: FileSystem, size_bytes: u64) -> Result<Self> {
        Self::make_in(kind, size_bytes, &std::env::temp_dir())
    }

    /// With its file below a directory.
    pub fn make_in(kind: FileSystem, size_bytes: u64, place: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("coffre-loopfs-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(place)?;
        let image = dir.path().join("image");
        File::create(&image)?.set_len(size_bytes)?;
        let mounted = dir.path().join("mounted");
        std::fs::create_dir(&mounted)?;
        let (mkfs, options) = kind.mkfs();
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        args.push(image.as_os_str());
        tool(mkfs, &args)?;
        let made = Self { mounted, dir };
        made.mount()?;
        Ok(made)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&self) -> Result<()> {
        let image = self.image();
        let args = ["-o".as_ref(), "loop".as_ref(), image.as_os_str()];
        tool("mount", &[&args[..], &[self.mounted.as_os_str()]].concat())?;
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        tool("umount", &[self.mounted.as_os_str()])?;
        // Somebody who has made a mount namespace meanwhile has a copy of the mount, and as long
        // the file system is in use still.
        let image = self.image();
        for _ in 0..600 {
            if tool("losetup", &["-j".as_ref(), image.as_os_str()])?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        bail!("{} is still in use after a minute", image.display())
    }

    /// Copies its device as it is at a moment: what is only in memory is not in the copy, as after
    /// a power cut. Who writes must have been stopped.
    pub fn copy_device(&self) -> Result<()> {
        let (from, to) = (self.image(), self.dir.path().join("copy"));
        let sparse = "--sparse=always".as_ref();
        // A copy of a device that is written to meanwhile is of no moment at all, and no file
        // system promises anything about such a thing.
        for _ in 0..100 {
            let before = self.written_bytes()?;
            tool("cp", &[sparse, from.as_os_str(), to.as_os_str()])?;
            if self.written_bytes()? == before {
                return Ok(());
            }
        }
        bail!("the device is written to all the time")
    }

    /// Mounts the last copy in the place of the original. Nobody may be at work in it.
    pub fn go_on_with_copy(&self) -> Result<()> {
        self.unmount()?;
        std::fs::rename(self.dir.path().join("copy"), self.image())?;
        self.mount()
    }

    /// Unmounts an ext4, has its errors mended, and mounts it again.
    pub fn mend(&self) -> Result<()> {
        self.unmount()?;
        let mended = Command::new("e2fsck")
            .arg("-fy")
            .arg(self.image())
            .output()?;
        // 1: there were errors, and they are mended.
        if !matches!(mended.status.code(), Some(0 | 1)) {
            bail!("e2fsck: {}", String::from_utf8_lossy(&mended.stdout));
        }
        self.mount()
    }

    /// Remounts it with these options.
    pub fn remount(&self, options: &str) -> Result<()> {
        let options = format!("remount,{options}");
        let mounted = self.mounted.as_os_str();
        tool("mount", &["-o".as_ref(), options.as_ref(), mounted])?;
        Ok(())
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Bytes that have been written to its device so far; what is only in memory is not among them.
    pub fn written_bytes(&self) -> Result<u64> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let here = self.mounted.display().to_string();
        let device = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (device, place) = (words.next()?, words.next()?);
            (place == here).then_some(device)?.strip_prefix("/dev/")
        });
        let Some(device) = device else {
            bail!("{here} is not mounted");
        };
        // Sectors of 512 bytes; the seventh number. Source: Documentation/block/stat.rst.
        let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat"))?;
        match stat.split_whitespace().nth(6).and_then(|n| n.parse().ok()) {
            Some(sectors) => Ok(512_u64.saturating_mul(sectors)),
            None => bail!("no count of written sectors for {device}"),
        }
    }

    /// Flushes it, as `sync -f` does.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(&self.mounted)?)?;
        Ok(())
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        // Lazily: a server that is just ending may still have a directory open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.mounted).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.dir.path().display());
        }
    }
}
