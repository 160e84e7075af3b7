//! Where the entries go: the destination argument, and directories below it.

use std::io;
use std::sync::Arc;

use coffre_protocol::ExitCode;
use coffre_protocol::flist::{EntryRef, FileKind};
use coffre_protocol::mux::MessageKind;

use super::messages::reason;
use super::{Fatal, Receiver};
use crate::confine::{Dir, Kind, TenantPath, Unresolved};
use crate::session::output::Pulse;

/// The settled destination.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// The directory that names of the list are relative to.
    pub(super) dir: TenantPath,
    /// The only entry goes to this name instead of its own.
    pub(super) single_name: Option<Vec<u8>>,
    /// See [`super::dirlinks`].
    pub(super) keeps_links: bool,
}

impl Destination {
    /// Where a directory of the list is below [`Self::dir`].
    pub(super) fn below(&self, path: &[u8]) -> io::Result<TenantPath> {
        let below = match &self.single_name {
            // A single directory that gets another name: its contents go below that name.
            Some(single) if !path.is_empty() => {
                let rest = path
                    .iter()
                    .position(|b| *b == b'/')
                    .map_or(&b""[..], |at| &path[at..]);
                [single, rest].concat()
            }
            _ => path.to_vec(),
        };
        TenantPath::parse(&below)
            .map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal.to_string()))
    }
}

pub(super) fn client_path(path: &TenantPath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}

fn cannot_stat(argument: &[u8], error: &io::Error) -> Fatal {
    Fatal::exit(
        ExitCode::FileSelect,
        format!(
            "rsync: [Receiver] ERROR: cannot stat destination \"{}\": {}",
            String::from_utf8_lossy(argument),
            reason(error)
        ),
    )
}

impl Receiver {
    /// Decides what the destination argument means, now that it is known what comes.
    /// Errors: it cannot be entered or made, or is not a directory where it has to be one.
    pub(super) fn settle_destination(&mut self) -> Result<(), Fatal> {
        if self.destination.is_some() {
            return Ok(());
        }
        self.tell_unknown_owners();
        let argument = self.destination_argument.clone();
        let path = self.resolve(&argument)?;
        self.furnish(&path)?;
        let total: u64 = self
            .lists
            .iter()
            .map(|state| u64::from(state.list.len()))
            .sum();
        let has_slash = argument.ends_with(b"/") || argument.ends_with(b"/.");
        let first_is_dir = self.lists[0]
            .list
            .iter()
            .next()
            .is_some_and(|(_, entry)| entry.kind() == FileKind::Directory);
        let shown = client_path(&path);
        let select = |message: &str| Err(Fatal::exit(ExitCode::FileSelect, message));
        match self.root.kind_at(&path) {
            Ok(Some(Kind::Dir)) => self.enter(path),
            Ok(Some(_)) if has_slash => {
                let error = io::Error::from(rustix::io::Errno::NOTDIR);
                return Err(cannot_stat(&argument, &error));
            }
            Ok(Some(_)) if total > 1 => {
                return select(
                    "ERROR: destination must be a directory when copying more than 1 file",
                );
            }
            Ok(Some(_)) if first_is_dir => {
                return select("ERROR: cannot overwrite non-directory with a directory");
            }
            Ok(Some(_)) => self.enter_single(&path)?,
            Ok(None) if total > 1 || has_slash => self.make_destination(path, &shown)?,
            Ok(None) if total == 0 => self.enter(path),
            Ok(None) => {
                let parent = path.parent().unwrap_or_else(TenantPath::root);
                if self.policy.mkpath {
                    let made = self.make_leading(&parent, &shown)?;
                    self.say_created_by_mkpath(made, &client_path(&parent));
                }
                self.enter_single(&path)?;
            }
            Err(error) => return Err(cannot_stat(&argument, &error)),
        }
        self.settle_other_directories()?;
        self.settle_alternates()?;
        if self.policy.info.delta_transmission {
            let state = if self.policy.whole_file {
                "disabled"
            } else {
                "enabled"
            };
            self.out.text(
                MessageKind::Info,
                &format!(
                    "delta-transmission {state}{}",
                    if self.policy.whole_file {
                        " for local transfer or --whole-file"
                    } else {
                        ""
                    }
                ),
            );
        }
        self.open_kept();
        if let Some(lull) = self.lull() {
            let mut pulse = Pulse::new(Arc::clone(&self.pipe), lull);
            self.root.while_busy(move || pulse.beat());
        }
        self.begin_walk();
        Ok(())
    }

    fn enter(&mut self, dir: TenantPath) {
        self.destination = Some(Destination {
            dir,
            single_name: None,
            keeps_links: self.policy.keep_dirlinks,
        });
    }

    fn enter_single(&mut self, path: &TenantPath) -> Result<(), Fatal> {
        let parent = path.parent().unwrap_or_else(TenantPath::root);
        let shown = String::from_utf8_lossy(&client_path(&parent)).into_owned();
        if !self.policy.dry_run
            && let Err(error) = self.root.dir(&parent)
        {
            return Err(Fatal::exit(
                ExitCode::FileSelect,
                format!(
                    "rsync: [Receiver] change_dir#3 \"{shown}\" failed: {}",
                    reason(&error)
                ),
            ));
        }
        self.destination = Some(Destination {
            dir: parent,
            single_name: path.file_name().map(<[u8]>::to_vec),
            keeps_links: self.policy.keep_dirlinks,
        });
        Ok(())
    }

    fn make_destination(&mut self, path: TenantPath, shown: &[u8]) -> Result<(), Fatal> {
        if self.policy.mkpath {
            let made = self.make_leading(&path, shown)?;
            self.say_created_by_mkpath(made, shown);
        } else if !self.policy.dry_run {
            self.make_one(&path, shown)?;
        }
        // In a dry run it is still not there, and would be made once more.
        if !self.policy.mkpath || self.policy.dry_run {
            self.made_dirs.insert(b".".to_vec());
            if self.policy.info.created_destination {
                let line = [b"created directory ", shown].concat();
                self.out.raw_text(MessageKind::Info, line);
            }
        }
        self.enter(path);
        Ok(())
    }

    /// A tenant begins as an empty tree, and `/var` of `/var/backup/` is on every machine: when the
    /// first directory of a destination is missing, those above it are made without `--mkpath`.
    fn furnish(&mut self, path: &TenantPath) -> Result<(), Fatal> {
        if self.policy.mkpath || self.policy.dry_run {
            return Ok(());
        }
        let (Some(parent), Some(first)) = (path.parent(), path.components().next()) else {
            return Ok(());
        };
        let first = TenantPath::root()
            .child(first)
            .map_err(|error| Fatal::exit(ExitCode::FileIo, reason(&error)))?;
        if matches!(self.root.kind_at(&first), Ok(None)) {
            self.make_leading(&parent, &client_path(path))?;
        }
        Ok(())
    }

    fn say_created_by_mkpath(&mut self, made: u32, shown: &[u8]) {
        if made > 0 && self.policy.info.created_destination {
            let many = if made == 1 {
                "directory"
            } else {
                "directories"
            };
            let line = [format!("created {made} {many} for ").as_bytes(), shown].concat();
            self.out.raw_text(MessageKind::Info, line);
        }
    }

    /// Where the argument leads in the client's view.
    fn resolve(&self, argument: &[u8]) -> Result<TenantPath, Fatal> {
        let select = |message| Fatal::exit(ExitCode::FileSelect, message);
        self.root.resolve(argument).map_err(|why| match why {
            Unresolved::Leaves => select("the destination leads out of this tree"),
            Unresolved::TooManyLinks => {
                select("the destination has too many levels of symbolic links")
            }
            Unresolved::NotAPath(error) => cannot_stat(argument, &error),
        })
    }

    /// Makes the directories that lead to the destination. Answers how many.
    fn make_leading(&mut self, path: &TenantPath, shown: &[u8]) -> Result<u32, Fatal> {
        let mut made = 0;
        let mut reached = TenantPath::root();
        for name in path.components().map(<[u8]>::to_vec).collect::<Vec<_>>() {
            reached = reached
                .child(&name)
                .map_err(|error| Fatal::exit(ExitCode::FileIo, reason(&error)))?;
            if matches!(self.root.kind_at(&reached), Ok(None)) {
                if !self.policy.dry_run {
                    self.make_one(&reached, shown)?;
                }
                made += 1;
            }
        }
        Ok(made)
    }

    fn make_one(&mut self, path: &TenantPath, shown: &[u8]) -> Result<(), Fatal> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let mode = 0o777 & !self.policy.umask;
        self.root
            .dir(&parent)
            .and_then(|dir| dir.make_dir(name, mode))
            .map_err(|error| {
                Fatal::exit(
                    ExitCode::FileIo,
                    format!(
                        "rsync: [Receiver] mkdir \"{}\" failed: {}",
                        String::from_utf8_lossy(shown),
                        reason(&error)
                    ),
                )
            })
    }

    pub(super) fn is_single_file(&self) -> bool {
        self.destination
            .as_ref()
            .is_some_and(|destination| destination.single_name.is_some())
    }

    /// The name an entry gets in its directory.
    pub(super) fn target_name(&self, entry: &EntryRef<'_>) -> Vec<u8> {
        self.renamed(entry.base())
    }

    /// The name that the first component of an entry gets.
    pub(super) fn renamed(&self, name: &[u8]) -> Vec<u8> {
        match self
            .destination
            .as_ref()
            .and_then(|destination| destination.single_name.as_ref())
        {
            Some(single) => single.clone(),
            None => name.to_vec(),
        }
    }

    /// The directory that an entry is in; `None`: it does not exist.
    pub(super) fn dir_of(&mut self, entry: &EntryRef<'_>) -> io::Result<Option<Arc<Dir>>> {
        self.dir_at(entry.dir())
    }

    /// A directory by its path relative to the destination; `None`: it does not exist.
    pub(super) fn dir_at(&mut self, path: &[u8]) -> io::Result<Option<Arc<Dir>>> {
        if let Some((last, dir)) = &self.last_dir
            && last == path
        {
            return Ok(Some(Arc::clone(dir)));
        }
        let Some(destination) = &self.destination else {
            return Ok(None);
        };
        let place = destination.place(&self.root, path)?;
        match self.root.cached_dir(&place) {
            Ok(dir) => {
                self.last_dir = Some((path.to_vec(), Arc::clone(&dir)));
                Ok(Some(dir))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // What stands in the way would have been removed by now.
            Err(error)
                if self.policy.dry_run
                    && (error.kind() == io::ErrorKind::NotADirectory
                        || crate::confine::Escape::of(&error).is_some()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A directory goes away, or something else takes its place.
    pub(super) fn forget_dir(&mut self, _path: &[u8]) {
        self.last_dir = None;
    }
}
