//! EndpointSlices of services with a selector.

use super::{
    HEADLESS, has_endpoints, is_headless, publishes_unready, selects, services_of, slicing,
    target::{self, Port},
};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Watches, World, controller_ref},
        pods,
    },
};
use k8s_openapi::{
    api::{
        core::v1::{Node, ObjectReference, Pod, Service},
        discovery::v1::{
            Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForNode, ForZone,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;

pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

pub fn start(ctx: &ControllerContext) {
    let (identity, component) = ("endpointslice-controller", "endpoint-slice-controller");
    framework::start(ctx, identity, component, Slices);
}

pub(super) struct Slices;

impl Controller for Slices {
    type Primary = Service;

    fn watches(watches: &mut Watches) {
        watches
            .read::<Node>()
            .on_change::<Pod>(services_of)
            .on::<EndpointSlice>(|slice, _| service_key(slice, MANAGER).into_iter().collect());
    }

    fn reconcile(&self, service: &Service, world: &World) -> Decision {
        let mut decision = Decision::default();
        if service.is_deleting() || !has_endpoints(service) {
            return decision;
        }
        let key = service.key();
        let slices = world.all::<EndpointSlice>();
        let mine = slices.in_namespace(&key.namespace);
        let mine: Vec<_> = mine
            .filter(|slice| service_key(slice, MANAGER).as_ref() == Some(&key))
            .cloned()
            .collect();
        let families = families(service);
        let mut wanted: BTreeMap<slicing::Group, Vec<Endpoint>> = BTreeMap::new();
        let all = world.all::<Pod>().in_namespace(&key.namespace);
        for pod in all.filter(|pod| selects(service, pod) && target::is_candidate(pod)) {
            for family in &families {
                if let Some(endpoint) = endpoint(service, pod, family, world) {
                    let ports: Vec<Port> = target::ports(pod, service);
                    if !ports.is_empty() || is_headless(service) {
                        wanted.entry((family, ports)).or_default().push(endpoint);
                    }
                }
            }
        }
        for write in slicing::fit(wanted, &mine, &meta(service), &families) {
            decision.push(write);
        }
        decision
    }
}

/// The service a slice of this manager belongs to.
pub fn service_key(slice: &EndpointSlice, manager: &str) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let name = labels.get(SERVICE_NAME)?;
    let is_ours = labels.get(MANAGED_BY).map(String::as_str) == Some(manager);
    is_ours.then(|| Key::new(slice.key().namespace, name.clone()))
}

fn families(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let listed = spec
        .and_then(|spec| spec.ip_families.as_ref())
        .into_iter()
        .flatten();
    let known = listed.filter_map(|family| match family.as_str() {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    });
    let all: Vec<&'static str> = known.collect();
    if all.is_empty() { vec!["IPv4"] } else { all }
}

fn endpoint(service: &Service, pod: &Pod, family: &str, world: &World) -> Option<Endpoint> {
    let all = target::addresses(pod).into_iter();
    let addresses: Vec<String> = all
        .filter(|ip| ip.is_ipv4() == (family == "IPv4"))
        .map(|ip| ip.to_string())
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let serving = pods::is_ready(pod);
    let terminating = pod.is_deleting();
    let key = pod.key();
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let node = node_name
        .as_ref()
        .and_then(|name| world.all::<Node>().get(&Key::new("", name.clone())));
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned());
    let hints = hints(service, node_name.as_ref(), zone.as_ref());
    Some(Endpoint {
        addresses,
        hints,
        conditions: Some(EndpointConditions {
            ready: Some(publishes_unready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: target::hostname(pod, service),
        node_name,
        zone,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace),
            name: Some(key.name),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

/// For whom an endpoint is meant when the Service wants traffic to stay near; `None`: for everybody.
fn hints(service: &Service, node: Option<&String>, zone: Option<&String>) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let nodes = node.filter(|_| wish == "PreferSameNode");
    let hints = EndpointHints {
        for_nodes: nodes.map(|name| vec![ForNode { name: name.clone() }]),
        for_zones: zone.map(|name| vec![ForZone { name: name.clone() }]),
    };
    (hints != EndpointHints::default()).then_some(hints)
}

fn meta(service: &Service) -> ObjectMeta {
    let key = service.key();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), key.name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    ObjectMeta {
        namespace: Some(key.namespace),
        generate_name: Some(format!("{}-", key.name)),
        labels: Some(labels),
        owner_references: Some(vec![controller_ref(service)]),
        ..ObjectMeta::default()
    }
}
