use super::*;
use crate::command::split;
use crate::wire::{DecodeError, Write};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

fn version(number: u8) -> ProtocolVersion {
    ProtocolVersion::new(number).unwrap()
}

fn options(exec: &str) -> ServerOptions {
    ServerOptions::parse(&split(exec.as_bytes()).unwrap()).unwrap()
}

const PUSH: &str = "--server -re.iLsfxCIvu --delete . /";
const PULL: &str = "--server --sender -re.iLsfxCIvu . /";

fn wire(rules: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for rule in rules {
        out.put_i32(rule.len() as i32);
        out.put(rule.as_bytes());
    }
    out.put_i32(0);
    out
}

/// Reads a whole list from the wire, `step` bytes at a time.
fn read(
    options: &ServerOptions,
    number: u8,
    bytes: &[u8],
    step: usize,
) -> Result<FilterList, ProtocolError> {
    let mut list = FilterList::new(options, version(number), b"/");
    let (mut start, mut end) = (0, 0);
    loop {
        let mut reader = Reader::new(&bytes[start..end]);
        match list.decode_rule(&mut reader) {
            Ok(state) => {
                start += reader.consumed();
                if state == ListState::Complete {
                    break;
                }
            }
            Err(DecodeError::Incomplete) => {
                assert!(end < bytes.len(), "asks for more than there is");
                end = (end + step).min(bytes.len());
            }
            Err(DecodeError::Malformed(error)) => return Err(error),
        }
    }
    list.complete(options);
    Ok(list)
}

fn filter_at(exec: &str, number: u8, rules: &[&str]) -> DirFilter {
    let list = read(&options(exec), number, &wire(rules), 4096).unwrap();
    DirFilter::new(Arc::new(list))
}

fn filter(rules: &[&str]) -> DirFilter {
    filter_at(PUSH, 32, rules)
}

/// `path` with a trailing slash is a directory.
fn check(filter: &DirFilter, path: &str) -> Verdict {
    let name = path.strip_suffix('/').unwrap_or(path);
    filter.check(name.as_bytes(), name != path, false)
}

fn flaw(rule: &str) -> ProtocolError {
    read(&options(PUSH), 32, &wire(&[rule]), 4096).unwrap_err()
}

#[test]
fn the_captured_list_reads_the_same_however_its_bytes_are_cut() {
    let rules = [
        "-r pr*",
        "+r ri",
        "-! ng",
        "-p per",
        "-x user.x",
        "-/ /abs/p",
        ": /.rsync-filter",
        ":n- .nf",
        ":w+ .ef",
        "- z/",
    ];
    for step in [1, 2, 3, 7, 4096] {
        let options = options(PUSH);
        let list = read(&options, 32, &wire(&rules), step).unwrap();
        assert_eq!(list.rules.len(), rules.len());
        assert!(list.has_merge_files());
        let filter = DirFilter::new(Arc::new(list));
        assert_eq!(check(&filter, "a/prx"), Verdict::Exclude);
        assert_eq!(check(&filter, "ri"), Verdict::Include);
        // Everything but `ng` is excluded by the third rule.
        assert_eq!(check(&filter, "other"), Verdict::Exclude);
        assert_eq!(check(&filter, "ng"), Verdict::NoMatch);
        assert_eq!(filter.check_xattr(b"user.x"), Verdict::Exclude);
        assert_eq!(filter.check_xattr(b"user.y"), Verdict::NoMatch);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let filter = filter(&["+ keep/a", "- keep/*", "- *.o", "+ *"]);
    assert_eq!(check(&filter, "keep/a"), Verdict::Include);
    assert_eq!(check(&filter, "keep/b"), Verdict::Exclude);
    assert_eq!(check(&filter, "x.o"), Verdict::Exclude);
    assert_eq!(check(&filter, "x"), Verdict::Include);
    assert_eq!(check(&self::filter(&[]), "x"), Verdict::NoMatch);
}

#[test]
fn perishable_rules_do_not_count_in_a_directory_that_goes() {
    let filter = filter(&["-p *.bak", "- *.keep"]);
    for (name, deleting, expected) in [
        (&b"d/a.bak"[..], false, Verdict::Exclude),
        (b"d/a.bak", true, Verdict::NoMatch),
        (b"d/a.keep", true, Verdict::Exclude),
    ] {
        assert_eq!(filter.check(name, false, deleting), expected);
    }
}

#[test]
fn a_negated_rule_matches_where_its_pattern_does_not() {
    let filter = filter(&["-! */"]);
    assert_eq!(check(&filter, "file"), Verdict::Exclude);
    assert_eq!(check(&filter, "dir/"), Verdict::NoMatch);
}

#[test]
fn rules_of_the_other_side_do_not_count() {
    let rules = ["-s a", "-r b", "-sr c", "H d", "P e", "S f", "R g", "- h"];
    let seen = |filter: &DirFilter| {
        ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| check(filter, name))
    };
    use Verdict::{Exclude as E, Include as I, NoMatch as N};
    assert_eq!(seen(&filter(&rules)), [N, E, E, N, E, N, I, E]);
    assert_eq!(seen(&filter_at(PULL, 32, &rules)), [E, N, E, E, N, I, N, E]);
    // With --delete-excluded what names no side protects nothing.
    let push = "--server -r --delete-excluded . /";
    assert_eq!(seen(&filter_at(push, 32, &rules)), [N, E, E, N, E, N, I, N]);
}

#[test]
fn words_commas_and_underscores_are_taken_as_people_write_them() {
    for (rule, path, expected) in [
        ("exclude a", "a", Verdict::Exclude),
        ("exclude_a", "a", Verdict::Exclude),
        ("include a", "a", Verdict::Include),
        ("exclude,! a", "b", Verdict::Exclude),
        ("protect a", "a", Verdict::Exclude),
        ("risk a", "a", Verdict::Include),
        ("hide a", "a", Verdict::NoMatch),
        ("show a", "a", Verdict::NoMatch),
        ("-,p a", "a", Verdict::Exclude),
        ("-_a b", "a b", Verdict::Exclude),
        ("- a ", "a ", Verdict::Exclude),
        ("-  a", " a", Verdict::Exclude),
        ("-/ /a", "a", Verdict::Exclude),
    ] {
        assert_eq!(check(&filter(&[rule]), path), expected, "{rule}");
    }
    assert_eq!(check(&filter(&["- a", "!"]), "a"), Verdict::NoMatch);
    assert_eq!(check(&filter(&["- a", "clear"]), "a"), Verdict::NoMatch);
}

#[test]
fn a_text_that_is_no_rule_is_refused_with_the_reason() {
    for rule in [
        "x",
        "-",
        "- ",
        "-a",
        "-s",
        "exclude",
        "excludex a",
        "exclude/a",
        "-n a",
        "-w a",
        "-e a",
        ":! a",
        ":C+ a",
        ":+C a",
        "Hs a",
        "Pr a",
        "-HC a",
        "! a",
        "!a",
        ":",
        "merge",
    ] {
        let error = flaw(rule);
        assert!(error.message.ends_with(&format!(": {rule}")), "{error}");
        assert_eq!(error.exit.code(), 1);
    }
    for rule in [". /etc/shadow", "merge /etc/shadow", ".- x"] {
        let error = flaw(rule);
        assert_eq!(error.exit.code(), 4, "{rule}");
        assert!(error.message.contains("names a file of the server"));
    }
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_the_bytes_arrive() {
    for len in [-1, 5120, i32::MAX] {
        let mut out = Vec::new();
        out.put_i32(len);
        let error = read(&options(PUSH), 32, &out, 4).unwrap_err();
        assert_eq!(error.exit.code(), 12, "{len}");
    }
    let rule = "- ".to_owned() + &"x".repeat(FilterList::MAX_RULE - 2);
    let many = vec![rule.as_str(); FilterList::MAX_LIST / FilterList::MAX_RULE + 1];
    let error = read(&options(PUSH), 32, &wire(&many), 1 << 20).unwrap_err();
    assert!(error.message.contains("exceed"), "{error}");
}

#[test]
fn before_protocol_29_a_rule_is_a_bare_pattern() {
    let rules = ["gone", "!", "ex", "+ in", "- - foo", "-p x", "*.o"];
    let filter = filter_at("--server -r --delete . /", 28, &rules);
    for (path, expected) in [
        ("gone", Verdict::NoMatch),
        ("ex", Verdict::Exclude),
        ("in", Verdict::Include),
        ("- foo", Verdict::Exclude),
        ("-p x", Verdict::Exclude),
        ("x.o", Verdict::Exclude),
    ] {
        assert_eq!(check(&filter, path), expected, "{path}");
    }
}

#[test]
fn cvs_rules_come_from_whoever_has_to_supply_them() {
    let pull = "--server --sender -rCe.iLsfxCIvu . /";
    let mut filter = filter_at(pull, 32, &["+ core"]);
    for path in ["a.o", "x~", "CVS", ".git/", "a/.git/"] {
        assert_eq!(check(&filter, path), Verdict::Exclude, "{path}");
    }
    assert_eq!(check(&filter, "core"), Verdict::Include);
    assert_eq!(check(&filter, ".git"), Verdict::NoMatch);
    assert_eq!(filter.check(b"a.o", false, true), Verdict::NoMatch);
    filter.enter(b"");
    assert_eq!(
        filter.next_file(),
        Some(MergeFile::Here(b".cvsignore".to_vec()))
    );
    // Perishable rules exist from protocol 30 on.
    let old = filter_at(pull, 29, &[]);
    assert_eq!(old.check(b"a.o", false, true), Verdict::Exclude);

    let push = "--server -rC --delete . /";
    let modern = filter_at(push, 31, &[":C .cvsignore", "-p core"]);
    assert_eq!(check(&modern, "core"), Verdict::Exclude);
    assert_eq!(check(&modern, "a.o"), Verdict::NoMatch);
    let mut old = filter_at(push, 28, &["core"]);
    old.enter(b"");
    assert!(old.next_file().is_some());
    // `-C` as a rule stands for the default list.
    assert_eq!(check(&self::filter(&["-C"]), "a.orig"), Verdict::Exclude);
}

/// Merge files of a tree, by absolute path.
struct Tree(HashMap<&'static str, &'static str>);

impl Tree {
    /// Enters `dir` and supplies its files. Gives the paths that were asked for.
    fn enter(&self, filter: &mut DirFilter, dir: &str) -> Result<Vec<String>, ProtocolError> {
        filter.enter(dir.as_bytes());
        let mut asked = Vec::new();
        while let Some(file) = filter.next_file() {
            assert_eq!(filter.next_file().as_ref(), Some(&file));
            let path = match file {
                MergeFile::Here(name) => {
                    let name = String::from_utf8(name).unwrap();
                    let root = String::from_utf8(filter.list().root.clone()).unwrap();
                    match dir {
                        "" => format!("{root}/{name}"),
                        dir => format!("{root}/{dir}/{name}"),
                    }
                }
                MergeFile::At(path) => String::from_utf8(path).unwrap(),
            };
            let content = self.0.get(path.as_str());
            asked.push(path);
            filter.supply(content.map(|text| text.as_bytes()))?;
        }
        Ok(asked)
    }
}

#[test]
fn rules_of_a_directory_come_before_inherited_ones_and_end_with_it() {
    let tree = Tree(HashMap::from([
        ("/.f", "- *.o\n# comment\n; comment\n\n- /top\r\n"),
        ("/a/.f", "+ keep.o\n- /b/x\nP *.p\nH *.h\n"),
        ("/a/b/.f", "!\n- only\n"),
    ]));
    let mut filter = filter(&[": .f", "- last"]);
    let mut seen = |dir: &str, path: &str| {
        tree.enter(&mut filter, dir).unwrap();
        check(&filter, path)
    };
    assert_eq!(seen("", "x.o"), Verdict::Exclude);
    assert_eq!(seen("", "top"), Verdict::Exclude);
    assert_eq!(seen("a", "a/keep.o"), Verdict::Include);
    assert_eq!(seen("a", "a/x.o"), Verdict::Exclude);
    assert_eq!(seen("a", "a/top"), Verdict::NoMatch);
    assert_eq!(seen("a", "a/x.p"), Verdict::Exclude);
    assert_eq!(seen("a", "a/x.h"), Verdict::NoMatch);
    assert_eq!(seen("a", "a/last"), Verdict::Exclude);
    assert_eq!(seen("a/b", "a/b/x.o"), Verdict::NoMatch);
    assert_eq!(seen("a/b", "a/b/only"), Verdict::Exclude);
    // A sibling inherits from the root only.
    assert_eq!(seen("c", "c/keep.o"), Verdict::Exclude);
    assert_eq!(seen("c/d", "c/d/x.o"), Verdict::Exclude);
    filter.leave();
    filter.leave();
    assert_eq!(check(&filter, "keep.o"), Verdict::Exclude);
}

#[test]
fn a_leading_slash_in_a_merge_file_means_its_directory_also_for_those_below() {
    let tree = Tree(HashMap::from([("/a/.f", "- /b/x\n")]));
    let mut filter = filter(&[": .f"]);
    for dir in ["", "a", "a/b"] {
        tree.enter(&mut filter, dir).unwrap();
    }
    assert_eq!(check(&filter, "a/b/x"), Verdict::Exclude);
    tree.enter(&mut filter, "b").unwrap();
    assert_eq!(check(&filter, "b/x"), Verdict::NoMatch);
}

#[test]
fn modifiers_of_a_merge_rule_hold_for_its_files() {
    let tree = Tree(HashMap::from([
        ("/.n", "- *.n"),
        ("/.minus", "- x\n#y\n!\n"),
        ("/.plus", "a\nb c\n"),
        ("/.words", "-_one +_two\n-_three"),
        ("/.cvsignore", "cvs1 cvs2 ! cvs3"),
        ("/.perish", "- per"),
        ("/.e", ""),
    ]));
    let rules = [
        ":n .n",
        ":- .minus",
        ":+ .plus",
        ":w .words",
        ":C",
        ":p .perish",
        ":e .e",
    ];
    let mut filter = filter(&rules);
    let asked = tree.enter(&mut filter, "").unwrap();
    assert_eq!(asked.len(), rules.len());
    for (path, expected) in [
        ("x.n", Verdict::Exclude),
        ("- x", Verdict::Exclude),
        // Comments and `!` mean the same in a file of patterns, as in stock programs.
        ("!", Verdict::Exclude),
        ("#y", Verdict::NoMatch),
        ("a", Verdict::Include),
        ("b c", Verdict::Include),
        ("one", Verdict::Exclude),
        ("two", Verdict::Include),
        ("three", Verdict::Exclude),
        ("cvs1", Verdict::NoMatch),
        ("cvs3", Verdict::Exclude),
        ("per", Verdict::Exclude),
        (".e", Verdict::Exclude),
    ] {
        assert_eq!(check(&filter, path), expected, "{path}");
    }
    assert_eq!(filter.check(b"per", false, true), Verdict::NoMatch);
    tree.enter(&mut filter, "d").unwrap();
    assert_eq!(check(&filter, "d/x.n"), Verdict::NoMatch);
    assert_eq!(check(&filter, "d/cvs3"), Verdict::NoMatch);
    assert_eq!(check(&filter, "d/two"), Verdict::Include);
}

#[test]
fn a_side_of_a_merge_rule_may_not_be_named_again_in_its_file() {
    let tree = Tree(HashMap::from([("/.f", "- a\n"), ("/d/.f", "-r a\n")]));
    let mut filter = filter(&[":r .f"]);
    tree.enter(&mut filter, "").unwrap();
    assert_eq!(check(&filter, "a"), Verdict::Exclude);
    let error = tree.enter(&mut filter, "d").unwrap_err();
    assert_eq!(
        error.message,
        "specified-side merge file contains specified-side filter: <rule from /d/.f line 1>"
    );
    // A merge rule of the other side is not even read.
    assert!(!filter_at(PUSH, 32, &[":s .f"]).list().has_merge_files());
    // With --delete-excluded a file protects only by rules that name the receiver.
    let tree = Tree(HashMap::from([("/.f", "- a\n-r b\n")]));
    let mut filter = filter_at("--server -r --delete-excluded . /", 31, &[": .f"]);
    tree.enter(&mut filter, "").unwrap();
    assert_eq!(check(&filter, "a"), Verdict::NoMatch);
    assert_eq!(check(&filter, "b"), Verdict::Exclude);
}

#[test]
fn a_name_with_a_slash_is_searched_from_there_down_to_the_transfer() {
    let tree = Tree(HashMap::from([
        ("/.rsync-filter", "- top\n- /var/backup/x\n"),
        ("/var/.rsync-filter", "- mid\n- /backup/y\n"),
        ("/var/backup/.rsync-filter", "- low\n"),
    ]));
    let open = |rule: &str, root: &str| {
        let mut list = FilterList::new(&options(PUSH), version(32), root.as_bytes());
        list.decode_rule(&mut Reader::new(&wire(&[rule]))).unwrap();
        DirFilter::new(Arc::new(list))
    };
    let mut filter = open(": /.rsync-filter", "/var/backup/");
    let asked = tree.enter(&mut filter, "").unwrap();
    assert_eq!(
        asked,
        [
            "/.rsync-filter",
            "/var/.rsync-filter",
            "/var/backup/.rsync-filter"
        ]
    );
    for path in ["top", "mid", "low", "x", "y"] {
        assert_eq!(check(&filter, path), Verdict::Exclude, "{path}");
    }
    assert_eq!(
        tree.enter(&mut filter, "d").unwrap(),
        ["/var/backup/d/.rsync-filter"]
    );
    for (path, expected) in [("d/mid", Verdict::Exclude), ("d/x", Verdict::NoMatch)] {
        assert_eq!(check(&filter, path), expected, "{path}");
    }
    for (rule, asked) in [
        (": /var/.f", &["/var/.f", "/var/backup/.f"][..]),
        (": /var/backup/.f", &["/var/backup/.f"]),
        (": ../.f", &["/var/.f", "/var/backup/.f"]),
        (": ../../../../.f", &["/.f", "/var/.f", "/var/backup/.f"]),
        (": /va/.f", &["/var/backup/.f"]),
        (": sub/.f", &["/var/backup/.f"]),
        (":n /.f", &["/var/backup/.f"]),
        (": .f", &["/var/backup/.f"]),
    ] {
        let mut filter = open(rule, "/var/backup");
        assert_eq!(tree.enter(&mut filter, "").unwrap(), asked, "{rule}");
    }
}

#[test]
fn files_may_name_further_files_within_limits() {
    let tree = Tree(HashMap::from([
        ("/.f", "- before\n. sub/more\n- after\n: .g\n: .f\n"),
        ("/sub/more", "+ after\n- /anchored\nH hidden\n"),
        ("/.g", "- g\n"),
        ("/d/.g", "- dg\n"),
        ("/loop/.f", ". ./.f\n"),
        ("/bare/.f", ". .g\n"),
        ("/e/.f", "- /own\n. ../sub/more\n"),
        ("/gone/.f", "merge missing\n"),
    ]));
    let mut filter = filter(&[": .f"]);
    assert_eq!(
        tree.enter(&mut filter, "").unwrap(),
        ["/.f", "/sub/more", "/.g"]
    );
    for (path, expected) in [
        ("before", Verdict::Exclude),
        ("after", Verdict::Include),
        ("anchored", Verdict::Exclude),
        // Sides do not matter in files that are merged in, observed with 3.5.0.
        ("hidden", Verdict::Exclude),
        ("g", Verdict::Exclude),
    ] {
        assert_eq!(check(&filter, path), expected, "{path}");
    }
    assert_eq!(tree.enter(&mut filter, "d").unwrap(), ["/d/.f", "/d/.g"]);
    assert_eq!(check(&filter, "d/dg"), Verdict::Exclude);
    assert_eq!(check(&filter, "d/g"), Verdict::Exclude);
    // A bare name is one of the transfer's root, a name with a slash one of the directory.
    assert_eq!(
        tree.enter(&mut filter, "bare").unwrap(),
        ["/bare/.f", "/.g", "/bare/.g"]
    );
    tree.enter(&mut filter, "e").unwrap();
    for (path, expected) in [
        ("e/own", Verdict::Exclude),
        ("e/anchored", Verdict::NoMatch),
        ("e/hidden", Verdict::Exclude),
    ] {
        assert_eq!(check(&filter, path), expected, "{path}");
    }
    let error = tree.enter(&mut filter, "loop").unwrap_err();
    assert!(
        error
            .message
            .starts_with("[generator] merge-file include depth limit (32) exceeded at"),
        "{error}"
    );
    let error = tree.enter(&mut filter, "gone").unwrap_err();
    assert_eq!(error.exit.code(), 11);
    assert_eq!(
        error.message,
        "failed to open exclude file <rule from /gone/.f line 1>"
    );
}

#[test]
fn what_a_walker_holds_is_limited_and_given_back() {
    let mut filter = filter(&[": .f"]);
    let text = vec![b'\n'; DirFilter::MAX_BYTES];
    let supply = |filter: &mut DirFilter, dir: &[u8]| {
        filter.enter(dir);
        assert!(filter.next_file().is_some());
        filter.supply(Some(&text))
    };
    supply(&mut filter, b"a").unwrap();
    supply(&mut filter, b"b").unwrap();
    let error = supply(&mut filter, b"b/c").unwrap_err();
    assert!(error.message.contains("exceed"), "{error}");

    // Two lines that name the file itself would be read 2^32 times.
    let mut filter = self::filter(&[": .f"]);
    filter.enter(b"");
    let mut reads = 0;
    let error = loop {
        assert!(filter.next_file().is_some());
        reads += 1;
        let text: &[u8] = if reads % 31 == 0 {
            b""
        } else {
            b". .f\n. .f\n"
        };
        if let Err(error) = filter.supply(Some(text)) {
            break error;
        }
    };
    assert!(reads <= DirFilter::MAX_FILES + 1, "{error}");
}

#[test]
fn the_text_of_a_file_never_appears_in_an_error() {
    let tree = Tree(HashMap::from([
        ("/.f", "# one\n\nsecret=hunter2\n"),
        ("/a/.f", "- x\r\n\n-, x\n"),
        ("/b/.f", "- x\n!\n! hunter2\n"),
        ("/c/.f", "-k hunter2\n"),
        ("/d/.f", ". ./more\n"),
        ("/d/more", "- x\nH,s hunter2"),
        ("/e/.f", "\n: .g\n"),
        ("/e/.g", "-"),
        ("/w/.w", "-_x - hunter2"),
    ]));
    for (dir, said) in [
        ("", "Unknown filter rule: <rule from /.f line 3>"),
        (
            "b",
            "'!' rule has trailing characters: <rule from /b/.f line 3>",
        ),
        (
            "c",
            "invalid modifier in filter rule: <rule from /c/.f line 1>",
        ),
        (
            "d",
            "invalid modifier in filter rule: <rule from a file named at /d/.f line 1>",
        ),
        (
            "e",
            "unexpected end of filter rule: <rule from a file read earlier>",
        ),
        // The end of a rule of words is where the blank is, so its place is the whole file.
        ("w", "unexpected end of filter rule: <rule from /w/.w>"),
    ] {
        let mut filter = filter(&[": .f", ":w .w"]);
        let error = tree.enter(&mut filter, dir).unwrap_err();
        assert_eq!(error.message, said);
        assert_eq!(error.exit.code(), 1);
    }
    assert!(tree.enter(&mut filter(&[": .f"]), "a").is_ok());
}

#[test]
fn a_rule_of_the_client_is_cited_when_it_is_none() {
    for (rule, said) in [
        ("k x", "Unknown filter rule: k x"),
        (
            "-,pk x",
            "invalid modifier 'k' at position 3 in filter rule: -,pk x",
        ),
        ("! x", "'!' rule has trailing characters: ! x"),
        ("- ", "unexpected end of filter rule: - "),
    ] {
        let mut list = FilterList::new(&options(PUSH), version(32), b"/");
        match list.decode_rule(&mut Reader::new(&wire(&[rule]))) {
            Err(DecodeError::Malformed(error)) => assert_eq!(error.message, said),
            other => panic!("{rule}: {other:?}"),
        }
    }
}

#[test]
fn who_asks_is_told_which_rule_decides_and_never_the_text_of_a_file() {
    let tree = Tree(HashMap::from([
        ("/.f", "- secret\n: .g\n"),
        ("/.g", "- gone\n"),
    ]));
    let trace = |filter: &DirFilter, path: &str| {
        let name = path.strip_suffix('/').unwrap_or(path);
        let line = filter.trace(name.as_bytes(), name != path, false)?;
        Some(String::from_utf8(line).unwrap())
    };
    let mut receiver = filter(&["- *~", "+ /keep/", ": .f"]);
    tree.enter(&mut receiver, "").unwrap();
    for (path, line) in [
        ("other", None),
        (
            "d/a~",
            Some("[generator] protecting file d/a~ because of pattern *~"),
        ),
        (
            "keep/",
            Some("[generator] risking directory keep because of pattern /keep/"),
        ),
        (
            "secret",
            Some(
                "[generator] protecting file secret because of pattern \
                 <rule from a file read earlier> [per-dir .f]",
            ),
        ),
        (
            "gone",
            Some(
                "[generator] protecting file gone because of pattern \
                 <rule from a file read earlier> [per-dir <rule from /.f line 2>]",
            ),
        ),
    ] {
        assert_eq!(trace(&receiver, path).as_deref(), line, "{path}");
    }
    let pull = options("--server --sender -C . /");
    let mut list = FilterList::new(&pull, version(32), b"/");
    for rule in ["+ b", "-x user.*"] {
        list.decode_rule(&mut Reader::new(&wire(&[rule]))).unwrap();
    }
    list.complete(&pull);
    let sender = DirFilter::new(Arc::new(list));
    assert_eq!(
        trace(&sender, "b").unwrap(),
        "[sender] showing file b because of pattern b"
    );
    assert_eq!(
        trace(&sender, "x.o").unwrap(),
        "[sender] hiding file x.o because of pattern *.o [global CVS]"
    );
    assert_eq!(
        sender.trace_xattr(b"user.x").unwrap(),
        b"[sender] hiding xattr user.x because of pattern user.*"
    );
}

proptest! {
    #[test]
    fn no_rule_and_no_file_makes_the_parser_panic(
        rule in "[-+.:!HSPRCnwexsrp/ _,a*\\[\n]{0,12}",
        text in "[-+.:!HSPRCnwexsrp/ _,a*\\[\n#]{0,60}",
        number in 27u8..=32,
    ) {
        let mut list = FilterList::new(&options(PUSH), version(number), b"/a/b");
        let _ = list.decode_rule(&mut Reader::new(&wire(&[&rule])));
        let _ = list.decode_rule(&mut Reader::new(&wire(&[":w .g", ": /.f"])));
        let mut filter = DirFilter::new(Arc::new(list));
        for dir in ["", "c", "c/d"] {
            filter.enter(dir.as_bytes());
            while filter.next_file().is_some() {
                if filter.supply(Some(text.as_bytes())).is_err() {
                    break;
                }
            }
            filter.check(b"c/d/a", false, false);
        }
    }
}
