//! A set of inode numbers. They come in runs, so it costs little more than a bit for each.

use std::collections::HashMap;

/// See the module's story.
#[derive(Debug, Default)]
pub(crate) struct Inodes {
    words: HashMap<u64, u64>,
}

impl Inodes {
    /// `false`: it was there already.
    pub(crate) fn insert(&mut self, inode: u64) -> bool {
        let word = self.words.entry(inode / 64).or_default();
        let bit = 1 << (inode % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(crate) fn contains(&self, inode: u64) -> bool {
        let word = self.words.get(&(inode / 64)).copied().unwrap_or(0);
        word & 1 << (inode % 64) != 0
    }
}
