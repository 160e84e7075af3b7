//! What is refused, and in which words.

use super::*;

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
    for option in ["--write-devices", "--copy-devices"] {
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
