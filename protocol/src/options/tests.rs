use super::*;
use crate::command::{Command, split};
use crate::wire::{DecodeError, Reader};
use proptest::prelude::*;

fn try_parse(arguments: &str) -> Result<ServerOptions, ProtocolError> {
    ServerOptions::parse(&split(format!("--server {arguments}").as_bytes()).unwrap())
}

/// Options of a push to `dst` with these words before the `.`.
fn push(words: &str) -> ServerOptions {
    try_parse(&format!("{words} . dst")).unwrap()
}

fn message(words: &str) -> String {
    try_parse(&format!("{words} . dst")).unwrap_err().message
}

fn version(number: u8) -> ProtocolVersion {
    ProtocolVersion::new(number).unwrap()
}

/// What every field says in `-logDtpr`.
fn archive() -> ServerOptions {
    ServerOptions {
        recursive: true,
        links: true,
        owner: true,
        group: true,
        devices: true,
        specials: true,
        times: true,
        perms: true,
        paths: vec![Word::unquoted(b"dst")],
        ..ServerOptions::default()
    }
}

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

/// Rows of words and the field that they move from its default to a value.
macro_rules! sets {
    ($($words:literal => $field:ident = $value:expr;)*) => {
        [$(($words, {
            fn check(options: &ServerOptions) -> bool {
                options.$field == $value && ServerOptions::default().$field != $value
            }
            check as fn(&ServerOptions) -> bool
        })),*]
    };
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

#[test]
fn every_option_sets_its_field() {
    let table = sets! {
        "-v" => verbosity = 1;
        "-vvv" => verbosity = 3;
        "-q" => quiet = true;
        "-b" => backup = true;
        "-u" => update = true;
        "-n" => dry_run = true;
        "-l" => links = true;
        "-d" => dirs = true;
        "-K" => keep_dirlinks = true;
        "-m" => prune_empty_dirs = true;
        "-O" => omit_dir_times = true;
        "-J" => omit_link_times = true;
        "-y" => fuzzy = Fuzzy::Destination;
        "-yy" => fuzzy = Fuzzy::AlternatesToo;
        "--fuzzy" => fuzzy = Fuzzy::Destination;
        "-L" => copy_links = true;
        "-k" => copy_dirlinks = true;
        "-W" => whole_file = WholeFile::Always;
        "--no-W" => whole_file = WholeFile::Never;
        "-H" => hard_links = true;
        "-HH" => hard_links = true;
        "-o" => owner = true;
        "-g" => group = true;
        "-D" => devices = true;
        "-D --no-specials" => devices = true;
        "-D --no-devices" => specials = true;
        "--specials" => specials = true;
        "--devices" => devices = true;
        "-t" => times = true;
        "-U" => atimes = true;
        "-UU" => open_noatime = true;
        "-p" => perms = true;
        "-E" => executability = true;
        "-A" => acls = true;
        "-A --no-p" => perms = true;
        "-X" => xattrs = Xattrs::Plain;
        "-XX" => xattrs = Xattrs::WithInternal;
        "-r" => recursive = true;
        "-c" => checksum = true;
        "-C" => cvs_exclude = true;
        "-I" => ignore_times = true;
        "-R" => relative = true;
        "-x" => one_file_system = OneFileSystem::KeepMountPoints;
        "-xx" => one_file_system = OneFileSystem::OmitMountPoints;
        "-S" => sparse = true;
        "-z" => compress = CompressRequest::Negotiate;
        "--compress-level=5" => compress = CompressRequest::Negotiate;
        "--compress-level=5" => compress_level = Some(5);
        "-z --old-compress" => compress = CompressRequest::Explicit(Compression::Zlib);
        "--new-compress" => compress = CompressRequest::Explicit(Compression::Zlibx);
        "-zz" => compress = CompressRequest::Explicit(Compression::Zlibx);
        "--compress-choice=ZSTD" => compress = CompressRequest::Explicit(Compression::Zstd);
        "--zc=lz4" => compress = CompressRequest::Explicit(Compression::Lz4);
        "--iconv=latin1" => iconv = Some(Charset::find(b"ISO-8859-1").unwrap());
        "--list-only" => list_only = true;
        "--log-format=%i" => log_format = LogFormat::Itemize;
        "--log-format %i%I" => log_format = LogFormat::ItemizeUnchanged;
        "--log-format=%o" => log_format = LogFormat::Operation;
        "--log-format=X" => log_format = LogFormat::Other;
        "--msgs2stderr" => message_route = MessageRoute::Stderr;
        "--no-msgs2stderr" => message_route = MessageRoute::Protocol;
        "-B4096" => block_size = Some(4096);
        "--block-size=128K" => block_size = Some(131_072);
        "--timeout=60" => timeout_secs = Some(60);
        "--timeout 60" => timeout_secs = Some(60);
        "--bwlimit=2" => bwlimit = Some(2048);
        "--bwlimit=1.5m" => bwlimit = Some(3 << 19);
        "--backup-dir b" => backup_dir = Some(b"b".to_vec());
        "--backup-dir=b" => backup = true;
        "--backup-dir b" => backup_suffix = Vec::<u8>::new();
        "-b --suffix=.old" => backup_suffix = b".old".to_vec();
        "--checksum-choice=md5" => checksum_choice = Some(ChecksumChoice {
            transfer: SumChoice::Named(StrongKind::Md5),
            list: SumChoice::Named(StrongKind::Md5),
        });
        "--cc=auto,XXH64" => checksum_choice = Some(ChecksumChoice {
            transfer: SumChoice::Auto,
            list: SumChoice::Named(StrongKind::Xxh64),
        });
        "--max-delete=5" => max_delete = Some(5);
        "--max-delete=-1" => max_delete = Some(0);
        "--min-size=3k" => min_size = Some(3072);
        "--max-size 2M" => max_size = Some(2 << 20);
        "-r --delete-before" => delete = Delete::Before;
        "-r --delete-during" => delete = Delete::During;
        "-r --delete-delay" => delete = Delete::Delay;
        "-r --delete-after" => delete = Delete::After;
        "-r --delete" => delete = Delete::Unspecified;
        "-d --no-r --delete" => delete = Delete::Unspecified;
        "-r --delete --delete-after" => delete = Delete::After;
        "-r --delete-excluded" => delete = Delete::Unspecified;
        "-r --delete-excluded" => delete_excluded = true;
        "--force" => force = true;
        "--only-write-batch=X" => only_write_batch = true;
        "--super" => super_user = Some(true);
        "--drop-D" => drop_nodes = true;
        "--drop-D --no-drop-D --insecure-links" => drop_nodes = false;
        "--no-super" => super_user = Some(false);
        "--fake-super" => fake_super = true;
        "--size-only" => size_only = true;
        "--stats" => stats = true;
        "--skip-compress=gz/jpg" => skip_compress = Some(b"gz/jpg".to_vec());
        "--max-alloc=1g" => max_alloc = Some(1 << 30);
        "--delete-missing-args" => missing_args = MissingArgs::Delete;
        "--delete-missing-args --ignore-missing-args" => missing_args = MissingArgs::Delete;
        "--ignore-missing-args" => missing_args = MissingArgs::Ignore;
        "--modify-window=2" => modify_window = ModifyWindow::Seconds(2);
        "-@-1" => modify_window = ModifyWindow::Nanoseconds;
        "--checksum-seed=-7" => checksum_seed = Some(-7);
        "--partial-dir ~/p" => partial_dir = Some(b"/p".to_vec());
        "--partial-dir p" => partial = true;
        "--delay-updates" => delay_updates = true;
        "--partial" => partial = true;
        "--ignore-errors" => ignore_errors = true;
        "--copy-unsafe-links" => copy_unsafe_links = true;
        "--safe-links" => safe_links = true;
        "--numeric-ids" => numeric_ids = true;
        "--use-qsort" => incremental = false;
        "--qsort" => incremental = false;
        "--no-i-r" => incremental = false;
        "--usermap=1:2" => owner = true;
        "--groupmap=1:2" => group = true;
        "--ignore-existing" => ignore_existing = true;
        "--existing" => existing = true;
        "--temp-dir t" => temp_dir = Some(b"t".to_vec());
        "-T t" => temp_dir = Some(b"t".to_vec());
        "--fsync" => fsync = true;
        "--compare-dest a --compare-dest=b" => alternates = Some(Alternates {
            kind: AlternateKind::Compare,
            dirs: vec![b"a".to_vec(), b"b".to_vec()],
        });
        "--copy-dest a" => alternates = Some(Alternates {
            kind: AlternateKind::Copy,
            dirs: vec![b"a".to_vec()],
        });
        "--link-dest ../x --link-dest ~/y" => alternates = Some(Alternates {
            kind: AlternateKind::Link,
            dirs: vec![b"../x".to_vec(), b"/y".to_vec()],
        });
        "--info=DEL" => info_changes = vec![(Info::Del, 1)];
        "--append" => append = Append::Unverified;
        "--append --append" => append = Append::Verified;
        "--append-verify" => append = Append::Verified;
        "--inplace" => inplace = true;
        "--files-from ~/list" => files_from = FilesFrom::Server { path: b"/list".to_vec() };
        "--files-from=~/list" => files_from = FilesFrom::Server { path: b"~/list".to_vec() };
        "--files-from list" => relative = true;
        "--files-from list" => dirs = true;
        "--from0" => from0 = true;
        "--no-implied-dirs" => implied_dirs = false;
        "--write-devices" => write_devices = true;
        "--remove-source-files" => remove_source = RemoveSource::SourceFiles;
        "--remove-sent-files" => remove_source = RemoveSource::SentFiles;
        "--copy-devices" => copy_devices = true;
        "--preallocate" => preallocate = true;
        "--open-noatime" => open_noatime = true;
        "--mkpath" => mkpath = true;
        "--munge-links" => munge_links = true;
        "--protocol=29" => protocol_limit = ProtocolVersion::new(29);
    };
    for (words, check) in table {
        assert!(check(&push(words)), "{words}: {:?}", push(words));
    }
}

#[test]
fn negations_and_later_words_take_back_what_earlier_ones_said() {
    let plain = push("");
    for words in [
        "-v --no-v",
        "-r --no-r",
        "-d --no-dirs",
        "-R --no-R",
        "-l --no-links",
        "-H --no-H",
        "-p --no-p",
        "-o --no-o",
        "-g --no-g",
        "-D --no-D",
        "-t --no-t",
        "-O --no-O",
        "-J --no-J",
        "-U --no-U",
        "-N --no-N",
        "-X --no-X",
        "-c --no-c",
        "-I --no-I",
        "-u --no-u",
        "-x --no-x",
        "-S --no-S",
        "-z --no-z",
        "-y --no-y",
        "-b --no-b",
        "-m --no-m",
        "-C --no-C",
        "-q --no-q",
        "--inplace --no-inplace",
        "--append --no-append",
        "--partial --no-partial",
        "--numeric-ids --no-numeric-ids",
        "--timeout=3 --no-timeout",
        "--bwlimit=3 --no-bwlimit",
        "--stats --no-stats",
        "--force --no-force",
        "--fsync --no-fsync",
        "--mkpath --no-mkpath",
        "--ignore-errors --no-ignore-errors",
        "--size-only --no-size-only",
        "--timeout=0",
        "--bwlimit=0",
        "--checksum-seed=0",
        "--block-size=0",
        "--partial-dir=.",
        "--cc=auto",
        "--compress-choice=none",
        "-z --zc=none",
        "--modify-window=0",
        "--debug=flist2,recv",
        "--progress",
        "--trust-sender",
        "--log-format=x --no-log-format",
        "--no-i-d --implied-dirs",
    ] {
        assert_eq!(push(words), plain, "{words}");
    }
    assert!(!push("--files-from list --no-relative").relative);
    assert!(!push("--files-from list").recursive);
}

#[test]
fn stock_servers_refuse_these_words_in_these_words() {
    for (words, expected) in [
        ("--foo", "on remote machine: --foo: unknown option"),
        ("--foo=3", "on remote machine: --foo=3: unknown option"),
        ("--no-foo", "on remote machine: --no-foo: unknown option"),
        (
            "--del-after",
            "on remote machine: --del-after: unknown option",
        ),
        ("-logQ", "on remote machine: -logQ: unknown option"),
        (
            "--timeout=x",
            "on remote machine: --timeout=x: invalid numeric value",
        ),
        (
            "--modify-window",
            "on remote machine: .: invalid numeric value",
        ),
        ("-@x", "on remote machine: -@x: invalid numeric value"),
        (
            "--existing=3",
            "on remote machine: --existing=3: option does not take an argument",
        ),
        ("--max-size=3q", "--max-size=3q is invalid"),
        ("--bwlimit=x", "--bwlimit=x is invalid"),
        ("--max-alloc=0", "--max-alloc=0 is invalid"),
        ("--checksum-choice=foo", "unknown checksum name: foo"),
        ("--checksum-choice=md5,", "unknown checksum name: "),
        ("--zc=foo", "unknown compress name: foo"),
        ("-B131073", "--block-size=131073 is too large (max: 131072)"),
        (
            "-r --delete-after --delete-before",
            "You may not combine multiple --delete-WHEN options.",
        ),
        (
            "--delete",
            "--delete does not work without --recursive (-r) or --dirs (-d).",
        ),
        (
            "-r --inplace --partial-dir x",
            "--inplace cannot be used with --partial-dir",
        ),
        (
            "-r --append --delay-updates",
            "--append cannot be used with --delay-updates",
        ),
        (
            "--write-devices --partial-dir=x",
            "--write-devices cannot be used with --partial-dir",
        ),
        ("--append -W", "--append cannot be used with --whole-file"),
        (
            "--link-dest a --copy-dest b",
            "the --copy-dest option conflicts with the --link-dest option",
        ),
        ("-b --suffix=a/b", "--suffix cannot contain slashes: a/b"),
        (
            "-b --suffix=",
            "--suffix cannot be empty without a --backup-dir",
        ),
        ("--protocol=26", "--protocol=26 is invalid"),
        ("--stderr=x", "--stderr=x is invalid"),
        (
            "--files-from=-",
            "--files-from=- makes no sense without --sender",
        ),
        ("x", "`x` stands before the `.` that paths follow"),
        ("--\\\x1b", "on remote machine: --\\#033: unknown option"),
    ] {
        assert_eq!(message(words), expected, "{words}");
    }
    let lacking = ServerOptions::parse(&split(b"--server --timeout").unwrap()).unwrap_err();
    assert_eq!(
        lacking.message,
        "on remote machine: --timeout: missing argument"
    );
    assert_eq!(try_parse("-r . a b").unwrap_err().exit.code(), 1);
    assert!(try_parse("--sender -r . a b").is_ok());
    let many = "--link-dest x ".repeat(21);
    assert_eq!(
        message(&many),
        "at most 20 --link-dest options may be given"
    );
    assert!(try_parse(&format!("{} . dst", "--link-dest x ".repeat(20))).is_ok());
    let none = ServerOptions::parse(&split(b"-r . dst").unwrap()).unwrap_err();
    assert_eq!(none.message, "--server is missing");
}

#[test]
fn a_refusal_on_stderr_has_the_form_that_scripts_look_for() {
    let error = try_parse("--foo . dst").unwrap_err();
    let text = render_usage_error(&error);
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("rsync: on remote machine: --foo: unknown option")
    );
    let last = lines.next().unwrap();
    assert!(last.starts_with("rsync error: syntax or usage error (code 1) at coffre [server="));
    assert_eq!(lines.next(), None);
}

#[test]
fn what_names_files_of_the_server_or_filters_is_refused_with_a_reason() {
    for words in [
        "--daemon",
        "--config=x",
        "--log-file=x",
        "--filter=x",
        "-fx",
        "-F",
        "--exclude x",
        "--include-from=x",
        "--write-batch=x",
        "--chmod=x",
        "-M--foo",
        "--confine-root=/x",
        "--stop-after=3",
    ] {
        let error = try_parse(&format!("{words} . dst")).unwrap_err();
        assert!(
            error.message.starts_with("this server refuses -"),
            "{words}"
        );
        assert_eq!(error.exit.code(), 4);
    }
}

#[test]
fn what_linux_cannot_do_is_refused_in_the_words_of_stock() {
    for words in ["-N", "--crtimes", "--sender -N"] {
        let error = try_parse(&format!("-r {words} . x")).unwrap_err();
        assert_eq!(error.message, "The server does not support --crtimes (-N)");
        assert_eq!(error.exit.code(), 1);
    }
    assert!(try_parse("-r -N --no-N . x").is_ok());
}

#[test]
fn what_is_dangerous_is_refused_by_name_with_the_reason() {
    for option in ["--write-devices", "--copy-devices", "--keep-dirlinks"] {
        let refusal = push(option).refusal().unwrap();
        assert!(
            refusal
                .message
                .starts_with(&format!("this server refuses {option}: "))
        );
    }
    for words in [
        "--link-dest x",
        "--copy-dest=x --copy-dest=y",
        "--compare-dest=/x --inplace",
    ] {
        assert_eq!(push(words).refusal(), None, "{words}");
        let both = push(&format!("{words} --append")).refusal().unwrap();
        let begin = "this server refuses --append with an alternate directory: ";
        assert!(both.message.starts_with(begin), "{words}: {}", both.message);
    }
    let both = push("-yy --append").refusal().unwrap();
    let begin = "this server refuses --append with --fuzzy: ";
    assert!(both.message.starts_with(begin), "{}", both.message);
    let pull = |words: &str| {
        let options = try_parse(&format!("--sender -r {words} . x")).unwrap();
        options.refusal().map(|refusal| refusal.message)
    };
    for words in ["", "--inplace", "--append", "-b", "-y", "--files-from list"] {
        assert_eq!(pull(words), None, "{words}");
    }
    for (words, sentence) in [
        (
            "--remove-source-files",
            "this server refuses --remove-source-files: a restore takes",
        ),
        ("--copy-devices", "this server refuses --copy-devices"),
    ] {
        let told = pull(words).unwrap_or_default();
        assert!(told.starts_with(sentence), "{words}: {told}");
    }
    let everyday = "-vvlHogDtpAXrcISze.iLsfxCIvu --delete --numeric-ids --fsync --partial \
                    --preallocate --timeout=60 --stats --mkpath --no-W";
    assert_eq!(push(everyday).refusal(), None);
}

#[test]
fn paths_follow_the_dot_even_if_they_look_like_options() {
    let options = try_parse("-r . -x").unwrap();
    assert_eq!(options.paths[0].bytes(), b"-x");
    assert_eq!(options.one_file_system, OneFileSystem::No);
    for (words, destination) in [
        ("-r .", "."),
        ("-r . ''", "."),
        ("-r . .", "."),
        ("-r . ~/a", "/a"),
        ("-r . a\\ b", "a b"),
    ] {
        assert_eq!(
            try_parse(words).unwrap().destination(),
            destination.as_bytes(),
            "{words}"
        );
    }
}

#[test]
fn deletion_has_its_moment_by_version_and_wants_the_filter_list() {
    for (words, at_29, at_30, list_28, list_29) in [
        ("-r", DeleteTiming::None, DeleteTiming::None, false, false),
        (
            "-r --delete",
            DeleteTiming::Before,
            DeleteTiming::During,
            true,
            true,
        ),
        (
            "-r --delete-excluded",
            DeleteTiming::Before,
            DeleteTiming::During,
            false,
            true,
        ),
        (
            "-r --delete-before",
            DeleteTiming::Before,
            DeleteTiming::Before,
            true,
            true,
        ),
        (
            "-r --delete-during",
            DeleteTiming::During,
            DeleteTiming::During,
            true,
            true,
        ),
        (
            "-r --delete-delay",
            DeleteTiming::Delay,
            DeleteTiming::Delay,
            true,
            true,
        ),
        (
            "-r --delete-after",
            DeleteTiming::After,
            DeleteTiming::After,
            true,
            true,
        ),
        ("-rm", DeleteTiming::None, DeleteTiming::None, true, true),
        (
            "-r --delete-missing-args",
            DeleteTiming::None,
            DeleteTiming::None,
            false,
            false,
        ),
    ] {
        let options = push(words);
        assert_eq!(options.deletion(version(29)), at_29, "{words}");
        assert_eq!(options.deletion(version(30)), at_30, "{words}");
        assert_eq!(
            options.receiver_wants_filter_list(version(28)),
            list_28,
            "{words}"
        );
        assert_eq!(
            options.receiver_wants_filter_list(version(29)),
            list_29,
            "{words}"
        );
        assert_eq!(
            options.receives_filter_list(version(29)),
            list_29,
            "{words}"
        );
    }
    assert!(
        try_parse("--sender -r . x")
            .unwrap()
            .receives_filter_list(version(27))
    );
}

#[test]
fn incremental_recursion_needs_the_letter_and_nothing_that_needs_the_whole_list() {
    for (words, expected) in [
        ("-re.iLsfxCIvu", true),
        ("-re.LsfxCIvu", false),
        ("-r", false),
        ("-de.i", false),
        ("-re.i --delete", true),
        ("-re.i --delete-during", true),
        ("-re.i --delete-delay", true),
        ("-re.i --delete-excluded", true),
        ("-re.i --delete-before", false),
        ("-re.i --delete-after", false),
        ("-re.i --delay-updates", false),
        ("-rme.i", false),
        ("-re.i --qsort", false),
        ("-re.i --no-inc-recursive", false),
    ] {
        assert_eq!(
            push(words).allows_incremental_recursion(),
            expected,
            "{words}"
        );
        // A sender needs no look at what the receiver deletes.
        let pull = try_parse(&format!("--sender {words} . x")).unwrap();
        let qsort = words.contains("qsort") || words.contains("no-inc");
        let expected = words.starts_with('-') && words.contains("e.i") && words.contains('r');
        assert_eq!(
            pull.allows_incremental_recursion(),
            expected && !qsort && !words.starts_with("-de"),
            "{words}"
        );
    }
}

#[test]
fn unchanged_entries_are_itemised_where_the_client_wants_them() {
    for (words, expected) in [
        ("", false),
        ("-v", false),
        ("-vv", true),
        ("--log-format=%i", false),
        ("--log-format=%i%I", true),
        ("--info=NAME2 --log-format=X", true),
        ("-vv --info=NAME1", false),
        ("--itemize-changes --itemize-changes", true),
    ] {
        assert_eq!(push(words).itemizes_unchanged(), expected, "{words}");
    }
}

#[test]
fn options_that_a_version_cannot_carry_are_refused() {
    for (words, first) in [
        ("-A", 30),
        ("-X", 30),
        ("-y", 29),
        ("-m", 29),
        ("--link-dest a --link-dest b", 29),
        ("--link-dest a --inplace", 29),
        ("--link-dest a", 27),
    ] {
        let options = push(words);
        for number in 27..=32 {
            let checked = options.check_version(version(number));
            assert_eq!(checked.is_ok(), number >= first, "{words} at {number}");
            if let Err(error) = checked {
                assert_eq!(error.exit.code(), 2);
            }
        }
    }
    assert_eq!(push("--append").append(version(29)), Append::Verified);
    assert_eq!(push("--append").append(version(30)), Append::Unverified);
}

#[test]
fn implied_meanings_are_asked_for_by_name() {
    assert!(push("--append").writes_in_place() && push("--inplace").writes_in_place());
    assert!(!push("").writes_in_place());
    assert!(push("").changes_disk());
    for words in ["-n", "--only-write-batch=X", "--list-only"] {
        assert!(!push(words).changes_disk(), "{words}");
    }
    assert_eq!(push("--delay-updates").partial_dir(), Some(&b".~tmp~"[..]));
    assert_eq!(
        push("--delay-updates --partial-dir p").partial_dir(),
        Some(&b"p"[..])
    );
    assert_eq!(push("").partial_dir(), None);
}

/// Feeds `bytes` one at a time. Gives the words and what is left.
fn secluded(bytes: &[u8]) -> Result<(Vec<Word>, &[u8]), ProtocolError> {
    let mut decoder = SecludedArgs::new();
    let (mut words, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        let mut reader = Reader::new(&bytes[start..end]);
        match decoder.decode_word(&mut reader) {
            Ok(word) => {
                start += reader.consumed();
                match word {
                    Some(word) => words.push(word),
                    None => return Ok((words, &bytes[start..])),
                }
            }
            Err(DecodeError::Incomplete) => end += 1,
            Err(DecodeError::Malformed(error)) => return Err(error),
        }
    }
}

#[test]
fn secluded_arguments_follow_on_stdin() {
    let exec = split(b"--server -slogDtprAe.iLsfxCIvu --iconv=latin1").unwrap();
    let first = ServerOptions::parse(&exec).unwrap();
    assert!(first.secluded && first.acls && first.paths.is_empty());
    assert_eq!(first.iconv, Charset::find(b"latin1").ok());

    let (words, rest) =
        secluded(b"rsync\0--delete\0--max-size=1k\0.\0/d st/*$(x)\0\0\x20\0\0\0").unwrap();
    assert_eq!(rest, [0x20, 0, 0, 0]);
    let options = ServerOptions::parse_secluded(&exec, &words).unwrap();
    assert!(!options.secluded && options.acls && options.recursive);
    assert_eq!(options.delete, Delete::Unspecified);
    assert_eq!(options.max_size, Some(1024));
    assert_eq!(options.destination(), b"/d st/*$(x)");
    assert!(options.paths[0].has_wildcard());
    assert_eq!(options.capabilities, first.capabilities);
    assert!(options.converts_names && options.iconv == first.iconv);

    // They travel in UTF-8.
    let (words, _) = secluded(b"rsync\0.\0/d\xc3\xa9/*\0\0").unwrap();
    let options = ServerOptions::parse_secluded(&exec, &words).unwrap();
    assert_eq!(options.destination(), b"/d\xe9/*");
    assert!(options.paths[0].has_wildcard());

    // No shell saw a tilde, and a value in a word of its own is literal.
    let (words, _) = secluded(b"rsync\0--partial-dir\0~/p\0.\0~/x\0\0").unwrap();
    let options = ServerOptions::parse_secluded(&exec, &words).unwrap();
    assert_eq!(options.destination(), b"~/x");
    assert_eq!(options.partial_dir(), Some(&b"~/p"[..]));
}

#[test]
fn secluded_arguments_have_limits() {
    let longest = [vec![b'x'; SecludedArgs::MAX_WORD], vec![0, 0]].concat();
    assert_eq!(secluded(&longest).unwrap().0.len(), 1);
    let error = secluded(&[b'x'; SecludedArgs::MAX_WORD + 1]).unwrap_err();
    assert!(error.message.contains("4095 bytes"), "{error}");
    let most = [b"x\0".repeat(SecludedArgs::MAX_WORDS), vec![0]].concat();
    assert_eq!(secluded(&most).unwrap().0.len(), SecludedArgs::MAX_WORDS);
    let error = secluded(&b"x\0".repeat(SecludedArgs::MAX_WORDS + 1)).unwrap_err();
    assert!(error.message.contains("1000 words"), "{error}");
}

proptest! {
    #[test]
    fn letters_mean_the_same_in_any_order_and_in_any_number_of_words(
        letters in Just(b"logDtprvHAXUuncISRmOJbKWz".to_vec()).prop_shuffle(),
        cut in 0usize..25,
    ) {
        let text = String::from_utf8(letters).unwrap();
        let (a, b) = text.split_at(cut);
        let words = match a {
            "" => format!("-{b}e.iLsf"),
            a => format!("-{a} -{b}e.iLsf"),
        };
        prop_assert_eq!(push(&words), push("-logDtprvHAXUuncISRmOJbKWze.iLsf"));
    }

    #[test]
    fn no_words_make_the_parser_panic(
        words in proptest::collection::vec(
            prop_oneof![
                "-{0,2}[a-zA-Z0-9@.=,:*-]{0,12}",
                Just("--server".to_owned()), Just(".".to_owned()), Just("-e.i".to_owned()),
            ], 0..8),
    ) {
        let words: Vec<_> = words.iter().map(|w| Word::unquoted(w.as_bytes())).collect();
        if let Ok(options) = ServerOptions::parse(&words) {
            options.refusal();
            options.info();
            options.destination();
        }
    }
}
