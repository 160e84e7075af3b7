//! `coffre reload`

use super::ask::{ask, misunderstood};
use super::{Context, Exit, print, print_json};
use crate::config::units::count;
use crate::control::{Answer, Request};

pub(super) fn run(context: &Context) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let facts = match ask(context, &config, &Request::Reload) {
        Ok(Answer::Reloaded(facts)) => facts,
        Ok(_) => return misunderstood(),
        Err(exit) => return exit,
    };
    if context.json {
        return print_json(&facts);
    }
    for warning in &facts.warnings {
        eprintln!("{warning}");
    }
    let mut text = format!("reloaded: {}", count(facts.tenants as u64, "tenant"));
    if !facts.added.is_empty() {
        text.push_str(&format!(", new: {}", facts.added.join(", ")));
    }
    if !facts.removed.is_empty() {
        text.push_str(&format!(", removed: {}", facts.removed.join(", ")));
    }
    print(&format!("{text}\n"))
}
