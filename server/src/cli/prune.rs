//! `coffre prune [TENANT] [--dry-run]`

use jiff::Timestamp;

use super::ask::{ask, misunderstood};
use super::{Context, Exit, fail, print, print_json, unknown_tenant};
use crate::config::Config;
use crate::control::facts::PruneFacts;
use crate::control::{Answer, Request};
use crate::daemon::prune as plans;

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
    let facts = if dry_run {
        plan(&config, tenant.as_deref())
    } else {
        match ask(context, &config, &Request::Prune { tenant }) {
            Ok(Answer::Pruned(facts)) => Ok(facts),
            Ok(_) => Err(misunderstood()),
            Err(exit) => Err(exit),
        }
    };
    let facts = match facts {
        Ok(facts) => facts,
        Err(exit) => return exit,
    };
    let printed = if context.json {
        print_json(&facts)
    } else {
        print(&facts.iter().map(text).collect::<String>())
    };
    let held_up = facts
        .iter()
        .any(|f| f.stop.is_some() || f.ended_early.is_some());
    if held_up { Exit::Failed } else { printed }
}

/// What the rules of the file would do. No daemon is asked, so rules can be tried before a reload.
fn plan(config: &Config, tenant: Option<&str>) -> Result<Vec<PruneFacts>, Exit> {
    let now = Timestamp::now();
    let wanted = |name: &str| tenant.is_none_or(|wanted| wanted == name);
    config
        .tenants
        .iter()
        .filter(|t| wanted(&t.name))
        .map(|t| {
            let home = config.server.storage.join(&t.name);
            plans::plan(&home, t.keep.as_ref(), now, &config.server.time_zone)
                .map(|plan| plans::facts(&t.name, &plan))
                .map_err(|e| fail(format_args!("tenant \"{}\": {e}", t.name)))
        })
        .collect()
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
