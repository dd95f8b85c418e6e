//! Nodes that stop reporting, and what that means for their pods.

mod eviction;
mod lifecycle;
mod orphans;

pub use eviction::start as start_eviction;
pub use lifecycle::start as start_lifecycle;
pub use orphans::start as start_pod_collection;

use super::{framework::World, pods};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint};

const NO_EXECUTE: &str = "NoExecute";

fn taints(node: &Node) -> &[Taint] {
    let spec = node.spec.as_ref();
    spec.and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

fn ready_status(node: &Node) -> &str {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|one| one.type_ == "Ready");
    ready.next().map_or("Unknown", |one| one.status.as_str())
}

/// The pod with the condition that tells people and jobs why it is going; `None` when it has it.
fn disrupted(pod: &Pod, reason: &str, message: &str, world: &World) -> Option<Pod> {
    if pods::condition(pod, "DisruptionTarget").is_some_and(|one| one.status == "True") {
        return None;
    }
    let mut pod = pod.clone();
    let conditions = pod
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    conditions.retain(|one| one.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(world.stamp()),
        ..PodCondition::default()
    });
    Some(pod)
}

fn latest(times: impl Iterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    times.flatten().max()
}

#[cfg(test)]
mod tests;
