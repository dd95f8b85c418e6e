//! Changing the size of sets: one of them, or all in proportion when the deployment is scaled in mid-rollout.

use super::sets::{Rollout, available, max_before, replicas};
use crate::{
    api::object::Object,
    controllers::framework::{Notice, Write},
};
use k8s_openapi::api::apps::v1::ReplicaSet;
use std::cmp::Reverse;

/// The write that gives a set this size and the annotations of it; `None` when it has both.
pub fn to(rollout: &Rollout<'_>, set: &ReplicaSet, size: i32) -> Option<Write> {
    let before = replicas(set);
    let mut scaled = set.clone();
    scaled.spec.get_or_insert_default().replicas = Some(size);
    rollout.annotate_size(&mut scaled);
    if before == size && scaled.metadata.annotations == set.metadata.annotations {
        return None;
    }
    let write = Write::update(&scaled);
    Some(if before == size {
        write
    } else {
        write.told(notice(rollout, set, before, size))
    })
}

pub fn notice(rollout: &Rollout<'_>, set: &ReplicaSet, before: i32, size: i32) -> Notice {
    let direction = if before < size { "up" } else { "down" };
    let name = set.key().name;
    let text = format!("Scaled {direction} replica set {name} from {before} to {size}");
    Notice::normal(rollout.deployment, "ScalingReplicaSet", text)
}

/// Follows `spec.replicas` without rolling anything.
pub fn all(rollout: &Rollout<'_>) -> Vec<Write> {
    if let Some(set) = only_one(rollout) {
        return to(rollout, set, rollout.replicas()).into_iter().collect();
    }
    let active: Vec<&ReplicaSet> = rollout.all().filter(|set| replicas(set) > 0).collect();
    if is_saturated(rollout) {
        let old = rollout.old.iter().filter(|set| replicas(set) > 0);
        return old.filter_map(|set| to(rollout, set, 0)).collect();
    }
    if !rollout.is_rolling() {
        return Vec::new();
    }
    let sizes = proportions(rollout, active);
    sizes
        .into_iter()
        .filter_map(|(set, size)| to(rollout, set, size))
        .collect()
}

/// The only active set; when none is active, the new or else the latest one.
fn only_one<'a>(rollout: &Rollout<'a>) -> Option<&'a ReplicaSet> {
    let mut active = rollout.all().filter(|set| replicas(set) > 0);
    match (active.next(), active.next()) {
        (None, _) => rollout.new.or(rollout.old.last().copied()),
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// Whether the new set already carries everything.
fn is_saturated(rollout: &Rollout<'_>) -> bool {
    rollout.new.is_some_and(|new| {
        replicas(new) == rollout.replicas() && available(new) == rollout.replicas()
    })
}

fn proportions<'a>(
    rollout: &Rollout<'a>,
    mut active: Vec<&'a ReplicaSet>,
) -> Vec<(&'a ReplicaSet, i32)> {
    let total: i32 = active.iter().map(|set| replicas(set)).sum();
    let allowed = match rollout.replicas() {
        0 => 0,
        wanted => wanted + rollout.max_surge(),
    };
    let to_add = allowed - total;
    // Growing favors the newest of the largest sets, shrinking hits the oldest.
    active.sort_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(replicas(set)));
    let mut added = 0;
    let mut sizes: Vec<(&ReplicaSet, i32)> = active
        .into_iter()
        .map(|set| {
            let portion = portion(rollout, set, to_add, added);
            added += portion;
            (set, replicas(set) + portion)
        })
        .collect();
    if let Some((_, first)) = sizes.first_mut() {
        // Rounding leaves a rest; the largest set takes it.
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn portion(rollout: &Rollout<'_>, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if replicas(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(rollout, set);
    let allowed = to_add - added;
    if to_add > 0 {
        fraction.min(allowed)
    } else {
        fraction.max(allowed)
    }
}

/// How much the set would change if it kept its part of the whole.
fn fraction(rollout: &Rollout<'_>, set: &ReplicaSet) -> i32 {
    if rollout.replicas() == 0 {
        return -replicas(set);
    }
    let seen = rollout
        .deployment
        .status
        .as_ref()
        .and_then(|status| status.replicas);
    let Some(before) = max_before(set)
        .or(seen.map(i64::from))
        .filter(|&before| before > 0)
    else {
        return 0;
    };
    let now = i64::from(rollout.replicas() + rollout.max_surge());
    // Rounded to the nearest: half up, as all numbers are positive.
    let size = (2 * i64::from(replicas(set)) * now + before) / (2 * before);
    i32::try_from(size).unwrap_or(i32::MAX) - replicas(set)
}
