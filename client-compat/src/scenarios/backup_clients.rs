//! Backup programs that drive rsync over ssh, with their command lines as they stand.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, nasty, ordinary};

/// What a machine has that a backup takes and leaves out.
fn machine(tree: &Builder) -> Result<()> {
    let etc = Builder::at(&tree.path("etc"))?;
    ordinary(&etc)?;
    let home = Builder::at(&tree.path("home"))?;
    nasty(&home)?;
    // Names so long that rsync's own log runs them together.
    home.remove("names")?.remove("kinds/long")?;
    tree.file("home/someone/.cache/thumbnail", b"x")?
        .file("home/someone/mail.pst", b"mail")?
        .file("var/lib/mysql/ibdata", b"tables")?
        .file("var/log/syslog", b"a line\n")?
        .file("var/tmp/scratch", b"x")?
        .symlink("var/run", "/run")?;
    Ok(())
}

fn edit(tree: &Builder) -> Result<()> {
    tree.append("etc/docs/big", b"more")?
        .remove("etc/pictures/file2")?
        .remove("home/someone/mail.pst")?
        .file("home/someone/.cache/another", b"x")?
        .append("var/log/syslog", b"another line\n")?;
    Ok(())
}

/// The tree, then a few files, as `zzz_evobackup` sends them.
const EVOBACKUP: &str = "--archive --itemize-changes --quiet --stats --human-readable --relative \
    --partial --delete --delete-excluded --force --ignore-errors --no-devices --no-specials \
    --info=nonreg0 --log-file=client.log --exclude=home/someone/.cache --exclude=*.pst \
    --exclude=/var/lib/mysql --exclude=var/tmp/*";

const RBACKUP: &str = "-axH --relative --numeric-ids --delete --delete-excluded --mkpath --partial \
    -v --progress -h --exclude=/var/tmp --exclude=.cache";

fn rbackup(name: &str, about: &str, command: &str) -> Scenario {
    let etc = format!("{command} src/etc root@server:/mnt/compat/backups/host/");
    let rest = format!("{command} src/./home src/./var root@server:/mnt/compat/backups/host/");
    Scenario::new(name, about)
        .source(machine)
        .run(&etc)
        .run(&rest)
        .change_source("a day passes", edit)
        .run(&etc)
        .run(&rest)
        .since("3.2.3")
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let evobackup = |sources: &str, to: &str| format!("{EVOBACKUP} {sources} root@server:{to}");
    vec![
        Scenario::new(
            "evobackup-client",
            "an EvoBackup client: the probe, the tree, its own log",
        )
        .since("3.2.4")
        .source(machine)
        .prepare(|place| place.base()?.directory("var").map(drop))
        .ssh(["-q", "-o", "ConnectTimeout 90", "server", "-t", "exit"])
        .prints_nothing()
        .run(&evobackup(
            "src/./etc src/./home src/./var",
            "/mnt/compat/dst/",
        ))
        .run(&evobackup("src/./var/log/syslog", "/mnt/compat/log/"))
        .change_source("a day passes", edit)
        .ssh(["-q", "-o", "ConnectTimeout 90", "server", "-t", "exit"])
        .prints_nothing()
        .run(&evobackup(
            "src/./etc src/./home src/./var",
            "/mnt/compat/dst/",
        ))
        .run(&evobackup("src/./var/log/syslog", "/mnt/compat/log/"))
        .leaves("!etc/pictures/file2")
        .since("3.1.0"),
        rbackup("rbackup-client", "an RBackup client", RBACKUP).since_protocol(
            29,
            "a stock server's lines overtake its requests there, ours do not, and --progress shows it",
        ),
        rbackup(
            "rbackup-client-without-progress",
            "… at every protocol",
            &RBACKUP.replace(" --progress", ""),
        ),
        Scenario::new(
            "probes",
            "what scripts run to see whether a connection works",
        )
        .source(|_| Ok(()))
        .ssh(["server", "exit"])
        .prints_nothing()
        .ssh(["server", "exit 0"])
        .prints_nothing()
        .ssh(["server", "true"])
        .prints_nothing()
        .ssh(["server", ":"])
        .prints_nothing()
        .ssh(["server", "echo", "ok"])
        .prints("ok")
        .ssh(["-tt", "-q", "server", "exit"])
        .prints_nothing(),
    ]
}
