//! The only code that touches a tenant's files.
//!
//! A session opens a [`TenantRoot`] once; a [`TenantPath`] that came from a peer leads to a
//! [`Dir`], an open directory; everything else is done to *one name in an open directory*. No
//! path is ever put together and walked again by the kernel, so a link or a rename that a client
//! races against us leads nowhere: `openat2` refuses symbolic links and `..` at every component,
//! and the calls on names do not follow.
//!
//! ```text
//! home/live/       the tree                       TenantRoot ─▶ Dir ─▶ stat, entries, open_file
//! home/.staging/   what has no name in live yet               │  └──▶ stage ─▶ Staged ─▶ publish
//! home/.partial/   what a broken push left                    └─────▶ update, make_*, link, …
//! ```
//!
//! Three rules are kept here, and callers need not know how:
//!
//! * **An inode that a snapshot shares is never changed.** [`Dir::update`] and
//!   [`Dir::unshare_for_write`] find out whether all links of an inode are names in the live tree
//!   (`links`); if not, the new state is made beside it and takes the place of every live name.
//! * **A name appears when what it stands for is whole.** Content and attributes are set through
//!   a descriptor first ([`Staged`]); replacing is a rename, never a removal and a creation.
//! * **What cannot be set without privilege is stored** when [`Metadata::Xattr`] is in force, in
//!   the format of stock `rsync --fake-super` (`fake_super`), and read back from there.
//!
//! [`landlock`] puts the calling thread under the kernel's own confinement on top of this.
//!
//! `/proc` must be mounted: an inode that must not be opened (a device, a fifo) is held by an
//! `O_PATH` descriptor and reached for `chmod`, extended attributes and ACLs through
//! `/proc/self/fd/N`, and before Linux 6.13 so are the attributes of any entry (`xattr_at`).

pub mod acl;
mod attributes;
mod beside;
mod cache;
mod content;
mod create;
mod dir;
mod escape;
mod fake_super;
mod in_place;
mod inode;
mod kept;
pub mod landlock;
mod layers;
mod links;
mod list;
mod metadata;
mod path;
mod resolve;
mod room;
mod root;
mod staged;
mod stat;
mod unshare;
mod xattr;

#[cfg(test)]
mod tests;

pub use acl::{AclKind, PosixAcl};
pub use attributes::{AclChange, Attribute, AttributeError, Attributes, Extended};
pub use beside::{Identity, Notes, identity_of, lacks_attributes};
pub use content::content_sum;
pub use create::Replace;
pub use dir::Dir;
pub use escape::Escape;
pub use in_place::InPlace;
pub use kept::{KEEP_FOR, Kept, KeptFile, KeptNote};
#[cfg(debug_assertions)]
pub use layers::follow_everything;
pub use list::{DirEntry, list_directory};
pub use metadata::Metadata;
pub use path::{PathRefusal, TenantPath};
pub use resolve::Unresolved;
pub(crate) use root::INNER_STAGING;
pub use root::TenantRoot;
pub use staged::Staged;
pub use stat::{FileTime, Kind, Stat};
pub use unshare::{How, Updated};
pub use xattr::{XattrSet, server_xattr, set_server_xattr};
