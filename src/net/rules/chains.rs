//! The chains that read the sets. They never change; those for a count of backends are added when first needed, and
//! those that cost every packet something stand only while they have something to do.

use super::{
    elements::{REJECT, Scope, Set},
    fence::{self, GroupId, Way},
};
use crate::net::nft::{Batch, Expr, Hook, REG, Verdict, link};
use ipnet::Ipv4Net;

/// Chains that exist once per shape of a Service, and those of fences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// One of `count` backends at random.
    Spread {
        scope: Scope,
        count: u16,
    },
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
    /// Frontends for clients in a range, before those for everybody.
    Near(Ipv4Net),
    /// Drops clients that a frontend is not open to.
    Sources(Hook),
    /// Sends packets of fenced sandboxes to their groups.
    Fences(Hook),
    Group(Way, GroupId),
    /// For sandboxes that nobody has told us about yet.
    CutOff,
}

impl Chain {
    /// An unused one costs nothing, and removing it would have to wait for its last user.
    pub fn may_stay(&self) -> bool {
        match self {
            Chain::Spread { scope, .. }
            | Chain::Pick { scope, .. }
            | Chain::Sticky { scope, .. } => !matches!(scope, Scope::From(_)),
            _ => false,
        }
    }

    /// Makes it, without its rules.
    pub fn put(&self, batch: &mut Batch) {
        let (kind, hook, priority) = match self {
            Chain::Near(_) => ("nat", Hook::Prerouting, PRIORITY_DNAT - 1),
            Chain::Sources(hook) => ("filter", *hook, PRIORITY_DNAT - 10),
            Chain::Fences(hook) => ("filter", *hook, PRIORITY_FILTER - 1),
            _ => return batch.chain(&self.name()),
        };
        batch.base_chain(&self.name(), kind, hook, priority);
    }

    pub fn name(&self) -> String {
        match self {
            Chain::Near(range) => format!("near-{}", range.network()),
            Chain::Sources(hook) => format!("sources-{}", hook.name()),
            Chain::Fences(hook) => format!("fences-{}", hook.name()),
            Chain::Group(Way::In, group) => format!("in-{group:016x}"),
            Chain::Group(Way::Out, group) => format!("out-{group:016x}"),
            Chain::CutOff => "cut-off".to_owned(),
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
            Chain::Near(range) => {
                let scope = Scope::From(range);
                vec![
                    Set::Services(scope),
                    Set::Backends(scope),
                    Set::Slots(scope),
                ]
            }
            Chain::Sources(_) => vec![Set::Restricted, Set::Sources],
            Chain::Fences(_) => vec![Set::Fenced(Way::In), Set::Fenced(Way::Out), Set::Own],
            Chain::Group(way, group) => vec![Set::Admitted(way, group)],
            Chain::CutOff | Chain::Spread { .. } | Chain::Sticky { .. } => Vec::new(),
        }
    }

    pub fn rules(&self) -> Vec<Vec<Expr>> {
        match *self {
            Chain::Near(range) => {
                let mut rule = within(Expr::SourceAddress(REG), range);
                rule.extend(branch(Scope::Address, Set::Services(Scope::From(range))));
                vec![rule]
            }
            Chain::Sources(_) => vec![strangers()],
            Chain::Fences(hook) => fence::hook_rules(hook),
            Chain::Group(way, group) => fence::group_rules(way, group),
            Chain::CutOff => vec![vec![Expr::Verdict(Verdict::Drop)]],
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
    if scope != Scope::Host {
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

/// Drops who comes to a restricted frontend from somewhere it is not open to.
fn strangers() -> Vec<Expr> {
    let (mut rule, _) = frontend(Scope::Address, REG);
    rule.push(Expr::Contains {
        set: Set::Restricted.name(),
        key: REG,
    });
    let (loads, next) = frontend(Scope::Address, REG);
    rule.extend(loads);
    rule.push(Expr::SourceAddress(next));
    rule.push(Expr::Lacks {
        set: Set::Sources.name(),
        key: REG,
    });
    rule.push(Expr::Verdict(Verdict::Drop));
    rule
}

/// What the constant chains must know of the cluster.
pub struct Surroundings<'a> {
    pub bridge: &'a str,
    pub pod_range: Ipv4Net,
    /// ClusterIPs, and the addresses of load balancers.
    pub service_ranges: &'a [Ipv4Net],
}

const SERVICES: &str = "services";
const UNSERVED: &str = "unserved";

const PRIORITY_RAW: i32 = -300;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SNAT: i32 = 100;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP_REDIRECT: u8 = 5;
const RTN_LOCAL: u32 = 2;
/// Established or related.
const GOING_ON: u32 = 2 | 4;

/// Sets must exist before.
pub fn put_constant(batch: &mut Batch, around: &Surroundings<'_>) {
    for name in [REJECT, SERVICES, UNSERVED] {
        batch.chain(name);
    }
    // ICMP is rationed by the kernel: many refused connections would have to wait for their next attempt.
    let over_tcp = [
        Expr::L4Protocol(REG),
        Expr::Equal(REG, vec![TCP]),
        Expr::Reset,
    ];
    batch.rule(REJECT, &over_tcp);
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
    for range in around.service_ranges {
        let mut nobody = within(Expr::DestinationAddress(REG), *range);
        nobody.push(Expr::Verdict(Verdict::Drop));
        batch.rule(UNSERVED, &nobody);
    }
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
        Scope::Address | Scope::From(_) => Vec::new(),
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
