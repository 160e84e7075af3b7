//! Which owner and group an entry gets here.
//!
//! The numbers that the client sent, unless it asked for a map (`--usermap`, `--groupmap`, what
//! `--chown` becomes) or the tenant wants names to count (`owner_names`). Then, as in stock rsync:
//! the first rule of the map that matches number or name decides; else a name that is an account
//! here gives its number, but never for number 0; else the number stays. Each number is decided
//! once.
//!
//! Without privilege (`--no-super`) no owner is set at all, and a group only if this process is a
//! member of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use coffre_protocol::flist::{EntryRef, IdKind, IdNames};
use coffre_protocol::mux::MessageKind;
use coffre_protocol::options::{IdMap, IdMatch, IdTarget, ServerOptions};

use super::Receiver;
use crate::session::accounts::Accounts;

/// What is decided about users, or about groups.
#[derive(Default)]
struct Side {
    rules: Vec<(IdMatch, u32)>,
    /// Targets of rules that are not accounts here; their rules do not count.
    unknown: Vec<Vec<u8>>,
    /// By the number on the wire: what it becomes here.
    decided: RefCell<HashMap<u32, u32>>,
    is_mapped: bool,
}

pub(super) struct Owners {
    accounts: Arc<Accounts>,
    users: Side,
    groups: Side,
    /// Names that are accounts here count.
    by_name: bool,
    /// Nothing but numbers travels.
    numeric: bool,
    /// The client sends the name of number 0 as that of any other.
    tells_zero: bool,
    is_incremental: bool,
    /// Groups that may be given away without privilege; `None`: all.
    own_groups: Option<Vec<u32>>,
}

impl Owners {
    /// `is_super`: owners are set at all; `tells_zero`: as negotiated.
    pub(super) fn new(
        options: &ServerOptions,
        accounts: Arc<Accounts>,
        by_name: bool,
        is_super: bool,
        tells_zero: bool,
        is_incremental: bool,
    ) -> Self {
        let side = |kind, map: &IdMap| Side::new(kind, map, &accounts);
        Self {
            users: side(IdKind::User, &options.usermap),
            groups: side(IdKind::Group, &options.groupmap),
            accounts,
            by_name: by_name && !options.numeric_ids,
            numeric: options.numeric_ids,
            tells_zero,
            is_incremental,
            own_groups: (!is_super).then(own_groups),
        }
    }

    fn side(&self, kind: IdKind) -> &Side {
        match kind {
            IdKind::User => &self.users,
            IdKind::Group => &self.groups,
        }
    }

    /// What a number of the client's becomes here.
    pub(super) fn here(&self, kind: IdKind, id: u32, names: &IdNames) -> u32 {
        let side = self.side(kind);
        if !side.is_mapped && !self.by_name {
            return id;
        }
        if let Some(decided) = side.decided.borrow().get(&id) {
            return *decided;
        }
        let decided = self.decide(kind, id, names);
        side.decided.borrow_mut().insert(id, decided);
        decided
    }

    fn decide(&self, kind: IdKind, id: u32, names: &IdNames) -> u32 {
        let side = self.side(kind);
        let name = match names.name(kind, id) {
            Some(name) => name,
            // A client that does not tell has a root as everybody.
            None if id == 0 && side.is_mapped && !self.tells_zero && !self.numeric => b"root",
            None => b"",
        };
        let rule = side.rules.iter().find(|(from, _)| from.matches(id, name));
        if let Some((_, to)) = rule {
            return *to;
        }
        if !self.by_name || id == 0 || name.is_empty() {
            return id;
        }
        self.accounts.id_of(kind, name).unwrap_or(id)
    }

    /// The same for a number in an ACL.
    pub(super) fn in_acl(&self, kind: IdKind, id: u32, names: &IdNames) -> u32 {
        // With incremental recursion stock rsync maps those numbers only that come with names.
        let counts = if self.is_incremental {
            !self.numeric
        } else {
            !self.numeric || self.users.is_mapped || self.groups.is_mapped
        };
        if counts {
            self.here(kind, id, names)
        } else {
            id
        }
    }

    /// Whether a group of this number may be given to a file.
    fn may_give_group(&self, gid: u32) -> bool {
        self.own_groups
            .as_ref()
            .is_none_or(|own| own.contains(&gid))
    }

    /// Targets of the client's maps that are nobody here.
    fn take_unknown(&mut self) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
        let users = std::mem::take(&mut self.users.unknown).into_iter();
        let groups = std::mem::take(&mut self.groups.unknown).into_iter();
        users
            .map(|name| ("user", name))
            .chain(groups.map(|name| ("group", name)))
    }
}

impl Side {
    fn new(kind: IdKind, map: &IdMap, accounts: &Accounts) -> Self {
        let mut side = Self {
            is_mapped: !map.is_empty(),
            ..Self::default()
        };
        for rule in &map.rules {
            let id = match &rule.to {
                IdTarget::Id(id) => Some(*id),
                IdTarget::Name(name) => accounts.id_of(kind, name),
            };
            match (id, &rule.to) {
                (Some(id), _) => side.rules.push((rule.from.clone(), id)),
                (None, IdTarget::Name(name)) => side.unknown.push(name.clone()),
                (None, IdTarget::Id(_)) => {}
            }
        }
        // Stock rsync reads the rules from the last to the first.
        side.unknown.reverse();
        side
    }
}

fn own_groups() -> Vec<u32> {
    let mut groups: Vec<u32> = rustix::process::getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect();
    groups.push(rustix::process::getegid().as_raw());
    groups
}

impl Receiver {
    /// The owner an entry is to have; `None`: whoever it has.
    pub(super) fn uid_for(&self, entry: &EntryRef<'_>) -> Option<u32> {
        let names = self.decoder.id_names();
        self.policy
            .owner
            .then(|| self.owners.here(IdKind::User, entry.uid(), names))
    }

    /// The group an entry is to have; `None`: whichever it has.
    pub(super) fn gid_for(&self, entry: &EntryRef<'_>) -> Option<u32> {
        let names = self.decoder.id_names();
        self.policy
            .group
            .then(|| self.owners.here(IdKind::Group, entry.gid(), names))
            .filter(|gid| self.owners.may_give_group(*gid))
    }

    /// Names in the client's maps that mean nobody here: said, and the rest goes on.
    pub(super) fn tell_unknown_owners(&mut self) {
        for (what, name) in self.owners.take_unknown() {
            let mut line = format!("Unknown --{what}map name on receiver: ").into_bytes();
            line.extend_from_slice(&name);
            self.out.raw_text(MessageKind::Error, line);
        }
    }
}
