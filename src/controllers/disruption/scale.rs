//! How many pods a budget expects: what the controllers of its pods want, or the pods themselves.

use super::count;
use crate::{
    api::{
        name::{Key, split_api_version},
        object::Object,
    },
    controllers::{
        framework::{World, controller_of},
        share::{self, Round},
    },
    kinds,
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, ReplicationController},
        policy::v1::PodDisruptionBudgetSpec,
    },
    apimachinery::pkg::{apis::meta::v1::OwnerReference, util::intstr::IntOrString},
};
use std::{collections::BTreeMap, sync::Arc};

/// Expected pods, and how many of them must be healthy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Goals {
    pub expected: i32,
    pub healthy: i32,
    /// There are pods without a controller, where controllers had to be asked.
    pub has_unmanaged: bool,
}

/// The error says why the number cannot be told.
pub fn goals(
    spec: &PodDisruptionBudgetSpec,
    pods: &[&Arc<Pod>],
    world: &World,
) -> Result<Goals, String> {
    let share = |value: &IntOrString, of: i32| {
        share::resolve(value, of, Round::Up).ok_or_else(|| format!("not a percentage: {value:?}"))
    };
    if let Some(max) = &spec.max_unavailable {
        let (expected, has_unmanaged) = scale(pods, world)?;
        return Ok(Goals {
            expected,
            healthy: expected.saturating_sub(share(max, expected)?).max(0),
            has_unmanaged,
        });
    }
    match &spec.min_available {
        None => Ok(Goals::default()),
        Some(IntOrString::Int(wanted)) => Ok(Goals {
            expected: count(pods.len()),
            healthy: *wanted,
            has_unmanaged: false,
        }),
        Some(percentage) => {
            let (expected, has_unmanaged) = scale(pods, world)?;
            Ok(Goals {
                expected,
                healthy: share(percentage, expected)?,
                has_unmanaged,
            })
        }
    }
}

/// The sum of what the pods' controllers want, and whether some have none.
fn scale(pods: &[&Arc<Pod>], world: &World) -> Result<(i32, bool), String> {
    let mut wanted: BTreeMap<String, i32> = BTreeMap::new();
    let mut has_unmanaged = false;
    for pod in pods {
        let Some(owner) = controller_of(&pod.metadata) else {
            has_unmanaged = true;
            continue;
        };
        if let Some(reason) = unscalable(owner) {
            return Err(reason);
        }
        let (uid, replicas) = of_owner(owner, &pod.key().namespace, world)
            .ok_or_else(|| format!("found no controllers for pod {:?}", pod.key().name))?;
        wanted.insert(uid, replicas);
    }
    let sum = wanted
        .values()
        .fold(0, |sum: i32, one| sum.saturating_add(*one));
    Ok((sum, has_unmanaged))
}

/// Why nobody can say how many pods such an owner wants.
fn unscalable(owner: &OwnerReference) -> Option<String> {
    let (group, version) = split_api_version(&owner.api_version);
    let kind = kinds::find_kind(group, version, &owner.kind)?;
    let name = kind.gvr().group_resource();
    (!kind.subresources.contains(&"scale"))
        .then(|| format!("{name} does not implement the scale subresource"))
}

fn of_owner(owner: &OwnerReference, namespace: &str, world: &World) -> Option<(String, i32)> {
    let key = Key::new(namespace, owner.name.clone());
    let (uid, replicas) = match owner.kind.as_str() {
        "ReplicaSet" => of_set(world.all::<ReplicaSet>().get(&key)?, owner, world)?,
        "StatefulSet" => {
            let set = world.all::<StatefulSet>().get(&key)?;
            (set.uid(), set.spec.as_ref()?.replicas)
        }
        "ReplicationController" => {
            let elder = world.all::<ReplicationController>().get(&key)?;
            (elder.uid(), elder.spec.as_ref()?.replicas)
        }
        _ => return None,
    };
    Some((uid.to_owned(), replicas.unwrap_or(1)))
}

/// A Deployment speaks for its sets.
fn of_set<'a>(
    set: &'a ReplicaSet,
    owner: &OwnerReference,
    world: &'a World,
) -> Option<(&'a str, Option<i32>)> {
    if set.uid() != owner.uid {
        return None;
    }
    let deployment = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
    match deployment {
        Some(owner) => {
            let key = Key::new(set.key().namespace, owner.name.clone());
            let deployment = world.all::<Deployment>().get(&key)?;
            Some((deployment.uid(), deployment.spec.as_ref()?.replicas))
        }
        None => Some((set.uid(), set.spec.as_ref()?.replicas)),
    }
}
