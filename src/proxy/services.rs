//! The rule set that Services, EndpointSlices and nodes amount to. Pure.
//!
//! All nodes of a cluster share one host and one table. A packet's client cannot be assigned to a node, its
//! destination can: `externalTrafficPolicy: Local` is exact for node addresses, `internalTrafficPolicy: Local` means
//! the endpoints on any node of this host.

use crate::{
    client::Snapshot,
    net::rules::{Backend, Frontend, Place, Protocol, RuleSet, Target},
};
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
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Set on Services that another proxy looks after.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
const AFFINITY_DEFAULT: i32 = 10_800;

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
    let nodes: BTreeMap<&str, Ipv4Addr> = nodes
        .iter()
        .filter_map(|(key, node)| Some((key.name.as_str(), address(node)?)))
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
#[must_use]
pub fn address(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let mut internal = addresses.iter().filter(|one| one.type_ == "InternalIP");
    internal.find_map(|one| one.address.parse().ok())
}

fn add_service(
    rules: &mut RuleSet,
    service: &Service,
    slices: &[&EndpointSlice],
    nodes: &BTreeMap<&str, Ipv4Addr>,
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
    for port in spec.ports.iter().flatten() {
        let Some(number) = number(port.port) else {
            continue;
        };
        let protocol = protocol(port.protocol.as_deref());
        let affinity = affinity(spec);
        let endpoints = Endpoints::new(slices, port);
        let mut add = |place: Place, port: u16, target: Target| {
            let frontend = Frontend {
                place,
                protocol,
                port,
            };
            // The first Service wins, as it would with upstream's order of chains.
            rules.frontends.entry(frontend).or_insert(target);
        };
        let internal = match spec.internal_traffic_policy.as_deref() {
            Some("Local") => endpoints.local(|node| nodes.contains_key(node), affinity),
            _ => endpoints.cluster(affinity),
        };
        add(Place::Address(cluster_ip), number, internal);
        let is_local = spec.external_traffic_policy.as_deref() == Some("Local");
        let anywhere = if is_local {
            endpoints.local(|node| nodes.contains_key(node), affinity)
        } else {
            endpoints.cluster(affinity)
        };
        for address in outside_addresses(service, spec, port) {
            add(Place::Address(address), number, anywhere.clone());
        }
        if let Some(node_port) = port.node_port.and_then(self::number) {
            if is_local {
                for (name, address) in nodes {
                    let target = endpoints.local(|node| node == *name, affinity);
                    add(Place::Address(*address), node_port, target);
                }
            }
            add(Place::Host, node_port, anywhere);
        }
    }
}

fn outside_addresses(
    service: &Service,
    spec: &ServiceSpec,
    port: &ServicePort,
) -> BTreeSet<Ipv4Addr> {
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    let status = service.status.as_ref().and_then(|status| {
        let is_balanced = spec.type_.as_deref() == Some("LoadBalancer");
        status.load_balancer.as_ref().filter(|_| is_balanced)
    });
    let ingress = status.and_then(|status| status.ingress.as_ref());
    let balanced = ingress
        .into_iter()
        .flatten()
        // In mode `Proxy` the load balancer wants to see the traffic of the cluster itself.
        .filter(|one| one.ip_mode.as_deref() != Some("Proxy"))
        .filter(|one| {
            let ports = one.ports.as_deref().unwrap_or_default();
            ports.is_empty() || ports.iter().any(|one| one.port == port.port)
        })
        .filter_map(|one| one.ip.as_deref());
    external.chain(balanced).filter_map(parse).collect()
}

/// What stands behind one port of a Service, with the names of the nodes it runs on.
struct Endpoints {
    ready: BTreeMap<Backend, Option<String>>,
    /// Ending, but still answering: used when nothing is ready.
    leaving: BTreeMap<Backend, Option<String>>,
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
        if is_ready {
            self.ready.insert(backend, endpoint.node_name.clone());
        } else if is_serving && is_leaving {
            self.leaving.insert(backend, endpoint.node_name.clone());
        }
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
            let wanted = some.iter().filter(|(_, node)| is_wanted(node.as_deref()));
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
