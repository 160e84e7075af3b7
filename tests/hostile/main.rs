//! A client that breaks the rules, one after the other, over ssh to the real server.
//!
//! It has an encoder of its own ([`wire`]). Each attack must be refused in words, leave nothing
//! behind, change nothing outside the tenant's tree nor any snapshot, stay within the memory that
//! the tenant's configuration allows, and not disturb another tenant that pushes meanwhile
//! ([`yard`]).

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod alternates;
mod dirlinks;
mod floods;
mod layers;
mod lists;
mod logins;
mod names;
mod options;
mod replies;
mod sender;
mod wire;
mod yard;
