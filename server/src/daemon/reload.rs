//! From one configuration to the next, and from none to the first.
//!
//! Everything that can go wrong is done before anything changes: the file is read and checked, the
//! homes are made, the SSH side binds what is new. Only then do tenants get their new
//! configuration. An error leaves the server as it was.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tracing::{info, warn};

use super::Daemon;
use super::store;
use super::usage::{self, Telling};
use crate::config::{self, Config, Diagnostic, LandlockPolicy};
use crate::confine::{TenantRoot, landlock};
use crate::control::Failure;
use crate::control::facts::ReloadFacts;
use crate::snapshot;
use crate::tenant::TenantHandle;

impl Daemon {
    /// Reads the file again and goes over to it.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<ReloadFacts, Failure> {
        let before = self.config();
        let (config, warnings) =
            config::load(&before.path).map_err(|found| unchanged(&self.render(&found), true))?;
        if config.server.storage != before.server.storage {
            return Err(unchanged(
                &format!(
                    "the storage cannot change from {} to {} while the server runs; restart it",
                    before.server.storage.display(),
                    config.server.storage.display()
                ),
                true,
            ));
        }
        check_landlock(&config).map_err(|why| unchanged(&why, true))?;

        let mut server = self.server.lock().await;
        let Some(server) = server.as_mut() else {
            return Err(Failure::new("the server stops"));
        };
        let config = Arc::new(config);
        let handles = self
            .open_tenants(&config)
            .map_err(|e| unchanged(&e, false))?;
        let listed: Vec<_> = handles.values().cloned().collect();
        server
            .reload(&config, &listed)
            .map_err(|problems| unchanged(&self.with_hint(problems.to_string()), false))?;
        self.note_ports(server);
        let facts = self.adopt(config, handles, &warnings);
        for warning in &warnings {
            warn!("{}", warning.summary());
        }
        let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
        info!(
            tenants = facts.tenants,
            added = list(&facts.added),
            removed = list(&facts.removed),
            "reloaded"
        );
        self.scheduler().wake();
        Ok(facts)
    }

    fn render(&self, found: &[Diagnostic]) -> String {
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        self.with_hint(lines.join("\n"))
    }

    /// A file that root may not read is one that this process has shut itself out from.
    fn with_hint(&self, text: String) -> String {
        match self.fence.hint() {
            Some(hint) if text.contains("Permission denied") => format!("{text}\n{hint}"),
            _ => text,
        }
    }

    /// A handle for each tenant of `config`, with its home made and swept. Those that are served
    /// already keep theirs, and their configuration.
    pub(super) fn open_tenants(
        &self,
        config: &Config,
    ) -> Result<BTreeMap<String, Arc<TenantHandle>>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handles = BTreeMap::new();
        for tenant in &config.tenants {
            let handle = match known.get(&tenant.name).and_then(std::sync::Weak::upgrade) {
                Some(handle) => handle,
                None => {
                    let handle = TenantHandle::new(&config.server.storage, Arc::clone(tenant));
                    store::make_home(handle.home())
                        .map_err(|e| format!("tenant \"{}\": {e}", tenant.name))?;
                    handle
                        .account
                        .configure(tenant.quota, config.server.min_free);
                    let notes = self.catalogue.notes(&tenant.name, handle.home());
                    if let Some(notes) = notes.map_err(|e| e.to_string())? {
                        handle.set_notes(notes);
                    }
                    usage::recall(&handle, &self.catalogue);
                    sweep(&handle);
                    Arc::new(handle)
                }
            };
            handles.insert(tenant.name.clone(), handle);
        }
        for (name, handle) in &handles {
            known.insert(name.clone(), Arc::downgrade(handle));
        }
        Ok(handles)
    }

    /// Makes `config` the one in force.
    pub(super) fn adopt(
        &self,
        config: Arc<Config>,
        handles: BTreeMap<String, Arc<TenantHandle>>,
        warnings: &[Diagnostic],
    ) -> ReloadFacts {
        for tenant in &config.tenants {
            if let Some(handle) = handles.get(&tenant.name) {
                handle.set_config(Arc::clone(tenant));
                let min_free = config.server.min_free;
                handle.account.configure(tenant.quota, min_free);
            }
        }
        let count = handles.len();
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *tenants, handles);
        let added = tenants.keys().filter(|name| !before.contains_key(*name));
        let added = added.cloned().collect();
        let removed = before.keys().filter(|name| !tenants.contains_key(*name));
        let removed = removed.cloned().collect();
        drop(tenants);
        self.places.set(config.server.max_sessions);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        ReloadFacts {
            added,
            removed,
            tenants: count,
            warnings: warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Whether the kernel does what the configuration requires.
pub(super) fn check_landlock(config: &Config) -> Result<(), String> {
    let support = landlock::support();
    if config.server.landlock == LandlockPolicy::Required && !support.is_usable() {
        return Err(format!(
            "{support}, and the configuration says `landlock = \"required\"`"
        ));
    }
    Ok(())
}

/// Clears what a crash has left in a home. What cannot be cleared is in nobody's way: it has no
/// name that anybody sees.
fn sweep(tenant: &TenantHandle) {
    match TenantRoot::sweep(tenant.home()) {
        Ok(0) => {}
        Ok(files) => info!(
            tenant = tenant.name(),
            files, "swept files of broken sessions"
        ),
        Err(e) => warn!(
            tenant = tenant.name(),
            "cannot sweep: {}",
            config::reason(&e)
        ),
    }
    let telling = Telling {
        inner: &(),
        account: &tenant.account,
    };
    match snapshot::sweep(tenant.home(), None, &telling) {
        Ok(swept) if swept.gone.is_empty() => {}
        Ok(swept) => info!(
            tenant = tenant.name(),
            leftovers = swept.gone.join(", "),
            files = swept.files,
            "swept unfinished snapshot work"
        ),
        Err(e) => warn!(tenant = tenant.name(), "cannot sweep: {e}"),
    }
}

fn unchanged(why: &str, config: bool) -> Failure {
    Failure {
        message: format!("{why}\nnothing was changed; the server goes on as before"),
        config,
    }
}
