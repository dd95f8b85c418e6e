//! The fences that NetworkPolicies amount to. Pure.
//!
//! A pod that a policy selects for a direction is fenced that way; what it may do is the union of the rules of all
//! policies that select it. Pods are named by uid, so that a fence stands before its pod has an address. Two things
//! differ from a cluster of many machines, and both for the better: the host and its probes always pass, and the
//! cluster's DNS, which is no pod here, counts as a pod `k8s-app: kube-dns` in `kube-system`, so that the rules which
//! people write for it everywhere mean the same.

use super::peer::{self, Resolved, Seen};
use crate::{
    client::Snapshot,
    net::rules::fence::{Fences, Gate, GroupId, Membership, Way},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    discovery::v1::EndpointSlice,
    networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

/// `None` without any policy.
#[must_use]
pub fn fences(
    policies: &Snapshot<NetworkPolicy>,
    pods: &Snapshot<Pod>,
    namespaces: &Snapshot<Namespace>,
    slices: &Snapshot<EndpointSlice>,
) -> Option<Fences> {
    if policies.is_empty() {
        return None;
    }
    let seen = Seen::new(pods, namespaces, slices);
    let mut by_namespace: HashMap<&str, Vec<Policy<'_>>> = HashMap::new();
    for (key, policy) in policies.iter() {
        let all = by_namespace.entry(&key.namespace).or_default();
        all.extend(Policy::new(&key.namespace, policy, &seen));
    }
    let mut fences = Fences::default();
    for pod in seen.pods() {
        let policies = by_namespace.get(pod.namespace);
        let selecting = |way: Way| -> Vec<&Policy<'_>> {
            let all = policies.into_iter().flatten();
            all.filter(|policy| policy.fences(way) && policy.selects(pod))
                .collect()
        };
        let mut join = |way: Way| join(&mut fences.groups, way, &selecting(way), pod);
        let member = Membership {
            ingress: join(Way::In),
            egress: join(Way::Out),
        };
        fences.members.insert(pod.sandbox.clone(), member);
    }
    Some(fences)
}

/// The group of a pod that these policies select; `None` when there are none.
fn join(
    groups: &mut BTreeMap<(Way, GroupId), Vec<Gate>>,
    way: Way,
    policies: &[&Policy<'_>],
    pod: &peer::Member<'_>,
) -> Option<GroupId> {
    if policies.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    for policy in policies {
        (policy.namespace, policy.name).hash(&mut hasher);
        // Names of ports are the pod's own: pods that mean something else by one have another group.
        for rule in policy.rules(way).iter().filter(|_| way == Way::In) {
            rule.own_ports(pod).hash(&mut hasher);
        }
    }
    let group = hasher.finish();
    groups.entry((way, group)).or_insert_with(|| {
        let rules = policies.iter().flat_map(|policy| policy.rules(way));
        rules.flat_map(|rule| rule.gates(way, pod)).collect()
    });
    Some(group)
}

struct Policy<'a> {
    namespace: &'a str,
    name: &'a str,
    selector: peer::Selector,
    ingress: Option<Vec<Rule<'a>>>,
    egress: Option<Vec<Rule<'a>>>,
}

struct Rule<'a> {
    peers: Resolved<'a>,
    ports: &'a [NetworkPolicyPort],
}

impl<'a> Policy<'a> {
    fn new(namespace: &'a str, policy: &'a NetworkPolicy, seen: &Seen<'a>) -> Option<Policy<'a>> {
        let spec = policy.spec.as_ref()?;
        let rule = |peers: Option<&'a Vec<NetworkPolicyPeer>>,
                    ports: Option<&'a Vec<NetworkPolicyPort>>| Rule {
            peers: seen.resolve(namespace, peers.map_or(&[][..], Vec::as_slice)),
            ports: ports.map_or(&[][..], Vec::as_slice),
        };
        let has = |wanted: &str, otherwise: bool| match spec.policy_types.as_deref() {
            None | Some([]) => otherwise,
            Some(types) => types.iter().any(|one| one == wanted),
        };
        let egress = spec.egress.as_deref().unwrap_or_default();
        let ingress = spec.ingress.iter().flatten();
        Some(Policy {
            namespace,
            name: policy.metadata.name.as_deref()?,
            selector: peer::Selector::new(spec.pod_selector.as_ref()),
            ingress: has("Ingress", true).then(|| {
                ingress
                    .map(|one| rule(one.from.as_ref(), one.ports.as_ref()))
                    .collect()
            }),
            egress: has("Egress", !egress.is_empty()).then(|| {
                egress
                    .iter()
                    .map(|one| rule(one.to.as_ref(), one.ports.as_ref()))
                    .collect()
            }),
        })
    }

    fn fences(&self, way: Way) -> bool {
        match way {
            Way::In => self.ingress.is_some(),
            Way::Out => self.egress.is_some(),
        }
    }

    fn selects(&self, pod: &peer::Member<'_>) -> bool {
        self.selector.matches(pod.labels)
    }

    fn rules(&self, way: Way) -> &[Rule<'a>] {
        let rules = match way {
            Way::In => &self.ingress,
            Way::Out => &self.egress,
        };
        rules.as_deref().unwrap_or_default()
    }
}

impl Rule<'_> {
    /// What the rule's ports mean on the pod that it protects.
    fn own_ports(&self, pod: &peer::Member<'_>) -> Vec<Option<u16>> {
        let names = self.ports.iter().filter_map(|port| peer::port_name(port));
        names
            .map(|(name, protocol)| pod.port(name, protocol))
            .collect()
    }

    fn gates(&self, way: Way, pod: &peer::Member<'_>) -> Vec<Gate> {
        if self.ports.is_empty() {
            return self.peers.gates(&[]);
        }
        let (named, numbered): (Vec<_>, Vec<_>) = self
            .ports
            .iter()
            .partition(|port| peer::port_name(port).is_some());
        let mut open: Vec<_> = numbered
            .iter()
            .filter_map(|port| peer::range(port))
            .collect();
        let names = named.iter().filter_map(|port| peer::port_name(port));
        let mut gates = Vec::new();
        for (name, protocol) in names {
            match way {
                Way::In => open.extend(
                    pod.port(name, protocol)
                        .map(|number| peer::exactly(protocol, number)),
                ),
                Way::Out => gates.extend(self.peers.named(name, protocol)),
            }
        }
        // No port at all would mean every port.
        if !open.is_empty() {
            gates.extend(self.peers.gates(&open));
        }
        gates
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
