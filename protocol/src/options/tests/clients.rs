//! The exec strings of stock clients, of openrsync and of old releases.

use super::*;

#[test]
fn exec_strings_of_stock_clients() {
    let new = || ServerOptions {
        capabilities: Some(Capabilities::parse(b".iLsfxCIvu")),
        ..archive()
    };
    let with = |letters: &[u8]| ServerOptions {
        capabilities: Some(Capabilities::parse(letters)),
        ..archive()
    };
    let table = [
        ("rsync --server -logDtpre.iLsfxCIvu . dst", new()),
        ("rsync --server -logDtpre.iLsfxC . dst", with(b".iLsfxC")),
        ("rsync --server -logDtpre.iLsf . dst", with(b".iLsf")),
        ("rsync --server -logDtpr . dst", archive()),
        ("rsync --server -rptgoDl . dst", archive()),
        (
            "rsync --server --sender -logDtpre.iLsfxCIvu . src/",
            ServerOptions {
                role: Role::Sender,
                paths: vec![Word::unquoted(b"src/")],
                ..new()
            },
        ),
        (
            "rsync --server -logDtpre.iLsfxCIvu --checksum-seed=5 . /dst/",
            ServerOptions {
                checksum_seed: Some(5),
                paths: vec![Word::unquoted(b"/dst/")],
                ..new()
            },
        ),
        (
            "rsync --fake-super --server -logDtpr . dst",
            ServerOptions {
                fake_super: true,
                ..archive()
            },
        ),
        (
            "rsync --server -nogre.iLsfxCIvu --log-format=X -@-1 --usermap=\\*:a --groupmap=\\*:7 \
             --info=NAME2,NONREG0 . dst",
            ServerOptions {
                recursive: true,
                dry_run: true,
                owner: true,
                group: true,
                log_format: LogFormat::Other,
                modify_window: ModifyWindow::Nanoseconds,
                usermap: IdMap::parse("usermap", b"*:a").unwrap(),
                groupmap: IdMap::parse("groupmap", b"*:7").unwrap(),
                info_changes: vec![(Info::Name, 2), (Info::Nonreg, 0)],
                capabilities: Some(Capabilities::parse(b".iLsfxCIvu")),
                paths: vec![Word::unquoted(b"dst")],
                ..ServerOptions::default()
            },
        ),
        (
            "rsync --server -nyre.iLsfxCIvu --log-format=%i%I --stats --delete-missing-args \
             --partial-dir .p --delay-updates . dst",
            ServerOptions {
                recursive: true,
                dry_run: true,
                fuzzy: Fuzzy::Destination,
                log_format: LogFormat::ItemizeUnchanged,
                stats: true,
                missing_args: MissingArgs::Delete,
                partial: true,
                partial_dir: Some(b".p".to_vec()),
                delay_updates: true,
                capabilities: Some(Capabilities::parse(b".iLsfxCIvu")),
                paths: vec![Word::unquoted(b"dst")],
                ..ServerOptions::default()
            },
        ),
    ];
    for (exec, expected) in table {
        let Ok(Command::Rsync(words)) = Command::parse(exec.as_bytes()) else {
            panic!("{exec} is not recognised");
        };
        assert_eq!(ServerOptions::parse(&words).unwrap(), expected, "{exec}");
    }
}

/// openrsync gives each option a word of its own and says nothing of what it can read.
#[test]
fn exec_strings_of_openrsync() {
    let plain = ServerOptions {
        owner: false,
        group: false,
        devices: false,
        specials: false,
        ..archive()
    };
    let table = [
        ("-l -p -r -t . dst", plain.clone()),
        ("-g -l -o -p -D -r -t . dst", archive()),
        (
            "--sender -l -p -r -t . src",
            ServerOptions {
                role: Role::Sender,
                paths: vec![Word::unquoted(b"src")],
                ..plain.clone()
            },
        ),
        (
            "--delete-before -c --numeric-ids -g -l -n -o -p -D -r -t -H -v -v . dst",
            ServerOptions {
                delete: Delete::Before,
                checksum: true,
                numeric_ids: true,
                dry_run: true,
                hard_links: true,
                verbosity: 2,
                ..archive()
            },
        ),
        // Only devices are `-D --no-specials`, only the others `--specials`.
        (
            "-l -p -D -r -t --no-specials . dst",
            ServerOptions {
                devices: true,
                ..plain.clone()
            },
        ),
        (
            "-l -p -r -t --specials . dst",
            ServerOptions {
                specials: true,
                ..plain
            },
        ),
    ];
    for (words, expected) in table {
        let options = try_parse(words).unwrap();
        assert_eq!(options, expected, "{words}");
        assert_eq!(options.refusal(), None, "{words}");
    }
    // All else that it may add for an option that the server has a part in.
    for words in [
        "-r -O -S -u --max-delete=5 -W --backup --backup-dir old --suffix .x",
        "-r --ignore-existing --ignore-non-existing -x -x -z --log-format=X",
        "-r --max-size=10 --min-size=1 --relative --no-implied-dirs --safe-links --ignore-times",
        "-r --bwlimit=100 --temp-dir /tmp -B700 --force --ignore-errors -J --size-only --partial",
        "-r --link-dest=../a --link-dest=../b -q",
    ] {
        assert_eq!(push(words).refusal(), None, "{words}");
    }
    let options = try_parse("--sender -r -L -k --copy-unsafe-links -x . src").unwrap();
    assert_eq!(options.refusal(), None);
}

/// rsync 2.6.9 puts its letters into one word, and values of long options into words of their own.
#[test]
fn exec_strings_of_rsync_2_6_9() {
    let table = [
        ("-logDtpr . dst", archive()),
        (
            "-vvbunlmOWHogDtprcCIRxxSz --no-specials --log-format=%i -B1000 . dst",
            ServerOptions {
                verbosity: 2,
                backup: true,
                update: true,
                dry_run: true,
                prune_empty_dirs: true,
                omit_dir_times: true,
                hard_links: true,
                checksum: true,
                cvs_exclude: true,
                specials: false,
                sparse: true,
                ..push("-logDtpr -WIRxxz --log-format=%i -B1000")
            },
        ),
    ];
    for (words, expected) in table {
        let options = try_parse(words).unwrap();
        assert_eq!(options, expected, "{words}");
        assert_eq!(options.refusal(), None, "{words}");
        assert_eq!(options.capabilities, None, "{words}");
    }
    for words in [
        "-ltr --max-delete=3 --min-size 1 --max-size 5k --timeout=9 --bwlimit=10",
        "-bltr --backup-dir old --suffix=.x --delete --delete-after --force --super --size-only",
        "-dlt --no-r --delete-during --modify-window=1 --partial-dir .p --delay-updates",
        "-ltpEr --partial --ignore-errors --safe-links --numeric-ids --ignore-existing --existing",
        "-ltr --temp-dir /tmp --link-dest ../a --link-dest ../b --fuzzy",
        "-ltr --log-format=%i%I --inplace --delete-excluded",
        "-ltr --append",
    ] {
        let options = push(words);
        assert_eq!(options.refusal(), None, "{words}");
        assert_eq!(options.paths, [Word::unquoted(b"dst")], "{words}");
    }
    let pull = "--sender -lLktrR --copy-unsafe-links --files-from=- --from0 --no-relative \
                --no-implied-dirs . src";
    let options = try_parse(pull).unwrap();
    assert_eq!(options.role, Role::Sender);
    assert_eq!(options.refusal(), None, "{pull}");
}
