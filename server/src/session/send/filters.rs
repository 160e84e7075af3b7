//! The client's filter rules, and those of merge files in the directories that are read.
//!
//! Rules may mean places below the base of a source (`/x`, and files above it that
//! `: /.rsync-filter` names), so each origin needs them read anew. Only those of the origin at hand
//! are held.

use std::io::{self, Read};
use std::sync::Arc;

use coffre_protocol::ProtocolVersion;
use coffre_protocol::filter::{DirFilter, FilterList, ListState, MergeFile, Verdict};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::options::ServerOptions;
use coffre_protocol::wire::{Decode, DecodeError, Reader};

use super::{Fatal, Sender};
use crate::confine::Kind;

#[derive(Default)]
pub(super) struct Filters {
    /// The rules as they came.
    wire: Vec<u8>,
    arriving: Option<FilterList>,
    has_rules: bool,
    current: Option<Current>,
    /// The client wants to know which rule decides about which name.
    traces: bool,
}

struct Current {
    origin: u32,
    rules: DirFilter,
    /// The directories entered, outermost first.
    entered: Vec<Vec<u8>>,
}

impl Filters {
    /// Takes one rule off the wire.
    pub(super) fn decode(
        &mut self,
        reader: &mut Reader<'_>,
        options: &ServerOptions,
        version: ProtocolVersion,
    ) -> Decode<ListState> {
        let list = self
            .arriving
            .get_or_insert_with(|| FilterList::new(options, version, b"/"));
        self.traces = options.traces_filters();
        let (before, consumed) = (reader.rest(), reader.consumed());
        let state = list.decode_rule(reader)?;
        self.wire
            .extend_from_slice(&before[..reader.consumed() - consumed]);
        if state == ListState::Complete {
            list.complete(options);
            self.has_rules = !list.is_empty();
            self.arriving = None;
        }
        Ok(state)
    }
}

/// Whether `path` is `directory` or lies in it, at any depth.
fn is_within(directory: &[u8], path: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Sender {
    /// What the rules say about a name in the directory entered last. To be asked once: the client
    /// may want to hear of it.
    pub(super) fn excludes(&mut self, path: &[u8], is_dir: bool) -> bool {
        let Some(current) = &self.filters.current else {
            return false;
        };
        if self.filters.traces
            && let Some(line) = current.rules.trace(path, is_dir, false)
        {
            self.out.raw_text(MessageKind::Info, line);
        }
        current.rules.check(path, is_dir, false) == Verdict::Exclude
    }

    /// The same for the name of an extended attribute.
    pub(super) fn excludes_xattr(&mut self, name: &[u8]) -> bool {
        let Some(current) = &self.filters.current else {
            return false;
        };
        if self.filters.traces
            && let Some(line) = current.rules.trace_xattr(name)
        {
            self.out.raw_text(MessageKind::Info, line);
        }
        current.rules.check_xattr(name) == Verdict::Exclude
    }

    /// Puts the rules in force for the names in a directory of an origin.
    pub(super) fn enter_filters(&mut self, origin: u32, path: &[u8]) -> Result<(), Fatal> {
        if !self.filters.has_rules {
            return Ok(());
        }
        let is_current = |current: &Current| current.origin == origin;
        if !self.filters.current.as_ref().is_some_and(is_current) {
            let rules = self.rules_of(origin)?;
            self.filters.current = Some(Current {
                origin,
                rules,
                entered: Vec::new(),
            });
        }
        let Some(mut current) = self.filters.current.take() else {
            return Ok(());
        };
        let result = self.enter_merge_files(&mut current, path);
        self.filters.current = Some(current);
        result
    }

    fn rules_of(&self, origin: u32) -> Result<DirFilter, Fatal> {
        let root = self.view.shown(&self.plan.origin_at(origin).base);
        let mut list = FilterList::new(&self.options, self.agreed.version, &root);
        let mut reader = Reader::new(&self.filters.wire);
        while !reader.is_empty() {
            match list.decode_rule(&mut reader) {
                Ok(_) => {}
                Err(DecodeError::Malformed(error)) => return Err(error.into()),
                Err(DecodeError::Incomplete) => return Err(Fatal::internal("a rule is not whole")),
            }
        }
        list.complete(&self.options);
        Ok(DirFilter::new(Arc::new(list)))
    }

    fn enter_merge_files(&mut self, current: &mut Current, path: &[u8]) -> Result<(), Fatal> {
        if !current.rules.list().has_merge_files() {
            return Ok(());
        }
        current
            .entered
            .retain(|entered| entered != path && is_within(entered, path));
        // The base itself is read only where it is part of the transfer.
        let plan = &self.plan;
        let has_base = plan
            .origins()
            .any(|(number, _, node)| number == current.origin && plan.node(node).asked.is_some());
        let mut ends: Vec<usize> = Vec::new();
        if has_base || path.is_empty() {
            ends.push(0);
        }
        ends.extend((1..path.len()).filter(|at| path[*at] == b'/'));
        ends.push(path.len());
        ends.dedup();
        for end in ends {
            let directory = &path[..end];
            if current.entered.iter().any(|entered| entered == directory) {
                continue;
            }
            current.rules.enter(directory);
            current.entered.push(directory.to_vec());
            while let Some(file) = current.rules.next_file() {
                let content = match self.read_merge_file(current.origin, directory, &file) {
                    Ok(content) => content,
                    Err(error) => {
                        self.io_error |= 1;
                        let name = match &file {
                            MergeFile::Here(name) | MergeFile::At(name) => name.clone(),
                        };
                        self.file_error("failed to open exclude file", &name, &error);
                        None
                    }
                };
                current.rules.supply(content.as_deref())?;
            }
        }
        Ok(())
    }

    /// `None`: there is none, or what has its name is not a regular file.
    fn read_merge_file(
        &self,
        origin: u32,
        directory: &[u8],
        file: &MergeFile,
    ) -> io::Result<Option<Vec<u8>>> {
        let read = || {
            let (place, name) = match file {
                MergeFile::Here(name) => {
                    let base = &self.plan.origin_at(origin).base;
                    (self.locate(base, directory)?.0, name.clone())
                }
                MergeFile::At(path) => {
                    let place = self.view.below(&self.view.top(), path)?;
                    match self.view.split(&place) {
                        Some(split) => split,
                        None => return Ok(None),
                    }
                }
            };
            let folder = self.view.open(&place)?;
            match folder.stat(&name)? {
                Some(stat) if stat.kind == Kind::File => folder.open_file(&name).map(Some),
                _ => Ok(None),
            }
        };
        let opened = match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => other?,
        };
        let Some(opened) = opened else {
            return Ok(None);
        };
        let mut content = Vec::new();
        opened
            .take(DirFilter::MAX_BYTES as u64 + 1)
            .read_to_end(&mut content)?;
        Ok(Some(content))
    }
}
