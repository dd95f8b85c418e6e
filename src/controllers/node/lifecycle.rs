//! Marks silent nodes, and keeps the taints that follow from a node's conditions.
//!
//! A node is silent when neither its lease nor its status moved for the grace period; time before this process
//! started does not count, or every restart of a stopped cluster would find its nodes dead.

use super::{NO_EXECUTE, latest, ready_status, taints};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Notice, Watches, World, Write},
        pods,
    },
    task::clock,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeCondition, Pod, Taint},
};
use serde_json::json;

const GRACE: SignedDuration = SignedDuration::from_secs(50);
const LEASES: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Condition, the status that hurts, and the taint that says so.
const PRESSURES: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions only the node itself can know.
const REPORTED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub fn start(ctx: &ControllerContext) {
    let started = clock::now();
    framework::start(
        ctx,
        "node-controller",
        "node-controller",
        Lifecycle { started },
    );
}

pub(super) struct Lifecycle {
    pub started: Timestamp,
}

impl Controller for Lifecycle {
    type Primary = Node;

    fn watches(watches: &mut Watches) {
        watches
            .read::<Pod>()
            .on::<Lease>(|lease, _| {
                let key = lease.key();
                let is_a_nodes = key.namespace == LEASES;
                is_a_nodes
                    .then(|| Key::new("", key.name))
                    .into_iter()
                    .collect()
            })
            // Whether all nodes are silent decides about the taints of each.
            .on_change::<Node>(|old, new, caches| {
                let status = |node: Option<&Node>| node.map(|node| ready_status(node).to_owned());
                if status(old) == status(new) {
                    return Vec::new();
                }
                caches.all::<Node>().keys().cloned().collect()
            });
    }

    fn reconcile(&self, node: &Node, world: &World) -> Decision {
        let mut decision = Decision::default();
        if node.is_deleting() {
            return decision;
        }
        match world.until(self.last_sign(node, world), GRACE) {
            Some(left) => decision.again(left),
            None => silence(node, world, &mut decision),
        }
        if ready_status(node) != "True" {
            mark_pods(node, world, &mut decision);
        }
        let wanted = wanted_taints(node, world);
        if wanted != taints(node) {
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": wanted},
            });
            decision.push(Write::patch::<Node>(node.key(), patch));
        }
        decision
    }
}

impl Lifecycle {
    fn last_sign(&self, node: &Node, world: &World) -> Timestamp {
        let lease = world.all::<Lease>().get(&Key::new(LEASES, node.key().name));
        let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
        let conditions = node
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let beat = conditions.map(|one| one.last_heartbeat_time.as_ref().map(|time| time.0));
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let signs = beat.chain([renewed, created, Some(self.started)]);
        latest(signs).unwrap_or(self.started)
    }
}

fn silence(node: &Node, world: &World, decision: &mut Decision) {
    let mut new = node.clone();
    let conditions = new
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    for type_ in REPORTED {
        match conditions.iter_mut().find(|one| one.type_ == *type_) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                "Unknown".clone_into(&mut condition.status);
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(world.stamp());
            }
            None => conditions.push(NodeCondition {
                type_: (*type_).to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(world.stamp()),
            }),
        }
    }
    if new != *node {
        decision.push(Write::update_status(&new));
        if ready_status(node) == "True" {
            let text = format!("Node {} status is now: NodeNotReady", node.key().name);
            decision.push(Notice::normal(node, "NodeNotReady", text));
        }
    }
}

/// Nobody can say whether they are ready: services must not count on them.
fn mark_pods(node: &Node, world: &World, decision: &mut Decision) {
    let name = node.key().name;
    let all = world.all::<Pod>().values();
    let its =
        all.filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name));
    for pod in its.filter(|pod| pods::is_ready(pod)) {
        let mut new = pod.as_ref().clone();
        let conditions = new
            .status
            .iter_mut()
            .flat_map(|status| status.conditions.iter_mut().flatten());
        for ready in conditions.filter(|one| one.type_ == "Ready") {
            "False".clone_into(&mut ready.status);
            ready.last_transition_time = Some(world.stamp());
        }
        decision.push(Write::update_status(&new));
        decision.push(Notice::warning(
            pod.as_ref(),
            "NodeNotReady",
            "Node is not ready",
        ));
    }
}

fn wanted_taints(node: &Node, world: &World) -> Vec<Taint> {
    let status_of = |type_: &str| {
        let conditions = node
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let mut found = conditions.filter(|one| one.type_ == type_);
        found.next().map_or("", |one| one.status.as_str())
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    // When no node is ready, the fault is likely ours: nobody is evicted.
    let may_evict = world
        .all::<Node>()
        .values()
        .any(|node| ready_status(node) == "True");
    for (type_, bad, key) in PRESSURES {
        if status_of(type_) == *bad {
            wanted.push((key, "NoSchedule"));
            if *type_ == "Ready" && may_evict {
                wanted.push((key, NO_EXECUTE));
            }
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_ours = |taint: &Taint| {
        let is_evicting =
            taint.effect == NO_EXECUTE && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
        let mut keys = PRESSURES
            .iter()
            .map(|(_, _, key)| *key)
            .chain([UNSCHEDULABLE]);
        is_evicting || (taint.effect == "NoSchedule" && keys.any(|key| key == taint.key))
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut all: Vec<Taint> = taints(node)
        .iter()
        .filter(|one| !is_ours(one) || is_wanted(one))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !all.iter().any(|one| one.key == key && one.effect == effect) {
            all.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                ..Taint::default()
            });
        }
    }
    // Tolerations that end are counted from here.
    for taint in all.iter_mut().filter(|taint| taint.effect == NO_EXECUTE) {
        taint.time_added.get_or_insert_with(|| world.stamp());
    }
    all
}
