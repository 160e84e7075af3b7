//! The rsync wire protocol, versions 27 to 32, without any I/O.
//!
//! Nothing in this crate opens a file or a socket, reads a clock, or draws a random number: it
//! turns bytes into values and values into bytes, and holds the decisions that both ends of a
//! session must take alike. The session that drives it lives in the `coffre` crate.
//!
//! A session goes through these modules in this order:
//!
//! ```text
//! exec string ─▶ command ─▶ options ─▶ handshake ─▶ mux ─▶ filter ─▶ flist ─▶ ndx/item/sum ─▶ delta
//! ```
//!
//! * [`command`] splits the exec string that SSH delivers, as a shell would, into words.
//! * [`options`] gives the words of `rsync --server …` their meaning.
//! * [`handshake`] settles version, compatibility flags, checksum, compression and seed.
//! * [`mux`] takes the framed stream apart and puts frames together.
//! * [`filter`] reads the rules that a client sends and evaluates them.
//! * [`flist`] reads, sorts and numbers file lists.
//! * [`ndx`], [`item`] and [`sum`] are what receiver and sender say to each other per file.
//! * [`charset`] converts names where `--iconv` asks for it.
//! * [`delta`] decodes the tokens a file is rebuilt from; [`checksum`] has every digest involved.
//!
//! # Decoding
//!
//! Every decoder takes a [`wire::Reader`] over the bytes at hand and answers with a value, with
//! [`wire::DecodeError::Incomplete`] (ask again with more bytes, from the same one on), or with a
//! [`ProtocolError`]. Fed one byte at a time they give the same values. A length that a peer
//! claims never sizes an allocation before its bytes have arrived.
#![forbid(unsafe_code)]

pub mod charset;
pub mod checksum;
pub mod command;
pub mod delta;
pub mod error;
pub mod filter;
pub mod flist;
pub mod handshake;
pub mod item;
pub mod layers;
pub mod mux;
pub mod ndx;
pub mod options;
pub mod sum;
pub mod version;
pub mod wire;

pub use error::{ExitCode, ProtocolError};
pub use version::ProtocolVersion;
