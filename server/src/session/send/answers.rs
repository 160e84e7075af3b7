//! What was asked for, answered in its order.

use std::fs::File;
use std::io;

use coffre_protocol::flist::{EntryRef, FileKind, encode_reply_head};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::ndx::Ndx;
use coffre_protocol::options::Append;
use coffre_protocol::sum::{BlockSums, SumHead};
use coffre_protocol::wire::Write;
use rustix::io::Errno;

use super::messages::reason;
use super::transfer::Transfer;
use super::view::{Folder, Place, View};
use super::{Fatal, Sender};
use crate::confine::XattrSet;

/// An item of the client.
pub(super) struct Item {
    pub(super) ndx: u32,
    pub(super) head: ItemHead,
    /// Numbers of the values it wants; `None`: none are exchanged.
    pub(super) xattrs: Option<Vec<u32>>,
    pub(super) sum_head: SumHead,
    pub(super) sums: Option<BlockSums>,
    /// The basis stays, and only what is beyond its end is sent.
    pub(super) appends: bool,
}

impl Item {
    pub(super) fn transfers(&self) -> bool {
        self.head.flags.contains(ItemFlags::TRANSFER)
    }
}

/// Something to answer.
pub(super) enum Job {
    Item(Box<Item>),
    Done,
    DelStats(Vec<i32>),
}

/// A directory that files are sent from, so that the next one in it needs no look-up.
pub(super) struct Held {
    /// Where the client knows it: the path is below that origin.
    origin: u32,
    path: Vec<u8>,
    place: Place,
    folder: Folder,
    /// Of the tree when it was found; `None`: it is to be looked up each time.
    epoch: Option<u64>,
}

impl Held {
    fn is(&self, origin: u32, path: &[u8]) -> bool {
        self.origin == origin && self.path == path
    }

    /// No session has removed or renamed a directory since.
    fn stands(&self, view: &View) -> bool {
        self.epoch.is_some() && self.epoch == view.epoch(&self.place)
    }
}

/// Whether a basis of this kind is written to while it is read.
const PARTIAL_DIR: u8 = 0x81;
const DESTINATION: u8 = 0x80;

impl Sender {
    pub(super) fn answer(&mut self, job: Job) -> Result<(), Fatal> {
        match job {
            Job::Done => self.take_done(),
            Job::DelStats(counts) => {
                self.echo_del_stats(&counts);
                Ok(())
            }
            Job::Item(item) => {
                if self.marks.is_goodbye {
                    return Err(Fatal::violation("an item came after the end of the run"));
                }
                if let Some(list) = self.flists.list_of(item.ndx) {
                    let start = list.start();
                    self.client_is_at(start);
                }
                match item.transfers() {
                    true => self.begin_transfer(*item),
                    false => self.echo_note(&item),
                }
            }
        }
    }

    /// A note goes back as it came.
    fn echo_note(&mut self, item: &Item) -> Result<(), Fatal> {
        self.put_head(item)
    }

    /// Index, flags and what they announce, and the values that were asked for.
    fn put_head(&mut self, item: &Item) -> Result<(), Fatal> {
        let values = match &item.xattrs {
            Some(wanted) if !wanted.is_empty() => self.current_xattrs(item.ndx),
            _ => XattrSet::new(),
        };
        self.out.ndx(Ndx::File(item.ndx));
        if self.agreed.version.at_least(29) {
            item.head.encode(&mut self.out);
        }
        if let Some(wanted) = &item.xattrs {
            let entry = self.flists.entry(item.ndx);
            let set = entry.and_then(|entry| self.encoder.xattr_set(entry.xattrs()?));
            let mut previous = 0;
            for num in wanted {
                let name = set.and_then(|set| set.by_num(*num)).map(|item| &item.name);
                let value = name.and_then(|name| values.get(&name[..]));
                // One that is gone by now has no bytes.
                let value = value.map_or(&[][..], |value| value);
                encode_reply_head(*num, previous, value.len() as u32, &mut self.out);
                self.out.put(value);
                previous = *num;
            }
            self.out.put_u8(0);
        }
        Ok(())
    }

    fn current_xattrs(&mut self, ndx: u32) -> XattrSet {
        let Some(entry) = self.flists.entry(ndx) else {
            return XattrSet::new();
        };
        let read = self.holder(ndx, &entry).and_then(|(folder, name)| {
            let stat = match name {
                Some(name) => folder.stat(name)?,
                None => Some(folder.self_stat()?),
            };
            let stat = stat.ok_or(Errno::NOENT)?;
            folder.extended(name, &stat, true)
        });
        read.map(|extended| extended.xattrs).unwrap_or_default()
    }

    /// The directory that an entry is in, and its name there; no name: the directory itself.
    fn holder<'e>(&self, ndx: u32, entry: &EntryRef<'e>) -> io::Result<(Folder, Option<&'e [u8]>)> {
        let base = &self.plan.origin_at(self.origin_of(ndx)).base;
        if entry.is_root() {
            return Ok((self.view.open(base)?, None));
        }
        let (_, folder, _) = self.locate(base, entry.dir())?;
        Ok((folder, Some(entry.base())))
    }

    /// Holds the directory that an entry is in, which is mostly that of the one before.
    fn hold_directory_of(&mut self, ndx: u32) -> io::Result<()> {
        let entry = self.flists.entry(ndx).ok_or(Errno::NOENT)?;
        let (origin, path) = (self.origin_of(ndx), entry.dir());
        let held = self.held.as_ref();
        if held.is_some_and(|held| held.is(origin, path) && held.stands(&self.view)) {
            return Ok(());
        }
        let base = &self.plan.origin_at(origin).base;
        let (place, folder, epoch) = self.locate(base, path)?;
        self.held = Some(Held {
            origin,
            path: path.to_vec(),
            place,
            folder,
            epoch,
        });
        Ok(())
    }

    /// A file as the client knows it.
    pub(super) fn shown_file(&self, ndx: u32) -> Vec<u8> {
        let Some(entry) = self.flists.entry(ndx) else {
            return Vec::new();
        };
        let origin = self.origin_of(ndx);
        let held = self.held.as_ref();
        if let Some(held) = held.filter(|held| held.is(origin, entry.dir())) {
            return self.shown_entry(&held.place, Some(entry.base()));
        }
        let base = &self.plan.origin_at(origin).base;
        self.shown_entry(base, Some(entry.path(&mut Vec::new())))
    }

    fn begin_transfer(&mut self, mut item: Item) -> Result<(), Fatal> {
        if self.marks.phase >= 2 {
            return Err(Fatal::violation(
                "a file was requested after the last phase",
            ));
        }
        if self.flists.entry(item.ndx).is_none() {
            return Err(Fatal::violation(format!(
                "index {} is not that of an entry any more",
                item.ndx
            )));
        }
        let known_sums = item.sums.as_ref().map_or(0, |sums| sums.known() as usize);
        self.sum_bytes -= known_sums * item.sum_head.sum_len();
        if self.options.dry_run {
            self.totals.transferred += 1;
            return self.put_head(&item);
        }
        let (file, len) = match self.open_entry(item.ndx) {
            Ok(opened) => opened,
            Err(error) => {
                self.cannot_send(item.ndx, &error);
                return Ok(());
            }
        };
        if item.appends && len < item.sum_head.basis_len() {
            let shown = self.shown_file(item.ndx);
            let line = [b"skipped diminished file: \"", &shown[..], b"\""].concat();
            self.out.raw_text(MessageKind::Warning, line);
            self.out.no_send(item.ndx);
            return Ok(());
        }
        self.put_head(&item)?;
        item.sum_head.encode(&mut self.out);
        let sums = item.sums.take().filter(|_| !item.appends);
        let updates = self.updates_basis(&item);
        let append = match item.appends {
            true => self.options.append(self.agreed.version),
            false => Append::No,
        };
        self.tokens.begin_file(&item.sum_head);
        self.totals.transferred += 1;
        let transfer = Transfer::new(
            &self.agreed,
            file,
            len,
            item.ndx,
            (item.sum_head, sums),
            updates,
            append,
        );
        self.transfer = Some(transfer);
        self.send_piece()
    }

    /// Whether the receiver writes into the basis while it reads it.
    fn updates_basis(&self, item: &Item) -> bool {
        use coffre_protocol::handshake::CompatFlags;
        let version = self.agreed.version;
        if !version.at_least(29) {
            return self.options.inplace && !self.options.backup;
        }
        match item.head.basis_type.unwrap_or(DESTINATION) {
            DESTINATION => self.options.inplace,
            PARTIAL_DIR => self.agreed.has(CompatFlags::INPLACE_PARTIAL_DIR),
            _ => false,
        }
    }

    /// With the bytes that it has.
    fn open_entry(&mut self, ndx: u32) -> io::Result<(File, u64)> {
        self.hold_directory_of(ndx)?;
        let entry = self.flists.entry(ndx).ok_or(Errno::NOENT)?;
        let held = self.held.as_ref().ok_or(Errno::NOENT)?;
        let opened = match entry.kind() {
            FileKind::Regular => held.folder.open_seen(entry.base()),
            _ => held.folder.open_sized(entry.base()),
        };
        match opened {
            Err(error)
                if error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                    && (self.options.copy_links || self.options.copy_unsafe_links) =>
            {
                self.open_behind(&held.place, entry.base())
            }
            other => other,
        }
    }

    fn open_behind(&self, dir: &Place, name: &[u8]) -> io::Result<(File, u64)> {
        let place = self.view.resolve(dir, name, true)?;
        match self.look_behind(place)? {
            Some(found) => found.open(),
            None => Err(Errno::NOENT.into()),
        }
    }

    fn cannot_send(&mut self, ndx: u32, error: &io::Error) {
        let shown = &self.shown_file(ndx)[..];
        if error.kind() == io::ErrorKind::NotFound {
            self.vanished("file", shown);
        } else {
            self.io_error |= 1;
            self.totals.had_errors = true;
            let line = [
                b"rsync: [sender] send_files failed to open \"",
                shown,
                format!("\": {}", reason(error)).as_bytes(),
            ]
            .concat();
            self.out.raw_text(MessageKind::ErrorXfer, line);
        }
        self.out.no_send(ndx);
    }
}
