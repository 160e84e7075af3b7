//! Reading file lists.
//!
//! ```text
//!          begin                  decode*                    take_list        decode_ids*
//!  Idle ──────────▶ Entry ─▶ [Acl] ─▶ [DefaultAcl] ─▶ [Xattrs] ─▶ Ended ─▶ (ids) ─▶ Idle
//!                     ▲ └──────────────────────────────────┘
//! ```
//!
//! [`FlistDecoder::decode`] takes one *unit* off the bytes at hand: the fields of an entry, the
//! head of an ACL, one entry of an ACL, the head of an xattr set, one xattr, the end marker. No
//! unit is longer than about 13 KiB, so nobody has to collect more before a call succeeds, and no
//! length or count that a peer claims reserves memory.
//!
//! Names, modes, lengths, counts, link numbers and the place of sub-lists are checked here; the
//! first thing wrong ends the session.
//! Source: rsync `flist.c:recv_file_entry`, as observed.

mod content;
mod fields;

use std::collections::HashMap;

use super::acl::{self, AclCache, AclHead, AclKind, PartialAcl};
use super::entry::{is_directory, is_symlink};
use super::flags;
use super::ids::{self, IdKind, IdNames, IdRecord};
use super::list::Numbering;
use super::name::{Shape, clean};
use super::store::{Store, flag};
use super::xattr::{self, PartialSet, SetHead, XattrCache};
use super::{EntryRef, FileList, FlistFormat, ListHead};
use crate::ProtocolError;
use crate::charset::Unfit;
use crate::error::escape;
use crate::wire::{Decode, Reader};
use content::ContentScope;
use fields::{Link, Place, Previous, Read, Unit};

/// What one call of [`FlistDecoder::decode`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An entry is whole.
    Entry,
    /// A part of an entry, more of it follows.
    More,
    /// The list is whole: [`FlistDecoder::take_list`]. Three bits of I/O errors of the sender:
    /// 1 general, 2 a file vanished, 4 the limit of deletions was hit. Before protocol 30 always
    /// 0 here: an `int` follows after the id lists.
    End { io_error: u32 },
}

/// What one call of [`FlistDecoder::decode_ids`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdStep {
    More,
    /// Nothing more belongs to the id lists.
    End,
}

/// A name or a target that could not be converted; its entry is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unconverted {
    /// As on the wire, in UTF-8.
    Name { wire: Vec<u8>, why: Unfit },
    /// The target of the symlink `path`, which is converted.
    Target { path: Vec<u8>, why: Unfit },
}

/// What the next unit is.
#[derive(Debug)]
enum Expect {
    /// Nothing: no list was begun.
    Nothing,
    Entry,
    Acl(AclKind, Option<PartialAcl>),
    Xattrs(Option<PartialSet>),
    /// [`FlistDecoder::take_list`].
    Taking,
    Ids(IdKind),
}

/// Reads the file lists of a session, one after the other.
#[derive(Debug)]
pub struct FlistDecoder {
    format: FlistFormat,
    previous: Previous,
    expect: Expect,
    head: ListHead,
    store: Store,
    ids: IdNames,
    acls: AclCache,
    xattrs: XattrCache,
    /// Before protocol 30: group numbers by device and inode.
    inodes: HashMap<(i64, i64), u32>,
    content: ContentScope,
    path: Vec<u8>,
    /// The name of the entry at hand in the charset of this side.
    local: Vec<u8>,
    unconverted: Vec<Unconverted>,
}

impl FlistDecoder {
    pub fn new(mut format: FlistFormat) -> Self {
        format.limits = format.limits.storable();
        Self {
            previous: Previous::default(),
            expect: Expect::Nothing,
            head: ListHead::first(&format),
            store: Store::new(&format),
            ids: IdNames::new(),
            acls: AclCache::default(),
            xattrs: XattrCache::default(),
            inodes: HashMap::new(),
            content: ContentScope::None,
            path: Vec::new(),
            local: Vec::new(),
            unconverted: Vec::new(),
            format,
        }
    }

    pub fn format(&self) -> &FlistFormat {
        &self.format
    }

    /// A list begins at the next byte. What was read of an unfinished one is lost.
    pub fn begin(&mut self, head: ListHead) {
        self.head = head;
        self.store = Store::new(&self.format);
        self.expect = Expect::Entry;
    }

    /// Decodes the next unit. On `Incomplete` neither the reader nor the decoder has moved.
    pub fn decode(&mut self, reader: &mut Reader<'_>) -> Decode<Step> {
        let mut ahead = reader.clone();
        let step = match std::mem::replace(&mut self.expect, Expect::Nothing) {
            Expect::Entry => {
                let step = self.entry(&mut ahead);
                if step.is_err() {
                    self.expect = Expect::Entry;
                }
                step?
            }
            Expect::Acl(kind, partial) => self.acl(kind, partial, &mut ahead)?,
            Expect::Xattrs(partial) => self.xattrs(partial, &mut ahead)?,
            other => {
                self.expect = other;
                return Err(ProtocolError::violation("a file list entry came out of turn").into());
            }
        };
        *reader = ahead;
        Ok(step)
    }

    /// The list that [`Step::End`] completed, sorted, without duplicates. An empty one when there
    /// is no such list.
    pub fn take_list(&mut self) -> FileList {
        if matches!(self.expect, Expect::Taking) {
            self.expect = if self.format.has_user_list() {
                Expect::Ids(IdKind::User)
            } else if self.format.has_group_list() {
                Expect::Ids(IdKind::Group)
            } else {
                Expect::Nothing
            };
        }
        if !self.format.inc_recurse {
            self.inodes = HashMap::new();
        }
        let store = std::mem::replace(&mut self.store, Store::new(&self.format));
        FileList::arrange(store, &self.head, Numbering::of(&self.format))
    }

    /// Decodes one record of the id lists that follow the list. Answers [`IdStep::End`] at once,
    /// without taking a byte, where the format has none. On `Incomplete` nothing has moved.
    pub fn decode_ids(&mut self, reader: &mut Reader<'_>) -> Decode<IdStep> {
        let Expect::Ids(kind) = self.expect else {
            return Ok(IdStep::End);
        };
        let mut ahead = reader.clone();
        let limit = self.format.limits.id_names;
        match ids::decode_record(&mut ahead, &self.format)? {
            IdRecord::Name(id, name) => self.ids.learn(kind, id, name, limit)?,
            IdRecord::End(zero) => {
                self.ids.learn(kind, 0, zero.unwrap_or_default(), limit)?;
                self.expect = if kind == IdKind::User && self.format.has_group_list() {
                    Expect::Ids(IdKind::Group)
                } else {
                    Expect::Nothing
                };
            }
        }
        *reader = ahead;
        Ok(match self.expect {
            Expect::Nothing => IdStep::End,
            _ => IdStep::More,
        })
    }

    /// Names of users and groups that have come so far.
    pub fn id_names(&self) -> &IdNames {
        &self.ids
    }

    pub fn acl_cache(&self) -> &AclCache {
        &self.acls
    }

    pub fn xattr_cache(&self) -> &XattrCache {
        &self.xattrs
    }

    /// Entries of the list being read that are there (the last one may lack its ACL or xattrs).
    pub fn arrived(&self) -> u32 {
        self.store.len()
    }

    /// What the last unit had that could not be converted.
    pub fn take_unconverted(&mut self) -> Vec<Unconverted> {
        std::mem::take(&mut self.unconverted)
    }

    fn entry(&mut self, reader: &mut Reader<'_>) -> Decode<Step> {
        let place = Place {
            start: self.head.start,
            arrived: self.store.len(),
        };
        let unit = match fields::read(reader, &self.format, &self.previous, place)? {
            Read::Entry(unit) => unit,
            Read::End(io_error) => {
                self.expect = Expect::Taking;
                return Ok(Step::End { io_error });
            }
        };
        self.check_range(place)?;
        self.previous.name.truncate(unit.name.shared);
        self.previous.name.extend_from_slice(unit.name.suffix);
        let position = match unit.link {
            Link::Copy(from) => self.add_copy(from)?,
            _ => self.add(*unit)?,
        };
        self.check_place(position)?;
        Ok(self.next_after(position, Part::Fields))
    }

    /// Indexes are 31 bits wide on the wire.
    fn check_range(&self, place: Place) -> Result<(), ProtocolError> {
        place
            .start
            .checked_add(place.arrived)
            .filter(|ndx| *ndx < i32::MAX as u32)
            .map(|_| ())
            .ok_or_else(|| ProtocolError::violation("file indexes exceed their range"))
    }

    fn add(&mut self, unit: Unit<'_>) -> Result<u32, ProtocolError> {
        let (target, munged);
        let mut unit = unit;
        let shape = self.take_name()?;
        self.previous.follow(&unit, &self.format);
        let limit = self.format.limits.id_names;
        let fields = &mut unit.fields;
        if let Some(name) = unit.user_name {
            self.ids.learn(IdKind::User, fields.uid, name, limit)?;
        }
        if let Some(name) = unit.group_name {
            self.ids.learn(IdKind::Group, fields.gid, name, limit)?;
        }
        if !self.format.owner {
            fields.uid = 0;
        }
        if !self.format.group {
            fields.gid = 0;
        }
        let is_dir = is_directory(fields.mode);
        fields.top_dir = unit.flags & flags::TOP_DIR != 0;
        fields.content = is_dir
            && if self.format.at_least(30) {
                unit.flags & flags::NO_CONTENT_DIR == 0
            } else {
                shape.is_some() && self.content.of(&self.path, fields.top_dir, &self.format)
            };
        let arrived = self.store.len();
        fields.link_group = match unit.link {
            _ if !self.format.hard_links => None,
            Link::No => None,
            Link::First | Link::Copy(_) => Some(self.head.start + arrived),
            Link::Group(group) => Some(group),
            Link::Inode(dev, inode) => {
                let next = self.head.start + arrived;
                Some(*self.inodes.entry((dev, inode)).or_insert(next))
            }
        };
        let mut is_nameless = shape.is_none();
        if self.format.converts_links && !fields.link_target.is_empty() {
            target = self.take_target(fields.link_target);
            is_nameless |= target.is_none();
            fields.link_target = target.as_deref().unwrap_or_default();
        }
        if self.format.munges_links && !fields.link_target.is_empty() {
            munged = [MUNGED, fields.link_target].concat();
            fields.link_target = &munged;
        }
        let position = if is_nameless {
            self.store.push(NAMELESS.name(b""), fields)?
        } else {
            let shape = shape.unwrap_or(NAMELESS);
            self.store.push(shape.name(&self.path), fields)?
        };
        if is_nameless {
            self.store.make_nameless(position);
        }
        if unit.link == Link::First && !is_dir {
            self.store.record_mut(position).flags |= flag::LINK_FIRST;
        }
        Ok(position)
    }

    /// A hard link to an entry of this list.
    fn add_copy(&mut self, from: u32) -> Result<u32, ProtocolError> {
        let shape = self.take_name()?;
        if self.store.record(from).flags & flag::LINK_FIRST == 0 {
            return Err(ProtocolError::violation(format!(
                "\"{}\" is a hard link to entry {}, which is not the first name of a file",
                escape(&self.path),
                self.head.start + from
            )));
        }
        let entry = EntryRef {
            store: &self.store,
            position: from,
        };
        self.previous.follow_copy(entry, &self.format);
        match shape {
            Some(shape) => self.store.push_link(shape.name(&self.path), from),
            None => {
                let position = self.store.push_link(NAMELESS.name(b""), from)?;
                self.store.make_nameless(position);
                Ok(position)
            }
        }
    }

    /// The clean name of the entry at hand goes to `path`. `None`: it could not be converted.
    fn take_name(&mut self) -> Result<Option<Shape>, ProtocolError> {
        let Some(charset) = self.format.charset else {
            return clean(&self.previous.name, self.format.relative, &mut self.path).map(Some);
        };
        self.local.clear();
        let mut fits = charset.localize(&self.previous.name, &mut self.local);
        if fits.is_ok() && self.local.len() > self.format.limits.name {
            fits = Err(Unfit::TooLong);
        }
        match fits {
            Ok(()) => clean(&self.local, self.format.relative, &mut self.path).map(Some),
            Err(why) => {
                let wire = self.previous.name.clone();
                self.unconverted.push(Unconverted::Name { wire, why });
                self.path.clear();
                Ok(None)
            }
        }
    }

    /// The target of a symlink in the charset of this side. `None`: it could not be converted.
    fn take_target(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        let charset = self.format.charset?;
        let mut target = Vec::with_capacity(wire.len());
        let mut fits = charset.localize(wire, &mut target);
        if fits.is_ok() && target.len() > self.format.limits.link_target {
            fits = Err(Unfit::TooLong);
        }
        let Err(why) = fits else { return Some(target) };
        let path = self.path.clone();
        self.unconverted.push(Unconverted::Target { path, why });
        None
    }

    /// Where an entry may stand: the top of the transfer is a directory, and with incremental
    /// recursion every entry of a list has the same parent.
    fn check_place(&self, position: u32) -> Result<(), ProtocolError> {
        if self.store.is_nameless(position) {
            return Ok(());
        }
        let is_dot =
            self.store.record(position).flags & flag::DOT != 0 || self.store.base(position) == b".";
        if is_dot && !self.store.is_directory(position) {
            return Err(ProtocolError::violation(format!(
                "\"{}\" is listed as something else than a directory",
                escape(&self.previous.name)
            )));
        }
        if !self.format.inc_recurse {
            return Ok(());
        }
        let dir = self.store.wire_dir(position);
        match &self.head.owner {
            Some(owner) if owner.path.is_empty() || *dir != *owner.path || is_dot => {
                Err(ProtocolError::violation(format!(
                    "\"{}\" is listed as content of \"{}\"",
                    escape(&self.previous.name),
                    escape(&owner.path)
                )))
            }
            None if !dir.is_empty() => Err(ProtocolError::violation(format!(
                "\"{}\" is listed before its directory",
                escape(&self.previous.name)
            ))),
            _ => Ok(()),
        }
    }

    fn acl(
        &mut self,
        kind: AclKind,
        partial: Option<PartialAcl>,
        reader: &mut Reader<'_>,
    ) -> Decode<Step> {
        let limits = &self.format.limits;
        let literal = match partial {
            Some(mut partial) => {
                if let Err(error) = partial.decode_entry(reader, &mut self.ids, limits) {
                    self.expect = Expect::Acl(kind, Some(partial));
                    return Err(error);
                }
                partial
            }
            None => match acl::decode_head(reader, self.acls.len(kind), limits) {
                Err(error) => {
                    self.expect = Expect::Acl(kind, None);
                    return Err(error);
                }
                Ok(AclHead::Cached(index)) => return Ok(self.acl_done(kind, index)),
                Ok(AclHead::Literal(literal)) => literal,
            },
        };
        self.check_cache(literal.bytes())?;
        if literal.is_whole() {
            let index = self.acls.push(kind, literal.acl);
            return Ok(self.acl_done(kind, index));
        }
        self.expect = Expect::Acl(kind, Some(literal));
        Ok(Step::More)
    }

    fn acl_done(&mut self, kind: AclKind, index: u32) -> Step {
        let position = self.store.len() - 1;
        match kind {
            AclKind::Access => self.store.set_acl(position, index),
            AclKind::Default => self.store.set_default_acl(position, index),
        }
        self.next_after(position, Part::Acl(kind))
    }

    fn xattrs(&mut self, partial: Option<PartialSet>, reader: &mut Reader<'_>) -> Decode<Step> {
        let limits = &self.format.limits;
        let literal = match partial {
            Some(mut partial) => {
                if let Err(error) = partial.decode_item(reader, limits) {
                    self.expect = Expect::Xattrs(Some(partial));
                    return Err(error);
                }
                partial
            }
            None => match xattr::decode_head(reader, self.xattrs.len(), limits) {
                Err(error) => {
                    self.expect = Expect::Xattrs(None);
                    return Err(error);
                }
                Ok(SetHead::Cached(index)) => return Ok(self.xattrs_done(index)),
                Ok(SetHead::Literal(literal)) => literal,
            },
        };
        self.check_cache(literal.bytes)?;
        if literal.is_whole() {
            let index = self.xattrs.push(literal.set);
            return Ok(self.xattrs_done(index));
        }
        self.expect = Expect::Xattrs(Some(literal));
        Ok(Step::More)
    }

    fn xattrs_done(&mut self, index: u32) -> Step {
        let position = self.store.len() - 1;
        self.store.set_xattrs(position, index);
        self.next_after(position, Part::Xattrs)
    }

    fn check_cache(&self, more: usize) -> Result<(), ProtocolError> {
        let limit = self.format.limits.cache_bytes;
        if self.acls.bytes + self.xattrs.bytes + more > limit {
            return Err(ProtocolError::violation(format!(
                "ACLs and xattrs take more than {limit} bytes of memory"
            )));
        }
        Ok(())
    }

    /// Sets what comes after a part of the entry at `position`.
    fn next_after(&mut self, position: u32, part: Part) -> Step {
        let mode = u32::from(self.store.record(position).mode);
        let next = match part {
            Part::Fields if self.format.has_acls() && !is_symlink(mode) => {
                Expect::Acl(AclKind::Access, None)
            }
            Part::Acl(AclKind::Access) if is_directory(mode) => Expect::Acl(AclKind::Default, None),
            Part::Fields | Part::Acl(_) if self.format.has_xattrs() => Expect::Xattrs(None),
            _ => Expect::Entry,
        };
        self.expect = next;
        match self.expect {
            Expect::Entry => Step::Entry,
            _ => Step::More,
        }
    }
}

/// What `--munge-links` puts before the target of a symlink: a directory that is not there.
pub const MUNGED: &[u8] = b"/rsyncd-munged/";

/// Of an entry whose name could not be converted.
const NAMELESS: Shape = Shape {
    is_absolute: false,
    is_dot: false,
};

/// What of an entry has been read.
#[derive(Clone, Copy)]
enum Part {
    Fields,
    Acl(AclKind),
    Xattrs,
}
