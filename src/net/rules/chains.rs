//! The chains that read the sets. They never change; those for a count of backends are added when first needed.

use super::elements::{REJECT, Scope, Set};
use crate::net::nft::{Batch, Expr, Hook, REG, Verdict, link};
use ipnet::Ipv4Net;

/// Chains that exist once per shape of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// One of `count` backends at random.
    Spread { scope: Scope, count: u16 },
    /// The backend in this slot, remembering the client.
    Pick {
        scope: Scope,
        seconds: u32,
        slot: u16,
    },
    /// The slot of a remembered client, else one of `count` slots at random.
    Sticky {
        scope: Scope,
        seconds: u32,
        slots: u16,
        count: u16,
    },
}

impl Chain {
    pub fn name(&self) -> String {
        match self {
            Chain::Spread { scope, count } => format!("{}spread-{count}", scope.prefix()),
            Chain::Pick {
                scope,
                seconds,
                slot,
            } => format!("{}pick-{seconds}-{slot}", scope.prefix()),
            Chain::Sticky {
                scope,
                seconds,
                slots,
                count,
            } => format!("{}sticky-{seconds}-{slots}-{count}", scope.prefix()),
        }
    }

    /// Sets that only this chain needs.
    pub fn sets(&self) -> Vec<Set> {
        match *self {
            Chain::Pick { scope, slot, .. } => {
                vec![Set::Slot(scope, slot), Set::Clients(scope, slot)]
            }
            Chain::Spread { .. } | Chain::Sticky { .. } => Vec::new(),
        }
    }

    pub fn rules(&self) -> Vec<Vec<Expr>> {
        match *self {
            Chain::Spread { scope, count } => {
                let (mut rule, next) = frontend(scope, REG);
                rule.push(Expr::Random {
                    modulus: count.into(),
                    register: next,
                });
                rule.push(Expr::Map {
                    set: Set::Backends(scope).name(),
                    key: REG,
                });
                rule.push(Expr::Dnat(REG));
                vec![rule]
            }
            Chain::Pick {
                scope,
                seconds,
                slot,
            } => {
                let mut remember = client(scope);
                remember.push(Expr::Remember {
                    set: Set::Clients(scope, slot).name(),
                    key: REG,
                    timeout_seconds: seconds,
                });
                let (mut go, _) = frontend(scope, REG);
                go.push(Expr::Map {
                    set: Set::Slot(scope, slot).name(),
                    key: REG,
                });
                go.push(Expr::Dnat(REG));
                vec![remember, go]
            }
            Chain::Sticky {
                scope,
                seconds,
                slots,
                count,
            } => {
                let mut rules: Vec<Vec<Expr>> =
                    (0..slots).map(|slot| again(scope, seconds, slot)).collect();
                let (mut choose, next) = frontend(scope, REG);
                choose.push(Expr::Random {
                    modulus: count.into(),
                    register: next,
                });
                choose.push(Expr::VerdictMap {
                    set: Set::Slots(scope).name(),
                    key: REG,
                });
                rules.push(choose);
                rules
            }
        }
    }
}

/// A remembered client goes to its slot. A jump, not a goto: if the backend has just left, choosing goes on.
fn again(scope: Scope, seconds: u32, slot: u16) -> Vec<Expr> {
    let pick = Chain::Pick {
        scope,
        seconds,
        slot,
    };
    let mut rule = client(scope);
    rule.push(Expr::Contains {
        set: Set::Clients(scope, slot).name(),
        key: REG,
    });
    rule.push(Expr::Verdict(Verdict::Jump(pick.name())));
    rule
}

/// Loads the frontend's key; answers the next free register too.
fn frontend(scope: Scope, first: u32) -> (Vec<Expr>, u32) {
    let mut loads = Vec::new();
    let mut register = first;
    if scope == Scope::Address {
        loads.push(Expr::DestinationAddress(register));
        register += 1;
    }
    loads.push(Expr::L4Protocol(register));
    loads.push(Expr::DestinationPort(register + 1));
    (loads, register + 2)
}

fn client(scope: Scope) -> Vec<Expr> {
    let (loads, _) = frontend(scope, REG + 1);
    [vec![Expr::SourceAddress(REG)], loads].concat()
}

/// What the constant chains must know of the cluster.
pub struct Surroundings<'a> {
    pub bridge: &'a str,
    pub pod_range: Ipv4Net,
    pub service_range: Ipv4Net,
}

const SERVICES: &str = "services";
const UNSERVED: &str = "unserved";

const PRIORITY_RAW: i32 = -300;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SNAT: i32 = 100;

const ICMP: u8 = 1;
const ICMP_REDIRECT: u8 = 5;
const RTN_LOCAL: u32 = 2;
/// Established or related.
const GOING_ON: u32 = 2 | 4;

/// Sets must exist before.
pub fn put_constant(batch: &mut Batch, around: &Surroundings<'_>) {
    for name in [REJECT, SERVICES, UNSERVED] {
        batch.chain(name);
    }
    batch.rule(REJECT, &[Expr::Reject]);
    put_services(batch);
    put_unserved(batch, around);
    put_guards(batch, around);
    put_masquerade(batch, around);
}

fn put_services(batch: &mut Batch) {
    for scope in [Scope::Address, Scope::Host] {
        let rule = branch(scope, Set::Services(scope));
        batch.rule(SERVICES, &rule);
    }
    for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.base_chain(name, "nat", hook, PRIORITY_DNAT);
        batch.rule(name, &[Expr::Verdict(Verdict::Jump(SERVICES.to_owned()))]);
    }
}

/// Packets that were not sent on to a backend although they are for a Service.
fn put_unserved(batch: &mut Batch, around: &Surroundings<'_>) {
    let going_on = GOING_ON.to_ne_bytes();
    let old = [
        Expr::ConnectionState(REG),
        Expr::And {
            register: REG,
            mask: going_on,
        },
        Expr::NotEqual(REG, vec![0; 4]),
        Expr::Verdict(Verdict::Accept),
    ];
    batch.rule(UNSERVED, &old);
    for scope in [Scope::Address, Scope::Host] {
        let rule = branch(scope, Set::Closed(scope));
        batch.rule(UNSERVED, &rule);
    }
    let other_port = [
        Expr::DestinationAddress(REG),
        Expr::Contains {
            set: Set::ServiceAddresses.name(),
            key: REG,
        },
        Expr::Verdict(Verdict::Goto(REJECT.to_owned())),
    ];
    batch.rule(UNSERVED, &other_port);
    let mut nobody = within(Expr::DestinationAddress(REG), around.service_range);
    nobody.push(Expr::Verdict(Verdict::Drop));
    batch.rule(UNSERVED, &nobody);
    for (name, hook) in [
        ("filter-input", Hook::Input),
        ("filter-forward", Hook::Forward),
        ("filter-output", Hook::Output),
    ] {
        batch.base_chain(name, "filter", hook, PRIORITY_FILTER);
    }
    // Pods reach each other through the bridge they came from, which the host would call a detour. A pod that
    // believed it would send the packets for a Service straight to the pod behind it. The sysctl says so too, but
    // is anybody's to change.
    let no_redirects = [
        Expr::OutputLink(REG),
        Expr::Equal(REG, link(around.bridge)),
        Expr::L4Protocol(REG),
        Expr::Equal(REG, vec![ICMP]),
        Expr::IcmpType(REG),
        Expr::Equal(REG, vec![ICMP_REDIRECT]),
        Expr::Verdict(Verdict::Drop),
    ];
    batch.rule("filter-output", &no_redirects);
    for name in ["filter-input", "filter-forward", "filter-output"] {
        batch.rule(name, &[Expr::Verdict(Verdict::Jump(UNSERVED.to_owned()))]);
    }
}

/// `route_localnet` on the bridge lets 127.0.0.1 reach pods; the way back stays shut (CVE-2020-8558).
fn put_guards(batch: &mut Batch, around: &Surroundings<'_>) {
    batch.base_chain("guard", "filter", Hook::Prerouting, PRIORITY_RAW);
    let from_pods_to_loopback = [
        Expr::InputLink(REG),
        Expr::Equal(REG, link(around.bridge)),
        Expr::DestinationFirstByte(REG),
        Expr::Equal(REG, vec![127]),
        Expr::Verdict(Verdict::Drop),
    ];
    batch.rule("guard", &from_pods_to_loopback);
}

fn put_masquerade(batch: &mut Batch, around: &Surroundings<'_>) {
    batch.base_chain("postrouting", "nat", Hook::Postrouting, PRIORITY_SNAT);
    let hairpin = [
        Expr::SourceAddress(REG),
        Expr::DestinationAddress(REG + 1),
        Expr::Contains {
            set: Set::Hairpin.name(),
            key: REG,
        },
        Expr::Masquerade,
    ];
    batch.rule("postrouting", &hairpin);
    let from_loopback = [
        Expr::OutputLink(REG),
        Expr::Equal(REG, link(around.bridge)),
        Expr::SourceAddress(REG),
        Expr::And {
            register: REG,
            mask: [255, 0, 0, 0],
        },
        Expr::Equal(REG, vec![127, 0, 0, 0]),
        Expr::Masquerade,
    ];
    batch.rule("postrouting", &from_loopback);
    let mut outwards = within(Expr::SourceAddress(REG), around.pod_range);
    outwards.extend([
        Expr::OutputLink(REG),
        Expr::NotEqual(REG, link(around.bridge)),
        Expr::OutputLink(REG),
        Expr::NotEqual(REG, link("lo")),
        Expr::Masquerade,
    ]);
    batch.rule("postrouting", &outwards);
}

/// One lookup of the frontend's key; a packet to the host counts for [`Scope::Host`] only.
fn branch(scope: Scope, set: Set) -> Vec<Expr> {
    let mut rule = match scope {
        Scope::Address => Vec::new(),
        Scope::Host => vec![
            Expr::DestinationKind(REG),
            Expr::Equal(REG, RTN_LOCAL.to_ne_bytes().to_vec()),
        ],
    };
    rule.extend(frontend(scope, REG).0);
    rule.push(Expr::VerdictMap {
        set: set.name(),
        key: REG,
    });
    rule
}

/// `load` must load an address to the first register.
fn within(load: Expr, range: Ipv4Net) -> Vec<Expr> {
    vec![
        load,
        Expr::And {
            register: REG,
            mask: range.netmask().octets(),
        },
        Expr::Equal(REG, range.network().octets().to_vec()),
    ]
}
