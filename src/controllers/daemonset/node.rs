//! Whether a daemon belongs on a node, and which node a daemon is meant for.

use crate::api::{
    object::Object,
    placement::{self, Site},
};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, PodTemplateSpec, Taint, Toleration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Run,
    /// Nothing new, but what runs may stay.
    Keep,
    Leave,
}

/// Taints that every daemon lives with; the last with the host's network only.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

pub fn tolerations(host_network: bool) -> Vec<Toleration> {
    let count = if host_network {
        TOLERATED.len()
    } else {
        TOLERATED.len() - 1
    };
    let make = |(key, effect): &(&str, &str)| Toleration {
        key: Some((*key).to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some((*effect).to_owned()),
        ..Toleration::default()
    };
    TOLERATED[..count].iter().map(make).collect()
}

pub fn verdict(node: &Node, template: &PodTemplateSpec) -> Verdict {
    let empty = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    let name = node.key().name;
    let is_named = spec
        .node_name
        .as_deref()
        .is_none_or(|wanted| wanted.is_empty() || wanted == name);
    if !is_named || !placement::wants(spec, Site::of(node)) {
        return Verdict::Leave;
    }
    let mut tolerated = spec.tolerations.clone().unwrap_or_default();
    tolerated.extend(tolerations(spec.host_network == Some(true)));
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    let mut verdict = Verdict::Run;
    for taint in
        taints.filter(|taint| !tolerated.iter().any(|one| placement::tolerates(one, taint)))
    {
        match taint.effect.as_str() {
            "NoExecute" => return Verdict::Leave,
            "NoSchedule" => verdict = Verdict::Keep,
            _ => {}
        }
    }
    verdict
}

/// Nothing that decides about daemons has changed.
pub fn is_alike(old: &Node, new: &Node) -> bool {
    let taints = |node: &Node| -> Vec<Taint> {
        node.spec
            .iter()
            .flat_map(|spec| spec.taints.clone().unwrap_or_default())
            .collect()
    };
    old.metadata.labels == new.metadata.labels && taints(old) == taints(new)
}

/// Pins a pod to a node; the default scheduler does the binding.
pub fn pin(affinity: &mut Option<Affinity>, node: &str) {
    let term = NodeSelectorTerm {
        match_expressions: None,
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
    };
    let affinity = affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    node_affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
}

/// The node a daemon runs on or is pinned to; empty when neither.
pub fn target(pod: &Pod) -> String {
    let Some(spec) = &pod.spec else {
        return String::new();
    };
    if let Some(name) = spec.node_name.as_ref().filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let terms = placement::required(spec.affinity.as_ref())
        .map(|required| required.node_selector_terms.as_slice());
    let mut rules = terms
        .unwrap_or_default()
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let pinned = rules.find(|rule| rule.key == "metadata.name");
    let name = pinned.and_then(|rule| rule.values.as_ref()?.first().cloned());
    name.unwrap_or_default()
}
