//! Removes pods that nobody will ever end: their node is gone, or they were deleted before they had one.

use super::{disrupted, ready_status, taints};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Watches, World, Write},
        pods,
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use serde_json::json;
use std::{collections::HashMap, sync::Mutex};

/// A node that vanished may be registered again by its agent.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub fn start(ctx: &ControllerContext) {
    let identity = "pod-garbage-collector";
    framework::start(ctx, identity, identity, Orphans::default());
}

/// Remembers since when nodes are missing; after a restart their quarantine begins anew.
#[derive(Default)]
pub(super) struct Orphans {
    missing: Mutex<HashMap<String, Timestamp>>,
}

impl Controller for Orphans {
    type Primary = Pod;

    fn watches(watches: &mut Watches) {
        watches.on_change::<Node>(|old, new, caches| {
            let Some(node) = new.or(old) else {
                return Vec::new();
            };
            let is_plain = new.is_some_and(|node| !is_out_of_service(node)) && old.is_some();
            if is_plain {
                return Vec::new();
            }
            let name = node.key().name;
            let all = caches.all::<Pod>();
            let its = all.values().filter(|pod| node_name(pod) == name);
            its.map(|pod| pod.key()).collect()
        });
    }

    fn reconcile(&self, pod: &Pod, world: &World) -> Decision {
        let mut decision = Decision::default();
        let name = node_name(pod);
        if name.is_empty() {
            if pod.is_deleting() {
                decision.push(force(pod));
            }
            return decision;
        }
        let mut missing = self.missing.lock().expect("no panic while locked");
        match world.all::<Node>().get(&Key::new("", name)) {
            Some(node) => {
                missing.remove(name);
                let is_lost = is_out_of_service(node) && ready_status(node) != "True";
                if is_lost && pod.is_deleting() {
                    end(pod, "PodGC: node is out-of-service", world, &mut decision);
                }
            }
            None => {
                let since = *missing.entry(name.to_owned()).or_insert(world.now);
                match world.until(since, QUARANTINE) {
                    Some(left) => decision.again(left),
                    None => end(pod, "PodGC: node no longer exists", world, &mut decision),
                }
            }
        }
        decision
    }
}

fn end(pod: &Pod, why: &str, world: &World, decision: &mut Decision) {
    if !pods::is_terminal(pod) {
        let failed = disrupted(pod, "DeletionByPodGC", why, world).unwrap_or_else(|| pod.clone());
        let patch = json!({
            "metadata": {"resourceVersion": pod.metadata.resource_version},
            "status": {"phase": "Failed", "conditions": conditions(&failed)},
        });
        decision.push(Write::patch::<Pod>(pod.key(), patch).on_sub("status"));
    }
    decision.push(force(pod));
}

fn conditions(pod: &Pod) -> Option<&Vec<PodCondition>> {
    pod.status.as_ref()?.conditions.as_ref()
}

fn force(pod: &Pod) -> Write {
    let mut write = Write::delete(pod);
    write.delete.grace_period_seconds = Some(0);
    write
}

fn is_out_of_service(node: &Node) -> bool {
    taints(node).iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

fn node_name(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}
