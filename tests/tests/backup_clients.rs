//! Backup programs with their command lines as they stand, against a tenant that is new.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::Path;

use coffre_client_compat::run::{Invocation, Outcome, tool};
use coffre_tests::{Bed, said};

/// A tenant nobody has pushed into. The harness makes a base directory in it.
fn fresh() -> Option<Bed> {
    let bed = Bed::new().unwrap()?;
    fs::remove_dir_all(bed.live().join("mnt")).unwrap();
    let source = bed.source().unwrap();
    for (name, content) in [
        ("etc/passwd", "root"),
        ("home/someone/notes", "notes"),
        ("home/someone/.cache/x", "left out"),
        ("var/log/messages", "a line"),
        ("var/spool/cron/root", "* * * * *"),
    ] {
        source.file(name, content.as_bytes()).unwrap();
    }
    source.fifo("var/spool/queue").unwrap();
    Some(bed)
}

/// As a shell would run it, with `ssh` standing for the one that has the key.
fn shell(bed: &Bed, script: &str) -> Outcome {
    let config = bed.ssh_config("client", bed.coffre.port()).unwrap();
    let bin = bed.local().join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(
        bin.join("ssh"),
        format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n",
            config.display()
        ),
    )
    .unwrap();
    tool("chmod", &["755".as_ref(), bin.join("ssh").as_os_str()]).unwrap();
    let mut run = Invocation::new(Path::new("/bin/sh"), &bed.local());
    run.args = vec!["-ec".into(), script.into()];
    let path = format!("{}:/usr/bin:/bin", bin.display());
    run.env = vec![
        ("PATH".into(), path.into()),
        ("LC_ALL".into(), "C.UTF-8".into()),
        ("PORT".into(), bed.coffre.port().to_string().into()),
        ("LOGS".into(), bed.local().into()),
        ("SRC".into(), bed.source().unwrap().path("").into()),
    ];
    run.run().unwrap()
}

const EVOBACKUP: &str = r#"
ssh -q -o "ConnectTimeout 90" server -p "$PORT" -t "exit"
rsync --archive --itemize-changes --quiet --stats --human-readable --relative --partial \
    --delete --delete-excluded --force --ignore-errors --no-devices --no-specials \
    --info=nonreg0 --log-file="$LOGS/evobackup.rsync.log" --exclude=.cache --exclude=/dev \
    --rsh="ssh -p $PORT -o 'ConnectTimeout 10'" \
    "$SRC/etc" "$SRC/home" "$SRC/var" "root@server:/var/backup/"
rsync --archive --itemize-changes --quiet --stats --human-readable --relative --partial \
    --delete --delete-excluded --force --ignore-errors --no-devices --no-specials \
    --info=nonreg0 --rsh="ssh -p $PORT -o 'ConnectTimeout 10'" \
    "$LOGS/evobackup.rsync.log" "root@server:/var/log/"
"#;

const RBACKUP: &str = r#"
rsync -axH --relative --numeric-ids --delete --delete-excluded --mkpath --partial -v --progress \
    -h -e "ssh -p $PORT" --exclude=.cache "$SRC/etc" root@server:/backups/web01/
"#;

#[test]
fn an_evobackup_client_pushes_as_it_stands() {
    let Some(bed) = fresh() else { return };
    let source = bed.source().unwrap().path("");
    let below = |dir: &str, path: &Path| bed.live().join(dir).join(path.strip_prefix("/").unwrap());
    let backup = below("var/backup", &source);
    for night in 0..3 {
        if night == 1 {
            fs::remove_file(source.join("var/spool/cron/root")).unwrap();
            fs::write(source.join("etc/passwd"), "root and more").unwrap();
        }
        let outcome = shell(&bed, EVOBACKUP);
        assert_eq!(outcome.exit, 0, "night {night}: {}", said(&outcome));
        let silent = outcome.stdout.is_empty() && outcome.stderr.is_empty();
        assert!(silent, "night {night}: {}", said(&outcome));
        for dir in ["etc", "var/log", "home/someone"] {
            let kept = backup.join(dir);
            assert!(kept.is_dir(), "{} is missing", kept.display());
        }
        for name in ["etc/passwd", "home/someone/notes"] {
            let same = fs::read(backup.join(name)).unwrap() == fs::read(source.join(name)).unwrap();
            assert!(same, "night {night}: {name}");
        }
        assert!(!backup.join("home/someone/.cache").exists(), "was excluded");
        assert!(!backup.join("var/spool/queue").exists(), "--no-specials");
        let cron = backup.join("var/spool/cron/root").exists();
        assert_eq!(
            cron,
            night == 0,
            "is gone from the source since the second night"
        );
        let log = below("var/log", bed.local().canonicalize().unwrap().as_path());
        assert!(log.join("evobackup.rsync.log").is_file());
    }
}

#[test]
fn an_rbackup_client_pushes_as_it_stands() {
    let Some(bed) = fresh() else { return };
    let source = bed.source().unwrap().path("");
    for _ in 0..2 {
        let outcome = shell(&bed, RBACKUP);
        assert_eq!(outcome.exit, 0, "{}", said(&outcome));
        let kept = bed
            .live()
            .join("backups/web01")
            .join(source.strip_prefix("/").unwrap());
        assert_eq!(fs::read(kept.join("etc/passwd")).unwrap(), b"root");
    }
}

#[test]
fn without_mkpath_only_what_a_new_tenant_lacks_is_made() {
    let Some(bed) = fresh() else { return };
    bed.push_well("-a src/etc server:/var/backup/").unwrap();
    assert!(bed.live().join("var/backup/etc/passwd").is_file());
    let outcome = bed.push("-a src/etc server:/var/a/b/").unwrap();
    assert_eq!(outcome.exit, 11, "{}", said(&outcome));
    assert!(!bed.live().join("var/a").exists());
    let outcome = bed.push("-an src/etc server:/srv/a/b/").unwrap();
    assert!(!bed.live().join("srv").exists(), "{}", said(&outcome));
}
