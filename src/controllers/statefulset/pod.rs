//! What a numbered pod looks like.

use super::{View, claim};
use crate::{
    api::object::Object,
    controllers::{
        framework::{Notice, World, Write, controller_ref},
        pods,
        revision::{self, HASH_LABEL},
    },
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume},
};
use serde_json::json;
use std::collections::BTreeMap;

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

/// Creates the claims that are missing, then the pod; nothing while a claim is in the way.
pub fn creation(view: &View<'_>, ordinal: i32, world: &World) -> Vec<Write> {
    let set = view.set.key();
    let name = format!("{}-{ordinal}", set.name);
    let Some(mut writes) = claim::missing(view, ordinal, world) else {
        return Vec::new();
    };
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

/// What a living pod needs to be itself again: claims that were lost before it could start, its labels, and the owners
/// of its claims.
pub fn repairs(view: &View<'_>, ordinal: i32, pod: &Pod, world: &World) -> Vec<Write> {
    let mut writes = match pods::phase(pod) {
        "Pending" => claim::missing(view, ordinal, world).unwrap_or_default(),
        _ => Vec::new(),
    };
    writes.extend(claim::tied(view, ordinal, pod, world));
    let labels = pod.metadata.labels.as_ref();
    let wanted = identity(&pod.key().name, ordinal);
    let has = |(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value);
    if !wanted.iter().all(has) {
        let what = format!(
            "update Pod {} in StatefulSet {}",
            pod.key().name,
            view.set.key().name
        );
        let done = Notice::normal(view.set, "SuccessfulUpdate", format!("{what} successful"));
        let failed = Notice::warning(view.set, "FailedUpdate", format!("{what} failed error: "));
        let patch = json!({"metadata": {"uid": pod.uid(), "labels": wanted}});
        let write = Write::patch::<Pod>(pod.key(), patch);
        writes.push(write.told(done).lamented(failed));
    }
    writes
}

/// The labels a pod is found by.
fn identity(name: &str, ordinal: i32) -> BTreeMap<String, String> {
    [
        (POD_NAME, name.to_owned()),
        (POD_INDEX, ordinal.to_string()),
    ]
    .map(|(label, value)| (label.to_owned(), value))
    .into()
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
    labels.extend(identity(&name, ordinal));
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
                claim_name: claim::name(view, &name, ordinal),
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
