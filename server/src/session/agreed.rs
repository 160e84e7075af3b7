//! What the two ends agreed on, and the sums, heads and formats that follow from it.

use coffre_protocol::ProtocolVersion;
use coffre_protocol::checksum::{BlockSummer, FileSummer, StrongKind};
use coffre_protocol::delta::Compression;
use coffre_protocol::flist::{FlistFormat, Limits};
use coffre_protocol::handshake::{CompatFlags, Negotiated};
use coffre_protocol::item::ItemFlags;
use coffre_protocol::options::{MissingArgs, ServerOptions, Xattrs};
use coffre_protocol::sum::{BlockSumEncoder, SumHead};

use crate::sum::ArrivalSummer;

#[derive(Debug, Clone, Copy)]
pub(in crate::session) struct Agreed {
    pub(in crate::session) version: ProtocolVersion,
    pub(in crate::session) compression: Compression,
    pub(in crate::session) transfer_sum: StrongKind,
    pub(in crate::session) list_sum: StrongKind,
    seed: i32,
    compat: CompatFlags,
}

impl Agreed {
    pub(in crate::session) fn new(_options: &ServerOptions, negotiated: Negotiated) -> Self {
        Self {
            version: negotiated.version,
            compression: negotiated.compression,
            transfer_sum: negotiated.transfer_sum,
            list_sum: negotiated.list_sum,
            seed: negotiated.seed,
            compat: negotiated.compat,
        }
    }

    pub(in crate::session) fn is_incremental(&self) -> bool {
        self.compat.contains(CompatFlags::INC_RECURSE)
    }

    pub(in crate::session) fn list_format(
        &self,
        options: &ServerOptions,
        limits: Limits,
    ) -> FlistFormat {
        FlistFormat {
            limits,
            varint_flags: self.compat.contains(CompatFlags::VARINT_FLIST_FLAGS),
            safe_flist: self.compat.contains(CompatFlags::SAFE_FLIST),
            id0_names: self.compat.contains(CompatFlags::ID0_NAMES),
            inc_recurse: self.is_incremental(),
            owner: options.owner,
            group: options.group,
            links: options.links,
            devices: options.devices,
            specials: options.specials,
            hard_links: options.hard_links,
            atimes: options.atimes,
            crtimes: options.crtimes,
            acls: options.acls,
            xattrs: options.xattrs != Xattrs::No,
            checksum_len: options.checksum.then(|| self.list_sum.digest_len()),
            numeric_ids: options.numeric_ids,
            relative: options.relative,
            recurse: options.recursive,
            delete_missing_args: options.missing_args == MissingArgs::Delete,
            charset: options.iconv,
            converts_links: options.converts_links(),
            munges_links: options.munge_links,
            ..FlistFormat::new(self.version)
        }
    }

    pub(in crate::session) fn has(&self, flag: CompatFlags) -> bool {
        self.compat.contains(flag)
    }

    pub(in crate::session) fn block_summer(&self) -> BlockSummer {
        let seed_fix = self.compat.contains(CompatFlags::CHECKSUM_SEED_FIX);
        BlockSummer::new(self.transfer_sum, self.seed, seed_fix)
    }

    pub(in crate::session) fn list_summer(&self) -> FileSummer {
        FileSummer::for_list(self.list_sum)
    }

    pub(in crate::session) fn file_summer(&self) -> FileSummer {
        FileSummer::new(self.transfer_sum, self.seed)
    }

    /// For the content of a file that arrives.
    pub(in crate::session) fn arrival_summer(&self) -> ArrivalSummer {
        ArrivalSummer::new(self.transfer_sum, self.seed, self.list_sum)
    }

    pub(in crate::session) fn sum_head(
        &self,
        len: u64,
        block_len: Option<u32>,
        is_redo: bool,
    ) -> SumHead {
        let digest_len = self.transfer_sum.digest_len();
        SumHead::for_basis(len, self.version, digest_len, block_len, is_redo)
    }

    pub(in crate::session) fn block_sums(&self, head: &SumHead) -> BlockSumEncoder {
        BlockSumEncoder::new(*head, self.block_summer())
    }

    /// Whether xattr values travel with an item. Protocol 31 leaves them out for hard links made
    /// here, unless the client asked not to (every one since 3.1.1 does).
    pub(in crate::session) fn exchanges_xattrs(&self, flags: ItemFlags) -> bool {
        let leaves_out = self.version.at_least(31)
            && !self.compat.contains(CompatFlags::AVOID_XATTR_OPTIM)
            && flags.contains(ItemFlags::XNAME_FOLLOWS | ItemFlags::LOCAL_CHANGE);
        flags.contains(ItemFlags::REPORT_XATTR) && !leaves_out
    }
}
