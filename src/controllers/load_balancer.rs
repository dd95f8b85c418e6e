//! Gives every Service of type LoadBalancer an address of its own, at once and without anything outside the cluster.
//!
//! The addresses come from a range that lies on the node and is routed to the cluster's bridge; the service proxy
//! answers there as it does at ClusterIPs, so the host needs no tunnel. Services with a class of their own are left to
//! whoever looks after that class. An address is given to one Service only: what has been promised and is not stored
//! yet is remembered here, because several Services are looked at in the same picture.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Notice, Watches, World, Write},
};
use crate::api::{name::Key, object::Object};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Mutex,
};

/// Keeps a Service until its address has been taken back.
const CLEANUP: &str = "service.kubernetes.io/load-balancer-cleanup";

pub fn start(ctx: &ControllerContext) {
    if let Some(range) = ctx.settings.load_balancers {
        let identity = "service-controller";
        framework::start(ctx, identity, identity, Balancer::new(range));
    }
}

struct Balancer {
    range: Ipv4Net,
    promised: Mutex<BTreeMap<Key, Ipv4Addr>>,
}

impl Controller for Balancer {
    type Primary = Service;

    fn watches(watches: &mut Watches) {
        // An address that comes back may be what others wait for.
        watches.on_change::<Service>(|old, new, caches| {
            let came_back = old.is_some_and(|old| address(old).is_some())
                && new.is_none_or(|new| address(new).is_none());
            let services = caches.all::<Service>();
            let waiting = services
                .iter()
                .filter(|(_, service)| came_back && is_ours(service) && address(service).is_none());
            waiting.map(|(key, _)| key.clone()).collect()
        });
    }

    fn reconcile(&self, service: &Service, world: &World) -> Decision {
        let mut decision = Decision::default();
        if is_ours(service) && !service.is_deleting() {
            self.provide(service, world, &mut decision);
        } else if has_cleanup(service) && self.has_given(service) {
            self.release(&service.key());
            withdraw(service, &mut decision);
        }
        decision
    }

    fn gone(&self, key: &Key, _: &World) -> Decision {
        self.release(key);
        Decision::default()
    }
}

impl Balancer {
    fn new(range: Ipv4Net) -> Balancer {
        Balancer {
            range,
            promised: Mutex::default(),
        }
    }

    /// The finalizer is everybody's: a class of another provider may use it too.
    fn has_given(&self, service: &Service) -> bool {
        let class = service
            .spec
            .as_ref()
            .and_then(|spec| spec.load_balancer_class.as_ref());
        class.is_none() && address(service).is_none_or(|address| self.range.contains(&address))
    }

    fn release(&self, key: &Key) {
        let mut promised = self.promised.lock().expect("no panic while locked");
        promised.remove(key);
    }

    fn provide(&self, service: &Service, world: &World, decision: &mut Decision) {
        let key = service.key();
        let mut promised = self.promised.lock().expect("no panic while locked");
        let services = world.all::<Service>();
        let others = services.iter().filter(|(other, _)| **other != key);
        let mut taken: BTreeSet<Ipv4Addr> =
            others.filter_map(|(_, other)| address(other)).collect();
        let elsewhere = promised.iter().filter(|(other, _)| **other != key);
        taken.extend(elsewhere.map(|(_, address)| *address));
        let candidates = [wish(service), promised.get(&key).copied(), address(service)];
        let Some(chosen) = choose(self.range, &taken, candidates) else {
            let text = format!(
                "Error syncing load balancer: failed to ensure load balancer: no address is left in {}",
                self.range
            );
            decision.push(Notice::warning(service, "SyncLoadBalancerFailed", text));
            return;
        };
        promised.insert(key, chosen);
        if address(service) == Some(chosen) && has_cleanup(service) {
            return;
        }
        decision.push(Notice::normal(
            service,
            "EnsuringLoadBalancer",
            "Ensuring load balancer",
        ));
        let mut finalizers = service.metadata.finalizers.clone().unwrap_or_default();
        if !has_cleanup(service) {
            finalizers.push(CLEANUP.to_owned());
        }
        let ingress = json!([{"ip": chosen.to_string(), "ipMode": "VIP"}]);
        let patch = patch(service, &finalizers, &json!({"ingress": ingress}));
        let told = Notice::normal(service, "EnsuredLoadBalancer", "Ensured load balancer");
        decision.push(patch.told(told));
    }
}

/// By way of the status, the one part that this identity may write; metadata goes along.
fn patch(service: &Service, finalizers: &[String], balancer: &Value) -> Write {
    let version = service.metadata.resource_version.clone();
    let patch = json!({
        "metadata": {"finalizers": finalizers, "resourceVersion": version},
        "status": {"loadBalancer": balancer},
    });
    Write::patch::<Service>(service.key(), patch).on_sub("status")
}

/// Not a load balancer any more, or on its way out: the address goes back and nothing holds the Service.
fn withdraw(service: &Service, decision: &mut Decision) {
    decision.push(Notice::normal(
        service,
        "DeletingLoadBalancer",
        "Deleting load balancer",
    ));
    let mut finalizers = service.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|one| one != CLEANUP);
    let patch = patch(service, &finalizers, &json!({"ingress": null}));
    let told = Notice::normal(service, "DeletedLoadBalancer", "Deleted load balancer");
    decision.push(patch.told(told));
}

fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none()
    })
}

fn has_cleanup(service: &Service) -> bool {
    let mut finalizers = service.metadata.finalizers.iter().flatten();
    finalizers.any(|one| one == CLEANUP)
}

fn address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?;
    let first = ingress.ingress.as_ref()?.first()?;
    first.ip.as_ref()?.parse().ok()
}

/// The older field by which people ask for an address.
fn wish(service: &Service) -> Option<Ipv4Addr> {
    let spec = service.spec.as_ref()?;
    spec.load_balancer_ip.as_ref()?.parse().ok()
}

/// The first candidate that is in the range and free, else the lowest free address.
fn choose(
    range: Ipv4Net,
    taken: &BTreeSet<Ipv4Addr>,
    candidates: [Option<Ipv4Addr>; 3],
) -> Option<Ipv4Addr> {
    let inside = |address: &Ipv4Addr| {
        range.contains(address) && *address != range.network() && *address != range.broadcast()
    };
    let is_free = |address: &Ipv4Addr| !taken.contains(address);
    let mut wanted = candidates.into_iter().flatten();
    wanted
        .find(|address| inside(address) && is_free(address))
        .or_else(|| range.hosts().find(is_free))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;

    fn stage(range: &str) -> Stage<Balancer> {
        Stage::new(Balancer::new(range.parse().unwrap()))
    }

    fn put(stage: &mut Stage<Balancer>, name: &str, spec: &Value) {
        let mut value =
            json!({"metadata": {"namespace": "a", "name": name}, "spec": {"type": "LoadBalancer"}});
        for (field, wanted) in spec.as_object().unwrap() {
            value["spec"][field] = wanted.clone();
        }
        stage.put::<Service>(value);
    }

    fn shown(stage: &Stage<Balancer>) -> Vec<(String, String)> {
        let services = stage.all::<Service>();
        let line = |service: &Service| {
            let address = address(service).map(|address| address.to_string());
            (service.key().name, address.unwrap_or_default())
        };
        services.iter().map(line).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = expected.iter();
        pairs
            .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()))
            .collect()
    }

    #[test]
    fn every_service_of_no_other_class_has_an_address_of_its_own() {
        let mut stage = stage("10.0.0.0/29");
        put(&mut stage, "a", &json!({}));
        put(&mut stage, "b", &json!({"loadBalancerIP": "10.0.0.4"}));
        put(
            &mut stage,
            "c",
            &json!({"loadBalancerClass": "x.example/y"}),
        );
        put(&mut stage, "d", &json!({"type": "ClusterIP"}));
        put(&mut stage, "e", &json!({"loadBalancerIP": "192.0.2.1"}));
        stage.settle();
        let expected = [
            ("a", "10.0.0.1"),
            ("b", "10.0.0.4"),
            ("c", ""),
            ("d", ""),
            ("e", "10.0.0.2"),
        ];
        assert_eq!(shown(&stage), pairs(&expected));
        let a = stage.get::<Service>("a", "a");
        assert_eq!(a.metadata.finalizers, Some(vec![CLEANUP.to_owned()]));
        let ingress = a.status.unwrap().load_balancer.unwrap().ingress.unwrap();
        assert_eq!(ingress[0].ip_mode.as_deref(), Some("VIP"));
        assert_eq!(
            stage.events[..2],
            [
                "Normal EnsuringLoadBalancer Ensuring load balancer",
                "Normal EnsuredLoadBalancer Ensured load balancer"
            ]
        );
    }

    #[test]
    fn addresses_come_back_with_the_service_or_its_type() {
        let mut stage = stage("10.0.0.0/30");
        for name in ["a", "b", "c"] {
            put(&mut stage, name, &json!({}));
        }
        stage.settle();
        assert_eq!(
            shown(&stage),
            pairs(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "")])
        );
        assert!(stage.events.iter().any(|event| event.starts_with("Warning SyncLoadBalancerFailed Error syncing load balancer: failed to ensure load balancer: no address is left in 10.0.0.0/30")));
        stage.edit::<Service>("a", "a", |service| {
            service.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
        });
        stage.delete::<Service>("a", "b");
        stage.settle();
        assert_eq!(shown(&stage), pairs(&[("a", ""), ("c", "10.0.0.1")]));
        assert!(!has_cleanup(&stage.get::<Service>("a", "a")));
    }
}
