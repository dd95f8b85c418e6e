//! The next step: one pod at a time and in order, unless the set is parallel.

use super::{View, claim, pod};
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
        if !found.is_deleting() {
            let writes = pod::repairs(view, ordinal, found, world);
            writes.into_iter().for_each(|write| decision.push(write));
        }
        if view.is_ordered() && !serves(view, found, world, decision) {
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
    for (ordinal, found) in &condemned {
        let claims = claim::tied(view, *ordinal, found, world);
        claims.into_iter().for_each(|write| decision.push(write));
    }
    let mut serve = condemned
        .iter()
        .map(|(_, found)| serves(view, found, world, decision));
    let first_unhealthy = serve.position(|serves| !serves);
    for (at, (_, found)) in condemned.iter().enumerate().rev() {
        if found.is_deleting() {
            if view.is_ordered() {
                return false;
            }
            continue;
        }
        // A broken pod below must be healthy first, unless it is the one to remove.
        let is_unhealthy = !serves(view, found, world, decision);
        if view.is_ordered() && is_unhealthy && first_unhealthy != Some(at) {
            return false;
        }
        decision.push(pod::deletion(view, found));
        if view.is_ordered() {
            return false;
        }
    }
    true
}

/// Replaces outdated pods from the highest number down to the partition: one at a time, or as many as may be
/// unavailable.
fn update(view: &View<'_>, world: &World, decision: &mut Decision) {
    let lowest = view.start().saturating_add(view.partition());
    let update = view.update.key().name;
    if let Some(most) = view.max_unavailable() {
        return update_many(view, most, lowest, world, decision);
    }
    for ordinal in view.wanted().rev().filter(|ordinal| *ordinal >= lowest) {
        let Some(found) = view.pods.get(&ordinal) else {
            return;
        };
        let is_outdated = pod::revision_name(found) != Some(update.as_str());
        if is_outdated && !found.is_deleting() {
            return decision.push(pod::deletion(view, found));
        }
        if !serves(view, found, world, decision) {
            return;
        }
    }
}

/// Outdated pods that serve nobody cost nothing.
fn update_many(view: &View<'_>, most: usize, lowest: i32, world: &World, decision: &mut Decision) {
    let update = view.update.key().name;
    let mut lacking = 0;
    let mut candidates = Vec::new();
    for ordinal in view.wanted().rev() {
        let found = view.pods.get(&ordinal).filter(|found| !found.is_deleting());
        let serves = found.is_some_and(|found| serves(view, found, world, decision));
        lacking += usize::from(!serves);
        let outdated = found.filter(|found| pod::revision_name(found) != Some(update.as_str()));
        if let Some(outdated) = outdated.filter(|_| ordinal >= lowest) {
            candidates.push((*outdated, serves));
        }
    }
    let mut room = most.saturating_sub(lacking);
    for (outdated, serves) in candidates {
        if !serves || room > 0 {
            room = room.saturating_sub(usize::from(serves));
            decision.push(pod::deletion(view, outdated));
        }
    }
}

fn is_running_and_ready(found: &Pod) -> bool {
    pods::phase(found) == "Running" && pods::is_ready(found)
}

/// Whether the pod stays and is available; asks to be woken when a ready pod becomes so.
fn serves(view: &View<'_>, found: &Pod, world: &World, decision: &mut Decision) -> bool {
    if found.is_deleting() || !is_running_and_ready(found) {
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
