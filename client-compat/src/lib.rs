//! Stock rsync is the specification: the same stock client does the same thing to a stock server
//! (sshd and rsync) and to coffre, and what comes out must be the same.
//!
//! ```text
//! scenario ─▶ differ ─┬─▶ sandbox::Stock  ─ client ─▶ exit code, printed lines, tree ─┐
//!                     └─▶ sandbox::Coffre ─ client ─▶ exit code, printed lines, tree ─┴▶ compare ─▶ gaps
//! ```
//!
//! * [`clients`] finds the stock programs, [`install`] fetches other releases of them.
//! * [`sandbox`] starts and ends throw-away servers of both kinds.
//! * [`shell`] is the program that carries rsync's stream.
//! * [`tree`] builds trees, describes what is on disk, and says what differs.
//! * [`run`] runs one client; [`normalise`] takes out of its output what can never be equal.
//! * [`scenario`] is the vocabulary, [`scenarios`] the list, one file per question a user may ask.
//! * [`differ`] runs a scenario on both sides; [`gaps`] are the differences that are known.
//! * [`filters`] makes scenarios of random rules; [`matrix`] writes what all of this knows down.
//! * [`self_check`] shows that the harness is able to fail.
//! * [`bench`] compares speed, with [`loopfs`] under both servers.
//!
//! Nothing here trusts the server under test: trees are read from disk by this process, never
//! through a server.

pub mod bench;
pub mod clients;
pub mod differ;
pub mod filters;
pub mod gaps;
pub mod guard;
pub mod install;
pub mod loopfs;
pub mod matrix;
pub mod normalise;
pub mod run;
pub mod sandbox;
pub mod scenario;
pub mod scenarios;
pub mod self_check;
pub mod shell;
pub mod tree;
