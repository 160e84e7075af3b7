//! The attributes of an entry: what is wanted, what differs, and setting that.
//!
//! [`Plan::new`] compares an inode with what is wanted and keeps only what differs, so that an
//! entry that is right costs no write and is not parted from the snapshots that share it.
//! [`Plan::carry_out`] sets in stock rsync's order: owner, extended attributes, times, ACLs, mode.
//! The mode comes last since a change of owner takes set-id bits away, and since it has the last
//! word over the ACL's mask.
//!
//! Each failure is a value: the caller tells it to the client and goes on, as stock does.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::acl::{AclKind, PosixAcl};
use super::beside::Place;
use super::content;
use super::fake_super::{self, StoredStat, inode_mode};
use super::inode::{Inode, XattrSource};
use super::metadata::Metadata;
use super::stat::{FileTime, Kind, Stat};
use super::xattr::{XattrSet, XattrStep, XattrView};
use coffre_protocol::error::escape;

/// What an entry is to have; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// The 12 permission bits. Of no meaning for a symbolic link.
    pub mode: Option<u32>,
    pub mtime: Option<FileTime>,
    pub atime: Option<FileTime>,
    /// All that the client is to see; what is not in the set is removed.
    pub xattrs: Option<&'a XattrSet>,
    pub access_acl: Option<AclChange<'a>>,
    /// For directories; ignored elsewhere.
    pub default_acl: Option<AclChange<'a>>,
}

/// What becomes of an ACL.
#[derive(Debug, Clone, Copy)]
pub enum AclChange<'a> {
    /// Only the mode counts; a default ACL goes away.
    Remove,
    Set(&'a PosixAcl),
}

/// What an entry has besides its stat.
#[derive(Debug, Clone, Default)]
pub struct Extended {
    /// `None`: the mode says it all.
    pub access_acl: Option<PosixAcl>,
    pub default_acl: Option<PosixAcl>,
    pub xattrs: XattrSet,
}

/// An attribute that could not be set.
#[derive(Debug)]
pub struct AttributeError {
    pub attribute: Attribute,
    pub error: io::Error,
}

/// Which attribute an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    Owner,
    /// By the name the client knows it by.
    Xattr(Vec<u8>),
    Times,
    Acl(AclKind),
    Mode,
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Owner => f.write_str("owner"),
            Attribute::Xattr(name) => write!(f, "extended attribute {}", escape(name)),
            Attribute::Times => f.write_str("times"),
            Attribute::Acl(AclKind::Access) => f.write_str("ACL"),
            Attribute::Acl(AclKind::Default) => f.write_str("default ACL"),
            Attribute::Mode => f.write_str("permissions"),
        }
    }
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.attribute, self.error)
    }
}

/// How a tenant's attributes are kept, and what of them can be dealt with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    pub(super) metadata: Metadata,
    pub(super) view: XattrView,
}

impl Keeping {
    pub(super) fn new(metadata: Metadata) -> Self {
        Self {
            metadata,
            view: XattrView::new(metadata),
        }
    }

    /// Puts stored attributes over what the inode says.
    pub(super) fn complete(self, stat: &mut Stat, source: &impl XattrSource) -> io::Result<()> {
        let can_store = matches!(stat.inode.kind, Kind::File | Kind::Dir);
        if self.metadata == Metadata::Xattr && can_store {
            let stored = source.xattr(fake_super::STAT.as_bytes())?;
            if let Some(stored) = stored.as_deref().and_then(StoredStat::decode) {
                stored.override_in(stat);
            }
        }
        Ok(())
    }

    /// The ACL of an entry; `None`: the mode says it all, or there is no default ACL.
    pub(super) fn acl(
        self,
        source: &impl XattrSource,
        kind: AclKind,
        stat: &Stat,
    ) -> io::Result<Option<PosixAcl>> {
        if !has_acl(stat, kind) {
            return Ok(None);
        }
        let value = source.xattr(self.acl_name(kind))?;
        let acl = value.and_then(|value| match self.metadata {
            Metadata::Native => PosixAcl::decode(&value),
            Metadata::Xattr => PosixAcl::decode_stored(&value, kind, stat.mode),
        });
        // A stored ACL may say no more than the mode; the kernel keeps none that does not.
        Ok(acl.filter(|acl| kind == AclKind::Default || !acl.is_minimal()))
    }

    /// ACLs and extended attributes at once. An entry that has none of them costs one system
    /// call: the list of names tells.
    pub(super) fn extended(
        self,
        source: &impl XattrSource,
        stat: &Stat,
        with_xattrs: bool,
    ) -> io::Result<Extended> {
        let names = source.xattr_names()?;
        let acl = |kind| {
            let name = self.acl_name(kind);
            match names.contains(name) {
                true => self.acl(source, kind, stat),
                false => Ok(None),
            }
        };
        Ok(Extended {
            access_acl: acl(AclKind::Access)?,
            default_acl: acl(AclKind::Default)?,
            xattrs: match with_xattrs {
                true => self.view.read_named(source, &names)?,
                false => XattrSet::new(),
            },
        })
    }

    fn acl_name(self, kind: AclKind) -> &'static [u8] {
        match (self.metadata, kind) {
            (Metadata::Native, AclKind::Access) => b"system.posix_acl_access",
            (Metadata::Native, AclKind::Default) => b"system.posix_acl_default",
            (Metadata::Xattr, AclKind::Access) => fake_super::ACCESS_ACL.as_bytes(),
            (Metadata::Xattr, AclKind::Default) => fake_super::DEFAULT_ACL.as_bytes(),
        }
    }
}

fn has_acl(stat: &Stat, kind: AclKind) -> bool {
    match kind {
        AclKind::Access => stat.kind != Kind::Symlink,
        AclKind::Default => stat.kind == Kind::Dir,
    }
}

/// What differs between an inode and what is wanted of it.
pub(super) struct Plan<'a> {
    keeping: Keeping,
    owner: Option<(Option<u32>, Option<u32>)>,
    xattrs: Vec<XattrStep<'a>>,
    times: Option<(Option<FileTime>, Option<FileTime>)>,
    acls: Vec<AclStep>,
    mode: Option<u32>,
    /// `%stat` to write, or to remove.
    stored: Option<Option<Vec<u8>>>,
    is: Stat,
}

struct AclStep {
    kind: AclKind,
    /// The value; `None`: to be removed.
    value: Option<Vec<u8>>,
}

impl<'a> Plan<'a> {
    /// `is` must be what [`Keeping::complete`] makes of the inode; for an inode that is new and
    /// will stand for another kind, with that kind, and device numbers, put in.
    pub(super) fn new(
        keeping: Keeping,
        inode: &impl XattrSource,
        is: &Stat,
        wanted: &Attributes<'a>,
    ) -> io::Result<Self> {
        let differs = |want: Option<u32>, is: u32| want.filter(|&want| want != is);
        let uid = differs(wanted.uid, is.uid);
        let gid = differs(wanted.gid, is.gid);
        let mut plan = Self {
            keeping,
            owner: (uid.is_some() || gid.is_some()).then_some((uid, gid)),
            xattrs: match wanted.xattrs {
                Some(set) => {
                    let owner_changes =
                        (uid.is_some() || gid.is_some()) && keeping.metadata == Metadata::Native;
                    keeping.view.plan(inode, set, owner_changes)?
                }
                None => Vec::new(),
            },
            times: None,
            acls: Vec::new(),
            mode: None,
            stored: None,
            is: *is,
        };
        let mtime = wanted.mtime.filter(|&time| time != is.mtime);
        let atime = wanted.atime.filter(|&time| time != is.atime);
        if mtime.is_some() || atime.is_some() {
            plan.times = Some((mtime, atime));
        }
        let symlink = is.kind == Kind::Symlink;
        let mut mode = wanted.mode.filter(|_| !symlink).unwrap_or(is.mode);
        let acl_set = plan.plan_access_acl(inode, is, wanted, &mut mode)?;
        plan.plan_default_acl(inode, is, wanted)?;
        if keeping.metadata == Metadata::Xattr {
            plan.plan_stored(inode, is, wanted, mode)?;
        } else if !symlink {
            // A new owner takes the set-id bits away, an ACL may, and brings its own bits.
            let special_lost =
                plan.owner.is_some() && is.mode & 0o6000 != 0 || acl_set && mode & 0o2000 != 0;
            let bits = if acl_set {
                is.mode & 0o7000 | mode & 0o777
            } else {
                is.mode
            };
            if special_lost || bits != mode {
                plan.mode = Some(mode);
            }
        }
        Ok(plan)
    }

    /// The access ACL as it is to be after chmod to `mode`, which becomes that of the ACL where
    /// no mode is wanted. Whether an ACL with more in it than a mode is to be set.
    fn plan_access_acl(
        &mut self,
        inode: &impl XattrSource,
        is: &Stat,
        wanted: &Attributes<'_>,
        mode: &mut u32,
    ) -> io::Result<bool> {
        if !has_acl(is, AclKind::Access) {
            return Ok(false);
        }
        let is_acl = |mode: u32| -> io::Result<Option<PosixAcl>> {
            let acl = self.keeping.acl(inode, AclKind::Access, is)?;
            Ok(acl.map(|acl| acl.normalized().with_mode(mode)))
        };
        let (is_acl, wanted_acl) = match wanted.access_acl {
            Some(AclChange::Remove) => (is_acl(*mode)?, None),
            Some(AclChange::Set(acl)) => {
                if wanted.mode.is_none() {
                    *mode = is.mode & 0o7000 | acl.mode_bits();
                }
                let acl = acl.normalized().with_mode(*mode);
                (is_acl(*mode)?, Some(acl).filter(|acl| !acl.is_minimal()))
            }
            // chmod changes the mask of an ACL; where that is stored, nobody else does.
            None if self.keeping.metadata == Metadata::Xattr && *mode != is.mode => {
                (is_acl(is.mode)?, is_acl(*mode)?)
            }
            None => return Ok(false),
        };
        if is_acl == wanted_acl {
            return Ok(false);
        }
        let set = wanted_acl.is_some();
        self.push_acl(AclKind::Access, wanted_acl.as_ref());
        Ok(set)
    }

    fn plan_default_acl(
        &mut self,
        inode: &impl XattrSource,
        is: &Stat,
        wanted: &Attributes<'_>,
    ) -> io::Result<()> {
        let Some(change) = wanted.default_acl.filter(|_| has_acl(is, AclKind::Default)) else {
            return Ok(());
        };
        let wanted_acl = match change {
            AclChange::Remove => None,
            AclChange::Set(acl) => Some(acl.normalized()),
        };
        let is_acl = self.keeping.acl(inode, AclKind::Default, is)?;
        if is_acl.map(|acl| acl.normalized()) != wanted_acl {
            self.push_acl(AclKind::Default, wanted_acl.as_ref());
        }
        Ok(())
    }

    fn push_acl(&mut self, kind: AclKind, acl: Option<&PosixAcl>) {
        self.acls.push(AclStep {
            kind,
            value: acl.map(|acl| match self.keeping.metadata {
                Metadata::Native => acl.encode(),
                Metadata::Xattr => acl.encode_stored(kind),
            }),
        });
    }

    /// Owner and mode of an entry whose attributes are stored: the inode gets what permission
    /// bits it can have, the rest goes to `%stat`, unless the inode tells it all.
    fn plan_stored(
        &mut self,
        inode: &impl XattrSource,
        is: &Stat,
        wanted: &Attributes<'_>,
        mode: u32,
    ) -> io::Result<()> {
        self.owner = None;
        if is.inode.kind == Kind::Symlink {
            return Ok(());
        }
        let stored = StoredStat {
            mode,
            uid: wanted.uid.unwrap_or(is.uid),
            gid: wanted.gid.unwrap_or(is.gid),
            ..StoredStat::of(is)
        };
        let value = (!stored.is_told_by_inode(is)).then(|| stored.encode());
        if inode.xattr(fake_super::STAT.as_bytes())? != value {
            self.stored = Some(value);
        }
        let on_inode = inode_mode(stored.kind, mode);
        if on_inode != is.inode.mode {
            self.mode = Some(on_inode);
        }
        Ok(())
    }

    /// Nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        self.owner.is_none()
            && self.xattrs.is_empty()
            && self.times.is_none()
            && self.acls.is_empty()
            && self.mode.is_none()
            && self.stored.is_none()
    }

    /// Sets what differs, whatever fails on the way.
    pub(super) fn carry_out(&self, inode: &Inode<'_>, notes: &Place) -> Vec<AttributeError> {
        let mut errors = Vec::new();
        let mut note = |attribute: Attribute, done: io::Result<()>| {
            if let Err(error) = done {
                errors.push(AttributeError { attribute, error });
            }
        };
        if let Some((uid, gid)) = self.owner {
            note(Attribute::Owner, inode.set_owner(uid, gid));
        }
        if let Some(stored) = &self.stored {
            let name = fake_super::STAT.as_bytes();
            let done = match stored {
                Some(value) => inode.set_xattr(name, value),
                None => inode.remove_xattr(name),
            };
            note(Attribute::Owner, done);
        }
        for step in &self.xattrs {
            note(Attribute::Xattr(step.shown.clone()), step.carry_out(inode));
        }
        if let Some((mtime, atime)) = self.times {
            let set = inode.set_times(mtime, atime);
            if let (Ok(()), Some(mtime)) = (&set, mtime) {
                content::restamp(inode, notes, &self.is, mtime);
            }
            note(Attribute::Times, set);
        }
        for step in &self.acls {
            let name = self.keeping.acl_name(step.kind);
            let done = match &step.value {
                Some(value) => inode.set_xattr(name, value),
                None => match inode.remove_xattr(name) {
                    // A file system without ACLs has none to remove.
                    Err(error) if is_errno(&error, Errno::OPNOTSUPP) => Ok(()),
                    other => other,
                },
            };
            note(Attribute::Acl(step.kind), done);
        }
        if let Some(mode) = self.mode {
            note(Attribute::Mode, inode.set_mode(mode));
        }
        errors
    }
}

pub(super) fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
