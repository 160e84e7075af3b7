//! Regular files: whether one is wanted, what its basis is, and the request for it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use coffre_protocol::flist::EntryRef;
use coffre_protocol::item::{BasisType, ItemFlags, ItemHead};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::sum::{BlockSumEncoder, SumHead};
use coffre_protocol::wire::Write;

use super::alternates::Regular;
use super::awaited::Awaited;
use super::basis::{Basis, OpenBasis};
use super::decide;
use super::delete::Way;
use super::generator::Target;
use super::policy::{Append, QuickCheck};
use super::{Fatal, Receiver, path_of};
use crate::confine::{Kind, Stat};

/// About how much of a basis is summed between two looks at the input: what stays in a processor's
/// own cache.
const SUM_STEP: usize = 256 << 10;

/// A basis whose block sums are being sent.
pub(super) struct Summing {
    file: File,
    at: u64,
    len: u64,
    sums: BlockSumEncoder,
}

impl Receiver {
    pub(super) fn visit_regular(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        mut target: Target,
    ) -> Result<(), Fatal> {
        if !self.passes_size(entry) {
            return Ok(());
        }
        if let Some(have) = &target.stat
            && have.kind == Kind::File
        {
            if self.policy.update
                && have.mtime.secs > entry.mtime().0.saturating_add(self.policy.update_slack())
            {
                if self.policy.info.skip {
                    self.out.raw_text(
                        MessageKind::Info,
                        [&path_of(entry)[..], b" is newer"].concat(),
                    );
                }
                return Ok(());
            }
        } else if target.stat.is_some()
            && self.make_way(ndx, entry, &mut target, "regular file")? != Way::Clear
        {
            return Ok(());
        }
        let (compared, found) = match self.take_regular_from_alternates(ndx, entry, &target)? {
            Regular::Done => return Ok(()),
            Regular::Basis(place, basis) => (Some(place), Some(basis)),
            Regular::Nothing => (None, None),
        };
        if target.stat.is_some() && self.is_up_to_date(entry, &target)? {
            self.forget_kept(entry);
            return self.leave_as_is(ndx, entry, &target);
        }
        let basis = self.partial_basis(entry, &target, false).or(found);
        let basis = basis.or_else(|| self.fuzzy_basis(entry, &target));
        if self.policy.append != Append::No {
            let there = target.stat.map(|have| have.size);
            let there = basis.as_ref().map(|found| found.len).or(there);
            if there.is_some_and(|len| len >= entry.len()) {
                return Ok(());
            }
        }
        if target.stat.is_none() && basis.is_none() && self.links.waits_for_later_member(ndx, entry)
        {
            self.opened(ndx)?;
            return Ok(());
        }
        let compared = compared.as_deref().unwrap_or(&target);
        self.request(ndx, entry, &target, compared, basis, false)
    }

    /// `--max-size` and `--min-size`.
    fn passes_size(&mut self, entry: &EntryRef<'_>) -> bool {
        let verdict: &[u8] = if self.policy.max_size.is_some_and(|max| entry.len() > max) {
            b" is over max-size"
        } else if self.policy.min_size.is_some_and(|min| entry.len() < min) {
            b" is under min-size"
        } else {
            return true;
        };
        if self.policy.info.skip {
            self.out
                .raw_text(MessageKind::Info, [&path_of(entry)[..], verdict].concat());
        }
        false
    }

    fn is_up_to_date(&mut self, entry: &EntryRef<'_>, target: &Target) -> Result<bool, Fatal> {
        let (Some(dir), Some(have)) = (&target.dir, &target.stat) else {
            return Ok(false);
        };
        if self.policy.quick_check != QuickCheck::Checksum {
            return Ok(decide::quick_check(&self.policy, entry, have));
        }
        if have.size != entry.len() {
            return Ok(false);
        }
        let Some(digest) = entry.digest() else {
            return Ok(false);
        };
        Ok(self
            .has_content(entry, dir, &target.name, have, digest)
            .unwrap_or(false))
    }

    /// The content is right; the attributes may not be.
    fn leave_as_is(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
    ) -> Result<(), Fatal> {
        let flags = self.settle_attributes(ndx, entry, target, ItemFlags::default())?;
        self.say_up_to_date(entry, flags);
        self.totals.up_to_date += 1;
        if self.policy.reports_up_to_date {
            self.successes.push(ndx);
        }
        self.leader_settled(entry, flags)
    }

    /// With `-vv` the server itself names what needed no transfer, but where an itemised output of
    /// protocol 29 or later does.
    pub(super) fn say_up_to_date(&mut self, entry: &EntryRef<'_>, flags: ItemFlags) {
        if self.policy.info.name_unchanged {
            let word: &[u8] = if flags.is_significant() {
                b""
            } else {
                b" is uptodate"
            };
            self.out
                .raw_text(MessageKind::Info, [&path_of(entry)[..], word].concat());
        }
    }

    /// Asks for a file's content. `compared`: what the item tells the difference to, the target or
    /// its like elsewhere; `basis`: another one than the target.
    fn request(
        &mut self,
        ndx: u32,
        entry: &EntryRef<'_>,
        target: &Target,
        compared: &Target,
        basis: Option<OpenBasis>,
        is_redo: bool,
    ) -> Result<(), Fatal> {
        let extra = match self.extra(entry, compared) {
            Ok(extra) => extra,
            Err(error) => {
                self.entry_failed("failed to read attributes of", entry, &error)?;
                return self.leader_failed(ndx);
            }
        };
        let mut flags = ItemFlags::TRANSFER;
        if self.policy.quick_check == QuickCheck::Checksum && compared.stat.is_some() {
            flags |= ItemFlags::REPORT_CHANGE;
        }
        let mut flags = decide::report(&self.policy, entry, compared.stat.as_ref(), &extra, flags);
        let mut found = basis.or_else(|| self.find_basis(entry, target));
        if self.policy.inplace
            && !is_redo
            && !self.policy.dry_run
            && self.backups.is_some()
            && let (Some(dir), Some(have)) = (&target.dir, &target.stat)
            && have.kind == Kind::File
            && found
                .as_ref()
                .is_none_or(|found| found.basis.kind == BasisType::Destination)
        {
            let Some(copy) = self.copy_to_backup(entry, dir, &target.name)? else {
                return self.leader_failed(ndx);
            };
            if let Some(found) = &mut found {
                found.basis = copy;
            }
        }
        if let Some(found) = found
            .as_ref()
            .filter(|found| found.basis.is_kept() && found.basis.kind == BasisType::Destination)
        {
            flags = self.report_kept(entry, found.len, flags);
        }
        let mut item = ItemHead {
            flags,
            basis_type: None,
            xname: None,
        };
        if let Some(found) = &found {
            found.basis.tell_in(&mut item);
        }
        let exchanges = self.exchanges_xattrs(&item);
        if exchanges {
            self.asked_for(entry, &extra.missing);
        }
        self.put_item(ndx, &item, exchanges.then_some(&extra.missing));
        self.links.requested(ndx, entry);
        self.opened(ndx)?;
        if self.policy.dry_run && !self.policy.batch_only {
            self.await_reply(Awaited::dry_run(ndx, item, Vec::new()));
            return Ok(());
        }
        let found = found.filter(|_| !self.policy.whole_file);
        if found.is_some() {
            self.is_no_fuzzy_basis(entry);
        }
        let head = found.as_ref().map_or(SumHead::NONE, |found| {
            self.negotiated
                .sum_head(found.len, self.policy.block_len, is_redo)
        });
        let mut bytes = Vec::with_capacity(16);
        head.encode(&mut bytes);
        self.out.put(&bytes);
        let found = found.filter(|_| !head.is_empty());
        let basis = found.as_ref().map(|found| found.basis.clone());
        let missing = extra.missing;
        self.await_reply(match self.policy.batch_only {
            true => Awaited::dry_run(ndx, item, missing),
            false => Awaited::file(ndx, item, missing, head, basis, is_redo),
        });
        // What is appended to is told by its length alone.
        let appends = self.policy.append != Append::No && !is_redo;
        if let Some(OpenBasis { file, len, .. }) = found.filter(|_| !appends) {
            self.summing = Some(Summing {
                file,
                at: 0,
                len,
                sums: self.negotiated.block_sums(&head),
            });
            self.sum_more()?;
        }
        Ok(())
    }

    /// What a broken push left of the file, if it is to be the basis.
    fn partial_basis(
        &mut self,
        entry: &EntryRef<'_>,
        target: &Target,
        is_redo: bool,
    ) -> Option<OpenBasis> {
        if let Some(kept) = self.kept_basis(entry, target, is_redo) {
            return Some(kept);
        }
        let place = self.partial_in_tree(entry)?;
        let basis = Basis::in_tree(BasisType::PartialDir, place, None);
        self.open_basis(entry, basis).ok()
    }

    /// What an item says when the basis is kept where nobody sees it: what it would say if that
    /// stood under the file's name, as on a stock server.
    fn report_kept(&self, entry: &EntryRef<'_>, len: u64, flags: ItemFlags) -> ItemFlags {
        let mut kept = ItemFlags::TRANSFER | ItemFlags(flags.0 & ItemFlags::REPORT_XATTR.0);
        if flags.contains(ItemFlags::REPORT_CHANGE)
            || self.policy.quick_check == QuickCheck::Checksum
        {
            kept |= ItemFlags::REPORT_CHANGE;
        }
        if len != entry.len() {
            kept |= ItemFlags::REPORT_SIZE;
        }
        kept | ItemFlags::REPORT_TIME
    }

    /// Looks for a basis and opens it. `None`: there is none, and the whole file is asked for.
    fn find_basis(&mut self, entry: &EntryRef<'_>, target: &Target) -> Option<OpenBasis> {
        let Some(Stat { size: 1.., .. }) = &target.stat else {
            return None;
        };
        let asks_for_data = !self.policy.dry_run || self.policy.batch_only;
        if self.policy.whole_file || !asks_for_data {
            return None;
        }
        match self.open_basis(entry, Basis::destination()) {
            Ok(found) => Some(found),
            Err(error) => {
                self.cannot_open_basis(&self.shown(&path_of(entry)), &error);
                None
            }
        }
    }

    /// `shown`: its path as the client sees it.
    pub(super) fn cannot_open_basis(&mut self, shown: &[u8], error: &std::io::Error) {
        let why = format!("\", continuing: {}", super::messages::reason(error));
        let line = [
            b"rsync: [generator] failed to open \"",
            shown,
            why.as_bytes(),
        ];
        self.out.raw_text(MessageKind::Error, line.concat());
    }

    /// Sums a little more of the basis at hand.
    pub(super) fn sum_more(&mut self) -> Result<(), Fatal> {
        let Some(mut summing) = self.summing.take() else {
            return Ok(());
        };
        let step = summing.sums.piece_len(SUM_STEP);
        let want = usize::try_from(summing.len - summing.at).map_or(step, |left| left.min(step));
        self.buffer.resize(step, 0);
        // A basis that shrinks or cannot be read gives sums of zeros: they match nothing, and
        // the number of blocks that was announced is kept.
        let mut read = 0;
        while read < want {
            match summing
                .file
                .read_at(&mut self.buffer[read..want], summing.at + read as u64)
            {
                Ok(0) | Err(_) => break,
                Ok(n) => read += n,
            }
        }
        self.buffer[read..want].fill(0);
        let mut sums = Vec::new();
        summing.sums.sum_blocks(&self.buffer[..want], &mut sums);
        summing.at += want as u64;
        let is_over = summing.at == summing.len;
        if is_over {
            summing.sums.finish(&mut sums);
        } else {
            self.summing = Some(summing);
        }
        self.out.put(&sums);
        Ok(())
    }

    /// Asks once more, after the first transfer did not verify.
    pub(super) fn request_again(&mut self, ndx: u32, entry: &EntryRef<'_>) -> Result<(), Fatal> {
        let target = match self.target(entry) {
            Ok(target) => target,
            Err(error) => {
                return self.entry_failed("recv_generator: failed to stat", entry, &error);
            }
        };
        let target = match &target.stat {
            Some(have) if have.kind != Kind::File => Target {
                stat: None,
                ..target
            },
            _ => target,
        };
        self.totals.redone += 1;
        let partial = self.partial_basis(entry, &target, true);
        let (compared, basis) = match target.stat {
            None => self.alternate_basis(entry).unzip(),
            Some(_) => (None, None),
        };
        let compared = compared.as_ref().unwrap_or(&target);
        let basis = partial.or(basis);
        let basis = basis.or_else(|| self.fuzzy_basis(entry, &target));
        self.request(ndx, entry, &target, compared, basis, true)
    }
}
