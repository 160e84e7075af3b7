//! Which directories have content, before protocol 30.
//!
//! No flag says it there: it is the arguments, and with recursion the directories that come after
//! one, as long as they are below it. Only what has content may lose what is not listed.

use super::super::FlistFormat;

/// Where the arguments seen so far reach.
#[derive(Debug)]
pub(super) enum ContentScope {
    None,
    Everything,
    Below(Vec<u8>),
}

impl ContentScope {
    /// Whether the directory `path`, the next one to arrive, has content.
    pub(super) fn of(&mut self, path: &[u8], is_top: bool, format: &FlistFormat) -> bool {
        if is_top {
            *self = if !format.recurse {
                ContentScope::None
            } else if !format.relative || path == b"." {
                ContentScope::Everything
            } else {
                ContentScope::Below(path.to_vec())
            };
            return true;
        }
        match self {
            ContentScope::None => return false,
            ContentScope::Everything => return true,
            ContentScope::Below(top) => {
                if path
                    .strip_prefix(&top[..])
                    .is_some_and(|rest| rest.starts_with(b"/"))
                {
                    return true;
                }
            }
        }
        *self = ContentScope::None;
        false
    }
}
