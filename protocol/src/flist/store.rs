//! Where the entries of one list live, in order of arrival.
//!
//! A session may hold a million entries, so an entry is a record of 48 bytes plus its base name.
//! Directory names are shared ([`super::dirs`]). What only some kinds have (a link target, a device
//! number, a default ACL) hangs on one number whose meaning the kind decides. What only some
//! sessions have (digests, access times, ACLs, …) is a column that stays empty otherwise.

use super::dirs::{DirNames, TOP};
use super::entry::{EntryFields, is_device, is_directory, is_regular, is_symlink};
use super::name::{Name, split};
use super::{FlistFormat, SortRule};
use crate::ProtocolError;

/// Bits of [`Record::flags`].
pub(super) mod flag {
    pub(crate) const TOP_DIR: u16 = 1 << 0;
    pub(crate) const CONTENT: u16 = 1 << 1;
    pub(crate) const IMPLIED: u16 = 1 << 2;
    pub(crate) const NSEC: u16 = 1 << 3;
    /// A duplicate, or pruned: keeps its index and is never shown.
    pub(crate) const DROPPED: u16 = 1 << 4;
    /// The name came as `path/.`; the record's directory is the entry itself, its base is empty.
    pub(crate) const DOT: u16 = 1 << 5;
    /// First member of a hard-link group: later ones may refer to it.
    pub(crate) const LINK_FIRST: u16 = 1 << 6;
    /// Its name could not be converted: it has none, stands behind all others and is not shown.
    pub(crate) const NAMELESS: u16 = 1 << 7;
}

/// "Absent" in the columns and in [`Record::extra`].
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) len: u64,
    pub(super) mtime: i64,
    pub(super) mtime_nsec: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) dir: u32,
    base: u32,
    /// Symlink: where its target stands. Device: place in `rdevs`. Directory: default ACL.
    extra: u32,
    base_len: u16,
    pub(super) mode: u16,
    pub(super) flags: u16,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) rule: SortRule,
    pub(super) dirs: DirNames,
    records: Vec<Record>,
    /// Base names, and link targets behind a length of two bytes.
    names: Vec<u8>,
    rdevs: Vec<(u32, u32)>,
    columns: Columns,
    /// Most bytes that [`Self::bytes`] may reach.
    limit_bytes: usize,
    limit_entries: usize,
}

/// Values per record; a column that the format does not carry is empty.
#[derive(Debug, Clone, Default)]
struct Columns {
    has: Has,
    links: Vec<u32>,
    atimes: Vec<i64>,
    crtimes: Vec<i64>,
    acls: Vec<u32>,
    xattrs: Vec<u32>,
    digests: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Has {
    links: bool,
    targets: bool,
    rdevs: bool,
    atimes: bool,
    crtimes: bool,
    acls: bool,
    xattrs: bool,
    digest_len: usize,
    implied: bool,
}

impl Store {
    pub(super) fn new(format: &FlistFormat) -> Self {
        Self {
            rule: SortRule::of(format.version),
            dirs: DirNames::new(),
            records: Vec::new(),
            names: Vec::new(),
            rdevs: Vec::new(),
            columns: Columns {
                has: Has {
                    links: format.hard_links,
                    targets: format.links,
                    rdevs: format.devices,
                    atimes: format.atimes,
                    crtimes: format.crtimes,
                    acls: format.has_acls(),
                    xattrs: format.has_xattrs(),
                    digest_len: format.checksum_len.unwrap_or(0),
                    implied: format.at_least(30),
                },
                ..Columns::default()
            },
            // Offsets are 32 bits wide.
            limit_bytes: format.limits.list_bytes.min(u32::MAX as usize),
            limit_entries: format.limits.entries as usize,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.records.len() as u32
    }

    pub(super) fn record(&self, position: u32) -> &Record {
        &self.records[position as usize]
    }

    pub(super) fn record_mut(&mut self, position: u32) -> &mut Record {
        &mut self.records[position as usize]
    }

    /// Adds an entry; `fields.name` is ignored for the clean `name`. Returns its position.
    /// Errors: a limit is exceeded.
    pub(super) fn push(
        &mut self,
        name: Name<'_>,
        fields: &EntryFields<'_>,
    ) -> Result<u32, ProtocolError> {
        let mode = fields.mode;
        let mut record = self.named(name)?;
        record.mode = mode as u16;
        record.len = fields.len;
        record.mtime = fields.mtime;
        record.mtime_nsec = fields.mtime_nsec.unwrap_or(0);
        record.uid = fields.uid;
        record.gid = fields.gid;
        if fields.mtime_nsec.is_some() {
            record.flags |= flag::NSEC;
        }
        self.put_dir_flags(&mut record, fields.top_dir, fields.content);
        let has = self.columns.has;
        if is_symlink(mode) && has.targets {
            record.extra = self.names.len() as u32;
            let len = fields.link_target.len() as u16;
            self.names.extend_from_slice(&len.to_le_bytes());
            self.names
                .extend_from_slice(&fields.link_target[..usize::from(len)]);
        } else if is_device(mode) && has.rdevs {
            record.extra = self.rdevs.len() as u32;
            self.rdevs.push(fields.rdev);
        }
        let columns = &mut self.columns;
        if has.links {
            let group = fields.link_group.filter(|_| !is_directory(mode));
            columns.links.push(group.unwrap_or(NONE));
        }
        if has.atimes {
            columns.atimes.push(fields.atime);
        }
        if has.crtimes {
            columns.crtimes.push(fields.crtime);
        }
        let digest_end = columns.digests.len() + has.digest_len;
        let digest = &fields.digest[..fields.digest.len().min(has.digest_len)];
        columns.digests.extend_from_slice(digest);
        columns.digests.resize(digest_end, 0);
        Ok(self.add(record))
    }

    /// Adds an entry whose values are those of the one at `from`, a hard link in the same list.
    pub(super) fn push_link(&mut self, name: Name<'_>, from: u32) -> Result<u32, ProtocolError> {
        let named = self.named(name)?;
        let source = self.record(from).clone();
        let record = Record {
            dir: named.dir,
            base: named.base,
            base_len: named.base_len,
            flags: named.flags | source.flags & flag::NSEC,
            ..source
        };
        let columns = &mut self.columns;
        let from = from as usize;
        columns.links.extend(columns.links.get(from).copied());
        columns.atimes.extend(columns.atimes.get(from).copied());
        columns.crtimes.extend(columns.crtimes.get(from).copied());
        let digest_len = columns.has.digest_len;
        columns
            .digests
            .extend_from_within(from * digest_len..(from + 1) * digest_len);
        Ok(self.add(record))
    }

    fn add(&mut self, record: Record) -> u32 {
        let position = self.len();
        self.records.push(record);
        if self.columns.has.acls {
            self.columns.acls.push(NONE);
        }
        if self.columns.has.xattrs {
            self.columns.xattrs.push(NONE);
        }
        position
    }

    fn put_dir_flags(&self, record: &mut Record, top_dir: bool, content: bool) {
        if !is_directory(u32::from(record.mode)) {
            return;
        }
        if top_dir {
            record.flags |= flag::TOP_DIR;
        }
        if content {
            record.flags |= flag::CONTENT;
        }
        if top_dir && !content && self.columns.has.implied {
            record.flags |= flag::IMPLIED;
        }
    }

    /// A record with nothing but its name.
    fn named(&mut self, name: Name<'_>) -> Result<Record, ProtocolError> {
        if self.records.len() >= self.limit_entries {
            return Err(ProtocolError::violation(format!(
                "a file list has more than {} entries",
                self.limit_entries
            )));
        }
        if self.bytes() + name.path.len() >= self.limit_bytes {
            return Err(ProtocolError::violation(format!(
                "a file list takes more than {} bytes of memory",
                self.limit_bytes
            )));
        }
        let (dir, base) = if name.is_dot {
            (name.path, &b""[..])
        } else {
            split(name.path)
        };
        let dir = if name.is_absolute {
            let mut stored = Vec::with_capacity(dir.len() + 1);
            stored.push(b'/');
            stored.extend_from_slice(dir);
            self.dirs.intern(&stored)
        } else {
            self.dirs.intern(dir)
        };
        let offset = self.names.len() as u32;
        self.names.extend_from_slice(base);
        Ok(Record {
            len: 0,
            mtime: 0,
            mtime_nsec: 0,
            uid: 0,
            gid: 0,
            dir,
            base: offset,
            extra: NONE,
            base_len: base.len() as u16,
            mode: 0,
            flags: if name.is_dot { flag::DOT } else { 0 },
        })
    }

    pub(super) fn set_acl(&mut self, position: u32, index: u32) {
        if let Some(slot) = self.columns.acls.get_mut(position as usize) {
            *slot = index;
        }
    }

    pub(super) fn set_default_acl(&mut self, position: u32, index: u32) {
        if self.is_directory(position) {
            self.record_mut(position).extra = index;
        }
    }

    pub(super) fn set_xattrs(&mut self, position: u32, index: u32) {
        if let Some(slot) = self.columns.xattrs.get_mut(position as usize) {
            *slot = index;
        }
    }

    pub(super) fn set_link_group(&mut self, position: u32, group: Option<u32>) {
        if let Some(slot) = self.columns.links.get_mut(position as usize) {
            *slot = group.unwrap_or(NONE);
        }
    }

    fn mode(&self, position: u32) -> u32 {
        u32::from(self.record(position).mode)
    }

    pub(super) fn is_directory(&self, position: u32) -> bool {
        is_directory(self.mode(position))
    }

    pub(super) fn is_dropped(&self, position: u32) -> bool {
        self.record(position).flags & flag::DROPPED != 0
    }

    pub(super) fn is_nameless(&self, position: u32) -> bool {
        self.record(position).flags & flag::NAMELESS != 0
    }

    /// It keeps its index, and is never shown.
    pub(super) fn make_nameless(&mut self, position: u32) {
        self.record_mut(position).flags |= flag::NAMELESS | flag::DROPPED;
    }

    pub(super) fn drop_entry(&mut self, position: u32) {
        self.record_mut(position).flags |= flag::DROPPED;
    }

    /// Base name as it sorts: empty for `path/.`, whose directory is the entry itself.
    pub(super) fn stored_base(&self, position: u32) -> &[u8] {
        let record = self.record(position);
        &self.names[record.base as usize..record.base as usize + usize::from(record.base_len)]
    }

    pub(super) fn base(&self, position: u32) -> &[u8] {
        let record = self.record(position);
        if record.flags & flag::DOT != 0 {
            self.dirs.base(record.dir)
        } else {
            self.stored_base(position)
        }
    }

    /// Number of the parent directory.
    pub(super) fn parent(&self, position: u32) -> u32 {
        let record = self.record(position);
        if record.flags & flag::DOT != 0 {
            self.dirs.parent(record.dir)
        } else {
            record.dir
        }
    }

    pub(super) fn dir(&self, position: u32) -> &[u8] {
        self.dirs.path(self.parent(position))
    }

    /// The parent directory as the wire name has it: for `path/.` that is `path`.
    pub(super) fn wire_dir(&self, position: u32) -> &[u8] {
        self.dirs.path(self.record(position).dir)
    }

    /// The number under which a directory's own path is known, if anything is below it. Needs
    /// [`DirNames::index`].
    pub(super) fn own_dir(&self, position: u32) -> Option<u32> {
        let record = self.record(position);
        if record.flags & flag::DOT != 0 {
            return Some(record.dir);
        }
        let mut path = self.dirs.stored(record.dir).to_vec();
        if !path.is_empty() && path != b"/" {
            path.push(b'/');
        }
        path.extend_from_slice(self.stored_base(position));
        self.dirs.find(&path)
    }

    pub(super) fn rdev(&self, position: u32) -> (u32, u32) {
        if !is_device(self.mode(position)) {
            return (0, 0);
        }
        let place = self.record(position).extra as usize;
        self.rdevs.get(place).copied().unwrap_or((0, 0))
    }

    pub(super) fn link_target(&self, position: u32) -> Option<&[u8]> {
        if !is_symlink(self.mode(position)) {
            return None;
        }
        let (len, rest) = self
            .names
            .get(self.record(position).extra as usize..)?
            .split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_le_bytes(*len)))
    }

    pub(super) fn digest(&self, position: u32) -> Option<&[u8]> {
        let len = self.columns.has.digest_len;
        let start = position as usize * len;
        (len > 0 && is_regular(self.mode(position)))
            .then(|| &self.columns.digests[start..start + len])
    }

    pub(super) fn atime(&self, position: u32) -> Option<i64> {
        let atime = self.columns.atimes.get(position as usize).copied();
        atime.filter(|_| !self.is_directory(position))
    }

    pub(super) fn crtime(&self, position: u32) -> Option<i64> {
        self.columns.crtimes.get(position as usize).copied()
    }

    pub(super) fn link_group(&self, position: u32) -> Option<u32> {
        present(self.columns.links.get(position as usize))
    }

    pub(super) fn acl(&self, position: u32) -> Option<u32> {
        present(self.columns.acls.get(position as usize))
    }

    pub(super) fn default_acl(&self, position: u32) -> Option<u32> {
        present(Some(&self.record(position).extra)).filter(|_| self.is_directory(position))
    }

    pub(super) fn xattrs(&self, position: u32) -> Option<u32> {
        present(self.columns.xattrs.get(position as usize))
    }

    /// Gives back what was reserved for growth and what only arriving entries need.
    pub(super) fn freeze(&mut self) {
        self.dirs.freeze();
        self.records.shrink_to_fit();
        self.names.shrink_to_fit();
        self.rdevs.shrink_to_fit();
        let columns = &mut self.columns;
        columns.links.shrink_to_fit();
        columns.atimes.shrink_to_fit();
        columns.crtimes.shrink_to_fit();
        columns.acls.shrink_to_fit();
        columns.xattrs.shrink_to_fit();
        columns.digests.shrink_to_fit();
    }

    /// A store with only the entries at `positions`, in that order.
    pub(super) fn select(&self, positions: &[u32]) -> Store {
        let mut chosen = Store {
            rule: self.rule,
            dirs: DirNames::new(),
            records: Vec::with_capacity(positions.len()),
            names: Vec::new(),
            rdevs: Vec::new(),
            columns: Columns {
                has: self.columns.has,
                ..Columns::default()
            },
            limit_bytes: self.limit_bytes,
            limit_entries: self.limit_entries,
        };
        for &position in positions {
            let mut record = self.record(position).clone();
            record.dir = if record.dir == TOP {
                TOP
            } else {
                chosen.dirs.intern(self.dirs.stored(record.dir))
            };
            record.base = chosen.names.len() as u32;
            chosen.names.extend_from_slice(self.stored_base(position));
            if let Some(target) = self.link_target(position) {
                record.extra = chosen.names.len() as u32;
                chosen
                    .names
                    .extend_from_slice(&(target.len() as u16).to_le_bytes());
                chosen.names.extend_from_slice(target);
            } else if is_device(u32::from(record.mode)) {
                record.extra = chosen.rdevs.len() as u32;
                chosen.rdevs.push(self.rdev(position));
            }
            chosen.records.push(record);
            let place = position as usize;
            let (to, from) = (&mut chosen.columns, &self.columns);
            to.links.extend(from.links.get(place).copied());
            to.atimes.extend(from.atimes.get(place).copied());
            to.crtimes.extend(from.crtimes.get(place).copied());
            to.acls.extend(from.acls.get(place).copied());
            to.xattrs.extend(from.xattrs.get(place).copied());
            let digest_len = from.has.digest_len;
            to.digests
                .extend_from_slice(&from.digests[place * digest_len..(place + 1) * digest_len]);
        }
        chosen.freeze();
        chosen
    }

    /// Memory in use, without the structure itself.
    pub(super) fn bytes(&self) -> usize {
        let columns = &self.columns;
        self.dirs.bytes()
            + self.records.capacity() * size_of::<Record>()
            + self.names.capacity()
            + self.rdevs.capacity() * size_of::<(u32, u32)>()
            + (columns.links.capacity() + columns.acls.capacity() + columns.xattrs.capacity())
                * size_of::<u32>()
            + (columns.atimes.capacity() + columns.crtimes.capacity()) * size_of::<i64>()
            + columns.digests.capacity()
    }
}

fn present(slot: Option<&u32>) -> Option<u32> {
    slot.copied().filter(|value| *value != NONE)
}
