//! File lists: what a sender has, entry by entry.
//!
//! The sender walks its tree and sends an entry for everything it finds, in any order. Both ends
//! then sort the list by the same rule, and from there on speak of entries by their index.
//!
//! ```text
//!             bytes ─▶ FlistDecoder ─▶ FileList ─▶ Flists ─▶ EntryRef
//!  EntryFields ─▶ ListBuilder ─▶ FileList, FlistEncoder ─▶ bytes
//! ```
//!
//! * [`FlistFormat`] is what both ends agreed on that decides the layout, and the bounds of ours.
//! * [`FlistDecoder`] reads; it makes every check that needs nothing but the list. A name that
//!   comes out is a clean relative path.
//! * [`FileList`] is one list: sorted, duplicates dropped, by index. With incremental recursion
//!   there are many, which [`Flists`] keeps together with the table of directories.
//! * [`Acl`], [`XattrSet`] and [`IdNames`] are what entries share; the decoder holds them, since
//!   later entries refer back to them for as long as the session lasts.
//! * [`FlistEncoder`] is the counterpart of the decoder.
//!
//! Three numberings are easily mixed up. The *index* is the place in sorted order. A hard-link
//! *group* is named by the place in order of arrival. (With a charset, index and directory number
//! follow the order of arrival too.) A *directory number* counts the directories
//! of all lists in sorted order.
//!
//! Names are bytes. With a charset ([`FlistFormat::charset`]) the decoder converts them before it
//! checks them, and an entry whose name cannot be converted keeps its index and is never shown
//! ([`FlistDecoder::take_unconverted`]); an encoder is given names as they travel.

mod acl;
mod by_dir;
mod decode;
mod dirs;
mod encode;
mod entry;
mod flags;
mod format;
mod ids;
mod list;
mod lists;
mod name;
mod order;
mod store;
mod xattr;

pub use acl::{Acl, AclCache, AclKind, CompleteAcl, NamedEntry};
pub use by_dir::NamesByDir;
pub use decode::{FlistDecoder, IdStep, MUNGED, Step, Unconverted};
pub use encode::{FlistEncoder, Outgoing};
pub use entry::{EntryFields, EntryRef, FileKind};
pub use format::{FlistFormat, Limits};
pub use ids::{IdKind, IdNames};
pub use list::{FileList, ListBuilder};
pub use lists::{Flists, ListHead, ListOwner};
pub use order::SortRule;
pub use xattr::{
    MAX_FULL, ReplyStep, Xattr, XattrCache, XattrReplyDecoder, XattrRequestDecoder, XattrSet,
    XattrValue, encode_reply_head, encode_request,
};

#[cfg(test)]
mod tests;
