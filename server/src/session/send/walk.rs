//! The walk through what was asked for, directory by directory.
//!
//! A [`Visit`] lists one directory of the transfer. It may have several parts: the same name from
//! two sources is one directory to the client. In each part either all entries are listed, or those
//! names of the plan that were asked for, or both.

use std::io;

use coffre_protocol::options::OneFileSystem;

use super::entry::{DirRole, Found};
use super::phases::Stage;
use super::plan::Asked;
use super::view::{Folder, Place};
use super::{Fatal, Sender};
use crate::confine::{DirEntry, Escape, Kind};

/// Entries listed between two looks at the input.
const CHUNK: usize = 128;

/// One directory of the transfer, whose entries are listed next.
#[derive(Debug)]
pub(super) struct Visit {
    /// From the top of the transfer; empty: the top.
    pub(super) name: Vec<u8>,
    /// With incremental recursion, in the table of directories; `None`: the first list.
    pub(super) number: Option<u32>,
    pub(super) parts: Vec<Part>,
}

/// One of the directories that a visit is to.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) origin: u32,
    place: Place,
    /// All entries are listed.
    all: bool,
    /// The names below this node of the plan are.
    node: Option<u32>,
    /// With `--one-file-system`: the one to stay on.
    dev: u64,
}

/// A visit under way.
pub(super) struct Visiting {
    visit: Visit,
    part: usize,
    /// Of the part at hand, once its names have been read.
    rest: Option<(Folder, std::vec::IntoIter<DirEntry>)>,
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}

impl Sender {
    /// All sources have been looked at.
    pub(super) fn begin_walk(&mut self) -> Result<(), Fatal> {
        self.stage = Stage::Serving;
        self.list_began = std::time::Instant::now();
        let origins = self.plan.origins();
        let parts = origins
            .map(|(number, origin, node)| Part {
                origin: number,
                place: origin.base.clone(),
                all: false,
                node: Some(node),
                dev: 0,
            })
            .collect();
        self.visits.push(Visit {
            name: Vec::new(),
            number: None,
            parts,
        });
        Ok(())
    }

    pub(super) fn begin_visit(&mut self, visit: Visit) {
        self.listing.visiting = Some(Visiting {
            visit,
            part: 0,
            rest: None,
        });
    }

    /// Lists some entries of the directory at hand. `false`: there are no more.
    pub(super) fn visit_some(&mut self) -> Result<bool, Fatal> {
        let Some(mut visiting) = self.listing.visiting.take() else {
            return Ok(false);
        };
        let Some(part) = visiting.visit.parts.get_mut(visiting.part) else {
            return Ok(false);
        };
        let name = &visiting.visit.name;
        match &mut visiting.rest {
            None => {
                self.enter_filters(part.origin, name)?;
                let folder = self.list_planned(name, part)?;
                let entries = match folder {
                    Some(folder) if part.all => self
                        .read_names(&part.place, &folder)
                        .map(|entries| (folder, entries.into_iter())),
                    _ => None,
                };
                visiting.rest = entries;
                if visiting.rest.is_none() {
                    visiting.part += 1;
                }
            }
            Some((folder, entries)) => {
                for entry in entries.take(CHUNK) {
                    self.list_found(name, part, folder, &entry)?;
                }
                if entries.len() == 0 {
                    visiting.rest = None;
                    visiting.part += 1;
                }
            }
        }
        self.listing.visiting = Some(visiting);
        Ok(true)
    }

    fn read_names(&mut self, place: &Place, folder: &Folder) -> Option<Vec<DirEntry>> {
        match folder.entries() {
            Ok(entries) => Some(entries),
            Err(error) => {
                self.cannot_enter(place, &error);
                None
            }
        }
    }

    fn cannot_enter(&mut self, place: &Place, error: &io::Error) {
        let shown = self.view.shown(place);
        if error.kind() == io::ErrorKind::NotFound {
            self.vanished("directory", &shown);
        } else {
            self.io_error |= 1;
            self.file_error("opendir", &shown, error);
        }
    }

    /// Lists the names of the plan. Answers the directory, where it can be opened.
    fn list_planned(&mut self, path: &[u8], part: &mut Part) -> Result<Option<Folder>, Fatal> {
        if !part.all && part.node.is_none() {
            return Ok(None);
        }
        let folder = match self.view.open(&part.place) {
            Ok(folder) => folder,
            Err(error) => {
                let place = part.place.clone();
                self.cannot_enter(&place, &error);
                return Ok(None);
            }
        };
        let Some(number) = part.node else {
            return Ok(Some(folder));
        };
        let node = self.plan.node(number);
        let children: Vec<(Vec<u8>, u32)> = node
            .children
            .iter()
            .map(|(name, child)| (name.to_vec(), *child))
            .collect();
        if let (Some(asked), true) = (node.asked, path.is_empty()) {
            self.list_base(part, &folder, asked)?;
        }
        for (name, child) in children {
            self.list_name(path, part, &folder, &name, child)?;
        }
        Ok(Some(folder))
    }

    /// The entry `.`.
    fn list_base(&mut self, part: &mut Part, folder: &Folder, asked: Asked) -> Result<(), Fatal> {
        let found = match self.look_at_self(&part.place, folder) {
            Ok(found) => found,
            Err(error) => {
                self.cannot_enter(&part.place, &error);
                return Ok(());
            }
        };
        part.dev = found.stat.dev;
        part.all = asked.content;
        let role = DirRole {
            top_dir: true,
            content: asked.content && !asked.implied,
        };
        self.send_entry(part.origin, b".", &found, role)?;
        Ok(())
    }

    /// A name of the plan: asked for, or leading to one that is.
    fn list_name(
        &mut self,
        path: &[u8],
        part: &Part,
        folder: &Folder,
        name: &[u8],
        child: u32,
    ) -> Result<(), Fatal> {
        let whole = joined(path, name);
        let node = self.plan.node(child);
        let (asked, leads_on) = (node.asked, !node.children.is_empty());
        if asked.is_some_and(|asked| asked.missing) && !leads_on {
            return self.send_missing(part.origin, &whole);
        }
        let found = match asked {
            Some(_) if !leads_on => self.look_at_source(part, folder, name, &whole),
            // What leads to something is followed, if it is a link.
            _ => match self.view.resolve(&part.place, name, true) {
                Ok(place) => self.look_behind(place).ok().flatten(),
                Err(_) => None,
            },
        };
        let Some(found) = found else {
            return Ok(());
        };
        let is_dir = found.stat.kind == Kind::Dir;
        if !is_dir && leads_on {
            return Ok(());
        }
        if asked.is_some() && self.excludes(&whole, is_dir) {
            return Ok(());
        }
        let content = asked.is_some_and(|asked| asked.content);
        let is_implied = asked.is_none();
        let sends = !is_implied || self.options.implied_dirs || self.agreed.version.at_least(30);
        let role = DirRole {
            top_dir: content || is_implied && self.agreed.version.at_least(30),
            content,
        };
        if sends && !self.send_entry(part.origin, &whole, &found, role)? {
            return Ok(());
        }
        if is_dir && (content || leads_on) {
            let below = Part {
                origin: part.origin,
                dev: found.stat.dev,
                place: found.place,
                all: content,
                node: leads_on.then_some(child),
            };
            self.listing.put_below(&whole, below);
        }
        Ok(())
    }

    /// A source itself: at the top of the view a name may stand for a directory that is listed as
    /// a link.
    fn look_at_source(
        &mut self,
        part: &Part,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
    ) -> Option<Found> {
        if let Folder::Top(_) = folder {
            let place = self.view.child(&part.place, name).ok()?;
            return self.look_behind(place).ok().flatten();
        }
        self.look(&part.place, folder, name, path)
    }

    /// An entry of a directory of which all are listed.
    fn list_found(
        &mut self,
        path: &[u8],
        part: &Part,
        folder: &Folder,
        entry: &DirEntry,
    ) -> Result<(), Fatal> {
        let whole = joined(path, &entry.name);
        // Most excluded names need no further look.
        let may_be_followed =
            self.options.copy_links || self.options.copy_dirlinks || self.options.copy_unsafe_links;
        let known = entry
            .kind
            .filter(|kind| *kind != Kind::Symlink || !may_be_followed)
            .map(|kind| kind == Kind::Dir);
        if known.is_some_and(|is_dir| self.excludes(&whole, is_dir)) {
            return Ok(());
        }
        let Some(found) = self.look(&part.place, folder, &entry.name, &whole) else {
            return Ok(());
        };
        let is_dir = found.stat.kind == Kind::Dir;
        // Something else may stand there by now.
        if known != Some(is_dir) && self.excludes(&whole, is_dir) {
            return Ok(());
        }
        let is_border = is_dir
            && self.options.one_file_system != OneFileSystem::No
            && found.stat.dev != part.dev;
        if is_border && self.options.one_file_system == OneFileSystem::OmitMountPoints {
            return Ok(());
        }
        let role = DirRole {
            top_dir: false,
            content: self.options.recursive && !is_border,
        };
        if !self.send_entry(part.origin, &whole, &found, role)? {
            return Ok(());
        }
        if is_dir && role.content {
            let below = Part {
                origin: part.origin,
                dev: part.dev,
                place: found.place,
                all: true,
                node: None,
            };
            self.listing.put_below(&whole, below);
        }
        Ok(())
    }

    /// The directory at `path` below a base, over links only where the client asked to follow
    /// them or where a source led over them. With the epoch of its tree before it was opened,
    /// where no link led to it.
    pub(super) fn locate(
        &self,
        base: &Place,
        path: &[u8],
    ) -> io::Result<(Place, Folder, Option<u64>)> {
        let options = &self.options;
        let over_links = || {
            let place = self.view.resolve(base, path, true)?;
            let folder = self.view.open(&place)?;
            Ok((place, folder, None))
        };
        if options.copy_links || options.copy_dirlinks || options.copy_unsafe_links {
            return over_links();
        }
        let place = self.view.below(base, path)?;
        let epoch = self.view.epoch(&place);
        match self.view.open(&place) {
            Err(error) if options.relative && Escape::of(&error) == Some(Escape::SymbolicLink) => {
                over_links()
            }
            Err(error) => Err(error),
            Ok(folder) => Ok((place, folder, epoch)),
        }
    }
}
