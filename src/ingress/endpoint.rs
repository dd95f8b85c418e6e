//! From a Service's port to the addresses behind it. Pure.

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointSlice},
    networking::v1::ServiceBackendPort,
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// The port of the Service that an Ingress means, by number or by name.
#[must_use]
pub fn port<'a>(service: &'a Service, wanted: &ServiceBackendPort) -> Option<&'a ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_deref().unwrap_or_default();
    let name = wanted.name.as_deref().filter(|name| !name.is_empty());
    ports.iter().find(|port| match name {
        Some(name) => port.name.as_deref() == Some(name),
        None => Some(port.port) == wanted.number,
    })
}

/// Ready endpoints; those that are ending but still answer when none is ready. In the order of their addresses.
#[must_use]
pub fn addresses(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<SocketAddr> {
    let (mut ready, mut leaving) = (BTreeSet::new(), BTreeSet::new());
    let name = port.name.as_deref().unwrap_or_default();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let number = ports
            .filter(|one| one.name.as_deref().unwrap_or_default() == name)
            .find_map(|one| u16::try_from(one.port?).ok());
        let Some(number) = number else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let first = endpoint.addresses.first();
            let Some(ip) = first.and_then(|first| first.parse::<IpAddr>().ok()) else {
                continue;
            };
            let address = SocketAddr::new(ip, number);
            match state(endpoint) {
                State::Ready => drop(ready.insert(address)),
                State::Leaving => drop(leaving.insert(address)),
                State::Silent => {}
            }
        }
    }
    let some = if ready.is_empty() { leaving } else { ready };
    some.into_iter().collect()
}

/// The Service's own address.
#[must_use]
pub fn cluster_address(service: &Service, port: &ServicePort) -> Option<SocketAddr> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port.port).ok()?))
}

enum State {
    Ready,
    Leaving,
    Silent,
}

fn state(endpoint: &Endpoint) -> State {
    let conditions = endpoint.conditions.as_ref();
    let is_ready = conditions.and_then(|all| all.ready).unwrap_or(true);
    let is_serving = conditions.and_then(|all| all.serving).unwrap_or(is_ready);
    let is_leaving = conditions.and_then(|all| all.terminating) == Some(true);
    match (is_ready, is_serving && is_leaving) {
        (true, _) => State::Ready,
        (false, true) => State::Leaving,
        (false, false) => State::Silent,
    }
}
