//! Rules as EvoBackup writes them: a line each, for a date as `date` writes it.

use super::*;

#[test]
fn lines_mean_what_they_mean_to_evobackup() {
    // The reference is `date --date "$(date +PATTERN) OFFSET" +%F` of GNU coreutils.
    let cases = [
        ("2026-11-20", "+%Y-%m-%d.-0day", "2026-11-20"),
        ("2026-11-20", "+%Y-%m-%d.-3day", "2026-11-17"),
        ("2026-11-20", "+%Y-%m-%d.-1week", "2026-11-13"),
        ("2026-11-20", "+%Y-%m-%d.-2 weeks", "2026-11-06"),
        ("2026-11-20", "+%Y-%m-%d.3 days ago", "2026-11-17"),
        ("2026-11-20", "+%Y-%m-01.-0month", "2026-11-01"),
        ("2026-11-20", "+%Y-%m-01.-1month", "2026-10-01"),
        ("2026-01-20", "+%Y-%m-01.-1month", "2025-12-01"),
        ("2026-11-20", "+%Y-%m-01.-12month", "2025-11-01"),
        ("2026-11-20", "+%Y-01-01.-0year", "2026-01-01"),
        ("2026-11-20", "+%Y-01-01.-1year", "2025-01-01"),
        ("2026-11-20", "+%Y-%m-15.-1month -1day", "2026-10-14"),
        ("2026-11-20", "+%F.-1day", "2026-11-19"),
        ("2026-11-20", "+%Y%m%d.-1day", "2026-11-19"),
        ("2026-11-20", "+%Y/%-m/%e.-1day", "2026-11-19"),
        ("2026-11-20", "+%Y-%m-%d.+1day", "2026-11-21"),
        // A day that the month does not have runs over into the next.
        ("2026-03-31", "+%Y-%m-%d.-1month", "2026-03-03"),
        ("2028-03-31", "+%Y-%m-%d.-1month", "2028-03-02"),
        ("2026-12-31", "+%Y-%m-%d.-1month", "2026-12-01"),
        ("2028-02-29", "+%Y-%m-%d.-1year", "2027-03-01"),
        ("2026-05-31", "+%Y-%m-%d.-1month -1day", "2026-04-30"),
    ];
    for (today, text, wanted) in cases {
        let line = Line::parse(0, text).unwrap();
        let day = line.day(today.parse().unwrap()).unwrap();
        assert_eq!(day.to_string(), wanted, "{text} on {today}");
    }
}

#[test]
fn lines_agree_with_date_1_on_every_day_of_two_years() {
    let texts = [
        "+%Y-%m-%d.-1month",
        "+%Y-%m-%d.-1year -1day",
        "+%Y-%m-01.-2week",
        "+%Y-12-31.-3month",
    ];
    let today = date(2027, 1, 1);
    let days: Vec<Date> = today.series(1.day()).take(731).collect();
    for text in texts {
        let line = Line::parse(0, text).unwrap();
        let (pattern, offset) = text[1..].split_once('.').unwrap();
        let asked: String = days
            .iter()
            .map(|day| format!("{} {offset}\n", day.strftime(pattern)))
            .collect();
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("days");
        std::fs::write(&file, asked).unwrap();
        let output = std::process::Command::new("date")
            .args(["-u", "+%F", "-f"])
            .arg(&file)
            .env("LC_ALL", "C")
            .output();
        let Ok(output) = output else {
            return eprintln!("skipped: no date(1)");
        };
        if !output.status.success() {
            return eprintln!("skipped: date(1) is not that of GNU");
        }
        let ours: Vec<String> = days
            .iter()
            .map(|d| line.day(*d).unwrap().to_string())
            .collect();
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(ours, theirs.lines().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn a_bad_line_says_what_is_wrong_and_where() {
    let cases = [
        ("", 1, "empty keep line"),
        ("%Y-%m-%d.-1day", 1, "must start with \"+\""),
        (
            "+%Y-%m-%d",
            10,
            "has no offset; for today, write \"+%Y-%m-%d.-0day\"",
        ),
        ("+%Y-%m-%d.", 11, "the offset is missing"),
        ("+%Y-%m-%d.-1dya", 13, "\"dya\" is no unit"),
        ("+%Y-%m-%d.-1hour", 13, "\"hour\" is no unit"),
        ("+%Y-%m-%d.-1", 13, "\"\" is no unit"),
        ("+%Y-%m-%d.-day", 11, "is not like \"-1day\""),
        ("+%Y-%m-%d.-1day.", 16, "is not like"),
        ("+%Y-%m-%d.yesterday", 11, "is not like"),
        ("+%Y-%m-%d.-101year", 11, "reaches farther than 100 years"),
        (
            "+%Y-%m-%d.-99999999999day",
            11,
            "reaches farther than 100 years",
        ),
        (
            "+%Y-%m-31.-1month",
            2,
            "gives \"2027-02-31\" on 2027-02-01, which is no date",
        ),
        (
            "+%Y-02-%d.-1month",
            2,
            "gives \"2027-02-29\" on 2027-01-29, which is no date",
        ),
        (
            "+%Y.-1month",
            2,
            "gives \"2027\" on 2027-01-01, which is no date",
        ),
        (
            "+hello.-1day",
            2,
            "gives \"hello\" on 2027-01-01, which is no date",
        ),
        ("+%Y-W%V.-1day", 6, "\"%V\" cannot be part of a day"),
        ("+é%q.-1day", 3, "\"%q\" cannot be part of a day"),
        ("+%Y-%m-%.-1day", 8, "\"%\" stands alone"),
    ];
    for (text, column, message) in cases {
        let error = Rules::parse_lines(&["+%Y-%m-%d.-0day", text]).unwrap_err();
        assert!(error.message.contains(message), "{text:?}: {error}");
        assert_eq!(
            (error.index, error.column),
            (1, column),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn evobackups_default_lines_keep_four_days_and_two_firsts() {
    let paris = zone("Europe/Paris");
    let rules = lines(&[
        "+%Y-%m-%d.-0day",
        "+%Y-%m-%d.-1day",
        "+%Y-%m-%d.-2day",
        "+%Y-%m-%d.-3day",
        "+%Y-%m-01.-0month",
        "+%Y-%m-01.-1month",
    ]);
    assert_eq!(rules.holes(), []);
    let times = daily_at_noon(date(2016, 1, 1), 3657, &paris);
    let store = simulate(&rules, &paris, times);
    assert_eq!(
        days(&store, &paris),
        [
            "2025-12-01",
            "2026-01-01",
            "2026-01-02",
            "2026-01-03",
            "2026-01-04"
        ]
    );
}

#[test]
fn all_snapshots_of_a_day_that_a_line_names_are_kept() {
    let snapshots = [
        complete("2026-11-20T02:00:00Z"),
        complete("2026-11-20T10:00:00Z"),
        complete("2026-11-19T10:00:00Z"),
    ];
    let rules = lines(&["+%Y-%m-%d.-0day"]);
    let plan = plan(
        &snapshots,
        Some(&rules),
        at("2026-11-20T11:00:00Z"),
        &TimeZone::UTC,
    );
    assert_eq!(plan.to_prune(), ["2026-11-19T100000Z"]);
    assert_eq!(
        explain(&plan)[1],
        "2026-11-20T020000Z keep: \"+%Y-%m-%d.-0day\" is 2026-11-20"
    );
}

#[test]
fn a_line_whose_copy_is_gone_by_then_is_a_hole() {
    let holes = lines(&["+%Y-%m-%d.-0day", "+%Y-%m-%d.-1day", "+%Y-%m-01.-1month"]).holes();
    assert_eq!(holes.len(), 1, "{holes:?}");
    assert_eq!(holes[0].index, 2);
    assert_eq!(
        holes[0].to_string(),
        "keep line \"+%Y-%m-01.-1month\" will never find its snapshot: on 2027-02-01 it asks for \
         the one of 2027-01-01, which no line kept on 2027-01-03; add a line that keeps it in \
         between"
    );

    let days = |n: u32| -> Vec<String> { (0..=n).map(|i| format!("+%Y-%m-%d.-{i}day")).collect() };
    // Thirty days close it, but for the longest months.
    let mut texts = days(29);
    texts.push("+%Y-%m-01.-1month".into());
    let holes = Rules::parse_lines(&texts).unwrap().holes();
    assert!(
        matches!(
            holes.as_slice(),
            [Hole {
                index: 30,
                kind: HoleKind::Pruned { always: false, .. },
                ..
            }]
        ),
        "{holes:?}"
    );
    texts.push("+%Y-%m-01.-0month".into());
    assert_eq!(Rules::parse_lines(&texts).unwrap().holes(), []);
}

#[test]
fn a_line_that_names_only_the_future_is_a_hole() {
    let holes = lines(&["+%Y-%m-%d.-0day", "+%Y-%m-%d.+1day"]).holes();
    assert_eq!(holes.len(), 1);
    assert_eq!(holes[0].kind, HoleKind::NeverMatches);
    assert_eq!(counts(1, 1, 1, 1, 1).holes(), []);
}
