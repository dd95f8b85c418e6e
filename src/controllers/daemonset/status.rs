//! Counts of nodes, not of pods.

use super::{View, node::Verdict};
use crate::{
    api::object::Object,
    controllers::{
        framework::{Decision, World, Write},
        pods,
    },
};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};

pub fn report(view: &View<'_>, world: &World, decision: &mut Decision) {
    let old = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for (node, verdict) in &view.nodes {
        let mut living: Vec<_> = view
            .pods_on(node)
            .iter()
            .filter(|pod| !pod.is_deleting())
            .collect();
        if *verdict != Verdict::Run {
            status.number_misscheduled +=
                i32::from(!living.is_empty() && *verdict == Verdict::Leave);
            continue;
        }
        status.desired_number_scheduled += 1;
        // The one that serves best speaks for the node.
        living.sort_by_key(|pod| !pods::is_ready(pod));
        let Some(pod) = living.first() else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods::is_ready(pod));
        updated += i32::from(living.iter().any(|pod| view.is_current(pod)));
        match pods::available_at(pod, view.min_ready_seconds()) {
            Some(at) if at <= world.now => available += 1,
            Some(at) => decision.again(at.duration_since(world.now).unsigned_abs()),
            None => {}
        }
    }
    let nonzero = |count: i32| (count != 0).then_some(count);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    if status != old {
        let status = Some(status);
        decision.push(Write::update_status(&DaemonSet {
            status,
            ..view.set.clone()
        }));
    }
}
