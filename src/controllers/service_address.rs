//! IPAddresses and ServiceCIDRs: who has which ClusterIP, and where they come from, as objects for people to look at.
//!
//! The API server itself gives the addresses, and knows the ranges, by its own index: an IPAddress follows its Service
//! and is no lock. Those that somebody else has made are left alone. A range that is still in use does not go.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, Write},
};
use crate::api::{name::Key, object::Object};
use ipnet::IpNet;
use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{IPAddress, IPAddressSpec, ParentReference, ServiceCIDR},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;
use std::{collections::BTreeMap, net::IpAddr};

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Keeps a range until its last address is given back.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

pub fn start_addresses(ctx: &ControllerContext) {
    framework::start(ctx, "system:kubik:ipallocator", "ipallocator", Addresses);
}

pub fn start_ranges(ctx: &ControllerContext) {
    let identity = "service-cidrs-controller";
    framework::start(ctx, identity, identity, Ranges);
}

struct Addresses;

impl Controller for Addresses {
    type Primary = Service;

    fn watches(watches: &mut Watches) {
        watches.on_change::<IPAddress>(|old, new, caches| {
            let touched = old.into_iter().chain(new).filter(|one| is_ours(one));
            let mut keys: Vec<Key> = touched.filter_map(parent).collect();
            // Another Service may have got the address before its old owner was tidied up.
            if let (Some(old), None) = (old, new) {
                let name = old.key().name;
                let services = caches.all::<Service>();
                let owner = services
                    .iter()
                    .find(|(_, service)| cluster_ips(service).any(|address| address == name));
                keys.extend(owner.map(|(key, _)| key.clone()));
            }
            keys
        });
    }

    fn reconcile(&self, service: &Service, world: &World) -> Decision {
        let mut decision = Decision::default();
        let key = service.key();
        let wanted: Vec<String> = cluster_ips(service).collect();
        withdraw(&key, &wanted, world, &mut decision);
        let known = world.all::<IPAddress>();
        for name in wanted {
            if known.get(&Key::new("", &*name)).is_none() {
                decision.push(Write::create(&address(name, &key)));
            }
        }
        decision
    }

    fn gone(&self, key: &Key, world: &World) -> Decision {
        let mut decision = Decision::default();
        withdraw(key, &[], world, &mut decision);
        decision
    }
}

fn withdraw(service: &Key, wanted: &[String], world: &World, decision: &mut Decision) {
    for (key, address) in world.all::<IPAddress>().iter() {
        // The cheap comparison first: this is asked of all addresses for every Service.
        let is_theirs = address.spec.parent_ref.name == service.name
            && parent(address).as_ref() == Some(service);
        if is_theirs && is_ours(address) && !wanted.contains(&key.name) {
            decision.push(Write::delete(address.as_ref()));
        }
    }
}

fn cluster_ips(service: &Service) -> impl Iterator<Item = String> {
    let spec = service.spec.as_ref();
    let all = spec.and_then(|spec| spec.cluster_ips.as_ref());
    let addresses = all.into_iter().flatten();
    addresses
        .filter(|text| text.parse::<IpAddr>().is_ok())
        .cloned()
}

fn is_ours(address: &IPAddress) -> bool {
    let labels = address.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .map(String::as_str)
        == Some(ALLOCATOR)
}

/// The Service that has it.
fn parent(address: &IPAddress) -> Option<Key> {
    let parent = &address.spec.parent_ref;
    let is_core = parent.group.as_deref().unwrap_or_default().is_empty();
    let namespace = parent.namespace.as_deref().unwrap_or_default();
    (is_core && parent.resource == "services").then(|| Key::new(namespace, &*parent.name))
}

fn address(name: String, service: &Key) -> IPAddress {
    let family = if name.contains(':') { "IPv6" } else { "IPv4" };
    IPAddress {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(BTreeMap::from([
                (FAMILY.to_owned(), family.to_owned()),
                (MANAGED_BY.to_owned(), ALLOCATOR.to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: None,
                resource: "services".to_owned(),
                namespace: Some(service.namespace.clone()),
                name: service.name.clone(),
            },
        },
    }
}

struct Ranges;

impl Controller for Ranges {
    type Primary = ServiceCIDR;

    fn watches(watches: &mut Watches) {
        // The last address of a range that is to go, or a range that takes its addresses over.
        watches.on_change::<IPAddress>(|_, new, caches| match new {
            Some(_) => Vec::new(),
            None => leaving(&caches.all::<ServiceCIDR>()),
        });
        watches.on::<ServiceCIDR>(|_, caches| leaving(&caches.all::<ServiceCIDR>()));
    }

    fn reconcile(&self, range: &ServiceCIDR, world: &World) -> Decision {
        let mut decision = Decision::default();
        let mut finalizers = range.metadata.finalizers.clone().unwrap_or_default();
        let is_kept = finalizers.iter().any(|one| one == FINALIZER);
        if !range.is_deleting() {
            if !is_kept {
                finalizers.push(FINALIZER.to_owned());
                decision.push(set_finalizers(range, &finalizers));
            } else if !is_said(range, "True", "") {
                let text = "Kubernetes Service CIDR is ready";
                decision.push(say(range, world, "True", "", text));
            }
        } else if is_kept && is_in_use(range, world) {
            if !is_said(range, "False", "Terminating") {
                let text = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
                decision.push(say(range, world, "False", "Terminating", text));
            }
        } else if is_kept {
            finalizers.retain(|one| one != FINALIZER);
            decision.push(set_finalizers(range, &finalizers));
        }
        decision
    }
}

fn leaving(ranges: &crate::client::Snapshot<ServiceCIDR>) -> Vec<Key> {
    let leaving = ranges.iter().filter(|(_, range)| range.is_deleting());
    leaving.map(|(key, _)| key.clone()).collect()
}

fn nets(range: &ServiceCIDR) -> Vec<IpNet> {
    let spec = range.spec.as_ref();
    let cidrs = spec.and_then(|spec| spec.cidrs.as_ref());
    let cidrs = cidrs.into_iter().flatten();
    cidrs.filter_map(|text| text.parse().ok()).collect()
}

/// Whether it has an address that no other range has.
fn is_in_use(range: &ServiceCIDR, world: &World) -> bool {
    let own = nets(range);
    let others: Vec<IpNet> = world
        .all::<ServiceCIDR>()
        .values()
        .filter(|other| other.uid() != range.uid() && !other.is_deleting())
        .flat_map(|other| nets(other))
        .collect();
    let holds = |nets: &[IpNet], address: &IpAddr| nets.iter().any(|net| net.contains(address));
    let addresses = world.all::<IPAddress>();
    addresses
        .iter()
        .filter_map(|(key, _)| key.name.parse().ok())
        .any(|address| holds(&own, &address) && !holds(&others, &address))
}

fn set_finalizers(range: &ServiceCIDR, finalizers: &[String]) -> Write {
    let version = range.metadata.resource_version.clone();
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}});
    Write::patch::<ServiceCIDR>(range.key(), patch)
}

fn is_said(range: &ServiceCIDR, status: &str, reason: &str) -> bool {
    let known = range.status.as_ref();
    let conditions = known.and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        condition.type_ == "Ready" && condition.status == status && condition.reason == reason
    })
}

fn say(range: &ServiceCIDR, world: &World, status: &str, reason: &str, message: &str) -> Write {
    let condition = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": world.stamp(),
    });
    let patch = json!({"status": {"conditions": [condition]}});
    Write::patch::<ServiceCIDR>(range.key(), patch).on_sub("status")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;

    fn service(name: &str, address: &str) -> serde_json::Value {
        json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"clusterIP": address, "clusterIPs": [address]}})
    }

    #[test]
    fn addresses_follow_their_services() {
        let mut stage = Stage::new(Addresses);
        stage.put::<Service>(service("a", "10.96.0.5"));
        stage.put::<Service>(service("headless", "None"));
        stage.put::<IPAddress>(json!({"metadata": {"name": "10.96.0.9"},
            "spec": {"parentRef": {"resource": "services", "namespace": "ns", "name": "a"}}}));
        stage.settle();
        let made = stage.get::<IPAddress>("", "10.96.0.5");
        assert!(is_ours(&made));
        assert_eq!(parent(&made), Some(Key::new("ns", "a")));
        assert_eq!(stage.all::<IPAddress>().len(), 2, "what others made stays");
        stage.remove::<Service>("ns", "a");
        stage.put::<Service>(service("b", "10.96.0.5"));
        stage.pass_over(&[Key::new("ns", "a")]);
        stage.settle();
        let owner = parent(&stage.get::<IPAddress>("", "10.96.0.5"));
        assert_eq!(owner, Some(Key::new("ns", "b")));
    }

    #[test]
    fn ranges_are_kept_while_they_are_used() {
        let mut stage = Stage::new(Ranges);
        stage.put::<ServiceCIDR>(
            json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["203.0.113.0/24"]}}),
        );
        stage.settle();
        let range = stage.get::<ServiceCIDR>("", "more");
        assert!(is_said(&range, "True", ""));
        assert_eq!(
            range.metadata.finalizers.as_deref(),
            Some(&[FINALIZER.to_owned()][..])
        );
        stage.put::<IPAddress>(json!({"metadata": {"name": "203.0.113.7"},
            "spec": {"parentRef": {"resource": "services", "namespace": "ns", "name": "a"}}}));
        stage.delete::<ServiceCIDR>("", "more");
        stage.settle();
        assert!(is_said(
            &stage.get::<ServiceCIDR>("", "more"),
            "False",
            "Terminating"
        ));
        stage.remove::<IPAddress>("", "203.0.113.7");
        stage.settle();
        assert!(stage.find::<ServiceCIDR>("", "more").is_none());
    }
}
