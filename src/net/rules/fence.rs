//! Fences around sandboxes: whose connections may begin and end there. As a wish, and as chains and sets (pure).
//!
//! A connection is judged as a whole, in every packet of both directions, by what conntrack knows of it: who began it,
//! where it really goes (behind a Service the backend), and by which port. So replies need no rule of their own, and a
//! connection that is no longer allowed stops at once. Sandboxes are named by id and become addresses through the
//! leases, so a fence stands before the sandbox has its link. The host itself is not fenced off: it reaches every
//! sandbox.

use super::{
    Protocol,
    cells::{Cell, Span, cells, single},
    chains::Chain,
    elements::{Elements, Set},
};
use crate::net::nft::{Expr, Hook, REG, Tuple, Value, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    ops::RangeInclusive,
    sync::Arc,
};

pub type SandboxId = Arc<str>;

/// Stable as long as the same wishes apply to its members, so that a change of peers is a change of set elements only.
pub type GroupId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Connections to the sandbox.
    In,
    /// Connections that it begins.
    Out,
}

/// Each sandbox has at most one group per way; without one that way is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fences {
    /// All known sandboxes. One that has an address and is not here is cut off until it is known.
    pub members: BTreeMap<SandboxId, Membership>,
    pub groups: BTreeMap<(Way, GroupId), Vec<Gate>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub ingress: Option<GroupId>,
    pub egress: Option<GroupId>,
}

/// Lets these peers through at these ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub peers: Peers,
    /// Empty: everything, whatever the protocol.
    pub ports: Vec<PortRange>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    pub sandboxes: Arc<BTreeSet<SandboxId>>,
    /// First and last address, as numbers.
    pub ranges: Vec<RangeInclusive<u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub protocol: Protocol,
    pub ports: RangeInclusive<u16>,
}

/// Sandboxes that have an address.
pub type Addresses = BTreeMap<SandboxId, Ipv4Addr>;

/// Chains and set elements for these fences.
pub fn elements(fences: &Fences, addresses: &Addresses) -> Elements {
    let mut all = Elements::default();
    for hook in [Hook::Forward, Hook::Input, Hook::Output] {
        all.chains.insert(Chain::Fences(hook));
    }
    let mut used: BTreeSet<(Way, GroupId)> = BTreeSet::new();
    for (sandbox, address) in addresses {
        let key = address.octets().to_vec();
        let groups = match fences.members.get(sandbox) {
            Some(member) => [(Way::In, member.ingress), (Way::Out, member.egress)],
            None => {
                all.chains.insert(Chain::CutOff);
                for way in [Way::In, Way::Out] {
                    all.jump(Set::Fenced(way), key.clone(), &Chain::CutOff);
                }
                continue;
            }
        };
        for (way, group) in groups {
            let Some(group) = group else { continue };
            let chain = Chain::Group(way, group);
            all.jump(Set::Fenced(way), key.clone(), &chain);
            all.put(Set::Own, [&key[..], &key].concat(), Value::Nothing);
            all.chains.insert(chain);
            used.insert((way, group));
        }
    }
    for (way, group) in used {
        let gates = fences.groups.get(&(way, group));
        let gates: Vec<(Vec<Span>, &[PortRange])> = gates
            .into_iter()
            .flatten()
            .map(|gate| (spans(&gate.peers, addresses), gate.ports.as_slice()))
            .collect();
        for cell in cells(&gates) {
            all.put(Set::Admitted(way, group), key(&cell), Value::Nothing);
        }
    }
    all
}

fn spans(peers: &Peers, addresses: &Addresses) -> Vec<Span> {
    let sandboxes = peers.sandboxes.iter();
    let sandboxes = sandboxes.filter_map(|one| addresses.get(one).copied().map(single));
    sandboxes.chain(peers.ranges.iter().cloned()).collect()
}

/// Lower ends, then upper ends; every field fills four bytes.
fn key(cell: &Cell) -> Vec<u8> {
    let end = |address: u32, protocol: u8, port: u16| {
        let port = port.to_be_bytes();
        let rest = [protocol, 0, 0, 0, port[0], port[1], 0, 0];
        [&address.to_be_bytes()[..], &rest].concat()
    };
    let (addresses, protocols, ports) = (&cell.addresses, &cell.protocols, &cell.ports);
    let first = end(*addresses.start(), *protocols.start(), *ports.start());
    let last = end(*addresses.end(), *protocols.end(), *ports.end());
    [first, last].concat()
}

/// Invalid or untracked.
const UNTRACKED: u32 = 1 | 64;

/// The rules of the base chain at a hook. Sandboxes talk to each other and the world by way of `forward`; with the host
/// by `input` and `output`, where only connections that they began themselves count.
pub fn hook_rules(hook: Hook) -> Vec<Vec<Expr>> {
    let began = vec![
        Expr::Connection(REG, Tuple::Client),
        Expr::VerdictMap {
            set: Set::Fenced(Way::Out).name(),
            key: REG,
        },
    ];
    let goes = vec![
        Expr::Connection(REG, Tuple::Server),
        Expr::VerdictMap {
            set: Set::Fenced(Way::In).name(),
            key: REG,
        },
    ];
    let mut rules = match hook {
        Hook::Forward => vec![
            nameless(Expr::DestinationAddress(REG), Way::In),
            nameless(Expr::SourceAddress(REG), Way::Out),
        ],
        Hook::Input => vec![nameless(Expr::SourceAddress(REG), Way::Out)],
        _ => Vec::new(),
    };
    rules.push(began);
    if hook == Hook::Forward {
        rules.push(goes);
    }
    rules
}

/// A packet of no connection passes no fence: the chains it is sent to find nothing to admit it by.
fn nameless(address: Expr, way: Way) -> Vec<Expr> {
    vec![
        Expr::ConnectionState(REG),
        Expr::And {
            register: REG,
            mask: UNTRACKED.to_ne_bytes(),
        },
        Expr::NotEqual(REG, vec![0; 4]),
        address,
        Expr::VerdictMap {
            set: Set::Fenced(way).name(),
            key: REG,
        },
    ]
}

/// What decides for the members of a group.
pub fn group_rules(way: Way, group: GroupId) -> Vec<Vec<Expr>> {
    let peer = match way {
        Way::In => Tuple::Client,
        Way::Out => Tuple::Server,
    };
    let admitted = vec![
        Expr::Connection(REG, peer),
        Expr::Connection(REG + 1, Tuple::Protocol),
        Expr::Connection(REG + 2, Tuple::ServerPort),
        Expr::Contains {
            set: Set::Admitted(way, group).name(),
            key: REG,
        },
        Expr::Verdict(Verdict::Return),
    ];
    let own = vec![
        Expr::Connection(REG, Tuple::Client),
        Expr::Connection(REG + 1, Tuple::Server),
        Expr::Contains {
            set: Set::Own.name(),
            key: REG,
        },
        Expr::Verdict(Verdict::Return),
    ];
    vec![admitted, own, vec![Expr::Verdict(Verdict::Drop)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SandboxId {
        text.into()
    }

    #[test]
    fn the_unknown_are_cut_off_and_the_open_are_not_mentioned() {
        let group = 7;
        let gate = Gate {
            peers: Peers {
                sandboxes: Arc::new([id("a"), id("gone")].into()),
                ranges: Vec::new(),
            },
            ports: Vec::new(),
        };
        let fences = Fences {
            members: [
                (
                    id("a"),
                    Membership {
                        ingress: Some(group),
                        egress: None,
                    },
                ),
                (id("open"), Membership::default()),
            ]
            .into(),
            groups: [((Way::In, group), vec![gate])].into(),
        };
        let at = |last: u8| Ipv4Addr::new(10, 244, 0, last);
        let addresses = [(id("a"), at(2)), (id("open"), at(3)), (id("new"), at(4))].into();
        let all = elements(&fences, &addresses);
        let fenced = |way| -> Vec<(u8, Value)> {
            let entries = all.sets[&Set::Fenced(way)].iter();
            entries
                .map(|(key, value)| (key[3], value.clone()))
                .collect()
        };
        let jump = |name: &str| Value::Verdict(Verdict::Jump(name.to_owned()));
        assert_eq!(
            fenced(Way::In),
            [(2, jump("in-0000000000000007")), (4, jump("cut-off"))]
        );
        assert_eq!(fenced(Way::Out), [(4, jump("cut-off"))]);
        assert_eq!(all.sets[&Set::Own].len(), 1);
        let admitted = &all.sets[&Set::Admitted(Way::In, group)];
        let expected = vec![
            10, 244, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 10, 244, 0, 2, 255, 0, 0, 0, 255, 255, 0, 0,
        ];
        assert_eq!(admitted.keys().collect::<Vec<_>>(), [&expected]);
    }
}
