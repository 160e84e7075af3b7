//! What was asked for, answered in its order.

use std::io;

use coffre_protocol::flist::{EntryRef, encode_reply_head};
use coffre_protocol::item::{ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::ndx::Ndx;
use coffre_protocol::options::Append;
use coffre_protocol::sum::{BlockSums, SumHead};
use coffre_protocol::wire::Write;

use super::messages::reason;
use super::transfer::Transfer;
use super::view::{Folder, Place};
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
        let read = self.holder(ndx, &entry).and_then(|(folder, _, name)| {
            let stat = match &name {
                Some(name) => folder.stat(name)?,
                None => Some(folder.self_stat()?),
            };
            let stat = stat.ok_or(rustix::io::Errno::NOENT)?;
            folder.extended(name.as_deref(), &stat, true)
        });
        read.map(|extended| extended.xattrs).unwrap_or_default()
    }

    /// The directory that an entry is in, and its name there; no name: the directory itself.
    fn holder(
        &self,
        ndx: u32,
        entry: &EntryRef<'_>,
    ) -> io::Result<(Folder, Place, Option<Vec<u8>>)> {
        let origin = self.origin_of(ndx);
        let base = &self.plan.origin_at(origin).base;
        if entry.is_root() {
            return Ok((self.view.open(base)?, base.clone(), None));
        }
        let dir = entry.dir();
        let place = self.locate(base, dir)?;
        let folder = self.view.open(&place)?;
        Ok((folder, place, Some(entry.base().to_vec())))
    }

    fn begin_transfer(&mut self, mut item: Item) -> Result<(), Fatal> {
        if self.marks.phase >= 2 {
            return Err(Fatal::violation(
                "a file was requested after the last phase",
            ));
        }
        let Some(entry) = self.flists.entry(item.ndx) else {
            return Err(Fatal::violation(format!(
                "index {} is not that of an entry any more",
                item.ndx
            )));
        };
        let known_sums = item.sums.as_ref().map_or(0, |sums| sums.known() as usize);
        self.sum_bytes -= known_sums * item.sum_head.sum_len();
        if self.options.dry_run {
            self.totals.transferred += 1;
            return self.put_head(&item);
        }
        let opened = self.open_entry(item.ndx, &entry);
        let shown = match &opened {
            Ok((_, shown)) => shown.clone(),
            Err((_, shown)) => shown.clone(),
        };
        let file = match opened {
            Ok((file, _)) => file,
            Err((error, _)) => {
                self.cannot_send(item.ndx, &shown, &error);
                return Ok(());
            }
        };
        let len = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                self.cannot_send(item.ndx, &shown, &error);
                return Ok(());
            }
        };
        if item.appends && len < item.sum_head.basis_len() {
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
            shown,
            (item.sum_head, sums),
            updates,
            append,
        );
        self.transfer = Some(transfer);
        Ok(())
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

    fn open_entry(
        &self,
        ndx: u32,
        entry: &EntryRef<'_>,
    ) -> Result<(std::fs::File, Vec<u8>), (io::Error, Vec<u8>)> {
        let (folder, place, name) = match self.holder(ndx, entry) {
            Ok(holder) => holder,
            Err(error) => {
                let base = &self.plan.origin_at(self.origin_of(ndx)).base;
                let mut path = Vec::new();
                let shown = self.shown_entry(base, Some(entry.path(&mut path)));
                return Err((error, shown));
            }
        };
        let shown = self.shown_entry(&place, name.as_deref());
        let name = name.unwrap_or_default();
        let opened = match folder.open_file(&name) {
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
                    && (self.options.copy_links || self.options.copy_unsafe_links) =>
            {
                self.open_behind(&place, &name)
            }
            other => other,
        };
        match opened {
            Ok(file) => Ok((file, shown)),
            Err(error) => Err((error, shown)),
        }
    }

    fn open_behind(&self, dir: &Place, name: &[u8]) -> io::Result<std::fs::File> {
        let place = self.view.resolve(dir, name, true)?;
        match self.look_behind(place)? {
            Some(found) => found.open(),
            None => Err(rustix::io::Errno::NOENT.into()),
        }
    }

    fn cannot_send(&mut self, ndx: u32, shown: &[u8], error: &io::Error) {
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
