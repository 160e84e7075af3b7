//! What a client asks SSH to run, understood without a shell.
//!
//! SSH delivers one string; `sshd` would hand it to the login shell. Here [`split`] does the part
//! of the shell's job that needs no evaluation (blanks, quotes, backslashes) and refuses the rest
//! with a sentence. [`Command::parse`] then says which of the few served commands it is. The
//! session takes it from there: `rsync --server …` goes on to [`crate::options`].
//!
//! Trap: whether a character was quoted decides later if it is a wildcard or a home directory
//! (`\*` in a restore path is a star, `*` is any name), so a [`Word`] remembers it.
//! Source: POSIX.1-2017 Shell Command Language 2.2; what rsync 2.6.9 to 3.5.0 send.

use crate::ProtocolError;
use crate::error::escape;

/// One word of a command line: its bytes, and which of them were quoted.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Word {
    bytes: Vec<u8>,
    quoted: Vec<bool>,
}

impl Word {
    /// A word that no shell saw, such as one that arrives on stdin with secluded arguments:
    /// wildcards in it are live, but a leading `~` is an ordinary character.
    pub fn unquoted(bytes: &[u8]) -> Self {
        let mut quoted = vec![false; bytes.len()];
        if bytes.first() == Some(&b'~') {
            quoted[0] = true;
        }
        Self {
            bytes: bytes.to_vec(),
            quoted,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the byte at `index` was quoted or escaped.
    pub fn is_quoted(&self, index: usize) -> bool {
        self.quoted[index]
    }

    /// The bytes with a leading unquoted `~` or `~/` replaced by `/`: home is the top of the view.
    pub fn expand_home(&self) -> Vec<u8> {
        let home = match self.bytes.as_slice() {
            [b'~'] | [b'~', b'/', ..] => !self.quoted[0],
            _ => false,
        };
        match self.bytes.as_slice() {
            [_] if home => b"/".to_vec(),
            [_, rest @ ..] if home => rest.to_vec(),
            _ => self.bytes.clone(),
        }
    }

    /// Whether an unquoted `*`, `?` or `[` stands in the word.
    pub fn has_wildcard(&self) -> bool {
        self.marked().any(|(b, quoted)| !quoted && is_wildcard(b))
    }

    /// The word as a pattern for [`crate::filter::Glob`]: what was quoted is escaped with a
    /// backslash, a leading `~/` is expanded as by [`Word::expand_home`].
    pub fn glob(&self) -> Vec<u8> {
        let skipped = self.bytes.len() - self.expand_home().len();
        let mut out = Vec::with_capacity(self.bytes.len());
        if self.bytes == b"~" && !self.quoted[0] {
            return b"/".to_vec();
        }
        for (b, quoted) in self.marked().skip(skipped) {
            if quoted && (is_wildcard(b) || b == b'\\' || b == b']') {
                out.push(b'\\');
            }
            out.push(b);
        }
        out
    }

    fn marked(&self) -> impl Iterator<Item = (u8, bool)> {
        self.bytes.iter().copied().zip(self.quoted.iter().copied())
    }

    fn push(&mut self, byte: u8, quoted: bool) {
        self.bytes.push(byte);
        self.quoted.push(quoted);
    }

    fn is(&self, text: &str) -> bool {
        self.bytes == text.as_bytes()
    }
}

fn is_wildcard(b: u8) -> bool {
    matches!(b, b'*' | b'?' | b'[')
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Word({:?})", escape(&self.bytes))
    }
}

/// Splits an exec string into words.
///
/// Errors: a character that a shell would evaluate (`$`, backquote, `;`, `&`, `|`, `<`, `>`, `(`,
/// `)`, a newline, `#` at the start of a word) stands there unquoted, a quote is never closed, or
/// a NUL is in the string. Trailing blanks and newlines are harmless.
pub fn split(exec: &[u8]) -> Result<Vec<Word>, ProtocolError> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = exec;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\\' => match rest {
                [b'\n', tail @ ..] => rest = tail,
                [escaped, tail @ ..] => {
                    word.get_or_insert_default().push(*escaped, true);
                    rest = tail;
                }
                [] => word.get_or_insert_default().push(b'\\', true),
            },
            b'\'' => {
                let word = word.get_or_insert_default();
                let end = rest.iter().position(|b| *b == b'\'').ok_or_else(unclosed)?;
                rest[..end].iter().for_each(|b| word.push(*b, true));
                rest = &rest[end + 1..];
            }
            b'"' => rest = double_quoted(rest, word.get_or_insert_default())?,
            b'\n' if rest.iter().all(u8::is_ascii_whitespace) => break,
            b'#' if word.is_none() => return Err(needs_shell(b'#')),
            b'$' | b'`' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | b'\n' | 0 => {
                return Err(needs_shell(*byte));
            }
            _ => word.get_or_insert_default().push(*byte, false),
        }
    }
    words.extend(word);
    match words.iter().any(|word| word.bytes.contains(&0)) {
        true => Err(needs_shell(0)),
        false => Ok(words),
    }
}

/// Reads up to and including the closing double quote; gives what follows it.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Word) -> Result<&'a [u8], ProtocolError> {
    loop {
        match rest {
            [] => return Err(unclosed()),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'\n', tail @ ..] => rest = tail,
            [b'\\', b @ (b'$' | b'`' | b'"' | b'\\'), tail @ ..] => {
                word.push(*b, true);
                rest = tail;
            }
            [b @ (b'$' | b'`'), ..] => return Err(needs_shell(*b)),
            [b, tail @ ..] => {
                word.push(*b, true);
                rest = tail;
            }
        }
    }
}

fn unclosed() -> ProtocolError {
    ProtocolError::usage("a quote in the command is never closed")
}

fn needs_shell(byte: u8) -> ProtocolError {
    ProtocolError::usage(format!(
        "this server runs no shell, so `{}` in a command has no meaning here; \
         write a backslash before it if it belongs to a name",
        escape(&[byte])
    ))
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `rsync --server …`: the words after the program's name, for
    /// [`ServerOptions::parse`](crate::options::ServerOptions::parse).
    Rsync(Vec<Word>),
    /// `exit`, `true`, `:`, `echo …` and the empty command, as connection tests run them: print
    /// this and succeed.
    Probe(Vec<u8>),
    Status,
    Snapshots,
    Snapshot,
    /// Anything else, escaped for a message.
    Unknown(String),
}

impl Command {
    /// Errors: see [`split`]; also `rsync --server --daemon`, whose protocol is another one.
    pub fn parse(exec: &[u8]) -> Result<Self, ProtocolError> {
        let words = split(exec)?;
        let unknown = || Command::Unknown(escape(exec));
        let Some(words) = skip_prefixes(&words) else {
            return Ok(unknown());
        };
        let Some((program, arguments)) = words.split_first() else {
            return Ok(Command::Probe(Vec::new()));
        };
        let name = program.bytes.rsplit(|b| *b == b'/').next();
        if name == Some(b"rsync") && arguments.iter().any(|word| word.is("--server")) {
            let options = arguments.iter().take_while(|word| !word.is("."));
            return match options.clone().any(|word| word.is("--daemon")) {
                true => Err(ProtocolError::unsupported(
                    "this server does not speak the rsync daemon protocol; \
                     write `host:path` with one colon instead of two",
                )),
                false => Ok(Command::Rsync(arguments.to_vec())),
            };
        }
        Ok(match (program.bytes.as_slice(), arguments) {
            (b"exit", []) | (b"true" | b":" | b"/bin/true" | b"/usr/bin/true", _) => {
                Command::Probe(Vec::new())
            }
            (b"exit", [zero]) if zero.is("0") => Command::Probe(Vec::new()),
            (b"echo" | b"/bin/echo" | b"/usr/bin/echo", _) => Command::Probe(echo(arguments)),
            (b"status", []) => Command::Status,
            (b"snapshots", []) => Command::Snapshots,
            (b"snapshot", []) => Command::Snapshot,
            _ => unknown(),
        })
    }
}

fn echo(arguments: &[Word]) -> Vec<u8> {
    let (newline, words) = match arguments {
        [first, rest @ ..] if first.is("-n") => (false, rest),
        all => (true, all),
    };
    let words: Vec<&[u8]> = words.iter().map(Word::bytes).collect();
    let mut out = words.join(&b' ');
    if newline {
        out.push(b'\n');
    }
    out
}

/// A program that runs the rest of its command line, and the option letters it may carry.
struct Prefix {
    name: &'static [u8],
    /// Letters that take a value, in the same word or the next.
    valued: &'static [u8],
    plain: &'static [u8],
}

/// None of them matters here: privilege and priority are the server's own business.
const PREFIXES: &[Prefix] = &[
    prefix(b"sudo", b"ugpCDRTh", b"nEHPSbks"),
    prefix(b"doas", b"u", b"n"),
    prefix(b"nice", b"n", b"0123456789"),
    prefix(b"ionice", b"cn", b"t"),
    prefix(b"env", b"u", b"i"),
    prefix(b"nohup", b"", b""),
    prefix(b"exec", b"", b""),
    prefix(b"command", b"", b""),
];

const fn prefix(name: &'static [u8], valued: &'static [u8], plain: &'static [u8]) -> Prefix {
    Prefix {
        name,
        valued,
        plain,
    }
}

/// Drops harmless programs and variable assignments in front of the command. `None` when one of
/// them has an option that is not known here.
fn skip_prefixes(mut words: &[Word]) -> Option<&[Word]> {
    loop {
        let Some((first, rest)) = words.split_first() else {
            return Some(words);
        };
        if is_assignment(first) {
            words = rest;
            continue;
        }
        let name = first.bytes.rsplit(|b| *b == b'/').next();
        let Some(prefix) = PREFIXES.iter().find(|prefix| name == Some(prefix.name)) else {
            return Some(words);
        };
        words = skip_options(prefix, rest)?;
    }
}

fn skip_options<'a>(prefix: &Prefix, mut words: &'a [Word]) -> Option<&'a [Word]> {
    while let Some((first, rest)) = words.split_first() {
        let [b'-', cluster @ ..] = first.bytes.as_slice() else {
            break;
        };
        words = rest;
        match cluster {
            b"-" => break,
            // A long option: only the forms of one word, `--adjustment=10`, `--preserve-env`.
            [b'-', ..] => continue,
            [] => return None,
            _ => {}
        }
        let valued = cluster.iter().position(|b| prefix.valued.contains(b));
        let plain = &cluster[..valued.unwrap_or(cluster.len())];
        if !plain.iter().all(|b| prefix.plain.contains(b)) {
            return None;
        }
        if valued == Some(cluster.len() - 1) {
            words = words.split_first()?.1;
        }
    }
    Some(words)
}

/// `NAME=value`, as the shell and `env` take it.
fn is_assignment(word: &Word) -> bool {
    let Some(end) = word.bytes.iter().position(|b| *b == b'=') else {
        return false;
    };
    let name = &word.bytes[..end];
    name.first().is_some_and(|b| !b.is_ascii_digit())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && !word.quoted[..=end].contains(&true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(exec: &str) -> Vec<Vec<u8>> {
        split(exec.as_bytes())
            .unwrap()
            .into_iter()
            .map(|word| word.bytes)
            .collect()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  a \t b  ", &["a", "b"]),
            ("a\n", &["a"]),
            (r"a\ b c", &["a b", "c"]),
            (r"a\ ", &["a "]),
            (r"'a b'\''c'", &["a b'c"]),
            (r#""a b"c "" ''"#, &["a bc", "", ""]),
            (r#""\$\`\"\\\x""#, &[r#"$`"\\x"#]),
            (r"'\a'", &[r"\a"]),
            (r"a\*b a\\b", &["a*b", r"a\b"]),
            ("a\\\nb", &["ab"]),
            ("\"a\\\nb\"", &["ab"]),
            ("a#b {x,y} !z", &["a#b", "{x,y}", "!z"]),
            (r"\#x '#'y", &["#x", "#y"]),
            ("caf\u{e9}", &["caf\u{e9}"]),
            ("a\\", &["a\\"]),
        ];
        for (exec, expected) in table {
            let expected: Vec<_> = expected.iter().map(|w| w.as_bytes().to_vec()).collect();
            assert_eq!(words(exec), expected, "{exec:?}");
        }
    }

    #[test]
    fn what_only_a_shell_could_evaluate_is_refused_by_name() {
        for c in ["$", "`", ";", "&", "|", "<", ">", "(", ")"] {
            let error = split(format!("rsync --server . a{c}b").as_bytes()).unwrap_err();
            assert!(error.message.contains(&format!("`{c}`")), "{error}");
            assert_eq!(error.exit.code(), 1);
        }
        for exec in ["a\nb", "a #b", "\"$HOME\"", "\"`id`\"", "a\0b", "'a\0'"] {
            assert!(split(exec.as_bytes()).is_err(), "{exec:?}");
        }
        for exec in ["'a", "\"a", "\"a\\\""] {
            let error = split(exec.as_bytes()).unwrap_err();
            assert!(error.message.contains("never closed"), "{exec:?}");
        }
    }

    #[test]
    fn a_word_knows_which_wildcards_and_tildes_are_live() {
        let word = |exec: &str| split(exec.as_bytes()).unwrap().remove(0);
        assert!(word("a*").has_wildcard());
        assert!(!word(r"a\*").has_wildcard());
        assert!(!word("'a*[?'").has_wildcard());
        assert_eq!(word(r"*\*\[x\]\\").glob(), br"*\*\[x\]\\");
        assert_eq!(word(r"~/a\*").glob(), br"/a\*");
        assert_eq!(word("~").glob(), b"/");
        for (exec, home) in [
            ("~/x", "/x"),
            ("~", "/"),
            (r"\~/x", "~/x"),
            ("'~'", "~"),
            ("~user/x", "~user/x"),
            ("x~/y", "x~/y"),
        ] {
            assert_eq!(word(exec).expand_home(), home.as_bytes(), "{exec}");
        }
        assert_eq!(Word::unquoted(b"~/x").expand_home(), b"~/x");
        assert!(Word::unquoted(b"x*").has_wildcard());
    }

    fn rsync(exec: &str) -> Option<Vec<Vec<u8>>> {
        match Command::parse(exec.as_bytes()).unwrap() {
            Command::Rsync(words) => Some(words.into_iter().map(|word| word.bytes).collect()),
            _ => None,
        }
    }

    #[test]
    fn rsync_is_found_behind_paths_and_harmless_programs() {
        for before in [
            "rsync",
            "/usr/bin/rsync",
            "./rsync",
            "sudo rsync",
            "sudo -n -u root -E -- /usr/bin/rsync",
            "sudo -nE --preserve-env=PATH rsync",
            "nice rsync",
            "nice -n 10 rsync",
            "nice -n19 rsync",
            "nice -10 rsync",
            "nice --adjustment=5 rsync",
            "ionice -c3 rsync",
            "ionice -c 2 -n 7 -t rsync",
            "env LC_ALL=C A_1=x rsync",
            "LC_ALL=C rsync",
            "nice -n 19 ionice -c3 sudo rsync",
            "exec nohup rsync",
        ] {
            assert_eq!(
                rsync(&format!("{before} --server -logDtpr . dst")),
                Some(
                    ["--server", "-logDtpr", ".", "dst"]
                        .map(|w| w.into())
                        .to_vec()
                ),
                "{before}"
            );
        }
        assert_eq!(
            rsync("rsync --fake-super --server . x").unwrap()[0],
            b"--fake-super"
        );
    }

    #[test]
    fn what_is_not_a_served_command_is_unknown_and_escaped() {
        for exec in [
            "rsync",
            "rsync --version",
            "rsyncd --server . x",
            "sh -c 'rsync --server . x'",
            "nice -x rsync --server . x",
            "exit 1",
            "exit 0 0",
            "snapshot now",
            "sudo rm -rf /",
        ] {
            assert!(
                matches!(Command::parse(exec.as_bytes()), Ok(Command::Unknown(_))),
                "{exec}"
            );
        }
        assert_eq!(
            Command::parse(b"ls \x1b[0m"),
            Ok(Command::Unknown("ls \\#033[0m".into()))
        );
    }

    #[test]
    fn connection_tests_and_words_of_the_server_are_known() {
        for (exec, output) in [
            ("", ""),
            ("exit", ""),
            ("exit 0", ""),
            ("true", ""),
            (":", ""),
            ("echo", "\n"),
            ("echo ok", "ok\n"),
            ("echo 'a  b' c", "a  b c\n"),
            ("echo -n x", "x"),
        ] {
            assert_eq!(
                Command::parse(exec.as_bytes()),
                Ok(Command::Probe(output.into())),
                "{exec}"
            );
        }
        assert_eq!(Command::parse(b"status"), Ok(Command::Status));
        assert_eq!(Command::parse(b"snapshots\n"), Ok(Command::Snapshots));
        assert_eq!(Command::parse(b"snapshot"), Ok(Command::Snapshot));
    }

    #[test]
    fn the_daemon_protocol_is_refused_but_a_path_may_have_its_name() {
        let error = Command::parse(b"rsync --server --daemon .").unwrap_err();
        assert!(error.message.contains("daemon protocol"), "{error}");
        assert!(rsync("rsync --server -r . --daemon").is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_quoting_of_a_client(
            names in proptest::collection::vec(
                proptest::collection::vec(1u8..=255, 1..12), 1..4),
        ) {
            let mut exec = Vec::new();
            for name in &names {
                for b in name {
                    if !b.is_ascii_alphanumeric() && b.is_ascii() && *b != b'\n' {
                        exec.push(b'\\');
                    }
                    match b {
                        b'\n' => exec.extend_from_slice(b"'\n'"),
                        _ => exec.push(*b),
                    }
                }
                exec.push(b' ');
            }
            let words: Vec<_> = split(&exec).unwrap().into_iter().map(|w| w.bytes).collect();
            prop_assert_eq!(words, names);
        }

        #[test]
        fn no_exec_string_makes_the_parser_panic(exec in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Command::parse(&exec);
        }
    }
}
