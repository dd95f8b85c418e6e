//! ControllerRevisions: the history of templates of StatefulSets and DaemonSets.
//!
//! The data is a strategic merge patch that replaces the template; `kubectl rollout undo` sends it as it is.

use super::{
    framework::{World, Write, claim, controller_ref},
    hash,
};
use crate::api::{
    name::Key,
    object::{Object, typed},
};
use k8s_openapi::{
    api::{
        apps::v1::ControllerRevision,
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub const HASH_LABEL: &str = "controller-revision-hash";
const REVISION_HASH: &str = "controller.kubernetes.io/hash";

/// What a set with a history stands on.
pub struct Ground {
    /// Those it controls.
    pub pods: Vec<Arc<Pod>>,
    pub known: Vec<Arc<ControllerRevision>>,
    /// Of the template as it is now.
    pub update: Arc<ControllerRevision>,
}

/// Claims pods and finds the current revision; an error is the writes that must come first.
pub fn ground<T: Object>(
    set: &T,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
    world: &World,
    selects: impl Fn(&Pod) -> bool,
) -> Result<Ground, Vec<Write>> {
    let key = set.key();
    let pods = world.all::<Pod>();
    let claims = claim(
        set,
        pods.controlled_by(&key.namespace, set.uid()).cloned(),
        pods.uncontrolled(&key.namespace).cloned(),
        selects,
    );
    if !claims.patches.is_empty() {
        return Err(claims.patches);
    }
    let history = world.all::<ControllerRevision>();
    let known = history.controlled_by(&key.namespace, set.uid()).cloned();
    let known: Vec<_> = known.collect();
    let is_taken = |name: &str| history.contains_key(&Key::new(key.namespace.clone(), name));
    match current(set, template, &known, collisions, is_taken) {
        Current::Known(update) => Ok(Ground {
            pods: claims.owned,
            known,
            update,
        }),
        Current::Missing(write) => Err(vec![*write]),
        Current::Collision => {
            // Moves the set's names away from the one that is taken.
            let count = collisions.unwrap_or_default().saturating_add(1);
            let mut moved = Write::update_status(set);
            moved.body["status"]["collisionCount"] = count.into();
            Err(vec![moved])
        }
    }
}

/// The revision of a template, as far as it exists.
enum Current {
    Known(Arc<ControllerRevision>),
    /// This write must come first: the revision is new, or an old one becomes the newest again.
    Missing(Box<Write>),
    /// Its name belongs to something else.
    Collision,
}

/// `known` are the revisions the owner controls; `is_taken` tells whether a name is in use.
fn current<T: Object>(
    owner: &T,
    template: &PodTemplateSpec,
    known: &[Arc<ControllerRevision>],
    collisions: Option<i32>,
    is_taken: impl Fn(&str) -> bool,
) -> Current {
    let data = data(template);
    let newest = known
        .iter()
        .map(|one| one.revision)
        .max()
        .unwrap_or_default();
    let same = known
        .iter()
        .filter(|one| one.data.as_ref().is_some_and(|raw| raw.0 == data));
    if let Some(found) = same.max_by_key(|one| one.revision) {
        if found.revision == newest {
            return Current::Known(Arc::clone(found));
        }
        let again = ControllerRevision {
            revision: newest + 1,
            ..ControllerRevision::clone(found)
        };
        return Current::Missing(Box::new(Write::update(&again)));
    }
    let hash = hash::of_data(&data.to_string(), collisions);
    let key = owner.key();
    let name = format!("{}-{hash}", key.name);
    if is_taken(&name) {
        return Current::Collision;
    }
    let mut labels = template
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    labels.insert(REVISION_HASH.to_owned(), hash.clone());
    labels.insert(HASH_LABEL.to_owned(), hash);
    Current::Missing(Box::new(Write::create(&ControllerRevision {
        metadata: ObjectMeta {
            namespace: Some(key.namespace),
            name: Some(name),
            labels: Some(labels),
            annotations: owner
                .metadata()
                .annotations
                .as_ref()
                .map(without_last_applied),
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: newest + 1,
    })))
}

/// The template a revision stands for.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision
        .data
        .as_ref()?
        .0
        .get("spec")?
        .get("template")?
        .clone();
    template.as_object_mut()?.remove("$patch");
    typed(&template).ok()
}

/// The hash by which pods name their revision.
pub fn hash_of(revision: &ControllerRevision) -> String {
    let labels = revision.metadata.labels.as_ref();
    let hash =
        labels.and_then(|labels| labels.get(REVISION_HASH).or_else(|| labels.get(HASH_LABEL)));
    hash.cloned().unwrap_or_default()
}

/// Deletions of the oldest revisions beyond the limit; those that are `live` stay.
pub fn surplus(
    known: &[Arc<ControllerRevision>],
    limit: Option<i32>,
    live: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Write> {
    let mut dead: Vec<&Arc<ControllerRevision>> = known.iter().filter(|one| !live(one)).collect();
    dead.sort_by_key(|one| one.revision);
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or_default();
    let surplus = dead.len().saturating_sub(limit);
    dead.into_iter()
        .take(surplus)
        .map(|one| Write::delete(one.as_ref()))
        .collect()
}

fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).expect("our own types have string keys only");
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

fn without_last_applied(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut annotations = annotations.clone();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations
}
