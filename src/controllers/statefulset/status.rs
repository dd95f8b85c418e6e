//! Counts and revisions of a set.

use super::{View, pod};
use crate::{
    api::object::Object,
    controllers::{
        framework::{Action, Decision, World, Write},
        pods,
    },
};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};

/// The status write, if something changed.
pub fn report(view: &View<'_>, world: &World, decision: &mut Decision) -> Vec<Action> {
    let old = view.set.status.clone().unwrap_or_default();
    let (current, update) = (view.current.key().name, view.update.key().name);
    let mut status = StatefulSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: Some(old.collision_count.unwrap_or_default()),
        conditions: old.conditions.clone(),
        ..StatefulSetStatus::default()
    };
    let (mut ready, mut available, mut on_current, mut on_update) = (0, 0, 0, 0);
    for found in view.pods.values() {
        status.replicas += 1;
        if pods::phase(found) == "Running" && pods::is_ready(found) {
            ready += 1;
            match pods::available_at(found, view.min_ready_seconds()) {
                Some(at) if at <= world.now => available += 1,
                Some(at) => decision.again(at.duration_since(world.now).unsigned_abs()),
                None => {}
            }
        }
        if !found.is_deleting() {
            let its = pod::revision_name(found);
            on_current += i32::from(its == Some(current.as_str()));
            on_update += i32::from(its == Some(update.as_str()));
        }
    }
    let is_rolled_out =
        view.is_rolling() && on_update == status.replicas && ready == status.replicas;
    let (current, on_current) = match is_rolled_out {
        true => (update.clone(), on_update),
        false => (current, on_current),
    };
    let nonzero = |count: i32| (count != 0).then_some(count);
    status.ready_replicas = nonzero(ready);
    status.available_replicas = Some(available);
    status.current_replicas = nonzero(on_current);
    status.updated_replicas = nonzero(on_update);
    status.current_revision = Some(current);
    status.update_revision = Some(update);
    if status == old {
        return Vec::new();
    }
    let status = Some(status);
    vec![
        Write::update_status(&StatefulSet {
            status,
            ..view.set.clone()
        })
        .into(),
    ]
}
