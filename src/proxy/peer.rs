//! Whom the rules of NetworkPolicies speak of: pods by labels, the cluster's DNS, blocks of addresses, ports by name.
//! Pure.

use crate::{
    api::selector::LabelSelector,
    client::Snapshot,
    net::rules::{
        Protocol,
        fence::{Gate, Peers, PortRange, SandboxId},
    },
};
use ipnet::Ipv4Net;
use k8s_openapi::{
    api::{
        core::v1::{Container, Namespace, Pod},
        discovery::v1::EndpointSlice,
        networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{apis::meta::v1, util::intstr::IntOrString},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    ops::RangeInclusive,
    sync::Arc,
};

type Labels = BTreeMap<String, String>;

/// Where the cluster's DNS would be if it ran in pods, and what these would say of themselves.
const DNS_NAMESPACE: &str = "kube-system";
const DNS_SERVICE: &str = "kube-dns";
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
const DNS_PORT: u16 = 53;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The sandbox of a pod that its node knows from a file.
const FILE_POD: &str = "kubernetes.io/config.hash";

static NO_LABELS: Labels = Labels::new();

/// A selector that nobody can read selects nothing.
pub struct Selector(LabelSelector);

impl Selector {
    pub fn new(spec: Option<&v1::LabelSelector>) -> Selector {
        let empty = v1::LabelSelector::default();
        let parsed = LabelSelector::from_spec(Some(spec.unwrap_or(&empty)));
        Selector(parsed.unwrap_or_else(|_| LabelSelector::nothing()))
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.matches(labels)
    }
}

/// A pod with a network of its own.
pub struct Member<'a> {
    pub namespace: &'a str,
    pub labels: &'a Labels,
    pub sandbox: SandboxId,
    pod: &'a Pod,
}

impl Member<'_> {
    /// The number of a named port.
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let spec = self.pod.spec.as_ref()?;
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(ports);
        let mut named = ports.filter(|(one, of, _)| *one == Some(name) && *of == protocol);
        named.find_map(|(_, _, number)| u16::try_from(number).ok())
    }
}

fn ports(container: &Container) -> impl Iterator<Item = (Option<&str>, Protocol, i32)> {
    let ports = container.ports.iter().flatten();
    ports.map(|port| {
        (
            port.name.as_deref(),
            protocol(port.protocol.as_deref()),
            port.container_port,
        )
    })
}

/// All pods, in the namespaces they are in.
pub struct Seen<'a> {
    members: Arc<Vec<Member<'a>>>,
    namespaces: BTreeMap<&'a str, &'a Labels>,
    dns: Arc<Dns>,
}

/// Where the cluster's DNS listens.
#[derive(Default)]
struct Dns(Vec<(Ipv4Addr, Protocol, u16)>);

impl<'a> Seen<'a> {
    pub fn new(
        pods: &'a Snapshot<Pod>,
        namespaces: &'a Snapshot<Namespace>,
        slices: &'a Snapshot<EndpointSlice>,
    ) -> Seen<'a> {
        let members = pods.iter().filter_map(|(key, pod)| {
            let uses_host = pod.spec.as_ref()?.host_network == Some(true);
            let annotations = pod.metadata.annotations.as_ref();
            let sandbox = annotations
                .and_then(|all| all.get(FILE_POD))
                .or(pod.metadata.uid.as_ref())?;
            (!uses_host).then(|| Member {
                namespace: &key.namespace,
                labels: pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS),
                sandbox: sandbox.as_str().into(),
                pod,
            })
        });
        let namespaces = namespaces.iter().map(|(key, namespace)| {
            let labels = namespace.metadata.labels.as_ref();
            (key.name.as_str(), labels.unwrap_or(&NO_LABELS))
        });
        Seen {
            members: Arc::new(members.collect()),
            namespaces: namespaces.collect(),
            dns: Arc::new(Dns::find(slices)),
        }
    }

    pub fn pods(&self) -> &[Member<'a>] {
        &self.members
    }

    /// No peers at all means everybody.
    pub fn resolve(&self, namespace: &str, peers: &[NetworkPolicyPeer]) -> Resolved<'a> {
        let mut chosen = BTreeSet::new();
        let mut ranges = Vec::new();
        let mut has_dns = peers.is_empty();
        if peers.is_empty() {
            chosen.extend(0..self.members.len());
            ranges.push(0..=u32::MAX);
        }
        for peer in peers {
            if let Some(block) = &peer.ip_block {
                ranges.extend(self::block(block));
                continue;
            }
            let of_namespace = peer.namespace_selector.as_ref();
            let of_namespace = of_namespace.map(|selector| Selector::new(Some(selector)));
            let of_pod = Selector::new(peer.pod_selector.as_ref());
            let is_meant = |at: &str, labels: &Labels| {
                let is_there = match &of_namespace {
                    None => at == namespace,
                    Some(selector) => {
                        let labels = self.namespaces.get(at);
                        labels.is_some_and(|labels| selector.matches(labels))
                    }
                };
                is_there && of_pod.matches(labels)
            };
            let members = self.members.iter().enumerate();
            chosen.extend(
                members
                    .filter(|(_, one)| is_meant(one.namespace, one.labels))
                    .map(|(number, _)| number),
            );
            let dns = Labels::from([(DNS_LABEL.0.to_owned(), DNS_LABEL.1.to_owned())]);
            has_dns |= is_meant(DNS_NAMESPACE, &dns);
        }
        let sandboxes = chosen.iter().map(|&at| self.members[at].sandbox.clone());
        Resolved {
            peers: Peers {
                sandboxes: Arc::new(sandboxes.collect()),
                ranges,
            },
            chosen: chosen.into_iter().collect(),
            members: Arc::clone(&self.members),
            dns: has_dns.then(|| Arc::clone(&self.dns)),
        }
    }
}

impl Dns {
    fn find(slices: &Snapshot<EndpointSlice>) -> Dns {
        let mut found = Vec::new();
        let own = slices.in_namespace(DNS_NAMESPACE);
        for slice in own.filter(|slice| is_dns(slice)) {
            let endpoints = slice.endpoints.iter().flatten();
            // Real pods are found by their own labels.
            let bare = endpoints.filter(|one| one.target_ref.is_none());
            for address in bare.filter_map(|one| one.addresses.first()?.parse().ok()) {
                for port in slice.ports.iter().flatten() {
                    let number = port.port.and_then(|number| u16::try_from(number).ok());
                    let protocol = protocol(port.protocol.as_deref());
                    found.extend(number.map(|number| (address, protocol, number)));
                }
            }
        }
        Dns(found)
    }

    /// Only its own ports are opened: it shares its address with the host.
    fn gates(&self, is_open: impl Fn(Protocol) -> bool) -> Vec<Gate> {
        let all = self.0.iter().filter(|(_, protocol, _)| is_open(*protocol));
        all.map(|(address, protocol, port)| Gate {
            peers: Peers {
                sandboxes: Arc::default(),
                ranges: vec![u32::from(*address)..=u32::from(*address)],
            },
            ports: vec![exactly(*protocol, *port)],
        })
        .collect()
    }
}

/// The peers of one rule.
pub struct Resolved<'a> {
    peers: Peers,
    members: Arc<Vec<Member<'a>>>,
    chosen: Vec<usize>,
    /// `None`: not meant.
    dns: Option<Arc<Dns>>,
}

impl Resolved<'_> {
    /// No ports: all of them.
    pub fn gates(&self, ports: &[PortRange]) -> Vec<Gate> {
        let mut gates = vec![Gate {
            peers: self.peers.clone(),
            ports: ports.to_vec(),
        }];
        if let Some(dns) = &self.dns {
            gates.extend(dns.gates(|protocol| {
                let mut same = ports.iter().filter(|one| one.protocol == protocol);
                ports.is_empty() || same.any(|one| one.ports.contains(&DNS_PORT))
            }));
        }
        gates
    }

    /// Each peer at the port that it has by this name; blocks have no names for ports.
    pub fn named(&self, name: &str, protocol: Protocol) -> Vec<Gate> {
        let mut by_number: BTreeMap<u16, BTreeSet<SandboxId>> = BTreeMap::new();
        for member in self.chosen.iter().map(|&at| &self.members[at]) {
            if let Some(number) = member.port(name, protocol) {
                let same = by_number.entry(number).or_default();
                same.insert(member.sandbox.clone());
            }
        }
        let mut gates: Vec<Gate> = by_number
            .into_iter()
            .map(|(number, sandboxes)| Gate {
                peers: Peers {
                    sandboxes: Arc::new(sandboxes),
                    ranges: Vec::new(),
                },
                ports: vec![exactly(protocol, number)],
            })
            .collect();
        let wanted = match protocol {
            Protocol::Tcp => "dns-tcp",
            _ => "dns",
        };
        if let Some(dns) = self.dns.as_ref().filter(|_| name == wanted) {
            gates.extend(dns.gates(|one| one == protocol));
        }
        gates
    }
}

/// Whether a slice tells where the cluster's DNS is.
pub fn is_dns(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
    service.map(String::as_str) == Some(DNS_SERVICE)
        && slice.metadata.namespace.as_deref() == Some(DNS_NAMESPACE)
}

fn block(block: &IPBlock) -> Vec<RangeInclusive<u32>> {
    let span = |net: Ipv4Net| {
        (
            u64::from(u32::from(net.network())),
            u64::from(u32::from(net.broadcast())),
        )
    };
    let Ok(net) = block.cidr.parse::<Ipv4Net>() else {
        return Vec::new();
    };
    let (mut next, last) = span(net);
    let except = block.except.iter().flatten();
    let mut holes: Vec<(u64, u64)> = except
        .filter_map(|text| text.parse().ok())
        .map(span)
        .collect();
    holes.sort_unstable();
    holes.push((last + 1, last + 1));
    let mut ranges = Vec::new();
    let address = |number: u64| u32::try_from(number).expect("within the block");
    for (from, to) in holes {
        let from = from.min(last + 1);
        if from > next {
            ranges.push(address(next)..=address(from - 1));
        }
        next = next.max(to + 1);
    }
    ranges
}

/// The name by which a rule means a port, if it does not mean a number.
pub fn port_name(port: &NetworkPolicyPort) -> Option<(&str, Protocol)> {
    match &port.port {
        Some(IntOrString::String(name)) => Some((name, protocol(port.protocol.as_deref()))),
        _ => None,
    }
}

/// The numbers that a rule means; without one all of the protocol's.
pub fn range(port: &NetworkPolicyPort) -> Option<PortRange> {
    let number = |number: i32| u16::try_from(number).ok();
    let ports = match &port.port {
        None => 0..=u16::MAX,
        Some(IntOrString::Int(first)) => {
            let first = number(*first)?;
            first..=port.end_port.map_or(Some(first), number)?
        }
        Some(IntOrString::String(_)) => return None,
    };
    Some(PortRange {
        protocol: protocol(port.protocol.as_deref()),
        ports,
    })
}

pub fn exactly(protocol: Protocol, port: u16) -> PortRange {
    PortRange {
        protocol,
        ports: port..=port,
    }
}

fn protocol(name: Option<&str>) -> Protocol {
    match name {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}
