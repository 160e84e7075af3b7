//! What two sides saw of one run of the client, compared.

use super::side::Seen;
use crate::sandbox::{BASE, ServerKind};
use crate::scenario::{ClientRun, Compare};
use crate::tree::compare;

/// How often lines of one output are shown before the rest is only counted.
const SHOWN: usize = 40;

/// `expected`: the exit code that the scenario says.
pub(super) fn compare_seen(
    run: &ClientRun,
    expected: i32,
    left: &Seen,
    right: &Seen,
    names: (&str, &str),
) -> Vec<String> {
    let mut lines = Vec::new();
    for (seen, name) in [(left, names.0), (right, names.1)] {
        if seen.outcome.timed_out {
            lines.push(format!("{name}: did not end in time and was killed"));
        }
    }
    if run.any_exit && is_broken_off(left) && is_broken_off(right) {
        lines.extend(compare_reasons(left, right, names));
        return lines;
    }
    if run.compare.exit && left.outcome.exit != right.outcome.exit {
        lines.push(format!(
            "exit: {} ({}), {} ({})",
            left.outcome.exit, names.0, right.outcome.exit, names.1
        ));
    }
    let Compare {
        stdout,
        stderr,
        order,
        ..
    } = run.compare;
    if stdout {
        lines.extend(compare_lines(
            "stdout",
            &left.stdout,
            &right.stdout,
            order,
            names,
        ));
    }
    // A client that was told of a fatal error ends its remote shell, sometimes before that has
    // passed on the server's last words. So silence on one side is no difference then.
    let exit = if run.any_exit {
        left.outcome.exit
    } else {
        expected
    };
    let may_be_lost = !matches!(exit, 0 | 23 | 24 | 25);
    let is_lost = may_be_lost && (left.stderr.is_empty() || right.stderr.is_empty());
    if stderr && !is_lost {
        let mut said = compare_lines("stderr", &left.stderr, &right.stderr, order, names);
        said.retain(|line| !is_lost_by_stock(run, line));
        lines.extend(said);
    }
    lines.extend(compare_lines(
        "log file", &left.log, &right.log, false, names,
    ));
    for ((tree, left), (_, right)) in left.trees.iter().zip(&right.trees) {
        lines.extend(
            compare(left, right, names)
                .into_iter()
                .map(|line| format!("{tree}: {line}")),
        );
    }
    lines
}

/// What a scenario says of a run and does not come to pass.
pub(super) fn misses(
    run: &ClientRun,
    expected: i32,
    left: &Seen,
    right: &Seen,
    names: (&str, &str),
) -> Vec<String> {
    let mut lines = Vec::new();
    // The first side is the specification: a scenario that it does not fulfil asks nothing.
    if run.compare.exit && !run.any_exit && left.outcome.exit != expected {
        lines.push(format!(
            "{}: exit code {}, but the scenario expects {expected}: {}",
            names.0,
            left.outcome.exit,
            String::from_utf8_lossy(&left.outcome.stderr).trim()
        ));
    }
    lines.extend(left.failed_checks.iter().cloned());
    lines.extend(right.failed_checks.iter().cloned());
    lines
}

/// Whether a run ended in its middle. How far it had come is chance then, and so is which process
/// noticed first that another had ended: the exit code may be 1 or 11 (a rule or a file), 12 (no
/// more data), or 10 (nobody reads).
fn is_broken_off(seen: &Seen) -> bool {
    matches!(seen.outcome.exit, 1 | 10 | 11 | 12)
}

/// Of runs that were broken off: each names a reason, and where both name one of the server it is
/// the same. (On a pull both ends read rules, and either may be the first to find one that is
/// none.)
fn compare_reasons(left: &Seen, right: &Seen, names: (&str, &str)) -> Vec<String> {
    let reasons = |seen: &Seen| -> Vec<String> {
        let lines = seen.stderr.iter();
        lines
            .filter(|line| line.contains("<rule from "))
            .cloned()
            .collect()
    };
    let (left, right) = (reasons(left), reasons(right));
    let missing = [(&left, names.0), (&right, names.1)]
        .into_iter()
        .filter(|(reasons, _)| reasons.is_empty())
        .map(|(_, name)| format!("{name}: broken off without a reason"));
    let mut lines: Vec<String> = missing.collect();
    let of_server = |reasons: Vec<String>| -> Vec<String> {
        let lines = reasons.into_iter();
        lines.filter(|line| line.contains(BASE)).collect()
    };
    let (left, right) = (of_server(left), of_server(right));
    if !left.is_empty() && !right.is_empty() {
        lines.extend(compare_lines("stderr", &left, &right, false, names));
    }
    lines
}

/// Whether the only difference is that stock's client ended its ssh before that had passed on the
/// server's last words.
fn is_lost_by_stock(run: &ClientRun, line: &str) -> bool {
    line.strip_prefix("stderr: only ")
        .and_then(|rest| rest.split_once(": "))
        .is_some_and(|(name, said)| {
            // Said by one side means lost by the other.
            name != ServerKind::Stock.name() && run.last_words.contains(&said)
        })
}

fn compare_lines(
    stream: &str,
    left: &[String],
    right: &[String],
    order: bool,
    names: (&str, &str),
) -> Vec<String> {
    let only = |these: &[String], others: &[String], name: &str| {
        let mut others: Vec<&String> = others.iter().collect();
        let mut lines: Vec<String> = Vec::new();
        for line in these {
            match others.iter().position(|other| *other == line) {
                Some(found) => {
                    others.swap_remove(found);
                }
                None => lines.push(format!("{stream}: only {name}: {line}")),
            }
        }
        let more = lines.len().saturating_sub(SHOWN);
        lines.truncate(SHOWN);
        if more > 0 {
            lines.push(format!("{stream}: only {name}: … and {more} lines more"));
        }
        lines
    };
    let mut lines = only(left, right, names.0);
    lines.extend(only(right, left, names.1));
    if order
        && lines.is_empty()
        && let Some(at) = left
            .iter()
            .zip(right)
            .position(|(left, right)| left != right)
    {
        lines.push(format!(
            "{stream}: the same lines in another order, from line {}: {:?} ({}), {:?} ({})",
            at + 1,
            left[at],
            names.0,
            right[at],
            names.1
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(left: &[&str], right: &[&str], order: bool) -> Vec<String> {
        let [left, right] = [left, right].map(|lines| {
            lines
                .iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        });
        compare_lines("stdout", &left, &right, order, ("stock", "coffre"))
    }

    #[test]
    fn lines_are_compared_as_often_as_they_occur() {
        assert!(lines(&["a", "b"], &["b", "a"], false).is_empty());
        assert_eq!(
            lines(&["a", "a"], &["a", "b"], false),
            ["stdout: only stock: a", "stdout: only coffre: b"]
        );
    }

    #[test]
    fn order_counts_where_a_scenario_says_so() {
        let found = lines(&["a", "b"], &["b", "a"], true);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("another order, from line 1"), "{found:?}");
    }
}
