//! Every scenario, one file per thing a user would ask about.

mod alternates;
mod backup_clients;
mod backups;
mod charsets;
mod choices;
mod deletes;
mod destinations;
mod dirlinks;
mod dry_runs;
mod edits;
mod failures;
mod first_push;
mod fuzzy;
mod links_and_holes;
mod metadata;
mod output;
mod owners;
mod paths;
mod protocols;
mod pull;
mod second_push;
mod seldom;
mod skips;
mod transfer;
mod types;

use crate::scenario::Scenario;

/// All of them, in the order in which they are listed and run.
pub fn all() -> Vec<Scenario> {
    [
        first_push::scenarios(),
        second_push::scenarios(),
        edits::scenarios(),
        fuzzy::scenarios(),
        types::scenarios(),
        metadata::scenarios(),
        owners::scenarios(),
        deletes::scenarios(),
        paths::scenarios(),
        destinations::scenarios(),
        dirlinks::scenarios(),
        skips::scenarios(),
        transfer::scenarios(),
        choices::scenarios(),
        links_and_holes::scenarios(),
        backups::scenarios(),
        alternates::scenarios(),
        backup_clients::scenarios(),
        output::scenarios(),
        protocols::scenarios(),
        failures::scenarios(),
        pull::scenarios(),
        charsets::scenarios(),
        seldom::scenarios(),
        dry_runs::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Their names.
pub fn names() -> Vec<String> {
    all().into_iter().map(|scenario| scenario.name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_easy_to_type() {
        let names = names();
        let unique: BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        for name in &names {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn known_gaps_name_scenarios_that_exist() {
        crate::gaps::known(&names()).unwrap();
    }

    #[test]
    fn every_scenario_runs_a_client() {
        for scenario in all() {
            let runs = scenario
                .steps
                .iter()
                .filter(|step| matches!(step, crate::scenario::Step::Client(_)));
            assert!(runs.count() > 0, "{}", scenario.name);
        }
    }
}
