//! `--fuzzy`: for a file that is not there, another one of its directory as the basis; given
//! twice, one in the same directory of an alternate destination too.
//!
//! The names of a directory are read when the first such file asks for them, and kept while files
//! of that directory follow. Which one is chosen says [`alike`](super::alike). What a search may
//! cost is bounded in two ways: of a directory with more than [`MOST_NAMES`] files none is a
//! basis, and after [`MOST_STEPS`] in a session only neighbours in the order of names are.

use std::io;

use coffre_protocol::flist::EntryRef;
use coffre_protocol::item::BasisType;
use coffre_protocol::options::Fuzzy as Asked;

use super::Receiver;
use super::alike::{Names, choose};
use super::basis::{Basis, OpenBasis};
use super::destination::client_path;
use super::generator::Target;
use crate::confine::{Dir, Kind};

/// Files of a directory that are kept in mind: some 15 MB of names.
const MOST_NAMES: usize = 200_000;
/// Steps of comparing names, a nanosecond or two each.
const MOST_STEPS: u64 = 4_000_000_000;

/// What is known of the directory at hand.
pub(super) struct Fuzzy {
    /// The directory, relative to the destination.
    of: Option<Vec<u8>>,
    /// Its own files, and those of the alternate directories.
    lists: Vec<Names>,
    steps: u64,
}

impl Default for Fuzzy {
    fn default() -> Self {
        Self {
            of: None,
            lists: Vec::new(),
            steps: MOST_STEPS,
        }
    }
}

impl Receiver {
    /// The basis for a file that is not there.
    pub(super) fn fuzzy_basis(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
    ) -> Option<OpenBasis> {
        if self.policy.fuzzy == Asked::No || target.stat.is_some() {
            return None;
        }
        let own = target.dir.clone()?;
        if self.fuzzy.of.as_deref() != Some(entry.dir()) {
            self.fuzzy.of = Some(entry.dir().to_vec());
            let mut lists = vec![self.names_in(&own)];
            if self.policy.fuzzy == Asked::AlternatesToo {
                for index in 0..self.alternates.as_ref().map_or(0, |dirs| dirs.len()) {
                    let dir = self.alternate_dir(index, entry.dir());
                    lists.push(dir.map(|dir| self.names_in(&dir)).unwrap_or_default());
                }
            }
            self.fuzzy.lists = lists;
        }
        let window = u32::try_from(self.policy.modify_window).unwrap_or(0);
        let name = self.target_name(entry);
        let before = self.fuzzy.steps;
        let (index, xname) = choose(
            &self.fuzzy.lists,
            &name,
            entry.len(),
            (entry.mtime().0, window),
            &mut self.fuzzy.steps,
        )?;
        let xname = xname.to_vec();
        if before > 0 && self.fuzzy.steps == 0 {
            tracing::info!("so many names were compared that only neighbours will be, from now on");
        }
        self.stay_alive();
        let dir = match index {
            0 => own,
            _ => self.alternate_dir(index - 1, entry.dir())?,
        };
        let path = dir.path()?.child(&xname).ok()?;
        let kind = BasisType::Fuzzy(index as u8);
        match self.open_basis(entry, Basis::in_tree(kind, path.clone(), Some(xname))) {
            Ok(basis) => Some(basis),
            Err(error) => {
                self.cannot_open_basis(&client_path(&path), &error);
                None
            }
        }
    }

    /// What of a directory can be a basis. One that cannot be read has nothing.
    fn names_in(&mut self, dir: &Dir) -> Names {
        let mut names = Vec::new();
        let read = dir.visit_entries(|name, kind, _| {
            if !matches!(kind, None | Some(Kind::File)) {
                return Ok(());
            }
            if let Some(have) = dir.stat(name)?
                && have.kind == Kind::File
                && have.size > 0
            {
                names.push((name.to_vec(), have.size, have.mtime.secs));
            }
            match names.len() > MOST_NAMES {
                true => Err(io::ErrorKind::FileTooLarge.into()),
                false => Ok(()),
            }
        });
        if let Err(error) = read {
            tracing::info!(%error, "a directory is not searched for similar files");
            return Names::default();
        }
        Names::new(names)
    }

    /// A file that is there is being changed.
    pub(super) fn is_no_fuzzy_basis(&mut self, entry: &EntryRef<'_>) {
        if self.policy.fuzzy != Asked::No && self.fuzzy.of.as_deref() == Some(entry.dir()) {
            let name = self.target_name(entry);
            if let Some(own) = self.fuzzy.lists.first_mut() {
                own.is_changing(&name);
            }
        }
    }
}
