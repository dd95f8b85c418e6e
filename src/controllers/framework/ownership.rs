//! Who controls whom: owner references, adoption and release.

use super::action::Write;
use crate::api::object::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;
use std::sync::Arc;

/// The reference that makes `owner` the controller of something.
pub fn controller_ref<T: Object>(owner: &T) -> OwnerReference {
    OwnerReference {
        api_version: T::API_VERSION.to_owned(),
        kind: T::KIND.to_owned(),
        name: owner.metadata().name.clone().unwrap_or_default(),
        uid: owner.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// What belongs to an owner now, and the patches that make it so.
#[derive(Debug)]
pub struct Claims<T> {
    pub owned: Vec<Arc<T>>,
    /// Adoptions and releases.
    pub patches: Vec<Write>,
}

/// Sorts out dependents: `mine` are controlled by the owner already, `orphans` by nobody. Those that no longer match
/// are let go; orphans that match are adopted, unless either side is being deleted. An adopted object counts as owned
/// from the next pass on, when the cache shows it.
pub fn claim<O: Object, T: Object>(
    owner: &O,
    mine: impl Iterator<Item = Arc<T>>,
    orphans: impl Iterator<Item = Arc<T>>,
    is_wanted: impl Fn(&T) -> bool,
) -> Claims<T> {
    let mut claims = Claims {
        owned: Vec::new(),
        patches: Vec::new(),
    };
    for object in mine {
        if is_wanted(&object) {
            claims.owned.push(object);
        } else if !owner.is_deleting() && !object.is_deleting() {
            claims.patches.push(release(owner, object.as_ref()));
        }
    }
    if !owner.is_deleting() {
        let adopted = orphans.filter(|object| !object.is_deleting() && is_wanted(object));
        claims
            .patches
            .extend(adopted.map(|object| adopt(owner, object.as_ref())));
    }
    claims
}

fn adopt<O: Object, T: Object>(owner: &O, object: &T) -> Write {
    let mut owners = object
        .metadata()
        .owner_references
        .clone()
        .unwrap_or_default();
    owners.retain(|other| other.uid != owner.uid());
    owners.push(controller_ref(owner));
    owners_patch(object, &owners)
}

fn release<O: Object, T: Object>(owner: &O, object: &T) -> Write {
    let mut owners = object
        .metadata()
        .owner_references
        .clone()
        .unwrap_or_default();
    owners.retain(|other| other.uid != owner.uid());
    owners_patch(object, &owners)
}

/// The list is replaced as a whole, so the patch names the revision it was computed from.
fn owners_patch<T: Object>(object: &T, owners: &[OwnerReference]) -> Write {
    let patch = json!({"metadata": {
        "uid": object.uid(),
        "resourceVersion": object.metadata().resource_version,
        "ownerReferences": owners,
    }});
    Write::patch::<T>(object.key(), patch)
}
