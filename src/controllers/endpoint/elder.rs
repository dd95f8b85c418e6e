//! Endpoints: the older form, one object per service, terminating pods left out.

use super::{
    HEADLESS, has_endpoints, is_headless, publishes_unready, selects, services_of,
    target::{self, Port},
};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Watches, World, Write},
        pods,
    },
};
use k8s_openapi::{
    api::core::v1::{
        EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses of one object; the rest is in the slices only.
const ADDRESSES_MAX: usize = 1000;

pub fn start(ctx: &ControllerContext) {
    framework::start(ctx, "endpoint-controller", "endpoint-controller", Elder);
}

pub(super) struct Elder;

impl Controller for Elder {
    type Primary = Service;

    fn watches(watches: &mut Watches) {
        watches
            .on_change::<Pod>(services_of)
            .on_change::<Endpoints>(|old, new, _| match (old, new) {
                (Some(gone), None) => vec![gone.key()],
                _ => Vec::new(),
            });
    }

    fn reconcile(&self, service: &Service, world: &World) -> Decision {
        let mut decision = Decision::default();
        if service.is_deleting() || !has_endpoints(service) {
            return decision;
        }
        let key = service.key();
        let (subsets, is_truncated) = subsets(service, world);
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.remove(HEADLESS);
        if is_headless(service) {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        let old = world.all::<Endpoints>().get(&key);
        let mut new = match old {
            Some(old) => Endpoints::clone(old),
            None => Endpoints {
                metadata: ObjectMeta {
                    namespace: Some(key.namespace),
                    name: Some(key.name),
                    ..ObjectMeta::default()
                },
                subsets: None,
            },
        };
        new.metadata.labels = Some(labels);
        new.subsets = (!subsets.is_empty()).then_some(subsets);
        mark_truncated(&mut new.metadata, is_truncated);
        match old {
            None => decision.push(Write::create(&new)),
            Some(old) if **old != new => decision.push(Write::update(&new)),
            Some(_) => {}
        }
        decision
    }

    /// Endpoints have no owner: they go with their service by name.
    fn gone(&self, key: &Key, world: &World) -> Decision {
        let mut decision = Decision::default();
        if let Some(left) = world.all::<Endpoints>().get(key) {
            decision.push(Write::delete(left.as_ref()));
        }
        decision
    }
}

fn mark_truncated(meta: &mut ObjectMeta, is_truncated: bool) {
    if is_truncated {
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = &mut meta.annotations {
        annotations.remove(OVER_CAPACITY);
        if annotations.is_empty() {
            meta.annotations = None;
        }
    }
}

/// Address, and whether it is ready.
type Place = (String, bool);

/// Subsets in canonical order, and whether addresses had to be left out.
fn subsets(service: &Service, world: &World) -> (Vec<EndpointSubset>, bool) {
    let namespace = service.key().namespace;
    let unready = publishes_unready(service);
    let candidates = world.all::<Pod>().in_namespace(&namespace).filter(|pod| {
        selects(service, pod) && target::is_candidate(pod) && (unready || !pod.is_deleting())
    });
    // Ports that lead to the same pods share a subset.
    let mut places: BTreeMap<Option<Port>, BTreeMap<Place, EndpointAddress>> = BTreeMap::new();
    let mut count = 0;
    let mut is_truncated = false;
    for pod in candidates {
        let Some(address) = address(service, pod) else {
            continue;
        };
        if count == ADDRESSES_MAX {
            is_truncated = true;
            break;
        }
        let place = (address.ip.clone(), unready || pods::is_ready(pod));
        let ports = target::ports(pod, service);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        count += 1;
        let slots: Vec<Option<Port>> = match ports.is_empty() {
            true => vec![None],
            false => ports.into_iter().map(Some).collect(),
        };
        for port in slots {
            places
                .entry(port)
                .or_default()
                .insert(place.clone(), address.clone());
        }
    }
    let mut by_places: BTreeMap<Vec<Place>, (Vec<Port>, Vec<EndpointAddress>)> = BTreeMap::new();
    for (port, addresses) in places {
        let (at, addresses): (Vec<Place>, Vec<EndpointAddress>) = addresses.into_iter().unzip();
        by_places
            .entry(at)
            .or_insert_with(|| (Vec::new(), addresses))
            .0
            .extend(port);
    }
    let all = by_places
        .into_iter()
        .map(|(at, (ports, addresses))| subset(&at, ports, addresses));
    (all.collect(), is_truncated)
}

fn subset(at: &[Place], ports: Vec<Port>, addresses: Vec<EndpointAddress>) -> EndpointSubset {
    let (mut ready, mut unready) = (Vec::new(), Vec::new());
    for ((_, is_ready), address) in at.iter().zip(addresses) {
        if *is_ready {
            ready.push(address);
        } else {
            unready.push(address);
        }
    }
    let ports: Vec<EndpointPort> = ports
        .into_iter()
        .map(|port| EndpointPort {
            name: Some(port.name).filter(|name| !name.is_empty()),
            port: port.number,
            protocol: Some(port.protocol),
            app_protocol: port.app_protocol,
        })
        .collect();
    EndpointSubset {
        addresses: (!ready.is_empty()).then_some(ready),
        not_ready_addresses: (!unready.is_empty()).then_some(unready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let key = pod.key();
    Some(EndpointAddress {
        ip: target::addresses(pod).first()?.to_string(),
        hostname: target::hostname(pod, service),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace),
            name: Some(key.name),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}
