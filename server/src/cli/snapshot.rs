//! `coffre snapshot TENANT`

use super::ask::{ask, misunderstood};
use super::{Context, Exit, fail, print, print_json, unknown_tenant};
use crate::config::units::count;
use crate::control::{Answer, Request};

pub(super) fn run(context: &Context, tenant: &str) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !config.tenants.iter().any(|t| t.name == tenant) {
        return fail(unknown_tenant(tenant, &context.config));
    }
    let request = Request::Snapshot {
        tenant: tenant.to_owned(),
    };
    let facts = match ask(context, &config, &request) {
        Ok(Answer::Snapshot(facts)) => facts,
        Ok(_) => return misunderstood(),
        Err(exit) => return exit,
    };
    if context.json {
        return print_json(&facts);
    }
    for note in &facts.notes {
        eprintln!("{note}");
    }
    eprintln!(
        "{} in {}, {:.1} s",
        count(facts.files, "file"),
        count(facts.directories, "directory"),
        facts.took_millis as f64 / 1000.0
    );
    print(&format!("{}\n", facts.name))
}
