//! Which stock programs there are: those of the system, and those that [`crate::install`] fetched.
//!
//! Every report starts with the exact versions, because "rsync does it like this" is only true of
//! one release at a time.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// One program of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub version: Version,
    /// The first line it prints about itself.
    pub banner: String,
}

/// A release number such as `3.5.0` or `9.2p1`, comparable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: Vec<u32>,
    text: String,
}

/// What was found. Each list is in the order in which it would be picked.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    pub rsync: Vec<Program>,
    pub ssh: Vec<Program>,
    pub dbclient: Vec<Program>,
    pub plink: Vec<Program>,
    pub sshd: Option<Program>,
}

impl Version {
    /// Numbers between anything else count; the text is kept for showing.
    pub fn parse(text: &str) -> Self {
        Self {
            numbers: text
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect(),
            text: text.to_owned(),
        }
    }

    pub fn at_least(&self, least: &str) -> bool {
        self.numbers >= Self::parse(least).numbers
    }

    /// Whether `wanted` names this release: `3.2` names 3.2.3 and 3.2.7.
    pub fn is(&self, wanted: &str) -> bool {
        self.numbers.starts_with(&Self::parse(wanted).numbers)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.banner, self.path.display())
    }
}

impl Clients {
    /// Looks on the system and in the cache of installed releases.
    pub fn find() -> Result<Self> {
        let mut found = Self {
            rsync: on_path("rsync", &["--version"])?.into_iter().collect(),
            ssh: on_path("ssh", &["-V"])?.into_iter().collect(),
            dbclient: on_path("dbclient", &["-V"])?.into_iter().collect(),
            plink: on_path("plink", &["-V"])?.into_iter().collect(),
            sshd: on_path("sshd", &["-V"])?,
        };
        if let Ok(releases) = fs::read_dir(crate::install::cache_dir()) {
            let mut cached: Vec<PathBuf> = releases.flatten().map(|entry| entry.path()).collect();
            cached.sort();
            for release in cached {
                let bin = release.join("bin");
                found
                    .rsync
                    .extend(program(&bin.join("rsync"), &["--version"])?);
                for (name, list) in [
                    ("ssh", &mut found.ssh),
                    ("dbclient", &mut found.dbclient),
                    ("plink", &mut found.plink),
                ] {
                    list.extend(program(&bin.join(name), &["-V"])?);
                }
            }
        }
        Ok(found)
    }

    /// The rsync of that version, or of the system.
    pub fn rsync(&self, wanted: Option<&str>) -> Result<&Program> {
        pick("rsync", &self.rsync, wanted)
    }

    /// The ssh of that version, or of the system.
    pub fn ssh(&self, wanted: Option<&str>) -> Result<&Program> {
        pick("ssh", &self.ssh, wanted)
    }

    /// The Dropbear client of that version, or the first.
    pub fn dbclient(&self, wanted: Option<&str>) -> Result<&Program> {
        pick("dbclient", &self.dbclient, wanted)
    }

    /// PuTTY's plink of that version, or the first.
    pub fn plink(&self, wanted: Option<&str>) -> Result<&Program> {
        pick("plink", &self.plink, wanted)
    }

    pub fn sshd(&self) -> Result<&Program> {
        self.sshd.as_ref().context(NO_SSHD)
    }

    /// The same, looked up once in the life of this process: each stock server needs it, and to ask
    /// some twenty programs of the cache for their versions takes longer than many a scenario.
    pub fn system_sshd() -> Result<&'static Program> {
        static FOUND: OnceLock<Option<Program>> = OnceLock::new();
        let found = match FOUND.get() {
            Some(found) => found,
            None => {
                let found = on_path("sshd", &["-V"])?;
                FOUND.get_or_init(|| found)
            }
        };
        found.as_ref().context(NO_SSHD)
    }
}

const NO_SSHD: &str = "no sshd on this system; install the package openssh-server";

fn pick<'a>(name: &str, found: &'a [Program], wanted: Option<&str>) -> Result<&'a Program> {
    let Some(wanted) = wanted else {
        return found
            .first()
            .with_context(|| format!("no {name} on this system; try `client-compat install`"));
    };
    if let Some(program) = found.iter().find(|program| program.version.is(wanted)) {
        return Ok(program);
    }
    let there = found
        .iter()
        .map(|program| program.version.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    bail!("no {name} {wanted} here (there is {there}); try `client-compat install`")
}

fn on_path(name: &str, version_args: &[&str]) -> Result<Option<Program>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where daemons live is often missing from a user's PATH.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    for dir in std::env::split_paths(&path).chain(more) {
        if let Some(program) = program(&dir.join(name), version_args)? {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

/// Asks a program for its version. `None`: there is no such file.
fn program(path: &Path, version_args: &[&str]) -> Result<Option<Program>> {
    if !path.is_file() {
        return Ok(None);
    }
    let output = Command::new(path)
        .args(version_args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("ask {} for its version", path.display()))?;
    // sshd before 9.2 knows no -V, and prints its version above the usage text.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    for line in said.lines() {
        let version = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["rsync", "version", version, ..] => version,
            [first, ..] if first.starts_with("OpenSSH_") => &first["OpenSSH_".len()..],
            ["Dropbear", version, ..] => version.trim_start_matches('v'),
            ["plink:", "Release", version, ..] => version,
            _ => continue,
        };
        return Ok(Some(Program {
            path: path.to_path_buf(),
            version: Version::parse(version.trim_end_matches(',')),
            banner: line.trim().to_owned(),
        }));
    }
    bail!(
        "{} does not say which version it is: {}",
        path.display(),
        said.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_and_match_by_prefix() {
        assert!(Version::parse("3.10.0").at_least("3.9"));
        assert!(!Version::parse("3.2.3").at_least("3.2.4"));
        assert!(Version::parse("3.2.7").is("3.2"));
        assert!(Version::parse("9.2p1").is("9.2"));
        assert!(!Version::parse("3.2.7").is("3.20"));
    }

    #[test]
    fn a_wish_that_cannot_be_met_names_what_is_there() {
        let clients = Clients {
            rsync: vec![Program {
                path: "/usr/bin/rsync".into(),
                version: Version::parse("3.5.0"),
                banner: "rsync  version 3.5.0  protocol version 32".into(),
            }],
            ..Clients::default()
        };
        assert_eq!(clients.rsync(None).unwrap().version.to_string(), "3.5.0");
        let error = clients.rsync(Some("2.6")).unwrap_err().to_string();
        assert_eq!(
            error,
            "no rsync 2.6 here (there is 3.5.0); try `client-compat install`"
        );
    }
}
