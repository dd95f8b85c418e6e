//! Nodes write about themselves only: what a node's role allows is narrowed to the node's own objects.
//!
//! It binds users of the group `system:nodes` whose names begin with `system:node:`.

use super::{Attempt, Operation};
use crate::{api::ApiError, apiserver::registry::metadata::text};
use serde_json::{Map, Value};

pub const STORAGE: &[&str] = &[
    "nodes",
    "pods",
    "leases.coordination.k8s.io",
    "csinodes.storage.k8s.io",
];

const GROUP: &str = "system:nodes";
const USER: &str = "system:node:";
const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";
const RESTRICTION: &str = "node-restriction.kubernetes.io";

/// Upstream's set-up gives it to a node that has registered; ours register with it.
const ROLE: &str = "node-role.kubernetes.io/control-plane";

/// Labels below `kubernetes.io` that a node may give itself.
const OWN_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    let user = attempt.request.user;
    if !user.groups.iter().any(|group| group == GROUP) {
        return Ok(());
    }
    let Some(node) = user.name.strip_prefix(USER) else {
        return Ok(());
    };
    let why = match (attempt.kind().storage, attempt.subresource()) {
        ("nodes", _) => node_problem(attempt, node, object),
        ("pods", part) => pod_problem(attempt.operation, part, node, object, attempt.old),
        ("leases.coordination.k8s.io", _) => {
            let request = attempt.request;
            lease_problem(&request.namespace, &request.name, node)
        }
        _ if attempt.request.name != node => {
            Some("can only access CSINode with the same name as the requesting node".to_owned())
        }
        _ => None,
    };
    why.map_or(Ok(()), |why| Err(attempt.forbidden(&why)))
}

fn node_problem(attempt: &Attempt<'_>, node: &str, object: &Value) -> Option<String> {
    let asked = &attempt.request.name;
    if asked != node {
        return Some(format!(
            "node {node:?} is not allowed to modify node {asked:?}"
        ));
    }
    if attempt.is(Operation::Delete) || !attempt.subresource().is_empty() {
        return None;
    }
    let none = Value::Null;
    let old = attempt.old.unwrap_or(&none);
    let changed = changed_labels(&object["metadata"]["labels"], &old["metadata"]["labels"]);
    let mut wrong: Vec<String> = changed.into_iter().filter(|key| !is_own(key)).collect();
    if attempt.is(Operation::Create) {
        wrong.retain(|key| key != ROLE);
    }
    if !wrong.is_empty() {
        wrong.sort();
        let list = wrong.join(", ");
        return Some(match attempt.operation {
            Operation::Create => {
                format!("node {node:?} is not allowed to set the following labels: {list}")
            }
            _ => format!("is not allowed to modify labels: {list}"),
        });
    }
    let taints = |node: &Value| {
        node["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    if attempt.is(Operation::Update) && taints(object) != taints(old) {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    None
}

fn changed_labels(new: &Value, old: &Value) -> Vec<String> {
    let none = Map::new();
    let (new, old) = (
        new.as_object().unwrap_or(&none),
        old.as_object().unwrap_or(&none),
    );
    let keys = new
        .keys()
        .chain(old.keys().filter(|key| !new.contains_key(*key)));
    keys.filter(|key| new.get(*key) != old.get(*key))
        .cloned()
        .collect()
}

/// Labels of other domains are nobody's; of Kubernetes' own a node may set some.
fn is_own(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_below = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if is_below(RESTRICTION) {
        return false;
    }
    if !is_below("kubernetes.io") && !is_below("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || OWN_DOMAINS.iter().any(|domain| is_below(domain))
}

fn pod_problem(
    operation: Operation,
    part: &str,
    node: &str,
    object: &Value,
    old: Option<&Value>,
) -> Option<String> {
    let place = |pod: &Value| text(&pod["spec"], "nodeName").to_owned();
    match (operation, part) {
        (Operation::Create, "") => {
            if object["metadata"]["annotations"][MIRROR].is_null() {
                return Some(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            (place(object) != node).then(|| {
                format!("node {node:?} can only create pods with spec.nodeName set to itself")
            })
        }
        (Operation::Delete, _) => (place(object) != node).then(|| {
            format!("node {node:?} can only delete pods with spec.nodeName set to itself")
        }),
        (Operation::Update, "status") => (old.map(place).as_deref() != Some(node)).then(|| {
            format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            )
        }),
        (Operation::Update, _) => Some(format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        )),
        _ => None,
    }
}

fn lease_problem(namespace: &str, name: &str, node: &str) -> Option<String> {
    if namespace != LEASES {
        let why = format!("can only access leases in the {LEASES:?} system namespace");
        return Some(why);
    }
    (name != node)
        .then(|| "can only access node lease with the same name as the requesting node".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_kubernetes_are_not_the_nodes() {
        let cases = [
            ("example.com/x", true),
            ("disk", true),
            ("kubernetes.io/hostname", true),
            ("kubelet.kubernetes.io/x", true),
            ("a.node.kubernetes.io/x", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("x.k8s.io/y", false),
        ];
        for (key, expected) in cases {
            assert_eq!(is_own(key), expected, "{key}");
        }
        let labels = |value: Value| changed_labels(&value, &json!({"a": "1", "b": "2"}));
        assert_eq!(labels(json!({"a": "1", "b": "3", "c": "4"})), ["b", "c"]);
        assert_eq!(labels(json!({"a": "1"})), ["b"]);
    }

    #[test]
    fn pods_of_others_are_left_alone() {
        let pod = |node: &str| json!({"metadata": {}, "spec": {"nodeName": node}});
        let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}}, "spec": {"nodeName": "n"}});
        let (ours, theirs) = (pod("n"), pod("m"));
        let judge = |operation, part, object: &Value| {
            pod_problem(operation, part, "n", object, Some(object)).is_none()
        };
        assert!(judge(Operation::Create, "", &mirror));
        assert!(!judge(Operation::Create, "", &ours));
        assert!(judge(Operation::Update, "status", &ours));
        assert!(!judge(Operation::Update, "status", &theirs));
        assert!(!judge(Operation::Delete, "", &theirs));
        assert!(!judge(Operation::Update, "", &ours));
        assert_eq!(lease_problem(LEASES, "n", "n"), None);
        assert!(lease_problem(LEASES, "m", "n").is_some());
        assert!(lease_problem("x", "n", "n").is_some());
    }
}
