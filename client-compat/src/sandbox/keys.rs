//! One set of keys for a pair of servers and their clients, made by `ssh-keygen`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::HOST;
use crate::run::tool;

/// The user that clients without privilege run as.
pub const NOBODY: u32 = 65_534;

/// Files in one directory.
#[derive(Debug, Clone)]
pub struct Keys {
    dir: PathBuf,
}

impl Keys {
    /// Makes a host key, a client key that the server admits, one that coffre admits for pushing
    /// only, and one that nobody admits.
    pub fn make(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let keys = Self {
            dir: dir.to_path_buf(),
        };
        for name in ["host", "client", "pusher", "stranger"] {
            let file = dir.join(name);
            tool(
                "ssh-keygen",
                &[
                    "-q".as_ref(),
                    "-t".as_ref(),
                    "ed25519".as_ref(),
                    "-N".as_ref(),
                    "".as_ref(),
                    "-C".as_ref(),
                    name.as_ref(),
                    "-f".as_ref(),
                    file.as_os_str(),
                ],
            )?;
        }
        if super::is_root() {
            // ssh wants a private key to belong to the one who uses it.
            let copy = dir.join("client-of-nobody");
            fs::copy(dir.join("client"), &copy)?;
            fs::set_permissions(&copy, Permissions::from_mode(0o600))?;
            chown(&copy, Some(NOBODY), Some(NOBODY))?;
        }
        let host_key = keys.public("host")?;
        fs::write(dir.join("known_hosts"), format!("{HOST} {host_key}\n"))?;
        Ok(keys)
    }

    pub fn host_key(&self) -> PathBuf {
        self.dir.join("host")
    }

    /// The private key of `client`, `client-of-nobody` or `stranger`.
    pub fn private(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `ssh-ed25519 AAAA…` of `host`, `client` or `stranger`.
    pub fn public(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name).with_extension("pub");
        let line = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        Ok(words.join(" "))
    }

    /// Writes an ssh configuration in which [`HOST`] is the server on that port.
    pub fn client_config(&self, file: &Path, port: u16, identity: &str) -> Result<()> {
        let dir = self.dir.display();
        fs::write(
            file,
            format!(
                "Host {HOST}\n\
                 HostName 127.0.0.1\n\
                 HostKeyAlias {HOST}\n\
                 Port {port}\n\
                 User root\n\
                 IdentityFile {dir}/{identity}\n\
                 IdentitiesOnly yes\n\
                 UserKnownHostsFile {dir}/known_hosts\n\
                 GlobalKnownHostsFile /dev/null\n\
                 StrictHostKeyChecking yes\n\
                 PreferredAuthentications publickey\n\
                 BatchMode yes\n\
                 LogLevel ERROR\n\
                 ConnectTimeout 20\n"
            ),
        )
        .with_context(|| format!("write {}", file.display()))
    }
}
