//! The claims of a numbered pod, and what they are owned by.
//!
//! By default claims outlive everything. `persistentVolumeClaimRetentionPolicy` ties them to the set or, once their
//! number is scaled away, to the pod: the garbage collector does the rest. A change of the policy reaches claims that
//! exist; claims somebody else controls are left alone.

use super::View;
use crate::{
    api::object::Object,
    controllers::framework::{Notice, World, Write, controller_of, controller_ref},
};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::sync::Arc;

pub fn name(view: &View<'_>, template: &str, ordinal: i32) -> String {
    format!("{template}-{}-{ordinal}", view.set.key().name)
}

/// Whether a claim bears a name that one of the set's templates gives.
pub fn is_of(set: &StatefulSet, claim: &PersistentVolumeClaim) -> bool {
    let templates = set
        .spec
        .iter()
        .flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    let (set, claim) = (set.key(), claim.key());
    let mut prefixes = templates.map(|template| format!("{}-{}-", template.key().name, set.name));
    set.namespace == claim.namespace && prefixes.any(|prefix| claim.name.starts_with(&prefix))
}

/// Creations of the claims that a pod of this number lacks. `None` while the number cannot be used: a claim of it is
/// on its way out, or still belongs to a pod that was scaled away.
pub fn missing(view: &View<'_>, ordinal: i32, world: &World) -> Option<Vec<Write>> {
    let pod = format!("{}-{ordinal}", view.set.key().name);
    let mut writes = Vec::new();
    for claim in claims(view, ordinal) {
        match world.all::<PersistentVolumeClaim>().get(&claim.key()) {
            Some(found) if found.is_deleting() || is_left_over(view, &pod, found) => return None,
            Some(_) => {}
            None => writes.push(creation(view, &pod, &claim)),
        }
    }
    Some(writes)
}

fn creation(view: &View<'_>, pod: &str, claim: &PersistentVolumeClaim) -> Write {
    let (set, name) = (view.set.key().name, claim.key().name);
    let done = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
    let failed = format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: ");
    Write::create(claim)
        .told(Notice::normal(view.set, "SuccessfulCreate", done))
        .lamented(Notice::warning(view.set, "FailedCreate", failed))
}

/// Owned by an earlier pod of the same name.
fn is_left_over(view: &View<'_>, pod: &str, claim: &PersistentVolumeClaim) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    let living = view.pods.values().map(|one| one.uid());
    let living: Vec<&str> = living.collect();
    owners
        .filter(|owner| owner.kind == "Pod" && owner.name == pod)
        .any(|owner| !living.contains(&owner.uid.as_str()))
}

/// Brings the owners of a pod's claims to what the policy says.
pub fn tied(view: &View<'_>, ordinal: i32, pod: &Pod, world: &World) -> Vec<Write> {
    let all = world.all::<PersistentVolumeClaim>();
    let found = claims(view, ordinal)
        .into_iter()
        .filter_map(|claim| all.get(&claim.key()));
    found
        .filter_map(|claim| retied(view, ordinal, pod, claim))
        .collect()
}

fn retied(
    view: &View<'_>,
    ordinal: i32,
    pod: &Pod,
    claim: &Arc<PersistentVolumeClaim>,
) -> Option<Write> {
    let is_ours = |owner: &OwnerReference| owner.uid == view.set.uid() || owner.uid == pod.uid();
    let is_foreign = controller_of(&claim.metadata).is_some_and(|owner| !is_ours(owner));
    if is_foreign || claim.is_deleting() {
        return None;
    }
    let old = claim
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let mut owners: Vec<OwnerReference> = old.iter().filter(|one| !is_ours(one)).cloned().collect();
    owners.extend(owner(view, ordinal, Some(pod)));
    (owners != old).then(|| {
        let mut tied = PersistentVolumeClaim::clone(claim);
        tied.metadata.owner_references = (!owners.is_empty()).then_some(owners);
        Write::update(&tied)
    })
}

/// Whose end is to be the claims' end. Nobody's pod means one that is about to be made.
fn owner(view: &View<'_>, ordinal: i32, pod: Option<&Pod>) -> Option<OwnerReference> {
    let policy = view.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |choice: Option<&String>| choice.is_some_and(|choice| choice == "Delete");
    let with_set = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let with_pod = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    if with_pod && !view.wanted().contains(&ordinal) {
        return pod.map(controller_ref);
    }
    with_set.then(|| controller_ref(view.set))
}

fn claims(view: &View<'_>, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = view.spec.volume_claim_templates.iter().flatten();
    let make = |template: &PersistentVolumeClaim| {
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(view.spec.selector.match_labels.clone().unwrap_or_default());
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                namespace: Some(view.set.key().namespace),
                name: Some(name(view, &template.key().name, ordinal)),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                owner_references: owner(view, ordinal, None).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    };
    templates.map(make).collect()
}
