//! Every digest that rsync's wire knows.
//!
//! Three uses with three different rules for the seed of the session, which is why there are
//! types for uses and not for algorithms:
//!
//! * [`RollingSum`]: the weak sum of a block, never seeded. The sender slides it over its file.
//! * [`BlockSummer`]: the strong sum of a block, seeded; where the seed goes depends on the
//!   algorithm and on one compatibility flag. A wrong rule here costs no correctness, only that no
//!   block ever matches.
//! * [`FileSummer`]: the sum of a whole file. It follows the tokens, and what the `--checksum`
//!   option puts into the file list. Only the un-negotiated MD4 of protocols before 30 mixes the
//!   seed in, at the beginning where its block sum has it at the end.
//!
//! Digests are bytes in wire order. For the xxHash family that is little-endian, the reverse of
//! what command line tools print.
//! Source: rsync `checksum.c` as observed on the wire with protocols 27 to 32.

mod block;
mod file;
mod lanes;
mod rolling;
mod strong;

pub use block::BlockSummer;
pub use file::FileSummer;
pub use rolling::RollingSum;
pub use strong::{StrongKind, StrongSum};

#[cfg(test)]
mod tests;
