//! `--checksum`: whether a file has the content that the client's digest says.
//!
//! What was summed when the content came is believed as long as size and time of the file are
//! those it was summed with; then nothing is read. Else the file is read, and when its content
//! turns out to be the client's, the sum is kept for the next time.

use std::os::unix::fs::FileExt;

use coffre_protocol::checksum::StrongKind;
use coffre_protocol::error::escape;
use coffre_protocol::flist::EntryRef;

use super::{Receiver, path_of};
use crate::confine::{Dir, Stat};
use crate::sum::{Content, ContentSum, ContentSummer};

/// How much is read between two looks at the clock.
const READ_STEP: usize = 1 << 20;

impl Receiver {
    /// Errors: the file cannot be read.
    pub(super) fn has_content(
        &mut self,
        entry: &EntryRef<'_>,
        dir: &Dir,
        name: &[u8],
        have: &Stat,
        digest: &[u8],
    ) -> std::io::Result<bool> {
        let kind = self.negotiated.list_sum;
        if kind == StrongKind::None {
            // One zero byte stands for every content.
            return Ok(digest == [0]);
        }
        // A sum that cannot be read is none.
        let recorded = dir.content_sum(name).ok().flatten();
        let recorded = recorded.filter(|sum| sum.holds_for(have.size, have.mtime));
        if let Some(own) = recorded.as_ref().and_then(|sum| sum.content.digest(kind)) {
            return Ok(own == digest);
        }
        let file = dir.open_file(name)?;
        let content = self.sum_of(&file, kind)?;
        if let Some(recorded) = &recorded
            && recorded.content.hash != content.hash
            && recorded.content.size == content.size
        {
            tracing::error!(
                file = escape(&path_of(entry)),
                "the stored content is not the one that was received; the client is asked for it \
                 again, and snapshots that share it stay damaged: run `coffre verify`"
            );
            return Ok(false);
        }
        let is_equal = content.digest(kind) == Some(digest);
        if is_equal && !self.policy.dry_run {
            keep_merged(dir, &file, content, have, recorded);
        }
        Ok(is_equal)
    }

    fn sum_of(&mut self, file: &std::fs::File, kind: StrongKind) -> std::io::Result<Content> {
        let mut summer = ContentSummer::new(Some(kind));
        let mut at = 0;
        self.buffer.resize(READ_STEP, 0);
        loop {
            let read = file.read_at(&mut self.buffer, at)?;
            if read == 0 {
                return Ok(summer.finish());
            }
            summer.update(&self.buffer[..read]);
            at += read as u64;
            self.stay_alive();
        }
    }
}

/// Keeps what was found by reading, unless the file is another by now.
fn keep_merged(
    dir: &Dir,
    file: &std::fs::File,
    mut content: Content,
    have: &Stat,
    recorded: Option<ContentSum>,
) {
    let Ok(is) = rustix::fs::fstat(file).map(Stat::from) else {
        return;
    };
    let unchanged = is.same_inode(have) && (is.size, is.mtime) == (have.size, have.mtime);
    if !unchanged || content.size != is.size {
        return;
    }
    if let Some(mut known) = recorded.or_else(|| dir.content_sum_of(file).ok().flatten())
        && known.content.hash == content.hash
    {
        known.content.merge(&content);
        content = known.content;
    }
    if let Err(error) = dir.keep_content_sum(file, &content, is.mtime) {
        tracing::debug!(%error, "the sum of a content could not be kept");
    }
}
