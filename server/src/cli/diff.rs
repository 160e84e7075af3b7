//! `coffre diff TENANT A B`

use std::sync::atomic::{AtomicU64, Ordering};

use super::find::{kind_word, shown_path};
use super::trees::{self, Named};
use super::watched::Watched;
use super::{Context, Exit, print, print_json, trouble, unknown_tenant};
use crate::config::units::{count, render_size};
use crate::confine::Kind;
use crate::control::facts::{DiffFacts, DifferenceFacts};
use crate::diff::{self, Change, Difference, Differences, Task, Watch};

/// Reads the store itself, whether a daemon runs or not. Ends like `diff`.
pub(super) fn run(context: &Context, tenant: &str, names: [&str; 2]) -> Exit {
    let config = match context.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !config.tenants.iter().any(|t| t.name == tenant) {
        return trouble(unknown_tenant(tenant, &context.config));
    }
    let home = config.server.storage.join(tenant);
    let named = names.map(|name| trees::tree(&home, name, &config.server.time_zone));
    let (first, second) = match named {
        [Ok(first), Ok(second)] => (first, second),
        [Err(why), _] | [_, Err(why)] => {
            return trouble(format_args!("tenant \"{tenant}\": {why}"));
        }
    };
    let notes = match super::notes(&config.server.storage, tenant) {
        Ok(notes) => notes,
        Err(e) => return trouble(e),
    };
    let task = Task {
        home: &home,
        first: first.snapshot(),
        second: second.snapshot(),
        form: super::form(&config),
        notes,
    };
    let shown = Shown {
        watched: Watched::new(),
        names: AtomicU64::new(0),
    };
    let found = diff::diff(&task, &shown);
    shown.watched.end();
    let found = match found {
        Ok(found) => found,
        Err(e) => return trouble(format_args!("tenant \"{tenant}\": {e}")),
    };
    let facts = facts(tenant, first, second, &found);
    let printed = match context.json {
        true => print_json(&facts),
        false => print(&text(&facts)),
    };
    match printed {
        Exit::Done if found.all.is_empty() => Exit::Done,
        Exit::Done => Exit::Failed,
        _ => Exit::Trouble,
    }
}

struct Shown {
    watched: Watched,
    names: AtomicU64,
}

impl Watch for Shown {
    fn advance(&self, names: u64) {
        let names = self.names.fetch_add(names, Ordering::Relaxed) + names;
        self.watched
            .show(|| format!("compared {}", count(names, "name")));
    }
}

fn facts(tenant: &str, first: Named, second: Named, found: &Differences) -> DiffFacts {
    let path = |difference: &Difference| {
        let path = shown_path(&difference.path);
        match difference.kind {
            Kind::Dir if path != "/" => path + "/",
            _ => path,
        }
    };
    let one = |difference: &Difference| {
        let mut facts = DifferenceFacts {
            path: path(difference),
            change: String::new(),
            kind: kind_word(difference.kind).to_owned(),
            what: Vec::new(),
            from: None,
            hard_link: false,
            size_bytes: difference.size,
        };
        facts.change = match &difference.change {
            Change::Added { is_link } => {
                facts.hard_link = *is_link;
                "added"
            }
            Change::Removed { is_link } => {
                facts.hard_link = *is_link;
                "removed"
            }
            Change::Moved { from } => {
                facts.from = Some(shown_path(from));
                "moved"
            }
            Change::Changed(what) => {
                facts.what = what.iter().map(|what| what.word().to_owned()).collect();
                "changed"
            }
        }
        .to_owned();
        facts
    };
    let differences: Vec<_> = found.all.iter().map(one).collect();
    let of = |change: &str| differences.iter().filter(|d| d.change == change).count() as u64;
    DiffFacts {
        tenant: tenant.to_owned(),
        first: first.to_string(),
        second: second.to_string(),
        added: of("added"),
        removed: of("removed"),
        changed: of("changed"),
        moved: of("moved"),
        new_bytes: found.new_bytes,
        differences,
    }
}

fn text(facts: &DiffFacts) -> String {
    let mut out = String::new();
    for difference in &facts.differences {
        let DifferenceFacts { path, change, .. } = difference;
        let about = match (change.as_str(), &difference.from) {
            ("changed", _) => difference.what.join(","),
            ("moved", Some(from)) => {
                out.push_str(&format!("{change:<8} {from} -> {path}\n"));
                continue;
            }
            _ if difference.hard_link => "hard link".to_owned(),
            _ => difference.kind.clone(),
        };
        out.push_str(&format!("{change:<8} {about:<20} {path}\n"));
    }
    if facts.differences.is_empty() {
        out.push_str(&format!(
            "{} and {} are the same\n",
            facts.first, facts.second
        ));
        return out;
    }
    let counts = [
        (facts.added, "added"),
        (facts.removed, "removed"),
        (facts.changed, "changed"),
        (facts.moved, "moved"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    out.push_str(&format!(
        "from {} to {}: {}; {} only in {}\n",
        facts.first,
        facts.second,
        counts.join(", "),
        render_size(facts.new_bytes),
        facts.second
    ));
    out
}
