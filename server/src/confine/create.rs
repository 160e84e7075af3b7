//! Entries that come, move and go.
//!
//! What is not a directory is made in staging, given its attributes there, and renamed to its
//! name; so nothing is seen, or kept after a crash, with half its attributes, and what had the
//! name before is replaced in one step.

use std::io::{self, Write};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, linkat, makedev, mkdirat, mknodat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::attributes::{AttributeError, Attributes, Plan, is_errno};
use super::dir::Dir;
use super::fake_super::inode_mode;
use super::inode::Inode;
use super::links::LiveName;
use super::metadata::Metadata;
use super::path::TenantPath;
use super::staged::StagedName;
use super::stat::{Kind, Stat};
use super::unshare;

/// What to do where the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fail with EEXIST.
    No,
    /// Take its place, unless it is a directory.
    Yes,
}

impl Dir {
    /// Makes a directory; `mode`: its permission bits, less the process's umask. Everything else
    /// is set with [`Dir::update`].
    pub fn make_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        self.check(name)?;
        self.shared.check_writable()?;
        self.shared.room_for_inode()?;
        let mode = match self.shared.keeping.metadata {
            Metadata::Native => mode & 0o777,
            Metadata::Xattr => inode_mode(Kind::Dir, mode),
        };
        mkdirat(self.fd(), name, Mode::from_raw_mode(mode))?;
        self.shared.directory_has_come(self.fd(), name);
        Ok(())
    }

    /// Makes a symbolic link. The target is data: it is not looked at.
    pub fn make_symlink(
        &self,
        name: &[u8],
        target: &[u8],
        attributes: &Attributes<'_>,
        replace: Replace,
    ) -> io::Result<Vec<AttributeError>> {
        self.check(name)?;
        if self.shared.keeping.metadata == Metadata::Xattr {
            let mut staged = self.stage(0o777)?;
            staged.file().write_all(target)?;
            staged.stands_for(Kind::Symlink, (0, 0), 0o777);
            let errors = staged.apply(attributes)?;
            staged.publish(self, name, replace)?;
            return Ok(errors);
        }
        self.shared.room_for_inode()?;
        let made = StagedName::make(&self.shared, self.side(), |staging, name| {
            Ok(symlinkat(target, staging, name)?)
        })?;
        self.finish_and_place(made, Kind::Symlink, 0o777, attributes, name, replace)
    }

    /// Makes a fifo, a socket or a device; `rdev`: major and minor number of a device.
    /// Errors: EINVAL for other kinds.
    pub fn make_node(
        &self,
        name: &[u8],
        kind: Kind,
        rdev: (u32, u32),
        attributes: &Attributes<'_>,
        replace: Replace,
    ) -> io::Result<Vec<AttributeError>> {
        self.check(name)?;
        if matches!(kind, Kind::File | Kind::Dir | Kind::Symlink) {
            return Err(Errno::INVAL.into());
        }
        let rdev = if kind.is_device() { rdev } else { (0, 0) };
        let mode = attributes.mode.unwrap_or(0o600);
        if self.shared.keeping.metadata == Metadata::Xattr {
            let mut staged = self.stage(mode)?;
            staged.stands_for(kind, rdev, mode & 0o7777);
            let errors = staged.apply(attributes)?;
            staged.publish(self, name, replace)?;
            return Ok(errors);
        }
        let mode = mode & 0o777;
        self.shared.room_for_inode()?;
        let made = StagedName::make(&self.shared, self.side(), |staging, name| {
            let (bits, device) = (Mode::from_raw_mode(mode), makedev(rdev.0, rdev.1));
            Ok(mknodat(staging, name, kind.file_type(), bits, device)?)
        })?;
        self.finish_and_place(made, kind, mode, attributes, name, replace)
    }

    fn finish_and_place(
        &self,
        mut made: StagedName,
        kind: Kind,
        mode: u32,
        attributes: &Attributes<'_>,
        name: &[u8],
        replace: Replace,
    ) -> io::Result<Vec<AttributeError>> {
        let inode = made.hold()?;
        self.give_inherited(&inode, kind, mode)?;
        let plan = Plan::new(self.shared.keeping, &inode, &inode.stat()?, attributes)?;
        let errors = plan.carry_out(&inode, &self.shared.notes);
        let freed = match replace {
            Replace::Yes => self.shared.freed_with(self.fd(), name),
            Replace::No => None,
        };
        made.place(self, name, replace)?;
        self.shared.has_come(inode.fd());
        self.shared.has_gone(freed);
        Ok(errors)
    }

    /// Gives an entry of live, other than a directory, one name more.
    pub fn link(
        &self,
        name: &[u8],
        from_dir: &Dir,
        from_name: &[u8],
        replace: Replace,
    ) -> io::Result<()> {
        self.check(name)?;
        from_dir.check(from_name)?;
        self.shared.check_writable()?;
        let mut links = self.shared.live_state.links_change();
        match replace {
            Replace::No => {
                self.shared.names_change();
                linkat(from_dir.fd(), from_name, self.fd(), name, AtFlags::empty())?;
            }
            Replace::Yes => {
                // Renaming a link over another link of its inode does nothing and leaves both,
                // so the name in staging is removed in any case, by dropping it.
                let made = StagedName::make(&self.shared, self.side(), |staging, staged| {
                    let (from, flags) = (from_dir.fd(), AtFlags::empty());
                    Ok(linkat(from, from_name, staging, staged, flags)?)
                })?;
                let freed = self.shared.freed_with(self.fd(), name);
                renameat(made.staging()?, made.as_str(), self.fd(), name)?;
                self.shared.has_gone(freed);
            }
        }
        if let Some(index) = &mut *links {
            let ino = Stat::from(statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW)?).ino;
            let names = [(from_dir, from_name), (self, name)];
            index.add(
                ino,
                names
                    .into_iter()
                    .filter_map(|(dir, name)| dir.live_name(name)),
            );
        }
        Ok(())
    }

    /// Removes an entry that is not a directory.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        self.check(name)?;
        self.shared.check_writable()?;
        let _names = self.shared.live_state.names_change();
        let freed = self.shared.freed_with(self.fd(), name);
        unlinkat(self.fd(), name, AtFlags::empty())?;
        self.shared.has_gone(freed);
        Ok(())
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        self.check(name)?;
        self.shared.check_writable()?;
        let freed = self.shared.freed_with_directory(self.fd(), name);
        unlinkat(self.fd(), name, AtFlags::REMOVEDIR)?;
        self.shared.has_gone(freed);
        if let Some(path) = &self.path {
            self.shared.directory_changed(&path.child(name)?);
        }
        Ok(())
    }

    /// Gives an entry another name, replacing what has it. A file goes to another file system as
    /// a copy.
    pub fn rename(&self, name: &[u8], to_dir: &Dir, to_name: &[u8]) -> io::Result<()> {
        self.check(name)?;
        to_dir.check(to_name)?;
        self.shared.check_writable()?;
        let stat = Stat::from(statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW)?);
        let mut links = self.shared.live_state.links_change();
        let freed = self.shared.freed_with(to_dir.fd(), to_name);
        match renameat(self.fd(), name, to_dir.fd(), to_name) {
            Ok(()) => self.shared.has_gone(freed),
            Err(Errno::XDEV) if stat.kind == Kind::File => {
                drop(links);
                return self.move_copy(name, to_dir, to_name);
            }
            Err(error) => return Err(error.into()),
        }
        if stat.kind == Kind::Dir {
            // Names of links below it are no longer where the index has them.
            *links = None;
            drop(links);
            for (dir, name) in [(self, name), (to_dir, to_name)] {
                if let Some(path) = &dir.path {
                    self.shared.directory_changed(&path.child(name)?);
                }
            }
        } else if stat.nlink > 1
            && let (Some(index), Some(name)) = (&mut *links, to_dir.live_name(to_name))
        {
            index.add(stat.ino, [name]);
        }
        Ok(())
    }

    fn move_copy(&self, name: &[u8], to_dir: &Dir, to_name: &[u8]) -> io::Result<()> {
        let inode = Inode::hold(self.fd(), name)?;
        let file = super::dir::open_for_reading(&inode)?;
        let copy = to_dir.stage(inode.stat()?.mode)?;
        unshare::copy_file(&inode, &file, &copy)?;
        copy.publish(to_dir, to_name, Replace::Yes)?;
        match self.remove_file(name) {
            Err(error) if is_errno(&error, Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    pub(super) fn live_name(&self, name: &[u8]) -> Option<LiveName> {
        let path: &TenantPath = self.path.as_ref()?;
        Some(LiveName {
            dir: Arc::new(path.clone()),
            name: name.to_vec(),
        })
    }
}
