//! Which pods stand behind a Service: EndpointSlices, the older Endpoints, and slices mirrored from hand-made Endpoints.

mod elder;
mod mirror;
mod slice;
mod slicing;
mod target;

pub use elder::start as start_endpoints;
pub use mirror::start as start_mirroring;
pub use slice::start as start_slices;

use super::{
    framework::{Caches, matches, selector_of},
    pods,
};
use crate::api::{name::Key, object::Object};
use k8s_openapi::api::core::v1::{Pod, Service};

const HEADLESS: &str = "service.kubernetes.io/headless";

/// The services that select a pod before or after a change that matters to them.
fn services_of(old: Option<&Pod>, new: Option<&Pod>, caches: &Caches) -> Vec<Key> {
    if let (Some(old), Some(new)) = (old, new)
        && is_alike(old, new)
    {
        return Vec::new();
    }
    let Some(namespace) = new.or(old).map(|pod| pod.key().namespace) else {
        return Vec::new();
    };
    let services = caches.all::<Service>();
    let selecting = services.in_namespace(&namespace).filter(|service| {
        let selects = |pod: Option<&Pod>| pod.is_some_and(|pod| selects(service, pod));
        selects(old) || selects(new)
    });
    selecting.map(|service| service.key()).collect()
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let spec = service.spec.as_ref();
    let selector = spec.and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|labels| matches(&selector_of(labels), pod.metadata.labels.as_ref()))
}

/// Nothing that an endpoint tells has changed.
fn is_alike(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| {
        pod.status
            .as_ref()
            .map(|status| (status.pod_ip.clone(), status.pod_ips.clone()))
    };
    let spec = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        spec.map(|spec| {
            (
                spec.node_name.clone(),
                spec.hostname.clone(),
                spec.subdomain.clone(),
            )
        })
    };
    old.metadata.labels == new.metadata.labels
        && old.is_deleting() == new.is_deleting()
        && pods::is_ready(old) == pods::is_ready(new)
        && pods::is_terminal(old) == pods::is_terminal(new)
        && ips(old) == ips(new)
        && spec(old) == spec(new)
}

/// Whether endpoints are made for the service at all.
fn has_endpoints(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        let selector = spec.selector.as_ref().filter(|labels| !labels.is_empty());
        selector.is_some() && spec.type_.as_deref() != Some("ExternalName")
    })
}

fn is_headless(service: &Service) -> bool {
    let ip = service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref());
    ip == Some("None")
}

fn publishes_unready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

#[cfg(test)]
mod tests;
