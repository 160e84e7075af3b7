//! Which names the client's filter rules protect from deletion.

use std::io;

use coffre_protocol::ProtocolVersion;
use coffre_protocol::options::ServerOptions;
use coffre_protocol::wire::{Decode, Reader};

use crate::confine::Dir;

/// The rules of the session, and the merge files of the directories entered.
pub(super) struct Protection {}

impl Protection {
    pub(super) fn new(_options: &ServerOptions, _version: ProtocolVersion) -> Self {
        Self {}
    }

    /// Takes one rule off the wire. `true`: the list is whole.
    pub(super) fn decode(&mut self, reader: &mut Reader<'_>) -> Decode<bool> {
        let len = reader.i32()?;
        reader.bytes(len as usize)?;
        Ok(len == 0)
    }

    /// Whether a rule of the list excludes this name (`--prune-empty-dirs` keeps such).
    pub(super) fn excludes(&self, _name: &[u8], _is_dir: bool) -> bool {
        false
    }

    /// Whether a name must stay. `in_deleted`: its directory is being deleted itself, and
    /// perishable rules no longer count.
    pub(super) fn protects(&self, _path: &[u8], _is_dir: bool, _in_deleted: bool) -> bool {
        false
    }

    /// Reads the merge files of a directory, whose path is relative to the destination.
    pub(super) fn enter(&mut self, _path: &[u8], _dir: &Dir) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn leave(&mut self) {}
}
