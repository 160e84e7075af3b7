//! What pushes that broke off left of files, kept beside the tree and never part of a snapshot.
//!
//! A kept file stands in `home/.partial` under a name made of its path's digest. One that is not
//! whole carries a note, the attribute `user.coffre.kept`: its path, how long the whole file was
//! to be, and how many of its bytes had to come over the wire. One that is whole and only waits
//! to be put in place (delayed updates) needs none. Nothing of this is trusted: a kept file is a
//! basis whose blocks are compared, and a digest that two paths share costs a transfer.
//!
//! Kept files go when the file is completed, when a push deletes what they belong to, and
//! [`KEEP_FOR`] after they were kept.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};
use rustix::fs::{AtFlags, OFlags, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::create::Replace;
use super::dir::Dir;
use super::inode::Inode;
use super::list::list_directory;
use super::path::TenantPath;
use super::root::{TenantRoot, open_beneath};
use super::staged::{Staged, StagedName};
use super::stat::{Kind, Stat};

/// How long what a broken push left is kept.
pub const KEEP_FOR: Duration = Duration::from_secs(14 * 86_400);

/// What it is noted under, below `user.coffre.`.
pub(super) const NOTE: &str = "kept";
const WHOLE: &[u8] = b".whole";

/// The files that are kept for a tenant; see the module's story.
pub struct Kept {
    dir: Dir,
    /// Their names, as far as this session knows: another may add to them.
    names: HashSet<Vec<u8>>,
}

/// What is known of a file that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptNote {
    /// Where in the tree it belongs; `None` where that was too long to note.
    pub path: Option<TenantPath>,
    /// Bytes of the file it was to become.
    pub len: u64,
    /// Bytes of it that came over the wire.
    pub literal: u64,
}

/// A kept file, opened for reading.
pub struct KeptFile {
    pub file: File,
    /// Bytes.
    pub len: u64,
    /// `None`: it is whole.
    pub note: Option<KeptNote>,
}

impl KeptNote {
    fn encode(&self) -> Vec<u8> {
        let mut note = format!("1 {} {} ", self.len, self.literal).into_bytes();
        if let Some(path) = &self.path {
            note.extend_from_slice(path.as_bytes());
        }
        note
    }

    fn decode(note: &[u8]) -> Option<Self> {
        let mut words = note.splitn(4, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
        let (version, len, literal) = (number()?, number()?, number()?);
        let path = words.next()?;
        (version == 1).then(|| Self {
            path: (!path.is_empty())
                .then(|| TenantPath::parse(path).ok())
                .flatten(),
            len,
            literal,
        })
    }
}

fn name_of(path: &TenantPath) -> Vec<u8> {
    Md5::digest(path.as_bytes())
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

fn whole_name_of(path: &TenantPath) -> Vec<u8> {
    [&name_of(path)[..], WHOLE].concat()
}

impl TenantRoot {
    /// What is kept for this tenant. What is too old is removed now.
    pub fn kept(&self) -> io::Result<Kept> {
        let dir = self.partial()?;
        let names = expire(&dir, SystemTime::now())?;
        Ok(Kept { dir, names })
    }
}

/// Removes what is too old; gives the names of the rest.
pub(super) fn expire(dir: impl AsFd, now: SystemTime) -> io::Result<HashSet<Vec<u8>>> {
    // A descriptor of its own has a position of its own.
    let dir = open_beneath(dir.as_fd(), b".")?;
    let dir = dir.as_fd();
    let oldest = now
        .checked_sub(KEEP_FOR)
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs() as i64);
    let mut names = HashSet::new();
    list_directory(dir, |name, kind, _| {
        if kind != Kind::File {
            return Ok(());
        }
        // The time of the last change of its inode is when it was kept: its own times are those
        // of the source, if it is whole.
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if Stat::from(stat).ctime.secs < oldest => {
                unlinkat(dir, name, AtFlags::empty())?;
            }
            Ok(_) => drop(names.insert(name.to_vec())),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })?;
    Ok(names)
}

/// Removes what is too old from a tenant's `.partial`; for the start of the daemon.
pub(super) fn sweep(partial: impl AsFd) -> io::Result<()> {
    expire(partial, SystemTime::now()).map(drop)
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd()
    }
}

impl Kept {
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What is kept for a path: the whole file if there is one, else a part.
    pub fn find(&self, path: &TenantPath) -> io::Result<Option<KeptFile>> {
        if self.names.is_empty() {
            return Ok(None);
        }
        for name in [whole_name_of(path), name_of(path)] {
            if !self.names.contains(&name) {
                continue;
            }
            let file = match self.dir.open_file(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let len = file.metadata()?.len();
            let note = self
                .note_of(&file)?
                .and_then(|note| KeptNote::decode(&note));
            let belongs = match &note {
                Some(note) => note.path.as_ref().is_none_or(|noted| noted == path),
                None => name.ends_with(WHOLE),
            };
            if belongs {
                return Ok(Some(KeptFile { file, len, note }));
            }
        }
        Ok(None)
    }

    /// Keeps a part of a file, unless a longer one is kept already.
    pub fn keep(&mut self, staged: Staged, path: &TenantPath, note: &KeptNote) -> io::Result<()> {
        let len = staged.file().metadata()?.len();
        if self.find(path)?.is_some_and(|kept| kept.len > len) {
            return Ok(());
        }
        let name = name_of(path);
        match self.note(staged.file(), note) {
            Err(error)
                if note.path.is_some()
                    && [Errno::NOSPC, Errno::TOOBIG, Errno::RANGE]
                        .iter()
                        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
            {
                let short = KeptNote {
                    path: None,
                    ..note.clone()
                };
                self.note(staged.file(), &short)?;
            }
            other => other?,
        }
        staged.publish(&self.dir, &name, Replace::Yes)?;
        self.names.insert(name);
        Ok(())
    }

    fn note_of(&self, file: &File) -> io::Result<Option<Vec<u8>>> {
        let notes = &self.dir.shared.notes;
        notes.read(&Inode::open(file.as_fd()), NOTE)
    }

    fn note(&self, file: &File, note: &KeptNote) -> io::Result<()> {
        let notes = &self.dir.shared.notes;
        notes.keep(&Inode::open(file.as_fd()), NOTE, &note.encode())
    }

    /// Keeps a whole file, attributes and all, until it is put in place.
    pub fn keep_whole(&mut self, staged: Staged, path: &TenantPath) -> io::Result<()> {
        let name = whole_name_of(path);
        staged.publish(&self.dir, &name, Replace::Yes)?;
        self.names.insert(name);
        Ok(())
    }

    /// Puts a whole file in place, over what has the name.
    pub fn put_in_place(&mut self, path: &TenantPath, to: &Dir, name: &[u8]) -> io::Result<()> {
        let whole = whole_name_of(path);
        self.dir.rename(&whole, to, name)?;
        self.names.remove(&whole);
        Ok(())
    }

    /// Takes a part to go on writing it: nobody else has it from now on, and it is gone if it is
    /// neither published nor kept again. `None`: nothing is kept but perhaps a whole file.
    pub fn take(&mut self, path: &TenantPath) -> io::Result<Option<Staged>> {
        let name = name_of(path);
        if !self.names.contains(&name) {
            return Ok(None);
        }
        self.names.remove(&name);
        let inode = match Inode::hold(self.dir.fd(), &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let stat = inode.stat()?;
        if stat.kind != Kind::File || stat.nlink != 1 {
            return Ok(None);
        }
        let counted = self.dir.shared.freed_with(self.dir.fd(), &name);
        let staged_name =
            StagedName::make(&self.dir.shared, self.dir.side(), |staging, staged| {
                Ok(renameat(self.dir.fd(), name.as_slice(), staging, staged)?)
            })?;
        self.dir.shared.has_gone(counted);
        let file = File::from(inode.reopen(OFlags::RDWR)?);
        self.dir.shared.notes.forget(&Inode::open(file.as_fd()))?;
        Ok(Some(Staged::named(&self.dir, file, staged_name)?))
    }

    /// Removes what is kept for a path.
    pub fn forget(&mut self, path: &TenantPath) {
        if self.names.is_empty() {
            return;
        }
        for name in [whole_name_of(path), name_of(path)] {
            if self.names.remove(&name) {
                // What cannot be removed now is too old one day.
                let _ = self.dir.remove_file(&name);
            }
        }
    }

    /// Removes the parts whose place in the tree `is_gone`.
    pub fn forget_where(&mut self, mut is_gone: impl FnMut(&TenantPath) -> bool) {
        let names: Vec<_> = self.names.iter().cloned().collect();
        for name in names {
            let Ok(file) = self.dir.open_file(&name) else {
                continue;
            };
            let note = self.note_of(&file).ok().flatten();
            let path = note.and_then(|note| KeptNote::decode(&note)?.path);
            if let Some(path) = path
                && is_gone(&path)
            {
                self.forget(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_anything_else_is_none() {
        for path in [None, Some("a b/c")] {
            let note = KeptNote {
                path: path.map(|path| TenantPath::parse(path.as_bytes()).unwrap()),
                len: 7,
                literal: u64::MAX,
            };
            assert_eq!(KeptNote::decode(&note.encode()), Some(note));
        }
        for bad in [&b""[..], b"1", b"1 2 3", b"2 3 4 a", b"1 x 3 a"] {
            assert_eq!(KeptNote::decode(bad), None);
        }
    }
}
