//! Fetches other releases of the stock clients, each with the libraries it was built for, into a
//! cache of our own.
//!
//! Packages come by name from the suites of the Debian mirror that this machine is configured for.
//! apt works with a configuration, lists and cache that are private to us: the system's sources
//! and packages stay as they are. Nothing is installed; packages are unpacked, and a small script
//! starts each program with its own suite's loader and libraries:
//!
//! ```text
//! <cache>/<suite>/root          the unpacked packages
//! <cache>/<suite>/bin/rsync     the script
//! <cache>/python                SSH libraries of Python, in a virtual environment
//! ```

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::clients::Clients;
use crate::run::tool;

/// Suites with different releases of rsync, oldest first.
pub const SUITES: &[&str] = &["bullseye", "bookworm", "trixie", "sid"];

/// What is fetched; apt adds the libraries.
const PACKAGES: &[&str] = &["rsync", "openssh-client", "dropbear-bin", "putty-tools"];

/// What of them is started, by its place in the suite.
const PROGRAMS: &[&str] = &[
    "usr/bin/rsync",
    "usr/bin/ssh",
    "usr/bin/dbclient",
    "usr/bin/plink",
    "usr/bin/puttygen",
    "usr/lib/dropbear/dropbearconvert",
];

/// SSH clients that are libraries, by their names in Python's package index.
const PYTHON_PACKAGES: &[&str] = &["paramiko", "asyncssh"];

/// `COFFRE_COMPAT_CACHE`, else the system's cache for root (clients also run as other users, who
/// cannot look into root's home), else a directory in the user's cache.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("COFFRE_COMPAT_CACHE") {
        return PathBuf::from(dir);
    }
    let cache = match std::env::var_os("HOME") {
        _ if crate::sandbox::is_root() => PathBuf::from("/var/cache"),
        Some(home) => Path::new(&home).join(".cache"),
        None => std::env::temp_dir(),
    };
    cache.join("coffre-client-compat")
}

/// Fetches the suites that are not in the cache yet, and lists what there is now. A suite that the
/// mirror does not have is reported and skipped.
pub fn install(suites: &[String], again: bool) -> Result<Clients> {
    let mirror = configured_mirror()?;
    for suite in suites {
        let place = cache_dir().join(suite);
        let is_whole = ["bin/rsync", "bin/plink"]
            .iter()
            .all(|program| place.join(program).is_file());
        if is_whole && !again {
            println!("{suite}: in the cache");
            continue;
        }
        match fetch(&mirror, suite, &place) {
            Ok(()) => println!("{suite}: fetched"),
            Err(error) => println!("{suite}: not available: {error:#}"),
        }
    }
    match install_python(again) {
        Ok(()) => println!("python: {}", PYTHON_PACKAGES.join(", ")),
        Err(error) => println!("python: not available: {error:#}"),
    }
    Clients::find()
}

/// The interpreter that has the SSH libraries, if they were installed.
pub fn python() -> Option<PathBuf> {
    let python = cache_dir().join("python/bin/python");
    python.exists().then_some(python)
}

fn install_python(again: bool) -> Result<()> {
    if python().is_some() && !again {
        return Ok(());
    }
    let made = cache_dir().join("python.new");
    let _ = fs::remove_dir_all(&made);
    fs::create_dir_all(cache_dir())?;
    tool(
        "python3",
        &["-m".as_ref(), "venv".as_ref(), made.as_os_str()],
    )?;
    let python = made.join("bin/python").display().to_string();
    let mut args = vec!["-m", "pip", "install", "--quiet"];
    args.extend(PYTHON_PACKAGES);
    let args: Vec<&OsStr> = args.into_iter().map(OsStr::new).collect();
    tool(&python, &args)?;
    // Only whole does it get its name; a virtual environment may be moved when it is only used by
    // its interpreter.
    let place = cache_dir().join("python");
    let _ = fs::remove_dir_all(&place);
    fs::rename(&made, &place).context("name it")
}

/// A line of the machine's own apt sources: where Debian comes from, and how it is signed.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

fn configured_mirror() -> Result<Mirror> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter(|file| {
            matches!(
                file.extension().and_then(OsStr::to_str),
                Some("list" | "sources")
            )
        })
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| parse_sources(&text))
        .context("no Debian mirror in this machine's apt sources")
}

/// The first source whose URI ends in `/debian`, in either of apt's two formats.
fn parse_sources(text: &str) -> Option<Mirror> {
    let is_debian = |uri: &str| uri.trim_end_matches('/').ends_with("/debian");
    let mut signed_by = None;
    let mut uri = None;
    for line in text.lines().chain([""]) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("deb ") {
            let found = rest.split_whitespace().find(|word| is_debian(word));
            if let Some(found) = found {
                let signed_by = rest
                    .split(['[', ']', ' '])
                    .find_map(|word| word.strip_prefix("signed-by="));
                return Some(Mirror {
                    uri: found.to_owned(),
                    signed_by: signed_by.map(str::to_owned),
                });
            }
        } else if let Some(value) = line.strip_prefix("URIs:") {
            uri = value.split_whitespace().find(|word| is_debian(word));
        } else if let Some(value) = line.strip_prefix("Signed-By:") {
            signed_by = Some(value.trim());
        } else if line.is_empty() {
            if let Some(uri) = uri {
                return Some(Mirror {
                    uri: uri.to_owned(),
                    signed_by: signed_by.map(str::to_owned),
                });
            }
            signed_by = None;
        }
    }
    None
}

fn fetch(mirror: &Mirror, suite: &str, place: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let work = work.path();
    for dir in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(dir))?;
    }
    // An empty status file makes apt believe that nothing is installed, so that it fetches every
    // library of that suite.
    fs::write(work.join("status"), "")?;
    let signed_by = mirror
        .signed_by
        .as_ref()
        .map(|key| format!("[signed-by={key}] "))
        .unwrap_or_default();
    fs::write(
        work.join("sources.list"),
        format!("deb {signed_by}{} {suite} main\n", mirror.uri),
    )?;
    fs::write(work.join("apt.conf"), private_apt_config(work)?)?;

    apt(work, &["update"])?;
    let mut download = vec![
        "install",
        "--download-only",
        "--yes",
        "--no-install-recommends",
    ];
    download.extend(PACKAGES);
    apt(work, &download)?;

    let _ = fs::remove_dir_all(place);
    let root = place.join("root");
    fs::create_dir_all(&root)?;
    for package in fs::read_dir(work.join("cache/archives"))? {
        let package = package?.path();
        if package.extension() == Some(OsStr::new("deb")) {
            tool(
                "dpkg",
                &["-x".as_ref(), package.as_os_str(), root.as_os_str()],
            )?;
        }
    }
    write_starters(place, &root)
}

/// The settings that say how the machine reaches its mirror (proxy, credentials, dates), and
/// directories of our own. The machine's hooks are left out: they would run on our behalf.
fn private_apt_config(work: &Path) -> Result<String> {
    let dump = tool("apt-config", &["dump".as_ref()])?;
    let mut config: String = String::from_utf8_lossy(&dump)
        .lines()
        .filter(|line| line.starts_with("Acquire::") || line.starts_with("APT::Architecture"))
        .fold(String::new(), |config, line| config + line + "\n");
    for (key, value) in [
        ("Dir::Etc::main", "/dev/null"),
        ("Dir::Etc::parts", "/dev/null"),
        ("Dir::Etc::preferences", "/dev/null"),
        ("Dir::Etc::preferencesparts", "/dev/null"),
        ("Dir::Etc::sourceparts", "/dev/null"),
        ("APT::Sandbox::User", "root"),
        ("Acquire::Languages", "none"),
        // Indexes of the graphical package browser.
        (
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
            "false",
        ),
    ] {
        writeln!(config, "{key} \"{value}\";")?;
    }
    for (key, value) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
    ] {
        writeln!(config, "{key} \"{}\";", work.join(value).display())?;
    }
    Ok(config)
}

fn apt(work: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(args)
        .env("APT_CONFIG", work.join("apt.conf"))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("start apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "apt-get {}: {}",
            args[0],
            said.lines().last().unwrap_or("no reason given")
        );
    }
    Ok(())
}

fn write_starters(place: &Path, root: &Path) -> Result<()> {
    let loader = find_loader(root)?;
    let mut libraries: Vec<String> = Vec::new();
    for dir in ["lib", "usr/lib"] {
        let dir = root.join(dir);
        libraries.push(dir.display().to_string());
        // The directory of the architecture, x86_64-linux-gnu for one.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains("-linux-gnu") {
                libraries.push(entry.path().display().to_string());
            }
        }
    }
    let bin = place.join("bin");
    fs::create_dir_all(&bin)?;
    for program in PROGRAMS {
        let program = root.join(program);
        // Some suite may lack one.
        let Some(name) = program.file_name().filter(|_| program.is_file()) else {
            continue;
        };
        let starter = bin.join(name);
        fs::write(
            &starter,
            format!(
                "#!/bin/sh\nexec '{}' --library-path '{}' '{}' \"$@\"\n",
                loader.display(),
                libraries.join(":"),
                program.display()
            ),
        )?;
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The suite's `ld-linux-*.so.*`, wherever that release keeps it.
fn find_loader(root: &Path) -> Result<PathBuf> {
    let mut dirs = vec![root.join("lib"), root.join("usr/lib")];
    dirs.extend(["lib64", "usr/lib64"].map(|dir| root.join(dir)));
    for dir in dirs.clone() {
        dirs.extend(
            fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.to_string_lossy().ends_with("-linux-gnu")),
        );
    }
    for dir in dirs {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with("ld-linux-") {
                continue;
            }
            let mut path = entry.path();
            // Older releases have a link there; an absolute one is meant inside the tree.
            if let Ok(target) = fs::read_link(&path) {
                path = match target.strip_prefix("/") {
                    Ok(inside) => root.join(inside),
                    Err(_) => dir.join(target),
                };
            }
            if path.is_file() {
                return Ok(path);
            }
        }
    }
    bail!("the unpacked packages hold no dynamic loader")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_apt_sources_are_understood() {
        let old = "# a comment\ndeb http://security.example/debian-security stable main\n\
                   deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main\n";
        let new = "Types: deb\nURIs: http://mirror.example/debian-security\nSigned-By: /other\n\n\
                   Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n\
                   Signed-By: /k.gpg\n";
        let expected = Mirror {
            uri: "http://mirror.example/debian".to_owned(),
            signed_by: Some("/k.gpg".to_owned()),
        };
        assert_eq!(parse_sources(old), Some(expected));
        assert_eq!(
            parse_sources(new).unwrap().uri,
            "http://mirror.example/debian"
        );
        assert_eq!(parse_sources(new).unwrap().signed_by.unwrap(), "/k.gpg");
        assert_eq!(
            parse_sources("deb http://x.example/ubuntu noble main"),
            None
        );
    }
}
