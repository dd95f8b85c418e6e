//! The next step of a rollout.

use super::{
    scale,
    sets::{Rollout, actual, available, replicas, revision},
    status,
};
use crate::{
    api::{call::Verb, object::Object},
    controllers::{
        framework::{World, Write},
        pods,
    },
};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};

/// What happened to the new set in this pass; the status tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Found {
    #[default]
    Nothing,
    Created,
    /// The name is taken by a set of another template.
    Collision,
    Refused(String),
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub writes: Vec<Write>,
    pub found: Found,
}

/// Decides one step. Nothing is left to do when there are no writes.
pub fn next(rollout: &Rollout<'_>, world: &World) -> Outcome {
    if let Some(new) = rollout.new {
        let refreshed = rollout.refreshed_new(new);
        if refreshed != *new {
            return step(vec![Write::update(&refreshed)]);
        }
    }
    if rollout.is_paused() || rollout.was_scaled() {
        let mut writes = scale::all(rollout);
        if rollout.is_paused() && writes.is_empty() {
            writes = clean_up(rollout);
        }
        return step(writes);
    }
    if rollout.is_rolling() {
        roll(rollout, world)
    } else {
        recreate(rollout, world)
    }
}

fn step(writes: Vec<Write>) -> Outcome {
    Outcome {
        writes,
        found: Found::Nothing,
    }
}

fn roll(rollout: &Rollout<'_>, world: &World) -> Outcome {
    let Some(new) = rollout.new else {
        return create(rollout, world);
    };
    let wanted = if replicas(new) > rollout.replicas() {
        rollout.replicas()
    } else {
        rollout.new_replicas()
    };
    let mut writes: Vec<Write> = scale::to(rollout, new, wanted).into_iter().collect();
    if writes.is_empty() {
        writes = shrink_old(rollout, new);
    }
    if writes.is_empty() && status::is_complete(rollout) {
        writes = clean_up(rollout);
    }
    step(writes)
}

/// First what does not work anyway, then the oldest, never below `replicas - maxUnavailable` available pods.
fn shrink_old(rollout: &Rollout<'_>, new: &ReplicaSet) -> Vec<Write> {
    let total: i32 = rollout.all().map(replicas).sum();
    let min_available = rollout.replicas() - rollout.max_unavailable();
    let new_unavailable = replicas(new) - available(new);
    let mut may_go = total - min_available - new_unavailable;
    if may_go <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<(&ReplicaSet, i32)> = rollout
        .old
        .iter()
        .map(|set| (*set, replicas(set)))
        .collect();
    for (set, size) in &mut sizes {
        let broken = (*size - available(set)).clamp(0, may_go);
        *size -= broken;
        may_go -= broken;
    }
    let available: i32 = rollout.all().map(available).sum();
    let mut surplus = (available - min_available).max(0);
    for (_, size) in &mut sizes {
        let gone = surplus.min(*size);
        *size -= gone;
        surplus -= gone;
    }
    let scaled = sizes
        .into_iter()
        .filter_map(|(set, size)| scale::to(rollout, set, size));
    scaled.collect()
}

fn recreate(rollout: &Rollout<'_>, world: &World) -> Outcome {
    let active = rollout.old.iter().filter(|set| replicas(set) > 0);
    let writes: Vec<Write> = active
        .filter_map(|set| scale::to(rollout, set, 0))
        .collect();
    if !writes.is_empty() || old_pods_run(rollout, world) {
        return step(writes);
    }
    let Some(new) = rollout.new else {
        return create(rollout, world);
    };
    let mut writes: Vec<Write> = scale::to(rollout, new, rollout.replicas())
        .into_iter()
        .collect();
    if writes.is_empty() && status::is_complete(rollout) {
        writes = clean_up(rollout);
    }
    step(writes)
}

/// Terminating pods count: old and new must never run side by side.
fn old_pods_run(rollout: &Rollout<'_>, world: &World) -> bool {
    let all = world.all::<Pod>();
    let namespace = rollout.deployment.key().namespace;
    rollout.old.iter().any(|set| {
        let mut its = all.controlled_by(&namespace, set.uid());
        actual(set) > 0 || its.any(|pod| !pods::is_terminal(pod))
    })
}

fn create(rollout: &Rollout<'_>, world: &World) -> Outcome {
    let new = rollout.make_new();
    if world.all::<ReplicaSet>().contains_key(&new.key()) {
        return Outcome {
            writes: Vec::new(),
            found: Found::Collision,
        };
    }
    let refusal = world
        .failure
        .as_ref()
        .filter(|failure| failure.verb == Verb::Create);
    let found = match refusal {
        Some(failure) => Found::Refused(failure.message.clone()),
        None => Found::Created,
    };
    let mut write = Write::create(&new);
    if replicas(&new) > 0 {
        write = write.told(scale::notice(rollout, &new, 0, replicas(&new)));
    }
    Outcome {
        writes: vec![write],
        found,
    }
}

/// Old sets beyond `revisionHistoryLimit` that hold nothing any more.
fn clean_up(rollout: &Rollout<'_>) -> Vec<Write> {
    let Some(limit) = rollout
        .spec
        .revision_history_limit
        .filter(|&limit| limit < i32::MAX)
    else {
        return Vec::new();
    };
    let mut sets: Vec<&ReplicaSet> = rollout
        .old
        .iter()
        .filter(|set| !set.is_deleting())
        .copied()
        .collect();
    sets.sort_by_key(|set| revision(set));
    let surplus = sets
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or_default());
    sets.truncate(surplus);
    let is_empty = |set: &&ReplicaSet| {
        let observed = set
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        replicas(set) == 0 && actual(set) == 0 && set.metadata.generation <= observed
    };
    let removable = sets.into_iter().filter(is_empty);
    removable.map(Write::delete).collect()
}
