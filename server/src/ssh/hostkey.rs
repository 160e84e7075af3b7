//! The host keys: read, judged, and the server's first one made when there is none.
//!
//! ed25519 and ECDSA only. An RSA host key would have to sign for anybody who connects, and the
//! `rsa` crate does not do that in constant time (RUSTSEC-2023-0071); clients' RSA keys are only
//! verified, which tells nobody anything.
//!
//! A key that others can read is refused, as OpenSSH does: whoever has it can pose as this server.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{Algorithm, HashAlg, PrivateKey};

use super::{Problem, shown};

/// Far more than any key takes; a wrong path may name anything.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A host key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyFacts {
    pub path: PathBuf,
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, …
    pub algorithm: String,
    /// `SHA256:…`, as clients show it.
    pub fingerprint: String,
    /// This start made it.
    pub created: bool,
}

/// Why a host key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("cannot read host key {}: {error}", shown(path))]
    Read { path: PathBuf, error: io::Error },
    #[error(
        "tenant \"{tenant}\": cannot read host key {}: {error}; a tenant's own host key is \
         never made, since its clients know the one it had",
        shown(path)
    )]
    ReadOfTenant {
        tenant: String,
        path: PathBuf,
        error: io::Error,
    },
    #[error("cannot make host key {}: {error}", shown(path))]
    Make { path: PathBuf, error: io::Error },
    #[error(
        "host key {} can be read or changed by others (mode {mode:04o}); run `chmod 600 {}`",
        shown(path),
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "host key {} is not a private key in a known format ({reason}); make one with \
         `ssh-keygen -t ed25519 -N \"\" -f {}`",
        shown(path),
        path.display()
    )]
    Unparsable { path: PathBuf, reason: String },
    #[error(
        "host key {} is protected by a passphrase, which nobody can type here; remove it with \
         `ssh-keygen -p -N \"\" -f {}`",
        shown(path),
        path.display()
    )]
    Encrypted { path: PathBuf },
    #[error(
        "host key {} is an RSA key, and RSA signatures cannot be made safely here (timing, \
         RUSTSEC-2023-0071); use an ed25519 or ECDSA key",
        shown(path)
    )]
    Rsa { path: PathBuf },
    #[error(
        "host key {} is of type {algorithm}; use an ed25519 or ECDSA key",
        shown(path)
    )]
    Type { path: PathBuf, algorithm: String },
}

/// The keys of one start or reload, each file read once.
#[derive(Default)]
pub(super) struct HostKeys {
    /// `None`: the file has been complained about.
    read: BTreeMap<PathBuf, Option<(PrivateKey, HostKeyFacts)>>,
}

impl HostKeys {
    /// The server's: the first is made where it is missing.
    pub(super) fn of_server(
        &mut self,
        paths: &[PathBuf],
        problems: &mut Vec<Problem>,
    ) -> Vec<PrivateKey> {
        let mut keys = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let load = if index == 0 { read_or_make } else { read };
            keys.extend(self.take(path, load, problems));
        }
        keys
    }

    /// A tenant's own: must be there.
    pub(super) fn of_tenant(
        &mut self,
        tenant: &str,
        paths: &[PathBuf],
        problems: &mut Vec<Problem>,
    ) -> Vec<PrivateKey> {
        let load = |path: &Path| {
            read(path).map_err(|error| match error {
                HostKeyError::Read { path, error } => HostKeyError::ReadOfTenant {
                    tenant: tenant.to_owned(),
                    path,
                    error,
                },
                other => other,
            })
        };
        paths
            .iter()
            .filter_map(|path| self.take(path, load, problems))
            .collect()
    }

    pub(super) fn facts(self) -> Vec<HostKeyFacts> {
        self.read
            .into_values()
            .flatten()
            .map(|(_, facts)| facts)
            .collect()
    }

    fn take(
        &mut self,
        path: &Path,
        load: impl FnOnce(&Path) -> Result<(PrivateKey, bool), HostKeyError>,
        problems: &mut Vec<Problem>,
    ) -> Option<PrivateKey> {
        let known = self
            .read
            .entry(path.to_owned())
            .or_insert_with(|| match load(path) {
                Ok((key, created)) => {
                    let facts = HostKeyFacts {
                        path: path.to_owned(),
                        algorithm: key.algorithm().to_string(),
                        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                        created,
                    };
                    Some((key, facts))
                }
                Err(error) => {
                    problems.push(error.into());
                    None
                }
            });
        known.as_ref().map(|(key, _)| key.clone())
    }
}

/// Reads a key; the `bool` is for [`read_or_make`].
fn read(path: &Path) -> Result<(PrivateKey, bool), HostKeyError> {
    let cannot = |error| HostKeyError::Read {
        path: path.to_owned(),
        error,
    };
    let mut file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(cannot(io::Error::other("not a regular file")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(HostKeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    match Read::by_ref(&mut file)
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
    {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(HostKeyError::Unparsable {
                path: path.to_owned(),
                reason: "not text".to_owned(),
            });
        }
        Err(error) => return Err(cannot(error)),
    }
    judge(path, &text).map(|key| (key, false))
}

fn judge(path: &Path, text: &str) -> Result<PrivateKey, HostKeyError> {
    let path = || path.to_owned();
    if text.contains("ENCRYPTED") {
        return Err(HostKeyError::Encrypted { path: path() });
    }
    let key = russh::keys::decode_secret_key(text, None).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => HostKeyError::Encrypted { path: path() },
        error => HostKeyError::Unparsable {
            path: path(),
            reason: error.to_string(),
        },
    })?;
    if key.is_encrypted() {
        return Err(HostKeyError::Encrypted { path: path() });
    }
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(key),
        Algorithm::Rsa { .. } => Err(HostKeyError::Rsa { path: path() }),
        other => Err(HostKeyError::Type {
            path: path(),
            algorithm: other.to_string(),
        }),
    }
}

fn read_or_make(path: &Path) -> Result<(PrivateKey, bool), HostKeyError> {
    match read(path) {
        Err(HostKeyError::Read { error, .. }) if error.kind() == ErrorKind::NotFound => {}
        done => return done,
    }
    match make(path) {
        Ok(key) => Ok((key, true)),
        // Somebody else was faster: theirs is the key.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(HostKeyError::Make {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Makes an ed25519 key. It appears under its name whole and on disk, or not at all, and never
/// takes the place of another.
fn make(path: &Path) -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    let key = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), "coffre host key")
        .map_err(io::Error::other)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;

    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("not a file name"))?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = directory.join(unfinished);

    let written = write_new(&unfinished, text.as_bytes())
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    let removed = std::fs::remove_file(&unfinished);
    written?;
    removed?;
    File::open(directory)?.sync_all()?;
    Ok(key)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // Left behind by a process that had the same number and died here.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn keygen(directory: &Path, kind: &str, passphrase: &str) -> PathBuf {
        let path = directory.join(kind);
        let done = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", passphrase, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(done.success());
        path
    }

    #[test]
    fn a_missing_key_is_made_once_private_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/host_ed25519");
        let (key, created) = read_or_make(&path).unwrap();
        assert!(created);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let (again, created) = read_or_make(&path).unwrap();
        assert!(!created);
        assert_eq!(key.public_key(), again.public_key());
        let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "only the key itself: {left:?}");

        let shown = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(&path)
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        assert!(shown.contains(&fingerprint), "{shown} has no {fingerprint}");
    }

    #[test]
    fn two_that_start_at_once_agree_on_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host_ed25519");
        make(&path).unwrap();
        assert_eq!(make(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host");
        make(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "host key `{0}` can be read or changed by others (mode 0640); run `chmod 600 {0}`",
                path.display()
            )
        );
    }

    #[test]
    fn what_is_not_a_usable_key_is_refused_with_a_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host");
        for (content, words) in [
            ("not a key\n", "is not a private key in a known format"),
            ("", "is not a private key in a known format"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
                "is not a private key in a known format",
            ),
        ] {
            let _ = std::fs::remove_file(&path);
            write_new(&path, content.as_bytes()).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains(words), "{content:?}: {message}");
        }
        let message = read(&keygen(directory.path(), "ed25519", "secret"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("passphrase"), "{message}");
        let message = read(&keygen(directory.path(), "rsa", ""))
            .unwrap_err()
            .to_string();
        assert!(message.contains("is an RSA key"), "{message}");
        let message = read(directory.path()).unwrap_err().to_string();
        assert!(message.contains("not a regular file"), "{message}");
    }

    #[test]
    fn an_ecdsa_key_is_read_in_openssh_and_in_pem_form() {
        let directory = tempfile::tempdir().unwrap();
        let path = keygen(directory.path(), "ecdsa", "");
        let (key, _) = read(&path).unwrap();
        let converted = Command::new("ssh-keygen")
            .args(["-q", "-p", "-N", "", "-P", "", "-m", "PEM", "-f"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(converted.status.success(), "{converted:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("BEGIN EC PRIVATE KEY"), "{text}");
        let (again, _) = read(&path).unwrap();
        assert_eq!(key.public_key().key_data(), again.public_key().key_data());
    }

    #[test]
    fn a_tenants_own_key_is_never_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jail");
        let mut problems = Vec::new();
        let keys = HostKeys::default().of_tenant("ada", std::slice::from_ref(&path), &mut problems);
        assert!(keys.is_empty());
        let message = problems[0].to_string();
        assert!(
            message.starts_with("tenant \"ada\": cannot read host key"),
            "{message}"
        );
        assert!(!path.exists());
    }
}
