//! Takes out of a client's output what is different from run to run although nothing differs.
//!
//! | printed | compared |
//! |---|---|
//! | `sent 1,234 bytes  received 56 bytes  860.00 bytes/sec` | `sent # bytes  received # bytes  # bytes/sec` |
//! | `total size is 5  speedup is 0.02` | `total size is 5  speedup is #` |
//! | `Total bytes sent: 1,234` and `received`, `File list … time: 0.001 seconds` | `#` for the number |
//! | `rsync error: … (code 23) at main.c(1338) [sender=3.5.0]` | `… (code 23) at # [sender]` |
//! | `connection unexpectedly closed (8 bytes received so far)` | `#` for the number |
//! | `mkstemp "/mnt/compat/dst/.a.Fmo9t9"` | `mkstemp "/mnt/compat/dst/.a.######"` |
//! | `… 1.23MB/s    0:00:01 (xfr#2, to-chk=5/8)` | `#` for rate and time |
//! | `127.0.0.1 port 40123`, `[127.0.0.1]:40123` | `#` for the port |
//! | the directory of the client's side | `<side>` |
//! | `"HOME/name"`, said by a stock server | `"/name"` |
//! | `2026/11/20 12:00:00 [123] ` at the start of a log line | nothing |
//!
//! Everything else must be the same, byte for byte.

use std::path::Path;

use crate::tree::escape;

/// The lines of an output, normalised and escaped. Progress lines end in a carriage return; those
/// in the middle of a file are there only where it takes longer than a second, and are left out.
pub fn lines(output: &[u8], side: &Path) -> Vec<String> {
    let mut lines: Vec<String> = output
        .split(|&byte| byte == b'\n' || byte == b'\r')
        .map(|line| normalise_line(&escape_whole(line), side))
        .filter(|line| !line.ends_with(MIDDLE_OF_A_FILE))
        .collect();
    // What follows the last line end is a line only if it says something.
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// What a stock server says before it has entered the destination has the home of its login in its
/// paths; a tenant's home is `/`.
pub fn from_home(lines: Vec<String>) -> Vec<String> {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some(home) = home_of_root(&accounts) else {
        return lines;
    };
    let inside = format!("\"{home}/");
    let lines = lines.into_iter();
    lines.map(|line| line.replace(&inside, "\"/")).collect()
}

fn home_of_root(accounts: &str) -> Option<&str> {
    let root = accounts.lines().find(|line| line.starts_with("root:"))?;
    let home = root.split(':').nth(5)?.trim_end_matches('/');
    (!home.is_empty()).then_some(home)
}

fn escape_whole(line: &[u8]) -> String {
    line.chunks(100).map(escape).collect()
}

fn normalise_line(line: &str, side: &Path) -> String {
    let line = line.replace(&side.display().to_string(), "<side>");
    let line = strip_log_stamp(&line);
    let line = progress(line);
    let line = error_tail(&line);
    let line = temporary_name(&line);
    [
        ("sent ", " bytes  received "),
        (" bytes  received ", " bytes  "),
        (" bytes  ", " bytes/sec"),
        ("speedup is ", ""),
        ("Total bytes sent: ", ""),
        ("Total bytes received: ", ""),
        ("File list generation time: ", " seconds"),
        ("File list transfer time: ", " seconds"),
        ("unexpectedly closed (", " bytes received so far"),
        ("127.0.0.1 port ", ""),
        ("[127.0.0.1]:", ""),
    ]
    .into_iter()
    .fold(line, |line, (before, after)| {
        mask_number(&line, before, after)
    })
}

/// Replaces the number between `before` and `after` by `#`.
fn mask_number(line: &str, before: &str, after: &str) -> String {
    let mut searched = 0;
    while let Some(found) = line[searched..].find(before) {
        let start = searched + found + before.len();
        let length = line[start..]
            .find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.')
            .unwrap_or(line.len() - start);
        // `-h` writes 1.23K.
        let rest = &line[start + length..];
        let rest = rest.strip_prefix(['K', 'M', 'G', 'T']).unwrap_or(rest);
        if length > 0 && rest.starts_with(after) {
            return format!("{}#{rest}", &line[..start]);
        }
        searched = start;
    }
    line.to_owned()
}

/// ` at main.c(1338) [sender=3.5.0]` says where in the source of which release.
fn error_tail(line: &str) -> String {
    if !line.starts_with("rsync error: ") && !line.starts_with("rsync warning: ") {
        return line.to_owned();
    }
    let Some((message, tail)) = line.rsplit_once(") at ") else {
        return line.to_owned();
    };
    let role = tail
        .split_once('[')
        .map(|(_, role)| role.split(['=', ']']).next().unwrap_or_default())
        .unwrap_or_default();
    format!("{message}) at # [{role}]")
}

/// The six random characters before a closing quote, in messages that name a temporary file.
fn temporary_name(line: &str) -> String {
    let names_one = [
        "mkstemp \"",
        "rename \"",
        "write failed on \"",
        "close failed on \"",
    ]
    .iter()
    .any(|words| line.contains(words));
    if !names_one {
        return line.to_owned();
    }
    let mut result = String::new();
    for (index, part) in line.split('"').enumerate() {
        if index > 0 {
            result.push('"');
        }
        let (head, tail) = part
            .split_at_checked(part.len().saturating_sub(7))
            .unwrap_or((part, ""));
        let is_random = tail.strip_prefix('.').is_some_and(|random| {
            random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        // A temporary name begins with a dot.
        let is_hidden = head
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with('.'));
        match index % 2 == 1 && is_random && is_hidden {
            true => result.push_str(&format!("{head}.######")),
            false => result.push_str(part),
        }
    }
    result
}

/// The end of a progress line that says nothing of a number of files.
const MIDDLE_OF_A_FILE: &str = "% # # ";

/// `      1,000 100%    1.23MB/s    0:00:01 (xfr#1, to-chk=0/2)`
fn progress(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [bytes, percent, rate, time, ref rest @ ..]
            if percent.ends_with('%') && rate.ends_with("B/s") && time.contains(':') =>
        {
            format!("{bytes} {percent} # # {}", rest.join(" "))
        }
        _ => line.to_owned(),
    }
}

/// The date, time and process id that `--log-file` puts before a line.
fn strip_log_stamp(line: &str) -> &str {
    let mut parts = line.splitn(4, ' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(date), Some(time), Some(pid), Some(rest))
            if date.len() == 10
                && date.split('/').count() == 3
                && time.len() == 8
                && pid.starts_with('[')
                && pid.ends_with(']') =>
        {
            rest
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(printed: &str, compared: &str) {
        let side = Path::new("/somewhere");
        assert_eq!(lines(printed.as_bytes(), side), [compared]);
    }

    #[test]
    fn sizes_and_rates_of_the_connection_do_not_count() {
        check(
            "sent 1,234 bytes  received 56 bytes  860.00 bytes/sec",
            "sent # bytes  received # bytes  # bytes/sec",
        );
        check(
            "total size is 5,000  speedup is 0.02 (DRY RUN)",
            "total size is 5,000  speedup is # (DRY RUN)",
        );
        check(
            "sent 2.43K bytes  received 17 bytes  1.21M bytes/sec",
            "sent # bytes  received # bytes  # bytes/sec",
        );
        check("Total bytes sent: 7", "Total bytes sent: #");
        check(
            "File list generation time: 0.001 seconds",
            "File list generation time: # seconds",
        );
    }

    #[test]
    fn what_the_files_are_does_count() {
        check("Literal data: 700 bytes", "Literal data: 700 bytes");
        check("Total file size: 5 bytes", "Total file size: 5 bytes");
        check(
            "received 3 bytes of nonsense",
            "received 3 bytes of nonsense",
        );
    }

    #[test]
    fn where_in_the_source_an_error_was_noticed_does_not_count() {
        check(
            "rsync error: some files/attrs were not transferred (see previous errors) (code 23) \
             at main.c(1338) [sender=3.5.0]",
            "rsync error: some files/attrs were not transferred (see previous errors) (code 23) \
             at # [sender]",
        );
    }

    #[test]
    fn random_ends_of_temporary_names_do_not_count() {
        check(
            "rsync: [receiver] mkstemp \"/mnt/compat/dst/.a.Fmo9t9\" failed: Permission denied (13)",
            "rsync: [receiver] mkstemp \"/mnt/compat/dst/.a.######\" failed: Permission denied (13)",
        );
        check(
            "rsync: [generator] mkdir \"/mnt/compat/.a.Fmo9t9\" failed",
            "rsync: [generator] mkdir \"/mnt/compat/.a.Fmo9t9\" failed",
        );
    }

    #[test]
    fn progress_and_log_lines_lose_only_time_and_rate() {
        check(
            "          1,000 100%    1.23MB/s    0:00:01 (xfr#1, to-chk=0/2)",
            "1,000 100% # # (xfr#1, to-chk=0/2)",
        );
        check("2026/11/20 12:00:00 [123] <f+++++++++ a", "<f+++++++++ a");
    }

    #[test]
    fn progress_in_the_middle_of_a_file_is_left_out() {
        let output = b"a\n\r  1.05M  33%    1.00MB/s    0:00:02  \r  3.15M 100%    1.05MB/s    0:00:03 (xfr#1, to-chk=0/2)\n";
        let expected = ["a", "", "3.15M 100% # # (xfr#1, to-chk=0/2)"];
        assert_eq!(lines(output, Path::new("/nowhere")), expected);
    }

    #[test]
    fn the_home_of_root_is_found() {
        let accounts = "daemon:x:1:1::/usr/sbin:/bin/sh\nroot:x:0:0:root:/root:/bin/bash\n";
        assert_eq!(home_of_root(accounts), Some("/root"));
        assert_eq!(home_of_root("root:x:0:0::/:/bin/sh\n"), None);
        assert_eq!(home_of_root(""), None);
    }

    #[test]
    fn names_with_odd_bytes_survive() {
        let out = lines(
            b"a\xffb\nsrc /somewhere/local/src\n",
            Path::new("/somewhere"),
        );
        assert_eq!(out, ["a\\xffb", "src <side>/local/src"]);
    }
}
