//! `coffre check-config`

use serde::Serialize;

use super::{Context, Exit, complain, print, print_json};
use crate::config::units::count;
use crate::config::{self, Diagnostic};

#[derive(Serialize)]
struct Facts {
    ok: bool,
    tenants: Option<usize>,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Problem {
    severity: &'static str,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

pub(super) fn run(context: &Context) -> Exit {
    let loaded = config::load(&context.config);
    let (tenants, found) = match &loaded {
        Ok((config, warnings)) => (Some(config.tenants.len()), warnings),
        Err(found) => (None, found),
    };
    if context.json {
        print_json(&Facts {
            ok: loaded.is_ok(),
            tenants,
            problems: found.iter().map(problem).collect(),
        });
    } else {
        complain(found);
    }
    match tenants {
        None => Exit::Config,
        Some(_) if context.json => Exit::Done,
        Some(n) => print(&format!(
            "{}: good, {}\n",
            context.config.display(),
            count(n as u64, "tenant")
        )),
    }
}

fn problem(found: &Diagnostic) -> Problem {
    Problem {
        severity: if found.is_warning() {
            "warning"
        } else {
            "error"
        },
        file: found.file.display().to_string(),
        line: found.place.as_ref().map(|p| p.line),
        column: found.place.as_ref().map(|p| p.column),
        message: found.message.clone(),
    }
}
