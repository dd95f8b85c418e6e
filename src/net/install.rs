//! Brings the kernel from the rules it has to the rules it should have, in one transaction.
//!
//! What is installed is remembered only while the daemon runs; after a restart, or when somebody else tampered with
//! our table, it is replaced as a whole, still in one transaction. Blocking.

use super::{
    conntrack,
    nft::{self, Batch, Holds, Value},
    rules::{
        Backend, Frontend, Protocol, RuleSet, Target,
        chains::{self, Surroundings},
        elements::{Elements, Set, Slots, elements},
        fence::{self, Addresses},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};
use tracing::{debug, warn};

#[derive(Default)]
pub struct Installed {
    rules: RuleSet,
    services: Elements,
    fences: Elements,
}

/// Answers what is installed now. `addresses` are those of the sandboxes that fences speak of.
pub fn install(
    table: &str,
    around: &Surroundings<'_>,
    rules: RuleSet,
    addresses: &Addresses,
    before: Option<Installed>,
) -> io::Result<Installed> {
    let fences = rules.fences.as_deref();
    let mut fences = fences.map_or_else(Elements::default, |all| fence::elements(all, addresses));
    let Some(mut old) = before else {
        let services = elements(&rules, around.service_ranges, &Slots::new());
        replace(table, around, &[&services, &fences])?;
        forget_flows(&RuleSet::default(), &rules);
        return Ok(Installed {
            rules,
            services,
            fences,
        });
    };
    // A sandbox that comes or goes changes nothing for Services: their elements need not be made anew for it.
    let is_same = old.rules.frontends == rules.frontends && old.rules.sources == rules.sources;
    let before = std::mem::take(&mut old.services);
    let mut services = match is_same {
        true => None,
        false => Some(elements(&rules, around.service_ranges, &before.slots)),
    };
    let mut pairs = vec![(&old.fences, &mut fences)];
    if let Some(services) = &mut services {
        pairs.push((&before, services));
    }
    for (old, new) in &mut pairs {
        let staying = old.chains.iter().filter(|chain| chain.may_stay());
        new.chains.extend(staying.cloned());
    }
    let pairs: Vec<(&Elements, &Elements)> =
        pairs.into_iter().map(|(old, new)| (old, &*new)).collect();
    if let Err(error) = change(table, &pairs) {
        warn!(%error, table, "packet rules are not as we left them; replacing them all");
        replace(
            table,
            around,
            &[services.as_ref().unwrap_or(&before), &fences],
        )?;
    }
    if let Some(services) = &services {
        forget_flows(&old.rules, &rules);
        forget_clients(table, &before.slots, &services.slots);
    }
    Ok(Installed {
        rules,
        services: services.unwrap_or(before),
        fences,
    })
}

fn forget_flows(old: &RuleSet, new: &RuleSet) {
    for (frontend, backend) in outdated(old, new) {
        if let Err(error) = conntrack::forget(&frontend, backend.as_ref()) {
            debug!(%error, ?frontend, "forget connections");
        }
    }
}

fn replace(table: &str, around: &Surroundings<'_>, all: &[&Elements]) -> io::Result<()> {
    let mut batch = Batch::new(table);
    if nft::table_exists(table)? {
        batch.delete_table();
    }
    batch.table();
    put_sets(&mut batch, Set::CONSTANT);
    chains::put_constant(&mut batch, around);
    for elements in all {
        put_changes(&mut batch, &Elements::default(), elements);
    }
    batch.commit()
}

fn change(table: &str, pairs: &[(&Elements, &Elements)]) -> io::Result<()> {
    let mut batch = Batch::new(table);
    let mut is_needed = false;
    for (old, new) in pairs {
        if old.sets != new.sets || old.chains != new.chains {
            put_changes(&mut batch, old, new);
            is_needed = true;
        }
    }
    if is_needed { batch.commit() } else { Ok(()) }
}

/// Chains before the elements that lead to them; what goes before what comes, since a changed element is both; sets
/// last, when no rule reads them any more.
fn put_changes(batch: &mut Batch, old: &Elements, new: &Elements) {
    let chains: Vec<_> = new.chains.difference(&old.chains).collect();
    let had: BTreeSet<Set> = old.chains.iter().flat_map(|chain| chain.sets()).collect();
    let has: BTreeSet<Set> = new.chains.iter().flat_map(|chain| chain.sets()).collect();
    put_sets(batch, has.difference(&had).copied());
    for chain in &chains {
        chain.put(batch);
    }
    for chain in &chains {
        for rule in chain.rules() {
            batch.rule(&chain.name(), &rule);
        }
    }
    let none = BTreeMap::new();
    for (set, elements) in &old.sets {
        let holds = set.layout().1;
        if holds == Holds::Ranges && had.contains(set) && !has.contains(set) {
            continue;
        }
        let kept = new.sets.get(set).unwrap_or(&none);
        let gone = elements
            .iter()
            .filter(|(key, value)| kept.get(*key) != Some(*value));
        let gone = gone.map(|(key, _)| key.as_slice());
        match holds {
            Holds::Ranges => batch.delete_ranges(&set.name(), gone),
            _ => batch.delete_elements(&set.name(), gone),
        }
    }
    for (set, elements) in &new.sets {
        let had = old.sets.get(set).unwrap_or(&none);
        let come = elements
            .iter()
            .filter(|(key, value)| had.get(*key) != Some(*value));
        let come = come.map(|(key, value): (&Vec<u8>, &Value)| (key.as_slice(), value));
        match set.layout().1 {
            Holds::Ranges => batch.add_ranges(&set.name(), come.map(|(key, _)| key)),
            _ => batch.add_elements(&set.name(), come),
        }
    }
    // In the order of their declaration chains lead to earlier ones.
    let gone: Vec<_> = old.chains.difference(&new.chains).collect();
    for chain in gone.iter().rev() {
        batch.delete_chain(&chain.name());
    }
    for set in had.difference(&has) {
        batch.delete_set(&set.name());
    }
}

fn put_sets(batch: &mut Batch, sets: impl IntoIterator<Item = Set>) {
    for set in sets {
        let (key, holds) = set.layout();
        batch.set(&set.name(), &key, holds);
    }
}

/// UDP flows that the new rules would send elsewhere: to one backend that is gone, or all of a frontend whose
/// packets went untranslated until now.
fn outdated(old: &RuleSet, new: &RuleSet) -> Vec<(Frontend, Option<Backend>)> {
    let none = BTreeSet::new();
    let backends = |rules: &RuleSet, frontend: &Frontend| match rules.frontends.get(frontend) {
        Some(Target::Backends { backends, .. }) => backends.clone(),
        _ => none.clone(),
    };
    let mut found = Vec::new();
    let frontends: BTreeSet<&Frontend> = old.frontends.keys().chain(new.frontends.keys()).collect();
    for frontend in frontends {
        if frontend.protocol != Protocol::Udp {
            continue;
        }
        let (had, has) = (backends(old, frontend), backends(new, frontend));
        if had.is_empty() && !has.is_empty() {
            found.push((*frontend, None));
        }
        let gone = had.difference(&has);
        found.extend(gone.map(|backend| (*frontend, Some(*backend))));
    }
    found
}

/// Clients stay with a slot; when its backend is gone they must not wait for the next owner.
fn forget_clients(table: &str, old: &Slots, new: &Slots) {
    let mut gone: BTreeMap<Set, Vec<Vec<u8>>> = BTreeMap::new();
    for (frontend, slots) in old {
        let has = new.get(frontend);
        for (backend, slot) in slots {
            if !has.is_some_and(|slots| slots.contains_key(backend)) {
                let set = Set::Clients(frontend.scope(), *slot);
                gone.entry(set).or_default().push(frontend.element());
            }
        }
    }
    for (set, frontends) in gone {
        let forget = || -> io::Result<()> {
            let keys = nft::keys(table, &set.name())?;
            // The client's address comes first in the key.
            let stale = keys
                .iter()
                .map(Vec::as_slice)
                .filter(|key| frontends.iter().any(|end| key.ends_with(end)));
            let mut batch = Batch::new(table);
            batch.delete_elements(&set.name(), stale);
            batch.commit()
        };
        if let Err(error) = forget() {
            // One may have expired in between, which refuses the batch: the rest expires too.
            debug!(%error, set = set.name(), "forget clients");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rules::Place;

    #[test]
    fn only_udp_flows_to_what_is_gone_are_forgotten() {
        let frontend = |protocol| Frontend {
            place: Place::Host,
            protocol,
            port: 53,
        };
        let backend = |last: u8| Backend {
            address: [10, 0, 0, last].into(),
            port: 53,
        };
        let rules = |protocol, last: &[u8]| RuleSet {
            frontends: [(
                frontend(protocol),
                match last {
                    [] => Target::Reject,
                    some => Target::Backends {
                        backends: some.iter().map(|&last| backend(last)).collect(),
                        affinity: None,
                    },
                },
            )]
            .into(),
            ..RuleSet::default()
        };
        let udp = frontend(Protocol::Udp);
        type Case = (&'static [u8], &'static [u8], Vec<Option<Backend>>);
        let cases: &[Case] = &[
            (&[1, 2], &[2, 3], vec![Some(backend(1))]),
            (&[1], &[], vec![Some(backend(1))]),
            (&[], &[1], vec![None]),
            (&[1], &[1, 2], vec![]),
        ];
        for (old, new, expected) in cases {
            let found = outdated(&rules(Protocol::Udp, old), &rules(Protocol::Udp, new));
            let expected: Vec<_> = expected.iter().map(|backend| (udp, *backend)).collect();
            assert_eq!(found, expected, "{old:?} {new:?}");
            let tcp = outdated(&rules(Protocol::Tcp, old), &rules(Protocol::Tcp, new));
            assert_eq!(tcp, []);
        }
    }
}
