//! Claims that ask for more than they have: a condition while the volume grows, then the new size.
//!
//! Volumes of the built-in provisioner are directories, which grow by a word. Others grow by whoever made them.

use super::{fit, is_ours};
use crate::{
    api::{name::Key, object::Object},
    controllers::framework::{Decision, Notice, World, Write},
};
use k8s_openapi::api::{
    core::v1::{
        PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition,
        PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
    },
    storage::v1::StorageClass,
};

const RESIZING: &str = "Resizing";

/// The next step of a claim that wants to grow; false when it does not, or may not.
pub(super) fn grow(
    claim: &PersistentVolumeClaim,
    spec: &PersistentVolumeClaimSpec,
    volume: &PersistentVolume,
    world: &World,
    decision: &mut Decision,
) -> bool {
    let class = world
        .all::<StorageClass>()
        .get(&Key::new("", fit::class(spec.storage_class_name.as_ref())));
    let may = class.is_some_and(|class| class.allow_volume_expansion == Some(true));
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    let wants = fit::request(spec) > fit::storage(capacity);
    if !(may && wants && is_ours(volume)) {
        return false;
    }
    if !is_resizing(claim) {
        let mut claim = claim.clone();
        let status = claim.status.get_or_insert_default();
        let conditions = status.conditions.get_or_insert_default();
        conditions.push(PersistentVolumeClaimCondition {
            type_: RESIZING.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(world.stamp()),
            ..PersistentVolumeClaimCondition::default()
        });
        let text = format!("External resizer is resizing volume {}", volume.key().name);
        decision.push(Write::update_status(&claim));
        decision.push(Notice::normal(&claim, RESIZING, text));
        return true;
    }
    let requests = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    let mut volume = volume.clone();
    volume.spec.get_or_insert_default().capacity = requests.cloned();
    decision.push(Write::update(&volume));
    true
}

pub(super) fn is_resizing(claim: &PersistentVolumeClaim) -> bool {
    let status = claim.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == RESIZING)
}

/// The volume has its size: nothing is under way any more.
pub(super) fn end(status: &mut PersistentVolumeClaimStatus) {
    let conditions = status.conditions.take().unwrap_or_default();
    let left: Vec<_> = conditions
        .into_iter()
        .filter(|condition| condition.type_ != RESIZING)
        .collect();
    status.conditions = (!left.is_empty()).then_some(left);
}
