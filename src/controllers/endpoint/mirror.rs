//! Slices for Endpoints that people made by hand for a service without a selector.

use super::{
    slice::{MANAGED_BY, SERVICE_NAME, service_key},
    slicing,
    target::Port,
};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Watches, World, Write, controller_ref},
    },
};
use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Written by leader elections, which once used Endpoints as locks.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses mirrored of one subset.
const SUBSET_MAX: usize = 1000;

pub fn start(ctx: &ControllerContext) {
    let identity = "endpointslicemirroring-controller";
    framework::start(ctx, identity, identity, Mirror);
}

pub(super) struct Mirror;

impl Controller for Mirror {
    type Primary = Endpoints;

    fn watches(watches: &mut Watches) {
        watches
            .on::<Service>(|service, _| vec![service.key()])
            .on::<EndpointSlice>(|slice, _| service_key(slice, MANAGER).into_iter().collect());
    }

    fn reconcile(&self, endpoints: &Endpoints, world: &World) -> Decision {
        let key = endpoints.key();
        let mut decision = Decision::default();
        let mine = mine(&key, world);
        let mut wanted: BTreeMap<slicing::Group, Vec<Endpoint>> = BTreeMap::new();
        if is_wanted(endpoints, world) {
            for subset in endpoints.subsets.iter().flatten() {
                add(subset, &mut wanted);
            }
        }
        for write in slicing::fit(wanted, &mine, &meta(endpoints), &[]) {
            decision.push(write);
        }
        decision
    }

    fn gone(&self, key: &Key, world: &World) -> Decision {
        let mut decision = Decision::default();
        for slice in mine(key, world) {
            decision.push(Write::delete(slice.as_ref()));
        }
        decision
    }
}

fn mine(key: &Key, world: &World) -> Vec<Arc<EndpointSlice>> {
    let slices = world.all::<EndpointSlice>().in_namespace(&key.namespace);
    slices
        .filter(|slice| service_key(slice, MANAGER).as_ref() == Some(key))
        .cloned()
        .collect()
}

fn is_wanted(endpoints: &Endpoints, world: &World) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let annotations = endpoints.metadata.annotations.as_ref();
    let is_skipped = labels
        .and_then(|all| all.get(SKIP))
        .is_some_and(|value| value == "true");
    let is_lock = annotations.is_some_and(|all| all.contains_key(LEADER));
    let service = world.all::<Service>().get(&endpoints.key());
    let is_manual = service.is_some_and(|service| {
        let spec = service.spec.as_ref();
        spec.is_some_and(|spec| {
            spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
                && spec.type_.as_deref() != Some("ExternalName")
        })
    });
    is_manual && !is_skipped && !is_lock && !endpoints.is_deleting() && !is_of_server(endpoints)
}

/// The API server keeps the slice of `kubernetes` itself.
fn is_of_server(endpoints: &Endpoints) -> bool {
    endpoints.key() == Key::new("default", "kubernetes")
}

fn add(subset: &EndpointSubset, wanted: &mut BTreeMap<slicing::Group, Vec<Endpoint>>) {
    let ports = subset.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        number: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    let ready = subset
        .addresses
        .iter()
        .flatten()
        .map(|address| (address, true));
    let unready = subset
        .not_ready_addresses
        .iter()
        .flatten()
        .map(|address| (address, false));
    for (address, is_ready) in ready.chain(unready).take(SUBSET_MAX) {
        let Ok(ip) = address.ip.parse::<IpAddr>() else {
            continue;
        };
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let group = (family, ports.clone());
        wanted
            .entry(group)
            .or_default()
            .push(endpoint(address, is_ready));
    }
}

fn endpoint(address: &EndpointAddress, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(is_ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn meta(endpoints: &Endpoints) -> ObjectMeta {
    let key = endpoints.key();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), key.name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    ObjectMeta {
        namespace: Some(key.namespace),
        generate_name: Some(format!("{}-", key.name)),
        labels: Some(labels),
        owner_references: Some(vec![controller_ref(endpoints)]),
        ..ObjectMeta::default()
    }
}
