//! Which pods are like a pod: those of the same services and of the same controller. They are spread by default.

use super::world::World;
use crate::api::name::Key;
use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};

/// `None` when nothing groups the pod with others.
pub fn alike(pod: &Pod, world: &World) -> Option<LabelSelector> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref()?;
    let mut selector = LabelSelector::default();
    let exact = selector.match_labels.get_or_insert_default();
    for service in world.services.in_namespace(namespace) {
        let wanted = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        let selects = |(key, value)| labels.get(key) == Some(value);
        if let Some(wanted) = wanted.filter(|wanted| wanted.iter().all(selects)) {
            exact.extend(wanted.clone());
        }
    }
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    if let Some(own) = owner.and_then(|owner| of_controller(owner, namespace, world)) {
        exact.extend(own.match_labels.unwrap_or_default());
        selector.match_expressions = own.match_expressions;
    }
    let has_rules = selector.match_expressions.iter().flatten().next().is_some();
    let has_labels = selector.match_labels.iter().flatten().next().is_some();
    (has_labels || has_rules).then_some(selector)
}

fn of_controller(owner: &OwnerReference, namespace: &str, world: &World) -> Option<LabelSelector> {
    let key = Key::new(namespace, owner.name.as_str());
    match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("v1", "ReplicationController") => Some(LabelSelector {
            match_labels: world.elders.get(&key)?.spec.as_ref()?.selector.clone(),
            match_expressions: None,
        }),
        ("apps/v1", "ReplicaSet") => Some(world.sets.get(&key)?.spec.as_ref()?.selector.clone()),
        ("apps/v1", "StatefulSet") => {
            let set = world.stateful_sets.get(&key)?;
            Some(set.spec.as_ref()?.selector.clone())
        }
        _ => None,
    }
}
