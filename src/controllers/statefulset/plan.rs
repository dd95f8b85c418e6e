//! The next step: one pod at a time and in order, unless the set is parallel.

use super::{View, pod};
use crate::{
    api::object::Object,
    controllers::{
        framework::{Decision, World},
        pods,
    },
};
use k8s_openapi::api::core::v1::Pod;

pub fn next(view: &View<'_>, world: &World, decision: &mut Decision) {
    if replicas(view, world, decision) && condemned(view, world, decision) && view.is_rolling() {
        update(view, world, decision);
    }
}

/// Makes and repairs the wanted pods; whether to go on.
fn replicas(view: &View<'_>, world: &World, decision: &mut Decision) -> bool {
    for ordinal in view.wanted() {
        let Some(found) = view.pods.get(&ordinal) else {
            let writes = pod::creation(view, ordinal, world);
            writes.into_iter().for_each(|write| decision.push(write));
            if view.is_ordered() {
                return false;
            }
            continue;
        };
        if pods::is_terminal(found) && !found.is_deleting() {
            decision.push(pod::deletion(view, found));
            if view.is_ordered() {
                return false;
            }
            continue;
        }
        if view.is_ordered() && (found.is_deleting() || !is_available(view, found, world, decision))
        {
            return false;
        }
    }
    true
}

/// Removes what is beyond the wanted number, highest first; whether to go on.
fn condemned(view: &View<'_>, world: &World, decision: &mut Decision) -> bool {
    let wanted = view.wanted();
    let condemned: Vec<(i32, &Pod)> = view
        .pods
        .iter()
        .filter(|(ordinal, _)| !wanted.contains(ordinal))
        .map(|(ordinal, found)| (*ordinal, *found))
        .collect();
    let is_healthy = |found: &Pod| is_running_and_ready(found) && !found.is_deleting();
    let first_unhealthy = condemned.iter().position(|(_, found)| !is_healthy(found));
    for (at, (ordinal, found)) in condemned.iter().enumerate().rev() {
        if found.is_deleting() {
            if view.is_ordered() {
                return false;
            }
            continue;
        }
        // A broken pod below must be healthy first, unless it is the one to remove.
        if view.is_ordered() && !is_healthy(found) && first_unhealthy != Some(at) {
            return false;
        }
        let claims = pod::hand_over_claims(view, *ordinal, found, world);
        claims.into_iter().for_each(|write| decision.push(write));
        decision.push(pod::deletion(view, found));
        if view.is_ordered() {
            return false;
        }
    }
    true
}

/// Replaces one outdated pod at a time, from the highest number down to the partition.
fn update(view: &View<'_>, world: &World, decision: &mut Decision) {
    let lowest = view.start() + view.partition();
    let update = view.update.key().name;
    for ordinal in view.wanted().rev().filter(|ordinal| *ordinal >= lowest) {
        let Some(found) = view.pods.get(&ordinal) else {
            return;
        };
        let is_outdated = pod::revision_name(found) != Some(update.as_str());
        if is_outdated && !found.is_deleting() {
            return decision.push(pod::deletion(view, found));
        }
        if found.is_deleting() || !is_available(view, found, world, decision) {
            return;
        }
    }
}

fn is_running_and_ready(found: &Pod) -> bool {
    pods::phase(found) == "Running" && pods::is_ready(found)
}

/// Asks to be woken when a ready pod becomes available.
fn is_available(view: &View<'_>, found: &Pod, world: &World, decision: &mut Decision) -> bool {
    if !is_running_and_ready(found) {
        return false;
    }
    match pods::available_at(found, view.min_ready_seconds()) {
        Some(at) if at <= world.now => true,
        Some(at) => {
            decision.again(at.duration_since(world.now).unsigned_abs());
            false
        }
        None => false,
    }
}
