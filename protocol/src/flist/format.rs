//! What both ends agreed on that decides the layout of a file list, and the bounds of this end.

use crate::ProtocolVersion;
use crate::charset::Charset;

/// Everything that decides the layout of a file list. A plain value: the handshake and the options
/// fill it in, decoder and encoder only read it. A switch that the version does not know (ACLs
/// before protocol 30, for example) is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlistFormat {
    pub version: ProtocolVersion,
    /// Compatibility bit 7: entry flags are varints, the end marker carries the error word.
    pub varint_flags: bool,
    /// Compatibility bit 3: the marker `04 10` with an error word may end a list. Always so from
    /// protocol 31 on.
    pub safe_flist: bool,
    /// Compatibility bit 8: id lists end with the name of id 0.
    pub id0_names: bool,
    /// Compatibility bit 0: directories travel in lists of their own while files are sent.
    pub inc_recurse: bool,
    /// `-o`: entries carry a uid.
    pub owner: bool,
    /// `-g`: entries carry a gid.
    pub group: bool,
    /// `-l`: symlinks carry their target.
    pub links: bool,
    /// `--devices`: devices carry their number.
    pub devices: bool,
    /// `--specials`: fifos and sockets are in effect (they carry a number up to protocol 30).
    pub specials: bool,
    /// `-H`.
    pub hard_links: bool,
    /// `-U`: entries other than directories carry an access time.
    pub atimes: bool,
    /// `-N`: entries carry a creation time.
    pub crtimes: bool,
    /// `-A`, from protocol 30 on.
    pub acls: bool,
    /// `-X`, from protocol 30 on.
    pub xattrs: bool,
    /// `-c`: length in bytes of the whole-file digest that regular files carry.
    pub checksum_len: Option<usize>,
    /// `--numeric-ids`: no names of users and groups anywhere.
    pub numeric_ids: bool,
    /// `-R`: names keep their whole path and may start with `/`.
    pub relative: bool,
    /// `-r`: before protocol 30 it decides which directories count as having content.
    pub recurse: bool,
    /// `--delete-missing-args`: entries with mode 0 name what is to be deleted.
    pub delete_missing_args: bool,
    /// `--iconv`: what names are converted to as they arrive. Indexes then follow the order of
    /// transmission, since names may sort differently on the two sides.
    pub charset: Option<Charset>,
    /// Both sides convert the targets of symlinks too.
    pub converts_links: bool,
    /// `--munge-links`: targets that arrive get a prefix that makes the links unusable here.
    pub munges_links: bool,
    pub limits: Limits,
}

/// Bounds on what a peer may send. Exceeding one ends the session with a sentence; none of them
/// reserves memory in advance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one list, and in all lists that are held at the same time.
    pub entries: u32,
    /// Bytes of memory that one list may take, and all lists that are held at the same time.
    pub list_bytes: usize,
    /// Bytes of memory that all ACLs and xattr sets of a session may take (each stays, since any
    /// later entry may refer back to it).
    pub cache_bytes: usize,
    /// Names of users, and likewise of groups, remembered in a session.
    pub id_names: usize,
    /// Bytes in a name, a path from the transfer root. Not above 65,535.
    pub name: usize,
    /// Bytes in the target of a symlink. Not above 65,535.
    pub link_target: usize,
    /// Named users and groups in one ACL.
    pub acl_entries: u32,
    /// Xattrs of one entry.
    pub xattrs: u32,
    /// Bytes in the name of an xattr, with its NUL.
    pub xattr_name: u32,
    /// Bytes in the value of one xattr, whether it travels in the list or is fetched later.
    pub xattr_value: u32,
    /// Bytes in all values of one entry.
    pub xattr_set: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1 << 25,
            list_bytes: 3 << 30,
            cache_bytes: 1 << 30,
            id_names: 1 << 20,
            name: 4095,
            link_target: 4095,
            acl_entries: 65_536,
            xattrs: 65_536,
            xattr_name: 4096,
            xattr_value: 128 << 20,
            xattr_set: 512 << 20,
        }
    }
}

impl Limits {
    /// Lengths of names and targets are kept in 16 bits.
    pub(super) fn storable(mut self) -> Self {
        self.name = self.name.min(usize::from(u16::MAX));
        self.link_target = self.link_target.min(usize::from(u16::MAX));
        self
    }
}

impl FlistFormat {
    /// The plainest list of a version: every switch off, default limits.
    pub fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            varint_flags: false,
            safe_flist: false,
            id0_names: false,
            inc_recurse: false,
            owner: false,
            group: false,
            links: false,
            devices: false,
            specials: false,
            hard_links: false,
            atimes: false,
            crtimes: false,
            acls: false,
            xattrs: false,
            checksum_len: None,
            numeric_ids: false,
            relative: false,
            recurse: false,
            delete_missing_args: false,
            charset: None,
            converts_links: false,
            munges_links: false,
            limits: Limits::default(),
        }
    }

    pub(super) fn at_least(&self, version: u8) -> bool {
        self.version.at_least(version)
    }

    /// ACL blocks are on the wire.
    pub fn has_acls(&self) -> bool {
        self.acls && self.at_least(30)
    }

    /// Xattr blocks are on the wire.
    pub fn has_xattrs(&self) -> bool {
        self.xattrs && self.at_least(30)
    }

    /// A list of user names follows the file list.
    pub fn has_user_list(&self) -> bool {
        self.has_id_lists() && (self.owner || self.has_acls())
    }

    /// A list of group names follows the file list.
    pub fn has_group_list(&self) -> bool {
        self.has_id_lists() && (self.group || self.has_acls())
    }

    fn has_id_lists(&self) -> bool {
        !self.inc_recurse && !self.numeric_ids
    }

    /// An I/O error may be told by the marker `04 10`.
    pub(super) fn has_error_marker(&self) -> bool {
        self.at_least(31) || self.safe_flist
    }

    /// Whether an entry of this mode carries a device number (field 13).
    pub(super) fn has_rdev(&self, mode: u32) -> bool {
        use super::entry::{is_device, is_special};
        (self.devices && is_device(mode))
            || (self.specials && is_special(mode) && !self.at_least(31))
    }
}
