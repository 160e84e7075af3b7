//! `coffre prune [TENANT] [--dry-run]`

use super::ask::{ask, misunderstood};
use super::{Context, Exit, fail, print, print_json, unknown_tenant};
use crate::control::facts::PruneFacts;
use crate::control::{Answer, Request};

pub(super) fn run(context: &Context, tenant: Option<String>, dry_run: bool) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Some(name) = &tenant
        && !config.tenants.iter().any(|t| t.name == *name)
    {
        return fail(unknown_tenant(name, &context.config));
    }
    let facts = match ask(context, &config, &Request::Prune { tenant, dry_run }) {
        Ok(Answer::Pruned(facts)) => facts,
        Ok(_) => return misunderstood(),
        Err(exit) => return exit,
    };
    let printed = if context.json {
        print_json(&facts)
    } else {
        print(&facts.iter().map(text).collect::<String>())
    };
    let held_up = facts
        .iter()
        .any(|f| f.stop.is_some() || (!dry_run && f.ended_early.is_some()));
    if held_up { Exit::Failed } else { printed }
}

/// A line per snapshot, newest first: tenant, name, keep or prune, and why.
fn text(facts: &PruneFacts) -> String {
    let tenant = &facts.tenant;
    let mut out = String::new();
    let width = facts.plan.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for planned in &facts.plan {
        let verdict = if planned.keep { "keep " } else { "prune" };
        out.push_str(&format!(
            "{tenant}  {:width$}  {verdict}  {}\n",
            planned.name, planned.why
        ));
    }
    if let Some(stop) = &facts.stop {
        out.push_str(&format!("{tenant}: nothing is pruned: {stop}\n"));
    }
    if !facts.removed.is_empty() {
        out.push_str(&format!(
            "{tenant}: removed {} of {}\n",
            facts.removed.len(),
            facts.plan.len()
        ));
    }
    if let Some(why) = &facts.ended_early {
        out.push_str(&format!("{tenant}: ended early: {why}\n"));
    }
    out
}
