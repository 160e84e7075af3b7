//! What holds for any rules and any snapshots.

use proptest::prelude::*;

use super::*;

fn any_rules() -> impl Strategy<Value = Rules> {
    let by_count = (0..4_u32, 0..4_u32, 0..4_u32, 0..4_u32, 0..3_u32)
        .prop_filter_map("keeps nothing", |(last, daily, weekly, monthly, yearly)| {
            try_counts(last, daily, weekly, monthly, yearly)
        });
    let line = (0..3, 0..40).prop_map(|(kind, n)| match kind {
        0 => format!("+%Y-%m-%d.-{n}day"),
        1 => format!("+%Y-%m-01.-{n}month"),
        _ => format!("+%Y-01-01.-{}year", n % 5),
    });
    let by_line = prop::collection::vec(line, 1..8).prop_map(|l| Rules::parse_lines(&l).unwrap());
    prop_oneof![by_count, by_line]
}

fn any_snapshots() -> impl Strategy<Value = Vec<Candidate>> {
    // Within three years, so that rules and snapshots meet.
    let one = (1_700_000_000..1_800_000_000_i64, prop::bool::weighted(0.2));
    prop::collection::btree_map(
        one.prop_map(|(t, _)| t / 7 * 7),
        prop::bool::weighted(0.2),
        0..60,
    )
    .prop_map(|times| {
        let of = |(t, incomplete): (i64, bool)| {
            let state = if incomplete {
                State::Incomplete
            } else {
                State::Complete
            };
            candidate(Timestamp::from_second(t).unwrap(), state)
        };
        times.into_iter().map(of).collect()
    })
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "Pacific/Apia",
    ])
    .prop_map(zone)
}

proptest! {
    #[test]
    fn the_newest_and_the_newest_complete_are_never_pruned(
        snapshots in any_snapshots(),
        rules in any_rules(),
        zone in any_zone(),
        now in 1_500_000_000..2_000_000_000_i64,
    ) {
        let now = Timestamp::from_second(now).unwrap();
        let plan = plan(&snapshots, Some(&rules), now, &zone);
        prop_assert_eq!(plan.entries.len(), snapshots.len());
        let newest = snapshots.iter().max_by_key(|c| c.time);
        let newest_complete =
            snapshots.iter().filter(|c| c.state == State::Complete).max_by_key(|c| c.time);
        for pinned in newest.into_iter().chain(newest_complete) {
            prop_assert!(!plan.pruned().contains(&pinned.name.as_str()));
        }
        // Newest first, whatever the order was.
        prop_assert!(plan.entries.is_sorted_by(|a, b| a.0 >= b.0));
        if snapshots.iter().any(|c| c.time > now + SignedDuration::from_mins(2)) {
            prop_assert!(plan.to_prune().is_empty());
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_the_order_and_is_done_when_acted_on(
        snapshots in any_snapshots(),
        rules in any_rules(),
        zone in any_zone(),
    ) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let first = plan(&snapshots, Some(&rules), now, &zone);
        let reversed: Vec<Candidate> = snapshots.iter().rev().cloned().collect();
        prop_assert_eq!(&first, &plan(&reversed, Some(&rules), now, &zone));
        let pruned = first.pruned();
        let left: Vec<Candidate> =
            snapshots.iter().filter(|c| !pruned.contains(&c.name.as_str())).cloned().collect();
        let second = plan(&left, Some(&rules), now, &zone);
        prop_assert_eq!(second.pruned(), Vec::<&str>::new());
    }

    #[test]
    fn a_count_of_days_keeps_the_newest_of_that_many_days(
        snapshots in any_snapshots(),
        daily in 1..20_u32,
        zone in any_zone(),
    ) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let rules = counts(0, daily, 0, 0, 0);
        let plan = plan(&snapshots, Some(&rules), now, &zone);
        let pruned = plan.pruned();
        let mut newest_of_day = std::collections::BTreeMap::new();
        for c in snapshots.iter().filter(|c| c.state == State::Complete) {
            let day = c.time.to_zoned(zone.clone()).date();
            let newest = newest_of_day.entry(day).or_insert(c);
            if c.time > newest.time {
                *newest = c;
            }
        }
        let wanted: Vec<&str> =
            newest_of_day.values().rev().take(daily as usize).map(|c| c.name.as_str()).collect();
        for c in snapshots.iter().filter(|c| c.state == State::Complete) {
            let name = c.name.as_str();
            prop_assert_eq!(wanted.contains(&name), !pruned.contains(&name), "{}", name);
        }
    }
}
