//! A file of the tree whose content is changed where it is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::dir::Dir;
use super::room::size_of_new;
use super::root::Shared;
use super::stat::Stat;
use crate::account::Hold;

/// No snapshot shares it. What it takes more or less in the end counts for the tenant's quota.
pub struct InPlace {
    shared: Arc<Shared>,
    file: File,
    hold: Hold,
    /// Bytes it counted for at first.
    counted: i64,
}

impl Dir {
    /// As [`Dir::unshare_for_write`], for content that comes bit by bit.
    pub fn open_in_place(&self, name: &[u8], seen: &Stat) -> io::Result<InPlace> {
        let file = self.unshare_for_write(name, seen)?;
        Ok(InPlace {
            shared: Arc::clone(&self.shared),
            counted: size_of_new(file.as_fd())?,
            file,
            hold: Hold::default(),
        })
    }
}

impl InPlace {
    pub fn file(&self) -> &File {
        &self.file
    }

    /// To be called before so many bytes are written; they count as new, whatever stands there.
    /// Errors: EDQUOT where the tenant's quota is full, ENOSPC where the store is.
    pub fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        self.shared.room_for(bytes, &mut self.hold)
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        if let Ok(now) = size_of_new(self.file.as_fd()) {
            self.shared.has_grown(now - self.counted);
        }
    }
}
