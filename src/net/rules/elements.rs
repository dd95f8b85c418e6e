//! A rule set as set elements (pure). Chains are constant; what changes are elements, so that one endpoint more or
//! less is a handful of bytes to the kernel, whatever else is installed.

use super::{
    Backend, Frontend, Place, RuleSet, Target,
    chains::Chain,
    fence::{GroupId, Way},
};
use crate::net::nft::{Field, Holds, Hook, Value, Verdict};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

/// Not `reject`: nft could not read its own listing again.
pub const REJECT: &str = "refuse";

/// Frontends at one address have it in their keys, those of the whole host do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Address,
    /// For clients in this range.
    From(Ipv4Net),
    Host,
}

impl Scope {
    /// Put before the names of sets and chains.
    pub fn prefix(self) -> String {
        match self {
            Scope::Address => String::new(),
            Scope::From(range) => format!("from-{}-", range.network()),
            Scope::Host => "node-".to_owned(),
        }
    }

    fn fields(self) -> &'static [Field] {
        match self {
            Scope::Address | Scope::From(_) => &[Field::Address, Field::Protocol, Field::Port],
            Scope::Host => &[Field::Protocol, Field::Port],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Frontend → the chain that chooses a backend.
    Services(Scope),
    /// Frontend → reject or drop.
    Closed(Scope),
    /// Frontend and a number below the count of backends → backend.
    Backends(Scope),
    /// Frontend and a number below the count of backends → the chain of a slot.
    Slots(Scope),
    /// Frontend → the backend that has this slot.
    Slot(Scope, u16),
    /// Client and frontend, for clients that stay with the backend in this slot.
    Clients(Scope, u16),
    /// Service addresses of which at least one port is served.
    ServiceAddresses,
    /// Backends reaching themselves through a Service: their own address twice.
    Hairpin,
    /// Frontends that are not open to everybody.
    Restricted,
    /// Frontend and the range of sources it is open to.
    Sources,
    /// Address → the chain of its fence.
    Fenced(Way),
    /// Fenced addresses, each twice: nobody is fenced off from itself.
    Own,
    /// Peer, protocol and port, as ranges.
    Admitted(Way, GroupId),
}

impl Set {
    pub const CONSTANT: [Set; 10] = [
        Set::Services(Scope::Address),
        Set::Services(Scope::Host),
        Set::Closed(Scope::Address),
        Set::Closed(Scope::Host),
        Set::Backends(Scope::Address),
        Set::Backends(Scope::Host),
        Set::Slots(Scope::Address),
        Set::Slots(Scope::Host),
        Set::ServiceAddresses,
        Set::Hairpin,
    ];

    pub fn name(self) -> String {
        match self {
            Set::Services(scope) => format!("{}services", scope.prefix()),
            Set::Closed(scope) => format!("{}closed", scope.prefix()),
            Set::Backends(scope) => format!("{}backends", scope.prefix()),
            Set::Slots(scope) => format!("{}slots", scope.prefix()),
            Set::Slot(scope, slot) => format!("{}slot-{slot}", scope.prefix()),
            Set::Clients(scope, slot) => format!("{}clients-{slot}", scope.prefix()),
            Set::ServiceAddresses => "service-addresses".to_owned(),
            Set::Hairpin => "hairpin".to_owned(),
            Set::Restricted => "restricted".to_owned(),
            Set::Sources => "sources".to_owned(),
            Set::Fenced(Way::In) => "fenced-in".to_owned(),
            Set::Fenced(Way::Out) => "fenced-out".to_owned(),
            Set::Own => "own".to_owned(),
            Set::Admitted(Way::In, group) => format!("admitted-in-{group:016x}"),
            Set::Admitted(Way::Out, group) => format!("admitted-out-{group:016x}"),
        }
    }

    pub fn layout(self) -> (Vec<Field>, Holds) {
        const BACKEND: Holds = Holds::Values(&[Field::Address, Field::Port]);
        match self {
            Set::Services(scope) | Set::Closed(scope) => (scope.fields().to_vec(), Holds::Verdicts),
            Set::Backends(scope) => ([scope.fields(), &[Field::Number]].concat(), BACKEND),
            Set::Slots(scope) => ([scope.fields(), &[Field::Number]].concat(), Holds::Verdicts),
            Set::Slot(scope, _) => (scope.fields().to_vec(), BACKEND),
            Set::Clients(scope, _) => (
                [&[Field::Address], scope.fields()].concat(),
                Holds::Remembered,
            ),
            Set::ServiceAddresses => (vec![Field::Address], Holds::Keys),
            Set::Hairpin | Set::Own => (vec![Field::Address, Field::Address], Holds::Keys),
            Set::Restricted => (Scope::Address.fields().to_vec(), Holds::Keys),
            Set::Sources => (
                [Scope::Address.fields(), &[Field::Address]].concat(),
                Holds::Ranges,
            ),
            Set::Fenced(_) => (vec![Field::Address], Holds::Verdicts),
            Set::Admitted(..) => (Scope::Address.fields().to_vec(), Holds::Ranges),
        }
    }
}

/// Which slot a backend of a frontend with affinity has: constant as long as it is there.
pub type Slots = BTreeMap<Frontend, BTreeMap<Backend, u16>>;

/// What the kernel should hold besides the constant chains.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elements {
    pub chains: BTreeSet<Chain>,
    pub sets: BTreeMap<Set, BTreeMap<Vec<u8>, Value>>,
    pub slots: Slots,
}

/// `before` keeps clients with their backends: a slot is not given away while its old owner may be remembered.
pub fn elements(rules: &RuleSet, service_ranges: &[Ipv4Net], before: &Slots) -> Elements {
    let mut all = Elements::default();
    for (frontend, target) in &rules.frontends {
        if let Some(address) = frontend.place.address()
            && service_ranges.iter().any(|range| range.contains(&address))
        {
            all.put(
                Set::ServiceAddresses,
                address.octets().to_vec(),
                Value::Nothing,
            );
        }
        let scope = frontend.scope();
        if let Scope::From(range) = scope {
            all.chains.insert(Chain::Near(range));
        }
        let closed = Set::Closed(scope);
        match target {
            // Before the address alone is looked at: what is said there is not for these clients.
            Target::Drop | Target::Reject if matches!(scope, Scope::From(_)) => {
                let drop = Value::Verdict(Verdict::Drop);
                all.put(Set::Services(scope), frontend.element(), drop);
            }
            Target::Drop | Target::Reject => {
                let verdict = match target {
                    Target::Drop => Verdict::Drop,
                    _ => Verdict::Goto(REJECT.to_owned()),
                };
                all.put(closed, frontend.element(), Value::Verdict(verdict));
                let anywhere = Frontend {
                    place: Place::Host,
                    ..*frontend
                };
                // What every address of the host leads to must not be reached by the one that is closed.
                if scope == Scope::Address && rules.frontends.contains_key(&anywhere) {
                    let stay = Value::Verdict(Verdict::Accept);
                    all.put(Set::Services(scope), frontend.element(), stay);
                }
            }
            Target::Backends { backends, affinity } => {
                for backend in backends {
                    let address = backend.address.octets();
                    all.put(Set::Hairpin, [address, address].concat(), Value::Nothing);
                }
                match affinity {
                    None => all.spread(frontend, backends),
                    Some(time) => all.stick(frontend, backends, *time, before.get(frontend)),
                }
            }
        }
    }
    for (frontend, sources) in &rules.sources {
        all.restrict(frontend, sources);
    }
    all
}

impl Elements {
    fn restrict(&mut self, frontend: &Frontend, sources: &[Ipv4Net]) {
        for hook in [Hook::Prerouting, Hook::Output] {
            self.chains.insert(Chain::Sources(hook));
        }
        let key = frontend.element();
        for range in Ipv4Net::aggregate(&sources.to_vec()) {
            let end = |address: Ipv4Addr| [&key[..], &address.octets()].concat();
            let ends = [end(range.network()), end(range.broadcast())].concat();
            self.put(Set::Sources, ends, Value::Nothing);
        }
        self.put(Set::Restricted, key, Value::Nothing);
    }

    pub(super) fn jump(&mut self, set: Set, key: Vec<u8>, chain: &Chain) {
        let jump = Value::Verdict(Verdict::Jump(chain.name()));
        self.put(set, key, jump);
    }

    pub(super) fn put(&mut self, set: Set, key: Vec<u8>, value: Value) {
        self.sets.entry(set).or_default().insert(key, value);
    }

    fn lead(&mut self, set: Set, key: Vec<u8>, chain: Chain) {
        let name = chain.name();
        self.chains.insert(chain);
        self.put(set, key, Value::Verdict(Verdict::Goto(name)));
    }

    fn spread(&mut self, frontend: &Frontend, backends: &BTreeSet<Backend>) {
        let scope = frontend.scope();
        for (number, backend) in (0u32..).zip(backends) {
            let key = [frontend.element(), number.to_ne_bytes().to_vec()].concat();
            self.put(Set::Backends(scope), key, Value::Bytes(backend.element()));
        }
        let count = count(backends.len());
        self.lead(
            Set::Services(scope),
            frontend.element(),
            Chain::Spread { scope, count },
        );
    }

    fn stick(
        &mut self,
        frontend: &Frontend,
        backends: &BTreeSet<Backend>,
        time: Duration,
        before: Option<&BTreeMap<Backend, u16>>,
    ) {
        let scope = frontend.scope();
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let slots = slots(backends, before);
        for (number, (backend, &slot)) in (0u32..).zip(&slots) {
            let key = [frontend.element(), number.to_ne_bytes().to_vec()].concat();
            let pick = Chain::Pick {
                scope,
                seconds,
                slot,
            };
            self.lead(Set::Slots(scope), key, pick);
            let backend = Value::Bytes(backend.element());
            self.put(Set::Slot(scope, slot), frontend.element(), backend);
        }
        let sticky = Chain::Sticky {
            scope,
            seconds,
            slots: slots.values().max().map_or(0, |&last| last + 1),
            count: count(slots.len()),
        };
        // The chain jumps to every slot below the highest, also to those this frontend does not use.
        for slot in 0..slots.values().max().map_or(0, |&last| last + 1) {
            self.chains.insert(Chain::Pick {
                scope,
                seconds,
                slot,
            });
        }
        self.lead(Set::Services(scope), frontend.element(), sticky);
        self.slots.insert(*frontend, slots);
    }
}

fn count(backends: usize) -> u16 {
    u16::try_from(backends).unwrap_or(u16::MAX)
}

fn slots(
    backends: &BTreeSet<Backend>,
    before: Option<&BTreeMap<Backend, u16>>,
) -> BTreeMap<Backend, u16> {
    let none = BTreeMap::new();
    let before = before.unwrap_or(&none);
    let taken: BTreeSet<u16> = before.values().copied().collect();
    let mut free = (0..u16::MAX).filter(|slot| !taken.contains(slot));
    let mut slots = BTreeMap::new();
    for backend in backends {
        let slot = before.get(backend).copied().or_else(|| free.next());
        slots.extend(slot.map(|slot| (*backend, slot)));
    }
    slots
}

impl Frontend {
    pub fn scope(&self) -> Scope {
        match self.place {
            Place::Address(_) => Scope::Address,
            Place::From(range, _) => Scope::From(range),
            Place::Host => Scope::Host,
        }
    }

    /// As the key of a set: every field fills four bytes.
    pub fn element(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(16);
        if let Some(address) = self.place.address() {
            key.extend(address.octets());
        }
        key.extend([self.protocol.number(), 0, 0, 0]);
        key.extend(self.port.to_be_bytes());
        key.extend([0, 0]);
        key
    }
}

impl Backend {
    fn element(&self) -> Vec<u8> {
        let mut value = self.address.octets().to_vec();
        value.extend(self.port.to_be_bytes());
        value.extend([0, 0]);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rules::Protocol;

    fn backend(last: u8) -> Backend {
        Backend {
            address: [10, 244, 0, last].into(),
            port: 8080,
        }
    }

    fn rules(last: &[u8], affinity: Option<u64>) -> RuleSet {
        let frontend = Frontend {
            place: Place::Address([10, 96, 0, 1].into()),
            protocol: Protocol::Tcp,
            port: 443,
        };
        let target = Target::Backends {
            backends: last.iter().map(|&last| backend(last)).collect(),
            affinity: affinity.map(Duration::from_secs),
        };
        RuleSet {
            frontends: [(frontend, target)].into(),
            ..RuleSet::default()
        }
    }

    fn range() -> [Ipv4Net; 1] {
        ["10.96.0.0/16".parse().unwrap()]
    }

    #[test]
    fn a_frontend_leads_to_the_chain_for_its_count() {
        let all = elements(&rules(&[2, 3], None), &range(), &Slots::new());
        let key = vec![10, 96, 0, 1, 6, 0, 0, 0, 1, 187, 0, 0];
        let services = &all.sets[&Set::Services(Scope::Address)];
        let goto = Value::Verdict(Verdict::Goto("spread-2".to_owned()));
        assert_eq!(services.get(&key), Some(&goto));
        assert_eq!(all.sets[&Set::Backends(Scope::Address)].len(), 2);
        assert_eq!(all.sets[&Set::ServiceAddresses].len(), 1);
    }

    #[test]
    fn slots_stay_and_are_not_given_away_at_once() {
        let slots = |last: &[u8], before: &Slots| {
            elements(&rules(last, Some(60)), &range(), before)
                .slots
                .clone()
        };
        let flat = |slots: &Slots| -> Vec<(u8, u16)> {
            let pairs = slots.values().flatten();
            pairs
                .map(|(backend, slot)| (backend.address.octets()[3], *slot))
                .collect()
        };
        let first = slots(&[2, 3], &Slots::new());
        assert_eq!(flat(&first), [(2, 0), (3, 1)]);
        let second = slots(&[3, 4], &first);
        assert_eq!(flat(&second), [(3, 1), (4, 2)]);
        let third = slots(&[3, 4, 5], &second);
        assert_eq!(flat(&third), [(3, 1), (4, 2), (5, 0)]);
    }
}
