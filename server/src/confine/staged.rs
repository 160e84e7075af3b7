//! A file that is being made and has no name in live yet.
//!
//! It is an unnamed inode of the directory it was staged for (`O_TMPFILE`), so it inherits what a
//! file made there would: group of a set-gid directory, default ACL. Where the file system has no
//! unnamed files it has a name in staging and is given the same. Dropped before it is published,
//! it is gone.
//!
//! System calls of a new 4 KiB file that needs neither chown nor chmod: `openat`, `fstat`,
//! `pwrite`, `flistxattr`, `fsetxattr` (the sum of the content), `utimensat`, `linkat`, `close`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, fallocate, linkat, openat, renameat,
    renameat_with, unlinkat,
};
use rustix::io::Errno;

use super::attributes::{AttributeError, Attributes, Plan, is_errno};
use super::content;
use super::create::Replace;
use super::dir::Dir;
use super::fake_super::inode_mode;
use super::inode::{Inode, Listed, XattrSource};
use super::metadata::Metadata;
use super::root::{Shared, Side, lacks, note_lack};
use super::stat::{FileTime, Kind, Stat};
use super::{acl::PosixAcl, unshare};
use crate::account::Hold;
use crate::sum::Content;

/// See the module's story.
pub struct Staged {
    shared: Arc<Shared>,
    side: Side,
    file: File,
    /// Its name in staging, where it needs one.
    staged_name: Option<StagedName>,
    /// What it stands for, or is to stand for.
    is: Stat,
    /// Attributes have been set since `is` was true.
    applied: bool,
    /// Room for its content, until it has a name.
    hold: Hold,
    /// What is known of the content, until it is kept with the attributes.
    content: Option<Box<Content>>,
}

impl Dir {
    /// Starts a new file for this directory. `mode_hint`: the permission bits it will have in the
    /// end, so that none need be set again; nobody else can reach it before it is published.
    pub fn stage(&self, mode_hint: u32) -> io::Result<Staged> {
        let shared = &self.shared;
        let mode = Mode::from_raw_mode(match shared.keeping.metadata {
            Metadata::Native => mode_hint & 0o777,
            Metadata::Xattr => inode_mode(Kind::File, mode_hint),
        });
        shared.check_writable()?;
        shared.room_for_inode()?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        if !lacks(&shared.support.no_tmpfile) {
            match openat(self.fd(), ".", flags | OFlags::TMPFILE, mode) {
                Ok(fd) => return Staged::new(self, File::from(fd), None),
                // What kernels and file systems say that do not know it.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                    note_lack(&shared.support.no_tmpfile);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut made = None;
        let name = StagedName::make(shared, self.side(), |staging, name| {
            let exclusive = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            made = Some(openat(staging, name, exclusive, mode)?);
            Ok(())
        })?;
        let file = File::from(made.ok_or(Errno::NOENT)?);
        self.give_inherited(&Inode::open(file.as_fd()), Kind::File, mode.as_raw_mode())?;
        Staged::new(self, file, Some(name))
    }

    /// Gives an inode that was made in staging what it would have inherited here: the group of a
    /// set-gid directory, and what the default ACL grants of `mode`.
    pub(super) fn give_inherited(
        &self,
        inode: &Inode<'_>,
        kind: Kind,
        mode: u32,
    ) -> io::Result<()> {
        if self.shared.keeping.metadata == Metadata::Xattr {
            return Ok(());
        }
        let directory = Stat::from(rustix::fs::fstat(&self.fd)?);
        if directory.mode & 0o2000 != 0 {
            inode.set_owner(None, Some(directory.gid))?;
        }
        if kind == Kind::Symlink {
            return Ok(());
        }
        let default = Inode::open(self.fd()).xattr(b"system.posix_acl_default")?;
        if let Some(default) = default.as_deref().and_then(PosixAcl::decode) {
            let (acl, mode) = default.inherited(mode);
            if !acl.is_minimal() {
                inode.set_xattr(b"system.posix_acl_access", &acl.encode())?;
            }
            inode.set_mode(mode)?;
        }
        Ok(())
    }
}

impl Staged {
    fn new(dir: &Dir, file: File, staged_name: Option<StagedName>) -> io::Result<Staged> {
        let mut is = Inode::open(file.as_fd()).stat()?;
        // Writing moves the times; no time that is wanted may look as if it were there already.
        is.mtime = FileTime::NEVER;
        is.atime = FileTime::NEVER;
        Ok(Staged {
            shared: Arc::clone(&dir.shared),
            side: dir.side(),
            file,
            staged_name,
            is,
            applied: false,
            hold: Hold::default(),
            content: None,
        })
    }

    /// Has what is known of the content kept with the attributes that are set next.
    pub fn note_content(&mut self, content: Content) {
        self.content = Some(Box::new(content));
    }

    /// To be called before so many bytes are written.
    /// Errors: EDQUOT where the tenant's quota is full, ENOSPC where the store is.
    pub fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        self.shared.room_for(bytes, &mut self.hold)
    }

    /// A file that has a name in staging already.
    pub(super) fn named(dir: &Dir, file: File, name: StagedName) -> io::Result<Staged> {
        Staged::new(dir, file, Some(name))
    }

    /// Starts with the content of another file, sharing its blocks until they are written to.
    /// `false`: this file system or this pair of files cannot.
    pub fn clone_content(&self, from: &File) -> io::Result<bool> {
        unshare::reflink(&self.shared, from, &self.file)
    }

    /// For writing the content (`Write`, `Seek`, `FileExt`), and reading it back.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Sets blocks aside for `len` bytes; the length stays.
    pub fn preallocate(&self, len: u64) -> io::Result<()> {
        self.shared.room_for_copy(len)?;
        Ok(fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len)?)
    }

    /// Makes a hole, which reads as zeros; the length stays.
    pub fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, offset, len)?)
    }

    /// It is to stand for something that is stored as a regular file.
    pub(super) fn stands_for(&mut self, kind: Kind, rdev: (u32, u32), mode: u32) {
        self.is.kind = kind;
        self.is.rdev = rdev;
        self.is.mode = mode;
    }

    /// Sets attributes, after the content. What fails is in the list; the rest is set.
    /// Errors: where the attributes that are there cannot be read.
    pub fn apply(&mut self, wanted: &Attributes<'_>) -> io::Result<Vec<AttributeError>> {
        let inode = Inode::open(self.file.as_fd());
        if self.applied {
            self.is = inode.stat()?;
            self.shared.keeping.complete(&mut self.is, &inode)?;
        }
        let listed = Listed::new(&inode)?;
        let plan = Plan::new(self.shared.keeping, &listed, &self.is, wanted)?;
        if let Some(content) = self.content.take() {
            // First of all attributes: ext4 keeps in the inode what comes first and fits, and this
            // differs from file to file, where a stored owner is shared by many.
            let mtime = match wanted.mtime {
                Some(mtime) => mtime,
                None => inode.stat()?.mtime,
            };
            if let Err(error) = content::keep(&inode, &self.shared.notes, &content, mtime) {
                tracing::debug!(%error, "the sum of a content could not be kept");
            }
        }
        self.applied = true;
        Ok(plan.carry_out(&inode, &self.shared.notes))
    }

    /// Gives it its name. With [`Replace::Yes`] it takes the place of what has the name, in one
    /// step; a directory is not replaced (EISDIR).
    /// Errors: EEXIST with [`Replace::No`] where something has the name.
    pub fn publish(mut self, dir: &Dir, name: &[u8], replace: Replace) -> io::Result<()> {
        dir.check(name)?;
        let freed = match replace {
            Replace::Yes => dir.shared.freed_with(dir.fd(), name),
            Replace::No => None,
        };
        match self.place(dir, name, replace) {
            // Not the file system it was staged for: a copy of it is made where it goes.
            Err(error) if is_errno(&error, Errno::XDEV) => {
                let mut copy = dir.stage(self.is.inode.mode)?;
                unshare::copy_file(&Inode::open(self.file.as_fd()), &self.file, &copy)?;
                copy.place(dir, name, replace)?;
                dir.shared.has_come(copy.file.as_fd());
            }
            other => {
                other?;
                dir.shared.has_come(self.file.as_fd());
            }
        }
        dir.shared.has_gone(freed);
        Ok(())
    }

    fn place(&mut self, dir: &Dir, name: &[u8], replace: Replace) -> io::Result<()> {
        if self.staged_name.is_none() && replace == Replace::No {
            return self.link_to(dir.fd(), name);
        }
        self.name_in_staging()?.place(dir, name, replace)
    }

    /// Its name in staging, which it is given if it has none.
    pub(super) fn name_in_staging(&mut self) -> io::Result<&mut StagedName> {
        let name = match self.staged_name.take() {
            Some(name) => name,
            None => StagedName::make(&self.shared, self.side, |staging, name| {
                self.link_to(staging, name.as_bytes())
            })?,
        };
        Ok(self.staged_name.insert(name))
    }

    /// Links the unnamed file. By its descriptor alone where the process may (privileged, or its
    /// own file since Linux 6.10), else through `/proc`.
    fn link_to(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let lack = &self.shared.support.no_link_by_descriptor;
        if !lacks(lack) {
            match linkat(&self.file, "", dir, name, AtFlags::EMPTY_PATH) {
                Err(Errno::NOENT | Errno::INVAL) => note_lack(lack),
                other => return Ok(other?),
            }
        }
        use std::os::fd::AsRawFd;
        let through = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(linkat(
            CWD,
            through.as_str(),
            dir,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    pub(super) fn into_staged_name(mut self) -> io::Result<StagedName> {
        self.name_in_staging()?;
        self.staged_name.take().ok_or_else(|| Errno::NOENT.into())
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// A name in staging; what has it is removed with this value, unless it was placed.
pub(super) struct StagedName {
    shared: Arc<Shared>,
    side: Side,
    /// Empty: placed.
    name: String,
}

impl StagedName {
    /// Makes something under a new name in the staging that belongs to a directory.
    pub(super) fn make(
        shared: &Arc<Shared>,
        side: Side,
        make: impl FnOnce(BorrowedFd<'_>, &str) -> io::Result<()>,
    ) -> io::Result<StagedName> {
        let name = shared.new_name()?;
        make(shared.staging(side)?, &name)?;
        Ok(StagedName {
            shared: Arc::clone(shared),
            side,
            name,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.name
    }

    pub(super) fn staging(&self) -> io::Result<BorrowedFd<'_>> {
        self.shared.staging(self.side)
    }

    /// Holds what was made.
    pub(super) fn hold(&self) -> io::Result<Inode<'static>> {
        Inode::hold(self.staging()?, self.name.as_bytes())
    }

    /// Makes another link of it.
    pub(super) fn link(&self) -> io::Result<StagedName> {
        StagedName::make(&self.shared, self.side, |staging, name| {
            Ok(linkat(
                staging,
                self.as_str(),
                staging,
                name,
                AtFlags::empty(),
            )?)
        })
    }

    /// Renames it to an entry of a directory.
    pub(super) fn place(&mut self, dir: &Dir, name: &[u8], replace: Replace) -> io::Result<()> {
        match replace {
            Replace::Yes => {
                let shared = Arc::clone(&self.shared);
                let _names = shared.live_state.names_change();
                self.place_locked(dir, name)
            }
            Replace::No => {
                let staging = self.staging()?;
                let from = self.as_str();
                match renameat_with(staging, from, dir.fd(), name, RenameFlags::NOREPLACE) {
                    Ok(()) => self.name.clear(),
                    // A file system without it: a link is made, and its first name removed.
                    Err(Errno::INVAL) => {
                        linkat(staging, from, dir.fd(), name, AtFlags::empty())?;
                    }
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            }
        }
    }

    /// Takes the place of an entry, for a caller that holds the lock on names.
    pub(super) fn place_locked(&mut self, dir: &Dir, name: &[u8]) -> io::Result<()> {
        renameat(self.staging()?, self.as_str(), dir.fd(), name)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for StagedName {
    fn drop(&mut self) {
        // What cannot be removed now is swept at the next start.
        if !self.name.is_empty()
            && let Ok(staging) = self.staging()
        {
            let _ = unlinkat(staging, self.name.as_str(), AtFlags::empty());
        }
    }
}
