//! The rule set that Services, EndpointSlices and nodes amount to. Pure.
//!
//! All nodes of a cluster share one host and one table. Which node a connection meets is told by its destination when
//! it comes from outside, and by the range of the client's address when it comes from a pod. The host itself is on
//! every node: for its own connections `internalTrafficPolicy: Local` means the endpoints on any of them.

use crate::{
    client::Snapshot,
    net::rules::{Backend, Frontend, Place, Protocol, RuleSet, Target},
};
use ipnet::Ipv4Net;
use k8s_openapi::api::{
    core::v1::{Node, Service, ServicePort, ServiceSpec},
    discovery::v1::{Endpoint, EndpointSlice},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    time::Duration,
};

/// Names the Service a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Set on Services that another proxy looks after.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// The older form of `loadBalancerSourceRanges`.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ZONE: &str = "topology.kubernetes.io/zone";
const AFFINITY_DEFAULT: i32 = 10_800;

/// What rules need to know of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub address: Ipv4Addr,
    /// Of its pods.
    range: Option<Ipv4Net>,
    zone: String,
}

/// `None` while the node has no address.
#[must_use]
pub fn seat(node: &Node) -> Option<Seat> {
    let labels = node.metadata.labels.as_ref();
    let range = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_ref());
    Some(Seat {
        address: address(node)?,
        range: range.and_then(|range| range.parse().ok()),
        zone: labels
            .and_then(|labels| labels.get(ZONE).cloned())
            .unwrap_or_default(),
    })
}

#[must_use]
pub fn rules(
    services: &Snapshot<Service>,
    slices: &Snapshot<EndpointSlice>,
    nodes: &Snapshot<Node>,
) -> RuleSet {
    let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for (key, slice) in slices.iter() {
        let labels = slice.metadata.labels.as_ref();
        if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
            let of_service = by_service.entry((&key.namespace, service)).or_default();
            of_service.push(slice);
        }
    }
    let nodes: BTreeMap<&str, Seat> = nodes
        .iter()
        .filter_map(|(key, node)| Some((key.name.as_str(), seat(node)?)))
        .collect();
    let mut rules = RuleSet::default();
    for (key, service) in services.iter() {
        let slices = by_service.get(&(key.namespace.as_str(), key.name.as_str()));
        let slices = slices.map_or(&[][..], Vec::as_slice);
        add_service(&mut rules, service, slices, &nodes);
    }
    rules
}

/// The node's `InternalIP`.
fn address(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let mut internal = addresses.iter().filter(|one| one.type_ == "InternalIP");
    internal.find_map(|one| one.address.parse().ok())
}

fn add_service(
    rules: &mut RuleSet,
    service: &Service,
    slices: &[&EndpointSlice],
    nodes: &BTreeMap<&str, Seat>,
) {
    let labels = service.metadata.labels.as_ref();
    let is_other = labels.is_some_and(|labels| labels.contains_key(OTHER_PROXY));
    let Some(spec) = service.spec.as_ref().filter(|_| !is_other) else {
        return;
    };
    // No ClusterIP: headless, an external name, or not allocated yet.
    let Some(cluster_ip) = spec.cluster_ip.as_deref().and_then(parse) else {
        return;
    };
    let balanced = balanced_addresses(service, spec);
    let sources = sources(service, spec);
    for port in spec.ports.iter().flatten() {
        let Some(number) = number(port.port) else {
            continue;
        };
        let protocol = protocol(port.protocol.as_deref());
        let affinity = affinity(spec);
        let endpoints = Endpoints::new(slices, port);
        let frontend = |place: Place, port: u16| Frontend {
            place,
            protocol,
            port,
        };
        let mut add = |place: Place, port: u16, target: Target| {
            // The first Service wins, as it would with upstream's order of chains.
            let entry = rules.frontends.entry(frontend(place, port));
            entry.or_insert(target);
        };
        let is_local = spec.internal_traffic_policy.as_deref() == Some("Local");
        let internal = if is_local {
            endpoints.local(|node| nodes.contains_key(node), affinity)
        } else {
            endpoints.cluster(affinity)
        };
        add(Place::Address(cluster_ip), number, internal);
        for (range, target) in endpoints.near(nodes, is_local, affinity) {
            add(Place::From(range, cluster_ip), number, target);
        }
        let is_local = spec.external_traffic_policy.as_deref() == Some("Local");
        let anywhere = if is_local {
            endpoints.local(|node| nodes.contains_key(node), affinity)
        } else {
            endpoints.cluster(affinity)
        };
        let external = spec.external_ips.iter().flatten();
        for address in external.filter_map(|text| parse(text)) {
            add(Place::Address(address), number, anywhere.clone());
        }
        if let Some(node_port) = port.node_port.and_then(self::number) {
            if is_local {
                for (name, seat) in nodes {
                    let target = endpoints.local(|node| node == *name, affinity);
                    add(Place::Address(seat.address), node_port, target);
                }
            }
            add(Place::Host, node_port, anywhere.clone());
        }
        for address in balanced.iter().filter(|one| one.serves(port)) {
            let place = Place::Address(address.ip);
            add(place, number, anywhere.clone());
            if let Some(sources) = &sources {
                let restricted = frontend(place, number);
                rules.sources.insert(restricted, sources.clone());
            }
        }
    }
}

/// An address that a load balancer gave.
struct Balanced {
    ip: Ipv4Addr,
    /// Empty: all of the Service's.
    ports: Vec<i32>,
}

impl Balanced {
    fn serves(&self, port: &ServicePort) -> bool {
        self.ports.is_empty() || self.ports.contains(&port.port)
    }
}

fn balanced_addresses(service: &Service, spec: &ServiceSpec) -> Vec<Balanced> {
    let status = service.status.as_ref().and_then(|status| {
        let is_balanced = spec.type_.as_deref() == Some("LoadBalancer");
        status.load_balancer.as_ref().filter(|_| is_balanced)
    });
    let ingress = status.and_then(|status| status.ingress.as_ref());
    ingress
        .into_iter()
        .flatten()
        // In mode `Proxy` the load balancer wants to see the traffic of the cluster itself.
        .filter(|one| one.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|one| {
            let ports = one.ports.iter().flatten();
            Some(Balanced {
                ip: parse(one.ip.as_deref()?)?,
                ports: ports.map(|one| one.port).collect(),
            })
        })
        .collect()
}

/// `None`: a load balancer is open to everybody.
fn sources(service: &Service, spec: &ServiceSpec) -> Option<Vec<Ipv4Net>> {
    let listed = spec.load_balancer_source_ranges.iter().flatten();
    let mut texts: Vec<&str> = listed.map(String::as_str).collect();
    if texts.is_empty() {
        let annotations = service.metadata.annotations.as_ref();
        let annotation = annotations.and_then(|all| all.get(SOURCE_RANGES));
        texts.extend(annotation.into_iter().flat_map(|text| text.split(',')));
    }
    texts.retain(|text| !text.trim().is_empty());
    let nets = texts.iter().filter_map(|text| text.trim().parse().ok());
    (!texts.is_empty()).then(|| nets.collect())
}

/// Where an endpoint is, and for whom it is meant.
#[derive(Default)]
struct Site {
    node: Option<String>,
    for_nodes: Vec<String>,
    for_zones: Vec<String>,
}

/// What stands behind one port of a Service.
struct Endpoints {
    ready: BTreeMap<Backend, Site>,
    /// Ending, but still answering: used when nothing is ready.
    leaving: BTreeMap<Backend, Site>,
}

impl Endpoints {
    fn new(slices: &[&EndpointSlice], port: &ServicePort) -> Endpoints {
        let mut endpoints = Endpoints {
            ready: BTreeMap::new(),
            leaving: BTreeMap::new(),
        };
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            let name = port.name.as_deref().unwrap_or_default();
            let target = slice.ports.iter().flatten().find(|one| {
                one.name.as_deref().unwrap_or_default() == name
                    && protocol(one.protocol.as_deref()) == protocol(port.protocol.as_deref())
            });
            let Some(target) = target.and_then(|one| one.port).and_then(number) else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten() {
                endpoints.add(endpoint, target);
            }
        }
        endpoints
    }

    fn add(&mut self, endpoint: &Endpoint, port: u16) {
        // Addresses of one endpoint are alternatives; only the first is ever used.
        let Some(address) = endpoint.addresses.first().and_then(|first| parse(first)) else {
            return;
        };
        let conditions = endpoint.conditions.as_ref();
        let is_ready = conditions.and_then(|all| all.ready).unwrap_or(true);
        let is_serving = conditions.and_then(|all| all.serving).unwrap_or(is_ready);
        let is_leaving = conditions.and_then(|all| all.terminating) == Some(true);
        let backend = Backend { address, port };
        let hints = endpoint.hints.as_ref();
        let nodes = hints.and_then(|hints| hints.for_nodes.as_ref());
        let zones = hints.and_then(|hints| hints.for_zones.as_ref());
        let site = Site {
            node: endpoint.node_name.clone(),
            for_nodes: nodes
                .into_iter()
                .flatten()
                .map(|one| one.name.clone())
                .collect(),
            for_zones: zones
                .into_iter()
                .flatten()
                .map(|one| one.name.clone())
                .collect(),
        };
        if is_ready {
            self.ready.insert(backend, site);
        } else if is_serving && is_leaving {
            self.leaving.insert(backend, site);
        }
    }

    /// What pods of each node reach where that differs from what everybody reaches.
    fn near(
        &self,
        nodes: &BTreeMap<&str, Seat>,
        is_local: bool,
        affinity: Option<Duration>,
    ) -> Vec<(Ipv4Net, Target)> {
        if nodes.len() < 2 || (self.ready.is_empty() && self.leaving.is_empty()) {
            return Vec::new();
        }
        let target = |name: &str, seat: &Seat| {
            if is_local {
                return Some(self.local(|node| node == name, affinity));
            }
            let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
            let hinted = |of: fn(&Site) -> &[String], name: &str| {
                let are_all = self.ready.values().all(|site| !of(site).is_empty());
                let mine = self.ready.iter().filter(|(_, site)| has(of(site), name));
                let mine: BTreeSet<Backend> = mine.map(|(backend, _)| *backend).collect();
                (are_all && !mine.is_empty()).then_some(mine)
            };
            let backends = hinted(|site| &site.for_nodes, name)
                .or_else(|| hinted(|site| &site.for_zones, &seat.zone))?;
            Some(Target::Backends { backends, affinity })
        };
        let seats = nodes.iter();
        seats
            .filter_map(|(name, seat)| Some((seat.range?, target(name, seat)?)))
            .collect()
    }

    fn cluster(&self, affinity: Option<Duration>) -> Target {
        self.among(|_| true, affinity).unwrap_or(Target::Reject)
    }

    /// Dropped, not refused, when there are endpoints elsewhere: the client should try another way in.
    fn local(&self, is_here: impl Fn(&str) -> bool, affinity: Option<Duration>) -> Target {
        let nobody = self.ready.is_empty() && self.leaving.is_empty();
        let here = |node: Option<&str>| node.is_some_and(&is_here);
        match self.among(here, affinity) {
            Some(target) => target,
            None if nobody => Target::Reject,
            None => Target::Drop,
        }
    }

    fn among(
        &self,
        is_wanted: impl Fn(Option<&str>) -> bool,
        affinity: Option<Duration>,
    ) -> Option<Target> {
        [&self.ready, &self.leaving].into_iter().find_map(|some| {
            let wanted = some
                .iter()
                .filter(|(_, site)| is_wanted(site.node.as_deref()));
            let backends: BTreeSet<Backend> = wanted.map(|(backend, _)| *backend).collect();
            (!backends.is_empty()).then_some(Target::Backends { backends, affinity })
        })
    }
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let seconds = u64::try_from(seconds.unwrap_or(AFFINITY_DEFAULT)).unwrap_or_default();
    Some(Duration::from_secs(seconds.max(1)))
}

fn protocol(name: Option<&str>) -> Protocol {
    match name {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn parse(address: &str) -> Option<Ipv4Addr> {
    address.parse().ok()
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|&port| port > 0)
}
