//! The differential harness must be able to fail, and must not fail by itself.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use coffre_client_compat::clients::Clients;
use coffre_client_compat::differ::Lab;
use coffre_client_compat::self_check::{
    SAMPLE, damages, must_be_equal, must_be_noticed, stock_lab,
};
use coffre_tests::may_run;

fn lab() -> Option<Lab> {
    may_run().then(|| stock_lab(&Clients::find().unwrap()).unwrap())
}

#[test]
fn stock_equals_stock() {
    let Some(lab) = lab() else { return };
    for name in SAMPLE {
        must_be_equal(name, &lab).unwrap();
    }
}

#[test]
fn every_kind_of_damage_is_noticed() {
    let Some(lab) = lab() else { return };
    for damage in damages() {
        must_be_noticed(damage, &lab).unwrap();
    }
}
