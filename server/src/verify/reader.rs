//! Reads files, and compares them with their sums.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Advice, Mode, OFlags, fadvise, openat};
use rustix::io::Errno;

use super::findings::What;
use super::pace::Pace;
use super::tour;
use crate::confine::{FileTime, Notes, Stat, identity_of, server_xattr};
use crate::snapshot::tree::Node;
use crate::sum::{Content, ContentSum, ContentSummer};

/// How much is read at a time, per thread.
const STEP: usize = 1 << 20;

/// How much stays in the cache behind the reader.
const KEPT: u64 = 8 << 20;

/// What has been read to its end, and is in the cache still. To drop what has been read a moment
/// ago makes the kernel gather pages from all processors, which costs more than to read a small
/// file; so many are dropped together.
#[derive(Default)]
pub(super) struct Behind {
    files: Vec<File>,
    bytes: u64,
}

impl Behind {
    fn add(&mut self, file: File, bytes: u64) {
        self.files.push(file);
        self.bytes += bytes;
        if self.bytes > KEPT {
            self.drop_cached();
        }
    }

    fn drop_cached(&mut self) {
        for file in self.files.drain(..) {
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
        self.bytes = 0;
    }
}

/// Files of one directory.
pub(super) struct Chunk {
    pub(super) number: u64,
    pub(super) tree: usize,
    pub(super) directory: Arc<Node<OwnedFd>>,
    pub(super) files: Vec<tour::File>,
}

/// What came of a chunk.
pub(super) struct Done {
    pub(super) number: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) without_sum: u64,
    /// Index into the chunk's trees, path, number.
    pub(super) wrong: Vec<(usize, Vec<u8>, u64, What)>,
    /// It was told to stop in the middle.
    pub(super) stopped: bool,
}

/// A thread's worth of reading.
pub(super) struct Reader<'a> {
    pub(super) pace: &'a Pace,
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    pub(super) live_tree: usize,
    /// Where what is noted of files is, if not in the files.
    pub(super) notes: Option<&'a dyn Notes>,
    /// Told how many bytes are read, as they are.
    pub(super) read: &'a (dyn Fn(u64, u64) + Sync),
    pub(super) buffer: Vec<u8>,
    pub(super) behind: Behind,
}

enum Verdict {
    Whole,
    WithoutSum,
    Wrong(What),
    /// It went away or changed meanwhile, as files in live may.
    Moved,
    Stopped,
}

impl Reader<'_> {
    pub(super) fn read_chunk(&mut self, chunk: &Chunk) -> Done {
        let done = self.read_files(chunk);
        self.behind.drop_cached();
        done
    }

    fn read_files(&mut self, chunk: &Chunk) -> Done {
        let mut done = Done {
            number: chunk.number,
            files: 0,
            bytes: 0,
            without_sum: 0,
            wrong: Vec::new(),
            stopped: false,
        };
        for tour::File {
            name,
            inode,
            number,
        } in &chunk.files
        {
            let is_live = chunk.tree == self.live_tree;
            let opened = chunk.directory.with(|directory| {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                match openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
                    Err(Errno::PERM) => openat(directory, name, flags, Mode::empty()),
                    other => other,
                }
            });
            let verdict = match opened.and_then(|opened| opened) {
                Ok(file) => self.read_file(File::from(file), *inode, is_live, &mut done.bytes),
                Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) if is_live => Verdict::Moved,
                Err(error) => Verdict::Wrong(unreadable(&error.into())),
            };
            match verdict {
                Verdict::Whole => done.files += 1,
                Verdict::WithoutSum => {
                    done.files += 1;
                    done.without_sum += 1;
                }
                Verdict::Wrong(what) => {
                    done.files += 1;
                    let path = chunk.directory.path_of(name);
                    done.wrong.push((chunk.tree, path, *number, what));
                }
                Verdict::Moved => {}
                Verdict::Stopped => {
                    done.stopped = true;
                    return done;
                }
            }
            (self.read)(1, 0);
        }
        done
    }

    fn read_file(&mut self, file: File, inode: u64, is_live: bool, bytes: &mut u64) -> Verdict {
        let stat = |file: &File| rustix::fs::fstat(file).map(Stat::from);
        let before = match stat(&file) {
            Ok(found) if found.ino == inode => found,
            // The listing said so a moment ago.
            Ok(_) => return Verdict::Moved,
            Err(error) => return Verdict::Wrong(unreadable(&error.into())),
        };
        let noted = match self.noted(&file) {
            Ok(noted) => noted,
            Err(error) => return Verdict::Wrong(unreadable(&error)),
        };
        let sum = match &noted {
            None => None,
            Some(value) => match ContentSum::decode(value) {
                Some(sum) => Some(sum),
                None => return Verdict::Wrong(What::Sum),
            },
        };
        // What is in the cache proves nothing about the disk. Dirty pages stay.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let content = match self.sum(&file, bytes) {
            Ok(Some(content)) => content,
            Ok(None) => return Verdict::Stopped,
            Err(error) => return Verdict::Wrong(unreadable(&error)),
        };
        if is_live {
            let same = |now: Stat| {
                (now.size, now.mtime, now.ctime) == (before.size, before.mtime, before.ctime)
            };
            // A session may be at work on it, and its sum may be ahead of its content.
            if !stat(&file).is_ok_and(same) || !self.noted(&file).is_ok_and(|now| now == noted) {
                return Verdict::Moved;
            }
        }
        let verdict = match sum {
            // What stands for a link or a device has no content that a client sent.
            None if stands_for_another(&file) => Verdict::Whole,
            None => Verdict::WithoutSum,
            Some(sum) => compare(&sum, &content, before.mtime),
        };
        self.behind.add(file, content.size.min(KEPT));
        verdict
    }

    /// What was noted of its content.
    fn noted(&self, file: &File) -> std::io::Result<Option<Vec<u8>>> {
        match self.notes {
            None => server_xattr(file, "sum"),
            Some(notes) => {
                let file = identity_of(file)?;
                Ok(file.and_then(|file| notes.note(&file, "sum")))
            }
        }
    }

    /// `None`: told to stop.
    fn sum(&mut self, file: &File, bytes: &mut u64) -> std::io::Result<Option<Content>> {
        let mut summer = ContentSummer::new(None);
        let (mut at, mut dropped) = (0, 0);
        self.buffer.resize(STEP, 0);
        loop {
            if (self.stop)() {
                return Ok(None);
            }
            let read = match file.read_at(&mut self.buffer, at) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                return Ok(Some(summer.finish()));
            }
            summer.update(&self.buffer[..read]);
            at += read as u64;
            *bytes += read as u64;
            (self.read)(0, read as u64);
            if at - dropped > KEPT {
                let len = std::num::NonZeroU64::new(at - dropped);
                let _ = fadvise(file, dropped, len, Advice::DontNeed);
                dropped = at;
            }
            self.pace.took(read, self.stop);
        }
    }
}

fn compare(sum: &ContentSum, content: &Content, mtime: FileTime) -> Verdict {
    if sum.content.size != content.size {
        return Verdict::Wrong(What::Size {
            was: sum.content.size,
            is: content.size,
        });
    }
    if sum.content.hash != content.hash {
        return Verdict::Wrong(What::Content {
            touched: sum.mtime != mtime,
        });
    }
    Verdict::Whole
}

/// Whether a regular file stands for something else, as `rsync --fake-super` stores it.
fn stands_for_another(file: &File) -> bool {
    let mut value = [0; 64];
    let Ok(len) = rustix::fs::fgetxattr(file, "user.rsync.%stat", &mut value[..]) else {
        return false;
    };
    let text = String::from_utf8_lossy(&value[..len]);
    let mode = text.split(' ').next().unwrap_or_default();
    u32::from_str_radix(mode, 8).is_ok_and(|mode| mode & 0o170_000 != 0o100_000)
}

fn unreadable(error: &std::io::Error) -> What {
    What::Unreadable {
        error: crate::config::reason(error),
    }
}
