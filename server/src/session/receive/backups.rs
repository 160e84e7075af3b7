//! `--backup`: what is replaced or deleted gets another name first.
//!
//! The old inode itself moves or gets a second name; only `--inplace` needs a copy. A backup
//! directory is named relative to the destination, or absolutely in the tenant's tree.

use std::io;
use std::sync::Arc;

use coffre_protocol::ExitCode;
use coffre_protocol::flist::EntryRef;
use coffre_protocol::item::BasisType;
use coffre_protocol::mux::MessageKind;

use super::basis::Basis;
use super::decide;
use super::generator::Target;
use super::messages::{is_store_failure, reason};
use super::{Fatal, Receiver, path_of};
use crate::confine::{Attributes, Dir, FileTime, Kind, Replace, TenantPath};

/// Where backups go.
#[derive(Debug, Clone)]
pub(super) struct Backups {
    /// `None`: beside the file.
    dir: Option<TenantPath>,
    /// The directory as the client wrote it, with a slash.
    shown: Vec<u8>,
    suffix: Vec<u8>,
    /// The last directory that is known to be there, relative to the backup directory.
    made: Option<Vec<u8>>,
}

/// What became of a file that was to be backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackedUp {
    /// It has no longer its old name.
    Moved,
    /// It has both names, or needs no backup.
    StillThere,
    /// There is nothing to keep.
    Nothing,
    /// The client was told why not.
    Failed,
}

impl Receiver {
    /// Finds the backup directory and the temporary directory, once the destination is known.
    /// Errors: one that leads out of the tree, or that is no directory.
    pub(super) fn settle_other_directories(&mut self) -> Result<(), Fatal> {
        if let Some(temp) = self.policy.temp_dir.clone() {
            self.temp_dir = Some(self.check_temp_dir(&temp)?);
        }
        if !self.policy.backup {
            return Ok(());
        }
        let mut backups = Backups {
            dir: None,
            shown: Vec::new(),
            suffix: self.policy.backup_suffix.clone(),
            made: None,
        };
        if let Some(argument) = self.policy.backup_dir.clone() {
            let dir = self.beside_destination("--backup-dir", &argument)?;
            let shown = String::from_utf8_lossy(&argument).into_owned();
            let shown = shown.strip_suffix('/').unwrap_or(&shown);
            match self.root.kind_at(&dir) {
                Ok(Some(Kind::Dir)) => self.say_backup_dir("", shown),
                Ok(Some(_)) => {
                    return Err(Fatal::exit(
                        ExitCode::Syntax,
                        format!("The backup-dir is not a directory: {shown}"),
                    ));
                }
                Ok(None) => self.say_backup_dir("(new) ", shown),
                Err(error) => {
                    return Err(Fatal::exit(
                        ExitCode::FileIo,
                        format!("Failed to stat {shown}: {}", reason(&error)),
                    ));
                }
            }
            backups.shown = argument;
            if !backups.shown.ends_with(b"/") {
                backups.shown.push(b'/');
            }
            backups.dir = Some(dir);
        }
        self.backups = Some(backups);
        Ok(())
    }

    fn say_backup_dir(&mut self, new: &str, shown: &str) {
        if self.policy.info.backup {
            let line = format!("{new}backup_dir is {shown}");
            self.out.text(MessageKind::Info, &line);
        }
    }

    /// Files are made beside the tree, wherever a client wants its temporary ones; but a directory
    /// that is not there is its mistake, as with stock.
    fn check_temp_dir(&mut self, argument: &[u8]) -> Result<TenantPath, Fatal> {
        let dir = self.beside_destination("--temp-dir", argument)?;
        let shown = String::from_utf8_lossy(argument);
        let (exit, text) = match self.root.kind_at(&dir) {
            Ok(Some(Kind::Dir)) => return Ok(dir),
            Ok(Some(_)) => (
                ExitCode::Syntax,
                format!("The temp-dir is not a directory: {shown}"),
            ),
            Ok(None) => (
                ExitCode::Syntax,
                format!("The temp-dir does not exist: {shown}"),
            ),
            Err(error) => (
                ExitCode::FileIo,
                format!("Failed to stat temp-dir {shown}: {}", reason(&error)),
            ),
        };
        Err(Fatal::exit(exit, text))
    }

    /// Something comes into its place that a stock server would have made in the temporary
    /// directory, whose time that changes.
    pub(super) fn comes_from_temp_dir(&mut self) {
        let Some(temp) = self.temp_dir.clone().filter(|_| !self.policy.dry_run) else {
            return;
        };
        let now = Attributes {
            mtime: Some(FileTime::now()),
            ..Attributes::default()
        };
        let changed = self.root.cached_dir(&temp);
        if let Err(error) = changed.and_then(|dir| dir.update_self(&now)) {
            tracing::debug!(%error, "the temporary directory's time could not be changed");
        }
        self.touched_in_tree(&temp);
    }

    /// A directory that an option names: relative to the destination, or absolute in the tree.
    pub(super) fn beside_destination(
        &self,
        option: &str,
        argument: &[u8],
    ) -> Result<TenantPath, Fatal> {
        let destination = self.destination.as_ref().map(|found| found.dir.as_bytes());
        let whole = match argument.starts_with(b"/") {
            true => argument.to_vec(),
            false => [destination.unwrap_or_default(), b"/", argument].concat(),
        };
        self.root.resolve(&whole).map_err(|_| {
            Fatal::exit(
                ExitCode::Unsupported,
                format!("this server refuses {option}: it leads out of the tenant's tree"),
            )
        })
    }

    /// Whether a file that goes is to be kept as a backup. A backup itself is not, unless backups
    /// have a directory of their own.
    pub(super) fn is_backed_up(&self, path: &[u8]) -> bool {
        self.backups.as_ref().is_some_and(|backups| {
            backups.dir.is_some()
                || path.len() <= backups.suffix.len()
                || !path.ends_with(&backups.suffix)
        })
    }

    /// Gives what has a name the name of its backup; with `moves` it loses the old one. `path` is
    /// relative to the destination.
    pub(super) fn back_up(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
        moves: bool,
    ) -> Result<BackedUp, Fatal> {
        let Some(backups) = &self.backups else {
            return Ok(BackedUp::Nothing);
        };
        let shown = [&backups.shown[..], path, &backups.suffix].concat();
        let Ok(Some(have)) = dir.stat(name) else {
            return Ok(BackedUp::Nothing);
        };
        if self.policy.safe_links
            && have.kind == Kind::Symlink
            && let Ok(link) = dir.read_link(name)
            && decide::is_unsafe_link(&link, path)
        {
            if self.policy.info.symsafe {
                let line: [&[u8]; 5] = [
                    b"not backing up unsafe symlink \"",
                    path,
                    b"\" -> \"",
                    &link,
                    b"\"",
                ];
                self.out.raw_text(MessageKind::Info, line.concat());
            }
            return Ok(BackedUp::StillThere);
        }
        if !self.policy.dry_run {
            let done = self
                .backup_place(dir, name, path)
                .and_then(|(to, to_name)| {
                    self.with_room(&to, &to_name, &shown, || {
                        if moves {
                            dir.rename(name, &to, &to_name)?;
                            // Between two links of an inode that does nothing.
                            if have.nlink > 1
                                && dir.stat(name)?.is_some_and(|is| is.same_inode(&have))
                            {
                                dir.remove_file(name)?;
                            }
                            return Ok(());
                        }
                        match to.link(&to_name, dir, name, Replace::Yes) {
                            // It has as many links as can be.
                            Err(error) if is_full(&error) && have.kind == Kind::File => dir
                                .stage_copy(name, &to)?
                                .publish(&to, &to_name, Replace::Yes),
                            other => other,
                        }
                    })
                });
            if let Err(error) = done {
                self.backup_failed(path, &shown, &error)?;
                return Ok(BackedUp::Failed);
            }
        }
        self.say_backed_up(path, &shown);
        Ok(if moves {
            BackedUp::Moved
        } else {
            BackedUp::StillThere
        })
    }

    fn say_backed_up(&mut self, path: &[u8], shown: &[u8]) {
        if self.policy.info.backup {
            let line = [b"backed up ", path, b" to ", shown].concat();
            self.out.raw_text(MessageKind::Info, line);
        }
    }

    fn backup_failed(&mut self, path: &[u8], shown: &[u8], error: &io::Error) -> Result<(), Fatal> {
        if is_store_failure(error) {
            return Err(self.store_failure("keep_backup", path, error));
        }
        self.totals.had_errors = true;
        let mut line = b"rsync: [generator] keep_backup failed: \"".to_vec();
        line.extend_from_slice(&self.shown(path));
        line.extend_from_slice(b"\" -> \"");
        line.extend_from_slice(shown);
        line.extend_from_slice(format!("\": {}", reason(error)).as_bytes());
        self.out.raw_text(MessageKind::ErrorXfer, line);
        Ok(())
    }

    /// Before something that is not a directory is replaced. `false`: it must stay.
    pub(super) fn back_up_replaced(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
    ) -> Result<bool, Fatal> {
        let (Some(dir), Some(have)) = (&target.dir, &target.stat) else {
            return Ok(true);
        };
        if self.backups.is_none() || have.kind == Kind::Dir {
            return Ok(true);
        }
        let path = self.local_path(entry);
        let dir = Arc::clone(dir);
        Ok(self.back_up(&dir, &target.name, &path, false)? != BackedUp::Failed)
    }

    /// An entry's path relative to the destination, with the name it has here.
    pub(super) fn local_path(&self, entry: &EntryRef<'_>) -> Vec<u8> {
        match entry.dir().is_empty() && !entry.is_root() {
            true => self.target_name(entry),
            false => path_of(entry),
        }
    }

    /// Removes something that is not a directory, or moves it to its backup. `Ok(false)`: it
    /// stays, and the client was told.
    pub(super) fn remove_or_back_up(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
    ) -> Result<io::Result<bool>, Fatal> {
        if self.is_backed_up(path) {
            match self.back_up(dir, name, path, true)? {
                BackedUp::Moved | BackedUp::Nothing => return Ok(Ok(true)),
                BackedUp::Failed => return Ok(Ok(false)),
                BackedUp::StillThere => {}
            }
        }
        if self.policy.dry_run {
            return Ok(Ok(true));
        }
        Ok(dir.remove_file(name).map(|()| true))
    }

    /// `--inplace`: a copy of what will be overwritten, which is then the basis. `None`: it could
    /// not be made, and the client was told.
    pub(super) fn copy_to_backup(
        &mut self,
        entry: &EntryRef<'_>,
        dir: &Arc<Dir>,
        name: &[u8],
    ) -> Result<Option<Basis>, Fatal> {
        let path = self.local_path(entry);
        let Some(backups) = &self.backups else {
            return Ok(None);
        };
        let shown = [&backups.shown[..], &path, &backups.suffix].concat();
        let made = self
            .backup_place(dir, name, &path)
            .and_then(|(to, to_name)| {
                self.with_room(&to, &to_name, &shown, || {
                    dir.stage_copy(name, &to)?
                        .publish(&to, &to_name, Replace::Yes)
                })?;
                let home = to.path().ok_or(io::ErrorKind::InvalidInput)?;
                home.child(&to_name)
            });
        match made {
            Ok(place) => {
                self.touched(entry.dir());
                self.say_backed_up(&path, &shown);
                Ok(Some(Basis::in_tree(BasisType::Backup, place, None)))
            }
            Err(error) => {
                self.backup_failed(&path, &shown, &error)?;
                Ok(None)
            }
        }
    }

    /// Does what gives a name to a backup; a directory that has the name goes, with what is in it.
    fn with_room(
        &mut self,
        to: &Dir,
        name: &[u8],
        shown: &[u8],
        place: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        match place() {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.remove_tree(to, name, shown)?;
                place()
            }
            other => other,
        }
    }

    /// Removes a directory with what is in it. Directories are opened one after the other, so a
    /// deep tree does not hold as many descriptors.
    fn remove_tree(&mut self, above: &Dir, name: &[u8], shown: &[u8]) -> io::Result<()> {
        let mut path: Vec<Vec<u8>> = vec![name.to_vec()];
        let mut told = vec![shown.to_vec()];
        while let (Some(last), Some(at)) = (path.last().cloned(), told.last().cloned()) {
            let mut parent: Option<Dir> = None;
            for name in &path[..path.len() - 1] {
                parent = Some(parent.as_ref().unwrap_or(above).open_dir(name)?);
            }
            let parent = parent.as_ref().unwrap_or(above);
            let dir = parent.open_dir(&last)?;
            let mut below = None;
            for entry in dir.entries()? {
                let here = [&at[..], b"/", &entry.name].concat();
                if entry.kind == Some(Kind::Dir) {
                    below = Some((entry.name, here));
                    continue;
                }
                dir.remove_file(&entry.name)?;
                self.totals.deleted.count(entry.kind.unwrap_or(Kind::File));
                self.say_deleted(&here, false);
            }
            if let Some((name, here)) = below {
                path.push(name);
                told.push(here);
                continue;
            }
            parent.remove_dir(&last)?;
            path.pop();
            told.pop();
            // The top itself makes room and does not count.
            if !path.is_empty() {
                self.totals.deleted.count(Kind::Dir);
                self.say_deleted(&at, true);
            }
            self.stay_alive();
        }
        Ok(())
    }

    /// Where the backup of a file goes; the directories that lead there are made.
    fn backup_place(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
    ) -> io::Result<(Arc<Dir>, Vec<u8>)> {
        let Some(backups) = self.backups.clone() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let to_name = [name, &backups.suffix].concat();
        let Some(top) = backups.dir else {
            return Ok((Arc::clone(dir), to_name));
        };
        let parent = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => &path[..slash],
            None => &b""[..],
        };
        let below = TenantPath::parse(parent)
            .map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal.to_string()))?;
        let place = top.join(&below);
        if backups.made.as_deref() != Some(parent) {
            self.make_backup_dirs(&top, &below)?;
            if let Some(backups) = &mut self.backups {
                backups.made = Some(parent.to_vec());
            }
        }
        Ok((self.root.cached_dir(&place)?, to_name))
    }

    /// Makes what is missing of a directory for backups: those below the backup directory like
    /// the directories that the files come from, those above with default permissions.
    fn make_backup_dirs(&mut self, top: &TenantPath, below: &TenantPath) -> io::Result<()> {
        let mut reached = TenantPath::root();
        let mut like = TenantPath::root();
        let depth = top.components().count();
        for (level, name) in top.join(below).components().enumerate() {
            let above = self.root.cached_dir(&reached)?;
            let is_below = level >= depth;
            if is_below {
                like = like.child(name)?;
            }
            match above.stat(name)? {
                Some(have) if have.kind == Kind::Dir => {
                    reached = reached.child(name)?;
                    continue;
                }
                Some(_) => above.remove_file(name)?,
                None => {}
            }
            self.touched_in_tree(&reached);
            above.make_dir(name, 0o777 & !self.policy.umask)?;
            reached = reached.child(name)?;
            if is_below && let Ok(Some(from)) = self.dir_at(like.as_bytes()) {
                self.make_alike(&from, &reached)?;
            }
        }
        Ok(())
    }

    /// A directory of the tree was changed: if it is one of the transfer, its time is repaired.
    fn touched_in_tree(&mut self, path: &TenantPath) {
        let Some(destination) = &self.destination else {
            return;
        };
        if path.starts_with(&destination.dir) {
            let skip = destination.dir.components().count();
            let below: Vec<&[u8]> = path.components().skip(skip).collect();
            self.touched(&below.join(&b'/'));
        }
    }

    fn make_alike(&mut self, from: &Dir, place: &TenantPath) -> io::Result<()> {
        let policy = &self.policy;
        let is = from.self_stat()?;
        let xattrs = policy.xattrs.then(|| from.self_xattrs()).transpose()?;
        let FileTime { secs, nanos } = is.mtime;
        let wanted = Attributes {
            uid: policy.owner.then_some(is.uid),
            gid: policy.group.then_some(is.gid),
            mode: Some(is.mode),
            mtime: (policy.times && !policy.omit_dir_times).then_some(FileTime { secs, nanos }),
            xattrs: xattrs.as_ref(),
            ..Attributes::default()
        };
        self.root.cached_dir(place)?.update_self(&wanted).map(drop)
    }
}

fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MLINK.raw_os_error())
}
