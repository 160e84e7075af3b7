//! Differences that are known, with the reason for each: `gaps.toml`.
//!
//! A gap names, whole, the lines of one scenario that it explains: part of a line would explain
//! more than anybody looked at. Only a refusal explains what it did not name, from the run that
//! was refused on. A line that is not seen any more fails the run until it is deleted: so the list
//! can only shrink honestly.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::clients::Version;
use crate::differ::{Difference, Report};

/// The list that is built in.
const GAPS: &str = include_str!("../gaps.toml");

/// One known difference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    pub scenario: String,
    /// Only with this version of the client.
    pub client: Option<String>,
    /// Only with this version of the protocol and later ones.
    pub since_protocol: Option<u32>,
    /// The lines that it explains, each as it is reported.
    #[serde(default)]
    pub explains: Vec<String>,
    /// Coffre refuses the run with this sentence on stderr. That explains whatever differs from the
    /// command on where the sentence was first seen, and nothing before it.
    pub refuses: Option<String>,
    /// Why it is so and may stay so.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    gap: Vec<Gap>,
}

/// What a report means.
#[derive(Debug, Clone)]
pub enum Verdict {
    Equal,
    /// Differs in ways that nobody explained.
    Differs(Vec<Difference>),
    /// Differs only as the list says; with the reasons.
    KnownGap(Vec<String>),
    /// Gaps that explain nothing any more.
    ClosedGap(Vec<Gap>),
}

impl Verdict {
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::ClosedGap(_))
    }
}

/// The built-in list, checked against the names of scenarios.
pub fn known(scenarios: &[String]) -> Result<Vec<Gap>> {
    parse(GAPS, scenarios)
}

fn parse(text: &str, scenarios: &[String]) -> Result<Vec<Gap>> {
    let file: File = toml::from_str(text).context("gaps.toml")?;
    for gap in &file.gap {
        if gap.reason.trim().is_empty() {
            bail!("gaps.toml: the gap of {:?} has no reason", gap.scenario);
        }
        if gap
            .refuses
            .as_ref()
            .is_some_and(|sentence| sentence.trim().is_empty())
            || (gap.refuses.is_none() && gap.explains.is_empty())
            || gap.explains.iter().any(|part| part.trim().is_empty())
        {
            bail!("gaps.toml: the gap of {:?} explains anything", gap.scenario);
        }
        if !scenarios.contains(&gap.scenario) {
            bail!("gaps.toml: there is no scenario {:?}", gap.scenario);
        }
    }
    Ok(file.gap)
}

/// Weighs a report of `scenario` with that client against the known gaps. `protocol`: what the
/// client was told to speak.
pub fn judge(
    scenario: &str,
    client: &Version,
    protocol: Option<u32>,
    report: &Report,
    gaps: &[Gap],
) -> Verdict {
    let gaps: Vec<&Gap> = gaps
        .iter()
        .filter(|gap| gap.scenario == scenario)
        .filter(|gap| {
            gap.client
                .as_deref()
                .is_none_or(|version| client.is(version))
        })
        .filter(|gap| {
            let versions = gap.since_protocol.zip(protocol);
            versions.is_none_or(|(since, version)| version >= since)
        })
        .collect();
    let explains = |gap: &Gap, difference: &Difference| {
        gap.explains.contains(&difference.line) || is_after_refusal(gap, difference, report)
    };
    let unexplained: Vec<Difference> = report
        .differences
        .iter()
        .filter(|difference| !gaps.iter().any(|gap| explains(gap, difference)))
        .cloned()
        .collect();
    if !unexplained.is_empty() {
        return Verdict::Differs(unexplained);
    }
    let closed: Vec<Gap> = gaps
        .iter()
        .filter_map(|gap| still_unseen(gap, report))
        .collect();
    let open = gaps;
    if !closed.is_empty() {
        return Verdict::ClosedGap(closed);
    }
    match open.is_empty() {
        true => Verdict::Equal,
        false => Verdict::KnownGap(open.into_iter().map(|gap| gap.reason.clone()).collect()),
    }
}

/// What of a gap was not seen. `None`: all of it was.
fn still_unseen(gap: &Gap, report: &Report) -> Option<Gap> {
    let is_seen = |line: &String| report.differences.iter().any(|seen| seen.line == *line);
    let mut unseen = gap.clone();
    unseen.explains.retain(|line| !is_seen(line));
    unseen.refuses = unseen
        .refuses
        .filter(|sentence| refused(sentence, report).is_none());
    (!unseen.explains.is_empty() || unseen.refuses.is_some()).then_some(unseen)
}

/// The line in which coffre says so.
fn refused<'a>(sentence: &str, report: &'a Report) -> Option<&'a Difference> {
    report.differences.iter().find(|seen| {
        let said = seen.line.strip_prefix("stderr: only coffre: ");
        said.is_some_and(|said| said.contains(sentence))
    })
}

/// Whether a difference was seen in the step in which the refusal was, or later.
fn is_after_refusal(gap: &Gap, difference: &Difference, report: &Report) -> bool {
    let Some(sentence) = &gap.refuses else {
        return false;
    };
    let differences = &report.differences;
    let Some(refused) = refused(sentence, report) else {
        return false;
    };
    let first = differences
        .iter()
        .position(|seen| seen.after == refused.after);
    let this = differences.iter().position(|seen| seen == difference);
    this >= first
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        [[gap]]
        scenario = "push"
        client = "3.2"
        explains = ["a: mode 0644 (stock)"]
        reason = "because"
    "#;

    fn verdict(client: &str, lines: &[&str]) -> Verdict {
        let report = Report {
            differences: lines
                .iter()
                .map(|line| Difference {
                    after: String::new(),
                    line: (*line).to_owned(),
                })
                .collect(),
            ..Report::default()
        };
        let gaps = parse(LIST, &["push".to_owned()]).unwrap();
        judge("push", &Version::parse(client), None, &report, &gaps)
    }

    #[test]
    fn a_gap_of_newer_protocols_is_not_missed_at_older_ones() {
        let list = LIST.replace("client = \"3.2\"", "since_protocol = 29");
        let gaps = parse(&list, &["push".to_owned()]).unwrap();
        let judged = |protocol| {
            let report = Report::default();
            judge("push", &Version::parse("3.5.0"), protocol, &report, &gaps)
        };
        assert!(matches!(judged(Some(28)), Verdict::Equal));
        assert!(matches!(judged(Some(29)), Verdict::ClosedGap(_)));
        assert!(matches!(judged(None), Verdict::ClosedGap(_)));
    }

    #[test]
    fn a_gap_explains_its_lines_and_no_others() {
        let known = verdict("3.2.7", &["a: mode 0644 (stock)"]);
        assert!(matches!(known, Verdict::KnownGap(reasons) if reasons == ["because"]));
        let more = verdict("3.2.7", &["a: mode 0644 (stock)", "exit: 0, 1"]);
        assert!(matches!(more, Verdict::Differs(lines) if lines.len() == 1));
        let longer = verdict("3.2.7", &["aa: mode 0644 (stock)"]);
        assert!(matches!(longer, Verdict::Differs(lines) if lines.len() == 1));
    }

    #[test]
    fn a_line_of_a_gap_that_is_not_seen_any_more_is_told() {
        let list = LIST.replace("(stock)\"]", "(stock)\", \"b: gone\"]");
        let gaps = parse(&list, &["push".to_owned()]).unwrap();
        let report = Report {
            differences: vec![Difference {
                after: String::new(),
                line: "a: mode 0644 (stock)".to_owned(),
            }],
            ..Report::default()
        };
        let verdict = judge("push", &Version::parse("3.2.7"), None, &report, &gaps);
        assert!(
            matches!(&verdict, Verdict::ClosedGap(gaps) if gaps[0].explains == ["b: gone"]),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_refusal_explains_its_step_and_what_follows_and_nothing_before() {
        let list = r#"
            [[gap]]
            scenario = "push"
            refuses = "does not do that"
            reason = "later"
        "#;
        let gaps = parse(list, &["push".to_owned()]).unwrap();
        let judged = |lines: &[(&str, &str)]| {
            let report = Report {
                differences: lines
                    .iter()
                    .map(|(after, line)| Difference {
                        after: (*after).to_owned(),
                        line: (*line).to_owned(),
                    })
                    .collect(),
                ..Report::default()
            };
            judge("push", &Version::parse("3.5.0"), None, &report, &gaps)
        };
        let refused = ("2", "stderr: only coffre: coffre does not do that");
        let known = judged(&[("2", "exit: 0, 4"), refused, ("3", "a: only in stock")]);
        assert!(matches!(known, Verdict::KnownGap(_)));
        let before = judged(&[("1", "a: mode"), ("2", "exit: 0, 4"), refused]);
        assert!(matches!(before, Verdict::Differs(lines) if lines.len() == 1));
        assert!(matches!(judged(&[]), Verdict::ClosedGap(_)));
        let elsewhere = ("2", "remote: does not do that: only in coffre");
        assert!(matches!(judged(&[elsewhere]), Verdict::Differs(_)));
    }

    #[test]
    fn a_gap_of_one_client_does_not_excuse_another() {
        assert!(verdict("3.5.0", &["a: mode 0644 (stock)"]).is_failure());
        assert!(matches!(verdict("3.5.0", &[]), Verdict::Equal));
    }

    #[test]
    fn a_gap_that_closed_fails_until_it_is_deleted() {
        assert!(matches!(verdict("3.2.7", &[]), Verdict::ClosedGap(_)));
        assert!(verdict("3.2.7", &[]).is_failure());
    }

    #[test]
    fn a_gap_needs_a_reason_a_line_and_a_scenario() {
        let scenarios = ["push".to_owned()];
        for (from, to, message) in [
            ("\"because\"", "\" \"", "has no reason"),
            ("[\"a: mode 0644 (stock)\"]", "[]", "explains anything"),
            ("\"push\"", "\"pull\"", "no scenario \"pull\""),
        ] {
            let error = parse(&LIST.replace(from, to), &scenarios).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
