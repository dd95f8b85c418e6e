//! What a numbered pod and its claims look like.

use super::View;
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        framework::{Notice, World, Write, controller_ref},
        pods,
        revision::{self, HASH_LABEL},
    },
};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number in the pod's name, if it is a name of this set.
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    let number = name
        .strip_prefix(set.metadata.name.as_deref()?)?
        .strip_prefix('-')?;
    number
        .parse()
        .ok()
        .filter(|&ordinal: &i32| ordinal >= 0 && ordinal.to_string() == number)
}

pub fn revision_name(pod: &Pod) -> Option<&str> {
    pod.metadata
        .labels
        .as_ref()?
        .get(HASH_LABEL)
        .map(String::as_str)
}

/// Creates the claims that are missing, then the pod.
pub fn creation(view: &View<'_>, ordinal: i32, world: &World) -> Vec<Write> {
    let set = view.set.key();
    let name = format!("{}-{ordinal}", set.name);
    let mut writes = Vec::new();
    for claim in claims(view, ordinal) {
        if world
            .all::<PersistentVolumeClaim>()
            .contains_key(&claim.key())
        {
            continue;
        }
        let what = format!(
            "create Claim {} Pod {name} in StatefulSet {}",
            claim.key().name,
            set.name
        );
        writes.push(
            Write::create(&claim)
                .told(Notice::normal(
                    view.set,
                    "SuccessfulCreate",
                    format!("{what} success"),
                ))
                .lamented(Notice::warning(
                    view.set,
                    "FailedCreate",
                    format!("{what} failed error: "),
                )),
        );
    }
    let what = format!("create Pod {name} in StatefulSet {}", set.name);
    writes.push(
        Write::create(&make(view, ordinal))
            .told(Notice::normal(
                view.set,
                "SuccessfulCreate",
                format!("{what} successful"),
            ))
            .lamented(Notice::warning(
                view.set,
                "FailedCreate",
                format!("{what} failed error: "),
            )),
    );
    writes
}

pub fn deletion(view: &View<'_>, pod: &Pod) -> Write {
    let what = format!(
        "delete Pod {} in StatefulSet {}",
        pod.key().name,
        view.set.key().name
    );
    Write::delete(pod)
        .told(Notice::normal(
            view.set,
            "SuccessfulDelete",
            format!("{what} successful"),
        ))
        .lamented(Notice::warning(
            view.set,
            "FailedDelete",
            format!("{what} failed error: "),
        ))
}

fn make(view: &View<'_>, ordinal: i32) -> Pod {
    let set = view.set.key();
    let name = format!("{}-{ordinal}", set.name);
    let made_from = view.revision_for(ordinal);
    let template = revision::template(made_from).unwrap_or_else(|| view.spec.template.clone());
    let owner = controller_ref(view.set);
    let mut pod = pods::from_template(&template, &set.namespace, &set.name, owner);
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(HASH_LABEL.to_owned(), made_from.key().name);
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain.clone_from(&view.spec.service_name);
    attach(spec, view, ordinal);
    pod
}

/// A claim takes the place of a volume of the same name.
fn attach(spec: &mut PodSpec, view: &View<'_>, ordinal: i32) {
    let templates = view.spec.volume_claim_templates.iter().flatten();
    let mut volumes: Vec<Volume> = templates
        .map(|template| template.key().name)
        .map(|name| Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(view, &name, ordinal),
                read_only: None,
            }),
            name,
            ..Volume::default()
        })
        .collect();
    let others = spec.volumes.take().unwrap_or_default().into_iter();
    let others: Vec<Volume> = others
        .filter(|one| volumes.iter().all(|mine| mine.name != one.name))
        .collect();
    volumes.extend(others);
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
}

fn claim_name(view: &View<'_>, template: &str, ordinal: i32) -> String {
    format!("{template}-{}-{ordinal}", view.set.key().name)
}

fn claims(view: &View<'_>, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = view.spec.volume_claim_templates.iter().flatten();
    let make = |template: &PersistentVolumeClaim| {
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(view.spec.selector.match_labels.clone().unwrap_or_default());
        let owner = (retention(view, Retention::Deleted)).then(|| vec![plain_ref(view.set)]);
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                namespace: Some(view.set.key().namespace),
                name: Some(claim_name(view, &template.key().name, ordinal)),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                owner_references: owner,
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    };
    templates.map(make).collect()
}

#[derive(Clone, Copy)]
enum Retention {
    Deleted,
    Scaled,
}

/// Whether claims are to go on that occasion.
fn retention(view: &View<'_>, when: Retention) -> bool {
    let policy = view.spec.persistent_volume_claim_retention_policy.as_ref();
    let choice = policy.and_then(|policy| match when {
        Retention::Deleted => policy.when_deleted.as_deref(),
        Retention::Scaled => policy.when_scaled.as_deref(),
    });
    choice == Some("Delete")
}

/// Before a pod is scaled away: its claims become its own, so that they go with it.
pub fn hand_over_claims(view: &View<'_>, ordinal: i32, pod: &Pod, world: &World) -> Vec<Write> {
    if !retention(view, Retention::Scaled) {
        return Vec::new();
    }
    let all = world.all::<PersistentVolumeClaim>();
    let claims = claims(view, ordinal).into_iter().filter_map(|claim| {
        let found = all.get(&Key::new(claim.key().namespace, claim.key().name))?;
        let owners = found
            .metadata
            .owner_references
            .as_deref()
            .unwrap_or_default();
        let is_done = owners.iter().any(|owner| owner.uid == pod.uid());
        (!is_done).then(|| {
            let mut handed = PersistentVolumeClaim::clone(found);
            handed.metadata.owner_references = Some(vec![plain_ref(pod)]);
            Write::update(&handed)
        })
    });
    claims.collect()
}

/// Owned, but not controlled: the claim outlives a pod of the same name.
fn plain_ref<T: Object>(owner: &T) -> OwnerReference {
    OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..controller_ref(owner)
    }
}
