//! From what stands in a directory to an entry of a file list.

use std::borrow::Cow;
use std::io;

use coffre_protocol::charset::Unfit;
use coffre_protocol::checksum::StrongKind;
use coffre_protocol::flist::{
    CompleteAcl, EntryFields, IdKind, MUNGED, NamedEntry, Outgoing as OutgoingEntry, XattrSet,
};
use coffre_protocol::mux::MessageKind;

use super::view::{Folder, Place};
use super::{Fatal, Sender};
use crate::confine::{Extended, Kind, PosixAcl, Stat};
use crate::session::receive::decide::is_unsafe_link;

/// What stands under a name, behind a link where that is asked for.
pub(super) struct Found {
    pub(super) stat: Stat,
    /// A directory's own; of anything else the directory that it is in.
    pub(super) place: Place,
    /// Where it is looked at; without name: the directory itself.
    folder: Folder,
    name: Option<Vec<u8>>,
    target: Vec<u8>,
}

/// Name and target of an entry as they travel: in UTF-8 with `--iconv`, else as they are.
struct OnTheWire<'n> {
    name: Cow<'n, [u8]>,
    target: Cow<'n, [u8]>,
}

/// How a directory takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DirRole {
    pub(super) top_dir: bool,
    pub(super) content: bool,
}

impl Sender {
    /// Looks at a directory itself.
    pub(super) fn look_at_self(&self, place: &Place, folder: &Folder) -> io::Result<Found> {
        Ok(Found {
            stat: folder.self_stat()?,
            place: place.clone(),
            folder: folder.clone(),
            name: None,
            target: Vec::new(),
        })
    }

    /// Looks at `name` in a directory. `path`: from the top of the transfer. `None`: nothing is
    /// there any more, or it has been told why it is left out.
    pub(super) fn look(
        &mut self,
        dir: &Place,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
    ) -> Option<Found> {
        let stat = match folder.stat(name) {
            Ok(Some(stat)) => stat,
            Ok(None) => {
                let shown = self.shown_entry(dir, Some(name));
                self.vanished("file", &shown);
                return None;
            }
            Err(error) => return self.cannot_look(dir, name, &error),
        };
        let mut found = Found {
            stat,
            place: dir.clone(),
            folder: folder.clone(),
            name: Some(name.to_vec()),
            target: Vec::new(),
        };
        if stat.kind == Kind::Dir {
            match self.view.child(dir, name) {
                Ok(place) => found.place = place,
                Err(error) => return self.cannot_look(dir, name, &error),
            }
        }
        if stat.kind != Kind::Symlink {
            return Some(found);
        }
        match folder.read_link(name) {
            Ok(target) => found.target = target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let shown = self.shown_entry(dir, Some(name));
                self.vanished("file", &shown);
                return None;
            }
            Err(error) => return self.cannot_look(dir, name, &error),
        }
        let options = &self.options;
        let follows =
            options.copy_links || options.copy_unsafe_links && is_unsafe_link(&found.target, path);
        if options.munge_links {
            unmunge(&mut found.target);
        }
        if !follows && !options.copy_dirlinks {
            return Some(found);
        }
        let behind = self.behind(dir, name);
        match behind {
            Ok(Some(behind)) if follows || behind.stat.kind == Kind::Dir => Some(behind),
            Ok(_) | Err(_) if !follows => Some(found),
            _ => {
                self.io_error |= 1;
                self.totals.had_errors = true;
                let shown = self.shown_entry(dir, Some(name));
                let line = [b"symlink has no referent: \"", &shown[..], b"\""].concat();
                self.out.raw_text(MessageKind::ErrorXfer, line);
                None
            }
        }
    }

    /// What a symbolic link leads to.
    fn behind(&self, dir: &Place, name: &[u8]) -> io::Result<Option<Found>> {
        let place = self.view.resolve(dir, name, true)?;
        self.look_behind(place)
    }

    /// What stands at a place that was reached over links.
    pub(super) fn look_behind(&self, place: Place) -> io::Result<Option<Found>> {
        let Some(stat) = self.view.stat(&place)? else {
            return Ok(None);
        };
        if stat.kind == Kind::Dir {
            let folder = self.view.open(&place)?;
            return self.look_at_self(&place, &folder).map(Some);
        }
        let Some((parent, name)) = self.view.split(&place) else {
            return Ok(None);
        };
        let folder = self.view.open(&parent)?;
        let mut target = match stat.kind {
            Kind::Symlink => folder.read_link(&name)?,
            _ => Vec::new(),
        };
        if self.options.munge_links {
            unmunge(&mut target);
        }
        Ok(Some(Found {
            stat,
            place: parent,
            folder,
            name: Some(name),
            target,
        }))
    }

    fn cannot_look(&mut self, dir: &Place, name: &[u8], error: &io::Error) -> Option<Found> {
        self.io_error |= 1;
        let shown = self.shown_entry(dir, Some(name));
        self.file_error("readlink_stat", &shown, error);
        None
    }

    /// Sends an entry, and keeps what is needed to find it again.
    /// Errors: the session's memory is used up.
    pub(super) fn send_entry(
        &mut self,
        origin: u32,
        path: &[u8],
        found: &Found,
        role: DirRole,
    ) -> Result<bool, Fatal> {
        let stat = &found.stat;
        let mut absolute = Vec::new();
        let name = if self.plan.origin_at(origin).is_absolute {
            absolute.push(b'/');
            absolute.extend_from_slice(path);
            &absolute[..]
        } else {
            path
        };
        let Some(builder) = self.listing.builder() else {
            return Err(Fatal::internal("an entry without a list"));
        };
        if let Err(error) = builder.accepts(name, &found.target) {
            self.io_error |= 1;
            let why = io::Error::new(io::ErrorKind::InvalidInput, error.message);
            let shown = self.shown_of(found);
            self.file_error("cannot send", &shown, &why);
            return Ok(false);
        }
        let Some(wire) = self.as_it_travels(name, found) else {
            return Ok(false);
        };
        let format = self.encoder.format();
        let (acls, xattrs) = (format.has_acls(), format.has_xattrs());
        let wants_digest = format.checksum_len.is_some() && stat.kind == Kind::File;
        let extended = match acls || xattrs {
            true => self.extended_of(found, xattrs),
            false => Extended::default(),
        };
        let digest = match wants_digest {
            true => self.digest_of(found),
            false => None,
        };
        let mode = stat.whole_mode();
        let len = match stat.kind {
            Kind::Symlink => found.target.len() as u64,
            Kind::File | Kind::Dir => stat.size,
            _ => 0,
        };
        let fields = EntryFields {
            name: &wire.name,
            mode,
            len,
            mtime: stat.mtime.secs,
            mtime_nsec: Some(stat.mtime.nanos).filter(|nanos| *nanos > 0),
            atime: stat.atime.secs,
            crtime: 0,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            link_target: &wire.target,
            digest: digest.as_deref().unwrap_or_default(),
            top_dir: role.top_dir,
            content: role.content,
            link_group: None,
        };
        let is_linked = match self.agreed.version.at_least(28) {
            true => stat.nlink > 1 && stat.kind != Kind::Dir,
            false => stat.kind == Kind::File,
        };
        let access_acl = extended.access_acl.as_ref();
        let access_acl = access_acl.map(|acl| complete(acl).strip_access(mode));
        let default_acl = extended
            .default_acl
            .as_ref()
            .map(|acl| complete(acl).whole());
        let xattr_set = xattrs.then(|| self.wire_set(extended.xattrs));
        let entry = OutgoingEntry {
            fields,
            inode: is_linked.then_some((stat.dev, stat.ino)),
            acl: access_acl.as_ref(),
            default_acl: default_acl.as_ref(),
            xattrs: xattr_set.as_ref(),
        };
        self.put_entry(origin, name, &entry)?;
        if matches!(stat.kind, Kind::File | Kind::Symlink) {
            self.totals.size += len;
        }
        Ok(true)
    }

    /// The name and the target of an entry, converted where `--iconv` asks for it. `None`: they
    /// cannot be, which is told.
    fn as_it_travels<'n>(&mut self, name: &'n [u8], found: &'n Found) -> Option<OnTheWire<'n>> {
        let format = self.encoder.format();
        let Some(charset) = format.charset else {
            return Some(OnTheWire {
                name: name.into(),
                target: found.target[..].into(),
            });
        };
        let (name_limit, link_limit) = (format.limits.name, format.limits.link_target);
        let converts_links = format.converts_links;
        let mut wire = Vec::with_capacity(name.len() * 2);
        let fits = charset.globalize(name, &mut wire);
        if let Err(why) = fits.and(within(&wire, name_limit)) {
            self.unconverted("filename:", name, why);
            return None;
        }
        if !converts_links {
            return Some(OnTheWire {
                name: wire.into(),
                target: found.target[..].into(),
            });
        }
        let mut target = Vec::with_capacity(found.target.len() * 2);
        let fits = charset.globalize(&found.target, &mut target);
        if let Err(why) = fits.and(within(&target, link_limit)) {
            let shown = [b"\"", &self.shown_of(found)[..], b"\""].concat();
            self.unconverted("symlink data for:", &shown, why);
            return None;
        }
        Some(OnTheWire {
            name: wire.into(),
            target: target.into(),
        })
    }

    fn unconverted(&mut self, what: &str, shown: &[u8], why: Unfit) {
        self.io_error |= 1;
        self.totals.had_errors = true;
        let line = [
            format!("[sender] cannot convert {what} ").as_bytes(),
            shown,
            format!(" ({})", why.words()).as_bytes(),
        ]
        .concat();
        self.out.raw_text(MessageKind::ErrorXfer, line);
    }

    /// The name of something that the receiver is to delete.
    pub(super) fn send_missing(&mut self, origin: u32, path: &[u8]) -> Result<(), Fatal> {
        let entry = OutgoingEntry {
            fields: EntryFields {
                name: path,
                ..EntryFields::default()
            },
            ..OutgoingEntry::default()
        };
        self.put_entry(origin, path, &entry)
    }

    fn put_entry(
        &mut self,
        origin: u32,
        name: &[u8],
        entry: &OutgoingEntry<'_>,
    ) -> Result<(), Fatal> {
        let set = self.encoder.entry(entry, &mut self.out);
        if self.encoder.shared_bytes() > self.limits.cache_bytes {
            return Err(Fatal::violation(
                "the attributes and hard links of this tree take more memory than a session may \
                 have; restore a part of it at a time",
            ));
        }
        self.totals.entries += 1;
        let kept = EntryFields {
            name,
            ..entry.fields.clone()
        };
        self.listing.keep(&kept, set, origin)?;
        Ok(())
    }

    fn wire_set(&mut self, xattrs: crate::confine::XattrSet) -> XattrSet {
        let mut shown = xattrs;
        shown.retain(|name, _| !self.excludes_xattr(name));
        XattrSet::new(
            shown
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    /// Without them where they cannot be read, which is told.
    fn extended_of(&mut self, found: &Found, with_xattrs: bool) -> Extended {
        let read = found
            .folder
            .extended(found.name.as_deref(), &found.stat, with_xattrs);
        match read {
            Ok(extended) => extended,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Extended::default(),
            Err(error) => {
                self.io_error |= 1;
                let shown = self.shown_of(found);
                self.file_error("failed to read attributes of", &shown, &error);
                Extended::default()
            }
        }
    }

    pub(super) fn shown_of(&self, found: &Found) -> Vec<u8> {
        let name = match found.stat.kind {
            Kind::Dir => None,
            _ => found.name.as_deref(),
        };
        self.shown_entry(&found.place, name)
    }
}

impl Found {
    /// The digest of its content, if it was noted and still holds.
    pub(super) fn noted_digest(&self, kind: StrongKind) -> Option<Vec<u8>> {
        let Folder::Real(dir) = &self.folder else {
            return None;
        };
        // A sum that cannot be read is none.
        let sum = dir.content_sum(self.name.as_deref()?).ok().flatten()?;
        let holds = sum.holds_for(self.stat.size, self.stat.mtime);
        let digest = sum.content.digest(kind).filter(|_| holds);
        digest.map(<[u8]>::to_vec)
    }

    /// With the bytes that it has.
    pub(super) fn open(&self) -> io::Result<(std::fs::File, u64)> {
        match &self.name {
            Some(name) => self.folder.open_sized(name),
            None => Err(rustix::io::Errno::ISDIR.into()),
        }
    }
}

/// Takes off what `--munge-links` put before a target when it was pushed.
fn unmunge(target: &mut Vec<u8>) {
    if let Some(bare) = target.strip_prefix(MUNGED).filter(|bare| !bare.is_empty()) {
        *target = bare.to_vec();
    }
}

fn within(bytes: &[u8], limit: usize) -> Result<(), Unfit> {
    match bytes.len() <= limit {
        true => Ok(()),
        false => Err(Unfit::TooLong),
    }
}

/// In the form of the wire.
fn complete(acl: &PosixAcl) -> CompleteAcl {
    let named = |kind: IdKind, list: &[(u32, u8)]| -> Vec<NamedEntry> {
        list.iter()
            .map(|(id, permissions)| NamedEntry {
                kind,
                id: *id,
                permissions: *permissions,
            })
            .collect()
    };
    let mut entries = named(IdKind::User, &acl.users);
    entries.extend(named(IdKind::Group, &acl.groups));
    CompleteAcl {
        user_obj: acl.user_obj,
        group_obj: acl.group_obj,
        mask_obj: acl.mask,
        other_obj: acl.other,
        named: entries,
    }
}
