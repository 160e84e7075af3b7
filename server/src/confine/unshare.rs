//! Changing entries that exist, without changing an inode that a snapshot shares.
//!
//! | the inode | what is done |
//! |---|---|
//! | is a directory | changed in place: snapshots have directories of their own |
//! | has one link, or all its links are names in live | changed in place |
//! | is shared | the new state is made beside it; it takes the place of every live name |
//!
//! A file is copied by reflink where the file system can, else with its holes; anything else is
//! made again. The copy first gets every attribute of the original, the server's own included,
//! and then what is wanted. [`super::links`] says how sharing is found out and why a lock is held
//! from there to the change.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps, copy_file_range, fstat, ftruncate,
    ioctl_ficlone, makedev, mknodat, readlinkat, seek, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::attributes::{AttributeError, Attributes, Plan};
use super::dir::{Dir, open_for_reading};
use super::escape::Escape;
use super::inode::Inode;
use super::links::{LinkIndex, LiveName};
use super::path::TenantPath;
use super::root::{Shared, lacks, note_lack};
use super::staged::{Staged, StagedName};
use super::stat::{FileTime, Kind, Stat};
use super::xattr::copy_all;

/// Bytes copied between two words that work goes on: a second's work for a slow disk.
const COPY_PIECE: u64 = 8 << 20;

/// What [`Dir::update`] did.
#[derive(Debug)]
pub struct Updated {
    pub how: How,
    /// What could not be set; the rest is.
    pub errors: Vec<AttributeError>,
}

/// How an entry came to its new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing differed.
    Unchanged,
    InPlace,
    /// The entry, and every other live name of it, is a new inode.
    Replaced,
}

impl Dir {
    /// Gives an entry the attributes that are wanted; see the module's story. `seen`: what the
    /// decision was made on.
    /// Errors: ESTALE where the entry is another inode by now; others where the new state cannot
    /// be made, and then nothing has changed.
    pub fn update(&self, name: &[u8], seen: &Stat, wanted: &Attributes<'_>) -> io::Result<Updated> {
        self.check(name)?;
        self.shared.check_writable()?;
        if seen.inode.kind == Kind::Dir {
            let inode = Inode::hold(self.fd(), name)?;
            return self.update_directory(&inode, Some(seen), wanted);
        }
        let mut links = self.shared.live_state.links_change();
        let inode = Inode::hold(self.fd(), name)?;
        let is = self.as_seen(&inode, seen)?;
        let plan = Plan::new(self.shared.keeping, &inode, &is, wanted)?;
        if plan.is_empty() {
            return Ok(Updated {
                how: How::Unchanged,
                errors: Vec::new(),
            });
        }
        if self.is_private(&mut links, name, &inode, &is)? {
            self.shared.will_change(inode.fd());
            return Ok(Updated {
                how: How::InPlace,
                errors: plan.carry_out(&inode, &self.shared.notes),
            });
        }
        // A copy can take long, and only its coming into place needs the lock.
        drop(links);
        let mut copy = self.copy_in_staging(&inode, &is)?;
        let made = copy.hold()?;
        let errors = plan.carry_out(&made, &self.shared.notes);
        self.replace_all_names(&mut copy, name, &is)?;
        self.shared.has_come(made.fd());
        Ok(Updated {
            how: How::Replaced,
            errors,
        })
    }

    /// The same for the directory itself.
    pub fn update_self(&self, wanted: &Attributes<'_>) -> io::Result<Updated> {
        self.shared.check_writable()?;
        self.update_directory(&Inode::open(self.fd()), None, wanted)
    }

    fn update_directory(
        &self,
        inode: &Inode<'_>,
        seen: Option<&Stat>,
        wanted: &Attributes<'_>,
    ) -> io::Result<Updated> {
        let is = match seen {
            Some(seen) => self.as_seen(inode, seen)?,
            None => {
                let mut is = inode.stat()?;
                self.shared.keeping.complete(&mut is, inode)?;
                is
            }
        };
        if is.inode.kind != Kind::Dir {
            return Err(Errno::STALE.into());
        }
        let plan = Plan::new(self.shared.keeping, inode, &is, wanted)?;
        Ok(Updated {
            how: if plan.is_empty() {
                How::Unchanged
            } else {
                How::InPlace
            },
            errors: plan.carry_out(inode, &self.shared.notes),
        })
    }

    /// Opens a regular file for changing its content in place, after making sure that no
    /// snapshot shares it: the same content, in an inode of its own, under the same live names.
    /// What the server noted about the content (`user.coffre.*`) is forgotten.
    /// Errors: ESTALE where the entry is another inode by now; EINVAL where it is not a regular
    /// file.
    pub fn unshare_for_write(&self, name: &[u8], seen: &Stat) -> io::Result<File> {
        self.check(name)?;
        self.shared.check_writable()?;
        let mut links = self.shared.live_state.links_change();
        let inode = Inode::hold(self.fd(), name)?;
        let is = self.as_seen(&inode, seen)?;
        if is.kind != Kind::File || is.inode.kind != Kind::File {
            return Err(Errno::INVAL.into());
        }
        if self.is_private(&mut links, name, &inode, &is)? {
            self.shared.will_change(inode.fd());
            let file = File::from(inode.reopen(OFlags::RDWR)?);
            self.shared.notes.forget(&inode)?;
            return Ok(file);
        }
        drop(links);
        let mut staged = self.stage(is.inode.mode)?;
        copy_content(staged.shared(), &open_for_reading(&inode)?, staged.file())?;
        let copy = Inode::open(staged.file().as_fd());
        copy_attributes(&inode, &inode.stat()?, &copy)?;
        // What was copied with the attributes; beside the files, nothing was noted of it yet.
        self.shared.notes.forget(&copy)?;
        self.replace_all_names(staged.name_in_staging()?, name, &is)?;
        self.shared.has_come(staged.file().as_fd());
        Ok(staged.into_file())
    }

    /// Starts a new file for `to` that is a regular file of this directory in everything: by
    /// reflink where the file system can, else with its holes.
    pub fn stage_copy(&self, name: &[u8], to: &Dir) -> io::Result<Staged> {
        self.check(name)?;
        let inode = Inode::hold(self.fd(), name)?;
        let is = inode.stat()?;
        if is.kind != Kind::File {
            return Err(Errno::INVAL.into());
        }
        let staged = to.stage(is.mode)?;
        copy_file(&inode, &open_for_reading(&inode)?, &staged)?;
        Ok(staged)
    }

    /// Starts a new file for `to` with the content of a regular file of this directory and nothing
    /// else of it; `mode_hint` as for [`Dir::stage`]. What is known of the content goes along.
    /// Errors: EINVAL where it is not a regular file.
    pub fn stage_content(&self, name: &[u8], to: &Dir, mode_hint: u32) -> io::Result<Staged> {
        self.check(name)?;
        let inode = Inode::hold(self.fd(), name)?;
        let mut is = inode.stat()?;
        self.shared.keeping.complete(&mut is, &inode)?;
        if is.kind != Kind::File || is.inode.kind != Kind::File {
            return Err(Errno::INVAL.into());
        }
        let mut staged = to.stage(mode_hint)?;
        copy_content(&self.shared, &open_for_reading(&inode)?, staged.file())?;
        let after = inode.stat()?;
        let has_changed = (is.size, is.mtime, is.ctime) != (after.size, after.mtime, after.ctime);
        if let Ok(Some(sum)) = super::content::read(&inode, &self.shared.notes)
            && sum.holds_for(is.size, is.mtime)
            && !has_changed
        {
            staged.note_content(sum.content);
        }
        Ok(staged)
    }

    /// What an inode is now, if it is the one that was seen.
    fn as_seen(&self, inode: &Inode<'_>, seen: &Stat) -> io::Result<Stat> {
        let mut is = inode.stat()?;
        if !is.same_inode(seen) {
            return Err(Errno::STALE.into());
        }
        self.shared.keeping.complete(&mut is, inode)?;
        Ok(is)
    }

    /// Whether every link of an inode is a name in live. Holds as long as the lock is held.
    fn is_private(
        &self,
        index: &mut Option<LinkIndex>,
        name: &[u8],
        inode: &Inode<'_>,
        is: &Stat,
    ) -> io::Result<bool> {
        // This name is its only link, and under the lock nobody takes it away.
        if is.nlink == 1 {
            return Ok(true);
        }
        let names = self.live_names(index, name, is)?;
        let count = u64::from(names.own) + names.others.len() as u64;
        Ok(count == inode.stat()?.nlink)
    }

    /// The live names of an inode; each has been looked at. Beside live there is no index, and no
    /// name but this one.
    fn live_names(
        &self,
        index: &mut Option<LinkIndex>,
        name: &[u8],
        is: &Stat,
    ) -> io::Result<LiveNames> {
        let mut found = LiveNames {
            own: self.has(name, is)?,
            others: Vec::new(),
        };
        if self.path.is_none() {
            return Ok(found);
        }
        let index = match index {
            Some(index) => index,
            None => index.insert(LinkIndex::build(&self.shared)?),
        };
        // A name must count once, by whatever path its directory is reached: this one may have
        // been renamed since it was opened, and a bind mount shows one twice.
        let mut counted = HashSet::new();
        counted.insert((self.identity()?, name.to_vec()));
        for other in index.names(is.ino) {
            let seen = self
                .open_named(other)
                .and_then(|dir| Ok(dir.has(&other.name, is)?.then_some(dir.identity()?)));
            match seen {
                Ok(Some(identity)) => {
                    if counted.insert((identity, other.name.clone())) {
                        found.others.push(other.clone());
                    }
                }
                Ok(None) => {}
                // A directory that is gone has taken the name with it.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = Stat::from(fstat(&self.fd)?);
        Ok((stat.dev, stat.ino))
    }

    fn open_named(&self, name: &LiveName) -> io::Result<Dir> {
        let fd = self.shared.open_directory(&name.dir)?;
        let path = Some(TenantPath::clone(&name.dir));
        Ok(Dir::new(Arc::clone(&self.shared), fd, path))
    }

    /// Whether an entry is this inode.
    fn has(&self, name: &[u8], inode: &Stat) -> io::Result<bool> {
        match statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Stat::from(stat).same_inode(inode)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts what is staged in the place of every live name of the inode `old`.
    fn replace_all_names(&self, copy: &mut StagedName, name: &[u8], old: &Stat) -> io::Result<()> {
        let mut links = self.shared.live_state.links_change();
        let names = self.live_names(&mut links, name, old)?;
        if !names.own {
            return Err(Errno::STALE.into());
        }
        let new = copy.hold()?.stat()?;
        // One directory at a time: a group can have more names than there are descriptors.
        for other in &names.others {
            let dir = self.open_named(other)?;
            let kept = KeptTimes::of(dir.fd());
            copy.link()?.place_locked(&dir, &other.name)?;
            kept.restore();
        }
        let kept = KeptTimes::of(self.fd());
        copy.place_locked(self, name)?;
        kept.restore();
        if let Some(index) = &mut *links {
            index.forget(old.ino);
            if !names.others.is_empty() {
                index.add(
                    new.ino,
                    names.others.into_iter().chain(self.live_name(name)),
                );
            }
        }
        Ok(())
    }

    /// Makes an inode in staging that is like the one given in everything.
    fn copy_in_staging(&self, inode: &Inode<'_>, is: &Stat) -> io::Result<StagedName> {
        let kind = is.inode.kind;
        let side = self.side();
        self.shared.room_for_inode()?;
        let made = match kind {
            Kind::File => {
                let staged = self.stage(is.inode.mode)?;
                copy_file(inode, &open_for_reading(inode)?, &staged)?;
                return staged.into_staged_name();
            }
            Kind::Symlink => {
                let target = readlinkat(inode.fd(), "", Vec::new())?;
                StagedName::make(&self.shared, side, |staging, name| {
                    Ok(symlinkat(target.as_c_str(), staging, name)?)
                })?
            }
            _ => {
                let device = makedev(is.rdev.0, is.rdev.1);
                StagedName::make(&self.shared, side, |staging, name| {
                    Ok(mknodat(
                        staging,
                        name,
                        kind.file_type(),
                        Mode::RUSR,
                        device,
                    )?)
                })?
            }
        };
        let copy = made.hold()?;
        copy_attributes(inode, is, &copy)?;
        self.shared.notes.copy(inode, &copy)?;
        Ok(made)
    }
}

/// The names of an inode in live.
struct LiveNames {
    /// The one at hand is one of them.
    own: bool,
    others: Vec<LiveName>,
}

/// Whether a directory is not where it was.
fn is_gone(error: &io::Error) -> bool {
    Escape::of(error).is_some()
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
}

/// The times of a directory whose entry is replaced by one that differs in attributes only: for
/// the client nothing happened to the directory.
struct KeptTimes<'a> {
    fd: BorrowedFd<'a>,
    times: Option<Timestamps>,
}

impl<'a> KeptTimes<'a> {
    fn of(fd: BorrowedFd<'a>) -> Self {
        let times = fstat(fd).ok().map(|stat| {
            let stat = Stat::from(stat);
            let time = |time: FileTime| Timespec {
                tv_sec: time.secs,
                tv_nsec: time.nanos.into(),
            };
            Timestamps {
                last_access: time(stat.atime),
                last_modification: time(stat.mtime),
            }
        });
        Self { fd, times }
    }

    /// Where this fails the directory has the present time, which the next push puts right.
    fn restore(self) {
        if let Some(times) = &self.times {
            let _ = utimensat(self.fd, c".", times, AtFlags::empty());
        }
    }
}

/// Copies content and every attribute of a file to one that is staged.
pub(super) fn copy_file(inode: &Inode<'_>, from: &File, to: &Staged) -> io::Result<()> {
    copy_content(to.shared(), from, to.file())?;
    let copy = Inode::open(to.file().as_fd());
    copy_attributes(inode, &inode.stat()?, &copy)?;
    to.shared().notes.copy(inode, &copy)
}

/// In the order of [`Plan::carry_out`], for the same reasons.
fn copy_attributes(from: &Inode<'_>, is: &Stat, to: &Inode<'_>) -> io::Result<()> {
    let has = to.stat()?;
    if (has.uid, has.gid) != (is.inode.uid, is.inode.gid) {
        to.set_owner(Some(is.inode.uid), Some(is.inode.gid))?;
    }
    copy_all(from, to)?;
    to.set_times(Some(is.mtime), Some(is.atime))?;
    if is.inode.kind != Kind::Symlink {
        to.set_mode(is.inode.mode)?;
    }
    Ok(())
}

/// Makes a file share the blocks of another. `false`: it cannot be done here.
pub(super) fn reflink(shared: &Shared, from: &File, to: &File) -> io::Result<bool> {
    if lacks(&shared.support.no_reflink) {
        return Ok(false);
    }
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
            note_lack(&shared.support.no_reflink);
            Ok(false)
        }
        // Not this pair of files.
        Err(Errno::XDEV | Errno::INVAL | Errno::PERM | Errno::TXTBSY) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn copy_content(shared: &Shared, from: &File, to: &File) -> io::Result<()> {
    shared.room_for_copy(from.metadata()?.blocks().saturating_mul(512))?;
    if reflink(shared, from, to)? {
        return Ok(());
    }
    let size = from.metadata()?.len();
    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(from, SeekFrom::Hole(data))?;
        copy_range(shared, from, to, data, hole)?;
        at = hole;
    }
    Ok(())
}

fn copy_range(shared: &Shared, from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        // In pieces, so that whoever waits for this hears of it.
        shared.is_busy();
        let wanted = (end - read_at).min(COPY_PIECE) as usize;
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), wanted) {
            // The file has become shorter.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                seek(from, SeekFrom::Start(read_at))?;
                seek(to, SeekFrom::Start(write_at))?;
                copy_by_hand(shared, from, to, end - read_at)?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(shared: &Shared, from: &File, mut to: &File, len: u64) -> io::Result<()> {
    let mut from = from.take(len);
    let mut buffer = vec![0; 256 << 10];
    loop {
        shared.is_busy();
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}
