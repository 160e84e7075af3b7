//! File lists as they arrive, and what is still open of each.

use std::sync::Arc;

use coffre_protocol::flist::{FileKind, FileList, ListHead};

use super::stream::Expect;
use super::{Fatal, Receiver};

/// One file list that is being worked on.
pub(super) struct ListState {
    pub(super) list: Arc<FileList>,
    /// Requests without a reply, hard links that wait for one, files to be sent again.
    pub(super) open: u32,
    pub(super) visited: bool,
}

impl ListState {
    pub(super) fn is_finished(&self) -> bool {
        self.visited && self.open == 0
    }
}

impl Receiver {
    /// A list starts: the first one, or that of the directory with this number.
    pub(super) fn begin_list(&mut self, directory: Option<u32>) -> Result<(), Fatal> {
        let head = match directory {
            None => ListHead::first(self.decoder.format()),
            Some(number) => self.flists.announce(number)?,
        };
        self.decoder.begin(head);
        self.expect = Expect::FileList;
        Ok(())
    }

    /// All entries of a list are there; without incremental recursion the id lists follow.
    pub(super) fn list_ended(&mut self) -> Result<(), Fatal> {
        self.finished_list = Some(self.decoder.take_list());
        self.expect = Expect::Ids;
        if self.negotiated.is_incremental() {
            return self.ids_ended();
        }
        Ok(())
    }

    pub(super) fn ids_ended(&mut self) -> Result<(), Fatal> {
        if self.negotiated.version.at_least(30) {
            return self.list_arrived();
        }
        self.expect = Expect::IoErrorWord;
        Ok(())
    }

    /// The list at hand is whole.
    pub(super) fn list_arrived(&mut self) -> Result<(), Fatal> {
        let Some(mut list) = self.finished_list.take() else {
            return Err(Fatal::internal("a list that did not end"));
        };
        if self.policy.prune_empty_dirs {
            let protection = &self.protection;
            list.prune_empty_dirs(|name, is_dir| protection.excludes(name, is_dir));
        }
        self.count(&list);
        let list = Arc::new(list);
        self.flists.push(Arc::clone(&list))?;
        self.links.list_arrived(&list);
        self.walk.list_arrived();
        self.lists.push_back(ListState {
            list,
            open: 0,
            visited: false,
        });
        self.expect = Expect::Ndx;
        if !self.negotiated.is_incremental() {
            return self.all_lists_arrived();
        }
        // A first list of one entry does not tell yet whether more than one thing comes.
        if self.flists.count() > 1 || self.lists[0].list.len() != 1 {
            self.settle_destination()?;
        }
        Ok(())
    }

    pub(super) fn all_lists_arrived(&mut self) -> Result<(), Fatal> {
        self.lists_complete = true;
        self.settle_destination()
    }

    fn count(&mut self, list: &FileList) {
        self.totals.entries += u64::from(list.len());
        for (_, entry) in list.iter() {
            if entry.kind() == FileKind::Regular {
                self.totals.size = self.totals.size.saturating_add(entry.len());
            }
        }
    }

    /// The list that an index belongs to, by its place in `lists`; the index before a list's
    /// first stands for the directory that the list is the contents of.
    pub(super) fn list_of(&self, ndx: u32) -> Result<usize, Fatal> {
        let after = self
            .lists
            .partition_point(|state| state.list.start() <= ndx.saturating_add(1));
        let holds = |place: &usize| {
            let list = &self.lists[*place].list;
            list.entry(ndx).is_some() || (ndx < list.start() && self.flists.owner(list).is_some())
        };
        after
            .checked_sub(1)
            .into_iter()
            .chain(after.checked_sub(2))
            .find(holds)
            .ok_or_else(|| Fatal::violation(format!("file index {ndx} is not in any list")))
    }

    pub(super) fn opened(&mut self, ndx: u32) -> Result<(), Fatal> {
        let place = self.list_of(ndx)?;
        self.lists[place].open += 1;
        Ok(())
    }

    pub(super) fn closed(&mut self, ndx: u32) -> Result<(), Fatal> {
        let place = self.list_of(ndx)?;
        let open = &mut self.lists[place].open;
        *open = open
            .checked_sub(1)
            .ok_or_else(|| Fatal::internal("a file list was closed more often than opened"))?;
        Ok(())
    }
}
