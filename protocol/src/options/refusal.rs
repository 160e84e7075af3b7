//! What is understood and not done, why, and how a refusal is printed.
//!
//! An option that would change what ends up on disk is never dropped silently: either the engine
//! performs it, or its row here makes the server say so before the first byte of the protocol.

use super::*;

type Asked = fn(&ServerOptions) -> bool;

/// Dangerous here.
const REFUSED: &[(&str, Asked, &str)] = &[
    (
        "--write-devices",
        |o| o.write_devices,
        "it writes into devices of the server",
    ),
    (
        "--copy-devices",
        |o| o.copy_devices,
        "it reads the content of devices of the server",
    ),
    (
        "--append with --fuzzy",
        |o| o.append != Append::No && o.fuzzy != Fuzzy::No && o.role == Role::Receiver,
        "the beginning of a new file would be zeros where only a similar one has it",
    ),
    (
        "--append with an alternate directory",
        |o| o.append != Append::No && o.alternates.is_some() && o.role == Role::Receiver,
        "the beginning of a file would be zeros where only the alternate directory has it",
    ),
    (
        "--remove-source-files",
        |o| o.role == Role::Sender && o.remove_source != RemoveSource::No,
        "a restore takes nothing out of a backup",
    ),
];

impl ServerOptions {
    /// The first thing asked for that this server does not do; exit 4. The daemon protocol and
    /// options that name files of the server never get this far: parsing refuses them.
    pub fn refusal(&self) -> Option<ProtocolError> {
        let (option, _, reason) = REFUSED.iter().find(|(_, asked, _)| asked(self))?;
        let text = format!("this server refuses {option}: {reason}");
        Some(ProtocolError::unsupported(text))
    }
}

/// The two lines on stderr of a server that ends before its first byte of protocol. Scripts look
/// for `rsync error: … (code N)`.
pub fn render_usage_error(error: &ProtocolError) -> String {
    format!(
        "rsync: {error}\nrsync error: {} (code {}) at coffre [server={}]\n",
        error.exit.text(),
        error.exit.code(),
        env!("CARGO_PKG_VERSION")
    )
}
