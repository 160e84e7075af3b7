//! The remote shell under rsync: OpenSSH's `ssh`, Dropbear's `dbclient`, or PuTTY's `plink`.
//!
//! `ssh` finds the server, its key and its own key in a configuration file. The others have none,
//! so a small script stands before them that knows these: rsync starts it as it would `ssh`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::clients::{Clients, Program};
use crate::run::tool;
use crate::sandbox::{Keys, NOBODY, is_root};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShellKind {
    #[default]
    Openssh,
    Dbclient,
    Plink,
}

impl std::str::FromStr for ShellKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ssh" => Ok(Self::Openssh),
            "dbclient" => Ok(Self::Dbclient),
            "plink" => Ok(Self::Plink),
            _ => Err("must be ssh, dbclient or plink".to_owned()),
        }
    }
}

impl ShellKind {
    /// Takes out what the program says because it is told not to ask about the host's key.
    pub fn forget_cautions(self, stderr: &mut Vec<u8>) {
        const CAUTION: &[u8] = b": Caution, skipping hostkey check for ";
        if self == Self::Dbclient {
            let lines = stderr.split_inclusive(|byte| *byte == b'\n');
            // An empty line stands behind it.
            let mut is_behind = false;
            let kept = lines.filter(|line| {
                let is_caution = line.windows(CAUTION.len()).any(|part| part == CAUTION);
                let goes = is_caution || is_behind && line.trim_ascii().is_empty();
                is_behind = is_caution;
                !goes
            });
            *stderr = kept.flatten().copied().collect();
        }
    }
}

/// A program of that kind.
#[derive(Debug, Clone)]
pub struct Shell {
    pub kind: ShellKind,
    pub program: Program,
}

impl Shell {
    /// The one of that version, or the first that was found.
    pub fn find(clients: &Clients, kind: ShellKind, version: Option<&str>) -> Result<Self> {
        let program = match kind {
            ShellKind::Openssh => clients.ssh(version),
            ShellKind::Dbclient => clients.dbclient(version),
            ShellKind::Plink => clients.plink(version),
        };
        Ok(Self {
            kind,
            program: program?.clone(),
        })
    }

    /// Makes what this program needs in `dir`, to log in with the key `identity`; gives the words
    /// that start it, as in rsync's `-e`.
    pub fn prepare(
        &self,
        dir: &Path,
        keys: &Keys,
        port: u16,
        identity: &str,
    ) -> Result<Vec<String>> {
        let program = self.program.path.display().to_string();
        if self.kind == ShellKind::Openssh {
            let config = dir.join(format!("ssh_config_of_{identity}"));
            keys.client_config(&config, port, identity)?;
            return Ok(vec![program, "-F".to_owned(), config.display().to_string()]);
        }
        let key = self.own_form(dir, keys, identity)?;
        let key = key.display();
        let command = match self.kind {
            ShellKind::Plink => {
                // The key itself: releases differ in how they write fingerprints.
                let host_key = keys.public("host")?;
                let host_key = host_key.split_whitespace().next_back().unwrap_or_default();
                format!("'{program}' -batch -P {port} -i '{key}' -hostkey {host_key}")
            }
            // Twice: no question about a host that it does not know, and none that it does.
            _ => format!("'{program}' -y -y -p {port} -i '{key}'"),
        };
        let script = dir.join(format!("shell_of_{identity}"));
        fs::write(
            &script,
            format!(
                "#!/bin/sh\nuser=root\nif [ \"$1\" = -l ]; then user=$2; shift 2; fi\nshift\n\
                 exec {command} -l \"$user\" 127.0.0.1 \"$@\"\n"
            ),
        )?;
        fs::set_permissions(&script, Permissions::from_mode(0o755))?;
        Ok(vec![script.display().to_string()])
    }

    /// The private key in the program's own format.
    fn own_form(&self, dir: &Path, keys: &Keys, identity: &str) -> Result<PathBuf> {
        let from = keys.private(identity);
        let to = dir.join(format!("key_of_{identity}"));
        let beside = |name: &str| {
            let found = self.program.path.with_file_name(name);
            match found.is_file() {
                true => found.display().to_string(),
                // As the package has it.
                false if name == "dropbearconvert" => {
                    "/usr/lib/dropbear/dropbearconvert".to_owned()
                }
                false => name.to_owned(),
            }
        };
        let (converter, args) = match self.kind {
            ShellKind::Plink => (
                beside("puttygen"),
                [
                    from.as_os_str(),
                    "-O".as_ref(),
                    "private".as_ref(),
                    "-o".as_ref(),
                    to.as_os_str(),
                ]
                .to_vec(),
            ),
            _ => (
                beside("dropbearconvert"),
                [
                    "openssh".as_ref(),
                    "dropbear".as_ref(),
                    from.as_os_str(),
                    to.as_os_str(),
                ]
                .to_vec(),
            ),
        };
        tool(&converter, &args).with_context(|| format!("convert a key with {converter}"))?;
        if is_root() && identity == "client-of-nobody" {
            chown(&to, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_caution_of_dbclient_is_taken_out() {
        let said =
            b"x\n/usr/bin/dbclient: Caution, skipping hostkey check for 127.0.0.1\n\nrsync: y\n";
        let left = |kind: ShellKind| {
            let mut said = said.to_vec();
            kind.forget_cautions(&mut said);
            said
        };
        assert_eq!(left(ShellKind::Dbclient), b"x\nrsync: y\n");
        assert_eq!(left(ShellKind::Plink), said);
    }
}
