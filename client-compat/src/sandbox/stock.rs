//! sshd and rsync as Debian ships them, as root on a loopback port.
//!
//! The daemon lives in mount and process namespaces of its own. There a directory of ours stands
//! at [`BASE`], so that no chroot is needed for absolute paths to be the same as with coffre; the
//! real one is not touched. What of the machine could change the result is covered up: the shell's
//! start files and a locked root account. All processes end with the namespace.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{BASE, Daemon, Keys, Port};
use crate::clients::Clients;

/// A running sshd.
#[derive(Debug)]
pub struct Stock {
    daemon: Daemon,
    port: Port,
    base: PathBuf,
    log: PathBuf,
}

/// Prepares the namespaces, then becomes sshd. `$1`: our directory for [`BASE`]. `$2`: a directory
/// of overlays for files of the system. `$3`: sshd. `$4`: its configuration.
const START: &str = r#"
set -e
umask 022
mount -t tmpfs -o mode=755 compat /mnt
mkdir /mnt/compat
mount --bind "$1" /mnt/compat
mount -t tmpfs -o mode=755 compat /run
mkdir /run/sshd
mount --bind "$2/shadow" /etc/shadow
home=$(getent passwd root | cut -d: -f6)
for file in "$home/.bashrc" "$home/.zshenv" "$home/.ssh/rc" "$home/.ssh/environment"; do
    if [ -f "$file" ]; then mount --bind /dev/null "$file"; fi
done
exec "$3" -D -e -f "$4"
"#;

impl Stock {
    /// Starts it with its files in `dir`; `rsync` is what clients get when they ask for `rsync`.
    pub fn start(dir: &Path, keys: &Keys, rsync: &Path) -> Result<Self> {
        let sshd = Clients::system_sshd()?;
        let base = dir.join("base");
        let bin = dir.join("bin");
        let overlays = dir.join("overlays");
        for made in [&base, &bin, &overlays] {
            fs::create_dir_all(made)?;
        }
        symlink(rsync, bin.join("rsync"))?;
        fs::write(overlays.join("shadow"), unlocked_shadow()?)?;
        fs::set_permissions(overlays.join("shadow"), Permissions::from_mode(0o600))?;
        fs::write(
            dir.join("authorized_keys"),
            keys.public("client")? + " client\n",
        )?;
        let log = dir.join("log");

        let port = Port::reserve()?;
        let config = dir.join("sshd_config");
        fs::write(&config, sshd_config(dir, keys, port.number, &bin)?)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["--propagation", "private", "--mount-proc"])
            .args(["/bin/sh", "-c", START, "sh"])
            .arg(&base)
            .arg(&overlays)
            .arg(&sshd.path)
            .arg(&config)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .process_group(0);
        let child = command.spawn().context("start unshare and sshd")?;
        let mut daemon = Daemon { child };
        daemon
            .wait_for_port(port.number, &log)
            .context("start a stock server")?;
        Ok(Self {
            daemon,
            port,
            base,
            log,
        })
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// What [`BASE`] is on this server.
    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The process under which all the others of this server are.
    pub fn pid(&self) -> u32 {
        self.daemon.child.id()
    }
}

fn sshd_config(dir: &Path, keys: &Keys, port: u16, bin: &Path) -> Result<String> {
    let mut config = String::new();
    for (key, value) in [
        ("Port", port.to_string()),
        ("ListenAddress", "127.0.0.1".to_owned()),
        ("HostKey", keys.host_key().display().to_string()),
        (
            "AuthorizedKeysFile",
            dir.join("authorized_keys").display().to_string(),
        ),
        ("PidFile", "none".to_owned()),
        ("PermitRootLogin", "yes".to_owned()),
        ("PasswordAuthentication", "no".to_owned()),
        ("KbdInteractiveAuthentication", "no".to_owned()),
        ("StrictModes", "no".to_owned()),
        ("UsePAM", "no".to_owned()),
        ("UseDNS", "no".to_owned()),
        ("PrintMotd", "no".to_owned()),
        ("PrintLastLog", "no".to_owned()),
        // Its default drops logins at random when ten come at once.
        ("MaxStartups", "1000".to_owned()),
        (
            "SetEnv",
            format!("PATH={}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()),
        ),
    ] {
        writeln!(config, "{key} {value}")?;
    }
    debug_assert!(BASE.starts_with("/mnt/"), "START mounts there");
    Ok(config)
}

/// sshd without PAM refuses an account whose password is locked; `*` means only that there is no
/// password.
fn unlocked_shadow() -> Result<String> {
    let shadow = fs::read_to_string("/etc/shadow").context("read /etc/shadow")?;
    Ok(shadow
        .lines()
        .map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            ["root", _, ref rest @ ..] => format!("root:*:{}\n", rest.join(":")),
            _ => format!("{line}\n"),
        })
        .collect())
}
